//! Names with several addresses, some of them dead: a live one serves the client, and soon.

use sockd_tests::dns::{A, AAAA, Answer, Nameserver, Question};
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::site::{NAMESERVER, SERVER, Site};
use sockd_tests::socks::{Request, granted};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

const NAME: &str = "www.example.net";

/// An address whose neighbour entry leads to no station: packets to it are lost.
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);
const NOBODY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x99);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// Far less than `connect_limit`, and far more than the attempts need on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn site(script: impl Fn(&Question) -> Answer + Send + Sync + 'static) -> (Site, Nameserver) {
    let site = Site::new();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    for nobody in [IpAddr::from(NOBODY), NOBODY6.into()] {
        let neighbour = format!("ip neigh add {nobody} lladdr 02:00:00:00:00:99 dev outside nud permanent");
        site.gateway.sh(&neighbour);
    }
    let dns = Nameserver::start(&site.server, script);
    (site, dns)
}

/// The client's connection, which must be granted soon.
fn soon(lab: &Lab, port: u16) -> Line {
    let begin = Instant::now();
    let line = granted(&lab.site.client, &Request::connect_name(NAME, port));
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    line
}

#[test]
fn dead_addresses_before_a_live_one_cost_a_moment_each() {
    let (site, _dns) = site(|question| match question.kind {
        A => Answer::Addresses([NOBODY, NOBODY, SERVER].map(IpAddr::from).into()),
        _ => Answer::Addresses(Vec::new()),
    });
    let _echo = Server::echo(&site.server, (SERVER, 7));
    drop(soon(&Lab::new_at(site), 7));
}

#[test]
fn one_dead_family_does_not_keep_a_client_from_the_other() {
    for (live, dead) in
        [(IpAddr::from(SERVER), IpAddr::from(NOBODY6)), (IpAddr::from(SERVER6), IpAddr::from(NOBODY))]
    {
        let (site, _dns) = site(move |question| match question.kind {
            A => Answer::Addresses([live, dead].into_iter().filter(IpAddr::is_ipv4).collect()),
            AAAA => Answer::Addresses([live, dead].into_iter().filter(IpAddr::is_ipv6).collect()),
            _ => Answer::NoSuchName,
        });
        let far = Far::listen(&site.server, live);
        let lab = Lab::new_at(site);
        drop(soon(&lab, far.address().port()));
        far.accept();
    }
}

#[test]
fn of_two_families_that_answer_ipv6_is_used_and_without_a_route_ipv4() {
    let (site, _dns) = site(|question| match question.kind {
        A => Answer::Addresses(vec![SERVER.into()]),
        AAAA => Answer::Addresses(vec![SERVER6.into()]),
        _ => Answer::NoSuchName,
    });
    let far6 = Far::listen(&site.server, SERVER6);
    let far4 = Far::listen_at(&site.server, (SERVER, far6.address().port()));
    let lab = Lab::new_at(site);
    drop(soon(&lab, far6.address().port()));
    far6.accept();
    lab.site.gateway.sh("ip -6 address flush dev outside scope global");
    drop(soon(&lab, far6.address().port()));
    far4.accept();
    assert!(far6.waiting().is_none());
}
