//! What was done in a session lately, for whoever looks at it: the last changes, and how many there were
//! in each minute.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::Now;
use super::document::Document;
use super::item::Item;
use crate::kept::StoredChange;
use crate::protocol::inbound::{self, Action, Command};
use crate::protocol::outbound::write_key;
use crate::protocol::{Timestamp, UserId, json};

/// How many changes are remembered.
const MOST: usize = 50;
/// A drag is a hundred changes a second and one thing that was done: what a user does to an item goes on
/// being one until so long after the last change.
const ONE_GO: u64 = 2000;
/// The longest type and label that are remembered, in bytes of JSON.
const LONGEST_NAME: usize = 1024;
/// How many minutes are counted, the running one included.
const MINUTES: usize = 30;

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    Add,
    Update,
    Move,
    Remove,
    /// Put a whole canvas in the document's place.
    Replace,
    /// Put an earlier state in the document's place.
    Restore,
    /// Put a canvas from a file in the document's place.
    Import,
}

impl Did {
    /// What a command does that has changed something; `None` for one that can't.
    pub fn by(action: Action) -> Option<Self> {
        match action {
            Action::Add => Some(Did::Add),
            Action::Update => Some(Did::Update),
            Action::Move => Some(Did::Move),
            Action::Remove => Some(Did::Remove),
            Action::Other => None,
        }
    }

    /// Whether it may be a part of something that takes a while.
    fn goes_on(self) -> bool {
        matches!(self, Did::Update | Did::Move)
    }

    /// Of whoever moves an item it may be said twice what the item looks like, but it is a move.
    fn going_on_from(self, before: Did) -> Did {
        if before == Did::Move { before } else { self }
    }

    /// As it is shown.
    fn name(self) -> &'static str {
        match self {
            Did::Add => "add_item",
            Did::Update => "update_item",
            Did::Move => "move_item",
            Did::Remove => "remove_item",
            Did::Replace => "replace",
            Did::Restore => "restore",
            Did::Import => "import",
        }
    }
}

/// An item as it was when something was done to it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: Arc<str>,
    /// As JSON strings.
    item_type: Option<Box<str>>,
    label: Option<Box<str>>,
    /// `x_mm`, `y_mm` and `angle_deg`.
    place: [Option<f64>; 3],
}

#[derive(Debug)]
struct Change {
    seq: u64,
    at: Timestamp,
    user: UserId,
    did: Did,
    item: Option<Seen>,
}

/// See the file's text.
#[derive(Debug, Default)]
pub struct Recent {
    /// The newest last.
    changes: VecDeque<Change>,
    changed_at: Option<Timestamp>,
    minutes: PerMinute,
}

impl Recent {
    /// When the document was changed last; `None` where that isn't known.
    pub fn changed_at(&self) -> Option<Timestamp> {
        self.changed_at
    }

    /// Who changed it last.
    pub fn changed_by(&self) -> Option<&UserId> {
        self.changes.back().map(|change| &change.user)
    }

