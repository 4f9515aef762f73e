//! Who chose what last, as each choice reached the server: whatever else the document says, somebody's
//! work is lost, or something is there that nobody wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use crate::editor::{CRIMSON, Told, Untold, object};
use crate::python::{is_odd, same};

/// For so many changes the server knows a message's name again.
const REMEMBERED: u64 = 50;

/// How the server took a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// As what it says.
    Whole,
    /// As the first canvas of a connection: what is in the document already may be an old copy, of which
    /// only what was never in the document can be new.
    AsFirstCanvas,
    /// In the place of everything that was there.
    InPlace,
}

/// The values that a field may have; none if it may have any.
#[derive(Debug, Clone, Default)]
struct Field {
    allowed: Vec<Value>,
    /// Who chose one of them.
    by: BTreeSet<String>,
    /// What it had before, and until when.
    before: Vec<(Duration, Value)>,
}

#[derive(Debug, Clone)]
enum Note {
    Added {
        id: String,
        fields: BTreeMap<String, Value>,
        absent: BTreeMap<String, Value>,
        by: String,
    },
    Removed {
        id: String,
        by: String,
    },
    Chosen {
        id: String,
        field: String,
        value: Value,
        by: String,
        at: Duration,
    },
    Allowed {
        id: String,
        field: String,
        value: Value,
        /// Whose it is if it is taken.
        by: Option<String>,
        at: Duration,
    },
    /// It was told before the item was there, and may still be shown by a copy when it is.
    Early {
        id: String,
        field: String,
        value: Value,
    },
    /// A choice doesn't count any more when it is told again.
    Counted(String, u64),
    /// A message that has a name of its sender's was taken.
    Named(String, u64),
    Replaced {
        items: BTreeMap<String, [BTreeMap<String, Value>; 2]>,
        by: String,
        at: Duration,
    },
}

/// See the file's text.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Everything noted, and as of which change of the session.
    notes: Vec<(u64, Note)>,
    /// For so long a value of before may still be on its way to somebody: choosing it again and having
    /// an old copy look the same.
    window: Duration,
    items: BTreeMap<String, BTreeMap<String, Field>>,
    /// What editors show of the fields that an item doesn't have.
    absent: HashMap<String, BTreeMap<String, Value>>,
    /// What was told of items that were not there.
    early: HashMap<String, Vec<(String, Value)>>,
    /// What was removed, and by whom.
    gone: BTreeMap<String, BTreeSet<String>>,
    /// What went as a whole, while somebody may still have been at it: there or not, both are right.
    free: BTreeSet<String>,
    counted: HashSet<(String, u64)>,
    /// Numbers that no change has: after the first, up to the second.
    gaps: Vec<(u64, u64)>,
    /// As of which change messages with a name were taken.
    named: HashMap<(String, u64), u64>,
}

impl Ledger {
    pub fn new(window: Duration) -> Self {
        Ledger { window, ..Ledger::default() }
    }

    /// A member's message has been taken.
    pub fn note(
        &mut self,
        seq: u64,
        at: Duration,
        by: &str,
        message: &Value,
        told: &[Told],
        how: Taken,
    ) {
        if let Some(name) = message["id"].as_u64() {
            let known = self.named.get(&(by.to_owned(), name));
            if known.is_some_and(|known| self.changes_between(*known, seq) < REMEMBERED) {
                return;
            }
            self.push(seq, Note::Named(by.to_owned(), name));
        }
        match message["type"].as_str().expect("a type") {
            "command" => self.note_command(seq, at, by, &message["command"], told),
            "sync:update" => self.replace(seq, at, by, &message["state"]["items"]),
            "sync:full_state" if how == Taken::InPlace => {
                self.replace(seq, at, by, &message["state"]["items"]);
            }
            "sync:full_state" => {
                let known: BTreeSet<String> = self.items.keys().cloned().collect();
                for data in message["state"]["items"].as_array().expect("a list") {
                    let id = data["uuid"].as_str().expect("a uuid");
                    match known.contains(id) {
                        false => self.add(seq, id, by, data),
                        true if how == Taken::AsFirstCanvas => {
                            self.allow_news(seq, at, id, by, data)
                        }
                        true => {}
                    }
                }
                // What stands nowhere is left out, and remains to be told.
                let items = message["state"]["items"].as_array().expect("a list");
                let is_taken = |told: &&Told| {
                    let data = items.iter().find(|data| data["uuid"] == *told.item);
                    data.is_none_or(is_somewhere)
                };
                for told in told.iter().filter(is_taken) {
                    match known.contains(&told.item) && how == Taken::Whole {
                        true => self.tell(seq, at, by, told),
                        false => self.count(seq, by, told),
                    }
                }
            }
            _ => {}
        }
    }

