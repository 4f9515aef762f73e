//! The thread `store`: takes requests from the queue and writes entries, many in one transaction.
//!
//! One transaction takes all entries that wait, up to a bound. When it is on disk, the
//! confirmations behind those entries are told. Entries without a waiter are collected for a moment
//! first. The hub pushes and never waits; while more bytes wait for the disk than a bound, clients'
//! threads wait ([`StoreHandle::wait_for_room`](crate::journal::Journal::wait_for_room)).
//!
//! When the disk fails, sessions go on in memory and nothing is confirmed: see `writer/failing.rs`.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::StoreFile;
use super::maintenance::Pruner;
use super::messages::{Job, Settings, StoreEvent, Task, Waiter};
use super::pending::PendingWrites;
use super::queue::{Queue, StoreRequest};
use super::{Progress, Store, StoreError};
use failing::Health;

mod failing;

/// How many entries one transaction takes at most.
const MAX_BATCH_ENTRIES: usize = 4096;
/// A transaction takes no more entries once they have so many bytes.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// The pause after confirmations is this part of what their transaction took: a sixteenth.
const PAUSE_DIVISOR: u32 = 16;
/// The longest pause after confirmations.
const MAX_PAUSE: Duration = Duration::from_millis(5);
/// How long the hub may take to send a snapshot that was requested.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// What the thread `store` runs.
pub struct Writer {
    queue: Arc<Queue>,
    settings: Settings,
    events: Box<dyn Fn(StoreEvent) + Send>,
    file: StoreFile,
    directory: PathBuf,
    health: Health,
    pending: PendingWrites,
    /// The task that was called and has not broken yet.
    task: Option<Task>,
    pruner: Pruner,
    /// Sessions that numbers are reserved for by this process, or that it gave numbers far ahead.
    in_use: HashSet<Arc<str>>,
    /// How long the last transaction took.
    last_took: Duration,
    /// The pause before more requests are taken.
    pause: Duration,
    /// Is true where the log already says that maintenance fails.
    is_maintenance_failing: bool,
    /// Until when the thread is to have ended, if it is to end.
    stop_by: Option<Instant>,
}

impl Writer {
    /// A writer for an open store; to be run with [`run`](Self::run).
    pub(super) fn new(
        store: Store,
        settings: Settings,
        events: Box<dyn Fn(StoreEvent) + Send>,
        queue: Arc<Queue>,
    ) -> Self {
        queue.counters.set_sizes(store.sizes());
        Writer {
            queue,
            pruner: Pruner::new(settings.retention, &store),
            directory: store.directory().to_owned(),
            settings,
            events,
            file: StoreFile::Open(Box::new(store)),
            health: Health::Working,
            pending: PendingWrites::default(),
            task: None,
            in_use: HashSet::new(),
            last_took: Duration::ZERO,
            pause: Duration::ZERO,
            is_maintenance_failing: false,
            stop_by: None,
        }
    }

    /// The body of the thread `store`. Ends after [`StoreHandle::stop`](super::StoreHandle::stop).
    #[inline(never)] // a name in thread dumps
    pub fn run(mut self) {
        let body = AssertUnwindSafe(|| self.run_until_stopped());
        let complete = catch_unwind(body).unwrap_or_else(|_| {
            log::error!(
                "a bug in the server: nothing is written any more until it is started again; \
                 sessions go on in memory, and nothing is confirmed"
            );
            self.refuse_until_stopped();
            false
        });
        for request in self.queue.end(complete) {
            self.refuse(request);
        }
    }

