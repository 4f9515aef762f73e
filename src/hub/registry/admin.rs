//! Changes of sessions from outside: restoring, importing, renaming and deleting them.

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
        if self.is_taken(&name) {
            return cx.effects.push(Effect::Refuse { conn, why: Refusal::Exists });
        }
        self.restore(conn, name, state, by, cx);
    }

    /// Whether there is a session of this name: it is stored, has members, or has had a document.
    fn is_taken(&self, name: &str) -> bool {
        let is_there = |session: &Session| {
            !session.room.is_empty() || session.history.seq() > 0 || session.document.exists()
        };
        self.by_name.get(name).is_some_and(is_there)
            || self.stored.contains(name)
            || self.loading.has(name)
    }

    /// Brings a removed item back. Refused if there is no such session.
    pub fn restore_item(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        item: Arc<str>,
        by: UserId,
        cx: &mut Context<'_>,
    ) {
        let reached = match cx.disk_fails {
            true => Err(Refusal::NotWritten),
            false if !self.is_taken(&name) => Err(Refusal::Unknown),
            false => self.ensure_available(&name, AccessMode::Member, cx),
        };
        match reached {
            Err(why) => return cx.effects.push(Effect::Refuse { conn, why }),
            Ok(Availability::Loading) => {
                return self.loading.add(name, conn, PendingRequest::RestoreItem { item, by });
            }
            Ok(Availability::Ready) => {}
        }
        self.with_session(&name, cx, |session, cx| session.restore_item(conn, &item, &by, cx));
        self.linger_if_empty(&name, cx);
    }

    /// Gives a session another name. Its viewers are closed. Refused while it has members or is being loaded, and
    /// if there is a session of the new name.
    pub fn rename(&mut self, conn: ConnId, name: Arc<str>, to: Arc<str>, cx: &mut Context<'_>) {
        let why = match self.by_name.get(&name) {
            _ if cx.disk_fails => Some(Refusal::NotWritten),
            Some(session) if !session.room.is_empty() => Some(Refusal::InUse),
            None if self.loading.has(&name) => Some(Refusal::InUse),
            _ if !self.is_taken(&name) => Some(Refusal::Unknown),
            _ if self.is_taken(&to) => Some(Refusal::NameTaken),
            _ => None,
        };
        if let Some(why) = why {
            return cx.effects.push(Effect::Refuse { conn, why });
        }
        // It has had neither members nor a document.
        self.evict(&to, cx);
        if !cx.limits.durable {
            return self.rename_in_memory(conn, &name, to, cx);
        }
        self.evict(&name, cx);
        if !self.stored.contains(&name) {
            // It was one that is not to be stored.
            return cx.effects.push(Effect::Refuse { conn, why: Refusal::Unknown });
        }
        // Requests for either name wait until the store has done it.
        self.loading.begin(name.clone());
        self.loading.begin(to.clone());
        cx.effects.push(Effect::Rename { conn, session: name, to });
    }

    fn rename_in_memory(
        &mut self,
        conn: ConnId,
        name: &Arc<str>,
        to: Arc<str>,
        cx: &mut Context<'_>,
    ) {
        if let Some(session) = self.take(name, cx) {
            self.by_name.insert(to.clone(), session.renamed(to.clone()));
            self.linger_if_empty(&to, cx);
        }
        cx.effects.push(Effect::Answer { conn, body: renamed(name, &to) });
    }

    /// The store has renamed a session, or could not: handles the requests that have waited for it.
    pub fn renamed(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        to: Arc<str>,
        is_done: bool,
        cx: &mut Context<'_>,
    ) {
        if is_done {
            self.stored.remove(&name);
            self.stored.insert(to.clone());
            cx.effects.push(Effect::Answer { conn, body: renamed(&name, &to) });
        } else {
            cx.effects.push(Effect::Refuse { conn, why: Refusal::NotWritten });
        }
        for name in [name, to] {
            let waiting = self.loading.take(&name).unwrap_or_default();
            self.resume(&name, waiting, cx);
        }
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

fn renamed(name: &str, to: &str) -> Vec<u8> {
    serde_json::json!({ "session_id": to, "renamed_from": name }).to_string().into_bytes()
}
