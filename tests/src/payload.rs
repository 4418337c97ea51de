//! A body of any length, known byte for byte without being stored.
//!
//! It repeats one block whose length is a prime number: a piece that is lost, doubled or moved by any buffer's length
//! never meets the same bytes again.

use crate::wait::uninterrupted;
use std::io::{self, Read, Write};
use std::sync::LazyLock;

const LENGTH: usize = 1_000_003;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..LENGTH).map(|_| byte()).collect()
});

/// Writes the first `length` bytes of the body.
pub fn write(to: &mut impl Write, length: u64) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let piece = usize::try_from(left).map_or(LENGTH, |left| left.min(LENGTH));
        to.write_all(&BLOCK[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

/// Reads to the end and compares with the body; returns the number of bytes, or the place of the first wrong one.
pub fn check(from: &mut impl Read) -> io::Result<Result<u64, u64>> {
    let mut buffer = vec![0; 256 * 1024];
    let mut seen = 0_u64;
    loop {
        let read = uninterrupted(|| from.read(&mut buffer))?;
        if read == 0 {
            return Ok(Ok(seen));
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let place = usize::try_from(seen % LENGTH as u64).unwrap_or(0);
            let piece = rest.len().min(LENGTH - place);
            if rest[..piece] != BLOCK[place..place + piece] {
                return Ok(Err(seen));
            }
            rest = &rest[piece..];
            seen += piece as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_written_is_recognised_and_a_changed_one_is_not() {
        let mut body = Vec::new();
        write(&mut body, 3_000_000).unwrap();
        assert_eq!(check(&mut body.as_slice()).unwrap(), Ok(3_000_000));
        body.remove(1_500_000);
        assert!(check(&mut body.as_slice()).unwrap().is_err());
    }
}
