//! The limits of a line on a user.

use super::{OFFER, PORT, RIGHT, WANTED, place};
use sockd_tests::host::Host;
use sockd_tests::line::Line;
use sockd_tests::site::SERVER;
use sockd_tests::socks::PROXY;
use sockd_tests::socks5::to;
use sockd_tests::wait::until_true;

/// joe's request, and the code of its reply.
fn asks(host: &Host) -> (Line, u8) {
    let mut line = Line::dial(host, PROXY);
    line.send(OFFER);
    assert_eq!(line.read(2), WANTED);
    line.send(b"\x01\x03joe\x06sesame");
    assert_eq!(line.read(2), RIGHT);
    line.send(to(1, (SERVER, PORT)));
    let code = line.read(10)[1];
    (line, code)
}

#[test]
fn a_user_with_a_password_has_a_lines_room_once_on_all_hosts() {
    let place = place("permit @=password n=1 ALL 0.0.0.0\n", "()");
    let (held, code) = asks(&place.lab.site.client);
    assert_eq!((code, asks(&place.lab.site.other).1), (0, 2), "the same user elsewhere");
    place.lab.wait_for_line("n=1 of rule 1 reached");
    drop(held);
    until_true("there is room again", || asks(&place.lab.site.other).1 == 0);
}
