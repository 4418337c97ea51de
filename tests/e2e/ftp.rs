//! Active-mode FTP, where the server opens every data connection: real vsftpd, and tnftp through socksify of
//! dante-client, which asks for a BIND for each transfer.

use sockd_tests::ftp::{LENGTH, file, transfer, vsftpd};
use sockd_tests::lab::Lab;
use sockd_tests::site::{CLIENT, SECOND_SERVER, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::wait::until_true;
use std::net::Ipv4Addr;

/// One FTP session with `server`; the log has its control connection and three BINDs, each for this server.
fn assert_transfers(lab: &mut Lab, server: Ipv4Addr) {
    transfer(&lab.site.client, server);
    let got = lab.site.client.run(|| std::fs::read("/run/got")).expect("the download");
    let put = format!("/run/ftp/incoming/{server}");
    let put = lab.site.server.run(|| std::fs::read(put)).expect("the upload");
    assert!(got == file() && put == file(), "{} and {} bytes", got.len(), put.len());
    // The lines of the control connection, and of a BIND that dante-client only tries, are among these.
    let is_transfer =
        |line: &&String| line.contains("connected -- Bind") && line.ends_with(&format!("for {server} (20)"));
    until_true("the transfers are logged", || lab.logged().iter().filter(is_transfer).count() == 3);
    lab.wait_for_line(&format!("0 bytes from {CLIENT}, {LENGTH} bytes from {server}"));
    lab.wait_for_line(&format!("{LENGTH} bytes from {CLIENT}, 0 bytes from {server}"));
    lab.turn_the_page();
}

#[test]
fn active_mode_ftp_works_through_a_single_homed_gateway() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _vsftpd = vsftpd(&lab.site.server);
    assert_transfers(&mut lab, SERVER);
}

#[test]
fn active_mode_ftp_works_through_both_outside_interfaces_of_a_gateway_that_does_not_forward() {
    let routes = "198.51.100.1 198.51.100.0 255.255.255.0\n203.0.113.1 203.0.113.0 255.255.255.0\n";
    let mut lab = Lab::started(PERMIT_ALL, |start| start.route(routes));
    assert_eq!(lab.site.gateway.read("/proc/sys/net/ipv4/ip_forward").trim(), "0");
    let _vsftpd = vsftpd(&lab.site.server);
    assert_transfers(&mut lab, SERVER);
    assert_transfers(&mut lab, SECOND_SERVER);
}

#[test]
fn active_mode_ftp_works_within_a_range_of_ports() {
    let mut lab = Lab::with_settings(PERMIT_ALL, "(bind_ports: (40000, 40002))");
    let _vsftpd = vsftpd(&lab.site.server);
    assert_transfers(&mut lab, SERVER);
}
