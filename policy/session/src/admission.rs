//! Whether a new client is served, and which addresses are the proxy's own.

use crate::client_host::Host;
use crate::limits::counts::{Counts, Resource};
use crate::limits::limit::{Limit, Met};
use crate::limits::rate::RateLimiter;
use crate::session::Origin;
use crate::settings::Settings;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// The conditions that keep clients out.
#[derive(Debug, Default)]
pub struct Admission {
    /// Whether an administrator wants no new clients.
    pub drains: bool,
    rate_limiter: RateLimiter,
}

impl Admission {
    /// Whether a new client of this host may be served; the error is why not.
    pub fn admits(
        &mut self,
        (host, origin): (Host, Origin),
        settings: &Settings,
        now: Instant,
    ) -> Result<(), Met> {
        if self.drains {
            return Err(Met::other("the server drains"));
        }
        match origin {
            Origin::CHECK => Ok(()),
            _ => self.rate_limiter.refuses(host, settings, now).map_or(Ok(()), Err),
        }
    }

    /// Whether there is room for one more session of this host; the error is why not.
    pub fn has_room(
        (host, origin): (Host, Origin),
        sessions: usize,
        counts: &mut Counts,
        settings: &Settings,
    ) -> Result<(), Met> {
        if origin == Origin::CHECK {
            // A check ends soon, or becomes the oldest unfinished request of the balancer, which gives way.
            return Ok(());
        }
        if u32::try_from(sessions).unwrap_or(u32::MAX) >= settings.max_sessions {
            return Err(Limit::SESSIONS.into());
        }
        counts.limit(Resource::Session, host, settings).map_or(Ok(()), |reached| Err(reached.into()))
    }

    /// A worker that serves this client host alone has done what no honest worker does.
    pub fn violated(&mut self, host: Host, now: Instant) {
        self.rate_limiter.violated(host, now);
    }
}

/// Whether a connection to `address` and `port` would come back to one of the proxy's own listeners. `local` says that
/// the address is this host's.
pub fn is_own(own: &[SocketAddr], address: IpAddr, port: u16, local: bool) -> bool {
    own.iter().any(|own| {
        // A service manager may have bound it in the v4-mapped form.
        let (ip, own_port) = (sockd_policy::canonical(own.ip()), own.port());
        own_port == port && (ip == address || (local && ip.is_unspecified()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_as_our_own_however_its_address_is_written() {
        let own = |at: &str, to: &str, local| {
            let to: SocketAddr = to.parse().unwrap();
            is_own(&[at.parse().unwrap()], to.ip(), to.port(), local)
        };
        for at in [
            "192.0.2.1:1080",
            "[::ffff:192.0.2.1]:1080",
            "0.0.0.0:1080",
            "[::]:1080",
            "[::ffff:0.0.0.0]:1080",
        ] {
            assert!(own(at, "192.0.2.1:1080", true), "{at}");
            assert!(!own(at, "192.0.2.1:1081", true), "{at}");
            assert!(!own(at, "198.51.100.1:1080", false), "{at}");
        }
    }
}
