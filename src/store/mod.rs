//! What survives a crash: one SQLite file in a data directory, `collabd.db`.
//!
//! [`Store`] writes it, and there is one of it for a directory; [`Reader`] looks into it, from
//! another thread or another process, while that goes on. `thread.rs` is the thread that a server
//! gives its store to, and the queue before it.
//!
//! What can be relied on: when [`Store::commit`] has returned, what it was given is on disk. It is
//! written in the order it was given, whole transactions at a time, so that after a crash the file
//! holds a prefix of that order. Each row has a check sum, changes have no gaps, and the number of
//! transactions is noted beside the file: what is not as it was written is refused, never believed.

mod changes;
mod chores;
mod commit;
mod directory;
mod documents;
mod failing;
mod keeper;
mod line;
mod load;
mod open;
mod queue;
mod reader;
mod rows;
mod schema;
mod sum;
mod thread;
mod trouble;
mod versions;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;

use crate::kept::{Reach, Stored};
use directory::{Directory, Note};
pub use keeper::{After, Job, Keeper, Settings, StoreEvent};
pub use reader::{Reader, Summary};
use rows::Session;
pub use thread::Writer;
pub use trouble::Trouble;
pub use versions::{Point, Retention, Version};

/// How long the journal may become, in pages of 4 KiB, before its pages are moved into the database.
const JOURNAL_PAGES: usize = 1000;

/// The store of a data directory. Every call blocks on the disk.
pub struct Store {
    /// Dropped first: closing it moves the journal into the database.
    db: Connection,
    directory: Directory,
    /// As they stand in the file.
    sessions: HashMap<Arc<str>, Session>,
    commits: u64,
    next_id: i64,
    /// How many pages the journal has.
    journal: Arc<AtomicUsize>,
}

impl Store {
    /// Opens the store of a data directory, which is made where there is none.
    ///
    /// # Errors
    /// One line that says what to do: when the directory can't be written or another server uses it;
    /// when the file in it is not collabd's, is damaged, has lost what was confirmed, or has a format
    /// that is yet to come. Nothing has been changed then.
    pub fn open(directory: &Path) -> Result<Self, String> {
        open::open(directory, true)
    }

    /// The same for a store that was open before: nothing is made where there is nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open), or when there is none.
    pub fn open_again(directory: &Path) -> Result<Self, String> {
        open::open(directory, false)
    }

    /// Where it is; absolute.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file itself.
    pub fn file(&self) -> PathBuf {
        self.directory.database()
    }

    /// How many transactions there have been, ever.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// The names of all sessions that are stored.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sessions.keys()
    }

    /// What was kept of a session; `None` where there is no such session.
    ///
    /// # Errors
    /// [`Trouble::Damaged`] when it can't be brought back as it was; otherwise what the file says.
    pub fn load(&self, session: &str, reach: Reach) -> Result<Option<Stored>, Trouble> {
        let Some(row) = self.sessions.get(session) else { return Ok(None) };
        // One state of the file for all that is read.
        let _reading = self.db.unchecked_transaction()?;
        load::load(&self.db, row, reach).map(Some)
    }

    /// Moves the journal into the database, if it has become long. Not part of [`commit`](Self::commit)
    /// so that nobody has to wait for it who waits for a change to be on disk.
    ///
    /// # Errors
    /// [`Trouble`]: nothing is lost, the journal goes on growing.
    pub fn tidy_journal(&mut self) -> Result<(), Trouble> {
        if self.journal.load(Ordering::Relaxed) < JOURNAL_PAGES {
            return Ok(());
        }
        self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        // Counted anew from the next commit on, which begins the journal again.
        self.journal.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// The same however long it is, without waiting for whoever reads: what was removed then makes
    /// the file smaller.
    ///
    /// # Errors
    /// [`Trouble`]: nothing is lost, the journal goes on growing.
    pub fn empty_journal(&mut self) -> Result<(), Trouble> {
        self.journal.store(JOURNAL_PAGES, Ordering::Relaxed);
        self.tidy_journal()
    }

    /// Has nothing more be written to the file, not even when it is closed.
    fn leave_alone(&self) -> Result<(), Trouble> {
        schema::keep_journal(&self.db, true)
    }

    /// Whether another program that holds the file is waited for, for a second.
    fn wait_for_others(&self, wait: bool) -> Result<(), Trouble> {
        let patience = if wait { schema::PATIENCE } else { std::time::Duration::ZERO };
        Ok(self.db.busy_timeout(patience)?)
    }

    /// Closes it properly: the next start has nothing to recover. Dropping it is safe, too.
    ///
    /// # Errors
    /// [`Trouble`]: nothing is lost, the next start goes on from the journal.
    pub fn close(mut self) -> Result<(), Trouble> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.db.close().map_err(|(_, error)| Trouble::from(error))?;
        let note = Note { commits: self.commits, stopped: true };
        Ok(self.directory.note_for_good(note)?)
    }

    /// One more transaction is on disk.
    fn committed(&mut self) -> Result<(), Trouble> {
        if !self.directory.is_still_there() {
            let why = format!("{} or its -wal file has been removed", self.file().display());
            return Err(Trouble::Unreachable(why));
        }
        self.commits += 1;
        // Without it a loss would go unnoticed, no more.
        let _ = self.directory.note(Note { commits: self.commits, stopped: false });
        Ok(())
    }
}
