//! Loaded sessions; restoring, importing and deleting sessions; the state of the disk.

use std::sync::Arc;

use super::{AccessMode, Availability, Sessions};
use crate::hub::loaded::LoadedSession;
use crate::hub::pending_requests::{NotLoaded, PendingRequest};
use crate::hub::session::Session;
use crate::hub::{ConnId, Context, Effect, Refusal};
use crate::protocol::UserId;
use crate::protocol::inbound::State;

impl Sessions {
    /// Handles the end of loading a session. `past` is `None` if nothing of it is stored.
    pub fn loaded(
        &mut self,
        name: &Arc<str>,
        past: Result<Option<Box<LoadedSession>>, NotLoaded>,
        cx: &mut Context<'_>,
    ) {
        let Some(waiting) = self.loading.take(name) else { return };
        let refuse_all = |waiting: Vec<(ConnId, PendingRequest)>, why, cx: &mut Context<'_>| {
            cx.effects.extend(waiting.into_iter().map(|(conn, _)| Effect::Refuse { conn, why }));
        };
        let only_viewed =
            waiting.iter().all(|(_, waiting)| matches!(waiting, PendingRequest::View { .. }));
        match past {
            Ok(Some(_)) if waiting.is_empty() => return,
            Ok(Some(_)) if only_viewed && !self.make_room(AccessMode::Viewer, cx) => {
                return refuse_all(waiting, Refusal::Full, cx);
            }
            Ok(Some(past))
                if !waiting
                    .iter()
                    .any(|(_, waiting)| matches!(waiting, PendingRequest::Restore { .. }))
                    && !self.has_memory_for(past.document.memory(), cx.limits) =>
            {
                return refuse_all(waiting, Refusal::NoMemory, cx);
            }
            Ok(Some(past)) => {
                self.by_name.insert(name.clone(), Session::resume(name.clone(), *past));
                self.with_session(name, cx, |_, _| {});
            }
            Ok(None) => drop(self.stored.remove(name)),
            Err(NotLoaded) => return refuse_all(waiting, Refusal::NotLoaded, cx),
        }
        for (conn, waiting) in waiting {
            match waiting {
                PendingRequest::Join { user, grant } => {
                    self.join(conn, name.clone(), user, grant, false, cx);
                }
                PendingRequest::View { grant } => self.view(conn, name.clone(), grant, cx),
                PendingRequest::Restore { state, by } => {
                    self.restore(conn, name.clone(), state, by, cx);
                }
            }
        }
        self.linger_if_empty(name, cx);
    }

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

    /// The store began or ceased to fail.
    pub fn disk_changed(&mut self, cx: &mut Context<'_>) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        for name in names {
            self.with_session(&name, cx, |session, cx| session.disk_changed(cx));
            self.evict_if_expired(&name, cx);
        }
    }

    /// The store lost entries of this session: gives it the whole document.
    pub fn snapshot_requested(&mut self, name: &str, cx: &mut Context<'_>) {
        self.with_session(name, cx, |session, cx| session.keep_all(cx));
    }
}
