//! The programs as administrators run them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const RULES: &str = "# rules\npermit ?=I *=ann,USERS 10.0.0.0/8 eq telnet : echo %u\ndeny ALL 0.0.0.0 .xyz.com 0.0.0.0\n\n#BAD_ID: mail %u\n";
const ROUTES: &str = "10.0.0.1 11.0.0.0 255.0.0.0\n2001:db8::1 ALL 0.0.0.0\n";

/// A folder with a text of each kind, a user file and a services file.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        place.write("users", "ann,bob\tcarl\n# yes\n\n dora  , u # yes\n");
        place.write("services", "ftp 21/tcp\ntelnet 23/tcp\n");
        place.write("conf", &RULES.replace("USERS", &place.path("users").display().to_string()));
        place.write("route", ROUTES);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs a program in the folder, so that names in it can be given as they are.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program).args(arguments).current_dir(self.0.path()).output().unwrap()
    }
}

const MAKE: &str = env!("CARGO_BIN_EXE_make_sockdfc");
const MAKE_ROUTES: &str = env!("CARGO_BIN_EXE_make_sockdfr");
const DUMP: &str = env!("CARGO_BIN_EXE_dump_sockdfc");
const DUMP_ROUTES: &str = env!("CARGO_BIN_EXE_dump_sockdfr");
const TEST: &str = env!("CARGO_BIN_EXE_test_sockd_conf");
const SERVICES: &str = "--services=services";

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn errors(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().split_terminator('\n').map(str::to_owned).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_listing_of_a_frozen_file_freezes_to_the_same_rules() {
    let place = Place::new();
    assert_eq!(status(&place.run(MAKE, &[SERVICES, "conf", "fc"])), 0);
    let listing = place.run(DUMP, &["fc"]);
    assert_eq!(status(&listing), 0);
    let users = place.path("users");
    let listing = text(&listing);
    let (header, rules): (Vec<_>, Vec<_>) = listing.lines().partition(|line| line.starts_with("# "));
    assert_eq!(
        rules,
        [
            &format!("permit ?=I *=ann,{} 10.0.0.0 255.0.0.0 eq 23 : echo %u", users.display()),
            "deny 0.0.0.0 0.0.0.0 .xyz.com 0.0.0.0",
            "#BAD_ID: mail %u",
        ]
    );
    assert!(
        header[0].ends_with("/conf") && header[1].contains(" UTC ") && header[2].starts_with("# SHA-256 ")
    );
    assert!(header[3].contains(&users.display().to_string()));
    place.write("again", &listing);
    assert_eq!(status(&place.run(MAKE, &["again", "fc2"])), 0);
    let again = text(&place.run(DUMP, &["fc2"]));
    let again: Vec<_> = again.lines().filter(|line| !line.starts_with("# ")).collect();
    assert_eq!(again, rules);
}

#[test]
fn included_files_are_frozen_listed_explained_and_linted_with_their_own_lines() {
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    place.write("d/20.conf", "\npermit 10.0.0.0/8 20.0.0.0/8\n");
    place.write("d/10.conf", "deny 10.1.0.0/16\ndeny 10.1.2.0/24\n");
    place.write("d/30.conf~", "what an editor has left\n");
    let pattern = place.path("d/*.conf").display().to_string();
    place.write("top", &format!("deny 10.2.0.0/16\ninclude {pattern}\npermit 192.0.2.0/24 20.0.0.0/8\n"));
    let ten = place.path("d/10.conf").display().to_string();
    let twenty = place.path("d/20.conf").display().to_string();
    let asked = |source: &str| {
        let answer = place
            .run(TEST, &["--services=services", "--explain", "-C", "top", "joe", source, "20.0.0.1", "23"]);
        errors(&answer)
    };
    assert!(
        asked("10.1.0.1").contains(&format!("{ten}: Line 1: deny 10.1.0.0/16")),
        "{:?}",
        asked("10.1.0.1")
    );
    let told = asked("10.3.0.1");
    assert!(told.contains(&format!("{twenty}: Line 2: permit 10.0.0.0/8 20.0.0.0/8")), "{told:?}");
    assert!(
        told.iter().any(|line| line.starts_with(&format!("decided by line 2 of {twenty}: "))),
        "{told:?}"
    );
    assert!(asked("192.0.2.1").contains(&"Line 3: permit 192.0.2.0/24 20.0.0.0/8".into()));
    place.write("requests", "joe 10.3.0.1 20.0.0.1 23\n");
    let batch = place.run(TEST, &["--services=services", "-C", "top", "--batch", "requests"]);
    assert!(text(&batch).contains(&format!("permit line 2 of {twenty}")), "{batch:?}");
    let lint = errors(&place.run(TEST, &["--services=services", "-C", "top", "--lint"]));
    let never = format!("{ten}: line 2: never matches: line 1 of {ten} matches all that it would");
    assert!(lint.contains(&never), "{lint:?}");

    assert_eq!(status(&place.run(MAKE, &["top", "fc"])), 0);
    let listing = text(&place.run(DUMP, &["fc"]));
    for file in [&ten, &twenty, &pattern] {
        assert!(listing.contains(&format!("# file {file} SHA-256 ")), "{listing}");
    }
    assert!(
        listing.ends_with(
            "\ndeny 10.2.0.0 255.255.0.0\ndeny 10.1.0.0 255.255.0.0\ndeny 10.1.2.0 255.255.255.0\n\
         permit 10.0.0.0 255.0.0.0 20.0.0.0 255.0.0.0\npermit 192.0.2.0 255.255.255.0 20.0.0.0 255.0.0.0\n"
        ),
        "{listing}"
    );

    place.write("d/10.conf", "allow\n");
    let refused = errors(&place.run(MAKE, &["top", "fc"]));
    assert_eq!(refused, [format!("make_sockdfc: {ten}: line 1: expected permit or deny, found \"allow\"")]);
}

#[test]
fn routes_are_frozen_and_listed_and_are_not_rules() {
    let place = Place::new();
    assert_eq!(status(&place.run(MAKE_ROUTES, &["route", "fr"])), 0);
    let listing = text(&place.run(DUMP_ROUTES, &["fr"]));
    assert!(listing.ends_with("\n10.0.0.1 11.0.0.0 255.0.0.0\n2001:db8::1 0.0.0.0 0.0.0.0\n"), "{listing}");
    let refused = place.run(DUMP, &["fr"]);
    assert_eq!((status(&refused), errors(&refused).len()), (65, 1));
}

#[test]
fn a_text_with_errors_is_reported_line_by_line_and_nothing_is_written() {
    let place = Place::new();
    place.write("bad", "permit 10.0.0.0\nallow\npermit *=/nonexistent 10.0.0.0/8\n");
    place.write("fc", "what was here");
    let before = place.files();
    let refused = place.run(MAKE, &["bad", "fc"]);
    assert_eq!(status(&refused), 65);
    let messages = errors(&refused);
    assert_eq!(messages[0], "make_sockdfc: bad: line 1: expected source mask, found the end of the line");
    assert!(messages[1].starts_with("make_sockdfc: bad: line 2: "), "{messages:?}");
    assert!(messages[2].contains("line 3: user file /nonexistent: "), "{messages:?}");
    assert_eq!(place.files(), before);
    assert_eq!(fs::read_to_string(place.path("fc")).unwrap(), "what was here");
}

#[test]
fn the_programs_tell_faults_of_use_input_and_output_apart() {
    let place = Place::new();
    assert_eq!(status(&place.run(MAKE, &["a", "b", "c"])), 64);
    assert_eq!(status(&place.run(MAKE, &["--what"])), 64);
    assert_eq!(status(&place.run(DUMP, &["a", "b"])), 64);
    assert_eq!(status(&place.run(MAKE, &["--help"])), 0);
    assert_eq!(status(&place.run(MAKE, &["--version"])), 0);
    assert_eq!(status(&place.run(MAKE, &["missing", "fc"])), 66);
    assert_eq!(status(&place.run(DUMP, &["missing"])), 66);
    assert_eq!(status(&place.run(MAKE_ROUTES, &["route", "no/such/folder"])), 73);
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("folder").join("x"), "").unwrap();
    assert_eq!(status(&place.run(MAKE_ROUTES, &["route", "folder"])), 74);
    assert_eq!(status(&place.run(MAKE_ROUTES, &["route", "route"])), 64);
    assert_eq!(fs::read_to_string(place.path("route")).unwrap(), ROUTES);
    assert!(!place.files().iter().any(|name| name.starts_with('.')), "{:?}", place.files());
}