    fn note_command(&mut self, seq: u64, at: Duration, by: &str, command: &Value, told: &[Told]) {
        let id = command["item_id"].as_str().expect("a string");
        let data = &command["data"];
        let is_known = self.items.contains_key(id);
        match command["action"].as_str().expect("a string") {
            "remove_item" => self.push(seq, Note::Removed { id: id.into(), by: by.into() }),
            // Undoing a deletion isn't told: what is dragged then is back.
            "move_item" if !is_known && !self.has_removed(id, by) => {
                told.iter().for_each(|told| self.tell_early(seq, by, told));
            }
            // Without its type it is a script's, and says no more than what it says.
            "update_item" | "move_item" if data.get("_type").is_none() => {
                for (field, value) in written(data).into_iter().filter(|_| is_known) {
                    let (id, by) = (id.into(), by.into());
                    self.push(seq, Note::Chosen { id, field, value, by, at });
                }
            }
            "add_item" | "update_item" | "move_item" if !is_known => {
                // Only a program adds what others have removed, and it has heard of it.
                let by_add = command["action"] == "add_item";
                if (by_add || self.may_bring_back(id, by)) && !self.free.contains(id) {
                    self.push_added(seq, id, by, data);
                    told.iter().for_each(|told| self.count(seq, by, told));
                } else {
                    told.iter().for_each(|told| self.tell_early(seq, by, told));
                }
            }
            // A script says again what was lost, or tells all of what somebody else has brought back.
            "add_item" if told.is_empty() => {
                for (field, value) in seen(data) {
                    self.push(seq, Note::Allowed { id: id.into(), field, value, by: None, at });
                }
            }
            _ => told.iter().for_each(|told| self.tell(seq, at, by, told)),
        }
    }

    fn has_removed(&self, id: &str, by: &str) -> bool {
        self.gone.get(id).is_some_and(|removers| removers.contains(by))
    }

    fn may_bring_back(&self, id: &str, by: &str) -> bool {
        self.gone.get(id).is_none_or(|removers| removers.contains(by))
    }

    fn add(&mut self, seq: u64, id: &str, by: &str, data: &Value) {
        if self.may_bring_back(id, by) && !self.free.contains(id) {
            self.push_added(seq, id, by, data);
        }
    }

    /// What an old copy says may be new where the document never had it, or be its owner's own change of
    /// mind. A colour that a copy reports because it was rebuilt is neither.
    fn allow_news(&mut self, seq: u64, at: Duration, id: &str, by: &str, data: &Value) {
        for (field, value) in seen(data).into_iter().filter(|(_, value)| value != CRIMSON) {
            let known = &self.items[id].get(&field);
            let is_news = known.is_some_and(|known| {
                known.by.contains(by) || !known.before.iter().any(|(_, old)| same(old, &value))
            });
            if is_news {
                let (id, by) = (id.to_owned(), Some(by.to_owned()));
                self.push(seq, Note::Allowed { id, field, value, by, at });
            }
        }
    }

    fn push_added(&mut self, seq: u64, id: &str, by: &str, data: &Value) {
        if is_somewhere(data) {
            let (id, by) = (id.into(), by.into());
            self.push(seq, Note::Added { id, fields: seen(data), absent: absent(data), by });
        }
    }

    fn tell(&mut self, seq: u64, at: Duration, by: &str, told: &Told) {
        let Told { item: id, field, value, how } = told.clone();
        match how {
            Untold::Hidden => {}
            Untold::Along => {
                self.push(seq, Note::Allowed { id, field, value, by: None, at });
            }
            Untold::Chosen(number) if self.counted.contains(&(by.to_owned(), number)) => {}
            Untold::Chosen(_) => {
                self.push(seq, Note::Chosen { id, field, value, by: by.to_owned(), at });
                self.count(seq, by, told);
            }
        }
    }

    /// The item isn't there.
    fn tell_early(&mut self, seq: u64, by: &str, told: &Told) {
        let Told { item: id, field, value, .. } = told.clone();
        self.push(seq, Note::Early { id, field, value });
        self.count(seq, by, told);
    }

    fn count(&mut self, seq: u64, by: &str, told: &Told) {
        if let Untold::Chosen(number) = told.how {
            self.push(seq, Note::Counted(by.to_owned(), number));
        }
    }

