//! All lookups that are under way. This file does no input or output: events come in as calls, and the work that is to
//! be done is left in a queue of [`Action`]s.
//!
//! A lookup belongs to one asker. An exchange with the nameservers belongs to all lookups that wait for it, and goes on
//! as long as one of them does. So no asker can end, or begin anew, an exchange that another waits for.

use super::answer::Outcome;
use super::cache::Cache;
use super::exchange::{Exchange, Step};
use super::health::Health;
use super::hosts::Hosts;
use super::plan::{Open, Plan, Setup};
use super::question::{Entropy, Question};
use core::mem::take;
use sockd_common::message::Id;
use sockd_common::message::resolver::{Answer, FromResolver, MAX_LOOKUPS, Query, RecordType, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The most sockets that a lookup asks for, whatever zones it is led through.
pub const MAX_SOCKETS: u8 = 48;

/// How long a lookup that has addresses of one kind waits for the other kind (RFC 8305, section 3). Some nameservers
/// never say that a name has none.
const RESOLUTION_DELAY: Duration = Duration::from_millis(500);

/// Something to be done outside.
#[derive(PartialEq, Eq, Debug)]
pub enum Action {
    /// Say this to the monitor.
    Say(FromResolver),
    /// Send these octets on the socket of this exchange.
    Send(Key, Vec<u8>),
    /// Close the socket of this exchange, if it has one.
    Close(Key),
}

/// Tells one exchange from all others there ever were.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(pub u64);

/// The lookups, and the knowledge that they share.
#[derive(Debug, Default)]
pub struct Lookups {
    setup: Setup,
    hosts: Hosts,
    cache: Cache,
    health: Health,
    lookups: BTreeMap<Id, Lookup>,
    exchanges: BTreeMap<Key, Shared>,
    /// The exchange about a question that begins with this nameserver. There is never a second one like it: a forger
    /// would have to guess only one of several ids (RFC 5452, section 5).
    asking: BTreeMap<(Question, u8), Key>,
    keys: u64,
    /// Lookups whose plan can go on.
    ready: VecDeque<Id>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Lookup {
    query: Query,
    /// The outcomes that the lookup keeps itself. So it sees no two answers to one question, even if they hold for no
    /// time at all.
    known: Vec<(Question, Outcome)>,
    sockets_left: u8,
    /// The nameserver that has answered it last. The first one may not know the names that an alias leads to.
    preferred: u8,
    waits_for: Vec<Key>,
    /// When it goes on without the outcomes that it still waits for.
    ends: Option<Instant>,
}

/// An exchange and the lookups that wait for it.
#[derive(Debug)]
struct Shared {
    exchange: Exchange,
    first: u8,
    /// The lookups that wait, in the order in which they came.
    waiting: Vec<Id>,
    /// The one of them through which a socket has been asked for.
    asking: Option<Id>,
}

impl Lookups {
    /// Takes new settings. They may name other nameservers, so the answers of the old ones are forgotten.
    pub fn set_up(&mut self, setup: Setup) {
        self.setup = setup;
        self.cache.clear();
        self.health = Health::default();
    }

    /// Takes a new table of hosts.
    pub fn replace_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Begins a lookup. Returns false if the monitor uses an id that is taken.
    #[must_use]
    pub fn resolve(&mut self, id: Id, query: Query, now: Instant) -> bool {
        if self.lookups.contains_key(&id) {
            return false;
        }
        if self.lookups.len() >= MAX_LOOKUPS as usize {
            self.say_answer(id, Answer::Failed);
            return true;
        }
        let lookup = Lookup {
            query,
            known: Vec::new(),
            sockets_left: MAX_SOCKETS,
            preferred: 0,
            waits_for: Vec::new(),
            ends: None,
        };
        self.lookups.insert(id, lookup);
        self.ready.push_back(id);
        self.go_on(now);
        true
    }

    /// Takes note of a socket for a question of a lookup about such a record. Returns the exchange that needs it;
    /// `None` if none does any longer. The question is among the actions.
    pub fn socket(
        &mut self,
        id: Id,
        record: RecordType,
        entropy: &Entropy,
        now: Instant,
    ) -> Option<(Key, Transport)> {
        let key = self.asked_through(id, record)?;
        let shared = self.exchanges.get_mut(&key)?;
        shared.asking = None;
        let patience = match shared.exchange.comes_again() {
            true => {
                let server = self.setup.server(shared.exchange.attempt());
                self.health.patience(server, self.setup.servers(), self.setup.timeout)
            }
            false => self.setup.timeout,
        };
        let packet = shared.exchange.socket(entropy, now, patience)?;
        self.actions.push_back(Action::Send(key, packet));
        Some((key, shared.exchange.transport()))
    }

    /// Takes note that a lookup gets no socket for such a record.
    pub fn no_socket(&mut self, id: Id, record: RecordType, now: Instant) {
        if let Some(key) = self.asked_through(id, record) {
            self.lose_socket(key, now);
        }
    }

    /// Takes a datagram, or some octets of a stream, from the socket of an exchange.
    pub fn receive(&mut self, key: Key, octets: &[u8], now: Instant) {
        let Some(shared) = self.exchanges.get_mut(&key) else { return };
        let server = self.setup.server(shared.exchange.attempt());
        let step = shared.exchange.receive(octets);
        if step != Step::Wait {
            self.health.answered(server, now);
        }
        self.take_step(key, step, now);
    }

    /// Takes note that the socket of an exchange is of no more use.
    pub fn lose_socket(&mut self, key: Key, now: Instant) {
        let Some(shared) = self.exchanges.get_mut(&key) else { return };
        let step = shared.exchange.lost();
        self.take_step(key, step, now);
    }

    /// Ends a lookup for which nobody waits, unless it has ended already.
    pub fn cancel(&mut self, id: Id, now: Instant) {
        if self.lookups.contains_key(&id) {
            self.end(id, Answer::Failed, now);
            self.go_on(now);
        }
    }

    /// Goes on with the exchanges whose nameserver has not answered in time, and with the lookups that have waited long
    /// enough for outcomes that they can do without.
    pub fn expire(&mut self, now: Instant) {
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let late = self.exchanges.iter().filter(|(_, shared)| is_over(shared.exchange.deadline()));
        for key in late.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.late(key, now);
        }
        let waited = self.lookups.iter().filter(|(_, lookup)| is_over(lookup.ends));
        for id in waited.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.do_without(id);
        }
        self.go_on(now);
    }

    /// Returns when [`Lookups::expire`] is due, if it is.
    pub fn next_deadline(&self) -> Option<Instant> {
        let exchanges = self.exchanges.values().filter_map(|shared| shared.exchange.deadline());
        exchanges.chain(self.lookups.values().filter_map(|lookup| lookup.ends)).min()
    }

    /// Takes the actions that are to be done, in their order.
    pub fn take_actions(&mut self) -> VecDeque<Action> {
        take(&mut self.actions)
    }

    /// The exchange for which this lookup has asked for a socket.
    fn asked_through(&self, id: Id, record: RecordType) -> Option<Key> {
        let is_it = |key: &&Key| {
            self.exchanges.get(key).is_some_and(|shared| {
                shared.asking == Some(id) && shared.exchange.question().record == record
            })
        };
        self.lookups.get(&id)?.waits_for.iter().find(is_it).copied()
    }

    /// Goes on with an exchange whose nameserver has not answered in time.
    fn late(&mut self, key: Key, now: Instant) {
        let Some(shared) = self.exchanges.get_mut(&key) else { return };
        let exchange = &mut shared.exchange;
        if let Some(since) = exchange.waits_since().filter(|_| exchange.comes_again()) {
            self.health.silent(self.setup.server(exchange.attempt()), since);
        }
        let step = exchange.late();
        self.take_step(key, step, now);
    }

    fn take_step(&mut self, key: Key, step: Step, now: Instant) {
        match step {
            Step::Wait => {}
            Step::NeedSocket(_) => self.need_socket(key, now),
            Step::End(outcome, seconds) => self.conclude(key, outcome, seconds, now),
        }
        self.go_on(now);
    }

    /// Asks for a socket through a lookup that may still have one: an exchange must not fail for all that wait because
    /// one has used up its own.
    fn need_socket(&mut self, key: Key, now: Instant) {
        self.actions.push_back(Action::Close(key));
        let Some(shared) = self.exchanges.get_mut(&key) else { return };
        for id in &shared.waiting {
            let Some(lookup) = self.lookups.get_mut(id) else { continue };
            let Some(left) = lookup.sockets_left.checked_sub(1) else { continue };
            lookup.sockets_left = left;
            shared.asking = Some(*id);
            let (id, exchange) = (*id, &shared.exchange);
            let (record, transport) = (exchange.question().record, exchange.transport());
            let attempt = exchange.attempt();
            let need = FromResolver::NeedSocket { id, record, transport, attempt };
            return self.actions.push_back(Action::Say(need));
        }
        self.conclude(key, Outcome::Failed, 0, now);
    }

    /// Ends an exchange, and tells the outcome to all lookups that wait for it.
    fn conclude(&mut self, key: Key, outcome: Outcome, seconds: u32, now: Instant) {
        let Some(Shared { exchange, first, waiting, .. }) = self.exchanges.remove(&key) else { return };
        self.actions.push_back(Action::Close(key));
        let server = self.setup.server(exchange.attempt());
        let question = exchange.into_question();
        for id in waiting {
            let Some(lookup) = self.lookups.get_mut(&id) else { continue };
            lookup.waits_for.retain(|other| *other != key);
            lookup.known.push((question.clone(), outcome.clone()));
            if outcome != Outcome::Failed {
                lookup.preferred = server;
            }
            self.ready.push_back(id);
        }
        let asked = (question, first);
        self.asking.remove(&asked);
        self.cache.keep(asked.0, outcome, seconds, now);
    }

    /// Goes through the plans of all lookups that know more than before.
    fn go_on(&mut self, now: Instant) {
        while let Some(id) = self.ready.pop_front() {
            let Some(lookup) = self.lookups.get_mut(&id) else { continue };
            let plan = Plan { setup: &self.setup, hosts: &self.hosts };
            let (known, cache) = (&mut lookup.known, &self.cache);
            match plan.answer(&lookup.query, &mut |question| look_up(question, known, cache, now)) {
                Ok(answer) => self.end(id, answer, now),
                Err(Open { questions, enough }) => {
                    if enough {
                        lookup.ends = lookup.ends.or_else(|| now.checked_add(RESOLUTION_DELAY));
                    }
                    questions.into_iter().for_each(|question| self.wait_for(id, question, now));
                }
            }
        }
    }

    /// Lets a lookup wait for the outcome of a question, which is asked unless it is being asked already.
    fn wait_for(&mut self, id: Id, question: Question, now: Instant) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let waits =
            |key: &Key| self.exchanges.get(key).is_some_and(|shared| *shared.exchange.question() == question);
        if lookup.waits_for.iter().any(waits) {
            return;
        }
        let asked = (question, lookup.preferred);
        if let Some((key, shared)) =
            self.asking.get(&asked).and_then(|key| Some((*key, self.exchanges.get_mut(key)?)))
        {
            shared.waiting.push(id);
            return lookup.waits_for.push(key);
        }
        let key = Key(self.keys);
        self.keys = self.keys.wrapping_add(1);
        lookup.waits_for.push(key);
        let exchange = Exchange::new(asked.0.clone(), asked.1, &self.setup);
        self.exchanges.insert(key, Shared { exchange, first: asked.1, waiting: vec![id], asking: None });
        self.asking.insert(asked, key);
        self.need_socket(key, now);
    }

    /// Counts the outcomes that a lookup still waits for as failures.
    fn do_without(&mut self, id: Id) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        lookup.ends = None;
        let questions = lookup.waits_for.iter().filter_map(|key| self.exchanges.get(key));
        let outcomes = questions.map(|shared| (shared.exchange.question().clone(), Outcome::Failed));
        lookup.known.extend(outcomes);
        self.ready.push_back(id);
    }

    /// Ends a lookup with this answer.
    fn end(&mut self, id: Id, answer: Answer, now: Instant) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        self.say_answer(id, answer);
        for key in lookup.waits_for {
            self.leave(id, key, now);
        }
    }

    /// Lets a lookup leave an exchange. The exchange goes on for the other lookups, if there are any.
    fn leave(&mut self, id: Id, key: Key, now: Instant) {
        let Some(shared) = self.exchanges.get_mut(&key) else { return };
        shared.waiting.retain(|other| *other != id);
        if shared.waiting.is_empty() {
            self.actions.push_back(Action::Close(key));
            if let Some(Shared { exchange, first, .. }) = self.exchanges.remove(&key) {
                self.asking.remove(&(exchange.into_question(), first));
            }
        } else if shared.asking == Some(id) {
            // The socket that was asked for would come for a lookup that is not there any more.
            self.need_socket(key, now);
        }
    }

    fn say_answer(&mut self, id: Id, answer: Answer) {
        self.actions.push_back(Action::Say(FromResolver::Answer { id, answer }));
    }
}

/// Returns the outcome of a question, if the lookup itself or the cache knows it.
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
