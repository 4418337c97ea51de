//! Warnings about rules beside balancers: a host that may write PROXY headers can claim to be any client.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use sockd_table::{Network, Pattern, RuleBody, canonical};

use crate::lint::Warning;
use crate::rules::{RuleRef, RuleSet};

/// Finds permit lines by which one of the `balancers` is a client, since its users could claim to be any client. It
/// also finds permit lines to a listener for balancers. Returns at most a thousand warnings.
pub fn lint_balancers(rules: &RuleSet, balancers: &[Network], listeners: &[SocketAddr]) -> Vec<Warning> {
    let permits = rules.rules().filter(RuleRef::permits);
    let warnings = permits.flat_map(|rule| {
        let doubts = [has_client(rules, &rule, balancers), leads_to(&rule, listeners)];
        let place = rules.place(rule.line());
        let warning =
            move |text| Warning { file: place.file.map(String::from), ..Warning::new(place.line, text) };
        doubts.into_iter().flatten().map(warning)
    });
    warnings.take(1000).collect()
}

/// A line above that denies the balancer settles it.
fn has_client(rules: &RuleSet, rule: &RuleRef, balancers: &[Network]) -> Option<String> {
    let source = rule.source();
    let is_permitted = |balancer: &&Network| {
        let all = Pattern::Network(**balancer);
        let is_part = matches!(&source, Pattern::Network(network) if network.lies_in(balancer));
        let first = || {
            rules.table.first_covering(&all, &rule.destination(), rule.index(), RuleBody::is_unconditional)
        };
        (source.covers(&all) || is_part) && first().is_none()
    };
    let balancer = balancers.iter().find(is_permitted)?;
    Some(format!("permits {balancer:#} as a client, which proxy_from believes; a line above could deny it"))
}

fn leads_to(rule: &RuleRef, listeners: &[SocketAddr]) -> Option<String> {
    let Pattern::Network(destination) = rule.destination() else { return None };
    let named = destination.single()?;
    let listener = listeners.iter().find(|listener| canonical(listener.ip()) == named)?;
    Some(format!(
        "permits {named} as a destination, where proxy_from has the listener {listener} for balancers"
    ))
}
