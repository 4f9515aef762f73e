//! One item of a document.
//!
//! An editor's copy of an item is either one that its user placed or loaded ("built"), or one that the
//! editor made from a message. A copy made from a message has no picture, so its origin and its `interfaces`
//! stand elsewhere: such copies are sent and report "moved" interfaces.

mod defaults;
mod size;

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::author::Author;
use super::nudge::nudged;
use super::old_values::OldValues;
use super::told::Told;
use crate::protocol::item::is_unsafe_image_path;
use crate::protocol::json::{self, Fields, Name, is_string};
use crate::protocol::outbound::{write_key, write_object};
use crate::protocol::{Timestamp, UserId, geometry};

pub(super) use super::field::{FIELD_MEMORY, Field, PLACE};
pub(super) use super::past_value::PastValue;
use defaults::default_print;
pub(super) use defaults::{
    default_of, is_at_default_place, is_blank_default, is_default, looks_blank,
};
use size::ITEM_MEMORY;
pub(super) use size::{
    FIELD_OVERHEAD, find, is_fixed, is_identity, memory_completed, size_completed, size_of_fields,
};

/// The fields in which a copy that was made from a message differs from the original.
pub(super) const INTERFACES: &str = "interfaces";
pub(super) const IMAGE_PATH: &str = "image_path";

/// How many fields of a removed item have marks at most.
pub(super) const MAX_MARKED: usize = 64;

/// What a frame has beside its item, in bytes: reserved at once.
const FRAME_RESERVE_BYTES: usize = 192;
/// The largest list of interfaces that is moved, in bytes. Real ones have some hundred bytes an interface.
const MAX_INTERFACES_BYTES: usize = 64 << 10;

/// One item. It always has the fields `uuid`, its id, and `item_type`, a string.
#[derive(Debug)]
pub struct Item {
    pub id: Arc<str>,
    pub fields: Vec<Field>,
    /// The user who changed it last, or whose snapshot added it.
    pub writer: UserId,
    /// When that was; `None` if it was loaded.
    pub changed_at: Option<Timestamp>,
    /// The users who built their copy themselves. All others made theirs from a message.
    pub builders: Vec<UserId>,
    /// The session's tick at which it was added; 0 if it was loaded.
    pub added: u64,
    /// The ticks at which members were told of it.
    pub told: Told,
    /// Marks of the values that its fields had before their `past` ones.
    pub old: OldValues,
    /// Marks of the values that copies from before its last removal may show; `None` if it was never removed.
    pub before: Option<Box<OldValues>>,
    derived: Derived,
    /// Its size as JSON, in bytes.
    pub(super) bytes: usize,
}

/// What follows from an item's type, picture and interfaces; computed when it is needed.
#[derive(Debug, Default)]
struct Derived {
    /// See [`Item::moved_interfaces`].
    moved: OnceCell<Option<Box<RawValue>>>,
    /// See [`Item::offset`].
    offset: OnceCell<Option<(f64, f64)>>,
    /// See [`Item::hides_path`].
    hides: OnceCell<bool>,
    /// See [`Item::is_plain`].
    is_plain: OnceCell<bool>,
}

impl Item {
    /// A new item; `fields` include `uuid` and `item_type`.
    pub(super) fn new(id: Arc<str>, fields: Vec<Field>, writer: UserId, added: u64) -> Self {
        let bytes = size_of_fields(&id, fields.iter().map(|field| (&*field.key, &*field.value)));
        let builders = default_builders(&fields, Some(&writer));
        let (told, old, derived) = (Told::default(), OldValues::default(), Derived::default());
        let before = None;
        let changed_at = None;
        Item { id, fields, writer, changed_at, builders, added, told, old, before, derived, bytes }
    }

    /// An estimate of its memory with its earlier values, in bytes. Takes time linear in its fields.
    pub(super) fn memory(&self) -> usize {
        let past = self.fields.iter().map(|field| field.past.len() * size_of::<PastValue>());
        let fields = self.bytes + self.fields.len() * FIELD_MEMORY;
        ITEM_MEMORY
            + fields
            + past.sum::<usize>()
            + self.old.memory()
            + self.before.as_ref().map_or(0, |before| before.memory())
    }

    /// By how many bytes of memory it grows when fields are overwritten, earlier values not included.
    pub(super) fn growth(&self, sizes: &Overwritten) -> isize {
        let added = sizes.places.iter().filter(|place| place.is_none()).count();
        (sizes.bytes + added * FIELD_MEMORY) as isize - self.bytes as isize
    }

