//! What is stored, as it is shown: by the API of a running server, and by `collabd sessions` and
//! `collabd record`, which read a directory or that API.

pub mod compact;
mod service;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::hub::{Damaged, Document, replay};
use crate::journal::{JournalEntry, SnapshotReason, StoredChange, StoredSession};
use crate::protocol::json::write_key;
use crate::protocol::{Timestamp, json};
use crate::store::{PointInTime, Reader, StoreError, Summary, Version};
pub use service::{ArchiveError, ArchiveService};

/// The user of a change that was made from outside a session.
pub const BY: &str = "collabd";
/// How many sessions, or changes, are on a page of the API.
pub const MAX_ON_A_PAGE: usize = 1000;
/// After how many bytes no change is added to a page.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

/// A stored session as far as it is known without opening it, or one in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    pub session_id: String,
    pub epoch: String,
    /// The last change.
    pub seq: u64,
    /// RFC 3339; `None` where nothing was ever changed. Not known of a session in memory alone.
    pub created_at: Option<String>,
    pub changed_at: Option<String>,
    /// Who made the last change, where that is known.
    pub changed_by: Option<String>,
    /// How many changes are stored.
    pub changes: u64,
    /// How many whole documents are stored.
    pub versions: u64,
    /// How much all of it takes.
    pub bytes: u64,
    /// How many items are on its canvas, where that was asked for; `Some(None)` where it can't be
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Option<usize>>,
    /// How many members are in it, where a running server was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<usize>,
}

/// Several sessions, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub sessions: Vec<SessionInfo>,
    /// How many there are in all.
    pub total: usize,
    pub timestamp: String,
}

/// A version: a whole document that is stored, and who made it what it is, and how; or, of a session
/// in memory alone, one that was replaced, and by whom and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    pub seq: u64,
    pub at: String,
    pub user_id: Option<String>,
    pub why: String,
    pub bytes: u64,
    /// How many items it has, of a session in memory alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<usize>,
}

/// What a session can be brought back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest first.
    pub versions: Vec<VersionInfo>,
    /// The session can be brought back to each change from this one up to `seq`, and to each version.
    pub first_seq: u64,
    pub seq: u64,
    pub session: SessionInfo,
    pub timestamp: String,
}

/// Changes of a session as they were relayed, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChangesPage {
    pub changes: Vec<ChangeInfo>,
    /// The change from which on all are stored: numbers that none has were skipped after a crash. Versions
    /// before 0.2 don't say it.
    #[serde(default)]
    pub first_seq: Option<u64>,
    /// The session's last change.
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    pub timestamp: String,
}

/// A change as it was relayed.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChangeInfo {
    pub seq: u64,
    pub at: String,
    pub user_id: Option<String>,
    pub message: Box<RawValue>,
}

impl SessionInfo {
    /// Describes a session. How many items it has takes opening it.
    pub fn new(reader: &Reader, summary: Summary, with_items: bool) -> Self {
        let items = with_items.then(|| {
            let stored =
                reader.document_at(&summary.name, PointInTime::Seq(summary.seq)).ok()??;
            Some(document(&stored).ok()?.items().count())
        });
        let moment = |at: Timestamp| (at.millis() > 0).then(|| at.to_string());
        SessionInfo {
            changed_by: last_user(reader, &summary),
            session_id: summary.name.as_ref().into(),
            epoch: summary.epoch.as_ref().into(),
            seq: summary.seq,
            created_at: moment(summary.created),
            changed_at: moment(summary.changed),
            changes: summary.changes,
            versions: summary.versions,
            bytes: summary.bytes,
            items,
            members: None,
        }
    }
}

/// Who made its last change.
fn last_user(reader: &Reader, session: &Summary) -> Option<String> {
    let last = reader.changes_after(&session.name, session.seq.saturating_sub(1), 1).ok()?;
    let user = last.into_iter().find(|change| change.seq == session.seq)?.user;
    Some(user.to_string()).filter(|user| !user.is_empty())
}

