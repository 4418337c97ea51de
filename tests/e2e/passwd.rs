//! sockd.passwd: its reader, the fate of a broken file, and the worker that uses it.

use nix::sys::signal::Signal;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{INSIDE, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start, write_users};
use sockd_tests::wait::until_true;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

/// `correct horse`, by htpasswd -B, mkpasswd -m yescrypt -R 1 and openssl passwd -6.
const BCRYPT: &str = "$2y$05$v8R3SnyJc/5RXQoNGK4/K.7wnbK9cNlqyFqblZnvZWjQcaaxvKZoy";
const YESCRYPT: &str = "$y$j75$RXTXIOMf0kPnyYrzz0Um90$/H/Udg9dgG.9b51E7xNc/ZgyCK2WxPUk1U5/goX9Ov1";
const SHA512: &str = "$6$TGH6d6pZ/Vma5iSu$MV2PbmjRPihGwFVS6LBKJlsun4NyxPLtd5lI.m2RI0UXQf49V8d08wzfXKdcNKg0hB3LCJYQyuwRyuJYF9tmn1";

/// As htpasswd, shadow(5) and sockd-passwd write them.
fn users() -> String {
    format!("joe:{BCRYPT}\neve:{YESCRYPT}:19700:0:99999:7:::\nsam:{SHA512}:staff,wheel\nroot:*:19700::::::\n")
}

fn with_users(settings: &str) -> Lab {
    Lab::started(PERMIT_ALL, |start| start.users(&users()).settings(settings))
}

/// The auth worker, once it is there.
fn auth_worker(lab: &Lab) -> Process {
    until_true("there is an auth worker", || !lab.sockd.workers("auth").is_empty());
    lab.sockd.workers("auth")[0]
}

/// The bytes that the client reads once it has sent this user and password.
fn log_in(lab: &Lab, user: &str, password: &str) -> Vec<u8> {
    let mut line = Line::dial(&lab.site.client, (INSIDE, 1080));
    line.send([5, 1, 2]);
    assert_eq!(line.read(2), [5, 2]);
    let length = |text: &str| u8::try_from(text.len()).expect("a short text");
    line.send([&[1, length(user)], user.as_bytes(), &[length(password)], password.as_bytes()].concat());
    line.read(2)
}

fn reload(lab: &mut Lab, outcome: &str) -> String {
    lab.turn_the_page();
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line(outcome)
}

fn check(site: &Site) -> Output {
    Start::new(&site.gateway, PERMIT_ALL).words("--check").output()
}

#[test]
fn users_of_htpasswd_of_shadow_and_with_groups_log_in_and_locked_ones_do_not() {
    let lab = Lab::started("permit @=password ALL 0.0.0.0\n", |start| start.users(&users()));
    for user in ["joe", "eve", "sam"] {
        assert_eq!(log_in(&lab, user, "correct horse"), [1, 0], "{user}");
    }
    for (user, password) in [("joe", "correct horsf"), ("root", "*"), ("nobody", "correct horse")] {
        assert_eq!(log_in(&lab, user, password), [1, 1], "{user}");
    }
}

#[test]
fn a_reload_forgets_who_was_removed_and_a_broken_one_does_not() {
    let mut lab = Lab::started("permit @=password ALL 0.0.0.0\n", |start| start.users(&users()));
    assert_eq!(log_in(&lab, "joe", "correct horse"), [1, 0]);
    write_users(&lab.site.gateway, &format!("{}lou:sesame\n", users()));
    reload(&mut lab, "reload failed");
    assert_eq!(log_in(&lab, "joe", "correct horse"), [1, 0]);
    write_users(&lab.site.gateway, &format!("eve:{YESCRYPT}\n"));
    reload(&mut lab, "reloaded: ");
    assert_eq!(log_in(&lab, "joe", "correct horse"), [1, 1]);
    assert_eq!(log_in(&lab, "eve", "correct horse"), [1, 0]);
}

#[test]
fn without_users_there_is_no_auth_worker_and_it_comes_and_is_emptied_with_the_file() {
    let mut lab = Lab::new(PERMIT_ALL);
    assert_eq!(lab.sockd.workers("auth").len(), 0);
    write_users(&lab.site.gateway, &users());
    reload(&mut lab, "reloaded: ");
    auth_worker(&lab);
    lab.site.gateway.sh("rm /etc/sockd.passwd");
    reload(&mut lab, "reloaded: ");
    let emptied = auth_worker(&lab);
    emptied.signal(Signal::SIGKILL);
    lab.wait_for_line("auth worker ");
    until_true("it is not replaced", || lab.sockd.workers("auth").is_empty());
}

