//! `sockd-passwd` as administrators and scripts run it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sockd_users::Users;
use tempfile::TempDir;

const PASSWD: &str = env!("CARGO_BIN_EXE_sockd-passwd");

/// `correct horse`, by htpasswd -B and by mkpasswd -m yescrypt -R 1.
const BCRYPT: &str = "$2y$05$v8R3SnyJc/5RXQoNGK4/K.7wnbK9cNlqyFqblZnvZWjQcaaxvKZoy";
const YESCRYPT: &str = "$y$j75$RXTXIOMf0kPnyYrzz0Um90$/H/Udg9dgG.9b51E7xNc/ZgyCK2WxPUk1U5/goX9Ov1";

/// The cheapest hash that a test can have.
const CHEAP: [&str; 2] = ["--cost", "1"];

struct Place(TempDir);

impl Place {
    /// A folder that nobody else can write, without a file.
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        fs::set_permissions(place.0.path(), Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn with(text: &str) -> Self {
        let place = Self::new();
        fs::write(place.file(), text).unwrap();
        place.set_mode(0o600);
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("passwd")
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.file(), Permissions::from_mode(mode)).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PASSWD);
        command.arg("--file").arg(self.file()).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, words: &[&str], password: &[u8]) -> Child {
        let mut child = self.command(words).args(["--password-fd", "0"]).spawn().unwrap();
        // A program that has already refused does not read.
        let _ = child.stdin.take().unwrap().write_all(password);
        child
    }

    fn run(&self, words: &[&str], password: &[u8]) -> Output {
        self.start(words, password).wait_with_output().unwrap()
    }

    fn ask(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    fn verifies(&self, user: &str, password: &str) -> bool {
        let output = self.run(&["verify", user], password.as_bytes());
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        output.status.success()
    }

    fn others(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "passwd").collect()
    }
}

fn said(output: &Output) -> (Option<i32>, String) {
    let both = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(both).unwrap())
}

#[test]
fn a_user_is_added_verified_changed_listed_and_removed() {
    let place = Place::new();
    let add = [&["--groups", "staff,wheel", "add", "joe"], &CHEAP[..]].concat();
    assert_eq!(said(&place.run(&add, b"sesame\n")), (Some(0), String::new()));
    assert_eq!(fs::metadata(place.file()).unwrap().mode() & 0o7777, 0o600);
    assert!(
        place.text().starts_with("joe:$y$j75$") && place.text().ends_with(":staff,wheel\n"),
        "{}",
        place.text()
    );
    assert!(place.verifies("joe", "sesame") && place.verifies("joe", "sesame\n"));
    assert!(!place.verifies("joe", "Sesame") && !place.verifies("eve", "sesame"));
    for (kind, cost, beginning) in [
        ("bcrypt", "4", "joe:$2b$04$"),
        ("sha512crypt", "1000", "joe:$6$rounds=1000$"),
        ("argon2id", "1", "joe:$argon2id$v=19$m=1024,t=2,p=1$"),
        ("yescrypt", "2", "joe:$y$j85$"),
    ] {
        let output = place.run(&["change", "joe", "--hash", kind, "--cost", cost], kind.as_bytes());
        assert_eq!(said(&output), (Some(0), String::new()));
        assert!(place.text().starts_with(beginning) && place.text().ends_with(":staff,wheel\n"));
        assert!(place.verifies("joe", kind) && !place.verifies("joe", "sesame"));
        assert!(Users::parse(place.text().as_bytes()).is_ok());
    }
    assert_eq!(said(&place.ask(&["list"])), (Some(0), "joe\tyescrypt\tstaff,wheel\n".into()));
    assert_eq!(said(&place.ask(&["groups", "joe"])), (Some(0), "staff,wheel\n".into()));
    assert_eq!(said(&place.ask(&["groups", "joe", ""])), (Some(0), String::new()));
    assert_eq!(said(&place.ask(&["list"])), (Some(0), "joe\tyescrypt\n".into()));
    assert_eq!(said(&place.ask(&["remove", "joe"])), (Some(0), String::new()));
    assert_eq!((place.text(), place.others()), (String::new(), Vec::new()));
}

