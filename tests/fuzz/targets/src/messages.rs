//! Packets between the monitor and its workers.

use sockd_common::message::Message;
use sockd_common::message::auth::FromAuth;
use sockd_common::message::datagram::{FromDatagram, ToDatagram};
use sockd_common::message::ident::{FromIdent, ToIdent};
use sockd_common::message::probe::{FromProbe, ToProbe};
use sockd_common::message::resolver::{FromResolver, ToResolver};
use sockd_common::message::session::{FromSession, ToSession};
use sockd_common::message::upstream::{FromUpstream, ToUpstream};
use sockd_common::wire::{MAX_PACKET, decode, encode};

/// A packet that is taken for a message can be encoded again, in no more bytes, and then is the same message.
pub(crate) fn is_message<M: Message>(packet: &[u8]) {
    let Ok(message) = decode::<M>(packet) else { return };
    let bytes = |message: &M| {
        let mut buffer = [0; MAX_PACKET];
        encode(message, &mut buffer).expect("a message that fits into a packet").to_vec()
    };
    let again = bytes(&message);
    assert!(again.len() <= packet.len());
    // Secrets cannot be compared, so their bytes are.
    assert_eq!(decode::<M>(&again).as_ref().map(bytes), Ok(again));
    let longer = [packet, &[0]].concat();
    assert!(decode::<M>(&longer).is_err(), "bytes behind the message");
}

/// The packet behind the first byte, which chooses among `kinds`; as a channel carries it.
fn chosen<const KINDS: usize>(data: &[u8], kinds: [fn(&[u8]); KINDS]) {
    let Some((choice, packet)) = data.split_first() else { return };
    kinds[usize::from(*choice) % kinds.len()](&packet[..packet.len().min(MAX_PACKET)]);
}

/// The packets that the monitor reads.
pub fn from_worker(data: &[u8]) {
    let kinds = [
        is_message::<FromSession>,
        is_message::<FromResolver>,
        is_message::<FromIdent>,
        is_message::<FromProbe>,
        is_message::<FromUpstream>,
        is_message::<FromDatagram>,
        is_message::<FromAuth>,
    ];
    chosen(data, kinds);
}

/// The packets that the workers read.
pub fn to_worker(data: &[u8]) {
    chosen(
        data,
        [
            is_message::<ToSession>,
            is_message::<ToResolver>,
            is_message::<ToIdent>,
            is_message::<ToProbe>,
            is_message::<ToUpstream>,
            is_message::<ToDatagram>,
        ],
    );
}
