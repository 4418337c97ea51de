//! Reads the packets of nameservers. Everything here is a pure function of the packet and the question.

use super::name::{DnsName, HostName};
use super::question::{Asked, Spelling, rtype};
use core::net::IpAddr;
use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::name::{ToLabelIter, ToName};
use domain::base::wire::ParseError;
use domain::base::{Message, ParseRecordData, ParsedName, ParsedRecord, Ttl};
use domain::rdata::{A, Aaaa, Cname, Ptr, Soa};
use sockd_common::message::resolver::{MAX_ADDRESSES, MAX_NAMES, RecordType};

/// The most records of an answer that are looked at. It is more than any useful answer has, and few enough that a
/// packet made to be slow to read is not.
const MAX_RECORDS: usize = 256;

/// The most CNAME records in one answer that are followed. Nameservers themselves stop at about this number.
const MAX_CHAIN: usize = 12;

/// The outcome of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The addresses of the name; never empty.
    Addresses(Vec<IpAddr>),
    /// The names that it points to. Names that cannot be a host's are left out, so there may be none.
    Names(Vec<HostName>),
    /// The name is an alias of this one, about which the answer says nothing.
    Alias(DnsName),
    /// The name has no record of this type (NODATA, RFC 2308).
    NoData,
    /// There is no such name (NXDOMAIN).
    NoName,
    /// No nameserver gave a usable answer.
    Failed,
}

/// The meaning of a packet from a nameserver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    /// No answer to this question: forged, late or garbage.
    Foreign,
    /// Cut short: only fit to make us ask again by TCP.
    AskByTcp,
    /// Not in the random case in which the name was asked.
    OtherCase,
    /// The nameserver does not understand EDNS.
    AskWithoutEdns,
    /// From the nameserver, but of no use: it refuses, fails, or cannot be read.
    Unusable,
    /// The answer, and the seconds for which it holds.
    Answer(Outcome, u32),
}

/// Reads a datagram, which may come from anybody who has guessed our port.
pub fn read_datagram(packet: &[u8], asked: &Asked) -> Reading {
    let Some(message) = answering(packet, asked) else { return Reading::Foreign };
    if message.header().tc() {
        return Reading::AskByTcp;
    }
    match asked.spelling {
        Spelling::Random if !repeats_case(message, asked) => Reading::OtherCase,
        _ => read_answer(message, asked),
    }
}

/// Reads a message from a stream. Only the nameserver can have sent it, so the case of the name, which some
/// nameservers do not keep, may differ.
pub fn read_stream(packet: &[u8], asked: &Asked) -> Reading {
    match answering(packet, asked) {
        None => Reading::Foreign,
        Some(message) if message.header().tc() => Reading::Unusable,
        Some(message) => read_answer(message, asked),
    }
}

/// Returns the message in the packet if it answers this question (RFC 5452, section 9.1).
fn answering<'a>(packet: &'a [u8], asked: &Asked) -> Option<&'a Message<[u8]>> {
    let message = Message::from_slice(packet).ok()?;
    let header = message.header();
    if !header.qr() || header.id() != asked.id || header.opcode() != Opcode::QUERY {
        return None;
    }
    if message.header_counts().qdcount() == 0 {
        // A server that could not read the question cannot repeat it.
        return matches!(header.rcode(), Rcode::FORMERR | Rcode::NOTIMP).then_some(message);
    }
    let question = message.sole_question().ok()?;
    let same = question.qtype() == rtype(asked.record)
        && question.qclass() == Class::IN
        && question.qname().name_eq(&asked.name);
    same.then_some(message)
}

fn repeats_case(message: &Message<[u8]>, asked: &Asked) -> bool {
    message.first_question().is_none_or(|question| {
        let answered = question.qname().iter_labels().map(|label| label.as_slice());
        answered.eq(asked.name.iter_labels().map(|label| label.as_slice()))
    })
}

fn read_answer(message: &Message<[u8]>, asked: &Asked) -> Reading {
    match message.opt_rcode() {
        OptRcode::NOERROR => read_records(message, asked.record).unwrap_or(Reading::Unusable),
        OptRcode::NXDOMAIN => Reading::Answer(Outcome::NoName, negative_seconds(message).unwrap_or(0)),
        OptRcode::FORMERR | OptRcode::NOTIMP | OptRcode::BADVERS if asked.edns => Reading::AskWithoutEdns,
        _ => Reading::Unusable,
    }
}

