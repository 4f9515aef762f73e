//! What members say to each other: commands, relays, a whole new state; and what is confirmed.
//!
//! A command goes through [`Session::command`]: has it been taken before, what does it do
//! ([`Session::decide`], which changes nothing), do it, number it, have it kept, tell the others,
//! settle, confirm.

use std::borrow::Cow;
use std::sync::Arc;

use super::bounds::TooBig;
use super::document::Author;
use super::history::Repeat;
use super::item::{Item, PLACE, is_fixed};
use super::item_frames::{self, UpdateFrames, settled_remove};
use super::keeping::Made;
use super::member::Request;
use super::notes::Note;
use super::publish::Publication;
use super::recent::{Did, Seen};
use super::session::Session;
use super::settle::{Owed, send_settled};
use super::snapshot::MAX_LEFT_OUT;
use super::told::{Audience, Part};
use super::writing::{CopyKind, Written, color_print, keep_origin, with_moved_interfaces, written};
use super::{ConnId, Effect, Refusal, Turn};
use crate::kept::Why;
use crate::protocol::inbound::{Action, ClientMessage, Command, MessageId, State};
use crate::protocol::json::Fields;
use crate::protocol::outbound::{self, Message};
use crate::protocol::relayed::Body;
use crate::protocol::{Frame, Kind, UserId};

/// What a command does.
enum Decision {
    /// It adds the item.
    Add { is_pasted: bool },
    /// It writes these fields of an item that is there.
    Write { fields: Fields, relay: Relay, is_stale: bool },
    /// It removes the item.
    Remove,
    /// It removes an item that is gone already.
    RemoveAgain,
    /// It changes nothing. Here and above, `is_stale` is whether the sender's copy shows something that
    /// was not taken.
    Nothing { is_stale: bool },
    /// It is about an item that somebody else removed: the sender is told so. `is_deaf` where it has been
    /// told before, and its copy didn't hear it.
    Removed { is_deaf: bool },
}

/// How a change of an item is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relay {
    /// As the sender said it.
    AsSaid,
    /// As a move, with what the document says.
    Move,
    /// As an update with the whole item.
    Update,
}

impl Session {
    /// Handles what a member said.
    pub fn message(&mut self, conn: ConnId, message: ClientMessage, turn: &mut Turn<'_>) {
        let Some(place) = self.room.place(conn) else { return };
        self.begin();
        let member = &mut self.room[place];
        if let ClientMessage::SyncRequest { names_user: true, .. } = message {
            member.is_editor |= !member.has_spoken;
        }
        member.has_spoken = true;
        let is_request =
            matches!(message, ClientMessage::SyncRequest { .. } | ClientMessage::FullState { .. });
        // An editor answers its Ping, and may add something before it has shown its canvas.
        let is_new = !member.is_recognised() && !is_request && !member.is_editor;
        let had_document = self.document.exists();
        if self.room[place].may_write() {
            self.handle_message(place, message, turn);
        } else {
            self.handle_readers_message(place, message, turn);
        }
        if let Some(place) = self.room.place(conn).filter(|_| is_new) {
            self.recognise_by_message(place, had_document, turn);
        }
        self.finish(turn);
    }

    /// Handles what somebody said who may write.
    pub(super) fn handle_message(
        &mut self,
        place: usize,
        message: ClientMessage,
        turn: &mut Turn<'_>,
    ) {
        let conn = self.room[place].conn;
        match message {
            ClientMessage::Ping { echo } => turn.send(conn, &outbound::pong(&echo, turn.now.wall)),
            ClientMessage::Command(command) => self.command(place, command, turn),
            ClientMessage::Relay { body, is_cursor } => self.relay(place, &body, is_cursor, turn),
            ClientMessage::SyncRequest { since, .. } => {
                self.request(place, Request { since }, turn);
            }
            ClientMessage::SyncUpdate { state, id, content } => {
                self.replace(place, state, Named { id, content }, turn);
            }
            ClientMessage::FullState { state, target } => {
                self.take_snapshot(place, state, target.as_deref(), turn);
            }
            ClientMessage::RefusedFullState(rejection) => {
                turn.send(conn, &outbound::rejected(&rejection));
                self.leave_canvas_alone(place, turn);
            }
        }
    }

