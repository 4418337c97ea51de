//! `nat64_prefixes` in sockd.ron(5): texts that are parsed once.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use sockd_policy::Nat64Prefix;

/// The values that the setting takes, in the words of the manual.
pub(crate) const TAKES: &str = "[] or prefixes of 32, 40, 48, 56, 64 or 96 bits, as [\"2001:db8:64::/96\"]";

pub(crate) fn serialize<S: Serializer>(prefixes: &[Nat64Prefix], serializer: S) -> Result<S::Ok, S::Error> {
    let texts: Vec<String> = prefixes.iter().map(Nat64Prefix::to_string).collect();
    texts.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Nat64Prefix>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let fault = |found| D::Error::custom(format_args!("nat64_prefixes: expected {TAKES}, found {found:?}"));
    texts.iter().map(|text| Nat64Prefix::parse(text).ok_or_else(|| fault(text))).collect()
}
