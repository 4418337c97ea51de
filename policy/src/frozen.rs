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
//! of it is one word on one line). The rules stand in it in the lists of the index, which are all there is of them, so that
//! the two cannot contradict each other. A number of each item makes a column, in as few bytes as the largest needs; names
//! are told by what they have not in common with the one before (`names`). A file that fails is refused whole.

mod names;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use sha2::{Digest, Sha256};

use names::{Packed, with_room};

use crate::address::{Network, canonical};
use crate::columns::{Entry, Op, Ports, Rule, RuleBody, Span, count};
use crate::decide::{self, IDENT, PERMIT, RuleSet};
use crate::line::LONGEST;
use crate::lists::Lists;
use crate::pattern::Pattern;
use crate::patterns::PatternSet;
use crate::prefixes::{AddressBits, Masked, PrefixSet};
use crate::route::Routes;
use crate::strings::StringPool;
use crate::table::Table;
use crate::template;
use crate::upstream::{self, Upstreams, way_of};
use crate::users::{FILE, UserFile, UserLists};

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
const VERSION: u16 = 3;
const BEFORE_HASH: usize = 20;

/// The longest text that a line can become, in bytes, with room for a server list written out.
const LONGEST_TEXT: u32 = 2048;

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
    let table = match kind {
        Kind::Rules => table.precompute(decide::denies),
        Kind::Routes => table.precompute(|_, _| false),
        Kind::Upstreams => table.precompute(upstream::denies),
    };
    Ok((table, from))
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
    // The strings of names are the last.
    let names = count(&table.source.names).saturating_add(count(&table.destination.names));
    let others = 0..count(&table.strings.ends).saturating_sub(names);
    let others: Vec<&[u8]> = others.map(|text| table.strings.bytes(text)).collect();
    write_column(out, &others, |text| count(text));
    others.iter().for_each(|text| out.extend(*text));
    for set in [&table.source, &table.destination] {
        write_prefix_set(out, &set.v4, |out, bits| out.extend(bits.to_le_bytes()));
        write_prefix_set(out, &set.v6, |out, bits| out.extend(bits.to_le_bytes()));
        names::write(out, set, &table.strings);
    }
    write(out, &table.templates, |out, text| words(out, &[*text]));
    write(out, &table.users.items, |out, item| words(out, &[*item]));
    write(out, &table.users.lists, |out, span| words(out, &[span.start, span.end]));
    write(out, &table.users.file_users, |out, text| words(out, &[*text]));
    write(out, &table.users.files, |out, file| words(out, &[file.path, file.users.start, file.users.end]));
    write(out, &table.bodies, |out, body| {
        let op = Op::ALL.iter().position(|(op, _)| *op == body.ports.op).unwrap_or_default();
        let ports = u32::from(body.ports.port) | (op as u32) << 16;
        words(out, &[body.choice, body.users, body.template, ports]);
    });
    for (template, line) in table.specials {
        words(out, &[template, line]);
    }
    write(out, &table.lines, |out, (rule, line)| words(out, &[*rule, *line]));
    write_lists(out, &table.index.by_source);
    write_lists(out, &table.index.by_destination);
}

fn write_prefix_set<B: AddressBits>(out: &mut Vec<u8>, set: &PrefixSet<B>, bits: impl Fn(&mut Vec<u8>, B)) {
    write(out, &set.prefixes, |out, prefix| bits(out, prefix.address));
    write_column(out, &set.prefixes, |prefix| prefix.length.into());
    words(out, &[count(&set.noncontiguous).saturating_mul(2)]);
    for noncontiguous in &set.noncontiguous {
        bits(out, noncontiguous.mask);
        bits(out, noncontiguous.address);
    }
}

fn write_lists(out: &mut Vec<u8>, lists: &Lists) {
    let (mut steps, mut last) = (Vec::new(), 0);
    for (pattern, _) in (0u32..).zip(&lists.starts) {
        for _ in lists.of(pattern) {
            steps.push(pattern.saturating_sub(last));
            last = pattern;
        }
    }
    write_column(out, &steps, |step| *step);
    write_column(out, &lists.entries, |entry| entry.rule);
    write_column(out, &lists.entries, |entry| entry.other);
    write_column(out, &lists.entries, |entry| entry.body);
}

fn write<T>(out: &mut Vec<u8>, items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    words(out, &[count(items)]);
    items.iter().for_each(|item| each(out, item));
}

