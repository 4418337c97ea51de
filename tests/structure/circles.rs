//! Which files of a package import each other in a circle: none should. Files in a circle can only be understood, moved
//! and tested together.
//!
//! An arrow leads from a file to each file that one of its paths names.

use crate::modules::{Modules, Path};
use crate::sources::{Source, members};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn no_package_has_a_circle() {
    for package in members() {
        let largest = largest_circle(&Source::below(&format!("{package}/src")));
        assert!(largest.is_empty(), "{package} has a circle of {}: {largest:?}", largest.len());
    }
}

fn largest_circle(sources: &[Source]) -> BTreeSet<String> {
    let modules = Modules::read(sources);
    let arrows = modules.0.iter().map(|(path, module)| {
        let targets = module.named.iter().filter_map(|named| modules.file_of(named));
        (path, targets.filter(|target| target != path && !target.is_empty()).collect())
    });
    largest_of(&arrows.filter(|(path, _)| !path.is_empty()).collect())
}

/// The largest circle of arrows between files.
pub(crate) fn largest_of(arrows: &BTreeMap<&Path, BTreeSet<Path>>) -> BTreeSet<String> {
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        arrows.keys().map(|path| (*path, reached_from(path, arrows))).collect();
    let circle = |path: &&Path| -> BTreeSet<String> {
        let others = reached.get(path).into_iter().flatten();
        let back = others.filter(|other| reached.get(**other).is_some_and(|back| back.contains(path)));
        back.map(|path| path.join("::")).collect()
    };
    reached.keys().map(circle).max_by_key(BTreeSet::len).unwrap_or_default()
}

/// Everything that can be reached from a file, including itself if it is in a circle.
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
