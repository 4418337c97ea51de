//! Datagrams to many destinations and back, through an association.

use crate::dial::Dialler;
use crate::net::Outcome;
use crate::numbers::Times;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// RSV, FRAG, ATYP, an IPv4 address and a port.
const HEADER: usize = 10;

/// Datagrams that are under way at once.
const WINDOW: usize = 32;

/// A datagram that has not come back by then is lost.
const LOST: Duration = Duration::from_millis(200);

const PATIENCE: Duration = Duration::from_secs(10);

/// A client's end.
pub(crate) struct Association {
    _control: OwnedFd,
    socket: UdpSocket,
}

impl Association {
    /// From the next client host.
    pub(crate) fn open(dialler: &mut Dialler) -> Outcome<Self> {
        let (control, at) = dialler.associate(PATIENCE)?;
        let host = SocketAddrV4::try_from(rustix::net::getsockname(&control)?)?;
        let socket = UdpSocket::bind((*host.ip(), 0))?;
        socket.connect(at)?;
        socket.set_read_timeout(Some(LOST))?;
        Ok(Self { _control: control, socket })
    }

    /// Sends to each destination, and again to those that have not answered, until all have.
    pub(crate) fn reach_all(&self, destinations: &[SocketAddrV4]) -> Outcome<()> {
        let begun = Instant::now();
        let mut left: HashSet<SocketAddrV4> = destinations.iter().copied().collect();
        let mut buffer = [0; 64];
        while !left.is_empty() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} destinations do not answer", left.len()).into());
            }
            let (mut next, mut under_way) = (left.iter().copied().collect::<Vec<_>>().into_iter(), 0);
            loop {
                for to in next.by_ref().take(WINDOW - under_way) {
                    self.socket.send(&datagram(to, 1))?;
                    under_way += 1;
                }
                if under_way == 0 {
                    break;
                }
                match self.socket.recv(&mut buffer) {
                    Ok(length) if length >= HEADER => {
                        left.remove(&source(&buffer));
                        under_way = under_way.saturating_sub(1);
                    }
                    Ok(_) => {}
                    Err(error) if is_patience(error.kind()) => under_way = 0,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Sends datagrams of this size to the destinations in turn for a while, and returns how many came back.
    pub(crate) fn exchange(
        &self,
        destinations: &[SocketAddrV4],
        size: usize,
        time: Duration,
    ) -> Outcome<u64> {
        let datagrams: Vec<_> = destinations.iter().map(|to| datagram(*to, size)).collect();
        let mut datagrams = datagrams.iter().cycle();
        let mut buffer = vec![0; HEADER + size];
        let (begun, mut answered, mut under_way) = (Instant::now(), 0, 0);
        while begun.elapsed() < time {
            for datagram in datagrams.by_ref().take(WINDOW - under_way) {
                self.socket.send(datagram)?;
                under_way += 1;
            }
            match self.socket.recv(&mut buffer) {
                Ok(_) => {
                    answered += 1;
                    under_way = under_way.saturating_sub(1);
                }
                Err(error) if is_patience(error.kind()) => under_way = 0,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(answered)
    }

    /// One datagram of 64 bytes there and back, again and again, as long as this holds.
    pub(crate) fn ping_pong(&self, to: SocketAddrV4, goes_on: impl Fn() -> bool) -> Outcome<Times> {
        let (sent, mut buffer, mut times) = (datagram(to, 64), [0; HEADER + 64], Times::default());
        while goes_on() {
            let begun = Instant::now();
            self.socket.send(&sent)?;
            match self.socket.recv(&mut buffer) {
                Ok(_) => times.add(begun.elapsed()),
                Err(error) if is_patience(error.kind()) => times.add(begun.elapsed()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(times)
    }

    /// Sends one datagram to each of these at this rate a second, and waits for no answer.
    pub(crate) fn flood(&self, destinations: impl Iterator<Item = SocketAddrV4>, rate: f64) -> Outcome<()> {
        let begun = Instant::now();
        for (number, to) in destinations.enumerate() {
            let due = begun + Duration::from_secs_f64(number as f64 / rate);
            let ahead = due.saturating_duration_since(Instant::now());
            if ahead > Duration::from_millis(1) {
                std::thread::sleep(ahead);
            }
            self.socket.send(&datagram(to, 64))?;
        }
        Ok(())
    }
}

fn is_patience(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn datagram(to: SocketAddrV4, size: usize) -> Vec<u8> {
    let header = [&[0, 0, 0, 1], &to.ip().octets()[..], &to.port().to_be_bytes()].concat();
    [header, vec![b'x'; size]].concat()
}

/// The source of an answer, as its header says.
fn source(bytes: &[u8]) -> SocketAddrV4 {
    let [a, b, c, d, high, low] = std::array::from_fn(|place| bytes[4 + place]);
    SocketAddrV4::new([a, b, c, d].into(), u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_from_where_its_datagram_went() {
        let to = SocketAddrV4::new([127, 0, 0, 7].into(), 9500);
        let sent = datagram(to, 3);
        assert_eq!(sent.len(), HEADER + 3);
        assert_eq!(source(&sent), to);
    }
}
