//! Which files of a package import each other in a circle: none should. Files in a circle can only be understood, moved
//! and tested together.
//!
//! An arrow leads from a file to each file that one of its paths names: `use` and paths in code that begin with
//! `crate`, `super` or `self`, or with a child. The first file of a package declares and re-exports; a name that it
//! re-exports leads to the file that the name comes from.

use crate::sources::{Source, levels, members};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn no_package_has_a_circle() {
    for package in members() {
        let largest = largest_circle(&Source::below(&format!("{package}/src")));
        assert!(largest.is_empty(), "{package} has a circle of {}: {largest:?}", largest.len());
    }
}

/// A file as a module: `session::through` is `session/through.rs`, and so are `mod.rs`, `lib.rs` and `main.rs` the
/// folder that they stand in.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

type Path = Vec<String>;

struct Module {
    /// What its paths name, from the root of the package.
    named: Vec<Path>,
    /// The names that it takes in by `use`, and what they stand for.
    imported: BTreeMap<String, Path>,
}

fn largest_circle(sources: &[Source]) -> BTreeSet<String> {
    let mut modules: BTreeMap<Path, Module> = BTreeMap::new();
    let known: BTreeSet<Path> = sources.iter().map(|source| module_of(&source.path)).collect();
    for source in sources {
        let path = module_of(&source.path);
        let module = Module::read(&path, source.tokens(), &known);
        modules.insert(path, module);
    }
    let arrows = modules.iter().map(|(path, module)| {
        let targets = module.named.iter().filter_map(|named| target(named, &modules, 0));
        (path, targets.filter(|target| target != path && !target.is_empty()).collect())
    });
    let arrows: BTreeMap<&Path, BTreeSet<Path>> = arrows.filter(|(path, _)| !path.is_empty()).collect();
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        arrows.keys().map(|path| (*path, reached_from(path, &arrows))).collect();
    let circle = |path: &&Path| -> BTreeSet<String> {
        let others = reached.get(path).into_iter().flatten();
        let back = others.filter(|other| reached.get(**other).is_some_and(|back| back.contains(path)));
        back.map(|path| path.join("::")).collect()
    };
    reached.keys().map(circle).max_by_key(BTreeSet::len).unwrap_or_default()
}

/// Everything that can be reached from a file, itself where it is in a circle.
fn reached_from<'a>(start: &'a Path, arrows: &'a BTreeMap<&Path, BTreeSet<Path>>) -> BTreeSet<&'a Path> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(path) = open.pop() {
        for next in arrows.get(path).into_iter().flatten() {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}

/// The file that a path leads to: its longest part that is one, or where that file takes the next name from.
fn target(named: &[String], modules: &BTreeMap<Path, Module>, steps: u8) -> Option<Path> {
    let length = (0..=named.len()).rev().find(|length| modules.contains_key(&named[..*length]))?;
    let (file, rest) = named.split_at(length);
    let elsewhere = rest.first().and_then(|name| modules.get(file)?.imported.get(name));
    match elsewhere.filter(|_| steps < 8) {
        Some(elsewhere) => target(elsewhere, modules, steps + 1),
        None => Some(file.to_vec()),
    }
}

impl Module {
    fn read(path: &Path, tokens: TokenStream, known: &BTreeSet<Path>) -> Self {
        let mut module = Self { named: Vec::new(), imported: BTreeMap::new() };
        for level in levels(tokens) {
            let mut rest = level.as_slice();
            while let [first, behind @ ..] = rest {
                rest = behind;
                if is_word(first, "use") {
                    let end = rest.iter().position(|token| is_sign(token, ';')).unwrap_or(rest.len());
                    module.import(&rest[..end], &[], path, known);
                    rest = &rest[end..];
                } else if ["crate", "super", "self"].iter().any(|word| is_word(first, word)) {
                    let written = words(first, rest);
                    // One word alone is no path: `self.field`, `pub(super)`.
                    let is_path = written.len() > 1;
                    module.named.extend(from_root(&written, path, known).filter(|_| is_path));
                    rest = &rest[(3 * (written.len() - 1)).min(rest.len())..];
                }
            }
        }
        module
    }

    /// One tree of a `use`, behind what stands before it.
    fn import(&mut self, tree: &[TokenTree], before: &[String], path: &Path, known: &BTreeSet<Path>) {
        let mut written = before.to_vec();
        let mut name = None;
        let mut tokens = tree.iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    return inner.split(|token| is_sign(token, ',')).for_each(|branch| {
                        self.import(branch, &written, path, known);
                    });
                }
                TokenTree::Ident(word) if word == "as" => name = tokens.next().map(ToString::to_string),
                TokenTree::Ident(word) if word == "self" && !written.is_empty() => {}
                TokenTree::Ident(word) => written.push(word.to_string()),
                _ => {}
            }
        }
        let Some(target) = from_root(&written, path, known) else { return };
        if let Some(name) = name.or(written.last().cloned()) {
            self.imported.insert(name, target.clone());
        }
        self.named.push(target);
    }
}

