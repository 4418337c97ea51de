//! Types whose methods stand in several files. Such files call each other without a path, so that no test of imports sees
//! whether they do so in a circle: this one does.
//!
//! The list of exceptions only shrinks: an entry that is no longer needed has to go.

use crate::circles::largest_of;
use crate::modules::{Modules, Path, is_sign, is_word, module_of};
use crate::sources::{Source, braces, levels, members};
use proc_macro2::{Delimiter, Group, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// The package, the file that defines the type, and the type; how many files have methods of it at most, and why.
const SPREAD: [(&str, &str, &str, usize, &str); 11] = [
    ("policy", "rules", "RuleRef", 2, "`decide` asks `rules`, which does not ask back"),
    ("policy", "rules", "RuleSet", 2, "`decide` asks `rules`, which does not ask back"),
    ("policy/session", "limits::memory", "Memory", 2, "`logins` asks the memory, which knows no buckets"),
    ("policy/session", "pool", "Pool", 2, "`choice` asks the pool, which does not ask back"),
    ("policy/session", "session::case", "Case", 2, "`counting` asks the case, which does not ask back"),
    ("policy/session", "session::request", "ClientRequest", 2, "`listing` asks the request only"),
    ("policy/session", "settings::table", "Settings", 2, "`table` is the macro that defines them"),
    ("policy/table", "table", "Table", 2, "`search` asks the table, which does not ask back"),
    (
        "privileged",
        "monitor::serving",
        "Serving",
        9,
        "one owner of all that serves, a file for each kind of event, which calls those below it alone",
    ),
    ("privileged", "monitor::sessions", "Entry", 2, "as `Sessions`, whose entry it is"),
    (
        "privileged",
        "monitor::sessions",
        "Sessions",
        4,
        "one owner of all sessions, a file for each of their times",
    ),
];

#[test]
fn the_methods_of_a_type_stand_in_one_file() {
    let mut spread = Vec::new();
    for package in members() {
        for Spread { home, name, files } in spread_types(&Source::below(&format!("{package}/src"))) {
            spread.push((package.clone(), home, name, files.len()));
        }
    }
    let is_listed = |(package, home, name, files): &&(String, String, String, usize)| {
        let entry =
            |entry: &&(&str, &str, &str, usize, &str)| (entry.0, entry.1, entry.2) == (package, home, name);
        SPREAD.iter().find(entry).is_some_and(|(.., most, _)| files <= most)
    };
    let new: Vec<_> = spread.iter().filter(|found| !is_listed(found)).collect();
    assert!(new.is_empty(), "methods in more files than the list has: {new:#?}");
    let is_spread = |(package, home, name, ..): &&(&str, &str, &str, usize, &str)| {
        spread
            .iter()
            .any(|found| (found.0.as_str(), found.1.as_str(), found.2.as_str()) == (*package, *home, *name))
    };
    let gone: Vec<_> = SPREAD.iter().filter(|entry| !is_spread(entry)).collect();
    assert!(gone.is_empty(), "in one file, take them off the list: {gone:#?}");
}

#[test]
fn files_with_methods_of_one_type_call_each_other_in_no_circle() {
    for package in members() {
        for spread in spread_types(&Source::below(&format!("{package}/src"))) {
            let circle = largest_of(&arrows(&spread));
            assert!(circle.is_empty(), "{package}: files of {} call each other: {circle:?}", spread.name);
        }
    }
}

/// A type with methods in more than one file.
struct Spread {
    /// The file that defines it.
    home: String,
    name: String,
    /// The files with methods of it.
    files: BTreeMap<Path, Methods>,
}

/// What one file has of a type.
#[derive(Default)]
struct Methods {
    defined: BTreeSet<String>,
    /// What is called of the type itself.
    called: BTreeSet<String>,
}

/// Each type with methods in more than one file.
fn spread_types(sources: &[Source]) -> Vec<Spread> {
    let modules = Modules::read(sources);
    let mut types: BTreeMap<(Path, String), BTreeMap<Path, Methods>> = BTreeMap::new();
    for source in sources {
        let path = module_of(&source.path);
        for level in levels(source.tokens()) {
            for (written, body) in
                (0..level.len()).filter_map(|at| type_with_methods(&level[..at], &level[at..]))
            {
                let home = modules.home_of(&written, &path).unwrap_or_default();
                let name = written.last().cloned().unwrap_or_default();
                let methods = types.entry((home, name)).or_default().entry(path.clone()).or_default();
                methods.defined.extend(defined(body));
                methods.called.extend(levels(body.stream()).iter().flat_map(|level| called(level)));
            }
        }
    }
    let several = types.into_iter().filter(|(_, files)| files.len() > 1);
    several.map(|((home, name), files)| Spread { home: home.join("::"), name, files }).collect()
}

/// Which files call methods that others have.
fn arrows(spread: &Spread) -> BTreeMap<&Path, BTreeSet<Path>> {
    let targets = |path: &Path, called: &BTreeSet<String>| {
        let others = spread.files.iter().filter(|(other, _)| *other != path);
        let of_them = others.filter(|(_, methods)| !methods.defined.is_disjoint(called));
        of_them.map(|(other, _)| other.clone()).collect()
    };
    spread.files.iter().map(|(path, methods)| (path, targets(path, &methods.called))).collect()
}

/// The methods that are defined in a body.
fn defined(body: &Group) -> Vec<String> {
    let tokens: Vec<TokenTree> = body.stream().into_iter().collect();
    let names = tokens.windows(2).filter(|pair| is_word(&pair[0], "fn"));
    names.map(|pair| pair[1].to_string()).collect()
}

/// The methods that are called as `self.name(...)` or `Self::name(...)`, or are handed on by that name.
fn called(level: &[TokenTree]) -> Vec<String> {
    let is_own = |window: &&[TokenTree]| {
        (is_word(&window[0], "self") && is_sign(&window[1], '.'))
            || (is_word(&window[0], "Self") && is_sign(&window[1], ':'))
    };
    let last = |window: &[TokenTree]| {
        window.iter().skip(2).find(|token| !is_sign(token, ':')).map(ToString::to_string)
    };
    level.windows(4).filter(is_own).filter_map(last).collect()
}

/// The path of the type in `impl<T> path::Type<T> where ... {`, if these tokens begin so, and its methods. `impl Trait
/// for Type` has no methods of its own, and an `impl` that does not stand at the beginning of an item is a type in a
/// signature.
fn type_with_methods<'a>(before: &[TokenTree], tokens: &'a [TokenTree]) -> Option<(Path, &'a Group)> {
    let (first, rest) = tokens.split_first()?;
    let begins_item = before.last().is_none_or(|token| match token {
        TokenTree::Group(group) => group.delimiter() != Delimiter::Parenthesis,
        token => is_sign(token, ';') || is_word(token, "unsafe"),
    });
    if !begins_item || !is_word(first, "impl") {
        return None;
    }
    let (place, body) = rest.iter().enumerate().find_map(|(place, token)| Some((place, braces(token)?)))?;
    let head = rest[..place].split(|token| is_word(token, "where")).next()?;
    let outside = outside_angle_brackets(head);
    let words = outside.into_iter().filter_map(|token| match token {
        TokenTree::Ident(word) => Some(word.to_string()),
        _ => None,
    });
    let words: Path = words.collect();
    (!words.iter().any(|word| word == "for")).then_some((words, body))
}