/// Takes the records of the name, or of the name at the end of its chain of aliases, and no others. Records that a
/// nameserver adds about names that nobody asked for are not believed.
fn read_records(message: &Message<[u8]>, wanted: RecordType) -> Result<Reading, ParseError> {
    let records: Vec<_> = message.answer()?.take(MAX_RECORDS).collect::<Result<_, _>>()?;
    let asked = message.sole_question()?.into_qname();
    let mut owner = asked;
    let mut seconds = u32::MAX;
    for _ in 0..MAX_CHAIN {
        if let Some((outcome, ttl)) = records_of(&owner, wanted, &records)? {
            return Ok(Reading::Answer(outcome, seconds.min(ttl)));
        }
        let Some((target, ttl)) = alias_of(&owner, &records)? else {
            return Ok(match negative_seconds(message) {
                Some(ttl) => Reading::Answer(Outcome::NoData, seconds.min(ttl)),
                None if owner != asked => Reading::Answer(Outcome::Alias(canonical(&owner)), seconds),
                None if is_referral(message) => Reading::Unusable,
                None => Reading::Answer(Outcome::NoData, 0),
            });
        };
        owner = target;
        seconds = seconds.min(ttl);
    }
    Ok(Reading::Unusable)
}

type Records<'a> = [ParsedRecord<'a, [u8]>];

fn records_of(
    owner: &ParsedName<&[u8]>,
    wanted: RecordType,
    records: &Records<'_>,
) -> Result<Option<(Outcome, u32)>, ParseError> {
    let mut seconds = None;
    let mut addresses = Vec::new();
    let mut names = Vec::new();
    for record in of(owner, rtype(wanted), records) {
        let ttl = seconds_of(record.ttl());
        seconds = Some(seconds.map_or(ttl, |least: u32| least.min(ttl)));
        match wanted {
            RecordType::A => addresses.push(IpAddr::V4(data::<A>(record)?.addr())),
            // ::ffff:127.0.0.1 is 127.0.0.1 in disguise.
            RecordType::Aaaa => addresses.push(IpAddr::V6(data::<Aaaa>(record)?.addr()).to_canonical()),
            RecordType::Ptr => names.extend(HostName::from_dns(data::<Ptr<_>>(record)?.ptrdname())),
        }
    }
    let outcome = match wanted {
        RecordType::A | RecordType::Aaaa => Outcome::Addresses(first_distinct(addresses, MAX_ADDRESSES)),
        RecordType::Ptr => Outcome::Names(first_distinct(names, MAX_NAMES)),
    };
    Ok(seconds.map(|seconds| (outcome, seconds)))
}

/// The name at the other end of a CNAME record, and the seconds for which it holds.
type Alias<'a> = (ParsedName<&'a [u8]>, u32);

fn alias_of<'a>(owner: &ParsedName<&[u8]>, records: &Records<'a>) -> Result<Option<Alias<'a>>, ParseError> {
    let Some(record) = of(owner, Rtype::CNAME, records).next() else { return Ok(None) };
    Ok(Some((data::<Cname<_>>(record)?.into_cname(), seconds_of(record.ttl()))))
}

fn of<'r, 'a>(
    owner: &ParsedName<&[u8]>,
    rtype: Rtype,
    records: &'r Records<'a>,
) -> impl Iterator<Item = &'r ParsedRecord<'a, [u8]>> {
    records.iter().filter(move |record| {
        record.rtype() == rtype && record.class() == Class::IN && record.owner().name_eq(owner)
    })
}

/// The data of a record that is known to be of type `D`.
fn data<'a, D: ParseRecordData<'a, [u8]>>(record: &ParsedRecord<'a, [u8]>) -> Result<D, ParseError> {
    let record = record.to_record::<D>()?;
    record.map(|record| record.into_data()).ok_or(ParseError::form_error("record of another type"))
}

/// Returns how long the absence of something holds, if the answer says so (RFC 2308, section 5).
fn negative_seconds(message: &Message<[u8]>) -> Option<u32> {
    let records = message.authority().ok()?;
    let soa = records.limit_to_in::<Soa<ParsedName<&[u8]>>>().take(MAX_RECORDS).find_map(Result::ok)?;
    Some(seconds_of(soa.ttl()).min(seconds_of(soa.data().minimum())))
}

/// Whether the nameserver only names other nameservers: it does not do recursion for us.
fn is_referral(message: &Message<[u8]>) -> bool {
    let ns = |record: ParsedRecord<'_, [u8]>| record.rtype() == Rtype::NS;
    message.authority().is_ok_and(|records| records.take(MAX_RECORDS).any(|record| record.is_ok_and(ns)))
}

/// A TTL with the highest bit set counts as zero (RFC 2181, section 8).
fn seconds_of(ttl: Ttl) -> u32 {
    let seconds = ttl.as_secs();
    if seconds > i32::MAX.cast_unsigned() { 0 } else { seconds }
}

fn canonical(name: &impl ToName) -> DnsName {
    let mut name: DnsName = name.to_name();
    name.make_canonical();
    name
}

/// The first `count` items, each once, in their order.
pub fn first_distinct<T: PartialEq>(items: impl IntoIterator<Item = T>, count: usize) -> Vec<T> {
    let mut distinct = Vec::new();
    for item in items {
        if distinct.len() == count {
            break;
        }
        if !distinct.contains(&item) {
            distinct.push(item);
        }
    }
    distinct
}

#[cfg(test)]
pub(super) mod tests;
