//! Removes versions that retention does not keep. The thread `store` does it in small steps between
//! transactions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Progress, Retention, Store, StoreError};
use crate::journal::JournalEntry;
use crate::protocol::Timestamp;

/// How many rows a step removes, about: it takes some milliseconds.
const ROWS_PER_STEP: usize = 2000;
/// The pause between two steps while entries are written.
const STEP_PAUSE: Duration = Duration::from_millis(100);
/// How often all sessions are due, because versions age.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How far the clock may be adjusted between two sweeps and still count as steady.
const MAX_CLOCK_ADJUSTMENT: Duration = Duration::from_secs(60);

/// Decides which session is pruned next, and when. The thread `store` owns it.
pub struct Pruner {
    retention: Retention,
    /// Sessions that may have rows to remove, in order.
    due: VecDeque<Arc<str>>,
    /// The same sessions as in `due`.
    is_due: HashSet<Arc<str>>,
    /// How many ids without a change were written of a session since it was due.
    taken: HashMap<Arc<str>, usize>,
    last_step: Instant,
    next_sweep: Instant,
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
            last_step: now,
            next_sweep: now + SWEEP_INTERVAL,
            clock: Clock::new(now, wall),
        }
    }

    /// Notes entries that were written: their sessions may be due.
    pub fn note<'a>(&mut self, written: impl Iterator<Item = &'a JournalEntry>) {
        for keep in written {
            match keep {
                JournalEntry::Snapshot { session, .. } => self.add(session.clone()),
                JournalEntry::ProcessedId { session, .. } => {
                    let count = self.taken.entry(session.clone()).or_default();
                    *count += 1;
                    if *count > self.retention.history {
                        self.add(session.clone());
                    }
                }
                JournalEntry::Change { .. } => {}
            }
        }
    }

    fn add(&mut self, session: Arc<str>) {
        self.taken.remove(&session);
        if self.is_due.insert(session.clone()) {
            self.due.push_back(session);
        }
    }

    /// Does one step, unless the last one was a moment ago and the thread is busy (not `is_idle`).
    ///
    /// # Errors
    /// [`StoreError`]: that session is left as it is until more of it is written.
    pub fn work(&mut self, store: &mut Store, is_idle: bool) -> Result<Progress, StoreError> {
        self.work_at(store, is_idle, (Instant::now(), Timestamp::now()))
    }

    fn work_at(
        &mut self,
        store: &mut Store,
        is_idle: bool,
        (now, wall): (Instant, Timestamp),
    ) -> Result<Progress, StoreError> {
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_INTERVAL;
            self.clock.observe(now, wall);
            if !self.retention.age.is_zero() {
                store.names().cloned().collect::<Vec<_>>().into_iter().for_each(|s| self.add(s));
            }
        }
        if self.due.is_empty() || !is_idle && now < self.last_step + STEP_PAUSE {
            return Ok(Progress::Done);
        }
        let mut retention = self.retention;
        if !self.clock.is_steady(now, wall) {
            retention.age = Duration::ZERO;
        }
        let Some(session) = self.due.pop_front() else { return Ok(Progress::Done) };
        self.is_due.remove(&session);
        let pruned = store.prune(&session, &retention, wall, ROWS_PER_STEP)?;
        self.last_step = now;
        if pruned.is_more() {
            self.add(session);
        }
        debug_assert_eq!(self.due.len(), self.is_due.len(), "a session is due once");
        Ok(Progress::more_if(!self.due.is_empty()))
    }

    /// When there is a step to do, though nothing is written.
    pub fn deadline(&self) -> Option<Instant> {
        let next_step = self.last_step + STEP_PAUSE;
        Some(if self.due.is_empty() { self.next_sweep } else { next_step })
    }
}

/// Tells whether the system's clock is steady. A clock that is wrong for a while, after a start or
/// with an empty battery, must not make versions look old: removed ones can't be restored.
struct Clock {
    at: Instant,
    wall: Timestamp,
    was_steady: bool,
}

impl Clock {
    fn new(at: Instant, wall: Timestamp) -> Self {
        Clock { at, wall, was_steady: false }
    }

    /// Returns true where the wall clock has advanced as the monotonic one since the last
    /// observation.
    fn agrees(&self, at: Instant, wall: Timestamp) -> bool {
        let passed = at.saturating_duration_since(self.at).as_millis();
        let expected = u128::from(self.wall.millis()) + passed;
        u128::from(wall.millis()).abs_diff(expected) < MAX_CLOCK_ADJUSTMENT.as_millis()
    }