fn outside_angle_brackets(tokens: &[TokenTree]) -> Vec<&TokenTree> {
    let mut depth = 0_usize;
    let mut outside = Vec::new();
    let mut before_arrow = false;
    for token in tokens {
        match token {
            token if is_sign(token, '<') => depth += 1,
            // The arrow of `Fn(A) -> B` closes no bracket.
            token if is_sign(token, '>') && !before_arrow => depth = depth.saturating_sub(1),
            token if depth == 0 => outside.push(token),
            _ => {}
        }
        before_arrow = is_sign(token, '-');
    }
    outside
}

#[cfg(test)]
mod examples {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Spread> {
        let source = |(path, text): &(&str, &str)| Source { path: (*path).into(), text: (*text).into() };
        spread_types(&files.iter().map(source).collect::<Vec<_>>())
    }

    fn spread(files: &[(&str, &str)]) -> Vec<(String, String, usize)> {
        found(files).into_iter().map(|Spread { home, name, files }| (home, name, files.len())).collect()
    }

    fn circle(files: &[(&str, &str)]) -> Vec<String> {
        found(files).iter().flat_map(|spread| largest_of(&arrows(spread))).collect()
    }

    #[test]
    fn calls_down_are_no_circle() {
        let files = [
            ("a.rs", "pub struct A; impl A { fn a(&self) { self.b(); self.a(); other.c() } }"),
            ("b.rs", "use crate::a::A; impl A { fn b(&self) { let c = self.c; Self::c(self); } }"),
            ("c.rs", "use crate::a::A; impl A { fn c(&self) { self.base.a(); a(); } }"),
        ];
        assert_eq!(circle(&files), Vec::<String>::new());
    }

    #[test]
    fn calls_that_come_back_are_a_circle() {
        let files = [
            ("a.rs", "pub struct A; impl A { fn a(&self) { if self.is { self.b() } } }"),
            ("b.rs", "use crate::a::A; impl A { fn b(&self) { each.map(|_| Self::c(self)); } }"),
            ("c.rs", "use crate::a::A; impl A { fn c(&self) { match self.a() { _ => {} } } }"),
        ];
        assert_eq!(circle(&files), ["a", "b", "c"]);
    }

    #[test]
    fn methods_are_found_under_whatever_path_their_type_is_known() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("a.rs", "pub struct A<T>(T); impl<T: Fn(u8) -> u8> A<T> { fn a() {} } impl<T> A<T> {}"),
            ("b.rs", "use crate::A; #[cfg(test)] impl A<u8> where u8: Copy { fn b() {} }"),
            ("c.rs", "fn c() {} impl crate::a::A<u16> { fn d() {} }"),
        ];
        assert_eq!(spread(&files), [("a".to_owned(), "A".to_owned(), 3)]);
    }

    #[test]
    fn two_types_of_one_name_are_two() {
        let files = [("a.rs", "struct A; impl A {}"), ("b.rs", "struct A; impl A {}")];
        assert_eq!(spread(&files), []);
    }

    #[test]
    fn traits_and_types_in_signatures_have_no_methods_here() {
        let files = [
            ("a.rs", "pub struct A; impl A {}"),
            ("b.rs", "use crate::a::A; impl From<u8> for A { fn from(_: u8) -> A { A } }"),
            ("c.rs", "use crate::a::A; fn c(_: impl Into<A>) -> impl Iterator<Item = A> { [A].into_iter() }"),
        ];
        assert_eq!(spread(&files), []);
    }
}
