//! What a line limits of what it permits.

use alloc::format;
use alloc::string::String;
use core::fmt;

/// What a line limits of each connection that it permits. It says nothing of which requests the line is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// Bytes a second to the client; 0 where that has no limit.
    pub down: u32,
    /// Bytes a second to the destination; 0 where that has no limit.
    pub up: u32,
}

impl Limits {
    /// No limit.
    pub const NONE: Limits = Limits { down: 0, up: 0 };

    /// The smallest rate. The kernel sends two segments at a time however slow that is: at a smaller rate they are seconds
    /// apart.
    pub const SLOWEST: u32 = 1_000;

    /// The greatest rate: what 32 bits hold, which every kernel understands.
    pub const FASTEST: u32 = 4_000_000_000;

    /// Reads `10M/2M`, or one figure for both directions.
    pub fn rates(word: &str) -> Option<(u32, u32)> {
        match word.split_once('/') {
            Some((down, up)) => Some((rate(down)?, rate(up)?)),
            None => rate(word).map(|both| (both, both)),
        }
    }

    /// Whether a line could say it.
    pub(crate) fn is_known(self) -> bool {
        let is_rate = |rate: u32| (Limits::SLOWEST..=Limits::FASTEST).contains(&rate);
        [self.down, self.up] == [0, 0] || (is_rate(self.down) && is_rate(self.up))
    }
}

/// The units of a rate: powers of ten, as those of the links are.
const UNITS: [(&str, u32); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("K", 1_000)];

/// Reads bytes a second.
fn rate(word: &str) -> Option<u32> {
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((word.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((word, 1));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let rate = digits.parse::<u32>().ok().filter(|_| is_number)?.checked_mul(factor)?;
    (Limits::SLOWEST..=Limits::FASTEST).contains(&rate).then_some(rate)
}

/// A rate in the largest unit that it is a multiple of.
fn written(rate: u32) -> String {
    let units = UNITS.iter().filter(|(_, factor)| rate.checked_rem(*factor) == Some(0));
    let number = |factor: &u32| rate.checked_div(*factor);
    let written = units.filter_map(|(unit, factor)| Some(format!("{}{unit}", number(factor)?))).next();
    written.unwrap_or_else(|| format!("{rate}"))
}

/// The fields that say it, each with a blank in front.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.down, self.up) {
            (0, 0) => Ok(()),
            (down, up) if down == up => write!(f, " <={}", written(down)),
            (down, up) => write!(f, " <={}/{}", written(down), written(up)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_rate_is_read_and_written_in_units() {
        for (word, down, up, text) in [
            ("10M/2M", 10_000_000, 2_000_000, " <=10M/2M"),
            ("1M", 1_000_000, 1_000_000, " <=1M"),
            ("1500K/1000", 1_500_000, 1_000, " <=1500K/1K"),
            ("1234567/4G", 1_234_567, 4_000_000_000, " <=1234567/4G"),
        ] {
            assert_eq!(Limits::rates(word), Some((down, up)), "{word}");
            let limits = Limits { down, up };
            assert!(limits.is_known() && limits.to_string() == text, "{limits}");
        }
        for word in
            ["", "/", "1M/", "/1M", "1M/2M/3M", "999", "0", "0K", "5G", "4294967296", "+1M", "1m", "M", "1 M"]
        {
            assert_eq!(Limits::rates(word), None, "{word}");
        }
        assert_eq!(Limits::NONE.to_string(), "");
    }

    #[test]
    fn half_a_limit_is_none_that_a_line_could_say() {
        for (down, up, known) in [
            (0, 0, true),
            (1_000, 0, false),
            (0, 1_000, false),
            (999, 1_000, false),
            (1_000, u32::MAX, false),
        ] {
            assert_eq!(Limits { down, up }.is_known(), known, "{down}/{up}");
        }
    }
}
