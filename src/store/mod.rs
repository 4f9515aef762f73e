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
mod checksum;
mod commit;
mod create;
mod directory;
mod documents;
mod error;
mod file;
mod foreign_writes;
mod handle;
mod load;
mod lock;
mod maintenance;
mod messages;
mod open;
mod pending;
mod queue;
mod reader;
mod reserve;
mod rows;
mod schema;
mod versions;
mod wal;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::kept::{Reach, Stored};
use directory::{CommitMarker, Directory};
pub use documents::Version;
pub use error::StoreError;
use foreign_writes::Stamp;
pub use handle::StoreHandle;
pub use messages::{Settings, StoreEvent, Task};
pub use reader::{Begins, Reader, Summary};
use rows::Session;
pub use versions::{PointInTime, Retention};
pub use writer::Writer;

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
    /// What the file was like when this process had written to it last.
    stamp: Stamp,
    /// SQLite's own count of what other connections have written; this one's transactions don't count.
    version: i64,
    /// What was found out, once another program has written to it.
    overwritten: Option<String>,
    /// Whether something could not be written or read, so that what can be read may not be on disk.
    is_suspect: bool,
}

/// A store whose file is closed, because something could not be written or read. It still holds the
/// directory, and knows how far it had come.
pub struct Closed {
    directory: Directory,
    commits: u64,
    overwritten: Option<String>,
}

impl Closed {
    fn of(directory: Directory, commits: u64) -> Self {
        Closed { directory, commits, overwritten: None }
    }

    /// What is on disk of a session, as far as it can be read now.
    ///
    /// # Errors
    /// [`StoreError`], when it can't.
    pub fn load(&self, session: &str, reach: Reach) -> Result<Option<Stored>, StoreError> {
        if !self.directory.has_database() || self.overwritten.is_some() {
            return Err(StoreError::Io("it is not open".into()));
        }
        let reader = Reader::open(self.directory.path()).map_err(StoreError::Io)?;
        reader.load(session, reach)
    }
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

