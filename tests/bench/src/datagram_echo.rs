//! Servers that send datagrams back, in a thread of this process. They listen at many places, each of which is a flow.

use crate::net::{self, Events, Outcome};
use crate::origin::ADDRESSES;
use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The first port; each has a place at each of the addresses.
const FIRST_PORT: u16 = 9500;

/// The interval at which the threads check whether this is over.
const LOOK: Duration = Duration::from_millis(50);

/// The running servers; ended when dropped.
pub(crate) struct DatagramEcho {
    pub(crate) places: Vec<SocketAddrV4>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DatagramEcho {
    /// Starts it at this many places.
    pub(crate) fn start(number: u16) -> Outcome<Self> {
        let place = |number: u16| {
            let (port, address) = (number / u16::from(ADDRESSES), number % u16::from(ADDRESSES));
            SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1 + address as u8), FIRST_PORT + port)
        };
        let places: Vec<_> = (0..number).map(place).collect();
        let sockets = places.iter().map(|place| net::datagram_socket(*place)).collect::<Outcome<Vec<_>>>()?;
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        let serve = move || {
            if let Err(why) = serve(&sockets, &end) {
                eprintln!("the servers for datagrams: {why}");
            }
        };
        Ok(Self { places, over, thread: Some(thread::spawn(serve)) })
    }
}

fn serve(sockets: &[OwnedFd], over: &AtomicBool) -> Outcome<()> {
    let mut events = Events::new()?;
    for (number, socket) in sockets.iter().enumerate() {
        events.add(socket, number as u64, EventFlags::IN)?;
    }
    let mut buffer = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        for event in 0..events.wait(Some(LOOK))? {
            echo(&sockets[events.get(event).0 as usize], &mut buffer);
        }
    }
    Ok(())
}

/// Sends back all that is there.
fn echo(socket: &OwnedFd, buffer: &mut [u8]) {
    while let Ok((_, length, Some(from))) = recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT) {
        // A datagram that finds no room is lost, as in any network.
        let _ = sendto(socket, &buffer[..length], SendFlags::DONTWAIT, &from);
    }
}

impl Drop for DatagramEcho {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}
