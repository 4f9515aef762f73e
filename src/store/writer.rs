//! The thread `store`: writes what the hub wants kept, as much at a time as has come meanwhile.
//!
//! One transaction takes all that waits, and only then the confirmations that stood behind it go out.
//! What nobody waits for is gathered for a moment first. The hub gives and never waits; while more
//! than a bound waits for the disk, clients' readers wait ([`StoreHandle::wait_for_room`](super::StoreHandle::wait_for_room)).
//!
//! When the disk fails, the session goes on in memory: nothing is confirmed, what waits is bounded by
//! dropping whole sessions of it, and writing is tried again until it succeeds. Then the hub is asked
//! for the whole document of each session of which something was dropped.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failing::{Opened, State};
use super::handle::{After, Job, Settings, StoreEvent};
use super::maintenance::Pruner;
use super::pending::PendingWrites;
use super::queue::{Entry, Queue};
use super::{Store, StoreError};
use crate::kept::Flushes;

/// How much one transaction takes at most: so many things, or about so many bytes.
const MOST: usize = 4096;
const MOST_BYTES: usize = 4 << 20;
/// Whoever was confirmed something is waited for, for this part of what the transaction took, and for so long
/// at most.
const ANSWERS: u32 = 16;
const LONGEST_WAIT: Duration = Duration::from_millis(5);
/// How long somebody is given to send a whole document that was asked for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What runs on the thread `store`.
pub struct Writer {
    queue: Arc<Queue>,
    pub(super) settings: Settings,
    pub(super) events: Box<dyn Fn(StoreEvent) + Send>,
    pub(super) opened: Opened,
    pub(super) directory: PathBuf,
    pub(super) state: State,
    pub(super) line: PendingWrites,
    /// The job that has begun.
    pub(super) job: Option<Job>,
    chores: Pruner,
    /// Sessions that have numbers reserved since this process has begun, or have been given far ones.
    pub(super) in_use: HashSet<Arc<str>>,
    /// How long the last transaction took, and for how long those it confirmed are waited for.
    last_took: Duration,
    answers_in: Duration,
    /// Whether it was said that it can't be tidied up.
    is_untidy: bool,
    /// Until when it is to have ended, if it is to end.
    pub(super) stop_by: Option<Instant>,
}

impl Writer {
    /// Still to be run.
    pub(super) fn new(
        store: Store,
        settings: Settings,
        events: Box<dyn Fn(StoreEvent) + Send>,
        queue: Arc<Queue>,
    ) -> Self {
        Writer {
            queue,
            chores: Pruner::new(settings.retention, &store),
            directory: store.directory().to_owned(),
            settings,
            events,
            opened: Opened::Store(Box::new(store)),
            state: State::Well,
            line: PendingWrites::default(),
            job: None,
            in_use: HashSet::new(),
            last_took: Duration::ZERO,
            answers_in: Duration::ZERO,
            is_untidy: false,
            stop_by: None,
        }
    }

    /// The thread's body; to be run on a thread named `store`. Ends after [`StoreHandle::stop`](super::StoreHandle::stop).
    #[inline(never)] // a name in thread dumps
    pub fn run(mut self) {
        let body = AssertUnwindSafe(|| self.run_to_the_end());
        let complete = catch_unwind(body).unwrap_or_else(|_| {
            log::error!(
                "a bug in the server: nothing is written any more until it is started again; \
                 sessions go on in memory, nothing is confirmed"
            );
            self.refuse_to_the_end();
            false
        });
        self.queue.end(complete);
    }

    /// After a bug nothing is written. But whoever wants a session is answered, and nothing piles up.
    fn refuse_to_the_end(&mut self) {
        // The same may fail again.
        let tell = |events: &dyn Fn(StoreEvent), event| {
            let _ = catch_unwind(AssertUnwindSafe(|| events(event)));
        };
        tell(&self.events, StoreEvent::Durable(false));
        // What it was doing may have been done by half.
        if let Opened::Store(store) = std::mem::replace(&mut self.opened, Opened::Ended) {
            drop(store.let_go());
        }
        self.job = None;
        let mut waiting = std::mem::take(&mut self.line);
        while let Some(session) = waiting.any_load() {
            tell(&self.events, StoreEvent::Loaded { session, stored: Err(()) });
        }
        // Whoever waits for a confirmation or a job learns of their end.
        drop(waiting);
        let mut entries = VecDeque::new();
        loop {
            let stop_by = self.queue.take(&mut entries, Duration::ZERO, None);
            for entry in entries.drain(..) {
                if let Entry::Load(session) = entry {
                    tell(&self.events, StoreEvent::Loaded { session, stored: Err(()) });
                }
            }
            self.queue.still_taken(0);
            if stop_by.is_some() {
                return;
            }
        }
    }

