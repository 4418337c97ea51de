//! The names of a pattern set in a frozen file. For each name the file stores the part that the one before has not.
//!
//! Names are sorted from their end, so neighbours share long suffixes. For each name the file has three numbers: the
//! length of the suffix that it shares with the name before it, the length of its own part in front of that, and 1 if
//! it is a zone. The own parts of all names follow.
//!
//! A shared suffix was checked together with the name before. The two bytes in front of the suffix show whether two
//! names are in order.

use alloc::vec;
use alloc::vec::Vec;

use crate::builder::Builder;
use crate::columns::count;
use crate::name::{are_letters, is_mistyped_address, is_number};
use crate::patterns::PatternSet;
use crate::strings::StringPool;
use crate::zones::{Name, Zones, unshared_prefix};

use super::encode::array;

/// The names of a pattern set as they are stored.
pub(super) struct Packed<'a> {
    /// For each name: the length of the shared suffix, the length of its own part, and 1 if it is a zone.
    pub(super) names: &'a [[u8; 3]],
    /// The own parts of all names, and the bytes behind them.
    pub(super) letters: &'a [u8],
}

/// The number of bytes that are copied at once.
const CHUNK: usize = 32;

/// Writes the names of a pattern set.
pub(super) fn write(out: &mut Vec<u8>, set: &PatternSet, strings: &StringPool) {
    let (mut before, mut letters): (&[u8], Vec<u8>) = (&[], Vec::new());
    array(out, &set.names, |out, name| {
        let text = strings.bytes(name.text);
        let (own, shared) = unshared_prefix(before, text);
        out.extend([shared as u8, own.len() as u8, name.zone.into()]);
        letters.extend(own);
        before = text;
    });
    out.extend(letters);
}

/// A string pool with room for the names of both sets; `None` if no text of rules could have as many bytes.
pub(super) fn with_room(bytes: &[u8], ends: Vec<u32>, sets: [&Packed; 2]) -> Option<StringPool> {
    // The mark of a zone counts as a byte, because a text has a dot in front of a zone.
    let lengths = sets.iter().flat_map(|set| set.names.as_flattened());
    let names = lengths.fold(0usize, |all, length| all.saturating_add((*length).into()));
    let length = bytes.len().checked_add(names).filter(|_| names <= Builder::LARGEST)?;
    // Zeros that are not written to take no memory.
    let mut room = vec![0; length.checked_add(CHUNK)?];
    room.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(StringPool { bytes: room, ends })
}

impl Packed<'_> {
    /// The length of the own parts of all names.
    pub(super) fn own(&self) -> usize {
        self.names.iter().map(|[_, own, _]| usize::from(*own)).sum()
    }

    /// Adds the names to a string pool that has room for them; `None` if some are no names, or out of order.
    pub(super) fn unpack(&self, strings: &mut StringPool) -> Option<Vec<Name>> {
        let mut letters = self.letters.get(..self.own())?;
        let doubled = any_pair(letters, |left, right| (left == b'.') & (right == b'.'));
        let digits = any_pair(letters, |left, right| (left == b'.') & right.is_ascii_digit());
        (!doubled && are_letters(letters)).then_some(())?;
        strings.ends.reserve(self.names.len());
        let mut names = Vec::with_capacity(self.names.len());
        let mut before = Before { length: 0, zone: false, label: 0, digits, zones: Zones::default() };
        letters = self.letters;
        for lengths in self.names {
            names.push(before.next(strings, letters, *lengths)?);
            let [_, own, _] = lengths;
            letters = letters.get(usize::from(*own)..)?;
        }
        Some(names)
    }
}

/// Whether something is true of any two neighbouring bytes. All pairs are looked at, several at a time.
fn any_pair(bytes: &[u8], holds: impl Fn(u8, u8) -> bool) -> bool {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.fold(false, |any, (left, right)| any | holds(*left, *right))
}

/// The name before, as far as the next one depends on it.
struct Before {
    length: usize,
    zone: bool,
    /// The length of the last label.
    label: usize,
    /// Whether any label that is not the first of its name begins with a digit.
    digits: bool,
    zones: Zones,
}

