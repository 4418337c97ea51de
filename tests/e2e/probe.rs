//! `sockd-probe` in a session worker's place: what a worker in an attacker's hands could try, act by act.
//!
//! Every act is tried without any lock as well, by the worker's user on the same machine: an act that is impossible
//! there proves nothing about the sandbox. The table of both is written to the target folder as `probe.md`.

use sockd_tests::far::Far;
use sockd_tests::lab::Lab;
use sockd_tests::program::Program;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, program};
use sockd_tests::socks::{PROXY, Request, send_to};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The user that workers run as in the laboratory.
const USER: u32 = 64123;

/// Acts that an unconfined process of that user can do: fewer would make the table worthless.
const POSSIBLE: usize = 110;

struct Reading {
    group: String,
    name: String,
    control: String,
    /// What became of it behind the locks of each role, and before a worker has put on any.
    confined: [String; 4],
}

const ROLES: [&str; 4] = ["session", "ident", "resolver", "none"];

/// Acts that the spawner's filter, the namespaces and the user id do not stop by themselves, before a worker has put
/// on its own locks: nothing from outside has reached it then.
const EARLY: usize = 40;

/// Answered instead of killed for, with ENOSYS: the ident worker's profile says why.
const ANSWERED: (&str, &str) = ("ident", "SURVIVED: errno 38");

#[test]
fn nothing_that_an_attacker_might_try_is_survived_in_a_workers_place() {
    let site = Site::new();
    let canaries = [9, 10].map(|port| Far::listen_at(&site.server, (SERVER, port)));
    let settings = "(worker_idle: 1)";
    let lab = Lab::at(site, PERMIT_ALL, |start| start.settings(settings).worker(program("sockd-probe")));
    prepare_files(&lab);
    let list = Command::new(program("sockd-probe")).arg("list").output().expect("the list");
    let list = String::from_utf8(list.stdout).expect("text");
    let acts: Vec<(&str, &str)> = list.lines().filter_map(|line| line.split_once('\t')).collect();
    let before: Vec<usize> = hits(&canaries);
    let confined: Vec<[String; 4]> =
        (0..acts.len()).map(|number| ROLES.map(|role| in_the_slot(&lab, role, number))).collect();
    assert_eq!(hits(&canaries), before, "something reached the canary");
    let readings: Vec<Reading> = acts
        .iter()
        .zip(confined)
        .enumerate()
        .map(|(number, ((group, name), confined))| {
            let (group, name) = ((*group).to_owned(), (*name).to_owned());
            Reading { group, name, control: control(&lab, number), confined }
        })
        .collect();
    let table = table(&readings);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe.md");
    fs::write(&place, &table).expect("the table");
    println!("{table}");
    let survived: Vec<String> = readings.iter().flat_map(survivors).collect();
    assert!(survived.is_empty(), "survived: {survived:#?}");
    let possible = readings.iter().filter(|reading| reading.control == "done").count();
    assert!(possible >= POSSIBLE, "only {possible} of {} acts are possible without locks", readings.len());
    let early = readings.iter().filter(|reading| reading.confined[3] == "SURVIVED: done").count();
    assert!(
        early <= EARLY,
        "{early} of {} acts are possible before a worker locks itself down",
        readings.len()
    );
}

fn hits(canaries: &[Far]) -> Vec<usize> {
    canaries.iter().map(|canary| std::iter::from_fn(|| canary.waiting()).count()).collect()
}

/// What the acts on files need, for the control.
fn prepare_files(lab: &Lab) {
    lab.site.gateway.sh("mkdir -m 1777 /run/probe");
    for name in ["own", "unlink", "rename"] {
        let path = format!("/run/probe/{name}");
        lab.site.gateway.write(&path, "x");
        lab.site.gateway.sh(&format!("chown {USER} {path}"));
    }
    lab.site.gateway.run(|| {
        let place = "/run/probe-program";
        fs::copy(program("sockd-probe"), place).expect("a copy");
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("mode");
    });
}

/// How a session worker ended that tried this, as the monitor logs it; or what it told its client.
fn in_the_slot(lab: &Lab, role: &str, number: usize) -> String {
    let mark = lab.log.mark();
    let request = Request::connect((SERVER, 7)).by(format!("{role} {number}"));
    let mut line = send_to(&lab.site.client, PROXY, &request);
    let (told, _) = line.read_to_end();
    let ended = lab.log.wait_for(mark, " ended: ");
    let how = ended.rsplit(" ended: ").next().unwrap_or_default().to_owned();
    match told.is_empty() {
        true => how,
        false => format!("SURVIVED: {}", String::from_utf8_lossy(&told)),
    }
}

/// The same by an unconfined process of the same user.
fn control(lab: &Lab, number: usize) -> String {
    let mut victim = Command::new("sleep");
    let victim =
        Program::start(&lab.site.gateway, victim.arg("600").uid(USER).gid(USER).stdin(Stdio::null()));
    let mut probe = Command::new("/run/probe-program");
    probe.args(["control", &number.to_string(), &victim.pid().to_string()]).uid(USER).gid(USER);
    let output = lab.site.gateway.output(&mut probe);
    match (String::from_utf8_lossy(&output.stdout).trim(), output.status.code()) {
        // A program that has taken the place of this one says nothing.
        ("", Some(0)) => "done".into(),
        ("", _) => output.status.to_string(),
        (told, _) => told.to_owned(),
    }
}

fn survivors(reading: &Reading) -> Vec<String> {
    let is_fcntl = reading.name.contains("F_");
    let of_roles = ROLES.iter().zip(&reading.confined).filter(|(role, _)| **role != "none");
    of_roles
        .filter(|(role, how)| *how != "SIGSYS" && !(is_fcntl && (**role, how.as_str()) == ANSWERED))
        .map(|(role, how)| format!("{role}: {}: {how}", reading.name))
        .collect()
}

fn table(readings: &[Reading]) -> String {
    let mut table = String::from(
        "| act | unconfined | session | ident | resolver | before its locks |\n|---|---|---|---|---|---|\n",
    );
    for Reading { group, name, control, confined: [session, ident, resolver, early] } in readings {
        let _ =
            writeln!(table, "| {group}: {name} | {control} | {session} | {ident} | {resolver} | {early} |");
    }
    let killed = |role: usize| readings.iter().filter(|reading| reading.confined[role] == "SIGSYS").count();
    let done = readings.iter().filter(|reading| reading.control == "done").count();
    let all = readings.len();
    let [session, ident, resolver, early] = [0, 1, 2, 3].map(killed);
    let _ = writeln!(
        table,
        "| {all} acts | {done} done | {session} killed | {ident} killed | {resolver} killed | {early} killed |"
    );
    table
}
