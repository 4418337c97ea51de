//! The index against the plain scan, on rule files and requests that meet each other often.
//! `PROPTEST_CASES` sets the number of files; each is asked a few dozen questions.

#![allow(clippy::arithmetic_side_effects)]

mod random;

use proptest::prelude::*;
use random::{
    ADDRESSES, NAMES, Question, cases, crowd, crowded_question, few_cases, parse, question, rule, verdict,
};
use sockd_policy::{
    DenyReason, FactState, HostName, IdentMode, Need, Services, Upstream, UserId, Verdict, Way, parse_conf,
    parse_routes, parse_upstreams,
};

#[test]
fn the_index_decides_as_the_scan_does_among_thousands() {
    let questions = |v4| (Just(v4), prop::collection::vec(crowded_question(v4), 60));
    let asked = (any::<u64>(), any::<bool>().prop_flat_map(questions));
    let found = few_cases(file!()).run(&asked, |(seed, (v4, questions))| {
        let rules = parse(&crowd(v4, seed));
        for question in &questions {
            prop_assert_eq!(verdict(&rules, question, false), verdict(&rules, question, true));
        }
        Ok(())
    });
    assert!(found.is_ok(), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_the_scan_does(
        rules in prop::collection::vec(rule(), 0..80),
        questions in prop::collection::vec(question(), 30),
    ) {
        let rules = parse(&rules.join("\n"));
        for question in &questions {
            prop_assert_eq!(verdict(&rules, question, false), verdict(&rules, question, true));
        }
    }

    #[test]
    fn the_rules_in_effect_decide_as_the_rules_they_come_from(
        rules in prop::collection::vec(rule(), 0..20),
        questions in prop::collection::vec(question(), 10),
    ) {
        let first = parse(&rules.join("\n"));
        let second = parse(&first.lines().collect::<Vec<_>>().join("\n"));
        prop_assert_eq!(&first, &second);
        for question in &questions {
            let (first, second) = (verdict(&first, question, false), verdict(&second, question, false));
            prop_assert_eq!(format!("{first:?}"), format!("{second:?}"));
        }
    }

    /// If the names of a host could not be had, the request is refused, or decided as if the host had no name.
    #[test]
    fn names_that_could_not_be_had_refuse_or_count_as_none(
        rules in prop::collection::vec(rule(), 0..20),
        questions in prop::collection::vec(question(), 10),
    ) {
        let rules = parse(&rules.join("\n"));
        for question in questions {
            for fact in [Need::SourceNames, Need::DestinationNames] {
                let unavailable = verdict(&rules, &question.with_names(fact, FactState::Unavailable), false);
                let none = verdict(&rules, &question.with_names(fact, FactState::Known(Vec::new())), false);
                let refused = matches!(unavailable, Verdict::Deny(deny) if matches!(deny.why, DenyReason::Unavailable(_)));
                let pending = matches!(unavailable, Verdict::Need(_));
                prop_assert!(refused || pending || unavailable == none, "{unavailable:?} {none:?}");
            }
        }
    }

    /// A fact that could not be had never grants a request that a line would refuse for some value of the fact.
    #[test]
    fn a_missing_fact_permits_only_what_no_value_of_it_denies(
        rules in prop::collection::vec(rule(), 0..20),
        questions in prop::collection::vec(question(), 10),
    ) {
        let rules = parse(&rules.join("\n"));
        let names: Vec<Vec<HostName>> = std::iter::once(Vec::new())
            .chain(NAMES.iter().map(|name| vec![HostName::parse(name.as_bytes()).unwrap()]))
            .collect();
        for question in questions {
            for fact in [Need::SourceNames, Need::DestinationNames] {
                if !matches!(verdict(&rules, &question.with_names(fact, FactState::Unavailable), false), Verdict::Permit(_)) {
                    continue;
                }
                for names in &names {
                    let asked = question.with_names(fact, FactState::Known(names.clone()));
                    let known = verdict(&rules, &asked, true);
                    let by_rules = |why| matches!(why, DenyReason::Rule | DenyReason::NoMatch);
                    let denied = matches!(known, Verdict::Deny(deny) if by_rules(deny.why));
                    prop_assert!(!denied, "{names:?}: {known:?}");
                }
            }
            let asked = Question { identity: FactState::Unavailable, ..question };
            if let Verdict::Permit(permit) = verdict(&rules, &asked, false) {
                let is_asked = asked.login.is_none() && permit.rule.ident_mode(IdentMode::Lenient) != IdentMode::Off;
                prop_assert!(!is_asked, "{:?}", permit.rule);
            }
        }
    }

    /// An upstream server may find any address for the name: the rules would not have denied it there.
    #[test]
    fn a_name_without_an_address_is_permitted_only_where_no_address_is_denied(
        rules in prop::collection::vec(rule(), 0..20),
        questions in prop::collection::vec(question(), 10),
    ) {
        let rules = parse(&rules.join("\n"));
        for mut question in questions {
            question.destination = None;
            if !matches!(verdict(&rules, &question, false), Verdict::Permit(_)) {
                continue;
            }
            for address in ADDRESSES {
                question.destination = address.parse().ok();
                let at_address = verdict(&rules, &question, true);
                let by_rules = |why| matches!(why, DenyReason::Rule | DenyReason::NoMatch);
                let denied = matches!(at_address, Verdict::Deny(deny) if by_rules(deny.why));
                prop_assert!(!denied, "{address}: {at_address:?}");
            }
        }
    }

    #[test]
    fn a_name_without_an_address_is_passed_on_only_where_no_address_is_denied(
        lines in prop::collection::vec(
            "(deny|direct|sockd @=10\\.9\\.9\\.9) \
             (\\.?(xyz\\.com|com|org)|ALL|10\\.0\\.0\\.0|2001:db8::1/128|138\\.0\\.0\\.0/8)",
            0..8,
        ),
        name in prop::sample::select(&NAMES[..]),
    ) {
        let lines: Vec<_> = lines.iter().map(|line| match line.contains('/') {
            true => line.clone(),
            false => format!("{line} 255.0.0.0"),
        }).collect();
        let text = lines.join("\n");
        let upstreams = parse_upstreams(text.as_bytes(), &Services::default(), &mut |_| Err(String::new())).unwrap();
        let user = UserId::parse(b"ann").unwrap();
        let names = [HostName::parse(name.as_bytes()).unwrap()];
        let way = |address| match upstreams.way_for(address, FactState::Known(&names), 80, &user, &[]) {
            Upstream::By { way, .. } => way,
            other => panic!("names are known: {other:?}"),
        };
        if let Way::Sockd(..) = way(None) {
            for address in ADDRESSES.iter().filter(|address| **address != "0.0.0.0") {
                prop_assert_ne!(way(address.parse().ok()), Way::Deny, "{}", address);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_conf(&text, &Services::parse(&text), &mut |_| Ok(text.clone()));
        let _ = parse_routes(&text);
    }

    #[test]
    fn no_words_make_the_readers_panic(text in "(permit|deny|#BAD_ID:|\\?=I|\\*=[a,/]{0,3}|[0-9.:/]{1,9}|ALL|\\.?[a-z.]{1,9}|eq|:|%u|#| |\t|\n){0,30}") {
        let _ = parse_conf(text.as_bytes(), &Services::default(), &mut |_| Err(text.clone()));
        let _ = parse_routes(text.as_bytes());
    }
}
