//! The ident worker. The identd says what it does: a host that owns its ident worker has an identd as well.

use crate::raw;
use rustix::event::PollFlags;
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::Id;
use sockd_common::message::ident::{FromIdent, IdentUser, ToIdent};
use sockd_worker::profile::PROFILE_IDENT;
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

type Monitor = WorkerEnd<FromIdent, ToIdent>;

/// See the session worker's.
pub(crate) fn run(channel: OwnedFd) -> Option<()> {
    let monitor = Monitor::new(channel);
    monitor.send(&FromIdent::Ready(crate::locks())).ok()?;
    loop {
        match monitor.receive() {
            Ok(Received::Message(ToIdent::Ask { id, .. }, Some(identd))) => {
                let act = read(TcpStream::from(identd));
                answer(&monitor, id, act.trim());
            }
            Ok(Received::Message(..)) => {}
            Ok(Received::Nothing) => raw::wait(&monitor, PollFlags::IN),
            _ => return None,
        }
    }
}

/// Reads what the identd, or a next server, says by itself, to the end of a line.
pub(crate) fn read(mut identd: TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with('\n') {
        raw::wait(identd.as_fd(), PollFlags::IN);
        let mut bytes = [0; 64];
        match identd.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(length) => text.push_str(&String::from_utf8_lossy(bytes.get(..length).unwrap_or_default())),
        }
    }
    text
}

fn answer(monitor: &Monitor, id: Id, act: &str) -> bool {
    let said = |id, user: &[u8]| monitor.send(&FromIdent::Answer { id, user: IdentUser::new(user) }).is_ok();
    match act {
        "unasked" => said(raw::NOBODYS, b"joe"),
        "twice" => said(id, b"joe") && said(id, b"joe"),
        "lines" => said(id, b"joe\nsockd[1]: permit (joe)"),
        "long" => {
            let honest = raw::bytes(&FromIdent::Answer { id, user: IdentUser::new(&[b'j'; 64]) });
            let mut bytes = honest.get(..honest.len().saturating_sub(65)).unwrap_or_default().to_vec();
            bytes.push(65);
            bytes.extend([b'j'; 65]);
            raw::packet(monitor, &bytes)
        }
        "silent" => true,
        // Honest: it passes on the user that the identd names.
        act if act.starts_with("is ") => said(id, act.trim_start_matches("is ").as_bytes()),
        "a-fault" => raw::fault(PROFILE_IDENT),
        act => {
            let answer = |user: &[u8]| FromIdent::Answer { id, user: IdentUser::new(user) };
            raw::act(monitor, act, &FromIdent::Ready(crate::locks()), &answer(b"joe")) || said(id, b"joe")
        }
    }
}
