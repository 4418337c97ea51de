//! Libraries that programs speak SOCKS5 by, to a name, IPv4 and IPv6, and what they make of refusals.

use crate::SERVER_6;
use crate::clients::{NAME, place};
use sockd_tests::site::SERVER;
use std::process::Command;

/// Runs a program for each kind of destination, and for one that refuses. `said` is what it prints when it is served,
/// and `refused` what it says when it is not.
fn assert_served(program: &[&str], service: &str, said: &str, refused: &str) {
    let mut place = place();
    let run = |place: &crate::clients::Place, host: &str, port: &str| {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args([host, port]).env("NODE_PATH", "/usr/share/nodejs");
        place.lab.site.client.output(&mut command)
    };
    let port = if service == "http" { "80" } else { "7" };
    for host in [NAME.to_owned(), SERVER.to_string(), SERVER_6.to_string()] {
        let output = run(&place, &host, port);
        assert!(output.status.success(), "{host}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{host}");
        place.assert_visited(host, service);
    }
    let output = run(&place, &SERVER.to_string(), "1");
    assert!(!output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(refused), "{output:?}");
}

const NODE: &str = "
const { SocksClient } = require('socks');
const [host, port] = process.argv.slice(1);
SocksClient.createConnection({
    proxy: { host: '192.0.2.1', port: 1080, type: 5 },
    command: 'connect',
    destination: { host, port: Number(port) },
    timeout: 60000,
}).then(({ socket }) => {
    socket.on('data', (data) => process.stdout.write(data));
    socket.end('hello');
}, (error) => { console.error(error.message); process.exit(1); });
";

#[test]
fn node_talks_to_an_echo_server() {
    assert_served(&["node", "-e", NODE], "echo", "hello", "ConnectionRefused");
}

const QT: &str = "
import sys
from PyQt5.QtCore import QCoreApplication
from PyQt5.QtNetwork import QNetworkProxy, QTcpSocket
app = QCoreApplication([])
socket = QTcpSocket()
socket.setProxy(QNetworkProxy(QNetworkProxy.Socks5Proxy, '192.0.2.1', 1080))
socket.connectToHost(sys.argv[1], int(sys.argv[2]))
if not socket.waitForConnected(60000):
    sys.exit(socket.errorString())
socket.write(b'hello')
socket.waitForReadyRead(60000)
print(bytes(socket.readAll()).decode(), end='')
socket.disconnectFromHost()
";

#[test]
fn qt_talks_to_an_echo_server() {
    assert_served(&["/usr/bin/python3", "-c", QT], "echo", "hello", "Connection refused");
}

const AIOHTTP: &str = "
import asyncio, sys
import aiohttp, aiohttp_socks
host, port = sys.argv[1:]
url = f'http://[{host}]:{port}/1000' if ':' in host else f'http://{host}:{port}/1000'
async def fetch():
    connector = aiohttp_socks.ProxyConnector.from_url('socks5://192.0.2.1:1080', rdns=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(url) as answer:
            print(len(await answer.read()))
asyncio.run(fetch())
";

#[test]
fn aiohttp_fetches() {
    assert_served(
        &["/usr/bin/python3", "-c", AIOHTTP],
        "http",
        "1000\n",
        "Connection refused by destination host",
    );
}

const HTTPX: &str = "
import inspect, sys
import httpx
host, port = sys.argv[1:]
url = f'http://[{host}]:{port}/1000' if ':' in host else f'http://{host}:{port}/1000'
# Version 0.26 has another name for it.
name = 'proxy' if 'proxy' in inspect.signature(httpx.Client).parameters else 'proxies'
with httpx.Client(**{name: 'socks5://192.0.2.1:1080'}, timeout=60) as client:
    print(len(client.get(url).content))
";

/// It takes a reply that comes in several segments for a malformed one.
#[test]
fn httpx_fetches() {
    assert_served(&["/usr/bin/python3", "-c", HTTPX], "http", "1000\n", "Connection refused");
}
