//! `proxy_from` in sockd.ron(5): the listeners for balancers alone, and the balancers that each believes.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use sockd_policy::{Network, canonical};
use std::net::{IpAddr, SocketAddr};

/// The values that the setting takes, in the words of the manual.
pub(crate) const TAKES: &str =
    "[] or listeners with prefixes of balancers, as [(\"192.0.2.1:1080\", [\"198.51.100.7/32\"])]";

/// A listener for balancers, which name the client by a PROXY header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyListener {
    /// The address it listens at.
    pub at: SocketAddr,
    /// The addresses of balancers.
    pub from: Vec<Network>,
}

impl ProxyListener {
    /// Whether this address is one of the balancers'.
    pub fn believes(&self, address: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(canonical(address)))
    }

    /// Whether this is the listener at the address.
    pub(super) fn is_at(&self, listener: SocketAddr) -> bool {
        same(self.at) == same(listener)
    }
}

/// The form in which addresses are compared. A service manager may have bound a v4-mapped one, and an address of a link
/// may have the number of its interface.
fn same(address: SocketAddr) -> (IpAddr, u16) {
    (canonical(address.ip()), address.port())
}

type Text = (SocketAddr, Vec<String>);

pub(crate) fn serialize<S: Serializer>(
    listeners: &[ProxyListener],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = |listener: &ProxyListener| -> Text {
        (listener.at, listener.from.iter().map(|network| format!("{network:#}")).collect())
    };
    listeners.iter().map(text).collect::<Vec<_>>().serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ProxyListener>, D::Error> {
    let fault = |found| D::Error::custom(format_args!("proxy_from: expected {TAKES}, found {found:?}"));
    let listener = |(at, from): Text| {
        let networks = from.iter().map(|text| prefix(text).ok_or_else(|| fault(text.clone())));
        let from = networks.collect::<Result<Vec<_>, _>>()?;
        if from.is_empty() { Err(fault(format!("{at}, []"))) } else { Ok(ProxyListener { at, from }) }
    };
    Vec::<Text>::deserialize(deserializer)?.into_iter().map(listener).collect()
}

/// An address, or a prefix with a length from 1: a prefix of length 0 would let everybody claim any address. Bits
/// behind the prefix are a mistake.
fn prefix(text: &str) -> Option<Network> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address = canonical(address.parse().ok()?);
    let all = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(all), |length| length.parse().ok().filter(|length| *length > 0))?;
    Network::prefix(address, length).filter(|network| network.address() == address)
}

/// Checks that no listener has two entries.
pub(super) fn check(listeners: &[ProxyListener]) -> Result<(), String> {
    let twice = |(place, listener): (usize, &ProxyListener)| {
        listeners.iter().take(place).any(|other| other.is_at(listener.at)).then_some(listener.at)
    };
    match listeners.iter().enumerate().find_map(twice) {
        Some(at) => Err(format!("proxy_from: expected each listener once, found {at} twice")),
        None => Ok(()),
    }
}
