//! Real clients that speak SOCKS5, to a name, IPv4 and IPv6.

use crate::{SERVER_6, site_with_name};
use sockd_tests::classic::Session;
use sockd_tests::dns::Nameserver;
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::libraries::{PLAIN, RCLONE, through};
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::wait::until_true;
use sockd_tests::{procfs, web};
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

pub(crate) const NAME: &str = "web.test";

/// A lab with a web server and an echo server over IPv4 and IPv6, known as [`NAME`] to sockd alone.
pub(crate) struct Place {
    pub(crate) lab: Lab,
    _servers: Vec<Server>,
    _nameserver: Nameserver,
}

pub(crate) fn place() -> Place {
    let (site, nameserver) = site_with_name();
    let addresses: [IpAddr; 2] = [SERVER.into(), SERVER_6.into()];
    let servers = addresses.into_iter().flat_map(|address| {
        [web::serve(&site.server, (address, 80)), Server::echo(&site.server, (address, 7))]
    });
    let servers = servers.collect();
    Place { lab: Lab::new_at(site), _servers: servers, _nameserver: nameserver }
}

impl Place {
    /// Runs a program on the client host; it has to succeed.
    fn run(&self, program: &str, words: &[&str]) -> Output {
        let output = self.lab.site.client.output(Command::new(program).args(words));
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// The same; returns its output as text.
    fn said(&self, program: &str, words: &[&str]) -> String {
        String::from_utf8_lossy(&self.run(program, words).stdout).into_owned()
    }

    /// The log has a whole session with this destination, by nobody in particular.
    pub(crate) fn assert_visited(&mut self, destination: impl ToString, service: &str) {
        self.lab.wait_for_line("bytes from");
        let line = Session::of(CLIENT, destination, service).by("").connected();
        assert_eq!(self.lab.logged().first(), Some(&line));
        self.lab.turn_the_page();
    }
}

#[test]
fn curl_fetches_by_name_and_by_address() {
    let mut place = place();
    for (option, host, destination) in [
        ("--socks5-hostname", NAME.into(), NAME.into()),
        ("--socks5-hostname", SERVER.to_string(), SERVER.to_string()),
        ("--socks5-hostname", format!("[{SERVER_6}]"), SERVER_6.to_string()),
        ("--socks5", SERVER.to_string(), SERVER.to_string()),
        ("--socks5", format!("[{SERVER_6}]"), SERVER_6.to_string()),
    ] {
        let url = format!("http://{host}/250000");
        let page = place.run("curl", &["-sS", option, "192.0.2.1:1080", &url]).stdout;
        assert_eq!(page.len(), 250_000, "{option} {host}");
        place.assert_visited(destination, "http");
    }
}

#[test]
fn curl_says_why_it_was_refused() {
    let place = place();
    for (host, why) in [("198.51.100.10:1", "(5)"), ("nosuch.test", "(4)"), ("224.0.0.1", "(2)")] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--socks5-hostname", "192.0.2.1:1080", &format!("http://{host}/")]);
        let output = place.lab.site.client.output(&mut curl);
        assert_eq!(output.status.code(), Some(97), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
    }
}

#[test]
fn netcat_talks_to_an_echo_server() {
    let mut place = place();
    for (host, destination) in
        [(NAME.to_owned(), NAME.to_owned()), (SERVER_6.to_string(), SERVER_6.to_string())]
    {
        let command = format!("printf hello | nc.openbsd -N -X 5 -x 192.0.2.1:1080 {host} 7");
        assert_eq!(place.said("sh", &["-c", &command]), "hello");
        place.assert_visited(destination, "echo");
    }
}

#[test]
fn ncat_talks_to_an_echo_server_by_name_and_by_address() {
    let mut place = place();
    for (words, destination) in [("198.51.100.10", "198.51.100.10"), ("--proxy-dns remote web.test", NAME)] {
        let command = format!("printf hello | ncat --proxy 192.0.2.1:1080 --proxy-type socks5 {words} 7");
        assert_eq!(place.said("sh", &["-c", &command]), "hello");
        place.assert_visited(destination, "echo");
    }
}

#[test]
fn ssh_logs_in_through_netcat() {
    let mut place = place();
    let site = &place.lab.site;
    for (host, key) in [(&site.server, "/run/host_key"), (&site.client, "/run/key")] {
        host.sh(&format!("ssh-keygen -q -t ed25519 -N  -f {key}"));
    }
    site.server.write("/run/authorized_keys", site.client.read("/run/key.pub"));
    let configuration = "Port 22\nListenAddress 198.51.100.10\nHostKey /run/host_key\nPidFile none\n\
        AuthorizedKeysFile /run/authorized_keys\nPasswordAuthentication no\nPermitRootLogin yes\nUsePAM no\n";
    site.server.write("/run/sshd_config", configuration);
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-D", "-e", "-f", "/run/sshd_config"]).stdin(Stdio::null()).stderr(Stdio::null());
    let _sshd = site.server.start(&mut sshd);
    until_true("sshd listens", || procfs::listens(&site.server, 22));
    site.client.write("/run/known_hosts", format!("{NAME} {}", site.server.read("/run/host_key.pub")));
    let through = "ProxyCommand=nc.openbsd -X 5 -x 192.0.2.1:1080 %h %p";
    let known = "UserKnownHostsFile=/run/known_hosts";
    let words = ["-F", "none", "-i", "/run/key", "-o", known, "-o", through, "-o", "BatchMode=yes"];
    let login = ["root@web.test", "echo logged in; cat"];
    assert_eq!(place.said("ssh", &[&words[..], &login].concat()), "logged in\n");
    place.assert_visited(NAME, "ssh");
}

#[test]
fn git_clones_by_http() {
    let mut place = place();
    let server = &place.lab.site.server;
    let identity = "-c user.name=don -c user.email=don@example.net";
    server.sh("git init -q /run/repository");
    server.write("/run/repository/file", "content\n");
    server.sh("git -C /run/repository add file");
    server.sh(&format!("git -C /run/repository {identity} commit -q -m first"));
    server.sh("git -C /run/repository update-server-info");
    let mut web = Command::new("/usr/bin/python3");
    web.args(["-m", "http.server", "--bind", "198.51.100.10", "--directory", "/run/repository", "8000"]);
    let _web = server.start(web.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    until_true("a web server listens", || procfs::listens(server, 8000));
    let proxy = "http.proxy=socks5h://192.0.2.1:1080";
    place.run("git", &["-c", proxy, "clone", "-q", "http://web.test:8000/.git", "/run/clone"]);
    assert_eq!(place.lab.site.client.read("/run/clone/file"), "content\n");
    place.assert_visited(NAME, "8000");
}

#[test]
fn python_fetches_with_requests() {
    let mut place = place();
    let script = "import requests, sys\n\
        proxy = {'http': 'socks5h://192.0.2.1:1080'}\n\
        print(len(requests.get(sys.argv[1], proxies=proxy, timeout=60).content))\n";
    for (url, destination) in [
        (format!("http://{NAME}/1000"), NAME.to_owned()),
        (format!("http://[{SERVER_6}]/1000"), SERVER_6.to_string()),
    ] {
        assert_eq!(place.said("/usr/bin/python3", &["-c", script, &url]), "1000\n");
        place.assert_visited(destination, "http");
    }
}

#[test]
fn wget_fetches_through_proxychains() {
    let mut place = place();
    let chain = "strict_chain\nquiet_mode\nproxy_dns\n[ProxyList]\nsocks5 192.0.2.1 1080\n";
    place.lab.site.client.write("/run/proxychains.conf", chain);
    let words = ["-f", "/run/proxychains.conf", "wget", "-q", "-O", "-", "http://web.test/5000"];
    assert_eq!(place.run("proxychains4", &words).stdout.len(), 5000);
    place.assert_visited(NAME, "http");
}

/// plink takes its proxy from a saved session alone. `ProxyDNS=2` leaves names to the proxy.
#[test]
fn plink_talks_to_an_echo_server() {
    let mut place = place();
    let session = "Protocol=raw\nProxyMethod=2\nProxyHost=192.0.2.1\nProxyPort=1080\nProxyDNS=2\n";
    place.lab.site.client.sh("mkdir -p /run/.putty/sessions");
    place.lab.site.client.write("/run/.putty/sessions/proxy", session);
    let plink = "HOME=/run plink -batch -load proxy -raw -P";
    for host in [NAME.to_owned(), SERVER.to_string(), SERVER_6.to_string()] {
        assert_eq!(place.said("sh", &["-c", &format!("printf hello | {plink} 7 {host}")]), "hello");
        place.assert_visited(host, "echo");
    }
    let refused = format!("{plink} 1 {SERVER}");
    let output = place.lab.site.client.output(Command::new("sh").args(["-c", &refused]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error 5"), "{output:?}");
}

#[test]
fn rclone_copies_from_a_url() {
    let mut place = place();
    let run = |place: &Place, url: &str| place.lab.site.client.output(through(PLAIN, RCLONE).arg(url));
    for (host, destination) in [
        (NAME.into(), NAME.into()),
        (SERVER.to_string(), SERVER.to_string()),
        (format!("[{SERVER_6}]"), SERVER_6.to_string()),
    ] {
        let output = run(&place, &format!("http://{host}/5000"));
        assert_eq!(output.stdout.len(), 5000, "{host}: {output:?}");
        place.assert_visited(destination, "http");
    }
    let output = run(&place, &format!("http://{SERVER}:1/"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("connection refused"), "{output:?}");
}
