//! The live sessions of one daemon or, while one takes over from another, of several.

use super::diag::{self, Traffic};
use crate::ledger::{Found, Reader, record};
use rustix::io::Errno;
use sockd_common::ledger::{Bytes, Entry, Field, Phase};
use sockd_common::status::Gift;
use sockd_ledger::fetch::fetch;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One monitor with its ledger.
pub(super) struct Tree {
    pub(super) ledger: Reader,
    /// The socket on which it takes orders.
    pub(super) control: PathBuf,
}

impl Tree {
    /// The process that its monitor is.
    pub(super) fn process(&self) -> u64 {
        self.ledger.head(Field::Process)
    }

    /// Whether it serves: a monitor that drains has its process number in the names of its sockets.
    pub(super) fn serves(&self) -> bool {
        let process = self.process().to_string();
        self.control.extension().is_none_or(|end| *end != *process)
    }

    /// Whether its monitor is still there, as far as /proc tells. A ledger whose monitor has ended says what it said last.
    pub(super) fn is_there(&self) -> bool {
        Path::new(&format!("/proc/{}", self.process())).exists()
    }
}

/// A live session.
pub(super) struct Live {
    /// The place of its monitor among the trees.
    pub(super) tree: usize,
    /// The place of its record.
    pub(super) place: u32,
    pub(super) record: Box<Bytes>,
    /// The counts of the kernel, if it knows the connection.
    pub(super) traffic: Option<Traffic>,
}

impl Live {
    /// The record, decoded. Sessions whose record says nothing have been left out.
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        record::decode(&self.record)
    }

    /// The record, decoded, of a session that has not come to its end.
    pub(super) fn going_on(&self) -> Option<Entry<'_>> {
        self.entry().filter(|entry| entry.phase != Phase::Closing)
    }
}

/// The monitors whose sockets are in these folders.
pub(super) fn trees(folders: &[PathBuf]) -> Result<Vec<Tree>, (u8, String)> {
    let mut trees = Vec::new();
    let mut failed = None;
    for socket in folders.iter().flat_map(|folder| sockets(folder)) {
        match tree(&socket) {
            Ok(tree) => trees.push(tree),
            // The monitor of this socket has ended.
            Err(error) if error.raw_os_error() == Some(Errno::CONNREFUSED.raw_os_error()) => {}
            Err(error) => failed = Some((status_of(&error), format!("{}: {error}", socket.display()))),
        }
    }
    let folders = || folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    match (trees.is_empty(), failed) {
        (false, _) => Ok(trees),
        (true, Some(failed)) => Err(failed),
        (true, None) => Err((UNAVAILABLE, format!("no sockd serves with a status socket in {}", folders()))),
    }
}

/// sysexits(3).
const UNAVAILABLE: u8 = 69;
const NO_PERMISSION: u8 = 77;

pub(super) fn status_of(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::PermissionDenied { NO_PERMISSION } else { UNAVAILABLE }
}

/// `status`, and `status.` with anything behind it, of a monitor that drains.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name == "status" || name.starts_with("status.")).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

fn tree(socket: &Path) -> io::Result<Tree> {
    let gifts = fetch(socket)?;
    let ledger = gifts.into_iter().find(|(gift, _)| *gift == Gift::Ledger).map(|(_, memory)| memory);
    let ledger = Reader::open(ledger.ok_or(io::ErrorKind::Unsupported)?)?;
    Ok(Tree { ledger, control: control_beside(socket) })
}

/// The socket for orders beside the status socket of a monitor.
fn control_beside(socket: &Path) -> PathBuf {
    let name = socket.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    socket.with_file_name(name.replacen("status", "control", 1))
}

/// All sessions that can be read, the oldest first, and the number of those that cannot.
pub(super) fn sessions(trees: &[Tree]) -> (Vec<Live>, u64) {
    let mut all = Vec::new();
    let mut unseen = 0_u64;
    for (number, tree) in trees.iter().enumerate() {
        let before = all.len();
        for place in tree.ledger.places() {
            if let Found::Record(record) = tree.ledger.at(place) {
                let live = Live { tree: number, place, record, traffic: None };
                all.extend(Some(live).filter(|live| live.entry().is_some()));
            }
        }
        let seen = all.len().saturating_sub(before) as u64;
        unseen = unseen.saturating_add(tree.ledger.head(Field::Live).saturating_sub(seen));
    }
    all.sort_by_key(|live| live.entry().map(|entry| (entry.since, entry.number)));
    (all, unseen)
}

/// Asks the kernel what it has counted of them.
pub(super) fn count(sessions: &mut [Live]) -> io::Result<()> {
    let ends = |live: &Live| live.entry().map(|entry| (entry.client, entry.proxy));
    let ports: BTreeSet<u16> = sessions.iter().filter_map(|live| Some(ends(live)?.1.port())).collect();
    let traffic = diag::traffic(&ports)?;
    for live in sessions {
        live.traffic = ends(live).and_then(|ends| traffic.get(&ends).copied());
    }
    Ok(())
}

/// Now, in milliseconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The time since then.
pub(super) fn age(since: u64) -> Duration {
    Duration::from_millis(now().saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_ledger::writer::Writer;
    use std::os::unix::net::UnixListener;

    /// A socket's name means a drain only if the part behind its last dot is the process that answers there.
    #[test]
    fn a_dot_in_the_name_of_a_folder_or_a_socket_makes_no_daemon_drain() {
        for (status, control, serves) in [
            ("/run/sockd/status", "/run/sockd/control", true),
            ("/run/sockd.7/status", "/run/sockd.7/control", true),
            ("/run/status.d/status", "/run/status.d/control", true),
            ("/run/status.d/status.7", "/run/status.d/control.7", false),
            ("/run/sockd/status.main", "/run/sockd/control.main", true),
            ("/run/sockd/status.main.7", "/run/sockd/control.main.7", false),
            ("/run/sockd/status.7.main", "/run/sockd/control.7.main", true),
            ("/run/sockd/status.77", "/run/sockd/control.77", true),
        ] {
            let (_writer, memory) = Writer::create(1, 7, 5).unwrap();
            let tree =
                Tree { ledger: Reader::open(memory).unwrap(), control: control_beside(Path::new(status)) };
            assert_eq!((tree.control.to_str(), tree.serves()), (Some(control), serves), "{status}");
        }
        let folder = tempfile::Builder::new().prefix("status.").tempdir().unwrap();
        for name in ["status", "status.7", "status.main", "control", "counters", "my.status"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = sockets(folder.path());
        assert_eq!(found, ["status", "status.7", "status.main"].map(|name| folder.path().join(name)));
    }

    #[test]
    fn sockets_of_daemons_that_have_been_killed_are_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["status", "status.7"] {
            drop(UnixListener::bind(folder.path().join(name)).unwrap());
        }
        let (status, why) = trees(&[folder.path().to_owned()]).err().unwrap();
        assert!(
            status == UNAVAILABLE && why.starts_with("no sockd serves with a status socket in "),
            "{why}"
        );
    }
}
