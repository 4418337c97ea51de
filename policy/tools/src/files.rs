//! Files: their places, how they are read, and how one takes the place of another.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sockd_policy::frozen::{self, FrozenError, Provenance};
use sockd_policy::{
    Files, Include, LineError, Routes, RuleSet, Services, Upstreams, in_words, parse_conf_with, parse_routes,
    parse_upstreams,
};

/// The kinds of files, with the names that the manuals give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rules: `/etc/sockd.conf`, frozen to `/etc/sockd.fc`.
    Rules,
    /// Routes: `/etc/sockd.route`, frozen to `/etc/sockd.fr`.
    Routes,
    /// Upstream lines: `/etc/socks.conf`, frozen to `/etc/socks.fc`.
    Upstreams,
}

impl Kind {
    /// The place of the text.
    pub fn text(self) -> &'static str {
        match self {
            Kind::Rules => "/etc/sockd.conf",
            Kind::Routes => "/etc/sockd.route",
            Kind::Upstreams => "/etc/socks.conf",
        }
    }

    /// The place of the frozen file.
    pub fn frozen(self) -> &'static str {
        match self {
            Kind::Rules => "/etc/sockd.fc",
            Kind::Routes => "/etc/sockd.fr",
            Kind::Upstreams => "/etc/socks.fc",
        }
    }
}

/// The content of a text or of a frozen file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// The content of `sockd.conf`.
    Rules(RuleSet),
    /// The content of `sockd.route`.
    Routes(Routes),
    /// The content of `socks.conf`.
    Upstreams(Upstreams),
}

/// The reason why a file cannot be used.
#[derive(Debug)]
pub enum Fault {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// The text has errors.
    Text(Vec<LineError>),
    /// The file is no frozen file, or a damaged one.
    Frozen(FrozenError),
}

impl Fault {
    /// One message for each error, with the file's name.
    pub fn messages(&self, path: &Path) -> Vec<String> {
        let path = path.display();
        match self {
            Fault::Unreadable(error) => vec![format!("Cannot open {path}: {}", in_words(error))],
            Fault::Text(errors) => errors.iter().map(|error| error.in_file(&path)).collect(),
            Fault::Frozen(error) => vec![format!("{path}: {error}")],
        }
    }
}

impl Policy {
    /// Reads a text, and returns its provenance as well. Service names are those of the file `services`; without that
    /// file there are none.
    ///
    /// # Errors
    /// The file cannot be read, or has errors in its lines.
    pub fn from_text(kind: Kind, path: &Path, services: &Path) -> Result<(Policy, Provenance), Fault> {
        let text = fs::read(path).map_err(Fault::Unreadable)?;
        let modified =
            fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(Fault::Unreadable)?;
        let (services, mut hashes, mut listed) = (read_services(services), BTreeMap::new(), BTreeMap::new());
        let mut user_file = |path: &str| {
            let users = fs::read(path).map_err(in_words)?;
            hashes.insert(path.to_owned(), frozen::hash(&users));
            Ok(users)
        };
        let mut list = |include: Include<'_>| {
            let files = list(include)?;
            listed.insert(include.path().to_owned(), include.listing(&files));
            Ok(files)
        };
        let policy = match kind {
            Kind::Rules => {
                let files = Files { read: &mut user_file, list: &mut list };
                parse_conf_with(&text, &services, files).map(Policy::Rules)
            }
            Kind::Routes => parse_routes(&text).map(Policy::Routes),
            Kind::Upstreams => parse_upstreams(&text, &services, &mut user_file).map(Policy::Upstreams),
        };
        let from = Provenance {
            name: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string(),
            modified: modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            text: frozen::hash(&text),
            user_files: hashes.into_iter().chain(listed).collect(),
        };
        policy.map(|policy| (policy, from)).map_err(Fault::Text)
    }

    /// Reads a frozen file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a sound frozen file of this kind.
    pub fn from_frozen(kind: Kind, path: &Path) -> Result<(Policy, Provenance), Fault> {
        let bytes = fs::read(path).map_err(Fault::Unreadable)?;
        match kind {
            Kind::Rules => frozen::thaw_rules(&bytes).map(|(rules, from)| (Policy::Rules(rules), from)),
            Kind::Routes => frozen::thaw_routes(&bytes).map(|(routes, from)| (Policy::Routes(routes), from)),
            Kind::Upstreams => {
                frozen::thaw_upstreams(&bytes).map(|(lines, from)| (Policy::Upstreams(lines), from))
            }
        }
        .map_err(Fault::Frozen)
    }

    /// Gives the rules that a daemon reads for this text, and their path: a frozen file beside it goes first.
    pub fn in_force(text: &Path, services: &Path) -> (PathBuf, Result<Policy, Fault>) {
        let frozen = text.with_extension("fc");
        match Policy::from_frozen(Kind::Rules, &frozen) {
            Err(Fault::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
                let read = Policy::from_text(Kind::Rules, text, services);
                (text.to_owned(), read.map(|(policy, _)| policy))
            }
            read => (frozen, read.map(|(policy, _)| policy)),
        }
    }

    /// The bytes of the frozen file.
    pub fn freeze(&self, from: &Provenance) -> Vec<u8> {
        match self {
            Policy::Rules(rules) => frozen::freeze_rules(rules, from),
            Policy::Routes(routes) => frozen::freeze_routes(routes, from),
            Policy::Upstreams(lines) => frozen::freeze_upstreams(lines, from),
        }
    }

    /// The lines in effect, as the text would have them.
    pub fn lines(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            Policy::Rules(rules) => Box::new(rules.lines()),
            Policy::Routes(routes) => Box::new(routes.lines()),
            Policy::Upstreams(lines) => Box::new(lines.lines()),
        }
    }
}

/// The files that an include line names, in the order of their names.
fn list(include: Include<'_>) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(include.folder()).map_err(in_words)? {
        let name = entry.map_err(in_words)?.file_name();
        if include.names(name.as_bytes()) {
            let name = name.into_string().map_err(|_| "expected names in UTF-8".to_owned())?;
            files.push(name);
        }
    }
    files.sort();
    let folder = Path::new(include.folder());
    Ok(files.iter().map(|name| folder.join(name).display().to_string()).collect())
}

/// The services of a file. There are none if it cannot be read, and names in rules are errors then.
pub fn read_services(path: &Path) -> Services {
    fs::read(path).map(|text| Services::parse(&text)).unwrap_or_default()
}

/// The reason why nothing was written.
#[derive(Debug)]
pub enum WriteFault {
    /// The new file could not be made.
    Create(io::Error),
    /// The new file could not be written in full, or could not take its place.
    Write(io::Error),
}

/// Replaces the content of `target` by `bytes`. The new file is written beside the old one, synced and renamed, so that a
/// reader sees either the old file or the new one. It has the read permissions of `text`, and only its owner may write it.
///
/// # Errors
/// The reason why `target` was not changed.
pub fn replace(target: &Path, bytes: &[u8], text: &Path) -> Result<(), WriteFault> {
    let mode = fs::metadata(text).map_or(0o600, |metadata| metadata.permissions().mode() & 0o644);
    let folder = target.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(WriteFault::Create)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, target))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        WriteFault::Write(error)
    })
}

/// The given path, or the default one of the manual.
pub fn or_default(given: &Option<PathBuf>, default: &str) -> PathBuf {
    given.clone().unwrap_or_else(|| PathBuf::from(default))
}
