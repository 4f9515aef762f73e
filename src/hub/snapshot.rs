//! Taking a host's snapshot of its canvas into a session that may have a document: the host's own
//! work counts as its canvas shows it, and nothing anyone else did is lost (PROTOCOL.md §2.3).

use std::collections::HashMap;
use std::sync::Arc;

use super::Turn;
use super::document::{Author, Bounds};
use super::item::Field;
use super::keeping::Made;
use super::member::{Arrival, IN_FLIGHT};
use super::recent::{Did, Seen};
use super::session::Session;
use super::settle::{add, settled_remove, settled_update};
use crate::kept::Why;
use crate::protocol::inbound::State;
use crate::protocol::json::{self, Fields};
use crate::protocol::outbound::{self, item_command};
use crate::protocol::{Frame, UserId};

/// Room was checked before the first change: a snapshot is taken whole or not at all.
const UNBOUNDED: Bounds = Bounds { item: usize::MAX, document: usize::MAX };

/// What taking a snapshot did to the document.
enum Change {
    Added(Arc<str>),
    Changed(Arc<str>),
    Removed(Seen),
}

impl Session {
    /// Takes `sync:full_state` from the member at `place`, meant for `target`.
    pub fn take_snapshot(
        &mut self,
        place: usize,
        state: &State,
        target: Option<&str>,
        turn: &mut Turn<'_>,
    ) {
        let member = &self.room[place];
        let (conn, user) = (member.conn, member.user.clone());
        let shows_itself = target == Some(&*user) && !member.has_shown_canvas;
        if !self.is_host(place) && !shows_itself {
            let message = "only the session's host can send its canvas to others";
            let kind = Some("sync:full_state");
            turn.send(conn, &outbound::error("not_host", message, 403, kind, None, None));
            return;
        }
        let returns = matches!(member.arrival, Arrival::Unknown { returns: true, .. });
        // Others may have come since, and not to see their work replaced.
        let is_new_design = shows_itself
            && returns
            && !self.changed_by_others_after(&user, member.joined_at)
            && state.items.iter().all(|item| self.document.get(&item.id).is_none());
        let fits = match is_new_design {
            true => self.document.fits_alone(state, turn.limits.document),
            false => self.document.fits(state, &user, turn.limits.document),
        };
        if !fits {
            self.refuse_as_too_big(place, "sync:full_state", None, turn);
            self.leave_canvas_alone(place, turn);
            return;
        }
        let is_newcomer = shows_itself || matches!(member.arrival, Arrival::Unknown { .. });
        self.room[place].has_shown_canvas |= shows_itself;
        let why = if is_new_design { Why::NewDesign } else { Why::Snapshot };
        if is_new_design && !self.document.is_empty() {
            self.keep_version(turn);
        }
        let changes = self.merge(state, &user, is_new_design, turn);
        // A new design forgets, too, what was removed.
        let is_news = self.set_extra(&state.extra) || is_new_design;
        let commands = self.relayed_changes(&changes, state.version, &user, turn);
        if !changes.is_empty() {
            self.note_change(&user, turn);
        }
        if !changes.is_empty() || is_news {
            let frames = commands.iter().map(|(change, _)| change.clone()).collect();
            self.keep_made(Made { user: &user, frames, id: None }, why, turn);
        }
        for change in &changes {
            if let Change::Added(id) = change {
                self.make_way(conn, id, turn);
            }
        }
        self.tell_of_changes(place, target, &commands, turn);
        match is_newcomer {
            true => self.tell_newcomer(place, state, !changes.is_empty(), turn),
            false => {
                self.room[place].arrival = Arrival::Host { canvas_is_known: false };
                self.correct_canvas(place, state, &changes, turn);
            }
        }
    }

    /// Takes note of a host whose canvas can't be taken: at least it is not wiped.
    pub fn leave_canvas_alone(&mut self, place: usize, turn: &mut Turn<'_>) {
        let member = &mut self.room[place];
        if matches!(member.arrival, Arrival::Unknown { .. }) {
            let host = Arrival::Host { canvas_is_known: true };
            let arrival = std::mem::replace(&mut member.arrival, host);
            self.answer_waiting(place, arrival, turn);
        }
    }

    /// Answers the request that has waited for the member to be recognised.
    fn answer_waiting(&mut self, place: usize, before: Arrival, turn: &mut Turn<'_>) {
        if let Arrival::Unknown { waiting: Some(request), .. } = before {
            self.request(place, request, turn);
        }
    }

