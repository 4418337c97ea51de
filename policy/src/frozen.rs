//! Frozen files: a compiled table that is loaded without reading text.
//!
//! ```text
//! 8   "sockd.fz"
//! 2   format version, 2  kind (1 sockd.fc, 2 sockd.fr, 3 socks.fc), 8  length of the file in bytes
//! 32  SHA-256 of everything else: the fields above and all that follows
//!     where it was made from: name, time and hash of the text, paths and hashes of the user files
//!     the arrays of the table, each with the number of its items in front
//! ```
//!
//! All numbers are little-endian whatever the machine. It is not a memory image: every item is checked as if an enemy
//! had written it (every number within its array, every order as the search relies on, every text such that a listing
//! of it is one word on one line), and the index is laid anew, so that it cannot contradict the rules. A file that fails
//! is refused whole.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::address::{Network, canonical};
use crate::command;
use crate::decide::{IDENT, PERMIT, RuleSet};
use crate::line::LONGEST;
use crate::name::{Pattern, is_canonical_name};
use crate::route::Routes;
use crate::side::{Family, Masked, NO_PARENT, Name, Prefix, Side, Word, in_order, link_names};
use crate::table::{FILE, Op, Ports, Rule, Span, Table, Tail, Texts, UserFile};
use crate::upstream::{Upstreams, way_of};

/// What a frozen file was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The path of the text file.
    pub name: String,
    /// When the text was last changed, in seconds since 1970.
    pub modified: u64,
    /// [`hash`] of the text.
    pub text: [u8; 32],
    /// Path and [`hash`] of every user file that was read.
    pub user_files: Vec<(String, [u8; 32])>,
}

/// Why bytes are not a frozen file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenError {
    /// It does not begin like one.
    Magic,
    /// It is of another format version.
    Version(u16),
    /// It holds another kind of file.
    Kind(u16),
    /// It is shorter or longer than it says.
    Length,
    /// Its checksum is another.
    Checksum,
    /// Its content is not what any text would be frozen to.
    Content(&'static str),
}

/// SHA-256, as frozen files and their provenance have it.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Freezes rules.
pub fn freeze_rules(rules: &RuleSet, from: &Provenance) -> Vec<u8> {
    freeze(&rules.table, Kind::Rules, from)
}

/// Loads frozen rules.
///
/// # Errors
/// Anything but what [`freeze_rules`] wrote.
pub fn thaw_rules(bytes: &[u8]) -> Result<(RuleSet, Provenance), FrozenError> {
    thaw(bytes, Kind::Rules).map(|(table, from)| (RuleSet { table }, from))
}

/// Freezes routes.
pub fn freeze_routes(routes: &Routes, from: &Provenance) -> Vec<u8> {
    freeze(&routes.table, Kind::Routes, from)
}

/// Loads frozen routes.
///
/// # Errors
/// Anything but what [`freeze_routes`] wrote.
pub fn thaw_routes(bytes: &[u8]) -> Result<(Routes, Provenance), FrozenError> {
    thaw(bytes, Kind::Routes).map(|(table, from)| (Routes { table }, from))
}

/// Freezes the lines of `socks.conf`.
pub fn freeze_upstreams(upstreams: &Upstreams, from: &Provenance) -> Vec<u8> {
    freeze(&upstreams.table, Kind::Upstreams, from)
}

/// Loads frozen lines of `socks.conf`.
///
/// # Errors
/// Anything but what [`freeze_upstreams`] wrote.
pub fn thaw_upstreams(bytes: &[u8]) -> Result<(Upstreams, Provenance), FrozenError> {
    thaw(bytes, Kind::Upstreams).map(|(table, from)| (Upstreams { table }, from))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rules = 1,
    Routes = 2,
    Upstreams = 3,
}

const MAGIC: &[u8; 8] = b"sockd.fz";
const VERSION: u16 = 1;
const BEFORE_HASH: usize = 20;

fn freeze(table: &Table, kind: Kind, from: &Provenance) -> Vec<u8> {
    let mut body = Vec::new();
    write_provenance(&mut body, from);
    write_table(&mut body, table);
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend((kind as u16).to_le_bytes());
    let length = body.len().saturating_add(BEFORE_HASH).saturating_add(32);
    file.extend((length as u64).to_le_bytes());
    let hash = Sha256::new().chain_update(&file).chain_update(&body).finalize();
    file.extend(hash);
    file.extend(body);
    file
}