    fn command(&mut self, place: usize, mut command: Command, turn: &mut Turn<'_>) {
        let name = Named { id: command.id.take(), content: command.content };
        if self.is_repeated(place, &name, "command", turn) {
            return;
        }
        let Sender { conn, user } = self.sender(place);
        if command.action == Action::Other {
            let frame = relayed(&command.body, &user, turn).finish();
            self.keep_name(&user, &name, turn);
            self.tell_others(conn, &frame, turn);
            return self.confirm(place, name, "command", turn);
        }
        self.room[place].edits();
        let known = self.document.get(&command.item_id);
        let id = known.map_or_else(|| command.item_id.as_ref().into(), |item| item.id.clone());
        let is_crossed = known.is_some_and(|item| self.room[place].may_be_crossed(item));
        if is_crossed {
            self.room[place].has_crossed(turn.elapsed());
        }
        let has_another = command.action == Action::Update
            && command.is_whole
            && turn.limits.settle
            && known.is_some_and(|item| self.room[place].has_another(item));
        let decision = self.decide(place, &id, &mut command, turn);
        if command.action == Action::Add {
            self.document.note_builder(&id, &user, true);
        }
        let done = match decision {
            Decision::Add { is_pasted } => {
                self.add(place, &id, &mut command, is_pasted, &name, turn)
            }
            Decision::Write { fields, relay, is_stale } => {
                if is_stale {
                    self.owe(&user, &id, Owed::Update, turn);
                }
                self.write(place, &id, &command, fields, relay, &name, turn)
            }
            Decision::Remove => {
                self.remove(place, &id, &command, &name, turn);
                Ok(())
            }
            Decision::RemoveAgain => {
                self.keep_name(&user, &name, turn);
                if self.document.remove_again(&id, &user) {
                    self.keep_note(&user, &Note::RemovedAgain((&*id).into()), turn);
                }
                Ok(())
            }
            Decision::Nothing { is_stale } => {
                self.keep_name(&user, &name, turn);
                if is_stale {
                    self.owe(&user, &id, Owed::Update, turn);
                }
                Ok(())
            }
            Decision::Removed { is_deaf } => {
                self.keep_name(&user, &name, turn);
                if command.is_whole {
                    self.document.note_said_of_removed(&id, &command.data);
                }
                if is_deaf {
                    self.room[place].pasted(&id, false);
                    self.greet_again(place, turn);
                }
                turn.send(conn, &settled_remove(&id, &user, turn.now.wall));
                self.room[place].is_sent_a_removal(&id, self.tick);
                Ok(())
            }
        };
        if let Err(why) = done {
            self.refuse_as_too_big(place, why, "command", name.id.as_ref(), Some(&id), turn);
            // What is on the sender's canvas alone, pasted or from a canvas that was refused, stays there. What was
            // placed just now goes: else its user works on without knowing that nobody else sees it.
            if command.action == Action::Add || self.document.get(&id).is_some() {
                self.correct(place, &id, turn);
            }
            return;
        }
        if has_another {
            // The one that is on its way is removed, and once the other one can hear it is built anew:
            // which of them its editor shows is not known.
            turn.send(conn, &settled_remove(&id, &user, turn.now.wall));
            self.room[place].is_sent_a_removal(&id, self.tick);
            self.room[place].pasted(&id, true);
            self.greet_again(place, turn);
        } else if is_crossed {
            self.owe(&user, &id, Owed::Update, turn);
        }
        self.confirm(place, name, "command", turn);
    }