#[test]
fn a_frozen_file_may_be_read_by_whom_its_text_may_be_read() {
    let place = Place::new();
    for (mode, frozen) in [(0o640, 0o640), (0o600, 0o600), (0o664, 0o644)] {
        fs::set_permissions(place.path("route"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(status(&place.run(MAKE_ROUTES, &["route", "fr"])), 0);
        assert_eq!(fs::metadata(place.path("fr")).unwrap().permissions().mode() & 0o777, frozen);
    }
}

#[test]
fn a_damaged_frozen_file_is_refused_fz_03() {
    let place = Place::new();
    place.run(MAKE, &[SERVICES, "conf", "fc"]);
    let bytes = fs::read(place.path("fc")).unwrap();
    fs::write(place.path("short"), &bytes[..bytes.len() - 1]).unwrap();
    let refused = place.run(DUMP, &["short"]);
    assert_eq!(status(&refused), 65);
    assert_eq!(
        errors(&refused),
        ["dump_sockdfc: short: expected a file as long as it says, found another length"]
    );
    let mut flipped = bytes;
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(place.path("flipped"), flipped).unwrap();
    assert_eq!(status(&place.run(DUMP, &["flipped"])), 65);
    assert_eq!(status(&place.run(TEST, &["-F", "-C", "flipped", "u", "10.0.0.1", "20.0.0.1", "23"])), 0);
}

/// The classic cases through the program, with the classic lines on standard error.
#[test]
fn test_sockd_conf_says_what_the_classic_program_said() {
    let cases: Value = serde_json::from_str(include_str!("../../tests/cases.json")).unwrap();
    let place = Place::new();
    for case in cases.as_array().unwrap() {
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let (id, conf) =
            (text("id"), text("conf").replace("USERFILES/ufile", &place.path("users").display().to_string()));
        if text("port") == "0" {
            continue; // Port 0 is refused by a guard; the rules' own word on it is tested in sockd-policy.
        }
        place.write("c.conf", &conf);
        let mut arguments = vec![SERVICES, "-C", "c.conf"];
        if case["route"].is_string() {
            place.write("c.route", text("route"));
            arguments.extend(["-R", "c.route"]);
        }
        arguments.extend(case["options"].as_array().unwrap().iter().map(|option| option.as_str().unwrap()));
        arguments.extend([text("user"), text("src"), text("dst"), text("port")]);
        let output = place.run(TEST, &arguments);
        let wanted = i32::from(text("want") == "permit");
        assert_eq!(status(&output), wanted, "{id}: {:?}", errors(&output));
        assert!(output.stdout.is_empty(), "{id}");
        let lines = errors(&output);
        let port = text("port").replace("telnet", "23").replace("ftp", "21");
        let first = format!("USER:{},  SRC:{},  DST:{}, PORT:{port}", text("user"), text("src"), text("dst"));
        assert_eq!(lines[0], first, "{id}");
        let line = case["line"].as_u64().unwrap();
        if text("want") == "error" {
            let path = if id == "route-03" { "c.route" } else { "c.conf" };
            assert!(lines[1].starts_with(&format!("{path}: line {line}: ")), "{id}: {lines:?}");
        } else if line == 0 {
            assert_eq!(lines[1..], ["*** No match with any line. Access denied."], "{id}");
        } else {
            let raw = conf.split('\n').nth(line as usize - 1).unwrap();
            assert_eq!(lines[1], format!("Line {line}: {raw}"), "{id}");
        }
    }
}

fn decided(place: &Place, conf: &str, arguments: &[&str]) -> (i32, Vec<String>) {
    place.write("c.conf", conf);
    let output = place.run(TEST, &[&[SERVICES, "-C", "c.conf"], arguments].concat());
    (status(&output), errors(&output).split_off(1))
}

const REQUEST: [&str; 4] = ["u", "10.1.2.3", "20.0.0.1", "23"];

#[test]
fn identd_that_fails_or_names_another_is_shown_with_its_special_line() {
    let place = Place::new();
    let conf = "permit 0.0.0.0 0.0.0.0\n#NO_IDENTD: echo n\n#BAD_ID: echo b\n";
    let with = |option: &'static str| decided(&place, conf, &[&[option][..], &REQUEST].concat());
    let (rule, none) = ("Line 1: permit 0.0.0.0 0.0.0.0".to_owned(), "Line 2: #NO_IDENTD: echo n".to_owned());
    assert_eq!(with("-i"), (1, vec![rule.clone(), none.clone()]));
    assert_eq!(with("-I"), (0, vec![rule.clone(), none, "Access denied: cannot verify user-id.".into()]));
    let bad = vec![rule, "Line 3: #BAD_ID: echo b".into(), "Access denied: bad user-id.".into()];
    assert_eq!(with("-B"), (0, bad));
}

#[test]
fn routes_are_checked_after_a_permit() {
    let place = Place::new();
    let routed = |route: &str| {
        place.write("c.route", route);
        decided(&place, "permit 0.0.0.0 0.0.0.0\n", &[&["-R", "c.route"][..], &REQUEST].concat())
    };
    let (status, lines) = routed("# c\n10.9.9.1 11.0.0.0 255.0.0.0\n10.9.9.2 20.0.0.0 255.0.0.0\n");
    assert_eq!(status, 1);
    assert_eq!(
        lines[1..],
        ["==== Checking routing file (c.route)...", "Line 3: 10.9.9.2 20.0.0.0 255.0.0.0"]
    );
    let (status, lines) = routed("10.9.9.1 11.0.0.0 255.0.0.0\n");
    assert_eq!(status, 0);
    assert_eq!(lines[2], "***Cannot find appropriate interface to communicate with 20.0.0.1");
}

#[test]
fn wrong_use_is_told_in_the_classic_words_tool_01_tool_02() {
    let place = Place::new();
    let few = place.run(TEST, &["u"]);
    assert_eq!(status(&few), 255);
    let lines = errors(&few);
    let usage =
        "test_sockd_conf [-i] [-I] [-B] [-R route_file] [-C conf_file] user src_addr dst_addr {service,port}";
    assert_eq!(lines[lines.len() - 2..], ["Usage:", usage]);
    let service = place.run(TEST, &["u", "1.2.3.4", "1.2.3.4", "zzz"]);
    assert_eq!(status(&service), 255);
    assert_eq!(errors(&service), ["test_sockd_conf: Unknown service or illegal port number 'zzz'"]);
    assert_eq!(status(&place.run(TEST, &["-i", "-I", "u", "1.2.3.4", "1.2.3.4", "1"])), 255);
    assert_eq!(status(&place.run(TEST, &["u", "1.2.3", "1.2.3.4", "1"])), 255);
    assert_eq!(status(&place.run(TEST, &[])), 255);
    assert_eq!(status(&place.run(TEST, &["--help"])), 0);
}

#[test]
fn a_guard_is_shown_after_the_rules_own_verdict() {
    let place = Place::new();
    let (status, lines) = decided(&place, "permit 0.0.0.0 0.0.0.0\n", &["u", "10.1.2.3", "127.0.0.1", "23"]);
    assert_eq!(status, 0);
    let refused = "*** Refused by guard: loopback address that no permit line names. Access denied.";
    assert_eq!(lines, ["Line 1: permit 0.0.0.0 0.0.0.0", refused]);
    let (status, _) =
        decided(&place, "permit ALL 0.0.0.0 127.0.0.0/8\n", &["u", "10.1.2.3", "127.0.0.1", "23"]);
    assert_eq!(status, 1);
    let (status, lines) = decided(&place, "deny ALL 0.0.0.0\n", &["u", "10.1.2.3", "0.0.0.1", "23"]);
    assert_eq!((status, lines.len()), (0, 2));
}

#[test]
fn an_explanation_names_near_misses_identd_route_and_command() {
    let place = Place::new();
    let conf = "deny *=ann 10.0.0.0/8\ndeny 10.0.0.0/8 20.0.0.0/8 eq 25\ndeny 11.0.0.0/8 eq 25\npermit ?=i ALL 0.0.0.0 : echo '%u' %S\n";
    place.write("c.route", "10.9.9.1 ALL 0.0.0.0\n");
    let arguments = [&["--explain", "-R", "c.route"][..], &["u;x", "10.1.2.3", "20.0.0.1", "23"]].concat();
    let (status, lines) = decided(&place, conf, &arguments);
    assert_eq!(status, 1);
    assert_eq!(
        lines[3..],
        [
            "not line 1: the user differs: deny *=ann 10.0.0.0 255.0.0.0",
            "not line 2: the port differs: deny 10.0.0.0 255.0.0.0 20.0.0.0 255.0.0.0 eq 25",
            "decided by line 4: permit ?=i 0.0.0.0 0.0.0.0 : echo '%u' %S",
            "identd: asked on the client host; another user is denied, no answer is not",
            "route: from 10.9.9.1 by line 1",
            "would run: echo 'u_x' telnet",
        ]
    );
}

#[test]
fn an_explanation_says_what_is_limited() {
    let place = Place::new();
    let conf = "permit <=10M/500K n=20 20.0.0.0/8\npermit <=1M,shared 10.0.0.0/8\n";
    for (source, limits) in [
        (
            "20.1.2.3",
            &[
                "limit: 10000000 bytes a second to the client, 500000 to the destination, of each connection",
                "limit: 20 connections of one user or host at once",
            ][..],
        ),
        (
            "10.1.2.3",
            &["limit: 1000000 bytes a second to the client, 1000000 to the destination, of one user or host"],
        ),
    ] {
        let (status, lines) = decided(&place, conf, &["--explain", "u", source, "30.0.0.1", "23"]);
        assert_eq!(status, 1);
        let told: Vec<_> = lines.iter().filter(|line| line.starts_with("limit: ")).collect();
        assert_eq!(told, limits, "{source}");
    }
}

#[test]
fn no_command_is_announced_that_would_not_be_run() {
    let place = Place::new();
    place.write("socks.conf", "deny 30.0.0.0/8 : echo upstream\nsockd @=gw 40.0.0.0/8 : echo gw\ndirect ALL 0.0.0.0 : echo direct\n");
    place.write("c.route", "10.9.9.1 20.0.0.0/8\n");
    let commands = |more: &[&str], destination: &str| {
        let words = [&["--explain"][..], more, &["u", "10.1.2.3", destination, "23"]].concat();
        let (_, lines) = decided(&place, "permit ALL 0.0.0.0 : echo own\n", &words);
        lines.into_iter().filter(|line| line.starts_with("would run: ")).collect::<Vec<_>>()
    };
    let upstream = ["-U", "socks.conf"];
    assert_eq!(commands(&upstream, "20.0.0.1"), ["would run: echo own", "would run: echo direct"]);
    assert_eq!(commands(&upstream, "30.0.0.1"), ["would run: echo upstream"]);
    assert!(commands(&upstream, "127.0.0.1").is_empty(), "a guard refuses");
    assert!(commands(&["-R", "c.route"], "40.0.0.1").is_empty(), "no route");
    let through = commands(&["-R", "c.route", "-U", "socks.conf"], "40.0.0.1");
    assert_eq!(through, ["would run: echo own", "would run: echo gw"], "the route to gw is another one");
}

#[test]
fn names_can_be_given_for_hosts_that_have_none_here() {
    let place = Place::new();
    let conf = "deny ALL 0.0.0.0 .xyz.com 0.0.0.0\npermit .inside.org 0.0.0.0\n";
    assert_eq!(decided(&place, conf, &REQUEST).0, 0);
    assert_eq!(decided(&place, conf, &[&["--src-name", "a.inside.org"][..], &REQUEST].concat()).0, 1);
    let both = [&["--src-name", "a.inside.org", "--dst-name", "xyz.com"][..], &REQUEST].concat();
    assert_eq!(decided(&place, conf, &both), (0, vec!["Line 1: deny ALL 0.0.0.0 .xyz.com 0.0.0.0".into()]));
}

#[test]
fn frozen_files_are_tested_as_well() {
    let place = Place::new();
    place.run(MAKE, &[SERVICES, "conf", "fc"]);
    let users = place.path("users");
    let output = place.run(TEST, &["-F", "-C", "fc", "-I", "bob", "10.0.0.1", "20.0.0.1", "23"]);
    assert_eq!(status(&output), 0);
    let line = format!("Line 2: permit ?=I *=ann,{} 10.0.0.0 255.0.0.0 eq 23 : echo %u", users.display());
    assert_eq!(errors(&output)[1..], [line, "Access denied: cannot verify user-id.".to_owned()]);
}

#[test]
fn upstream_lines_are_frozen_listed_and_tested() {
    let place = Place::new();
    place.write("socks.conf", "direct 10.0.0.0/8\nsockd @=gw:1081 20.0.0.0/8 : echo %z\ndeny 30.0.0.0/8\n");
    assert_eq!(status(&place.run(env!("CARGO_BIN_EXE_make_socksfc"), &["socks.conf", "socks.fc"])), 0);
    let listing = text(&place.run(env!("CARGO_BIN_EXE_dump_socksfc"), &["socks.fc"]));
    assert!(
        listing.ends_with("\nsockd @=gw:1081 20.0.0.0 255.0.0.0 : echo %z\ndeny 30.0.0.0 255.0.0.0\n"),
        "{listing}"
    );
    let to = |destination: &'static str| {
        let request = ["--explain", "-U", "socks.conf", "u", "1.2.3.4", destination, "23"];
        decided(&place, "permit ALL 0.0.0.0\n", &request)
    };
    let (status, lines) = to("20.0.0.1");
    assert_eq!(status, 1);
    assert_eq!(lines[1..3], ["==== Checking upstream file (socks.conf)...", "Line 2: sockd @=gw:1081"]);
    assert_eq!(lines.last().unwrap(), "would run: echo 20.0.0.1");
    assert_eq!(to("30.0.0.1").0, 0);
    assert_eq!(to("40.0.0.1").1[2], "*** No match with any line. Access denied.");
    assert_eq!(to("10.0.0.1").0, 1);
}

#[test]
fn a_batch_gives_a_verdict_a_line() {
    let place = Place::new();
    place.write("c.conf", "deny *=eve ALL 0.0.0.0\npermit 10.0.0.0/8\npermit ?=I 11.0.0.0/8\n");
    place.write("requests", "# user src dst port\neve 10.0.0.1 20.0.0.1 23\nann 10.0.0.1 20.0.0.1 telnet\n\nann 12.0.0.1 20.0.0.1 1\nann 10.0.0.1 127.0.0.1 23\nann 11.0.0.1 20.0.0.1 23\nann 10.0.0.1\n");
    let output = place.run(TEST, &[SERVICES, "-C", "c.conf", "--batch", "requests"]);
    assert_eq!(
        text(&output).lines().collect::<Vec<_>>(),
        [
            "deny line 1",
            "permit line 2",
            "deny no line",
            "refused line 2: loopback address that no permit line names",
            "permit line 3",
            "error line 8: expected user, src_addr, dst_addr and service or port",
        ]
    );
    assert_eq!(status(&output), 255);
    let strict = place.run(TEST, &[SERVICES, "-I", "-C", "c.conf", "--batch", "requests"]);
    assert_eq!(text(&strict).lines().nth(1), Some("deny line 2: cannot verify user-id"));
    place.write("c.conf", "permit ALL\n");
    let broken = place.run(TEST, &[SERVICES, "-C", "c.conf", "--batch", "requests"]);
    assert_eq!((status(&broken), text(&broken)), (255, String::new()), "no verdict is no success");
}

#[test]
fn a_request_is_a_connect_by_socks4_unless_something_else_is_said() {
    let place = Place::new();
    let conf = "permit ~=5 10.0.0.0/8\npermit +=bind 10.0.0.0/8 ALL 0.0.0.0 in 20-21\n";
    place.write("c.conf", conf);
    let requests = ["u 10.0.0.1 20.0.0.1 21", "u 10.0.0.1 20.0.0.1 21 bind", "u 10.0.0.1 20.0.0.1 21 socks5"];
    place.write("requests", &format!("{}\nu 10.0.0.1 20.0.0.1 21 tcp\n", requests.join("\n")));
    let output = place.run(TEST, &["-C", "c.conf", "--batch", "requests"]);
    let wrong = "error line 4: expected connect, bind, udp, socks4, socks5 or password, found 'tcp'";
    let expected = ["deny no line", "permit line 2", "permit line 1", wrong];
    assert_eq!(text(&output).lines().collect::<Vec<_>>(), expected);
    for (option, status_of, decides) in [("--bind", 1, "by line 2"), ("--socks5", 1, "by line 1")] {
        let words = ["--explain", option, "u", "10.0.0.1", "20.0.0.1", "21"];
        let (status, lines) = decided(&place, conf, &words);
        assert_eq!(status, status_of, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains(decides)), "{lines:?}");
    }
    let (_, lines) = decided(&place, conf, &["--explain", "u", "10.0.0.1", "20.0.0.1", "21"]);
    for field in ["not line 1: the protocol version differs", "not line 2: the command differs"] {
        assert!(lines.iter().any(|line| line.contains(field)), "{lines:?}");
    }
}

