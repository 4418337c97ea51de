//! The file: read as the daemon would take it, locked against another change, and replaced whole.
//!
//! The lock is on the file itself. A program that has waited for it checks that the file is still the one at its place,
//! as the change before has put another one there. A program that is killed leaves the old file or the new one, and
//! perhaps one beside it that nobody reads and the next change removes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;
use sockd_policy::in_words;
use sockd_users::Users;

use super::failed::Failed;
use crate::cli::exit;

/// Readable for the owner alone.
const MODE: u32 = 0o600;

/// A file that nobody else changes meanwhile.
pub(super) struct Locked {
    path: PathBuf,
    file: File,
    text: String,
    users: Users,
}

impl Locked {
    /// Waits for other changes. A file that is not there is made, with nobody in it.
    pub(super) fn open(path: &Path) -> Result<Self, Failed> {
        loop {
            let file = match open(path, OpenOptions::new().read(true)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
                file => file.map_err(unreadable(path))?,
            };
            flock(&file, FlockOperation::LockExclusive).map_err(|error| unreadable(path)(error.into()))?;
            if is_at(&file, path) {
                let (text, users) = take(&file, path)?;
                return Ok(Self { path: path.into(), file, text, users });
            }
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    /// Puts another text in the place of the file, whole or not at all.
    pub(super) fn replace(&self, text: &str) -> Result<u8, Failed> {
        // A fault of this program must not keep the daemon from its next start.
        Users::parse(text.as_bytes()).map_err(|errors| faults(&self.path, &errors))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.path.with_file_name(format!(".{name}.new"));
        self.write(&beside, text).map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            Failed::new(
                exit::CANNOT_CREATE,
                format!("Cannot write {}: {}", beside.display(), in_words(error)),
            )
        })?;
        Ok(0)
    }

    fn write(&self, beside: &Path, text: &str) -> io::Result<()> {
        // A change that was killed has left it: there is no other while this one has the lock.
        match std::fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut new = OpenOptions::new().write(true).create_new(true).mode(MODE).open(beside)?;
        let owner = self.file.metadata()?;
        std::os::unix::fs::fchown(&new, Some(owner.uid()), Some(owner.gid()))?;
        // The mode holds even if a mask has taken more away.
        new.set_permissions(PermissionsExt::from_mode(MODE))?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(beside, &self.path)?;
        File::open(folder_of(&self.path))?.sync_all()
    }
}

/// The users of a file; none if there is no file.
pub(super) fn read(path: &Path) -> Result<Users, Failed> {
    match open(path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Users::default()),
        file => take(&file.map_err(unreadable(path))?, path).map(|(_, users)| users),
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    options.custom_flags(flags).open(path)
}

fn make(path: &Path) -> Result<File, Failed> {
    match open(path, OpenOptions::new().read(true).write(true).create_new(true).mode(MODE)) {
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            open(path, OpenOptions::new().read(true)).map_err(unreadable(path))
        }
        made => made.map_err(|error| {
            Failed::new(exit::CANNOT_CREATE, format!("Cannot make {}: {}", path.display(), in_words(error)))
        }),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |facts: std::fs::Metadata| (facts.dev(), facts.ino());
    let (here, there) = (file.metadata().map(place), std::fs::symlink_metadata(path).map(place));
    here.ok().is_some_and(|here| there.ok() == Some(here))
}

fn take(mut file: &File, path: &Path) -> Result<(String, Users), Failed> {
    trusted(file, path)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable(path))?;
    let users = Users::parse(text.as_bytes()).map_err(|errors| faults(path, &errors))?;
    Ok((text, users))
}

/// Asks for the same as the daemon: a file of root's or of the caller's, which nobody else can read or replace.
fn trusted(file: &File, path: &Path) -> Result<(), Failed> {
    let unfit = |what: &Path, expected: &str, found: &str| {
        Failed::new(exit::NO_INPUT, format!("{}: expected {expected}, found {found}", what.display()))
    };
    let facts = file.metadata().map_err(unreadable(path))?;
    if !facts.is_file() {
        return Err(unfit(path, "a regular file", "something else"));
    }
    let folder = folder_of(path);
    let above = std::fs::metadata(&folder).map_err(unreadable(&folder))?;
    for (what, facts, others) in [(path, &facts, 0o077), (&*folder, &above, 0o022)] {
        if ![0, geteuid().as_raw()].contains(&facts.uid()) {
            return Err(unfit(what, "root or this user as the owner", &format!("user id {}", facts.uid())));
        }
        let is_sticky = facts.is_dir() && facts.mode() & 0o1000 != 0;
        if facts.mode() & others != 0 && !is_sticky {
            let expected = if others == 0o077 { "no permission" } else { "no write permission" };
            let expected = format!("{expected} for group and others");
            return Err(unfit(what, &expected, &format!("mode {:04o}", facts.mode() & 0o7777)));
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.into(),
        _ => ".".into(),
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> Failed {
    move |error| Failed::new(exit::NO_INPUT, format!("Cannot open {}: {}", path.display(), in_words(error)))
}

fn faults(path: &Path, errors: &[sockd_users::LineError]) -> Failed {
    let lines: Vec<String> = errors.iter().map(|error| format!("{}: {error}", path.display())).collect();
    Failed::new(exit::DATA, lines.join("\n"))
}
