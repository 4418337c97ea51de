//! The length of functions and files: a function that does not fit a screen, and a file of many screens, hide things.
//!
//! The lists of exceptions only shrink: an entry that is no longer needed has to go.

use crate::sources::{Source, braces, installed, levels};
use proc_macro2::TokenTree;

/// Of a hundred functions of a package, 95 have at most so many lines, from `fn` to the closing brace.
const USUAL: usize = 25;

/// No function has more.
const LONGEST: usize = 60;

/// No file has more lines of code.
const FILE: usize = 400;

/// Packages whose functions are longer on the whole.
const LONG_ON_THE_WHOLE: [(&str, usize); 0] = [];

/// Functions that are longer.
const LONG_FUNCTIONS: [(&str, &str); 0] = [];

/// Files that are longer, by their names.
const LONG_FILES: [(&str, &str); 0] = [];

/// A function with a body.
struct Function {
    name: String,
    lines: usize,
}

fn functions(source: &Source) -> Vec<Function> {
    let mut found = Vec::new();
    for level in levels(source.tokens()) {
        for (at, token) in level.iter().enumerate() {
            let [TokenTree::Ident(word), TokenTree::Ident(name), ..] = &level[at..] else { continue };
            if word != "fn" {
                continue;
            }
            let is_end =
                |token: &&TokenTree| matches!(token, TokenTree::Punct(sign) if sign.as_char() == ';');
            let behind = level[at..].iter().take_while(|token| !is_end(token));
            let Some(body) = behind.filter_map(braces).next() else { continue };
            let lines = body.span_close().start().line - token.span().start().line + 1;
            found.push(Function { name: name.to_string(), lines });
        }
    }
    found
}

fn functions_of(package: &str) -> Vec<Function> {
    Source::below(&format!("{package}/src")).iter().flat_map(functions).collect()
}

#[test]
fn functions_are_short_on_the_whole() {
    for package in installed() {
        let mut lengths: Vec<usize> = functions_of(&package).iter().map(|function| function.lines).collect();
        lengths.sort_unstable();
        let usual = lengths.get(lengths.len() * 95 / 100).copied().unwrap_or(0);
        let exception = LONG_ON_THE_WHOLE.iter().find(|(name, _)| *name == package);
        let most = exception.map_or(USUAL, |(_, most)| *most);
        println!("{package}: {} functions, 95 of 100 with at most {usual} lines", lengths.len());
        assert!(usual <= most, "{package}: 95 of 100 functions have up to {usual} lines, at most {most}");
        assert!(exception.is_none() || usual > USUAL, "{package} is an exception no longer");
    }
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut long = Vec::new();
    for package in installed() {
        let functions = functions_of(&package).into_iter().filter(|function| function.lines > LONGEST);
        long.extend(functions.map(|function| (package.clone(), function.name)));
    }
    assert_exceptions(long, &LONG_FUNCTIONS);
}

#[test]
fn no_file_is_longer_than_some_screens() {
    let mut long = Vec::new();
    for package in installed() {
        let sources = Source::below(&format!("{package}/src"));
        let files = sources.into_iter().filter(|source| source.code_lines() > FILE);
        long.extend(files.map(|source| (package.clone(), source.path)));
    }
    assert_exceptions(long, &LONG_FILES);
}

/// The functions or files that are too long are exactly those of the list.
fn assert_exceptions(mut long: Vec<(String, String)>, list: &[(&str, &str)]) {
    long.sort();
    let listed: Vec<_> =
        list.iter().map(|(package, name)| ((*package).to_owned(), (*name).to_owned())).collect();
    let new: Vec<_> = long.iter().filter(|found| !listed.contains(found)).collect();
    assert!(new.is_empty(), "too long: {new:?}");
    let gone: Vec<_> = listed.iter().filter(|entry| !long.contains(entry)).collect();
    assert!(gone.is_empty(), "no longer too long, take them off the list: {gone:?}");
}

#[test]
fn a_function_is_measured_from_its_name_to_its_brace_wherever_it_stands() {
    let text = "trait T {\n    fn no_body();\n    fn one() {}\n}\nmod m {\n    fn three(\n        a: u8,\n    ) { fn in_it() {\n    } }\n}\n";
    let source = Source { path: "a.rs".into(), text: text.into() };
    let found: Vec<_> =
        functions(&source).into_iter().map(|function| (function.name, function.lines)).collect();
    assert_eq!(found, [("one".into(), 1), ("three".into(), 4), ("in_it".into(), 2)]);
}
