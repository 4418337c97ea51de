//! Programs that speak UDP through a SOCKS server, as they are.

use crate::{Echo, PORT, Place, place};
use sockd_tests::site::{INSIDE, NAMESERVER, OUTSIDE, SERVER};
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

/// Announces a torrent to a tracker over libtorrent, which decides itself when to try again.
const LIBTORRENT: &str = r"
import libtorrent, sys, time
proxy, tracker = sys.argv[1:3]
session = libtorrent.session({
    'proxy_type': 2, 'proxy_hostname': proxy, 'proxy_port': 1080, 'proxy_tracker_connections': True,
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'listen_interfaces': '0.0.0.0:6881', 'alert_mask': 0x7fffffff,
})
torrent = libtorrent.parse_magnet_uri('magnet:?xt=urn:btih:' + '01' * 20 + '&tr=' + tracker)
torrent.save_path = '/tmp'
session.add_torrent(torrent)
said = []
end = time.monotonic() + 90
while time.monotonic() < end:
    session.wait_for_alert(500)
    for alert in session.pop_alerts():
        said.append(alert.message())
        if isinstance(alert, libtorrent.tracker_reply_alert):
            print('announced')
            sys.exit()
sys.exit('\n'.join(said))
";

/// The output of a script on the client host.
fn python(script: &str, words: &[&str]) -> String {
    python_at(&place(), script, words)
}

fn python_at(place: &Place, script: &str, words: &[&str]) -> String {
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

/// A tracker as libtorrent's proposal has it (BEP 15): it takes a connection, and answers an announce with no peers.
fn track(request: &[u8]) -> Option<Vec<u8>> {
    let (action, transaction) = (request.get(8..12)?, request.get(12..16)?);
    match action {
        [0, 0, 0, 0] => Some([&[0; 4], transaction, b"numbered"].concat()),
        [0, 0, 0, 1] => Some([&[0, 0, 0, 1], transaction, &[0, 0, 7, 8], &[0; 8]].concat()),
        _ => None,
    }
}

#[test]
fn libtorrent_announces_to_a_tracker() {
    let place = place();
    let tracker = Echo::with(&place.lab.site.server, (SERVER, 6969).into(), track);
    let words = [INSIDE.to_string(), format!("udp://{SERVER}:6969/announce")];
    let said = python_at(&place, LIBTORRENT, &[&words[0], &words[1]]);
    assert_eq!(said, "announced\n");
    assert!(tracker.senders().iter().all(|sender| sender.ip() == OUTSIDE), "only the proxy has asked");
}