    /// Appends the item as JSON with every field, as it is stored.
    pub fn write_stored(&self, json: &mut Vec<u8>) {
        json.reserve(self.bytes + FRAME_RESERVE_BYTES);
        write_object(json, self.fields.iter().map(|field| (&*field.key, &*field.value)));
    }

    /// Appends the item as JSON, as it is sent: without an `image_path` that leads out of the editor's own
    /// library. An item that loses its picture that way has its interfaces moved.
    pub fn write(&self, json: &mut Vec<u8>) {
        match self.moved().filter(|_| self.hides_path()) {
            Some(moved) => moved.write(json),
            None if !self.hides_path() => self.write_stored(json),
            None => write_object(json, self.shown_fields()),
        }
    }

    /// Whether its `image_path` leads out of the editor's own library and is not sent.
    pub fn hides_path(&self) -> bool {
        let hides = || {
            let path = self.field(IMAGE_PATH);
            path.is_some_and(|path| is_unsafe_image_path(IMAGE_PATH, &path.value))
        };
        *self.derived.hides.get_or_init(hides)
    }

    /// Whether all its copies have the same origin, built or made from a message.
    pub(super) fn is_plain(&self) -> bool {
        *self.derived.is_plain.get_or_init(|| is_plain(&self.fields))
    }

    /// Appends the item as JSON for a file. An editor reads id and type there from `item_uuid` and `_type`
    /// alone, and gives an item without `item_uuid` a new id.
    pub fn write_for_file(&self, json: &mut Vec<u8>) {
        self.write(json);
        let id = json::string(&self.id);
        for (key, value) in [("item_uuid", &*id), ("_type", self.item_type())] {
            if self.field(key).is_none() {
                json.pop();
                write_key(json, key);
                json.extend_from_slice(value.get().as_bytes());
                json.push(b'}');
            }
        }
    }

    fn shown_fields(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        let hides = self.hides_path();
        let is_shown = move |field: &&Field| !(hides && &*field.key == IMAGE_PATH);
        self.fields.iter().filter(is_shown).map(|field| (&*field.key, &*field.value))
    }

