//! The rules that `sockd-migrate` makes of a `danted.conf` decide as danted itself does, request by request.

use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::line::Line;
use sockd_tests::procfs;
use sockd_tests::program::Program;
use sockd_tests::site::{NAMESERVER, SECOND_SERVER, SERVER, Site};
use sockd_tests::sockd::{Start, program};
use sockd_tests::socks5::{BIND, CHOSEN, CONNECT, GREETING, to, to_name};
use sockd_tests::wait::until_true;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

const SERVER_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// The ports where danted and sockd listen.
const DANTED: u16 = 1081;
const SOCKD: u16 = 1080;

/// The server's settings in front of the rules. Only the ports differ.
const SETTINGS: &str = "logoutput: stderr
internal: 192.0.2.1 port = PORT
internal: 2001:db8:1::1 port = PORT
external: 198.51.100.1
external: 2001:db8:2::1
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
";

/// The client rules let in one host and IPv6; the socks rules have networks in networks, ports, names and versions.
const RULES: &str = "client block { from: 192.0.2.128/25 to: 0.0.0.0/0 }
client pass { from: 192.0.2.0/24 to: 0.0.0.0/0 log: error }
client pass { from: 2001:db8:1::/64 to: ::/0 }
socks block { from: 0/0 to: lo log: connect }
socks block { from: 0/0 to: 198.51.100.0/24 port = 9
 command: connect
}
socks pass { from: 192.0.2.0/24 to: 198.51.100.0/25 port 7-80 command: connect }
socks pass { from: 2001:db8:1::/64 to: 2001:db8:2::/64 port = http }
socks pass { from: 0/0 to: .web.test port ge 8000 command: connect }
socks block { from: 0/0 to: 0/0 port != 8001 }
socks pass { from: 0/0 to: 0.0.0.0/0 proxyprotocol: socks_v5 }
";

/// The last of several rules that would match, and IPv4 that is not IPv6.
const OTHER_RULES: &str = "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
client pass { from: ::/0 to: ::/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 port lt 80 }
socks pass { from: 192.0.2.138/32 to: 0/0 }
socks block { from: 0/0 to: 198.51.100.10/32 port gt 8000 }
socks pass { from: 0/0 to: www.web.test port = 80 }
socks pass { from: 0/0 to: 2001:db8:2::10/128 }
socks pass { from: 192.0.2.0/25 to: 0.0.0.0/0 port eq 8001 protocol: tcp }
";

/// The meaning of `to` in rules for BIND: an address of the gateway, not that of the expected host.
const BIND_RULES: &str = "client pass { from: 192.0.2.0/24 to: 0.0.0.0/0 }
socks block { from: 192.0.2.138/32 to: 198.51.100.0/24 }
socks pass { from: 0/0 to: 203.0.113.0/24 }
socks pass { from: 192.0.2.0/24 to: 198.51.100.0/24
 command: bind
}
socks pass { from: 0/0 to: 0/0
 command: bindreply
}
";

/// Ports at which every server listens.
const PORTS: [u16; 5] = [7, 9, 80, 8000, 8001];

/// A site where both daemons run with the same rules.
struct Place {
    site: Site,
    _running: (Program, sockd_tests::sockd::Sockd),
    _servers: Vec<Server>,
    _nameserver: Nameserver,
}

fn place(rules: &str) -> Place {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let nameserver = Nameserver::start(&site.server, |question| match question.name.as_str() {
        "web.test" => Answer::Addresses(vec![SECOND_SERVER.into()]),
        "www.web.test" => Answer::Addresses(vec![SERVER.into()]),
        // For Dante a name in a rule stands for its addresses; for sockd an address has the names that it leads to.
        "10.100.51.198.in-addr.arpa" => Answer::Name("www.web.test"),
        _ => Answer::NoSuchName,
    });
    let addresses: [IpAddr; 3] = [SERVER.into(), SECOND_SERVER.into(), SERVER_6.into()];
    let places = addresses.into_iter().flat_map(|address| PORTS.map(|port| (address, port)));
    let servers = places.map(|place| Server::echo(&site.server, place)).collect();
    let danted = danted(&site.gateway, rules);
    let sockd = migrated(&site.gateway, rules);
    Place { site, _running: (danted, sockd), _servers: servers, _nameserver: nameserver }
}