#[test]
fn other_lines_stay_as_they_are() {
    let before = format!("# ours\njoe:{BCRYPT}\n\neve:{YESCRYPT}:19700:0:99999:7:::\nroot:*:19700::::::\n");
    let place = Place::with(&before);
    assert!(place.verifies("eve", "correct horse") && !place.verifies("root", "*"));
    assert!(place.run(&[&["change", "joe"], &CHEAP[..]].concat(), b"sesame").status.success());
    let after = place.text();
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    assert_eq!((old[0], &old[2..]), (new[0], &new[2..]));
    assert!(place.verifies("joe", "sesame"));
    let list = "joe\tyescrypt\neve\tyescrypt\nroot\tlocked\n";
    assert_eq!(said(&place.ask(&["list"])), (Some(0), list.into()));
}

#[test]
fn what_is_wrong_is_told_and_changes_nothing() {
    let text = format!("joe:{BCRYPT}\n");
    let place = Place::with(&text);
    let long = [b'x'; 256];
    let cases: [(&[&str], &[u8], i32, &str); 14] = [
        (&["add", "joe"], b"sesame", 65, "there is a user joe already"),
        (&["change", "eve"], b"sesame", 65, "there is no user eve"),
        (&["add", "eve"], b"", 65, "found an empty one"),
        (&["add", "eve"], b"\n", 65, "found an empty one"),
        (&["add", "eve"], b"a\0b", 65, "zero byte"),
        (&["add", "eve"], &long, 65, "at most 255 bytes"),
        (&["add", "eve", "--hash", "bcrypt"], &long[..72], 65, "at most 71 bytes"),
        (&["add", "e:e"], b"sesame", 64, "expected a user"),
        (&["add", "eve", "--groups", "1st"], b"sesame", 64, "expected groups"),
        (&["add", "eve", "--cost", "9"], b"sesame", 64, "expected a cost"),
        (&["add", "eve", "--hash", "bcrypt", "--cost", "31"], b"sesame", 64, "expected a cost"),
        (&["add", "eve", "--hash", "md5"], b"sesame", 64, "md5"),
        (&["list"], b"sesame", 64, "--password-fd means nothing"),
        (&["verify", "joe", "--hash", "bcrypt"], b"sesame", 64, "--hash means nothing"),
    ];
    for (words, password, status, words_said) in cases {
        let (code, told) = said(&place.run(words, password));
        assert!(code == Some(status) && told.contains(words_said), "{words:?}: {code:?}: {told}");
        assert_eq!(place.text(), text);
    }
    assert_eq!(said(&place.ask(&["remove", "eve"])).0, Some(65));
    assert_eq!(said(&place.ask(&["groups", "eve", "a"])).0, Some(65));
}

#[test]
fn a_password_is_never_taken_from_the_arguments() {
    let place = Place::new();
    assert_eq!(said(&place.ask(&["add", "joe", "sesame"])).0, Some(64));
    assert!(!place.file().exists());
}

#[test]
fn a_file_that_is_not_to_be_trusted_or_has_errors_is_left_alone() {
    let place = Place::with(&format!("joe:{BCRYPT}\n"));
    for mode in [0o640, 0o604, 0o620] {
        place.set_mode(mode);
        let (code, told) = said(&place.run(&["change", "joe"], b"sesame"));
        assert!(code == Some(66) && told.contains("no permission for group and others"), "{told}");
    }
    place.set_mode(0o600);
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o775)).unwrap();
    let (code, told) = said(&place.run(&["change", "joe"], b"sesame"));
    assert!(code == Some(66) && told.contains("no write permission"), "{told}");
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o755)).unwrap();
    let link = Place::new();
    symlink(place.file(), link.file()).unwrap();
    assert_eq!(said(&link.run(&["change", "joe"], b"sesame")).0, Some(66));
    let broken = Place::with(&format!("joe:{BCRYPT}\neve:sesame\n"));
    let (code, told) = said(&broken.run(&["change", "joe"], b"other"));
    assert!(code == Some(65) && told.contains("line 2: expected ") && !told.contains("sesame"), "{told}");
}