#[test]
fn a_broken_file_is_refused_at_the_start_by_check_and_at_a_reload_which_keeps_the_old_users() {
    let site = Site::new();
    let broken = format!("{}lou:sesame\ntim:$1$salt$UbuNY57CWrXMT2nXCsrzJ0\njoe:{BCRYPT}\n", users());
    write_users(&site.gateway, &broken);
    let kinds = "a yescrypt, sha512crypt, sha256crypt, bcrypt or argon2id hash";
    let lines = [
        format!(
            "/etc/sockd.passwd: line 5: expected {kinds}, found something else, perhaps a clear password"
        ),
        format!("/etc/sockd.passwd: line 6: expected {kinds}, found $1$ (MD5), which is too weak"),
        "/etc/sockd.passwd: line 7: expected a user once, found the user of line 1 again".to_owned(),
    ];
    for start in
        [Start::new(&site.gateway, PERMIT_ALL), Start::new(&site.gateway, PERMIT_ALL).words("--check")]
    {
        let output = start.output();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(lines.iter().all(|line| said.contains(line)), "{said}");
        assert!(!said.contains("sesame"), "{said}");
    }
    write_users(&site.gateway, &users());
    let said = check(&site);
    assert!(String::from_utf8_lossy(&said.stdout).contains("/etc/sockd.passwd: 4 users\n"), "{said:?}");
    let mut lab = Lab::new_at(site);
    let worker = auth_worker(&lab);
    write_users(&lab.site.gateway, &broken);
    assert_eq!(reload(&mut lab, "line 6"), format!("daemon.err {}", lines[1]));
    lab.wait_for_line("reload failed");
    assert_eq!(auth_worker(&lab), worker);
}

#[test]
fn a_file_that_others_can_read_or_that_is_named_and_missing_is_refused() {
    let site = Site::new();
    write_users(&site.gateway, &users());
    for mode in [0o640, 0o604, 0o660] {
        let set = || std::fs::set_permissions("/etc/sockd.passwd", PermissionsExt::from_mode(mode));
        site.gateway.run(set).expect("permissions");
        let output = check(&site);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("permission for group and others"), "{said}");
        assert!(said.contains(&format!("found mode {mode:04o}")), "{said}");
    }
    site.gateway.sh("rm /etc/sockd.passwd");
    assert!(check(&site).status.success());
    site.gateway.write("/etc/sockd.ron", "(passwd_file: Some(\"/etc/others\"))");
    let output = check(&site);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("/etc/others") && said.contains("found none"), "{said}");
}

#[test]
fn an_auth_worker_that_is_killed_is_replaced_with_the_users_and_nobody_else_notices() {
    let lab = with_users("()");
    let first = auth_worker(&lab);
    let mut other = Line::dial(&lab.site.client, (INSIDE, 1080));
    other.send([5, 1, 0]);
    assert_eq!(other.read(2), [5, 0]);
    for _ in 0..2 {
        let worker = auth_worker(&lab);
        worker.signal(Signal::SIGKILL);
        lab.wait_for_line("auth worker ");
        until_true("it is replaced", || {
            lab.sockd.workers("auth").iter().any(|found| *found != worker && *found != first)
        });
    }
    other.send([5, 1, 0, 1, 198, 51, 100, 10, 0, 9]);
    assert_eq!(other.read(1), [5]);
}

#[test]
fn the_auth_worker_has_nothing_open_but_its_channel_and_the_first_id_alone() {
    let lab = with_users("(worker_ids: (300000, 50))");
    let worker = auth_worker(&lab);
    until_true("the table is read", || worker.descriptors().len() == 4);
    let open: Vec<String> = worker.descriptors().values().cloned().collect();
    assert_eq!(open.iter().filter(|target| target.as_str() == "/dev/null").count(), 3, "{open:?}");
    assert_eq!(open.iter().filter(|target| target.starts_with("socket:")).count(), 1, "{open:?}");
    assert_eq!(worker.status().get("Uid").map(String::as_str), Some("300000\t300000\t300000\t300000"));
    for role in ["session", "resolver"] {
        for other in lab.sockd.workers(role) {
            assert!(!other.status()["Uid"].starts_with("300000\t"), "{role}");
        }
    }
}
