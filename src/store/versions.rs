//! Earlier states of a session: which there are, how long they are kept, and what goes with them.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::changes::{self, Order};
use super::documents::{self, Version};
use super::rows::{self, Session};
use super::{Store, StoreError};
pub use crate::kept::PointInTime;
use crate::protocol::Timestamp;

/// How long versions are kept. A version goes when it is over the number or over the age; what a
/// session goes on from never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many versions a session has at most, the newest included; 0 for any number.
    pub versions: usize,
    /// How long after it was replaced by the next one a version is kept; zero for ever.
    pub age: Duration,
    /// How many of its newest changes a session keeps in any case, for catching up.
    pub history: usize,
}

/// The newest change of a session that was made at `time` or before.
///
/// # Errors
/// [`StoreError`], when what stands after it can't be read or is not as it was written.
pub fn seq_at(
    db: &Connection,
    session: &Session,
    time: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let versions = documents::versions(db, session.id)?;
    let version = versions.iter().rfind(|version| version.at <= time).map(|version| version.seq);
    let mut change = None;
    let range = (version.unwrap_or(0) + 1, session.seq);
    // One by one, so that each is known to be as it was written.
    changes::read(db, session.id, range, Order::NewestFirst, |found| {
        let is_one = found.skipped_after().is_none() && found.at <= time;
        change = Some(found.seq).filter(|_| is_one);
        Ok(change.is_none())
    })?;
    Ok(change.or(version))
}

impl Store {
    /// Removes versions of a session that are not to be kept, and changes that nothing needs any
    /// more: at most about `most` rows. Whether there is more to remove. `now` is what ages are
    /// reckoned from.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing has been removed.
    pub fn prune(
        &mut self,
        session: &str,
        retention: &Retention,
        now: Timestamp,
        most: usize,
    ) -> Result<bool, StoreError> {
        self.sound()?;
        let pruned = self.remove(session, retention, now, most);
        self.noting(pruned)
    }

    fn remove(
        &mut self,
        session: &str,
        retention: &Retention,
        now: Timestamp,
        most: usize,
    ) -> Result<bool, StoreError> {
        let Some(known) = self.sessions.get(session) else { return Ok(false) };
        let mut session = known.clone();
        let pruned = self.begin_writing()?;
        let versions = documents::versions(&pruned, session.id)?;
        let mut left = most;
        let history = retention.history as u64;
        let needed = session.taken.saturating_sub(history) + 1;
        let (from, mut more) =
            remove_up_to(&pruned, ("taken", "n"), session.id, needed, &mut left)?;
        session.taken_from = session.taken_from.max(from);
        if let Some(oldest) = oldest_to_keep(&versions, retention, now) {
            // Those after the oldest version make the states that follow it. Where a version goes, so
            // does the first change, even if it would be of use for catching up: without what the version
            // said, the changes before it don't make a state, and this tells that they needn't.
            let loses_a_version = versions.first().is_some_and(|first| first.seq < oldest);
            let least = if loses_a_version { 2 } else { 1 };
            let history = before_newest(&pruned, &session, history)?;
            let needed = (history.min(oldest) + 1).max(least);
            let (from, most_left) =
                remove_up_to(&pruned, ("changes", "seq"), session.id, needed, &mut left)?;
            session.changes_from = session.changes_from.max(from).max(least);
            // A version goes after the changes that follow it, so that none is ever missing.
            more |= most_left || remove_documents(&pruned, session.id, oldest, &mut left)?;
        }
        if left == most {
            // Nothing was removed, and nothing has to be written.
            return Ok(more);
        }
        session.write(&pruned)?;
        pruned.commit()?;
        self.sessions.insert(session.name.clone(), session);
        Ok(more)
    }

    /// How many whole documents are stored of a session.
    ///
    /// # Errors
    /// [`StoreError`], when they can't be counted.
    pub fn versions(&self, session: &str) -> Result<usize, StoreError> {
        let Some(row) = self.sessions.get(session) else { return Ok(0) };
        Ok(documents::versions(&self.db, row.id)?.len())
    }

