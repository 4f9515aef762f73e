//! Counting changes by the minute.

use std::time::Duration;

/// How many minutes are counted, the current one included.
const MINUTES: usize = 30;

/// The number of changes in each of the last minutes, counted from the hub's start.
#[derive(Debug, Default)]
pub(super) struct PerMinute {
    /// By the minute's number modulo [`MINUTES`].
    counts: [u32; MINUTES],
    /// The last minute with a change.
    last: u64,
}

impl PerMinute {
    pub fn count(&mut self, now: Duration) {
        let minute = now.as_secs() / 60;
        for passed in (self.last + 1..=minute).rev().take(MINUTES) {
            self.counts[place(passed)] = 0;
        }
        self.last = minute;
        let count = &mut self.counts[place(minute)];
        *count = count.saturating_add(1);
    }

    /// The counts of the last minutes, the current one last.
    pub fn until(&self, now: Duration) -> impl Iterator<Item = u32> {
        let minute = now.as_secs() / 60;
        (0..MINUTES as u64).rev().map(move |ago| match minute.checked_sub(ago) {
            Some(then) if then <= self.last && then + MINUTES as u64 > self.last => {
                self.counts[place(then)]
            }
            _ => 0,
        })
    }
}

fn place(minute: u64) -> usize {
    (minute % MINUTES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(minutes: &PerMinute, now: u64) -> Vec<u32> {
        minutes.until(Duration::from_secs(now)).collect()
    }

    #[test]
    fn minutes_are_counted_and_those_long_past_are_not() {
        let mut minutes = PerMinute::default();
        assert_eq!(counted(&minutes, 0), [0; MINUTES]);
        for (second, changes) in [(0, 1), (59, 2), (60, 4), (30 * 60 - 1, 8)] {
            (0..changes).for_each(|_| minutes.count(Duration::from_secs(second)));
        }
        let mut expected = [0; MINUTES];
        (expected[0], expected[1], expected[29]) = (3, 4, 8);
        assert_eq!(counted(&minutes, 30 * 60 - 1), expected);
        let (mut later, mut much_later) = ([0; MINUTES], [0; MINUTES]);
        (later[0], later[28]) = (4, 8);
        assert_eq!(counted(&minutes, 30 * 60), later, "without a change");
        much_later[0] = 8;
        assert_eq!(counted(&minutes, 59 * 60 - 1), much_later);
        assert_eq!(counted(&minutes, 59 * 60 + 60), [0; MINUTES]);
        minutes.count(Duration::from_secs(30 * 60));
        (later[29], later[28]) = (1, 8);
        assert_eq!(counted(&minutes, 30 * 60), later);
        minutes.count(Duration::from_secs(1_000_000 * 60));
        let mut only = [0; MINUTES];
        only[29] = 1;
        assert_eq!(counted(&minutes, 1_000_000 * 60), only);
    }
}
