//! What the thread `store` does while nothing can be written, and after a panic.
//!
//! While the disk fails, sessions go on in memory: nothing is confirmed, and memory is bounded by
//! dropping entries of the largest sessions. Writing is tried again until it succeeds. Then the hub
//! is asked for a snapshot of each session that lost entries.
//!
//! A full disk, and a file that another program holds, are tried again with the file as it is open:
//! SQLite writes all pages of a transaction again. After any other error the file is closed, and
//! everything that may not be on disk is written again when it is opened. Entries that wait are
//! written after that.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::file::StoreFile;
use super::super::messages::{StoreEvent, Waiter};
use super::super::queue::StoreRequest;
use super::super::{Progress, StoreError, reserve, schema};
use super::{Writer, not_done};
use crate::journal::StoreTrouble;

/// The longest pause before a damaged file is opened again, as a multiple of the usual one: opening
/// it reads all of it.
const DAMAGED_PAUSE_FACTOR: u32 = 30;

/// The state of writing.
pub(super) enum Health {
    Working,
    /// Nothing can be written.
    Failing {
        /// When it is tried again.
        retry_at: Instant,
        /// How long it was waited for this.
        pause: Duration,
        /// The reason that was logged last.
        logged: String,
    },
}

/// Returns true where the file may be tried again as it is open.
fn can_stay_open(error: &StoreError) -> bool {
    matches!(error, StoreError::Full(_) | StoreError::Busy(_))
}

impl Writer {
    /// Begins to fail: logs it, tells the hub, and sets when it is tried again.
    pub(super) fn fail(&mut self, error: &StoreError) {
        let was_working = matches!(self.health, Health::Working);
        let file = self.directory.display();
        log::error!(
            "changes can't be written to {file}: {error}: {}; sessions go on in memory, and nothing \
             is confirmed",
            error.advice()
        );
        self.queue.counters.set_trouble(Some(error.into()));
        self.drop_jobs();
        if matches!(error, StoreError::Internal(_) | StoreError::SessionCorrupt(_)) {
            // One of the entries can never be written; snapshots may be.
            self.pending.drop_all();
        }
        if !can_stay_open(error) {
            self.file.close_unwritten();
        }
        let pause = self.settings.retry.0;
        let (retry_at, logged) = (Instant::now() + pause, error.to_string());
        self.health = Health::Failing { retry_at, pause, logged };
        if was_working {
            (self.events)(StoreEvent::Durable(false));
        }
    }

    /// Tries to write, where it is time or the thread is to end. While that fails, bounds memory
    /// and answers loads. Returns [`Progress::More`] where writing works again.
    pub(super) fn work_while_failing(&mut self) -> Progress {
        self.drop_jobs();
        let is_due = match &self.health {
            Health::Working => false,
            Health::Failing { retry_at, .. } => {
                self.stop_by.is_some() || *retry_at <= Instant::now()
            }
        };
        if is_due {
            self.retry();
        }
        if matches!(self.health, Health::Working) {
            return Progress::More;
        }
        while let Some(session) = self.pending.next_load() {
            if self.pending.has_pending(&session) {
                (self.events)(StoreEvent::Loaded { session, stored: Err(()) });
            } else {
                self.load_while_failing(session);
            }
        }
        let dropped = self.pending.shrink_to(self.settings.queue_bytes / 2);
        self.tell_lost(dropped);
        Progress::Done
    }

    /// Loads a session that no numbers can be reserved for, as nothing can be written.
    pub(super) fn load_while_failing(&mut self, session: Arc<str>) {
        let mut stored = self.file.load(&session, self.settings.reach);
        if let Ok(Some(stored)) = &mut stored
            && self.in_use.insert(session.clone())
        {
            stored.skipped = reserve::far_behind(stored.seq.max(stored.skipped));
        }
        if let Err(error) = &stored {
            log::error!("session {session:?} can't be loaded: {error}: {}", error.advice());
        }
        (self.events)(StoreEvent::Loaded { session, stored: stored.map_err(|_| ()) });
    }