    /// Returns true where everything was written.
    fn run_until_stopped(&mut self) -> bool {
        let mut requests = VecDeque::new();
        loop {
            let (gather, deadline) = (self.settings.gather, self.deadline());
            self.stop_by = self.queue.take(&mut requests, gather, deadline);
            self.enqueue(&mut requests);
            while self.step().is_more() {
                self.pause_after_confirming();
                self.stop_by = self.queue.take_if_urgent(&mut requests);
                self.enqueue(&mut requests);
            }
            self.queue.set_in_flight(self.pending.bytes());
            match (&self.health, self.stop_by) {
                (_, None) => {}
                (Health::Working, Some(_)) if self.pending.is_idle() => return self.close(),
                (Health::Working, Some(until)) if Instant::now() < until => {}
                (_, Some(_)) => return self.close_incomplete(),
            }
        }
    }

    /// A client that was just confirmed a change sends its next one. A short pause lets the next
    /// transaction take the changes of many.
    fn pause_after_confirming(&mut self) {
        let pause = std::mem::take(&mut self.pause);
        if !pause.is_zero() && self.stop_by.is_none() {
            std::thread::sleep(pause);
        }
    }

    fn step(&mut self) -> Progress {
        match self.health {
            Health::Working => self.work(),
            Health::Failing { .. } => self.work_while_failing(),
        }
    }

    fn enqueue(&mut self, requests: &mut VecDeque<StoreRequest>) {
        for request in requests.drain(..) {
            match request {
                StoreRequest::Write(keep) => self.pending.push(keep),
                StoreRequest::Wait(waiter) => self.pending.push_waiter(waiter),
                StoreRequest::Load(session) => self.pending.push_load(session),
                StoreRequest::Job(job) => self.pending.push_job(job),
            }
        }
    }

    /// Writes a batch, confirms, loads sessions, and runs one job.
    fn work(&mut self) -> Progress {
        let written = match self.write() {
            Ok(written) => written,
            Err(error) => {
                self.fail(&error);
                return Progress::Done;
            }
        };
        let mut did_work = self.confirm() > 0 || written > 0;
        self.queue.set_in_flight(self.pending.bytes());
        while let Some(session) = self.pending.ready_load() {
            did_work = true;
            self.load(session);
            if !matches!(self.health, Health::Working) {
                return Progress::Done;
            }
        }
        self.request_snapshots();
        if self.stop_by.is_some() {
            self.drop_jobs();
            return Progress::more_if(did_work);
        }
        did_work |= self.run_job();
        let maintained = self.maintain(written == 0);
        if !matches!(self.health, Health::Working) {
            return Progress::Done;
        }
        let progress = Progress::more_if(did_work || maintained.is_more());
        if progress.is_more()
            && let Ok(store) = self.file.store()
        {
            self.queue.counters.set_sizes(store.sizes());
        }
        progress
    }

    /// Checkpoints the journal and removes old versions, a little at a time.
    fn maintain(&mut self, is_idle: bool) -> Progress {
        let Ok(store) = self.file.store() else { return Progress::Done };
        let maintained = match store.is_suspect() {
            // A job's write has failed: an empty transaction says how.
            true => store.commit([]).map(|_| Progress::Done),
            false => store.checkpoint_if_large().and_then(|()| self.pruner.work(store, is_idle)),
        };
        match maintained {
            Ok(progress) => {
                self.is_maintenance_failing = false;
                progress
            }
            Err(error) if error.is_suspicious() => {
                self.fail(&error);
                Progress::Done
            }
            // Changes are written all the same, and it is tried again.
            Err(error) => {
                if !std::mem::replace(&mut self.is_maintenance_failing, true) {
                    log::warn!(
                        "{}: can't remove old versions or shorten the journal, and tries again: {error}",
                        self.directory.display()
                    );
                }
                Progress::Done
            }
        }
    }

    /// Tells all waiters that are ready, and returns how many: the hub once for all its
    /// confirmations.
    fn confirm(&mut self) -> usize {
        let (mut count, mut up_to) = (0, None);
        let tell = |up_to: &mut Option<u64>| {
            if let Some(up_to) = up_to.take() {
                (self.events)(StoreEvent::Persisted { up_to });
            }
        };
        while let Some(waiter) = self.pending.ready_waiter() {
            count += 1;
            match waiter {
                Waiter::Confirmation(number) => up_to = Some(number),
                Waiter::Thread(done) => {
                    tell(&mut up_to);
                    // It fails where the thread has stopped waiting.
                    let _ = done.try_send(());
                }
            }
        }
        tell(&mut up_to);
        // A single client shares its transactions with no other: it is not paused for.
        self.pause = match count {
            0 | 1 => Duration::ZERO,
            _ => (self.last_took / PAUSE_DIVISOR).min(MAX_PAUSE),
        };
        count
    }

