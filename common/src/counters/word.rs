//! A word, words by label, and a histogram of words.

use super::labels::Label;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number. There is one writer, so that adding needs no locked instruction.
#[derive(Default)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces it.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Adds to it, wrapping around at the end.
    pub fn add(&self, number: u64) {
        self.set(self.get().wrapping_add(number));
    }

    /// Subtracts one, but stays at zero.
    pub fn take_one(&self) {
        self.set(self.get().saturating_sub(1));
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A word for each label; `N` is the number of labels.
#[derive(Debug)]
#[repr(C)]
pub struct By<L, const N: usize>([Word; N], PhantomData<L>);

impl<L, const N: usize> Default for By<L, N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Word::default()), PhantomData)
    }
}

impl<L: Label, const N: usize> By<L, N> {
    /// The word of this label.
    pub fn of(&self, label: L) -> Option<&Word> {
        const { assert!(L::COUNT == N, "a word for each label") };
        self.0.get(label.index())
    }

    /// Adds to the word of this label.
    pub fn add(&self, label: L, number: u64) {
        self.of(label).into_iter().for_each(|word| word.add(number));
    }

    /// The words alone.
    pub(super) fn words(&self) -> &[Word] {
        &self.0
    }

    /// All words: the label as written, and its number.
    pub fn all(&self) -> impl Iterator<Item = (String, u64)> {
        self.0.iter().enumerate().map(|(index, word)| (L::text(index), word.get()))
    }
}

/// The upper bounds of the buckets of a histogram, in milliseconds: from a millisecond to half a minute.
pub const BOUNDS_MS: [u32; 14] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000];

/// A histogram of durations.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Histogram {
    /// By [`BOUNDS_MS`], each without the ones before it; the last bucket has everything longer.
    buckets: [Word; BOUNDS_MS.len().saturating_add(1)],
    microseconds: Word,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, time: Duration) {
        let fits = |bound: &u32| time <= Duration::from_millis(u64::from(*bound));
        let place = BOUNDS_MS.iter().position(fits).unwrap_or(BOUNDS_MS.len());
        self.buckets.get(place).into_iter().for_each(|bucket| bucket.add(1));
        self.microseconds.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Its words.
    pub(super) fn words(&self) -> impl Iterator<Item = &Word> {
        self.buckets.iter().chain([&self.microseconds])
    }

    /// The number of durations up to each bound and above the one before it, then the number above all bounds.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Word::get)
    }

    /// The sum of all durations, in microseconds.
    pub fn microseconds(&self) -> u64 {
        self.microseconds.get()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Direction;
    use super::*;

    #[test]
    fn a_number_goes_round_and_does_not_go_below_zero() {
        let word = Word::default();
        word.take_one();
        assert_eq!(word.get(), 0);
        word.set(u64::MAX);
        word.add(2);
        assert_eq!(word.get(), 1);
        word.take_one();
        assert_eq!(word.get(), 0);
    }

    #[test]
    fn each_label_has_a_word_of_its_own() {
        let by = By::<Direction, { Direction::COUNT }>::default();
        by.add(Direction::Down, 7);
        by.add(Direction::Down, 1);
        by.add(Direction::Up, 2);
        let all: Vec<_> = by.all().collect();
        assert_eq!(all, [("direction=\"up\"".to_owned(), 2), ("direction=\"down\"".to_owned(), 8)]);
    }

    #[test]
    fn a_time_falls_into_the_first_bucket_that_is_not_shorter() {
        let micros = |number| Duration::from_micros(number);
        for (time, place) in [
            (micros(0), 0),
            (micros(1000), 0),
            (micros(1001), 1),
            (micros(50_000), 5),
            (micros(30_000_000), 13),
            (micros(30_000_001), 14),
            (Duration::from_secs(86_400), 14),
        ] {
            let histogram = Histogram::default();
            histogram.observe(time);
            let expected: Vec<_> = (0..=BOUNDS_MS.len()).map(|at| u64::from(at == place)).collect();
            assert_eq!(histogram.buckets().collect::<Vec<_>>(), expected, "{time:?}");
            assert_eq!(u128::from(histogram.microseconds()), time.as_micros());
        }
        assert!(BOUNDS_MS.is_sorted());
    }
}
