//! Slow clients: each begins a request that never ends, and sends another byte of it now and then.

use crate::dial::Hosts;
use crate::net::{self, Outcome};
use crate::request::Protocol;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{Scope, ScopedJoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// The pause between two bytes of one client.
const PAUSE: Duration = Duration::from_secs(2);
/// How closely the times are kept.
const TICK: Duration = Duration::from_millis(5);

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

    /// Ends them, and returns how many the proxy had closed.
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

/// Byte after byte of a user, or of a list of methods, that never ends. The clients are spread evenly over the pause:
/// a burst of them all would measure how long this program keeps the processor to itself.
fn trickle(mut clients: Vec<OwnedFd>, protocol: Protocol, over: &AtomicBool) -> usize {
    let (beginning, more): (&[u8], u8) = match protocol {
        Protocol::Socks5 => (&[5, 255], 2),
        _ => (&[4, 1, 35, 40, 127, 0, 0, 1], b'u'),
    };
    let number = clients.len();
    let begun = Instant::now();
    for turn in 0_usize.. {
        let due = begun + PAUSE.mul_f64(turn as f64 / number as f64);
        while Instant::now() < due && !over.load(Relaxed) {
            sleep(TICK);
        }
        if over.load(Relaxed) {
            break;
        }
        let byte = beginning.get(turn / number).copied().unwrap_or(more);
        // Clients that the proxy has closed are counted in the end.
        let _ = net::send(&clients[turn % number], &[byte]);
    }
    clients.retain(|client| matches!(net::receive(client, &mut [0; 16]), Ok(None)));
    let closed = number - clients.len();
    // Closing many sockets takes a while, for which nobody has to wait.
    spawn(move || drop(clients));
    closed
}
