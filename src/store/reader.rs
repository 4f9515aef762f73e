//! Reads a store, while a server writes it or when none runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use super::changes::{self, Order};
use super::directory::database;
use super::documents::{self, Version};
use super::error::StoreError;
use super::load;
use super::reserve;
use super::rows;
use super::schema::{self, Kind};
use super::versions::{self, PointInTime};
use crate::files;
use crate::journal::{HistoryWindow, StoredChange, StoredSession};
use crate::protocol::Timestamp;

/// A connection that only reads. Every call sees one state of the file, delays no writer, and
/// blocks on the disk.
pub struct Reader {
    db: Connection,
    file: PathBuf,
}

/// Facts about a session that are known without its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub name: Arc<str>,
    pub epoch: Arc<str>,
    /// The number of the last change.
    pub seq: u64,
    /// The number of the next change.
    pub next: u64,
    pub created: Timestamp,
    /// The time of the last change.
    pub changed: Timestamp,
    /// How many changes are stored.
    pub changes: u64,
    /// How many versions are stored.
    pub versions: u64,
    /// The size of its messages and documents in bytes.
    pub bytes: u64,
}

/// How far back the stored part of a session reaches, without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begins {
    /// The first change to whose state the session can be restored; 0 is the empty canvas it began
    /// with.
    pub states: u64,
    /// The first of the stored changes; one more than the last where none is stored.
    pub changes: u64,
}

impl Reader {
    /// Opens the store of a data directory.
    ///
    /// # Errors
    /// One line that says what to do: there is no store, or its format is another.
    pub fn open(directory: &Path) -> Result<Self, String> {
        let file = database(directory);
        let shown = file.display();
        if !file.is_file() {
            return Err(format!(
                "there is no {shown}: name the directory of a server's --data-dir"
            ));
        }
        // SQLite takes a relative name that begins with `file:` for a URI.
        let file = std::path::absolute(&file).map_err(|error| format!("{shown}: {error}"))?;
        let failed = |error: StoreError| format!("can't read {shown}: {error}");
        // A reader, too, recovers the journal after a crash and writes to the shared memory beside
        // it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&file, flags).map_err(|error| failed(error.into()))?;
        schema::configure(&db).map_err(failed)?;
        db.pragma_update(None, "query_only", true).map_err(|error| failed(error.into()))?;
        // The journal may not be on disk: only the writer moves it into the database (`open.rs`).
        schema::keep_journal(&db, true).map_err(failed)?;
        match schema::kind(&db).map_err(failed)? {
            Kind::Ours(schema::FORMAT) => Ok(Reader { db, file }),
            Kind::Ours(format) => Err(format!(
                "{shown} is of an older format ({format}): start the server on it once, which \
                 brings it up to date"
            )),
            Kind::Newer(format) => Err(format!(
                "{shown} was written by a newer collabd (format {format}, this one knows up to \
                 {}): use that version",
                schema::FORMAT
            )),
            Kind::Empty | Kind::Foreign => Err(format!("{shown} is not collabd's")),
        }
    }

    /// Has every call fail that is not done at `deadline`.
    ///
    /// # Errors
    /// [`StoreError::Internal`] where SQLite refuses, which was never seen.
    pub fn set_deadline(&mut self, deadline: Instant) -> Result<(), StoreError> {
        Ok(self.db.progress_handler(10_000, Some(move || Instant::now() > deadline))?)
    }

    /// All sessions, sorted by name.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where the row of one is damaged.
    pub fn sessions(&self) -> Result<Vec<Summary>, StoreError> {
        Ok(self.some_sessions(|_| true, None, usize::MAX)?.0)
    }