    /// Something else took the place of everything.
    pub fn replace(&mut self, seq: u64, at: Duration, by: &str, items: &Value) {
        let id =
            |data: &Value| data["uuid"].as_str().or(data["item_uuid"].as_str()).map(str::to_owned);
        let items = items.as_array().expect("a list").iter().filter(|data| is_somewhere(data));
        let items = items.map(|data| (id(data).expect("an id"), [seen(data), absent(data)]));
        self.push(seq, Note::Replaced { items: items.collect(), by: by.to_owned(), at });
    }

    fn push(&mut self, seq: u64, note: Note) {
        self.notes.push((seq, note.clone()));
        if let Note::Named(by, name) = note {
            self.named.insert((by, name), seq);
        } else {
            self.apply(note);
        }
    }

    fn apply(&mut self, note: Note) {
        match note {
            Note::Added { id, fields, absent, by } => {
                self.absent.insert(id.clone(), absent);
                let fields = fields.into_iter();
                let fields = fields.map(|(name, value)| {
                    let allowed = allowed(&name, &value);
                    let by = BTreeSet::from([by.clone()]);
                    (name, Field { allowed, by, before: Vec::new() })
                });
                let mut fields: BTreeMap<String, Field> = fields.collect();
                for (name, value) in self.early.remove(&id).unwrap_or_default() {
                    if let Some(field) = fields.get_mut(&name).filter(|at| !at.allowed.is_empty()) {
                        field.allowed.extend(allowed(&name, &value));
                    }
                }
                self.gone.remove(&id);
                self.free.remove(&id);
                self.items.insert(id, fields);
            }
            Note::Removed { id, by } => {
                let was_there = self.items.remove(&id).is_some() | self.free.remove(&id);
                // Nobody was told of what was pasted and deleted again: others may bring it.
                if was_there || self.gone.contains_key(&id) {
                    self.gone.entry(id).or_default().insert(by);
                }
            }
            Note::Chosen { id, field, value, by, at } => {
                let window = self.window;
                let Some(item) = self.items.get_mut(&id) else { return };
                let is_new = !item.contains_key(&field);
                let known = item.entry(field.clone()).or_default();
                let absent = self.absent.get_mut(&id).and_then(|absent| absent.remove(&field));
                known.before.extend(absent.map(|value| (at, value)));
                let was_any = known.allowed.is_empty() && !is_new;
                let is_recent = |until: &Duration| *until + window >= at;
                // An undo brings back a place at which the item was put aside for a moment, too.
                let is_near = |old: &Value| {
                    let distance = old.as_f64().zip(value.as_f64()).map(|(a, b)| (a - b).abs());
                    field == "x_mm" && distance.is_some_and(|distance| distance < 2e-6)
                };
                let is_old = |old: &Value| same(old, &value) || is_near(old);
                let is_old =
                    known.before.iter().any(|(until, old)| is_recent(until) && is_old(old));
                let before = known.allowed.iter().map(|old| (at, old.clone()));
                known.before.extend(before.collect::<Vec<_>>());
                if !is_old || was_any {
                    known.allowed.clear();
                    known.by.clear();
                }
                known.by.insert(by);
                known.allowed.extend(allowed(&field, &value));
            }
            Note::Allowed { id, field, value, by, at } => {
                let item = self.items.get_mut(&id);
                // None: any value is.
                if let Some(known) = item.and_then(|item| item.get_mut(&field))
                    && !known.allowed.is_empty()
                {
                    known.by.extend(by);
                    // Choosing one of these again and having an old copy look the same, too.
                    let before = known.allowed.iter().map(|old| (at, old.clone()));
                    known.before.extend(before.collect::<Vec<_>>());
                    match allowed(&field, &value) {
                        more if more.is_empty() => known.allowed.clear(),
                        more => known.allowed.extend(more),
                    }
                }
            }
            Note::Early { id, field, value } => {
                self.early.entry(id).or_default().push((field, value));
            }
            Note::Named(..) => {}
            Note::Counted(by, number) => drop(self.counted.insert((by, number))),
            Note::Replaced { items, by, at } => {
                let mut old = std::mem::take(&mut self.items);
                let gone = std::mem::take(&mut self.gone);
                self.free.extend(old.keys().cloned().chain(gone.into_keys()));
                for (id, [fields, absent]) in items {
                    self.apply(Note::Added { id: id.clone(), fields, absent, by: by.clone() });
                    let new = self.items.get_mut(&id).expect("it was added");
                    for (name, mut field) in old.remove(&id).unwrap_or_default() {
                        let Some(new) = new.get_mut(&name) else { continue };
                        let is_same =
                            |value: &Value| new.allowed.iter().any(|new| same(new, value));
                        if field.allowed.iter().any(is_same) {
                            new.by.append(&mut field.by);
                        }
                        new.before.append(&mut field.before);
                        new.before.extend(field.allowed.into_iter().map(|old| (at, old)));
                    }
                }
            }
        }
    }

