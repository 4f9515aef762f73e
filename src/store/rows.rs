//! The rows of each table: written with their check sums, and believed only when the sum is right.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::sum::Sum;
use super::trouble::Trouble;
use super::versions::Version;
use crate::kept::{StoredChange, StoredId, Why};
use crate::protocol::{Timestamp, UserId};

/// A session's own row.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: i64,
    pub name: Arc<str>,
    pub epoch: Arc<str>,
    /// The last change.
    pub seq: u64,
    pub created: Timestamp,
    pub changed: Timestamp,
    /// From here to `seq` every change is stored.
    pub changes_from: u64,
    /// The change as of which the newest whole document is.
    pub document: Option<u64>,
    /// How many ids were taken without a change.
    pub taken: u64,
    /// From here to `taken` every one of them is stored.
    pub taken_from: u64,
}

/// A whole document as of a change.
pub struct Document {
    pub seq: u64,
    pub document: Vec<u8>,
}

/// A change that is to be written; its message is JSON.
pub struct NewChange<'a> {
    pub seq: u64,
    pub at: Timestamp,
    pub user: &'a str,
    pub id: Option<&'a str>,
    pub message: &'a [u8],
}

/// A whole document that is to be written.
pub struct NewDocument<'a> {
    pub seq: u64,
    pub at: Timestamp,
    pub user: Option<&'a str>,
    pub why: Why,
    pub document: &'a [u8],
}

/// Text as it stands in a row, whatever type Rust has it in.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// A number as a column takes it.
///
/// # Errors
/// [`Trouble::Bug`] for one that no session will ever reach.
fn column(number: u64) -> Result<i64, Trouble> {
    i64::try_from(number).map_err(|_| Trouble::Bug(format!("{number} is no number of a change")))
}

fn millis(at: Timestamp) -> i64 {
    // At most the end of the year 9999.
    at.millis() as i64
}

fn damaged(what: &str) -> Trouble {
    Trouble::Damaged(format!("{what} is not as it was written"))
}

fn number(row: &Row<'_>, place: usize) -> Result<u64, Trouble> {
    let number: i64 = row.get(place)?;
    u64::try_from(number).map_err(|_| damaged("a number"))
}

fn time(row: &Row<'_>, place: usize) -> Result<Timestamp, Trouble> {
    Ok(Timestamp::from_millis(number(row, place)?))
}

fn text<'a>(row: &'a Row<'_>, place: usize) -> Result<&'a str, Trouble> {
    row.get_ref(place)?.as_str().map_err(|_| damaged("a text"))
}

fn text_or_none<'a>(row: &'a Row<'_>, place: usize) -> Result<Option<&'a str>, Trouble> {
    row.get_ref(place)?.as_str_or_null().map_err(|_| damaged("a text"))
}

fn check(is: i64, row: &Row<'_>, place: usize, what: &str) -> Result<(), Trouble> {
    let should_be: i64 = row.get(place)?;
    if is == should_be { Ok(()) } else { Err(damaged(what)) }
}

impl Session {
    /// Notes its last change.
    pub fn advance(&mut self, seq: u64, at: Timestamp) {
        // One that began with an id that was taken learns only now when it began.
        if self.created.millis() == 0 {
            self.created = at;
        }
        self.seq = seq;
        self.changed = at;
    }

    fn sum(&self) -> Result<i64, Trouble> {
        Ok(Sum::of("sessions")
            .number(self.id)
            .text(self.name.as_bytes())
            .text(self.epoch.as_bytes())
            .number(column(self.seq)?)
            .number(millis(self.created))
            .number(millis(self.changed))
            .number(column(self.changes_from)?)
            .number(self.document.map_or(Ok(-1), column)?)
            .number(column(self.taken)?)
            .number(column(self.taken_from)?)
            .finish())
    }

    fn read(row: &Row<'_>) -> Result<Self, Trouble> {
        let session = Session {
            id: row.get(0)?,
            name: text(row, 1)?.into(),
            epoch: text(row, 2)?.into(),
            seq: number(row, 3)?,
            created: time(row, 4)?,
            changed: time(row, 5)?,
            changes_from: number(row, 6)?,
            document: match row.get_ref(7)? {
                ValueRef::Null => None,
                _ => Some(number(row, 7)?),
            },
            taken: number(row, 8)?,
            taken_from: number(row, 9)?,
        };
        check(session.sum()?, row, 10, "what stands about a session")?;
        Ok(session)
    }

