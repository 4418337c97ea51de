//! A worker's channel: a Unix SEQPACKET socket on which every packet is one message with at most one descriptor.
//!
//! The two ends are different types. A [`MonitorEnd`], and the [`MonitorSocket`] in it, sends descriptors and never receives any: it reads without
//! room for control data. A [`WorkerEnd`] receives descriptors and never sends any: it has no call for it, and
//! the worker's filter has no `sendmsg`.
//!
//! A message may hold a password, so its bytes are overwritten wherever they were written for the kernel or read from
//! it. The kernel's own copy of a packet is out of reach.

use crate::message::Message;
use crate::wire::{self, MAX_PACKET, WireError};
use rustix::io::Errno;
use rustix::net::{
    MMsgHdr, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmmsg, sendmsg,
};
use std::collections::VecDeque;
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// The result of reading from a channel.
#[derive(Debug)]
pub enum Received<M> {
    /// One message, with its descriptor if its kind carries one.
    Message(M, Option<OwnedFd>),
    /// One message whose descriptor the kernel could not install: the process or the system has no room for it.
    DescriptorLost(M),
    /// Nothing to read now.
    Nothing,
    /// The other end is closed.
    Closed,
}

impl<M> Received<M> {
    /// The same with another message.
    pub fn map<Other>(self, of: impl FnOnce(M) -> Other) -> Received<Other> {
        match self {
            Self::Message(message, descriptor) => Received::Message(of(message), descriptor),
            Self::DescriptorLost(message) => Received::DescriptorLost(of(message)),
            Self::Nothing => Received::Nothing,
            Self::Closed => Received::Closed,
        }
    }
}

/// Why a packet is not a valid message, or could not be sent.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The packet is longer than any message.
    #[error("packet longer than {MAX_PACKET} bytes")]
    Long,
    /// A descriptor is missing, surplus, or was attached where none may be.
    #[error("wrong number of descriptors")]
    Descriptors,
    /// The bytes are not a message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The message is larger than a packet.
    #[error("message larger than a packet")]
    Oversized,
    /// The socket failed.
    #[error("channel: {0}")]
    Io(#[from] Errno),
}

/// The monitor's end of a channel, whatever its messages are: sends them with descriptors, receives them without.
#[derive(Debug)]
pub struct MonitorSocket(OwnedFd);

/// A message that waits to be sent, with the descriptor that it carries.
#[derive(Default)]
pub struct Packet {
    bytes: Zeroizing<Vec<u8>>,
    descriptor: Option<Rc<OwnedFd>>,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").finish_non_exhaustive()
    }
}

impl Packet {
    /// Encodes a message, into the memory of one that has been sent.
    pub fn encode(
        mut self,
        message: &impl Message,
        descriptor: Option<Rc<OwnedFd>>,
    ) -> Result<Self, ChannelError> {
        if message.carries_descriptor() != descriptor.is_some() {
            return Err(ChannelError::Descriptors);
        }
        encoded(message, |bytes| {
            self.bytes.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(Self { descriptor, ..self })
    }

    /// The memory of a packet that has been sent, overwritten for reuse.
    pub fn sent(mut self) -> Self {
        self.bytes.zeroize();
        Self { descriptor: None, ..self }
    }

    /// The descriptor that it carries.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_deref().map(AsFd::as_fd)
    }
}

/// The most messages that one call sends.
const AT_ONCE: usize = 16;

/// Room for one descriptor.
type Control = [MaybeUninit<u8>; rustix::cmsg_space!(ScmRights(1))];
const CONTROL: Control = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];

/// Few messages are longer. A buffer is cleared for each, and clearing room for the longest would take longer than all
/// other work on a short one.
const USUAL: usize = 256;

/// Encodes a message, hands its bytes on, and overwrites them.
fn encoded<T>(
    message: &impl Message,
    then: impl FnOnce(&[u8]) -> Result<T, ChannelError>,
) -> Result<T, ChannelError> {
    let mut usual = [0; USUAL];
    if let Some(length) = wire::encode(message, &mut usual).map(<[u8]>::len) {
        return handed_on(&mut usual, length, then);
    }
    usual.zeroize();
    let mut longest = [0; MAX_PACKET];
    let length = wire::encode(message, &mut longest).ok_or(ChannelError::Oversized)?.len();
    handed_on(&mut longest, length, then)
}

/// Hands on the first `length` bytes of a buffer, and overwrites them.
fn handed_on<T>(buffer: &mut [u8], length: usize, then: impl FnOnce(&[u8]) -> T) -> T {
    let bytes = buffer.get_mut(..length).unwrap_or_default();
    let done = then(bytes);
    bytes.zeroize();
    done
}

