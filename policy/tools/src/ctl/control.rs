//! Gives orders to a daemon.

use rustix::net::{RecvFlags, SendFlags, recv, send};
use sockd_common::status::{Answer, Order};
use sockd_common::wait::within;
use sockd_ledger::fetch::{LIMIT, reach};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A connection to a control socket.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    /// Connects.
    pub fn connect(path: &Path) -> io::Result<Self> {
        reach(path, LIMIT).map(Self)
    }

    /// Gives an order, and waits for the answer.
    pub fn order(&self, order: Order) -> io::Result<Answer> {
        send(&self.0, &order.encode(), SendFlags::NOSIGNAL)?;
        let mut packet = [0; 64];
        let (length, _) = within(LIMIT, || recv(&self.0, &mut packet[..], RecvFlags::empty()))?;
        let answer = Answer::decode(packet.get(..length).unwrap_or_default());
        answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the order is not taken"))
    }
}
