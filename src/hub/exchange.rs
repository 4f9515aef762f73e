//! What members say to each other: commands, relays, a whole new state; and what is confirmed.

use super::document::{Author, Outcome};
use super::keeping::Made;
use super::member::{IN_FLIGHT, Request};
use super::recent::{Did, Seen};
use super::session::Session;
use super::{ConnId, Effect, Refusal, Turn};
use crate::kept::Why;
use crate::protocol::inbound::{Action, ClientMessage, Command, MessageId, State};
use crate::protocol::outbound::{self, Message};
use crate::protocol::relayed::Body;
use crate::protocol::{Frame, Kind, UserId};

impl Session {
    /// Handles what a member said.
    pub fn message(&mut self, conn: ConnId, message: ClientMessage, turn: &mut Turn<'_>) {
        let Some(place) = self.room.place(conn) else { return };
        if !self.room[place].may_write() && self.refuse_reader(place, &message, turn) {
            return;
        }
        match message {
            ClientMessage::Ping { echo } => turn.send(conn, &outbound::pong(&echo, turn.now.wall)),
            ClientMessage::Command(command) => self.command(place, command, turn),
            ClientMessage::Relay { body, is_cursor } => self.relay(place, &body, is_cursor, turn),
            ClientMessage::SyncRequest { since, .. } => {
                self.request(place, Request { since }, turn);
            }
            ClientMessage::SyncUpdate { state, id, .. } => self.replace(place, state, id, turn),
            ClientMessage::FullState { state, target } => {
                self.take_snapshot(place, &state, target.as_deref(), turn);
            }
            ClientMessage::RefusedFullState(rejection) => {
                turn.send(conn, &outbound::rejected(&rejection));
                self.leave_canvas_alone(place, turn);
            }
        }
    }

    fn command(&mut self, place: usize, mut command: Command, turn: &mut Turn<'_>) {
        let Sender { conn, user } = self.sender(place);
        if self.is_repeated(place, command.id.as_ref(), "command", turn) {
            return;
        }
        self.note_what_is_known(place, &command);
        let removed = self.document.get(&command.item_id);
        let removed = removed.filter(|_| command.action == Action::Remove).map(Seen::of);
        let author = Author { user: &user, at: turn.elapsed() };
        let Ok(outcome) = self.document.apply(&mut command, author, turn.limits.document) else {
            self.refuse_as_too_big(place, "command", command.id.as_ref(), turn);
            self.correct(place, &command.item_id, turn);
            return;
        };
        let relayed = match (outcome, command.action) {
            // An editor that has the item already would show it twice.
            (Outcome::Changed, Action::Add) => {
                Message::continuing(&command.body.with_action("update_item"), Kind::Command)
            }
            _ => Message::continuing(command.body.head(), Kind::Command),
        };
        let relayed = relayed.string("user_id", &user).timestamp(turn.now.wall);
        let relayed = match outcome {
            Outcome::Nothing => {
                if let Some(id) = &command.id {
                    self.keep_id(user.clone(), id.get().into(), turn);
                }
                relayed.finish()
            }
            _ => {
                let relayed = self.applied(relayed, 0, turn);
                self.keep_change(&user, &relayed, command.id.as_ref(), turn);
                self.note_done(&user, &command, removed, turn);
                relayed
            }
        };
        if outcome == Outcome::Added {
            self.make_way(conn, &command.item_id, turn);
        }
        self.tell_others(conn, &relayed, turn);
        if command.action != Action::Other {
            self.touch(place, &command.item_id, outcome, turn);
        }
        self.confirm(place, command.id, "command", turn);
    }

    /// Takes note of a command that was applied.
    fn note_done(
        &mut self,
        user: &UserId,
        command: &Command,
        removed: Option<Seen>,
        turn: &Turn<'_>,
    ) {
        let seq = self.history.seq();
        match Did::by(command.action) {
            Some(Did::Remove) => self.recent.note_removed(seq, user, removed, turn.now),
            Some(did) => {
                let item = self.document.get(&command.item_id);
                self.recent.note(seq, user, did, item, turn.now);
            }
            None => {}
        }
    }

    fn relay(&mut self, place: usize, body: &Body, is_cursor: bool, turn: &mut Turn<'_>) {
        let Sender { conn, user } = self.sender(place);
        let relayed = Message::continuing(body.head(), body.kind());
        let frame = relayed.string("user_id", &user).timestamp(turn.now.wall).finish();
        match is_cursor {
            true => self.tell_latest_to_others(conn, &frame, turn),
            false => self.tell_others(conn, &frame, turn),
        }
    }

