//! What a decision may have to know: facts are asked for one after the other, and each answer leads to a new decision.

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

/// Begins with the addresses of the destination, and what they are to this host.
pub(super) fn begin(destination: Destination, case: &mut Case<'_>) -> Next {
    match destination {
        Destination::Address(address) => classify(vec![address], case),
        Destination::Name(_)
            if case.config.settings.upstream_names == UpstreamNames::Always
                && decision::goes_unresolved(case) =>
        {
            unresolved(case)
        }
        // There are nameservers that know a name only as the client writes it.
        Destination::Name(written) => ask(Fact::Addresses, Task::Resolve(Query::Addresses(written)), case),
    }
}

/// Asks for a fact, and waits for it as long as the settings say.
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

/// Asks for what a decision needs.
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

/// What the log has to know although no decision needs it.
pub(super) fn wanted_for_the_log(case: &Case<'_>) -> Option<Need> {
    let facts = case.facts();
    match (facts.source_names, facts.destination_names) {
        _ if !case.config.settings.reverse_names => None,
        (FactState::NotAsked, _) => Some(Need::SourceNames),
        (_, FactState::NotAsked) => Some(Need::DestinationNames),
        _ => None,
    }
}

/// What was asked for about the destination or the client has come.
pub(super) fn arrived(fact: Fact, arrival: Arrival, key: WaitKey, case: &mut Case<'_>) -> Next {
    match (fact, arrival) {
        (Fact::Addresses, Arrival::Resolved(answer)) => addresses(answer, case),
        (Fact::Kinds, Arrival::Classified(candidates)) => kinds(candidates, case),
        (Fact::SourceNames, Arrival::Resolved(answer)) => source_names(answer, case),
        (Fact::DestinationNames, Arrival::Resolved(answer)) => destination_names(answer, case),
        (Fact::Identity, Arrival::Identified(user)) => identity(user, case),
        (Fact::Identity, Arrival::NoRoom(_)) => no_identity(case),
        (fact, _) => case.wait_further(key, Wait::Fact(fact)),
    }
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

/// Finds out again what the candidates are to this host: while something else was waited for, an address may have become
/// its own.
pub(super) fn look_again(case: &mut Case<'_>) -> Next {
    let addresses = case.request.candidates.iter().map(|candidate| candidate.address).collect();
    classify(addresses, case)
}

/// The name is left to a next server.
fn unresolved(case: &mut Case<'_>) -> Next {
    case.request.unresolved = true;
    Next::decide()
}

/// It is known what the addresses of the destination are to this host.
fn kinds(candidates: Vec<Candidate>, case: &mut Case<'_>) -> Next {
    // Later they keep their places: attempts that are under way are known by them.
    let is_first = case.request.candidates.is_empty();
    case.request.candidates = if is_first { order::ordered(candidates) } else { candidates }.into();
    case.request.kinds_are_fresh = true;
    Next::decide()
}

/// The resolver has told the names of the client.
fn source_names(answer: Answer, case: &mut Case<'_>) -> Next {
    case.request.source_names = names(answer);
    case.request.missing.source_names = case.request.source_names.is_none();
    Next::decide()
}

/// The resolver has told the names of the destination.
fn destination_names(answer: Answer, case: &mut Case<'_>) -> Next {
    case.request.destination_names = names(answer);
    case.request.missing.destination_names = case.request.destination_names.is_none();
    Next::decide()
}

/// identd has told who the client is, or nobody has.
fn identity(identity: Identity, case: &mut Case<'_>) -> Next {
    case.request.identity = Some(identity);
    Next::decide()
}

/// identd is not asked, for a limit that is reached: nothing is known of the user.
fn no_identity(case: &mut Case<'_>) -> Next {
    case.request.missing.identity = true;
    Next::decide()
}

/// Facts about the destination or the client did not come in time.
pub(super) fn late(waits: &[(WaitKey, Wait)], case: &mut Case<'_>) -> Next {
    let mut next = Next::decide();
    for (_, wait) in waits {
        next = match wait {
            Wait::Fact(Fact::Identity) => identity(Identity::Unknown, case),
            Wait::Fact(Fact::SourceNames) => source_names(Answer::Failed, case),
            Wait::Fact(Fact::DestinationNames) => destination_names(Answer::Failed, case),
            _ => return addresses(Answer::Failed, case),
        };
    }
    next
}

/// Names as the resolver gave them; what is no host name is none. Nothing where it could not find them out, which says
/// nothing of the names.
fn names(answer: Answer) -> Option<Box<[HostName]>> {
    match answer {
        Answer::Names(names) => {
            Some(names.into_vec().iter().filter_map(|name| HostName::parse(name.as_bytes()).ok()).collect())
        }
        Answer::NotFound | Answer::Addresses(_) => Some(Box::default()),
        Answer::Failed => None,
    }
}
