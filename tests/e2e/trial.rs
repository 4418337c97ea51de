//! `sockd --trial` from the build tree, as the user who runs the tests: it needs neither root nor a program but sockd.

use nix::pty::openpty;
use nix::sys::signal::Signal;
use sockd_tests::far::{Far, Server};
use sockd_tests::host::Host;
use sockd_tests::line::Line;
use sockd_tests::payload;
use sockd_tests::program::Program;
use sockd_tests::sockd::{install_at, program};
use sockd_tests::socks::{GRANTED, REJECTED, Reply, Request, send_to};
use sockd_tests::wait::until;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Crosses every buffer on its way, and is spliced.
const BULK: u64 = 8 << 20;

/// A folder of a test's own, empty, below the build tree: the mount options of /tmp hinder no program in it.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trial").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A running trial.
struct Trial {
    program: Program,
    folder: PathBuf,
    place: SocketAddr,
}

impl Trial {
    /// A trial of the build tree.
    fn new(name: &str) -> Self {
        Self::of(&program("sockd"), folder(name))
    }

    /// A trial of this program.
    fn of(sockd: &Path, folder: PathBuf) -> Self {
        let mut command = Command::new(sockd);
        command.args(["--trial", "--listen", "127.0.0.1:0"]);
        let stderr = File::create(folder.join("stderr")).expect("a file");
        Self::by(command.stdin(Stdio::null()).stderr(stderr), folder)
    }

    /// A trial by this command.
    fn by(command: &mut Command, folder: PathBuf) -> Self {
        let stdout = folder.join("stdout");
        command.stdout(File::create(&stdout).expect("a file"));
        let mut program = Host::here().start(command);
        let place = until("the trial says where it serves", || {
            let ended = program.ended();
            let said = || fs::read_to_string(folder.join("stderr")).unwrap_or_default();
            assert!(ended.is_none(), "{ended:?}: {}", said());
            curl_line(&fs::read_to_string(&stdout).unwrap_or_default())
        });
        Self { program, folder, place }
    }

    /// Its output on the terminal, and its log.
    fn said(&self) -> (String, String) {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        (read("stdout"), read("stderr"))
    }

    /// Waits for a line in its log.
    fn wait_for(&self, text: &str) {
        until(text, || self.said().1.contains(text).then_some(()));
    }

    fn ask(&self, request: &Request) -> (Line, Reply) {
        let mut line = send_to(&Host::here(), self.place, request);
        let reply = Reply::read(&mut line);
        (line, reply)
    }

    fn ends_well(mut self) {
        let status = self.program.wait();
        assert!(status.success(), "{status}: {}", self.said().1);
    }
}

/// The address in the line to copy, once the whole text is there.
fn curl_line(said: &str) -> Option<SocketAddr> {
    let said = said.rsplit_once("\nStop: ")?.0;
    let words = said.lines().find_map(|line| line.strip_prefix("    curl --socks5-hostname "))?;
    words.strip_suffix(" http://www.example.org/")?.parse().ok()
}

#[test]
fn a_trial_relays_every_byte_both_ways_and_ends_when_it_is_told() {
    let trial = Trial::new("bytes");
    let echo = Server::echo(&Host::here(), (Ipv4Addr::LOCALHOST, 0));
    let SocketAddr::V4(to) = echo.address() else { unreachable!() };
    for request in [Request::connect(to), Request::connect_name("localhost", to.port())] {
        let (mut line, reply) = trial.ask(&request);
        assert_eq!(reply, Reply::with(GRANTED), "{}", trial.said().1);
        let mut sender = line.stream().try_clone().expect("a second descriptor");
        let sending = thread::spawn(move || {
            payload::write(&mut sender, BULK)?;
            sender.shutdown(std::net::Shutdown::Write)
        });
        assert_eq!(payload::check(line.stream()).expect("reading"), Ok(BULK));
        sending.join().expect("the sender").expect("sending");
    }
    trial.wait_for(&format!("{BULK} bytes from 127.0.0.1, {BULK} bytes from "));
    trial.program.signal(Signal::SIGINT);
    trial.wait_for("stopped");
    trial.ends_well();
}

#[test]
fn a_trial_opens_a_port_for_a_server_that_comes_back() {
    let trial = Trial::new("bind");
    let (mut line, first) = trial.ask(&Request::connect((Ipv4Addr::LOCALHOST, 21)).as_bind());
    assert_eq!(first.code, GRANTED, "{}", trial.said().1);
    let port = SocketAddrV4::new(Ipv4Addr::LOCALHOST, first.address.port());
    let mut server = Line::dial(&Host::here(), port);
    assert_eq!(Reply::read(&mut line).code, GRANTED, "{}", trial.said().1);
    server.send("from the server");
    assert_eq!(line.read(15), b"from the server");
    line.send("from the client");
    assert_eq!(server.read(15), b"from the client");
}

