//! Active-mode FTP, where the server opens every data connection: real vsftpd, and tnftp through socksify of
//! dante-client, which asks for a BIND for each transfer.

use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::payload;
use sockd_tests::procfs;
use sockd_tests::program::Program;
use sockd_tests::site::{CLIENT, SECOND_SERVER, SERVER};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::wait::until_true;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Bytes of the file that is transferred.
const LENGTH: u64 = 5_000_000;

/// vsftpd on all addresses, with active mode only, data connections from port 20, and a folder for uploads.
fn vsftpd(server: &Host) -> Program {
    server.sh("mkdir -p /run/vsftpd/empty /run/ftp/incoming");
    server.sh("chmod 777 /run/ftp/incoming");
    server.write("/run/ftp/file", file());
    server.write(
        "/etc/vsftpd.conf",
        "listen=YES\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\n\
         anon_root=/run/ftp\nwrite_enable=YES\nanon_upload_enable=YES\nanon_umask=022\npasv_enable=NO\n\
         connect_from_port_20=YES\nsecure_chroot_dir=/run/vsftpd/empty\n",
    );
    let mut command = Command::new("vsftpd");
    let program = Program::start(server, command.arg("/etc/vsftpd.conf").stdin(Stdio::null()));
    until_true("vsftpd listens", || procfs::listens(server, 21));
    program
}

fn file() -> Vec<u8> {
    let mut bytes = Vec::new();
    payload::write(&mut bytes, LENGTH).expect("memory");
    bytes
}

/// Directory listing, download and upload with one FTP session of tnftp.
fn transfer(client: &Host, server: Ipv4Addr) {
    client.write(
        "/etc/dante.conf",
        "resolveprotocol: fake\nroute {\n from: 0.0.0.0/0 to: 0.0.0.0/0 via: 192.0.2.1 port = 1080\n \
         command: bind connect\n protocol: tcp\n proxyprotocol: socks_v4\n}\n",
    );
    client.write(
        "/run/script",
        format!(
            "open {server}\nuser anonymous joe@example.net\npassive off\nepsv4 off\nbinary\ndir\n\
             get file /run/got\nput /run/got incoming/{server}\nbye\n"
        ),
    );
    // A shell for the redirection of standard input only.
    let words = ["60", "sh", "-c", "exec socksify tnftp -A -n -v -i </run/script"];
    let output = client.output(Command::new("timeout").args(words));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("226 ").count(), 3, "{said}");
}

/// One FTP session with `server`; the log has its control connection and three BINDs, each for this server.
fn assert_transfers(lab: &mut Lab, server: Ipv4Addr) {
    transfer(&lab.site.client, server);
    let got = lab.site.client.run(|| std::fs::read("/run/got")).expect("the download");
    let put = format!("/run/ftp/incoming/{server}");
    let put = lab.site.server.run(|| std::fs::read(put)).expect("the upload");
    assert!(got == file() && put == file(), "{} and {} bytes", got.len(), put.len());
    // Among these stand the lines of the control connection, and a BIND that dante-client only tries.
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
