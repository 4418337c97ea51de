//! The Rust sources of the workspace, as these tests read them.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The packages of the workspace, by their folders.
pub(crate) fn members() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let members = members.expect("the members").split('"').skip(1).step_by(2);
    members.map(str::to_owned).collect()
}

/// The packages that are installed: every member of the workspace but the tests. The probe is for administrators too.
pub(crate) fn installed() -> Vec<String> {
    let is_installed = |member: &String| !member.starts_with("tests") || member == "tests/probe";
    members().into_iter().filter(is_installed).collect()
}

/// All Rust files below a folder, in the order of their names, but those that cargo has built.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != ".git" {
            found.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// One source file without its tests.
pub(crate) struct Source {
    /// From the folder that was asked for, with slashes.
    pub(crate) path: String,
    /// Its text up to the test module, which stands at the end.
    pub(crate) text: String,
}

impl Source {
    /// All sources below a folder of the workspace. Files of tests only are left out, and a folder that does not exist
    /// has none.
    pub(crate) fn below(folder: &str) -> Vec<Self> {
        let folder = root().join(folder);
        let files = if folder.is_dir() { files_below(&folder) } else { Vec::new() };
        let relative =
            |path: &Path| path.strip_prefix(&folder).expect("inside").to_str().expect("a name").to_owned();
        let products = files.into_iter().map(|file| (relative(&file), file));
        let products = products.filter(|(path, _)| !is_of_tests(path));
        products
            .map(|(path, file)| Self {
                path,
                text: before_tests(&fs::read_to_string(file).expect("a source")),
            })
            .collect()
    }

    /// Lines that are neither blank nor only a comment.
    pub(crate) fn code_lines(&self) -> usize {
        code_lines(&self.text)
    }

    /// The tokens that the compiler reads.
    pub(crate) fn tokens(&self) -> TokenStream {
        self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }
}

/// `tests.rs` and `tests/` are test modules in files of their own.
fn is_of_tests(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
}

fn before_tests(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |pair: &[&str]| matches!(pair, ["#[cfg(test)]", module] if module.starts_with("mod "));
    let end = lines.windows(2).position(begins).unwrap_or(lines.len());
    lines.into_iter().take(end).map(|line| format!("{line}\n")).collect()
}

fn code_lines(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// The tokens of every level, each level once: the inside of brackets of any kind is a level of its own.
pub(crate) fn levels(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let level: Vec<TokenTree> = tokens.into_iter().collect();
    let within = |token: &TokenTree| match token {
        TokenTree::Group(group) => levels(group.stream()),
        _ => Vec::new(),
    };
    let deeper: Vec<_> = level.iter().flat_map(within).collect();
    std::iter::once(level).chain(deeper).collect()
}

/// The group in curly braces, if a token is one.
pub(crate) fn braces(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

#[test]
fn comments_blank_lines_and_test_modules_do_not_count() {
    let text = "//! Doc.\n\nuse a;\n/// b\nfn b() {}\n    // c\n\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(code_lines(&before_tests(text)), 2);
}

#[test]
fn what_is_for_tests_alone_outside_their_module_counts() {
    let text = "#[cfg(test)]\nuse a;\nfn b() {}\n";
    assert_eq!(code_lines(&before_tests(text)), 3);
}

#[test]
fn every_package_that_is_installed_is_found() {
    let installed = installed();
    for package in ["common", "common/lockdown", "policy", "privileged", "tests/probe", "worker"] {
        assert!(installed.iter().any(|found| found == package), "{package} in {installed:?}");
    }
    assert!(!installed.iter().any(|found| found.contains("bench")), "{installed:?}");
}
