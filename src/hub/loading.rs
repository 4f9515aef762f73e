//! Sessions that are stored and not in memory: who waits for one to be loaded, what becomes of them,
//! and what is done to sessions from outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{ConnId, ConnMap};
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
    pub fn take(&mut self, session: &str) -> Option<Vec<(ConnId, PendingRequest)>> {
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
