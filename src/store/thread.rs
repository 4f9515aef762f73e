//! The thread `store`: writes what the hub wants kept, as much at a time as has come meanwhile.
//!
//! One transaction takes all that waits, and only then the confirmations that stood behind it go out.
//! What nobody waits for is gathered for a moment first. The hub gives and never waits; while more
//! than a bound waits for the disk, clients' readers wait ([`Keeper::wait_for_room`]).
//!
//! When the disk fails, the session goes on in memory: nothing is confirmed, what waits is bounded by
//! dropping whole sessions of it, and writing is tried again until it succeeds. Then the hub is asked
//! for the whole document of each session of which something was dropped.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chores::Chores;
use super::line::Line;
use super::queue::{Entry, Queue};
use super::{Retention, Store, Trouble};
use crate::kept::{Keep, Reach, Stored};

/// A confirmation, or whatever else has to wait for the disk. Must not block for long.
pub type After = Box<dyn FnOnce() + Send>;
/// Something to be done with the store, between two transactions. Called again, with whatever was
/// given meanwhile on disk, until it breaks; each call holds everyone up who waits for the disk.
pub type Job = Box<dyn FnMut(&mut Store) -> ControlFlow<()> + Send>;

/// How much one transaction takes at most: so many things, or about so many bytes.
const MOST: usize = 4096;
const MOST_BYTES: usize = 4 << 20;
/// How long somebody is given to send a whole document that was asked for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the store tells the hub.
#[derive(Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// A session that was to be loaded; `None` where none is stored. An error where it can't be
    /// loaded now or at all; the log says why.
    Loaded { session: Arc<str>, stored: Result<Option<Stored>, ()> },
    /// Whether what happens is being written. True at the start, without being said.
    Durable(bool),
    /// What was to be kept of this session has been dropped: a [`Keep::Whole`] has to come of it.
    Wanted { session: Arc<str> },
}

/// What the thread keeps to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many bytes may wait before clients' readers do; and half of it is what is kept in memory
    /// at most while the disk fails.
    pub queue_bytes: usize,
    /// How long what nobody waits for is gathered.
    pub gather: Duration,
    /// How long to wait before writing is tried again: at first, and at most.
    pub retry: (Duration, Duration),
    /// How far back a session is loaded.
    pub reach: Reach,
    pub retention: Retention,
}

impl Settings {
    /// With this reach and retention, and the rest as it is by default.
    pub fn new(reach: Reach, retention: Retention) -> Self {
        Settings {
            queue_bytes: 16 << 20,
            gather: Duration::from_millis(50),
            retry: (Duration::from_secs(1), Duration::from_secs(10)),
            reach,
            retention,
        }
    }
}

/// The handle to the thread `store`: the hub gives, clients' threads wait for room. Cloning it is
/// cheap, and any thread may use it.
#[derive(Clone)]
pub struct Keeper {
    queue: Arc<Queue>,
}

impl Keeper {
    /// Has something kept. Never waits for the disk. Dropped when the thread has ended.
    pub fn keep(&self, keep: Keep) {
        self.queue.give(Entry::Keep(keep));
    }

    /// Has something run on the thread `store` when everything that was to be kept before it is on
    /// disk, in the order given. Never waits for the disk. Dropped without being run when that can't
    /// be: when the thread has ended, or what came before is lost.
    pub fn after(&self, after: After) {
        self.queue.give(Entry::After(after));
    }

    /// Has a session loaded, which is answered with [`StoreEvent::Loaded`]. Never waits for the
    /// disk.
    pub fn load(&self, session: Arc<str>) {
        self.queue.give(Entry::Load(session));
    }

    /// Has something done with the store, after everything that was to be kept before it. Never
    /// waits for the disk. Dropped without being called while the disk fails, or when the thread has
    /// ended.
    pub fn job(&self, job: Job) {
        self.queue.give(Entry::Job(job));
    }