    /// The snapshot table of PROTOCOL.md §2.3.
    fn merge(
        &mut self,
        state: &State,
        user: &UserId,
        is_new_design: bool,
        turn: &Turn<'_>,
    ) -> Vec<Change> {
        let author = Author { user, at: turn.elapsed() };
        let shown: HashMap<&str, &Fields> =
            state.items.iter().map(|item| (&*item.id, &item.fields)).collect();
        let gone = self.document.items().filter(|item| {
            is_new_design || (item.writer == *user && !shown.contains_key(&*item.id))
        });
        let gone: Vec<Seen> = gone.map(Seen::of).collect();
        let mut changes = Vec::new();
        for seen in gone {
            self.document.remove(&seen.id, user);
            changes.push(Change::Removed(seen));
        }
        if is_new_design {
            self.document.forget_removed();
        }
        for item in &state.items {
            match self.document.get(&item.id) {
                Some(known) if known.writer == *user => {
                    // Lately changed by somebody else: the host may not have seen it yet.
                    let is_kept =
                        |field: &Field| field.writer != *user && field.at + IN_FLIGHT >= author.at;
                    let news: Fields = item
                        .fields
                        .iter()
                        .filter(|(key, value)| match known.field(key) {
                            Some(field) => {
                                !is_kept(field) && !json::same_value(&field.value, value)
                            }
                            None => true,
                        })
                        .filter(|(key, _)| !matches!(&**key, "uuid" | "item_uuid"))
                        .filter(|(key, value)| &**key != "item_type" || value.get() != "null")
                        .cloned()
                        .collect();
                    let is_dropped = |field: &Field| {
                        field.writer == *user
                            && !matches!(&*field.key, "uuid" | "item_uuid" | "item_type")
                            && item.fields.iter().all(|(key, _)| *key != field.key)
                    };
                    let drops = known.fields.iter().any(is_dropped);
                    if drops || !news.is_empty() {
                        let id = known.id.clone();
                        self.document.retain_fields(&id, |field| !is_dropped(field));
                        // Unbounded: it can't fail.
                        let _ = self.document.overwrite(&id, news, author, UNBOUNDED);
                        changes.push(Change::Changed(id));
                    }
                }
                Some(_) => {}
                None if self.document.removed_by(&item.id).is_some_and(|by| by != user) => {}
                None => {
                    let fields = item.fields.clone();
                    let _ = self.document.add(&item.id, fields, None, author, UNBOUNDED);
                    changes.push(Change::Added(item.id.as_ref().into()));
                }
            }
        }
        changes
    }

    /// The changes as commands in the host's name, numbered and kept in the history; an item that
    /// was added with what follows it up, its whole data.
    fn relayed_changes(
        &mut self,
        changes: &[Change],
        version: u64,
        user: &UserId,
        turn: &mut Turn<'_>,
    ) -> Vec<(Frame, Option<Frame>)> {
        let commands = changes.iter().map(|change| {
            let (action, id) = match change {
                Change::Added(id) => ("add_item", id),
                Change::Changed(id) => ("update_item", id),
                Change::Removed(seen) => ("remove_item", &seen.id),
            };
            let item = self.document.get(id);
            let item_type = item.map_or(serde_json::value::RawValue::NULL, |item| item.item_type());
            let command = item_command(action, item_type, id, |json| match item {
                Some(item) => item.write(json),
                None => json.extend_from_slice(b"{}"),
            });
            let command = command.string("user_id", user).timestamp(turn.now.wall);
            let command = self.applied(command, version, turn);
            let (seq, item) = (self.history.seq(), self.document.get(id));
            match change {
                Change::Added(_) => self.recent.note(seq, user, Did::Add, item, turn.now),
                Change::Changed(_) => self.recent.note(seq, user, Did::Update, item, turn.now),
                Change::Removed(seen) => {
                    self.recent.note_removed(seq, user, Some(seen.clone()), turn.now);
                }
            }
            let is_followed_up = matches!(change, Change::Added(_)) && turn.limits.settle;
            let added = self.document.get(id).filter(|_| is_followed_up);
            (command, added.map(|item| settled_update(item, turn.now.wall)))
        });
        commands.collect()
    }

