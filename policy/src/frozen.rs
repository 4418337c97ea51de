//! Frozen files of the three kinds: compiled rules, routes and upstream lines that are loaded without reading text.

use alloc::vec::Vec;

use crate::route::{ROUTES, Routes};
use crate::rules::{RULES, RuleSet};
use crate::upstream::{UPSTREAMS, Upstreams};
use sockd_table::frozen::{freeze, thaw};

pub use sockd_table::frozen::{FrozenError, Provenance, hash};

/// Freezes rules.
pub fn freeze_rules(rules: &RuleSet, from: &Provenance) -> Vec<u8> {
    freeze(&rules.table, &RULES, from)
}

/// Loads frozen rules.
///
/// # Errors
/// The bytes are not what [`freeze_rules`] writes.
pub fn thaw_rules(bytes: &[u8]) -> Result<(RuleSet, Provenance), FrozenError> {
    thaw(bytes, &RULES).map(|(table, from)| (RuleSet { table, included: Vec::new() }, from))
}

/// Freezes routes.
pub fn freeze_routes(routes: &Routes, from: &Provenance) -> Vec<u8> {
    freeze(&routes.table, &ROUTES, from)
}

/// Loads frozen routes.
///
/// # Errors
/// The bytes are not what [`freeze_routes`] writes.
pub fn thaw_routes(bytes: &[u8]) -> Result<(Routes, Provenance), FrozenError> {
    thaw(bytes, &ROUTES).map(|(table, from)| (Routes { table }, from))
}

/// Freezes the lines of `socks.conf`.
pub fn freeze_upstreams(upstreams: &Upstreams, from: &Provenance) -> Vec<u8> {
    freeze(&upstreams.table, &UPSTREAMS, from)
}