/// Writes one number of each item in as few bytes as the largest needs: a shorter file is hashed and read in less time.
fn write_column<T>(out: &mut Vec<u8>, items: &[T], number: impl Fn(&T) -> u32) {
    let largest = items.iter().map(&number).max().unwrap_or_default();
    let width =
        largest.to_le_bytes().iter().rposition(|byte| *byte != 0).map_or(1, |last| last.saturating_add(1));
    words(out, &[count(items), u32::try_from(width).unwrap_or(4)]);
    items.iter().for_each(|item| out.extend(number(item).to_le_bytes().iter().take(width)));
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
const UNLISTED: FrozenError = FrozenError::Content("lists that are not those of rules");

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
    fn chunks<const N: usize>(&mut self) -> Result<&'a [[u8; N]], FrozenError> {
        let count = self.word()? as usize;
        Ok(self.bytes(count.checked_mul(N).ok_or(SHORT)?)?.as_chunks().0)
    }

    /// Reads an array of items of `N` words; nothing is allocated before the bytes are known to be there.
    fn items<const N: usize, T>(&mut self, each: impl Fn([u32; N]) -> T) -> Result<Vec<T>, FrozenError> {
        let words = (self.word()? as usize).checked_mul(N).and_then(|words| words.checked_mul(4));
        let words = self.bytes(words.ok_or(SHORT)?)?.as_chunks().0;
        Ok(words.as_chunks().0.iter().map(|item| each(item.map(u32::from_le_bytes))).collect())
    }

    fn text(&mut self) -> Result<String, FrozenError> {
        String::from_utf8(self.chunks::<1>()?.as_flattened().to_vec())
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
        let lengths = self.column()?;
        // Longer ones come from no line; one that many rules share would take long to check.
        if lengths.numbers().any(|length| length > LONGEST_TEXT) {
            return Err(FrozenError::Content("a text that is too long"));
        }
        let mut end = 0u32;
        let up_to = |length| {
            end = end.saturating_add(length);
            end
        };
        let ends: Vec<u32> = lengths.numbers().map(up_to).collect();
        let bytes = self.bytes(end as usize)?;
        let (source, destination, strings) = self.pattern_sets(bytes, ends)?;
        let mut table = Table {
            source,
            destination,
            strings,
            templates: self.items(|[text]| text)?,
            users: self.users()?,
            bodies: self.items(body_of)?,
            specials: [(self.word()?, self.word()?), (self.word()?, self.word()?)],
            lines: self.items(|[rule, line]| (rule, line))?,
            ..Table::default()
        };
        let (sources, destinations) = (table.source.len(), table.destination.len());
        let bodies = count(&table.bodies);
        table.index.by_source = self.lists([sources, destinations, bodies])?;
        table.index.by_destination = self.lists([destinations, sources, bodies])?;
        table.index.places = table.index.find_places().ok_or(UNLISTED)?;
        // Each rule has one pattern for each host, which may be any. More would cost time that no rule is worth.
        if sources.max(destinations) > count(&table.index.places).saturating_add(1) {
            return Err(FrozenError::Content("patterns that no rule has"));
        }
        Ok(table)
    }

    fn users(&mut self) -> Result<UserLists, FrozenError> {
        let items = self.items(|[item]| item)?;
        let lists = self.items(|[start, end]| Span { start, end })?;
        let file_users = self.items(|[text]| text)?;
        let files = self.items(|[path, start, end]| UserFile { path, users: Span { start, end } })?;
        Ok(UserLists { lists, items, files, file_users })
    }

    fn lists(&mut self, counts: [u32; 3]) -> Result<Lists, FrozenError> {
        let columns = [self.column()?, self.column()?, self.column()?, self.column()?];
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
        Lists::new(entries, counts).ok_or(UNLISTED)
    }

    fn prefix_set<B: AddressBits, const N: usize>(
        &mut self,
        bits: impl Fn(&[u8; N]) -> B,
    ) -> Result<PrefixSet<B>, FrozenError> {
        const FAULT: FrozenError = FrozenError::Content("networks that are no networks or out of order");
        let (addresses, lengths) = (self.chunks()?, self.column()?);
        let halves = self.chunks::<N>()?.as_chunks().0.iter();
        let noncontiguous =
            halves.map(|[mask, address]| Masked { mask: bits(mask), address: bits(address) }).collect();
        if addresses.len() != lengths.count || lengths.width != 1 {
            return Err(FAULT);
        }
        let prefixes = addresses.iter().map(bits).zip(lengths.numbers().map(|length| length as u8));
        PrefixSet::new(prefixes, noncontiguous).ok_or(FAULT)
    }

    fn column(&mut self) -> Result<Column<'a>, FrozenError> {
        let (count, width) = (self.word()? as usize, self.word()? as usize);
        if !(1..=4).contains(&width) {
            return Err(FrozenError::Content("a column that is none"));
        }
        Ok(Column { count, width, bytes: self.bytes(count.checked_mul(width).ok_or(SHORT)?)? })
    }

    /// The patterns of both hosts, and their names behind the other strings.
    fn pattern_sets(
        &mut self,
        bytes: &[u8],
        ends: Vec<u32>,
    ) -> Result<(PatternSet, PatternSet, StringPool), FrozenError> {
        const FAULT: FrozenError = FrozenError::Content("names that are no names or out of order");
        let (mut source, source_names) = self.pattern_set()?;
        let (mut destination, destination_names) = self.pattern_set()?;
        let mut strings = with_room(bytes, ends, [&source_names, &destination_names]).ok_or(FAULT)?;
        source.names = source_names.unpack(&mut strings).ok_or(FAULT)?;
        destination.names = destination_names.unpack(&mut strings).ok_or(FAULT)?;
        strings.bytes.truncate(strings.end() as usize);
        Ok((source, destination, strings))
    }

    /// The networks of a pattern set, and its names.
    fn pattern_set(&mut self) -> Result<(PatternSet, Packed<'a>), FrozenError> {
        let v4 = self.prefix_set(|bits| u32::from_le_bytes(*bits))?;
        let v6 = self.prefix_set(|bits| u128::from_le_bytes(*bits))?;
        let names = Packed { names: self.chunks()?, letters: self.0 };
        self.bytes(names.own())?;
        Ok((PatternSet { v4, v6, names: Vec::new() }, names))
    }
}

