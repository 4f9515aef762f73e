//! How fast one client may speak: token buckets for messages and bytes.

use std::time::{Duration, Instant};

/// How many seconds' worth may come at once.
const BURST: f64 = 4.0;

/// What a client may send, sustained; 0 for any amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Messages a second.
    pub messages: u32,
    /// Bytes a second.
    pub bytes: usize,
}

/// One connection's account. Time is an argument.
#[derive(Debug)]
pub struct Rate {
    messages: Bucket,
    bytes: Bucket,
}

impl Rate {
    /// A full account.
    pub fn new(limits: RateLimits, now: Instant) -> Self {
        Rate {
            messages: Bucket::new(f64::from(limits.messages), now),
            bytes: Bucket::new(limits.bytes as f64, now),
        }
    }

    /// Takes one message of this size off the account. Returns how long to wait before reading the
    /// next one: zero while there is something left.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        self.messages.take(1.0, now).max(self.bytes.take(bytes as f64, now))
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: f64, now: Instant) -> Self {
        Bucket { per_second, left: per_second * BURST, filled: now }
    }

    fn take(&mut self, amount: f64, now: Instant) -> Duration {
        if self.per_second <= 0.0 {
            return Duration::ZERO;
        }
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.left = (self.left + passed * self.per_second).min(self.per_second * BURST) - amount;
        Duration::try_from_secs_f64(-self.left / self.per_second).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_it_is_one_at_a_time() {
        let start = Instant::now();
        let mut rate = Rate::new(RateLimits { messages: 10, bytes: 0 }, start);
        for _ in 0..40 {
            assert_eq!(rate.take(1 << 20, start), Duration::ZERO);
        }
        let wait = rate.take(1, start);
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(rate.take(1, start + wait), wait);
        assert_eq!(rate.take(1, start + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn bytes_count_too() {
        let start = Instant::now();
        let mut rate = Rate::new(RateLimits { messages: 0, bytes: 1000 }, start);
        assert_eq!(rate.take(4000, start), Duration::ZERO);
        assert_eq!(rate.take(500, start), Duration::from_millis(500));
    }
}
