//! The way to the thread `store`: what the hub gives it, without ever waiting, and where readers wait
//! when it can't keep up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::messages::{Job, WAITER_BYTES, Waiter};
use crate::kept::{Keep, Lag};

/// More than so many bytes are not waited with; nor more than half of what may wait.
const PLENTY: usize = 1 << 20;

/// Something for the store.
pub enum Entry {
    Keep(Keep),
    Wait(Waiter),
    Load(Arc<str>),
    Job(Job),
}

/// See the module's text. Any thread gives, the thread `store` takes.
pub struct Queue {
    state: Mutex<State>,
    /// The store has something to do.
    work: Condvar,
    /// There is room again, or the store has ended.
    changed: Condvar,
    /// How many bytes may wait before readers do.
    bound: usize,
    /// Whether more wait; looked at without the lock.
    is_full: AtomicBool,
    shown: Shown,
}

/// What anybody may know without the lock. Whoever has it writes here, too.
struct Shown {
    opened: Instant,
    /// What waits, taken or not, in bytes.
    bytes: AtomicUsize,
    /// Since when the oldest of it has waited, in milliseconds since the start, one more than that; zero
    /// where nothing waits.
    since: AtomicU64,
    /// Whether nothing can be written at present.
    fails: AtomicBool,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Of these entries.
    bytes: usize,
    /// Of what the store has taken and not written yet.
    taken: usize,
    /// Somebody waits for what is in here.
    is_urgent: bool,
    is_asleep: bool,
    /// Since when something has been in here that is to be kept.
    given_since: Option<Instant>,
    /// The same of what the store has taken and not written yet.
    taken_since: Option<Instant>,
    stop_by: Option<Instant>,
    /// Whether everything had been written when the store ended.
    ended: Option<bool>,
}

impl Queue {
    pub fn new(bound: usize) -> Self {
        Queue {
            state: Mutex::default(),
            work: Condvar::new(),
            changed: Condvar::new(),
            bound,
            is_full: AtomicBool::new(false),
            shown: Shown {
                opened: Instant::now(),
                bytes: AtomicUsize::default(),
                since: AtomicU64::default(),
                fails: AtomicBool::new(false),
            },
        }
    }

    /// Adds something. Wakes the store when it has slept because there was nothing, or when something waits
    /// for this. `false` when the store has ended: then the entry is dropped.
    pub fn give(&self, entry: Entry) -> bool {
        let is_kept = matches!(entry, Entry::Keep(_));
        let (bytes, is_urgent) = match &entry {
            Entry::Keep(keep) => (keep.bytes(), false),
            Entry::Wait(_) | Entry::Load(_) | Entry::Job(_) => (WAITER_BYTES, true),
        };
        let mut state = self.lock();
        if state.ended.is_some() {
            return false;
        }
        let is_first = state.entries.is_empty();
        state.entries.push_back(entry);
        state.bytes += bytes;
        if is_kept && state.given_since.is_none() {
            state.given_since = Some(Instant::now());
        }
        self.show(&state);
        state.is_urgent |= is_urgent || state.bytes > PLENTY.min(self.bound / 2);
        if state.bytes + state.taken > self.bound {
            self.is_full.store(true, Ordering::Relaxed);
        }
        let wakes = state.is_asleep && (is_first || state.is_urgent);
        if wakes {
            state.is_asleep = false;
            drop(state);
            self.work.notify_one();
        }
        true
    }

