//! PROXY headers, as a balancer writes them before the bytes of its client.

use sockd_common::head::Extent;
use sockd_session::proxy_header::{Header, MOST, extent, first, read};
use sockd_session::settings::ProxyProtocol;
use std::net::{IpAddr, SocketAddr};

/// The header ends at the same place however the bytes come, within its limits. A client that it names is the one whose
/// address stands there, and one that can exist.
pub fn proxy_header(data: &[u8]) {
    let (protocol, bytes) = match data.split_first() {
        Some((choice, rest)) if choice % 2 == 1 => (ProxyProtocol::V1, rest),
        Some((_, rest)) => (ProxyProtocol::V2, rest),
        None => return,
    };
    let mut found = None;
    let mut wanted = 0;
    for length in 0..=bytes.len().min(first(protocol)) {
        match (extent(protocol, &bytes[..length]), found) {
            (Ok(Extent::Wants(more)), None) => {
                assert!(more > length && more <= first(protocol) && more >= wanted);
                wanted = more;
            }
            (Ok(Extent::Is(all)), None | Some(Ok(_))) => {
                assert!(all <= MOST && found.is_none_or(|before| before == Ok(all)));
                found = Some(Ok(all));
            }
            (Err(fault), None | Some(Err(_))) => found = Some(Err(fault)),
            (now, before) => panic!("{now:?} behind {before:?}"),
        }
    }
    let Some(Ok(all)) = found else { return };
    let Some(header) = bytes.get(..all) else { return };
    match read(protocol, header) {
        Ok(Header::Client(client)) => {
            let address = client.ip().to_canonical();
            assert!(!address.is_unspecified() && !address.is_multicast());
            match protocol {
                ProxyProtocol::V2 => assert_eq!(header[12], 0x21, "{client}"),
                ProxyProtocol::V1 => assert!(header.starts_with(b"PROXY TCP") && header.ends_with(b"\r\n")),
            }
            assert_eq!(literally(protocol, header), Some(client));
        }
        Ok(Header::Check) => assert!(protocol == ProxyProtocol::V2 && header[12] == 0x20),
        Err(_) => {}
    }
}

/// The source as the specification has it.
fn literally(protocol: ProxyProtocol, header: &[u8]) -> Option<SocketAddr> {
    if protocol == ProxyProtocol::V1 {
        let text = std::str::from_utf8(header).ok()?;
        let words: Vec<&str> = text.trim_end().split(' ').collect();
        return Some(SocketAddr::new(words.get(2)?.parse().ok()?, words.get(4)?.parse().ok()?));
    }
    let (address, port) = match header.get(13)? {
        0x11 => (IpAddr::from(<[u8; 4]>::try_from(header.get(16..20)?).ok()?), header.get(24..26)?),
        0x21 => (IpAddr::from(<[u8; 16]>::try_from(header.get(16..32)?).ok()?), header.get(48..50)?),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]])))
}