    /// A page of the sessions that are `wanted`, sorted by name: up to `max` of those after the
    /// name `after`. Also how many are wanted in all.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where the row of one is damaged.
    pub fn some_sessions(
        &self,
        wanted: impl Fn(&str) -> bool,
        after: Option<&str>,
        max: usize,
    ) -> Result<(Vec<Summary>, usize), StoreError> {
        let _reading = self.db.unchecked_transaction()?;
        let (sessions, _) = rows::sessions(&self.db)?;
        let wanted = sessions.into_values().filter(|session| wanted(&session.name));
        let mut found: Vec<rows::SessionRow> = wanted.collect();
        let total = found.len();
        found.retain(|session| after.is_none_or(|after| &*session.name > after));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let summaries = found.into_iter().take(max).map(|session| self.summary(session));
        Ok((summaries.collect::<Result<_, StoreError>>()?, total))
    }

    /// One session; `None` where none of this name is stored.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where its row is damaged.
    pub fn session(&self, name: &str) -> Result<Option<Summary>, StoreError> {
        let _reading = self.db.unchecked_transaction()?;
        rows::session(&self.db, name)?.map(|session| self.summary(session)).transpose()
    }

    fn summary(&self, session: rows::SessionRow) -> Result<Summary, StoreError> {
        let seq = session.seq;
        let next = seq.max(reserve::skipped(&self.db, &session)?) + 1;
        let rows::SessionRow { id, name, epoch, created, changed, .. } = session;
        let count = |sql: &str| {
            self.db
                .prepare_cached(sql)?
                .query_row(params![id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        };
        let (changes, of_changes) = count(
            "SELECT count(*), coalesce(sum(octet_length(message)), 0) FROM changes
                WHERE session = ? AND user <> ''",
        )?;
        let (versions, of_versions) =
            count("SELECT count(*), coalesce(sum(bytes), 0) FROM documents WHERE session = ?")?;
        let [changes, versions, bytes] =
            [changes, versions, of_changes + of_versions].map(|n| u64::try_from(n).unwrap_or(0));
        Ok(Summary { name, epoch, seq, next, created, changed, changes, versions, bytes })
    }

    /// Reads a session, as [`Store::load`](super::Store::load).
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where a part of it is missing or damaged.
    pub fn load(
        &self,
        session: &str,
        reach: HistoryWindow,
    ) -> Result<Option<StoredSession>, StoreError> {
        let _reading = self.db.unchecked_transaction()?;
        let session = rows::session(&self.db, session)?;
        session.map(|session| load::load(&self.db, &session, reach)).transpose()
    }

    /// The versions of a session, the oldest first; `None` where none of this name is stored.
    ///
    /// # Errors
    /// [`StoreError`] where one is damaged or can't be read.
    pub fn versions(&self, session: &str) -> Result<Option<Vec<Version>>, StoreError> {
        let _reading = self.db.unchecked_transaction()?;
        let session = rows::session(&self.db, session)?;
        session.map(|session| documents::versions(&self.db, session.id)).transpose()
    }

    /// How far back a session reaches; `None` where none of this name is stored.
    ///
    /// # Errors
    /// [`StoreError`] where a row is damaged or can't be read.
    pub fn begins(&self, session: &str) -> Result<Option<Begins>, StoreError> {
        let _reading = self.db.unchecked_transaction()?;
        let Some(session) = rows::session(&self.db, session)? else { return Ok(None) };
        let changes = session.changes_from;
        let states = match changes {
            // All changes are stored: the session began with an empty canvas.
            0 | 1 => 0,
            _ => {
                let versions = documents::versions(&self.db, session.id)?;
                let first = versions.iter().find(|version| version.seq + 1 >= changes);
                first.map_or(session.seq, |first| first.seq)
            }
        };
        Ok(Some(Begins { states, changes }))
    }

    /// Reads a session as of an earlier point, without history: a document, and the changes to
    /// apply to it. `None` where none of this name is stored, or the rows for that point were
    /// removed.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where a part of it is missing or damaged.
    pub fn document_at(
        &self,
        session: &str,
        point: PointInTime,
    ) -> Result<Option<StoredSession>, StoreError> {
        let _reading = self.db.unchecked_transaction()?;
        let Some(session) = rows::session(&self.db, session)? else { return Ok(None) };
        let seq = match point {
            PointInTime::Seq(seq) => Some(seq).filter(|seq| *seq <= session.seq),
            PointInTime::Time(time) => versions::seq_at(&self.db, &session, time)?,
        };
        match seq {
            Some(seq) => load::at(&self.db, &session, seq),
            None => Ok(None),
        }
    }

    /// Up to `max` stored changes of a session after change `seq`, in order. They have gaps where
    /// the disk failed. Empty where none of this name is stored.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where one is damaged.
    pub fn changes_after(
        &self,
        session: &str,
        seq: u64,
        max: usize,
    ) -> Result<Vec<StoredChange>, StoreError> {
        self.some_changes_after(session, seq, max, usize::MAX)
    }

    /// [`changes_after`](Self::changes_after), but no more changes once their messages have
    /// `max_bytes` bytes.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`] where one is damaged.
    pub fn some_changes_after(
        &self,
        session: &str,
        seq: u64,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredChange>, StoreError> {
        let _reading = self.db.unchecked_transaction()?;
        let Some(session) = rows::session(&self.db, session)? else { return Ok(Vec::new()) };
        let (mut changes, mut size) = (Vec::new(), 0_usize);
        let range = (seq.saturating_add(1), session.seq);
        if max > 0 {
            changes::read(&self.db, session.id, range, Order::OldestFirst, |change| {
                if change.skipped_after().is_some() {
                    return Ok(true);
                }
                size = size.saturating_add(change.frame.len());
                changes.push(change);
                Ok(changes.len() < max && size < max_bytes)
            })?;
        }
        Ok(changes)
    }

    /// Copies the store as of now into a new file. Calls `progress` with the number of copied pages
    /// and of all pages. To use the copy: stop the server, move its directory away, and put the
    /// copy as `collabd.db` into a new, empty one.
    ///
    /// # Errors
    /// One line where the file exists already or can't be written. No file is left then.
    pub fn backup(&self, to: &Path, progress: impl FnMut(u64, u64)) -> Result<(), String> {
        let shown = to.display();
        // The copy gets its name when it is complete.
        let mut unfinished = to.as_os_str().to_owned();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        if to.exists() {
            return Err(format!("{shown} is there already: name a file that isn't"));
        }
        let made = files::writing().create_new(true).open(&unfinished);
        made.map_err(|error| format!("can't write {}: {error}", unfinished.display()))?;
        let copied = self.copy(&unfinished, progress).and_then(|()| {
            std::fs::rename(&unfinished, to)?;
            files::sync_directory_of(to);
            Ok(())
        });
        copied.map_err(|error| {
            let _ = std::fs::remove_file(&unfinished);
            format!("can't copy {} to {shown}: {error}", self.file.display())
        })
    }

    fn copy(&self, to: &Path, mut progress: impl FnMut(u64, u64)) -> Result<(), StoreError> {
        let to = std::path::absolute(to)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(to, flags)?;
        // One transaction around all steps: each sees the same state of the file.
        let _reading = self.db.unchecked_transaction()?;
        self.db.query_row("SELECT count(*) FROM store", [], |_| Ok(()))?;
        {
            let backup = Backup::new(&self.db, &mut copy)?;
            loop {
                let step = backup.step(1000)?;
                let done = backup.progress();
                let [pages, left] = [done.pagecount, done.remaining]
                    .map(|count| u64::try_from(count).unwrap_or_default());
                progress(pages - left.min(pages), pages);
                match step {
                    StepResult::Done => break,
                    StepResult::More => {}
                    _ => return Err(StoreError::Busy("another program holds the file".into())),
                }
            }
        }
        // The copy is one file, without a journal beside it.
        copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        copy.close().map_err(|(_, error)| StoreError::from(error))?;
        Ok(())
    }
}
