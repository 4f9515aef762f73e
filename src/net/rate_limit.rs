//! The rate limit of one client: token buckets for messages and for bytes.

use std::time::{Duration, Instant};

/// How many seconds' worth of messages or bytes may come at once.
const BURST_SECONDS: f64 = 4.0;
/// A client that is over its rate for this long without a break is closed.
const OVERRUN_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that has had no message delayed for this long has made a break. It can't be much
/// shorter: a client that is read late, because the machine is busy, spends what it saved meanwhile
/// at once.
const BREAK_LENGTH: Duration = Duration::from_secs(1);

/// What a client may send for any length of time; 0 means any amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    pub messages: u32,
    pub bytes: usize,
}

/// The buckets of one connection. Time is an argument.
#[derive(Debug)]
pub struct Rate {
    messages: Bucket,
    bytes: Bucket,
    /// The last run of delayed messages.
    run: Option<Run>,
}

/// Delayed messages without a break between them.
#[derive(Debug)]
struct Run {
    began: Instant,
    /// The end of the last one's delay.
    last: Instant,
}

/// What to do after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long to wait before the next message is read; zero while the bucket isn't empty.
    pub pause: Duration,
    /// True where messages have been delayed without a break for five seconds.
    pub is_overrun: bool,
}

impl Rate {
    pub fn new(limits: RateLimits, now: Instant) -> Self {
        Rate {
            messages: Bucket::new(f64::from(limits.messages), now),
            bytes: Bucket::new(limits.bytes as f64, now),
            run: None,
        }
    }

    /// Takes a message of this many bytes out of the buckets.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Pace {
        let pause = self.messages.take(1.0, now).max(self.bytes.take(bytes as f64, now));
        if pause.is_zero() {
            return Pace { pause, is_overrun: false };
        }
        let goes_on = |run: &&Run| now.saturating_duration_since(run.last) < BREAK_LENGTH;
        let began = self.run.as_ref().filter(goes_on).map_or(now, |run| run.began);
        self.run = Some(Run { began, last: now + pause });
        Pace { pause, is_overrun: now.saturating_duration_since(began) >= OVERRUN_TIMEOUT }
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
        Bucket { per_second, left: per_second * BURST_SECONDS, filled: now }
    }

    fn take(&mut self, amount: f64, now: Instant) -> Duration {
        if self.per_second <= 0.0 {
            return Duration::ZERO;
        }
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.left =
            (self.left + passed * self.per_second).min(self.per_second * BURST_SECONDS) - amount;
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
            assert_eq!(rate.take(1 << 20, start).pause, Duration::ZERO);
        }
        let wait = rate.take(1, start).pause;
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(rate.take(1, start + wait).pause, wait);
        assert_eq!(rate.take(1, start + Duration::from_secs(60)).pause, Duration::ZERO);
    }

    #[test]
    fn bytes_count_too() {
        let start = Instant::now();
        let mut rate = Rate::new(RateLimits { messages: 0, bytes: 1000 }, start);
        assert_eq!(rate.take(4000, start).pause, Duration::ZERO);
        assert_eq!(rate.take(500, start).pause, Duration::from_millis(500));
    }

    /// Sends as fast as messages are read, until the rate is overrun. Returns how long that took.
    fn flood(rate: &mut Rate, bytes: usize, start: Instant) -> Duration {
        let mut now = start;
        loop {
            let pace = rate.take(bytes, now);
            if pace.is_overrun {
                return now - start;
            }
            assert!(now - start < Duration::from_secs(60), "never");
            now += pace.pause;
        }
    }

    #[test]
    fn five_seconds_over_without_a_break_are_an_overrun() {
        let start = Instant::now();
        for (limits, bytes) in [
            (RateLimits { messages: 2000, bytes: 0 }, 1),
            (RateLimits { messages: 10, bytes: 0 }, 1),
            (RateLimits { messages: 0, bytes: 1 << 20 }, 1 << 10),
        ] {
            // The burst takes no time in this test.
            let took = flood(&mut Rate::new(limits, start), bytes, start);
            let five = Duration::from_secs(5);
            assert!((five..five + Duration::from_millis(200)).contains(&took), "{took:?}");
        }
        let limits = RateLimits { messages: 0, bytes: 0 };
        let mut none = Rate::new(limits, start);
        assert!((0..100_000).all(|_| none.take(1 << 20, start).pause.is_zero()));
    }

    /// On a busy machine messages are read late.
    #[test]
    fn a_flood_that_is_read_late_is_an_overrun_all_the_same() {
        let start = Instant::now();
        let mut rate = Rate::new(RateLimits { messages: 2000, bytes: 0 }, start);
        let mut now = start;
        let mut late = [0, 1, 7, 40, 300].into_iter().map(Duration::from_millis).cycle();
        while !rate.take(1, now).is_overrun {
            assert!(now - start < Duration::from_secs(60), "never");
            let pace = rate.take(1, now);
            if !pace.pause.is_zero() {
                now += pace.pause + late.next().expect("endless");
            }
        }
    }

    #[test]
    fn a_second_without_waiting_ends_the_run() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut rate = Rate::new(RateLimits { messages: 10, bytes: 0 }, start);
        let over = |rate: &mut Rate, from: f64, seconds: f64| {
            let paces = (0..(seconds * 10.0) as u32)
                .map(|n| rate.take(1, at(from + f64::from(n) / 10.0)))
                .collect::<Vec<_>>();
            assert!(paces.iter().all(|pace| !pace.pause.is_zero()));
            paces.iter().any(|pace| pace.is_overrun)
        };
        (0..40).for_each(|_| assert!(rate.take(1, start).pause.is_zero()));
        assert!(!over(&mut rate, 0.0, 4.9));
        // Thirteen messages have been saved up.
        (0..13).for_each(|_| assert!(rate.take(1, at(6.2)).pause.is_zero()));
        assert!(!over(&mut rate, 6.2, 4.9), "counted from the break on");
        assert!(over(&mut rate, 11.1, 0.3));
    }

    #[test]
    fn one_message_that_has_to_wait_for_long_is_no_overrun() {
        let start = Instant::now();
        let mut rate = Rate::new(RateLimits { messages: 0, bytes: 1000 }, start);
        let pace = rate.take(20_000, start);
        assert_eq!(pace, Pace { pause: Duration::from_secs(16), is_overrun: false });
        let next = rate.take(1, start + pace.pause);
        assert!(next.is_overrun, "but a second one right behind it is: {next:?}");
    }
}
