//! The socket of a log, which sends the lines of a turn in one call.

use crate::net::unix;
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketType, sendmmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most lines in one call: more than a socket's queue holds by default (net.unix.max_dgram_qlen) gain nothing.
const AT_ONCE: usize = 64;

/// A connection to a log.
#[derive(Debug)]
pub struct Socket {
    connected: OwnedFd,
    /// Whether it is a stream, as syslog-ng may have it: a zero byte ends each line, as with syslog(3).
    is_stream: bool,
}

impl Socket {
    /// Connects to the log that listens there.
    pub fn connect(path: &str) -> Result<Self, Errno> {
        let place = SocketAddrUnix::new(path)?;
        match unix::connect(SocketType::DGRAM, &place) {
            Err(Errno::PROTOTYPE) => {
                Ok(Self { connected: unix::connect(SocketType::STREAM, &place)?, is_stream: true })
            }
            connected => Ok(Self { connected: connected?, is_stream: false }),
        }
    }

    /// Sends the first of these packets, in their order, and returns how many were taken. The error is that of the very
    /// first packet: the kernel returns the error of a later one (sendmmsg(2)) only when it is the first. A stream
    /// takes a line of this length whole or not at all (unix(7): one buffer).
    pub fn send(&self, packets: &VecDeque<Vec<u8>>) -> Result<usize, Errno> {
        let end: &[u8] = if self.is_stream { &[0] } else { &[] };
        let packets = packets.iter().take(AT_ONCE);
        let slices: Vec<_> = packets.map(|packet| [IoSlice::new(packet), IoSlice::new(end)]).collect();
        let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let messages = slices.iter().zip(&mut controls);
        let mut messages: Vec<_> = messages.map(|(slices, control)| MMsgHdr::new(slices, control)).collect();
        sendmmsg(&self.connected, &mut messages, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connected.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_packet_that_is_not_taken_leaves_the_others_in_order_and_each_is_sent_once() {
        let path = std::env::temp_dir().join(format!("sockd-log-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let log = UnixDatagram::bind(&path).unwrap();
        log.set_nonblocking(true).unwrap();
        let socket = Socket::connect(path.to_str().unwrap()).unwrap();
        let mut packets: VecDeque<Vec<u8>> =
            (0..2000_u32).map(|number| number.to_le_bytes().to_vec()).collect();
        let (mut read, mut buffer) = (Vec::new(), [0; 8]);
        let mut read_all = |read: &mut Vec<u32>| {
            while let Ok(length) = log.recv(&mut buffer) {
                read.push(u32::from_le_bytes(buffer[..length].try_into().unwrap()));
            }
        };
        let mut was_full = false;
        while !packets.is_empty() {
            match socket.send(&packets) {
                Ok(sent) => drop(packets.drain(..sent)),
                Err(error) => {
                    assert_eq!(error, Errno::AGAIN);
                    was_full = true;
                    read_all(&mut read);
                }
            }
        }
        read_all(&mut read);
        assert!(was_full);
        assert_eq!(read, (0..2000).collect::<Vec<_>>());
        // The error of a packet that is too long is returned when it is the first.
        let long = vec![0; 1 << 26];
        let packets: VecDeque<Vec<u8>> = [vec![1], long.clone(), vec![2]].into();
        assert_eq!(socket.send(&packets), Ok(1));
        assert_eq!(socket.send(&[long, vec![2]].into()), Err(Errno::MSGSIZE));
        drop(log);
        assert_eq!(socket.send(&[vec![1]].into()), Err(Errno::CONNREFUSED));
        let _ = std::fs::remove_file(&path);
    }
}
