//! Settling: when an item has been still for a moment, everyone is told what it looks like.
//!
//! A sender applies its own change early, so two people who drag one item end up with different
//! canvases although the order is one; and the editor builds remote items blank. One `update_item`
//! with the item's whole data puts both right.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::document::Outcome;
use super::item::Item;
use super::member::IN_FLIGHT;
use super::session::Session;
use super::timers::SessionTimer;
use super::{ConnId, Turn};
use crate::protocol::outbound::{Message, item_command};
use crate::protocol::{Frame, Timestamp, UserId};

/// How long an item has to be still.
const STILL: Duration = Duration::from_millis(300);

/// The items that were changed by commands a short while ago.
#[derive(Debug, Default)]
pub struct Settling {
    items: HashMap<Arc<str>, Activity>,
    /// Who changed the session's document, and when last.
    changes: Vec<(UserId, Duration)>,
}

/// What happened to one item lately.
#[derive(Debug)]
struct Activity {
    writer: UserId,
    /// Who changed it, and when last.
    changes: Vec<(UserId, Duration)>,
    /// When it was settled last, and which user was not told. For all others that is as good as a
    /// change by somebody else, if they went on meanwhile.
    settled: Option<(Duration, Option<UserId>)>,
    /// Users whose own change may have been undone by what was on its way to them.
    undone: Vec<UserId>,
    /// Users whose new item may have been wiped off their canvas by a state on its way to them.
    wiped: Vec<UserId>,
    /// When it will have been still; `None` where everyone knows it already.
    due: Option<Duration>,
    /// When its timer fires.
    timer: Duration,
}

impl Settling {
    /// How many items it is about.
    pub fn len(&self) -> usize {
        self.items.len()
    }
}

impl Activity {
    fn by(user: &UserId) -> Self {
        Activity {
            writer: user.clone(),
            changes: Vec::new(),
            settled: None,
            undone: Vec::new(),
            wiped: Vec::new(),
            due: None,
            timer: Duration::MAX,
        }
    }
}

impl Session {
    /// Records that a member's command changed an item, or tried to.
    pub fn touch(&mut self, place: usize, id: &str, outcome: Outcome, turn: &mut Turn<'_>) {
        let now = turn.elapsed();
        let member = &self.room[place];
        let (conn, user) = (member.conn, member.user.clone());
        let (wiped, corrected) = (member.may_be_wiped(now), now < member.corrected_until);
        if outcome != Outcome::Nothing {
            self.note_change(&user, turn);
        }
        if let (Outcome::Added, true, Some(item)) =
            (outcome, turn.limits.settle, self.document.get(id))
        {
            self.tell_others(conn, &settled_update(item, turn.now.wall), turn);
        }
        let unheard_of = self.document.get(id).is_none() && self.document.removed_by(id).is_none();
        if unheard_of || !turn.limits.settle {
            return;
        }
        if !self.settling.items.contains_key(id) {
            self.settling.items.insert(id.into(), Activity::by(&user));
        }
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        activity.writer = user.clone();
        note(&mut activity.changes, &user, now);
        if outcome == Outcome::Added && wiped {
            note_once(&mut activity.wiped, &user);
        } else if wiped || corrected {
            note_once(&mut activity.undone, &user);
        }
        // A new item was followed up at once; the others know it.
        if outcome != Outcome::Added || wiped || activity.due.is_some() {
            activity.due = Some(now + STILL);
        }
        let wake = activity.due.unwrap_or(now + IN_FLIGHT);
        if wake < activity.timer {
            activity.timer = wake;
            turn.timers.set_in_session(wake, self.room.name(), SessionTimer::Settle(id.into()));
        }
    }

    /// An item's timer has fired: settles it if it has been still, forgets it if it was long ago.
    pub fn settle_due(&mut self, id: &Arc<str>, turn: &mut Turn<'_>) {
        let now = turn.elapsed();
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        if activity.timer > now {
            return;
        }
        if activity.due.is_some_and(|due| due <= now) {
            activity.due = None;
            self.settle(id, turn);
        }
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        let settled = activity.settled.as_ref().map(|(at, _)| *at);
        let recent = activity.changes.iter().map(|(_, at)| *at).chain(settled).max();
        let forget = recent.unwrap_or(Duration::ZERO) + IN_FLIGHT;
        let wake = activity.due.unwrap_or(forget);
        if wake <= now {
            self.settling.items.remove(id);
        } else {
            activity.timer = wake;
            turn.timers.set_in_session(wake, self.room.name(), SessionTimer::Settle(id.clone()));
        }
    }

