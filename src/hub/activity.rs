//! The activity of a session, for the page and the API: its last changes, and the number of changes in each of
//! the last minutes.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Applied, Document};
use super::field_changes::FieldChanges;
use super::item::Item;
use super::item_summary::ItemSummary;
use super::per_minute::PerMinute;
use super::time::Time;
use crate::journal::StoredChange;
use crate::protocol::inbound::{self, Action};
use crate::protocol::json::Fields;
use crate::protocol::outbound::write_key;
use crate::protocol::{Frame, Timestamp, UserId, json};

/// How many activities are remembered.
const MAX_ACTIVITIES: usize = 50;
/// Updates and moves of one item by one user are one activity while they follow each other within this time, in
/// milliseconds: a drag is a hundred changes a second.
const COALESCE_WINDOW_MS: u64 = 2000;

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityKind {
    Add,
    Update,
    Move,
    Remove,
    /// Replaced the document with a canvas.
    Replace,
    /// Restored an earlier version.
    Restore,
    /// Imported a canvas from a file.
    Import,
}

impl ActivityKind {
    /// The kind of a command that has changed something; `None` for a command that can't.
    pub fn from_action(action: Action) -> Option<Self> {
        match action {
            Action::Add => Some(ActivityKind::Add),
            Action::Update => Some(ActivityKind::Update),
            Action::Move => Some(ActivityKind::Move),
            Action::Remove => Some(ActivityKind::Remove),
            Action::Other => None,
        }
    }

    /// Whether changes of this kind may be one activity.
    fn can_coalesce(self) -> bool {
        matches!(self, ActivityKind::Update | ActivityKind::Move)
    }

    /// The kind of an activity that began as `before`: updates within a move are still a move.
    fn following(self, before: ActivityKind) -> ActivityKind {
        if before == ActivityKind::Move { before } else { self }
    }

    /// The name that is shown.
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

/// One or more changes of one kind, by one user, of one item or of the whole document.
#[derive(Debug)]
struct Activity {
    /// The number of its last change.
    seq: u64,
    /// When that was.
    at: Timestamp,
    user: UserId,
    kind: ActivityKind,
    item: Option<ItemSummary>,
    /// What it has written to the item.
    changes: FieldChanges,
    /// What it did to the whole document; `None` for one item.
    counts: Option<Counts>,
}

/// How many items a change of the whole document has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    added: usize,
    changed: usize,
    removed: usize,
}

impl Counts {
    /// Counts these changes.
    pub fn of(changes: &[Applied]) -> Self {
        let count = |is_one: fn(&Applied) -> bool| changes.iter().filter(|one| is_one(one)).count();
        Counts {
            added: count(|one| matches!(one, Applied::Added(_))),
            changed: count(|one| matches!(one, Applied::Changed(_))),
            removed: count(|one| matches!(one, Applied::Removed(_))),
        }
    }
}

/// The activity of a session.
#[derive(Debug, Default)]
pub struct ActivityLog {
    /// The newest last.
    activities: VecDeque<Activity>,
    changed_at: Option<Timestamp>,
    minutes: PerMinute,
}

impl ActivityLog {
    /// When the document was changed last; `None` if that isn't known.
    pub fn changed_at(&self) -> Option<Timestamp> {
        self.changed_at
    }

    /// The user who changed it last; `None` if that isn't known.
    pub fn changed_by(&self) -> Option<&UserId> {
        self.activities.back().map(|activity| &activity.user)
    }

