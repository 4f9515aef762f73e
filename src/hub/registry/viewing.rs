//! Viewers of all sessions. They can view sessions that exist, in memory or stored. They don't keep a session
//! that isn't stored from ending, and don't take the place that a member's session needs.

use std::sync::Arc;

use super::{AccessMode, Availability, Registry};
use crate::auth::Grant;
use crate::hub::access::Access;
use crate::hub::member::Request;
use crate::hub::pending_requests::PendingRequest;
use crate::hub::{ConnId, Context, Effect, Refusal};
use crate::protocol::inbound::Since;

impl Registry {
    /// Makes a connection a viewer, or refuses it. It has the document as of `since` already, if that is given.
    pub fn view(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        grant: Option<Grant>,
        since: Option<Since>,
        cx: &mut Context<'_>,
    ) {
        let issue = |grant| Access::new(grant, cx.keys, cx.now.wall);
        let access = match grant.clone().map(issue).transpose() {
            Ok(access) if access.as_ref().is_none_or(|access| access.opens(&name)) => access,
            _ => return cx.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused }),
        };
        self.evict_if_expired(&name, cx);
        let is_known = self.by_name.contains_key(&name)
            || self.stored.contains(&name)
            || self.loading.has(&name);
        if !is_known {
            return cx.effects.push(Effect::Refuse { conn, why: Refusal::Unknown });
        }
        match self.ensure_available(&name, AccessMode::Viewer, cx) {
            Err(why) => return cx.effects.push(Effect::Refuse { conn, why }),
            Ok(Availability::Loading) => {
                return self.loading.add(name, conn, PendingRequest::View { grant, since });
            }
            Ok(Availability::Ready) => {}
        }
        let Some(session) = self.by_name.get_mut(&name) else { return };
        // Registered first: if the rest panics, the connection can still be closed.
        self.viewers.insert(conn, name);
        session.view(conn, access, since, cx);
    }

    /// Answers a viewer's request for the document, or for the changes that it has missed.
    pub fn request_state(&mut self, conn: ConnId, request: &Request, cx: &mut Context<'_>) {
        let name = self.viewers.get(&conn);
        if let Some(session) = name.and_then(|name| self.by_name.get_mut(name)) {
            session.answer_viewer(conn, request, cx);
        }
    }

    /// Removes a viewer, if the connection is one.
    pub(super) fn remove_viewer(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        let Some(name) = self.viewers.remove(&conn) else { return };
        if let Some(session) = self.by_name.get_mut(&name) {
            session.remove_viewer(conn);
        }
        self.evict_if_expired(&name, cx);
    }

    /// The number of viewers of all sessions.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }
}
