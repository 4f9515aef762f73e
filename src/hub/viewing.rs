//! Who views which session. Viewers come to sessions that are there, in memory or stored, and never
//! stand in the way of members: not when a session is to be forgotten, nor when another needs its room.

use std::sync::Arc;

use super::loading::PendingRequest;
use super::member::Request;
use super::pass::Pass;
use super::sessions::{AccessMode, Sessions};
use super::{ConnId, Effect, Refusal, Turn};
use crate::auth::Grant;

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
        match self.reach(&name, AccessMode::Viewer, turn) {
            Err(why) => return turn.effects.push(Effect::Refuse { conn, why }),
            Ok(false) => return self.loading.add(name, conn, PendingRequest::View { grant }),
            Ok(true) => {}
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
