//! The limit on how often the monitor is asked for a flow.

/// Flows that a client host may ask for in one second, once it has used up [`BURST`].
const RATE: u64 = 100;

/// Flows that it may ask for at once.
const BURST: u64 = 500;

/// A second, in the unit of the clock.
const SECOND: u64 = 1000;

/// A token bucket. The monitor drops messages beyond the same limits; an honest worker spares it those messages.
#[derive(Debug, Default)]
pub struct Bucket {
    /// The time, in milliseconds, until which all flows so far would last at exactly the rate.
    spent: u64,
}

impl Bucket {
    /// Takes one token. Returns false if none is left.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let spent = self.spent.max(now_ms).saturating_add(SECOND / RATE);
        let admitted = spent.saturating_sub(now_ms) <= BURST.saturating_mul(SECOND / RATE);
        if admitted {
            self.spent = spent;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_burst_and_then_a_rate() {
        let mut bucket = Bucket::default();
        let mut taken = |now| (0..10_000).filter(|_| bucket.take(now)).count();
        assert_eq!([taken(7), taken(1007), taken(1017), taken(1_000_000)], [500, 100, 1, 500]);
    }
}
