//! The queue to the thread `store`. The hub thread pushes and never waits; clients' threads wait
//! here while the disk is behind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::counters::StoreCounters;
use super::messages::{Job, WAITER_BYTES, Waiter};
use crate::journal::{JournalEntry, PersistenceLag};

/// More bytes than this are written at once instead of collected; so is more than half of the
/// bound.
const MAX_GATHERED_BYTES: usize = 1 << 20;

/// What the thread `store` is to do.
pub enum StoreRequest {
    Write(JournalEntry),
    Wait(Waiter),
    Load(Arc<str>),
    Job(Job),
}

impl StoreRequest {
    /// The memory it is counted with, in bytes.
    fn bytes(&self) -> usize {
        match self {
            StoreRequest::Write(keep) => keep.bytes(),
            StoreRequest::Wait(_) | StoreRequest::Load(_) | StoreRequest::Job(_) => WAITER_BYTES,
        }
    }

    /// Is true where a client or a thread waits for it.
    fn is_urgent(&self) -> bool {
        !matches!(self, StoreRequest::Write(_))
    }
}

/// The queue. Any thread pushes; the thread `store` takes.
///
/// It counts what is queued, and what the thread `store` has taken and not written yet. Where both
/// together have more bytes than the bound, [`wait_for_room`](Self::wait_for_room) waits.
pub struct Queue {
    state: Mutex<QueueState>,
    /// Signals the thread `store`: there is something to do.
    work: Condvar,
    /// Signals waiting threads: there is room, or the thread `store` has ended.
    changed: Condvar,
    /// In bytes.
    bound: usize,
    /// Is true while more bytes wait than the bound. Read without the lock.
    is_full: AtomicBool,
    lag: AtomicLag,
    /// What the thread `store` counts.
    pub counters: StoreCounters,
}

/// How far the disk is behind, read without the lock. Written under the lock, except for `fails`.
struct AtomicLag {
    opened: Instant,
    /// Bytes that are queued or taken.
    bytes: AtomicUsize,
    /// When the oldest entry was pushed: milliseconds since `opened`, plus one; zero where none
    /// waits.
    since: AtomicU64,
    /// Is true while nothing can be written.
    fails: AtomicBool,
}

#[derive(Default)]
struct QueueState {
    requests: VecDeque<StoreRequest>,
    /// Memory of `requests`.
    bytes: usize,
    /// Memory of what the thread `store` has taken and not written yet.
    in_flight: usize,
    /// Is true where one of `requests` is urgent, or they are many.
    is_urgent: bool,
    /// Is true while the thread `store` waits for `work`.
    is_asleep: bool,
    /// When the first entry of `requests` was pushed.
    queued_since: Option<Instant>,
    /// When the first entry that is in flight was pushed.
    in_flight_since: Option<Instant>,
    /// Until when the thread `store` is to have ended.
    stop_by: Option<Instant>,
    /// The thread `store` has ended; true where everything was written.
    ended: Option<bool>,
}

impl QueueState {
    fn total_bytes(&self) -> usize {
        self.bytes + self.in_flight
    }
}

impl Queue {
    /// An empty queue. `bound` is in bytes.
    pub fn new(bound: usize) -> Self {
        Queue {
            state: Mutex::default(),
            work: Condvar::new(),
            changed: Condvar::new(),
            bound,
            is_full: AtomicBool::new(false),
            lag: AtomicLag {
                opened: Instant::now(),
                bytes: AtomicUsize::default(),
                since: AtomicU64::default(),
                fails: AtomicBool::new(false),
            },
            counters: StoreCounters::default(),
        }
    }