    fn run_to_the_end(&mut self) -> bool {
        let mut entries = VecDeque::new();
        loop {
            let (gather, deadline) = (self.settings.gather, self.deadline());
            self.stop_by = self.queue.take(&mut entries, gather, deadline);
            self.line_up(&mut entries);
            while self.step() {
                self.wait_for_answers();
                self.stop_by = self.queue.take_what_is_urgent(&mut entries);
                self.line_up(&mut entries);
            }
            self.queue.still_taken(self.line.bytes());
            match (&self.state, self.stop_by) {
                (_, None) => {}
                (State::Well, Some(_)) if self.line.is_idle() => return self.close(),
                (State::Well, Some(until)) if Instant::now() < until => {}
                (_, Some(_)) => return self.give_up(),
            }
        }
    }

    /// Whoever was just told that a change is on disk sends the next one. The transaction that follows takes
    /// more of them where they are waited for, for a small part of what a transaction takes.
    fn wait_for_answers(&mut self) {
        let wait = std::mem::take(&mut self.answers_in);
        if !wait.is_zero() && self.stop_by.is_none() {
            std::thread::sleep(wait);
        }
    }

    /// Does what can be done next. Whether there may be more.
    fn step(&mut self) -> bool {
        match self.state {
            State::Well => self.work(),
            _ => self.endure(),
        }
    }

    fn line_up(&mut self, entries: &mut VecDeque<Entry>) {
        for entry in entries.drain(..) {
            match entry {
                Entry::Keep(keep) => self.line.keep(keep),
                Entry::After(after) => self.line.after(after),
                Entry::Load(session) => self.line.load(session),
                Entry::Job(job) => self.line.job(job),
            }
        }
    }

    /// Writes, and what can be done then. Whether there was anything to do.
    fn work(&mut self) -> bool {
        let written = match self.write() {
            Ok(written) => written,
            Err(trouble) => {
                self.fail(&trouble);
                return false;
            }
        };
        let mut did = self.confirm() || written > 0;
        self.queue.still_taken(self.line.bytes());
        while let Some(session) = self.line.ready_load() {
            did = true;
            self.load(session);
            if !matches!(self.state, State::Well) {
                return false;
            }
        }
        self.ask_for_what_is_lacking();
        if self.stop_by.is_some() {
            self.job = None;
            self.line.drop_jobs();
            return did;
        }
        did |= self.work_on_job();
        let Ok(store) = self.opened.store() else { return did };
        let tidied = match store.is_suspect() {
            // What a job has met.
            true => store.commit([]).map(|_| false),
            false => store.tidy_journal().and_then(|()| self.chores.work(store, written == 0)),
        };
        match tidied {
            Ok(more) => {
                self.is_untidy = false;
                did || more
            }
            Err(trouble) if trouble.is_suspicious() => {
                self.fail(&trouble);
                false
            }
            // It is tried again; what has to be written is written all the same.
            Err(trouble) => {
                if !std::mem::replace(&mut self.is_untidy, true) {
                    log::warn!("{}: can't be tidied up: {trouble}", self.directory.display());
                }
                did
            }
        }
    }

    /// Has everything that waited for what is on disk now happen, and sends each client's queue once. Whether
    /// there was anything.
    pub(super) fn confirm(&mut self) -> bool {
        let mut flushes = Flushes::default();
        let mut count = 0;
        while let Some(after) = self.line.ready_after() {
            count += 1;
            run(after, &mut flushes);
        }
        flushes.flush();
        // One alone has nobody to share a transaction with.
        self.answers_in = match count {
            0 | 1 => Duration::ZERO,
            _ => (self.last_took / ANSWERS).min(LONGEST_WAIT),
        };
        count > 0
    }