    /// What a command does. Changes nothing but what is known of the sender's copy.
    fn decide(
        &mut self,
        place: usize,
        id: &Arc<str>,
        command: &mut Command,
        turn: &Turn<'_>,
    ) -> Decision {
        let tick = self.tick;
        let member = &mut self.room[place];
        let Some(item) = self.document.get(id) else {
            let tombstone = self.document.removed().get(id);
            let is_removed = tombstone.is_some_and(|tombstone| !tombstone.is_by(&member.user));
            let is_own_removal = tombstone.is_some_and(|tombstone| tombstone.is_by(&member.user));
            // A script isn't asked what it has received before it edits: what it was sent counts.
            let is_script = !member.is_editor && member.is_recognised();
            let is_told = tombstone.is_some_and(|stone| is_script || member.knows_of(stone.tick));
            return match command.action {
                Action::Add if !is_removed || is_told => Decision::Add { is_pasted: false },
                Action::Update if command.is_whole && !is_removed => {
                    Decision::Add { is_pasted: true }
                }
                // Of an item that it was sent, an editor says no more than this after an undone removal.
                Action::Move if command.is_whole && is_own_removal => {
                    Decision::Add { is_pasted: true }
                }
                Action::Remove => Decision::RemoveAgain,
                _ if is_removed => {
                    let is_pasted = command.action == Action::Update && command.is_whole;
                    Decision::Removed { is_deaf: member.is_editor && is_pasted && is_told }
                }
                _ => Decision::Nothing { is_stale: false },
            };
        };
        let said = std::mem::take(&mut command.data);
        let mut is_own = None;
        let (fields, is_exact, is_stale) = match command.action {
            Action::Remove | Action::Other => return Decision::Remove,
            _ if command.is_whole => {
                let copy = match command.action {
                    Action::Update => member.copy_of_update(item, turn.limits.settle),
                    _ => member.copy_of(item, turn.limits.settle),
                };
                let is_gone = copy.is_gone && command.action == Action::Update;
                let is_blank = copy.kind == CopyKind::Blank;
                let written = written(item, said, copy);
                // An editor reports every field of its copy, those that it doesn't know, too.
                let is_lacking = member.is_editor && !is_blank && written.lacks_something;
                if !is_gone {
                    member.says(id, &written, tick);
                }
                // One that is gone is none that messages may reach later.
                is_own = written.is_own.filter(|_| member.is_editor && !is_gone);
                is_own = is_own.filter(|is_own| member.tells_of_origin(item, *is_own));
                if command.action == Action::Add {
                    member.lists(id, tick);
                }
                let is_stale = is_gone || is_lacking || written.is_stale || written.is_color_stale;
                (written.fields, written.is_exact, is_stale)
            }
            Action::Move => {
                let is_place = |key: &str| PLACE.contains(&key);
                let is_exact =
                    said.iter().all(|(key, value)| is_place(key) || is_fixed(key, value));
                (said.into_iter().filter(|(key, _)| is_place(key)).collect(), is_exact, false)
            }
            Action::Add | Action::Update => (with_moved_interfaces(item, said), true, false),
        };
        let is_place = fields.iter().all(|(key, _)| PLACE.contains(&&**key));
        let relay = match command.action {
            Action::Move if is_place && is_exact && !item.hides_path() => Relay::AsSaid,
            Action::Move if is_place => Relay::Move,
            _ => Relay::Update,
        };
        if let Some(is_own) = is_own {
            self.document.note_builder(id, &self.room[place].user, is_own);
        }
        if command.is_whole && fields.is_empty() {
            return Decision::Nothing { is_stale };
        }
        Decision::Write { fields, relay, is_stale }
    }

