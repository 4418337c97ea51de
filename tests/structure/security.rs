//! SECURITY.md names tests and settings that there are, and every case of the list of attacks and faults.

use crate::sources::{files_below, root};
use std::collections::BTreeSet;
use std::fs;

fn all_sources() -> String {
    let files = files_below(&root());
    files.iter().map(|path| fs::read_to_string(path).expect("a source")).collect()
}

fn document() -> String {
    fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md")
}

#[test]
fn every_test_that_security_md_names_is_there() {
    let (document, sources) = (document(), all_sources());
    let is_word =
        |word: &&str| word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b':'));
    // Every second piece stands between backticks. Names of tests are sentences: three blanks at least.
    let quoted = document.split('`').skip(1).step_by(2).filter(is_word);
    let names: BTreeSet<&str> = quoted
        .map(|word| word.rsplit("::").next().unwrap_or(word))
        .filter(|word| word.matches('_').count() >= 3)
        .collect();
    assert!(names.len() > 100, "{}", names.len());
    let there =
        |name: &&&str| sources.contains(&format!("fn {name}(")) || sources.contains(&format!("pub {name}:"));
    let missing: Vec<_> = names.iter().filter(|name| !there(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn security_md_has_every_case_of_the_list() {
    let document = document();
    let named: BTreeSet<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).collect();
    // The list leaves numbers out for later cases.
    let attacks =
        (1..=75).filter(|number| !matches!(number, 19 | 32..=34 | 36..=39 | 46..=49 | 54..=59 | 66..=69));
    let cases = attacks.map(|number| format!("A{number}")).chain((1..=14).map(|number| format!("F{number}")));
    let missing: Vec<_> = cases.filter(|case| !named.contains(case.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
