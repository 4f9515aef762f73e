//! Sending the document, or the changes that a client has missed.

use std::sync::Arc;

use super::Session;
use crate::hub::item_frames::UpdateFrames;
use crate::hub::member::{FoundCopy, Request, RoleDetection};
use crate::hub::notes::Note;
use crate::hub::settling::Correction;
use crate::hub::{ConnId, Context};
use crate::protocol::outbound::{Message, write_key};
use crate::protocol::{Frame, Timestamp, UserId, json};

/// From this size on, in bytes, a member's request for the document waits while a document is on its way to it.
const LARGE_DOCUMENT: usize = 64 << 10;

impl Session {
    /// Handles a member's `sync:request`. It waits until a newcomer is recognised.
    pub fn request(&mut self, place: usize, request: Request, cx: &mut Context<'_>) {
        let is_large = self.document.bytes() >= LARGE_DOCUMENT;
        let member = &mut self.room[place];
        if let Some(items) = member.on_second_ack_answered(self.tick) {
            let user = member.user.clone();
            for FoundCopy { id, may_be_gone, is_own } in items {
                if let Some(is_own) = is_own {
                    self.document.note_builder(&id, &user, is_own);
                }
                self.schedule_correction(
                    &user,
                    &id,
                    if may_be_gone { Correction::Rebuild } else { Correction::Update },
                    cx,
                );
            }
            return self.send_null_state(place, cx);
        }
        let awaits_a_state = member.may_be_wiped();
        match &mut member.arrival {
            RoleDetection::Unknown { waiting, .. } => *waiting = Some(request),
            RoleDetection::Sharing { is_asked_for }
                if !*is_asked_for && request.since.is_none() =>
            {
                *is_asked_for = true;
                self.send_null_state(place, cx);
            }
            // One answer for all requests that arrive until it has received the last one.
            _ if is_large && awaits_a_state => member.set_waiting_request(request),
            _ => self.answer(place, &request, cx),
        }
    }

    /// Sends the document to these members.
    pub fn send_state(&mut self, places: &[usize], cx: &mut Context<'_>) {
        for &place in places {
            let is_editor = self.room[place].is_editor;
            let frames = self.state_frames(is_editor, cx);
            let member = &mut self.room[place];
            member.on_state_sent(self.tick);
            self.needs_pings = true;
            frames.iter().for_each(|frame| cx.send(member.conn, frame));
            let user = member.user.clone();
            if is_editor {
                self.note_rebuilt(&user, cx);
            }
        }
    }

    /// Records and stores that a user's canvas is built anew from the document.
    pub(in crate::hub) fn note_rebuilt(&mut self, user: &UserId, cx: &mut Context<'_>) {
        if self.document.remove_builder(user) {
            self.journal_note(user, &Note::Rebuilt, cx);
        }
    }

    /// `sync:state`, and an update of each item if items are settled. Encoded once until the next change.
    pub(in crate::hub) fn state_frames(
        &mut self,
        for_editors: bool,
        cx: &Context<'_>,
    ) -> Arc<[Frame]> {
        let seq = self.history.seq();
        let encoded = &self.encoded[usize::from(for_editors)];
        if let Some((_, frames)) = encoded.as_ref().filter(|(as_of, _)| *as_of == seq) {
            return frames.clone();
        }
        let now = cx.now.wall;
        let mut frames = vec![self.state_frame(seq, for_editors, now)];
        let items = self.document.items().filter(|_| cx.limits.settle);
        for item in items.filter(|item| !for_editors || item.is_for_editors()) {
            let update = UpdateFrames::settled(item, now);
            match for_editors {
                true => frames.extend(update.rebuilt().cloned()),
                false => frames.push(update.plain().clone()),
            }
        }
        let frames: Arc<[Frame]> = frames.into();
        self.encoded[usize::from(for_editors)] = Some((seq, frames.clone()));
        frames
    }

    /// Answers a request with `null`, which changes nothing on the receiver's canvas.
    pub fn send_null_state(&self, place: usize, cx: &mut Context<'_>) {
        let state = self.state_message(self.history.seq(), cx.now.wall, |json| {
            json.extend_from_slice(b"null");
        });
        cx.send(self.room[place].conn, &state);
    }

    pub(super) fn answer(&mut self, place: usize, request: &Request, cx: &mut Context<'_>) {
        let since = self.since(request);
        let conn = self.room[place].conn;
        if !since.is_some_and(|since| self.send_missed(conn, since, cx)) {
            self.send_state(&[place], cx);
        }
    }

    /// The change after which a request wants to catch up; `None` if it is of another epoch.
    pub(in crate::hub) fn since(&self, request: &Request) -> Option<u64> {
        let since = request.since.as_ref().filter(|since| *since.epoch == *self.epoch);
        since.map(|since| since.seq)
    }

    /// Sends the changes after change `since` to a connection. `false` if the history doesn't have them all;
    /// nothing is sent then.
    pub(in crate::hub) fn send_missed(
        &self,
        conn: ConnId,
        since: u64,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(missed) = self.history.after(since) else { return false };
        missed.for_each(|frame| cx.send(conn, frame));
        let done = Message::new("sync:done")
            .string("epoch", &self.epoch)
            .number("seq", self.history.seq())
            .timestamp(cx.now.wall);
        cx.send(conn, &done.finish());
        true
    }

    /// `connection:ack` for the member at `place`, or for a viewer.
    pub(in crate::hub) fn acknowledgement(&self, place: Option<usize>, now: Timestamp) -> Frame {
        let server = format!(r#"{{"name":"collabd","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
        let message = Message::new("connection:ack").string("session_id", self.room.name());
        let message = match place {
            Some(place) => message
                .string("user_id", &self.room[place].user)
                .flag("is_host", self.is_host(place)),
            None => message.raw("user_id", "null").flag("viewer", true).flag("is_host", false),
        };
        message
            .written("users", |json| {
                json.push(b'[');
                for (place, member) in self.room.iter().enumerate() {
                    json.extend_from_slice(if place > 0 { b",{" } else { b"{" });
                    write_key(json, "user_id");
                    json.extend_from_slice(json::string(&member.user).get().as_bytes());
                    let since = member.connected_at;
                    let is_host = self.is_host(place);
                    let rest = format!(r#","connected_at":"{since}","is_host":{is_host}}}"#);
                    json.extend_from_slice(rest.as_bytes());
                }
                json.push(b']');
            })
            .string("epoch", &self.epoch)
            .number("seq", self.history.seq())
            .raw("server", &server)
            .timestamp(now)
            .finish()
    }

    /// `sync:state` with the document as of change `seq`; for editors with the items that they know.
    fn state_frame(&self, seq: u64, for_editors: bool, now: Timestamp) -> Frame {
        self.state_message(seq, now, |json| match for_editors {
            true => self.document.write_editors_state(json, now),
            false => self.document.write_state(json, now),
        })
    }

    fn state_message(&self, seq: u64, now: Timestamp, state: impl FnOnce(&mut Vec<u8>)) -> Frame {
        Message::new("sync:state")
            .written("state", state)
            .flag("from_server", true)
            .string("conflict_resolution", "host_wins")
            .string("epoch", &self.epoch)
            .number("seq", seq)
            .timestamp(now)
            .finish()
    }
}