impl Listing {
    /// Up to `most` of the sessions that are `wanted`, by name, after `after`.
    ///
    /// # Errors
    /// [`StoreError`], when they can't be read.
    pub fn read(
        reader: &Reader,
        wanted: impl Fn(&str) -> bool,
        after: Option<&str>,
        most: usize,
        with_items: bool,
    ) -> Result<Self, StoreError> {
        let (sessions, total) = reader.some_sessions(wanted, after, most)?;
        let sessions =
            sessions.into_iter().map(|session| SessionInfo::new(reader, session, with_items));
        let timestamp = Timestamp::now().to_string();
        Ok(Listing { sessions: sessions.collect(), total, timestamp })
    }
}

impl Versions {
    /// What a session can be brought back to; `None` where there is no such session.
    ///
    /// # Errors
    /// [`StoreError`], when it can't be read.
    pub fn read(reader: &Reader, session: &str) -> Result<Option<Self>, StoreError> {
        let Some(summary) = reader.session(session)? else { return Ok(None) };
        let versions = reader.versions(session)?.unwrap_or_default();
        let first_seq = first_seq(reader, session)?;
        let session = SessionInfo::new(reader, summary, true);
        let versions = versions.into_iter().map(VersionInfo::new).collect();
        let timestamp = Timestamp::now().to_string();
        Ok(Some(Versions { versions, first_seq, seq: session.seq, session, timestamp }))
    }
}

impl ChangesPage {
    /// A page of a session's changes.
    ///
    /// # Errors
    /// [`StoreError::SessionCorrupt`], where a change is no JSON.
    pub fn new(changes: Vec<StoredChange>, first_seq: u64, seq: u64) -> Result<Self, StoreError> {
        let changes = changes.into_iter().map(|change| {
            let message = String::from_utf8(change.frame).ok();
            let message = message.and_then(|message| RawValue::from_string(message).ok());
            Ok(ChangeInfo {
                seq: change.seq,
                at: change.at.to_string(),
                user_id: Some(change.user.to_string()).filter(|user| !user.is_empty()),
                message: message.ok_or_else(|| {
                    StoreError::SessionCorrupt(format!("change {} is not JSON", change.seq))
                })?,
            })
        });
        let changes = changes.collect::<Result<_, StoreError>>()?;
        let timestamp = Timestamp::now().to_string();
        Ok(ChangesPage { changes, first_seq: Some(first_seq), seq, timestamp })
    }
}

impl VersionInfo {
    fn new(version: Version) -> Self {
        VersionInfo {
            seq: version.seq,
            at: version.at.to_string(),
            user_id: version.user.map(|user| user.to_string()),
            why: version.why.name().into(),
            bytes: version.bytes,
            items: None,
        }
    }
}

/// The change from which on a session can be brought back: 0 is the empty canvas it began with.
///
/// # Errors
/// [`StoreError`], when it can't be read.
pub fn first_seq(reader: &Reader, session: &str) -> Result<u64, StoreError> {
    Ok(reader.begins(session)?.map_or(0, |begins| begins.states))
}

/// The document that was stored.
///
/// # Errors
/// [`Damaged`], where it isn't what a hub wanted kept.
pub fn document(stored: &StoredSession) -> Result<Document, Damaged> {
    replay(&stored.document, &stored.changes)
}

/// A canvas as an editor saves it, which says of which session it is and as of which change.
pub fn state(session: &str, stored: &StoredSession, document: &Document) -> Vec<u8> {
    let mut state = Vec::new();
    document.write_file(&mut state, Timestamp::now());
    state.pop();
    write_key(&mut state, "session_id");
    json::write_string(&mut state, session);
    write_key(&mut state, "epoch");
    json::write_string(&mut state, &stored.epoch);
    state.extend_from_slice(format!(",\"seq\":{}}}", stored.seq).as_bytes());
    state
}

/// An earlier document to be stored over what can't be read, as one more change.
pub fn over_damaged(now: Summary, mut document: Document) -> JournalEntry {
    document.advance(document.version() + 1);
    JournalEntry::Snapshot {
        session: now.name,
        epoch: now.epoch,
        seq: now.next,
        at: Timestamp::now(),
        user: Some(BY.into()),
        document: document.to_stored(),
        frames: Vec::new(),
        id: None,
        why: SnapshotReason::Restored,
    }
}
