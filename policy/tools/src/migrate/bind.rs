//! The part of Dante's rules that concerns BIND.
//!
//! `to` of such a rule is the place where Dante itself listens: an address of `external`, and a port of the kernel's
//! choice unless the client asks for 0.0.0.0 (observed with danted 1.4.2). Only the rules for answers see the host that
//! the client waits for. In a line of sockd that host is the destination.

use super::hosts::{Hosts, Ports, Prefix};
use super::remark::Remarks;
use super::rule::BIND;
use super::said::Said;

/// Whether a rule is for the places where Dante would listen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Always,
    Never,
    Perhaps,
}

/// The rule, without BIND if it may not permit it, or with a refusal of BIND if it may block it.
pub(super) fn apart(said: Said, external: Option<&[Hosts]>, remarks: &mut Remarks) -> Vec<Said> {
    let listening = listening(&said, external);
    let is_for_all = said.to.contains(&Hosts::All) && said.ports == Ports::All;
    let unchanged = if said.permits { Match::Always } else { Match::Never };
    if said.commands & BIND == 0 || is_for_all || listening == unchanged {
        return vec![said];
    }
    if listening == Match::Perhaps {
        let means = if said.permits { "left out of the rule" } else { "the rule refuses it altogether" };
        remarks
            .loss(said.line, format!("bind: to is where Dante would listen, which is not certain; {means}"));
    }
    if said.permits {
        let others = Said { commands: said.commands & !BIND, ..said };
        return Some(others).filter(|others| others.commands != 0).into_iter().collect();
    }
    let refusal = Said { commands: BIND, to: vec![Hosts::All], ports: Ports::All, ..said.clone() };
    vec![said, refusal]
}

fn listening(said: &Said, external: Option<&[Hosts]>) -> Match {
    // The kernel never chooses a privileged port.
    if said.ports.are_privileged() {
        return Match::Never;
    }
    let is_all = |hosts: &Hosts| match hosts {
        Hosts::All => true,
        // Dante listens at an address of the family of the host that is waited for.
        Hosts::Network(prefix) if said.permits => [Prefix::IPV4, Prefix::IPV6].contains(prefix),
        _ => false,
    };
    let contains = |address: &Hosts| said.to.iter().any(|hosts| hosts.contain(address));
    let is_apart = |address: &Hosts| said.to.iter().all(|hosts| hosts.is_apart(address));
    let is_of_other_family = |address: &Hosts| said.to.iter().all(|hosts| hosts.is_of_other_family(address));
    let is_inside = said.to.iter().any(is_all)
        || external.is_some_and(|external| {
            external.iter().any(contains)
                && external.iter().all(|address| contains(address) || is_of_other_family(address))
        });
    match external {
        _ if is_inside && said.ports == Ports::All => Match::Always,
        Some(external) if external.iter().all(is_apart) => Match::Never,
        _ => Match::Perhaps,
    }
}
