//! The limits of the connections that a line permits.

use alloc::format;
use alloc::string::String;
use core::fmt;

/// The limits of the connections that a line permits. They do not say which requests the line is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// Bytes a second to the client; 0 for no limit.
    pub down: u32,
    /// Bytes a second to the destination; 0 for no limit.
    pub up: u32,
    /// Connections of one user or host at once; 0 for no limit.
    pub connections: u32,
    /// The connections of one user or host share the rates.
    pub shared: bool,
}

impl Limits {
    /// No limit.
    pub const NONE: Limits = Limits { down: 0, up: 0, connections: 0, shared: false };

    /// The smallest rate. The kernel sends two segments at a time however slow that is: at a smaller rate they are
    /// seconds apart.
    pub const SLOWEST: u32 = 1_000;

    /// The greatest rate. 32 bits hold it, and every kernel understands it.
    pub const FASTEST: u32 = 4_000_000_000;

    /// The most connections at once that a line can name.
    pub const MOST: u32 = 65_536;

    /// Adds `10M/2M`, or one figure for both directions, and whether they are shared.
    pub fn with_rates(self, word: &str) -> Option<Limits> {
        let (rates, shared) = word.strip_suffix(SHARED).map_or((word, false), |rates| (rates, true));
        let (down, up) = rates.split_once('/').unwrap_or((rates, rates));
        Some(Limits { down: rate(down)?, up: rate(up)?, shared, ..self })
    }

    /// Adds the number of connections that there may be at once.
    pub fn with_connections(self, word: &str) -> Option<Limits> {
        let connections = number(word).filter(|count| (1..=Limits::MOST).contains(count))?;
        Some(Limits { connections, ..self })
    }

    /// Whether a line could have these limits.
    pub(crate) fn is_known(self) -> bool {
        let is_rate = |rate: u32| (Limits::SLOWEST..=Limits::FASTEST).contains(&rate);
        let has_no_rates = [self.down, self.up] == [0, 0] && !self.shared;
        self.connections <= Limits::MOST && (has_no_rates || (is_rate(self.down) && is_rate(self.up)))
    }
}

/// The word behind rates which says that connections share them.
const SHARED: &str = ",shared";

/// The units of a rate: powers of ten, as those of the links are.
const UNITS: [(&str, u32); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("K", 1_000)];

/// Reads bytes a second.
fn rate(word: &str) -> Option<u32> {
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((word.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((word, 1));
    let rate = number(digits)?.checked_mul(factor)?;
    (Limits::SLOWEST..=Limits::FASTEST).contains(&rate).then_some(rate)
}

fn number(digits: &str) -> Option<u32> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// A rate in the largest unit that it is a multiple of.
fn written(rate: u32) -> String {
    let units = UNITS.iter().filter(|(_, factor)| rate.checked_rem(*factor) == Some(0));
    let number = |factor: &u32| rate.checked_div(*factor);
    let written = units.filter_map(|(unit, factor)| Some(format!("{}{unit}", number(factor)?))).next();
    written.unwrap_or_else(|| format!("{rate}"))
}

/// The fields of a line with these limits, each with a blank in front.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.down, self.up) {
            (0, 0) => Ok(()),
            (down, up) if down == up => write!(f, " <={}", written(down)),
            (down, up) => write!(f, " <={}/{}", written(down), written(up)),
        }?;
        f.write_str(if self.shared { SHARED } else { "" })?;
        if self.connections == 0 { Ok(()) } else { write!(f, " n={}", self.connections) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_limited_is_read_and_written() {
        let rates = |down, up| Limits { down, up, ..Limits::NONE };
        for (word, limits, text) in [
            ("10M/2M", rates(10_000_000, 2_000_000), " <=10M/2M"),
            ("1M", rates(1_000_000, 1_000_000), " <=1M"),
            ("1500K/1000", rates(1_500_000, 1_000), " <=1500K/1K"),
            ("1234567/4G", rates(1_234_567, 4_000_000_000), " <=1234567/4G"),
            ("1M,shared", Limits { shared: true, ..rates(1_000_000, 1_000_000) }, " <=1M,shared"),
            ("1M/2M,shared", Limits { shared: true, ..rates(1_000_000, 2_000_000) }, " <=1M/2M,shared"),
        ] {
            assert_eq!(Limits::NONE.with_rates(word), Some(limits), "{word}");
            assert!(limits.is_known() && limits.to_string() == text, "{limits}");
            let both = limits.with_connections("65536").unwrap();
            assert!(both.is_known() && both.to_string() == format!("{text} n=65536"), "{both}");
        }
        assert_eq!(Limits::NONE.to_string(), "");
        for word in [
            "",
            "/",
            "1M/",
            "/1M",
            "1M/2M/3M",
            "999",
            "0",
            "0K",
            "5G",
            "4294967296",
            "+1M",
            "1m",
            "M",
            "1 M",
            ",shared",
            "shared",
            "1M,",
            "1M,shared,shared",
            "1M,Shared",
            "1M,shared/2M",
        ] {
            assert_eq!(Limits::NONE.with_rates(word), None, "{word}");
        }
        for word in ["", "0", "-1", "+1", "65537", "2x", "2,3", "4294967297"] {
            assert_eq!(Limits::NONE.with_connections(word), None, "{word}");
        }
    }

    #[test]
    fn what_no_line_could_say_is_not_known() {
        for (down, up, connections, shared, known) in [
            (0, 0, 0, false, true),
            (0, 0, 1, false, true),
            (0, 0, 0, true, false),
            (0, 0, Limits::MOST + 1, false, false),
            (1_000, 0, 0, false, false),
            (0, 1_000, 0, false, false),
            (999, 1_000, 0, false, false),
            (1_000, u32::MAX, 0, false, false),
        ] {
            let limits = Limits { down, up, connections, shared };
            assert_eq!(limits.is_known(), known, "{limits:?}");
        }
    }
}