    /// Gives up to so many free pages of 4 KiB at the file's end back to the file system. Whether
    /// there are more.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing has changed.
    pub fn shrink(&mut self, pages: u32) -> Result<bool, StoreError> {
        self.sound()?;
        let freed = self.free(pages);
        self.noting(freed)
    }

    fn free(&self, pages: u32) -> Result<bool, StoreError> {
        self.look_for_writers()?;
        // Each row it returns is a page that was freed.
        let mut statement = self.db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut freed = statement.query([])?;
        while freed.next()?.is_some() {}
        drop(freed);
        drop(statement);
        Ok(super::schema::pragma::<i64>(&self.db, "freelist_count")? > 0)
    }

    /// Removes a session and all its versions. Whether there was one.
    ///
    /// # Errors
    /// [`StoreError`], and then it is as it was.
    pub fn delete(&mut self, session: &str) -> Result<bool, StoreError> {
        self.sound()?;
        let deleted = self.delete_rows(session);
        self.noting(deleted)
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
        self.committed()?;
        Ok(true)
    }
}

/// The number before those of a session's newest changes, of which there are so many.
fn before_newest(db: &Connection, session: &Session, changes: u64) -> Result<u64, StoreError> {
    let before = session.seq.saturating_sub(changes);
    if changes == 0 || before < session.changes_from {
        // There are no more than that.
        return Ok(before);
    }
    // Numbers that were skipped after a crash are no changes; what says so is nobody's.
    let sql = "SELECT seq FROM changes WHERE session = ?1 AND seq <= ?2 AND user <> ''
        ORDER BY seq DESC LIMIT 1 OFFSET ?3";
    let oldest = db
        .prepare_cached(sql)?
        .query_row(params![session.id, limit(session.seq), limit(changes - 1)], |row| row.get(0))
        .optional()?;
    Ok(oldest.map_or(0, |oldest: i64| u64::try_from(oldest).unwrap_or_default().saturating_sub(1)))
}

/// The change of the oldest version to keep; `None` where there is no version.
fn oldest_to_keep(versions: &[Version], retention: &Retention, now: Timestamp) -> Option<u64> {
    let newest = versions.len().checked_sub(1)?;
    let by_number = match retention.versions {
        0 => 0,
        most => versions.len().saturating_sub(most),
    };
    let oldest_age = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
    let mut by_age = 0;
    if oldest_age > 0 {
        // A version was replaced when its successor was made. Where a clock has jumped, none is
        // taken to be older than one before it, and a time that is yet to come says nothing.
        let mut latest = None;
        for (place, version) in versions.iter().enumerate() {
            if version.at <= now {
                latest = latest.max(Some(version.at.millis()));
            }
            let is_old = latest.is_some_and(|latest| now.millis() - latest > oldest_age);
            if is_old {
                by_age = place;
            }
        }
    }
    Some(versions[by_number.max(by_age).min(newest)].seq)
}

/// Removes versions older than `oldest`, as many as there is time left for. Whether there are more.
fn remove_documents(
    db: &Connection,
    session: i64,
    oldest: u64,
    left: &mut usize,
) -> Result<bool, StoreError> {
    // A large one is as much work as many changes.
    const ROWS: usize = 100;
    let sql = "DELETE FROM documents WHERE session = ?1 AND seq IN (SELECT seq FROM documents
        WHERE session = ?1 AND seq < ?2 ORDER BY seq LIMIT ?3)";
    let [oldest, most] = [oldest, (*left / ROWS) as u64 + 1].map(limit);
    let removed = db.prepare_cached(sql)?.execute(params![session, oldest, most])?;
    *left = left.saturating_sub(removed * ROWS);
    Ok(*left == 0)
}

/// Removes the oldest rows of a session up to and without number `needed`, as many as there is time
/// left for. From which number on they are there now, and whether there are more to remove.
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

/// A number to compare a column with.
fn limit(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
