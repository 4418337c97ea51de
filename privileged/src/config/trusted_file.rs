//! Opening files that decide over access: nobody but their owner may have had a hand in them.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use sockd_policy::in_words;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A million rules of ordinary length fit.
const MAX_BYTES: u64 = 256 << 20;

/// Why a file is not used.
#[derive(Debug, Error)]
#[error("{}: {why}", path.display())]
pub struct FileError {
    /// The file, or a folder above it.
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// A call failed.
    Io(std::io::Error),
    /// The file is not what it has to be.
    Unfit { expected: &'static str, found: String },
}

impl Display for Why {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => match error.kind() {
                ErrorKind::NotFound => f.write_str("expected a file, found none"),
                ErrorKind::PermissionDenied => {
                    f.write_str("expected a file that can be read, found no permission to read it")
                }
                _ => write!(f, "expected a file that can be read: {}", in_words(error)),
            },
            Self::Unfit { expected, found } => write!(f, "expected {expected}, found {found}"),
        }
    }
}

impl FileError {
    /// Whether the file is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(&self.why, Why::Io(error) if error.kind() == ErrorKind::NotFound)
    }

    /// Whether the file is there, and not as it has to be.
    pub fn is_unfit(&self) -> bool {
        matches!(self.why, Why::Unfit { .. })
    }

    /// What stands behind the name of this file, which is not named again.
    pub fn about(&self, file: &Path) -> String {
        if self.path == file { self.why.to_string() } else { self.to_string() }
    }
}

/// Reads a regular file that only root (or the user who started the program) can have written. Symbolic links
/// are not followed, and a FIFO or device does not block or answer.
pub fn read_trusted(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open_trusted(path)?;
    let mut bytes = Vec::new();
    let limit = MAX_BYTES.saturating_add(1);
    File::from(file).take(limit).read_to_end(&mut bytes).map_err(|error| io(path, error))?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(unfit(path, "at most 256 MiB", "a longer file".into())),
        false => Ok(bytes),
    }
}

/// Opens a regular file for reading under the same conditions as [`read_trusted`].
pub fn open_trusted(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP => unfit(path, "a regular file", "a symbolic link".into()),
        error => io(path, error.into()),
    })?;
    // Behind it, so that no folder is blamed for a file that nobody has.
    check_parents(path)?;
    // Everything is asked of the open file, so that what was checked is what is read.
    let facts = fstat(&file).map_err(|error| io(path, error.into()))?;
    check_file(path, &facts)?;
    Ok(file)
}

/// Reads a file of the system, such as resolv.conf(5): often a symbolic link, and nothing that decides over access.
pub fn read_plain(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let file = File::from(open_plain(path)?);
    // No reader takes more than 16 MiB.
    file.take(17 << 20).read_to_end(&mut bytes).map_err(|error| io(path, error))?;
    Ok(bytes)
}

/// Opens a regular file of the system for reading, links followed.
pub fn open_plain(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| io(path, error.into()))?;
    let facts = fstat(&file).map_err(|error| io(path, error.into()))?;
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => Ok(file),
        other => Err(unfit(path, "a regular file", kind(other).into())),
    }
}

fn check_file(path: &Path, facts: &Stat) -> Result<(), FileError> {
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => check_owner(path, facts),
        other => Err(unfit(path, "a regular file", kind(other).into())),
    }
}

fn kind(file: FileType) -> &'static str {
    match file {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// Whoever can write to a directory above the file can put another file in its place. A sticky directory such as
/// /tmp lets only the owner do that.
fn check_parents(path: &Path) -> Result<(), FileError> {
    let absolute = std::path::absolute(path).map_err(|error| io(path, error))?;
    absolute.parent().map_or(Ok(()), check_folder)
}

/// The same of an absolute folder and all above it.
pub fn check_folder(folder: &Path) -> Result<(), FileError> {
    for parent in folder.ancestors() {
        let facts = statat(CWD, parent, AtFlags::empty()).map_err(|error| match error {
            Errno::NOENT => unfit(parent, "a folder", "none".into()),
            error => io(parent, error.into()),
        })?;
        match facts.st_mode & libc::S_ISVTX {
            0 => check_owner(parent, &facts)?,
            _ => check_user(parent, &facts)?,
        }
    }
    Ok(())
}

fn check_owner(path: &Path, facts: &Stat) -> Result<(), FileError> {
    check_user(path, facts)?;
    match facts.st_mode & 0o022 {
        0 => Ok(()),
        _ => Err(unfit(
            path,
            "no write permission for group and others",
            format!("mode {:04o}", facts.st_mode & 0o7777),
        )),
    }
}

fn check_user(path: &Path, facts: &Stat) -> Result<(), FileError> {
    let own = rustix::process::getuid().as_raw();
    match facts.st_uid == 0 || facts.st_uid == own {
        true => Ok(()),
        false => {
            let expected = "root or the user who starts sockd as its owner";
            Err(unfit(path, expected, format!("the user with id {}", facts.st_uid)))
        }
    }
}

fn io(path: &Path, error: std::io::Error) -> FileError {
    FileError { path: path.into(), why: Why::Io(error) }
}

fn unfit(path: &Path, expected: &'static str, found: String) -> FileError {
    FileError { path: path.into(), why: Why::Unfit { expected, found } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sockd-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    fn file(folder: &Path, mode: u32) -> PathBuf {
        let file = folder.join("sockd.conf");
        fs::write(&file, "permit").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_file_of_ones_own_is_read() {
        let folder = folder("own");
        assert_eq!(read_trusted(&file(&folder, 0o640)).unwrap(), b"permit");
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = folder("writable");
        for mode in [0o666, 0o664, 0o646] {
            let error = read_trusted(&file(&folder, mode)).unwrap_err().to_string();
            assert!(error.ends_with(&format!("found mode {mode:04o}")), "{error}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = folder("link");
        let link = folder.join("link");
        symlink(file(&folder, 0o644), &link).unwrap();
        let error = read_trusted(&link).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
    }

    #[test]
    fn a_fifo_does_not_block() {
        let folder = folder("fifo");
        let fifo = folder.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(read_trusted(&fifo).unwrap_err().to_string().contains("expected a regular file"));
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let folder = folder("folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = read_trusted(&file(&folder, 0o644)).unwrap_err().to_string();
        assert!(error.contains("no write permission"), "{error}");
    }

    #[test]
    fn a_missing_file_is_told_apart() {
        let folder = folder("missing");
        assert!(read_trusted(&folder.join("nothing")).unwrap_err().is_missing());
        let error = read_trusted(&folder).unwrap_err();
        assert!(!error.is_missing() && error.to_string().ends_with("found a folder"), "{error}");
    }

    #[test]
    fn a_file_is_named_once_and_no_folder_is_blamed_for_one_that_is_not_there() {
        let folder = folder("blamed");
        let missing = folder.join("sockd.fc");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o775)).unwrap();
        let error = read_trusted(&missing).unwrap_err();
        assert!(error.is_missing());
        assert_eq!(error.about(&missing), "expected a file, found none");
        let error = read_trusted(&file(&folder, 0o644)).unwrap_err();
        let blamed = format!(
            "{}: expected no write permission for group and others, found mode 0775",
            folder.display()
        );
        assert_eq!(error.about(&folder.join("sockd.conf")), blamed);
    }
}
