//! The facts that a decision may need. They are asked for one after the other, and each answer leads to a new decision.

use crate::record::Failure;
use crate::session::case::Case;
use crate::session::decision;
use crate::session::event::{Action, Arrival, Candidate, Fact, Task, Wait};
use crate::session::next::Next;
use crate::session::order;
use crate::session::phase::Phase;
use crate::settings::{UpstreamNames, seconds};
use crate::waits::WaitKey;
use sockd_common::message::request::Destination;
use sockd_common::message::resolver::{Answer, Query};
use sockd_policy::{FactState, HostName, Identity, Need, canonical};
use std::net::IpAddr;

/// Begins with the addresses of the destination, and their kinds.
pub(super) fn begin(destination: Destination, case: &mut Case<'_>) -> Next {
    match destination {
        Destination::Address(address) => classify(vec![address], case),
        Destination::Name(_)
            if case.config.settings.upstream_names == UpstreamNames::Always
                && decision::goes_unresolved(case) =>
        {
            unresolved(case)
        }
        // Some nameservers know a name only as the client writes it.
        Destination::Name(written) => ask(Fact::Addresses, Task::Resolve(Query::Addresses(written)), case),
    }
}

/// Asks for a fact, and waits for it no longer than the settings allow.
pub(super) fn ask(fact: Fact, task: Task, case: &mut Case<'_>) -> Next {
    let limit = match fact {
        Fact::Identity => case.config.settings.ident_limit,
        _ => case.config.settings.resolve_limit,
    };
    let phase = match fact {
        Fact::UpstreamAddresses | Fact::UpstreamKinds => Phase::FindingUpstream,
        _ => Phase::Asking,
    };
    let limit = Action::Deadline(Some(seconds(limit)));
    Next::phase(phase, vec![limit, case.begin(Wait::Fact(fact), task)])
}

/// Asks for the fact that a decision needs.
pub(super) fn need(need: Need, case: &mut Case<'_>) -> Next {
    let (fact, task) = match need {
        Need::SourceNames => (Fact::SourceNames, Task::Resolve(Query::Names(case.client.ip()))),
        Need::DestinationNames => {
            (Fact::DestinationNames, Task::Resolve(Query::Names(case.request.target())))
        }
        Need::Identity => (Fact::Identity, Task::AskIdent),
    };
    ask(fact, task, case)
}

/// The fact that the log needs although no decision does, if any.
pub(super) fn wanted_for_the_log(case: &Case<'_>) -> Option<Need> {
    let facts = case.facts();
    match (facts.source_names, facts.destination_names) {
        _ if !case.config.settings.reverse_names => None,
        (FactState::NotAsked, _) => Some(Need::SourceNames),
        (_, FactState::NotAsked) => Some(Need::DestinationNames),
        _ => None,
    }
}

/// A fact about the destination or the client has come.
pub(super) fn arrived(fact: Fact, arrival: Arrival, key: WaitKey, case: &mut Case<'_>) -> Next {
    match (fact, arrival) {
        (Fact::Addresses, Arrival::Resolved(answer)) => return addresses(answer, case),
        (Fact::Kinds, Arrival::Classified(candidates)) => return kinds(candidates, case),
        (Fact::SourceNames, Arrival::Resolved(answer)) => case.request.source_names = names(answer),
        (Fact::DestinationNames, Arrival::Resolved(answer)) => case.request.destination_names = names(answer),
        (Fact::Identity, Arrival::Identified(identity)) => case.request.identity = FactState::Known(identity),
        // identd is not asked because a limit is reached: the user is not known.
        (Fact::Identity, Arrival::NoRoom(_)) => case.request.identity = FactState::Unavailable,
        (fact, _) => return case.wait_further(key, Wait::Fact(fact)),
    }
    Next::decide()
}

/// The resolver has told the addresses of the destination's name.
fn addresses(answer: Answer, case: &mut Case<'_>) -> Next {
    match answer {
        Answer::Addresses(addresses) => classify(addresses.into_vec(), case),
        _ if decision::goes_unresolved(case) => unresolved(case),
        _ => Next::refuse(Failure::Unresolved),
    }
}

fn classify(addresses: Vec<IpAddr>, case: &mut Case<'_>) -> Next {
    let addresses = addresses.into_iter().map(canonical).collect();
    let task = Task::Classify(addresses, case.request.port);
    ask(Fact::Kinds, task, case)
}

/// Finds out the kinds of the candidates again: during a wait an address may have become this host's own.
pub(super) fn look_again(case: &mut Case<'_>) -> Next {
    let addresses = case.request.candidates.iter().map(|candidate| candidate.address).collect();
    classify(addresses, case)
}

/// Leaves the name to a next server.
fn unresolved(case: &mut Case<'_>) -> Next {
    case.request.progress().unresolved = true;
    Next::decide()
}

/// The kinds of the destination's addresses are known.
fn kinds(candidates: Vec<Candidate>, case: &mut Case<'_>) -> Next {
    // Later the candidates keep their places, which identify the attempts under way.
    let is_first = case.request.candidates.is_empty();
    case.request.candidates = if is_first { order::ordered(candidates) } else { candidates }.into();
    case.request.progress().kinds_are_fresh = true;
    Next::decide()
}

/// Facts about the destination or the client did not come in time.
pub(super) fn late(waits: &[(WaitKey, Wait)], case: &mut Case<'_>) -> Next {
    for (_, wait) in waits {
        match wait {
            Wait::Fact(Fact::Identity) => case.request.identity = FactState::Known(Identity::Unknown),
            Wait::Fact(Fact::SourceNames) => case.request.source_names = FactState::Unavailable,
            Wait::Fact(Fact::DestinationNames) => case.request.destination_names = FactState::Unavailable,
            _ => return addresses(Answer::Failed, case),
        }
    }
    Next::decide()
}

/// The names from the resolver, without those that are no host names. A failed lookup says nothing about the names.
fn names(answer: Answer) -> FactState<Box<[HostName]>> {
    match answer {
        Answer::Names(names) => {
            let names = names.into_vec();
            FactState::Known(names.iter().filter_map(|name| HostName::parse(name.as_bytes()).ok()).collect())
        }
        Answer::NotFound | Answer::Addresses(_) => FactState::Known(Box::default()),
        Answer::Failed => FactState::Unavailable,
    }
}
