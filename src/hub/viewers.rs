//! The viewers of a session. They are sent the same frames as its members. They are not listed and can't
//! change anything.

use super::keeping::state::not_durable;
use super::member::Request;
use super::pass::Pass;
use super::session::{Session, Viewer};
use super::{ConnId, Effect, Limits, Turn};
use crate::protocol::Frame;
use crate::protocol::close;

impl Session {
    /// Makes a connection a viewer. It has no canvas of its own to lose, so it is sent the document at once, even
    /// an empty one.
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
    pub fn answer_viewer(&mut self, conn: ConnId, request: &Request, turn: &mut Turn<'_>) {
        if self.viewers.place(conn).is_none() {
            return;
        }
        let since = self.since(request);
        if !since.is_some_and(|since| self.send_missed(conn, since, turn)) {
            self.send_state_to_viewer(conn, turn);
        }
    }

    /// Removes a viewer, if the connection is one.
    pub fn remove_viewer(&mut self, conn: ConnId) {
        if self.viewers.remove(conn).is_some() && self.has_no_audience() {
            self.forget_encoded();
        }
    }

    /// Whether the session has neither members nor viewers.
    fn has_no_audience(&self) -> bool {
        self.room.is_empty() && self.viewers.is_empty()
    }

    /// Whether viewers keep it in memory after it has expired. They do if it is stored: it would be loaded again as
    /// it is. A session that isn't stored ends in spite of its viewers.
    pub(super) fn is_held_by_viewers(&self, limits: &Limits) -> bool {
        limits.durable && self.keeping.has_begun && !self.viewers.is_empty()
    }

    /// Closes all viewers, because the session is evicted. Returns their connections.
    pub fn close_viewers(&mut self, turn: &mut Turn<'_>) -> Vec<ConnId> {
        let conns: Vec<ConnId> = self.viewers.iter().map(|viewer| viewer.conn).collect();
        let reason = "the session has ended";
        let close = |&conn| Effect::Close { conn, code: close::NORMAL, reason };
        turn.effects.extend(conns.iter().map(close));
        conns
    }

    /// Sends a frame to all members and viewers.
    pub(super) fn tell_all(&self, frame: &Frame, turn: &mut Turn<'_>) {
        self.room.send(frame, turn);
        self.viewers.send(frame, turn);
    }

    /// Sends a frame to all members but one, and to all viewers.
    pub(super) fn tell_others(&self, conn: ConnId, frame: &Frame, turn: &mut Turn<'_>) {
        self.room.send_to_others(conn, frame, turn);
        self.viewers.send(frame, turn);
    }

    /// Sends a frame to all members but the sender, and to all viewers. It may replace the sender's earlier ones
    /// that are still queued.
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