    /// The item for a copy that was made from a message: with its interfaces moved to that copy's origin.
    /// `None` if that makes no difference.
    pub fn moved(&self) -> Option<MovedItem<'_>> {
        Some(MovedItem { item: self, interfaces: self.moved_interfaces()? })
    }

    /// Its interfaces for a copy without a picture; `None` if they are the same.
    pub fn moved_interfaces(&self) -> Option<&RawValue> {
        let move_them = || {
            let (x, y) = self.offset()?;
            geometry::shift_interfaces(&self.field(INTERFACES)?.value, -x, -y)
        };
        self.derived.moved.get_or_init(move_them).as_deref()
    }

    /// The distance of the origin of a copy without a picture: the middle of the first interface of an item
    /// with a picture. `None` if it is the same origin.
    pub fn offset(&self) -> Option<(f64, f64)> {
        *self.derived.offset.get_or_init(|| self.find_offset())
    }

    fn find_offset(&self) -> Option<(f64, f64)> {
        let picture = json::as_string(&self.field(IMAGE_PATH)?.value)?;
        let interfaces = &self.field(INTERFACES)?.value;
        if interfaces.get().len() > MAX_INTERFACES_BYTES {
            return None;
        }
        let middle = geometry::first_middle(interfaces)?;
        (!picture.is_empty() && !geometry::is_near(middle, (0.0, 0.0))).then_some(middle)
    }

    /// Whether editors know items of its type. They read it from `_type`, if it has one.
    pub fn is_for_editors(&self) -> bool {
        let item_type = self.item_type().get();
        let is_other =
            |field: &Field| field.value.get() != item_type && json::is_string(&field.value);
        matches!(item_type, r#""component""# | r#""source""#)
            && !self.field("_type").is_some_and(is_other)
    }

    /// Records that it has been still: a file may have been saved with its place.
    pub fn rests(&mut self) {
        for field in self.fields.iter_mut().filter(|field| PLACE.contains(&&*field.key)) {
            field.is_at_rest = true;
        }
    }

    /// Whether a field had an earlier value with this fingerprint, or with a moved form of this fingerprint.
    pub fn has_had(&self, field: &Field, print: u64) -> bool {
        field.past.iter().any(|past| past.shows(print)) || self.old.has(&field.key, print)
    }

    /// Whether a copy from before the item's last removal may show this value in this field.
    pub fn had_before(&self, key: &str, print: u64) -> bool {
        self.before.as_ref().is_some_and(|before| before.has(key, print))
    }

    /// Marks of the values that copies may show when the item is removed. Every tracked member has received what
    /// was sent at or before `received`.
    pub(super) fn into_tombstone_values(mut self, received: u64) -> OldValues {
        let moved = self.moved_interfaces().map(json::fingerprint);
        let mut last = self.before.take().map(|before| *before).unwrap_or_default();
        for field in self.fields.iter().take(MAX_MARKED) {
            let on_its_way = field.earlier().filter(|(_, when)| when.end > received);
            let on_its_way = on_its_way.flat_map(|(past, _)| [Some(past.print), past.moved_print]);
            let moved = moved.filter(|_| *field.key == *INTERFACES);
            let prints = on_its_way.chain([moved, Some(json::fingerprint(&field.value))]);
            prints.flatten().for_each(|print| last.remember_at_rest(&field.key, print));
        }
        last
    }

    /// `x_mm`, `y_mm` and `angle_deg`, where they are numbers.
    pub(super) fn place(&self) -> [Option<f64>; 3] {
        let mut place = [None; 3];
        for field in &self.fields {
            if let Some(found) = PLACE.iter().position(|name| *name == field.key) {
                place[found] = json::as_number(&field.value);
            }
        }
        place
    }

    /// Its angle in degrees; `None` if it has none.
    pub fn angle(&self) -> Option<f64> {
        json::as_number(&self.field(PLACE[2])?.value)
    }

    /// Whether its `locked` is `true`.
    pub fn is_locked(&self) -> bool {
        self.field("locked").is_some_and(|locked| locked.value.get() == "true")
    }

    /// Whether copies may be locked that have received everything but the writes of this tick.
    pub fn may_be_locked_before(&self, tick: u64) -> bool {
        self.is_locked() || self.field("locked").is_some_and(|locked| locked.tick == tick)
    }

    /// Its `item_type` as JSON.
    pub fn item_type(&self) -> &RawValue {
        self.field("item_type").map_or(RawValue::NULL, |field| &field.value)
    }

    /// The field with this name.
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.key == key)
    }

    /// Whether another user wrote to it after a tick.
    pub fn is_written_by_others(&self, user: &UserId, since: u64) -> bool {
        self.fields.iter().any(|field| {
            let past = field.past.iter().map(|past| (&past.writer, past.tick));
            let mut writes = past.chain([(&field.writer, field.tick)]);
            writes.any(|(writer, tick)| writer != user && tick > since)
        })
    }

    /// Overwrites fields; `sizes` comes from [`overwritten`](Self::overwritten) with the same fields. A field
    /// that has the value already keeps its writer.
    pub(super) fn overwrite(&mut self, fields: Fields, sizes: Overwritten, author: Author<'_>) {
        let is_about_moving = |(key, _): &(Name, _)| matches!(&**key, INTERFACES | IMAGE_PATH);
        let moved = match fields.iter().any(is_about_moving) {
            true => {
                self.moved_interfaces();
                std::mem::take(&mut self.derived).moved.take().flatten()
            }
            false => None,
        };
        for ((key, value), place) in fields.into_iter().zip(sizes.places) {
            match place {
                Some(place) if self.fields[place].value.get() == value.get() => {}
                Some(place) => {
                    let print = match &*key {
                        INTERFACES => moved.as_deref().map(json::fingerprint),
                        "angle_deg" => normalised_angle_print(&self.fields[place].value),
                        // A still item was also sent with a nudged place.
                        "x_mm" if self.fields[place].is_at_rest => {
                            nudged(&self.fields[place].value).as_deref().map(json::fingerprint)
                        }
                        "item_type" => {
                            self.derived.is_plain.take();
                            None
                        }
                        _ => None,
                    };
                    self.fields[place].change(value, print, author, &mut self.old);
                }
                None => {
                    let mut field = Field::new(key, value, author);
                    let default = default_print(self, &field.key);
                    field.past.extend(default.map(|print| PastValue {
                        print,
                        moved_print: None,
                        writer: author.user.clone(),
                        tick: self.added,
                        is_at_rest: true,
                    }));
                    self.fields.push(field);
                }
            }
        }
        self.bytes = sizes.bytes;
        self.writer = author.user.clone();
        self.changed_at = Some(author.at);
        debug_assert_eq!(
            self.bytes,
            size_of_fields(&self.id, self.fields.iter().map(|field| (&*field.key, &*field.value)))
        );
    }

    /// The places of these fields, and the size of the item with them.
    pub(super) fn overwritten(&self, fields: &Fields) -> Overwritten {
        let places = find(&self.fields, fields);
        let mut bytes = self.bytes;
        for ((key, value), place) in fields.iter().zip(&places) {
            bytes += value.get().len();
            match place {
                Some(place) => bytes -= self.fields[*place].value.get().len(),
                None => bytes += key.len() + FIELD_OVERHEAD,
            }
        }
        Overwritten { places, bytes }
    }

    /// Drops the fields that are not among these, except id and type. `true` if there were any. Takes time
    /// linear in both.
    pub(super) fn drop_others(&mut self, fields: &Fields) -> bool {
        let mut is_wanted = vec![false; self.fields.len()];
        for place in find(&self.fields, fields).into_iter().flatten() {
            is_wanted[place] = true;
        }
        let before = self.fields.len();
        // The next overwrite needs the moved form of the interfaces that it replaces.
        let moved = std::mem::take(&mut self.derived).moved;
        if fields.iter().any(|(key, _)| **key == *INTERFACES) {
            self.derived.moved = moved;
        }
        let mut is_wanted = is_wanted.into_iter();
        self.fields.retain(|field| {
            let named = matches!(&*field.key, "uuid" | "item_uuid" | "item_type");
            is_wanted.next().unwrap_or(false) || named
        });
        let kept = self.fields.iter().map(|field| (&*field.key, &*field.value));
        self.bytes = size_of_fields(&self.id, kept);
        self.fields.len() < before
    }

    /// Whether a client's `fields` show the item as the document has it. The id doesn't count, nor a type if
    /// the client names none.
    pub fn is_shown_by(&self, fields: &Fields) -> bool {
        let typed = fields.iter().any(|(key, value)| &**key == "item_type" && is_string(value));
        let counts = |key: &str, value| !is_identity(key, value) && (typed || key != "item_type");
        let own = self.fields.iter().filter(|field| counts(&field.key, &field.value)).count();
        let mut shown = 0;
        for ((key, value), place) in fields.iter().zip(find(&self.fields, fields)) {
            if counts(key, value) {
                let Some(place) = place else { return false };
                if !json::same_value(value, &self.fields[place].value) {
                    return false;
                }
                shown += 1;
            }
        }
        shown == own
    }
}

