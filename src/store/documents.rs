//! The rows of whole documents.

use rusqlite::{Connection, Row, params};

use super::checksum::Sum;
use super::error::StoreError;
use super::rows::{Text, check, column, damaged, millis, number, text, text_or_none, time};
use crate::kept::Why;
use crate::protocol::{Timestamp, UserId};

/// A whole document that is stored. Every state from the oldest of them on can be brought back, not
/// only these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The change as of which it is.
    pub seq: u64,
    pub at: Timestamp,
    /// Whose change it was, where it was one.
    pub user: Option<UserId>,
    pub why: Why,
    /// How large it is, in bytes.
    pub bytes: u64,
}

/// A whole document as of a change.
pub struct Document {
    pub seq: u64,
    pub document: Vec<u8>,
}

/// A whole document that is to be written.
pub struct NewDocument<'a> {
    pub seq: u64,
    pub at: Timestamp,
    pub user: Option<&'a str>,
    pub why: Why,
    pub document: &'a [u8],
}

/// What stands beside a document.
struct About<'a> {
    seq: u64,
    at: Timestamp,
    user: Option<&'a str>,
    why: Why,
    bytes: u64,
    content: i64,
}

impl<'a> About<'a> {
    /// The columns that are read for it, in this order; the document itself may follow.
    const COLUMNS: &'static str = "seq, at, user, why, bytes, content, sum";

    fn sum(&self, session: i64) -> Result<i64, StoreError> {
        Ok(Sum::of("documents")
            .number(session)
            .number(column(self.seq)?)
            .number(millis(self.at))
            .maybe(self.user.map(str::as_bytes))
            .text(self.why.name().as_bytes())
            .number(column(self.bytes)?)
            .number(self.content)
            .finish())
    }

    fn read(session: i64, row: &'a Row<'_>) -> Result<Self, StoreError> {
        let seq = number(row, 0)?;
        let what = format!("what stands about the document as of change {seq}");
        let why = Why::named(text(row, 3)?).ok_or_else(|| damaged(&what))?;
        let (at, user) = (time(row, 1)?, text_or_none(row, 2)?);
        let about = About { seq, at, user, why, bytes: number(row, 4)?, content: row.get(5)? };
        check(about.sum(session)?, row, 6, &what)?;
        Ok(about)
    }
}

fn content_sum(document: &[u8]) -> i64 {
    Sum::of("document").text(document).finish()
}

/// Writes a whole document, over one of the same change that may be there.
///
/// # Errors
/// [`StoreError`], when it can't be written.
pub fn put(db: &Connection, session: i64, new: &NewDocument<'_>) -> Result<(), StoreError> {
    let NewDocument { seq, at, user, why, document } = *new;
    let (bytes, content) = (document.len() as u64, content_sum(document));
    let about = About { seq, at, user, why, bytes, content };
    let sql = "INSERT OR REPLACE INTO documents
        (session, seq, at, user, why, bytes, content, sum, document)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    db.prepare_cached(sql)?.execute(params![
        session,
        column(seq)?,
        millis(at),
        user,
        why.name(),
        column(bytes)?,
        content,
        about.sum(session)?,
        Text(document)
    ])?;
    Ok(())
}

/// The newest whole document that is stored as of change `seq` or one before it.
///
/// # Errors
/// [`StoreError`], when it can't be read or is not as it was written.
pub fn before(db: &Connection, session: i64, seq: u64) -> Result<Option<Document>, StoreError> {
    let sql = format!(
        "SELECT {}, document FROM documents WHERE session = ?1 AND seq <= ?2
            ORDER BY seq DESC LIMIT 1",
        About::COLUMNS
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![session, column(seq)?])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let About { seq, content, .. } = About::read(session, row)?;
    let document = text(row, 7)?.as_bytes();
    if content_sum(document) != content {
        return Err(damaged(&format!("the document as of change {seq}")));
    }
    Ok(Some(Document { seq, document: document.to_vec() }))
}

/// What is to be known about the whole documents of a session, the oldest first.
///
/// # Errors
/// [`StoreError`], when it can't be read or is not as it was written.
pub fn versions(db: &Connection, session: i64) -> Result<Vec<Version>, StoreError> {
    let sql = format!("SELECT {} FROM documents WHERE session = ?1 ORDER BY seq", About::COLUMNS);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([session])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        let About { seq, at, user, why, bytes, .. } = About::read(session, row)?;
        versions.push(Version { seq, at, user: user.map(Into::into), why, bytes });
    }
    Ok(versions)
}

/// When, by whom and why the whole document as of change `seq` was stored, if there is one.
///
/// # Errors
/// [`StoreError`], when it can't be read.
pub fn reason(
    db: &Connection,
    session: i64,
    seq: u64,
) -> Result<Option<(Timestamp, Option<UserId>, Why)>, StoreError> {
    let sql = "SELECT at, user, why FROM documents WHERE session = ?1 AND seq = ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![session, column(seq)?])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let why = Why::named(text(row, 2)?).ok_or_else(|| damaged("a reason"))?;
    Ok(Some((time(row, 0)?, text_or_none(row, 1)?.map(Into::into), why)))
}