fn thaw(bytes: &[u8], kind: Kind) -> Result<(Table, Provenance), FrozenError> {
    let (header, rest) = bytes.split_at_checked(BEFORE_HASH).ok_or(FrozenError::Magic)?;
    let mut fields = Reader(header);
    if fields.array() != Ok(*MAGIC) {
        return Err(FrozenError::Magic);
    }
    let (version, found) = (u16::from_le_bytes(fields.array()?), u16::from_le_bytes(fields.array()?));
    if version != VERSION {
        return Err(FrozenError::Version(version));
    }
    if found != kind as u16 {
        return Err(FrozenError::Kind(found));
    }
    if u64::from_le_bytes(fields.array()?) != bytes.len() as u64 {
        return Err(FrozenError::Length);
    }
    let (hash, body) = rest.split_first_chunk::<32>().ok_or(FrozenError::Length)?;
    if Sha256::new().chain_update(header).chain_update(body).finalize().as_slice() != hash {
        return Err(FrozenError::Checksum);
    }
    let mut reader = Reader(body);
    let from = reader.provenance()?;
    let table = reader.table()?;
    if !reader.0.is_empty() {
        return Err(FrozenError::Content("bytes behind the end"));
    }
    check(&table, kind).map_err(FrozenError::Content)?;
    Ok((table.indexed(), from))
}

fn write_provenance(out: &mut Vec<u8>, from: &Provenance) {
    write_text(out, &from.name);
    out.extend(from.modified.to_le_bytes());
    out.extend(from.text);
    write(out, &from.user_files, |out, (path, hash)| {
        write_text(out, path);
        out.extend(hash);
    });
}

fn write_table(out: &mut Vec<u8>, table: &Table) {
    write(out, &table.texts.ends, |out, end| out.extend(end.to_le_bytes()));
    out.extend(&table.texts.bytes);
    for side in [&table.source, &table.destination] {
        write_family(out, &side.v4, |out, bits| out.extend(bits.to_le_bytes()));
        write_family(out, &side.v6, |out, bits| out.extend(bits.to_le_bytes()));
        write(out, &side.names, |out, name| words(out, &[name.text, name.zone.into()]));
    }
    write(out, &table.templates, |out, text| words(out, &[*text]));
    write(out, &table.items, |out, item| words(out, &[*item]));
    write(out, &table.lists, |out, span| words(out, &[span.start, span.end]));
    write(out, &table.file_users, |out, text| words(out, &[*text]));
    write(out, &table.files, |out, file| words(out, &[file.path, file.users.start, file.users.end, 0]));
    write(out, &table.tails, |out, tail| {
        let op = Op::ALL.iter().position(|(op, _)| *op == tail.ports.op).unwrap_or_default();
        let ports = u32::from(tail.ports.port) | (op as u32) << 16;
        words(out, &[tail.choice, tail.users, tail.template, ports]);
    });
    for (template, line) in table.specials {
        words(out, &[template, line]);
    }
    write(out, &table.lines, |out, (rule, line)| words(out, &[*rule, *line]));
    write_column(out, &table.rules, |rule| rule.source);
    write_column(out, &table.rules, |rule| rule.destination);
    write_column(out, &table.rules, |rule| rule.tail);
}

fn write_family<W: Copy>(out: &mut Vec<u8>, family: &Family<W>, bits: impl Fn(&mut Vec<u8>, W)) {
    let pair = |out: &mut Vec<u8>, mask, address| {
        bits(out, mask);
        bits(out, address);
    };
    write(out, &family.prefixes, |out, prefix| pair(out, prefix.mask, prefix.address));
    write(out, &family.odd, |out, odd| pair(out, odd.mask, odd.address));
}

fn write<T>(out: &mut Vec<u8>, items: &[T], each: impl Fn(&mut Vec<u8>, &T)) {
    words(out, &[crate::table::count(items)]);
    items.iter().for_each(|item| each(out, item));
}

/// Writes one number of each rule in as few bytes as the largest needs: a shorter file is hashed and read in less time.
fn write_column(out: &mut Vec<u8>, rules: &[Rule], column: fn(&Rule) -> u32) {
    let largest = rules.iter().map(column).max().unwrap_or_default();
    let width =
        largest.to_le_bytes().iter().rposition(|byte| *byte != 0).map_or(1, |last| last.saturating_add(1));
    words(out, &[crate::table::count(rules), u32::try_from(width).unwrap_or(4)]);
    rules.iter().for_each(|rule| out.extend(column(rule).to_le_bytes().iter().take(width)));
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write(out, text.as_bytes(), |out, byte| out.push(*byte));
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend(word.to_le_bytes()));
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