#[test]
fn a_trial_says_what_it_cannot_do() {
    let trial = Trial::new("refusals");
    let nobody = Far::listen(&Host::here(), Ipv4Addr::LOCALHOST).v4();
    let (_, reply) = trial.ask(&Request::connect(nobody));
    assert_eq!(reply, Reply::with(REJECTED));
    trial.wait_for("failed -- Connect from joe(unknown)@127.0.0.1 to 127.0.0.1");
    // The greeting of a SOCKS5 client that has nothing but a password to show.
    let mut line = Line::dial(&Host::here(), trial.place);
    line.send(b"\x05\x01\x02");
    assert_eq!(line.read(2), b"\x05\xff");
    line.ending();
    trial.wait_for(
        "error -- no acceptable method of authentication (offered password; wanted none) from host 127.0.0.1",
    );
}

#[test]
fn a_trial_tells_where_it_serves_what_protects_it_where_the_log_goes_and_how_to_stop() {
    let trial = Trial::new("greeting");
    let (said, log) = trial.said();
    let begins = [
        "sockd ",
        "This is a trial",
        "    curl --socks5-hostname 127.0.0.1:",
        "Sandbox: ",
        "Log: ",
        "Stop: ",
    ];
    assert_eq!(said.lines().count(), begins.len(), "{said}");
    for (line, begin) in said.lines().zip(begins) {
        assert!(line.starts_with(begin) && line.len() <= 120, "{line}");
    }
    assert!(log.contains(&format!("serving on {}: ", trial.place)), "{log}");
}

/// The programs of the build tree, as another umask would have left them.
fn built_with(name: &str, folder_mode: u32, file_mode: u32) -> PathBuf {
    let folder = folder(name);
    let tree = folder.join("debug");
    fs::create_dir(&tree).expect("a folder");
    for name in ["sockd", "sockd-worker"] {
        let place = tree.join(name);
        install_at(&Host::here(), &program(name), place.to_str().expect("UTF-8"));
        fs::set_permissions(&place, fs::Permissions::from_mode(file_mode)).expect("a mode");
    }
    fs::set_permissions(&tree, fs::Permissions::from_mode(folder_mode)).expect("a mode");
    folder
}

#[test]
fn a_trial_serves_from_what_was_built_with_any_umask() {
    let is_root = nix::unistd::geteuid().is_root();
    for (name, folder_mode, file_mode) in
        [("umask-002", 0o775, 0o775), ("umask-077", 0o700, 0o700), ("umask-000", 0o777, 0o777)]
    {
        let folder = built_with(name, folder_mode, file_mode);
        let trial = Trial::of(&folder.join("debug/sockd"), folder);
        let echo = Server::echo(&Host::here(), (Ipv4Addr::LOCALHOST, 0));
        let SocketAddr::V4(to) = echo.address() else { unreachable!() };
        let (mut line, reply) = trial.ask(&Request::connect(to));
        assert_eq!(reply, Reply::with(GRANTED), "{name}: {}", trial.said().1);
        line.send("bytes");
        assert_eq!(line.read(5), b"bytes");
        // An ordinary user need not hear of it; root would run a program that somebody else may have written.
        let accepted = trial.said().1.contains("a trial of a build tree accepts that");
        assert_eq!(accepted, is_root && file_mode & 0o022 != 0, "{name}: {}", trial.said().1);
    }
}

#[test]
fn a_daemon_that_is_no_trial_does_not_serve_from_what_others_may_write() {
    let folder = built_with("no-trial", 0o775, 0o775);
    let conf = folder.join("sockd.conf");
    File::create(&conf).and_then(|mut file| file.write_all(b"permit ALL 0.0.0.0\n")).expect("rules");
    let mut command = Command::new(folder.join("debug/sockd"));
    command.args(["--log", "stderr", "--listen", "127.0.0.1:0", "--conf"]).arg(&conf);
    let output = command.output().expect("sockd");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(71), "{said}");
    assert!(said.contains("no write permission for group and others"), "{said}");
}

#[test]
fn a_trial_ends_with_the_hang_up_of_its_terminal() {
    let trial = Trial::new("signal");
    trial.program.signal(Signal::SIGHUP);
    trial.wait_for("stopping");
    trial.ends_well();
}

#[test]
fn a_trial_in_the_background_of_a_terminal_ends_when_that_is_closed() {
    // No signal comes: it is not the terminal's foreground process.
    let terminal = openpty(None, None).expect("a terminal");
    let (emulator, end) = (terminal.master, File::from(terminal.slave));
    let mut command = Command::new(program("sockd"));
    command.args(["--trial", "--listen", "127.0.0.1:0"]);
    let twin = || end.try_clone().expect("a second descriptor");
    let trial = Trial::by(command.stdin(twin()).stderr(twin()), folder("terminal"));
    drop((command, end, emulator));
    trial.ends_well();
}
