//! Sessions that are stored and not in memory: who waits for one to be loaded, what becomes of them,
//! and what is done to sessions from outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::past::Past;
use super::session::Session;
use super::sessions::{AccessMode, Sessions};
use super::{ConnId, ConnMap, Effect, Refusal, Turn};
use crate::auth::Grant;
use crate::protocol::UserId;
use crate::protocol::inbound::State;

/// A session is stored, but can't be read now or at all; whoever tried has said why in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLoaded;

/// What waits for a session to be loaded.
#[derive(Debug)]
pub enum PendingRequest {
    Join { user: UserId, grant: Option<Grant> },
    View { grant: Option<Grant> },
    Restore { state: Box<State>, by: UserId },
}

/// The sessions that are being loaded. As many wait for them as there are connections, at most.
#[derive(Debug, Default)]
pub struct PendingRequests {
    /// In the order they came.
    sessions: HashMap<Arc<str>, BTreeMap<u64, (ConnId, PendingRequest)>>,
    conns: ConnMap<(Arc<str>, u64)>,
    next: u64,
}

impl PendingRequests {
    /// How many of the sessions that are being loaded take a place: who views only takes none.
    pub fn counted_sessions(&self) -> usize {
        self.sessions.values().filter(|waiting| counts_as_session(waiting)).count()
    }

    /// Whether this one does.
    pub fn is_counted(&self, session: &str) -> bool {
        self.sessions.get(session).is_some_and(counts_as_session)
    }

    /// Whether this one is.
    pub fn has(&self, session: &str) -> bool {
        self.sessions.contains_key(session)
    }

    /// One more is.
    pub fn begin(&mut self, session: Arc<str>) {
        self.sessions.entry(session).or_default();
    }

    /// Has somebody wait for a session that is being loaded.
    pub fn add(&mut self, session: Arc<str>, conn: ConnId, waiting: PendingRequest) {
        self.next += 1;
        self.conns.insert(conn, (session.clone(), self.next));
        self.sessions.entry(session).or_default().insert(self.next, (conn, waiting));
    }

    /// Somebody waits no longer, if they did.
    pub fn remove(&mut self, conn: ConnId) {
        if let Some((session, number)) = self.conns.remove(&conn)
            && let Some(waiting) = self.sessions.get_mut(&session)
        {
            waiting.remove(&number);
        }
    }

    /// A session is not being loaded any more. Who waited for it, in order; `None` where it wasn't.
    fn take(&mut self, session: &str) -> Option<Vec<(ConnId, PendingRequest)>> {
        let waiting: Vec<_> = self.sessions.remove(session)?.into_values().collect();
        for (conn, _) in &waiting {
            self.conns.remove(conn);
        }
        Some(waiting)
    }
}

fn counts_as_session(waiting: &BTreeMap<u64, (ConnId, PendingRequest)>) -> bool {
    waiting.values().any(|(_, waiting)| !matches!(waiting, PendingRequest::View { .. }))
}

