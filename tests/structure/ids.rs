//! Numbers of cases at the beginning of tests' names: tests/e2e/README.md says what each series is.

use crate::sources::{files_below, levels, root};
use proc_macro2::TokenTree;
use std::collections::BTreeSet;
use std::fs;

/// The series that a test's name begins with: `wire_20_and_4a_01_a_name` is of `wire` and `4a`, `a2_a_second` of `a`.
fn series(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut words = name.split('_').peekable();
    loop {
        let Some(word) = words.next_if(|word| !matches!(*word, "case" | "and")) else {
            // "case" stands before an id that begins with a digit, "and" between two.
            match words.next() {
                Some(_) => continue,
                None => return found,
            }
        };
        match words.next_if(|next| is_number(next) && next.len() == 2) {
            Some(_) => found.insert(word.to_owned()),
            None if is_number(word) && !found.is_empty() => continue,
            None => match word.split_at_checked(1) {
                Some((letter, number)) if is_letter(letter) && is_number(number) => {
                    found.insert(letter.to_owned())
                }
                _ => return found,
            },
        };
    }
}

fn is_letter(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The names of all functions that are tests.
fn tests() -> Vec<String> {
    let mut names = Vec::new();
    for file in files_below(&root()) {
        let text = fs::read_to_string(&file).expect("a source");
        let tokens = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for level in levels(tokens) {
            names.extend(level.windows(4).filter_map(test_name));
        }
    }
    names
}

/// `#[test] fn name`, at the beginning of these tokens.
fn test_name(tokens: &[TokenTree]) -> Option<String> {
    let [sign, TokenTree::Group(attribute), keyword, TokenTree::Ident(name)] = tokens else { return None };
    let is_test = sign.to_string() == "#" && attribute.stream().to_string() == "test";
    (is_test && keyword.to_string() == "fn").then(|| name.to_string())
}

#[test]
fn every_series_of_tests_is_explained_and_every_explained_one_is_there() {
    let document = fs::read_to_string(root().join("tests/e2e/README.md")).expect("the document");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let explained: BTreeSet<String> = rows.map(str::to_owned).collect();
    let used: BTreeSet<String> = tests().iter().flat_map(|name| series(name)).collect();
    assert_eq!(used, explained);
}

#[test]
fn a_number_within_a_name_is_no_id() {
    let of = |name| series(name).into_iter().collect::<Vec<_>>().join(" ");
    for (name, expected) in [
        ("wire_20_and_4a_01_a_name_is_connected_to", "4a wire"),
        ("case_4a_03_a_name_that_cannot_be_resolved", "4a"),
        ("a1_a3_a_user_id_or_name_of_64_kib", "a"),
        ("a21_wid_10_a_silent_or_slow_identd", "a wid"),
        ("h8_a_violator_shuts_out_itself", "h"),
        ("ident_04_and_05_identd_is_never_asked", "ident"),
        ("port_0_is_refused", ""),
        ("a_thousand_binds_of_10_hosts", ""),
    ] {
        assert_eq!(of(name), expected, "{name}");
    }
}