#[test]
fn changes_at_the_same_time_are_all_made() {
    let place = Place::new();
    let users: Vec<String> = (0..24).map(|number| format!("user{number}")).collect();
    let start = |user: &String| place.start(&[&["add", user], &CHEAP[..]].concat(), user.as_bytes());
    let children: Vec<Child> = users.iter().map(start).collect();
    for child in children {
        assert_eq!(said(&child.wait_with_output().unwrap()), (Some(0), String::new()));
    }
    let parsed = Users::parse(place.text().as_bytes()).unwrap();
    assert!(users.iter().all(|user| parsed.get(user).is_some()) && parsed.iter().len() == users.len());
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn whatever_moment_it_is_killed_at_the_file_is_whole_and_the_next_change_is_made() {
    let lines: String = (0..2000).map(|number| format!("user{number}:{BCRYPT}\n")).collect();
    let place = Place::with(&lines);
    for delay in 0..40 {
        let mut child = place.command(&["groups", "user7", &format!("g{delay}")]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(delay * 500));
        let _ = child.kill();
        let _ = child.wait();
        let users = Users::parse(place.text().as_bytes()).unwrap();
        assert_eq!(users.iter().len(), 2000);
        assert_eq!(fs::metadata(place.file()).unwrap().mode() & 0o7777, 0o600);
    }
    fs::write(place.0.path().join(".passwd.new"), "left behind").unwrap();
    assert!(place.ask(&["groups", "user7", "last"]).status.success());
    assert!(place.text().contains(&format!("user7:{BCRYPT}:last\n")));
    assert_eq!(place.others(), [""; 0]);
}

/// Runs it with a terminal of its own, types, and gives what the terminal showed and the status.
fn at_terminal(place: &Place, words: &[&str], typed: &[(&str, &str)]) -> (String, Option<i32>) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", PASSWD, "--file"]).arg(place.file()).args(words);
    let terminal = || File::options().read(true).write(true).open(&name).unwrap();
    command.stdin(terminal()).stdout(terminal()).stderr(terminal());
    let mut child = command.spawn().unwrap();
    let mut master = File::from(master);
    let mut shown = String::new();
    let mut behind = 0;
    for (prompt, line) in typed {
        while !shown[behind..].contains(prompt) {
            let mut bytes = [0; 256];
            let length = master.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        behind = shown.len();
        // The echo goes off a moment after the question.
        let begun = Instant::now();
        while rustix::termios::tcgetattr(&master)
            .unwrap()
            .local_modes
            .contains(rustix::termios::LocalModes::ECHO)
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "the echo stays on");
            std::thread::sleep(Duration::from_millis(1));
        }
        master.write_all(line.as_bytes()).unwrap();
    }
    let status = child.wait().unwrap();
    let modes = rustix::termios::tcgetattr(&master).unwrap().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ISIG));
    drop(command);
    let mut rest = Vec::new();
    let _ = master.read_to_end(&mut rest);
    shown.push_str(&String::from_utf8_lossy(&rest));
    (shown, status.code())
}

#[test]
fn at_a_terminal_a_new_password_is_typed_twice_and_never_shown() {
    let place = Place::new();
    let add = [&["add", "joe"], &CHEAP[..]].concat();
    let twice = |first, second| [("Password: ", first), ("The same again: ", second)];
    let (shown, status) = at_terminal(&place, &add, &twice("sesame\n", "sesam\n"));
    assert!(status == Some(65) && shown.contains("twice"), "{shown}");
    let (shown, status) = at_terminal(&place, &add, &twice("sesame\n", "sesame\n"));
    assert!(status == Some(0) && !shown.contains("sesam"), "{shown}");
    let (shown, status) = at_terminal(&place, &["verify", "joe"], &[("Password: ", "sesame\n")]);
    assert!(status == Some(0) && !shown.contains("sesam") && !shown.contains("again"), "{shown}");
    let (shown, status) = at_terminal(&place, &["change", "joe"], &[("Password: ", "ses\x03")]);
    assert!(status == Some(130) && shown.contains("interrupted"), "{shown}");
    assert!(place.verifies("joe", "sesame"));
}

#[test]
fn without_a_terminal_a_descriptor_has_to_be_named() {
    let place = Place::new();
    let mut command = Command::new("setsid");
    command.args(["--wait", PASSWD, "--file"]).arg(place.file()).args(["add", "joe"]);
    let (code, told) = said(&command.stdin(Stdio::null()).output().unwrap());
    assert!(code == Some(66) && told.contains("expected a terminal, or --password-fd"), "{told}");
}
