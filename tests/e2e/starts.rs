//! Causes that stop a start: a file, the system, a layer of the sandbox. The administrator hears the file and line, the
//! finding, the expectation, and the command that checks it.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use sockd_tests::host::Host;
use sockd_tests::program::Program;
use sockd_tests::sockd::{PERMIT_ALL, Start, installed, program};
use sockd_tests::wait::until_true;
use sockd_tests::{procfs, web};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

/// Correct files, then one fault, and all that must be said about it.
struct Case {
    what: &'static str,
    /// Commands that break it, words separated by single blanks.
    deed: &'static str,
    /// Path and content of a file that breaks it.
    file: Option<(&'static str, &'static [u8])>,
    words: &'static str,
    status: i32,
    said: &'static [&'static str],
}

const CHECK: &str = "`sockd --check` with the same options";

/// A broken file.
const fn file(
    what: &'static str,
    path: &'static str,
    content: &'static [u8],
    said: &'static [&'static str],
) -> Case {
    Case { what, deed: "true", file: Some((path, content)), words: "--log stderr", status: 78, said }
}

/// A deed that breaks something.
const fn deed(what: &'static str, deed: &'static str, said: &'static [&'static str]) -> Case {
    Case { what, deed, file: None, words: "--log stderr", status: 78, said }
}

/// Words on the command line that cannot be followed.
const fn words(what: &'static str, words: &'static str, status: i32, said: &'static [&'static str]) -> Case {
    Case { what, deed: "true", file: None, words, status, said }
}