    /// Writes a batch of entries as one transaction, and returns how many.
    fn write(&mut self) -> Result<usize, StoreError> {
        let store = self.file.store()?;
        let batch = || self.pending.batch(MAX_BATCH_ENTRIES, MAX_BATCH_BYTES);
        let count = batch().count();
        if count > 0 {
            let begun = Instant::now();
            let incomplete = store.commit(batch())?;
            self.last_took = begun.elapsed();
            self.queue.counters.committed(self.last_took);
            self.pruner.note(batch());
            for keep in batch() {
                if !self.in_use.contains(keep.session()) {
                    self.in_use.insert(keep.session().clone());
                }
            }
            self.pending.mark_written(count, &incomplete);
        }
        Ok(count)
    }

    fn load(&mut self, session: Arc<str>) {
        if self.abandon(&session) {
            log::error!(
                "session {session:?}: its last changes are lost: they could not be written, and are \
                 not in memory any more"
            );
            self.in_use.remove(&session);
        }
        if !self.in_use.contains(&session) {
            let begun = self.file.store().and_then(|store| store.begin_use(&session));
            if let Err(error) = begun {
                self.fail(&error);
                return self.load_while_failing(session);
            }
            self.in_use.insert(session.clone());
        }
        let stored = self.file.load(&session, self.settings.reach);
        if let Err(error) = &stored {
            log::error!("session {session:?} can't be loaded: {error}: {}", error.advice());
        }
        let corrupt = stored.as_ref().err().filter(|e| matches!(e, StoreError::Corrupt(_)));
        let corrupt = corrupt.cloned();
        (self.events)(StoreEvent::Loaded { session, stored: stored.map_err(|_| ()) });
        if let Some(error) = corrupt {
            self.fail(&error);
        }
    }

    /// Asks the hub for snapshots of incomplete sessions, and abandons those it was asked for in
    /// vain.
    fn request_snapshots(&mut self) {
        let now = Instant::now();
        for session in self.pending.take_requests(now) {
            (self.events)(StoreEvent::SnapshotRequested { session });
        }
        while let Some(before) = now.checked_sub(SNAPSHOT_TIMEOUT)
            && let Some(session) = self.pending.expired_request(before)
        {
            self.abandon(&session);
            self.in_use.remove(&session);
            log::error!(
                "session {session:?}: its changes from when nothing could be written are lost: they \
                 are not in memory any more"
            );
        }
    }

    /// Gives the dropped entries of a session up for lost, and tells which confirmations are lost
    /// with them. Returns false where the session is complete.
    fn abandon(&mut self, session: &str) -> bool {
        let dropped = self.pending.abandon(session);
        dropped.map(|waiters| self.tell_lost(waiters)).is_some()
    }

    /// Tells the hub of confirmations that it is never to send. Their numbers have no gap.
    fn tell_lost(&self, waiters: Vec<Waiter>) {
        let mut numbers = waiters.iter().filter_map(|waiter| match waiter {
            Waiter::Confirmation(number) => Some(*number),
            Waiter::Thread(_) => None,
        });
        if let Some(first) = numbers.next() {
            let last = numbers.next_back().unwrap_or(first);
            (self.events)(StoreEvent::Lost { first, last });
        }
    }