    /// Everyone but the sender hears of the changes: the target, or with none everyone, by a state.
    fn tell_of_changes(
        &mut self,
        sender: usize,
        target: Option<&str>,
        commands: &[(Frame, Option<Frame>)],
        turn: &mut Turn<'_>,
    ) {
        let mut by_state = Vec::new();
        let others = self.room.iter_mut().enumerate().filter(|(place, _)| *place != sender);
        for (place, member) in others {
            match target {
                None => by_state.push(place),
                Some(target) if *member.user == *target => {
                    // One who was sent a state and every change since has exactly the result.
                    if !commands.is_empty() || member.states_sent == 0 {
                        by_state.push(place);
                    }
                }
                Some(_) if commands.is_empty() => {}
                Some(_) => {
                    member.corrected_until = turn.elapsed() + IN_FLIGHT;
                    for (change, follow_up) in commands {
                        turn.send(member.conn, change);
                        follow_up.iter().for_each(|frame| turn.send(member.conn, frame));
                    }
                }
            }
        }
        if !by_state.is_empty() {
            self.send_state(&by_state, turn);
        }
        match target {
            None if commands.is_empty() => {}
            None => self.show_viewers(turn),
            Some(_) => {
                for frame in
                    commands.iter().flat_map(|(change, update)| [Some(change), update.as_ref()])
                {
                    frame.iter().for_each(|frame| self.viewers.send(frame, turn));
                }
            }
        }
    }

    /// A host that answered its own `user:joined` gets the result unless its canvas shows it.
    fn tell_newcomer(
        &mut self,
        place: usize,
        shown: &State,
        has_changed: bool,
        turn: &mut Turn<'_>,
    ) {
        let member = &self.room[place];
        // A state that was sent meanwhile has replaced the canvas that the snapshot shows.
        let lacks_something = match member.states_sent {
            0 => !self.is_shown_by(shown),
            _ => has_changed,
        };
        let canvas_is_known = member.states_sent == 0 && !lacks_something;
        let host = Arrival::Host { canvas_is_known };
        let arrival = std::mem::replace(&mut self.room[place].arrival, host);
        if lacks_something {
            self.send_state(&[place], turn);
        } else {
            self.answer_waiting(place, arrival, turn);
        }
    }

    /// Whether a canvas shows what the document says.
    fn is_shown_by(&self, state: &State) -> bool {
        let shows = |item: &crate::protocol::inbound::StateItem| {
            self.document.get(&item.id).is_some_and(|known| known.is_shown_by(&item.fields))
        };
        state.items.len() == self.document.items().count() && state.items.iter().all(shows)
    }

    /// Tells a host, as commands, what its canvas shows differently from the document.
    fn correct_canvas(
        &mut self,
        place: usize,
        shown: &State,
        changes: &[Change],
        turn: &mut Turn<'_>,
    ) {
        let conn = self.room[place].conn;
        let (now, wall) = (turn.elapsed(), turn.now.wall);
        let fields: HashMap<&str, &Fields> =
            shown.items.iter().map(|item| (&*item.id, &item.fields)).collect();
        let member = &self.room[place];
        // A state or a correction on its way to the host may hold what the snapshot lacks.
        let crossed = member.may_be_wiped(now) || now < member.corrected_until;
        let mut corrections = Vec::new();
        for change in changes.iter().filter(|_| crossed) {
            if let Change::Removed(seen) = change {
                corrections.push(settled_remove(&seen.id, &member.user, wall));
            }
        }
        for item in &shown.items {
            if self.document.get(&item.id).is_none() {
                let by = self.document.removed_by(&item.id).unwrap_or(&member.user);
                corrections.push(settled_remove(&item.id, by, wall));
            }
        }
        for item in self.document.items() {
            match fields.get(&*item.id) {
                Some(fields) if item.is_shown_by(fields) => {}
                Some(_) => corrections.push(settled_update(item, wall)),
                None => {
                    // With its add on the way already the host would show it twice.
                    if crossed || item.at + IN_FLIGHT >= now {
                        corrections.push(settled_remove(&item.id, &item.writer, wall));
                    }
                    corrections
                        .push(add(item).string("user_id", &item.writer).timestamp(wall).finish());
                    if turn.limits.settle {
                        corrections.push(settled_update(item, wall));
                    }
                }
            }
        }
        if !corrections.is_empty() {
            self.room[place].corrected_until = now + IN_FLIGHT;
            corrections.iter().for_each(|frame| turn.send(conn, frame));
        }
    }
}