#[test]
fn a_request_may_be_of_a_user_with_a_password() {
    let place = Place::new();
    let conf = "permit @=password g=staff 10.0.0.0/8 20.0.0.0/8\npermit @=none *=u 10.0.0.0/8 30.0.0.0/8\n";
    place.write("c.conf", conf);
    let requests = [
        ("u 10.0.0.1 20.0.0.1 80", "deny no line"),
        ("u 10.0.0.1 20.0.0.1 80 password", "deny no line"),
        ("u 10.0.0.1 20.0.0.1 80 password=wheel,staff", "permit line 1"),
        ("u 10.0.0.1 30.0.0.1 80", "permit line 2"),
        ("u 10.0.0.1 30.0.0.1 80 password=staff", "deny no line"),
    ];
    let (asked, answers): (Vec<&str>, Vec<&str>) = requests.into_iter().unzip();
    place.write("requests", &asked.join("\n"));
    let output = place.run(TEST, &["-C", "c.conf", "--batch", "requests"]);
    assert_eq!(text(&output).lines().collect::<Vec<_>>(), answers);
    for (words, said) in [
        (&["--socks5"][..], "methods asked of this client: none, else password"),
        (&["--password"], "not line 1: the group differs: permit g=staff @=password"),
        (&["--password", "--groups", "x,staff"], "decided by line 1"),
        (&["--password", "--groups", "x,staff"], "identd: not asked"),
    ] {
        let (_, lines) =
            decided(&place, conf, &[&["--explain"], words, &["u", "10.0.0.1", "20.0.0.1", "80"]].concat());
        assert!(lines.iter().any(|line| line.contains(said)), "{words:?} {said}: {lines:?}");
    }
    let (_, lines) = decided(&place, conf, &["--explain", "u", "10.0.0.1", "30.0.0.1", "80"]);
    assert!(!lines.iter().any(|line| line.contains("methods asked")), "{lines:?}");
    let (_, lines) = decided(&place, conf, &["--explain", "--password", "u", "10.0.0.1", "30.0.0.1", "80"]);
    assert!(lines.iter().any(|line| line.contains("not line 2: the authentication differs")), "{lines:?}");
    let lines = errors(&place.run(TEST, &["--lint", "-C", "c.conf"]));
    let warning = "c.conf: line 1: a client that can go without a password is not asked for one";
    assert!(lines.iter().any(|line| line.contains(warning)), "{lines:?}");
}

