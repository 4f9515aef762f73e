//! What makes sessions durable in a running server: the store, its thread, and what it tells the hub.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::archive::ArchiveService;
use crate::hub::{Event, HistoryBounds, NotLoaded, Past};
use crate::kept::{Journal, Reach, Stored};
use crate::net::service::{External, Tell};
use crate::store::{Retention, Settings, Store, StoreEvent, StoreHandle};

/// How long a server waits for the one before it to end, which takes its time where clients don't read
/// what they are sent last.
const TURNOVER: Duration = Duration::from_secs(5);

/// How long what is stored of a session is kept beside its newest state.
#[derive(Debug, Clone, Copy)]
pub struct RetentionConfig {
    /// How many versions of a session; 0 for any number.
    pub versions: usize,
    /// How long a version after the next one has taken its place; zero for ever.
    pub age: Duration,
    /// What a session that is loaded remembers for clients that catch up.
    pub history: HistoryBounds,
}

/// See the module's text.
pub struct Persistence {
    keeping: RetentionConfig,
    archive: Arc<ArchiveService>,
    state: Mutex<State>,
}

enum State {
    Opened(Box<Store>),
    Running(StoreHandle, JoinHandle<()>),
    Ended,
}

impl Persistence {
    /// Opens the store of a data directory; what is in it is returned by name. Blocks on the disk.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn open(
        directory: &Path,
        keeping: RetentionConfig,
    ) -> Result<(Self, Vec<Arc<str>>), String> {
        let store = Store::open_when_free(directory, TURNOVER, || {
            log::warn!(
                "another collabd uses the data directory {}: waiting {} s for it to end",
                directory.display(),
                TURNOVER.as_secs()
            );
        })?;
        let names: Vec<_> = store.names().cloned().collect();
        log::info!("{} sessions are stored in {}", names.len(), store.file().display());
        let RetentionConfig { versions, age, history } = keeping;
        let (remembered, _) = history.entries();
        let retention = Retention { versions, age, history: remembered };
        let archive = Arc::new(ArchiveService::new(store.directory().to_owned(), retention));
        let state = Mutex::new(State::Opened(Box::new(store)));
        Ok((Persistence { keeping, archive, state }, names))
    }

    /// Where what is stored is looked at, and changed from outside.
    pub fn archive(&self) -> &Arc<ArchiveService> {
        &self.archive
    }

    /// Starts the thread `store`.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn begin(&self, tell: Tell) -> io::Result<Option<Arc<dyn Journal>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Opened(store) = std::mem::replace(&mut *state, State::Ended) else {
            return Ok(None);
        };
        let history = self.keeping.history;
        let (changes, bytes) = history.entries();
        let reach = Reach { changes, bytes };
        let gate = self.archive.gate();
        let settings = Settings { gate, ..Settings::new(reach, self.archive.retention()) };
        let archive = self.archive.clone();
        let events = move |event| {
            if let StoreEvent::Durable(works) = event {
                archive.note(works);
            }
            tell(external(event, history));
        };
        let (handle, thread) = StoreHandle::start(*store, settings, events)?;
        self.archive.open(handle.clone());
        *state = State::Running(handle.clone(), thread);
        Ok(Some(Arc::new(handle)))
    }

    /// Has what waits written and the thread ended, until `deadline` at the latest.
    pub fn end(&self, deadline: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Running(handle, thread) = std::mem::replace(&mut *state, State::Ended) else {
            return;
        };
        if handle.stop(deadline) {
            // A panic was reported when it happened.
            let _ = thread.join();
        } else {
            log::error!("not everything that happened could be written; what was confirmed is");
        }
    }
}

/// Parsing a session takes a while, which the thread `store` has and the hub hasn't.
fn external(event: StoreEvent, bounds: HistoryBounds) -> External {
    External::Event(match event {
        StoreEvent::Persisted { up_to } => return External::Persisted { up_to },
        StoreEvent::Lost { first, last } => return External::Lost { first, last },
        StoreEvent::Deleted { number, is_done } => return External::Deleted { number, is_done },
        StoreEvent::Durable(works) => Event::Durable(works),
        StoreEvent::Wanted { session } => Event::Wanted { session },
        StoreEvent::Loaded { session, stored } => {
            let past = match stored {
                Ok(None) => Ok(None),
                Ok(Some(stored)) => past_of(&session, stored, bounds).map(Some),
                Err(()) => Err(NotLoaded),
            };
            Event::Loaded { session, past }
        }
    })
}

fn past_of(session: &str, stored: Stored, bounds: HistoryBounds) -> Result<Box<Past>, NotLoaded> {
    Past::of(stored, bounds).map(Box::new).map_err(|damaged| {
        log::error!(
            "session {session:?} is stored but can't be used: {damaged}; nobody can join it until \
             it is restored from a version or deleted"
        );
        NotLoaded
    })
}
