//! Frozen files, as an enemy with a checksum of his own would write them.

use crate::decisions::{answers, routed, ways};
use sha2::{Digest, Sha256};
use sockd_policy::frozen::{
    Provenance, freeze_routes, freeze_rules, freeze_upstreams, thaw_routes, thaw_rules, thaw_upstreams,
};
use sockd_policy::{Routes, RuleSet, Services, Upstreams, parse_conf, parse_routes, parse_upstreams};

/// Magic number, version and kind; the length follows, then the hash.
const BEGINNING: usize = 12;
const BEFORE_HASH: usize = 20;
/// The place where the content begins.
pub const HEADER: usize = BEFORE_HASH + 32;

/// The file that an input stands for. One that begins with an even byte is the content of a file, to which the beginning,
/// the length and the checksum are added; another one is a whole file as it is.
fn file(data: &[u8], sound: &[u8]) -> Vec<u8> {
    match data.split_first() {
        Some((first, content)) if first % 2 == 0 => {
            let length = (content.len() + HEADER) as u64;
            let before = [&sound[..BEGINNING], &length.to_le_bytes()].concat();
            let hash = Sha256::new().chain_update(&before).chain_update(content).finalize();
            [&before, &hash[..], content].concat()
        }
        Some((_, file)) => file.to_vec(),
        None => Vec::new(),
    }
}

/// The listing is as many lines as there are rules, and they are accepted.
fn listing(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.collect();
    assert!(lines.iter().all(|line| !line.contains(['\n', '\0'])), "{lines:?}");
    lines.join("\n")
}

/// `sockd.fc`: refused, or rules like any others.
pub fn frozen_rules(data: &[u8]) {
    let sound = freeze_rules(&RuleSet::default(), &Provenance::default());
    let Ok((rules, from)) = thaw_rules(&file(data, &sound)) else { return };
    let listed = listing(rules.lines());
    let again = parse_conf(listed.as_bytes(), &Services::default(), &mut |_| Ok(b"ann".to_vec()));
    let again = again.unwrap_or_else(|errors| panic!("{errors:?} in {listed}"));
    assert_eq!((again.len(), listing(again.lines())), (rules.len(), listed));
    answers(&rules);
    let refrozen = freeze_rules(&rules, &from);
    assert_eq!(thaw_rules(&refrozen), Ok((rules, from)));
}

/// `sockd.fr`: refused, or routes like any others.
pub fn frozen_routes(data: &[u8]) {
    let sound = freeze_routes(&Routes::default(), &Provenance::default());
    let Ok((routes, from)) = thaw_routes(&file(data, &sound)) else { return };
    let listed = listing(routes.lines());
    let again = parse_routes(listed.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?} in {listed}"));
    assert_eq!((again.len(), routed(&again)), (routes.len(), routed(&routes)));
    let refrozen = freeze_routes(&routes, &from);
    assert_eq!(thaw_routes(&refrozen), Ok((routes, from)));
}

/// `socks.fc`: refused, or lines like any others.
pub fn frozen_upstreams(data: &[u8]) {
    let sound = freeze_upstreams(&Upstreams::default(), &Provenance::default());
    let Ok((lines, from)) = thaw_upstreams(&file(data, &sound)) else { return };
    let listed = listing(lines.lines());
    let again = parse_upstreams(listed.as_bytes(), &Services::default(), &mut |_| Ok(b"ann".to_vec()));
    let again = again.unwrap_or_else(|errors| panic!("{errors:?} in {listed}"));
    assert_eq!((again.len(), listing(again.lines())), (lines.len(), listed));
    ways(&lines);
    let refrozen = freeze_upstreams(&lines, &from);
    assert_eq!(thaw_upstreams(&refrozen), Ok((lines, from)));
}
