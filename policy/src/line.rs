//! Lines, words and fields. `sockd.conf`, `sockd.route` and `socks.conf` have them in common.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockd_table::{HostName, LONGEST_LINE, Network, Pattern, is_mistyped_address};

use crate::error::{Faults, LineError};

/// The text of a file without the byte order mark that some editors write at its start.
///
/// No editor shows the mark. With it, the first word of a file would be another word, and a user list would miss its first
/// user.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Calls `read` with the number (from 1) and the bytes of every line. A line that is too long or has a NUL is a fault and
/// is not read. The classic reader split long lines, so that the tail of a comment could become a rule.
pub(crate) fn each_line<'t>(
    text: &'t [u8],
    faults: &mut Faults,
    read: impl FnMut(usize, &'t [u8]) -> Result<(), LineError>,
) {
    each_line_behind(0, text, faults, read);
}

/// The same with numbers that begin behind `before`.
pub(crate) fn each_line_behind<'t>(
    before: usize,
    text: &'t [u8],
    faults: &mut Faults,
    mut read: impl FnMut(usize, &'t [u8]) -> Result<(), LineError>,
) {
    for (number, line) in (before.saturating_add(1)..).zip(without_mark(text).split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let outcome = if line.len() > LONGEST_LINE {
            Err(LineError::new(
                number,
                format!("expected at most {LONGEST_LINE} characters, found {}", line.len()),
            ))
        } else if line.contains(&0) {
            Err(LineError::new(number, String::from("expected text, found a NUL byte")))
        } else {
            read(number, line)
        };
        if let Err(error) = outcome {
            faults.add(error);
        }
    }
}

/// The number of lines of a text, an empty one behind the last line feed included.
pub(crate) fn lines_of(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
}

/// One line, cut into words and a command. The words are read one after the other.
pub(crate) struct Words<'a> {
    line: usize,
    words: Vec<&'a str>,
    next: usize,
    /// The text behind the colon, without blanks around it.
    pub(crate) command: Option<&'a str>,
}

impl<'a> Words<'a> {
    /// Cuts a line. The first `#` or `:` ends the words: `#` begins a comment, and `:` begins a command that reaches to the
    /// end of the line. The colons of an IPv6 literal or of a server list do not count.
    pub(crate) fn of(line: usize, bytes: &'a [u8]) -> Result<Words<'a>, LineError> {
        let mut words = Words { line, words: Vec::new(), next: 0, command: None };
        let mut rest = bytes.trim_ascii();
        while !rest.is_empty() && !rest.starts_with(b"#") {
            let end = rest.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'#');
            let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
            let word = utf8(line, word)?;
            let Some((before, after)) =
                word.split_once(':').filter(|_| !is_ipv6(word) && servers(word).is_none())
            else {
                words.words.push(word);
                rest = behind.trim_ascii_start();
                continue;
            };
            if is_mistyped_ipv6(word) {
                return Err(LineError::expected(line, "IPv6 address", Some(word.as_bytes())));
            }
            words.words.extend(Some(before).filter(|before| !before.is_empty()));
            let command = rest.len().saturating_sub(behind.len()).saturating_sub(after.len());
            words.command = Some(utf8(line, rest.split_at(command).1)?.trim_ascii());
            break;
        }
        Ok(words)
    }

