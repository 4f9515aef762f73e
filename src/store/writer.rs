//! The thread `store`: writes what the hub wants kept, as much at a time as has come meanwhile.
//!
//! One transaction takes all that waits, and only then the confirmations that stood behind it go out.
//! What nobody waits for is gathered for a moment first. The hub gives and never waits; while more
//! than a bound waits for the disk, clients' readers wait ([`StoreHandle::wait_for_room`](super::StoreHandle::wait_for_room)).
//!
//! When the disk fails, the session goes on in memory: nothing is confirmed, what waits is bounded by
//! dropping whole sessions of it, and writing is tried again until it succeeds. Then the hub is asked
//! for the whole document of each session of which something was dropped. A disk that is full, or a file
//! that another program holds, is tried again with the file as it is open: SQLite writes all pages of a
//! transaction again. After anything else the file is closed, and everything that may not be on disk is
//! written anew when it is opened; what waits is written after that.

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
use super::queue::{Entry, Queue};
use super::{Store, StoreError, reserve};

/// How much one transaction takes at most: so many things, or about so many bytes.
const MOST: usize = 4096;
const MOST_BYTES: usize = 4 << 20;
/// Whoever was confirmed something is waited for, for this part of what the transaction took, and for so long
/// at most.
const ANSWERS: u32 = 16;
const LONGEST_WAIT: Duration = Duration::from_millis(5);
/// How long somebody is given to send a whole document that was asked for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many times longer than usual is waited at most before a file is looked at again that was found
/// damaged: that reads all of it.
const DAMAGED: u32 = 30;

/// Whether what waits can be written.
enum Health {
    Well,
    /// Nothing can be written; tried again at this time.
    Failing {
        again: Instant,
        pause: Duration,
        /// What the log says about it.
        said: String,
    },
}

