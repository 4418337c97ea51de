//! The resolver. The first label of the name that is asked about says what it does.

use crate::raw;
use rustix::event::PollFlags;
use sockd_common::bounded::BoundedVec;
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::resolver::{Answer, FromResolver, Query, RecordType, ToResolver, Transport};
use sockd_common::message::{Id, Name};
use sockd_worker::profile::PROFILE_RESOLVER;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

type Monitor = WorkerEnd<FromResolver, ToResolver>;

/// The target of honest answers: the server of the laboratory.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// See the session worker's.
pub(crate) fn run(channel: OwnedFd) -> Option<()> {
    let monitor = Monitor::new(channel);
    monitor.send(&FromResolver::Ready(crate::locks())).ok()?;
    loop {
        match monitor.receive() {
            Ok(Received::Message(ToResolver::Resolve { id, query: Query::Addresses(name) }, _)) => {
                let label = String::from_utf8_lossy(name.as_bytes()).into_owned();
                answer(&monitor, id, label.split('.').next().unwrap_or_default());
            }
            Ok(Received::Message(..)) => {}
            Ok(Received::Nothing) => raw::wait(&monitor, PollFlags::IN),
            _ => return None,
        }
    }
}

fn answer(monitor: &Monitor, id: Id, act: &str) -> bool {
    let said = |id, answer| monitor.send(&FromResolver::Answer { id, answer }).is_ok();
    let address = |address: Ipv4Addr| Answer::Addresses(BoundedVec::first_of([IpAddr::V4(address)]));
    match act {
        "loopback" => said(id, address(Ipv4Addr::LOCALHOST)),
        "unspecified" => said(id, address(Ipv4Addr::UNSPECIFIED)),
        "mapped" => {
            let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
            said(id, Answer::Addresses(BoundedVec::first_of([mapped])))
        }
        "metadata" => said(id, address(Ipv4Addr::new(169, 254, 169, 254))),
        "none" => said(id, Answer::Addresses(BoundedVec::first_of([]))),
        "names" => said(id, Answer::Names(BoundedVec::first_of(Name::new(b"\xff\n (evil)")))),
        "seventeen" => {
            let sixteen = Answer::Addresses(BoundedVec::first_of([IpAddr::V4(SERVER); 16]));
            let mut bytes = raw::bytes(&FromResolver::Answer { id, answer: sixteen });
            // The octets of an address and the kind before them; the number stands before the first.
            let addresses = 16 * 5;
            if let Some(number) = bytes.len().checked_sub(addresses + 1).and_then(|at| bytes.get_mut(at)) {
                *number = 17;
            }
            bytes.extend([[0].as_slice(), &SERVER.octets()].concat());
            raw::packet(monitor, &bytes)
        }
        "unasked" => said(raw::NOBODYS, address(SERVER)),
        "twice" => said(id, address(SERVER)) && said(id, address(SERVER)),
        "sockets" => {
            let need =
                FromResolver::NeedSocket { id, record: RecordType::A, transport: Transport::Udp, attempt: 0 };
            raw::flood(monitor, &raw::bytes(&need));
            true
        }
        "silent" => true,
        "a-fault" => raw::fault(PROFILE_RESOLVER),
        act => {
            let honest = FromResolver::Answer { id, answer: address(SERVER) };
            raw::act(monitor, act, &FromResolver::Ready(crate::locks()), &honest)
                || monitor.send(&honest).is_ok()
        }
    }
}