fn danted(gateway: &Host, rules: &str) -> Program {
    gateway.write("/etc/danted.conf", SETTINGS.replace("PORT", &DANTED.to_string()) + rules);
    let mut danted = Command::new("danted");
    danted.args(["-f", "/etc/danted.conf", "-p", "/run/danted.pid"]);
    let danted = gateway.start(danted.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    until_true("danted listens", || procfs::listens(gateway, DANTED));
    danted
}

/// sockd with the files that the program has written.
fn migrated(gateway: &Host, rules: &str) -> sockd_tests::sockd::Sockd {
    gateway.write("/etc/migrated.conf", SETTINGS.replace("PORT", &SOCKD.to_string()) + rules);
    let output =
        gateway.output(Command::new(program("sockd-migrate")).args(["--out", "/etc", "/etc/migrated.conf"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_expected = |line: &str| line.contains(": note: ") || line.contains(": bind: to is where Dante");
    assert!(said.lines().all(is_expected) && matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    let options = gateway.read("/etc/default-sockd");
    let options = options.split('"').nth(1).expect("the options").to_owned();
    let check = Start::bare(gateway).words(&format!("{options} --check")).output();
    assert!(check.status.success(), "{check:?}");
    Start::bare(gateway).words(&options).start()
}

/// Whether a daemon permits the request. A refusal by the destination counts as permitted.
fn is_permitted(host: &Host, proxy: SocketAddr, request: &[u8]) -> bool {
    let mut line = Line::dial(host, proxy);
    let mut reply = Vec::new();
    // A client that no rule lets in meets a closed connection, at any moment.
    let stream = line.stream();
    let spoken = std::io::Write::write_all(stream, &GREETING)
        .and_then(|()| stream.take(2).read_to_end(&mut reply))
        .and_then(|_| std::io::Write::write_all(stream, request))
        .and_then(|()| stream.take(4).read_to_end(&mut reply));
    if spoken.is_err() || reply.len() < 6 {
        return false;
    }
    assert_eq!(reply[..2], CHOSEN);
    matches!(reply[3], 0 | 5)
}

/// Asks both for everything that the site has, and counts sockd's permissions and refusals. For a BIND, sockd checks
/// the expected host as well, so it may refuse more.
fn assert_alike(rules: &str, command: u8) -> (usize, usize) {
    let place = place(rules);
    let Place { site, .. } = &place;
    let (inside, inside_6): (IpAddr, IpAddr) =
        ([192, 0, 2, 1].into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into());
    let (mut permitted, mut refused) = (0, 0);
    for (host, address, name) in [
        (&site.client, inside, "client"),
        (&site.other, inside, "other"),
        (&site.client, inside_6, "client, IPv6"),
    ] {
        for port in PORTS {
            let destinations: [IpAddr; 3] = [SERVER.into(), SECOND_SERVER.into(), SERVER_6.into()];
            let mut requests: Vec<_> = destinations
                .map(|destination| (destination.to_string(), to(command, (destination, port))))
                .into();
            requests.extend(
                ["web.test", "www.web.test"].map(|name| (name.to_owned(), to_name(command, name, port))),
            );
            for (destination, request) in requests {
                let [danted, sockd] =
                    [DANTED, SOCKD].map(|port| is_permitted(host, (address, port).into(), &request));
                let danted = if command == BIND && !sockd { false } else { danted };
                assert_eq!(
                    sockd, danted,
                    "from {name} to {destination} port {port}: sockd permits, danted permits"
                );
                *if danted { &mut permitted } else { &mut refused } += 1;
            }
        }
    }
    (permitted, refused)
}

#[test]
fn a_translated_file_decides_as_danted_does() {
    let (permitted, refused) = assert_alike(RULES, CONNECT);
    assert!(permitted >= 10 && refused >= 10, "{permitted} permitted, {refused} refused");
}

#[test]
fn so_does_one_with_other_rules() {
    let (permitted, refused) = assert_alike(OTHER_RULES, CONNECT);
    assert!(permitted >= 10 && refused >= 10, "{permitted} permitted, {refused} refused");
}

#[test]
fn no_bind_is_permitted_that_danted_refuses() {
    let (permitted, refused) = assert_alike(BIND_RULES, BIND);
    assert!(permitted >= 5 && refused >= 10, "{permitted} permitted, {refused} refused");
}
