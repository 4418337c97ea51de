//! The plan of a lookup: the questions that it has to ask, and its answer once their outcomes are known.
//!
//! A plan keeps no state: it is gone through again from its beginning each time that one more outcome is known,
//! and either ends with the answer or names the questions that are still open.

use super::answer::{Outcome, first_distinct};
use super::hosts::Hosts;
use super::name::{DnsName, HostName, written_as};
use super::question::Question;
use core::net::{IpAddr, Ipv4Addr};
use domain::base::name::ToLabelIter;
use sockd_common::bounded::BoundedVec;
use sockd_common::message::resolver::{Answer, MAX_ADDRESSES, MAX_SEARCH, Query, RecordType};
use std::time::Duration;

/// The most aliases in a row that are asked for, each in a question of its own.
const MAX_ALIASES: usize = 8;

/// The settings of resolv.conf(5) besides the nameservers.
#[derive(Debug, Default)]
pub struct Setup {
    /// Number of nameservers; with none, only the table of hosts answers.
    pub servers: u8,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often each nameserver is tried.
    pub attempts: u8,
    /// Names with fewer dots are first tried below the search domains.
    pub ndots: u8,
    /// Every question goes by TCP.
    pub by_tcp: bool,
    /// The search domains, of which [`MAX_SEARCH`] are used.
    pub search: Vec<HostName>,
}

/// The most nameservers that are asked, so that numbers of attempts stay within their octet.
const MAX_SERVERS: u8 = 16;

impl Setup {
    /// The number of nameservers that are asked.
    pub fn servers(&self) -> u8 {
        self.servers.min(MAX_SERVERS)
    }

    /// The number of the nameserver that an attempt goes to.
    pub fn server(&self, attempt: u8) -> u8 {
        attempt.checked_rem(self.servers()).unwrap_or(0)
    }
}

/// The outcomes that are missing for the plan to go on.
#[derive(PartialEq, Eq, Debug)]
pub struct Open {
    /// The questions, each for another type of record. They are asked at the same time.
    pub questions: Vec<Question>,
    /// There is an answer without them: their outcomes could only be added to it.
    pub enough: bool,
}

impl From<Question> for Open {
    fn from(question: Question) -> Self {
        Self { questions: vec![question], enough: false }
    }
}

/// The knowledge that is there before any question.
pub struct Plan<'a> {
    /// The settings.
    pub setup: &'a Setup,
    /// The table of hosts.
    pub hosts: &'a Hosts,
}

impl Plan<'_> {
    /// Goes through the plan for `query` with the outcomes that `known` gives.
    pub fn answer(
        &self,
        query: &Query,
        known: &mut dyn FnMut(&Question) -> Option<Outcome>,
    ) -> Result<Answer, Open> {
        match query {
            Query::Addresses(name) => match HostName::from_text(name.as_bytes()) {
                Some(host) => self.addresses_of(&host, name.as_bytes(), known),
                None => Ok(Answer::NotFound),
            },
            Query::Names(address) => self.names_of(address.to_canonical(), known),
        }
    }

    /// `written` is the name as the client wrote it.
    fn addresses_of(&self, name: &HostName, written: &[u8], known: Known<'_>) -> Result<Answer, Open> {
        if let Some(addresses) = self.addresses_without_dns(name) {
            return Ok(addresses_or_not_found(addresses));
        }
        for candidate in self.candidates(name, written.ends_with(b".")) {
            match addresses_in_dns(&candidate, written, known)? {
                Answer::NotFound => {}
                // After a failure, too: a later candidate would be another host.
                answer => return Ok(answer),
            }
        }
        Ok(Answer::NotFound)
    }

    /// The addresses of a name about which no nameserver is asked.
    fn addresses_without_dns(&self, name: &HostName) -> Option<Vec<IpAddr>> {
        let listed = self.hosts.addresses(name);
        if !listed.is_empty() {
            return Some(listed);
        }
        if name.is_within(LOCALHOST) {
            return Some(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        }
        let nowhere = is_never_asked(&name.to_dns()?) || name.is_number() || self.setup.servers == 0;
        nowhere.then(Vec::new)
    }

    /// The names to try in turn (resolv.conf(5), `search` and `ndots`).
    fn candidates(&self, name: &HostName, absolute: bool) -> Vec<HostName> {
        if absolute {
            return vec![name.clone()];
        }
        let search = self.setup.search.iter().take(MAX_SEARCH);
        let mut candidates: Vec<_> = search.filter_map(|domain| name.below(domain)).collect();
        let position = if name.dots() >= usize::from(self.setup.ndots) { 0 } else { candidates.len() };
        candidates.insert(position, name.clone());
        candidates
    }

    /// Finds the names of an address. Its owner may let it point to any name, so a name counts only if it has the
    /// address among its own.
    fn names_of(&self, address: IpAddr, known: Known<'_>) -> Result<Answer, Open> {
        if let Some(names) = self.names_without_dns(address) {
            return Ok(names_or_not_found(names));
        }
        let Ok(pointer) = DnsName::reverse_from_addr(address) else { return Ok(Answer::Failed) };
        let named = match follow(Question { name: pointer, record: RecordType::Ptr }, known)? {
            Outcome::Names(names) => names,
            Outcome::NoData | Outcome::NoName => return Ok(Answer::NotFound),
            _ => return Ok(Answer::Failed),
        };
        let mut confirmed = Vec::new();
        let mut failed = false;
        for name in named {
            match self.has_address(&name, address, known)? {
                Some(true) => confirmed.push(name),
                Some(false) => {}
                None => failed = true,
            }
        }
        // A rule may deny the very name that could not be confirmed.
        Ok(if failed { Answer::Failed } else { names_or_not_found(confirmed) })
    }

    /// The names of an address about which no nameserver is asked.
    fn names_without_dns(&self, address: IpAddr) -> Option<Vec<HostName>> {
        let listed = self.hosts.names(address);
        if !listed.is_empty() {
            return Some(listed);
        }
        if address == Ipv4Addr::LOCALHOST {
            return Some(HostName::from_text(LOCALHOST.as_bytes()).into_iter().collect());
        }
        (address.is_loopback() || self.setup.servers == 0).then(Vec::new)
    }

    /// Whether `name` has `address`; `None` if no nameserver says.
    fn has_address(&self, name: &HostName, address: IpAddr, known: Known<'_>) -> Result<Option<bool>, Open> {
        if let Some(addresses) = self.addresses_without_dns(name) {
            return Ok(Some(addresses.contains(&address)));
        }
        let record = if address.is_ipv4() { RecordType::A } else { RecordType::Aaaa };
        let Some(name) = name.to_dns() else { return Ok(Some(false)) };
        Ok(match follow(Question { name, record }, known)? {
            Outcome::Addresses(addresses) => Some(addresses.contains(&address)),
            Outcome::Failed => None,
            _ => Some(false),
        })
    }
}

