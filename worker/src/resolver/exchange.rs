//! One question, put to one nameserver after another until one gives a usable answer.
//!
//! Each nameserver is first asked in random case ("DNS 0x20"). Some know a name only as it was written, fail in any
//! other case, or do not repeat it: so after a useless answer the question is put once more as the client wrote it. A
//! nameserver that does not answer at all is asked in that way at its next turn, or at once if it has none.

use super::answer::{Outcome, Reading, read_datagram, read_stream};
use super::plan::Setup;
use super::question::{Asked, Entropy, Question, Spelling};
use sockd_common::message::resolver::Transport;
use std::time::{Duration, Instant};

/// The number of datagrams that are no answer after which a socket is left. Their sender is guessing our id, and has to
/// begin again with another port.
const MAX_FOREIGN: u8 = 64;

/// The longest answer from a stream that is of use. A forger of zones must not make every lookup hold 64 KiB.
const MAX_STREAM: usize = 16 << 10;

/// How long a failure of all nameservers is believed (RFC 9520, section 3.2, allows up to five minutes).
pub const FAILURE_SECONDS: u32 = 30;

/// A question on its way.
#[derive(Debug)]
pub struct Exchange {
    question: Question,
    attempt: u8,
    attempts_left: u8,
    servers: u8,
    /// Nameservers that have not been asked yet: they are first asked in random case.
    fresh: u8,
    spelling: Spelling,
    edns: bool,
    /// Every attempt begins by TCP.
    by_tcp: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// A socket was asked for.
    Wanting(Transport),
    /// The question was sent and may be answered for a time.
    Waiting { asked: Asked, incoming: Incoming, since: Instant, until: Instant },
}

#[derive(Debug)]
enum Incoming {
    /// The number of datagrams that were no answer.
    Datagrams(u8),
    /// The part of a length and a message that has come.
    Stream(Vec<u8>),
}

/// The next step of an exchange.
#[derive(PartialEq, Eq, Debug)]
pub enum Step {
    /// It waits, as before.
    Wait,
    /// It needs a new socket, and no longer the one it had.
    NeedSocket(Transport),
    /// It has ended with an outcome that holds for this many seconds.
    End(Outcome, u32),
}

impl Exchange {
    /// Begins by asking for a socket. `first` is the number of the first attempt.
    pub fn new(question: Question, first: u8, setup: &Setup) -> Self {
        let servers = setup.servers();
        Self {
            question,
            attempt: first,
            attempts_left: servers.saturating_mul(setup.attempts).saturating_sub(1),
            servers,
            fresh: servers.saturating_sub(1),
            spelling: Spelling::Random,
            edns: true,
            by_tcp: setup.by_tcp,
            phase: Phase::Wanting(first_transport(setup.by_tcp)),
        }
    }

    /// The question.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Returns the question of an exchange that is over.
    pub fn into_question(self) -> Question {
        self.question
    }

    /// The number of the present attempt, which chooses the nameserver.
    pub fn attempt(&self) -> u8 {
        self.attempt
    }

    /// The transport that is needed or in use.
    pub fn transport(&self) -> Transport {
        match &self.phase {
            Phase::Wanting(transport) => *transport,
            Phase::Waiting { incoming: Incoming::Datagrams(_), .. } => Transport::Udp,
            Phase::Waiting { incoming: Incoming::Stream(_), .. } => Transport::Tcp,
        }
    }

