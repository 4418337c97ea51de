//! `sockd-migrate` as administrators run it, on files like Dante's examples and on those that Debian installs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use sockd_policy::{RuleSet, Services, parse_conf, parse_routes};
use tempfile::TempDir;

/// The features of the example of Dante's distribution, in rules of our own. It has settings, both sets of rules,
/// answers, ports of clients, libwrap, domains with and without a password, and a way through another server.
const EXAMPLE: &str = "\
logoutput: syslog stdout /var/log/sockd.log
internal: 10.1.1.1 port = 1080
external: 192.0.2.1
socksmethod: username none #rfc931
clientmethod: none
user.privileged: proxy
user.unprivileged: nobody
timeout.negotiate: 30   # a comment
timeout.io: 86400
client pass {
        from: 10.0.0.0/8 port 1-65535 to: 0.0.0.0/0
        clientmethod: rfc931
}
client pass {
        from: 10.0.0.0/8 port 1-65535 to: 0.0.0.0/0
}
client block {
        from: 0.0.0.0/0 to: 0.0.0.0/0
        log: connect error
}
socks block {
        from: 0.0.0.0/0 to: lo0
        log: connect error
}
socks block {
        from: 0.0.0.0/0 to: 172.16.0.0/12
        libwrap: spawn finger @%a
        log: connect error
}
socks pass {
        from: 10.0.0.0/8 to: 0.0.0.0/0
        command: bind
}
socks pass {
        from: 0.0.0.0/0 to: 10.0.0.0/8
        command: bindreply udpreply
}
socks block {
        from: 0.0.0.0/0 to: .example.com port = http
        log: connect error
}
socks pass {
        from: 10.0.0.0/8 to: 0.0.0.0/0
        protocol: tcp udp
}
socks block { from: 0/0 to: 0/0 log: connect }
route {
 from: 10.0.0.0/8 to: 0.0.0.0/0 port = http via: socks.example.net port = socks
}
";

