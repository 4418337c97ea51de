//! Reads the content of a frozen file.

use alloc::vec::Vec;

use crate::columns::{Entry, Op, Ports, RuleBody, Span, count};
use crate::limits::Limits;
use crate::lists::Lists;
use crate::patterns::PatternSet;
use crate::prefixes::{AddressBits, Masked, PrefixSet};
use crate::protocol::Protocol;
use crate::strings::StringPool;
use crate::table::Table;
use crate::users::{UserFile, UserLists};

use super::RESERVED;
use super::check::UNKNOWN;
use super::decode::Reader;
use super::error::FrozenError;
use super::names::{Packed, with_room};
use super::provenance::Provenance;

/// The longest string that a line can become, in bytes, with room for a server list that is written out.
const LONGEST_STRING: u32 = 2048;

const UNLISTED: FrozenError = FrozenError::Content("lists that are not those of rules");

/// Reads the provenance of a file.
pub(super) fn provenance(from: &mut Reader) -> Result<Provenance, FrozenError> {
    let (name, modified, text) = (from.text()?, u64::from_le_bytes(from.array()?), from.array()?);
    let mut user_files = Vec::new();
    for _ in 0..from.word()? {
        user_files.push((from.text()?, from.array()?));
    }
    Ok(Provenance { name, modified, text, user_files })
}

/// Reads the arrays of a table. References between arrays remain to be checked, except for patterns and lists.
pub(super) fn table(from: &mut Reader) -> Result<Table, FrozenError> {
    let ends = string_ends(from)?;
    let bytes = from.bytes(ends.last().copied().unwrap_or_default() as usize)?;
    let (source, destination, strings) = pattern_sets(from, bytes, ends)?;
    let mut table = Table {
        source,
        destination,
        strings,
        templates: from.items(|[text]| text)?,
        users: users(from)?,
        port_ranges: from.items(|[range]| ((range >> 16) as u16, range as u16))?,
        port_lists: from.items(|[start, end]| Span { start, end })?,
        bodies: bodies(from)?,
        specials: [(from.word()?, from.word()?), (from.word()?, from.word()?)],
        lines: from.items(|[rule, line]| (rule, line))?,
        ..Table::default()
    };
    let (sources, destinations) = (table.source.len(), table.destination.len());
    let bodies = count(&table.bodies);
    table.index.by_source = lists(from, [sources, destinations, bodies])?;
    table.index.by_destination = lists(from, [destinations, sources, bodies])?;
    table.index.places = table.index.find_places().ok_or(UNLISTED)?;
    // Each rule has one pattern for each host, which may be any. More patterns would cost time for nothing.
    if sources.max(destinations) > count(&table.index.places).saturating_add(1) {
        return Err(FrozenError::Content("patterns that no rule has"));
    }
    Ok(table)
}

/// Reads the lengths of the strings, and returns the end of each string.
fn string_ends(from: &mut Reader) -> Result<Vec<u32>, FrozenError> {
    let lengths = from.column()?;
    // A longer string comes from no line. If many rules shared it, the checks would take long.
    if lengths.numbers().any(|length| length > LONGEST_STRING) {
        return Err(FrozenError::Content("a text that is too long"));
    }
    let mut end = 0u32;
    let up_to = |length| {
        end = end.saturating_add(length);
        end
    };
    Ok(lengths.numbers().map(up_to).collect())
}

/// Reads the patterns of both hosts. The strings of their names follow the other strings.
fn pattern_sets(
    from: &mut Reader,
    bytes: &[u8],
    ends: Vec<u32>,
) -> Result<(PatternSet, PatternSet, StringPool), FrozenError> {
    const FAULT: FrozenError = FrozenError::Content("names that are no names or out of order");
    let (mut source, source_names) = pattern_set(from)?;
    let (mut destination, destination_names) = pattern_set(from)?;
    let mut strings = with_room(bytes, ends, [&source_names, &destination_names]).ok_or(FAULT)?;
    source.names = source_names.unpack(&mut strings).ok_or(FAULT)?;
    destination.names = destination_names.unpack(&mut strings).ok_or(FAULT)?;
    strings.bytes.truncate(strings.end() as usize);
    Ok((source, destination, strings))
}