    /// Whether the line has neither words nor a command.
    pub(crate) fn is_blank(&self) -> bool {
        self.words.is_empty() && self.command.is_none()
    }

    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    /// The word behind the next one.
    pub(crate) fn peek_second(&self) -> Option<&'a str> {
        self.words.get(self.next.saturating_add(1)).copied()
    }

    pub(crate) fn take(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.next = self.next.saturating_add(1);
        Some(word)
    }

    /// Takes the next word if it begins with `mark`, and returns what follows the mark.
    pub(crate) fn take_marked(&mut self, mark: &str) -> Option<&'a str> {
        let value = self.peek()?.strip_prefix(mark)?;
        self.take();
        Some(value)
    }

    /// The fault that the next word is not what it should be.
    pub(crate) fn expected(&self, what: &str) -> LineError {
        LineError::expected(self.line, what, self.peek().map(str::as_bytes))
    }

    /// The fault that `found` is not what it should be.
    pub(crate) fn wrong(&self, what: &str, found: &str) -> LineError {
        LineError::expected(self.line, what, Some(found.as_bytes()))
    }

    /// Refuses further words.
    pub(crate) fn end(&self, what: &str) -> Result<(), LineError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected(what)) }
    }

    /// Reads an address and a mask, `address/length`, or a name, a zone or `ALL` with a mask that is ignored.
    pub(crate) fn pattern(&mut self, whose: &str) -> Result<Pattern, LineError> {
        let what = format!("{whose} address");
        let Some(word) = self.peek() else { return Err(self.expected(&what)) };
        if let Some((address, length)) = word.split_once('/') {
            let network = self.cidr(address, length)?;
            self.take();
            return Ok(pattern_of(network));
        }
        if let Ok(address) = word.parse::<IpAddr>() {
            self.refuse_mapped(address)?;
            self.take();
            let mask = self.mask(whose, address)?;
            return Network::new(address, mask).map(pattern_of).ok_or_else(|| self.expected("mask"));
        }
        let pattern = name_pattern(word).ok_or_else(|| self.expected(&what))?;
        self.take();
        self.mask(whose, IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
        Ok(pattern)
    }

    fn cidr(&self, address: &str, length: &str) -> Result<Network, LineError> {
        let digits = length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
        let address = address.parse::<IpAddr>().map_err(|_| self.expected("address/length"))?;
        self.refuse_mapped(address)?;
        let length = length.parse().ok().filter(|_| digits);
        length
            .and_then(|length| Network::prefix(address, length))
            .ok_or_else(|| self.expected("address/length"))
    }

    /// Rules see IPv4-mapped addresses as IPv4. So a rule that names such an address would never match.
    fn refuse_mapped(&self, address: IpAddr) -> Result<(), LineError> {
        let is_mapped = address.to_canonical() != address;
        if is_mapped { Err(self.expected("the IPv4 form of an IPv4-mapped address")) } else { Ok(()) }
    }

    fn mask(&mut self, whose: &str, address: IpAddr) -> Result<IpAddr, LineError> {
        let word = self.peek();
        let mask = match address {
            IpAddr::V4(_) => word.and_then(|word| word.parse::<Ipv4Addr>().ok()).map(IpAddr::V4),
            IpAddr::V6(_) => word.and_then(|word| word.parse::<Ipv6Addr>().ok()).map(IpAddr::V6),
        };
        let mask = mask.ok_or_else(|| self.expected(&format!("{whose} mask")))?;
        self.take();
        Ok(mask)
    }
}

fn utf8(line: usize, bytes: &[u8]) -> Result<&str, LineError> {
    core::str::from_utf8(bytes).map_err(|_| LineError::expected(line, "UTF-8 text", Some(bytes)))
}

/// The server list behind `@=` or `sockd@` in `socks.conf`. No word of another file can begin with one of these.
pub(crate) fn servers(word: &str) -> Option<&str> {
    match word.split_once('@') {
        Some((sockd, list)) if sockd.eq_ignore_ascii_case("sockd") => Some(list),
        _ => word.strip_prefix("@="),
    }
}

fn is_ipv6(word: &str) -> bool {
    word.split('/').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Whether a word is an IPv6 address with a typing error, such as `2001:db8:::/32`. It must not pass for a word and a command,
/// because the line would lose a condition.
fn is_mistyped_ipv6(word: &str) -> bool {
    let of_address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'/');
    word.matches(':').nth(1).is_some() && word.bytes().all(of_address)
}

/// The pattern of a network. An IPv4 mask of all zeros stands for every host of both families.
fn pattern_of(network: Network) -> Pattern {
    if network == Network::v4(0, 0) { Pattern::Any } else { Pattern::Network(network) }
}

fn name_pattern(word: &str) -> Option<Pattern> {
    if word == "ALL" {
        return Some(Pattern::Any);
    }
    if is_mistyped_address(word.as_bytes()) {
        return None;
    }
    match word.strip_prefix('.') {
        Some(zone) => HostName::parse(zone.as_bytes()).ok().map(Pattern::Zone),
        None => HostName::parse(word.as_bytes()).ok().map(Pattern::Domain),
    }
}