    /// Returns when [`Exchange::late`] is due, if it is.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Wanting(_) => None,
            Phase::Waiting { until, .. } => Some(until),
        }
    }

    /// Returns since when the exchange has waited for an answer, if it does.
    pub fn waits_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Wanting(_) => None,
            Phase::Waiting { since, .. } => Some(since),
        }
    }

    /// Whether the nameserver that is being asked will have another turn.
    pub fn comes_again(&self) -> bool {
        self.attempts_left >= self.servers
    }

    /// Takes note of a socket, and returns the octets to send on it. `None` if no socket was asked for.
    pub fn socket(&mut self, entropy: &Entropy, now: Instant, timeout: Duration) -> Option<Vec<u8>> {
        let Phase::Wanting(transport) = self.phase else { return None };
        // Only the nameserver can answer by TCP.
        let spelling = if transport == Transport::Tcp { Spelling::AsWritten } else { self.spelling };
        let asked = Asked::new(&self.question, spelling, self.edns, entropy)?;
        let (packet, incoming) = match transport {
            Transport::Udp => (asked.packet()?, Incoming::Datagrams(0)),
            Transport::Tcp => (asked.framed_packet()?, Incoming::Stream(Vec::new())),
        };
        // The whole attempt has one deadline: an answer that dribbles in does not move it.
        self.phase = Phase::Waiting { asked, incoming, since: now, until: now.checked_add(timeout)? };
        Some(packet)
    }

    /// Takes one datagram, or some octets of a stream.
    pub fn receive(&mut self, octets: &[u8]) -> Step {
        let Phase::Waiting { asked, incoming, .. } = &mut self.phase else { return Step::Wait };
        let respelt = asked.name.as_slice() != self.question.name.as_slice();
        let reading = match incoming {
            Incoming::Datagrams(foreign) => match read_datagram(octets, asked) {
                Reading::Foreign if *foreign < MAX_FOREIGN => {
                    *foreign = foreign.saturating_add(1);
                    return Step::Wait;
                }
                reading => reading,
            },
            Incoming::Stream(buffer) => {
                buffer.extend_from_slice(octets);
                match message_in(buffer) {
                    Message::Begun => return Step::Wait,
                    Message::TooLong => Reading::Unusable,
                    Message::Whole(message) => read_stream(message, asked),
                }
            }
        };
        match reading {
            Reading::OtherCase => self.ask_as_written(),
            Reading::Answer(Outcome::NoName, _) | Reading::Unusable if respelt => self.ask_as_written(),
            Reading::Answer(outcome, seconds) => Step::End(outcome, seconds),
            Reading::AskByTcp => self.want(Transport::Tcp),
            Reading::AskWithoutEdns => {
                self.edns = false;
                self.want(self.transport())
            }
            Reading::Unusable => remembered(self.lost()),
            // A sender of foreign packets must not be able to have a failure remembered.
            Reading::Foreign => self.lost(),
        }
    }

    /// Goes on after a nameserver has not answered in time.
    pub fn late(&mut self) -> Step {
        let was_random =
            matches!(&self.phase, Phase::Waiting { asked, .. } if asked.spelling == Spelling::Random);
        if was_random && !self.comes_again() { self.ask_as_written() } else { remembered(self.lost()) }
    }

    /// Goes on with the next attempt: there is no socket for this one, or it failed, or the stream ended.
    pub fn lost(&mut self) -> Step {
        let Some(left) = self.attempts_left.checked_sub(1) else { return Step::End(Outcome::Failed, 0) };
        self.attempts_left = left;
        self.attempt = self.attempt.wrapping_add(1);
        self.spelling = if self.fresh == 0 { Spelling::AsWritten } else { Spelling::Random };
        self.fresh = self.fresh.saturating_sub(1);
        self.edns = true;
        self.want(first_transport(self.by_tcp))
    }

    /// Asks the same nameserver once more, on a new socket as always.
    fn ask_as_written(&mut self) -> Step {
        self.spelling = Spelling::AsWritten;
        self.want(Transport::Udp)
    }

    fn want(&mut self, transport: Transport) -> Step {
        self.phase = Phase::Wanting(transport);
        Step::NeedSocket(transport)
    }
}

/// Lets a failure of all nameservers hold for a while. Without that, each request that needs the answer would wait for
/// all of them again (RFC 9520). A socket that is missing says nothing of the nameservers.
fn remembered(step: Step) -> Step {
    match step {
        Step::End(Outcome::Failed, _) => Step::End(Outcome::Failed, FAILURE_SECONDS),
        step => step,
    }
}

fn first_transport(by_tcp: bool) -> Transport {
    if by_tcp { Transport::Tcp } else { Transport::Udp }
}

enum Message<'a> {
    Begun,
    Whole(&'a [u8]),
    TooLong,
}

/// The first message of a stream (RFC 1035, section 4.2.2: two octets of length before it).
fn message_in(buffer: &[u8]) -> Message<'_> {
    let Some((length, rest)) = buffer.split_first_chunk() else { return Message::Begun };
    let length = usize::from(u16::from_be_bytes(*length));
    match rest.get(..length) {
        _ if length > MAX_STREAM => Message::TooLong,
        Some(message) => Message::Whole(message),
        None => Message::Begun,
    }
}

#[cfg(test)]
mod tests;
