//! The commands of the rules: their words, their powers, and their inability to hold anything up.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockd_tests::dns::{Answer, Nameserver};
use sockd_tests::far::Server;
use sockd_tests::identd::Identd;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{CLIENT, NAMESERVER, SERVER, Site};
use sockd_tests::sockd::{Start, installed};
use sockd_tests::socks::{PROXY, Reply, Request, ask, assert_rejected, send_to};
use sockd_tests::syslog::{Mark, Syslog};
use sockd_tests::wait::{until, until_true, until_within};
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The number of `sockd-hook`.
const HOOK: u32 = sockd_tests::host::USERS[1].1;

/// A command's time limit and its grace to end by itself, with a reserve.
const ENDED: Duration = Duration::from_secs(25);

fn site() -> Site {
    let site = Site::new();
    site.gateway.sh("mkdir -m 777 /run/hooks");
    site
}

fn lab(conf: &str, settings: &str) -> Lab {
    Lab::at(site(), conf, |start| start.settings(settings))
}

fn request(port: u16) -> Request {
    Request::connect((SERVER, port))
}

/// A refused request by this user; the command of the line runs.
fn refused(lab: &Lab, port: u16, user: impl AsRef<[u8]>) {
    assert_rejected(&lab.site.client, &request(port).by(user));
}

/// The first `number` lines that commands have written; bytes that are not text are marked.
fn written(lab: &Lab, number: usize) -> Vec<String> {
    let lines = || -> Vec<String> {
        let text = lab.site.gateway.read("/run/hooks/out");
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    };
    until("what commands have written", || Some(lines()).filter(|lines| lines.len() >= number))
}

/// The running commands: processes of this user among the daemon's, without the one that starts them.
fn running(lab: &Lab, user: u32) -> Vec<Process> {
    let (number, monitor) = (user.to_string(), lab.sockd.monitor().0.to_string());
    let of_user = |process: &Process| {
        let status = process.status();
        status.get("Uid").and_then(|ids| ids.split('\t').next()).is_some_and(|id| id == number)
            && status.get("PPid") != Some(&monitor)
    };
    lab.sockd.family().into_iter().filter(|process| process.runs() && of_user(process)).collect()
}

/// Whether a command has been ended because its time was over.
fn ended_late(lab: &Lab) -> bool {
    lab.logged().iter().any(|line| line.contains("it did not end in time"))
}

fn one_running(lab: &Lab, command_line: &str) -> Process {
    let what = format!("a command {command_line}");
    until(&what, || running(lab, HOOK).into_iter().find(|process| process.command_line() == command_line))
}

#[test]
fn cmd_01_a_command_sees_cleaned_values_and_the_log_the_true_ones_escaped() {
    let mut lab = lab("deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out\n", "()");
    let users: [(&[u8], &str, &str); 6] = [
        (b"joe smith;x", "joe_smith_x", "joe\\x20smith;x"),
        (b"", "unknown", ""),
        (b"-rf", "_rf", "-rf"),
        (b"../../etc/passwd", "_._.._etc_passwd", "../../etc/passwd"),
        (b"a\nb\x1b\xff", "a_b__", "a\\x0ab\\x1b\\xff"),
        (b"%u%%\\", "_u___", "%u%%\\\\"),
    ];
    for (place, (user, seen, logged)) in users.into_iter().enumerate() {
        refused(&lab, 23, user);
        assert_eq!(written(&lab, place + 1).last().unwrap(), seen);
        lab.assert_logged(&[format!(
            "daemon.notice refused -- Connect from {logged}(unknown)@192.0.2.10 to 198.51.100.10 (telnet)"
        )]);
    }
    refused(&lab, 23, "j".repeat(100));
    assert_eq!(*written(&lab, 7).last().unwrap(), "j".repeat(64));
}

const ALL: &str = "echo %A %a %c %p %S %s %U %u %Z %z %% >> /run/hooks/out";