    /// Tries to write everything that waits. Where that fails, doubles the pause, up to a bound.
    fn retry(&mut self) {
        let Health::Failing { pause, logged, .. } = &self.health else { return };
        let (pause, logged) = (*pause, logged.clone());
        match self.write_all() {
            Ok(()) => {
                self.health = Health::Working;
                self.queue.counters.set_trouble(None);
                log::info!("changes are written to {} again", self.directory.display());
                (self.events)(StoreEvent::Durable(true));
                self.pending.reset_requests();
                self.request_snapshots();
                self.confirm();
            }
            Err(error) => {
                self.queue.counters.set_trouble(Some((&error).into()));
                let why = error.to_string();
                if why != logged {
                    let file = self.directory.display();
                    log::error!("{file}: still not written: {why}: {}", error.advice());
                }
                if !can_stay_open(&error) {
                    self.file.close_unwritten();
                }
                let max_pause = match error {
                    StoreError::Corrupt(_) | StoreError::Overwritten(_) => {
                        self.settings.retry.1 * DAMAGED_PAUSE_FACTOR
                    }
                    _ => self.settings.retry.1,
                };
                let pause = (pause * 2).min(max_pause);
                let retry_at = Instant::now() + pause;
                self.health = Health::Failing { retry_at, pause, logged: why };
            }
        }
    }

    /// Opens the file where it was closed, and writes all entries that wait; an empty transaction
    /// where none does.
    fn write_all(&mut self) -> Result<(), StoreError> {
        if matches!(self.file, StoreFile::Closed(_)) {
            // Waits for readers in this process, which end soon; later ones wait for this.
            let gate = self.settings.gate.clone();
            let _alone = gate.write().unwrap_or_else(PoisonError::into_inner);
            self.file.open()?;
        }
        let store = self.file.store()?;
        // Doesn't wait for another program: it is tried again soon.
        store.set_busy_timeout(Duration::ZERO)?;
        store.commit([])?;
        while self.write()? > 0 {}
        self.file.store()?.set_busy_timeout(schema::BUSY_TIMEOUT)
    }

    /// After a panic: writes nothing, answers every request with a refusal, and lets nothing pile
    /// up.
    pub(super) fn refuse_until_stopped(&mut self) {
        self.queue.counters.set_trouble(Some(StoreTrouble::Bug));
        self.tell_after_panic(StoreEvent::Durable(false));
        // A transaction may have been interrupted.
        if let StoreFile::Open(store) = std::mem::replace(&mut self.file, StoreFile::Ended) {
            drop(store.close_unwritten());
        }
        self.task = None;
        let mut pending = std::mem::take(&mut self.pending);
        while let Some(session) = pending.next_load() {
            self.refuse(StoreRequest::Load(session));
        }
        pending.drop_jobs().into_iter().for_each(|(_, job)| self.refuse(StoreRequest::Job(job)));
        let waiters = pending.drop_waiters(0).into_iter();
        waiters.for_each(|waiter| self.refuse(StoreRequest::Wait(waiter)));
        let mut requests = VecDeque::new();
        loop {
            let stop_by = self.queue.take(&mut requests, Duration::ZERO, None);
            requests.drain(..).for_each(|request| self.refuse(request));
            self.queue.set_in_flight(0);
            if stop_by.is_some() {
                return;
            }
        }
    }

    /// Answers a request that is not carried out. A thread that waits finds its channel
    /// disconnected.
    pub(super) fn refuse(&self, request: StoreRequest) {
        self.tell_after_panic(match request {
            StoreRequest::Load(session) => StoreEvent::Loaded { session, stored: Err(()) },
            StoreRequest::Wait(Waiter::Confirmation(number)) => {
                StoreEvent::Lost { first: number, last: number }
            }
            StoreRequest::Job(job) => match not_done(job) {
                Some(event) => event,
                None => return,
            },
            StoreRequest::Write(_) | StoreRequest::Wait(Waiter::Thread(_)) => return,
        });
    }

    /// Tells an event; a panic while it is told ends here.
    fn tell_after_panic(&self, event: StoreEvent) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.events)(event)));
    }
}
