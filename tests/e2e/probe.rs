//! `sockd-probe` as an administrator runs it. It tries the acts of a worker in an attacker's hands without any lock,
//! behind each layer alone, and in the places of all kinds of workers that hold a socket.

use sockd_tests::host::Host;
use sockd_tests::sockd::{install_at, installed, program};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Acts that no unprivileged process may do, so that their failure is no merit of the sandbox. All others have to
/// succeed without the sandbox, or the table would be worth less.
const REFUSED_ANYWAY: [(&str, &[&str]); 4] = [
    (
        "takes a capability",
        &[
            "chroot",
            "open_by_handle_at",
            "fanotify_init",
            "userfaultfd",
            "mlock of 64 MiB",
            "kill(monitor, 0)",
            "socket PACKET",
            "sendmsg with forged credentials",
            "SO_MARK",
            "SO_ATTACH_FILTER",
            "TCP_REPAIR",
            "IP_TRANSPARENT",
            "IP_OPTIONS source route",
            "bpf",
            "mount",
            "umount",
            "fsopen",
            "move_mount",
            "pivot_root",
            "setresuid(0)",
            "setresgid(0)",
            "setgroups([0])",
            "capset",
            "RLIMIT_NOFILE raised",
            "reboot(CAD_OFF)",
            "clock_settime",
            "sethostname",
            "swapon",
            "acct",
            "syslog(READ_ALL)",
        ],
    ),
    (
        "not in every kernel, or not for everybody in it",
        &[
            "open /dev/ptmx",
            "name_to_handle_at",
            "socket INET RAW",
            "socket ALG",
            "TCP_ULP tls",
            "init_module",
            "kexec_load",
            "iopl(3)",
            "ioperm",
            "quotactl",
            "x32 getpid",
            "x32 read",
            "no such call",
        ],
    ),
    (
        "not with what a worker holds; it is the call that must not get through",
        &[
            "getdents of what is open",
            "getxattr",
            "execveat of a descriptor",
            "wait4",
            "mmap of a descriptor",
            "process_madvise",
            "connect a passed socket again",
            "MSG_FASTOPEN to an address",
            "bind a passed socket",
            "listen on a passed socket",
            "accept on a passed socket",
            "TCP_FASTOPEN_CONNECT",
            "recvmmsg with a limit of time",
            "recv MSG_OOB on the channel",
            "sendfile",
            "tee",
            "vmsplice",
            "setns",
        ],
    ),
    ("no longer, after the C library has done it once", &["mlockall", "rseq"]),
];

/// Acts that the spawner's filter, the namespaces and the user id do not stop by themselves, before a worker has put on
/// its own locks. No input from outside has reached it by then.
const EARLY: usize = 40;

/// The act by which a session worker relays.
const SPLICE: &str = "splice from a client into a pipe";

/// One line of `--tsv` about an act.
struct Tried<'a> {
    reading: &'a str,
    act: &'a str,
    outcome: &'a str,
}

/// One line of `--tsv` about a reading: acts stopped, and the classic ones among them.
struct Sum<'a> {
    reading: &'a str,
    stopped: usize,
    classic: usize,
    hits: usize,
}

fn probe(host: &Host, words: &[&str]) -> Output {
    host.output(Command::new(program("sockd-probe")).args(words))
}

fn everything() -> String {
    let host = Host::new();
    let sockd = installed(&host);
    let worker = format!("{sockd}-worker");
    let output = probe(&host, &["--all", "--tsv", "--sockd", sockd, "--worker", &worker]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("text");
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe.tsv"), &table).expect("the table");
    table
}

fn tried(table: &str) -> impl Iterator<Item = Tried<'_>> {
    table.lines().filter_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        ["act", reading, _, act, _, outcome] => Some(Tried { reading, act, outcome }),
        _ => None,
    })
}

