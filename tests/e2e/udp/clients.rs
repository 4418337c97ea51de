//! Programs that speak UDP through a SOCKS server, as they are.

use crate::{PORT, place};
use sockd_tests::site::{INSIDE, NAMESERVER, SERVER};
use std::process::Command;

/// A question to a nameserver by UDP over PySocks, and an echo.
const PYSOCKS: &str = r"
import socks, struct, sys
proxy, nameserver, server, port = sys.argv[1:5]
s = socks.socksocket(type=socks.socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, proxy, 1080)
s.settimeout(60)
question = struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + b'\x03web\x04test\x00' + struct.pack('>2H', 1, 1)
s.sendto(question, (nameserver, 53))
answer, sender = s.recvfrom(512)
print(answer[:2].hex(), '.'.join(map(str, answer[-4:])), sender[0], sender[1])
for data in (b'one', b'x' * 1400):
    s.sendto(data, (server, int(port)))
    answer, sender = s.recvfrom(2048)
    assert answer == data and sender == (server, int(port)), (answer, sender)
print('echo')
";

/// The same echo over Qt.
const QT: &str = r"
import sys
from PyQt5.QtCore import QCoreApplication, QByteArray
from PyQt5.QtNetwork import QUdpSocket, QNetworkProxy, QHostAddress
app = QCoreApplication(sys.argv)
proxy, server, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = QUdpSocket()
s.setProxy(QNetworkProxy(QNetworkProxy.Socks5Proxy, proxy, 1080))
assert s.bind(0), s.errorString()
for data in (b'one', b'two'):
    s.writeDatagram(QByteArray(data), QHostAddress(server), port)
    assert s.waitForReadyRead(60000), s.errorString()
    answer, sender, at = s.readDatagram(2048)
    assert answer == data and at == port, (answer, sender.toString(), at)
print('echo')
";

/// What a script prints on the client host.
fn python(script: &str, words: &[&str]) -> String {
    let place = place();
    let mut command = Command::new("/usr/bin/python3");
    let output = place.lab.site.client.output(command.args(["-c", script]).args(words));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn pysocks_asks_a_nameserver_and_has_datagrams_echoed() {
    let words = [&INSIDE.to_string(), &NAMESERVER.to_string(), &SERVER.to_string(), &PORT.to_string()];
    let said = python(PYSOCKS, &words.map(String::as_str));
    assert_eq!(said, format!("0007 {SERVER} {NAMESERVER} 53\necho\n"));
}

#[test]
fn qt_has_datagrams_echoed() {
    let words = [&INSIDE.to_string(), &SERVER.to_string(), &PORT.to_string()];
    assert_eq!(python(QT, &words.map(String::as_str)), "echo\n");
}