impl Before {
    /// Adds the name whose own part begins `letters`. At least [`CHUNK`] bytes must stand behind that part.
    fn next(&mut self, strings: &mut StringPool, letters: &[u8], lengths: [u8; 3]) -> Option<Name> {
        let [shared, own, zone] = lengths.map(usize::from);
        let (start, zone) = (strings.end() as usize, [false, true].get(zone).copied()?);
        let end = start.saturating_add(own).saturating_add(shared);
        put_together(&mut strings.bytes, start, letters, own, shared)?;
        let name = strings.bytes.get(start..end)?;
        let (own, _) = name.split_at_checked(own)?;
        let before_suffix =
            start.saturating_sub(shared).checked_sub(1).and_then(|place| strings.bytes.get(place));
        let sound = self.is_before(own, before_suffix, shared, zone) && self.is_name(name, own, shared);
        let text = count(&strings.ends);
        strings.ends.push(u32::try_from(end).ok()?);
        (self.length, self.zone) = (name.len(), zone);
        sound.then(|| self.zones.add(text, own, shared, zone))
    }

    /// Whether the next name, of which `own` is the own part, comes behind this one and shares no more than `shared`
    /// bytes. `before_suffix` is the byte of this name in front of the shared suffix.
    fn is_before(&self, own: &[u8], before_suffix: Option<&u8>, shared: usize, zone: bool) -> bool {
        let key = |byte: &u8| if *byte == b'.' { 0 } else { *byte };
        match own.last() {
            Some(last) if shared < self.length => before_suffix.map(key) < Some(key(last)),
            Some(_) => shared == self.length,
            // The two names are the same, first as a zone and then as a domain.
            None => shared == self.length && self.zone && !zone,
        }
    }

    /// Whether a rule may have a name. The shared suffix is the end of a name that was checked.
    fn is_name(&mut self, name: &[u8], own: &[u8], shared: usize) -> bool {
        // Two neighbouring dots need no check here. If both are among the letters, they have been found there. If not,
        // the second one begins the shared suffix. That suffix is not the whole name before, because no name begins
        // with a dot. So the own part ends with a dot, which is the lowest byte, and the name would not come behind the
        // one before it.
        let labels = || name.split(|byte| *byte == b'.');
        let digits = self.digits || own.first().is_some_and(u8::is_ascii_digit);
        let sound = own.first() != Some(&b'.')
            && (name.len() <= 63 || (name.len() <= 253 && labels().all(|label| label.len() <= 63)))
            && !(digits && is_mistyped_address(name));
        if shared > self.label {
            return sound;
        }
        let last = labels().next_back().unwrap_or_default();
        self.label = last.len();
        sound && !is_number(last)
    }
}

