//! What waits for the disk: entries in their order, and what may happen once they are written.
//! Pure: no thread, no file.
//!
//! Every entry has a number. A waiter, a load or a job has the number of the first entry that was
//! pushed after it. It is ready when all entries before that number are on disk.
//!
//! While the disk fails, entries are dropped to bound memory. Each session is then in one of four
//! states:
//!
//! | state | entered when |
//! |---|---|
//! | complete: no [`Gap`] | at first; a snapshot that was queued is on disk |
//! | [`GapState::Incomplete`] | an entry is dropped, or the store finds that one is missing |
//! | [`GapState::SnapshotRequested`] | the hub is asked for a snapshot |
//! | [`GapState::SnapshotQueued`] | a snapshot ([`JournalEntry::Snapshot`]) is pushed |
//!
//! Only a snapshot closes a gap, so changes of an incomplete session are not taken. No waiter that
//! was pushed after the first dropped entry of any session is ready before the gap is closed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::messages::{Job, WAITER_BYTES, Waiter};
use crate::journal::JournalEntry;

#[cfg(test)]
mod tests;

/// Everything that waits for the disk. The thread `store` owns it.
#[derive(Default)]
pub struct PendingWrites {
    entries: VecDeque<(u64, JournalEntry)>,
    waiters: VecDeque<(u64, Waiter)>,
    loads: VecDeque<(u64, Arc<str>)>,
    jobs: VecDeque<(u64, Job)>,
    /// The number of the entry that is pushed next.
    next: u64,
    /// Memory of entries and waiters.
    bytes: usize,
    /// The sessions that are not complete.
    gaps: HashMap<Arc<str>, Gap>,
}

/// Entries of a session that are not on disk and do not wait any more.
#[derive(Debug)]
struct Gap {
    /// The number of the first entry that was dropped, or a smaller one.
    since: u64,
    state: GapState,
}

#[derive(Debug)]
enum GapState {
    Incomplete,
    SnapshotRequested {
        at: Instant,
    },
    SnapshotQueued {
        /// The number of the snapshot.
        number: u64,
        /// When it was requested; `None` where the hub sent it unasked.
        requested: Option<Instant>,
    },
}

impl Gap {
    fn requested(&self) -> Option<Instant> {
        match self.state {
            GapState::Incomplete => None,
            GapState::SnapshotRequested { at } => Some(at),
            GapState::SnapshotQueued { requested, .. } => requested,
        }
    }

    /// Notes that this snapshot waits, or that none does.
    fn set_queued(&mut self, snapshot: Option<u64>) {
        let requested = self.requested();
        self.state = match (snapshot, requested) {
            (Some(number), requested) => GapState::SnapshotQueued { number, requested },
            (None, Some(at)) => GapState::SnapshotRequested { at },
            (None, None) => GapState::Incomplete,
        };
    }
}

impl PendingWrites {
    /// Adds an entry. Drops a change of an incomplete session: it can't be written before a
    /// snapshot.
    pub fn push(&mut self, keep: JournalEntry) {
        let number = self.next;
        self.next += 1;
        if let Some(gap) = self.gaps.get_mut(keep.session())
            && !matches!(gap.state, GapState::SnapshotQueued { .. })
        {
            match keep {
                JournalEntry::Snapshot { .. } => gap.set_queued(Some(number)),
                _ => return,
            }
        }
        self.bytes += keep.bytes();
        self.entries.push_back((number, keep));
    }

    /// Adds a waiter: it is ready when every entry before it is on disk.
    pub fn push_waiter(&mut self, waiter: Waiter) {
        self.bytes += WAITER_BYTES;
        self.waiters.push_back((self.next, waiter));
    }

    /// Adds a session to be loaded.
    pub fn push_load(&mut self, session: Arc<str>) {
        self.loads.push_back((self.next, session));
    }

    /// Adds a job. Entries that are pushed after it are not written before it is taken.
    pub fn push_job(&mut self, job: Job) {
        self.jobs.push_back((self.next, job));
    }

