//! Strings from the network, as they may appear in a line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Makes a string from the network fit for a line: one line, printable ASCII and reversible. It lacks the characters
/// that separate the fields of the classic lines, so that no user id can look like another field.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(|byte| is_fit(*byte)) => text.into(),
        _ => escaped(bytes).into(),
    }
}

fn is_fit(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'(' | b')')
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            _ if is_fit(byte) => text.push(byte.into()),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            let (byte, tail) = match (first, tail) {
                (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
                (b'\\', [b'x', a, b, tail @ ..]) => {
                    (u8::from_str_radix(std::str::from_utf8(&[*a, *b]).unwrap(), 16).unwrap(), tail)
                }
                (byte, tail) => (*byte, tail),
            };
            bytes.push(byte);
            rest = tail;
        }
        bytes
    }

    proptest! {
        #[test]
        fn escaping_is_reversible_and_leaves_one_printable_line(bytes: Vec<u8>) {
            let text = escape(&bytes);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'(' && byte != b')'));
            prop_assert_eq!(unescape(&text), bytes);
        }
    }

    #[test]
    fn an_ordinary_user_id_is_left_as_it_is() {
        assert_eq!(escape(b"joe.user@corp-1_x%s"), "joe.user@corp-1_x%s");
    }
}
