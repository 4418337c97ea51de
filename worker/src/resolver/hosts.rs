//! The table of hosts(5).

use super::answer::first_distinct;
use super::name::HostName;
use core::net::IpAddr;
use sockd_common::message::resolver::{MAX_ADDRESSES, MAX_NAMES};

/// The longest file. A longer one is refused whole.
pub const MAX_FILE: usize = 16 << 20;

/// The most entries. Further ones are passed over, so that no allocation is larger than the worker may make.
const MAX_ENTRIES: usize = 1 << 20;

/// The names and their addresses, in the order of the file.
///
/// Names are kept where the file has them and only pointed at, because files that list a million hosts to block
/// are in use.
#[derive(Debug, Default)]
pub struct Hosts {
    text: Box<[u8]>,
    by_name: Vec<Entry>,
    by_address: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    length: u8,
    address: IpAddr,
}

impl Hosts {
    /// Reads the file: an address, its canonical name, and further names in each line, `#` begins a comment. Like
    /// the C library, passes over words that are no address or no name.
    pub fn parse(mut text: Vec<u8>) -> Self {
        // Some editors write a byte order mark at the start of a file.
        if text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        text.make_ascii_lowercase();
        let lines = text.split(|&octet| octet == b'\n');
        let mut by_name: Vec<_> = lines.flat_map(|line| entries(line, &text)).take(MAX_ENTRIES).collect();
        let mut by_address = by_name.clone();
        let mut hosts = Self { text: text.into(), by_name: Vec::new(), by_address: Vec::new() };
        // Both sorts keep the order of the file among equals.
        by_name.sort_by(|one, other| hosts.name(one).cmp(hosts.name(other)));
        by_address.sort_by_key(|entry| entry.address);
        hosts.by_name = by_name;
        hosts.by_address = by_address;
        hosts
    }

    /// All addresses that the file lists for `name`, IPv4 first.
    pub fn addresses(&self, name: &HostName) -> Vec<IpAddr> {
        let name = name.as_str().as_bytes();
        let first = self.by_name.partition_point(|entry| self.name(entry) < name);
        let listed = self.by_name.iter().skip(first).take_while(|entry| self.name(entry) == name);
        let mut addresses = first_distinct(listed.map(|entry| entry.address), MAX_ADDRESSES);
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses
    }

    /// The names on the lines of `address`, the canonical name of the first line first.
    pub fn names(&self, address: IpAddr) -> Vec<HostName> {
        let first = self.by_address.partition_point(|entry| entry.address < address);
        let listed = self.by_address.iter().skip(first).take_while(|entry| entry.address == address);
        first_distinct(listed.filter_map(|entry| HostName::from_text(self.name(entry))), MAX_NAMES)
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let behind = self.text.get(entry.start as usize..).unwrap_or_default();
        behind.get(..usize::from(entry.length)).unwrap_or_default()
    }
}

fn entries<'a>(line: &'a [u8], text: &'a [u8]) -> impl Iterator<Item = Entry> + 'a {
    let line = line.split(|&octet| octet == b'#').next().unwrap_or_default();
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let address = words.next().and_then(address);
    let names = words.filter(|word| HostName::from_text(word).is_some());
    names.filter_map(move |name| {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let start = name.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
        Some(Entry { start: start.try_into().ok()?, length: name.len().try_into().ok()?, address: address? })
    })
}

fn address(word: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = str::from_utf8(word).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &[u8] = b"127.0.0.1 localhost\n::1 localhost ip6-localhost\n# 9.9.9.9 www.example\n\
        192.0.2.1\tWWW.Example.  www # web\r\n2001:db8::1 www.example\n192.0.2.2 www.example\n\
        192.0.2.1 other.example\n::ffff:192.0.2.3 mapped\nfe80::1%eth0 scoped\nnonsense www.example\n\
        192.0.2.4\n192.0.2.5 bad;name good-name\n192.0.2.6 last";

    fn addresses(name: &str) -> Vec<String> {
        let name = HostName::from_text(name.as_bytes()).unwrap();
        Hosts::parse(FILE.to_vec()).addresses(&name).iter().map(IpAddr::to_string).collect()
    }

    fn names(address: &str) -> Vec<String> {
        let names = Hosts::parse(FILE.to_vec()).names(address.parse().unwrap());
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn a_byte_order_mark_does_not_hide_the_first_line() {
        let hosts = Hosts::parse("\u{feff}192.0.2.1 www.example\n".into());
        let name = HostName::from_text(b"www.example").unwrap();
        assert_eq!(hosts.addresses(&name), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(hosts.names("192.0.2.1".parse().unwrap()), [name]);
    }

    #[test]
    fn all_addresses_of_a_name_are_found_ipv4_first_and_without_regard_to_case() {
        assert_eq!(addresses("Www.EXAMPLE"), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(addresses("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(addresses("www"), ["192.0.2.1"]);
        assert_eq!(addresses("last"), ["192.0.2.6"]);
    }

    #[test]
    fn comments_and_what_is_no_address_or_no_name_are_passed_over() {
        assert_eq!(addresses("web"), [""; 0]);
        assert_eq!(addresses("scoped"), [""; 0]);
        assert_eq!(names("192.0.2.5"), ["good-name"]);
        assert_eq!(names("192.0.2.4"), [""; 0]);
        assert_eq!(names("9.9.9.9"), [""; 0]);
    }

    #[test]
    fn the_names_of_an_address_come_in_the_order_of_the_file() {
        assert_eq!(names("192.0.2.1"), ["www.example", "www", "other.example"]);
        assert_eq!(names("::1"), ["localhost", "ip6-localhost"]);
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert_eq!(addresses("mapped"), ["192.0.2.3"]);
        assert_eq!(names("192.0.2.3"), ["mapped"]);
    }

    #[test]
    fn no_more_addresses_or_names_are_found_than_a_message_holds() {
        let many: String = (0..250).map(|n| format!("10.0.0.{n} many\n10.1.1.1 n{n}\n")).collect();
        let hosts = Hosts::parse(many.into_bytes());
        assert_eq!(hosts.addresses(&HostName::from_text(b"many").unwrap()).len(), MAX_ADDRESSES);
        assert_eq!(hosts.names("10.1.1.1".parse().unwrap()).len(), MAX_NAMES);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_table(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            Hosts::parse(text);
        }
    }
}
