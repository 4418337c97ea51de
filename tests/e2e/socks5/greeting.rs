//! The greeting: the chosen method, and bytes that are not SOCKS5 at all.

use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line};
use sockd_tests::site::SERVER;
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::PROXY;
use sockd_tests::socks5::{CHOSEN, CONNECT, GREETING, greet, to};
use std::time::Instant;

/// Sends these first bytes.
fn say(lab: &Lab, bytes: &[u8]) -> Line {
    let mut line = Line::dial(&lab.site.client, PROXY);
    line.send(bytes);
    line
}

/// Insists that no authentication is needed, and that the connection stays open.
fn assert_chosen(greeting: &[u8]) {
    let lab = Lab::new(PERMIT_ALL);
    let mut line = say(&lab, greeting);
    assert_eq!(line.read(2), CHOSEN);
    assert!(line.is_quiet());
}

/// Insists that no method is acceptable, which is logged with the offered ones.
fn assert_no_method(greeting: &[u8], offered: &str) {
    let mut lab = Lab::new(PERMIT_ALL);
    let mut line = say(&lab, greeting);
    assert_eq!(line.read_to_end(), (vec![5, 0xff], Ending::Closed));
    lab.assert_logged(&[format!(
        "daemon.notice error -- no acceptable method of authentication (offered {offered}; wanted none) \
         from host 192.0.2.10"
    )]);
}

/// Insists on a close without an answer, logged as another protocol.
fn assert_foreign(bytes: &[u8]) {
    let lab = Lab::new(PERMIT_ALL);
    say(&lab, bytes).ending();
    lab.wait_for_line(&format!("error -- wrong version (0x{:2x}) from host 192.0.2.10.", bytes[0]));
}

#[test]
fn s5_01_a_client_that_offers_no_authentication_is_served() {
    assert_chosen(&GREETING);
}

#[test]
fn s5_02_a_password_that_is_offered_too_is_not_asked_for() {
    assert_chosen(&[5, 2, 0, 2]);
}

#[test]
fn s5_03_the_order_of_the_methods_does_not_count() {
    assert_chosen(&[5, 2, 2, 0]);
}

#[test]
fn s5_04_a_password_alone_is_not_acceptable_where_there_is_none_to_compare_it_with() {
    assert_no_method(&[5, 1, 2], "password");
}

#[test]
fn s5_05_gssapi_alone_is_not_acceptable() {
    assert_no_method(&[5, 1, 1], "gssapi");
}

#[test]
fn s5_06_a_greeting_without_a_method_is_answered_that_none_is_acceptable() {
    assert_no_method(&[5, 0], "nothing");
}

#[test]
fn s5_07_a_method_that_nobody_knows_is_not_acceptable() {
    assert_no_method(&[5, 1, 0x80], "others");
}

#[test]
fn s5_08_a_greeting_may_have_255_methods() {
    let all: Vec<u8> = [5, 255].into_iter().chain(0..=254).collect();
    assert_chosen(&all);
}

#[test]
fn s5_09_a_method_may_be_offered_twice() {
    assert_chosen(&[5, 2, 0, 0]);
}

#[test]
fn s5_10_the_number_that_stands_for_no_method_is_not_acceptable_as_one() {
    assert_no_method(&[5, 1, 0xff], "others");
}

#[test]
fn s5_11_the_greeting_of_putty_is_accepted() {
    assert_chosen(&[5, 3, 0, 3, 2]);
}

#[test]
fn s5_12_the_greetings_of_gost_and_tun2proxy_are_accepted() {
    assert_chosen(&[5, 4, 0, 0x80, 0x82, 2]);
    assert_chosen(&[5, 4, 0, 4, 0x64, 2]);
}

#[test]
fn s5_13_another_version_is_closed_without_an_answer() {
    assert_foreign(&[6, 1, 0]);
    assert_foreign(&[0, 1, 0]);
}

