//! The thread `store` while the disk fails: nothing is confirmed, memory is bounded, and writing is
//! tried again until it succeeds.
//!
//! A disk that is full, or a file that another program holds, is tried again with the file as it is open:
//! SQLite writes all pages of a transaction again. After anything else the file is closed, and everything
//! that may not be on disk is written anew when it is opened ([`Closed::open`](super::Closed::open)); what
//! waits is written after that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handle::StoreEvent;
use super::writer::Writer;
use super::{Closed, Store, StoreError, reserve};
use crate::kept::Stored;

/// How many times longer than usual is waited at most before a file is looked at again that was found
/// damaged: that reads all of it.
const DAMAGED: u32 = 30;

/// Whether what waits can be written.
pub enum State {
    Well,
    /// Nothing can be written; tried again at this time.
    Failing {
        again: Instant,
        pause: Duration,
        /// What the log says about it.
        said: String,
    },
}

/// The file.
pub enum Opened {
    Store(Box<Store>),
    Closed(Box<Closed>),
    /// For good: the thread ends.
    Ended,
}

impl Opened {
    /// The store, while it is open.
    ///
    /// # Errors
    /// [`StoreError::Io`] while it is not.
    pub fn store(&mut self) -> Result<&mut Store, StoreError> {
        match self {
            Opened::Store(store) => Ok(store),
            _ => Err(StoreError::Io("it is not open".into())),
        }
    }

    /// What is stored of a session.
    ///
    /// # Errors
    /// [`StoreError`], when it can't be read.
    pub fn load(&self, session: &str, reach: super::Reach) -> Result<Option<Stored>, StoreError> {
        match self {
            Opened::Store(store) => store.load(session, reach),
            Opened::Closed(closed) => closed.load(session, reach),
            Opened::Ended => Err(StoreError::Io("it is not open".into())),
        }
    }

    /// Closes the file if it may have to be written anew.
    fn let_go(&mut self) {
        *self = match std::mem::replace(self, Opened::Ended) {
            Opened::Store(store) => Opened::Closed(Box::new(store.let_go())),
            other => other,
        };
    }

    /// Opens it if it was closed.
    fn open(&mut self) -> Result<(), StoreError> {
        let (opened, result) = match std::mem::replace(self, Opened::Ended) {
            Opened::Closed(closed) => match closed.open() {
                Ok(store) => (Opened::Store(Box::new(store)), Ok(())),
                Err((closed, trouble)) => (Opened::Closed(closed), Err(trouble)),
            },
            other => (other, Ok(())),
        };
        *self = opened;
        result
    }
}

impl Writer {
    /// Something could not be written.
    pub(super) fn fail(&mut self, trouble: &StoreError) {
        let was_well = matches!(self.state, State::Well);
        let file = self.directory.display();
        log::error!(
            "what happens is not written to {file}: {trouble}: {}; sessions go on in memory, nothing \
             is confirmed",
            trouble.advice()
        );
        self.line.drop_jobs();
        self.job = None;
        if matches!(trouble, StoreError::Internal(_) | StoreError::SessionCorrupt(_)) {
            // Something that waits can't be written at all: whole documents may.
            self.line.drop_all();
        }
        if !matches!(trouble, StoreError::Full(_) | StoreError::Busy(_)) {
            self.opened.let_go();
        }
        let pause = self.settings.retry.0;
        let (again, said) = (Instant::now() + pause, trouble.to_string());
        self.state = State::Failing { again, pause, said };
        if was_well {
            (self.events)(StoreEvent::Durable(false));
        }
    }

    /// Does what can be done while nothing can be written; tries again when it is time, or the last
    /// time. Whether everything is well again.
    pub(super) fn endure(&mut self) -> bool {
        self.line.drop_jobs();
        let is_due = match &self.state {
            State::Well => false,
            State::Failing { again, .. } => self.stop_by.is_some() || *again <= Instant::now(),
        };
        if is_due {
            self.try_again();
        }
        if matches!(self.state, State::Well) {
            return true;
        }
        while let Some(session) = self.line.any_load() {
            if self.line.concerns(&session) {
                (self.events)(StoreEvent::Loaded { session, stored: Err(()) });
            } else {
                self.load_while_failing(session);
            }
        }
        self.line.shrink_to(self.settings.queue_bytes / 2);
        false
    }

    pub(super) fn load_while_failing(&mut self, session: Arc<str>) {
        let mut stored = self.opened.load(&session, self.settings.reach);
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
        let State::Failing { pause, said, .. } = &self.state else { return };
        let (pause, said) = (*pause, said.clone());
        match self.write_all() {
            Ok(()) => {
                self.state = State::Well;
                log::info!("what happens is written to {} again", self.directory.display());
                (self.events)(StoreEvent::Durable(true));
                self.line.ask_again();
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
                    self.opened.let_go();
                }
                let most = match trouble {
                    StoreError::Corrupt(_) | StoreError::Overwritten(_) => {
                        self.settings.retry.1 * DAMAGED
                    }
                    _ => self.settings.retry.1,
                };
                let pause = (pause * 2).min(most);
                self.state = State::Failing { again: Instant::now() + pause, pause, said: why };
            }
        }
    }

    /// Writes all that waits, or something that does no harm where nothing does.
    fn write_all(&mut self) -> Result<(), StoreError> {
        if matches!(self.opened, Opened::Closed(_)) {
            // Whoever looks into the file from this process ends soon; others wait for this.
            let gate = self.settings.gate.clone();
            let _alone = gate.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.opened.open()?;
        }
        let store = self.opened.store()?;
        // Nobody is to wait for what is tried again soon.
        store.wait_for_others(false)?;
        store.commit([])?;
        while self.write()? > 0 {}
        self.opened.store()?.wait_for_others(true)
    }
}
