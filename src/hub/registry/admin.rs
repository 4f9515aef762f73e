//! Changes of sessions from outside: restoring, importing and deleting them.

use std::sync::Arc;

use super::{AccessMode, Availability, Registry};
use crate::hub::pending_requests::PendingRequest;
use crate::hub::session::Session;
use crate::hub::{ConnId, Context, Effect, Refusal};
use crate::protocol::UserId;
use crate::protocol::inbound::State;

impl Registry {
    /// Replaces a session's document. A session that doesn't exist begins with it.
    pub fn restore(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        state: Box<State>,
        by: UserId,
        cx: &mut Context<'_>,
    ) {
        let reached = match cx.disk_fails {
            true => Err(Refusal::NotWritten),
            false => self.ensure_available(&name, AccessMode::Member, cx),
        };
        match reached {
            Err(why) => return cx.effects.push(Effect::Refuse { conn, why }),
            Ok(Availability::Loading) => {
                return self.loading.add(name, conn, PendingRequest::Restore { state, by });
            }
            Ok(Availability::Ready) => {}
        }
        self.with_session(&name, cx, |session, cx| session.restore(conn, *state, &by, cx));
        self.linger_if_empty(&name, cx);
    }

    /// Creates a session with a document. Refused if the session is stored, has members, or has had a document.
    pub fn import(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        state: Box<State>,
        by: UserId,
        cx: &mut Context<'_>,
    ) {
        let is_there = |session: &Session| {
            !session.room.is_empty() || session.history.seq() > 0 || session.document.exists()
        };
        if self.by_name.get(&name).is_some_and(is_there)
            || self.stored.contains(&name)
            || self.loading.has(&name)
        {
            return cx.effects.push(Effect::Refuse { conn, why: Refusal::Exists });
        }
        self.restore(conn, name, state, by, cx);
    }

    /// Removes a session from memory and from the store. Refused while it has members or is being loaded.
    pub fn delete(&mut self, conn: ConnId, name: Arc<str>, cx: &mut Context<'_>) {
        let why = match self.by_name.get(&name) {
            _ if cx.disk_fails => Some(Refusal::NotWritten),
            Some(session) if !session.room.is_empty() => Some(Refusal::InUse),
            None if self.loading.has(&name) => Some(Refusal::InUse),
            None if !self.stored.contains(&name) => Some(Refusal::Unknown),
            _ => None,
        };
        if let Some(why) = why {
            return cx.effects.push(Effect::Refuse { conn, why });
        }
        self.evict(&name, cx);
        self.stored.remove(&name);
        let body = serde_json::json!({ "session_id": &*name, "deleted": true });
        let body = body.to_string().into_bytes();
        cx.effects.push(Effect::Delete { conn, session: name, body });
    }
}