    /// The memory of entries and waiters, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many waiters there are.
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// The next entries to write: at most `max_entries`, and no more once they have `max_bytes`
    /// bytes.
    pub fn batch(
        &self,
        max_entries: usize,
        max_bytes: usize,
    ) -> impl Iterator<Item = &JournalEntry> {
        let end = self.jobs.front().map_or(self.next, |(number, _)| *number);
        let mut left = max_bytes;
        let entries =
            self.entries.iter().take_while(move |(number, _)| *number < end).take(max_entries);
        entries
            .take_while(move |(_, keep)| {
                let fits = left > 0;
                left = left.saturating_sub(keep.bytes());
                fits
            })
            .map(|(_, keep)| keep)
    }

    /// Removes the first `count` entries, which are on disk; of the sessions in `incomplete`, the
    /// store could not write some, because earlier ones are missing.
    pub fn mark_written(&mut self, count: usize, incomplete: &[Arc<str>]) {
        let first = self.next_unwritten();
        for (_, keep) in self.entries.drain(..count.min(self.entries.len())) {
            self.bytes -= keep.bytes();
        }
        let next = self.next_unwritten();
        self.gaps.retain(|session, gap| match gap.state {
            GapState::SnapshotQueued { number, .. } => {
                number >= next || incomplete.contains(session)
            }
            GapState::Incomplete | GapState::SnapshotRequested { .. } => true,
        });
        for session in incomplete {
            let snapshot = self.last_snapshot(session);
            self.open_gap(session, first, snapshot);
        }
        self.check_bytes();
    }

    /// Every entry before this number is on disk or was dropped.
    fn next_unwritten(&self) -> u64 {
        self.entries.front().map_or(self.next, |(number, _)| *number)
    }

    /// Takes the next waiter that is ready.
    pub fn ready_waiter(&mut self) -> Option<Waiter> {
        let first_gap = self.gaps.values().map(|gap| gap.since).min().unwrap_or(u64::MAX);
        let next = self.next_unwritten().min(first_gap);
        let waiter = pop_up_to(&mut self.waiters, next)?;
        self.bytes -= WAITER_BYTES;
        Some(waiter)
    }

    /// Takes the next session that is ready to be loaded.
    pub fn ready_load(&mut self) -> Option<Arc<str>> {
        let next = self.next_unwritten();
        pop_up_to(&mut self.loads, next)
    }

    /// Takes the next session to be loaded, though entries before it may not be on disk.
    pub fn next_load(&mut self) -> Option<Arc<str>> {
        self.loads.pop_front().map(|(_, session)| session)
    }

    /// Takes the next job that is ready.
    pub fn ready_job(&mut self) -> Option<Job> {
        let next = self.next_unwritten();
        pop_up_to(&mut self.jobs, next)
    }

    /// Is true where an entry of the session waits, or the session is not complete.
    pub fn has_pending(&self, session: &str) -> bool {
        self.gaps.contains_key(session)
            || self.entries.iter().any(|(_, keep)| &**keep.session() == session)
    }

    /// Drops entries until what waits has no more than `max_bytes` bytes, those of the largest
    /// session first. The newest waiters are dropped and returned where waiters alone have more
    /// than half of that.
    #[must_use]
    pub fn shrink_to(&mut self, max_bytes: usize) -> Vec<Waiter> {
        let dropped = self.drop_waiters(max_bytes / 2 / WAITER_BYTES);
        while self.bytes > max_bytes {
            let mut sizes: HashMap<&Arc<str>, usize> = HashMap::new();
            for (_, keep) in &self.entries {
                *sizes.entry(keep.session()).or_default() += keep.bytes();
            }
            let largest = sizes.into_iter().max_by_key(|(_, bytes)| *bytes);
            let Some((session, _)) = largest else { break };
            let session = session.clone();
            self.shrink_session(&session);
        }
        dropped
    }

    /// Drops the entries of a session before its last snapshot; where there are none, all its
    /// entries.
    fn shrink_session(&mut self, session: &Arc<str>) {
        let first = self.entries.iter().find(|(_, keep)| keep.session() == session);
        let first = first.map_or(self.next, |(number, _)| *number);
        let snapshot = self.last_snapshot(session).filter(|snapshot| first < *snapshot);
        self.open_gap(session, first, snapshot);
    }

    /// Drops all entries of every session.
    pub fn drop_all(&mut self) {
        while let Some((number, keep)) = self.entries.front() {
            let (session, number) = (keep.session().clone(), *number);
            self.open_gap(&session, number, None);
        }
    }

