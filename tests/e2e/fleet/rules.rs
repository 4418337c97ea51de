//! Rules are frozen once and copied to both gateways, by the recipe that is installed, and both decide alike by them.

use crate::client::{Client, ECHO};
use crate::place::{Place, SERVER, client};
use nix::sys::signal::Signal;
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::program::Program;
use sockd_tests::sockd::{PERMIT_ALL, Sockd, Start, install_at, program};
use sockd_tests::wait::until_true;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

const RECIPE: &str = include_str!("../../../packaging/examples/push-rules");

/// The first client host may, and the second may not.
const RULES: &str = "deny 10.1.0.101/32\npermit 0.0.0.0 0.0.0.0\n";

/// Replacements of ssh(1) and systemctl(1): a command line on a machine of the test, and the unit's command for a
/// reload.
const SSH: &str = "#!/bin/sh\nexec nsenter --target $(cat /run/pid.${1#root@}) --mount --net sh -c \"$2\"\n";
const SYSTEMCTL: &str = "#!/bin/sh\nexec sockd --reload --log stderr\n";

struct Fleet {
    place: Place,
    gates: Vec<Sockd>,
    /// The processes in whose namespaces the gateways' commands run.
    _holders: Vec<Program>,
    _echo: Server,
}

impl Fleet {
    fn new() -> Self {
        let place = Place::new();
        let echo = Server::echo(&place.server, (SERVER, ECHO));
        let admin = &place.clients;
        admin.write("/run/push-rules", RECIPE);
        executable(admin, "ssh", SSH);
        let start = |(number, gate): (usize, &Host)| {
            executable(gate, "systemctl", SYSTEMCTL);
            let holder = gate.start(Command::new("sleep").arg("3600"));
            admin.write(&format!("/run/pid.gate{}", number + 1), holder.pid().to_string());
            gate.write("/etc/sockd.conf", PERMIT_ALL);
            (holder, Start::bare(gate).words("--log stderr").start())
        };
        let (holders, gates) = place.gates.iter().enumerate().map(start).unzip();
        place.middle.sh("sysctl -qw net.ipv4.ip_forward=1");
        Self { place, gates, _holders: holders, _echo: echo }
    }

    /// Freezes these rules and pushes them to both gateways.
    fn push(&self, rules: &str) -> Output {
        self.place.clients.write("/run/new.conf", rules);
        let programs = program("make_sockdfc");
        let programs = programs.parent().expect("a folder").display().to_string();
        let mut command = Command::new("sh");
        command.args(["/run/push-rules", "/run/new.conf", "gate1", "gate2"]);
        self.place.clients.output(command.env("PATH", format!("/run/bin:{programs}:/usr/sbin:/usr/bin:/bin")))
    }

    /// Whether each gateway lets this client host through.
    fn let_through(&self, number: u8) -> [bool; 2] {
        [1, 2].map(|gate| {
            let proxy = SocketAddr::new([10, 2, gate, 2].into(), 1080);
            let client = Client { place: &self.place, address: client(number), proxy };
            client.connect().is_ok()
        })
    }
}

fn executable(host: &Host, name: &str, text: &str) {
    let written = format!("/run/{name}.text");
    host.write(&written, text);
    install_at(host, Path::new(&written), &format!("/run/bin/{name}"));
}

#[test]
fn both_gateways_decide_by_what_was_frozen_once() {
    let fleet = Fleet::new();
    assert_eq!([0, 1].map(|number| fleet.let_through(number)), [[true, true], [true, true]]);
    let pushed = fleet.push(RULES);
    assert!(pushed.status.success(), "{pushed:?}");
    assert_eq!([0, 1].map(|number| fleet.let_through(number)), [[true, true], [false, false]]);
    let copies =
        fleet.place.gates.each_ref().map(|gate| gate.run(|| fs::read("/etc/sockd.fc")).expect("a copy"));
    assert_eq!(copies[0], copies[1]);
}

#[test]
fn a_text_with_an_error_leaves_both_as_they_are() {
    let fleet = Fleet::new();
    let pushed = fleet.push("deny\n");
    assert!(!pushed.status.success(), "{pushed:?}");
    assert!(String::from_utf8_lossy(&pushed.stderr).contains("line 1: expected"), "{pushed:?}");
    assert_eq!(fleet.let_through(1), [true, true]);
    assert!(fleet.place.gates.iter().all(|gate| !gate.exists("/etc/sockd.fc.new")));
}

#[test]
fn a_gateway_that_cannot_read_its_copy_keeps_all_of_them_from_changing() {
    let fleet = Fleet::new();
    // A program of another version in front of the right one.
    let other = "#!/bin/sh\necho \"$1: expected format version 3, found 4\" >&2\nexit 65\n";
    executable(&fleet.place.gates[1], "dump_sockdfc", other);
    let pushed = fleet.push(RULES);
    assert!(!pushed.status.success(), "{pushed:?}");
    let said = String::from_utf8_lossy(&pushed.stderr);
    assert!(said.contains("expected format version 3, found 4") && said.contains("at: gate2\n"), "{said}");
    assert_eq!(fleet.let_through(1), [true, true]);
}

/// Both get new rules, the second one a damaged copy: it keeps its rules and says why, and the first one has the new ones.
fn damaged(damage: impl FnOnce(&mut Vec<u8>), why: &str) {
    let fleet = Fleet::new();
    let pushed = fleet.push(RULES);
    assert!(pushed.status.success(), "{pushed:?}");
    assert_eq!(fleet.let_through(1), [false, false]);
    let admin = &fleet.place.clients;
    admin.write("/run/new.conf", PERMIT_ALL);
    let mut freeze = Command::new(program("make_sockdfc"));
    assert!(admin.output(freeze.args(["/run/new.conf", "/run/new.fc"])).status.success());
    let mut bytes = admin.run(|| fs::read("/run/new.fc")).expect("the frozen file");
    fleet.place.gates[0].write("/etc/sockd.fc", &bytes);
    damage(&mut bytes);
    fleet.place.gates[1].write("/etc/sockd.fc", &bytes);
    fleet.gates.iter().for_each(|gate| gate.signal(Signal::SIGHUP));
    let why = format!("/etc/sockd.fc: {why}");
    for (gate, outcome) in [(0, "reloaded: 1 rule"), (1, &why), (1, "stay in force")] {
        until_true(outcome, || fleet.gates[gate].said().contains(outcome));
    }
    assert_eq!([0, 1].map(|number| fleet.let_through(number)), [[true, true], [true, false]]);
}

#[test]
fn a_copy_that_is_cut_short_keeps_the_old_rules_and_the_log_says_why() {
    damaged(
        |bytes| bytes.truncate(bytes.len() - 1),
        "expected a file as long as it says, found another length",
    );
}

#[test]
fn a_copy_of_another_version_keeps_the_old_rules_and_the_log_says_why() {
    damaged(|bytes| bytes[8] = 99, "expected format version 4, found 99");
}
