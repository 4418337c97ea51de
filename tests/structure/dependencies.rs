//! The lists of `packaging/deny.toml` against `cargo metadata`: licences, sources, bans and second versions.
//!
//! cargo-deny judges the same and more, but is a program that has to be built first; these lists are to hold wherever
//! the tests run.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The output of cargo for the workspace with all its features.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(arguments).args(["--locked", "--all-features", "--manifest-path", manifest]);
    let output = command.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn packages() -> Vec<Value> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// The entries of a list in deny.toml: the strings of a plain list, the names of a list of tables.
fn listed(section: &str, list: &str) -> BTreeSet<String> {
    let file = include_str!("../../packaging/deny.toml");
    let section = file.split(&format!("\n[{section}]\n")).nth(1).expect("the section");
    let section = section.split("\n[").next().expect("its lines");
    let list = section.split(&format!("\n{list} = [\n")).nth(1).expect("the list");
    let entries = list.split("\n]").next().expect("its entries").lines();
    entries.filter_map(|entry| Some(entry.split('"').nth(1)?.to_owned())).collect()
}

/// An SPDX expression with the allowed licences for true: `A OR B`, `A AND B`, `A WITH exception`, parentheses, and `A/B`
/// as it was written of old for OR.
fn allows(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let any = any_of(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    any
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut any = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        any |= all_of(words, allowed);
    }
    any
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut all = licence(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        all &= licence(words, allowed);
    }
    all
}

fn licence(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    match words.next().expect("a licence") {
        "(" => {
            let inner = any_of(words, allowed);
            assert_eq!(words.next(), Some(")"));
            inner
        }
        name => match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
            Some(exception) => allowed.contains(&format!("{name} WITH {exception}")),
            None => allowed.contains(name),
        },
    }
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = listed("licenses", "allow");
    for package in packages() {
        let licence = text(&package, "license");
        assert!(!licence.is_empty() && allows(licence, &allowed), "{}: {licence}", text(&package, "name"));
    }
}

/// The major and minor number of a version of Rust.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().expect(text));
    (numbers.next().expect("a number"), numbers.next().unwrap_or_default())
}

#[test]
fn no_crate_needs_a_newer_rust_than_the_documents_and_packages_ask_for() {
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    for package in packages() {
        let (name, needs) = (text(&package, "name"), text(&package, "rust_version"));
        match package["source"].as_str() {
            None => assert_eq!(needs, oldest, "{name}"),
            Some(_) => assert!(needs.is_empty() || version(needs) <= version(oldest), "{name} needs {needs}"),
        }
    }
    let read = |file: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../").to_owned() + file;
        std::fs::read_to_string(path).expect("the file")
    };
    for (file, asked) in [
        ("README.md", "need Rust @ or later,"),
        ("packaging/debian/control", "cargo (>= @) | cargo-web (>= @), rustc (>= @) | rustc-web (>= @)\n"),
        ("packaging/sockd.spec.in", "BuildRequires:  cargo >= @\nBuildRequires:  rust >= @\n"),
        ("tests/run", "Install Rust @ or later"),
    ] {
        let asked = asked.replace('@', oldest);
        assert!(read(file).contains(&asked), "{file} does not ask for {asked:?}");
    }
}

#[test]
fn every_crate_is_of_crates_io_or_of_this_workspace() {
    for package in packages() {
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source == CRATES_IO), "{}: {source:?}", text(&package, "name"));
        assert_eq!(
            source.is_none(),
            text(&package, "name").starts_with("sockd"),
            "{}",
            text(&package, "name")
        );
    }
}

#[test]
fn no_banned_crate_is_there() {
    let banned = listed("bans", "deny");
    for package in packages() {
        assert!(!banned.contains(text(&package, "name")), "{}", text(&package, "name"));
    }
}

#[test]
fn there_is_no_second_version_without_a_reason_and_no_reason_without_a_second_version() {
    // Not by the metadata: it names crates as well that features leave out.
    let all = ["--workspace", "--target", "all", "--edges", "normal,build,dev"];
    let tree = cargo(&[&["tree", "--duplicates", "--depth", "0", "--prefix", "none"], &all[..]].concat());
    // The same version stands there twice where it is built with different features for a build script.
    let versions: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
    let names = versions.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned());
    let (mut once, mut doubled) = (BTreeSet::new(), BTreeSet::new());
    for name in names {
        if let Some(name) = once.replace(name) {
            doubled.insert(name);
        }
    }
    assert_eq!(doubled, listed("bans", "skip"));
}

#[test]
fn an_ordinary_build_makes_the_programs_that_are_installed_and_nothing_for_tests() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).expect("JSON");
    let members = metadata["workspace_default_members"].as_array().expect("default members");
    let names = packages().into_iter().filter(|package| members.contains(&package["id"]));
    let names: BTreeSet<String> = names.map(|package| text(&package, "name").to_owned()).collect();
    assert_eq!(names, ["sockd", "sockd-policy-tools", "sockd-ver", "sockd-worker"].map(str::to_owned).into());
}

#[test]
fn expressions_are_judged_as_spdx_means_them() {
    let allowed = ["MIT", "Unicode-3.0"].map(str::to_owned).into();
    for (expression, judged) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 OR GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND NCSA", false),
        ("MIT WITH LLVM-exception", false),
        ("MIT WITH LLVM-exception OR MIT", true),
    ] {
        assert_eq!(allows(expression, &allowed), judged, "{expression}");
    }
}
