//! What the starter hands over: sockets from systemd by LISTEN_FDS, from inetd as descriptor 0; and what systemd hears.

use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::line::{Ending, Line};
use sockd_tests::program::Program;
use sockd_tests::sockd::program;
use sockd_tests::socks::{GRANTED, REJECTED, Reply, Request};
use sockd_tests::wait::{LONG, uninterrupted, until_true};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

const CONF: &str = "permit 127.0.0.0/8 127.0.0.0/8\n";
const NOTIFY: &str = "/run/notify";

/// A machine with rules, and a server to reach on it.
fn gateway() -> (Host, Server) {
    let host = Host::new();
    host.write("/etc/sockd.conf", CONF);
    let server = Server::echo(&host, (Ipv4Addr::LOCALHOST, 7));
    (host, server)
}

fn listener(host: &Host) -> (TcpListener, SocketAddr) {
    let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn request(to: SocketAddr) -> Request {
    let SocketAddr::V4(to) = to else { panic!("{to} is not IPv4") };
    Request::connect(to)
}

/// Asks for the echo server, and has something echoed.
fn assert_serves(line: &mut Line, server: &Server) {
    line.send(request(server.address()).bytes());
    assert_eq!(Reply::read(line), Reply::with(GRANTED));
    line.send("early bird");
    line.half_close();
    assert_eq!(line.read_to_end(), (b"early bird".to_vec(), Ending::Closed));
}

/// As inetd starts it: the socket is descriptor 0, 1 and 2.
fn inetd(host: &Host, socket: &OwnedFd) -> Program {
    let twin = || Stdio::from(socket.try_clone().expect("a second descriptor"));
    host.start(Command::new(program("sockd")).stdin(twin()).stdout(twin()).stderr(twin()))
}

#[test]
fn inetd_that_waits_hands_over_the_listening_socket() {
    let (host, server) = gateway();
    let (listener, address) = listener(&host);
    let mut sockd = inetd(&host, &listener.into());
    for _ in 0..2 {
        assert_serves(&mut Line::dial(&host, address), &server);
    }
    sockd.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(sockd.wait().success());
}

#[test]
fn inetd_that_does_not_wait_hands_over_one_client() {
    let (host, server) = gateway();
    let (listener, address) = listener(&host);
    let mut line = Line::dial(&host, address);
    let client = listener.accept().expect("the client").0;
    let mut sockd = inetd(&host, &client.into());
    assert_serves(&mut line, &server);
    assert!(sockd.wait().success(), "it ends with its client");
}

#[test]
fn the_address_that_inetd_listens_at_is_not_a_destination() {
    let (host, _server) = gateway();
    let (listener, address) = listener(&host);
    let mut line = Line::dial(&host, address);
    let client = listener.accept().expect("the client").0;
    let mut sockd = inetd(&host, &client.into());
    line.send(request(address).bytes());
    assert_eq!(Reply::read(&mut line), Reply::with(REJECTED));
    line.ending();
    assert!(sockd.wait().success());
}

/// As systemd starts it: sockets from descriptor 3, their names and where to send messages in the environment.
fn systemd(host: &Host, socket: Option<OwnedFd>) -> (Program, UnixDatagram) {
    let manager = host.run(|| UnixDatagram::bind(NOTIFY)).expect("the service manager's socket");
    manager.set_read_timeout(Some(LONG)).expect("a limit");
    // Descriptor 0 becomes descriptor 3: a child started from here can be given no other.
    let handed = "LISTEN_FDS=1 LISTEN_FDNAMES=inside LISTEN_PID=$$ exec \"$0\" --log stderr 3<&0 0</dev/null";
    let line = if socket.is_some() { handed } else { "exec \"$0\" --log stderr" };
    let stderr = host.run(|| std::fs::File::create("/run/stderr")).expect("a file");
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .arg(program("sockd"))
        .env("NOTIFY_SOCKET", NOTIFY)
        .env("WATCHDOG_USEC", "1000000");
    command.stdin(socket.map_or_else(Stdio::null, Stdio::from)).stderr(stderr);
    (host.start(&mut command), manager)
}

/// The next message that is not a mere sign of life.
fn next(manager: &UnixDatagram) -> String {
    loop {
        let mut packet = [0; 500];
        let length = uninterrupted(|| manager.recv(&mut packet)).expect("a message");
        let text = String::from_utf8_lossy(&packet[..length]).into_owned();
        if !text.starts_with("WATCHDOG=1") {
            return text;
        }
    }
}

#[test]
fn systemd_hands_over_a_socket_with_its_name_and_hears_of_every_change() {
    let (host, server) = gateway();
    let (listener, address) = listener(&host);
    let (mut sockd, manager) = systemd(&host, Some(listener.into()));
    let ready = next(&manager);
    assert!(ready.starts_with("READY=1\nSTATUS=") && ready.contains("1 rule"), "{ready}");
    assert!(host.read("/run/stderr").contains(&format!("serving on {address} (inside): ")));
    assert_serves(&mut Line::dial(&host, address), &server);
    let mut packet = [0; 500];
    let length = manager.recv(&mut packet).expect("a sign of life");
    assert!(packet[..length].starts_with(b"WATCHDOG=1\n"), "{}", packet[..length].escape_ascii());
    host.write("/etc/sockd.conf", format!("{CONF}{CONF}"));
    sockd.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(next(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let ready = next(&manager);
    assert!(ready.starts_with("READY=1\n") && ready.contains("2 rules"), "{ready}");
    sockd.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(next(&manager).starts_with("STOPPING=1\n"));
    assert!(sockd.wait().success());
}

#[test]
fn a_reload_that_fails_is_over_for_systemd_as_well() {
    let (host, _server) = gateway();
    let (listener, _) = listener(&host);
    let (sockd, manager) = systemd(&host, Some(listener.into()));
    assert!(next(&manager).starts_with("READY=1\n"));
    host.write("/etc/sockd.conf", "permit\n");
    sockd.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(next(&manager).starts_with("RELOADING=1\n"));
    assert!(next(&manager).starts_with("READY=1\n"));
    until_true("the log says why", || host.read("/run/stderr").contains("reload failed"));
}

#[test]
fn under_systemd_a_file_without_a_rule_is_no_start() {
    let (host, _server) = gateway();
    host.write("/etc/sockd.conf", "# nothing yet\n");
    let (mut sockd, _manager) = systemd(&host, None);
    assert_eq!(sockd.wait().code(), Some(78));
    let said = host.read("/run/stderr");
    assert!(said.contains("/etc/sockd.conf has no rule yet") && said.contains("sockd --check"), "{said}");
}