/// The words of a path in code.
fn words(first: &TokenTree, rest: &[TokenTree]) -> Vec<String> {
    let further = rest.chunks(3).map_while(|chunk| match chunk {
        [one, two, TokenTree::Ident(word)] if is_sign(one, ':') && is_sign(two, ':') => {
            Some(word.to_string())
        }
        _ => None,
    });
    std::iter::once(first.to_string()).chain(further).collect()
}

/// A path as it is written in `module`, from the root of the package; none where it leads to another package.
fn from_root(written: &[String], module: &Path, known: &BTreeSet<Path>) -> Option<Path> {
    let (first, rest) = written.split_first()?;
    let up = written.iter().take_while(|word| *word == "super").count();
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => Some([&module[..module.len().checked_sub(up)?], &written[up..]].concat()),
        _ => {
            let child = [module, &written[..1]].concat();
            known.contains(&child).then(|| [module, written].concat())
        }
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

#[cfg(test)]
mod examples {
    use super::*;

    fn circle(files: &[(&str, &str)]) -> BTreeSet<String> {
        let source = |(path, text): &(&str, &str)| Source { path: (*path).into(), text: (*text).into() };
        largest_circle(&files.iter().map(source).collect::<Vec<_>>())
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn imports_that_run_down_are_no_circle() {
        let files = [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C;"), ("c.rs", "use std::fmt;")];
        assert_eq!(circle(&files), names(&[]));
    }

    #[test]
    fn a_circle_is_found_over_any_number_of_files_and_whatever_form_the_paths_have() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::{x::X, b::{self, B as Other}};"),
            ("b.rs", "fn f() -> u8 { if true { crate::c::d::D } else { 0 } }"),
            ("c/mod.rs", "mod d;"),
            ("c/d.rs", "use super::super::a::A;"),
        ];
        assert_eq!(circle(&files), names(&["a", "b", "c::d"]));
    }

    #[test]
    fn a_folder_and_its_file_import_each_other_by_super_and_by_the_childs_name() {
        let files = [("a.rs", "mod b; use b::B;"), ("a/b.rs", "use super::*;")];
        assert_eq!(circle(&files), names(&["a", "a::b"]));
    }

    #[test]
    fn a_name_that_is_re_exported_leads_to_where_it_comes_from() {
        let files = [("lib.rs", "pub use b::B;"), ("a.rs", "use crate::B;"), ("b.rs", "use crate::a::A;")];
        assert_eq!(circle(&files), names(&["a", "b"]));
    }

    #[test]
    fn a_visibility_is_no_import() {
        assert_eq!(circle(&[("a.rs", "use b::B;"), ("a/b.rs", "pub(super) struct B;")]), names(&[]));
    }

    #[test]
    fn what_stands_in_comments_and_strings_is_no_import() {
        let files =
            [("a.rs", "use crate::b::B;"), ("b.rs", "// use crate::a::A;\nconst C: &str = \"crate::a::A\";")];
        assert_eq!(circle(&files), names(&[]));
    }
}
