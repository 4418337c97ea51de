//! Headers as the specification and HAProxy write them, and bytes that are not headers.

use super::*;

const V2: ProxyProtocol = ProxyProtocol::V2;
const V1: ProxyProtocol = ProxyProtocol::V1;

/// Version 2 with this command, family, length and rest.
fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE.as_slice(), &[command, family], &length.to_be_bytes(), rest].concat()
}

/// The same with its true length.
fn whole(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    v2(command, family, u16::try_from(rest.len()).unwrap(), rest)
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xc0, 0, 4, 56];

fn ipv6(source: &str) -> Vec<u8> {
    let [source, to] = [source, "2001:db8::1"].map(|address| address.parse::<Ipv6Addr>().unwrap().octets());
    [&source[..], &to, &[0xc0, 0, 4, 56]].concat()
}

fn client(address: &str) -> Result<Header, Fault> {
    Ok(Header::Client(address.parse().unwrap()))
}

fn of(protocol: ProxyProtocol, bytes: &[u8]) -> Result<Header, Fault> {
    match extent(protocol, bytes)? {
        Extent::Is(length) if length <= bytes.len() => read(protocol, &bytes[..length]),
        Extent::Is(_) | Extent::Wants(_) => Err(Fault::Unfinished),
    }
}

#[test]
fn every_kind_of_header_of_version_2_is_taken_or_refused_for_its_reason() {
    let with = |tail: &[u8]| [&IPV4[..], tail].concat();
    for (what, header, expected) in [
        ("TCP4", whole(0x21, 0x11, &IPV4), client("192.0.2.7:49152")),
        ("TCP6", whole(0x21, 0x21, &ipv6("2001:db8::7")), client("[2001:db8::7]:49152")),
        ("mapped", whole(0x21, 0x21, &ipv6("::ffff:192.0.2.7")), client("[::ffff:192.0.2.7]:49152")),
        (
            "crc32c and unique id",
            whole(0x21, 0x11, &with(b"\x03\0\x04\xc9\xdd\x7f\x05\x05\0\0")),
            client("192.0.2.7:49152"),
        ),
        ("TLVs that are none", whole(0x21, 0x11, &with(&[0xff; 9])), client("192.0.2.7:49152")),
        ("the longest", whole(0x21, 0x11, &with(&[4; 508])), client("192.0.2.7:49152")),
        ("one more", whole(0x21, 0x11, &with(&[4; 509])), Err(Fault::TooLong)),
        ("the most that can be said", v2(0x21, 0x11, 0xffff, &IPV4), Err(Fault::TooLong)),
        ("LOCAL", whole(0x20, 0, b""), Ok(Header::Check)),
        ("LOCAL with addresses", whole(0x20, 0x11, &IPV4), Ok(Header::Check)),
        ("LOCAL, too long", v2(0x20, 0, 521, b""), Err(Fault::TooLong)),
        ("AF_UNSPEC", whole(0x21, 0, b""), Err(Fault::Unknown)),
        ("AF_UNSPEC with an address", whole(0x21, 0, &IPV4), Err(Fault::Unknown)),
        ("UDP4", whole(0x21, 0x12, &IPV4), Err(Fault::Unknown)),
        ("UDP6", whole(0x21, 0x22, &ipv6("2001:db8::7")), Err(Fault::Unknown)),
        ("stream of AF_UNIX", whole(0x21, 0x31, &[0; 216]), Err(Fault::Unknown)),
        ("datagram of AF_UNIX", whole(0x21, 0x32, &[0; 216]), Err(Fault::Unknown)),
        ("version 1 in bytes", whole(0x11, 0x11, &IPV4), Err(Fault::Version)),
        ("version 3", whole(0x31, 0x11, &IPV4), Err(Fault::Version)),
        ("command 2", whole(0x22, 0x11, &IPV4), Err(Fault::Command)),
        ("TCP4 a byte short", whole(0x21, 0x11, &IPV4[..11]), Err(Fault::TooShort)),
        ("TCP6 a byte short", whole(0x21, 0x21, &ipv6("2001:db8::7")[..35]), Err(Fault::TooShort)),
        ("TCP4 without anything", whole(0x21, 0x11, b""), Err(Fault::TooShort)),
        ("0.0.0.0", whole(0x21, 0x11, &[0; 12]), Err(Fault::NoHost)),
        ("224.0.0.1", whole(0x21, 0x11, &[224, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1]), Err(Fault::NoHost)),
        ("255.255.255.255", whole(0x21, 0x11, &[255; 12]), Err(Fault::NoHost)),
        ("::", whole(0x21, 0x21, &ipv6("::")), Err(Fault::NoHost)),
        ("::ffff:0.0.0.0", whole(0x21, 0x21, &ipv6("::ffff:0.0.0.0")), Err(Fault::NoHost)),
        ("ff02::1", whole(0x21, 0x21, &ipv6("ff02::1")), Err(Fault::NoHost)),
        (
            "a line of version 1",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 49152 1080\r\n".into(),
            Err(Fault::NoHeader),
        ),
        ("SOCKS5", b"\x05\x01\0".into(), Err(Fault::NoHeader)),
        ("SOCKS4", b"\x04\x01\0\x50\xc0\0\x02\x01\0".into(), Err(Fault::NoHeader)),
        ("a wrong signature", [b"\r\n\r\n\0\r\nQUIT\r", &[0x21; 20][..]].concat(), Err(Fault::NoHeader)),
    ] {
        assert_eq!(of(V2, &header), expected, "{what}");
    }
}

