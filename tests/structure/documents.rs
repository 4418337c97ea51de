//! ARCHITECTURE.md and CONTRIBUTING.md name only files and folders that exist, and every room of the house. README.md
//! has only figures that have been measured.

use crate::sources::{installed, root};
use std::collections::BTreeSet;
use std::fs;

/// The documents for whoever works on the house.
const DOCUMENTS: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// The folders at the top of the house whose paths the documents name.
const TOP: [&str; 6] = ["common", "packaging", "policy", "privileged", "tests", "worker"];

fn text(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The words between backticks that look like paths: `a/{b,c}.rs` is two of them.
fn paths(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split(' ').next());
    let paths = quoted.filter(|path| {
        TOP.iter().any(|top| path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/')))
    });
    paths.flat_map(unfolded).collect()
}

fn unfolded(path: &str) -> Vec<String> {
    let parts = path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match parts {
        Some((before, (names, behind))) => {
            names.split(',').map(|name| format!("{before}{name}{behind}")).collect()
        }
        None => vec![path.to_owned()],
    }
}

#[test]
fn every_path_that_they_name_is_there() {
    for document in DOCUMENTS {
        let paths = paths(&text(document));
        assert!(paths.len() >= 10, "{document} names {paths:?}");
        let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
        assert!(missing.is_empty(), "{document} names what is not there: {missing:#?}");
    }
}

#[test]
fn every_room_is_on_the_map() {
    let named = paths(&text("ARCHITECTURE.md"));
    let mut rooms: BTreeSet<String> =
        installed().into_iter().map(|package| format!("{package}/src")).collect();
    // Each process of root's program has a folder of its own.
    rooms.remove("privileged/src");
    let folders = fs::read_dir(root().join("privileged/src")).expect("a folder");
    let folders = folders.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_dir());
    rooms.extend(folders.map(|entry| format!("privileged/src/{}", entry.file_name().to_string_lossy())));
    let missing: Vec<_> = rooms.difference(&named).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:#?}");
}

#[test]
fn it_says_where_two_dozen_things_are() {
    let map = text("ARCHITECTURE.md");
    let section = map.split("\n## Where is").nth(1).expect("a section that begins with `Where is`");
    let rows =
        section.split("\n## ").next().unwrap_or_default().lines().filter(|line| line.starts_with("| "));
    // The head of the table is a row as well.
    assert!(rows.count() > 24);
}

/// A later measurement must not leave older figures on the front page.
#[test]
fn every_figure_on_the_front_page_is_in_the_table_of_the_benchmarks() {
    let (page, figures) = (text("README.md"), text("tests/bench/README.md").replace(',', ""));
    let section = page.split("\n## Speed\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let section = section.expect("a section `Speed`").replace(',', "");
    let words = section.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let words = words.map(|word| word.trim_end_matches('.'));
    let named: Vec<_> = words.filter(|word| word.len() >= 4 && word.parse::<f64>().is_ok()).collect();
    assert!(named.len() >= 9, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|figure| !figures.contains(&format!("| {figure} "))).collect();
    assert!(missing.is_empty(), "tests/bench/README.md has none of {missing:?}");
}

#[test]
fn a_path_in_braces_is_several() {
    assert_eq!(
        paths("`worker/src/{a,b}.rs`, `Cargo.toml`, `tests/run quick`, `workers/x`")
            .into_iter()
            .collect::<Vec<_>>(),
        ["tests/run", "worker/src/a.rs", "worker/src/b.rs"]
    );
}