#[test]
fn cmd_02_every_substitution_has_its_value() {
    let site = site();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let _dns = Nameserver::start(&site.server, |question| match question.name.as_str() {
        "10.2.0.192.in-addr.arpa" => Answer::Name("client.example.net"),
        "client.example.net" => Answer::Addresses(vec![CLIENT.into()]),
        "10.100.51.198.in-addr.arpa" => Answer::Name("server.example.net"),
        "server.example.net" => Answer::Addresses(vec![SERVER.into()]),
        _ => Answer::NoSuchName,
    });
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let conf = format!("permit ?=i 0.0.0.0 0.0.0.0 : {ALL}\n");
    let lab = Lab::at(site, &conf, |start| start.settings("(reverse_names: true)"));
    let identd = Identd::start(&lab.site.client, CLIENT);
    identd.names("joe");
    let pid = lab.sockd.monitor().0;
    let (_, reply) = ask(&lab.site.client, &request(7));
    assert_eq!(reply.code, 90);
    let line = format!(
        "client.example.net 192.0.2.10 connect {pid} echo 7 joe joe server.example.net 198.51.100.10 %"
    );
    assert_eq!(written(&lab, 1), [line]);
}

#[test]
fn cmd_02_what_is_not_known_is_an_address_a_number_or_unknown() {
    let lab = lab(&format!("permit 0.0.0.0 0.0.0.0 : {ALL}\n"), "()");
    let pid = lab.sockd.monitor().0;
    let (_waiting, reply) = ask(&lab.site.client, &request(4711).as_bind().by(""));
    assert_eq!(reply.code, 90);
    let line =
        format!("192.0.2.10 192.0.2.10 bind {pid} 4711 4711 unknown unknown 198.51.100.10 198.51.100.10 %");
    assert_eq!(written(&lab, 1), [line]);
}

#[test]
fn an_unknown_substitution_is_an_error_of_the_file() {
    let site = site();
    for (command, why) in [("echo %q", "%q"), ("echo 100%", "%"), (";;", "letter")] {
        let output = Start::new(&site.gateway, &format!("permit 0.0.0.0 0.0.0.0 : {command}\n"))
            .words("--check")
            .output();
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("line 1") && said.contains(why), "{said}");
    }
}

#[test]
fn cmd_03_the_verdict_does_not_wait_for_a_command() {
    let conf = "permit 0.0.0.0 0.0.0.0 198.51.100.10 255.255.255.255 eq 7 : sleep 1000\ndeny 0.0.0.0 0.0.0.0 : sleep 1000\n";
    let lab = lab(conf, "()");
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    let (mut line, reply) = ask(&lab.site.client, &request(7));
    assert_eq!(reply.code, 90);
    line.send("x");
    assert_eq!(line.read(1), b"x");
    one_running(&lab, "sleep 1000");
    refused(&lab, 23, "joe");
    assert!(!ended_late(&lab), "the verdict waited for the end of a command");
    let sleeping = |process: &&Process| process.command_line() == "sleep 1000";
    until_true("both commands run", || running(&lab, HOOK).iter().filter(sleeping).count() == 2);
}

#[test]
fn a_command_has_its_own_user_and_session_and_inherits_nothing() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : exec sleep 1000\n", "()");
    refused(&lab, 23, "joe smith");
    let command = one_running(&lab, "sleep 1000");
    let status = command.status();
    let numbers = format!("{HOOK}\t{HOOK}\t{HOOK}\t{HOOK}");
    for (field, expected) in [
        ("Uid", numbers.as_str()),
        ("Gid", &numbers),
        ("Groups", " "),
        ("NoNewPrivs", "1"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("SigBlk", "0000000000000000"),
        ("Umask", "0077"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(status.get(field).map(|value| value.trim()), Some(expected.trim()), "{field}");
    }
    // By its numbers on the host and in the namespace of the commands.
    for field in ["NSsid", "NSpgid"] {
        assert_eq!(status.get(field), status.get("NSpid"), "{field}");
    }
    // Signals 32 and 33 belong to the C library, which lets nobody change them.
    let ignored = status.get("SigIgn").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap();
    assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
    let null = "/dev/null".to_owned();
    assert_eq!(command.descriptors(), [(0, null.clone()), (1, null.clone()), (2, null)].into());
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", command.0)).unwrap().to_str(), Some("/"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", command.0)).unwrap();
    for (name, value) in [
        ("Max cpu time", "10"),
        ("Max file size", "67108864"),
        ("Max core file size", "0"),
        ("Max processes", "64"),
        ("Max open files", "64"),
        ("Max address space", "536870912"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [value, value], "{name}");
    }
}