const SHORT: FrozenError = FrozenError::Content("an array that ends too early");

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], FrozenError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrozenError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*array)
    }

    fn word(&mut self) -> Result<u32, FrozenError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads an array of items of `N` bytes; nothing is allocated before the bytes are known to be there.
    fn items<const N: usize, T>(&mut self, each: impl Fn(&[u8; N]) -> T) -> Result<Vec<T>, FrozenError> {
        let count = self.word()? as usize;
        let bytes = self.bytes(count.checked_mul(N).ok_or(SHORT)?)?;
        Ok(bytes.as_chunks().0.iter().map(each).collect())
    }

    fn text(&mut self) -> Result<String, FrozenError> {
        String::from_utf8(self.items(|[byte]| *byte)?)
            .map_err(|_| FrozenError::Content("a text that is not UTF-8"))
    }

    fn provenance(&mut self) -> Result<Provenance, FrozenError> {
        let (name, modified, text) = (self.text()?, u64::from_le_bytes(self.array()?), self.array()?);
        let mut user_files = Vec::new();
        for _ in 0..self.word()? {
            user_files.push((self.text()?, self.array()?));
        }
        Ok(Provenance { name, modified, text, user_files })
    }

    fn table(&mut self) -> Result<Table, FrozenError> {
        let ends = self.items(|end| u32::from_le_bytes(*end))?;
        let bytes = self.bytes(ends.last().map_or(0, |end| *end as usize))?.to_vec();
        let texts = Texts { bytes, ends };
        let (source, destination) = (self.side(&texts)?, self.side(&texts)?);
        Ok(Table {
            source,
            destination,
            texts,
            templates: self.items(|text| u32::from_le_bytes(*text))?,
            items: self.items(|item| u32::from_le_bytes(*item))?,
            lists: self.items(|span| {
                let [start, end] = two(span);
                Span { start, end }
            })?,
            file_users: self.items(|text| u32::from_le_bytes(*text))?,
            files: self.items(|file| {
                let [path, start, end, _] = four(file);
                UserFile { path, users: Span { start, end } }
            })?,
            tails: self.items(|tail| tail_of(four(tail)))?,
            specials: [(self.word()?, self.word()?), (self.word()?, self.word()?)],
            lines: self.items(|line| {
                let [rule, line] = two(line);
                (rule, line)
            })?,
            rules: self.rules()?,
            index: Default::default(),
        })
    }

    fn rules(&mut self) -> Result<Vec<Rule>, FrozenError> {
        let (sources, destinations, tails) = (self.column()?, self.column()?, self.column()?);
        if sources.count != destinations.count || sources.count != tails.count {
            return Err(FrozenError::Content("columns of different lengths"));
        }
        let rule = |place| Rule {
            source: sources.at(place),
            destination: destinations.at(place),
            tail: tails.at(place),
        };
        Ok((0..sources.count).map(rule).collect())
    }

    fn column(&mut self) -> Result<Column<'a>, FrozenError> {
        let (count, width) = (self.word()? as usize, self.word()? as usize);
        if !(1..=4).contains(&width) {
            return Err(FrozenError::Content("a column that is none"));
        }
        Ok(Column { count, width, bytes: self.bytes(count.checked_mul(width).ok_or(SHORT)?)? })
    }

    fn side(&mut self, texts: &Texts) -> Result<Side, FrozenError> {
        let v4 = |pair: &[u8; 8]| {
            let [mask, address] = two(pair);
            Masked { mask, address }
        };
        let v4 = family(self.items(|pair| prefix(v4(pair)))?, self.items(v4)?)?;
        let v6 = |pair: &[u8; 32]| {
            let mut halves = pair.as_chunks().0.iter().map(|half| u128::from_le_bytes(*half));
            Masked { mask: halves.next().unwrap_or_default(), address: halves.next().unwrap_or_default() }
        };
        let v6 = family(self.items(|pair| prefix(v6(pair)))?, self.items(v6)?)?;
        let mut names = self.items(|name| {
            let [text, zone] = two(name);
            Name { text, zone: zone != 0, parent: 0 }
        })?;
        if !names.iter().all(|name| is_canonical_name(texts.bytes(name.text))) || !in_order(&names, texts) {
            return Err(FrozenError::Content("names that are no names or out of order"));
        }
        link_names(&mut names, texts);
        Ok(Side { v4, v6, names })
    }
}