    fn settle(&mut self, id: &Arc<str>, turn: &mut Turn<'_>) {
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        let undone = std::mem::take(&mut activity.undone);
        let wiped = std::mem::take(&mut activity.wiped);
        let writer = activity.writer.clone();
        let last = activity.changes.iter().map(|(_, at)| *at).max().unwrap_or_default();
        let others =
            activity.changes.iter().any(|(user, at)| *user != writer && *at + IN_FLIGHT >= last);
        let told = activity.settled.as_ref().is_some_and(|(at, untold)| {
            untold.as_ref() != Some(&writer) && *at + IN_FLIGHT >= last
        });
        let writer_too = others || told;
        let affected = |user: &UserId| undone.contains(user) || wiped.contains(user);
        let now = turn.now.wall;
        match self.document.get(id) {
            Some(item) => {
                let update = settled_update(item, now);
                let anew =
                    [settled_remove(id, &writer, now), settled_add(item, now), update.clone()];
                for member in self.room.iter() {
                    if wiped.contains(&member.user) {
                        anew.iter().for_each(|frame| turn.send(member.conn, frame));
                    } else if member.user != writer || writer_too || affected(&member.user) {
                        turn.send(member.conn, &update);
                    }
                }
                self.viewers.send(&update, turn);
            }
            // Removed by one, changed by another: nobody may be left with it.
            None => {
                let remove = settled_remove(id, &writer, now);
                for member in self.room.iter() {
                    let is_writer = member.user == writer;
                    if others || (is_writer && told) || affected(&member.user) {
                        turn.send(member.conn, &remove);
                    }
                }
                if others {
                    self.viewers.send(&remove, turn);
                }
            }
        }
        for member in self.room.iter_mut() {
            if affected(&member.user) || (writer_too && member.user == writer) {
                member.settled_until = turn.now.elapsed + IN_FLIGHT;
            }
        }
        let untold = !(writer_too || affected(&writer));
        activity.settled = Some((turn.now.elapsed, untold.then_some(writer)));
    }

    /// Before others are told of a new item: whoever may have a canvas that nobody has seen yet may have
    /// an item of this name on it, from before a crash, and would show it twice.
    pub fn make_way(&self, sender: ConnId, id: &str, turn: &mut Turn<'_>) {
        let Some(item) = self.document.get(id).filter(|_| turn.limits.settle) else { return };
        let mut unseen = self.room.iter().filter(|member| member.has_unseen_canvas()).peekable();
        if unseen.peek().is_some() {
            let remove = settled_remove(id, &item.writer, turn.now.wall);
            let others = unseen.filter(|member| member.conn != sender);
            others.for_each(|member| turn.send(member.conn, &remove));
        }
    }

    /// Tells one member at once what an item looks like: its own change was not taken.
    pub fn correct(&mut self, place: usize, id: &str, turn: &mut Turn<'_>) {
        if !turn.limits.settle {
            return;
        }
        let member = &mut self.room[place];
        member.corrected_until = turn.elapsed() + IN_FLIGHT;
        let frame = match self.document.get(id) {
            Some(item) => settled_update(item, turn.now.wall),
            None => settled_remove(id, &member.user, turn.now.wall),
        };
        turn.send(member.conn, &frame);
    }

    /// Records that a user changed the document.
    pub fn note_change(&mut self, user: &UserId, turn: &Turn<'_>) {
        let now = turn.elapsed();
        note(&mut self.settling.changes, user, now);
    }

    /// Whether somebody else changed the document within `span`.
    pub fn changed_by_others_within(&self, user: &UserId, span: Duration, turn: &Turn<'_>) -> bool {
        self.changes_by_others(user).any(|at| at + span >= turn.elapsed())
    }

    /// Whether somebody else changed the document after this moment, which is not long past.
    pub fn changed_by_others_after(&self, user: &UserId, moment: Duration) -> bool {
        self.changes_by_others(user).any(|at| at > moment)
    }

    fn changes_by_others(&self, user: &UserId) -> impl Iterator<Item = Duration> {
        let others = self.settling.changes.iter().filter(move |(changer, _)| changer != user);
        others.map(|(_, at)| *at)
    }
}

/// `update_item` with the item's whole data, in the name of whoever changed it last.
pub fn settled_update(item: &Item, now: Timestamp) -> Frame {
    let command = item_command("update_item", item.item_type(), &item.id, |json| item.write(json));
    settled(command, &item.writer, now)
}

/// `remove_item`, for whoever may still show it.
pub fn settled_remove(id: &str, writer: &UserId, now: Timestamp) -> Frame {
    let null = serde_json::value::RawValue::NULL;
    settled(
        item_command("remove_item", null, id, |json| json.extend_from_slice(b"{}")),
        writer,
        now,
    )
}

/// `add_item`, for whoever may not show it any more.
fn settled_add(item: &Item, now: Timestamp) -> Frame {
    settled(add(item), &item.writer, now)
}

/// `add_item` with the item's whole data.
pub fn add(item: &Item) -> Message {
    item_command("add_item", item.item_type(), &item.id, |json| item.write(json))
}

fn settled(command: Message, writer: &UserId, now: Timestamp) -> Frame {
    command.string("user_id", writer).timestamp(now).flag("settled", true).finish()
}

/// Records a user's latest moment and forgets those that are long past.
fn note(moments: &mut Vec<(UserId, Duration)>, user: &UserId, now: Duration) {
    moments.retain(|(noted, at)| noted != user && *at + 2 * IN_FLIGHT >= now);
    moments.push((user.clone(), now));
}

fn note_once(users: &mut Vec<UserId>, user: &UserId) {
    if !users.contains(user) {
        users.push(user.clone());
    }
}
