//! The documents at the door: README.md, SECURITY.md, CHANGELOG.md and tests/attacks.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).to_path_buf()
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

const DOCUMENTS: [&str; 5] =
    ["README.md", "SECURITY.md", "CHANGELOG.md", "tests/attacks.md", "tests/bench/README.md"];

#[test]
fn the_documents_at_the_door_are_short() {
    // README.md has a line more for sockdctl. SECURITY.md has 18 lines more for who may look and give orders.
    // SECURITY.md has 16 lines more for the table of what one worker can use up, 4 for passwords, and 4 for datagrams.
    for (document, most) in [("README.md", 101), ("SECURITY.md", 212)] {
        let lines = read(document).lines().count();
        assert!(lines <= most, "{document} has {lines} lines, at most {most}");
    }
}

#[test]
fn lines_are_no_wider_than_120_characters_but_in_tables() {
    for document in DOCUMENTS {
        for line in read(document).lines().filter(|line| !line.starts_with('|')) {
            assert!(line.chars().count() <= 120, "{document}: {line}");
        }
    }
}

/// The targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_link_leads_to_a_file_of_the_tree() {
    for document in DOCUMENTS {
        let folder = root().join(document).parent().expect("a folder").to_path_buf();
        for link in links(&read(document)) {
            assert!(folder.join(link).exists(), "{document}: {link}");
        }
    }
}

#[test]
fn no_document_sends_anybody_to_a_made_up_place() {
    let known = ["http://www.example.org/", "https://rustup.rs"];
    for document in DOCUMENTS {
        let text = read(document);
        let places = text.split(|letter: char| letter.is_whitespace() || "`()<>".contains(letter));
        for place in places.filter(|word| word.contains("://")) {
            assert!(known.contains(&place.trim_end_matches(['.', ','])), "{document}: {place}");
        }
        assert!(!text.contains("mailto:"), "{document}");
    }
}

#[test]
fn the_test_command_knows_its_modes_and_says_so() {
    let asked = Command::new(root().join("tests/run")).arg("help").output().expect("tests/run");
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(64), "{said}");
    for mode in ["tests/run   ", "tests/run quick", "tests/run long"] {
        assert!(said.contains(mode), "{mode:?} is not in {said}");
    }
}

#[test]
fn the_readme_names_the_test_commands_that_there_are() {
    let readme = read("README.md");
    for mode in
        readme.split("tests/run").skip(1).map(|rest| rest.split(['`', '\n']).next().unwrap_or_default())
    {
        assert!(["", "quick", "long"].contains(&mode.trim()), "tests/run{mode}");
    }
    assert!(readme.contains("    tests/run quick\n") && readme.contains("`tests/run`"));
}

#[test]
fn the_change_log_has_the_version_that_is_built() {
    let version = concat!("\n## ", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").contains(version), "{version:?} is not in CHANGELOG.md");
}

/// The rules that README.md lets its readers begin with.
fn rules() -> String {
    let readme = read("README.md");
    let rules =
        readme.lines().map(str::trim).filter(|line| line.starts_with("permit ") || line.starts_with("deny "));
    rules.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_rules_of_the_readme_are_in_order_and_nothing_is_doubtful_about_them() {
    let (rules, place) = (rules(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme.conf"));
    assert!(rules.lines().count() >= 3, "{rules}");
    fs::write(&place, &rules).expect("a file");
    let ask = |words: &[&str]| {
        let program = sockd_tests::sockd::program("test_sockd_conf");
        Command::new(program).arg("-C").arg(&place).args(words).output().expect("test_sockd_conf")
    };
    let lint = ask(&["--lint"]);
    assert!(lint.stderr.is_empty(), "{}", String::from_utf8_lossy(&lint.stderr));
    // As README.md says: 1 for permit and 0 for deny.
    for (destination, port, status) in
        [("198.51.100.10", "443", 1), ("10.1.2.3", "443", 0), ("198.51.100.10", "25", 0)]
    {
        let asked = ask(&["joe", "192.168.1.7", destination, port]);
        assert_eq!(asked.status.code(), Some(status), "{destination} {port}: {asked:?}");
    }
}
