//! The query and the reply of RFC 1413, as pure functions.

use sockd_common::message::ident::IdentUser;

/// The most octets of a reply, including its line end (RFC 1413, section 4).
pub const MAX_REPLY: usize = 1000;

/// The ports of the connection that is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The port at the client, where identd runs.
    pub client: u16,
    /// The port at the proxy.
    pub server: u16,
}

/// How far a reply has come.
#[derive(PartialEq, Eq, Debug)]
pub enum Progress {
    /// More has to come.
    Begun,
    /// It is over, and names a user or nobody.
    Over(Option<IdentUser>),
}

/// The query line: the port at identd's host first.
pub fn query(ports: Ports) -> String {
    format!("{} , {}\r\n", ports.client, ports.server)
}

/// Tells whether a reply has ended, from the octets received so far.
pub fn progress(received: &[u8], ports: Ports) -> Progress {
    match received.contains(&b'\n') {
        false if received.len() < MAX_REPLY => Progress::Begun,
        _ => Progress::Over(parse_reply(received, ports)),
    }
}

/// Returns the user that a reply names. The reply ends at the first LF or at the end of `octets`.
///
/// Only `USERID` with our pair of ports and an operating system names a user: `OTHER` says that the host does not
/// know the id (RFC 1413, section 4). Every identd writes blanks before the user id, which do not belong to it.
/// Blanks behind it do.
pub fn parse_reply(received: &[u8], ports: Ports) -> Option<IdentUser> {
    let line = received.split(|&octet| octet == b'\n').next()?;
    if line.len() >= MAX_REPLY {
        return None;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut fields = line.splitn(4, |&octet| octet == b':');
    let (pair, kind, system, user) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let system = trim(system.split(|&octet| octet == b',').next()?);
    let named = trim(kind).eq_ignore_ascii_case(b"USERID")
        && !system.is_empty()
        && !system.eq_ignore_ascii_case(b"OTHER")
        && parse_ports(pair) == Some(ports);
    let user = trim_start(user);
    let usable = !user.is_empty() && !user.iter().any(|octet| matches!(octet, b'\0' | b'\r'));
    (named && usable).then(|| IdentUser::new(user))?
}

fn parse_ports(pair: &[u8]) -> Option<Ports> {
    let mut ports = pair.split(|&octet| octet == b',').map(|port| parse_port(trim(port)));
    match (ports.next(), ports.next(), ports.next()) {
        (Some(Some(client)), Some(Some(server)), None) => Some(Ports { client, server }),
        _ => None,
    }
}

/// Reads digits only. `parse` alone would accept a `+` as well.
fn parse_port(digits: &[u8]) -> Option<u16> {
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

fn trim(field: &[u8]) -> &[u8] {
    let field = trim_start(field);
    let end = field.iter().rposition(|octet| !is_blank(octet)).map_or(0, |last| last.saturating_add(1));
    field.get(..end).unwrap_or_default()
}

fn trim_start(field: &[u8]) -> &[u8] {
    let start = field.iter().position(|octet| !is_blank(octet)).unwrap_or(field.len());
    field.get(start..).unwrap_or_default()
}

fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORTS: Ports = Ports { client: 40000, server: 1080 };

    fn user(reply: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        parse_reply(reply.as_ref(), PORTS).map(|user| user.as_bytes().to_vec())
    }

    #[test]
    fn the_query_names_the_clients_port_first() {
        assert_eq!(query(PORTS), "40000 , 1080\r\n");
    }

    #[test]
    fn a_user_is_named_in_every_form_that_identds_write() {
        for reply in [
            "40000 , 1080 : USERID : UNIX : don\r\n",
            "40000,1080:USERID:UNIX:don\r\n",
            "  40000\t,  1080 :\tUSERID  : UNIX ,US-ASCII :   don\r\n",
            "40000, 1080 : USERID : TOPS20 : don\n",
            "40000, 1080 : userid : unix : don",
            "040000, 1080 : USERID : UNIX : don\r\n40000, 1080 : USERID : UNIX : root\r\n",
        ] {
            assert_eq!(user(reply).as_deref(), Some(&b"don"[..]), "{reply:?}");
        }
    }

    #[test]
    fn everything_behind_the_third_colon_is_the_user_id() {
        assert_eq!(user("40000,1080:USERID:UNIX: a:b c , \r\n").unwrap(), b"a:b c , ");
        assert_eq!(user(b"40000,1080:USERID:UNIX:\xff\x1b[31m\r\n").unwrap(), b"\xff\x1b[31m");
    }

    #[test]
    fn another_pair_of_ports_names_nobody() {
        for pair in [
            "1080 , 40000",
            "40000 , 1081",
            "4000 , 1080",
            "40000",
            "40000 1080",
            "40000 , 1080 , 1080",
            ",",
            "+40000 , 1080",
            "40000 , 66616",
            "0x9c40 , 1080",
            "-1 , 1080",
            "40 000 , 1080",
            "",
        ] {
            assert_eq!(user(format!("{pair} : USERID : UNIX : don\r\n")), None, "{pair:?}");
        }
    }

    #[test]
    fn errors_and_ids_that_are_no_user_name_nobody() {
        for rest in [
            "ERROR : NO-USER",
            "ERROR : HIDDEN-USER",
            "ERROR : INVALID-PORT",
            "ERROR : UNKNOWN-ERROR",
            "ERROR : HIDDEN-USER : UNIX : don",
            "USERID : OTHER : don",
            "USERID : OTHER, US-ASCII : don",
            "USERID : other : don",
            "USERID : : don",
            "USERID : UNIX",
            "USERID",
            "",
            "USERID : UNIX : ",
            "USERID : UNIX :\t ",
            "USERID2 : UNIX : don",
            "UNIX : USERID : don",
        ] {
            assert_eq!(user(format!("40000 , 1080 : {rest}\r\n")), None, "{rest:?}");
        }
    }

    #[test]
    fn an_id_with_nul_or_cr_names_nobody() {
        assert_eq!(user(b"40000,1080:USERID:UNIX:root\0don\r\n"), None);
        assert_eq!(user(b"40000,1080:USERID:UNIX:root\rdon\r\n"), None);
        assert_eq!(user(b"40000,1080:USERID:UNIX:don\r\r\n"), None);
    }

    #[test]
    fn an_id_of_more_than_64_octets_names_nobody() {
        let reply = |length| format!("40000,1080:USERID:UNIX:{}\r\n", "a".repeat(length));
        assert_eq!(user(reply(64)).unwrap().len(), 64);
        assert_eq!(user(reply(65)), None);
    }

    #[test]
    fn garbage_names_nobody() {
        for garbage in [&b""[..], b"\r\n", b":::", b"\xff\xfe\0", b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
            assert_eq!(user(garbage), None);
        }
    }

    #[test]
    fn a_reply_is_over_with_its_line_or_with_a_thousand_octets() {
        let padded = |length: usize| {
            let blanks = " ".repeat(length - "40000,1080:USERID:UNIX:don\n".len());
            format!("40000,1080:USERID:UNIX:{blanks}don\n")
        };
        assert!(matches!(progress(padded(1000).as_bytes(), PORTS), Progress::Over(Some(_))));
        assert_eq!(progress(padded(1001).as_bytes(), PORTS), Progress::Over(None));
        assert_eq!(progress(&[b'a'; 999], PORTS), Progress::Begun);
        assert_eq!(progress(&[b'a'; 1000], PORTS), Progress::Over(None));
        assert_eq!(progress(b"", PORTS), Progress::Begun);
    }

    #[test]
    fn a_reply_reads_the_same_however_it_is_cut() {
        let reply = b"40000 , 1080 : USERID : UNIX : don\r\n";
        for length in 0..reply.len() {
            assert_eq!(progress(&reply[..length], PORTS), Progress::Begun);
        }
        assert_eq!(progress(reply, PORTS), Progress::Over(IdentUser::new(b"don")));
    }

    proptest! {
        #[test]
        fn no_reply_ends_the_worker(reply in proptest::collection::vec(any::<u8>(), 0..1100)) {
            progress(&reply, PORTS);
            parse_reply(&reply, PORTS);
        }

        #[test]
        fn every_plain_user_id_is_read_as_it_is(id in "[!-9;-~][ -~]{0,63}") {
            let reply = format!("40000,1080 : USERID : UNIX : {id}\r\n");
            prop_assert_eq!(user(reply), Some(id.into_bytes()));
        }
    }
}