    /// Calls the task that has begun, or runs the next job. Returns false where there is none.
    fn run_job(&mut self) -> bool {
        let Ok(store) = self.file.store() else { return false };
        let mut task = match self.task.take() {
            Some(task) => task,
            None => match self.pending.ready_job() {
                None => return false,
                Some(Job::Task(task)) => task,
                Some(Job::Delete { session, number }) => {
                    let is_done = delete(store, &session);
                    (self.events)(StoreEvent::Deleted { number, is_done });
                    return true;
                }
                Some(Job::Rename { session, to, number }) => {
                    // What it lacks would be asked for under its old name.
                    let is_done =
                        !self.pending.has_pending(&session) && rename(store, &session, &to);
                    if is_done && self.in_use.remove(&session) {
                        self.in_use.insert(to.clone());
                    }
                    (self.events)(StoreEvent::Renamed { number, session, to, is_done });
                    return true;
                }
            },
        };
        match catch_unwind(AssertUnwindSafe(|| task(store))) {
            Ok(ControlFlow::Continue(())) => self.task = Some(task),
            Ok(ControlFlow::Break(())) => {}
            Err(_) => log::error!("a bug in the server: a job of the store failed"),
        }
        true
    }

    /// Drops the task that has begun and every job, and tells which sessions are not deleted.
    fn drop_jobs(&mut self) {
        self.task = None;
        for (_, job) in self.pending.drop_jobs() {
            if let Some(event) = not_done(job) {
                (self.events)(event);
            }
        }
    }

    /// When there is something to do, though no request comes.
    fn deadline(&self) -> Option<Instant> {
        match &self.health {
            Health::Failing { retry_at, .. } => Some(*retry_at),
            Health::Working => {
                let has_requests = self.pending.has_requests();
                let expiry = has_requests.then(|| Instant::now() + SNAPSHOT_TIMEOUT);
                expiry.into_iter().chain(self.pruner.deadline()).min()
            }
        }
    }

    /// Closes the file. Returns true where nothing waits any more.
    fn close(&mut self) -> bool {
        if let StoreFile::Open(store) = std::mem::replace(&mut self.file, StoreFile::Ended)
            && let Err(error) = store.close()
        {
            log::warn!(
                "{}: not closed properly: {error}: the next start recovers it",
                self.directory.display()
            );
        }
        self.pending.waiters() == 0
    }

    /// Closes the file though entries wait. Returns false: not everything was written.
    fn close_incomplete(&mut self) -> bool {
        log::error!(
            "{}: stopped before all changes were written: the last ones are lost",
            self.directory.display()
        );
        // Nothing is written while it closes: an entry that waits may be what made the disk fail.
        if let StoreFile::Open(store) = std::mem::replace(&mut self.file, StoreFile::Ended) {
            drop(store.close_unwritten());
        }
        false
    }
}

/// What the hub thread is told of a job that is dropped.
fn not_done(job: Job) -> Option<StoreEvent> {
    match job {
        Job::Task(_) => None,
        Job::Delete { number, .. } => Some(StoreEvent::Deleted { number, is_done: false }),
        Job::Rename { session, to, number } => {
            Some(StoreEvent::Renamed { number, session, to, is_done: false })
        }
    }
}

/// Renames a session. Returns false where that failed, and logs why.
fn rename(store: &mut Store, session: &str, to: &str) -> bool {
    match catch_unwind(AssertUnwindSafe(|| store.rename(session, to))) {
        Ok(Ok(is_done)) => is_done,
        Ok(Err(error)) => {
            log::error!("session {session:?} can't be renamed: {error}: {}", error.advice());
            false
        }
        Err(_) => {
            log::error!("a bug in the server: session {session:?} can't be renamed");
            false
        }
    }
}

/// Deletes a session. Returns false where that failed, and logs why.
fn delete(store: &mut Store, session: &str) -> bool {
    match catch_unwind(AssertUnwindSafe(|| store.delete(session))) {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            log::error!("session {session:?} can't be deleted: {error}: {}", error.advice());
            false
        }
        Err(_) => {
            log::error!("a bug in the server: session {session:?} can't be deleted");
            false
        }
    }
}
