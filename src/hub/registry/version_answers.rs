//! Answers to HTTP requests about versions, where sessions are not stored.

use std::io::Write;

use serde_json::json;

use super::Registry;
use crate::auth::Grant;
use crate::hub::session::Session;
use crate::hub::{ConnId, Context, Refusal};
use crate::journal::PointInTime;

impl Registry {
    /// Answers with the list of a session's versions, in the form in which a store's versions are listed.
    pub fn versions(&self, conn: ConnId, name: &str, grant: Option<Grant>, cx: &mut Context<'_>) {
        self.answer_about(conn, name, grant, cx, |session, now| {
            let versions = session.versions.iter().map(|version| {
                json!({
                    "seq": version.seq, "at": version.at.to_string(), "user_id": &*version.user,
                    "why": version.why.name(), "bytes": version.document.len(),
                    "items": version.items,
                })
            });
            let versions: Vec<_> = versions.collect();
            let (seq, oldest) = (session.history.seq(), session.versions.iter().next());
            let (count, bytes) = session.versions.sizes();
            let answer = json!({
                "versions": versions, "first_seq": oldest.map_or(seq, |oldest| oldest.seq),
                "seq": seq,
                "session": {
                    "session_id": name, "epoch": &*session.epoch, "seq": seq, "created_at": null,
                    "changed_at": session.activity.changed_at().map(|at| at.to_string()),
                    "changed_by": session.activity.changed_by().map(|user| &**user),
                    "changes": 0, "versions": count, "bytes": bytes,
                    "items": session.document.len(), "members": session.room.len(),
                },
                "timestamp": now.wall.to_string(),
            });
            Ok(answer.to_string().into_bytes())
        });
    }

    /// Answers with a session's document as it was at `point`, in stored form.
    pub fn version(
        &self,
        conn: ConnId,
        name: &str,
        point: PointInTime,
        grant: Option<Grant>,
        cx: &mut Context<'_>,
    ) {
        self.answer_about(conn, name, grant, cx, |session, _| {
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

impl Session {
    /// The document, or its newest version at or before `point`, in stored form, with the number of its last
    /// change; `None` if there is none.
    fn stored_at(&self, point: PointInTime) -> Option<(u64, Vec<u8>)> {
        let (seq, changed_at) = (self.history.seq(), self.activity.changed_at());
        let is_present = match point {
            PointInTime::Seq(asked) if asked > seq => return None,
            PointInTime::Seq(asked) => asked == seq,
            PointInTime::Time(asked) => changed_at.is_none_or(|at| at <= asked),
        };
        if is_present {
            return Some((seq, self.document.to_stored()));
        }
        let version = self.versions.at(point)?;
        Some((version.seq, version.document.clone()))
    }
}
