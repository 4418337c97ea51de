//! Checks that wait. Hosts take turns: one that has many waiting delays another by one check and no more.

use sockd_common::message::Id;
use sockd_common::message::auth::{Credentials, HostKey, MAX_CHECKS};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// A check that waits.
pub(super) struct Job {
    pub(super) id: Id,
    pub(super) credentials: Credentials,
}

/// All checks that wait, by host. Each host here has at least one.
#[derive(Default)]
pub(super) struct Queue {
    hosts: BTreeMap<HostKey, VecDeque<Job>>,
    waiting: usize,
    /// The host whose turn it was last.
    last: Option<HostKey>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Whether this check waits.
    pub(super) fn contains(&self, id: Id) -> bool {
        self.hosts.values().flatten().any(|job| job.id == id)
    }

    /// Queues a check behind others of its host. Returns false if too many wait.
    pub(super) fn push(&mut self, host: HostKey, job: Job) -> bool {
        if self.waiting >= MAX_CHECKS {
            return false;
        }
        self.hosts.entry(host).or_default().push_back(job);
        self.waiting = self.waiting.saturating_add(1);
        true
    }

    /// Takes the first check of the host that follows the one whose turn it was last.
    pub(super) fn next(&mut self) -> Option<Job> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let host = self.hosts.range((behind, Bound::Unbounded)).next().or_else(|| self.hosts.iter().next());
        let host = *host?.0;
        self.last = Some(host);
        let job = self.hosts.get_mut(&host)?.pop_front();
        self.removed(host);
        job
    }

    /// Removes a check. Returns false if it does not wait.
    pub(super) fn remove(&mut self, id: Id) -> bool {
        let is_it = |job: &Job| job.id == id;
        let Some(host) = self.hosts.iter().find(|(_, jobs)| jobs.iter().any(is_it)).map(|(host, _)| *host)
        else {
            return false;
        };
        if let Some(jobs) = self.hosts.get_mut(&host) {
            jobs.retain(|job| !is_it(job));
        }
        self.removed(host);
        true
    }

    fn removed(&mut self, host: HostKey) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.hosts.get(&host).is_some_and(VecDeque::is_empty) {
            self.hosts.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::secret::Secret;

    fn job(id: u32) -> Job {
        let secret = |text: &[u8]| Secret::new(text).unwrap();
        Job { id: Id(id), credentials: Credentials { user: secret(b"joe"), password: secret(b"sesame") } }
    }

    fn push(queue: &mut Queue, host: u64, ids: std::ops::Range<u32>) {
        ids.for_each(|id| assert!(queue.push(HostKey(host), job(id))));
    }

    fn drained(queue: &mut Queue) -> Vec<u32> {
        std::iter::from_fn(|| queue.next()).map(|job| job.id.0).collect()
    }

    #[test]
    fn hosts_take_turns_and_each_has_its_checks_in_order() {
        let mut queue = Queue::default();
        push(&mut queue, 7, 0..4);
        assert_eq!(queue.next().map(|job| job.id.0), Some(0));
        push(&mut queue, 9, 10..11);
        push(&mut queue, 3, 20..22);
        assert_eq!(drained(&mut queue), [10, 20, 1, 21, 2, 3]);
        assert!(queue.is_empty() && queue.hosts.is_empty());
    }

    #[test]
    fn a_check_that_nobody_waits_for_is_removed_once() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 0..3);
        assert!(
            queue.contains(Id(1)) && queue.remove(Id(1)) && !queue.remove(Id(1)) && !queue.contains(Id(1))
        );
        assert_eq!(drained(&mut queue), [0, 2]);
    }

    #[test]
    fn no_more_wait_than_may_be_under_way() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 0..64);
        assert!(!queue.push(HostKey(2), job(64)));
        assert!(queue.next().is_some() && queue.push(HostKey(2), job(64)));
    }
}