    /// What was done last in a session that is stored, and has become this document; `changes` are its
    /// last ones, in order.
    pub fn of_stored<'a>(
        changes: impl Iterator<Item = &'a StoredChange>,
        document: &Document,
    ) -> Self {
        let mut recent = Recent::default();
        for StoredChange { seq, at, user, frame, .. } in changes {
            let text = std::str::from_utf8(frame).unwrap_or_default();
            let (did, seen) = match inbound::parse_stored(text) {
                Some(command) => {
                    let did = Did::by(command.action);
                    (did, Some(Seen::told_by(&command, document.get(&command.item_id))))
                }
                // A whole state is nothing that a client says.
                None => (Some(Did::Replace), None),
            };
            let Some(did) = did else { continue };
            let id = seen.as_ref().map(|seen| seen.id.clone());
            let before = id.and_then(|id| recent.take_up(user, did, &id, *at));
            let did = before.as_ref().map_or(did, |before| did.going_on_from(before.did));
            let before = match did {
                Did::Remove => seen.as_ref().and_then(|seen| recent.last_seen(&seen.id)).cloned(),
                _ => before.and_then(|change| change.item),
            };
            let item = match (seen, before) {
                (Some(seen), Some(before)) => Some(seen.or(before)),
                (seen, before) => seen.or(before),
            };
            recent.push(Change { seq: *seq, at: *at, user: user.clone(), did, item });
        }
        recent
    }

    /// Takes note of change `seq`, which left the item as it is.
    pub fn note(&mut self, seq: u64, user: &UserId, did: Did, item: Option<&Item>, now: Now) {
        self.minutes.count(now.elapsed);
        let before = item.and_then(|item| self.take_up(user, did, &item.id, now.wall));
        let did = before.as_ref().map_or(did, |before| did.going_on_from(before.did));
        let mut seen = before.and_then(|change| change.item);
        match (&mut seen, item) {
            (Some(seen), Some(item)) => seen.look_again(item),
            _ => seen = item.map(Seen::of),
        }
        self.push(Change { seq, at: now.wall, user: user.clone(), did, item: seen });
    }

    /// Takes note of change `seq`, which removed an item.
    pub fn note_removed(&mut self, seq: u64, user: &UserId, item: Option<Seen>, now: Now) {
        self.minutes.count(now.elapsed);
        self.push(Change { seq, at: now.wall, user: user.clone(), did: Did::Remove, item });
    }

    fn push(&mut self, change: Change) {
        self.changed_at = Some(change.at);
        if self.changes.len() >= MOST {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// An item as it was when something was done to it last.
    fn last_seen(&self, id: &Arc<str>) -> Option<&Seen> {
        let mut seen = self.changes.iter().rev().filter_map(|change| change.item.as_ref());
        seen.find(|seen| seen.id == *id)
    }

    /// Takes the change out that a user is still about who does this to an item now.
    fn take_up(
        &mut self,
        user: &UserId,
        did: Did,
        id: &Arc<str>,
        now: Timestamp,
    ) -> Option<Change> {
        if !did.goes_on() {
            return None;
        }
        let is_about = |seen: &Seen| Arc::ptr_eq(&seen.id, id) || seen.id == *id;
        let mut changes = self.changes.iter();
        let place = changes.rposition(|change| change.item.as_ref().is_some_and(is_about))?;
        let change = &self.changes[place];
        let is_lately = now.millis() <= change.at.millis().saturating_add(ONE_GO);
        let goes_on = change.did.goes_on() && change.user == *user && is_lately;
        if goes_on { self.changes.remove(place) } else { None }
    }

    /// Appends the last changes as a list, the newest last.
    pub fn write(&self, json: &mut Vec<u8>) {
        json.push(b'[');
        for (place, change) in self.changes.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            change.write(json);
        }
        json.push(b']');
    }

    /// Appends the changes of each minute as a list, the running one last.
    pub fn write_minutes(&self, json: &mut Vec<u8>, now: Duration) {
        for (place, count) in self.minutes.until(now).enumerate() {
            let _ = write!(json, "{}{count}", if place == 0 { '[' } else { ',' });
        }
        json.push(b']');
    }
}

impl Change {
    /// Writing to memory can't fail.
    fn write(&self, json: &mut Vec<u8>) {
        let _ = write!(json, "{{\"seq\":{},\"at\":\"{}\"", self.seq, self.at);
        write_key(json, "user_id");
        json::write_string(json, &self.user);
        let _ = write!(json, ",\"action\":\"{}\"", self.did.name());
        let text = |text: &Option<Box<str>>| text.as_deref().and_then(readable);
        let item = self.item.as_ref();
        for (key, value) in [
            ("item_id", item.map(|seen| seen.id.to_string())),
            ("item_type", item.and_then(|seen| text(&seen.item_type))),
            ("label", item.and_then(|seen| text(&seen.label))),
        ] {
            write_key(json, key);
            match value {
                Some(value) => json::write_string(json, &value),
                None => json.extend_from_slice(b"null"),
            }
        }
        let place = item.map_or([None; 3], |seen| seen.place);
        for (key, number) in ["x_mm", "y_mm", "angle_deg"].into_iter().zip(place) {
            if let Some(number) = number {
                write_key(json, key);
                let _ = serde_json::to_writer(&mut *json, &number);
            }
        }
        json.push(b'}');
    }
}

