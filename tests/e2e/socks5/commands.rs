//! The commands of rules: their words about a client that speaks SOCKS5.

use crate::{PORT, SERVER_6, site_with_name};
use sockd_tests::dns::Nameserver;
use sockd_tests::far::Server;
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::socks5::{BIND, CONNECT, ask, bound, granted, to, to_name};
use sockd_tests::wait::until;

const ALL: &str = "echo %A %a %c %p %S %s %U %u %Z %z %% >> /run/hooks/out";

/// A lab whose rule runs [`ALL`], with servers, and a nameserver that knows one of them.
fn lab(rule: &str) -> (Nameserver, Vec<Server>, Lab) {
    let (site, nameserver) = site_with_name();
    site.gateway.sh("mkdir -m 777 /run/hooks");
    let addresses: [std::net::IpAddr; 2] = [SERVER.into(), SERVER_6.into()];
    let servers = addresses.map(|address| Server::echo(&site.server, (address, PORT)));
    (nameserver, servers.into(), Lab::at(site, &format!("{rule} : {ALL}\n"), |start| start))
}

/// The line that the command with this number has written.
fn written(lab: &Lab, number: usize) -> String {
    until("what a command has written", || {
        let text = lab.site.gateway.read("/run/hooks/out");
        text.split_inclusive('\n').nth(number).and_then(|line| line.strip_suffix('\n')).map(str::to_owned)
    })
}

#[test]
fn a_command_sees_a_name_an_ipv6_address_and_no_user() {
    let (_nameserver, _servers, lab) = lab("permit ALL 0.0.0.0");
    let pid = lab.sockd.monitor().0;
    let requests = [
        (to(CONNECT, (SERVER, PORT)), "198.51.100.10 198.51.100.10"),
        (to_name(CONNECT, "web.test", PORT), "web.test 198.51.100.10"),
        (to(CONNECT, (SERVER_6, PORT)), "2001:db8:2::10 2001:db8:2::10"),
    ];
    for (place, (request, destination)) in requests.into_iter().enumerate() {
        drop(granted(&lab.site.client, request));
        let line =
            format!("192.0.2.10 192.0.2.10 connect {pid} http-alt 8080 unknown unknown {destination} %");
        assert_eq!(written(&lab, place), line);
    }
    let mut line = ask(&lab.site.client, to(BIND, (SERVER, 4711)));
    bound(&mut line);
    let line =
        format!("192.0.2.10 192.0.2.10 bind {pid} 4711 4711 unknown unknown 198.51.100.10 198.51.100.10 %");
    assert_eq!(written(&lab, 3), line);
}

#[test]
fn a_command_sees_the_user_whom_identd_names_and_nobody_who_claims_it() {
    let (_nameserver, _servers, lab) = lab("permit ?=I ALL 0.0.0.0");
    let identd = Identd::start(&lab.site.client, CLIENT);
    identd.names("joe");
    drop(granted(&lab.site.client, to(CONNECT, (SERVER, PORT))));
    let pid = lab.sockd.monitor().0;
    let line = format!(
        "192.0.2.10 192.0.2.10 connect {pid} http-alt 8080 joe unknown 198.51.100.10 198.51.100.10 %"
    );
    assert_eq!(written(&lab, 0), line);
}
