//! sockd.route: the interface by which a connection leaves.

use sockd_tests::classic::Session;
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, OUTSIDE, SECOND_OUTSIDE, SECOND_SERVER, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{Request, assert_rejected, granted};

#[test]
fn the_first_matching_line_gives_the_source_address() {
    let route = "203.0.113.1 198.51.100.10 255.255.255.255\n198.51.100.1 0.0.0.0 0.0.0.0\n";
    let lab = Lab::started(PERMIT_ALL, |start| start.route(route));
    // Sent from 203.0.113.1 by way of 198.51.100.1: the server needs to know the way back.
    let far = Far::listen(&lab.site.server, SERVER);
    let _near = granted(&lab.site.client, &Request::connect(far.v4()));
    assert_eq!(far.accept().peer().ip(), SECOND_OUTSIDE);
    let far = Far::listen(&lab.site.server, SECOND_SERVER);
    let _near = granted(&lab.site.client, &Request::connect(far.v4()));
    assert_eq!(far.accept().peer().ip(), OUTSIDE);
}

#[test]
fn without_a_route_file_the_kernel_chooses() {
    let lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SECOND_SERVER);
    let _near = granted(&lab.site.client, &Request::connect(far.v4()));
    assert_eq!(far.accept().peer().ip(), SECOND_OUTSIDE);
}

#[test]
fn a_destination_that_no_line_matches_is_refused_with_the_classic_line() {
    let lab = Lab::started(PERMIT_ALL, |start| start.route("203.0.113.1 203.0.113.0 255.255.255.0\n"));
    let _server = Server::echo(&lab.site.server, (SERVER, 7));
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    let lines = lab.logged_whole(2);
    assert!(
        lines.contains(
            &"daemon.err ***Cannot find appropriate interface to communicate with 198.51.100.10".to_owned()
        ),
        "{lines:?}"
    );
    assert!(lines.contains(&Session::of(CLIENT, SERVER, "echo").refused()), "{lines:?}");
}

#[test]
fn an_interface_address_that_this_host_lacks_fails_the_connection() {
    let lab = Lab::started(PERMIT_ALL, |start| start.route("10.1.1.1 0.0.0.0 0.0.0.0\n"));
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    lab.wait_for_line("Error code: bind() Cannot assign requested address");
}
