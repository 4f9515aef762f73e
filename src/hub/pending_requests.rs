//! Requests that wait for a session to be loaded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{ConnId, ConnMap};
use crate::auth::Grant;
use crate::protocol::UserId;
use crate::protocol::inbound::{Since, State};

/// A session is stored, but can't be read. The log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLoaded;

/// What a connection wants to do with a session that is being loaded.
#[derive(Debug)]
pub enum PendingRequest {
    Join { user: UserId, grant: Option<Grant> },
    View { grant: Option<Grant>, since: Option<Since> },
    Restore { state: Box<State>, by: UserId },
    RestoreItem { item: Arc<str>, by: UserId },
}

/// The sessions that are being loaded, and the requests that wait for them: at most one a connection.
#[derive(Debug, Default)]
pub struct PendingRequests {
    /// The requests of each session, in the order in which they arrived.
    sessions: HashMap<Arc<str>, BTreeMap<u64, (ConnId, PendingRequest)>>,
    conns: ConnMap<(Arc<str>, u64)>,
    next: u64,
}

impl PendingRequests {
    /// How many of these sessions count against [`Limits::max_sessions`](super::Limits): those that are not
    /// loaded for viewers alone.
    pub fn counted_sessions(&self) -> usize {
        self.sessions.values().filter(|waiting| counts_as_session(waiting)).count()
    }

    /// Whether this session counts against [`Limits::max_sessions`](super::Limits).
    pub fn is_counted(&self, session: &str) -> bool {
        self.sessions.get(session).is_some_and(counts_as_session)
    }

    /// Whether this session is being loaded.
    pub fn has(&self, session: &str) -> bool {
        self.sessions.contains_key(session)
    }

    /// Records that a session is being loaded.
    pub fn begin(&mut self, session: Arc<str>) {
        self.sessions.entry(session).or_default();
    }

    /// Adds a request for a session that is being loaded.
    pub fn add(&mut self, session: Arc<str>, conn: ConnId, waiting: PendingRequest) {
        self.next += 1;
        self.conns.insert(conn, (session.clone(), self.next));
        self.sessions.entry(session).or_default().insert(self.next, (conn, waiting));
    }

    /// Removes the request of a connection, if it has one.
    pub fn remove(&mut self, conn: ConnId) {
        if let Some((session, number)) = self.conns.remove(&conn)
            && let Some(waiting) = self.sessions.get_mut(&session)
        {
            waiting.remove(&number);
        }
    }

    /// Ends the loading of a session. Returns the requests for it, in order; `None` if it wasn't being loaded.
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
