//! What survives a crash: one SQLite file in a data directory, `collabd.db`.
//!
//! [`Store`] writes it; there is one for a directory. [`Reader`] reads it meanwhile, from another
//! thread or another process. `writer.rs` is the thread `store`, to which a server gives its store.
//!
//! Guarantees: when [`Store::commit`] has returned, its entries are on disk. Entries are written in
//! their order, in whole transactions, so that after a crash the file holds a prefix of that order.
//! Each row has a checksum, the numbers of changes have no gaps, and the number of transactions is
//! noted beside the file: what is not as it was written is refused.

mod changes;
mod checksum;
mod commit;
mod counters;
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

use crate::journal::{HistoryWindow, StoredSession};
use directory::{CommitMarker, Directory};
pub use documents::Version;
pub use error::StoreError;
use foreign_writes::FileStamp;
pub use handle::StoreHandle;
pub use messages::{Settings, StoreEvent, Task};
pub use reader::{Begins, Reader, Summary};
use rows::SessionRow;
pub use versions::{PointInTime, Retention};
pub use writer::Writer;

/// The journal is moved into the database when it has so many pages, of 4 KiB each.
const MAX_JOURNAL_PAGES: usize = 1000;

/// The version of SQLite in this program.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// The store of a data directory. For one thread at a time. Every call blocks on the disk.
pub struct Store {
    /// Dropped first: closing it moves the journal into the database.
    db: Connection,
    directory: Directory,
    /// The rows of all sessions.
    sessions: HashMap<Arc<str>, SessionRow>,
    commits: u64,
    next_id: i64,
    /// The length of the journal, in pages.
    journal_pages: Arc<AtomicUsize>,
    /// The file after this process wrote to it last.
    stamp: FileStamp,
    /// SQLite's count of transactions of other connections (`PRAGMA data_version`).
    data_version: i64,
    /// The reason, once another program has written to the file.
    overwritten: Option<String>,
    /// Is true once a write or read has failed: what can be read may not be on disk.
    is_suspect: bool,
}

/// A store whose file was closed after a write or read failed. It still holds the directory, and
/// the number of transactions that the file must have.
pub struct ClosedStore {
    directory: Directory,
    commits: u64,
    overwritten: Option<String>,
}

impl ClosedStore {
    fn new(directory: Directory, commits: u64) -> Self {
        ClosedStore { directory, commits, overwritten: None }
    }

    /// Reads a session, as [`Store::load`].
    pub fn load(
        &self,
        session: &str,
        reach: HistoryWindow,
    ) -> Result<Option<StoredSession>, StoreError> {
        if !self.directory.has_database() || self.overwritten.is_some() {
            return Err(StoreError::Io("the file is not open".into()));
        }
        let reader = Reader::open(self.directory.path()).map_err(StoreError::Io)?;
        reader.load(session, reach)
    }
}

/// What a step of longer work leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// There is more to do, or may be.
    More,
    Done,
}

impl Progress {
    fn more_if(is_more: bool) -> Self {
        if is_more { Progress::More } else { Progress::Done }
    }

    /// Is true for [`Progress::More`].
    pub fn is_more(self) -> bool {
        self == Progress::More
    }
}

impl Store {
    /// Opens the store of a data directory, and makes it where there is none.
    ///
    /// # Errors
    /// One line that says what to do: the directory can't be written, or another server uses it;
    /// the file in it is not collabd's, is damaged, lacks confirmed transactions, or has a newer
    /// format. The directory is unchanged then.
    pub fn open(directory: &Path) -> Result<Self, String> {
        open::open(directory, true)
    }