/// Control data with the descriptor, if any.
fn carrying<'a, 'fd>(
    space: &'a mut Control,
    descriptor: &'a Option<[BorrowedFd<'fd>; 1]>,
) -> SendAncillaryBuffer<'a, 'a, 'fd> {
    let mut control = SendAncillaryBuffer::new(space);
    if let Some(descriptor) = descriptor {
        control.push(SendAncillaryMessage::ScmRights(descriptor));
    }
    control
}

impl MonitorSocket {
    /// Takes over a non-blocking SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends one message. [`Errno::AGAIN`] means that the worker does not read.
    pub fn send(
        &self,
        message: &impl Message,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        if message.carries_descriptor() != descriptor.is_some() {
            return Err(ChannelError::Descriptors);
        }
        encoded(message, |bytes| Ok(self.transmit(bytes, descriptor)?))
    }

    /// Sends as many of the first packets as the kernel takes, in order, and returns their number. An error is that of
    /// the very first: the kernel holds back the error of a later one until that is first (sendmmsg(2)).
    pub fn send_first(&self, packets: &VecDeque<Packet>) -> Result<usize, Errno> {
        if let (Some(packet), 1) = (packets.front(), packets.len()) {
            return self.transmit(&packet.bytes, packet.descriptor()).map(|()| 1);
        }
        let packets = packets.iter().take(AT_ONCE);
        let parts = packets.map(|packet| ([IoSlice::new(&packet.bytes)], packet.descriptor().map(|it| [it])));
        let parts: Vec<_> = parts.collect();
        let mut spaces = [CONTROL; AT_ONCE];
        let controls = spaces.iter_mut().zip(&parts);
        let mut controls: Vec<_> =
            controls.map(|(space, (_, descriptor))| carrying(space, descriptor)).collect();
        let messages = parts.iter().zip(&mut controls);
        let mut messages: Vec<_> =
            messages.map(|((bytes, _), control)| MMsgHdr::new(bytes, control)).collect();
        sendmmsg(&self.0, &mut messages, SendFlags::NOSIGNAL)
    }

    fn transmit(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let Some(descriptor) = descriptor else { return send(&self.0, bytes, SendFlags::NOSIGNAL).map(drop) };
        let (mut space, descriptor) = (CONTROL, Some([descriptor]));
        let mut control = carrying(&mut space, &descriptor);
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// Receives one message. There is no room for control data: if a worker found a way to send a descriptor, the
    /// kernel would close it, and it would never become the monitor's (unix(7), SCM_RIGHTS).
    pub fn receive<In: Message>(&self) -> Result<Received<In>, ChannelError> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); MAX_PACKET];
        let (packet, length) = match recv(&self.0, &mut buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
            Ok(((packet, _), length)) => (packet, length),
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            // A worker that ends before it has read everything leaves a reset behind. The kernel reports it once, ahead
            // of the worker's last messages, which can still be read, and of the end.
            Err(Errno::CONNRESET) => return self.receive(),
            Err(error) => return Err(error.into()),
        };
        if length > packet.len() {
            return Err(ChannelError::Long);
        }
        if packet.is_empty() {
            return Ok(Received::Closed);
        }
        let message = wire::decode(packet);
        packet.zeroize();
        Ok(Received::Message(message?, None))
    }
}

impl AsFd for MonitorSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The monitor's end of a channel: sends `Out` with descriptors, receives `In` without.
#[derive(Debug)]
pub struct MonitorEnd<Out, In> {
    socket: MonitorSocket,
    kinds: PhantomData<fn(Out) -> In>,
}

impl<Out: Message, In: Message> MonitorEnd<Out, In> {
    /// Takes over a non-blocking SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket: MonitorSocket::new(socket), kinds: PhantomData }
    }

    /// Sends one message, as [`MonitorSocket::send`] does.
    pub fn send(&self, message: &Out, descriptor: Option<BorrowedFd<'_>>) -> Result<(), ChannelError> {
        self.socket.send(message, descriptor)
    }

    /// Receives one message, as [`MonitorSocket::receive`] does.
    pub fn receive(&self) -> Result<Received<In>, ChannelError> {
        self.socket.receive()
    }

    /// The same end without the types of its messages.
    pub fn into_socket(self) -> MonitorSocket {
        self.socket
    }
}

impl<Out, In> AsFd for MonitorEnd<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A worker's end of a channel: sends `Out` without descriptors, receives `In` with.
#[derive(Debug)]
pub struct WorkerEnd<Out, In> {
    socket: OwnedFd,
    kinds: PhantomData<fn(Out) -> In>,
}

