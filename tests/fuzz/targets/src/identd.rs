//! The answers of an identd.

use sockd_common::message::ident::IdentUser;
use sockd_worker::ident::reply::{MAX_REPLY, Ports, Progress, parse_reply, progress};

const PORTS: Ports = Ports { client: 40000, server: 1080 };

/// RFC 1413 read literally, if the reply is text: port pair, `USERID`, an operating system and the user.
fn expected(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.splitn(4, ':').collect();
    let [pair, kind, system, user] = fields[..] else { return None };
    let blank = [' ', '\t'];
    let (client, server) = pair.split_once(',')?;
    let number = |text: &str| {
        let digits = text.trim_matches(blank);
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u16>().ok()).flatten()
    };
    let system = system.split(',').next()?.trim_matches(blank);
    let user = user.trim_start_matches(blank);
    let named = number(client) == Some(PORTS.client)
        && number(server) == Some(PORTS.server)
        && kind.trim_matches(blank).eq_ignore_ascii_case("USERID")
        && !(system.is_empty() || system.eq_ignore_ascii_case("OTHER"));
    (named && (1..=64).contains(&user.len()) && !user.contains(['\0', '\r'])).then_some(user)
}

/// A reply names the user that RFC 1413 says it names, in whatever segments it comes.
pub fn ident_reply(data: &[u8]) {
    let user = parse_reply(data, PORTS);
    let line = data.split(|octet| *octet == b'\n').next().unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(line) {
        let short = line.len() < MAX_REPLY;
        let expected = short.then(|| expected(text.strip_suffix('\r').unwrap_or(text))).flatten();
        assert_eq!(user.as_ref().map(IdentUser::as_bytes), expected.map(str::as_bytes));
    }
    if let Some(user) = &user {
        let length = user.as_bytes().len();
        assert!((1..=64).contains(&length) && line.windows(length).any(|part| part == user.as_bytes()));
    }
    let ends = (0..=data.len().min(MAX_REPLY + 1)).chain([data.len()]);
    let over = ends.map(|end| progress(&data[..end], PORTS)).find(|progress| *progress != Progress::Begun);
    match over {
        Some(first) => assert_eq!(first, Progress::Over(user), "another split, another user"),
        None => assert!(data.len() < MAX_REPLY && !data.contains(&b'\n')),
    }
}
