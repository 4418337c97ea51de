//! Why a process does not start or cannot go on.

use serde::{Deserialize, Serialize};
use sockd_lockdown::LockError;
use sockd_policy::in_words;
use std::fmt::{self, Display, Formatter};

/// The error of a failed start, for the administrator; every line stands alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartError {
    /// The lines for the administrator.
    pub lines: Vec<String>,
    /// Exit status (sysexits.h).
    pub status: i32,
}

impl StartError {
    /// A file of the configuration is at fault.
    pub fn configuration(lines: Vec<String>) -> Self {
        Self { lines, status: 78 }
    }

    /// Whether a file of the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        self.status == 78
    }

    /// The system lacks something, or a call failed.
    pub fn system(line: impl Display) -> Self {
        Self { lines: vec![in_words(line)], status: 71 }
    }

    /// For use with `map_err`: this call failed.
    pub fn at<E: Display>(call: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::system(format_args!("{call}: {error}"))
    }
}

impl Display for StartError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("; "))
    }
}

impl From<LockError> for StartError {
    fn from(error: LockError) -> Self {
        Self::system(error)
    }
}

/// A single line is a fault of the system.
impl From<String> for StartError {
    fn from(line: String) -> Self {
        Self::system(line)
    }
}

/// A list of lines is a fault in files of the configuration.
impl From<Vec<String>> for StartError {
    fn from(lines: Vec<String>) -> Self {
        Self::configuration(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_words_and_no_number() {
        let error = std::io::Error::from_raw_os_error(98);
        let said = StartError::system(format_args!("cannot listen on 0.0.0.0:1080: {error}; somebody does"));
        assert_eq!(said.lines, ["cannot listen on 0.0.0.0:1080: Address already in use; somebody does"]);
    }
}