    /// Writes the row anew, or for the first time.
    ///
    /// # Errors
    /// [`Trouble`], when it can't be written.
    pub fn write(&self, db: &Connection) -> Result<(), Trouble> {
        let sql = "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
            ON CONFLICT (id) DO UPDATE SET name = ?2, epoch = ?3, seq = ?4, created = ?5,
            changed = ?6, changes_from = ?7, document = ?8, taken = ?9, taken_from = ?10, sum = ?11";
        db.prepare_cached(sql)?.execute(params![
            self.id,
            self.name,
            self.epoch,
            column(self.seq)?,
            millis(self.created),
            millis(self.changed),
            column(self.changes_from)?,
            self.document.map(column).transpose()?,
            column(self.taken)?,
            column(self.taken_from)?,
            self.sum()?
        ])?;
        Ok(())
    }
}

const SESSION: &str = "SELECT * FROM sessions NOT INDEXED";

/// All sessions by name, and how many transactions there have been.
///
/// # Errors
/// [`Trouble::Damaged`] when one of them is not as it was written, or missing.
pub fn sessions(db: &Connection) -> Result<(HashMap<Arc<str>, Session>, u64), Trouble> {
    let mut statement = db.prepare_cached(SESSION)?;
    let mut rows = statement.query([])?;
    let mut sessions = HashMap::new();
    while let Some(row) = rows.next()? {
        let session = Session::read(row)?;
        sessions.insert(session.name.clone(), session);
    }
    let mut statement = db.prepare_cached("SELECT commits, sessions, sum FROM store")?;
    let (commits, count) = statement.query_row([], |row| {
        Ok(number(row, 0).and_then(|commits| {
            let count = number(row, 1)?;
            check(totals_sum(commits, count)?, row, 2, "the table of totals")?;
            Ok((commits, count))
        }))
    })??;
    if count != sessions.len() as u64 {
        let why = format!("there are {} sessions where {count} were written", sessions.len());
        return Err(Trouble::Damaged(why));
    }
    Ok((sessions, commits))
}

/// One session by its name. Doesn't rely on the index of names.
///
/// # Errors
/// [`Trouble`], when it can't be read.
pub fn session(db: &Connection, name: &str) -> Result<Option<Session>, Trouble> {
    let mut statement = db.prepare_cached(&format!("{SESSION} WHERE name = ?1"))?;
    let found = statement.query_row([name], |row| Ok(Session::read(row))).optional()?;
    found.transpose()
}

fn totals_sum(commits: u64, sessions: u64) -> Result<i64, Trouble> {
    Ok(Sum::of("store").number(column(commits)?).number(column(sessions)?).finish())
}

/// Writes how many transactions and sessions there are.
///
/// # Errors
/// [`Trouble`], when it can't be written.
pub fn write_totals(db: &Connection, commits: u64, sessions: u64) -> Result<(), Trouble> {
    let values = params![column(commits)?, column(sessions)?, totals_sum(commits, sessions)?];
    let update = "UPDATE store SET commits = ?1, sessions = ?2, sum = ?3";
    if db.prepare_cached(update)?.execute(values)? == 0 {
        db.execute("INSERT INTO store (commits, sessions, sum) VALUES (?1, ?2, ?3)", values)?;
    }
    Ok(())
}

fn change_sum(
    session: i64,
    seq: u64,
    at: Timestamp,
    user: &str,
    id: Option<&str>,
    message: &[u8],
) -> Result<i64, Trouble> {
    Ok(Sum::of("changes")
        .number(session)
        .number(column(seq)?)
        .number(millis(at))
        .text(user.as_bytes())
        .maybe(id.map(str::as_bytes))
        .text(message)
        .finish())
}

