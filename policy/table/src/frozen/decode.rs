//! Reads numbers and arrays.

use alloc::string::String;
use alloc::vec::Vec;

use super::error::FrozenError;

/// The bytes that have not been read yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

pub(super) const SHORT: FrozenError = FrozenError::Content("an array that ends too early");

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], FrozenError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Reads as many bytes as an array has.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrozenError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*array)
    }

    /// Reads a number of 32 bits.
    pub(super) fn word(&mut self) -> Result<u32, FrozenError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads an array of items of `N` bytes. Allocates nothing before the bytes are known to be there.
    pub(super) fn chunks<const N: usize>(&mut self) -> Result<&'a [[u8; N]], FrozenError> {
        let count = self.word()? as usize;
        Ok(self.bytes(count.checked_mul(N).ok_or(SHORT)?)?.as_chunks().0)
    }

    /// Reads an array of items of `N` words. Allocates nothing before the bytes are known to be there.
    pub(super) fn items<const N: usize, T>(
        &mut self,
        each: impl Fn([u32; N]) -> T,
    ) -> Result<Vec<T>, FrozenError> {
        let words = (self.word()? as usize).checked_mul(N).and_then(|words| words.checked_mul(4));
        let words = self.bytes(words.ok_or(SHORT)?)?.as_chunks().0;
        Ok(words.as_chunks().0.iter().map(|item| each(item.map(u32::from_le_bytes))).collect())
    }

    /// Reads a string.
    pub(super) fn text(&mut self) -> Result<String, FrozenError> {
        String::from_utf8(self.chunks::<1>()?.as_flattened().to_vec())
            .map_err(|_| FrozenError::Content("a text that is not UTF-8"))
    }

    /// Reads one number of each of many items.
    pub(super) fn column(&mut self) -> Result<Column<'a>, FrozenError> {
        let (count, width) = (self.word()? as usize, self.word()? as usize);
        if !(1..=4).contains(&width) {
            return Err(FrozenError::Content("a column that is none"));
        }
        Ok(Column { count, width, bytes: self.bytes(count.checked_mul(width).ok_or(SHORT)?)? })
    }
}

/// One number of each of many items, in as few bytes as the largest number needs.
pub(super) struct Column<'a> {
    pub(super) count: usize,
    pub(super) width: usize,
    bytes: &'a [u8],
}

impl<'a> Column<'a> {
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.bytes.chunks_exact(self.width).map(|number| match *number {
            [a] => a.into(),
            [a, b] => u32::from_le_bytes([a, b, 0, 0]),
            [a, b, c] => u32::from_le_bytes([a, b, c, 0]),
            [a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]),
            [] => 0,
        })
    }
}
