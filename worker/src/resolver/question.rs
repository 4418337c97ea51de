//! A question and the packet that puts it to a nameserver.

use super::name::{CaseBits, DnsName, with_case};
use core::cmp::Ordering;
use domain::base::MessageBuilder;
use domain::base::iana::Rtype;
use sockd_common::message::resolver::RecordType;

/// The size of datagram that is offered to nameservers. It passes everywhere without being cut into fragments, of
/// which a forger needs to guess less.
const OFFERED_DATAGRAM: u16 = 1232;

/// The number of a type of record.
pub(crate) fn rtype(record: RecordType) -> Rtype {
    match record {
        RecordType::A => Rtype::A,
        RecordType::Aaaa => Rtype::AAAA,
        RecordType::Ptr => Rtype::PTR,
    }
}

/// A question of class IN. The case of its name counts: a nameserver may know a name in one case and not in another, so
/// its answer to a wrong spelling is no answer to the right one.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name that is asked about.
    pub name: DnsName,
    /// The type of record that is asked for.
    pub record: RecordType,
}

impl Question {
    fn key(&self) -> (&[u8], RecordType) {
        (self.name.as_slice(), self.record)
    }
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Question {}

impl PartialOrd for Question {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Question {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The case of the letters in which a name is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    /// At random. The answer has to repeat it, which makes a forged one harder to guess ("DNS 0x20").
    Random,
    /// As the client wrote it, for nameservers that are put off by any other.
    AsWritten,
}

/// Random octets for one packet: its id and the case of the letters of its name.
pub type Entropy = [u8; 34];

/// A question as one packet puts it.
#[derive(Debug)]
pub struct Asked {
    /// The id that the answer has to repeat.
    pub id: u16,
    /// The name in the case in which it is asked for.
    pub name: DnsName,
    /// How that case was chosen.
    pub spelling: Spelling,
    /// The type of record that is asked for.
    pub record: RecordType,
    /// Whether the packet says that EDNS (RFC 6891) is understood.
    pub edns: bool,
}

impl Asked {
    /// Puts a question with an id, and perhaps a choice of case, that nobody can know beforehand.
    pub fn new(question: &Question, spelling: Spelling, edns: bool, entropy: &Entropy) -> Option<Self> {
        let (id, case) = entropy.split_first_chunk()?;
        let case = CaseBits::try_from(case).ok()?;
        let name = match spelling {
            Spelling::Random => with_case(&question.name, &case)?,
            Spelling::AsWritten => question.name.clone(),
        };
        Some(Self { id: u16::from_ne_bytes(*id), name, spelling, record: question.record, edns })
    }

    /// The packet, as a datagram carries it.
    pub fn packet(&self) -> Option<Vec<u8>> {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_id(self.id);
        message.header_mut().set_rd(true);
        let mut message = message.question();
        message.push((&self.name, rtype(self.record))).ok()?;
        let mut message = message.additional();
        if self.edns {
            message
                .opt(|opt| {
                    opt.set_udp_payload_size(OFFERED_DATAGRAM);
                    Ok(())
                })
                .ok()?;
        }
        Some(message.finish())
    }

    /// The packet behind its length, as a stream carries it (RFC 1035, section 4.2.2).
    pub fn framed_packet(&self) -> Option<Vec<u8>> {
        let packet = self.packet()?;
        let length = u16::try_from(packet.len()).ok()?;
        Some([&length.to_be_bytes(), &*packet].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::HostName;
    use super::*;

    #[test]
    fn a_packet_asks_one_question_with_recursion_and_edns() {
        let name = HostName::from_text(b"ab.example").unwrap().to_dns().unwrap();
        let mut entropy = [0; 34];
        entropy[..4].copy_from_slice(&[0x12, 0x12, 0b10, 0]);
        let asked =
            Asked::new(&Question { name, record: RecordType::A }, Spelling::Random, true, &entropy).unwrap();
        let expected = b"\x12\x12\x01\x00\0\x01\0\0\0\0\0\x01\x02Ab\x07example\0\0\x01\0\x01\
            \0\0\x29\x04\xd0\0\0\0\0\0\0";
        assert_eq!(asked.packet().unwrap(), expected);
        assert_eq!(asked.framed_packet().unwrap()[..2], [0, 39]);
        assert_eq!(asked.framed_packet().unwrap()[2..], *expected);
    }

    #[test]
    fn a_packet_without_edns_has_nothing_behind_the_question() {
        let name = HostName::from_text(b"x").unwrap().to_dns().unwrap();
        let asked =
            Asked::new(&Question { name, record: RecordType::Aaaa }, Spelling::Random, false, &[0; 34])
                .unwrap();
        assert_eq!(asked.packet().unwrap(), b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01x\0\0\x1c\0\x01");
    }

    #[test]
    fn a_name_is_asked_for_as_it_was_written_where_that_is_wanted() {
        let name = DnsName::from_octets(b"\x04MyDb\0".to_vec()).unwrap();
        let question = Question { name, record: RecordType::A };
        let asked = Asked::new(&question, Spelling::AsWritten, false, &[0; 34]).unwrap();
        assert_eq!(asked.packet().unwrap(), b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x04MyDb\0\0\x01\0\x01");
        let other =
            Question { name: DnsName::from_octets(b"\x04mydb\0".to_vec()).unwrap(), ..question.clone() };
        assert_ne!(question, other);
    }
}