#[test]
fn a_header_of_version_2_is_awaited_by_its_16_bytes_and_then_by_its_length_and_no_byte_beyond_is_looked_at() {
    let header = whole(0x21, 0x11, &IPV4);
    for length in 0..FIXED {
        assert_eq!(extent(V2, &header[..length]), Ok(Extent::Wants(FIXED)), "{length}");
    }
    assert_eq!(extent(V2, &header[..FIXED]), Ok(Extent::Is(28)));
    assert_eq!(first(V2), FIXED);
    for length in FIXED..28 {
        assert!(read(V2, &header[..length]).is_err(), "{length}");
    }
    assert!(Fault::NoHeader.to_string().contains("no PROXY header"));
}

#[test]
fn every_kind_of_line_of_version_1_is_taken_or_refused_for_its_reason() {
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 49152 1080\r\n", client("192.0.2.7:49152")),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 49152 1080\r\n\x05\x01\0", client("192.0.2.7:49152")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 0 1080\r\n", client("[2001:db8::7]:0")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 9 1080\r\n", client("[::ffff:192.0.2.7]:9")),
        (&longest, Err(Fault::NoHost)),
        ("PROXY UNKNOWN\r\n", Err(Fault::Unknown)),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Err(Fault::Unknown)),
        ("PROXY UDP4 192.0.2.7 198.51.100.1 49152 1080\r\n", Err(Fault::Unknown)),
        ("PROXY TCP4 2001:db8::7 2001:db8::1 49152 1080\r\n", Err(Fault::Form)),
        ("PROXY TCP6 192.0.2.7 198.51.100.1 49152 1080\r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.007 198.51.100.1 49152 1080\r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 +9 1080\r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 09 1080\r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 65536 1080\r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 9\r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.7  198.51.100.1 9 1080\r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 9 1080 \r\n", Err(Fault::Form)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 9 1080\n", Err(Fault::Form)),
        ("PROXY TCP4 0.0.0.0 198.51.100.1 9 1080\r\n", Err(Fault::NoHost)),
        ("PROXY \r\n", Err(Fault::Unknown)),
        ("PROXY_TCP4", Err(Fault::NoHeader)),
        ("\x05\x01", Err(Fault::NoHeader)),
        ("\r\n\r\n\0\r\nQUIT\n", Err(Fault::NoHeader)),
    ] {
        assert_eq!(of(V1, line.as_bytes()), expected, "{line:?}");
    }
    assert!(longest.len() <= LINE);
}

#[test]
fn a_line_that_does_not_end_is_awaited_a_byte_at_a_time_and_no_longer_than_a_line_may_be() {
    let endless = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
    for length in 0..LINE {
        assert_eq!(extent(V1, &endless[..length]), Ok(Extent::Wants(length + 1)));
    }
    assert_eq!(extent(V1, &endless[..LINE]), Err(Fault::TooLong));
    assert_eq!(first(V1), LINE);
}