    /// How many changes there were after one up to another one.
    fn changes_between(&self, after: u64, seq: u64) -> u64 {
        let skipped = self.gaps.iter().filter(|(begin, end)| after <= *begin && *end <= seq);
        seq - after - skipped.map(|(begin, end)| end - begin).sum::<u64>()
    }

    /// The server has crashed, and goes on from this change with a number after `skipped`. Messages that changed nothing may be stored as of it
    /// or not: `knows` says whether a user's message of this name is.
    pub fn forget_after(&mut self, seq: u64, skipped: u64, knows: impl Fn(&str, u64) -> bool) {
        let notes = std::mem::take(&mut self.notes);
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.retain(|(begin, _)| *begin < seq);
        gaps.extend((skipped > seq).then_some((seq, skipped)));
        *self = Ledger { gaps, ..Ledger::new(self.window) };
        for (noted, note) in notes.into_iter().filter(|(noted, _)| *noted <= seq) {
            match &note {
                Note::Named(by, name) if !knows(by, *name) => {}
                _ => self.push(noted, note),
            }
        }
    }

    /// What the document has to be.
    pub fn check(&self, document: &BTreeMap<String, Value>) {
        for (id, fields) in &self.items {
            let Some(item) = document.get(id) else {
                panic!("{id} is gone, and nobody removed it")
            };
            let seen = seen(item);
            // What an item lacks everybody sees as the default.
            let is_known = object::known_type(&item["_type"]).is_some();
            let shown = if is_known { object::shown(item) } else { BTreeMap::new() };
            for (name, field) in fields.iter().filter(|(_, field)| !field.allowed.is_empty()) {
                let is = seen.get(name).or(shown.get(name)).unwrap_or(&Value::Null);
                let is_right = field.allowed.iter().any(|allowed| same(allowed, is));
                assert!(
                    is_right,
                    "{id}: {name} is {is}, and was last chosen to be {:?}",
                    field.allowed
                );
            }
        }
        for id in document.keys().filter(|id| !self.items.contains_key(*id)) {
            assert!(
                self.free.contains(id),
                "{id} is there; it was removed by {:?}",
                self.gone.get(id)
            );
        }
    }
}

/// What is nowhere can't be taken.
fn is_somewhere(data: &Value) -> bool {
    !is_odd(&data["x_mm"]) && !is_odd(&data["y_mm"])
}

/// The values that are right for a field after this one was chosen: a number that isn't one is left out,
/// and with it goes what was said.
pub fn allowed(field: &str, value: &Value) -> Vec<Value> {
    let never_infinite = ["angle_deg", "n_rays", "spread_deg"].contains(&field);
    let text = value.to_string();
    let is_odd = text.contains("∞/∞") || (never_infinite && is_odd(value));
    // Nobody is sent a path that leads elsewhere, and what comes back instead may be taken.
    match is_odd || (field == "image_path" && text.starts_with("\"/")) {
        true => Vec::new(),
        false => vec![value.clone()],
    }
}

/// What is seen of the fields that an item's data has.
fn seen(data: &Value) -> BTreeMap<String, Value> {
    if object::known_type(&data["_type"]).is_none() {
        return written(data);
    }
    let names = data.as_object().expect("an object");
    let mut shown = object::shown(data);
    shown.retain(|name, _| names.contains_key(name));
    shown
}

/// What editors show of the fields that an item's data lacks.
fn absent(data: &Value) -> BTreeMap<String, Value> {
    if object::known_type(&data["_type"]).is_none() {
        return BTreeMap::new();
    }
    let mut names = data.as_object().expect("an object").clone();
    // A value that is none is left out.
    names.retain(|name, value| !allowed(name, value).is_empty());
    let mut shown = object::shown(&names.clone().into());
    shown.retain(|name, _| !names.contains_key(name));
    shown
}

/// The fields of data as they stand there, but for the item's names; an angle as editors turn it.
fn written(data: &Value) -> BTreeMap<String, Value> {
    let fields = data.as_object().expect("an object").iter();
    let fields = fields
        .filter(|(name, _)| !["uuid", "item_uuid", "item_type", "_type"].contains(&name.as_str()));
    fields
        .map(|(name, value)| match (name.as_str(), value.as_f64()) {
            ("angle_deg", Some(angle)) => (name.clone(), angle.rem_euclid(360.0).into()),
            ("color_hex", _) => {
                (name.clone(), value.as_str().expect("a colour").to_lowercase().into())
            }
            _ => (name.clone(), value.clone()),
        })
        .collect()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