    /// Waits while more than [`Settings::queue_bytes`] wait for the disk. For clients' threads,
    /// before they give the hub anything; never for the hub's.
    pub fn wait_for_room(&self) {
        self.queue.wait_for_room();
    }

    /// Has the thread write what waits and end, and waits for that until `deadline`. Whether
    /// everything is on disk. Call it when nobody gives anything any more.
    pub fn stop(&self, deadline: Instant) -> bool {
        self.queue.stop(deadline)
    }
}

/// What runs on the thread `store`.
pub struct Writer {
    queue: Arc<Queue>,
    settings: Settings,
    events: Box<dyn Fn(StoreEvent) + Send>,
    /// `None` while it couldn't be opened again.
    store: Option<Store>,
    directory: PathBuf,
    state: State,
    line: Line,
    /// The job that has begun.
    job: Option<Job>,
    chores: Chores,
    /// Until when it is to have ended, if it is to end.
    stop_by: Option<Instant>,
}

enum State {
    Well,
    /// Nothing can be written; tried again at this time.
    Failing {
        again: Instant,
        pause: Duration,
        reopen: bool,
        said: String,
    },
    /// Nothing is to be written any more.
    Corrupt,
}

/// A store's thread, still to be started, and the handle to it. `events` is called on that thread; it
/// may wait for the hub's inbox, as the hub never waits for the store.
pub fn keeper(
    store: Store,
    settings: Settings,
    events: impl Fn(StoreEvent) + Send + 'static,
) -> (Keeper, Writer) {
    let queue = Arc::new(Queue::new(settings.queue_bytes));
    let writer = Writer {
        queue: queue.clone(),
        chores: Chores::new(settings.retention, &store),
        directory: store.directory().to_owned(),
        settings,
        events: Box::new(events),
        store: Some(store),
        state: State::Well,
        line: Line::default(),
        job: None,
        stop_by: None,
    };
    (Keeper { queue }, writer)
}

impl Writer {
    /// The thread's body; to be run on a thread named `store`. Ends after [`Keeper::stop`].
    #[inline(never)] // a name in thread dumps
    pub fn run(mut self) {
        let body = AssertUnwindSafe(|| self.run_to_the_end());
        let complete = catch_unwind(body).unwrap_or_else(|_| {
            log::error!("a bug in the server: the store has ended, nothing is written any more");
            // The same may fail again.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.events)(StoreEvent::Durable(false))));
            false
        });
        self.queue.end(complete);
    }

