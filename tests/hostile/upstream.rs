//! The upstream worker. The next server says what it does: an attacker who owns an upstream worker is a next server.

use crate::{ident, raw};
use rustix::event::PollFlags;
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::Id;
use sockd_common::message::upstream::{FromUpstream, NextReply, ToUpstream};
use sockd_worker::profile::PROFILE_UPSTREAM;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;

type Monitor = WorkerEnd<FromUpstream, ToUpstream>;

/// See the session worker's.
pub(crate) fn run(channel: OwnedFd) -> Option<()> {
    let monitor = Monitor::new(channel);
    monitor.send(&FromUpstream::Ready(crate::locks())).ok()?;
    loop {
        match monitor.receive() {
            Ok(Received::Message(ToUpstream::Ask { id, .. }, Some(next))) => {
                let act = ident::read(TcpStream::from(next));
                answer(&monitor, id, act.trim());
            }
            Ok(Received::Message(..)) => {}
            Ok(Received::Nothing) => raw::wait(&monitor, PollFlags::IN),
            _ => return None,
        }
    }
}

fn answer(monitor: &Monitor, id: Id, act: &str) -> bool {
    let peer = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 20);
    let granted = |id| FromUpstream::Answer { id, reply: NextReply::Granted(peer.into()) };
    let said = |id| monitor.send(&granted(id)).is_ok();
    match act {
        "unasked" => said(raw::NOBODYS),
        "twice" => said(id) && said(id),
        "silent" => true,
        "a-fault" => raw::fault(PROFILE_UPSTREAM),
        act => raw::act(monitor, act, &FromUpstream::Ready(crate::locks()), &granted(id)) || said(id),
    }
}