/// One number of every item, in as few bytes as the largest needs.
struct Column<'a> {
    count: usize,
    width: usize,
    bytes: &'a [u8],
}

impl<'a> Column<'a> {
    fn numbers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.bytes.chunks_exact(self.width).map(|number| match *number {
            [a] => a.into(),
            [a, b] => u32::from_le_bytes([a, b, 0, 0]),
            [a, b, c] => u32::from_le_bytes([a, b, c, 0]),
            [a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]),
            [] => 0,
        })
    }
}

fn body_of([choice, users, template, ports]: [u32; 4]) -> RuleBody {
    // A code that is none becomes a condition with a port that `check` refuses.
    let (op, port) = match Op::ALL.get((ports >> 16) as usize) {
        Some((op, _)) => (*op, ports as u16),
        None => (Op::Any, 1),
    };
    RuleBody { choice, users, template, ports: Ports { op, port } }
}

/// Checks what one array says of another.
fn check(table: &Table, kind: Kind) -> Result<(), &'static str> {
    let checks = [
        (are_commands(table), "a command that is none"),
        (are_user_files(table), "a user file that is none"),
        (are_lists(table), "a user list that is none"),
        (are_bodies(table, kind), "a rule that says nothing known"),
        (are_lines(table), "lines out of order"),
        (are_of_kind(table, kind), "a rule of another kind of file"),
    ];
    checks.iter().find(|(sound, _)| !sound).map_or(Ok(()), |(_, fault)| Err(*fault))
}

fn is_text(table: &Table, id: u32) -> bool {
    (id as usize) < table.strings.ends.len()
}

fn are_commands(table: &Table) -> bool {
    let template = |number: u32| number as usize <= table.templates.len();
    table.templates.iter().all(|text| is_text(table, *text) && is_command(table.strings.bytes(*text)))
        && table.specials.iter().all(|(number, _)| template(*number))
        && table.bodies.iter().all(|body| template(body.template))
}

fn are_user_files(table: &Table) -> bool {
    let bytes = |text: &u32| table.strings.bytes(*text);
    let in_order = |users: &[u32]| users.is_sorted_by(|a, b| bytes(a) < bytes(b));
    table.users.file_users.iter().all(|text| is_text(table, *text) && is_user(bytes(text)))
        && follow_each_other(table.users.files.iter().map(|file| file.users), table.users.file_users.len())
        && table.users.files.iter().all(|file| {
            is_text(table, file.path)
                && is_item(bytes(&file.path), true)
                && in_order(file.users.of(&table.users.file_users))
        })
}

fn are_lists(table: &Table) -> bool {
    let item = |item: &u32| match item & FILE {
        0 => is_text(table, *item) && is_item(table.strings.bytes(*item), false),
        _ => ((item ^ FILE) as usize) < table.users.files.len(),
    };
    table.users.items.iter().all(item)
        && table.users.lists.iter().all(|list| list.start < list.end)
        && follow_each_other(table.users.lists.iter().copied(), table.users.items.len())
}