#[test]
fn the_environment_of_a_command_is_a_path_a_locale_and_cleaned_values() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : /usr/bin/sleep 1000\n", "(commands: argv)");
    refused(&lab, 23, "joe smith$(id)\n");
    let command = one_running(&lab, "/usr/bin/sleep 1000");
    let environment = fs::read(format!("/proc/{}/environ", command.0)).unwrap();
    let entries: Vec<_> = environment
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .filter(|entry| !entry.is_empty())
        .collect();
    let pid = lab.sockd.monitor().0;
    assert_eq!(
        entries,
        [
            "PATH=/usr/bin:/bin",
            "LANG=C",
            "SOCKD_COMMAND=connect",
            &format!("SOCKD_PID={pid}"),
            "SOCKD_SRC=192.0.2.10",
            "SOCKD_SRC_NAME=192.0.2.10",
            "SOCKD_USER=joe_smith__id__",
            "SOCKD_IDENT_USER=unknown",
            "SOCKD_DST=198.51.100.10",
            "SOCKD_DST_NAME=198.51.100.10",
            "SOCKD_PORT=23",
            "SOCKD_SERVICE=telnet",
        ]
    );
}

/// Values that would make a file appear, by every known way of leaving a word of a shell command.
const PAYLOADS: [&str; 24] = [
    ";touch /run/hooks/canary;",
    "|touch /run/hooks/canary",
    "||touch /run/hooks/canary",
    "&&touch /run/hooks/canary",
    "&touch /run/hooks/canary&",
    "`touch /run/hooks/canary`",
    "$(touch /run/hooks/canary)",
    "${x:-$(touch /run/hooks/canary)}",
    "\ntouch /run/hooks/canary\n",
    "\r\ntouch /run/hooks/canary\r\n",
    "';touch /run/hooks/canary;'",
    "\";touch /run/hooks/canary;\"",
    "'\";touch /run/hooks/canary;\"'",
    "\"';touch /run/hooks/canary;'\"",
    "\\';touch /run/hooks/canary;\\'",
    "\\\";touch /run/hooks/canary;\\\"",
    "x>/run/hooks/canary",
    "x>>/run/hooks/canary #",
    "$IFS;touch${IFS}/run/hooks/canary",
    "<(touch /run/hooks/canary)",
    "--output=/run/hooks/canary",
    "-o/run/hooks/canary",
    "../../../../run/hooks/canary",
    "!touch /run/hooks/canary\x1b\x08*?[a-z]~root{a,b}",
];

/// The ways in which an administrator may have quoted a value.
const QUOTINGS: [&str; 5] = [
    "/bin/echo %u >> /run/hooks/out",
    "/bin/echo '%u' >> /run/hooks/out",
    "/bin/echo \"%u\" >> /run/hooks/out",
    "/bin/sh -c \"/bin/echo '%u' >> /run/hooks/out\"",
    "/bin/sh -c '/bin/echo \"%u\" >> /run/hooks/out'",
];

fn assert_harmless(lab: &Lab, number: usize) {
    let lines = written(lab, number);
    assert_eq!(lines.len(), number, "{lines:?}");
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || "._@+-".contains(letter);
    for line in lines {
        assert!(!line.is_empty() && line.chars().all(harmless) && !line.starts_with(['-', '.']), "{line}");
    }
    assert!(!lab.site.gateway.exists("/run/hooks/canary"));
}

#[test]
fn a40_no_claimed_user_takes_over_a_command_however_it_is_quoted() {
    let line = |(place, command): (usize, &&str)| {
        format!("deny 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq {} : {command}\n", 100 + place)
    };
    let conf: String = QUOTINGS.iter().enumerate().map(line).collect();
    let lab = lab(&conf, "()");
    let mut number = 0;
    for payload in PAYLOADS {
        for port in (100..).take(QUOTINGS.len()) {
            refused(&lab, port, payload);
            number += 1;
        }
        assert_harmless(&lab, number);
    }
}

#[test]
fn a40_no_user_that_identd_names_takes_over_a_command_however_it_is_quoted() {
    for quoting in QUOTINGS {
        let conf = format!("permit ?=I 0.0.0.0 0.0.0.0\n#BAD_ID: {}\n", quoting.replace("%u", "%U"));
        let lab = lab(&conf, "()");
        let identd = Identd::start(&lab.site.client, CLIENT);
        let mut number = 0;
        for payload in PAYLOADS {
            identd.names(payload);
            let (_, reply) = ask(&lab.site.client, &request(7));
            // A line end, or NUL or CR in it, ends the name or leaves none: then nobody is verified.
            number += usize::from(reply.code == 93);
            assert!(matches!(reply.code, 92 | 93));
        }
        assert!(number >= 22, "{number}");
        assert_harmless(&lab, number);
    }
}

