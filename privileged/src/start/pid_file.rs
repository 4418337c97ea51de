//! The process id file.

use crate::config::trusted_file;
use crate::process::error::StartError;
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, open, openat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A file that has been written, by its folder and its name there.
#[derive(Debug)]
pub struct PidFile {
    folder: OwnedFd,
    name: PathBuf,
}

impl PidFile {
    /// Writes the process id into a new file in the place of an old one; a link or a FIFO there is replaced, not
    /// followed.
    pub fn write(path: &Path) -> Result<Self, StartError> {
        let at = |error: std::io::Error| {
            StartError::system(format_args!("--pid-file: {}: {error}", path.display()))
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StartError::system(format_args!(
                "--pid-file: {}: expected the name of a file",
                path.display()
            )));
        };
        trusted_file::check_folder(folder).map_err(StartError::at("--pid-file"))?;
        let folder = open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| at(error.into()))?;
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(at(error.into())),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = openat(&folder, name, flags, mode).map_err(|error| at(error.into()))?;
        fchmod(&file, mode).map_err(|error| at(error.into()))?;
        writeln!(File::from(file), "{}", std::process::id()).map_err(at)?;
        Ok(Self { folder, name: name.into() })
    }

    /// Removes it. Somebody else has done so where this fails.
    pub fn remove(self) {
        let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}