    /// Opens it for a server that may be started before the previous one has ended. Where another
    /// process holds the directory, calls `waits` once and waits for that process to end, for
    /// `timeout` at most.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_when_free(
        directory: &Path,
        timeout: Duration,
        waits: impl FnOnce(),
    ) -> Result<Self, String> {
        open::open_when_free(directory, timeout, waits)
    }

    /// Opens a store that exists.
    ///
    /// # Errors
    /// As [`open`](Self::open), or where there is none.
    pub fn open_existing(directory: &Path) -> Result<Self, String> {
        open::open(directory, false)
    }

    /// The path of the directory; absolute.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of the database; absolute.
    pub fn file(&self) -> PathBuf {
        self.directory.database()
    }

    /// The size of the database and of its journal, in bytes; 0 for one that isn't there or can't be
    /// looked at.
    pub fn sizes(&self) -> [u64; 2] {
        ["", "-wal"].map(|suffix| self.directory.length(suffix).unwrap_or(0))
    }

    /// How many transactions the file has seen.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// The names of all stored sessions.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sessions.keys()
    }

    /// Reads a session; `None` where none of this name is stored.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where a part of it is missing or damaged; other kinds where
    /// the file can't be read.
    pub fn load(
        &self,
        session: &str,
        reach: HistoryWindow,
    ) -> Result<Option<StoredSession>, StoreError> {
        let Some(row) = self.sessions.get(session) else { return Ok(None) };
        // All queries see one state of the file.
        let _reading = self.db.unchecked_transaction()?;
        load::load(&self.db, row, reach).map(Some)
    }

    /// Moves the journal into the database, where it has 1000 pages or more. Not a part of
    /// [`commit`](Self::commit), so that no confirmation waits for it.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost, the journal grows on.
    pub fn checkpoint_if_large(&mut self) -> Result<(), StoreError> {
        if self.journal_pages.load(Ordering::Relaxed) < MAX_JOURNAL_PAGES {
            return Ok(());
        }
        self.checkpoint()
    }

    /// Moves the journal into the database, as far as no reader needs it. Removed rows make the
    /// file smaller only then.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost, the journal grows on.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        // Where it fails, `checkpoint_if_large` tries again.
        self.journal_pages.store(MAX_JOURNAL_PAGES, Ordering::Relaxed);
        self.ensure_sound()?;
        let moved = self.move_journal("PASSIVE");
        self.note_result(moved)?;
        // The next commit writes the journal from its beginning, and sets its length.
        self.journal_pages.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn move_journal(&mut self, mode: &str) -> Result<(), StoreError> {
        // Pages must not be written into another file.
        self.check_file()?;
        let moved = self.db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
        // A part may have been written even where the checkpoint failed.
        self.stamp.renew(&self.directory.database(), self.directory.lock())?;
        Ok(moved?)
    }

    /// Is true where the file has to be opened again before it can be written to.
    pub fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    /// Closes the file and writes nothing to it: after a write or read has failed.
    pub fn close_unwritten(self) -> ClosedStore {
        // It can fail only by a bug, and the file is closed all the same.
        let _ = self.keep_journal_on_close();
        let Store { db, directory, commits, overwritten, .. } = self;
        drop(db);
        ClosedStore { directory, commits, overwritten }
    }

    /// Has SQLite leave the journal as it is when the file is closed.
    fn keep_journal_on_close(&self) -> Result<(), StoreError> {
        schema::keep_journal(&self.db, true)
    }

    /// How long a write waits for another program that holds the file.
    fn set_busy_timeout(&self, timeout: Duration) -> Result<(), StoreError> {
        Ok(self.db.busy_timeout(timeout)?)
    }

    /// Closes the file: the next start has nothing to recover. Dropping it is safe, too.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost, the next start recovers the journal.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.ensure_sound()?;
        let released = self.release_numbers();
        self.note_result(released)?;
        let moved = self.move_journal("TRUNCATE");
        self.note_result(moved)?;
        self.db.close().map_err(|(_, error)| StoreError::from(error))?;
        let marker = CommitMarker { commits: self.commits, stopped: true };
        Ok(self.directory.write_marker_synced(marker)?)
    }

    /// Counts a transaction, after SQLite has committed it.
    ///
    /// # Errors
    /// [`StoreError`] where it may be in another file: it must not be confirmed then.
    fn count_commit(&mut self) -> Result<(), StoreError> {
        self.check_file()?;
        self.commits += 1;
        // Where it fails, a loss of transactions may go unnoticed.
        let _ = self.directory.write_marker(CommitMarker { commits: self.commits, stopped: false });
        Ok(())
    }

    /// Checks that the file is the one that was opened, and as this process left it.
    fn check_file(&mut self) -> Result<(), StoreError> {
        let file = self.file();
        if !self.directory.is_unchanged() {
            let why = format!(
                "{} or its -wal file has been removed, or another file has its name",
                file.display()
            );
            return Err(StoreError::Io(why));
        }
        if !self.stamp.is_current(&file, self.directory.lock())? {
            let why = format!("another program has written to {}", file.display());
            self.overwritten = Some(why.clone());
            return Err(StoreError::Overwritten(why));
        }
        Ok(())
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// [`StoreError::Overwritten`] where another program has written through SQLite: the rows in
    /// memory would not fit the file.
    fn begin_writing(&self) -> Result<Transaction<'_>, StoreError> {
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        self.check_data_version()?;
        Ok(transaction)
    }

    /// Checks that no other program has written through SQLite.
    fn check_data_version(&self) -> Result<(), StoreError> {
        if schema::pragma::<i64>(&self.db, "data_version")? == self.data_version {
            return Ok(());
        }
        let why = format!("another program has written to {}", self.file().display());
        Err(StoreError::Overwritten(why))
    }

    /// Checks that the file may be written to.
    ///
    /// # Errors
    /// [`StoreError::Io`] where it has to be opened again first.
    fn ensure_sound(&self) -> Result<(), StoreError> {
        match self.is_suspect {
            true => Err(StoreError::Io("an earlier write has failed".into())),
            false => Ok(()),
        }
    }

    /// Passes on the result of a write. After an error that leaves the file in doubt, the store is
    /// suspect.
    fn note_result<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Overwritten(why)) = &result {
            self.overwritten = Some(why.clone());
        }
        if result.as_ref().is_err_and(StoreError::is_suspicious) {
            self.is_suspect = true;
            let _ = self.keep_journal_on_close();
        }
        result
    }
}
