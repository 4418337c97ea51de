//! The inputs of the resolver: answers of nameservers, hosts(5) and resolv.conf(5).

use sockd_common::message::resolver::{MAX_ADDRESSES, MAX_NAMES, MAX_SEARCH, RecordType, ToResolver};
use sockd_common::wire::{MAX_PACKET, encode};
use sockd_session::resolv_conf::ResolvConf;
use sockd_worker::resolver::answer::{Outcome, Reading, first_distinct, read_datagram, read_stream};
use sockd_worker::resolver::hosts::Hosts;
use sockd_worker::resolver::name::HostName;
use sockd_worker::resolver::question::{Asked, Question, Spelling};
use std::net::IpAddr;

/// The question that the first byte of an input chooses: its id is 0 and its name in small letters.
pub fn asked(choice: u8) -> Asked {
    let (record, name) = match choice & 3 {
        0 | 3 => (RecordType::A, "www.example.com"),
        1 => (RecordType::Aaaa, "www.example.com"),
        _ => (RecordType::Ptr, "7.2.0.192.in-addr.arpa"),
    };
    let name = HostName::from_text(name.as_bytes()).and_then(|name| name.to_dns()).expect("a name");
    let question = Question { name, record };
    let spelling = if choice & 0x40 == 0 { Spelling::Random } else { Spelling::AsWritten };
    Asked::new(&question, spelling, choice & 0x80 == 0, &[0; 34]).expect("a question")
}

/// An answer is of the type asked for and within its bounds, and one that comes by stream says no less.
pub fn dns_answer(data: &[u8]) {
    let Some((choice, packet)) = data.split_first() else { return };
    let asked = asked(*choice);
    let (datagram, stream) = (read_datagram(packet, &asked), read_stream(packet, &asked));
    assert_eq!(datagram == Reading::Foreign, stream == Reading::Foreign);
    if !matches!(datagram, Reading::Foreign | Reading::AskByTcp | Reading::OtherCase) {
        assert_eq!(datagram, stream);
    }
    if stream != Reading::Foreign {
        let other = Asked { id: 1, ..self::asked(*choice) };
        assert_eq!(read_stream(packet, &other), Reading::Foreign, "an answer to another question");
    }
    let Reading::Answer(outcome, _) = stream else { return };
    match (asked.record, outcome) {
        (RecordType::A, Outcome::Addresses(addresses)) => {
            assert!((1..=MAX_ADDRESSES).contains(&addresses.len()) && addresses.iter().all(IpAddr::is_ipv4));
        }
        (RecordType::Aaaa, Outcome::Addresses(addresses)) => {
            assert!((1..=MAX_ADDRESSES).contains(&addresses.len()));
            assert!(addresses.iter().all(|address| address.to_canonical() == *address));
        }
        (RecordType::Ptr, Outcome::Names(names)) => {
            assert!(names.len() <= MAX_NAMES);
            for name in names {
                assert_eq!(HostName::from_text(name.as_str().as_bytes()), Some(name));
            }
        }
        (_, Outcome::Alias(_) | Outcome::NoData | Outcome::NoName) => {}
        (record, outcome) => panic!("{outcome:?} as an answer about {record:?}"),
    }
}

/// The table gives what a plain reading of the lines gives.
pub fn hosts(data: &[u8]) {
    // Some editors write a byte order mark at the start of a file.
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let mut entries = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let address = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse::<IpAddr>().ok());
        let Some(address) = address else { continue };
        entries.extend(words.filter_map(HostName::from_text).map(|name| (name, address.to_canonical())));
    }
    let hosts = Hosts::parse(data.to_vec());
    for (name, address) in entries.iter().take(64) {
        let listed = entries.iter().filter(|(other, _)| other == name).map(|(_, address)| *address);
        let mut expected = first_distinct(listed, MAX_ADDRESSES);
        expected.sort_by_key(IpAddr::is_ipv6);
        assert_eq!(hosts.addresses(name), expected);
        let listed = entries.iter().filter(|(_, other)| other == address).map(|(name, _)| name.clone());
        assert_eq!(hosts.names(*address), first_distinct(listed, MAX_NAMES));
    }
    assert_eq!(hosts.names(IpAddr::from([255, 255, 255, 254])).len(), {
        let listed = entries.iter().filter(|(_, address)| *address == IpAddr::from([255, 255, 255, 254]));
        first_distinct(listed.map(|(name, _)| name), MAX_NAMES).len()
    });
}

/// Whatever the file says, there is a nameserver to ask, the wait for it is sane, and the resolver can be told.
pub fn resolv_conf(data: &[u8]) {
    let conf = ResolvConf::parse(data);
    assert!((1..=3).contains(&conf.servers.len()) && (1..=30).contains(&conf.timeout()));
    assert!(
        (0..=u8::MAX)
            .all(|attempt| conf.server(attempt).is_some_and(|server| conf.servers.contains(&server)))
    );
    let setup = conf.setup();
    assert!(encode(&setup, &mut [0; MAX_PACKET]).is_some());
    let ToResolver::Setup { servers, attempts, ndots, search, .. } = setup else { panic!("no setup") };
    assert_eq!(usize::from(servers), conf.servers.len());
    assert!((1..=5).contains(&attempts) && ndots <= 15 && search.as_slice().len() <= MAX_SEARCH);
}
