//! Programs that reach SOCKS5 through a library, for tests without passwords and with them.
//!
//! Each takes its proxy, with a login if it has one, from the environment: [`PLAIN`] or `socks5://USER:PASSWORD@...`.

use std::process::Command;

/// The proxy without a login.
pub const PLAIN: &str = "socks5://192.0.2.1:1080";

/// A program that is started with this proxy.
pub fn through(proxy: &str, program: &[&str]) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).envs([
        ("PROXY", proxy),
        ("HTTP_PROXY", proxy),
        ("HOME", "/run"),
        ("NODE_PATH", "/usr/share/nodejs"),
        ("GOCACHE", "/run/go"),
        ("GO111MODULE", "off"),
        ("CGO_ENABLED", "0"),
    ]);
    command
}

/// Node. It says `hello` to a host and port and prints the answer.
pub const NODE: &[&str] = &["node", "-e", NODE_SCRIPT];

const NODE_SCRIPT: &str = "
const { SocksClient } = require('socks');
const [host, port] = process.argv.slice(1);
const proxy = new URL(process.env.PROXY);
SocksClient.createConnection({
    proxy: {
        host: proxy.hostname, port: Number(proxy.port), type: 5,
        userId: proxy.username, password: proxy.password,
    },
    command: 'connect',
    destination: { host, port: Number(port) },
    timeout: 60000,
}).then(({ socket }) => {
    socket.on('data', (data) => process.stdout.write(data));
    socket.end('hello');
}, (error) => { console.error(error.message); process.exit(1); });
";

/// Qt, which does the same. With a login it offers nothing but a password.
pub const QT: &[&str] = &["/usr/bin/python3", "-c", QT_SCRIPT];

const QT_SCRIPT: &str = "
import os, sys
from urllib.parse import urlsplit
from PyQt5.QtCore import QCoreApplication
from PyQt5.QtNetwork import QNetworkProxy, QTcpSocket
app = QCoreApplication([])
proxy = urlsplit(os.environ['PROXY'])
login = (proxy.username or '', proxy.password or '')
socket = QTcpSocket()
socket.setProxy(QNetworkProxy(QNetworkProxy.Socks5Proxy, proxy.hostname, proxy.port, *login))
socket.connectToHost(sys.argv[1], int(sys.argv[2]))
if not socket.waitForConnected(60000):
    sys.exit(socket.errorString())
socket.write(b'hello')
socket.waitForReadyRead(60000)
print(bytes(socket.readAll()).decode(), end='')
socket.disconnectFromHost()
";

/// aiohttp. It fetches 1,000 bytes from a host and port and prints how many came.
pub const AIOHTTP: &[&str] = &["/usr/bin/python3", "-c", AIOHTTP_SCRIPT];

const AIOHTTP_SCRIPT: &str = "
import asyncio, os, sys
import aiohttp, aiohttp_socks
host, port = sys.argv[1:]
url = f'http://[{host}]:{port}/1000' if ':' in host else f'http://{host}:{port}/1000'
async def fetch():
    connector = aiohttp_socks.ProxyConnector.from_url(os.environ['PROXY'], rdns=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(url) as answer:
            print(len(await answer.read()))
asyncio.run(fetch())
";

/// httpx, which does the same. With a login it offers nothing but a password. It mistakes a reply in several segments
/// for a malformed one.
pub const HTTPX: &[&str] = &["/usr/bin/python3", "-c", HTTPX_SCRIPT];

const HTTPX_SCRIPT: &str = "
import inspect, os, sys
import httpx
host, port = sys.argv[1:]
url = f'http://[{host}]:{port}/1000' if ':' in host else f'http://{host}:{port}/1000'
# Version 0.26 has another name for it.
name = 'proxy' if 'proxy' in inspect.signature(httpx.Client).parameters else 'proxies'
with httpx.Client(**{name: os.environ['PROXY']}, timeout=60) as client:
    print(len(client.get(url).content))
";

/// rclone. It prints the content of a URL.
pub const RCLONE: &[&str] =
    &["rclone", "--config", "/run/rclone.conf", "--retries", "1", "copyurl", "--stdout"];

/// The source of a program in Java that says `hello` to a host and port and prints the answer. It always offers a
/// password.
pub const JAVA: &str = r#"
import java.net.*;

public class Talk {
    static void logIn(String login) {
        String[] parts = login.split(":");
        Authenticator.setDefault(new Authenticator() {
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication(parts[0], parts[1].toCharArray());
            }
        });
    }

    public static void main(String[] words) throws Exception {
        URI uri = URI.create(System.getenv("PROXY"));
        if (uri.getUserInfo() != null) logIn(uri.getUserInfo());
        InetSocketAddress proxy = new InetSocketAddress(InetAddress.getByName(uri.getHost()), uri.getPort());
        int port = Integer.parseInt(words[1]);
        boolean isName = words[0].endsWith(".test");
        InetSocketAddress to = isName
            ? InetSocketAddress.createUnresolved(words[0], port)
            : new InetSocketAddress(InetAddress.getByName(words[0]), port);
        try (Socket socket = new Socket(new Proxy(Proxy.Type.SOCKS, proxy))) {
            socket.connect(to, 60000);
            socket.getOutputStream().write("hello".getBytes());
            socket.shutdownOutput();
            System.out.print(new String(socket.getInputStream().readAllBytes()));
        }
    }
}
"#;

/// The source of a program in Go that prints how long the page at a URL is.
pub const GO: &str = r#"
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

func main() {
	proxy, _ := url.Parse(os.Getenv("PROXY"))
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	answer, err := client.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	page, _ := io.ReadAll(answer.Body)
	fmt.Println(len(page))
}
"#;

/// Chromium, which has no login. It prints the page at a URL.
pub const CHROMIUM: &[&str] = &[
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--user-data-dir=/run/chromium",
    "--proxy-server=socks5://192.0.2.1:1080",
    "--dump-dom",
];