/// Puts a name together at `start`, the end of the name before: the own part, then the shared suffix. The copies are
/// longer than the parts; the next name overwrites the excess.
fn put_together(bytes: &mut [u8], start: usize, letters: &[u8], own: usize, shared: usize) -> Option<()> {
    for step in (0..own).step_by(CHUNK) {
        let chunk: &[u8; CHUNK] = letters.get(step..)?.first_chunk()?;
        *bytes.get_mut(start.saturating_add(step)..)?.first_chunk_mut()? = *chunk;
    }
    let (from, to) = (start.checked_sub(shared)?, start.saturating_add(own));
    for step in (0..shared).step_by(CHUNK) {
        let chunk: [u8; CHUNK] = *bytes.get(from.saturating_add(step)..)?.first_chunk()?;
        *bytes.get_mut(to.saturating_add(step)..)?.first_chunk_mut()? = chunk;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::HostName;
    use crate::zones::compare_reversed;
    use core::cmp::Ordering;
    use std::format;
    use std::string::String;

    /// The names that are read from the length of each shared suffix, each own part, and whether each is a zone.
    fn unpacked(names: &[(u8, &str, bool)]) -> Option<Vec<String>> {
        let lengths: Vec<[u8; 3]> =
            names.iter().map(|(shared, own, zone)| [*shared, own.len() as u8, (*zone).into()]).collect();
        let mut letters: Vec<u8> = names.iter().flat_map(|name| name.1.bytes()).collect();
        letters.extend([b'.'; CHUNK]);
        let packed = Packed { names: &lengths, letters: &letters };
        let mut strings = with_room(b"text", vec![4], [&packed, &Packed { names: &[], letters: &[] }])?;
        let names = packed.unpack(&mut strings)?;
        Some(names.iter().map(|name| strings.str(name.text).into()).collect())
    }

    /// A name with labels of these lengths.
    fn labels(lengths: &[usize]) -> String {
        lengths.iter().map(|length| "a".repeat(*length)).collect::<Vec<_>>().join(".")
    }

    /// The names that should be read, by the definitions.
    fn expected(names: &[(u8, &str, bool)]) -> Option<Vec<String>> {
        let mut found: Vec<(String, bool)> = Vec::new();
        for (shared, own, zone) in names {
            let (before, before_zone) = found.last().map_or(("", true), |(name, zone)| (name, *zone));
            let name = format!("{own}{}", &before[before.len().checked_sub(usize::from(*shared))?..]);
            let order = compare_reversed(before.as_bytes(), name.as_bytes()).then(zone.cmp(&before_zone));
            let is_name = HostName::parse(name.as_bytes()).is_ok_and(|host| host.as_str() == name);
            let shares = unshared_prefix(before.as_bytes(), name.as_bytes()).1 == usize::from(*shared);
            (order == Ordering::Less && is_name && shares).then(|| found.push((name, *zone)))?;
        }
        Some(found.into_iter().map(|(name, _)| name).collect())
    }

    /// All words of these letters, up to a length.
    fn all_words(letters: &str, length: usize) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut from = 0;
        for _ in 0..length {
            let longer: Vec<_> = words[from..]
                .iter()
                .flat_map(|word| letters.chars().map(move |letter| format!("{word}{letter}")))
                .collect();
            from = words.len();
            words.extend(longer);
        }
        words
    }

    /// Compares both for every name that may follow these names, and for the names that may follow that one. Returns
    /// how many lists of names are accepted.
    fn compare<'a>(names: &mut Vec<(u8, &'a str, bool)>, words: &'a [String], depth: u32) -> u32 {
        let mut accepted = 0;
        let all =
            words.iter().flat_map(|own| (0..10).map(move |number| (number / 2, &own[..], number % 2 == 1)));
        for next in all {
            names.push(next);
            let expected = expected(names);
            assert_eq!(unpacked(names), expected, "{names:?}");
            if expected.is_some() {
                accepted += 1 + if depth > 1 { compare(names, words, depth - 1) } else { 0 };
            }
            names.pop();
        }
        accepted
    }

    #[test]
    fn names_are_accepted_where_they_are_names_in_order_that_share_all_they_can() {
        assert!(compare(&mut Vec::new(), &all_words("a.1", 3), 2) > 100);
        assert!(compare(&mut Vec::new(), &all_words("ax.0", 2), 3) > 1000);
    }

    #[test]
    fn names_are_put_together_again() {
        let names = [
            (0, "com", true),
            (3, "", false),
            (3, "a.", false),
            (5, "b.", true),
            (4, "b", false),
            (3, "x", true),
        ];
        assert_eq!(unpacked(&names).unwrap(), ["com", "com", "a.com", "b.a.com", "b.com", "xcom"]);
        assert_eq!(unpacked(&[]).unwrap(), [""; 0]);
        let long = labels(&[63, 63, 63, 61]);
        let other = format!("bbb{}", &long[3..]);
        assert_eq!(unpacked(&[(0, &long, false), (250, "bbb", false)]).unwrap(), [long, other]);
    }

    #[test]
    fn what_is_not_behind_the_name_before_is_refused() {
        for second in [
            // These share more than the first name has.
            (4, "a.", false),
            (5, "", false),
            // These are the same as the first, or less.
            (3, "", true),
            (2, "", false),
            (0, "", false),
            (2, "b", false),
            (0, "c", false),
            // These share more than they say.
            (2, "c", false),
            (1, "com", false),
            (0, "a.com", false),
            // This is less, as a dot is below every other byte.
            (2, ".", false),
        ] {
            assert_eq!(unpacked(&[(0, "com", false), second]), None, "{second:?}");
        }
        assert_eq!(unpacked(&[(0, "com", false), (3, "", false)]), None);
        assert_eq!(unpacked(&[(0, "com", true), (3, "", true)]), None);
        assert!(unpacked(&[(0, "com", true), (3, "", false)]).is_some());
        assert_eq!(unpacked(&[(1, "com", false)]), None);
        assert_eq!(unpacked(&[(0, "", false)]), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for own in [
            "1.2.3.a",
            "a.1.2.3.a",
            "A",
            "a b",
            "a\0",
            "\u{e4}",
            ".a",
            "a.",
            ".",
            "a..b",
            "1",
            "a.1",
            "0x1f",
            "a.0x",
        ] {
            assert_eq!(unpacked(&[(0, own, false)]), None, "{own}");
        }
        let first = (0, "0a", false);
        for second in [
            (2, ".", false),
            (2, "b..", false),
            (2, ".b.", false),
            (2, "B", false),
            (1, "0xb", false),
            (0, "9", true),
            (0, "b.", true),
            (2, "1.2.3.", false),
        ] {
            assert_eq!(unpacked(&[first, second]), None, "{second:?}");
        }
        assert_eq!(unpacked(&[(0, "x.a", false), (1, "1", false)]).unwrap(), ["x.a", "1a"]);
        // The shared suffix becomes a part of a number.
        assert_eq!(unpacked(&[(0, "xa", false), (1, "0x", false)]), None);
        assert_eq!(unpacked(&[(0, "a1", false), (1, "b", false)]).unwrap(), ["a1", "b1"]);
        assert_eq!(unpacked(&[(0, "a1", false), (1, "b2.", false)]), None);
        assert_eq!(unpacked(&[(0, "a1", false), (1, "2", false)]), None);
        assert!(unpacked(&[(0, "2.a.1.a", false), (7, "a", false)]).is_some());
        assert_eq!(unpacked(&[(0, "2.a.1.a", false), (7, "3.", false)]), None);
        assert_eq!(unpacked(&[(0, "1.2.a.a", false), (6, "3", false), (7, "3.", false)]), None);
        assert!(unpacked(&[(0, "-.2.1.a", false), (6, "a", false)]).is_some());
        assert_eq!(unpacked(&[(0, "-.2.1.a", false), (6, "3", false)]), None);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(unpacked(&[(0, &labels(&[63, 63, 63, 61]), false)]).is_some());
        for lengths in [&[64][..], &[64, 1], &[1, 64], &[1, 64, 1], &[63, 63, 63, 62]] {
            let name = labels(lengths);
            assert_eq!(unpacked(&[(0, &name, false)]), None, "{name}");
        }
        let over_the_seam = |own: usize, shared: usize| {
            let first = format!("{}.com", "a".repeat(shared));
            unpacked(&[(0, &first, false), ((shared + 4) as u8, &"b".repeat(own), false)])
        };
        assert!(over_the_seam(1, 62).is_some() && over_the_seam(62, 1).is_some());
        assert_eq!([over_the_seam(1, 63), over_the_seam(62, 2), over_the_seam(2, 62)], [None, None, None]);
        let long = labels(&[63, 63, 63, 59]);
        assert!(unpacked(&[(0, &long, false), (251, "b.", false)]).is_some());
        assert_eq!(unpacked(&[(0, &long, false), (251, "bb.", false)]), None);
    }

    #[test]
    fn more_than_any_text_holds_is_refused_before_there_is_room_for_it() {
        let many = vec![[253, 0, 0]; Builder::LARGEST / 253 + 1];
        let bomb = Packed { names: &many, letters: &[] };
        let none = Packed { names: &[], letters: &[] };
        assert_eq!(with_room(b"", vec![], [&none, &bomb]), None);
        assert_eq!(with_room(b"", vec![], [&bomb, &none]), None);
    }
}
