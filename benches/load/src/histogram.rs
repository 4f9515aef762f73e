//! Latencies, counted in buckets that are 1.6 % wide: a value costs no memory of its own.

/// Each power of two is split into this many buckets.
const SPLIT: u64 = 64;
const SPLIT_BITS: u32 = SPLIT.trailing_zeros();

/// See the file's first line. Values are nanoseconds.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    largest: u64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Histogram { buckets: vec![0; bucket(u64::MAX) + 1], count: 0, largest: 0 }
    }

    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.largest = self.largest.max(value);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value.
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// The value that `share` of all values don't exceed, in milliseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0.0, |bucket| upper(bucket).min(self.largest) as f64 / 1e6)
    }

    /// p50, p99 and the largest as fields of a JSON object.
    pub fn fields(&self) -> String {
        let (p50, p99) = (self.quantile(0.5), self.quantile(0.99));
        format!("\"p50\":{p50:.4},\"p99\":{p99:.4},\"max\":{:.4}", self.largest as f64 / 1e6)
    }
}

fn bucket(value: u64) -> usize {
    if value < SPLIT {
        return value as usize;
    }
    let shift = value.ilog2() - SPLIT_BITS;
    ((u64::from(shift) + 1) * SPLIT + (value >> shift) - SPLIT) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SPLIT {
        return bucket;
    }
    let shift = bucket / SPLIT - 1;
    ((bucket % SPLIT + SPLIT + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_its_upper_end() {
        for value in [0, 1, 63, 64, 65, 127, 128, 1000, 123_456_789, u64::MAX - 1, u64::MAX] {
            assert!(upper(bucket(value)) >= value, "{value}");
            assert!(bucket(value) == 0 || upper(bucket(value) - 1) < value, "{value}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|value| histogram.add(value * 1_000_000));
        assert!((histogram.quantile(0.5) - 500.0).abs() < 10.0);
        assert!((histogram.quantile(0.99) - 990.0).abs() < 20.0);
        assert!((histogram.quantile(1.0) - 1000.0).abs() < f64::EPSILON);
    }
}