/// The domain whose names all mean this host (RFC 6761, section 6.3).
const LOCALHOST: &str = "localhost";

type Known<'a> = &'a mut dyn FnMut(&Question) -> Option<Outcome>;

/// Returns IPv4 and IPv6 addresses. The outcome for one kind means nothing for the other: some nameservers deny that a
/// name exists when they are asked for the kind of address that it does not have.
fn addresses_in_dns(name: &HostName, written: &[u8], known: Known<'_>) -> Result<Answer, Open> {
    let Some(name) = name.to_dns().and_then(|name| written_as(&name, written)) else {
        return Ok(Answer::NotFound);
    };
    let mut found = [Vec::new(), Vec::new()];
    let (mut open, mut failed) = (Vec::new(), false);
    for (record, found) in [RecordType::A, RecordType::Aaaa].into_iter().zip(&mut found) {
        match follow(Question { name: name.clone(), record }, known) {
            Err(question) => open.push(question),
            Ok(Outcome::Addresses(addresses)) => *found = addresses,
            Ok(Outcome::NoData | Outcome::NoName) => {}
            Ok(_) => failed = true,
        }
    }
    let [ipv4, ipv6] = found;
    let none = ipv4.is_empty() && ipv6.is_empty();
    match open.is_empty() {
        false => Err(Open { questions: open, enough: !none }),
        true if none && failed => Ok(Answer::Failed),
        true => Ok(addresses_or_not_found(union(ipv4, ipv6))),
    }
}

/// Returns as many of both as there is room for. Either kind gets at least half of the room if it needs it.
fn union(mut ipv4: Vec<IpAddr>, ipv6: Vec<IpAddr>) -> Vec<IpAddr> {
    let kept = ipv6.len().min(MAX_ADDRESSES / 2);
    ipv4.truncate(MAX_ADDRESSES.saturating_sub(kept));
    first_distinct(ipv4.into_iter().chain(ipv6), MAX_ADDRESSES)
}

/// Domains that no nameserver is asked about, wherever the name comes from. `.invalid` is never delegated (RFC 6761,
/// section 6.4), and a question about a name below `.onion` would tell which hidden service is wanted (RFC 7686).
const NEVER_ASKED: [&[u8]; 2] = [b"invalid", b"onion"];

fn is_never_asked(name: &DnsName) -> bool {
    // The very last label is the root.
    let last = name.iter_labels().rev().nth(1);
    last.is_some_and(|label| NEVER_ASKED.iter().any(|domain| label.as_slice().eq_ignore_ascii_case(domain)))
}

/// Returns the outcome of a question behind all aliases, never an alias itself; or the question that is open.
fn follow(mut question: Question, known: Known<'_>) -> Result<Outcome, Question> {
    for _ in 0..MAX_ALIASES {
        if is_never_asked(&question.name) {
            return Ok(Outcome::NoName);
        }
        match known(&question) {
            None => return Err(question),
            Some(Outcome::Alias(target)) => question.name = target,
            Some(outcome) => return Ok(outcome),
        }
    }
    Ok(Outcome::Failed)
}

fn addresses_or_not_found(addresses: Vec<IpAddr>) -> Answer {
    match addresses.is_empty() {
        true => Answer::NotFound,
        false => Answer::Addresses(BoundedVec::first_of(addresses)),
    }
}

fn names_or_not_found(names: Vec<HostName>) -> Answer {
    let names = BoundedVec::first_of(names.iter().filter_map(HostName::to_message));
    if names.as_slice().is_empty() { Answer::NotFound } else { Answer::Names(names) }
}

#[cfg(test)]
mod tests;
