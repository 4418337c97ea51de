//! The events that a loop waits for: ready descriptors and passed deadlines. A token says whose each one is.

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

pub use epoll::EventFlags;

/// The longest wait of a loop; a wait of weeks would need another system call.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A token as a number, which the kernel returns with an event, and which orders deadlines.
type PackedToken = u64;

/// Packs a token. It has one variant and one place: five bytes of the place and one of the variant fit a number.
fn pack(token: &impl Serialize) -> PackedToken {
    let mut bytes = [0; size_of::<PackedToken>()];
    let _always_fits = postcard::to_slice(token, &mut bytes);
    PackedToken::from_le_bytes(bytes)
}

fn unpack<Token: DeserializeOwned>(number: PackedToken) -> Option<Token> {
    postcard::from_bytes(&number.to_le_bytes()).ok()
}

/// Room for the events of one turn.
pub type Events = [MaybeUninit<epoll::Event>; 256];

/// All watched descriptors and deadlines.
#[derive(Debug)]
pub struct Reactor<Token> {
    epoll: OwnedFd,
    deadlines: BTreeSet<(Instant, PackedToken)>,
    /// The deadlines by their tokens; each token has one at most.
    of_tokens: HashMap<PackedToken, Instant>,
    tokens: PhantomData<Token>,
}

impl<Token: Serialize + DeserializeOwned> Reactor<Token> {
    /// Makes a reactor that watches nothing yet.
    pub fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, deadlines: BTreeSet::new(), of_tokens: HashMap::new(), tokens: PhantomData })
    }

    /// Waits until a descriptor is ready, a deadline has passed or it is `until`. Returns the tokens that are ready.
    pub fn wait<'a>(
        &self,
        until: Option<Instant>,
        events: &'a mut Events,
    ) -> rustix::io::Result<impl Iterator<Item = Token> + use<'a, Token>> {
        let soonest = self.deadlines.first().map(|(due, _)| *due).into_iter().chain(until).min();
        let ready = match epoll::wait(&self.epoll, events, Some(&time_to(soonest))) {
            Ok((ready, _)) => &*ready,
            Err(Errno::INTR) => &[],
            Err(error) => return Err(error),
        };
        Ok(ready.iter().filter_map(|event| unpack(event.data.u64())))
    }

    /// Begins to watch a descriptor.
    pub fn watch(&self, descriptor: impl AsFd, token: Token, flags: EventFlags) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(pack(&token)), flags)
    }

    /// Watches a descriptor for other events than before. This takes no memory.
    pub fn watch_for(
        &self,
        descriptor: impl AsFd,
        token: Token,
        flags: EventFlags,
    ) -> rustix::io::Result<()> {
        epoll::modify(&self.epoll, descriptor, epoll::EventData::new_u64(pack(&token)), flags)
    }

    /// Ends the watch on a descriptor. A descriptor that is passed on would stay in the set while anybody has it open.
    pub fn unwatch(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Sets, moves or removes the deadline of this token.
    pub fn set_deadline(&mut self, token: Token, due: Option<Instant>) {
        let token = pack(&token);
        let old = match due {
            Some(due) => self.of_tokens.insert(token, due),
            None => self.of_tokens.remove(&token),
        };
        if let Some(old) = old {
            self.deadlines.remove(&(old, token));
        }
        self.deadlines.extend(due.map(|due| (due, token)));
    }

    /// The deadline of this token, if there is one that has not passed.
    pub fn deadline(&self, token: Token) -> Option<Instant> {
        self.of_tokens.get(&pack(&token)).copied()
    }

    /// Removes one deadline that has passed, and returns its token.
    pub fn take_due(&mut self, now: Instant) -> Option<Token> {
        while let Some((due, token)) = self.deadlines.first().copied()
            && due <= now
        {
            self.deadlines.pop_first();
            self.of_tokens.remove(&token);
            if let Some(token) = unpack(token) {
                return Some(token);
            }
        }
        None
    }

    /// A descriptor that can be given up when there are no others.
    pub fn reserve_descriptor(&self) -> Option<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(&self.epoll, 3).ok()
    }
}

fn time_to(due: Option<Instant>) -> Timespec {
    let wait = due.map_or(LONGEST_WAIT, |due| {
        // Rounded up, so that the deadline has really passed when the wait ends.
        due.saturating_duration_since(Instant::now()).saturating_add(Duration::from_millis(1))
    });
    let wait = wait.min(LONGEST_WAIT);
    Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(3600), tv_nsec: wait.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_no_token_is_nobody_s() {
        assert_eq!(unpack::<Option<u32>>(pack(&Some(u32::MAX))), Some(Some(u32::MAX)));
        assert_eq!(unpack::<Option<u32>>(99), None);
    }

    #[test]
    fn a_deadline_that_is_moved_passes_once_and_in_its_order() {
        let mut reactor = Reactor::new().unwrap();
        let now = Instant::now();
        let [first, second] = [1_u32, 2];
        let after = |seconds| now.checked_add(Duration::from_secs(seconds));
        reactor.set_deadline(first, after(1));
        reactor.set_deadline(second, after(2));
        reactor.set_deadline(first, after(3));
        assert_eq!([first, second].map(|token| reactor.deadline(token)), [after(3), after(2)]);
        assert_eq!(reactor.take_due(now), None);
        let late = after(4).unwrap();
        assert_eq!([(); 3].map(|()| reactor.take_due(late)), [Some(second), Some(first), None]);
        assert_eq!([first, second].map(|token| reactor.deadline(token)), [None, None]);
        reactor.set_deadline(first, after(1));
        reactor.set_deadline(first, None);
        assert_eq!(reactor.take_due(late), None);
    }
}