#[test]
fn a41_a_value_neither_names_another_folder_nor_is_an_option() {
    let conf = "deny 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq 1 : cd /run/hooks; umask 022; touch %u; echo done >> out\n\
                deny 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq 2 : cd /run/hooks; sort -o sorted out %u; echo done >> out\n";
    let lab = lab(conf, "()");
    for (place, user) in
        ["../canary", "/run/canary", "..", "-r/etc/passwd", ".hidden", "a/../../canary"].iter().enumerate()
    {
        refused(&lab, 1, user);
        written(&lab, place + 1);
    }
    refused(&lab, 2, "-ocanary");
    written(&lab, 7);
    assert!(!lab.site.gateway.exists("/run/canary") && !lab.site.gateway.exists("/run/hooks/canary"));
    let mut names = lab.site.gateway.run(|| {
        let entries = fs::read_dir("/run/hooks").unwrap();
        entries.flatten().map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
    });
    names.sort();
    let expected =
        ["_.", "_._canary", "_hidden", "_r_etc_passwd", "_run_canary", "a_.._.._canary", "out", "sorted"];
    names.retain(|name| name != "sorted");
    assert_eq!(names, expected[..7]);
}

#[test]
fn without_a_shell_a_value_is_one_word_and_nothing_in_the_line_has_a_meaning() {
    let conf = "deny 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq 1 : /bin/cp /etc/hostname /run/hooks/%u;$(id)>x\n\
                deny 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq 2 : /run/no/such/program %u\n";
    let lab = lab(conf, "(commands: argv)");
    refused(&lab, 1, "a b c");
    until_true("the file is there", || lab.site.gateway.exists("/run/hooks/a_b_c;$(id)>x"));
    refused(&lab, 2, "joe");
    lab.wait_for_line("daemon.err a rule command cannot be executed (status 127)");
}

#[test]
fn a42_commands_that_hang_fork_flood_or_ignore_signals_are_ended_and_that_is_told() {
    let commands = [
        "sleep 1000",
        "trap '' TERM INT HUP; while :; do sleep 1000; done",
        "for i in 1 2 3 4 5; do sleep 1000 & done; wait",
        "i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i+1)); done; wait",
        "setsid setsid sleep 1000; setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & exit 0",
        "yes",
        "yes > /run/hooks/flood",
        "while :; do :; done",
    ];
    let line = |(place, command): (usize, &&str)| {
        format!("deny 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq {} : {command}\n", 100 + place)
    };
    let conf: String = commands.iter().enumerate().map(line).collect();
    // A user whose processes no other test counts.
    let (site, many) = (site(), 64125);
    site.gateway.account("many", many, "/nonexistent");
    let lab = Lab::at(site, &conf, |start| start.settings("(commands_user: \"many\")"));
    for port in (100..).take(commands.len()) {
        refused(&lab, port, "joe");
    }
    until_true("they run", || running(&lab, many).len() > 8);
    let begun = Instant::now();
    until_within(ENDED, "they have all ended", || {
        let number = running(&lab, many).len();
        assert!(number <= 64, "{number}");
        (number == 0).then_some(())
    });
    assert!(begun.elapsed() > Duration::from_secs(5), "they were to have ten seconds");
    lab.wait_for_line("daemon.err a rule command is ended: it did not end in time");
    let length = lab.site.gateway.run(|| fs::metadata("/run/hooks/flood").map(|file| file.len()));
    assert!(length.unwrap() <= 64 << 20);
    // And the next one runs.
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0 : echo next >> /run/hooks/out\n");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded");
    refused(&lab, 23, "joe");
    assert_eq!(written(&lab, 1), ["next"]);
    assert!(lab.sockd.family().iter().all(|process| process.runs()), "zombies");
}

#[test]
fn what_a_command_leaves_in_its_group_ends_with_it() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : sleep 1000 & sleep 1000 & echo left >> /run/hooks/out\n", "()");
    refused(&lab, 23, "joe");
    written(&lab, 1);
    until_true("nothing is left", || running(&lab, HOOK).is_empty());
    assert!(!ended_late(&lab), "{:?}", lab.logged());
}

