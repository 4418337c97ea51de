//! Medians, spreads and percentiles.

use std::time::Duration;

/// The middle value, or the mean of the two middle ones; `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted[middle - 1] + upper) / 2.0) }
}

/// From the least to the most, as a share of the median.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    let most = values.iter().copied().max_by(f64::total_cmp)?;
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let median = median(values)?;
    if median == 0.0 { Some(0.0) } else { Some((most - least) / median.abs()) }
}

/// Measured times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e6);
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    pub(crate) fn number(&self) -> usize {
        self.0.len()
    }

    /// In microseconds: the least time that this share of all does not exceed.
    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// The number with three digits, whatever its size.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 4.0]), Some(4.5));
    }

    #[test]
    fn the_spread_is_a_share_of_the_median() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(0.0));
        assert_eq!(spread(&[9.0, 10.0, 12.0]), Some(0.3));
        assert_eq!(spread(&[0.0, 0.0]), Some(0.0));
    }

    #[test]
    fn percentiles_are_times_that_were_taken() {
        let mut times = Times::default();
        for millisecond in (1..=100).rev() {
            times.add(Duration::from_millis(millisecond));
        }
        assert_eq!(times.percentile(0.5).round(), 50_000.0);
        assert_eq!(times.percentile(0.99).round(), 99_000.0);
        assert_eq!(times.percentile(1.0).round(), 100_000.0);
        assert!(Times::default().percentile(0.5).is_nan());
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [0.1234, 1.234, 12.34, 123.4, 12_345.6].map(digits),
            ["0.12", "1.23", "12.3", "123", "12346"]
        );
    }
}
