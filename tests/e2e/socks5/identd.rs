//! identd: a SOCKS5 client claims no user, and its identd vouches for any.

use crate::PORT;
use sockd_tests::classic::Session;
use sockd_tests::far::Server;
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, SERVER, Site};
use sockd_tests::socks5::{CONNECT, assert_refused, granted, to};

#[test]
fn the_user_that_identd_names_is_let_in_and_logged() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, PORT));
    let identd = Identd::start(&site.client, CLIENT);
    identd.names("joe");
    let mut lab = Lab::at(site, "permit ?=I ALL 0.0.0.0\n", |start| start);
    drop(granted(&lab.site.client, to(CONNECT, (SERVER, PORT))));
    let session = Session { real_user: "joe".into(), ..Session::of(CLIENT, SERVER, "http-alt").by("") };
    lab.assert_logged(&session.relayed(0, 0));
    assert_eq!(identd.queries().len(), 1);
}

#[test]
fn where_identd_names_nobody_a_strict_line_refuses_and_a_lenient_one_does_not() {
    for (conf, refused) in [("permit ?=I ALL 0.0.0.0\n", true), ("permit ?=i ALL 0.0.0.0\n", false)] {
        let site = Site::new();
        let _echo = Server::echo(&site.server, (SERVER, PORT));
        let lab = Lab::at(site, conf, |start| start);
        let request = to(CONNECT, (SERVER, PORT));
        match refused {
            true => assert_refused(&lab.site.client, request, 2),
            false => drop(granted(&lab.site.client, request)),
        }
        lab.wait_for_line("cannot connect to identd on 192.0.2.10");
    }
}
