//! All lookups that are under way. Nothing here does input or output: what has happened comes in as calls, and what
//! is to be done is left in a queue of [`Action`]s.

use super::answer::Outcome;
use super::cache::Cache;
use super::exchange::{Exchange, Step};
use super::hosts::Hosts;
use super::plan::{Open, Plan, Setup};
use super::question::{Entropy, Question};
use core::mem::take;
use sockd_common::message::Id;
use sockd_common::message::resolver::{Answer, FromResolver, Query, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// More lookups than these at a time are answered with [`Answer::Failed`].
pub const MAX_LOOKUPS: usize = 1024;

/// No lookup asks for more sockets, whatever zones it is led through.
pub const MAX_SOCKETS: u8 = 48;

/// Something to be done outside.
#[derive(PartialEq, Eq, Debug)]
pub enum Action {
    /// Say this to the monitor.
    Say(FromResolver),
    /// Send these octets on the socket of this lookup.
    Send(Id, Vec<u8>),
    /// Close the socket of this lookup, where it has one.
    Close(Id),
}

/// The lookups, and what is known.
#[derive(Debug, Default)]
pub struct Lookups {
    setup: Setup,
    hosts: Hosts,
    cache: Cache,
    lookups: BTreeMap<Id, Lookup>,
    /// Who asks which question. There is never a second exchange about the same question: a forger would have to
    /// guess only one of several ids (RFC 5452, section 5).
    asking: BTreeMap<Question, Id>,
    /// Lookups whose plan can go on.
    ready: VecDeque<Id>,
    /// The nameserver that answered last is asked first, so that a dead one costs its time-out once.
    preferred: u8,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Lookup {
    query: Query,
    /// Outcomes are kept by the lookup itself, so that it sees no two answers to one question even where they
    /// hold for no time at all.
    known: Vec<(Question, Outcome)>,
    sockets_left: u8,
    state: State,
}

#[derive(Debug)]
enum State {
    Ready,
    Asking(Exchange),
    /// Another lookup asks this question already.
    Following(Question),
}

impl Lookups {
    /// Takes new settings, which may mean other nameservers: what the old ones said is forgotten.
    pub fn set_up(&mut self, setup: Setup) {
        self.setup = setup;
        self.cache.clear();
        self.preferred = 0;
    }

    /// Takes a new table of hosts.
    pub fn replace_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Begins a lookup. False where the monitor uses an id that is taken.
    #[must_use]
    pub fn resolve(&mut self, id: Id, query: Query, now: Instant) -> bool {
        if self.lookups.contains_key(&id) {
            return false;
        }
        if self.lookups.len() >= MAX_LOOKUPS {
            self.say_answer(id, Answer::Failed);
            return true;
        }
        let lookup = Lookup { query, known: Vec::new(), sockets_left: MAX_SOCKETS, state: State::Ready };
        self.lookups.insert(id, lookup);
        self.ready.push_back(id);
        self.go_on(now);
        true
    }

    /// The socket that a lookup needs has come: gives its transport, or nothing where the lookup has no use for it
    /// any longer. The question is among the actions.
    pub fn socket(&mut self, id: Id, entropy: &Entropy, now: Instant) -> Option<Transport> {
        let timeout = self.setup.timeout;
        let exchange = self.exchange(id)?;
        let packet = exchange.socket(entropy, now, timeout)?;
        let transport = exchange.transport();
        self.actions.push_back(Action::Send(id, packet));
        Some(transport)
    }

    /// A datagram, or some octets of a stream, have come on the socket of a lookup.
    pub fn receive(&mut self, id: Id, octets: &[u8], now: Instant) {
        let step = self.exchange(id).map(|exchange| exchange.receive(octets));
        self.take_step(id, step, now);
    }

    /// A lookup gets no socket, or the one it has is of no more use.
    pub fn lose_socket(&mut self, id: Id, now: Instant) {
        let step = self.exchange(id).map(Exchange::lost);
        self.take_step(id, step, now);
    }

    /// Ends a lookup for which nobody waits. One that has ended already stays so.
    pub fn cancel(&mut self, id: Id, now: Instant) {
        if self.lookups.contains_key(&id) {
            self.end(id, Answer::Failed);
            self.go_on(now);
        }
    }

    /// Goes on with the lookups whose nameserver has not answered in time.
    pub fn expire(&mut self, now: Instant) {
        let late: Vec<Id> =
            self.deadlines().filter_map(|(id, deadline)| (deadline <= now).then_some(id)).collect();
        for id in late {
            let step = self.exchange(id).map(Exchange::late);
            self.take_step(id, step, now);
        }
    }

    /// When [`Lookups::expire`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines().map(|(_, deadline)| deadline).min()
    }

    /// What is to be done, in this order.
    pub fn take_actions(&mut self) -> VecDeque<Action> {
        take(&mut self.actions)
    }

    fn deadlines(&self) -> impl Iterator<Item = (Id, Instant)> {
        self.lookups.iter().filter_map(|(id, lookup)| match &lookup.state {
            State::Asking(exchange) => Some((*id, exchange.deadline()?)),
            _ => None,
        })
    }

    fn exchange(&mut self, id: Id) -> Option<&mut Exchange> {
        match &mut self.lookups.get_mut(&id)?.state {
            State::Asking(exchange) => Some(exchange),
            _ => None,
        }
    }

    fn take_step(&mut self, id: Id, step: Option<Step>, now: Instant) {
        match step {
            None | Some(Step::Wait) => {}
            Some(Step::NeedSocket(_)) => self.need_socket(id),
            Some(Step::End(outcome, seconds)) => self.conclude(id, outcome, seconds, now),
        }
        self.go_on(now);
    }

    fn need_socket(&mut self, id: Id) {
        self.actions.push_back(Action::Close(id));
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let State::Asking(exchange) = &lookup.state else { return };
        let (transport, attempt) = (exchange.transport(), exchange.attempt());
        let record = exchange.question().record;
        match lookup.sockets_left.checked_sub(1) {
            None => self.end(id, Answer::Failed),
            Some(left) => {
                lookup.sockets_left = left;
                self.actions.push_back(Action::Say(FromResolver::NeedSocket {
                    id,
                    record,
                    transport,
                    attempt,
                }));
            }
        }
    }

    /// The exchange of a lookup has ended: this lookup, and all that follow it, know the outcome.
    fn conclude(&mut self, id: Id, outcome: Outcome, seconds: u32, now: Instant) {
        self.actions.push_back(Action::Close(id));
        let Some(exchange) = self.exchange(id) else { return };
        let (question, attempt) = (exchange.question().clone(), exchange.attempt());
        if outcome != Outcome::Failed {
            self.preferred = attempt.checked_rem(self.setup.servers()).unwrap_or(0);
        }
        self.asking.remove(&question);
        for (other, lookup) in &mut self.lookups {
            let concerned = match &lookup.state {
                State::Asking(_) => *other == id,
                State::Following(followed) => *followed == question,
                State::Ready => false,
            };
            if concerned {
                lookup.known.push((question.clone(), outcome.clone()));
                lookup.state = State::Ready;
                self.ready.push_back(*other);
            }
        }
        self.cache.keep(question, outcome, seconds, now);
    }

    /// Goes through the plans of all lookups that know more than before.
    fn go_on(&mut self, now: Instant) {
        while let Some(id) = self.ready.pop_front() {
            let Some(lookup) = self.lookups.get_mut(&id) else { continue };
            let plan = Plan { setup: &self.setup, hosts: &self.hosts };
            let (known, cache) = (&mut lookup.known, &self.cache);
            match plan.answer(&lookup.query, &mut |question| look_up(question, known, cache, now)) {
                Ok(answer) => self.end(id, answer),
                Err(Open(question)) if self.asking.contains_key(&question) => {
                    lookup.state = State::Following(question);
                }
                Err(Open(question)) => {
                    self.asking.insert(question.clone(), id);
                    let exchange = Exchange::new(question, self.preferred, &self.setup);
                    if let Some(lookup) = self.lookups.get_mut(&id) {
                        lookup.state = State::Asking(exchange);
                    }
                    self.need_socket(id);
                }
            }
        }
    }

    /// The last word on a lookup. Where others wait for its exchange, they have to ask for themselves.
    fn end(&mut self, id: Id, answer: Answer) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        if let State::Asking(exchange) = lookup.state {
            self.actions.push_back(Action::Close(id));
            self.asking.remove(exchange.question());
            for (other, lookup) in &mut self.lookups {
                if matches!(&lookup.state, State::Following(question) if question == exchange.question()) {
                    lookup.state = State::Ready;
                    self.ready.push_back(*other);
                }
            }
        }
        self.say_answer(id, answer);
    }

    fn say_answer(&mut self, id: Id, answer: Answer) {
        self.actions.push_back(Action::Say(FromResolver::Answer { id, answer }));
    }
}

/// What the lookup knows itself, or the cache does.
fn look_up(
    question: &Question,
    known: &mut Vec<(Question, Outcome)>,
    cache: &Cache,
    now: Instant,
) -> Option<Outcome> {
    if let Some((_, outcome)) = known.iter().find(|(known, _)| known == question) {
        return Some(outcome.clone());
    }
    let outcome = cache.get(question, now)?;
    known.push((question.clone(), outcome.clone()));
    Some(outcome)
}

#[cfg(test)]
mod tests;
