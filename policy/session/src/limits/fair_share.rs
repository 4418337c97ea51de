//! Chooses which host gives way when all together have reached a limit.

use crate::client_host::HostNetwork;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

/// The held thing that gives way to a newcomer: the oldest of the host that has most. `None` if the newcomer would only
/// change places with that host, having one less or as many. A newcomer that has nothing always gets a place, as many
/// hosts with one thing each would otherwise keep it out.
pub fn gives_way<K: Copy + Ord>(
    held: impl Iterator<Item = (HostNetwork, Instant, K)>,
    newcomer: HostNetwork,
) -> Option<(HostNetwork, K)> {
    let mut hosts: HashMap<HostNetwork, (u32, Reverse<(Instant, K)>)> = HashMap::new();
    for (host, since, key) in held {
        let (count, oldest) = hosts.entry(host).or_insert((0, Reverse((since, key))));
        *count = count.saturating_add(1);
        *oldest = (*oldest).max(Reverse((since, key)));
    }
    let own = hosts.get(&newcomer).map_or(0, |(count, _)| *count);
    let (host, (most, Reverse((_, key)))) = hosts.into_iter().max_by_key(|(_, rank)| *rank)?;
    (own == 0 || most > own.saturating_add(1)).then_some((host, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_host::Host;
    use std::time::Duration;

    fn host(last: u8) -> HostNetwork {
        Host::of([192, 0, 2, last].into()).network()
    }

    /// The thing that gives way to a newcomer of host 9, if these hosts got a thing each, in this order.
    fn gives_way_to_nine(hosts: &[u8]) -> Option<(HostNetwork, usize)> {
        let begin = Instant::now();
        let held = hosts.iter().enumerate().map(|(place, last)| {
            (host(*last), begin + Duration::from_secs(u64::try_from(place).unwrap()), place)
        });
        // Not in the order of their age.
        gives_way(held.rev(), host(9))
    }

    #[test]
    fn the_oldest_of_the_host_that_has_most_gives_way() {
        assert_eq!(gives_way_to_nine(&[1, 2, 1, 2, 2]), Some((host(2), 1)));
        assert_eq!(gives_way_to_nine(&[1, 2, 9, 2, 2]), Some((host(2), 1)));
    }

    #[test]
    fn of_hosts_that_have_as_many_the_one_with_the_oldest_gives_way() {
        assert_eq!(gives_way_to_nine(&[1, 2, 2, 1]), Some((host(1), 0)));
        assert_eq!(gives_way_to_nine(&[2, 1, 3]), Some((host(2), 0)));
    }

    #[test]
    fn nobody_gives_way_to_a_host_that_would_have_as_many() {
        assert_eq!(gives_way_to_nine(&[1, 1, 9]), None);
        assert_eq!(gives_way_to_nine(&[1, 9, 9]), None);
        assert_eq!(gives_way_to_nine(&[9]), None);
        assert_eq!(gives_way_to_nine(&[]), None);
    }
}
