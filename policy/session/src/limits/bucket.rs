//! Token buckets. A bucket is kept as the time when it will be full again, from which the missing tokens follow.

use crate::client_host::{Host, HostNetwork};
use crate::limits::memory::Memory;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How many tokens a bucket has room for, and how long one token takes to come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) tokens: u32,
    pub(super) each: Duration,
}

impl Size {
    /// Room for `tokens`, of which `rate` come back each second.
    pub(super) fn a_second(rate: u32, tokens: u32) -> Self {
        Self { tokens, each: Duration::from_secs(1).checked_div(rate).unwrap_or_default() }
    }

    /// The bucket of `share` hosts together.
    pub(super) fn times(self, share: u32) -> Self {
        Self {
            tokens: self.tokens.saturating_mul(share),
            each: self.each.checked_div(share).unwrap_or(self.each),
        }
    }
}

/// A bucket: when it will be full again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket(Option<Instant>);

impl Bucket {
    fn left(self, Size { tokens, each }: Size, now: Instant) -> u32 {
        let missing = self.0.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        let missing = missing.as_nanos().div_ceil(each.as_nanos().max(1));
        tokens.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// Takes a token, even if none is left.
    fn take(&mut self, size: Size, now: Instant) {
        self.0 = self.0.map_or(now, |full_at| full_at.max(now)).checked_add(size.each);
    }

    /// Takes a token; false if none is left.
    pub(super) fn spend(&mut self, size: Size, now: Instant) -> bool {
        let has_one = self.left(size, now) > 0;
        if has_one {
            self.take(size, now);
        }
        has_one
    }

    fn is_spent(self, now: Instant) -> bool {
        self.0.is_some_and(|full_at| full_at > now)
    }
}

impl<K: Eq + Hash> Memory<K, Bucket> {
    /// Tokens in a bucket. A new bucket counts as empty when the table has no room for it.
    pub(super) fn left(&mut self, key: &K, size: Size, now: Instant) -> u32 {
        match self.has_room_for(key, now, |bucket| bucket.is_spent(now)) {
            true => self.entries.get(key).copied().unwrap_or_default().left(size, now),
            false => 0,
        }
    }

    /// Takes a token from a bucket, even if none is left.
    pub(super) fn take(&mut self, key: K, size: Size, now: Instant) {
        let bucket = self.entry(key, now, |bucket| bucket.is_spent(now));
        bucket.into_iter().for_each(|bucket| bucket.take(size, now));
    }
}

impl Memory<HostNetwork, Bucket> {
    /// Takes a token from each network that a host counts for; returns the first network that has none left. A network
    /// that the table has no room for is not counted.
    pub(super) fn spend(&mut self, host: Host, size: Size, now: Instant) -> Option<HostNetwork> {
        let is_empty = |(network, share): &(HostNetwork, u32)| {
            let bucket = self.entry(*network, now, |bucket| bucket.is_spent(now));
            bucket.is_some_and(|bucket| !bucket.spend(size.times(*share), now))
        };
        host.counted().find(is_empty).map(|(network, _)| network)
    }
}