/// What runs on the thread `store`.
pub struct Writer {
    queue: Arc<Queue>,
    settings: Settings,
    events: Box<dyn Fn(StoreEvent) + Send>,
    file: StoreFile,
    directory: PathBuf,
    health: Health,
    pending: PendingWrites,
    /// The task that has begun.
    task: Option<Task>,
    pruner: Pruner,
    /// Sessions that have numbers reserved since this process has begun, or have been given far ones.
    in_use: HashSet<Arc<str>>,
    /// How long the last transaction took, and for how long those it confirmed are waited for.
    last_took: Duration,
    answers_in: Duration,
    /// Whether it was said that it can't be tidied up.
    is_untidy: bool,
    /// Until when it is to have ended, if it is to end.
    stop_by: Option<Instant>,
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
            pruner: Pruner::new(settings.retention, &store),
            directory: store.directory().to_owned(),
            settings,
            events,
            file: StoreFile::Open(Box::new(store)),
            health: Health::Well,
            pending: PendingWrites::default(),
            task: None,
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
        for entry in self.queue.end(complete) {
            self.refuse(entry);
        }
    }

    /// After a bug nothing is written. But whoever wants a session is answered, and nothing piles up.
    fn refuse_to_the_end(&mut self) {
        self.tell_after_a_bug(StoreEvent::Durable(false));
        // What it was doing may have been done by half.
        if let StoreFile::Open(store) = std::mem::replace(&mut self.file, StoreFile::Ended) {
            drop(store.let_go());
        }
        self.task = None;
        let mut pending = std::mem::take(&mut self.pending);
        while let Some(session) = pending.any_load() {
            self.refuse(Entry::Load(session));
        }
        pending.drop_jobs().into_iter().for_each(|(_, job)| self.refuse(Entry::Job(job)));
        pending.drop_waiters(0).into_iter().for_each(|waiter| self.refuse(Entry::Wait(waiter)));
        let mut entries = VecDeque::new();
        loop {
            let stop_by = self.queue.take(&mut entries, Duration::ZERO, None);
            entries.drain(..).for_each(|entry| self.refuse(entry));
            self.queue.still_taken(0);
            if stop_by.is_some() {
                return;
            }
        }
    }

    /// Answers what will not be done any more. A thread that waits finds its channel disconnected.
    fn refuse(&self, entry: Entry) {
        self.tell_after_a_bug(match entry {
            Entry::Load(session) => StoreEvent::Loaded { session, stored: Err(()) },
            Entry::Wait(Waiter::Confirmation(number)) => {
                StoreEvent::Lost { first: number, last: number }
            }
            Entry::Job(Job::Delete { number, .. }) => {
                StoreEvent::Deleted { number, is_done: false }
            }
            Entry::Keep(_) | Entry::Wait(Waiter::Thread(_)) | Entry::Job(Job::Task(_)) => return,
        });
    }

    /// Tells an event; what failed may fail again.
    fn tell_after_a_bug(&self, event: StoreEvent) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.events)(event)));
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
            self.queue.still_taken(self.pending.bytes());
            match (&self.health, self.stop_by) {
                (_, None) => {}
                (Health::Well, Some(_)) if self.pending.is_idle() => return self.close(),
                (Health::Well, Some(until)) if Instant::now() < until => {}
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
        match self.health {
            Health::Well => self.work(),
            _ => self.retry_while_failing(),
        }
    }

    fn line_up(&mut self, entries: &mut VecDeque<Entry>) {
        for entry in entries.drain(..) {
            match entry {
                Entry::Keep(keep) => self.pending.keep(keep),
                Entry::Wait(waiter) => self.pending.wait(waiter),
                Entry::Load(session) => self.pending.load(session),
                Entry::Job(job) => self.pending.job(job),
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
        self.queue.still_taken(self.pending.bytes());
        while let Some(session) = self.pending.ready_load() {
            did = true;
            self.load(session);
            if !matches!(self.health, Health::Well) {
                return false;
            }
        }
        self.ask_for_what_is_lacking();
        if self.stop_by.is_some() {
            self.drop_jobs();
            return did;
        }
        did |= self.work_on_job();
        let Ok(store) = self.file.store() else { return did };
        let tidied = match store.is_suspect() {
            // What a job has met.
            true => store.commit([]).map(|_| false),
            false => store.tidy_journal().and_then(|()| self.pruner.work(store, written == 0)),
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

    /// Tells everything that waited for what is on disk now: the hub once for all its confirmations. Whether
    /// there was anything.
    pub(super) fn confirm(&mut self) -> bool {
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
                    // A thread that waits no longer has no use for it.
                    let _ = done.try_send(());
                }
            }
        }
        tell(&mut up_to);
        // One alone has nobody to share a transaction with.
        self.answers_in = match count {
            0 | 1 => Duration::ZERO,
            _ => (self.last_took / ANSWERS).min(LONGEST_WAIT),
        };
        count > 0
    }

    /// Writes what waits, as one transaction. How much it was.
    pub(super) fn write(&mut self) -> Result<usize, StoreError> {
        let store = self.file.store()?;
        let count = self.pending.batch(MOST, MOST_BYTES).count();
        if count > 0 {
            let begun = Instant::now();
            let lacking = store.commit(self.pending.batch(MOST, MOST_BYTES))?;
            self.last_took = begun.elapsed();
            self.pruner.note(self.pending.batch(MOST, MOST_BYTES));
            for keep in self.pending.batch(MOST, MOST_BYTES) {
                if !self.in_use.contains(keep.session()) {
                    self.in_use.insert(keep.session().clone());
                }
            }
            self.pending.written(count, &lacking);
        }
        Ok(count)
    }

    pub(super) fn load(&mut self, session: Arc<str>) {
        if self.give_up_on(&session) {
            log::error!(
                "session {session:?}: what happened last is lost: it could not be written, and \
                 nobody has it any more"
            );
            self.in_use.remove(&session);
        }
        if !self.in_use.contains(&session) {
            let begun = self.file.store().and_then(|store| store.begin_use(&session));
            if let Err(trouble) = begun {
                self.fail(&trouble);
                return self.load_while_failing(session);
            }
            self.in_use.insert(session.clone());
        }
        let stored = self.file.load(&session, self.settings.reach);
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
        for session in self.pending.ask(now) {
            (self.events)(StoreEvent::Wanted { session });
        }
        while let Some(since) = now.checked_sub(PATIENCE)
            && let Some(session) = self.pending.in_vain(since)
        {
            self.give_up_on(&session);
            self.in_use.remove(&session);
            log::error!(
                "session {session:?}: what happened while nothing could be written is lost: nobody \
                 has it any more"
            );
        }
    }

    /// Gives up what a session lacks, and tells which confirmations are lost with it. Whether it lacked anything.
    fn give_up_on(&mut self, session: &str) -> bool {
        let dropped = self.pending.give_up(session);
        dropped.map(|waiters| self.tell_lost(waiters)).is_some()
    }

    /// Tells the hub of confirmations that will not go out. They follow each other.
    fn tell_lost(&self, waiters: Vec<Waiter>) {
        let mut numbers = waiters.iter().filter_map(|waiter| match waiter {
            Waiter::Confirmation(number) => Some(*number),
            Waiter::Thread(_) => None,
        });
        if let Some(first) = numbers.next() {
            let last = numbers.last().unwrap_or(first);
            (self.events)(StoreEvent::Lost { first, last });
        }
    }

    /// Works on the task that has begun, or on the next job. Whether there was one.
    fn work_on_job(&mut self) -> bool {
        let Ok(store) = self.file.store() else { return false };
        let mut task = match self.task.take() {
            Some(task) => task,
            None => match self.pending.ready_job() {
                None => return false,
                Some(Job::Task(task)) => task,
                Some(Job::Delete { session, number }) => {
                    let deleted = catch_unwind(AssertUnwindSafe(|| store.delete(&session)));
                    let is_done = match deleted {
                        Ok(Ok(_)) => true,
                        Ok(Err(trouble)) => {
                            let advice = trouble.advice();
                            log::error!(
                                "session {session:?} can't be deleted: {trouble}: {advice}"
                            );
                            false
                        }
                        Err(_) => {
                            log::error!("a bug in the server: {session:?} can't be deleted");
                            false
                        }
                    };
                    (self.events)(StoreEvent::Deleted { number, is_done });
                    return true;
                }
            },
        };
        match catch_unwind(AssertUnwindSafe(|| task(store))) {
            Ok(ControlFlow::Continue(())) => self.task = Some(task),
            Ok(ControlFlow::Break(())) => {}
            Err(_) => log::error!("a bug in the server: something with the store failed"),
        }
        true
    }

    /// Drops the task that has begun and every job, and tells which sessions are not deleted.
    fn drop_jobs(&mut self) {
        self.task = None;
        for (_, job) in self.pending.drop_jobs() {
            if let Job::Delete { number, .. } = job {
                (self.events)(StoreEvent::Deleted { number, is_done: false });
            }
        }
    }

    /// When there is something to do, even if nothing comes.
    fn deadline(&self) -> Option<Instant> {
        match &self.health {
            Health::Failing { again, .. } => Some(*again),
            Health::Well => {
                let asked = self.pending.is_asking().then(|| Instant::now() + PATIENCE);
                asked.into_iter().chain(self.pruner.deadline()).min()
            }
        }
    }

    fn close(&mut self) -> bool {
        if let StoreFile::Open(store) = std::mem::replace(&mut self.file, StoreFile::Ended)
            && let Err(trouble) = store.close()
        {
            log::warn!("{}: not closed properly: {trouble}", self.directory.display());
        }
        self.pending.waiters() == 0
    }

    /// Ends though not everything is written.
    fn give_up(&mut self) -> bool {
        log::error!("{}: what happened last is not written", self.directory.display());
        // Nothing is written when it is closed: what waits may be what made the disk fail.
        if let StoreFile::Open(store) = std::mem::replace(&mut self.file, StoreFile::Ended) {
            drop(store.let_go());
        }
        false
    }
}

