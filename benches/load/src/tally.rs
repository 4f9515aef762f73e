//! What arrived, and what was wrong with it.

use crate::histogram::Histogram;
use crate::message::Mark;

/// What a server of the session protocol may add to a message: user, time stamp, number.
const STAMPS: usize = 200;

/// Counts over all clients of a run.
pub struct Tally {
    pub latency: Histogram,
    /// Messages that reached a client they were meant for.
    pub delivered: u64,
    /// Numbers that were skipped when a later one arrived.
    pub skipped: u64,
    /// Messages that arrived again, or after a later one.
    pub repeated: u64,
    /// Messages that reached another session, or their sender.
    pub leaked: u64,
    /// Messages of a size they can't have.
    pub misshapen: u64,
    /// Messages that say what an item looks like once it is still.
    pub settled: u64,
    /// Whatever else the server said.
    pub other: u64,
    /// Clients whose connection ended, by a close frame or without.
    pub closed: u64,
    /// Of those the ones that were told they are too slow.
    pub too_slow: u64,
    /// What a message has to measure, and whether the server adds fields to it.
    pub size: usize,
    pub is_stamped: bool,
}

impl Tally {
    /// Nothing has arrived yet.
    pub fn new(size: usize, is_stamped: bool) -> Self {
        Tally {
            latency: Histogram::new(),
            delivered: 0,
            skipped: 0,
            repeated: 0,
            leaked: 0,
            misshapen: 0,
            settled: 0,
            other: 0,
            closed: 0,
            too_slow: 0,
            size,
            is_stamped,
        }
    }

    /// Counts a marked message of `length` bytes that a client of `session` received at `now`.
    /// `expected` has the next number of each sender of that session for this client.
    pub fn count(
        &mut self,
        mark: Mark,
        length: usize,
        now: u64,
        session: u32,
        itself: u32,
        expected: &mut [u32],
    ) {
        let Some(next) = expected.get_mut(mark.sender as usize) else {
            self.leaked += 1;
            return;
        };
        if mark.session != session || mark.sender == itself {
            self.leaked += 1;
            return;
        }
        let fits = match self.is_stamped {
            true => (self.size + 1..self.size + STAMPS).contains(&length),
            false => length == self.size,
        };
        self.misshapen += u64::from(!fits);
        if mark.number < *next {
            self.repeated += 1;
            return;
        }
        self.skipped += u64::from(mark.number - *next);
        *next = mark.number + 1;
        self.delivered += 1;
        self.latency.add(now.saturating_sub(mark.due));
    }

    /// Forgets the latencies and counts of the warm-up, but nothing that was wrong.
    pub fn start_over(&mut self) {
        self.latency = Histogram::new();
        self.delivered = 0;
        self.settled = 0;
        self.other = 0;
    }

    /// The counts and latencies as fields of a JSON object.
    pub fn fields(&self) -> String {
        format!("{},{}", self.counts(), self.latency.fields())
    }

    /// The counts alone.
    pub fn counts(&self) -> String {
        format!(
            "\"delivered\":{},\"skipped\":{},\"repeated\":{},\"leaked\":{},\"misshapen\":{},\
             \"settled\":{},\"other\":{},\"closed\":{},\"too_slow\":{}",
            self.delivered,
            self.skipped,
            self.repeated,
            self.leaked,
            self.misshapen,
            self.settled,
            self.other,
            self.closed,
            self.too_slow
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(session: u32, sender: u32, number: u32) -> Mark {
        Mark { session, sender, number, due: 0 }
    }

    #[test]
    fn everything_that_can_go_wrong_is_told_apart() {
        let mut tally = Tally::new(100, false);
        let mut expected = [0; 3];
        for (mark, length) in [
            (mark(1, 0, 0), 100),
            (mark(1, 0, 1), 100),
            (mark(1, 0, 1), 100), // repeated
            (mark(1, 1, 2), 100), // two skipped
            (mark(1, 1, 0), 100), // late
            (mark(1, 2, 0), 100), // back to its sender
            (mark(2, 0, 2), 100), // from elsewhere
            (mark(1, 9, 0), 100), // from nobody
            (mark(1, 0, 2), 99),
        ] {
            tally.count(mark, length, 0, 1, 2, &mut expected);
        }
        assert_eq!((tally.delivered, tally.skipped, tally.repeated), (4, 2, 2));
        assert_eq!((tally.leaked, tally.misshapen), (3, 1));
    }
}
