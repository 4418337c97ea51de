//! The index against the plain scan, on rule files and requests that meet each other often.
//! `PROPTEST_CASES` sets the number of files; each is asked a few dozen questions.

mod random;

use proptest::prelude::*;
use random::{cases, parse, question, rule, verdict};
use sockd_policy::{Services, parse_conf, parse_routes};

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