impl Writer {
    /// Something could not be written.
    fn fail(&mut self, trouble: &StoreError) {
        let was_well = matches!(self.health, Health::Well);
        let file = self.directory.display();
        log::error!(
            "what happens is not written to {file}: {trouble}: {}; sessions go on in memory, nothing \
             is confirmed",
            trouble.advice()
        );
        self.drop_jobs();
        if matches!(trouble, StoreError::Internal(_) | StoreError::SessionCorrupt(_)) {
            // Something that waits can't be written at all: whole documents may.
            self.pending.drop_all();
        }
        if !matches!(trouble, StoreError::Full(_) | StoreError::Busy(_)) {
            self.file.let_go();
        }
        let pause = self.settings.retry.0;
        let (again, said) = (Instant::now() + pause, trouble.to_string());
        self.health = Health::Failing { again, pause, said };
        if was_well {
            (self.events)(StoreEvent::Durable(false));
        }
    }

    /// Does what can be done while nothing can be written; tries again when it is time, or the last
    /// time. Whether everything is well again.
    fn retry_while_failing(&mut self) -> bool {
        self.drop_jobs();
        let is_due = match &self.health {
            Health::Well => false,
            Health::Failing { again, .. } => self.stop_by.is_some() || *again <= Instant::now(),
        };
        if is_due {
            self.try_again();
        }
        if matches!(self.health, Health::Well) {
            return true;
        }
        while let Some(session) = self.pending.any_load() {
            if self.pending.concerns(&session) {
                (self.events)(StoreEvent::Loaded { session, stored: Err(()) });
            } else {
                self.load_while_failing(session);
            }
        }
        let dropped = self.pending.shrink_to(self.settings.queue_bytes / 2);
        self.tell_lost(dropped);
        false
    }