    fn add(
        &mut self,
        place: usize,
        id: &Arc<str>,
        command: &mut Command,
        is_pasted: bool,
        name: &Named,
        turn: &mut Turn<'_>,
    ) -> Result<(), TooBig> {
        let Sender { conn, user } = self.sender(place);
        let fields = std::mem::take(&mut command.data);
        let written = Written { color: color_print(&fields), ..Written::default() };
        let item_type = command.item_type.as_deref();
        let author = self.author(&user);
        let member = &self.room[place];
        let tombstone = self.document.removed().get(id).map(|tombstone| tombstone.tick);
        let is_removed_again =
            tombstone.is_some_and(|tick| member.is_on_its_way(tick.max(member.removals)));
        let is_wiped = member.may_be_wiped() || is_removed_again;
        self.document.add(id, fields, item_type, author, turn.allowance())?;
        match is_pasted {
            true => self.room[place].pasted(id, is_wiped),
            false => self.room[place].lists(id, author.tick),
        }
        self.room[place].brings(id);
        self.room[place].says_in_list(id, &written, author.tick);
        let Some(item) = self.document.get(id) else { return Ok(()) };
        let frame = match is_pasted || item.hides_path() {
            false => relayed(&command.body, &user, turn),
            // An editor builds an item of the command's type.
            true if command.item_type.is_none() => {
                item_frames::add(item).string("user_id", &user).timestamp(turn.now.wall)
            }
            true => {
                let head = command.body.with_data("add_item", |json| item.write(json));
                continued(&head, &user, turn)
            }
        };
        let hides = item.hides_path();
        let frame = self.applied(frame, 0, turn);
        self.keep_applied(&user, &frame, name, hides, turn);
        self.note_owners(id);
        let tick = self.tick;
        let Some(item) = self.document.get(id) else { return Ok(()) };
        self.recent.note(self.history.seq(), &user, Did::Add, Some(item), turn.now);
        let update = UpdateFrames::settled(item, turn.now.wall);
        let seq = self.history.seq();
        // A script may not have named the type as an editor needs it.
        let for_editors = item.field("_type").is_none().then(|| {
            let message = item_frames::add(item).string("user_id", &user).timestamp(turn.now.wall);
            message.number("seq", seq).finish()
        });
        for member in self.room.iter_mut().filter(|member| member.conn != conn) {
            if !member.is_recognised() || (member.is_editor && !item.is_for_editors()) {
                continue;
            }
            if !member.has_already(id) {
                if member.may_have() && turn.limits.settle {
                    turn.send(member.conn, &settled_remove(id, &user, turn.now.wall));
                }
                let form = for_editors.as_ref().filter(|_| member.is_editor);
                turn.send(member.conn, form.unwrap_or(&frame));
            }
            if turn.limits.settle {
                send_settled(member, &update, turn);
                self.needs_pings |= member.is_sent_something_urgent(tick);
            }
        }
        self.viewers.send(&frame, turn);
        if turn.limits.settle {
            self.viewers.send(update.plain(), turn);
        }
        self.told(id, Part::Whole, Audience::AllBut(Some(user.clone())));
        match is_pasted && self.room[place].is_editor {
            // Whether its copy is still there is known once it has looked through its canvas.
            true => self.greet_again(place, turn),
            false if is_wiped => self.owe(&user, id, Owed::Anew, turn),
            false => {}
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a pipeline")]
    fn write(
        &mut self,
        place: usize,
        id: &Arc<str>,
        command: &Command,
        fields: Fields,
        relay: Relay,
        name: &Named,
        turn: &mut Turn<'_>,
    ) -> Result<(), TooBig> {
        let Sender { conn, user } = self.sender(place);
        let turns = fields.iter().any(|(key, _)| **key == *PLACE[2]);
        let before = turns.then(|| self.document.get(id).map(|item| item.angle())).flatten();
        self.document.overwrite(id, fields, self.author(&user), turn.allowance())?;
        let Some(item) = self.document.get(id) else { return Ok(()) };
        let hides = item.hides_path() && relay == Relay::Update;
        let has_turned = turns && before != Some(item.angle());
        let head = match relay {
            Relay::AsSaid => Cow::Borrowed(command.body.head()),
            Relay::Move => command.body.with_data("move_item", |json| item.write(json)).into(),
            Relay::Update => command
                .body
                .with_data("update_item", |json| item_frames::write_whole(item, json))
                .into(),
        };
        let frame = self.applied(continued(&head, &user, turn), 0, turn);
        self.keep_applied(&user, &frame, name, hides, turn);
        let Some(item) = self.document.get(id) else { return Ok(()) };
        let seq = self.history.seq();
        let did = if relay == Relay::Update { Did::Update } else { Did::Move };
        self.recent.note(seq, &user, did, Some(item), turn.now);
        let part = self.relay_write(conn, item, &frame, relay, has_turned, turn);
        self.viewers.send(&frame, turn);
        self.told(id, part, Audience::AllBut(Some(user.clone())));
        self.item_changed(&user, id, turn);
        Ok(())
    }

    /// Tells the other members of a change of an item, each in the form that its copy needs. What editors
    /// are told of it.
    fn relay_write(
        &self,
        conn: ConnId,
        item: &Item,
        frame: &Frame,
        relay: Relay,
        has_turned: bool,
        turn: &mut Turn<'_>,
    ) -> Part {
        let seq = self.history.seq();
        let others =
            self.room.iter().filter(|member| member.conn != conn && member.is_recognised());
        // A locked copy refuses the place that it is sent.
        let is_locked = turn.limits.settle && item.may_be_locked_before(self.tick);
        let is_for_all = match relay {
            _ if is_locked => false,
            Relay::Update => {
                item.is_for_editors() && item.moved_interfaces().is_none() && !item.hides_path()
            }
            _ => item.is_for_editors() && !has_turned && !item_frames::is_turned(item),
        };
        if is_for_all {
            others.for_each(|member| turn.send(member.conn, frame));
            return if relay == Relay::Update { Part::Whole } else { Part::Place };
        }
        let writer = item.writer.clone();
        let update = UpdateFrames::change(item, seq, &writer, turn.now.wall);
        let settled = UpdateFrames::settled(item, turn.now.wall);
        let alone = std::cell::OnceCell::new();
        for member in others {
            if is_locked {
                settled.unlocking(member).iter().for_each(|form| turn.send(member.conn, form));
            }
            let form = match relay {
                _ if !member.is_editor => Some(frame),
                _ if !item.is_for_editors() => None,
                Relay::Update if member.has_moved_copy(item) || item.hides_path() => {
                    update.for_member(member)
                }
                Relay::Update => Some(frame),
                _ if is_locked => update.for_member(member),
                // Editors turn the sign of an angle that a `move_item` has.
                _ if has_turned => update.for_member(member),
                _ => Some(alone.get_or_init(|| {
                    let command = item_frames::place_alone(item);
                    let command = command.string("user_id", &writer).timestamp(turn.now.wall);
                    command.number("seq", seq).finish()
                })),
            };
            form.iter().for_each(|form| turn.send(member.conn, form));
        }
        if relay == Relay::Update || has_turned || is_locked { Part::Whole } else { Part::Position }
    }

    fn remove(
        &mut self,
        place: usize,
        id: &Arc<str>,
        command: &Command,
        name: &Named,
        turn: &mut Turn<'_>,
    ) {
        let Sender { conn, user } = self.sender(place);
        let Some(item) = self.document.get(id) else { return };
        let (seen, is_crossed) = (Seen::of(item), self.room[place].may_be_crossed(item));
        self.document.remove(id, self.author(&user));
        let frame = self.applied(relayed(&command.body, &user, turn), 0, turn);
        self.keep_applied(&user, &frame, name, false, turn);
        self.recent.note_removed(self.history.seq(), &user, Some(seen), turn.now);
        self.room.iter_mut().for_each(|member| member.forgets(id));
        self.told_last = self.tick;
        for member in self.room.iter().filter(|member| member.conn != conn) {
            if member.is_recognised() {
                turn.send(member.conn, &frame);
            }
        }
        self.viewers.send(&frame, turn);
        if is_crossed && turn.limits.settle {
            // What was on its way to the sender may have brought the item back.
            turn.send(conn, &settled_remove(id, &user, turn.now.wall));
            self.room[place].is_sent_a_removal(id, self.tick);
        }
        self.item_changed(&user, id, turn);
    }

    fn relay(&mut self, place: usize, body: &Body, is_cursor: bool, turn: &mut Turn<'_>) {
        let Sender { conn, user } = self.sender(place);
        let frame = relayed(body, &user, turn).finish();
        match is_cursor {
            true => self.tell_latest_to_others(conn, &frame, turn),
            false => self.tell_others(conn, &frame, turn),
        }
    }

    /// `sync:update`: the sender's canvas is the document from now on. All others are told as commands
    /// what that changes for them.
    fn replace(&mut self, place: usize, state: State, name: Named, turn: &mut Turn<'_>) {
        let Sender { conn, user } = self.sender(place);
        if self.is_repeated(place, &name, "sync:update", turn) {
            return;
        }
        for item in state.left_out.iter().take(MAX_LEFT_OUT) {
            let id = name.id.as_ref().map(|id| id.get());
            turn.send(conn, &outbound::left_out(item, "sync:update", id));
        }
        if let Err(why) = self.document.fits_alone(&state, turn.allowance()) {
            self.refuse_as_too_big(place, why, "sync:update", name.id.as_ref(), None, turn);
            return;
        }
        self.room[place].edits();
        // What others did meanwhile may be on its way to the sender and would be applied on top.
        let member = &self.room[place];
        let crossed = |item: &&Item| member.may_be_crossed(item);
        let mut uncertain: Vec<Arc<str>> =
            self.document.items().filter(crossed).map(|item| item.id.clone()).collect();
        let removed = self.document.removed().iter();
        let removed = removed.filter(|(_, stone)| member.is_on_its_way(stone.tick));
        let removed: Vec<Arc<str>> = removed.map(|(id, _)| id.clone()).collect();
        self.put(state, &user, Some(conn), &name, Why::Replaced, turn);
        for id in &removed {
            if self.document.get(id).is_some() {
                self.owe(&user, id, Owed::Anew, turn);
            }
        }
        uncertain.extend(removed);
        for id in uncertain {
            self.correct(place, &id, turn);
        }
        self.confirm(place, name, "sync:update", turn);
    }

    /// An earlier state, or one from elsewhere, is the document from now on; what it was before is
    /// kept as a version.
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
        self.put(state, by, None, &Named::NONE, why, turn);
        let body =
            outbound::restored(self.room.name(), &self.epoch, self.history.seq(), turn.now.wall);
        turn.effects.push(Effect::AnswerKept { conn, body });
        self.finish(turn);
    }

    /// Puts a state in the document's place, which is kept as a version.
    fn put(
        &mut self,
        state: State,
        user: &UserId,
        except: Option<ConnId>,
        name: &Named,
        why: Why,
        turn: &mut Turn<'_>,
    ) {
        self.keep_version(turn);
        let before = self.version_before(user, why, turn);
        if matches!(why, Why::Restored | Why::Imported) {
            self.document.forget_extra();
        }
        // Whoever has written something counts as having been here.
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
            Why::Restored => Did::Restore,
            Why::Imported => Did::Import,
            _ => Did::Replace,
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

    /// Numbers an applied change, finishes its message and keeps it in the history.
    pub fn applied(&mut self, relayed: Message, version: u64, turn: &mut Turn<'_>) -> Frame {
        let frame = relayed.number("seq", self.history.next_seq()).finish();
        self.document.advance(version);
        self.history.push(frame.clone(), turn.limits.history);
        frame
    }

    /// Has a change kept: as it was relayed, or the whole document where the frame `hides` a part of it.
    fn keep_applied(
        &mut self,
        user: &UserId,
        frame: &Frame,
        name: &Named,
        hides: bool,
        turn: &mut Turn<'_>,
    ) {
        let id = name.stored();
        if hides {
            let made = Made { user, frames: vec![frame.clone()], id: id.as_deref() };
            return self.keep_made(made, Why::Regular, turn);
        }
        self.keep_change(user, frame, id.as_deref(), turn);
    }

    /// Confirms a message again that was taken before, or refuses another one of its name. Whether it had
    /// to.
    fn is_repeated(
        &mut self,
        place: usize,
        name: &Named,
        original_type: &str,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(id) = &name.id else { return false };
        let member = &self.room[place];
        match self.history.repeats(&member.user, id.get(), name.content) {
            Repeat::New => return false,
            Repeat::Same(seq) => {
                let frame = outbound::delivered(id, seq, original_type, true, turn.now.wall);
                turn.effects.push(Effect::Confirm { conn: member.conn, frame });
            }
            Repeat::Other => {
                let message = "another message was sent with this `id` before";
                let kind = Some(original_type);
                let error =
                    outbound::error("duplicate_id", message, 409, kind, Some(id.get()), None);
                turn.send(member.conn, &error);
            }
        }
        true
    }

    /// Has the name of a message kept that changed nothing.
    fn keep_name(&mut self, user: &UserId, name: &Named, turn: &mut Turn<'_>) {
        if let Some(id) = name.stored() {
            self.keep_id(user.clone(), id, turn);
        }
    }

    fn confirm(&mut self, place: usize, name: Named, original_type: &str, turn: &mut Turn<'_>) {
        let (Some(id), Some(stored)) = (&name.id, name.stored()) else { return };
        let Sender { conn, user } = self.sender(place);
        self.history.confirm(&user, &stored, turn.limits.history);
        let seq = self.history.seq();
        let frame = outbound::delivered(id, seq, original_type, false, turn.now.wall);
        turn.effects.push(Effect::Confirm { conn, frame });
    }

    /// Tells a sender that there is no room for its change.
    pub fn refuse_as_too_big(
        &self,
        place: usize,
        why: TooBig,
        original_type: &str,
        id: Option<&MessageId>,
        item_id: Option<&str>,
        turn: &mut Turn<'_>,
    ) {
        let message = format!("there is no room for this change: {why}");
        let (kind, id) = (Some(original_type), id.map(|id| id.get()));
        let error = outbound::error("document_full", &message, 413, kind, id, item_id);
        turn.send(self.room[place].conn, &error);
    }

    /// An item is new to the document: members that have it already have built it themselves.
    pub(super) fn note_owners(&mut self, id: &str) {
        for member in self.room.iter().filter(|member| member.has_already(id)) {
            self.document.note_builder(id, &member.user, !member.has_moved_already(id));
        }
    }

    /// Has an editor look through its canvas again, so that what it has pasted can hear.
    fn greet_again(&mut self, place: usize, turn: &mut Turn<'_>) {
        if self.room[place].is_to_be_greeted_again() {
            let conn = self.room[place].conn;
            turn.send(conn, &self.acknowledgement(Some(place), turn.now.wall));
        }
    }

    /// All who may send whole dictionaries are asked soon what they have received.
    pub(super) fn ask_all_soon(&mut self) {
        for member in self.room.iter_mut() {
            self.needs_pings |= member.is_sent_something_urgent(self.tick);
        }
    }

    /// Somebody is told of a part of an item now.
    pub(super) fn told(&mut self, id: &str, part: Part, to: Audience) {
        let (tick, received) = (self.tick, self.received_by_all);
        if let Some(item) = self.document.get_mut(id) {
            if matches!(to, Audience::Only(_)) {
                // It is told as one that is still.
                item.rests();
            }
            item.told.note(tick, part, to, received);
        }
        self.told_last = tick;
    }

    /// Somebody who changes something now.
    pub(super) fn author<'a>(&self, user: &'a UserId) -> Author<'a> {
        Author { user, tick: self.tick, received: self.received_by_all }
    }

    fn sender(&self, place: usize) -> Sender {
        let member = &self.room[place];
        Sender { conn: member.conn, user: member.user.clone() }
    }
}

/// What a client calls its message, and a fingerprint of what that says.
struct Named {
    id: Option<MessageId>,
    content: Option<u64>,
}

impl Named {
    const NONE: Named = Named { id: None, content: None };

    /// As it is remembered and stored.
    fn stored(&self) -> Option<Box<str>> {
        let id = self.id.as_ref()?;
        Some(super::history::stored_id(id.get(), self.content))
    }
}

/// A member's message as it is relayed, but for its number.
fn relayed(body: &Body, user: &UserId, turn: &Turn<'_>) -> Message {
    Message::continuing(body.head(), body.kind()).string("user_id", user).timestamp(turn.now.wall)
}

fn continued(head: &[u8], user: &UserId, turn: &Turn<'_>) -> Message {
    Message::continuing(head, Kind::Command).string("user_id", user).timestamp(turn.now.wall)
}

/// Who said something, while its session is being changed.
struct Sender {
    conn: ConnId,
    user: UserId,
}