/// Adds a change. One of the same number that is there already stays.
///
/// # Errors
/// [`Trouble`], when it can't be written.
pub fn add_change(db: &Connection, session: i64, change: &NewChange<'_>) -> Result<(), Trouble> {
    let NewChange { seq, at, user, id, message } = *change;
    let sum = change_sum(session, seq, at, user, id, message)?;
    let sql = "INSERT OR IGNORE INTO changes (session, seq, at, user, id, sum, message)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![session, column(seq)?, millis(at), user, id, sum, Text(message)];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Which way changes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Reads the changes from `first` to `last`, both included, until `take` has had enough.
///
/// # Errors
/// [`Trouble`], when one can't be read or is not as it was written; or what `take` says.
pub fn changes(
    db: &Connection,
    session: i64,
    (first, last): (u64, u64),
    order: Order,
    mut take: impl FnMut(StoredChange) -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    if first > last {
        return Ok(());
    }
    let mut statement = db.prepare_cached(match order {
        Order::OldestFirst => {
            "SELECT seq, at, user, id, sum, message FROM changes
                WHERE session = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq"
        }
        Order::NewestFirst => {
            "SELECT seq, at, user, id, sum, message FROM changes
                WHERE session = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC"
        }
    })?;
    let mut rows = statement.query(params![session, column(first)?, column(last)?])?;
    // The same few people over and over.
    let mut users: HashMap<Box<str>, UserId> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (seq, at, user) = (number(row, 0)?, time(row, 1)?, text(row, 2)?);
        let (id, message) = (text_or_none(row, 3)?, text(row, 5)?.as_bytes());
        let sum = change_sum(session, seq, at, user, id, message)?;
        check(sum, row, 4, &format!("change {seq}"))?;
        let shared = match users.get(user) {
            Some(shared) => shared.clone(),
            None => users.entry(user.into()).or_insert(user.into()).clone(),
        };
        let change =
            StoredChange { seq, at, user: shared, frame: message.to_vec(), id: id.map(Into::into) };
        if !take(change)? {
            break;
        }
    }
    Ok(())
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

    fn sum(&self, session: i64) -> Result<i64, Trouble> {
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

    fn read(session: i64, row: &'a Row<'_>) -> Result<Self, Trouble> {
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
/// [`Trouble`], when it can't be written.
pub fn put_document(db: &Connection, session: i64, new: &NewDocument<'_>) -> Result<(), Trouble> {
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
/// [`Trouble`], when it can't be read or is not as it was written.
pub fn document_before(
    db: &Connection,
    session: i64,
    seq: u64,
) -> Result<Option<Document>, Trouble> {
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
/// [`Trouble`], when it can't be read or is not as it was written.
pub fn versions(db: &Connection, session: i64) -> Result<Vec<Version>, Trouble> {
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
/// [`Trouble`], when it can't be read.
pub fn reason(
    db: &Connection,
    session: i64,
    seq: u64,
) -> Result<Option<(Timestamp, Option<UserId>, Why)>, Trouble> {
    let sql = "SELECT at, user, why FROM documents WHERE session = ?1 AND seq = ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![session, column(seq)?])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let why = Why::named(text(row, 2)?).ok_or_else(|| damaged("a reason"))?;
    Ok(Some((time(row, 0)?, text_or_none(row, 1)?.map(Into::into), why)))
}

fn taken_sum(session: i64, n: u64, seq: u64, user: &str, id: &str) -> Result<i64, Trouble> {
    Ok(Sum::of("taken")
        .number(session)
        .number(column(n)?)
        .number(column(seq)?)
        .text(user.as_bytes())
        .text(id.as_bytes())
        .finish())
}

/// Adds the session's next id that was taken without a change; the session's own row is still to be
/// written.
///
/// # Errors
/// [`Trouble`], when it can't be written.
pub fn add_taken(
    db: &Connection,
    session: &mut Session,
    seq: u64,
    user: &str,
    id: &str,
) -> Result<(), Trouble> {
    let n = session.taken + 1;
    let sum = taken_sum(session.id, n, seq, user, id)?;
    let sql = "INSERT INTO taken (session, n, seq, user, id, sum) VALUES (?, ?, ?, ?, ?, ?)";
    let values = params![session.id, column(n)?, column(seq)?, user, id, sum];
    db.prepare_cached(sql)?.execute(values)?;
    session.taken = n;
    Ok(())
}

/// The newest ids that were taken without a change, in order: at most so many, and as of change
/// `first` or later.
///
/// # Errors
/// [`Trouble`], when one can't be read or is not as it was written.
pub fn taken(
    db: &Connection,
    session: &Session,
    first: u64,
    most: usize,
) -> Result<Vec<StoredId>, Trouble> {
    let sql = "SELECT n, seq, user, id, sum FROM taken WHERE session = ?1 ORDER BY n DESC LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX) as u64;
    let mut rows = statement.query(params![session.id, column(most)?])?;
    let mut taken = Vec::new();
    let mut next = session.taken;
    while let Some(row) = rows.next()? {
        let (n, seq, user, id) = (number(row, 0)?, number(row, 1)?, text(row, 2)?, text(row, 3)?);
        check(taken_sum(session.id, n, seq, user, id)?, row, 4, "an id that was taken")?;
        if n != next {
            return Err(damaged("what stands about ids that were taken"));
        }
        next -= 1;
        if seq < first {
            taken.reverse();
            return Ok(taken);
        }
        taken.push(StoredId { seq, user: user.into(), id: id.into() });
    }
    if next >= session.taken_from && (taken.len() as u64) < most {
        return Err(damaged("what stands about ids that were taken"));
    }
    taken.reverse();
    Ok(taken)
}