    /// Writes what waits, as one transaction. How much it was.
    pub(super) fn write(&mut self) -> Result<usize, StoreError> {
        let store = self.opened.store()?;
        let count = self.line.batch(MOST, MOST_BYTES).count();
        if count > 0 {
            let begun = Instant::now();
            let lacking = store.commit(self.line.batch(MOST, MOST_BYTES))?;
            self.last_took = begun.elapsed();
            self.chores.note(self.line.batch(MOST, MOST_BYTES));
            for keep in self.line.batch(MOST, MOST_BYTES) {
                if !self.in_use.contains(keep.session()) {
                    self.in_use.insert(keep.session().clone());
                }
            }
            self.line.written(count, &lacking);
        }
        Ok(count)
    }

    pub(super) fn load(&mut self, session: Arc<str>) {
        if self.line.give_up(&session) {
            log::error!(
                "session {session:?}: what happened last is lost: it could not be written, and \
                 nobody has it any more"
            );
            self.in_use.remove(&session);
        }
        if !self.in_use.contains(&session) {
            let begun = self.opened.store().and_then(|store| store.begin_use(&session));
            if let Err(trouble) = begun {
                self.fail(&trouble);
                return self.load_while_failing(session);
            }
            self.in_use.insert(session.clone());
        }
        let stored = self.opened.load(&session, self.settings.reach);
        if let Err(trouble) = &stored {
            log::error!("session {session:?} can't be loaded: {trouble}: {}", trouble.advice());
        }
        let is_corrupt =
            stored.as_ref().err().filter(|t| matches!(t, StoreError::Corrupt(_))).cloned();
        (self.events)(StoreEvent::Loaded { session, stored: stored.map_err(|_| ()) });
        if let Some(trouble) = is_corrupt {
            self.fail(&trouble);
        }
    }

    pub(super) fn ask_for_what_is_lacking(&mut self) {
        let now = Instant::now();
        for session in self.line.ask(now) {
            (self.events)(StoreEvent::Wanted { session });
        }
        while let Some(since) = now.checked_sub(PATIENCE)
            && let Some(session) = self.line.in_vain(since)
        {
            self.line.give_up(&session);
            self.in_use.remove(&session);
            log::error!(
                "session {session:?}: what happened while nothing could be written is lost: nobody \
                 has it any more"
            );
        }
    }

    fn work_on_job(&mut self) -> bool {
        let Ok(store) = self.opened.store() else { return false };
        let Some(mut job) = self.job.take().or_else(|| self.line.ready_job()) else { return false };
        match catch_unwind(AssertUnwindSafe(|| job(store))) {
            Ok(ControlFlow::Continue(())) => self.job = Some(job),
            Ok(ControlFlow::Break(())) => {}
            Err(_) => log::error!("a bug in the server: something with the store failed"),
        }
        true
    }

    /// When there is something to do, even if nothing comes.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Failing { again, .. } => Some(*again),
            State::Well => {
                let asked = self.line.is_asking().then(|| Instant::now() + PATIENCE);
                asked.into_iter().chain(self.chores.deadline()).min()
            }
        }
    }

    fn close(&mut self) -> bool {
        if let Opened::Store(store) = std::mem::replace(&mut self.opened, Opened::Ended)
            && let Err(trouble) = store.close()
        {
            log::warn!("{}: not closed properly: {trouble}", self.directory.display());
        }
        self.line.afters() == 0
    }

    /// Ends though not everything is written.
    fn give_up(&mut self) -> bool {
        log::error!("{}: what happened last is not written", self.directory.display());
        // Nothing is written when it is closed: what waits may be what made the disk fail.
        if let Opened::Store(store) = std::mem::replace(&mut self.opened, Opened::Ended) {
            drop(store.let_go());
        }
        false
    }
}

/// One that panics takes nothing else with it.
fn run(after: After, flushes: &mut Flushes) {
    if catch_unwind(AssertUnwindSafe(|| after(flushes))).is_err() {
        log::error!("a bug in the server: a confirmation could not be sent");
    }
}
