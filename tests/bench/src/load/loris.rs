//! Slow clients: each begins a request that never ends, and sends another byte of it now and then.

use crate::dial::Hosts;
use crate::net::{self, Outcome};
use crate::request::Protocol;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{Scope, ScopedJoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(2);

/// The slow clients; they stop when this is dropped.
pub(crate) struct Slow<'scope> {
    over: &'scope AtomicBool,
    trickling: Option<ScopedJoinHandle<'scope, usize>>,
}

impl<'scope> Slow<'scope> {
    /// Connects all of them, from 200 hosts of their own.
    pub(crate) fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        over: &'scope AtomicBool,
        proxy: SocketAddrV4,
        protocol: Protocol,
        number: usize,
    ) -> Outcome<Self> {
        let mut hosts = Hosts::from_base(Ipv4Addr::new(127, 96, 0, 1), 200);
        let clients =
            (0..number).map(|_| net::connect(Some(hosts.next()), proxy)).collect::<Outcome<Vec<_>>>()?;
        let trickling = Some(scope.spawn(move || trickle(clients, protocol, over)));
        Ok(Self { over, trickling })
    }

    /// Ends them, and tells how many the proxy has closed by then.
    pub(crate) fn end(mut self) -> usize {
        self.over.store(true, Relaxed);
        self.trickling.take().and_then(|trickling| trickling.join().ok()).unwrap_or(0)
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// Byte after byte of a user, or of a list of methods, that never ends.
fn trickle(mut clients: Vec<OwnedFd>, protocol: Protocol, over: &AtomicBool) -> usize {
    let (beginning, more): (&[u8], u8) = match protocol {
        Protocol::Socks5 => (&[5, 255], 2),
        _ => (&[4, 1, 35, 40, 127, 0, 0, 1], b'u'),
    };
    let number = clients.len();
    let (mut place, mut due) = (0, Instant::now());
    while !over.load(Relaxed) {
        if Instant::now() >= due {
            let byte = [beginning.get(place).copied().unwrap_or(more)];
            clients.retain(|client| net::send(client, &byte).is_ok());
            place += 1;
            due += PAUSE;
        }
        sleep(Duration::from_millis(10));
    }
    clients.retain(|client| matches!(net::receive(client, &mut [0; 16]), Ok(None)));
    let closed = number - clients.len();
    // Closing many sockets takes a while, and nobody has to wait for it.
    spawn(move || drop(clients));
    closed
}