impl<Out: Message, In: Message> WorkerEnd<Out, In> {
    /// Takes over a SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, kinds: PhantomData }
    }

    /// The socket itself.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends one message. [`Errno::AGAIN`] means that the monitor has not read the earlier ones yet.
    pub fn send(&self, message: &Out) -> Result<(), ChannelError> {
        encoded(message, |packet| {
            send(&self.socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
            Ok(())
        })
    }

    /// Receives one message with its descriptor. EMFILE shows only as a truncated control message without a descriptor
    /// (recvmsg(2), MSG_CTRUNC).
    pub fn receive(&self) -> Result<Received<In>, ChannelError> {
        match In::LONGEST <= USUAL {
            true => self.receive_in(&mut [0; USUAL]),
            false => self.receive_in(&mut [0; MAX_PACKET]),
        }
    }

    fn receive_in(&self, buffer: &mut [u8]) -> Result<Received<In>, ChannelError> {
        let mut space = CONTROL;
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::Closed),
            Err(error) => return Err(error.into()),
        };
        // Owned by rustix: dropped, and so closed, on every path below that does not return it.
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(ChannelError::Long);
        }
        let packet = buffer.get_mut(..received.bytes).unwrap_or_default();
        if packet.is_empty() {
            return Ok(Received::Closed);
        }
        let message = wire::decode::<In>(packet);
        packet.zeroize();
        let message = message?;
        match (message.carries_descriptor(), descriptor) {
            (true, None) if received.flags.contains(ReturnFlags::CTRUNC) => {
                Ok(Received::DescriptorLost(message))
            }
            (true, Some(descriptor)) => Ok(Received::Message(message, Some(descriptor))),
            (false, None) => Ok(Received::Message(message, None)),
            _ => Err(ChannelError::Descriptors),
        }
    }
}

impl<Out, In> AsFd for WorkerEnd<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Id;
    use crate::message::ident::{FromIdent, ToIdent};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None).unwrap()
    }

    /// As on a kernel without SO_PASSRIGHTS: here nothing refuses the descriptor.
    #[test]
    fn a_descriptor_that_comes_up_is_closed_and_never_the_monitors() {
        let (ours, theirs) = pair();
        let (kept, passed) = pair();
        let message = FromIdent::Answer { id: Id(1), user: None };
        let mut buffer = [0; MAX_PACKET];
        let packet = wire::encode(&message, &mut buffer).unwrap();
        let descriptors = [passed.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&theirs, &[IoSlice::new(packet)], &mut control, SendFlags::empty()).unwrap();
        drop(passed);
        let end_of =
            |socket: &OwnedFd| recv(socket, &mut [0][..], RecvFlags::DONTWAIT).map(|(_, length)| length);
        assert_eq!(end_of(&kept), Err(Errno::AGAIN), "it is on its way");
        let monitor = MonitorEnd::<ToIdent, FromIdent>::new(ours);
        let received = monitor.receive().unwrap();
        assert!(matches!(received, Received::Message(received, None) if received == message));
        assert_eq!(end_of(&kept), Ok(0), "nobody has it");
    }

    #[test]
    fn what_a_worker_said_before_it_ended_is_heard_also_when_it_had_not_read_everything() {
        let (ours, theirs) = pair();
        let (monitor, worker) = (MonitorEnd::<ToIdent, FromIdent>::new(ours), WorkerEnd::new(theirs));
        let message = FromIdent::Answer { id: Id(1), user: None };
        worker.send(&message).unwrap();
        monitor.send(&ToIdent::Setup, None).unwrap();
        drop::<WorkerEnd<FromIdent, ToIdent>>(worker);
        assert!(matches!(monitor.receive(), Ok(Received::Message(heard, None)) if heard == message));
        assert!(matches!(monitor.receive(), Ok(Received::Closed)));
    }

    #[test]
    fn what_takes_more_than_the_usual_buffer_arrives_uncut_both_ways() {
        use crate::message::auth::Verdict::Verified;
        use crate::message::auth::{Credentials, FromAuth, Group, Groups, HostKey, MAX_GROUPS, ToAuth};
        use crate::secret::Secret;
        let (ours, theirs) = pair();
        let (monitor, worker) = (MonitorEnd::<ToAuth, FromAuth>::new(ours), WorkerEnd::new(theirs));
        let word = Secret::new(&[0xff; 255]).unwrap();
        let credentials = Credentials { user: word, password: Secret::new(&[0; 255]).unwrap() };
        monitor.send(&ToAuth::Check { id: Id(1), host: HostKey(2), credentials }, None).unwrap();
        let Ok(Received::Message(ToAuth::Check { credentials, .. }, None)) = worker.receive() else {
            panic!("no check")
        };
        assert_eq!(credentials.user.as_bytes(), [0xff; 255]);
        assert_eq!(credentials.password.as_bytes(), [0; 255]);
        let groups = Groups::first_of(std::iter::repeat_n(Group::new(&[b'g'; 32]).unwrap(), MAX_GROUPS));
        let verdict = FromAuth::Verdict { id: Id(1), verdict: Verified { groups, is_remembered: true } };
        worker.send(&verdict).unwrap();
        assert!(matches!(monitor.receive(), Ok(Received::Message(heard, None)) if heard == verdict));
    }
}