    /// Observes the clock; to be called once a sweep.
    fn observe(&mut self, at: Instant, wall: Timestamp) {
        *self = Clock { at, wall, was_steady: self.agrees(at, wall) };
    }

    /// Returns true where the clock was steady between the last two sweeps, and has been since.
    fn is_steady(&self, at: Instant, wall: Timestamp) -> bool {
        self.was_steady && self.agrees(at, wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_counts_as_steady_from_one_sweep_to_the_next() {
        let (start, hour) = (Instant::now(), SWEEP_INTERVAL);
        let wall = |seconds: u64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1000);
        let mut clock = Clock::new(start, wall(0));
        assert!(!clock.is_steady(start, wall(0)));
        clock.observe(start + hour, wall(3600));
        assert!(clock.is_steady(start + hour, wall(3601)));
        assert!(clock.is_steady(start + hour * 2, wall(7190)));
        // The clock is set to the next year, or back.
        assert!(!clock.is_steady(start + hour * 2, wall(7200 + 365 * 86_400)));
        assert!(!clock.is_steady(start + hour * 2, wall(3600)));
        clock.observe(start + hour * 2, wall(365 * 86_400));
        assert!(!clock.is_steady(start + hour * 2, wall(365 * 86_400)));
        clock.observe(start + hour * 3, wall(365 * 86_400 + 3600));
        assert!(clock.is_steady(start + hour * 3, wall(365 * 86_400 + 3600)));
    }

    /// A session has a version a day. Hourly sweeps prune it while the clock is set to other times.
    #[test]
    fn a_sweep_removes_old_versions_and_no_others_when_the_clock_jumps() {
        const DAY: u64 = 86_400_000;
        const NOON: u64 = 1_700_000_000_000;
        let directory = std::env::temp_dir().join(format!("collabd-pruner-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let mut store = Store::open(&directory).expect("a store");
        for day in 0..10 {
            let keep = JournalEntry::Snapshot {
                session: "s".into(),
                epoch: "e".into(),
                seq: day,
                at: Timestamp::from_millis(NOON + day * DAY),
                user: None,
                document: b"{}".to_vec(),
                frames: Vec::new(),
                id: None,
                why: crate::journal::SnapshotReason::Regular,
            };
            store.commit([&keep]).expect("committed");
        }
        let retention = Retention { versions: 0, age: Duration::from_secs(2 * 86_400), history: 0 };
        let begun = Instant::now();
        let after = |hours: u64| begun + SWEEP_INTERVAL * u32::try_from(hours).expect("few");
        let wall = |millis: u64| Timestamp::from_millis(NOON + 9 * DAY + millis);
        let mut pruner = Pruner::at(retention, &store, (begun, wall(0)));
        let hour = DAY / 24;
        let versions = |pruner: &mut Pruner, store: &mut Store, hours: u64, wall: Timestamp| {
            while pruner.work_at(store, true, (after(hours), wall)).expect("works").is_more() {}
            let reader = super::super::Reader::open(store.directory()).expect("a reader");
            reader.versions("s").expect("are read").expect("is stored").len()
        };
        // At the start the clock is not known to be right.
        assert_eq!(versions(&mut pruner, &mut store, 0, wall(0)), 10);
        // The clock is set a year ahead within the first hour, and back after it.
        assert_eq!(versions(&mut pruner, &mut store, 1, wall(365 * DAY)), 10);
        assert_eq!(versions(&mut pruner, &mut store, 2, wall(2 * hour)), 10);
        // Back to 1970, and on from there.
        let epoch = |hours: u64| Timestamp::from_millis(hours * hour);
        assert_eq!(versions(&mut pruner, &mut store, 3, epoch(3)), 10);
        assert_eq!(versions(&mut pruner, &mut store, 4, epoch(4)), 10);
        // The clock is right again, and steady from one hour to the next: old versions go.
        assert_eq!(versions(&mut pruner, &mut store, 5, wall(5 * hour)), 10);
        assert_eq!(versions(&mut pruner, &mut store, 6, wall(6 * hour)), 3);
        // A jump after that removes nothing more; the next steady hour does.
        assert_eq!(versions(&mut pruner, &mut store, 7, wall(99 * DAY)), 3);
        assert_eq!(versions(&mut pruner, &mut store, 8, wall(8 * hour)), 3);
        assert_eq!(versions(&mut pruner, &mut store, 9, wall(9 * hour)), 3);
        drop(store);
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
