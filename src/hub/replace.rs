//! A new state in place of the document: `sync:update`, a restored version, an imported file. And a removed item
//! that is brought back.

use std::sync::Arc;

use super::activity::{ActivityKind, Counts};
use super::document::Applied;
use super::field_changes::FieldChanges;
use super::incoming::Sender;
use super::item::Item;
use super::message_name::MessageName;
use super::publish::Publication;
use super::session::Session;
use super::settling::Correction;
use super::snapshot::MAX_LEFT_OUT_REPORTED;
use super::writing::keep_origin;
use super::{ConnId, Context, Effect, Refusal};
use crate::journal::SnapshotReason;
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
        cx: &mut Context<'_>,
    ) {
        let Sender { conn, user } = self.sender(place);
        if self.answer_repeated(place, &name, "sync:update", cx) {
            return;
        }
        for item in state.left_out.iter().take(MAX_LEFT_OUT_REPORTED) {
            let id = name.id.as_ref().map(|id| id.get());
            cx.send(conn, &outbound::left_out(item, "sync:update", id));
        }
        if let Err(why) = self.document.fits_alone(&state, cx.allowance()) {
            self.refuse_as_too_big(place, why, "sync:update", name.id.as_ref(), None, cx);
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
        self.put_document(state, &user, Some(conn), &name, SnapshotReason::Replaced, cx);
        for id in &removed {
            if self.document.get(id).is_some() {
                self.schedule_correction(&user, id, Correction::Rebuild, cx);
            }
        }
        uncertain.extend(removed);
        for id in uncertain {
            self.correct_now(place, &id, cx);
        }
        self.confirm(place, name, "sync:update", cx);
    }

    /// Puts a stored version or an imported file in the document's place, and answers the request once that is
    /// stored. The document before it becomes a version.
    pub fn restore(&mut self, conn: ConnId, mut state: State, by: &UserId, cx: &mut Context<'_>) {
        if let Err(why) = self.document.fits_alone(&state, cx.allowance()) {
            return cx.effects.push(Effect::Refuse { conn, why: Refusal::TooBig(why) });
        }
        self.begin();
        for item in &mut state.items {
            if let Some(known) = self.document.get(&item.id) {
                keep_origin(known, &mut item.fields);
            }
        }
        let why =
            if state.is_from_file { SnapshotReason::Imported } else { SnapshotReason::Restored };
        self.put_document(state, by, None, &MessageName::NONE, why, cx);
        let body =
            outbound::restored(self.room.name(), &self.epoch, self.history.seq(), cx.now.wall);
        cx.effects.push(Effect::AnswerWhenPersisted { conn, body });
        self.finish(cx);
    }

    /// Adds a removed item again as it was, tells everyone, and answers the request once that is stored.
    pub fn restore_item(&mut self, conn: ConnId, id: &str, by: &UserId, cx: &mut Context<'_>) {
        let refuse = |why, cx: &mut Context<'_>| cx.effects.push(Effect::Refuse { conn, why });
        if self.document.get(id).is_some() {
            return refuse(Refusal::ItemExists, cx);
        }
        self.begin();
        match self.document.bring_back(id, self.author(by, cx), cx.allowance()) {
            Ok(true) => {}
            Ok(false) => return refuse(Refusal::ItemNotKept, cx),
            Err(why) => return refuse(Refusal::TooBig(why), cx),
        }
        // A user who writes through the API counts as one who was in the session.
        self.document.meet(by);
        self.forget_encoded();
        let Some(item) = self.document.get(id) else { return };
        let change = Applied::Added(item.id.clone());
        let seq = self.history.next_seq();
        let written = FieldChanges::default();
        self.activity.note_item(seq, by, ActivityKind::Add, item, written, cx.now);
        let why = SnapshotReason::Regular;
        let how = Publication { user: by, version: 0, why, id: None, except: None, is_news: false };
        self.publish(&[change], how, cx);
        let body =
            outbound::restored(self.room.name(), &self.epoch, self.history.seq(), cx.now.wall);
        cx.effects.push(Effect::AnswerWhenPersisted { conn, body });
        self.finish(cx);
    }

    /// Puts a state in the document's place, makes a version of the document before it, and tells the members
    /// except `except`.
    fn put_document(
        &mut self,
        state: State,
        user: &UserId,
        except: Option<ConnId>,
        name: &MessageName,
        why: SnapshotReason,
        cx: &mut Context<'_>,
    ) {
        self.journal_version(cx);
        let before = self.version_before(user, why, cx);
        if matches!(why, SnapshotReason::Restored | SnapshotReason::Imported) {
            self.document.forget_extra();
        }
        // A user who writes through the API counts as one who was in the session.
        self.document.meet(user);
        let version = state.version;
        let changes = self.document.replace(state, self.author(user, cx));
        match before {
            _ if changes.is_empty() => self.document.advance(version),
            Some(before) => self.versions.add(before, cx.limits.document),
            None => {}
        }
        self.forget_encoded();
        let did = match why {
            SnapshotReason::Restored => ActivityKind::Restore,
            SnapshotReason::Imported => ActivityKind::Import,
            _ => ActivityKind::Replace,
        };
        let seq = match changes.len() as u64 {
            0 => self.history.seq(),
            several => self.history.next_seq() - 1 + several,
        };
        self.activity.note_whole(seq, user, did, Counts::of(&changes), cx.now);
        let id = name.stored();
        let how = Publication { user, version, why, id: id.as_deref(), except, is_news: true };
        self.publish(&changes, how, cx);
        if !self.viewers.is_empty()
            && let Some(done) = self.activity.last()
        {
            self.viewers.send(&done, cx);
        }
    }
}