/// One number of every rule, in as few bytes as the largest needs.
struct Column<'a> {
    count: usize,
    width: usize,
    bytes: &'a [u8],
}

impl Column<'_> {
    fn at(&self, place: usize) -> u32 {
        let start = place.saturating_mul(self.width);
        let bytes = self.bytes.get(start..start.saturating_add(self.width)).unwrap_or_default();
        match *bytes {
            [] => 0,
            [a] => a.into(),
            [a, b] => u32::from_le_bytes([a, b, 0, 0]),
            [a, b, c] => u32::from_le_bytes([a, b, c, 0]),
            [a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]),
        }
    }
}

/// The two little-endian words of an item.
fn two(bytes: &[u8; 8]) -> [u32; 2] {
    let all = u64::from_le_bytes(*bytes);
    [all as u32, (all >> 32) as u32]
}

/// The four little-endian words of an item.
fn four(bytes: &[u8; 16]) -> [u32; 4] {
    let all = u128::from_le_bytes(*bytes);
    [all as u32, (all >> 32) as u32, (all >> 64) as u32, (all >> 96) as u32]
}

fn tail_of([choice, users, template, ports]: [u32; 4]) -> Tail {
    // A code that is none becomes a condition with a port that `check` refuses.
    let (op, port) = match Op::ALL.get((ports >> 16) as usize) {
        Some((op, _)) => (*op, ports as u16),
        None => (Op::Any, 1),
    };
    Tail { choice, users, template, ports: Ports { op, port } }
}

fn prefix<W>(of: Masked<W>) -> Prefix<W> {
    Prefix { address: of.address, mask: of.mask, parent: NO_PARENT }
}

fn family<W: Word>(prefixes: Vec<Prefix<W>>, odd: Vec<Masked<W>>) -> Result<Family<W>, FrozenError> {
    let sorted = prefixes.is_sorted_by(|a, b| (a.address, a.mask) < (b.address, b.mask))
        && odd.is_sorted_by(|a, b| a < b);
    let prefix = |of: &Prefix<W>| of.mask.is_prefix() && of.address & of.mask == of.address;
    let masked = |of: &Masked<W>| !of.mask.is_prefix() && of.address & of.mask == of.address;
    if sorted && prefixes.iter().all(prefix) && odd.iter().all(masked) {
        Ok(Family::new(prefixes, odd))
    } else {
        Err(FrozenError::Content("networks that are no networks or out of order"))
    }
}

/// Checks what one array says of another.
fn check(table: &Table, kind: Kind) -> Result<(), &'static str> {
    let texts = &table.texts;
    let text = |id: &u32| (*id as usize) < texts.ends.len();
    let within = |span: &Span, array: &[u32]| span.start <= span.end && span.end as usize <= array.len();
    let all = |holds: bool, fault| if holds { Ok(()) } else { Err(fault) };
    all(texts.ends.is_sorted(), "texts out of order")?;
    all(
        table.source.names.iter().chain(&table.destination.names).all(|name| text(&name.text)),
        "a name without text",
    )?;
    all(table.templates.iter().all(|id| text(id) && is_command(texts.bytes(*id))), "a command that is none")?;
    all(table.file_users.iter().all(|id| text(id) && is_user(texts.bytes(*id))), "a user id that is none")?;
    all(
        table.files.iter().all(|file| {
            let in_order = |users: &[u32]| users.is_sorted_by(|a, b| texts.bytes(*a) < texts.bytes(*b));
            text(&file.path)
                && is_item(texts.bytes(file.path), true)
                && within(&file.users, &table.file_users)
                && in_order(file.users.of(&table.file_users))
        }),
        "a user file that is none",
    )?;
    all(
        table.items.iter().all(|item| match item & FILE {
            0 => text(item) && is_item(texts.bytes(*item), false),
            _ => ((item ^ FILE) as usize) < table.files.len(),
        }),
        "an item of a list that is none",
    )?;
    all(
        table.lists.iter().all(|span| within(span, &table.items) && span.start < span.end),
        "a list that is none",
    )?;
    let template = |number: u32| number as usize <= table.templates.len();
    all(table.specials.iter().all(|(number, _)| template(*number)), "a special line without command")?;
    all(
        table.tails.iter().all(|tail| {
            tail.users as usize <= table.lists.len()
                && template(tail.template)
                && (tail.ports.op != Op::Any || tail.ports.port == 0)
                && is_choice(tail, table, kind)
        }),
        "a rule that says nothing known",
    )?;
    all(are_lines(table), "lines out of order")?;
    let (sources, destinations) = (table.source.some_name(), table.destination.some_name());
    all(
        table.rules.iter().all(|rule| {
            rule.source < sources
                && rule.destination < destinations
                && (rule.tail as usize) < table.tails.len()
        }),
        "a rule without its parts",
    )?;
    // A mask of zeros means any host of either family and has a number of its own.
    let any = |side: &Side| side.v4.prefixes.first().is_some_and(|first| first.mask == 0);
    all(!any(&table.destination), "a destination network that is any")?;
    all(kind == Kind::Rules || table.specials == [(0, 0); 2], "a special line where there is none")?;
    match kind {
        Kind::Rules => all(!any(&table.source), "a source network that is any"),
        Kind::Routes => all(table.rules.iter().all(|rule| is_route(rule, table)), "a route that is none"),
        Kind::Upstreams => all(table.rules.iter().all(|rule| rule.source == 0), "a line with a source"),
    }
}

