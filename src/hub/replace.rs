//! A new state in place of the document: `sync:update`, a restored version, an imported file.

use std::sync::Arc;

use super::incoming::Sender;
use super::item::Item;
use super::message_name::MessageName;
use super::publish::Publication;
use super::recent::ActivityKind;
use super::session::Session;
use super::settle::Correction;
use super::snapshot::MAX_LEFT_OUT_REPORTED;
use super::writing::keep_origin;
use super::{ConnId, Effect, Refusal, Turn};
use crate::kept::Why;
use crate::protocol::UserId;
use crate::protocol::inbound::State;
use crate::protocol::outbound;

impl Session {
    /// Handles `sync:update`: the sender's canvas becomes the document. The other members are sent the
    /// differences as commands.
    pub(super) fn replace_document(
        &mut self,
        place: usize,
        state: State,
        name: MessageName,
        turn: &mut Turn<'_>,
    ) {
        let Sender { conn, user } = self.sender(place);
        if self.answer_repeated(place, &name, "sync:update", turn) {
            return;
        }
        for item in state.left_out.iter().take(MAX_LEFT_OUT_REPORTED) {
            let id = name.id.as_ref().map(|id| id.get());
            turn.send(conn, &outbound::left_out(item, "sync:update", id));
        }
        if let Err(why) = self.document.fits_alone(&state, turn.allowance()) {
            self.refuse_as_too_big(place, why, "sync:update", name.id.as_ref(), None, turn);
            return;
        }
        self.room[place].note_edit();
        // Commands of others that are on their way to the sender will change the canvas that it has just sent.
        // It is told these items again.
        let member = &self.room[place];
        let crossed = |item: &&Item| member.may_be_crossed(item);
        let mut uncertain: Vec<Arc<str>> =
            self.document.items().filter(crossed).map(|item| item.id.clone()).collect();
        let removed = self.document.removed().iter();
        let removed = removed.filter(|(_, stone)| member.is_on_its_way(stone.tick));
        let removed: Vec<Arc<str>> = removed.map(|(id, _)| id.clone()).collect();
        self.put_document(state, &user, Some(conn), &name, Why::Replaced, turn);
        for id in &removed {
            if self.document.get(id).is_some() {
                self.schedule_correction(&user, id, Correction::Rebuild, turn);
            }
        }
        uncertain.extend(removed);
        for id in uncertain {
            self.correct_now(place, &id, turn);
        }
        self.confirm(place, name, "sync:update", turn);
    }

    /// Puts a stored version or an imported file in the document's place, and answers the request once that is
    /// stored. The document before it becomes a version.
    pub fn restore(&mut self, conn: ConnId, mut state: State, by: &UserId, turn: &mut Turn<'_>) {
        if let Err(why) = self.document.fits_alone(&state, turn.allowance()) {
            return turn.effects.push(Effect::Refuse { conn, why: Refusal::TooBig(why) });
        }
        self.begin();
        for item in &mut state.items {
            if let Some(known) = self.document.get(&item.id) {
                keep_origin(known, &mut item.fields);
            }
        }
        let why = if state.is_from_file { Why::Imported } else { Why::Restored };
        self.put_document(state, by, None, &MessageName::NONE, why, turn);
        let body =
            outbound::restored(self.room.name(), &self.epoch, self.history.seq(), turn.now.wall);
        turn.effects.push(Effect::AnswerKept { conn, body });
        self.finish(turn);
    }

    /// Puts a state in the document's place, makes a version of the document before it, and tells the members
    /// except `except`.
    fn put_document(
        &mut self,
        state: State,
        user: &UserId,
        except: Option<ConnId>,
        name: &MessageName,
        why: Why,
        turn: &mut Turn<'_>,
    ) {
        self.keep_version(turn);
        let before = self.version_before(user, why, turn);
        if matches!(why, Why::Restored | Why::Imported) {
            self.document.forget_extra();
        }
        // A user who writes through the API counts as one who was in the session.
        self.document.meet(user);
        let version = state.version;
        let changes = self.document.replace(state, self.author(user));
        match before {
            _ if changes.is_empty() => self.document.advance(version),
            Some(before) => self.versions.add(before, turn.limits.document),
            None => {}
        }
        self.forget_encoded();
        let did = match why {
            Why::Restored => ActivityKind::Restore,
            Why::Imported => ActivityKind::Import,
            _ => ActivityKind::Replace,
        };
        let seq = match changes.len() as u64 {
            0 => self.history.seq(),
            several => self.history.next_seq() - 1 + several,
        };
        self.recent.note(seq, user, did, None, turn.now);
        let id = name.stored();
        let how = Publication { user, version, why, id: id.as_deref(), except, is_news: true };
        self.publish(&changes, how, turn);
    }
}