#[test]
fn a_byte_order_mark_in_front_of_a_file_changes_nothing() {
    let place = Place::new();
    place.write("c.route", "\u{feff}10.9.9.1 20.0.0.0/8\n");
    let (status_of, lines) = decided(
        &place,
        "\u{feff}permit ALL 0.0.0.0\n",
        &["-R", "c.route", "u", "10.1.2.3", "20.0.0.1", "23"],
    );
    assert_eq!(status_of, 1);
    assert_eq!(lines[0], "Line 1: permit ALL 0.0.0.0");
    assert_eq!(lines[2], "Line 1: 10.9.9.1 20.0.0.0/8");
    place.write("requests", "\u{feff}u 10.1.2.3 20.0.0.1 23\n");
    let output = place.run(TEST, &["-C", "c.conf", "--batch", "requests"]);
    assert_eq!((status(&output), text(&output)), (0, "permit line 1\n".into()));
}

#[test]
fn lint_warns_about_lines_that_are_hardly_meant() {
    let place = Place::new();
    place.write("c.conf", "deny 10.0.0.0/8\ndeny 10.1.0.0/16\n");
    let output = place.run(TEST, &["--lint", "-C", "c.conf"]);
    assert_eq!(status(&output), 0);
    assert_eq!(errors(&output), ["c.conf: line 2: never matches: line 1 matches all that it would"]);
    place.write("r.route", "127.0.0.1 10.0.0.0/8\n192.0.2.77 ALL 0.0.0.0\n");
    let output = place.run(TEST, &["--lint", "-C", "c.conf", "-R", "r.route"]);
    let lacking = "r.route: line 2: this host does not have 192.0.2.77; connections from there fail";
    assert_eq!(errors(&output)[1..], [lacking]);
}

#[test]
fn every_program_has_options_that_are_sound() {
    for command in sockd_policy_tools::cli::commands() {
        command.debug_assert();
    }
    assert!(Path::new(MAKE).exists());
}