    /// `sync:update`: the sender's canvas is the document from now on.
    fn replace(&mut self, place: usize, state: State, id: Option<MessageId>, turn: &mut Turn<'_>) {
        let Sender { conn, user } = self.sender(place);
        if self.is_repeated(place, id.as_ref(), "sync:update", turn) {
            return;
        }
        if !self.document.fits_alone(&state, turn.limits.document) {
            self.refuse_as_too_big(place, "sync:update", id.as_ref(), turn);
            return;
        }
        // What others did meanwhile may be on its way to the sender and would be applied on top.
        let crossed = turn.limits.settle
            && (self.changed_by_others_within(&user, IN_FLIGHT, turn)
                || self.room[place].may_be_crossed(turn.elapsed()));
        self.put(state, &user, id.as_ref(), Why::Replaced, turn);
        let receivers = self.places_but(|member| member.conn == conn && !crossed);
        self.send_state(&receivers, turn);
        self.show_viewers(turn);
        self.confirm(place, id, "sync:update", turn);
    }

    /// An earlier state, or one from elsewhere, is the document from now on; what it was before is
    /// kept as a version.
    pub fn restore(&mut self, conn: ConnId, state: State, by: &UserId, turn: &mut Turn<'_>) {
        if !self.document.fits_alone(&state, turn.limits.document) {
            return turn.effects.push(Effect::Refuse { conn, why: Refusal::TooBig });
        }
        self.keep_version(turn);
        self.document.forget_extra();
        self.put(state, by, None, Why::Restored, turn);
        let everyone = self.places_but(|_| false);
        self.send_state(&everyone, turn);
        self.show_viewers(turn);
        let body =
            outbound::restored(self.room.name(), &self.epoch, self.history.seq(), turn.now.wall);
        turn.effects.push(Effect::AnswerKept { conn, body });
    }

    /// Puts a state in the document's place, as one change.
    fn put(
        &mut self,
        state: State,
        user: &UserId,
        id: Option<&MessageId>,
        why: Why,
        turn: &mut Turn<'_>,
    ) {
        let version = state.version;
        self.document.replace(state, Author { user, at: turn.elapsed() });
        self.document.advance(version);
        let frame = self.state_frame(self.history.next_seq(), turn.now.wall);
        self.history.push(frame.clone(), turn.limits.history);
        let did = if why == Why::Restored { Did::Restore } else { Did::Replace };
        self.recent.note(self.history.seq(), user, did, None, turn.now);
        self.note_change(user, turn);
        self.keep_made(Made { user, frames: vec![frame], id }, why, turn);
    }

    /// Numbers an applied change, finishes its message and keeps it in the history.
    pub fn applied(&mut self, relayed: Message, version: u64, turn: &mut Turn<'_>) -> Frame {
        let frame = relayed.number("seq", self.history.next_seq()).finish();
        self.document.advance(version);
        self.history.push(frame.clone(), turn.limits.history);
        frame
    }

    /// Confirms a message again that was taken before. Whether it was.
    fn is_repeated(
        &mut self,
        place: usize,
        id: Option<&MessageId>,
        original_type: &str,
        turn: &mut Turn<'_>,
    ) -> bool {
        let member = &self.room[place];
        let taken = id.and_then(|id| Some((id, self.history.confirmed(&member.user, id.get())?)));
        if let Some((id, seq)) = taken {
            let frame = outbound::delivered(id, seq, original_type, turn.now.wall);
            turn.effects.push(Effect::Confirm { conn: member.conn, frame });
        }
        taken.is_some()
    }

    fn confirm(
        &mut self,
        place: usize,
        id: Option<MessageId>,
        original_type: &str,
        turn: &mut Turn<'_>,
    ) {
        let Some(id) = id else { return };
        let Sender { conn, user } = self.sender(place);
        self.history.confirm(&user, id.get(), turn.limits.history);
        let frame = outbound::delivered(&id, self.history.seq(), original_type, turn.now.wall);
        turn.effects.push(Effect::Confirm { conn, frame });
    }

    /// Tells a sender that there is no room for its change.
    pub fn refuse_as_too_big(
        &self,
        place: usize,
        original_type: &str,
        id: Option<&MessageId>,
        turn: &mut Turn<'_>,
    ) {
        let message = "the item or the document would become larger than the server allows";
        let id = id.map(|id| id.get());
        let error = outbound::error("document_full", message, 413, Some(original_type), id, None);
        turn.send(self.room[place].conn, &error);
    }

    fn sender(&self, place: usize) -> Sender {
        let member = &self.room[place];
        Sender { conn: member.conn, user: member.user.clone() }
    }
}

/// Who said something, while its session is being changed.
struct Sender {
    conn: ConnId,
    user: UserId,
}
