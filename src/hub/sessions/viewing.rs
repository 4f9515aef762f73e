//! Viewers of all sessions. They can view sessions that exist, in memory or stored. They don't keep a session
//! that isn't stored from ending, and don't take the place that a member's session needs.

use std::sync::Arc;

use super::{AccessMode, Availability, Sessions};
use crate::auth::Grant;
use crate::hub::loading::PendingRequest;
use crate::hub::member::Request;
use crate::hub::pass::Pass;
use crate::hub::{ConnId, Effect, Refusal, Turn};

impl Sessions {
    /// Makes a connection a viewer, or refuses it.
    pub fn view(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        grant: Option<Grant>,
        turn: &mut Turn<'_>,
    ) {
        let issue = |grant| Pass::new(grant, turn.keys, turn.now.wall);
        let pass = match grant.clone().map(issue).transpose() {
            Ok(pass) if pass.as_ref().is_none_or(|pass| pass.opens(&name)) => pass,
            _ => return turn.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused }),
        };
        self.evict_if_expired(&name, turn);
        let is_known = self.by_name.contains_key(&name)
            || self.stored.contains(&name)
            || self.loading.has(&name);
        if !is_known {
            return turn.effects.push(Effect::Refuse { conn, why: Refusal::Unknown });
        }
        match self.ensure_available(&name, AccessMode::Viewer, turn) {
            Err(why) => return turn.effects.push(Effect::Refuse { conn, why }),
            Ok(Availability::Loading) => {
                return self.loading.add(name, conn, PendingRequest::View { grant });
            }
            Ok(Availability::Ready) => {}
        }
        let Some(session) = self.by_name.get_mut(&name) else { return };
        // Registered first: if the rest panics, the connection can still be closed.
        self.viewers.insert(conn, name);
        session.view(conn, pass, turn);
    }

    /// Answers a viewer's request for the document, or for the changes that it has missed.
    pub fn request_state(&mut self, conn: ConnId, request: &Request, turn: &mut Turn<'_>) {
        let name = self.viewers.get(&conn);
        if let Some(session) = name.and_then(|name| self.by_name.get_mut(name)) {
            session.answer_viewer(conn, request, turn);
        }
    }

    /// Removes a viewer, if the connection is one.
    pub(super) fn remove_viewer(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(name) = self.viewers.remove(&conn) else { return };
        if let Some(session) = self.by_name.get_mut(&name) {
            session.remove_viewer(conn);
        }
        self.evict_if_expired(&name, turn);
    }

    /// The number of viewers of all sessions.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }
}
