//! Earlier states of a session: which are kept, and the removal of the others.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::changes::{self, Order};
use super::documents::{self, Version};
use super::rows::{self, SessionRow};
use super::{Progress, Store, StoreError};
pub use crate::journal::PointInTime;
use crate::protocol::Timestamp;

/// Which versions are kept. One that exceeds the number or the age is removed; the newest never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many versions a session has at most, the newest included; 0 means any number.
    pub versions: usize,
    /// How long a version is kept after the next one was made; zero means for ever.
    pub age: Duration,
    /// How many of its newest changes a session keeps in any case, for catching up.
    pub history: usize,
}

/// The number of a session's newest change that was made at `time` or before; `None` where there is
/// none.
///
/// # Errors
/// [`StoreError`] where a later row is damaged or can't be read.
pub fn seq_at(
    db: &Connection,
    session: &SessionRow,
    time: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let versions = documents::versions(db, session.id)?;
    let version = versions.iter().rfind(|version| version.at <= time).map(|version| version.seq);
    let mut change = None;
    let range = (version.unwrap_or(0) + 1, session.seq);
    // Reads each change, so that its checksum is compared.
    changes::read(db, session.id, range, Order::NewestFirst, |found| {
        let is_one = found.skipped_after().is_none() && found.at <= time;
        change = Some(found.seq).filter(|_| is_one);
        Ok(change.is_none())
    })?;
    Ok(change.or(version))
}

impl Store {
    /// Removes versions of a session that `retention` does not keep, and changes that no kept
    /// version needs: about `max_rows` rows at most. Ages are measured up to `now`.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is removed.
    pub fn prune(
        &mut self,
        session: &str,
        retention: &Retention,
        now: Timestamp,
        max_rows: usize,
    ) -> Result<Progress, StoreError> {
        self.ensure_sound()?;
        let pruned = self.remove(session, retention, now, max_rows);
        self.note_result(pruned)
    }

    fn remove(
        &mut self,
        session: &str,
        retention: &Retention,
        now: Timestamp,
        max_rows: usize,
    ) -> Result<Progress, StoreError> {
        let Some(known) = self.sessions.get(session) else { return Ok(Progress::Done) };
        let mut session = known.clone();
        let pruned = self.begin_writing()?;
        let versions = documents::versions(&pruned, session.id)?;
        let mut left = max_rows;
        let history = retention.history as u64;
        let needed = session.taken.saturating_sub(history) + 1;
        let (from, mut more) =
            remove_up_to(&pruned, ("taken", "n"), session.id, needed, &mut left)?;
        session.taken_from = session.taken_from.max(from);
        if let Some(oldest) = oldest_to_keep(&versions, retention, now) {
            // The states after the oldest version need the changes after it. Where a version is
            // removed, so is change 1, even if it is among those for catching up: its absence tells
            // that the changes before the oldest version can't make a state.
            let loses_a_version = versions.first().is_some_and(|first| first.seq < oldest);
            let least = if loses_a_version { 2 } else { 1 };
            let history = before_newest(&pruned, &session, history)?;
            let needed = (history.min(oldest) + 1).max(least);
            let (from, changes_left) =
                remove_up_to(&pruned, ("changes", "seq"), session.id, needed, &mut left)?;
            session.changes_from = session.changes_from.max(from).max(least);
            // A version is removed after the changes that follow it: no state ever lacks a change.
            more |= changes_left || remove_documents(&pruned, session.id, oldest, &mut left)?;
        }
        if left == max_rows {
            // Nothing was removed, so nothing is written.
            return Ok(Progress::more_if(more));
        }
        session.write(&pruned)?;
        pruned.commit()?;
        self.sessions.insert(session.name.clone(), session);
        Ok(Progress::more_if(more))
    }

    /// The number of versions of a session.
    ///
    /// # Errors
    /// [`StoreError`] where a row is damaged or can't be read.
    pub fn versions(&self, session: &str) -> Result<usize, StoreError> {
        let Some(row) = self.sessions.get(session) else { return Ok(0) };
        Ok(documents::versions(&self.db, row.id)?.len())
    }

    /// Gives up to `max_pages` free pages of 4 KiB back to the file system.
    ///
    /// # Errors
    /// [`StoreError`]: the file is unchanged.
    pub fn shrink(&mut self, max_pages: u32) -> Result<Progress, StoreError> {
        self.ensure_sound()?;
        let freed = self.free(max_pages);
        self.note_result(freed)
    }

    fn free(&self, pages: u32) -> Result<Progress, StoreError> {
        self.check_data_version()?;
        // Each row is a page that was freed.
        let mut statement = self.db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut freed = statement.query([])?;
        while freed.next()?.is_some() {}
        drop(freed);
        drop(statement);
        let free_pages: i64 = super::schema::pragma(&self.db, "freelist_count")?;
        Ok(Progress::more_if(free_pages > 0))
    }

    /// Deletes a session and all its versions. Returns false where none of this name is stored.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is deleted.
    pub fn delete(&mut self, session: &str) -> Result<bool, StoreError> {
        self.ensure_sound()?;
        let deleted = self.delete_rows(session);
        self.note_result(deleted)
    }

    /// Gives a session another name; its changes, versions and ids stay. Returns false where there is no such
    /// session, or one of the new name. It is on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is written.
    pub fn rename(&mut self, session: &str, to: &str) -> Result<bool, StoreError> {
        self.ensure_sound()?;
        let renamed = self.rename_row(session, to);
        self.note_result(renamed)
    }

