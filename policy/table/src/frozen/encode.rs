//! Writes numbers and arrays.

use alloc::vec::Vec;

use crate::columns::count;

/// Writes an array: the number of its items, then each of them.
pub(super) fn array<T>(out: &mut Vec<u8>, items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    words(out, &[count(items)]);
    items.iter().for_each(|item| each(out, item));
}

/// Writes one number of each item. Each takes as few bytes as the largest number needs, because a shorter file is
/// hashed and read in less time.
pub(super) fn column<T>(out: &mut Vec<u8>, items: &[T], number: impl Fn(&T) -> u32) {
    let largest = items.iter().map(&number).max().unwrap_or_default();
    let width =
        largest.to_le_bytes().iter().rposition(|byte| *byte != 0).map_or(1, |last| last.saturating_add(1));
    words(out, &[count(items), u32::try_from(width).unwrap_or(4)]);
    items.iter().for_each(|item| out.extend(number(item).to_le_bytes().iter().take(width)));
}

/// Writes a string.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    array(out, text.as_bytes(), |out, byte| out.push(*byte));
}

/// Writes numbers of 32 bits.
pub(super) fn words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend(word.to_le_bytes()));
}