    /// The activity of a stored session from its last changes, which are in order. `document` is the one after
    /// them; `written` are the fields that some of them have changed, by number. Of the others that is known
    /// which earlier ones of these changes tell of.
    pub fn from_stored<'a>(
        changes: impl Iterator<Item = &'a StoredChange>,
        document: &Document,
        mut written: HashMap<u64, FieldChanges>,
    ) -> Self {
        let mut recent = ActivityLog::default();
        let mut known: HashMap<Box<str>, Fields> = HashMap::new();
        for StoredChange { seq, at, user, frame, .. } in changes {
            let text = std::str::from_utf8(frame).unwrap_or_default();
            let command = inbound::parse_stored(text);
            // Only the server writes a whole state as a change.
            let kind = match &command {
                Some(command) => ActivityKind::from_action(command.action),
                None => Some(ActivityKind::Replace),
            };
            let Some(kind) = kind else { continue };
            let fields = command.as_ref().map(|command| {
                let known = known.entry(command.item_id.clone()).or_default();
                let found = || match kind {
                    ActivityKind::Update | ActivityKind::Move => {
                        FieldChanges::of_known(known, &command.data)
                    }
                    _ => FieldChanges::default(),
                };
                let fields = written.remove(seq).unwrap_or_else(found);
                learn(known, &command.data);
                if kind == ActivityKind::Remove {
                    known.clear();
                }
                fields
            });
            let summary = command
                .map(|command| ItemSummary::from_command(&command, document.get(&command.item_id)));
            let id = summary.as_ref().map(|summary| summary.id.clone());
            let before = id.and_then(|id| recent.take_coalesced(user, kind, &id, *at));
            let kind = before.as_ref().map_or(kind, |before| kind.following(before.kind));
            let (before, changes) = match before {
                Some(Activity { item, mut changes, .. }) => {
                    changes.go_on(fields.unwrap_or_default());
                    (item, changes)
                }
                None => (None, fields.unwrap_or_default()),
            };
            let before = match kind {
                ActivityKind::Remove => {
                    summary.as_ref().and_then(|summary| recent.last_summary(&summary.id)).cloned()
                }
                _ => before,
            };
            let item = match (summary, before) {
                (Some(summary), Some(before)) => Some(summary.or(before)),
                (summary, before) => summary.or(before),
            };
            let user = user.clone();
            recent.push(Activity { seq: *seq, at: *at, user, kind, item, changes, counts: None });
        }
        recent
    }

    /// Records change `seq` of one item, the fields that it has written, and `item`, the item after it.
    pub fn note_item(
        &mut self,
        seq: u64,
        user: &UserId,
        kind: ActivityKind,
        item: &Item,
        written: FieldChanges,
        now: Time,
    ) {
        self.minutes.count(now.elapsed);
        let activity = match self.take_coalesced(user, kind, &item.id, now.wall) {
            Some(mut before) => {
                match &mut before.item {
                    Some(summary) => summary.refresh(item),
                    None => before.item = Some(ItemSummary::of(item)),
                }
                before.changes.go_on(written);
                Activity { seq, at: now.wall, kind: kind.following(before.kind), ..before }
            }
            None => {
                let (user, item) = (user.clone(), Some(ItemSummary::of(item)));
                Activity { seq, at: now.wall, user, kind, item, changes: written, counts: None }
            }
        };
        self.push(activity);
    }

    /// Records that the whole document was replaced; `seq` is the last of the changes.
    pub fn note_whole(
        &mut self,
        seq: u64,
        user: &UserId,
        kind: ActivityKind,
        counts: Counts,
        now: Time,
    ) {
        self.minutes.count(now.elapsed);
        let (user, counts) = (user.clone(), Some(counts));
        let changes = FieldChanges::default();
        self.push(Activity { seq, at: now.wall, user, kind, item: None, changes, counts });
    }

    /// Records change `seq`, which removed an item. `item` is the item before it.
    pub fn note_removed(&mut self, seq: u64, user: &UserId, item: Option<ItemSummary>, now: Time) {
        self.minutes.count(now.elapsed);
        self.push(Activity {
            seq,
            at: now.wall,
            user: user.clone(),
            kind: ActivityKind::Remove,
            item,
            changes: FieldChanges::default(),
            counts: None,
        });
    }

    fn push(&mut self, activity: Activity) {
        self.changed_at = Some(activity.at);
        if self.activities.len() >= MAX_ACTIVITIES {
            self.activities.pop_front();
        }
        self.activities.push_back(activity);
    }

    /// The item at the time of its last activity.
    fn last_summary(&self, id: &Arc<str>) -> Option<&ItemSummary> {
        let mut summaries =
            self.activities.iter().rev().filter_map(|activity| activity.item.as_ref());
        summaries.find(|summary| summary.id == *id)
    }

    /// Removes and returns the activity that a change belongs to: of the same user and item, within
    /// [`COALESCE_WINDOW_MS`].
    fn take_coalesced(
        &mut self,
        user: &UserId,
        kind: ActivityKind,
        id: &Arc<str>,
        now: Timestamp,
    ) -> Option<Activity> {
        if !kind.can_coalesce() {
            return None;
        }
        let is_about = |summary: &ItemSummary| Arc::ptr_eq(&summary.id, id) || summary.id == *id;
        let mut activities = self.activities.iter();
        let place =
            activities.rposition(|activity| activity.item.as_ref().is_some_and(is_about))?;
        let activity = &self.activities[place];
        let is_recent = now.millis() <= activity.at.millis().saturating_add(COALESCE_WINDOW_MS);
        let coalesces = activity.kind.can_coalesce() && activity.user == *user && is_recent;
        if coalesces { self.activities.remove(place) } else { None }
    }

    /// The last activity as a message for viewers: `session:activity`.
    pub fn last(&self) -> Option<Frame> {
        let mut json = br#"{"type":"session:activity","#.to_vec();
        let last = self.activities.back()?;
        last.write_fields(&mut json);
        let _ = write!(json, ",\"timestamp\":\"{}\"}}", last.at);
        Some(Frame::text(&String::from_utf8(json).ok()?))
    }

    /// Appends the activities as a JSON list, the newest last.
    pub fn write(&self, json: &mut Vec<u8>) {
        json.push(b'[');
        for (place, activity) in self.activities.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            activity.write(json);
        }
        json.push(b']');
    }

    /// Appends the number of changes in each minute as a JSON list, the current minute last.
    pub fn write_minutes(&self, json: &mut Vec<u8>, now: Duration) {
        for (place, count) in self.minutes.until(now).enumerate() {
            let _ = write!(json, "{}{count}", if place == 0 { '[' } else { ',' });
        }
        json.push(b']');
    }
}

impl Activity {
    fn write(&self, json: &mut Vec<u8>) {
        json.push(b'{');
        self.write_fields(json);
        json.push(b'}');
    }

    /// Appends its fields as JSON, without braces. Writing to memory can't fail.
    fn write_fields(&self, json: &mut Vec<u8>) {
        let _ = write!(json, "\"seq\":{},\"at\":\"{}\"", self.seq, self.at);
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
        self.changes.write(json, &place);
        if let Some(Counts { added, changed, removed }) = self.counts {
            let _ = write!(json, ",\"added\":{added},\"changed\":{changed},\"removed\":{removed}");
        }
    }
}

/// Takes over what a relayed message says of an item.
fn learn(known: &mut Fields, said: &Fields) {
    let places: HashMap<&str, usize> =
        known.iter().enumerate().map(|(place, (key, _))| (&**key, place)).collect();
    let places: Vec<Option<usize>> =
        said.iter().map(|(key, _)| places.get(&**key).copied()).collect();
    for ((key, value), place) in said.iter().zip(places) {
        match place {
            Some(place) => known[place].1.clone_from(value),
            None => known.push((key.clone(), value.clone())),
        }
    }
}

/// The text of a JSON string; `None` if it has half a surrogate pair in it.
fn readable(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}
