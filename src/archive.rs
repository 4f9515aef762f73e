//! What is stored, as it is shown: by the API of a running server, and by `collabd sessions` and
//! `collabd record`, which read a directory or that API.

pub mod compact;
mod service;

use serde::{Deserialize, Serialize};

use crate::hub::{Damaged, Document, replay};
use crate::kept::{Keep, Stored, StoredChange, Why};
use crate::protocol::json::write_key;
use crate::protocol::{Timestamp, json};
use crate::store::{PointInTime, Reader, StoreError, Summary, Version};
pub use service::{ArchiveError, ArchiveService};

/// Who is said to have made a change that was made from outside a session.
pub const BY: &str = "collabd";
/// How many sessions, or changes, are told of at once, at most.
pub const MOST: usize = 1000;
/// How large changes are that are told of at once, in bytes: none is added after so many.
pub const MOST_BYTES: usize = 4 << 20;

/// What there is to know of a stored session without opening it, or of one in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub session_id: String,
    pub epoch: String,
    /// The last change.
    pub seq: u64,
    /// RFC 3339; `None` where nothing was ever changed. Not known of a session in memory alone.
    pub created_at: Option<String>,
    pub changed_at: Option<String>,
    /// Who made the last change, where that is known.
    pub changed_by: Option<String>,
    /// How many changes are stored, and how many whole documents.
    pub changes: u64,
    pub versions: u64,
    /// How much they take.
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
    pub sessions: Vec<About>,
    /// How many there are in all.
    pub total: usize,
    pub timestamp: String,
}

/// A version: a whole document that is stored, and who made it what it is, and how; or, of a session
/// in memory alone, one that was replaced, and by whom and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionLine {
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
    pub versions: Vec<VersionLine>,
    /// The session can be brought back to each change from this one up to `seq`, and to each version.
    pub first_seq: u64,
    pub seq: u64,
    pub session: About,
    pub timestamp: String,
}

impl About {
    /// What there is to know of a session; how many items it has takes opening it.
    pub fn of(reader: &Reader, summary: Summary, with_items: bool) -> Self {
        let items = with_items.then(|| {
            let stored =
                reader.document_at(&summary.name, PointInTime::Seq(summary.seq)).ok()??;
            Some(document(&stored).ok()?.items().count())
        });
        let moment = |at: Timestamp| (at.millis() > 0).then(|| at.to_string());
        About {
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
    pub fn of(
        reader: &Reader,
        wanted: impl Fn(&str) -> bool,
        after: Option<&str>,
        most: usize,
        with_items: bool,
    ) -> Result<Self, StoreError> {
        let (sessions, total) = reader.some_sessions(wanted, after, most)?;
        let sessions = sessions.into_iter().map(|session| About::of(reader, session, with_items));
        let timestamp = Timestamp::now().to_string();
        Ok(Listing { sessions: sessions.collect(), total, timestamp })
    }
}

impl Versions {
    /// What a session can be brought back to; `None` where there is no such session.
    ///
    /// # Errors
    /// [`StoreError`], when it can't be read.
    pub fn of(reader: &Reader, session: &str) -> Result<Option<Self>, StoreError> {
        let Some(summary) = reader.session(session)? else { return Ok(None) };
        let versions = reader.versions(session)?.unwrap_or_default();
        let first_seq = first_seq(reader, session)?;
        let session = About::of(reader, summary, true);
        let versions = versions.into_iter().map(VersionLine::of).collect();
        let timestamp = Timestamp::now().to_string();
        Ok(Some(Versions { versions, first_seq, seq: session.seq, session, timestamp }))
    }
}

impl VersionLine {
    fn of(version: Version) -> Self {
        VersionLine {
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
pub fn document(stored: &Stored) -> Result<Document, Damaged> {
    replay(&stored.document, &stored.changes)
}

/// A canvas as an editor saves it, which says of which session it is and as of which change.
pub fn state(session: &str, stored: &Stored, document: &Document) -> Vec<u8> {
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

/// Changes as they were relayed, as JSON; `first_seq` is the one from which on all are stored, and `seq`
/// the session's last one.
pub fn changes(changes: &[StoredChange], first_seq: u64, seq: u64) -> Vec<u8> {
    let mut text = b"{\"changes\":[".to_vec();
    for (place, change) in changes.iter().enumerate() {
        text.extend_from_slice(if place == 0 { b"{" } else { b",{" });
        let head = format!("\"seq\":{},\"at\":\"{}\",\"user_id\":", change.seq, change.at);
        text.extend_from_slice(head.as_bytes());
        match &*change.user {
            "" => text.extend_from_slice(b"null"),
            user => json::write_string(&mut text, user),
        }
        text.extend_from_slice(b",\"message\":");
        text.extend_from_slice(&change.frame);
        text.push(b'}');
    }
    let tail = format!(
        "],\"first_seq\":{first_seq},\"seq\":{seq},\"timestamp\":\"{}\"}}",
        Timestamp::now()
    );
    text.extend_from_slice(tail.as_bytes());
    text
}

/// An earlier document to be stored over what can't be read, as one more change.
pub fn over_damaged(now: Summary, mut document: Document) -> Keep {
    document.advance(document.version() + 1);
    Keep::Whole {
        session: now.name,
        epoch: now.epoch,
        seq: now.next,
        at: Timestamp::now(),
        user: Some(BY.into()),
        document: document.to_stored(),
        frames: Vec::new(),
        id: None,
        why: Why::Restored,
    }
}
