//! Whether a client host may connect at the moment: how fast it connects, and what its workers have done.
//!
//! A compromised worker is killed for a violation, but its client can connect again and gets a fresh worker. Starting
//! workers costs more than connecting, so a host that does this repeatedly is shut out for a while.

use crate::client_host::{Host, HostNetwork};
use crate::limits::bucket::{Bucket, Size};
use crate::limits::limit::{Limit, Met};
use crate::limits::memory::Memory;
use crate::settings::Settings;
use std::time::{Duration, Instant};

/// The violations of a host's workers that are put down to faults of ours.
const FORGIVEN: u32 = 2;

/// How long the host's connections are closed after each further violation.
const SHUT_OUT: Duration = Duration::from_secs(60);

/// Violations are forgotten if no other follows for this long.
const MEMORY: Duration = Duration::from_secs(600);

/// The memory of client hosts and their networks. Once it is full, new hosts are not counted: other limits hold them.
#[derive(Debug, Default)]
pub struct RateLimiter {
    /// The violations of each host's workers.
    violators: Memory<Host, Violations>,
    /// The connections of each network.
    networks: Memory<HostNetwork, Bucket>,
    /// The connections of all together.
    all: Bucket,
}

#[derive(Debug, Default)]
struct Violations {
    number: u32,
    last: Option<Instant>,
}

impl RateLimiter {
    /// A worker that serves this host alone has done what no honest worker does.
    pub fn violated(&mut self, host: Host, now: Instant) {
        let is_recent = |violations: &Violations| {
            violations.last.is_some_and(|last| now.saturating_duration_since(last) < MEMORY)
        };
        if let Some(violations) = self.violators.entry(host, now, is_recent) {
            let number = if is_recent(violations) { violations.number.saturating_add(1) } else { 1 };
            *violations = Violations { number, last: Some(now) };
        }
    }

    /// Why a new connection of this host is refused; `None` if it is served.
    pub fn refuses(&mut self, host: Host, settings: &Settings, now: Instant) -> Option<Met> {
        let shut_out = |last: Instant| now.saturating_duration_since(last) < SHUT_OUT;
        if let Some(Violations { number, last: Some(last) }) = self.violators.entries.get(&host)
            && *number > FORGIVEN
            && shut_out(*last)
        {
            let why = "its workers have violated the protocol again and again";
            return Some(Met::other(format_args!("{why}, by {host}")));
        }
        let of_host = Size::a_second(settings.connection_rate, settings.connection_burst);
        if let Some(network) = self.networks.spend(host, of_host, now) {
            return Some(Met::new(Limit::RATE, format_args!("{}, by {network}", Limit::RATE)));
        }
        let in_all = Size::a_second(settings.connection_rate_in_all, settings.connection_burst_in_all);
        let admitted = self.all.spend(in_all, now);
        (!admitted).then(|| Met::new(Limit::RATE_IN_ALL, format_args!("{}, by {host}", Limit::RATE_IN_ALL)))
    }
}

/// How fast client hosts may ask for flows. Each flow takes a decision and a socket, and a client can name a new
/// destination with each datagram.
#[derive(Debug, Default)]
pub struct FlowRate {
    networks: Memory<HostNetwork, Bucket>,
    all: Bucket,
}

/// Flows of one client host a second, once it has used up its burst.
const FLOW_RATE: u32 = 100;

/// Flows of one client host at any rate.
const FLOW_BURST: u32 = 500;

/// Flows of all client hosts a second.
const FLOW_RATE_IN_ALL: u32 = 2_000;

