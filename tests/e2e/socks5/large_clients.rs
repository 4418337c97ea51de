//! Clients that are large to install or slow to start; `tests/run long` runs them.

use crate::SERVER_6;
use crate::clients::{NAME, Place, place};
use sockd_tests::far::Server;
use sockd_tests::libraries::{CHROMIUM, GO, JAVA, PLAIN, through};
use sockd_tests::site::SERVER;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, TcpStream};
use std::process::Output;

/// Each kind of destination, as written in a URL and in the log.
fn destinations() -> [(String, String); 3] {
    let (name, address, address_6) = (NAME.to_owned(), SERVER.to_string(), SERVER_6.to_string());
    [(name.clone(), name), (address.clone(), address), (format!("[{address_6}]"), address_6)]
}

fn run(place: &Place, program: &[&str], words: &[&str]) -> Output {
    place.lab.site.client.output(through(PLAIN, program).args(words))
}

/// Shows a page and returns the printed result.
fn browse(place: &Place, url: &str) -> String {
    let output = run(place, CHROMIUM, &[url]);
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Answers each request with a page.
fn page(stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    // It opens connections ahead of its needs and closes them unused.
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n";
            return (&stream).write_all(format!("{head}<p>the page</p>").as_bytes());
        }
    }
    Ok(())
}

#[test]
fn chromium_shows_a_page() {
    let place = place();
    let addresses: [IpAddr; 2] = [SERVER.into(), SERVER_6.into()];
    let _servers = addresses.map(|address| Server::start(&place.lab.site.server, (address, 8000), page));
    for (host, destination) in destinations() {
        let said = browse(&place, &format!("http://{host}:8000/"));
        assert!(said.contains("<p>the page</p>"), "{host}: {said}");
        // It connects to other hosts on its own account as well.
        place.lab.wait_for_line(&format!("to {destination} (8000)"));
    }
    let said = browse(&place, &format!("http://{SERVER}:8081/"));
    assert!(said.contains("ERR_SOCKS_CONNECTION_FAILED"), "{said}");
}

/// It offers a password that it does not have. If the greeting is refused, it tries SOCKS4.
#[test]
fn java_talks_to_an_echo_server() {
    let mut place = place();
    place.lab.site.client.write("/run/Talk.java", JAVA);
    for (_, host) in destinations() {
        let output = run(&place, &["java", "/run/Talk.java"], &[&host, "7"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{host}: {output:?}");
        place.assert_visited(host, "echo");
    }
    let output = run(&place, &["java", "/run/Talk.java"], &[&SERVER.to_string(), "1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("SOCKS: Connection refused"), "{output:?}");
}

#[test]
fn go_fetches() {
    let mut place = place();
    place.lab.site.client.write("/run/fetch.go", GO);
    let build = run(&place, &["go", "build", "-o", "/run/fetch", "/run/fetch.go"], &[]);
    assert!(build.status.success(), "{build:?}");
    for (host, destination) in destinations() {
        let output = run(&place, &["/run/fetch"], &[&format!("http://{host}/1000")]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1000\n", "{host}: {output:?}");
        place.assert_visited(destination, "http");
    }
    let output = run(&place, &["/run/fetch"], &[&format!("http://{SERVER}:1/")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("connection refused"), "{output:?}");
}