/// The fingerprint of an angle as editors report it, from 0 to 360 degrees.
fn normalised_angle_print(angle: &RawValue) -> Option<u64> {
    let turned = json::as_number(angle)?.rem_euclid(360.0);
    Some(json::fingerprint(&RawValue::from_string(turned.to_string()).ok()?))
}

/// The builders of a new item: the user who added it, unless the item is plain.
pub(super) fn default_builders(fields: &[Field], adder: Option<&UserId>) -> Vec<UserId> {
    adder.filter(|_| !is_plain(fields)).into_iter().cloned().collect()
}

/// Whether these are the fields of a component whose copies all have the same origin: it has no picture, or
/// one whose first interface is in the middle. It stays plain if it gets a picture later.
pub(super) fn is_plain(fields: &[Field]) -> bool {
    let value = |name: &str| {
        let field = fields.iter().find(|field| *field.key == *name);
        field.map_or(RawValue::NULL, |field| &*field.value)
    };
    let path = value(IMAGE_PATH);
    let has_picture = !matches!(path.get(), "null" | "\"\"");
    let middle = geometry::first_middle(value(INTERFACES)).unwrap_or_default();
    let stands_so =
        geometry::is_near(middle, (0.0, 0.0)) && !is_unsafe_image_path(IMAGE_PATH, path);
    value("item_type").get() == "\"component\"" && (!has_picture || stands_so)
}

/// The places of fields that are about to be written, and the item's size afterwards.
#[derive(Debug)]
pub(super) struct Overwritten {
    places: Vec<Option<usize>>,
    pub bytes: usize,
}

/// An item with moved interfaces ([`Item::moved`]).
#[derive(Debug)]
pub struct MovedItem<'a> {
    item: &'a Item,
    interfaces: &'a RawValue,
}

impl MovedItem<'_> {
    /// Appends the item as JSON.
    pub fn write(&self, json: &mut Vec<u8>) {
        json.reserve(self.item.bytes + FRAME_RESERVE_BYTES);
        let fields = self.item.shown_fields();
        write_object(
            json,
            fields.map(|(key, value)| match key {
                INTERFACES => (key, self.interfaces),
                _ => (key, value),
            }),
        );
    }
}
