//! Finds live sessions that other rules would refuse, by the daemon's own code over their ledger records.
//!
//! Rules alone are asked: guards and routes stay what they are.

use super::live::{Live, Tree};
use sockd_common::ledger::{Entry, Field, Text};
use sockd_policy::{
    Command, Deny, FactState, Facts, HostName, IdentMode, Identity, Login, Request, RuleSet, UserId, Verdict,
    Version,
};

/// The answer of other rules for a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// They permit it.
    Stays,
    /// They refuse it; the text is why.
    Ends(String),
    /// They depend on a fact that the ledger does not have.
    Unknown(&'static str),
}

/// The answer of the rules for a session; `None` if it has no request.
pub(super) fn outcome(live: &Live, trees: &[Tree], rules: &RuleSet) -> Option<Outcome> {
    let entry = live.going_on().filter(|entry| entry.version != 0)?;
    let ident = trees.get(live.tree).map_or(0, |tree| tree.ledger.head(Field::Ident));
    let ident = match ident {
        1 => IdentMode::Lenient,
        2 => IdentMode::Strict,
        _ => IdentMode::Off,
    };
    if entry.command == 3 {
        return Some(datagrams(&entry, rules));
    }
    Some(judge(&entry, ident, rules).unwrap_or(Outcome::Unknown("a text of its record is cut")))
}

/// Asks whether there may be an association as a whole.
fn datagrams(entry: &Entry<'_>, rules: &RuleSet) -> Outcome {
    match rules.may_permit_udp(entry.client.ip()) {
        true => Outcome::Stays,
        false => Outcome::Ends("no line permits datagrams".into()),
    }
}

/// Decides on a session; `None` if a fact that the rules would see is cut.
fn judge(entry: &Entry<'_>, ident_default: IdentMode, rules: &RuleSet) -> Option<Outcome> {
    let user = UserId::parse(whole(entry.claimed)?).ok()?;
    let verified = UserId::parse(whole(entry.verified)?).ok()?;
    let groups = whole(entry.groups)?;
    let (source_names, destination_names) = (name(entry.client_name)?, name(entry.destination_name)?);
    let request = Request {
        source: entry.client.ip(),
        destination: entry.destination,
        port: entry.port,
        command: if entry.command == 2 { Command::Bind } else { Command::Connect },
        version: if entry.version == 4 { Version::Socks4 } else { Version::Socks5 },
        user: &user,
        ident_default,
        nat64: &[],
    };
    let identity = Identity::Known(verified.clone());
    let has_identity = !entry.by_password && !verified.is_empty();
    let facts = Facts {
        source_names: known(&source_names),
        destination_names: known(&destination_names),
        identity: if has_identity { FactState::Known(&identity) } else { FactState::NotAsked },
        login: entry.by_password.then_some(Login { user: &verified, groups }),
    };
    Some(said(&rules.decide(&request, &facts), rules))
}

fn said(verdict: &Verdict<'_>, rules: &RuleSet) -> Outcome {
    match verdict {
        Verdict::Permit(_) => Outcome::Stays,
        Verdict::Deny(Deny { rule: Some(rule), .. }) => {
            Outcome::Ends(format!("{} refuses it", rules.place(rule.line())))
        }
        Verdict::Deny(Deny { why, .. }) => Outcome::Ends(why.to_string()),
        Verdict::Need(_) => Outcome::Unknown("names or a user would have to be asked for"),
    }
}

fn whole(text: Text<'_>) -> Option<&[u8]> {
    (!text.is_cut).then_some(text.bytes)
}

fn name(text: Text<'_>) -> Option<Vec<HostName>> {
    match whole(text)? {
        b"" => Some(Vec::new()),
        bytes => HostName::parse(bytes).ok().map(|name| vec![name]),
    }
}

/// A host without a name in the ledger may have one all the same.
fn known(names: &[HostName]) -> FactState<&[HostName]> {
    if names.is_empty() { FactState::NotAsked } else { FactState::Known(names) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::ledger::Phase;
    use sockd_policy::{Services, parse_conf};

    fn entry() -> Entry<'static> {
        Entry {
            number: 1,
            since: 0,
            worker: 1,
            rule: 1,
            phase: Phase::Relaying,
            version: 5,
            command: 1,
            by_password: true,
            client: "192.0.2.10:40000".parse().unwrap(),
            proxy: "192.0.2.1:1080".parse().unwrap(),
            destination: Some("198.51.100.10".parse().unwrap()),
            port: 443,
            upstream: None,
            destination_name: Text::default(),
            client_name: Text::default(),
            claimed: b"joe"[..].into(),
            verified: b"joe"[..].into(),
            groups: b"staff"[..].into(),
        }
    }

    fn rules(text: &str) -> RuleSet {
        parse_conf(text.as_bytes(), &Services::default(), &mut |_| Err(String::new())).unwrap()
    }

    fn judged(entry: Entry<'_>, text: &str) -> Option<Outcome> {
        judge(&entry, IdentMode::Off, &rules(text))
    }

    #[test]
    fn the_rules_say_what_they_would_say_of_a_request() {
        let stays = Some(Outcome::Stays);
        assert_eq!(judged(entry(), "permit 192.0.2.0/24\n"), stays);
        let ends = |why: &str| Some(Outcome::Ends(why.into()));
        assert_eq!(judged(entry(), "deny 192.0.2.10/32\npermit 0.0.0.0/0\n"), ends("line 1 refuses it"));
        assert!(matches!(judged(entry(), "permit 203.0.113.0/24\n"), Some(Outcome::Ends(_))));
        let udp = Entry { command: 3, destination: None, ..entry() };
        let datagrams = |text| datagrams(&udp, &rules(text));
        assert_eq!(datagrams("permit +=udp 192.0.2.0/24\n"), Outcome::Stays);
        assert_eq!(Some(datagrams("permit 192.0.2.0/24\n")), ends("no line permits datagrams"));
    }

    #[test]
    fn what_the_ledger_does_not_say_is_not_guessed() {
        let by_name = "deny 0.0.0.0/0 .example.org 0.0.0.0\npermit 0.0.0.0/0\n";
        assert!(matches!(judged(entry(), by_name), Some(Outcome::Unknown(_))));
        let named = Entry { destination_name: b"www.example.org"[..].into(), ..entry() };
        assert!(matches!(judged(named, by_name), Some(Outcome::Ends(_))));
        let cut = Text { bytes: b"joe", is_cut: true };
        assert_eq!(judged(Entry { claimed: cut, ..entry() }, "permit 0.0.0.0/0\n"), None);
    }
}