/// Whether spans divide an array among them; if they could overlap, a short file would take long to check.
fn follow_each_other(mut spans: impl Iterator<Item = Span>, length: usize) -> bool {
    let end = spans.try_fold(0, |end, span| (span.start == end && span.end >= end).then_some(span.end));
    end.is_some_and(|end| end as usize == length)
}

fn are_bodies(table: &Table, kind: Kind) -> bool {
    table.bodies.iter().all(|body| {
        body.users as usize <= table.users.lists.len()
            && (body.ports.op != Op::Any || body.ports.port == 0)
            && is_choice(body, table, kind)
    })
}

fn are_of_kind(table: &Table, kind: Kind) -> bool {
    // A mask of zeros means any host of either family and has a number of its own.
    let any = |set: &PatternSet| set.v4.prefixes.first().is_some_and(|first| first.length == 0);
    let own = match kind {
        Kind::Rules => !any(&table.source),
        Kind::Routes => table.rules().all(|(_, rule)| is_route(&rule, table)),
        Kind::Upstreams => table.source.len() == 1,
    };
    own && !any(&table.destination) && (kind == Kind::Rules || table.specials == [(0, 0); 2])
}

fn is_choice(body: &RuleBody, table: &Table, kind: Kind) -> bool {
    match kind {
        Kind::Rules => {
            let ident = body.choice & !PERMIT;
            ident == 0 || IDENT.iter().any(|(code, ..)| *code == ident)
        }
        Kind::Routes => {
            (body.choice as usize) < table.strings.ends.len()
                && (body.users, body.template, body.ports) == (0, 0, Ports::ANY)
        }
        Kind::Upstreams => way_of(table.strings.str(body.choice)).is_some(),
    }
}

/// Whether each jump of the lines is one: it belongs to a rule and leads forward.
fn are_lines(table: &Table) -> bool {
    let forward = |(rule, line): &(u32, u32), (next, jump): &(u32, u32)| {
        rule < next && jump.checked_sub(*line) > next.checked_sub(*rule)
    };
    let begins = table.lines.first().map_or(table.len() == 0, |(rule, line)| *rule == 0 && *line > 0);
    begins
        && table.lines.is_sorted_by(forward)
        && table.lines.last().is_none_or(|(rule, _)| (*rule as usize) < table.len())
}