fn sums(table: &str) -> Vec<Sum<'_>> {
    let number = |word: &str| word.parse().expect("a number");
    let sums = table.lines().filter_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        ["sum", reading, stopped, classic, hits, _] => {
            let (stopped, classic, hits) = (number(stopped), number(classic), number(hits));
            Some(Sum { reading, stopped, classic, hits })
        }
        _ => None,
    });
    sums.collect()
}

/// The rows of the table in SECURITY.md: the layers, acts stopped, classic acts stopped.
fn quoted() -> Vec<(String, usize, usize)> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md");
    let text = fs::read_to_string(document).expect("SECURITY.md");
    let after = text.split("$ sockd-probe --all").nth(1).expect("the command that printed the table");
    let rows = after.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            let number = |at: usize| fields[at].parse().unwrap_or_else(|_| panic!("{line}"));
            (fields[1].to_owned(), number(2), number(3))
        })
        .collect()
}

#[test]
fn nothing_that_an_attacker_might_try_is_survived_in_a_workers_place() {
    // Its exit status says that all filters killed, that every floor holds, and that no canary was hit.
    let table = everything();
    let sums = sums(&table);
    for role in ["session", "ident", "resolver", "upstream", "datagram"] {
        let of = |name: String| sums.iter().find(|sum| sum.reading == name).expect("a reading");
        assert_eq!(of(format!("the {role} worker")).hits, 0, "{role}");
        let before = format!("the {role} worker before its own locks");
        let early = tried(&table).filter(|tried| tried.reading == before && tried.outcome == "done");
        assert!(early.count() <= EARLY, "{role}: too much is possible before a worker locks itself down");
    }

    let alone = "an unprivileged user id alone";
    let refused: Vec<_> =
        tried(&table).filter(|tried| tried.reading == alone && tried.outcome != "done").collect();
    for Tried { act, outcome, .. } in &refused {
        let known = REFUSED_ANYWAY.iter().any(|(_, acts)| acts.contains(act));
        assert!(known, "{act} is not possible without the sandbox either: {outcome}");
    }
    let user = sums.iter().find(|sum| sum.reading == alone).expect("a reading");
    assert!(user.hits > 5, "the canaries do not notice what reaches them: {}", user.hits);

    // The filter of session workers has to permit this: a probe that does not get so far shows nothing.
    let splice = tried(&table).filter(|tried| tried.act == SPLICE && tried.outcome == "done");
    let through: BTreeSet<&str> = splice.map(|tried| tried.reading).collect();
    assert!(through.is_superset(&["the session filter alone", "the session worker"].into()), "{through:?}");

    let quoted = quoted();
    assert_eq!(quoted.len(), sums.len(), "rows of the table in SECURITY.md");
    for (reading, stopped, classic) in quoted {
        let now = sums.iter().find(|sum| sum.reading == reading);
        let now = now.unwrap_or_else(|| panic!("{reading:?} of SECURITY.md is not a reading"));
        // The user id alone protects as much as the machine's own settings permit.
        assert!(
            reading == alone || (now.stopped >= stopped && now.classic >= classic),
            "{reading}: SECURITY.md says {stopped} and {classic}, found {} and {}",
            now.stopped,
            now.classic
        );
    }
}

#[test]
fn an_ordinary_user_is_told_what_could_not_be_read() {
    use std::os::unix::process::CommandExt;
    let host = Host::new();
    let place = "/run/sockd-probe";
    install_at(&host, &program("sockd-probe"), place);
    let run = |words: &[&str]| host.output(Command::new(place).args(words).uid(64123).gid(64123));
    let output = run(&["--role", "ident", "--layer", "full", "--layer", "filter"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{out}{err}");
    assert!(out.contains("| the ident filter alone |"), "{out}");
    assert!(err.contains("the workers of the daemon itself: that takes root"), "{err}");
    let output = run(&["--role", "ident", "--layer", "filter"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_host_without_sockd_is_not_said_to_be_safe() {
    let host = Host::new();
    let output = probe(&host, &["--layer", "full", "--sockd", "/run/no/sockd", "--worker", "/run/no/worker"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not read"), "{output:?}");
}
