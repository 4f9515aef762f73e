//! What was done in a session lately, for whoever looks at it: the last changes, and how many there were
//! in each minute.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::Now;
use super::item::Item;
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
    /// Put an earlier state, or one from elsewhere, in the document's place.
    Restore,
}

impl Did {
    /// As it is shown.
    fn name(self) -> &'static str {
        match self {
            Did::Add => "add_item",
            Did::Update => "update_item",
            Did::Move => "move_item",
            Did::Remove => "remove_item",
            Did::Replace => "replace",
            Did::Restore => "restore",
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

    /// Takes note of change `seq`, which left the item as it is.
    pub fn note(&mut self, seq: u64, user: &UserId, did: Did, item: Option<&Item>, now: Now) {
        if let (Did::Update | Did::Move, Some(item)) = (did, item)
            && let Some(place) = self.goes_on(user, item, now.wall)
            && let Some(mut change) = self.changes.remove(place)
        {
            change.did = if did == Did::Move { did } else { change.did };
            (change.seq, change.at) = (seq, now.wall);
            change.item.iter_mut().for_each(|seen| seen.look_again(item));
            return self.push(change, now);
        }
        self.note_seen(seq, user, did, item.map(Seen::of), now);
    }

    /// The same of an item that may be gone.
    pub fn note_seen(&mut self, seq: u64, user: &UserId, did: Did, item: Option<Seen>, now: Now) {
        self.push(Change { seq, at: now.wall, user: user.clone(), did, item }, now);
    }

    fn push(&mut self, change: Change, now: Now) {
        self.changed_at = Some(change.at);
        self.minutes.count(now.elapsed);
        if self.changes.len() >= MOST {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// Where the change stands that a user, who changes an item now, is still about.
    fn goes_on(&self, user: &UserId, item: &Item, now: Timestamp) -> Option<usize> {
        let latest = self.changes.iter().rposition(|change| {
            change
                .item
                .as_ref()
                .is_some_and(|seen| Arc::ptr_eq(&seen.id, &item.id) || seen.id == item.id)
        })?;
        let change = &self.changes[latest];
        let is_lately = now.millis() <= change.at.millis().saturating_add(ONE_GO);
        let goes_on =
            matches!(change.did, Did::Update | Did::Move) && change.user == *user && is_lately;
        goes_on.then_some(latest)
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
        let mut seen = Seen { id: item.id.clone(), item_type: None, label: None, place: [None; 3] };
        seen.look_again(item);
        seen
    }

    fn look_again(&mut self, item: &Item) {
        let (mut item_type, mut name, mut label) = (None, None, None);
        self.place = [None; 3];
        for field in &item.fields {
            match &*field.key {
                "x_mm" => self.place[0] = json::as_number(&field.value),
                "y_mm" => self.place[1] = json::as_number(&field.value),
                "angle_deg" => self.place[2] = json::as_number(&field.value),
                "item_type" => item_type = name_in(&field.value),
                "name" => name = name_in(&field.value),
                "label" => label = name_in(&field.value),
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