#[test]
fn s5_14_tls_is_closed_without_an_answer() {
    assert_foreign(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
}

#[test]
fn s5_15_http_is_closed_without_an_answer() {
    assert_foreign(b"GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn s5_16_a_greeting_cut_short_is_closed_without_an_answer() {
    let mut lab = Lab::new(PERMIT_ALL);
    let mut line = say(&lab, &[5]);
    line.half_close();
    assert_eq!(line.ending(), Ending::Closed);
    lab.assert_logged(&["daemon.notice Error in GetDst: Success; from host 192.0.2.10".into()]);
}

#[test]
fn s5_17_a_greeting_that_stalls_is_closed_at_the_limit_of_a_request() {
    let lab = Lab::with_settings(PERMIT_ALL, "(request_limit: 1)");
    let mut line = say(&lab, &[5, 3, 0]);
    line.ending();
    lab.wait_for_line("Error in GetDst: Connection timed out; from host 192.0.2.10");
}

#[test]
fn s5_18_silence_behind_a_greeting_is_closed_at_the_same_limit_which_does_not_start_again() {
    let lab = Lab::with_settings(PERMIT_ALL, "(request_limit: 4)");
    let begun = Instant::now();
    let mut line = Line::dial(&lab.site.client, PROXY);
    std::thread::sleep(std::time::Duration::from_secs(2));
    line.send(GREETING);
    assert_eq!(line.read(2), CHOSEN);
    assert_eq!(line.read_to_end(), (vec![5, 1, 0, 1, 0, 0, 0, 0, 0, 0], Ending::Closed));
    // The greeting came in the middle of the limit.
    assert!(begun.elapsed().as_millis() < 5900, "{:?}", begun.elapsed());
    lab.wait_for_line("Error in GetDst: Connection timed out; from host 192.0.2.10");
}

#[test]
fn s5_47_another_protocol_behind_a_greeting_is_closed_without_a_reply() {
    for request in [&b"\x04\x01\x00\x50\xc6\x33\x64\x0a\0"[..], b"\x06\x01\x00\x01"] {
        let lab = Lab::new(PERMIT_ALL);
        let mut line = greet(&lab.site.client);
        line.send(request);
        assert_eq!(line.ending(), Ending::Closed);
        lab.wait_for_line(&format!("error -- wrong version (0x{:2x}) from host", request[0]));
    }
}

#[test]
fn s5_48_a_request_cut_short_is_closed_without_a_reply() {
    let mut lab = Lab::new(PERMIT_ALL);
    let mut line = greet(&lab.site.client);
    line.send([5, 1, 0, 1, 127, 0]);
    line.half_close();
    assert_eq!(line.ending(), Ending::Closed);
    lab.assert_logged(&["daemon.notice Error in GetDst: Success; from host 192.0.2.10".into()]);
}

#[test]
fn s5_49_a_request_without_a_greeting_is_read_as_one_and_closed() {
    let lab = Lab::new(PERMIT_ALL);
    let mut line = say(&lab, &to(CONNECT, (SERVER, 8080)));
    assert_eq!(line.read_to_end(), (CHOSEN.to_vec(), Ending::Closed));
    // There is one method, 00; the kind of the address follows it.
    lab.wait_for_line("error -- wrong version (0x 1) from host 192.0.2.10.");
}

#[test]
fn where_a_protocol_is_switched_off_its_clients_are_told_so_in_its_words() {
    let lab = Lab::with_settings(PERMIT_ALL, "(protocols: [socks5])");
    let mut line = say(&lab, b"\x04\x01\x00\x50\xc6\x33\x64\x0ajoe\0");
    assert_eq!(line.read_to_end(), (vec![0, 91, 0, 0, 0, 0, 0, 0], Ending::Closed));
    lab.wait_for_line("error -- wrong version (0x 4) from host 192.0.2.10.");
    drop(greet(&lab.site.client));
}
