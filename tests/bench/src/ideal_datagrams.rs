//! The ceiling for datagrams: UDP ASSOCIATE (RFC 1928, section 7) and nothing else, without rules, log, limits, deadlines or
//! separation. It is one epoll loop: recv, a look into a hash table, and send on a socket that is connected to the peer.

use crate::net::{self, Events, Outcome};
use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, SendFlags, recv, recvfrom, send};
use slab::Slab;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

/// Starts the process with a listening socket as its standard input.
pub(crate) fn start(address: SocketAddrV4) -> Outcome<Child> {
    let listener = net::listen(address, net::Listen::default())?;
    Ok(Command::new("/proc/self/exe").arg("ideal-datagrams").stdin(Stdio::from(listener)).spawn()?)
}

const LISTENER: u64 = u64::MAX;
/// The places of an association's sockets; the sockets of flows follow.
const CONTROL: u32 = 0;
const CLIENT: u32 = 1;
const FIRST_FLOW: u32 = 2;

/// RSV, FRAG, ATYP, an IPv4 address and a port.
const HEADER: usize = 10;

fn token(slot: usize, place: u32) -> u64 {
    (slot as u64) << 32 | u64::from(place)
}

/// Runs the process.
pub(crate) fn run() -> Outcome<()> {
    let listener = rustix::stdio::stdin();
    let mut events = Events::new()?;
    events.add(listener, LISTENER, EventFlags::IN)?;
    let (mut associations, mut buffer) = (Slab::new(), vec![0; 1 << 16]);
    loop {
        for event in 0..events.wait(None)? {
            let (token_of_event, _) = events.get(event);
            if token_of_event == LISTENER {
                if let Some(control) = net::accept(listener) {
                    let slot = associations.vacant_key();
                    events.add(&control, token(slot, CONTROL), EventFlags::IN)?;
                    associations.insert(Association::new(control));
                }
                continue;
            }
            let slot = (token_of_event >> 32) as usize;
            let Some(association) = associations.get_mut(slot) else { continue };
            let goes_on = match token_of_event as u32 {
                CONTROL => association.hear(slot, &events)?,
                CLIENT => association.relay_up(slot, &mut buffer, &events)?,
                place => association.relay_down((place - FIRST_FLOW) as usize, &mut buffer),
            };
            if !goes_on {
                associations.remove(slot);
            }
        }
    }
}

struct Association {
    control: OwnedFd,
    greeted: bool,
    client: Option<OwnedFd>,
    connected: bool,
    by_destination: HashMap<[u8; 6], usize>,
    /// The sockets that are connected to peers, and the headers of the datagrams from them.
    flows: Vec<(OwnedFd, [u8; HEADER])>,
}

impl Association {
    fn new(control: OwnedFd) -> Self {
        let (by_destination, flows) = (HashMap::new(), Vec::new());
        Self { control, greeted: false, client: None, connected: false, by_destination, flows }
    }

    /// Handles the connection; false at its end.
    fn hear(&mut self, slot: usize, events: &Events) -> Outcome<bool> {
        let mut bytes = [0; 64];
        match net::receive(&self.control, &mut bytes) {
            Ok(None) => return Ok(true),
            Ok(Some(0)) | Err(_) => return Ok(false),
            Ok(Some(_)) => {}
        }
        if !std::mem::replace(&mut self.greeted, true) {
            net::send(&self.control, &[5, 0])?;
        } else if self.client.is_none() {
            let client = net::datagram_socket(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
            let port = SocketAddrV4::try_from(rustix::net::getsockname(&client)?)?.port();
            events.add(&client, token(slot, CLIENT), EventFlags::IN)?;
            self.client = Some(client);
            net::send(&self.control, &[&[5, 0, 0, 1, 127, 0, 0, 1], &port.to_be_bytes()[..]].concat())?;
        }
        Ok(true)
    }

    fn relay_up(&mut self, slot: usize, buffer: &mut [u8], events: &Events) -> Outcome<bool> {
        let Some(client) = &self.client else { return Ok(false) };
        loop {
            let length = if self.connected {
                recv(client, &mut *buffer, RecvFlags::DONTWAIT).map(|(_, length)| length)
            } else {
                recvfrom(client, &mut *buffer, RecvFlags::DONTWAIT).map(|(_, length, from)| {
                    self.connected = from.is_some_and(|from| rustix::net::connect(client, &from).is_ok());
                    length
                })
            };
            let Ok(length) = length else { return Ok(true) };
            let Some(([0, 0, 0, 1, destination @ ..], data)) = buffer[..length].split_first_chunk::<HEADER>()
            else {
                continue;
            };
            let number = match self.by_destination.get(destination) {
                Some(number) => *number,
                None => {
                    let [a, b, c, d, high, low] = *destination;
                    let to = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
                    // Even if started by mistake, this is no open proxy.
                    if !to.ip().is_loopback() {
                        continue;
                    }
                    let (socket, number) = (net::datagram_dial(to)?, self.flows.len());
                    events.add(&socket, token(slot, FIRST_FLOW + number as u32), EventFlags::IN)?;
                    let mut header = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                    header[4..].copy_from_slice(destination);
                    self.flows.push((socket, header));
                    self.by_destination.insert(*destination, number);
                    number
                }
            };
            let _ = send(&self.flows[number].0, data, SendFlags::DONTWAIT);
        }
    }

    fn relay_down(&mut self, number: usize, buffer: &mut [u8]) -> bool {
        let (Some((socket, header)), Some(client)) = (self.flows.get(number), &self.client) else {
            return false;
        };
        buffer[..HEADER].copy_from_slice(header);
        while let Ok((_, length)) = recv(socket, &mut buffer[HEADER..], RecvFlags::DONTWAIT) {
            let _ = send(client, &buffer[..HEADER + length], SendFlags::DONTWAIT);
        }
        true
    }
}
