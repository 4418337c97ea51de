//! `sockdctl list --watch` on a terminal.

use super::lab;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::site::SERVER;
use sockd_tests::sockd::{PERMIT_ALL, program};
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::{until, until_true};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

/// Before each look the screen is cleared.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The program on a terminal of its own.
struct Watch {
    program: Child,
    keys: File,
    terminal: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Watch {
    fn start(gateway: &Host) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave: terminal } = openpty(&size, None).expect("a terminal");
        let before = tcgetattr(&terminal).expect("its modes");
        let twin = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let mut command = Command::new(program("sockdctl"));
        command.args(["list", "--watch"]).stdin(twin()).stdout(twin()).stderr(twin());
        let program = gateway.spawn(&mut command).expect("sockdctl");
        let keys = File::from(master);
        let (mut screen, shown) = (keys.try_clone().expect("a descriptor"), Arc::new(Mutex::new(Vec::new())));
        let all = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails once nobody has the other end any more.
            while let Ok(length) = screen.read(&mut bytes) {
                all.lock().expect("what is shown").extend(&bytes[..length]);
            }
        });
        Self { program, keys, terminal, before, shown }
    }

    /// All complete screens so far: one ends where the next begins. A terminal has a carriage return in front of each
    /// line feed.
    fn screens(&self) -> Vec<String> {
        let shown = String::from_utf8(self.shown.lock().expect("what is shown").clone()).expect("text");
        let mut screens: Vec<String> = shown.split(CLEAR).map(|screen| screen.replace('\r', "")).collect();
        screens.pop();
        screens.into_iter().skip(1).collect()
    }

    /// The next screen but one: it was made after this was called.
    fn next(&self) -> String {
        let before = self.screens().len();
        until("two screens more", || self.screens().into_iter().nth(before + 1))
    }

    fn resize(&self, columns: &str, lines: &str) {
        let mut stty = Command::new("stty");
        stty.args(["cols", columns, "rows", lines]).stdin(self.terminal.try_clone().expect("a descriptor"));
        assert!(stty.status().expect("stty").success());
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).expect("modes")
    }

    fn press(mut self, key: u8) -> ExitStatus {
        assert!(!self.modes().local_flags.contains(LocalFlags::ECHO), "keys are not shown");
        self.keys.write_all(&[key]).expect("a key");
        let ended = until("its end", || self.program.try_wait().expect("a program"));
        assert_eq!(self.modes(), self.before, "the terminal is as it was");
        ended
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn fits(screen: &str, columns: usize, lines: usize) -> bool {
    screen.lines().count() <= lines && screen.lines().all(|line| line.chars().count() <= columns)
}

#[test]
fn it_fits_its_terminal_follows_its_size_and_leaves_it_as_it_was() {
    let lab = lab(PERMIT_ALL, "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let client = &lab.site.client;
    let request = |user: String| Request::connect((SERVER, 7)).by(user);
    let watch = Watch::start(&lab.site.gateway);
    assert_eq!(watch.next().lines().next(), Some("0 sessions"));
    let long = granted(client, &request("u".repeat(200)));
    until_true("the session is shown", || watch.next().starts_with("1 sessions\n"));
    let screen = watch.next();
    assert!(fits(&screen, 80, 24) && screen.contains(" uuuuuuuuuuuuuuu "), "{screen}");
    assert!(screen.lines().any(|line| line.contains(&format!("{SERVER}:7"))), "{screen}");
    let many: Vec<_> = (0..40).map(|number| granted(client, &request(format!("user{number}")))).collect();
    until_true("they are shown", || watch.next().starts_with("41 sessions\n"));
    let screen = watch.next();
    assert!(fits(&screen, 80, 24) && screen.lines().count() > 20, "{screen}");
    watch.resize("50", "10");
    until_true("it follows", || fits(&watch.next(), 50, 10));
    watch.resize("200", "60");
    until_true("it follows", || watch.next().lines().count() > 40);
    drop((long, many));
    until_true("they have gone", || watch.next().starts_with("0 sessions\n"));
    assert!(watch.press(b'q').success());
}

#[test]
fn ctrl_c_leaves_the_terminal_as_it_was() {
    let lab = lab(PERMIT_ALL, "()");
    let watch = Watch::start(&lab.site.gateway);
    watch.next();
    assert!(watch.press(3).success());
}