/// A text that a rule's command, read from a line, could be.
fn is_command(text: &[u8]) -> bool {
    let whole =
        text.trim_ascii() == text && text.len() <= LONGEST && !text.contains(&b'\n') && !text.contains(&0);
    whole && core::str::from_utf8(text).is_ok_and(|text| template::check(text).is_ok())
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

/// An interface, a source pattern that is its family, and a destination of that family.
fn is_route(rule: &Rule, table: &Table) -> bool {
    let interface =
        table.bodies.get(rule.body as usize).map(|body| table.strings.str(body.choice).parse::<IpAddr>());
    let Some(Ok(interface)) = interface else { return false };
    let family = table.source.pattern(rule.source, &table.strings);
    let of_family = match table.destination.pattern(rule.destination, &table.strings) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Services, parse_conf, parse_routes};
    use std::vec;

    const CONF: &[u8] = b"permit *=ann,/a,/b 10.0.0.0/8 : true\ndeny *=/a .x.y 0.0.0.0 eq 9\n#BAD_ID: true\n";

    /// What becomes of a table of rules that somebody altered and froze.
    fn altered(alter: impl FnOnce(&mut Table)) -> Result<(), FrozenError> {
        let users = |path: &str| Ok(if path == "/a" { b"carl,dora".to_vec() } else { b"eve".to_vec() });
        let mut rules = parse_conf(CONF, &Services::default(), &mut { users }).unwrap();
        alter(&mut rules.table);
        thaw_rules(&freeze_rules(&rules, &Provenance::default())).map(|_| ())
    }

    /// Adds a text in front of the only name.
    fn text(table: &mut Table, text: &[u8]) -> u32 {
        let name = table.strings.bytes(table.source.names[0].text).to_vec();
        table.strings.ends.pop();
        table.strings.bytes.truncate(table.strings.end() as usize);
        let added = table.strings.add(text);
        table.source.names[0].text = table.strings.add(&name);
        added
    }

    fn content(fault: &'static str) -> Result<(), FrozenError> {
        Err(FrozenError::Content(fault))
    }

    #[test]
    fn numbers_beyond_their_array_are_refused() {
        assert_eq!(altered(|_| {}), Ok(()));
        let lists = content("lists that are not those of rules");
        let entry = |alter: fn(&mut Entry)| altered(|table| alter(&mut table.index.by_source.entries[0]));
        assert_eq!(entry(|entry| entry.body = 9), lists);
        assert_eq!(entry(|entry| entry.other = 9), lists);
        assert_eq!(entry(|entry| entry.rule = 9), lists);
        assert_eq!(entry(|entry| entry.rule ^= 1), lists);
        assert_eq!(altered(|table| table.bodies[0].users = 3), content("a rule that says nothing known"));
        assert_eq!(altered(|table| table.bodies[0].choice = 8), content("a rule that says nothing known"));
        assert_eq!(altered(|table| table.bodies[0].template = 9), content("a command that is none"));
        assert_eq!(altered(|table| table.specials[0].0 = 9), content("a command that is none"));
        assert_eq!(altered(|table| table.templates[0] = 99), content("a command that is none"));
        assert_eq!(altered(|table| table.users.items[0] = FILE | 2), content("a user list that is none"));
        assert_eq!(altered(|table| table.users.file_users[0] = 99), content("a user file that is none"));
    }

    #[test]
    fn spans_that_overlap_and_texts_without_end_are_refused() {
        assert_eq!(
            altered(|table| table.users.files[1].users.start = 0),
            content("a user file that is none")
        );
        assert_eq!(altered(|table| table.users.lists[1].start = 0), content("a user list that is none"));
        let long = |table: &mut Table| text(table, &[b'a'; 5000]);
        assert_eq!(altered(|table| _ = long(table)), content("a text that is too long"));
    }

    #[test]
    fn texts_that_a_listing_would_not_give_back_are_refused() {
        for id in [&b"a b"[..], b"a,b", b"a\nb", b"a#", b"a:", b"", b"/a", b"\xff", &[b'a'; 256]] {
            assert_eq!(
                altered(|table| table.users.items[0] = text(table, id)),
                content("a user list that is none"),
                "{id:?}"
            );
        }
        for command in [&b"a\nb"[..], b" a", b"%x", b";", b"\xff"] {
            let refused = altered(|table| table.templates[0] = text(table, command));
            assert_eq!(refused, content("a command that is none"), "{command:?}");
        }
        for place in [1, 3] {
            let refused = altered(|table| {
                let end = table.strings.bytes.len();
                table.strings.bytes[end - place] = b'.';
            });
            assert_eq!(refused, content("names that are no names or out of order"), "{place}");
        }
        assert_eq!(
            altered(|table| table.users.files[0].path = text(table, b"a")),
            content("a user file that is none")
        );
    }

    #[test]
    fn orders_that_the_search_relies_on_are_checked() {
        assert_eq!(altered(|table| table.users.file_users.reverse()), content("a user file that is none"));
        assert_eq!(altered(|table| table.lines = vec![]), content("lines out of order"));
        assert_eq!(altered(|table| table.lines = vec![(0, 1), (1, 1)]), content("lines out of order"));
        assert_eq!(altered(|table| table.lines = vec![(0, 1), (9, 11)]), content("lines out of order"));
        let networks = content("networks that are no networks or out of order");
        let v4 = |alter: fn(&mut PrefixSet<u32>)| altered(|table| alter(&mut table.source.v4));
        assert_eq!(v4(|set| set.prefixes.push(set.prefixes[0])), networks);
        assert_eq!(v4(|set| set.prefixes[0].address |= 1), networks);
        assert_eq!(v4(|set| set.noncontiguous.push(Masked { mask: !0, address: 0 })), networks);
        let any = altered(|table| {
            table.source.v4 = PrefixSet::new([(0, 0)].into_iter(), vec![]).unwrap();
        });
        assert_eq!(any, content("a rule of another kind of file"));
    }

    #[test]
    fn patterns_that_no_rule_has_are_refused() {
        let unused = altered(|table| {
            let noncontiguous = vec![Masked { mask: 0x00ff_0000, address: 0 }];
            table.source.v4 = PrefixSet::new([(0x0a00_0000, 8)].into_iter(), noncontiguous).unwrap();
        });
        assert_eq!(unused, content("patterns that no rule has"));
    }

    #[test]
    fn a_route_must_be_of_its_interfaces_family() {
        let mut routes = parse_routes(b"10.0.0.1 11.0.0.0/8\n2001:db8::1 2001:db8::/32\n").unwrap();
        let [first, second] = &mut routes.table.index.by_destination.entries[..] else {
            panic!("two routes")
        };
        core::mem::swap(&mut first.other, &mut second.other);
        let refused = thaw_routes(&freeze_routes(&routes, &Provenance::default()));
        assert_eq!(refused.map(|_| ()), content("a rule of another kind of file"));
    }
}