impl FlowRate {
    /// Whether another flow of this host may be decided on at the moment.
    pub fn admits(&mut self, host: Host, now: Instant) -> bool {
        let of_host = Size::a_second(FLOW_RATE, FLOW_BURST);
        let in_all = Size::a_second(FLOW_RATE_IN_ALL, FLOW_RATE_IN_ALL);
        self.networks.spend(host, of_host, now).is_none() && self.all.spend(in_all, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::memory::MOST;

    fn host(address: &str) -> Host {
        Host::of(address.parse().unwrap())
    }

    fn settings(connection_rate: u32, connection_burst: u32) -> Settings {
        Settings { connection_rate, connection_burst, ..Settings::default() }
    }

    #[test]
    fn a_host_has_its_burst_and_then_its_rate_and_another_host_has_its_own() {
        let (mut rate_limiter, now, settings) = (RateLimiter::default(), Instant::now(), settings(10, 5));
        let mut admitted = |address: &str, at| {
            (0..100).filter(|_| rate_limiter.refuses(host(address), &settings, at).is_none()).count()
        };
        assert_eq!(admitted("192.0.2.1", now), 5);
        assert_eq!(admitted("192.0.2.2", now), 5);
        assert_eq!(admitted("192.0.2.1", now + Duration::from_millis(200)), 2);
        assert_eq!(admitted("192.0.2.1", now + Duration::from_secs(60)), 5);
        let later = now + Duration::from_secs(61);
        assert_eq!(admitted("2001:db8::1", later), 5);
        assert_eq!(admitted("2001:db8::2:1", later), 0, "of the same 64 bits");
        let site = (1..9).map(|network| admitted(&format!("2001:db8:0:{network}::1"), later)).sum::<usize>();
        assert_eq!(site, 15, "four times as many for the same 48 bits");
    }

    #[test]
    fn all_hosts_together_have_a_burst_and_a_rate_and_a_host_beyond_its_own_takes_nothing_of_it() {
        let (mut rate_limiter, now) = (RateLimiter::default(), Instant::now());
        let settings = Settings { connection_rate_in_all: 10, connection_burst_in_all: 8, ..settings(10, 5) };
        let mut admitted = |address, at| {
            (0..100).filter(|_| rate_limiter.refuses(host(address), &settings, at).is_none()).count()
        };
        assert_eq!(admitted("192.0.2.1", now), 5);
        assert_eq!(admitted("192.0.2.2", now), 3);
        assert_eq!(admitted("192.0.2.3", now + Duration::from_millis(200)), 2);
    }

    #[test]
    fn a_host_whose_workers_violate_repeatedly_is_shut_out_for_a_while() {
        let (mut rate_limiter, now, settings) = (RateLimiter::default(), Instant::now(), Settings::default());
        let (bad, good) = (host("192.0.2.1"), host("192.0.2.2"));
        for _ in 0..FORGIVEN {
            rate_limiter.violated(bad, now);
            assert_eq!(rate_limiter.refuses(bad, &settings, now), None);
        }
        rate_limiter.violated(bad, now);
        assert!(rate_limiter.refuses(bad, &settings, now).is_some());
        assert_eq!(rate_limiter.refuses(good, &settings, now), None);
        let after = now + SHUT_OUT;
        assert_eq!(rate_limiter.refuses(bad, &settings, after), None);
        rate_limiter.violated(bad, after);
        assert!(rate_limiter.refuses(bad, &settings, after).is_some(), "at once, while it is remembered");
        rate_limiter.violated(bad, after + MEMORY);
        assert_eq!(rate_limiter.refuses(bad, &settings, after + MEMORY), None);
    }

    #[test]
    fn h8_a_violator_shuts_out_itself_and_not_its_lan() {
        let (mut rate_limiter, now, settings) = (RateLimiter::default(), Instant::now(), Settings::default());
        let (bad, neighbour) = (host("2001:db8::1"), host("2001:db8::2"));
        (0..=FORGIVEN).for_each(|_| rate_limiter.violated(bad, now));
        assert!(
            rate_limiter
                .refuses(bad, &settings, now)
                .is_some_and(|why| why.to_string().ends_with("by 2001:db8::1"))
        );
        assert_eq!(rate_limiter.refuses(neighbour, &settings, now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut rate_limiter, now, settings) = (RateLimiter::default(), Instant::now(), Settings::default());
        for number in 0..40_000_u32 {
            let address = std::net::Ipv4Addr::from(number);
            assert_eq!(rate_limiter.refuses(Host::of(address.into()), &settings, now), None);
        }
        assert_eq!(rate_limiter.networks.entries.len(), MOST);
        rate_limiter.refuses(host("198.51.100.1"), &settings, now + Duration::from_secs(5));
        assert_eq!(rate_limiter.networks.entries.len(), 1);
        (0..40_000_u32).for_each(|number| {
            rate_limiter.violated(Host::of(std::net::Ipv4Addr::from(number).into()), now);
        });
        assert_eq!(rate_limiter.violators.entries.len(), MOST);
    }
}