#[test]
fn a_pipeline_ends_with_its_reader() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : yes | head -n 1 >> /run/hooks/out\n", "()");
    refused(&lab, 23, "joe");
    assert_eq!(written(&lab, 1), ["y"]);
    until_true("the writer has ended", || running(&lab, HOOK).is_empty());
    assert!(!ended_late(&lab), "{:?}", lab.logged());
}

#[test]
fn a43_eight_commands_run_at_once_sixty_four_wait_and_more_are_dropped() {
    let conf =
        "deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out; until [ -e /run/hooks/go ]; do sleep 0.05; done\n";
    let lab = lab(conf, "(max_commands_per_host: 80)");
    for number in 0..80 {
        refused(&lab, 23, format!("u{number}"));
    }
    lab.wait_for_line("daemon.err a rule command is not run: max_commands reached");
    // A client has its reply before the command of its line is asked for.
    lab.wait_for_line("refused -- Connect from u79(");
    assert_eq!(written(&lab, 8).len(), 8);
    lab.site.gateway.write("/run/hooks/go", "");
    assert_eq!(written(&lab, 72).len(), 72);
    until_true("all have ended", || running(&lab, HOOK).is_empty());
    // They ran in the order of the requests, and the last eight not at all.
    let mut lines = written(&lab, 72);
    let number = |line: &String| line[1..].parse::<u32>().unwrap();
    lines.sort_by_key(number);
    assert_eq!(lines.iter().map(number).collect::<Vec<_>>(), (0..72).collect::<Vec<_>>());
    refused(&lab, 23, "u99");
    assert_eq!(written(&lab, 73).last().unwrap(), "u99");
}

#[test]
fn one_client_host_can_neither_use_up_nor_hold_up_the_commands_of_another() {
    let conf =
        "deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out; until [ -e /run/hooks/%u ]; do sleep 0.05; done\n";
    let lab = lab(conf, "(max_commands: 20)");
    lab.sockd.write_settings("(max_commands: 20, max_commands_per_host: 12)");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reloaded");
    for number in 0..30 {
        refused(&lab, 23, format!("u{number}"));
    }
    lab.wait_for_line("daemon.err a rule command is not run: max_commands_per_host reached by 192.0.2.10");
    assert_rejected(&lab.site.other, &request(23).by("other"));
    // Eight run and four wait; the first that ends makes room for the other host.
    assert_eq!(written(&lab, 8).len(), 8);
    lab.site.gateway.write("/run/hooks/u3", "");
    assert_eq!(written(&lab, 9).last().unwrap(), "other");
}

#[test]
fn a_command_of_a_permitting_line_runs_once_for_a_name_with_many_addresses() {
    let site = site();
    site.gateway.write("/etc/resolv.conf", format!("nameserver {NAMESERVER}\n"));
    let _dns = Nameserver::start(&site.server, |_| Answer::Addresses(vec![NAMESERVER.into(), SERVER.into()]));
    let _echo = Server::echo(&site.server, (SERVER, 7));
    let lab = Lab::at(
        site,
        "permit 0.0.0.0 0.0.0.0 : echo %c >> /run/hooks/out\ndeny 0.0.0.0 0.0.0.0\n",
        |start| start,
    );
    for _ in 0..2 {
        let (_, reply) = ask(&lab.site.client, &Request::connect_name("two.example.net", 7));
        assert_eq!(reply.code, 90);
    }
    until_true("commands have ended", || !written(&lab, 2).is_empty() && running(&lab, HOOK).is_empty());
    assert_eq!(written(&lab, 2), ["connect", "connect"]);
}

/// Whether a process of the daemon runs as the user of commands.
fn has_hook_process(lab: &Lab) -> bool {
    let uid = format!("{HOOK}\t");
    let of_user = |process: &Process| process.status().get("Uid").is_some_and(|ids| ids.starts_with(&uid));
    lab.sockd.family().iter().any(of_user)
}

#[test]
fn without_a_command_there_is_no_hook_process_and_a_reload_that_brings_the_first_one_says_what_it_needs() {
    let mut lab = lab("permit 0.0.0.0 0.0.0.0\n", "()");
    assert!(!has_hook_process(&lab));
    lab.turn_the_page();
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out\n");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("daemon.err rules have commands, which are not run until a restart");
    lab.wait_for_line("daemon.notice reloaded: 1 rule");
    refused(&lab, 23, "joe");
    lab.wait_for_line("daemon.err a rule command is not run: there is no command runner until a restart");
    assert!(!has_hook_process(&lab) && !lab.site.gateway.exists("/run/hooks/out"));
}