impl Sessions {
    /// A session has been loaded, or can't be. `past` is `None` where it turned out that nothing is
    /// stored.
    pub fn loaded(
        &mut self,
        name: &Arc<str>,
        past: Result<Option<Box<Past>>, NotLoaded>,
        turn: &mut Turn<'_>,
    ) {
        let Some(waiting) = self.loading.take(name) else { return };
        let refuse_all = |waiting: Vec<(ConnId, PendingRequest)>, why, turn: &mut Turn<'_>| {
            turn.effects.extend(waiting.into_iter().map(|(conn, _)| Effect::Refuse { conn, why }));
        };
        let only_viewed =
            waiting.iter().all(|(_, waiting)| matches!(waiting, PendingRequest::View { .. }));
        match past {
            Ok(Some(_)) if waiting.is_empty() => return,
            Ok(Some(_)) if only_viewed && !self.make_room(AccessMode::Viewer, turn) => {
                return refuse_all(waiting, Refusal::Full, turn);
            }
            Ok(Some(past))
                if !waiting
                    .iter()
                    .any(|(_, waiting)| matches!(waiting, PendingRequest::Restore { .. }))
                    && !self.has_memory_for(past.document.memory(), turn.limits) =>
            {
                return refuse_all(waiting, Refusal::NoMemory, turn);
            }
            Ok(Some(past)) => {
                self.by_name.insert(name.clone(), Session::resume(name.clone(), *past));
                self.with_session(name, turn, |_, _| {});
            }
            Ok(None) => drop(self.stored.remove(name)),
            Err(NotLoaded) => return refuse_all(waiting, Refusal::NotLoaded, turn),
        }
        for (conn, waiting) in waiting {
            match waiting {
                PendingRequest::Join { user, grant } => {
                    self.join(conn, name.clone(), user, grant, false, turn);
                }
                PendingRequest::View { grant } => self.view(conn, name.clone(), grant, turn),
                PendingRequest::Restore { state, by } => {
                    self.restore(conn, name.clone(), state, by, turn);
                }
            }
        }
        self.linger_if_empty(name, turn);
    }

    /// Puts an earlier document, or one from elsewhere, in the place of a session's own.
    pub fn restore(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        state: Box<State>,
        by: UserId,
        turn: &mut Turn<'_>,
    ) {
        let reached = match turn.disk_fails {
            true => Err(Refusal::NotWritten),
            false => self.reach(&name, AccessMode::Member, turn),
        };
        match reached {
            Err(why) => return turn.effects.push(Effect::Refuse { conn, why }),
            Ok(false) => {
                return self.loading.add(name, conn, PendingRequest::Restore { state, by });
            }
            Ok(true) => {}
        }
        self.with_session(&name, turn, |session, turn| session.restore(conn, *state, &by, turn));
        self.linger_if_empty(&name, turn);
    }

    /// Has a session begin with a document from elsewhere, unless there is one of this name: stored,
    /// or with somebody in it, or with a document, be that an empty one.
    pub fn import(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        state: Box<State>,
        by: UserId,
        turn: &mut Turn<'_>,
    ) {
        let is_there = |session: &Session| {
            !session.room.is_empty() || session.history.seq() > 0 || session.document.exists()
        };
        if self.by_name.get(&name).is_some_and(is_there)
            || self.stored.contains(&name)
            || self.loading.has(&name)
        {
            return turn.effects.push(Effect::Refuse { conn, why: Refusal::Exists });
        }
        self.restore(conn, name, state, by, turn);
    }

    /// Removes a session, in memory and where it is stored, unless somebody is in it or about to be.
    pub fn delete(&mut self, conn: ConnId, name: Arc<str>, turn: &mut Turn<'_>) {
        let why = match self.by_name.get(&name) {
            _ if turn.disk_fails => Some(Refusal::NotWritten),
            Some(session) if !session.room.is_empty() => Some(Refusal::InUse),
            None if self.loading.has(&name) => Some(Refusal::InUse),
            None if !self.stored.contains(&name) => Some(Refusal::Unknown),
            _ => None,
        };
        if let Some(why) = why {
            return turn.effects.push(Effect::Refuse { conn, why });
        }
        self.evict(&name, turn);
        self.stored.remove(&name);
        let body = serde_json::json!({ "session_id": &*name, "deleted": true });
        let body = body.to_string().into_bytes();
        turn.effects.push(Effect::Delete { conn, session: name, body });
    }

    /// Whether nothing can be written to the disk has changed.
    pub fn disk_changed(&mut self, turn: &mut Turn<'_>) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        for name in names {
            self.with_session(&name, turn, |session, turn| session.disk_changed(turn));
            self.evict_if_expired(&name, turn);
        }
    }

    /// Whoever writes lacks something of a session: its whole document makes up for it.
    pub fn snapshot_requested(&mut self, name: &str, turn: &mut Turn<'_>) {
        self.with_session(name, turn, |session, turn| session.keep_all(turn));
    }
}
