//! How much code root runs. Counted are lines that are neither blank nor only a comment, without test modules.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
    found
}

/// Code lines before the test module, which stands at the end of a file; a file of tests only has none.
fn code_lines(text: &str) -> usize {
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines = text.lines().map(str::trim);
    let before_tests = lines.take_while(|line| !line.starts_with("#[cfg(test)]"));
    before_tests.filter(is_code).count()
}

/// `tests.rs` and `tests/` are test modules in files of their own.
fn is_tests_only(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

fn size(folder: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let files = sources(&folder)
        .into_iter()
        .filter(|path| !is_tests_only(path.strip_prefix(&folder).expect("inside")));
    let sizes = files.map(|path| code_lines(&fs::read_to_string(&path).expect("source")));
    sizes.sum()
}

/// A monitor of 2,500 lines was the first idea. It has also become the home of BIND, identd, next servers, rule commands
/// with their runner, the loader for reloads, socket activation and the report of `-ver`; a third of it is pure (session,
/// rules of admission, settings, log lines). What is asserted here is that it does not grow unnoticed.
#[test]
fn roots_own_code_is_at_most_6750_lines() {
    let lines = size("privileged/src");
    assert!(lines <= 6750, "privileged has {lines} lines");
}

#[test]
fn root_code_with_policy_and_common_is_at_most_11100_lines() {
    let parts = ["privileged/src", "policy/src", "common/src", "common/lockdown/src"];
    let sizes = parts.map(|part| (part, size(part)));
    let lines: usize = sizes.iter().map(|(_, lines)| lines).sum();
    assert!(lines <= 11_100, "{lines} lines: {sizes:?}");
}

#[test]
fn comments_blank_lines_and_test_modules_do_not_count() {
    assert_eq!(
        code_lines("//! Doc.\n\nuse a;\n/// b\nfn b() {}\n    // c\n\n#[cfg(test)]\nmod tests {\n}\n"),
        2
    );
}
