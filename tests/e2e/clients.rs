//! Real clients reach real servers through sockd, and a real rsyslogd records it in the classic lines.

use sockd_tests::classic::Session;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, NAMESERVER, SERVER, Site};
use sockd_tests::wait::until_true;
use sockd_tests::{procfs, web};
use std::process::{Command, Output, Stdio};

const WWW: &str = "www.example.net";

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A nameserver for sockd that knows [`WWW`], and nobody else.
fn nameserver(site: &Site) -> Nameserver {
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    Nameserver::start(&site.server, |question| match question.name.as_str() {
        WWW => Answer::Addresses(vec![SERVER.into()]),
        _ => Answer::NoSuchName,
    })
}

/// The byte counts of the last session, which a test cannot know of a real client.
fn counts(log: &[String]) -> (u64, u64) {
    let line = log.last().expect("a line");
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("no count in {line:?}"));
    let words: Vec<_> = line.split(' ').collect();
    (number(words[1]), number(words[5]))
}

#[test]
fn curl_by_socks4_fetches_a_file_and_the_visit_is_logged() {
    let site = Site::new();
    let _www = web::serve(&site.server, (SERVER, 80));
    let mut lab = Lab::new_at(site);
    let url = format!("http://{SERVER}/250000");
    let got =
        lab.site.client.output(Command::new("curl").args(["-sS", "--socks4", "joe@192.0.2.1:1080", &url]));
    said(&got);
    assert_eq!(got.stdout.len(), 250_000);
    lab.wait_for_line("bytes from");
    let lines = lab.logged();
    let (up, down) = counts(&lines);
    assert!(down > 250_000 && up > 50, "{lines:?}");
    lab.assert_logged(&Session::of(CLIENT, SERVER, "http").relayed(up, down));
}

#[test]
fn the_log_file_looks_as_the_classic_server_left_it() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 23));
    let lab = Lab::new_at(site);
    let before = lab.log.file().len();
    let mut ncat = Command::new("ncat");
    ncat.args([
        "--proxy",
        "192.0.2.1:1080",
        "--proxy-type",
        "socks4",
        "--proxy-auth",
        "don",
        "198.51.100.10",
        "23",
    ]);
    said(&lab.site.client.output(&mut ncat));
    lab.wait_for_line("bytes from");
    let file = lab.log.file().split_off(before);
    let tag = format!(" sockd[{}]: ", lab.sockd.monitor().0);
    let texts: Vec<_> = file.lines().map(|line| line.split_once(&tag).expect("the tag").1).collect();
    assert_eq!(
        texts,
        [
            "connected -- Connect from don(unknown)@192.0.2.10 to 198.51.100.10 (telnet)",
            "terminated -- Connect from don(unknown)@192.0.2.10 to 198.51.100.10 (telnet)",
            "0 bytes from 192.0.2.10, 0 bytes from 198.51.100.10",
        ]
    );
}

#[test]
fn curl_by_socks4a_leaves_the_name_to_sockd() {
    let site = Site::new();
    let dns = nameserver(&site);
    let _www = web::serve(&site.server, (SERVER, 80));
    let mut lab = Lab::new_at(site);
    let url = format!("http://{WWW}/1000");
    let got =
        lab.site.client.output(Command::new("curl").args(["-sS", "--socks4a", "joe@192.0.2.1:1080", &url]));
    said(&got);
    assert_eq!(got.stdout.len(), 1000);
    assert!(dns.asked().iter().any(|question| question.name == WWW));
    lab.wait_for_line("bytes from");
    let (up, down) = counts(&lab.logged());
    lab.assert_logged(&Session::of(CLIENT, WWW, "http").relayed(up, down));
}

#[test]
fn ncat_talks_to_an_echo_server() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let mut lab = Lab::new_at(site);
    let command =
        "printf hello | ncat --proxy 192.0.2.1:1080 --proxy-type socks4 --proxy-auth joe 198.51.100.10 7";
    let got = lab.site.client.output(Command::new("sh").args(["-c", command]));
    assert_eq!(said(&got), "hello");
    lab.assert_logged(&Session::of(CLIENT, SERVER, "echo").relayed(5, 5));
}

#[test]
fn ssh_logs_in_through_a_proxy_command() {
    let site = Site::new();
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
    let known = format!("198.51.100.10 {}", site.server.read("/run/host_key.pub"));
    site.client.write("/run/known_hosts", known);
    let mut lab = Lab::new_at(site);
    let through = "ProxyCommand=ncat --proxy 192.0.2.1:1080 --proxy-type socks4 --proxy-auth joe %h %p";
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-i", "/run/key", "-o", "UserKnownHostsFile=/run/known_hosts", "-o", through]);
    ssh.args(["-o", "BatchMode=yes", "root@198.51.100.10", "echo logged in; cat"]);
    assert_eq!(said(&lab.site.client.output(&mut ssh)), "logged in\n");
    lab.wait_for_line("bytes from");
    let (up, down) = counts(&lab.logged());
    lab.assert_logged(&Session::of(CLIENT, SERVER, "ssh").relayed(up, down));
}

/// proxychains4 with SOCKS4; it sends no user id.
fn proxychains(site: &Site, line: &str) -> Output {
    site.client
        .write("/run/proxychains.conf", "strict_chain\nquiet_mode\n[ProxyList]\nsocks4 192.0.2.1 1080\n");
    let mut command = Command::new("proxychains4");
    command.args(["-f", "/run/proxychains.conf"]).args(line.split(' '));
    site.client.output(&mut command)
}

#[test]
fn git_clones_through_proxychains() {
    let site = Site::new();
    let identity = "-c user.name=don -c user.email=don@example.net";
    site.server.sh("git init -q /run/repository");
    site.server.write("/run/repository/file", "content\n");
    site.server.sh("git -C /run/repository add file");
    site.server.sh(&format!("git -C /run/repository {identity} commit -q -m first"));
    let mut daemon = Command::new("git");
    daemon.args(["daemon", "--export-all", "--base-path=/run", "--listen=198.51.100.10"]);
    let _daemon = site.server.start(daemon.stdin(Stdio::null()).stderr(Stdio::null()));
    until_true("git daemon listens", || procfs::listens(&site.server, 9418));
    let mut lab = Lab::new_at(site);
    said(&proxychains(&lab.site, "git clone -q git://198.51.100.10/repository /run/clone"));
    assert_eq!(lab.site.client.read("/run/clone/file"), "content\n");
    lab.wait_for_line("bytes from");
    let (up, down) = counts(&lab.logged());
    lab.assert_logged(&Session::of(CLIENT, SERVER, "git").by("").relayed(up, down));
}

#[test]
fn wget_fetches_through_proxychains() {
    let site = Site::new();
    let _www = web::serve(&site.server, (SERVER, 80));
    let mut lab = Lab::new_at(site);
    let got = proxychains(&lab.site, "wget -q -O - http://198.51.100.10/5000");
    said(&got);
    assert_eq!(got.stdout.len(), 5000);
    lab.wait_for_line("bytes from");
    let (up, down) = counts(&lab.logged());
    lab.assert_logged(&Session::of(CLIENT, SERVER, "http").by("").relayed(up, down));
}