#[test]
fn the_hook_process_is_process_1_of_a_world_of_commands_and_has_no_privilege() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : exec sleep 1000\n", "()");
    refused(&lab, 23, "joe");
    let command = one_running(&lab, "sleep 1000");
    let (hook, monitor) = (hook_process_of(command), lab.sockd.monitor());
    let status = hook.status();
    assert_eq!(status["Uid"], vec![HOOK.to_string(); 4].join("\t"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set].trim(), "0".repeat(16), "{set}");
    }
    assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"]), ("1", "2"));
    assert!(status["NSpid"].ends_with("\t1"), "{}", status["NSpid"]);
    for (kind, own) in [("pid", true), ("mnt", true), ("user", true), ("net", false), ("ipc", false)] {
        assert_eq!(hook.namespace(kind) != monitor.namespace(kind), own, "{kind}");
        assert_eq!(hook.namespace(kind), command.namespace(kind), "{kind}");
    }
}

#[test]
fn a_command_sees_and_reaches_no_process_but_commands() {
    let see = "ls -d /proc/[0-9]* | sort | tr '\\n' ' ' >> /run/hooks/out; kill -9 1 -1; echo alive >> /run/hooks/out";
    let lab = lab(&format!("deny 0.0.0.0 0.0.0.0 : {see}\n"), "()");
    for round in 1..=2 {
        refused(&lab, 23, "joe");
        let lines = written(&lab, round);
        // Itself and the hook process, by their numbers in their own world; and its own few helpers.
        let numbers: Vec<&str> = lines[round - 1].split_whitespace().collect();
        assert!(numbers.contains(&"/proc/1") && numbers.len() <= 8, "{lines:?}");
    }
    assert!(has_hook_process(&lab));
}

#[test]
fn a_command_sees_files_with_their_owners_and_the_hosts_network() {
    let see =
        "stat -c %%u /etc/passwd >> /run/hooks/out; cat /proc/net/dev | grep -c inside >> /run/hooks/out";
    let lab = lab(&format!("deny 0.0.0.0 0.0.0.0 : {see}\n"), "()");
    refused(&lab, 23, "joe");
    assert_eq!(written(&lab, 2), ["0", "1"]);
}

#[test]
fn the_filter_of_commands_refuses_what_no_command_needs() {
    // Without arguments only the filter refuses them: to be traced by one's parent, and to share no less than before.
    let (ptrace, unshare) = (libc::SYS_ptrace, libc::SYS_unshare);
    let try_them =
        format!("for ({ptrace}, {unshare}) {{ syscall($_, 0, 0, 0, 0); print $!+0, q( ) }} print chr 10");
    let lab = lab(&format!("deny 0.0.0.0 0.0.0.0 : perl -e '{try_them}' >> /run/hooks/out\n"), "()");
    refused(&lab, 23, "joe");
    let eperm = libc::EPERM;
    assert_eq!(written(&lab, 1), [format!("{eperm} {eperm} ")]);
}

#[test]
fn what_commands_leave_behind_is_ended_even_while_others_run() {
    let conf = "deny 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 eq 1 : setsid sleep 2000 & sleep 1\n\
                deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out; sleep 2\n";
    let lab = lab(conf, "()");
    refused(&lab, 1, "joe");
    let left = one_running(&lab, "sleep 2000");
    let begun = Instant::now();
    while left.runs() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it was to be ended");
        refused(&lab, 23, "joe");
        std::thread::sleep(Duration::from_millis(500));
    }
    let number = lab.site.gateway.read("/run/hooks/out").lines().count();
    refused(&lab, 23, "sam");
    until_true("commands run again", || lab.site.gateway.read("/run/hooks/out").lines().count() > number);
}