    /// The same for a server, which may be started before the one before it has ended: where another
    /// process holds the directory, `waits` is called and that one's end waited for, for `longest` at most.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_when_free(
        directory: &Path,
        longest: Duration,
        waits: impl FnOnce(),
    ) -> Result<Self, String> {
        open::open_when_free(directory, longest, waits)
    }

    /// The same for a store that is there: nothing is made where there is nothing.
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
    /// [`StoreError::SessionCorrupt`] when it can't be brought back as it was; otherwise what the file says.
    pub fn load(&self, session: &str, reach: Reach) -> Result<Option<Stored>, StoreError> {
        let Some(row) = self.sessions.get(session) else { return Ok(None) };
        // One state of the file for all that is read.
        let _reading = self.db.unchecked_transaction()?;
        load::load(&self.db, row, reach).map(Some)
    }

    /// Moves the journal into the database, if it has become long. Not part of [`commit`](Self::commit)
    /// so that nobody has to wait for it who waits for a change to be on disk.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost, the journal goes on growing.
    pub fn tidy_journal(&mut self) -> Result<(), StoreError> {
        if self.journal.load(Ordering::Relaxed) < JOURNAL_PAGES {
            return Ok(());
        }
        self.sound()?;
        let moved = self.move_journal("PASSIVE");
        self.noting(moved)?;
        // Counted anew from the next commit on, which begins the journal again.
        self.journal.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// The same however long it is, without waiting for whoever reads: what was removed then makes
    /// the file smaller.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost, the journal goes on growing.
    pub fn empty_journal(&mut self) -> Result<(), StoreError> {
        self.journal.store(JOURNAL_PAGES, Ordering::Relaxed);
        self.tidy_journal()
    }

    fn move_journal(&mut self, how: &str) -> Result<(), StoreError> {
        // Its pages must not get amid those of another file.
        self.look_for_others()?;
        let moved = self.db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()));
        // Some of it may have been written even where not all could be.
        self.stamp.renew(&self.directory.database(), self.directory.lock())?;
        Ok(moved?)
    }

    /// Whether it has to be opened anew before anything is written to it.
    pub fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    /// Closes it, with nothing more written to it: after something could not be written or read.
    pub fn let_go(self) -> Closed {
        // It would be a bug of ours, and is about what happens when it is closed.
        let _ = self.leave_alone();
        let Store { db, directory, commits, overwritten, .. } = self;
        drop(db);
        Closed { directory, commits, overwritten }
    }

    /// Has nothing more be written to the file, not even when it is closed.
    fn leave_alone(&self) -> Result<(), StoreError> {
        schema::keep_journal(&self.db, true)
    }

    /// Whether another program that holds the file is waited for, for a second.
    fn wait_for_others(&self, wait: bool) -> Result<(), StoreError> {
        let patience = if wait { schema::PATIENCE } else { Duration::ZERO };
        Ok(self.db.busy_timeout(patience)?)
    }

    /// Closes it properly: the next start has nothing to recover. Dropping it is safe, too.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost, the next start goes on from the journal.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.sound()?;
        let released = self.release_numbers();
        self.noting(released)?;
        let moved = self.move_journal("TRUNCATE");
        self.noting(moved)?;
        self.db.close().map_err(|(_, error)| StoreError::from(error))?;
        let note = CommitMarker { commits: self.commits, stopped: true };
        Ok(self.directory.note_for_good(note)?)
    }

    /// One more transaction is on disk.
    fn committed(&mut self) -> Result<(), StoreError> {
        self.look_for_others()?;
        self.commits += 1;
        // Without it a loss would go unnoticed, no more.
        let _ = self.directory.note(CommitMarker { commits: self.commits, stopped: false });
        Ok(())
    }

    /// Whether the file is the one that was opened, and as this process has left it.
    ///
    /// # Errors
    /// [`StoreError`], when it is not: nothing may be confirmed then.
    fn look_for_others(&mut self) -> Result<(), StoreError> {
        let file = self.file();
        if !self.directory.is_still_there() {
            let why = format!(
                "{} or its -wal file has been removed, or another file has its name",
                file.display()
            );
            return Err(StoreError::Io(why));
        }
        if !self.stamp.holds(&file, self.directory.lock())? {
            let why = format!("another program has written to {}", file.display());
            self.overwritten = Some(why.clone());
            return Err(StoreError::Overwritten(why));
        }
        Ok(())
    }

    /// Begins to write, if nobody else has written to it by way of SQLite.
    ///
    /// # Errors
    /// [`StoreError::Overwritten`], when somebody has: what is in memory would not fit what is there.
    fn begin_writing(&self) -> Result<Transaction<'_>, StoreError> {
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        self.look_for_writers()?;
        Ok(transaction)
    }

    /// Whether nobody else has written to it by way of SQLite.
    ///
    /// # Errors
    /// [`StoreError::Overwritten`], when somebody has.
    fn look_for_writers(&self) -> Result<(), StoreError> {
        match schema::pragma::<i64>(&self.db, "data_version")? == self.version {
            true => Ok(()),
            false => {
                let file = self.file();
                let why = format!("another program has written to {}", file.display());
                Err(StoreError::Overwritten(why))
            }
        }
    }

    /// Whether anything may be written to it.
    ///
    /// # Errors
    /// [`StoreError::Io`], when it has to be opened anew first.
    fn sound(&self) -> Result<(), StoreError> {
        match self.is_suspect {
            true => Err(StoreError::Io("something could not be written before".into())),
            false => Ok(()),
        }
    }

    /// Takes note of what came of writing.
    fn noting<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Overwritten(why)) = &done {
            self.overwritten = Some(why.clone());
        }
        if done.as_ref().is_err_and(StoreError::is_suspicious) {
            self.is_suspect = true;
            let _ = self.leave_alone();
        }
        done
    }
}
