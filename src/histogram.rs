//! Histograms that one thread or several write and any thread reads without waiting.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A histogram with `N` upper bounds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// For each bound how many values are at most the bound and above the one before; `beyond`
    /// counts values above the last bound.
    at_most: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

/// What a histogram holds at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HistogramSample {
    /// The number of values in each range, from the lowest to above the last bound.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        let at_most = std::array::from_fn(|_| AtomicU64::default());
        Histogram { at_most, beyond: AtomicU64::default(), sum: AtomicU64::default() }
    }
}

impl<const N: usize> Histogram<N> {
    pub fn read(&self) -> HistogramSample {
        let counts = self.at_most.iter().chain([&self.beyond]).map(|count| count.load(Relaxed));
        HistogramSample { counts: counts.collect(), sum: self.sum.load(Relaxed) }
    }

    /// Counts a value. Only one thread may call it.
    pub fn add(&self, value: u64, bounds: &[u64; N]) {
        bump(self.count_of(value, bounds), 1);
        bump(&self.sum, value);
    }

    /// Counts a value. Several threads may call it at the same time.
    pub fn add_shared(&self, value: u64, bounds: &[u64; N]) {
        self.count_of(value, bounds).fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    fn count_of(&self, value: u64, bounds: &[u64; N]) -> &AtomicU64 {
        let place = bounds.iter().position(|bound| value <= *bound);
        place.map_or(&self.beyond, |place| &self.at_most[place])
    }
}

impl HistogramSample {
    /// The number of all values.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Adds to a number that only one thread writes. Cheaper than an atomic addition.
pub fn bump(count: &AtomicU64, more: u64) {
    count.store(count.load(Relaxed) + more, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [u64; 4] = [1, 2, 4, 256];

    #[test]
    fn each_value_is_counted_at_the_first_bound_that_holds_it() {
        let [own, shared] = [(); 2].map(|()| Histogram::default());
        for value in [0, 1, 2, 3, 4, 5, 256, 257, 1000] {
            own.add(value, &BOUNDS);
            shared.add_shared(value, &BOUNDS);
        }
        let read = own.read();
        assert_eq!(read, HistogramSample { counts: vec![2, 1, 2, 2, 2], sum: 1528 });
        assert_eq!((read.total(), &shared.read()), (9, &read));
    }

    #[test]
    fn what_several_threads_count_adds_up() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|value| histogram.add_shared(value, &BOUNDS)));
            }
        });
        assert_eq!((histogram.read().total(), histogram.read().sum), (4000, 4 * 499_500));
    }
}