/// Loads frozen lines of `socks.conf`.
///
/// # Errors
/// The bytes are not what [`freeze_upstreams`] writes.
pub fn thaw_upstreams(bytes: &[u8]) -> Result<(Upstreams, Provenance), FrozenError> {
    thaw(bytes, &UPSTREAMS).map(|(table, from)| (Upstreams { table }, from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_table::{Builder, Kind, Network, Pattern, Protocol, RuleBody};

    /// Thaws a file of one line, with this command and body, that no text could become; returns the error.
    fn thawed(kind: &Kind, source: &Pattern, destination: &Pattern, body: RuleBody) -> Option<FrozenError> {
        thawed_with(kind, source, destination, |builder| {
            builder.text("10.0.0.1");
            body
        })
    }

    fn thawed_with(
        kind: &Kind,
        source: &Pattern,
        destination: &Pattern,
        body: impl Fn(&mut Builder) -> RuleBody,
    ) -> Option<FrozenError> {
        let mut builder = Builder::default();
        let body = body(&mut builder);
        builder.rule(1, source, destination, body);
        let file = freeze(&builder.finish(kind), kind, &Provenance::default());
        thaw(&file, kind).err()
    }

    fn network(address: &str, length: u32) -> Pattern {
        Pattern::Network(Network::prefix(address.parse().unwrap(), length).unwrap())
    }

    const BODY: RuleBody = RuleBody::of(0);
    const OTHER: Option<FrozenError> = Some(FrozenError::Content("a rule of another kind of file"));

    #[test]
    fn a_choice_that_no_line_makes_is_refused() {
        let unknown = Some(FrozenError::Content("a rule that says nothing known"));
        for choice in [0, 1, 2, 3, 4, 5, 6, 7] {
            let body = RuleBody { choice, ..BODY };
            assert_eq!(thawed(&RULES, &Pattern::Any, &Pattern::Any, body), None, "{choice}");
        }
        let protocol = Protocol { methods: Protocol::IDENT, ..Protocol::ANY };
        for (choice, sound) in [(1, true), (7, true), (0, false), (3, false), (5, false)] {
            let body = RuleBody { choice, protocol, ..BODY };
            let refused = if sound { None } else { unknown };
            assert_eq!(thawed(&RULES, &Pattern::Any, &Pattern::Any, body), refused, "{choice}");
        }
        let body = RuleBody { choice: 8, ..BODY };
        assert_eq!(thawed(&RULES, &Pattern::Any, &Pattern::Any, body), unknown);
        assert_eq!(thawed(&ROUTES, &network("0.0.0.0", 0), &Pattern::Any, body), unknown);
        assert_eq!(thawed(&UPSTREAMS, &Pattern::Any, &Pattern::Any, body), unknown);
        for choice in ["direct", "deny", "sockd", "sockd @=a.b:1", "DENY", "sockd @=", "permit"] {
            let thawed = thawed_with(&UPSTREAMS, &Pattern::Any, &Pattern::Any, |builder| RuleBody {
                choice: builder.text(choice),
                ..BODY
            });
            let known = ["direct", "deny", "sockd", "sockd @=a.b:1"].contains(&choice);
            assert_eq!(thawed, if known { None } else { unknown }, "{choice}");
        }
    }

    #[test]
    fn a_command_that_a_listing_would_not_give_back_is_refused() {
        for kind in [&RULES, &UPSTREAMS] {
            for command in ["a\nb", " a", "%x", ";", "a\0", "true"] {
                let thawed = thawed_with(kind, &Pattern::Any, &Pattern::Any, |builder| {
                    let choice = if kind.number == UPSTREAMS.number { builder.text("direct") } else { 0 };
                    RuleBody { choice, template: builder.template(command), ..BODY }
                });
                let sound = command == "true";
                let refused = Some(FrozenError::Content("a command that is none"));
                assert_eq!(thawed, if sound { None } else { refused }, "{command:?}");
            }
        }
    }

    #[test]
    fn a_mask_of_zeros_that_is_not_spelt_any_is_refused() {
        assert_eq!(thawed(&RULES, &network("0.0.0.0", 0), &Pattern::Any, BODY), OTHER);
        assert_eq!(thawed(&RULES, &Pattern::Any, &network("0.0.0.0", 0), BODY), OTHER);
        assert_eq!(thawed(&RULES, &network("::", 0), &network("::", 0), BODY), None);
    }

    #[test]
    fn a_route_must_be_of_its_interfaces_family() {
        let (v4, v6) = (network("0.0.0.0", 0), network("::", 0));
        let (inside, outside) = (network("11.0.0.0", 8), network("2001:db8::", 32));
        assert_eq!(thawed(&ROUTES, &v4, &inside, BODY), None);
        assert_eq!(thawed(&ROUTES, &v4, &Pattern::Any, BODY), None);
        assert_eq!(thawed(&ROUTES, &v4, &outside, BODY), OTHER);
        assert_eq!(thawed(&ROUTES, &v6, &outside, BODY), OTHER);
        assert_eq!(thawed(&ROUTES, &Pattern::Any, &inside, BODY), OTHER);
        let interface = |text: &str| {
            thawed_with(&ROUTES, &v4, &inside, |builder| RuleBody { choice: builder.text(text), ..BODY })
        };
        assert_eq!([interface("0.0.0.0"), interface("if0")], [OTHER, OTHER]);
    }

    #[test]
    fn an_upstream_line_has_no_source() {
        assert_eq!(
            thawed_with(&UPSTREAMS, &network("10.0.0.0", 8), &Pattern::Any, |builder| RuleBody {
                choice: builder.text("direct"),
                ..BODY
            }),
            OTHER
        );
    }

    #[test]
    fn only_rules_have_special_lines() {
        for kind in [RULES, ROUTES, UPSTREAMS] {
            let mut builder = Builder::default();
            let template = builder.template("true");
            assert!(builder.special(0, template, 1));
            let thawed = thaw(&freeze(&builder.finish(&kind), &kind, &Provenance::default()), &kind).err();
            assert_eq!(thawed, if kind.number == RULES.number { None } else { OTHER });
        }
    }
}
