//! Opens files that decide over access: only their owner may have been able to change them.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use sockd_policy::in_words;
use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use thiserror::Error;

/// The most MiB of a file: a million rules of ordinary length fit.
const RULES: u64 = 256;

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
    /// The file is not of the required kind, owner or mode.
    Unfit { expected: String, found: String },
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
    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(&self.why, Why::Io(error) if error.kind() == ErrorKind::NotFound)
    }

    /// Whether the file exists, and is unfit for use.
    pub fn is_unfit(&self) -> bool {
        matches!(self.why, Why::Unfit { .. })
    }

    /// The error without the name of this file, which the caller has named already.
    pub fn about(&self, file: &Path) -> String {
        if self.path == file { self.why.to_string() } else { self.to_string() }
    }
}

/// Reads a regular file that only root (or the user who started the program) can have written. A symbolic link is
/// followed if nobody else can have made it. A FIFO or device is refused without blocking.
pub fn read_trusted(path: &Path) -> Result<Vec<u8>, FileError> {
    read_at_most(open_trusted(path)?, path, RULES)
}

fn read_at_most(file: OwnedFd, path: &Path, mib: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let limit = mib.saturating_mul(1 << 20);
    let mut file = File::from(file).take(limit.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(|error| io(path, error))?;
    match bytes.len() as u64 > limit {
        true => Err(unfit(path, &format!("at most {mib} MiB"), "a longer file".into())),
        false => Ok(bytes),
    }
}

/// Reads such a file, which nobody else may be able to read either.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open_trusted(path)?;
    let facts = fstat(&file).map_err(|error| io(path, error.into()))?;
    let mode = facts.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(unfit(path, "no permission for group and others", format!("mode {mode:04o}")));
    }
    read_at_most(file, path, RULES)
}

/// Opens a regular file for reading under the same conditions as [`read_trusted`].
pub fn open_trusted(path: &Path) -> Result<OwnedFd, FileError> {
    // Checked before its folders, so that the error for a missing file blames no folder.
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| io(path, error.into()))?;
    let real = real_path(path, "a file")?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(CWD, &real, flags, Mode::empty()).map_err(|error| io(&real, error.into()))?;
    // All checks look at the open file, so that the file that is checked is the file that is read.
    let facts = fstat(&file).map_err(|error| io(&real, error.into()))?;
    check_regular(&real, &facts)?;
    check_owner(&real, &facts)?;
    Ok(file)
}

/// Reads a system file, such as resolv.conf(5), of at most `mib` MiB: it is often a symbolic link, and decides nothing
/// over access.
pub fn read_plain(path: &Path, mib: u64) -> Result<Vec<u8>, FileError> {
    read_at_most(open_plain(path)?, path, mib)
}

/// The fault of a link that leads to no file.
pub fn leads_nowhere(link: &Path) -> FileError {
    unfit(link, "a file", "a link that leads to none".into())
}

/// Opens a regular system file for reading, links followed.
pub fn open_plain(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let at = |error: Errno| io(path, error.into());
    // Checked before open(2), so that no device is opened.
    check_regular(path, &statat(CWD, path, AtFlags::empty()).map_err(at)?)?;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(at)?;
    check_regular(path, &fstat(&file).map_err(at)?)?;
    Ok(file)
}

fn check_regular(path: &Path, facts: &Stat) -> Result<(), FileError> {
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => Ok(()),
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

/// Checks a folder, and all above it, in the same way.
pub fn check_folder(folder: &Path) -> Result<(), FileError> {
    let real = real_path(folder, "a folder")?;
    check_step(&real, &facts_of(&real, "a folder")?)
}

/// The wanted names in a folder, sorted. Nobody else can have put a file there. Whether each name is a file is checked
/// when it is read.
pub fn list_trusted(folder: &Path, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<PathBuf>, FileError> {
    let real = real_path(folder, "a folder")?;
    check_owner(&real, &facts_of(&real, "a folder")?)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&real).map_err(|error| io(&real, error))? {
        let name = entry.map_err(|error| io(&real, error))?.file_name();
        names.extend(Some(name).filter(|name| wanted(name.as_bytes())));
    }
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The most symbolic links on the way to a file, as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Resolves a path, and checks each folder and link on the way. Whoever can write to a folder can replace the files in
/// it, and the owner of a link can have made it.
fn real_path(path: &Path, what: &str) -> Result<PathBuf, FileError> {
    let absolute = std::path::absolute(path).map_err(|error| io(path, error))?;
    let (mut ahead, mut real, mut links) = (steps(&absolute), PathBuf::from("/"), 0usize);
    while let Some(step) = ahead.pop() {
        check_step(&real, &facts_of(&real, "a folder")?)?;
        if step == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&step);
        let facts = facts_of(&next, if ahead.is_empty() { what } else { "a folder" })?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::Symlink {
            real = next;
            continue;
        }
        check_user(&next, &facts)?;
        links = links.saturating_add(1);
        if links > MAX_LINKS {
            return Err(unfit(path, what, "too many symbolic links".into()));
        }
        let target = std::fs::read_link(&next).map_err(|error| io(&next, error))?;
        if target.is_absolute() {
            real = "/".into();
        }
        ahead.extend(steps(&target));
    }
    Ok(real)
}

/// The names in a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let is_name = |step: &Component<'_>| matches!(step, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(is_name).map(|step| step.as_os_str().to_owned()).collect()
}

