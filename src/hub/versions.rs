//! Earlier documents of a session that is not stored: the last ones that were replaced, or that items
//! were removed from as a whole. Bounded in number and bytes, the oldest are forgotten first; they go
//! with the session. Where sessions are stored, the store has them.

use std::collections::VecDeque;
use std::io::Write;

use serde_json::json;

use super::session::Session;
use super::sessions::Sessions;
use super::{ConnId, DocumentBounds, Refusal, Turn};
use crate::auth::Grant;
use crate::kept::{PointInTime, Why};
use crate::protocol::{Timestamp, UserId};

/// How many versions a session has, and how large they are together, in documents of the largest size.
const MAX_VERSIONS: usize = 10;

/// A document that something took the place of.
#[derive(Debug)]
pub struct Version {
    /// Its last change, and when that was.
    seq: u64,
    at: Timestamp,
    /// Who replaced it, and why.
    user: UserId,
    why: Why,
    items: usize,
    /// In stored form.
    document: Vec<u8>,
}

/// See the file's text.
#[derive(Debug, Default)]
pub struct Versions {
    /// The newest last.
    kept: VecDeque<Version>,
    bytes: usize,
}

impl Versions {
    /// Adds one that was replaced just now.
    pub fn add(&mut self, version: Version, bounds: DocumentBounds) {
        self.bytes += version.document.len();
        self.kept.push_back(version);
        while self.kept.len() > MAX_VERSIONS
            || self.bytes > bounds.document.saturating_mul(MAX_VERSIONS)
        {
            self.evict_oldest();
        }
    }

    /// Forgets the oldest one.
    pub fn evict_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes -= oldest.document.len();
        }
    }

    /// Of when the oldest one is.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.kept.front().map(|version| version.at)
    }

    /// How many items the largest one has.
    pub fn max_items(&self) -> usize {
        self.kept.iter().map(|version| version.items).max().unwrap_or_default()
    }

    /// How many there are, and how many bytes they have.
    pub fn sizes(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }
}

impl Session {
    /// The document that something is about to take the place of, where it is not the store that keeps
    /// it. To be added to the versions when it has been replaced.
    pub fn version_before(&self, user: &UserId, why: Why, turn: &Turn<'_>) -> Option<Version> {
        (!turn.limits.durable && self.document.exists()).then(|| Version {
            seq: self.history.seq(),
            at: self.recent.changed_at().unwrap_or(turn.now.wall),
            user: user.clone(),
            why,
            items: self.document.len(),
            document: self.document.to_stored(),
        })
    }

    /// The document as it is, or the newest version of it at or before `point`, in stored form, with
    /// its last change.
    fn stored_at(&self, point: PointInTime) -> Option<(u64, Vec<u8>)> {
        let (seq, changed_at) = (self.history.seq(), self.recent.changed_at());
        let is_present = match point {
            PointInTime::Seq(asked) if asked > seq => return None,
            PointInTime::Seq(asked) => asked == seq,
            PointInTime::Time(asked) => changed_at.is_none_or(|at| at <= asked),
        };
        if is_present {
            return Some((seq, self.document.to_stored()));
        }
        let is_before = |version: &&Version| match point {
            PointInTime::Seq(asked) => version.seq <= asked,
            PointInTime::Time(asked) => version.at <= asked,
        };
        let version = self.versions.kept.iter().rev().find(is_before)?;
        Some((version.seq, version.document.clone()))
    }
}

impl Sessions {
    /// Answers with the versions of a session in memory, as a store's are answered.
    pub fn versions(&self, conn: ConnId, name: &str, grant: Option<Grant>, turn: &mut Turn<'_>) {
        self.answer_about(conn, name, grant, turn, |session, now| {
            let versions = session.versions.kept.iter().map(|version| {
                json!({
                    "seq": version.seq, "at": version.at.to_string(), "user_id": &*version.user,
                    "why": version.why.name(), "bytes": version.document.len(),
                    "items": version.items,
                })
            });
            let versions: Vec<_> = versions.collect();
            let (seq, oldest) = (session.history.seq(), session.versions.kept.front());
            let (count, bytes) = session.versions.sizes();
            let answer = json!({
                "versions": versions, "first_seq": oldest.map_or(seq, |oldest| oldest.seq),
                "seq": seq,
                "session": {
                    "session_id": name, "epoch": &*session.epoch, "seq": seq, "created_at": null,
                    "changed_at": session.recent.changed_at().map(|at| at.to_string()),
                    "changed_by": session.recent.changed_by().map(|user| &**user),
                    "changes": 0, "versions": count, "bytes": bytes,
                    "items": session.document.len(), "members": session.room.len(),
                },
                "timestamp": now.wall.to_string(),
            });
            Ok(answer.to_string().into_bytes())
        });
    }

    /// Answers with the document of a session in memory as it was at `point`, in stored form.
    pub fn version(
        &self,
        conn: ConnId,
        name: &str,
        point: PointInTime,
        grant: Option<Grant>,
        turn: &mut Turn<'_>,
    ) {
        self.answer_about(conn, name, grant, turn, |session, _| {
            let (seq, document) = session.stored_at(point).ok_or(Refusal::NotKept)?;
            let epoch = &session.epoch;
            let mut body = Vec::with_capacity(document.len() + 100);
            // Writing to memory can't fail.
            let _ = write!(body, "{{\"epoch\":\"{epoch}\",\"seq\":{seq},\"document\":");
            body.extend_from_slice(&document);
            body.push(b'}');
            Ok(body)
        });
    }
}
