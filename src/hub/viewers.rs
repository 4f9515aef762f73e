//! Whoever watches a session without being in it: they are sent what its members are sent, in the same
//! frames, and nothing they do changes anything for anybody.

use super::keeping::state::not_durable;
use super::member::Request;
use super::pass::Pass;
use super::session::{Session, Viewer};
use super::{ConnId, Effect, Limits, Turn};
use crate::protocol::Frame;
use crate::protocol::close;

impl Session {
    /// Lets a connection watch. It has a canvas that nobody else changes: it is sent the document at
    /// once, be there one or not.
    pub fn view(&mut self, conn: ConnId, pass: Option<Pass>, turn: &mut Turn<'_>) {
        self.viewers.add(Viewer { conn, pass });
        turn.effects.push(Effect::Admit { conn });
        turn.send(conn, &self.acknowledgement(None, turn.now.wall));
        self.send_state_to_viewer(conn, turn);
        if turn.disk_fails {
            turn.send(conn, &not_durable());
        }
        self.set_expiry_timer(conn, turn);
    }

    /// Answers a viewer's `sync:request`.
    pub fn request_state_by_viewer(
        &mut self,
        conn: ConnId,
        request: &Request,
        turn: &mut Turn<'_>,
    ) {
        if self.viewers.place(conn).is_none() {
            return;
        }
        let since = self.since(request);
        if !since.is_some_and(|since| self.send_missed(conn, since, turn)) {
            self.send_state_to_viewer(conn, turn);
        }
    }

    /// A viewer looks no longer, if it did.
    pub fn remove_viewer(&mut self, conn: ConnId) {
        if self.viewers.remove(conn).is_some() && self.has_no_audience() {
            self.forget_encoded();
        }
    }

    /// Whether the session has neither members nor viewers.
    fn has_no_audience(&self) -> bool {
        self.room.is_empty() && self.viewers.is_empty()
    }

    /// Whether viewers keep it in memory: where it could be loaded again nobody notices a difference.
    pub(super) fn is_held_by_viewers(&self, limits: &Limits) -> bool {
        limits.durable && self.keeping.has_begun && !self.viewers.is_empty()
    }

    /// Ends all viewing: the session is going to be forgotten. Returns who viewed.
    pub fn close_viewers(&mut self, turn: &mut Turn<'_>) -> Vec<ConnId> {
        let conns: Vec<ConnId> = self.viewers.iter().map(|viewer| viewer.conn).collect();
        let reason = "the session has ended";
        let close = |&conn| Effect::Close { conn, code: close::NORMAL, reason };
        turn.effects.extend(conns.iter().map(close));
        conns
    }

    /// Sends one frame to everyone: members and viewers.
    pub(super) fn tell_all(&self, frame: &Frame, turn: &mut Turn<'_>) {
        self.room.send(frame, turn);
        self.viewers.send(frame, turn);
    }

    /// The same to everyone but one member.
    pub(super) fn tell_others(&self, conn: ConnId, frame: &Frame, turn: &mut Turn<'_>) {
        self.room.send_to_others(conn, frame, turn);
        self.viewers.send(frame, turn);
    }

    /// The same, for a frame that makes the sender's earlier ones of this kind pointless where they
    /// are still queued.
    pub(super) fn tell_latest_to_others(&self, sender: ConnId, frame: &Frame, turn: &mut Turn<'_>) {
        self.room.send_latest_to_others(sender, frame, turn);
        self.viewers.send_latest_to_others(sender, frame, turn);
    }

    /// Sends the document to all viewers.
    pub(super) fn send_state_to_viewers(&mut self, turn: &mut Turn<'_>) {
        if !self.viewers.is_empty() {
            let frames = self.state_frames(false, turn);
            for viewer in self.viewers.iter() {
                frames.iter().for_each(|frame| turn.send(viewer.conn, frame));
            }
        }
    }

    fn send_state_to_viewer(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let frames = self.state_frames(false, turn);
        frames.iter().for_each(|frame| turn.send(conn, frame));
    }
}
