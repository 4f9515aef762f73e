//! What the thread `store` does when it has a moment: removing versions that are not to be kept.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Retention, Store, Trouble};
use crate::kept::Keep;
use crate::protocol::Timestamp;

/// How much is removed at a time: some milliseconds' work.
const ROWS: usize = 2000;
/// How long others come first, between two times.
const PAUSE: Duration = Duration::from_millis(100);
/// How often every session is looked at, because versions age.
const SWEEP: Duration = Duration::from_secs(3600);
/// By how much a clock may be put right between two sweeps and still be believed.
const ADJUSTMENT: Duration = Duration::from_secs(60);

pub struct Chores {
    retention: Retention,
    /// Sessions that may have something to be removed.
    due: VecDeque<Arc<str>>,
    is_due: HashSet<Arc<str>>,
    /// How many ids were taken since a session was last looked at.
    taken: HashMap<Arc<str>, usize>,
    last: Instant,
    sweep: Instant,
    clock: Clock,
}

impl Chores {
    pub fn new(retention: Retention, store: &Store) -> Self {
        let now = Instant::now();
        let due: VecDeque<Arc<str>> = store.names().cloned().collect();
        Chores {
            retention,
            is_due: due.iter().cloned().collect(),
            due,
            taken: HashMap::new(),
            last: now,
            sweep: now + SWEEP,
            clock: Clock::new(now, Timestamp::now()),
        }
    }

    /// Takes note of what has been written.
    pub fn note<'a>(&mut self, written: impl Iterator<Item = &'a Keep>) {
        for keep in written {
            match keep {
                Keep::Whole { session, .. } => self.add(session.clone()),
                Keep::Taken { session, .. } => {
                    let count = self.taken.entry(session.clone()).or_default();
                    *count += 1;
                    if *count > self.retention.history {
                        self.add(session.clone());
                    }
                }
                Keep::Change { .. } => {}
            }
        }
    }

    fn add(&mut self, session: Arc<str>) {
        self.taken.remove(&session);
        if self.is_due.insert(session.clone()) {
            self.due.push_back(session);
        }
    }

    /// Does a little, if it has not just done some or nothing else `is_waiting`. Whether there is
    /// more to do.
    ///
    /// # Errors
    /// [`Trouble`]: that session is left as it is until something is written of it again.
    pub fn work(&mut self, store: &mut Store, is_idle: bool) -> Result<bool, Trouble> {
        let now = Instant::now();
        if now >= self.sweep {
            self.sweep = now + SWEEP;
            self.clock.look(now, Timestamp::now());
            if !self.retention.age.is_zero() {
                store.names().cloned().collect::<Vec<_>>().into_iter().for_each(|s| self.add(s));
            }
        }
        if self.due.is_empty() || !is_idle && now < self.last + PAUSE {
            return Ok(false);
        }
        let wall = Timestamp::now();
        let mut retention = self.retention;
        if !self.clock.is_steady(now, wall) {
            retention.age = Duration::ZERO;
        }
        let Some(session) = self.due.pop_front() else { return Ok(false) };
        self.is_due.remove(&session);
        let more = store.prune(&session, &retention, wall, ROWS)?;
        self.last = Instant::now();
        if more {
            self.add(session);
        }
        Ok(!self.due.is_empty())
    }

    /// When there is something to do, even if nothing is written.
    pub fn deadline(&self) -> Option<Instant> {
        Some(if self.due.is_empty() { self.sweep } else { self.last + PAUSE })
    }
}

/// Whether the system's clock can be believed. One that is wrong for a moment, after a start or when
/// its battery is empty, must not make versions look old: nothing brings them back.
struct Clock {
    at: Instant,
    wall: Timestamp,
    was_steady: bool,
}

impl Clock {
    fn new(at: Instant, wall: Timestamp) -> Self {
        Clock { at, wall, was_steady: false }
    }

    /// Whether the clock has gone on like time itself since it was last looked at.
    fn agrees(&self, at: Instant, wall: Timestamp) -> bool {
        let passed = at.saturating_duration_since(self.at).as_millis();
        let expected = u128::from(self.wall.millis()) + passed;
        u128::from(wall.millis()).abs_diff(expected) < ADJUSTMENT.as_millis()
    }

    /// Looks at it once a sweep.
    fn look(&mut self, at: Instant, wall: Timestamp) {
        *self = Clock { at, wall, was_steady: self.agrees(at, wall) };
    }

    /// Whether it was steady from one sweep to the next, and has been since.
    fn is_steady(&self, at: Instant, wall: Timestamp) -> bool {
        self.was_steady && self.agrees(at, wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_after_it_was_steady_for_a_while() {
        let (start, hour) = (Instant::now(), SWEEP);
        let wall = |seconds: u64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1000);
        let mut clock = Clock::new(start, wall(0));
        assert!(!clock.is_steady(start, wall(0)));
        clock.look(start + hour, wall(3600));
        assert!(clock.is_steady(start + hour, wall(3601)));
        assert!(clock.is_steady(start + hour * 2, wall(7190)));
        // Put to the next year, or back.
        assert!(!clock.is_steady(start + hour * 2, wall(7200 + 365 * 86_400)));
        assert!(!clock.is_steady(start + hour * 2, wall(3600)));
        clock.look(start + hour * 2, wall(365 * 86_400));
        assert!(!clock.is_steady(start + hour * 2, wall(365 * 86_400)));
        clock.look(start + hour * 3, wall(365 * 86_400 + 3600));
        assert!(clock.is_steady(start + hour * 3, wall(365 * 86_400 + 3600)));
    }
}
