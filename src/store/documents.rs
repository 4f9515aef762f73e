//! The rows of documents (table `documents`): snapshots of a session, each as of a change.

use rusqlite::{Connection, Row, params};

use super::checksum::Checksum;
use super::error::StoreError;
use super::rows::{Text, check, column, damaged, millis, number, text, text_or_none, time};
use crate::journal::SnapshotReason;
use crate::protocol::{Timestamp, UserId};

/// A stored document, without its content. Every state from the oldest version on can be restored,
/// not only the versions themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The last change in it.
    pub seq: u64,
    /// When it was journaled.
    pub at: Timestamp,
    /// The user whose change it is; `None` where it is no change.
    pub user: Option<UserId>,
    pub why: SnapshotReason,
    /// The size of the document in bytes.
    pub bytes: u64,
}

/// A stored document and its last change.
pub struct StoredDocument {
    pub seq: u64,
    pub document: Vec<u8>,
}

/// A document to write.
pub struct NewDocument<'a> {
    pub seq: u64,
    pub at: Timestamp,
    pub user: Option<&'a str>,
    pub why: SnapshotReason,
    pub document: &'a [u8],
}

/// The columns of a row, without the document itself.
struct DocumentRow<'a> {
    seq: u64,
    at: Timestamp,
    user: Option<&'a str>,
    why: SnapshotReason,
    bytes: u64,
    content: i64,
}

impl<'a> DocumentRow<'a> {
    /// The columns that [`read`](Self::read) expects, in this order.
    const COLUMNS: &'static str = "seq, at, user, why, bytes, content, sum";

    fn sum(&self, session: i64) -> Result<i64, StoreError> {
        Ok(Checksum::new("documents")
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
        let why = SnapshotReason::named(text(row, 3)?).ok_or_else(|| damaged(&what))?;
        let (at, user) = (time(row, 1)?, text_or_none(row, 2)?);
        let bytes = number(row, 4)?;
        let document_row = DocumentRow { seq, at, user, why, bytes, content: row.get(5)? };
        check(document_row.sum(session)?, row, 6, &what)?;
        Ok(document_row)
    }
}

fn content_sum(document: &[u8]) -> i64 {
    Checksum::new("document").text(document).finish()
}

/// Writes a document. Replaces one as of the same change.
pub fn put(db: &Connection, session: i64, new: &NewDocument<'_>) -> Result<(), StoreError> {
    let NewDocument { seq, at, user, why, document } = *new;
    let (bytes, content) = (document.len() as u64, content_sum(document));
    let document_row = DocumentRow { seq, at, user, why, bytes, content };
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
        document_row.sum(session)?,
        Text(document)
    ])?;
    Ok(())
}

/// The newest document as of change `seq` or an earlier one.
pub fn newest_up_to(
    db: &Connection,
    session: i64,
    seq: u64,
) -> Result<Option<StoredDocument>, StoreError> {
    let sql = format!(
        "SELECT {}, document FROM documents WHERE session = ?1 AND seq <= ?2
            ORDER BY seq DESC LIMIT 1",
        DocumentRow::COLUMNS
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![session, column(seq)?])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let DocumentRow { seq, content, .. } = DocumentRow::read(session, row)?;
    let document = text(row, 7)?.as_bytes();
    if content_sum(document) != content {
        return Err(damaged(&format!("the document as of change {seq}")));
    }
    Ok(Some(StoredDocument { seq, document: document.to_vec() }))
}

/// The versions of a session, the oldest first.
pub fn versions(db: &Connection, session: i64) -> Result<Vec<Version>, StoreError> {
    let sql =
        format!("SELECT {} FROM documents WHERE session = ?1 ORDER BY seq", DocumentRow::COLUMNS);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([session])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        let DocumentRow { seq, at, user, why, bytes, .. } = DocumentRow::read(session, row)?;
        versions.push(Version { seq, at, user: user.map(Into::into), why, bytes });
    }
    Ok(versions)
}

/// The time, user and reason of the document as of change `seq`; `None` where there is none.
/// Doesn't check the row's checksum.
pub fn reason(
    db: &Connection,
    session: i64,
    seq: u64,
) -> Result<Option<(Timestamp, Option<UserId>, SnapshotReason)>, StoreError> {
    let sql = "SELECT at, user, why FROM documents WHERE session = ?1 AND seq = ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![session, column(seq)?])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let why = SnapshotReason::named(text(row, 2)?).ok_or_else(|| damaged("a reason"))?;
    Ok(Some((time(row, 0)?, text_or_none(row, 1)?.map(Into::into), why)))
}