/// Runs the program on a text, and gives what it says and the folder that it has written to.
fn migrate(text: &str) -> (Output, TempDir) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("danted.conf"), text).unwrap();
    fs::set_permissions(folder.path().join("danted.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sockd-migrate"))
        .args(["--out", ".", "danted.conf"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    (output, folder)
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

/// Reads the rules, which have to be those of a valid file.
fn rules(folder: &TempDir) -> RuleSet {
    let services = Services::parse(b"http 80/tcp\n");
    parse_conf(read(folder, "sockd.conf").as_bytes(), &services, &mut |_| Err("no files".into())).unwrap()
}

#[test]
fn the_example_becomes_files_and_a_list_of_what_is_missing() {
    let (output, folder) = migrate(EXAMPLE);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    rules(&folder);
    let expected = "\
# From danted.conf. The numbers are those of its lines.
set ipv4 = 0.0.0.0/1, 128.0.0.0/1
deny 10.0.0.0/8 127.0.0.0/8  # 21
deny 10.0.0.0/8 ::1/128  # 21
deny 10.0.0.0/8 172.16.0.0/12  # 25
permit +=bind 10.0.0.0/8 <ipv4>  # 30
deny 10.0.0.0/8 .example.com 0.0.0.0 eq http  # 38
deny +=bind 10.0.0.0/8  # 38
permit +=connect,bind,udp 10.0.0.0/8 <ipv4>  # 42
deny 10.0.0.0/8  # 46
deny <ipv4>  # 17
deny ALL 0.0.0.0
";
    assert_eq!(read(&folder, "sockd.conf"), expected);
    assert_eq!(
        read(&folder, "sockd.ron"),
        "// From danted.conf. The numbers are those of its lines.\n(\n    auth: prefer, // 4\n    request_limit: 30, // 8\n    idle_limit: 86400, // 9\n)\n"
    );
    assert!(read(&folder, "default-sockd").ends_with("SOCKD_OPTIONS=\"--listen 10.1.1.1:1080\"\n"));
    parse_routes(read(&folder, "sockd.route").as_bytes()).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let missing = said.lines().filter(|line| !line.contains(": note: "));
    let lines: Vec<_> = missing.map(|line| line.split(": ").nth(2).unwrap()).collect();
    assert_eq!(lines, ["line 1", "line 12", "line 27", "line 38", "line 47"], "{said}");
    assert!(
        said.contains("line 12: clientmethod: sockd.conf has no word for it; the rule is left out\n"),
        "{said}"
    );
    let mode = fs::metadata(folder.path().join("sockd.conf")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "who may read the one may read the other");
}

#[test]
fn what_is_wholly_said_ends_with_status_0() {
    let text = "internal: 10.1.1.1\nexternal: 192.0.2.1\nsocksmethod: none\nclient pass { from: 10.0.0.0/8 to: 0/0 }\n\
        socks pass { from: 0/0 to: 0/0 port = 443 command: connect }\n";
    let (output, _folder) = migrate(text);
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn standard_output_has_each_file_behind_its_name() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("danted.conf");
    fs::write(&file, EXAMPLE).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sockd-migrate")).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = text.lines().filter(|line| line.starts_with("==> ")).collect();
    let expected = ["sockd.conf", "sockd.ron", "sockd.route", "default/sockd"]
        .map(|name| format!("==> /etc/{name} <=="));
    assert_eq!(names, expected);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_read_or_written_has_a_status_of_its_own() {
    let (output, folder) = migrate("client pass { from: 0/0\n");
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "sockd-migrate: danted.conf: line 1: expected } at the end of the rule\n");
    let run = |words: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sockd-migrate"));
        program.args(words).current_dir(folder.path()).output().unwrap().status.code()
    };
    assert_eq!(run(&["nothing"]), Some(66));
    assert_eq!(run(&["--nonsense"]), Some(64));
    fs::write(folder.path().join("good"), "").unwrap();
    assert_eq!(run(&["--out", "nowhere", "good"]), Some(73));
}

/// A line of an example that is commented out, but is meant to be taken into use.
fn taken_into_use(line: &str) -> &str {
    const BEGINNINGS: [&str; 20] = [
        "client pass {",
        "client block {",
        "socks pass {",
        "socks block {",
        "route {",
        "from:",
        "to:",
        "log:",
        "command:",
        "libwrap:",
        "protocol:",
        "clientmethod:",
        "}",
        "internal: 10",
        "internal: fxp0",
        "internal: de0",
        "external: 1",
        "external: fxp1",
        "socksmethod: username none",
        "timeout.",
    ];
    let code = line.trim_start_matches('#').trim_start();
    if BEGINNINGS.iter().any(|beginning| code.starts_with(beginning)) { code } else { line }
}

#[test]
fn the_examples_that_debian_installs_are_translated() {
    let examples = "/usr/share/doc/dante-server/examples";
    let names = ["danted.conf", "danted-basic.conf", "danted-chaining.conf"];
    if !Path::new(examples).exists() {
        // Past the capture of cargo, so that tests/run counts it.
        let _ = writeln!(std::io::stderr(), "** LEFT OUT IN A TEST: the package dante-server is missing");
        return;
    }
    for name in names {
        let text = fs::read_to_string(format!("{examples}/{name}")).unwrap();
        let in_use: Vec<_> = text.lines().map(taken_into_use).collect();
        for text in [text.clone(), in_use.join("\n")] {
            let (output, folder) = migrate(&text);
            assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
            rules(&folder);
        }
        let (output, folder) = migrate(&in_use.join("\n"));
        let conf = read(&folder, "sockd.conf");
        if name == "danted.conf" {
            assert!(conf.contains("\ndeny 10.0.0.0/8 172.16.0.0/12  #"), "{conf}");
            assert!(conf.contains("\npermit +=connect,bind,udp 10.0.0.0/8 <ipv4>  #"), "{conf} {output:?}");
        } else {
            assert!(!conf.contains("permit"), "{name} names interfaces: {conf}");
        }
    }
}