    /// Keeps the first `count` waiters; drops the others and returns them.
    pub fn drop_waiters(&mut self, count: usize) -> Vec<Waiter> {
        let dropped = self.waiters.drain(count.min(self.waiters.len())..);
        self.bytes -= dropped.len() * WAITER_BYTES;
        dropped.map(|(_, waiter)| waiter).collect()
    }

    /// Drops every job, and returns them.
    #[must_use]
    pub fn drop_jobs(&mut self) -> VecDeque<(u64, Job)> {
        std::mem::take(&mut self.jobs)
    }

    /// The number of the last snapshot of a session that waits.
    fn last_snapshot(&self, session: &Arc<str>) -> Option<u64> {
        let is_snapshot = |keep: &JournalEntry| matches!(keep, JournalEntry::Snapshot { .. });
        let snapshot =
            self.entries.iter().rfind(|(_, keep)| keep.session() == session && is_snapshot(keep));
        snapshot.map(|(number, _)| *number)
    }

    /// Drops the entries of a session before `snapshot`, or all where there is none. The session
    /// has a gap from then on: since `since`, or since an earlier entry where it had one already.
    fn open_gap(&mut self, session: &Arc<str>, since: u64, snapshot: Option<u64>) {
        let end = snapshot.unwrap_or(self.next);
        let bytes = &mut self.bytes;
        self.entries.retain(|(number, keep)| {
            let stays = *number >= end || keep.session() != session;
            if !stays {
                *bytes -= keep.bytes();
            }
            stays
        });
        let gap = self.gaps.entry(session.clone());
        gap.or_insert(Gap { since, state: GapState::Incomplete }).set_queued(snapshot);
        self.check_bytes();
    }

    /// The incomplete sessions, for each of which the hub is to be asked for a snapshot now.
    pub fn take_requests(&mut self, now: Instant) -> Vec<Arc<str>> {
        let is_incomplete = |gap: &Gap| matches!(gap.state, GapState::Incomplete);
        let incomplete = self.gaps.iter_mut().filter(|(_, gap)| is_incomplete(gap));
        let requests = incomplete.map(|(session, gap)| {
            gap.state = GapState::SnapshotRequested { at: now };
            session.clone()
        });
        requests.collect()
    }

    /// Forgets which snapshots were requested: [`take_requests`](Self::take_requests) names them
    /// again.
    pub fn reset_requests(&mut self) {
        for gap in self.gaps.values_mut() {
            match &mut gap.state {
                GapState::SnapshotQueued { requested, .. } => *requested = None,
                state => *state = GapState::Incomplete,
            }
        }
    }

    /// A session whose snapshot was requested at `before` or earlier and has not come.
    pub fn expired_request(&self, before: Instant) -> Option<Arc<str>> {
        let is_expired =
            |gap: &Gap| matches!(gap.state, GapState::SnapshotRequested { at } if at <= before);
        let expired = self.gaps.iter().find(|(_, gap)| is_expired(gap));
        expired.map(|(session, _)| session.clone())
    }

    /// Is true where a snapshot was requested and has not come.
    pub fn has_requests(&self) -> bool {
        self.gaps.values().any(|gap| matches!(gap.state, GapState::SnapshotRequested { .. }))
    }

    /// Forgets the gap of a session, whose dropped entries are lost for good. Drops and returns
    /// every waiter that may have waited for them. `None` where the session is complete.
    #[must_use]
    pub fn abandon(&mut self, session: &str) -> Option<Vec<Waiter>> {
        let gap = self.gaps.remove(session)?;
        let count = self.waiters.partition_point(|(number, _)| *number <= gap.since);
        Some(self.drop_waiters(count))
    }

    /// Is true where nothing is left to do but to wait for snapshots.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.loads.is_empty() && self.jobs.is_empty()
    }

    fn check_bytes(&self) {
        debug_assert_eq!(
            self.bytes,
            self.entries.iter().map(|(_, keep)| keep.bytes()).sum::<usize>()
                + self.waiters.len() * WAITER_BYTES,
            "bytes are those of entries and waiters"
        );
    }
}

/// Takes the first of a queue, if its number is no larger than `max`.
fn pop_up_to<T>(queue: &mut VecDeque<(u64, T)>, max: u64) -> Option<T> {
    match queue.front() {
        Some((number, _)) if *number <= max => queue.pop_front().map(|(_, first)| first),
        _ => None,
    }
}
