//! Names of ports, from the text of services(5).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use crate::line::without_mark;

/// The TCP services by name and by port.
#[derive(Debug, Clone, Default)]
pub struct Services {
    ports: BTreeMap<String, u16>,
    names: BTreeMap<u16, Arc<str>>,
}

impl Services {
    /// Reads `name port/tcp aliases... # comment` lines. Other protocols and malformed lines are skipped, as the C
    /// library does. The first of two lines for one name or port counts.
    pub fn parse(text: &[u8]) -> Services {
        let mut services = Services::default();
        for line in without_mark(text).split(|byte| *byte == b'\n') {
            let _ = services.add(line);
        }
        services
    }

    fn add(&mut self, line: &[u8]) -> Option<()> {
        let line = core::str::from_utf8(line.split(|byte| *byte == b'#').next()?).ok()?;
        let mut words = line.split_ascii_whitespace();
        let (name, entry) = (words.next()?, words.next()?);
        let port: u16 = entry.strip_suffix("/tcp")?.parse().ok()?;
        self.names.entry(port).or_insert_with(|| name.into());
        for name in core::iter::once(name).chain(words) {
            self.ports.entry(name.into()).or_insert(port);
        }
        Some(())
    }

    /// The port of a service by its name or an alias, as the file spells it.
    pub fn port_of(&self, name: &str) -> Option<u16> {
        self.ports.get(name).copied()
    }

    /// The name of a port; the first one, if the file has several.
    pub fn name_of(&self, port: u16) -> Option<&Arc<str>> {
        self.names.get(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_services_are_found_by_name_alias_and_port() {
        let text = b"ftp 21/tcp\ntelnet\t23/tcp\nhttp 80/tcp www WWW # web\ntftp 69/udp\n\xff 1/tcp\nbad\nworse x/tcp\nftp2 21/tcp\n";
        let services = Services::parse(text);
        assert_eq!(services.port_of("www"), Some(80));
        assert_eq!(services.port_of("http"), Some(80));
        assert_eq!(services.port_of("tftp"), None);
        assert_eq!(services.port_of("web"), None);
        assert_eq!(services.name_of(80).map(AsRef::as_ref), Some("http"));
        assert_eq!(services.name_of(21).map(AsRef::as_ref), Some("ftp"));
        assert_eq!(services.port_of("worse"), None);
    }
}
