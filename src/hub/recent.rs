//! What was done in a session lately, for whoever looks at it: the last changes, and how many there were
//! in each minute.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::document::Document;
use super::item::Item;
use super::time::Now;
use crate::kept::StoredChange;
use crate::protocol::inbound::{self, Action, Command};
use crate::protocol::outbound::write_key;
use crate::protocol::{Timestamp, UserId, json};

/// How many changes are remembered.
const MAX_CHANGES: usize = 50;
/// A drag is a hundred changes a second and one thing that was done: what a user does to an item goes on
/// being one until so long after the last change.
const COALESCE_WINDOW_MS: u64 = 2000;
/// The longest type and label that are remembered, in bytes of JSON.
const MAX_NAME_BYTES: usize = 1024;
/// How many minutes are counted, the running one included.
const MINUTES: usize = 30;

/// What somebody kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityKind {
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

impl ActivityKind {
    /// What a command does that has changed something; `None` for one that can't.
    pub fn from_action(action: Action) -> Option<Self> {
        match action {
            Action::Add => Some(ActivityKind::Add),
            Action::Update => Some(ActivityKind::Update),
            Action::Move => Some(ActivityKind::Move),
            Action::Remove => Some(ActivityKind::Remove),
            Action::Other => None,
        }
    }

    /// Whether it may be a part of something that takes a while.
    fn can_coalesce(self) -> bool {
        matches!(self, ActivityKind::Update | ActivityKind::Move)
    }

    /// Of whoever moves an item it may be said twice what the item looks like, but it is a move.
    fn following(self, before: ActivityKind) -> ActivityKind {
        if before == ActivityKind::Move { before } else { self }
    }

    /// As it is shown.
    fn name(self) -> &'static str {
        match self {
            ActivityKind::Add => "add_item",
            ActivityKind::Update => "update_item",
            ActivityKind::Move => "move_item",
            ActivityKind::Remove => "remove_item",
            ActivityKind::Replace => "replace",
            ActivityKind::Restore => "restore",
            ActivityKind::Import => "import",
        }
    }
}

/// An item as it was when something was done to it.
#[derive(Debug, Clone)]
pub struct ItemSummary {
    pub id: Arc<str>,
    /// As JSON strings.
    item_type: Option<Box<str>>,
    label: Option<Box<str>>,
    /// `x_mm`, `y_mm` and `angle_deg`.
    place: [Option<f64>; 3],
}

pub use self::{ActivityKind as Did, ItemSummary as Seen};

