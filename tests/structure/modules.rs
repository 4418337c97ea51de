//! The files of a package as modules, and the targets of the paths in them.
//!
//! Paths are `use` and paths in code that begin with `crate`, `super` or `self`, or with a child. The first file of a
//! package declares and re-exports; a name that it re-exports leads to the file that the name comes from.

use crate::sources::{Source, levels};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// The words of a path, from the root of the package.
pub(crate) type Path = Vec<String>;

/// A file as a module: `session::relay` is `session/relay.rs`, and so are `mod.rs`, `lib.rs` and `main.rs` the
/// folder that they stand in.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// One file.
pub(crate) struct Module {
    /// What its paths name, from the root of the package.
    pub(crate) named: Vec<Path>,
    /// The names that it takes in by `use`, and what they stand for.
    imported: BTreeMap<String, Path>,
}

/// All files of a package.
pub(crate) struct Modules(pub(crate) BTreeMap<Path, Module>);

impl Modules {
    pub(crate) fn read(sources: &[Source]) -> Self {
        let known: BTreeSet<Path> = sources.iter().map(|source| module_of(&source.path)).collect();
        let module = |source: &Source| {
            let path = module_of(&source.path);
            let module = Module::read(&path, source.tokens(), &known);
            (path, module)
        };
        Self(sources.iter().map(module).collect())
    }

    /// The file that a path leads to: its longest part that is one, or the file that this one takes the next name from.
    pub(crate) fn file_of(&self, named: &[String]) -> Option<Path> {
        self.followed(named, 0)
    }

    /// The file that defines a type written in this way in `module`.
    pub(crate) fn home_of(&self, written: &[String], module: &Path) -> Option<Path> {
        match written {
            [name] => self.file_of(&[module.as_slice(), std::slice::from_ref(name)].concat()),
            _ => self.file_of(&from_root(written, module, &self.0.keys().cloned().collect())?),
        }
    }

    fn followed(&self, named: &[String], steps: u8) -> Option<Path> {
        let length = (0..=named.len()).rev().find(|length| self.0.contains_key(&named[..*length]))?;
        let (file, rest) = named.split_at(length);
        let elsewhere = rest.first().and_then(|name| self.0.get(file)?.imported.get(name));
        match elsewhere.filter(|_| steps < 8) {
            Some(elsewhere) => self.followed(elsewhere, steps + 1),
            None => Some(file.to_vec()),
        }
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

    /// One tree of a `use`, after the words before it.
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

/// A path as written in `module`, from the root of the package; `None` if it leads to another package.
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

pub(crate) fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

pub(crate) fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}