    fn run_to_the_end(&mut self) -> bool {
        let mut entries = VecDeque::new();
        loop {
            let (gather, deadline) = (self.settings.gather, self.deadline());
            self.stop_by = self.queue.take(&mut entries, gather, deadline);
            self.line_up(&mut entries);
            while matches!(self.state, State::Well) && self.work() {
                self.stop_by = self.queue.take_at_once(&mut entries);
                self.line_up(&mut entries);
            }
            if !matches!(self.state, State::Well) {
                self.endure();
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

    /// Does what can be done next. Whether there was anything.
    fn work(&mut self) -> bool {
        let written = match self.write() {
            Ok(written) => written,
            Err(trouble) => {
                self.fail(&trouble);
                return false;
            }
        };
        let mut did = written > 0;
        while let Some(after) = self.line.ready_after() {
            did = true;
            run(after);
        }
        self.queue.still_taken(self.line.bytes());
        while let Some(session) = self.line.ready_load() {
            did = true;
            self.load(session);
        }
        self.ask_for_what_is_lacking();
        if self.stop_by.is_some() {
            self.job = None;
            self.line.drop_jobs();
            return did;
        }
        did |= self.work_on_job();
        let Some(store) = &mut self.store else { return did };
        let tidied = store.tidy_journal().and_then(|()| self.chores.work(store, written == 0));
        match tidied {
            Ok(more) => did || more,
            Err(trouble @ Trouble::Corrupt(_)) => {
                self.fail(&trouble);
                false
            }
            // It is tried again; what has to be written is written all the same.
            Err(trouble) => {
                log::warn!("{}: can't be tidied up: {trouble}", self.directory.display());
                did
            }
        }
    }

    /// Writes what waits, as one transaction. How much it was.
    fn write(&mut self) -> Result<usize, Trouble> {
        let Some(store) = &mut self.store else {
            return Err(Trouble::Unreachable("it is not open".into()));
        };
        let count = self.line.batch(MOST, MOST_BYTES).count();
        if count > 0 {
            let lacking = store.commit(self.line.batch(MOST, MOST_BYTES))?;
            self.chores.note(self.line.batch(MOST, MOST_BYTES));
            self.line.written(count, &lacking);
        }
        Ok(count)
    }

    fn load(&mut self, session: Arc<str>) {
        if self.line.give_up(&session) {
            log::error!(
                "session {session:?}: what happened last is lost: it could not be written, and \
                 nobody has it any more"
            );
        }
        let reach = self.settings.reach;
        let stored = match &self.store {
            Some(store) => store.load(&session, reach),
            None => Err(Trouble::Unreachable("it is not open".into())),
        };
        if let Err(trouble) = &stored {
            log::error!("session {session:?} can't be loaded: {trouble}: {}", trouble.advice());
        }
        let is_corrupt =
            stored.as_ref().err().filter(|t| matches!(t, Trouble::Corrupt(_))).cloned();
        (self.events)(StoreEvent::Loaded { session, stored: stored.map_err(|_| ()) });
        if let Some(trouble) = is_corrupt {
            self.fail(&trouble);
        }
    }

    fn ask_for_what_is_lacking(&mut self) {
        let now = Instant::now();
        for session in self.line.ask(now) {
            (self.events)(StoreEvent::Wanted { session });
        }
        while let Some(since) = now.checked_sub(PATIENCE)
            && let Some(session) = self.line.in_vain(since)
        {
            self.line.give_up(&session);
            log::error!(
                "session {session:?}: what happened while nothing could be written is lost: nobody \
                 has it any more"
            );
        }
    }

    fn work_on_job(&mut self) -> bool {
        let Some(store) = &mut self.store else { return false };
        let Some(mut job) = self.job.take().or_else(|| self.line.ready_job()) else { return false };
        match catch_unwind(AssertUnwindSafe(|| job(store))) {
            Ok(ControlFlow::Continue(())) => self.job = Some(job),
            Ok(ControlFlow::Break(())) => {}
            Err(_) => log::error!("a bug in the server: something with the store failed"),
        }
        true
    }

    /// Something could not be written.
    fn fail(&mut self, trouble: &Trouble) {
        if matches!(self.state, State::Corrupt) {
            return;
        }
        let was_well = matches!(self.state, State::Well);
        let file = self.directory.display();
        log::error!(
            "what happens is not written to {file}: {trouble}: {}; sessions go on in memory, nothing \
             is confirmed",
            trouble.advice()
        );
        self.line.drop_jobs();
        self.job = None;
        match trouble {
            Trouble::Corrupt(_) => {
                self.state = State::Corrupt;
                self.line.drop_all();
                self.line.drop_afters();
            }
            _ => {
                let pause = self.settings.retry.0;
                if matches!(trouble, Trouble::Bug(_) | Trouble::Damaged(_)) {
                    // Something that waits can't be written at all: whole documents may.
                    self.line.drop_all();
                }
                self.state = State::Failing {
                    again: Instant::now() + pause,
                    pause,
                    reopen: matches!(trouble, Trouble::Unreachable(_)),
                    said: trouble.to_string(),
                };
            }
        }
        if was_well {
            (self.events)(StoreEvent::Durable(false));
        }
    }

    /// Does what can be done while nothing can be written; tries again when it is time, or the last
    /// time.
    fn endure(&mut self) {
        let is_due = match &self.state {
            State::Well => false,
            State::Failing { again, .. } => self.stop_by.is_some() || *again <= Instant::now(),
            State::Corrupt => {
                self.line.drop_all();
                self.line.drop_afters();
                false
            }
        };
        if is_due {
            self.try_again();
        }
        if matches!(self.state, State::Well) {
            return;
        }
        self.line.drop_jobs();
        while let Some(session) = self.line.any_load() {
            if self.line.concerns(&session) {
                (self.events)(StoreEvent::Loaded { session, stored: Err(()) });
            } else {
                self.load(session);
            }
        }
        self.line.shrink_to(self.settings.queue_bytes / 2);
    }

    fn try_again(&mut self) {
        let State::Failing { pause, reopen, said, .. } = &self.state else { return };
        let (pause, reopen, said) = (*pause, *reopen, said.clone());
        match self.write_all(reopen) {
            Ok(()) => {
                self.state = State::Well;
                log::info!("what happens is written to {} again", self.directory.display());
                (self.events)(StoreEvent::Durable(true));
                self.line.ask_again();
                self.ask_for_what_is_lacking();
                while let Some(after) = self.line.ready_after() {
                    run(after);
                }
            }
            Err(Problem { why, corrupt: true, .. }) => {
                self.state = State::Corrupt;
                log::error!("{}: {why}: nothing is written any more", self.directory.display());
            }
            Err(Problem { why, reopen, .. }) => {
                if why != said {
                    log::error!("{}: still not written: {why}", self.directory.display());
                }
                let pause = (pause * 2).min(self.settings.retry.1);
                let again = Instant::now() + pause;
                self.state = State::Failing { again, pause, reopen, said: why };
            }
        }
    }

    /// Writes all that waits, or something that does no harm where nothing does.
    fn write_all(&mut self, reopen: bool) -> Result<(), Problem> {
        if reopen {
            // Before it can be opened again it has to be closed.
            self.store = None;
        }
        let store = match &mut self.store {
            Some(store) => store,
            None => {
                let opened = Store::open_again(&self.directory);
                let opened = opened.map_err(|why| Problem { why, corrupt: false, reopen: true })?;
                self.store.insert(opened)
            }
        };
        store.commit([]).map_err(Problem::of)?;
        while self.write().map_err(Problem::of)? > 0 {}
        Ok(())
    }

    /// When there is something to do, even if nothing comes.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Failing { again, .. } => Some(*again),
            State::Corrupt => None,
            State::Well => {
                let asked = self.line.is_asking().then(|| Instant::now() + PATIENCE);
                asked.into_iter().chain(self.chores.deadline()).min()
            }
        }
    }

    fn close(&mut self) -> bool {
        if let Some(store) = self.store.take()
            && let Err(trouble) = store.close()
        {
            log::warn!("{}: not closed properly: {trouble}", self.directory.display());
        }
        self.line.afters() == 0
    }

    /// Ends though not everything is written.
    fn give_up(&mut self) -> bool {
        log::error!("{}: what happened last is not written", self.directory.display());
        self.store = None;
        false
    }
}

/// Why writing failed once more.
struct Problem {
    why: String,
    corrupt: bool,
    reopen: bool,
}

impl Problem {
    fn of(trouble: Trouble) -> Self {
        Problem {
            why: trouble.to_string(),
            corrupt: matches!(trouble, Trouble::Corrupt(_)),
            reopen: matches!(trouble, Trouble::Unreachable(_)),
        }
    }
}

/// One that panics takes nothing else with it.
fn run(after: After) {
    if catch_unwind(AssertUnwindSafe(after)).is_err() {
        log::error!("a bug in the server: a confirmation could not be sent");
    }
}

/// Starts the thread by itself, for whoever has no threads of a server to put it among.
///
/// # Errors
/// When the system has none to give.
pub fn start(
    store: Store,
    settings: Settings,
    events: impl Fn(StoreEvent) + Send + 'static,
) -> io::Result<(Keeper, std::thread::JoinHandle<()>)> {
    let (keeper, writer) = keeper(store, settings, events);
    let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer.run())?;
    Ok((keeper, thread))
}
