//! A member's message: which function handles it.
//!
//! `Sessions` calls [`Session::message`] for each message of a member that the client's thread could read.

use super::member::Request;
use super::message_name::MessageName;
use super::session::Session;
use super::{ConnId, Context};
use crate::protocol::inbound::ClientMessage;
use crate::protocol::outbound::{self, Message};
use crate::protocol::relayed::Body;
use crate::protocol::{Kind, UserId};

/// The member whose message is being handled. It is copied out of the room so that the session can be changed.
pub(super) struct Sender {
    pub conn: ConnId,
    pub user: UserId,
}

impl Session {
    /// Handles a member's message.
    pub fn message(&mut self, conn: ConnId, message: ClientMessage, cx: &mut Context<'_>) {
        let Some(place) = self.room.place(conn) else { return };
        self.begin();
        let member = &mut self.room[place];
        if let ClientMessage::SyncRequest { names_user: true, .. } = message {
            member.is_editor |= !member.has_spoken;
        }
        member.has_spoken = true;
        let is_request =
            matches!(message, ClientMessage::SyncRequest { .. } | ClientMessage::FullState { .. });
        // An editor is recognised by its Pong instead: it may add an item before it has shown its canvas.
        let is_new = !member.is_recognised() && !is_request && !member.is_editor;
        let had_document = self.document.exists();
        if self.room[place].may_write() {
            self.dispatch_message(place, message, cx);
        } else {
            self.handle_readers_message(place, message, cx);
        }
        if let Some(place) = self.room.place(conn).filter(|_| is_new) {
            self.recognise_by_message(place, had_document, cx);
        }
        self.finish(cx);
    }

    /// Handles the message of a member who may write.
    pub(super) fn dispatch_message(
        &mut self,
        place: usize,
        message: ClientMessage,
        cx: &mut Context<'_>,
    ) {
        let conn = self.room[place].conn;
        match message {
            ClientMessage::Ping { echo } => cx.send(conn, &outbound::pong(&echo, cx.now.wall)),
            ClientMessage::Command(command) => self.command(place, command, cx),
            ClientMessage::Relay { body, is_cursor } => self.relay(place, &body, is_cursor, cx),
            ClientMessage::SyncRequest { since, .. } => {
                self.request(place, Request { since }, cx);
            }
            ClientMessage::SyncUpdate { state, id, content } => {
                self.replace_document(place, state, MessageName { id, content }, cx);
            }
            ClientMessage::FullState { state, target } => {
                self.take_snapshot(place, state, target.as_deref(), cx);
            }
            ClientMessage::RefusedFullState(rejection) => {
                cx.send(conn, &outbound::rejected(&rejection));
                self.accept_unseen_host(place, cx);
            }
        }
    }

    /// Relays a message that changes no document. Of several cursors of one sender only the newest waits in a
    /// receiver's send queue.
    fn relay(&mut self, place: usize, body: &Body, is_cursor: bool, cx: &mut Context<'_>) {
        let Sender { conn, user } = self.sender(place);
        let frame = relayed(body, &user, cx).finish();
        match is_cursor {
            true => self.tell_latest_to_others(conn, &frame, cx),
            false => self.tell_others(conn, &frame, cx),
        }
    }

    /// The member at `place` as the sender of a message.
    pub(super) fn sender(&self, place: usize) -> Sender {
        let member = &self.room[place];
        Sender { conn: member.conn, user: member.user.clone() }
    }
}

/// A member's message as it is relayed, without its `seq`.
pub(super) fn relayed(body: &Body, user: &UserId, cx: &Context<'_>) -> Message {
    Message::continuing(body.head(), body.kind()).string("user_id", user).timestamp(cx.now.wall)
}

/// A command that begins with `head`, without its `seq`.
pub(super) fn continued(head: &[u8], user: &UserId, cx: &Context<'_>) -> Message {
    Message::continuing(head, Kind::Command).string("user_id", user).timestamp(cx.now.wall)
}