    /// Waits while more than the bound waits for the disk, until `deadline` at most. Whether there is room, or
    /// the store has ended.
    pub fn wait_for_room(&self, deadline: Option<Instant>) -> bool {
        if !self.is_full.load(Ordering::Relaxed) {
            return true;
        }
        let mut state = self.lock();
        while state.ended.is_none() && state.bytes + state.taken > self.bound {
            let Some(deadline) = deadline else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits until there is something for the store to do, or until `deadline`, and moves all there
    /// is into `entries`. What nobody waits for is waited with for `gather`. Returns until when the
    /// store is to have ended, if it is to end.
    pub fn take(
        &self,
        entries: &mut VecDeque<Entry>,
        gather: Duration,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        let mut state = self.lock();
        let mut gathered = None;
        while !state.is_urgent && state.stop_by.is_none() {
            let now = Instant::now();
            if !state.entries.is_empty() && gathered.is_none() {
                gathered = Some(now + gather);
            }
            let until = gathered.into_iter().chain(deadline).min();
            if until.is_some_and(|until| until <= now) {
                break;
            }
            state.is_asleep = true;
            state = match until {
                Some(until) => {
                    let waited = self.work.wait_timeout(state, until - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.is_asleep = false;
        }
        self.move_all(&mut state, entries);
        state.stop_by
    }

    /// The same without waiting, if somebody waits for what there is; else it is left to gather.
    pub fn take_what_is_urgent(&self, entries: &mut VecDeque<Entry>) -> Option<Instant> {
        let mut state = self.lock();
        if state.is_urgent || state.stop_by.is_some() {
            self.move_all(&mut state, entries);
        }
        state.stop_by
    }

    fn move_all(&self, state: &mut State, entries: &mut VecDeque<Entry>) {
        entries.append(&mut state.entries);
        state.taken += std::mem::take(&mut state.bytes);
        let given_since = state.given_since.take();
        state.taken_since = state.taken_since.or(given_since);
        state.is_urgent = false;
    }

    /// Says how much of what the store has taken is still to be written, in bytes.
    pub fn still_taken(&self, bytes: usize) {
        let mut state = self.lock();
        state.taken = bytes;
        if bytes == 0 {
            state.taken_since = None;
        }
        self.show(&state);
        let is_full = state.bytes + state.taken > self.bound;
        drop(state);
        if self.is_full.swap(is_full, Ordering::Relaxed) && !is_full {
            self.changed.notify_all();
        }
    }

    /// Asks the store to end, and waits until it has, or until `deadline`. Whether everything it was
    /// given is on disk.
    pub fn stop(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.stop_by = Some(deadline);
        self.work.notify_one();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match state.ended {
                Some(complete) => return complete,
                None if left.is_zero() => return false,
                None => {}
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The store has ended: what was given since is returned, and no thread waits any more. Whether
    /// everything had been `complete` before holds only if nothing was given since.
    #[must_use]
    pub fn end(&self, complete: bool) -> VecDeque<Entry> {
        let mut state = self.lock();
        let rest = std::mem::take(&mut state.entries);
        let complete = complete && !rest.iter().any(|entry| matches!(entry, Entry::Keep(_)));
        state.ended.get_or_insert(complete);
        self.is_full.store(false, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
        rest
    }

    fn show(&self, state: &State) {
        let since = state.taken_since.or(state.given_since);
        let since = since.map(|since| since.saturating_duration_since(self.shown.opened));
        let since = since.map_or(0, |since| since.as_millis() as u64 + 1);
        self.shown.since.store(since, Ordering::Relaxed);
        self.shown.bytes.store(state.bytes + state.taken, Ordering::Relaxed);
    }

    /// Notes whether nothing can be written.
    pub fn fails(&self, fails: bool) {
        self.shown.fails.store(fails, Ordering::Relaxed);
    }

    /// How far the disk is behind; while only some of what was taken has been written, at most so far.
    /// Doesn't wait.
    pub fn lag(&self) -> Lag {
        let since = self.shown.since.load(Ordering::Relaxed).checked_sub(1);
        let waited = since
            .map(|since| self.shown.opened.elapsed().saturating_sub(Duration::from_millis(since)));
        Lag {
            bytes: self.shown.bytes.load(Ordering::Relaxed),
            oldest: waited.unwrap_or_default(),
            fails: self.shown.fails.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