    fn rename_row(&mut self, session: &str, to: &str) -> Result<bool, StoreError> {
        let Some(row) = self.sessions.get(session) else { return Ok(false) };
        if self.sessions.contains_key(to) {
            return Ok(false);
        }
        let mut row = row.clone();
        row.name = to.into();
        let transaction = self.begin_writing()?;
        row.write(&transaction)?;
        rows::write_totals(&transaction, self.commits + 1, self.sessions.len() as u64)?;
        transaction.commit()?;
        self.sessions.remove(session);
        self.sessions.insert(row.name.clone(), row);
        self.count_commit()?;
        Ok(true)
    }

    fn delete_rows(&mut self, session: &str) -> Result<bool, StoreError> {
        let Some(row) = self.sessions.get(session) else { return Ok(false) };
        let transaction = self.begin_writing()?;
        for table in ["changes", "documents", "taken"] {
            transaction.execute(&format!("DELETE FROM {table} WHERE session = ?"), [row.id])?;
        }
        transaction.execute("DELETE FROM sessions WHERE id = ?", [row.id])?;
        let sessions = self.sessions.len() as u64 - 1;
        rows::write_totals(&transaction, self.commits + 1, sessions)?;
        transaction.commit()?;
        self.sessions.remove(session);
        self.count_commit()?;
        Ok(true)
    }
}

/// The number before a session's newest changes, of which there are `changes`.
fn before_newest(db: &Connection, session: &SessionRow, changes: u64) -> Result<u64, StoreError> {
    let before = session.seq.saturating_sub(changes);
    if changes == 0 || before < session.changes_from {
        // No more than those are stored.
        return Ok(before);
    }
    // The row of skipped numbers is no change: its user is empty.
    let sql = "SELECT seq FROM changes WHERE session = ?1 AND seq <= ?2 AND user <> ''
        ORDER BY seq DESC LIMIT 1 OFFSET ?3";
    let oldest = db
        .prepare_cached(sql)?
        .query_row(params![session.id, limit(session.seq), limit(changes - 1)], |row| row.get(0))
        .optional()?;
    Ok(oldest.map_or(0, |oldest: i64| u64::try_from(oldest).unwrap_or_default().saturating_sub(1)))
}

/// The last change in the oldest version that is kept; `None` where there is no version.
fn oldest_to_keep(versions: &[Version], retention: &Retention, now: Timestamp) -> Option<u64> {
    let newest = versions.len().checked_sub(1)?;
    let by_number = match retention.versions {
        0 => 0,
        max => versions.len().saturating_sub(max),
    };
    let max_age = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
    let mut by_age = 0;
    if max_age > 0 {
        // A version's age counts from when the next one was made. Where the clock has jumped, no
        // version counts as older than the one before it, and times in the future are ignored.
        let mut latest = None;
        for (place, version) in versions.iter().enumerate() {
            if version.at <= now {
                latest = latest.max(Some(version.at.millis()));
            }
            let is_old = latest.is_some_and(|latest| now.millis() - latest > max_age);
            if is_old {
                by_age = place;
            }
        }
    }
    Some(versions[by_number.max(by_age).min(newest)].seq)
}

/// Removes documents before change `oldest`, as many as `left` rows allow. Returns true where more
/// may be left.
fn remove_documents(
    db: &Connection,
    session: i64,
    oldest: u64,
    left: &mut usize,
) -> Result<bool, StoreError> {
    // A large document takes as long as many changes.
    const ROWS_PER_DOCUMENT: usize = 100;
    let sql = "DELETE FROM documents WHERE session = ?1 AND seq IN (SELECT seq FROM documents
        WHERE session = ?1 AND seq < ?2 ORDER BY seq LIMIT ?3)";
    let [oldest, max] = [oldest, (*left / ROWS_PER_DOCUMENT) as u64 + 1].map(limit);
    let removed = db.prepare_cached(sql)?.execute(params![session, oldest, max])?;
    *left = left.saturating_sub(removed * ROWS_PER_DOCUMENT);
    Ok(*left == 0)
}

/// Removes the oldest rows of a session before number `needed`, as many as `left` allows. Returns
/// the first number that stays (0 where none was removed), and true where more are to be removed.
fn remove_up_to(
    db: &Connection,
    (table, number): (&str, &str),
    session: i64,
    needed: u64,
    left: &mut usize,
) -> Result<(u64, bool), StoreError> {
    let oldest = format!("SELECT min({number}) FROM {table} WHERE session = ?");
    let oldest: Option<i64> = db.prepare_cached(&oldest)?.query_row([session], |row| row.get(0))?;
    let oldest = oldest.and_then(|oldest| u64::try_from(oldest).ok());
    let Some(oldest) = oldest.filter(|oldest| *oldest < needed) else { return Ok((0, false)) };
    let until = oldest.saturating_add(*left as u64).min(needed);
    let remove = format!("DELETE FROM {table} WHERE session = ?1 AND {number} < ?2");
    let removed = db.prepare_cached(&remove)?.execute(params![session, limit(until)])?;
    *left = left.saturating_sub(removed);
    Ok((until, until < needed))
}

/// A number to compare a column with, at most the largest that SQLite has.
fn limit(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
