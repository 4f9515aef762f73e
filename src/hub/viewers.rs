//! The viewers of a session. They are sent the same frames as its members. They are not listed and can't
//! change anything.

use super::access::Access;
use super::journaling::progress::not_durable;
use super::member::Request;
use super::session::{Session, Viewer};
use super::{ConnId, Context, Effect, Limits};
use crate::protocol::Frame;
use crate::protocol::close;
use crate::protocol::inbound::Since;

impl Session {
    /// Makes a connection a viewer. It has no canvas of its own to lose, so it is sent the document at once, even
    /// an empty one. If it has the document as of `since`, it is sent the changes after that instead.
    pub fn view(
        &mut self,
        conn: ConnId,
        access: Option<Access>,
        since: Option<Since>,
        cx: &mut Context<'_>,
    ) {
        self.viewers.add(Viewer { conn, access });
        cx.effects.push(Effect::Admit { conn });
        cx.send(conn, &self.acknowledgement(None, cx.now.wall));
        self.answer_viewer(conn, &Request { since }, cx);
        if cx.disk_fails {
            cx.send(conn, &not_durable());
        }
        self.set_expiry_timer(conn, cx);
    }

    /// Answers a viewer's `sync:request`.
    pub fn answer_viewer(&mut self, conn: ConnId, request: &Request, cx: &mut Context<'_>) {
        if self.viewers.place(conn).is_none() {
            return;
        }
        let since = self.since(request);
        if !since.is_some_and(|since| self.send_missed(conn, since, cx)) {
            self.send_state_to_viewer(conn, cx);
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
        limits.durable && self.journal.has_begun && !self.viewers.is_empty()
    }

    /// Closes all viewers, because the session is evicted. Returns their connections.
    pub fn close_viewers(&mut self, cx: &mut Context<'_>) -> Vec<ConnId> {
        let conns: Vec<ConnId> = self.viewers.iter().map(|viewer| viewer.conn).collect();
        let reason = "the session has ended";
        let close = |&conn| Effect::Close { conn, code: close::NORMAL, reason };
        cx.effects.extend(conns.iter().map(close));
        conns
    }

    /// Sends a frame to all members and viewers.
    pub(super) fn tell_all(&self, frame: &Frame, cx: &mut Context<'_>) {
        self.room.send(frame, cx);
        self.viewers.send(frame, cx);
    }

    /// Sends a frame to all members but one, and to all viewers.
    pub(super) fn tell_others(&self, conn: ConnId, frame: &Frame, cx: &mut Context<'_>) {
        self.room.send_to_others(conn, frame, cx);
        self.viewers.send(frame, cx);
    }

    /// Sends a frame to all members but the sender, and to all viewers. It may replace the sender's earlier ones
    /// that are still queued.
    pub(super) fn tell_latest_to_others(
        &self,
        sender: ConnId,
        frame: &Frame,
        cx: &mut Context<'_>,
    ) {
        self.room.send_latest_to_others(sender, frame, cx);
        self.viewers.send_latest_to_others(sender, frame, cx);
    }

    /// Sends the document to all viewers.
    pub(super) fn send_state_to_viewers(&mut self, cx: &mut Context<'_>) {
        if !self.viewers.is_empty() {
            let frames = self.state_frames(false, cx);
            for viewer in self.viewers.iter() {
                frames.iter().for_each(|frame| cx.send(viewer.conn, frame));
            }
        }
    }

    fn send_state_to_viewer(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        let frames = self.state_frames(false, cx);
        frames.iter().for_each(|frame| cx.send(conn, frame));
    }
}