/// The facts of a path, which is not followed. For a link to nothing the error differs from that of a missing file.
fn facts_of(path: &Path, expected: &str) -> Result<Stat, FileError> {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| match error {
        Errno::NOENT => unfit(path, expected, "none".into()),
        error => io(path, error.into()),
    })
}

/// Checks a folder on the way: a sticky one such as /tmp lets only owners replace what is in it.
fn check_step(folder: &Path, facts: &Stat) -> Result<(), FileError> {
    match facts.st_mode & libc::S_ISVTX {
        0 => check_owner(folder, facts),
        _ => check_user(folder, facts),
    }
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

fn unfit(path: &Path, expected: &str, found: String) -> FileError {
    FileError { path: path.into(), why: Why::Unfit { expected: expected.into(), found } }
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
    fn links_are_followed_where_nobody_else_can_have_made_them() {
        let folder = folder("links");
        fs::create_dir_all(folder.join("releases/1")).unwrap();
        let real = file(&folder.join("releases/1"), 0o644);
        // Kubernetes and stow make a link to a folder, and links through it.
        symlink("releases/1", folder.join("current")).unwrap();
        symlink("current/sockd.conf", folder.join("relative")).unwrap();
        symlink(&real, folder.join("absolute")).unwrap();
        symlink("current/../1/sockd.conf", folder.join("upwards")).unwrap();
        for name in ["relative", "absolute", "upwards", "current/sockd.conf"] {
            assert_eq!(read_trusted(&folder.join(name)).unwrap(), b"permit", "{name}");
        }
        fs::set_permissions(&real, fs::Permissions::from_mode(0o666)).unwrap();
        let error = read_trusted(&folder.join("relative")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", real.display())), "the file at fault is named: {error}");
        fs::set_permissions(folder.join("releases"), fs::Permissions::from_mode(0o777)).unwrap();
        let error = read_trusted(&folder.join("relative")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", folder.join("releases").display())), "{error}");
    }

    #[test]
    fn a_link_of_another_user_and_a_folder_of_one_are_refused() {
        if !rustix::process::getuid().is_root() {
            eprintln!("NOT ROOT: this test has tested nothing");
            return;
        }
        let folder = folder("others");
        let link = folder.join("link");
        symlink(file(&folder, 0o644), &link).unwrap();
        assert!(read_trusted(&link).is_ok());
        std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
        let error = read_trusted(&link).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", link.display())) && error.contains("id 65534"), "{error}");
        // The folder that a link leads to is root's; the one above it is not.
        fs::create_dir_all(folder.join("home/etc")).unwrap();
        file(&folder.join("home/etc"), 0o644);
        symlink("home/etc", folder.join("etc")).unwrap();
        assert!(
            read_trusted(&folder.join("etc/sockd.conf")).is_ok() && check_folder(&folder.join("etc")).is_ok()
        );
        std::os::unix::fs::chown(folder.join("home"), Some(65534), None).unwrap();
        for error in
            [read_trusted(&folder.join("etc/sockd.conf")).map(drop), check_folder(&folder.join("etc"))]
        {
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: ", folder.join("home").display())), "{error}");
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_no_missing_file() {
        let folder = folder("dangling");
        symlink("nothing", folder.join("link")).unwrap();
        let error = read_trusted(&folder.join("link")).unwrap_err();
        let nothing = format!("{}: expected a file, found none", folder.join("nothing").display());
        assert_eq!((error.is_missing(), error.to_string()), (false, nothing));
        symlink("round", folder.join("round")).unwrap();
        let error = read_trusted(&folder.join("round")).unwrap_err().to_string();
        assert!(error.ends_with("found too many symbolic links"), "{error}");
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
    fn a_folder_is_listed_in_the_order_of_names_where_nobody_else_can_write_to_it() {
        let folder = folder("listed");
        let list = || list_trusted(&folder, |name| name.ends_with(b".conf"));
        assert_eq!(list().unwrap(), [] as [PathBuf; 0]);
        for name in ["20-b.conf", "10-b.conf", "9.conf", "10-b.conf~"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let names = ["10-b.conf", "20-b.conf", "9.conf"].map(|name| folder.join(name));
        assert_eq!(list().unwrap(), names);
        for mode in [0o777, 0o1777, 0o775] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let error = list().unwrap_err().to_string();
            assert!(error.ends_with(&format!("found mode {mode:04o}")), "{error}");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let none = folder.join("none");
        let error = list_trusted(&none, |_| true).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: expected a folder, found none", none.display()));
        assert!(!error.is_missing(), "a folder that is named has to be there");
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