    fn load_while_failing(&mut self, session: Arc<str>) {
        let mut stored = self.file.load(&session, self.settings.reach);
        if let Ok(Some(stored)) = &mut stored
            && self.in_use.insert(session.clone())
        {
            // Numbers can't be reserved for it now.
            stored.skipped = reserve::far_behind(stored.seq.max(stored.skipped));
        }
        if let Err(trouble) = &stored {
            log::error!("session {session:?} can't be loaded: {trouble}: {}", trouble.advice());
        }
        (self.events)(StoreEvent::Loaded { session, stored: stored.map_err(|_| ()) });
    }

    fn try_again(&mut self) {
        let Health::Failing { pause, said, .. } = &self.health else { return };
        let (pause, said) = (*pause, said.clone());
        match self.write_all() {
            Ok(()) => {
                self.health = Health::Well;
                log::info!("what happens is written to {} again", self.directory.display());
                (self.events)(StoreEvent::Durable(true));
                self.pending.ask_again();
                self.ask_for_what_is_lacking();
                self.confirm();
            }
            Err(trouble) => {
                let why = trouble.to_string();
                if why != said {
                    log::error!(
                        "{}: still not written: {why}: {}",
                        self.directory.display(),
                        trouble.advice()
                    );
                }
                if !matches!(trouble, StoreError::Full(_) | StoreError::Busy(_)) {
                    self.file.let_go();
                }
                let most = match trouble {
                    StoreError::Corrupt(_) | StoreError::Overwritten(_) => {
                        self.settings.retry.1 * DAMAGED
                    }
                    _ => self.settings.retry.1,
                };
                let pause = (pause * 2).min(most);
                self.health = Health::Failing { again: Instant::now() + pause, pause, said: why };
            }
        }
    }

    /// Writes all that waits, or something that does no harm where nothing does.
    fn write_all(&mut self) -> Result<(), StoreError> {
        if matches!(self.file, StoreFile::Closed(_)) {
            // Whoever looks into the file from this process ends soon; others wait for this.
            let gate = self.settings.gate.clone();
            let _alone = gate.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.file.open()?;
        }
        let store = self.file.store()?;
        // Nobody is to wait for what is tried again soon.
        store.wait_for_others(false)?;
        store.commit([])?;
        while self.write()? > 0 {}
        self.file.store()?.wait_for_others(true)
    }
}
