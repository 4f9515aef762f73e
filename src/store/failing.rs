//! The thread `store` while the disk fails: nothing is confirmed, memory is bounded, and writing is
//! tried again until it succeeds.

use std::time::Instant;

use super::keeper::StoreEvent;
use super::thread::{Writer, run};
use super::{Store, Trouble};

/// Whether what waits can be written.
pub enum State {
    Well,
    /// Nothing can be written; tried again at this time.
    Failing {
        again: Instant,
        pause: std::time::Duration,
        /// Whether the file has to be opened anew.
        reopen: bool,
        /// What the log says about it.
        said: String,
    },
    /// Nothing is to be written any more.
    Corrupt,
}

impl Writer {
    /// Something could not be written.
    pub(super) fn fail(&mut self, trouble: &Trouble) {
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
            Trouble::Corrupt(_) => self.leave_alone(),
            _ => {
                let pause = self.settings.retry.0;
                if matches!(trouble, Trouble::Bug(_) | Trouble::Damaged(_)) {
                    // Something that waits can't be written at all: whole documents may.
                    self.line.drop_all();
                }
                self.state = State::Failing {
                    again: Instant::now() + pause,
                    pause,
                    reopen: !matches!(trouble, Trouble::Full(_)),
                    said: trouble.to_string(),
                };
            }
        }
        if was_well {
            (self.events)(StoreEvent::Durable(false));
        }
    }

    /// Nothing more is written.
    fn leave_alone(&mut self) {
        self.state = State::Corrupt;
        if let Some(store) = &self.store {
            // It would be a bug of ours, and is about what happens when it is closed.
            let _ = store.leave_alone();
        }
        self.line.drop_all();
        self.line.drop_afters();
    }

    /// Does what can be done while nothing can be written; tries again when it is time, or the last
    /// time. Whether everything is well again.
    pub(super) fn endure(&mut self) -> bool {
        self.line.drop_jobs();
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
            return true;
        }
        while let Some(session) = self.line.any_load() {
            if self.line.concerns(&session) {
                (self.events)(StoreEvent::Loaded { session, stored: Err(()) });
            } else {
                self.load(session);
            }
        }
        self.line.shrink_to(self.settings.queue_bytes / 2);
        false
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
                self.leave_alone();
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
        // Nobody is to wait for what is tried again soon.
        store.wait_for_others(false).map_err(Problem::of)?;
        store.commit([]).map_err(Problem::of)?;
        while self.write().map_err(Problem::of)? > 0 {}
        match &self.store {
            Some(store) => store.wait_for_others(true).map_err(Problem::of),
            None => Ok(()),
        }
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
            reopen: !matches!(trouble, Trouble::Full(_)),
        }
    }
}
