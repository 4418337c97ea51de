//! The entries of journald's own protocol: fields instead of a line. A value that is not one line of text is framed by
//! its length, so that no value can be taken for another field.

use crate::log::fields::{self, Value};
use crate::log::{About, Level};
use crate::record::Record;
use std::io::Write as _;

/// The fields of a record, `SOCKD_` before each name.
pub fn record(about: About, record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    field(&mut out, "SOCKD_EVENT", fields::event(record).as_bytes());
    fields::each(about, record, &mut |name, value| {
        let name = format!("SOCKD_{}", name.to_ascii_uppercase());
        match value {
            Value::Place(place) => {
                field(&mut out, &name, place.ip().to_string().as_bytes());
                field(&mut out, &format!("{name}_PORT"), place.port().to_string().as_bytes());
            }
            value => field(&mut out, &name, value.to_string().as_bytes()),
        }
    });
    out
}

/// The number of the session alone, for further lines of a record.
pub fn session(about: About) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, "SOCKD_SESSION", about.session.to_string().as_bytes());
    out
}

/// A whole entry: the text, the fields that journald shows for syslog(3), and the fields of a record, if any.
pub fn whole(level: Level, pid: u32, text: &str, fields: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.len().saturating_add(text.len()).saturating_add(128));
    field(&mut out, "MESSAGE", text.as_bytes());
    field(&mut out, "PRIORITY", level.number().as_bytes());
    // Facility daemon.
    field(&mut out, "SYSLOG_FACILITY", b"3");
    field(&mut out, "SYSLOG_IDENTIFIER", b"sockd");
    field(&mut out, "SYSLOG_PID", pid.to_string().as_bytes());
    out.extend_from_slice(fields);
    out
}

/// One field. A value with a byte that is not printable ASCII has its length before it, as 64 bits in little endian.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let is_line = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
    // Writing into a vector does not fail.
    let _ = match is_line {
        true => out.write_all(&[name.as_bytes(), b"="].concat()),
        false => out.write_all(&[name.as_bytes(), b"\n", length.to_le_bytes().as_slice()].concat()),
    };
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of an entry as journald reads them.
    fn read(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| matches!(byte, b'=' | b'\n')).unwrap();
            let (name, rest) = (String::from_utf8(entry[..end].to_vec()).unwrap(), &entry[end + 1..]);
            let (value, rest) = match entry[end] {
                b'=' => rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap()),
                _ => {
                    let (length, rest) = rest.split_first_chunk().unwrap();
                    rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap())
                }
            };
            fields.push((name, value.to_vec()));
            entry = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    #[test]
    fn a_value_of_any_bytes_is_one_field_and_comes_back_as_it_was() {
        for value in [
            b"joe".as_slice(),
            b"",
            b"a\nSOCKD_RULE=1",
            b"a\nSOCKD_RULE\n\x01\0\0\0\0\0\0\x001\n",
            b"\"quoted\" = \\",
            b"\0\x01\x1b\x7f",
            b"\xff\xfe",
        ] {
            let mut entry = Vec::new();
            field(&mut entry, "SOCKD_USER", value);
            field(&mut entry, "SOCKD_RULE", b"7");
            let expected = [("SOCKD_USER", value), ("SOCKD_RULE", b"7")];
            assert_eq!(read(&entry), expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
        }
    }

    #[test]
    fn an_entry_has_its_text_and_what_a_line_of_syslog_has() {
        let entry = whole(Level::Notice, 636, "stopping", &[]);
        let expected =
            "MESSAGE=stopping\nPRIORITY=5\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=sockd\nSYSLOG_PID=636\n";
        assert_eq!(String::from_utf8(entry).unwrap(), expected);
    }
}
