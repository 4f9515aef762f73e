//! What the thread `store` does when it has a moment: removing versions that are not to be kept.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Retention, Store, StoreError};
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

pub struct Pruner {
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

impl Pruner {
    pub fn new(retention: Retention, store: &Store) -> Self {
        Self::at(retention, store, (Instant::now(), Timestamp::now()))
    }

    fn at(retention: Retention, store: &Store, (now, wall): (Instant, Timestamp)) -> Self {
        let due: VecDeque<Arc<str>> = store.names().cloned().collect();
        Pruner {
            retention,
            is_due: due.iter().cloned().collect(),
            due,
            taken: HashMap::new(),
            last: now,
            sweep: now + SWEEP,
            clock: Clock::new(now, wall),
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
    /// [`StoreError`]: that session is left as it is until something is written of it again.
    pub fn work(&mut self, store: &mut Store, is_idle: bool) -> Result<bool, StoreError> {
        self.work_at(store, is_idle, (Instant::now(), Timestamp::now()))
    }

    /// The same at this moment, and when the system's clock says this.
    fn work_at(
        &mut self,
        store: &mut Store,
        is_idle: bool,
        (now, wall): (Instant, Timestamp),
    ) -> Result<bool, StoreError> {
        if now >= self.sweep {
            self.sweep = now + SWEEP;
            self.clock.look(now, wall);
            if !self.retention.age.is_zero() {
                store.names().cloned().collect::<Vec<_>>().into_iter().for_each(|s| self.add(s));
            }
        }
        if self.due.is_empty() || !is_idle && now < self.last + PAUSE {
            return Ok(false);
        }
        let mut retention = self.retention;
        if !self.clock.is_steady(now, wall) {
            retention.age = Duration::ZERO;
        }
        let Some(session) = self.due.pop_front() else { return Ok(false) };
        self.is_due.remove(&session);
        let more = store.prune(&session, &retention, wall, ROWS)?;
        self.last = now;
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

    /// What a clean-up leaves of a session that has a version a day, hour by hour, with a clock that is
    /// put elsewhere between two of them.
    #[test]
    fn an_hourly_clean_up_removes_what_is_old_and_nothing_else_whatever_the_clock_does() {
        const DAY: u64 = 86_400_000;
        const NOON: u64 = 1_700_000_000_000;
        let directory = std::env::temp_dir().join(format!("collabd-chores-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let mut store = Store::open(&directory).expect("a store");
        for day in 0..10 {
            let keep = Keep::Whole {
                session: "s".into(),
                epoch: "e".into(),
                seq: day,
                at: Timestamp::from_millis(NOON + day * DAY),
                user: None,
                document: b"{}".to_vec(),
                frames: Vec::new(),
                id: None,
                why: crate::kept::Why::Regular,
            };
            store.commit([&keep]).expect("committed");
        }
        let retention = Retention { versions: 0, age: Duration::from_secs(2 * 86_400), history: 0 };
        let begun = Instant::now();
        let after = |hours: u64| begun + SWEEP * u32::try_from(hours).expect("few");
        let wall = |millis: u64| Timestamp::from_millis(NOON + 9 * DAY + millis);
        let mut chores = Pruner::at(retention, &store, (begun, wall(0)));
        let hour = DAY / 24;
        let versions = |chores: &mut Pruner, store: &mut Store, hours: u64, wall: Timestamp| {
            while chores.work_at(store, true, (after(hours), wall)).expect("works") {}
            let reader = super::super::Reader::open(store.directory()).expect("a reader");
            reader.versions("s").expect("are read").expect("is stored").len()
        };
        // At the start nobody knows whether the clock is right.
        assert_eq!(versions(&mut chores, &mut store, 0, wall(0)), 10);
        // It is put a year ahead before the first hour is over, and back after it.
        assert_eq!(versions(&mut chores, &mut store, 1, wall(365 * DAY)), 10);
        assert_eq!(versions(&mut chores, &mut store, 2, wall(2 * hour)), 10);
        // Back to 1970, and on from there.
        let epoch = |hours: u64| Timestamp::from_millis(hours * hour);
        assert_eq!(versions(&mut chores, &mut store, 3, epoch(3)), 10);
        assert_eq!(versions(&mut chores, &mut store, 4, epoch(4)), 10);
        // Right again, and steady from one hour to the next: now what is old goes, and nothing else.
        assert_eq!(versions(&mut chores, &mut store, 5, wall(5 * hour)), 10);
        assert_eq!(versions(&mut chores, &mut store, 6, wall(6 * hour)), 3);
        // A jump after that removes nothing more; the next steady hour does.
        assert_eq!(versions(&mut chores, &mut store, 7, wall(99 * DAY)), 3);
        assert_eq!(versions(&mut chores, &mut store, 8, wall(8 * hour)), 3);
        assert_eq!(versions(&mut chores, &mut store, 9, wall(9 * hour)), 3);
        drop(store);
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