fn is_choice(tail: &Tail, table: &Table, kind: Kind) -> bool {
    match kind {
        Kind::Rules => {
            let ident = tail.choice & !PERMIT;
            ident == 0 || IDENT.iter().any(|(code, ..)| *code == ident)
        }
        Kind::Routes => {
            (tail.choice as usize) < table.texts.ends.len()
                && (tail.users, tail.template, tail.ports) == (0, 0, Ports::ANY)
        }
        Kind::Upstreams => way_of(table.texts.str(tail.choice)).is_some(),
    }
}

/// Whether each jump of the lines is one: it belongs to a rule and leads forward.
fn are_lines(table: &Table) -> bool {
    let forward = |(rule, line): &(u32, u32), (next, jump): &(u32, u32)| {
        rule < next && jump.checked_sub(*line) > next.checked_sub(*rule)
    };
    let begins = table.lines.first().map_or(table.rules.is_empty(), |(rule, line)| *rule == 0 && *line > 0);
    begins
        && table.lines.is_sorted_by(forward)
        && table.lines.last().is_none_or(|(rule, _)| (*rule as usize) < table.rules.len())
}

/// A text that a rule's command, read from a line, could be.
fn is_command(text: &[u8]) -> bool {
    let whole =
        text.trim_ascii() == text && text.len() <= LONGEST && !text.contains(&b'\n') && !text.contains(&0);
    whole && core::str::from_utf8(text).is_ok_and(|text| command::check(text).is_ok())
}

fn is_user(text: &[u8]) -> bool {
    matches!(text.len(), 1..=255) && !text.contains(&0)
}

/// A text that one item of a user list could be: a file if it begins with a slash, else a user id.
fn is_item(text: &[u8], file: bool) -> bool {
    let of_word = |byte: &u8| !byte.is_ascii_whitespace() && !b",#:\0".contains(byte);
    let fits = if file { text.len() <= LONGEST } else { is_user(text) };
    fits && text.starts_with(b"/") == file && text.iter().all(of_word) && core::str::from_utf8(text).is_ok()
}

/// An interface, a source side that is its family, and a destination of that family.
fn is_route(rule: &Rule, table: &Table) -> bool {
    let interface =
        table.tails.get(rule.tail as usize).map(|tail| table.texts.str(tail.choice).parse::<IpAddr>());
    let Some(Ok(interface)) = interface else { return false };
    let family = table.source.pattern(rule.source, &table.texts);
    let of_family = match table.destination.pattern(rule.destination, &table.texts) {
        Pattern::Network(network) => network.of_family(interface),
        _ => true,
    };
    of_family
        && Network::prefix(interface, 0).map(Pattern::Network) == Some(family)
        && !interface.is_unspecified()
        && canonical(interface) == interface
}

impl fmt::Display for FrozenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrozenError::Magic => f.write_str("expected a frozen file, found something else"),
            FrozenError::Version(found) => write!(f, "expected format version {VERSION}, found {found}"),
            FrozenError::Kind(found) => write!(f, "expected another kind of frozen file, found kind {found}"),
            FrozenError::Length => f.write_str("expected a file as long as it says, found another length"),
            FrozenError::Checksum => f.write_str("expected its SHA-256 to hold, found a damaged file"),
            FrozenError::Content(fault) => write!(f, "expected what a text freezes to, found {fault}"),
        }
    }
}

impl core::error::Error for FrozenError {}
