//! Makes sessions durable in a running server: opens the store, runs its thread, and passes on what
//! it tells.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::archive::ArchiveService;
use crate::hub::{ConnId, Event, HistoryBounds, LoadedSession, NotLoaded};
use crate::journal::{HistoryWindow, Journal, StoredSession};
use crate::net::service::{External, Tell};
use crate::store::{Retention, Settings, Store, StoreEvent, StoreHandle};

/// What is kept of a session beside its newest state.
#[derive(Debug, Clone, Copy)]
pub struct RetentionConfig {
    /// How many versions of a session; 0 means any number.
    pub versions: usize,
    /// How long a version is kept after the next one was made; zero means for ever.
    pub age: Duration,
    /// How much history a loaded session keeps in memory, for clients that catch up.
    pub history: HistoryBounds,
}

/// The store of a server, from when it is opened until it is closed.
pub struct Persistence {
    config: RetentionConfig,
    archive: Arc<ArchiveService>,
    state: Mutex<StoreLifecycle>,
}

enum StoreLifecycle {
    Opened(Box<Store>),
    /// The thread `store` has the store.
    Running(StoreHandle, JoinHandle<()>),
    Ended,
}

impl Persistence {
    /// Opens the store of a data directory, and returns the names of its sessions. Blocks on the
    /// disk, and for `patience` at most while another server uses the directory.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn open(
        directory: &Path,
        config: RetentionConfig,
        patience: Duration,
    ) -> Result<(Self, Vec<Arc<str>>), String> {
        let store = Store::open_when_free(directory, patience, || {
            log::warn!(
                "another collabd uses the data directory {}: waiting {} s for it to end",
                directory.display(),
                patience.as_secs_f32()
            );
        })?;
        let names: Vec<_> = store.names().cloned().collect();
        log::info!("{} sessions are stored in {}", names.len(), store.file().display());
        let RetentionConfig { versions, age, history } = config;
        let (remembered, _) = history.entries();
        let retention = Retention { versions, age, history: remembered };
        let archive = Arc::new(ArchiveService::new(store.directory().to_owned(), retention));
        let state = Mutex::new(StoreLifecycle::Opened(Box::new(store)));
        Ok((Persistence { config, archive, state }, names))
    }

    /// The service that reads and changes stored sessions for the API.
    pub fn archive(&self) -> &Arc<ArchiveService> {
        &self.archive
    }

    /// Starts the thread `store`, and returns the journal. `None` where it was started before.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn begin(&self, tell: Tell) -> io::Result<Option<Arc<dyn Journal>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let StoreLifecycle::Opened(store) = std::mem::replace(&mut *state, StoreLifecycle::Ended)
        else {
            return Ok(None);
        };
        let history = self.config.history;
        let (changes, bytes) = history.entries();
        let reach = HistoryWindow { changes, bytes };
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
        *state = StoreLifecycle::Running(handle.clone(), thread);
        Ok(Some(Arc::new(handle)))
    }

    /// Has the thread `store` write everything and end, and waits for that until `deadline`.
    pub fn end(&self, deadline: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let StoreLifecycle::Running(handle, thread) =
            std::mem::replace(&mut *state, StoreLifecycle::Ended)
        else {
            return;
        };
        if handle.stop(deadline) {
            // A panic was logged when it happened.
            let _ = thread.join();
        } else {
            log::error!(
                "the last changes could not be written and are lost; every confirmed change is written"
            );
        }
    }
}

/// Makes an input of the hub thread from what the store tells. Runs on the thread `store`, because
/// parsing a session takes long.
fn external(event: StoreEvent, bounds: HistoryBounds) -> External {
    External::Event(match event {
        StoreEvent::Persisted { up_to } => return External::Persisted { up_to },
        StoreEvent::Lost { first, last } => return External::Lost { first, last },
        StoreEvent::Deleted { number, is_done } => return External::Deleted { number, is_done },
        StoreEvent::Renamed { number, session, to, is_done } => {
            Event::Renamed { conn: ConnId(number), session, to, is_done }
        }
        StoreEvent::Durable(works) => Event::Durable(works),
        StoreEvent::SnapshotRequested { session } => Event::SnapshotRequested { session },
        StoreEvent::Loaded { session, stored } => {
            let past = match stored {
                Ok(None) => Ok(None),
                Ok(Some(stored)) => parse(&session, stored, bounds).map(Some),
                Err(()) => Err(NotLoaded),
            };
            Event::Loaded { session, past }
        }
    })
}

fn parse(
    session: &str,
    stored: StoredSession,
    bounds: HistoryBounds,
) -> Result<Box<LoadedSession>, NotLoaded> {
    LoadedSession::of(stored, bounds).map(Box::new).map_err(|damaged| {
        log::error!(
            "session {session:?} is stored but can't be used: {damaged}; it can't be joined until \
             it is restored from a version or deleted"
        );
        NotLoaded
    })
}
