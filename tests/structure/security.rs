//! SECURITY.md and tests/attacks.md name only tests that exist, and no case of the list of attacks and faults is lost.
//! SECURITY.md has the numbers of the system calls that there are.

use crate::sources::{files_below, root};
use sockd::hook::profile::DENIED;
use sockd::loader::profile::LOADER;
use sockd::monitor::profile::MONITOR;
use sockd::spawner::profile::SPAWNER;
use sockd_common::message::Role;
use sockd_lockdown::{Row, When};
use sockd_worker::roles::ROLES;
use std::collections::BTreeSet;
use std::fs;

fn all_sources() -> String {
    let files = files_below(&root());
    files.iter().map(|path| fs::read_to_string(path).expect("a source")).collect()
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    let (documents, sources) = (read("SECURITY.md") + &read("tests/attacks.md"), all_sources());
    let is_word =
        |word: &&str| word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b':'));
    // Every second piece stands between backticks. Names of tests are sentences: three blanks at least.
    let quoted = documents.split('`').skip(1).step_by(2).filter(is_word);
    let names: BTreeSet<&str> = quoted
        .map(|word| word.rsplit("::").next().unwrap_or(word))
        .filter(|word| word.matches('_').count() >= 3)
        .collect();
    assert!(names.len() > 100, "{}", names.len());
    // A setting is a row of its table.
    let there = |name: &&&str| {
        sources.contains(&format!("fn {name}(")) || sources.contains(&format!("\n    {name}: "))
    };
    let missing: Vec<_> = names.iter().filter(|name| !there(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A case: the letter of its kind and its number.
fn case(word: &str) -> Option<(char, u32)> {
    let kind = word.chars().next().filter(char::is_ascii_uppercase)?;
    Some((kind, word.get(1..)?.parse().ok()?))
}

#[test]
fn every_case_has_a_number_of_its_own_and_numbers_that_are_free_are_named() {
    let document = read("tests/attacks.md");
    let rows = document.lines().filter_map(|line| case(line.strip_prefix("| ")?.split(' ').next()?));
    let rows: Vec<_> = rows.collect();
    let cases: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(cases.len(), rows.len(), "a number stands there twice");
    // The last cases of the list that this program was built against: no case of it gets lost.
    assert!(cases.contains(&('A', 75)) && cases.contains(&('F', 14)) && cases.len() >= 67, "{}", cases.len());
    let free =
        document.split("Free numbers:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let free: BTreeSet<_> = free.split([' ', ',', '.', '\n']).filter_map(case).collect();
    let kinds: BTreeSet<char> = cases.iter().map(|(kind, _)| *kind).collect();
    let gaps = kinds.into_iter().flat_map(|kind| {
        let last = cases.iter().filter(|(of, _)| *of == kind).map(|(_, number)| *number).max();
        (1..last.unwrap_or(0)).map(move |number| (kind, number))
    });
    let gaps: BTreeSet<_> = gaps.filter(|case| !cases.contains(case)).collect();
    assert_eq!(gaps, free, "numbers that are left out, and those that are said to be free");
}

#[test]
fn the_table_of_processes_has_the_number_of_calls_of_each() {
    let document = read("SECURITY.md");
    let said = |process: &str| -> Option<usize> {
        let row = document.lines().find(|line| line.starts_with(&format!("| {process}")))?;
        row.trim_end_matches(" |").rsplit("| ").next()?.split(' ').find_map(|word| word.parse().ok())
    };
    let number = |rows: &[Row], is_counted: fn(&Row) -> bool| {
        rows.iter().filter(|row| is_counted(row)).map(|row| row.name).collect::<BTreeSet<_>>().len()
    };
    let allowed = |row: &Row| !matches!(row.when, When::Answer(_));
    let workers = ROLES.iter().filter(|entry| entry.role != Role::Probe);
    let workers =
        workers.map(|entry| (format!("{} worker", entry.role.as_str()), number(entry.profile, allowed)));
    let others = [("monitor", MONITOR), ("loader", LOADER), ("spawner", SPAWNER)]
        .map(|(process, rows)| (process.to_owned(), number(rows, allowed)));
    let hook = ("hook process".to_owned(), number(DENIED, |_| true));
    let wrong: Vec<_> = workers
        .chain(others)
        .chain([hook])
        .map(|(process, calls)| (said(&process), Some(calls), process))
        .filter(|(said, calls, _)| said != calls)
        .collect();
    assert!(wrong.is_empty(), "said, counted: {wrong:?}");
}