const CASES: &[Case] = &[
    file(
        "a rule without an end",
        "/etc/sockd.conf",
        b"permit 10.0.0.0/8\npermit 10.0.0.0\n",
        &["/etc/sockd.conf: line 2: expected source mask, found the end of the line", CHECK],
    ),
    file(
        "a rule of another word",
        "/etc/sockd.conf",
        b"allow 10.0.0.0/8\n",
        &["/etc/sockd.conf: line 1: expected permit or deny, found \"allow\"", CHECK],
    ),
    file(
        "a user file that is not there",
        "/etc/sockd.conf",
        b"\npermit *=/etc/nobodys 10.0.0.0/8\n",
        &["/etc/sockd.conf: line 2: user file /etc/nobodys: expected a file, found none", CHECK],
    ),
    file(
        "a folder of included files that is not there",
        "/etc/sockd.conf",
        b"permit 10.0.0.0/8\ninclude /etc/nowhere/*.conf\n",
        &[
            "/etc/sockd.conf: line 2: include /etc/nowhere/*.conf: /etc/nowhere: expected a folder, found none",
            CHECK,
        ],
    ),
    file(
        "a route without an end",
        "/etc/sockd.route",
        b"192.0.2.1 0.0.0.0\n",
        &["/etc/sockd.route: line 1: expected destination mask, found the end of the line", CHECK],
    ),
    file(
        "the name of an interface where its address has to be",
        "/etc/sockd.route",
        b"eth0 0.0.0.0 0.0.0.0\n",
        &["/etc/sockd.route: line 1: expected address of an interface, found \"eth0\"", CHECK],
    ),
    file(
        "a next server without a destination",
        "/etc/socks.conf",
        b"direct ALL 0.0.0.0\nsockd @=192.0.2.1\n",
        &["/etc/socks.conf: line 2: expected ", CHECK],
    ),
    file(
        "a setting that is none",
        "/etc/sockd.ron",
        b"(\n  max_wrokers: 3,\n)\n",
        &["/etc/sockd.ron: line 2: expected the name of a setting, found \"max_wrokers\"", CHECK],
    ),
    file(
        "a setting out of its range",
        "/etc/sockd.ron",
        b"(\n  worker_idle: 3,\n  max_workers: 0,\n)\n",
        &["/etc/sockd.ron: line 3: max_workers: expected a number from 1, found 0", CHECK],
    ),
    file(
        "settings that are no text",
        "/etc/sockd.ron",
        b"(\n\xff)\n",
        &["/etc/sockd.ron: line 2: expected text in UTF-8", CHECK],
    ),
    file(
        "a user that is not there",
        "/etc/sockd.ron",
        b"(\n  user: Some(\"nobodys\"),\n)\n",
        &[
            "/etc/sockd.ron: line 2: user: expected an account for workers, found no \"nobodys\" in passwd(5)",
            CHECK,
        ],
    ),
    file(
        "root as the user of commands",
        "/etc/sockd.ron",
        b"(commands_user: Some(\"root\"))\n",
        &[
            "/etc/sockd.ron: ",
            "commands_user: expected an unprivileged account for rule commands, found \"root\"",
            CHECK,
        ],
    ),
    file(
        "workers and commands as one user",
        "/etc/sockd.ron",
        b"(\n  user: Some(\"games\"),\n  commands_user: Some(\"games\"),\n)\n",
        &[
            "/etc/sockd.ron: line 3: commands_user: expected an account for rule commands alone, found that of workers",
            CHECK,
        ],
    ),
    file(
        "workers and the monitor as one user",
        "/etc/sockd.ron",
        b"(\n  monitor_user: Some(\"sockd\"),\n)\n",
        &[
            "/etc/sockd.ron: line 2: monitor_user: expected an account for the monitor alone, found that of workers",
            CHECK,
        ],
    ),
    file(
        "commands and the monitor as one user",
        "/etc/sockd.ron",
        b"(monitor_user: Some(\"games\"), commands_user: Some(\"games\"))\n",
        &["commands_user: expected an account for rule commands alone, found that of the monitor", CHECK],
    ),
    file(
        "a frozen file that is none",
        "/etc/sockd.fc",
        b"permit 10.0.0.0/8\n",
        &["/etc/sockd.fc: expected a frozen file, found something else", CHECK],
    ),
    deed(
        "no rules",
        "rm /etc/sockd.conf",
        &["Unable to open config file (/etc/sockd.conf): expected a file, found none", CHECK],
    ),
    deed(
        "rules that others may write",
        "chmod 664 /etc/sockd.conf",
        &["(/etc/sockd.conf): expected no write permission for group and others, found mode 0664", CHECK],
    ),
    deed(
        "rules of another owner",
        "chown nobody /etc/sockd.conf",
        &[
            "(/etc/sockd.conf): expected root or the user who starts sockd as its owner, found the user with id 65534",
            CHECK,
        ],
    ),
    deed(
        "a link in the place of the rules",
        "ln -sf /dev/zero /etc/sockd.conf",
        &["(/etc/sockd.conf): /dev/zero: expected a regular file, found a device", CHECK],
    ),
    file(
        "rules without a rule",
        "/etc/sockd.conf",
        b"# permit 10.0.0.0/8\n",
        &[
            "/etc/sockd.conf has no rule yet, and every request would be refused: expected a line such as",
            CHECK,
        ],
    ),
    file(
        "a word where a number has to be",
        "/etc/sockd.ron",
        b"(\n  max_workers: many,\n)\n",
        &["/etc/sockd.ron: line 2: max_workers: expected a number from 1 to 65535, found \"many\"", CHECK],
    ),
    deed(
        "a folder in the place of the settings",
        "mkdir /etc/sockd.ron",
        &["Unable to open file (/etc/sockd.ron): expected a regular file, found a folder", CHECK],
    ),
    deed(
        "a folder that others may write",
        "chmod 775 /etc",
        &[
            "Unable to open config file (/etc/sockd.conf): /etc: expected no write permission for group and others, \
             found mode 0775",
            CHECK,
        ],
    ),
    words(
        "routes that are named and not there",
        "--log stderr --route /etc/missing",
        78,
        &["Unable to open file (/etc/missing): expected a file, found none", CHECK],
    ),
    words(
        "a folder for the process id that is not there",
        "--log stderr --pid-file /run/missing/pid",
        71,
        &["--pid-file: /run/missing: expected a folder, found none"],
    ),
    words(
        "an address without a port",
        "--listen 127.0.0.1",
        2,
        &["'127.0.0.1'", "--listen <ADDR:PORT>", "expected an address and a port, such as ", "--help"],
    ),
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn whatever_stops_a_start_is_named_with_its_place_what_was_expected_and_the_command_that_checks_it() {
    let mut wrong = Vec::new();
    for case in CASES {
        let host = Host::new();
        let start = Start::new(&host, PERMIT_ALL).words(case.words);
        host.sh("rm -f /etc/sockd.route /etc/sockd.ron /etc/sockd.fc /etc/socks.conf");
        host.sh(case.deed);
        if let Some((path, content)) = case.file {
            host.write(path, content);
        }
        let output = start.output();
        let text = said(&output);
        if output.status.code() != Some(case.status) || !case.said.iter().all(|part| text.contains(part)) {
            wrong.push(format!("{}: {}, expected {:?}: {text}", case.what, output.status, case.said));
        }
        let foreign =
            ["os error", "struct", "variant", "Directory", "socket address syntax", "Off", "Client"];
        if let Some(word) = foreign.iter().find(|word| text.contains(**word)) {
            wrong.push(format!("{}: {word:?} is nobody's word: {text}", case.what));
        }
        // The cause is reported once, and names its file once.
        for line in text.lines().map(|line| line.split_once("]: ").map_or(line, |(_, said)| said)) {
            let again = text.lines().filter(|other| !line.is_empty() && other.ends_with(line)).count();
            let path = line.split([' ', '(', ')', ':']).find(|word| word.starts_with("/etc/sockd."));
            if again > 1 || path.is_some_and(|path| line.matches(path).count() > 1) {
                wrong.push(format!("{}: said twice: {text}", case.what));
            }
        }
        // The advice has to be right: the check fails too.
        if case.status == 78 {
            let check = Start::bare(&host).words(case.words).words("--check").output();
            if check.status.code() != Some(78) {
                wrong.push(format!("{}: --check finds nothing: {}", case.what, said(&check)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_port_that_is_taken_or_not_allowed_is_named_with_what_to_look_at() {
    let host = Host::new();
    let _taken = web::serve(&host, (Ipv4Addr::LOCALHOST, 1080));
    let output = Start::new(&host, PERMIT_ALL).words("--log stderr --listen 127.0.0.1:1080").output();
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    let text = said(&output);
    assert!(text.contains("cannot listen on 127.0.0.1:1080: Address already in use; "), "{text}");
    assert!(text.contains("`ss -ltnp`"), "{text}");

    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", installed(&host)]);
    let output = host.output(command.args(["--log", "stderr", "--listen", "127.0.0.1:80"]));
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    assert!(said(&output).contains("cannot listen on 127.0.0.1:80: Permission denied; "), "{output:?}");
    assert!(said(&output).contains("a port below 1024 needs root or sockd.socket"), "{output:?}");
}

/// Makes these system calls fail with this error in everything that the calling thread starts.
fn deny(calls: &[i64], error: nix::errno::Errno) {
    deny_by(calls.iter().map(|call| (*call, Vec::new())).collect(), error);
}

/// The same for calls with these arguments; without a rule, for any.
fn deny_by(rules: BTreeMap<i64, Vec<SeccompRule>>, error: nix::errno::Errno) {
    let arch = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
    let fail = SeccompAction::Errno(error as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, fail, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    apply_filter(&program).expect("the filter is put on");
}

/// The output of each of these command lines on a machine whose kernel answers these calls so.
fn without(host: &Host, calls: &[i64], error: nix::errno::Errno, words: &[&str]) -> Output {
    host.run(|| {
        deny(calls, error);
        Command::new(program("sockd")).args(words).stdin(Stdio::null()).output().expect("sockd runs")
    })
}

const LOOPBACK: &str = "permit 127.0.0.0/8 127.0.0.0/8\n";
const VER: &[&str] = &["-ver"];
const STARTS: &[&str] = &["--log", "stderr"];

#[test]
fn without_landlock_ver_says_so_and_the_daemon_does_not_start() {
    let calls = [libc::SYS_landlock_create_ruleset];
    for error in [nix::errno::Errno::ENOSYS, nix::errno::Errno::EOPNOTSUPP] {
        let host = Host::new();
        Start::new(&host, PERMIT_ALL);
        let output = without(&host, &calls, error, VER);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(said(&output).contains("sandbox: reduced (Landlock)"), "{output:?}");
        // One line each of monitor, loader and the six roles of workers.
        assert_eq!(said(&output).matches("Landlock: MISSING, not in this kernel").count(), 8, "{output:?}");
        let output = without(&host, &calls, error, STARTS);
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        for part in ["lacks Landlock", "sandbox: best_effort", "`sockd -ver`"] {
            assert!(said(&output).contains(part), "{part:?} is not in {output:?}");
        }
    }
}

#[test]
fn without_landlock_the_daemon_serves_where_best_effort_is_asked_for() {
    let host = Host::new();
    Start::new(&host, LOOPBACK).settings("(sandbox: best_effort)");
    let mut command = Command::new(program("sockd"));
    let stderr = host.run(|| File::create("/run/stderr")).expect("a file");
    command.args(STARTS).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut sockd = host.run(|| {
        deny(&[libc::SYS_landlock_create_ruleset], nix::errno::Errno::ENOSYS);
        host.start(&mut command)
    });
    served(&host, &mut sockd);
    let said = host.read("/run/stderr");
    assert!(said.contains("lacks Landlock"), "{said}");
}

/// Waits until it listens, and fetches a page.
fn served(host: &Host, sockd: &mut Program) {
    let _www = web::serve(host, (Ipv4Addr::LOCALHOST, 8080));
    until_true("sockd listens", || {
        assert!(sockd.ended().is_none(), "{}", host.read("/run/stderr"));
        procfs::listens(host, 1080)
    });
    let words = ["-sS", "--socks4", "127.0.0.1:1080", "http://127.0.0.1:8080/5000"];
    let got = host.output(Command::new("curl").args(words));
    assert_eq!(got.stdout.len(), 5000, "{got:?} {}", host.read("/run/stderr"));
}

#[test]
fn without_system_call_filters_nothing_starts_whatever_the_settings_say() {
    for settings in ["(sandbox: required)", "(sandbox: best_effort)"] {
        let host = Host::new();
        Start::new(&host, PERMIT_ALL).settings(settings);
        for words in [VER, STARTS, &["--trial"]] {
            let output = without(&host, &[libc::SYS_seccomp], nix::errno::Errno::ENOSYS, words);
            assert_eq!(output.status.code(), Some(71), "{settings}: {words:?}: {output:?}");
            assert!(said(&output).contains("system call filter"), "{settings}: {words:?}: {output:?}");
        }
    }
}

/// A command line on a host whose administrator has switched user namespaces off: a user namespace of its own with all
/// ids, and the limit in it. A program that is started before there are ids has no capability; the next one has them.
const NO_USER_NAMESPACES: &str = r#"
    mkfifo /run/mapped
    unshare --user sh -c '
        read go </run/mapped && exec sh -c "
            echo 0 >/proc/sys/user/max_user_namespaces && exec \"\$@\"" - "$@"' - "$@" &
    child=$!
    while [ "$(readlink /proc/$child/ns/user)" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.05; done
    echo '0 0 65536' >/proc/$child/uid_map && echo '0 0 65536' >/proc/$child/gid_map && echo go >/run/mapped
    wait $child"#;

fn without_user_namespaces(host: &Host, sockd: &str, words: &[&str]) -> Command {
    host.sh("rm -f /run/mapped");
    let mut command = Command::new("sh");
    command.args(["-c", NO_USER_NAMESPACES, "-", sockd]).args(words);
    command
}

/// A place in which the daemon has less than it wants.
struct Place {
    /// The command that starts it; the words of the daemon follow.
    by: &'static [&'static str],
    /// Whether user namespaces are switched off.
    limited: bool,
    /// The calls that a filter around it denies.
    denies: fn(),
    /// The parts that are reported as missing.
    lacks: &'static str,
}

const PLACES: [Place; 7] = [
    Place {
        by: &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"],
        limited: true,
        denies: deny_nothing,
        lacks: "mount, ipc and uts namespaces, which need CAP_SYS_ADMIN without one (Operation not permitted), empty root",
    },
    // Docker without options, and with `--cap-drop ALL`.
    Place {
        by: &["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"],
        limited: false,
        denies: deny_as_docker,
        lacks: "user namespace (Operation not permitted), process, network, mount, ipc and uts namespaces",
    },
    Place {
        by: &["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"],
        limited: false,
        denies: deny_as_docker,
        lacks: "a user of their own for workers, which needs CAP_SETUID and CAP_SETGID",
    },
    // OpenShift: any user, and the group of root.
    Place {
        by: &["setpriv", "--reuid", "12345", "--regid", "0", "--clear-groups"],
        limited: false,
        denies: deny_as_docker,
        lacks: "a user of their own for workers, which needs CAP_SETUID and CAP_SETGID",
    },
    Place {
        by: &["chroot", "/run/root"],
        limited: false,
        denies: deny_nothing,
        lacks: "empty root (mount --make-rprivate /: EINVAL",
    },
    Place {
        by: &["chroot", "/run/root"],
        limited: true,
        denies: deny_nothing,
        lacks: "empty root (mount --make-rprivate /",
    },
    // CAP_SYS_ADMIN, but the filter of a container forbids another root.
    Place { by: &["env"], limited: false, denies: deny_pivot_root, lacks: "empty root (pivot_root: EPERM" },
];

fn deny_nothing() {}

fn deny_pivot_root() {
    deny(&[libc::SYS_pivot_root], nix::errno::Errno::EPERM);
}

/// Docker's profile, for the calls that concern the daemon: <https://docs.docker.com/engine/security/seccomp/>.
fn deny_as_docker() {
    let namespaces = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
    ];
    let rule = |flag: libc::c_int| {
        let flag = u64::from(flag.unsigned_abs());
        let is_set = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag);
        SeccompRule::new(vec![is_set.expect("a condition")]).expect("a rule")
    };
    let mut rules = BTreeMap::from([(libc::SYS_clone, namespaces.map(rule).to_vec())]);
    let calls =
        [libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_unshare, libc::SYS_setns];
    rules.extend(calls.map(|call| (call, Vec::new())));
    deny_by(rules, nix::errno::Errno::EPERM);
    deny(&[libc::SYS_clone3], nix::errno::Errno::ENOSYS);
}

/// A folder that is no mount point and has all that a program needs.
fn make_root(host: &Host) {
    for folder in ["dev", "etc", "lib", "lib64", "proc", "usr", "run/lib"] {
        host.sh(&format!("mkdir -p /run/root/{folder}"));
        if host.exists(&format!("/{folder}")) {
            host.sh(&format!("mount --rbind /{folder} /run/root/{folder}"));
        }
    }
}

/// The daemon in such a place.
fn start_in(place: &Place, host: &Host) -> Program {
    let sockd = installed(host);
    make_root(host);
    let words: Vec<&str> = place.by[1..].iter().chain([&sockd]).chain(STARTS).copied().collect();
    let mut command = match place.limited {
        true => without_user_namespaces(host, place.by[0], &words),
        false => Command::new(place.by[0]),
    };
    if !place.limited {
        command.args(words);
    }
    let stderr = host.run(|| File::create("/run/stderr")).expect("a file");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    host.run(|| {
        (place.denies)();
        Host::here().start(&mut command)
    })
}

#[test]
fn wherever_there_is_less_best_effort_serves_and_required_says_what_is_missing() {
    for place in PLACES {
        let host = Host::new();
        Start::new(&host, LOOPBACK).settings("(sandbox: best_effort)");
        let mut sockd = start_in(&place, &host);
        served(&host, &mut sockd);
        let said = host.read("/run/stderr");
        assert!(said.contains(place.lacks), "{:?}: {said}", place.by);
        drop(sockd);
        let host = Host::new();
        Start::new(&host, LOOPBACK).settings("(sandbox: required)");
        let status = start_in(&place, &host).wait();
        let said = host.read("/run/stderr");
        assert_eq!(status.code(), Some(71), "{:?}: {said}", place.by);
        assert!(said.contains(place.lacks), "{:?}: {said}", place.by);
    }
}

/// In a user namespace with one id, root has no other user for workers; they get a number of their own there.
#[test]
fn in_a_user_namespace_with_one_id_the_daemon_serves() {
    let host = Host::new();
    Start::new(&host, LOOPBACK).settings("(sandbox: best_effort)");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", installed(&host)]).args(STARTS);
    let stderr = host.run(|| File::create("/run/stderr")).expect("a file");
    let mut sockd = host.start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr));
    served(&host, &mut sockd);
}

/// In a container without an init, the daemon becomes the parent of others' orphans.
#[test]
fn as_process_1_the_daemon_leaves_no_zombie() {
    let host = Host::new();
    Start::new(&host, PERMIT_ALL);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", installed(&host)]).args(STARTS);
    let stderr = host.run(|| File::create("/run/stderr")).expect("a file");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let unshare = host.start(&mut command);
    until_true("sockd listens", || procfs::listens(&host, 1080));
    let unshare = procfs::Process(unshare.pid());
    let of = |parent: procfs::Process| {
        let parent = parent.0.to_string();
        let children = unshare.descendants().into_iter().map(|child| child.status());
        children.filter(move |status| status.get("PPid") == Some(&parent)).collect::<Vec<_>>()
    };
    let sockd = procfs::Process(of(unshare)[0]["Pid"].parse().expect("a number"));
    let children = of(sockd).len();
    // Its parent ends at once. First it gets a session of its own, because a command that ends takes its group with it.
    let mut orphan = Command::new("nsenter");
    orphan.args(["--target", &sockd.0.to_string(), "--pid", "setsid", "--wait", "sh", "-c", "sleep 5 &"]);
    assert!(host.output(&mut orphan).status.success());
    until_true("the orphan is the daemon's", || of(sockd).len() == children + 1);
    until_true("nothing is left of it", || of(sockd).len() == children);
}

#[test]
fn without_user_namespaces_ver_says_so_and_the_daemon_does_not_start() {
    let host = Host::new();
    Start::new(&host, PERMIT_ALL);
    let sockd = installed(&host);
    let output = host.output(&mut without_user_namespaces(&host, sockd, VER));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(said(&output).contains("sandbox: reduced (Own namespaces)"), "{output:?}");
    let output = host.output(&mut without_user_namespaces(&host, sockd, STARTS));
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    for part in ["lacks user namespace", "sandbox: best_effort", "`sockd -ver`"] {
        assert!(said(&output).contains(part), "{part:?} is not in {output:?}");
    }
}

#[test]
fn without_user_namespaces_a_trial_and_best_effort_serve() {
    for words in [&["--trial"][..], STARTS] {
        let host = Host::new();
        Start::new(&host, LOOPBACK).settings("(sandbox: best_effort)");
        let mut command = without_user_namespaces(&host, installed(&host), words);
        let stderr = host.run(|| File::create("/run/stderr")).expect("a file");
        let mut sockd = host.start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr));
        served(&host, &mut sockd);
        let said = host.read("/run/stderr");
        assert!(said.contains("lacks user namespace"), "{words:?}: {said}");
    }
}
