//! Who views which session. Viewers come to sessions that are there, in memory or stored, and never
//! stand in the way of members: not when a session is to be forgotten, nor when another needs its room.

use std::sync::Arc;

use super::{AccessMode, Availability, Sessions};
use crate::auth::Grant;
use crate::hub::loading::PendingRequest;
use crate::hub::member::Request;
use crate::hub::pass::Pass;
use crate::hub::{ConnId, Effect, Refusal, Turn};

impl Sessions {
    /// A connection asks to view a session.
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
        // First of all: should it fail half-way, whoever is half in can still be put out.
        self.viewers.insert(conn, name);
        session.view(conn, pass, turn);
    }

    /// A viewer asks for the document, or for what it has missed.
    pub fn request_state(&mut self, conn: ConnId, request: &Request, turn: &mut Turn<'_>) {
        let name = self.viewers.get(&conn);
        if let Some(session) = name.and_then(|name| self.by_name.get_mut(name)) {
            session.request_state_by_viewer(conn, request, turn);
        }
    }

    /// A viewer's connection has ended, if it is one.
    pub(super) fn remove_viewer(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(name) = self.viewers.remove(&conn) else { return };
        if let Some(session) = self.by_name.get_mut(&name) {
            session.remove_viewer(conn);
        }
        self.evict_if_expired(&name, turn);
    }

    /// How many connections are known to view a session.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }
}