/// Reads the networks of a pattern set, and its names as they are stored.
fn pattern_set<'a>(from: &mut Reader<'a>) -> Result<(PatternSet, Packed<'a>), FrozenError> {
    let v4 = prefix_set(from, |bits| u32::from_le_bytes(*bits))?;
    let v6 = prefix_set(from, |bits| u128::from_le_bytes(*bits))?;
    let names = Packed { names: from.chunks()?, letters: from.0 };
    from.bytes(names.own())?;
    Ok((PatternSet { v4, v6, names: Vec::new() }, names))
}

fn prefix_set<B: AddressBits, const N: usize>(
    from: &mut Reader,
    bits: impl Fn(&[u8; N]) -> B,
) -> Result<PrefixSet<B>, FrozenError> {
    const FAULT: FrozenError = FrozenError::Content("networks that are no networks or out of order");
    let (addresses, lengths) = (from.chunks()?, from.column()?);
    let halves = from.chunks::<N>()?.as_chunks().0.iter();
    let noncontiguous =
        halves.map(|[mask, address]| Masked { mask: bits(mask), address: bits(address) }).collect();
    if addresses.len() != lengths.count || lengths.width != 1 {
        return Err(FAULT);
    }
    let prefixes = addresses.iter().map(bits).zip(lengths.numbers().map(|length| length as u8));
    PrefixSet::new(prefixes, noncontiguous).ok_or(FAULT)
}

fn users(from: &mut Reader) -> Result<UserLists, FrozenError> {
    let items = from.items(|[item]| item)?;
    let lists = from.items(|[start, end]| Span { start, end })?;
    let file_users = from.items(|[text]| text)?;
    let files = from.items(|[path, start, end]| UserFile { path, users: Span { start, end } })?;
    Ok(UserLists { lists, items, files, file_users })
}

fn bodies(from: &mut Reader) -> Result<Vec<RuleBody>, FrozenError> {
    const WORDS: usize = 11 + RESERVED;
    let bodies = from.items(|body: [u32; WORDS]| body)?;
    bodies.iter().map(|body| body_of(body)).collect::<Option<_>>().ok_or(FrozenError::Content(UNKNOWN))
}

/// Returns the body of these words; `None` if a reserved word or bit is set.
fn body_of(words: &[u32]) -> Option<RuleBody> {
    let (
        &[choice, users, template, ports, protocol, methods, groups, down, up, connections, shared],
        reserved,
    ) = words.split_first_chunk()?;
    // An unknown operator becomes a condition with a port, which the check refuses.
    let (op, port) = match Op::ALL.get((ports >> 16) as usize) {
        Some((op, _)) => (*op, ports as u16),
        None => (Op::Any, 1),
    };
    let is_known =
        reserved.iter().all(|word| *word == 0) && protocol >> 16 == 0 && methods >> 8 == 0 && shared <= 1;
    let protocol =
        Protocol { commands: protocol as u8, versions: (protocol >> 8) as u8, methods: methods as u8 };
    let (ports, limits) = (Ports { op, port }, Limits { down, up, connections, shared: shared == 1 });
    is_known.then_some(RuleBody { choice, users, groups, template, ports, protocol, limits })
}

/// Reads the lists of a host; `limits` as for [`Lists::new`].
fn lists(from: &mut Reader, limits: [u32; 3]) -> Result<Lists, FrozenError> {
    let columns = [from.column()?, from.column()?, from.column()?, from.column()?];
    let [steps, rules, others, bodies] = &columns;
    if columns.iter().any(|column| column.count != steps.count) {
        return Err(FrozenError::Content("columns of different lengths"));
    }
    let mut pattern = 0u32;
    let numbers = steps.numbers().zip(rules.numbers()).zip(others.numbers()).zip(bodies.numbers());
    let entries = numbers.map(|(((step, rule), other), body)| {
        pattern = pattern.saturating_add(step);
        (pattern, Entry { rule, other, body })
    });
    Lists::new(entries, limits).ok_or(UNLISTED)
}
