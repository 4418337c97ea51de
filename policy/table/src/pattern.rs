//! The condition that a line sets for a host.

use core::fmt;

use crate::address::Network;
use crate::name::{HostName, in_zone};

/// The condition that a line sets for a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// `ALL`, or an IPv4 mask of all zeros: every host of both families. Administrators write `0.0.0.0 0.0.0.0` for
    /// "any", so a closing `deny 0.0.0.0 0.0.0.0` must deny IPv6 hosts as well. `::/0` means IPv6 alone.
    Any,
    /// An address and a mask.
    Network(Network),
    /// `xyz.com`: a host that has exactly this name among its names.
    Domain(HostName),
    /// `.xyz.com`: a host with the name `xyz.com` or a name that ends in `.xyz.com`.
    Zone(HostName),
}

impl Pattern {
    /// Whether this pattern matches every host that `inner` matches.
    pub fn covers(&self, inner: &Pattern) -> bool {
        match (self, inner) {
            (Pattern::Any, _) => true,
            (Pattern::Network(outer), Pattern::Network(inner)) => inner.lies_in(outer),
            (Pattern::Domain(outer), Pattern::Domain(inner)) => outer == inner,
            (Pattern::Zone(zone), Pattern::Domain(inner) | Pattern::Zone(inner)) => {
                in_zone(inner.as_str().as_bytes(), zone.as_str().as_bytes())
            }
            _ => false,
        }
    }
}

/// The form that `sockd.conf` accepts. It requires a mask beside a name and ignores it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Any => f.write_str(if f.alternate() { "0.0.0.0/0" } else { "0.0.0.0 0.0.0.0" }),
            Pattern::Network(network) => network.fmt(f),
            Pattern::Domain(name) => write!(f, "{name} 0.0.0.0"),
            Pattern::Zone(name) => write!(f, ".{name} 0.0.0.0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_zone_holds_itself_and_what_ends_in_it_at_a_dot() {
        let zone = Pattern::Zone(name("xyz.com"));
        assert!(zone.covers(&zone));
        assert!(zone.covers(&Pattern::Domain(name("xyz.com"))));
        assert!(zone.covers(&Pattern::Zone(name("a.b.XYZ.com"))));
        assert!(!zone.covers(&Pattern::Domain(name("badxyz.com"))));
        assert!(!zone.covers(&Pattern::Domain(name("com"))));
        assert!(!Pattern::Domain(name("xyz.com")).covers(&zone));
        assert!(Pattern::Any.covers(&zone) && !zone.covers(&Pattern::Any));
    }
}