    /// Adds a request, however many wait. Wakes the thread `store` where the queue was empty or is
    /// urgent. Returns false where that thread has ended: the request is dropped then.
    pub fn push(&self, request: StoreRequest) -> bool {
        let bytes = request.bytes();
        let mut state = self.lock();
        if state.ended.is_some() {
            return false;
        }
        let is_first = state.requests.is_empty();
        if matches!(request, StoreRequest::Write(_)) && state.queued_since.is_none() {
            state.queued_since = Some(Instant::now());
        }
        state.bytes += bytes;
        state.is_urgent |=
            request.is_urgent() || state.bytes > MAX_GATHERED_BYTES.min(self.bound / 2);
        state.requests.push_back(request);
        self.publish_lag(&state);
        if state.total_bytes() > self.bound {
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

    /// Waits while more bytes wait for the disk than the bound, until `deadline` at most. Returns
    /// false where the deadline has passed; true where there is room, or the thread `store` has
    /// ended.
    pub fn wait_for_room(&self, deadline: Option<Instant>) -> bool {
        if !self.is_full.load(Ordering::Relaxed) {
            return true;
        }
        let mut state = self.lock();
        while state.ended.is_none() && state.total_bytes() > self.bound {
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

    /// Waits until there is a request or until `deadline`, and moves all requests into `requests`.
    /// Where none is urgent, more are collected for as long as `gather`. Returns until when the
    /// thread `store` is to have ended, if it is to end. For that thread alone.
    pub fn take(
        &self,
        requests: &mut VecDeque<StoreRequest>,
        gather: Duration,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        let mut state = self.lock();
        let mut gathered = None;
        while !state.is_urgent && state.stop_by.is_none() {
            let now = Instant::now();
            if !state.requests.is_empty() && gathered.is_none() {
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
        self.move_all(&mut state, requests);
        state.stop_by
    }

    /// Moves all requests into `requests` where one is urgent, without waiting; otherwise none.
    /// Returns what [`take`](Self::take) returns. For the thread `store` alone.
    pub fn take_if_urgent(&self, requests: &mut VecDeque<StoreRequest>) -> Option<Instant> {
        let mut state = self.lock();
        if state.is_urgent || state.stop_by.is_some() {
            self.move_all(&mut state, requests);
        }
        state.stop_by
    }

    fn move_all(&self, state: &mut QueueState, requests: &mut VecDeque<StoreRequest>) {
        debug_assert_eq!(
            state.bytes,
            state.requests.iter().map(StoreRequest::bytes).sum::<usize>(),
            "bytes are those of the requests"
        );
        requests.append(&mut state.requests);
        state.in_flight += std::mem::take(&mut state.bytes);
        let queued_since = state.queued_since.take();
        state.in_flight_since = state.in_flight_since.or(queued_since);
        state.is_urgent = false;
    }

    /// Notes how many of the bytes that were taken are still to be written. For the thread `store`
    /// alone.
    pub fn set_in_flight(&self, bytes: usize) {
        let mut state = self.lock();
        state.in_flight = bytes;
        if bytes == 0 {
            state.in_flight_since = None;
        }
        self.publish_lag(&state);
        let is_full = state.total_bytes() > self.bound;
        drop(state);
        if self.is_full.swap(is_full, Ordering::Relaxed) && !is_full {
            self.changed.notify_all();
        }
    }

    /// Has the thread `store` end, and waits for that until `deadline`. Returns true where
    /// everything that was pushed is on disk.
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

    /// Notes that the thread `store` has ended: no thread waits from now on. `complete` says
    /// whether it has written all it had taken. Returns the requests that came later; an entry
    /// among them makes it incomplete.
    #[must_use]
    pub fn end(&self, complete: bool) -> VecDeque<StoreRequest> {
        let mut state = self.lock();
        let rest = std::mem::take(&mut state.requests);
        let complete =
            complete && !rest.iter().any(|request| matches!(request, StoreRequest::Write(_)));
        state.ended.get_or_insert(complete);
        self.is_full.store(false, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
        rest
    }

    fn publish_lag(&self, state: &QueueState) {
        let since = state.in_flight_since.or(state.queued_since);
        let since = since.map(|since| since.saturating_duration_since(self.lag.opened));
        let since = since.map_or(0, |since| since.as_millis() as u64 + 1);
        self.lag.since.store(since, Ordering::Relaxed);
        self.lag.bytes.store(state.total_bytes(), Ordering::Relaxed);
    }

    /// Notes that nothing can be written, or that writing works again.
    pub fn set_failing(&self, fails: bool) {
        self.lag.fails.store(fails, Ordering::Relaxed);
    }

    /// How far the disk is behind. Its age is an upper bound while a part of what was taken is
    /// written. Takes no lock.
    pub fn lag(&self) -> PersistenceLag {
        let since = self.lag.since.load(Ordering::Relaxed).checked_sub(1);
        let waited = since
            .map(|since| self.lag.opened.elapsed().saturating_sub(Duration::from_millis(since)));
        PersistenceLag {
            bytes: self.lag.bytes.load(Ordering::Relaxed),
            oldest: waited.unwrap_or_default(),
            fails: self.lag.fails.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