#[test]
fn without_a_user_of_their_own_commands_are_not_run_and_the_log_says_why() {
    let conf = "deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out\n";
    let site = site();
    site.gateway.sh("sed -i /^sockd/d /etc/passwd");
    let log = Syslog::start(&site.gateway);
    let sockd = Start::new(&site.gateway, conf).start();
    log.wait_for(Mark::BEGINNING, "serving on ");
    let why = "rule commands are not run: workers run as nobody too, as there is no user sockd";
    log.wait_for(Mark::BEGINNING, why);
    assert_rejected(&site.client, &request(23));
    log.wait_for(Mark::BEGINNING, "daemon.err a rule command is not run: ");
    drop(sockd);
    // No process of an ordinary user's daemon runs as that user.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", installed(&site.gateway)]);
    command.args(["--log", "stderr", "--listen", "127.0.0.1:1090"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(site.gateway.run(|| File::create("/run/said")).unwrap());
    let ordinary = site.gateway.start(&mut command);
    let why = "rule commands are not run: only a sockd that root starts can give them a user of their own";
    until_true("it says so", || site.gateway.read("/run/said").contains(why));
    drop(ordinary);
    assert!(!site.gateway.exists("/run/hooks/out"));
}

#[test]
fn commands_that_are_off_are_not_run_and_there_is_no_hook_process() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out\n", "(commands: off)");
    refused(&lab, 23, "joe");
    lab.wait_for_line("refused");
    assert!(!has_hook_process(&lab));
    assert!(!lab.site.gateway.exists("/run/hooks/out"));
}

#[test]
fn a_reload_takes_new_commands_and_turns_them_off_and_on() {
    let mut lab = lab("deny 0.0.0.0 0.0.0.0 : echo old >> /run/hooks/out\n", "()");
    let reload = |lab: &mut Lab| {
        lab.turn_the_page();
        lab.sockd.signal(Signal::SIGHUP);
        lab.wait_for_line("reloaded");
    };
    refused(&lab, 23, "joe");
    assert_eq!(written(&lab, 1), ["old"]);
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0 : echo new >> /run/hooks/out\n");
    reload(&mut lab);
    refused(&lab, 23, "joe");
    assert_eq!(written(&lab, 2), ["old", "new"]);
    lab.sockd.write_settings("(commands: off)");
    reload(&mut lab);
    refused(&lab, 23, "joe");
    lab.sockd.write_settings("(commands: sh)");
    reload(&mut lab);
    refused(&lab, 23, "joe");
    assert_eq!(written(&lab, 3), ["old", "new", "new"]);
    // A broken file changes nothing.
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0 : echo %q >> /run/hooks/out\n");
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line("reload failed");
    refused(&lab, 23, "joe");
    assert_eq!(written(&lab, 4), ["old", "new", "new", "new"]);
}

/// The hook process, which is the parent of a command.
fn hook_process_of(command: Process) -> Process {
    Process(command.status().get("PPid").unwrap().parse().unwrap())
}

#[test]
fn a_hook_process_that_is_killed_is_told_and_everything_else_goes_on() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : exec sleep 1000\n", "()");
    refused(&lab, 23, "joe");
    let command = one_running(&lab, "sleep 1000");
    let hook = hook_process_of(command);
    kill(Pid::from_raw(hook.0), Signal::SIGKILL).unwrap();
    lab.wait_for_line("daemon.err the command runner has ended; commands are not run until a restart");
    until_true("its command ends with it", || !command.runs());
    refused(&lab, 23, "joe");
    lab.wait_for_line("daemon.err a rule command is not run: there is no command runner until a restart");
    until_true("it is reaped", || !hook.runs());
}

#[test]
fn commands_end_with_the_daemon_however_it_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let conf = "deny 0.0.0.0 0.0.0.0 : setsid sleep 1000 & trap '' TERM; sleep 1000; sleep 1000\n";
        let mut lab = lab(conf, "()");
        refused(&lab, 23, "joe");
        until_true("the command runs", || running(&lab, HOOK).len() >= 3);
        let commands = running(&lab, HOOK);
        lab.sockd.signal(signal);
        lab.sockd.wait();
        until_true("its commands have ended", || commands.iter().all(|command| !command.runs()));
    }
}

#[test]
fn a_client_that_asks_and_leaves_has_its_command_run_all_the_same() {
    let lab = lab("deny 0.0.0.0 0.0.0.0 : echo %u >> /run/hooks/out\n", "()");
    let line: Line = send_to(&lab.site.client, PROXY, &request(23));
    line.reset();
    let mut other = send_to(&lab.site.client, PROXY, &request(23).by("sam"));
    assert_eq!(Reply::read(&mut other).code, 91);
    // The first request may not have been read before its reset.
    assert_eq!(written(&lab, 1).last().unwrap().len(), 3);
}