/// The text of a JSON string; `None` where nobody can read it: it has half a character in it.
fn readable(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

impl Seen {
    /// An item as it is now. Its label is its `name`, or else its `label`, where that says anything.
    pub fn of(item: &Item) -> Self {
        let mut seen = Seen::nothing_of(item.id.clone());
        seen.look_again(item);
        seen
    }

    /// The item of a command that was relayed: as far as that says what it is, or else as it has become.
    fn told_by(command: &Command, item: Option<&Item>) -> Self {
        let mut seen = Seen::nothing_of(command.item_id.as_ref().into());
        seen.look_at(command.data.iter().map(|(key, value)| (&**key, &**value)));
        let now = item.map(Seen::of);
        let Some(Seen { item_type, label, .. }) = now else { return seen };
        Seen { item_type: seen.item_type.or(item_type), label: seen.label.or(label), ..seen }
    }

    /// The same, with what was seen before of what isn't seen now.
    fn or(self, before: Seen) -> Self {
        let [x, y, angle] = self.place;
        let place = [x.or(before.place[0]), y.or(before.place[1]), angle.or(before.place[2])];
        let (item_type, label) = (self.item_type.or(before.item_type), self.label.or(before.label));
        Seen { place, item_type, label, ..self }
    }

    fn nothing_of(id: Arc<str>) -> Self {
        Seen { id, item_type: None, label: None, place: [None; 3] }
    }

    fn look_again(&mut self, item: &Item) {
        self.look_at(item.fields.iter().map(|field| (&*field.key, &*field.value)));
    }

    fn look_at<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a RawValue)>) {
        let (mut item_type, mut name, mut label) = (None, None, None);
        self.place = [None; 3];
        for (key, value) in fields {
            match key {
                "x_mm" => self.place[0] = json::as_number(value),
                "y_mm" => self.place[1] = json::as_number(value),
                "angle_deg" => self.place[2] = json::as_number(value),
                "item_type" => item_type = name_in(value),
                "name" => name = name_in(value),
                "label" => label = name_in(value),
                _ => {}
            }
        }
        keep(&mut self.item_type, item_type);
        keep(&mut self.label, name.or(label));
    }
}

/// A string that is short enough and not empty, as JSON.
fn name_in(value: &RawValue) -> Option<&str> {
    let text = value.get();
    (text.starts_with('"') && (3..=LONGEST_NAME).contains(&text.len())).then_some(text)
}

/// Puts a text in another's place, which it seldom differs from.
fn keep(kept: &mut Option<Box<str>>, text: Option<&str>) {
    if kept.as_deref() != text {
        *kept = text.map(Into::into);
    }
}

/// How many changes there were in each of the last minutes since the hub's start.
#[derive(Debug, Default)]
struct PerMinute {
    /// By the minute's number, modulo their number.
    counts: [u32; MINUTES],
    /// The last minute in which there was a change.
    last: u64,
}

impl PerMinute {
    fn count(&mut self, now: Duration) {
        let minute = now.as_secs() / 60;
        for passed in (self.last + 1..=minute).rev().take(MINUTES) {
            self.counts[place(passed)] = 0;
        }
        self.last = minute;
        let count = &mut self.counts[place(minute)];
        *count = count.saturating_add(1);
    }

    /// The counts up to now, the running minute's last.
    fn until(&self, now: Duration) -> impl Iterator<Item = u32> {
        let minute = now.as_secs() / 60;
        (0..MINUTES as u64).rev().map(move |ago| match minute.checked_sub(ago) {
            Some(then) if then <= self.last && then + MINUTES as u64 > self.last => {
                self.counts[place(then)]
            }
            _ => 0,
        })
    }
}

fn place(minute: u64) -> usize {
    (minute % MINUTES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(minutes: &PerMinute, now: u64) -> Vec<u32> {
        minutes.until(Duration::from_secs(now)).collect()
    }

    #[test]
    fn minutes_are_counted_and_those_long_past_are_not() {
        let mut minutes = PerMinute::default();
        assert_eq!(counted(&minutes, 0), [0; MINUTES]);
        for (second, changes) in [(0, 1), (59, 2), (60, 4), (30 * 60 - 1, 8)] {
            (0..changes).for_each(|_| minutes.count(Duration::from_secs(second)));
        }
        let mut expected = [0; MINUTES];
        (expected[0], expected[1], expected[29]) = (3, 4, 8);
        assert_eq!(counted(&minutes, 30 * 60 - 1), expected);
        let (mut later, mut much_later) = ([0; MINUTES], [0; MINUTES]);
        (later[0], later[28]) = (4, 8);
        assert_eq!(counted(&minutes, 30 * 60), later, "without a change");
        much_later[0] = 8;
        assert_eq!(counted(&minutes, 59 * 60 - 1), much_later);
        assert_eq!(counted(&minutes, 59 * 60 + 60), [0; MINUTES]);
        minutes.count(Duration::from_secs(30 * 60));
        (later[29], later[28]) = (1, 8);
        assert_eq!(counted(&minutes, 30 * 60), later);
        minutes.count(Duration::from_secs(1_000_000 * 60));
        let mut only = [0; MINUTES];
        only[29] = 1;
        assert_eq!(counted(&minutes, 1_000_000 * 60), only);
    }
}