#[derive(Debug)]
struct Change {
    seq: u64,
    at: Timestamp,
    user: UserId,
    kind: ActivityKind,
    item: Option<ItemSummary>,
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
    pub fn from_stored<'a>(
        changes: impl Iterator<Item = &'a StoredChange>,
        document: &Document,
    ) -> Self {
        let mut recent = Recent::default();
        for StoredChange { seq, at, user, frame, .. } in changes {
            let text = std::str::from_utf8(frame).unwrap_or_default();
            let (kind, summary) = match inbound::parse_stored(text) {
                Some(command) => {
                    let kind = ActivityKind::from_action(command.action);
                    (
                        kind,
                        Some(ItemSummary::from_command(&command, document.get(&command.item_id))),
                    )
                }
                // A whole state is nothing that a client says.
                None => (Some(ActivityKind::Replace), None),
            };
            let Some(kind) = kind else { continue };
            let id = summary.as_ref().map(|summary| summary.id.clone());
            let before = id.and_then(|id| recent.take_coalesced(user, kind, &id, *at));
            let kind = before.as_ref().map_or(kind, |before| kind.following(before.kind));
            let before = match kind {
                ActivityKind::Remove => {
                    summary.as_ref().and_then(|summary| recent.last_summary(&summary.id)).cloned()
                }
                _ => before.and_then(|change| change.item),
            };
            let item = match (summary, before) {
                (Some(summary), Some(before)) => Some(summary.or(before)),
                (summary, before) => summary.or(before),
            };
            recent.push(Change { seq: *seq, at: *at, user: user.clone(), kind, item });
        }
        recent
    }

    /// Takes note of change `seq`, which left the item as it is.
    pub fn note(
        &mut self,
        seq: u64,
        user: &UserId,
        kind: ActivityKind,
        item: Option<&Item>,
        now: Now,
    ) {
        self.minutes.count(now.elapsed);
        let before = item.and_then(|item| self.take_coalesced(user, kind, &item.id, now.wall));
        let kind = before.as_ref().map_or(kind, |before| kind.following(before.kind));
        let mut summary = before.and_then(|change| change.item);
        match (&mut summary, item) {
            (Some(summary), Some(item)) => summary.refresh(item),
            _ => summary = item.map(ItemSummary::of),
        }
        self.push(Change { seq, at: now.wall, user: user.clone(), kind, item: summary });
    }

    /// Takes note of change `seq`, which removed an item.
    pub fn note_removed(&mut self, seq: u64, user: &UserId, item: Option<ItemSummary>, now: Now) {
        self.minutes.count(now.elapsed);
        self.push(Change {
            seq,
            at: now.wall,
            user: user.clone(),
            kind: ActivityKind::Remove,
            item,
        });
    }

    fn push(&mut self, change: Change) {
        self.changed_at = Some(change.at);
        if self.changes.len() >= MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// An item as it was when something was done to it last.
    fn last_summary(&self, id: &Arc<str>) -> Option<&ItemSummary> {
        let mut summary = self.changes.iter().rev().filter_map(|change| change.item.as_ref());
        summary.find(|summary| summary.id == *id)
    }

    /// Takes the change out that a user is still about who does this to an item now.
    fn take_coalesced(
        &mut self,
        user: &UserId,
        kind: ActivityKind,
        id: &Arc<str>,
        now: Timestamp,
    ) -> Option<Change> {
        if !kind.can_coalesce() {
            return None;
        }
        let is_about = |summary: &ItemSummary| Arc::ptr_eq(&summary.id, id) || summary.id == *id;
        let mut changes = self.changes.iter();
        let place = changes.rposition(|change| change.item.as_ref().is_some_and(is_about))?;
        let change = &self.changes[place];
        let is_lately = now.millis() <= change.at.millis().saturating_add(COALESCE_WINDOW_MS);
        let coalesces = change.kind.can_coalesce() && change.user == *user && is_lately;
        if coalesces { self.changes.remove(place) } else { None }
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
        let _ = write!(json, ",\"action\":\"{}\"", self.kind.name());
        let text = |text: &Option<Box<str>>| text.as_deref().and_then(readable);
        let item = self.item.as_ref();
        for (key, value) in [
            ("item_id", item.map(|summary| summary.id.to_string())),
            ("item_type", item.and_then(|summary| text(&summary.item_type))),
            ("label", item.and_then(|summary| text(&summary.label))),
        ] {
            write_key(json, key);
            match value {
                Some(value) => json::write_string(json, &value),
                None => json.extend_from_slice(b"null"),
            }
        }
        let place = item.map_or([None; 3], |summary| summary.place);
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

impl ItemSummary {
    /// An item as it is now. Its label is its `name`, or else its `label`, where that says anything.
    pub fn of(item: &Item) -> Self {
        let mut summary = ItemSummary::empty(item.id.clone());
        summary.refresh(item);
        summary
    }

    /// The item of a command that was relayed: as far as that says what it is, or else as it has become.
    fn from_command(command: &Command, item: Option<&Item>) -> Self {
        let mut summary = ItemSummary::empty(command.item_id.as_ref().into());
        summary.read_fields(command.data.iter().map(|(key, value)| (&**key, &**value)));
        let now = item.map(ItemSummary::of);
        let Some(ItemSummary { item_type, label, .. }) = now else { return summary };
        ItemSummary {
            item_type: summary.item_type.or(item_type),
            label: summary.label.or(label),
            ..summary
        }
    }

    /// The same, with what was summary before of what isn't summary now.
    fn or(self, before: ItemSummary) -> Self {
        let [x, y, angle] = self.place;
        let place = [x.or(before.place[0]), y.or(before.place[1]), angle.or(before.place[2])];
        let (item_type, label) = (self.item_type.or(before.item_type), self.label.or(before.label));
        ItemSummary { place, item_type, label, ..self }
    }

    fn empty(id: Arc<str>) -> Self {
        ItemSummary { id, item_type: None, label: None, place: [None; 3] }
    }

    fn refresh(&mut self, item: &Item) {
        self.read_fields(item.fields.iter().map(|field| (&*field.key, &*field.value)));
    }

    fn read_fields<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a RawValue)>) {
        let (mut item_type, mut name, mut label) = (None, None, None);
        self.place = [None; 3];
        for (key, value) in fields {
            match key {
                "x_mm" => self.place[0] = json::as_number(value),
                "y_mm" => self.place[1] = json::as_number(value),
                "angle_deg" => self.place[2] = json::as_number(value),
                "item_type" => item_type = short_string(value),
                "name" => name = short_string(value),
                "label" => label = short_string(value),
                _ => {}
            }
        }
        keep(&mut self.item_type, item_type);
        keep(&mut self.label, name.or(label));
    }
}

/// A string that is short enough and not empty, as JSON.
fn short_string(value: &RawValue) -> Option<&str> {
    let text = value.get();
    (text.starts_with('"') && (3..=MAX_NAME_BYTES).contains(&text.len())).then_some(text)
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
