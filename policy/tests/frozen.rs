//! Frozen files: they hold what was frozen, and nothing else is taken for one.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod random;

use proptest::prelude::*;
use random::{cases, parse, question, rule, verdict};
use sha2::{Digest, Sha256};
use sockd_policy::frozen::{
    FrozenError, Provenance, freeze_routes, freeze_rules, hash, thaw_routes, thaw_rules,
};
use sockd_policy::{FactState, parse_routes};

const CONF: &str = "permit ?=I *=ann,/users 10.0.0.0/8 20.0.9.0 255.0.255.0 neq 23 : echo '%u'\n\
    permit <=10M/2M,shared n=5 10.0.0.0/8 eq 25\n\
    deny ~=5 +=bind,udp *=ann 10.0.0.0/8 in 80,443,8000-8999\n\
    deny .xyz.com 0.0.0.0 2001:db8::/32\n#BAD_ID: mail %u\ndeny ALL 0.0.0.0 xyz.com 0.0.0.0\npermit ALL 0.0.0.0\n";

fn from() -> Provenance {
    Provenance {
        name: "/etc/sockd.conf".into(),
        modified: 1_700_000_000,
        text: hash(CONF.as_bytes()),
        user_files: vec![("/users".into(), hash(b"carl"))],
    }
}

/// The file with a checksum that fits its content again.
fn resealed(mut file: Vec<u8>) -> Vec<u8> {
    let length = file.len() as u64;
    file[12..20].copy_from_slice(&length.to_le_bytes());
    let hash = Sha256::new().chain_update(&file[..20]).chain_update(&file[52..]).finalize();
    file[20..52].copy_from_slice(&hash);
    file
}

#[test]
fn frozen_rules_are_the_rules_and_know_where_they_come_from() {
    let rules = parse(CONF);
    let file = freeze_rules(&rules, &from());
    assert_eq!(thaw_rules(&file), Ok((rules, from())));
    assert_eq!(&file[..12], b"sockd.fz\x04\x00\x01\x00");
    assert_eq!(resealed(file.clone()), file);
}

#[test]
fn frozen_routes_are_the_routes_and_are_not_rules() {
    let routes =
        parse_routes(b"10.0.0.1 11.0.0.0/8\n2001:db8::1 ALL 0.0.0.0\n10.0.0.2 .a.b 0.0.0.0\n").unwrap();
    let file = freeze_routes(&routes, &from());
    assert_eq!(thaw_routes(&file), Ok((routes, from())));
    assert_eq!(thaw_rules(&file), Err(FrozenError::Kind(2)));
    assert_eq!(thaw_routes(&freeze_rules(&parse(CONF), &from())), Err(FrozenError::Kind(1)));
}

#[test]
fn no_part_of_a_frozen_file_is_one() {
    let file = freeze_rules(&parse(CONF), &from());
    for length in 0..file.len() {
        assert!(thaw_rules(&file[..length]).is_err(), "{length} bytes");
    }
    let longer = [&file[..], b"x"].concat();
    assert_eq!(thaw_rules(&longer), Err(FrozenError::Length));
    assert_eq!(thaw_rules(&resealed(longer)), Err(FrozenError::Content("bytes behind the end")));
    assert_eq!(thaw_rules(CONF.as_bytes()), Err(FrozenError::Magic));
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let file = freeze_rules(&parse(CONF), &from());
    for bit in 0..file.len() * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(thaw_rules(&damaged).is_err(), "bit {bit}");
    }
    let mut other = file;
    other[8] = 2;
    assert_eq!(thaw_rules(&resealed(other)), Err(FrozenError::Version(2)));
}

/// A file that an enemy writes with a fitting checksum is refused, or is a rule set like any other. It decides by index
/// as by scan, and its listing is read as the same number of rules.
fn refused_or_sound(file: &[u8]) {
    let Ok((rules, _)) = thaw_rules(file) else { return };
    let lines: Vec<String> = rules.lines().collect();
    assert!(lines.iter().all(|line| !line.contains('\n')));
    let user = sockd_policy::UserId::parse(b"ann").unwrap();
    for address in ["10.0.0.1", "20.0.9.1", "2001:db8::1", "unresolved"] {
        let request = sockd_policy::Request {
            source: "10.0.0.1".parse().unwrap(),
            destination: address.parse().ok(),
            port: 80,
            user: &user,
            command: sockd_policy::Command::Connect,
            version: sockd_policy::Version::Socks4,
            ident_default: sockd_policy::IdentMode::Off,
            nat64: &[],
        };
        for names in [FactState::NotAsked, FactState::Known(&[][..]), FactState::Unavailable] {
            let identity = FactState::NotAsked;
            let facts =
                sockd_policy::Facts { source_names: names, destination_names: names, identity, login: None };
            assert_eq!(rules.decide(&request, &facts), rules.scan()(&request, &facts));
        }
    }
}

#[test]
fn hostile_content_under_a_good_checksum_is_refused_or_sound() {
    let file = freeze_rules(&parse(CONF), &from());
    for place in 52..file.len() {
        for value in
            [0, 1, 2, 7, 0x20, 0x7f, 0x80, 0xff, file[place].wrapping_add(1), file[place].wrapping_sub(1)]
        {
            let mut hostile = file.clone();
            hostile[place] = value;
            refused_or_sound(&resealed(hostile));
        }
    }
    for length in 52..file.len() {
        assert!(thaw_rules(&resealed(file[..length].to_vec())).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn frozen_rules_decide_as_the_text_does(
        rules in prop::collection::vec(rule(), 0..40),
        questions in prop::collection::vec(question(), 10),
    ) {
        let rules = parse(&rules.join("\n"));
        let file = freeze_rules(&rules, &from());
        let (thawed, _) = thaw_rules(&file).unwrap();
        prop_assert_eq!(&thawed, &rules);
        prop_assert_eq!(freeze_rules(&thawed, &from()), file);
        for question in &questions {
            let (text, frozen) = (verdict(&rules, question, false), verdict(&thawed, question, false));
            prop_assert_eq!(format!("{text:?}"), format!("{frozen:?}"));
        }
    }

    #[test]
    fn words_replaced_under_a_good_checksum_are_refused_or_sound(
        rules in prop::collection::vec(rule(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![0u32..20, any::<u32>()]), 1..4),
    ) {
        let mut file = freeze_rules(&parse(&rules.join("\n")), &from());
        for (place, word) in changes {
            let place = 52 + place.index(file.len() - 56);
            file[place..place + 4].copy_from_slice(&word.to_le_bytes());
        }
        refused_or_sound(&resealed(file));
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(thaw_rules(&bytes).is_err());
        let file = [b"sockd.fz\x04\x00\x01\x00", &[0; 40][..], &bytes].concat();
        refused_or_sound(&resealed(file));
    }
}
