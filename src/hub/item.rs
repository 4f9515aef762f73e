//! One item of a document: fields that know who wrote them, and when.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::document::Author;
use super::told::Told;
use super::writing;
use crate::protocol::item::is_unsafe_image_path;
use crate::protocol::json::{self, Fields, Name, is_string};
use crate::protocol::outbound::{write_key, write_object};
use crate::protocol::relayed::growth_of_completed;
use crate::protocol::{UserId, geometry};

/// Where an item is: what `move_item` may change.
pub(super) const PLACE: [&str; 3] = ["x_mm", "y_mm", "angle_deg"];
/// The fields in which a copy that was built from a message differs from the original.
pub(super) const INTERFACES: &str = "interfaces";
pub(super) const IMAGE_PATH: &str = "image_path";

/// From this many comparisons on, a look-up table is cheaper than a linear search.
const SEARCH_BY_TABLE: usize = 1 << 14;
/// What one field costs in JSON beside its name and value: quotes, colon and comma.
pub(super) const FIELD_OVERHEAD: usize = 4;

/// What a frame has beside an item, in bytes.
const ROOM: usize = 192;
/// The largest list of interfaces that is moved, in bytes: a real one has some hundreds an interface.
const MAX_INTERFACES_BYTES: usize = 64 << 10;
/// How many earlier values of a field are kept for good: what a copy or a file from earlier may show.
const KEPT_VALUES: usize = 16;
/// How many of those a lost connection may show are kept: a second or two of a drag.
const VALUES_IN_FLIGHT: usize = 128;
/// How many earlier values of a field are kept at most while somebody may not have received the newer
/// ones: some seconds of a drag.
const MAX_VALUES: usize = 512;

/// One field of an item.
#[derive(Debug)]
pub struct Field {
    pub key: Name,
    pub value: Box<RawValue>,
    /// Who wrote this value.
    pub writer: UserId,
    /// The session's tick at which it was written (`session.rs`); 0 where it was loaded.
    pub tick: u64,
    /// How the value is kept once there is another: for good where the item has been still since, as a
    /// file may have been saved with it.
    pub kept: Kept,
    /// Its earlier values, the oldest first.
    pub past: Vec<PastValue>,
}

/// An earlier value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastValue {
    /// Its fingerprint, and that of the form that some copies report: moved `interfaces`, an angle from 0
    /// to 360 degrees.
    pub print: u64,
    pub moved_print: Option<u64>,
    pub writer: UserId,
    pub tick: u64,
    pub kept: Kept,
}

/// Whether an earlier value is kept although every member has received a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was a place, amid a drag.
    No,
    /// The same, and a connection was lost that may show it when its user comes back.
    InFlight,
    /// It is no place, or one that was at rest or ended with another user's: a file may show it.
    ForGood,
}

impl Kept {
    /// How many are kept of each kind.
    const BOUNDS: [(Kept, usize); 2] =
        [(Kept::InFlight, VALUES_IN_FLIGHT), (Kept::ForGood, KEPT_VALUES)];
}

impl Field {
    /// A field that has just been written.
    pub fn new(key: Name, value: Box<RawValue>, author: Author<'_>) -> Self {
        let (writer, tick) = (author.user.clone(), author.tick);
        Field { key, value, writer, tick, kept: Kept::ForGood, past: Vec::new() }
    }

    /// Gives it another value and remembers the one it had. `moved_print` is the fingerprint of that
    /// one's moved form.
    fn change(&mut self, value: Box<RawValue>, moved_print: Option<u64>, author: Author<'_>) {
        let is_place = PLACE.contains(&&*self.key);
        let past = PastValue {
            print: json::fingerprint(&self.value),
            moved_print,
            writer: self.writer.clone(),
            tick: self.tick,
            kept: match self.writer != *author.user || !is_place {
                true => Kept::ForGood,
                false => self.kept,
            },
        };
        self.kept = Kept::No;
        self.remember(past, author.received);
        self.value = value;
        self.writer = author.user.clone();
        self.tick = author.tick;
        self.forget_values(author.received);
    }

    /// Remembers the value that it has had until now. Of equal ones only the last is kept for good, and the
    /// others no longer than until everybody's copies have left them behind.
    fn remember(&mut self, mut past: PastValue, received: u64) {
        let mut end = 0;
        for place in 0..self.past.len() {
            let earlier = &mut self.past[place];
            if earlier.print == past.print && earlier.writer == past.writer {
                if std::mem::replace(&mut earlier.kept, Kept::No) == Kept::ForGood {
                    past.kept = Kept::ForGood;
                }
                if self.past.get(place + 1).unwrap_or(&past).tick <= received {
                    continue;
                }
            }
            if end < place {
                self.past.swap(end, place);
            }
            end += 1;
        }
        self.past.truncate(end);
        if self.past.is_empty() {
            // Most fields have been changed once.
            self.past.reserve_exact(1);
        }
        self.past.push(past);
    }

    /// When it had each of its earlier values, in ticks, the newest first.
    pub fn earlier(&self) -> impl Iterator<Item = (&PastValue, Range<u64>)> + Clone {
        let past = self.past.iter().rev();
        let ends = std::iter::once(self.tick).chain(past.clone().map(|next| next.tick));
        past.zip(ends).map(|(past, end)| (past, past.tick..end))
    }

    /// Forgets the values that everybody's copies have left behind: those that were replaced at or
    /// before tick `received`, but for the newest that are kept.
    fn forget_values(&mut self, received: u64) {
        let mut kept =
            Kept::BOUNDS.map(|(how, _)| self.past.iter().filter(|past| past.kept == how).count());
        let are_many = |kept: [usize; 2]| (0..2).any(|place| kept[place] > Kept::BOUNDS[place].1);
        if self.past.len() == kept[0] + kept[1] && !are_many(kept) {
            return;
        }
        let (mut left, mut end, mut looked_at) = (self.past.len(), 0, 0);
        for place in 0..self.past.len() {
            let replaced = self.past.get(place + 1).map_or(self.tick, |next| next.tick);
            if replaced > received && left <= MAX_VALUES {
                // So were all that follow.
                break;
            }
            looked_at += 1;
            let class = Kept::BOUNDS.iter().position(|(how, _)| *how == self.past[place].kept);
            let is_kept = class.is_some_and(|class| kept[class] <= Kept::BOUNDS[class].1);
            if is_kept && left <= MAX_VALUES {
                self.past.swap(end, place);
                end += 1;
            } else {
                left -= 1;
                class.iter().for_each(|class| kept[*class] -= 1);
            }
        }
        self.past.drain(end..looked_at);
    }

    /// Keeps the values that it had after tick `received`: a connection was lost that may show any of them.
    fn keep_values(&mut self, received: u64) {
        let ends = self.past.iter().skip(1).map(|next| next.tick).chain([self.tick]);
        let ends: Vec<u64> = ends.collect();
        let late = self.past.iter_mut().zip(ends).filter(|(_, end)| *end > received);
        let late = late.map(|(past, _)| &mut past.kept);
        for kept in late.chain([&mut self.kept]).filter(|kept| **kept == Kept::No) {
            *kept = Kept::InFlight;
        }
    }

    /// The earlier values that are kept for good, the oldest first.
    pub fn kept_values(&self) -> impl Iterator<Item = &PastValue> {
        let kept = self.past.iter().filter(|past| past.kept == Kept::ForGood);
        let more = kept.clone().count().saturating_sub(KEPT_VALUES);
        kept.skip(more)
    }
}

/// One item; always has the fields `uuid` (its id) and `item_type` (a string).
#[derive(Debug)]
pub struct Item {
    pub id: Arc<str>,
    pub fields: Vec<Field>,
    /// Who changed it last, or in whose snapshot it first appeared.
    pub writer: UserId,
    /// The users whose copy is one that they built themselves; all others were sent theirs.
    pub builders: Vec<UserId>,
    /// The session's tick at which it was added; 0 where it was loaded.
    pub added: u64,
    /// When members were told of it last.
    pub told: Told,
    derived: Derived,
    /// Its size as JSON.
    pub(super) bytes: usize,
}

/// What follows from an item's type, picture and interfaces, once somebody has asked.
#[derive(Debug, Default)]
struct Derived {
    /// Its interfaces as a copy without a picture needs them.
    moved: OnceCell<Option<Box<RawValue>>>,
    /// How far such a copy stands off.
    offset: OnceCell<Option<(f64, f64)>>,
    /// Whether it has an `image_path` that others are not sent.
    hides: OnceCell<bool>,
    is_plain: OnceCell<bool>,
}

impl Item {
    /// An item that somebody has written; its fields include `uuid` and `item_type`.
    pub(super) fn new(id: Arc<str>, fields: Vec<Field>, writer: UserId, added: u64) -> Self {
        let bytes = size_of(&id, fields.iter().map(|field| (&*field.key, &*field.value)));
        let builders = default_builders(&fields, Some(&writer));
        let (told, derived) = (Told::default(), Derived::default());
        Item { id, fields, writer, builders, added, told, derived, bytes }
    }

    /// Appends the item as JSON, as it is stored: every field.
    pub fn write_stored(&self, json: &mut Vec<u8>) {
        json.reserve(self.bytes + ROOM);
        write_object(json, self.fields.iter().map(|field| (&*field.key, &*field.value)));
    }

    /// Appends the item as JSON, as others are shown it: without an `image_path` that leads out of the
    /// editor's own library, and then with its interfaces where an item without a picture has them.
    pub fn write(&self, json: &mut Vec<u8>) {
        match self.moved().filter(|_| self.hides_path()) {
            Some(moved) => moved.write(json),
            None if !self.hides_path() => self.write_stored(json),
            None => write_object(json, self.shown_fields()),
        }
    }

    /// Whether it has an `image_path` that others are not sent.
    pub fn hides_path(&self) -> bool {
        let hides = || {
            let path = self.field(IMAGE_PATH);
            path.is_some_and(|path| is_unsafe_image_path(IMAGE_PATH, &path.value))
        };
        *self.derived.hides.get_or_init(hides)
    }

    /// Whether all copies of it stand as those that were built from messages.
    pub(super) fn is_plain(&self) -> bool {
        *self.derived.is_plain.get_or_init(|| is_plain(&self.fields))
    }

    /// Appends the item as JSON, as an editor opens it: it takes the id and the type by these names
    /// alone, and gives an item without one a new id.
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

    /// The item as an editor needs it for a copy that it built from a message: with its interfaces
    /// moved to where that copy's origin is. `None` where that makes no difference.
    pub fn moved(&self) -> Option<MovedItem<'_>> {
        Some(MovedItem { item: self, interfaces: self.moved_interfaces()? })
    }

    /// Its interfaces as a copy without a picture needs them; `None` where that makes no difference.
    pub fn moved_interfaces(&self) -> Option<&RawValue> {
        let move_them = || {
            let (x, y) = self.offset()?;
            geometry::shift_interfaces(&self.field(INTERFACES)?.value, -x, -y)
        };
        self.derived.moved.get_or_init(move_them).as_deref()
    }

    /// How far a copy without a picture stands off: the middle of the first interface of an item with
    /// a picture. `None` where it doesn't.
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
        (!picture.is_empty() && middle != (0.0, 0.0)).then_some(middle)
    }

    /// Whether editors know items of its type.
    pub fn is_for_editors(&self) -> bool {
        matches!(self.item_type().get(), r#""component""# | r#""source""#)
    }

    /// Notes that it has been still: a file may have been saved with its place.
    pub fn rests(&mut self) {
        for field in self.fields.iter_mut().filter(|field| PLACE.contains(&&*field.key)) {
            field.kept = Kept::ForGood;
        }
    }

    /// Keeps the places that somebody may show who has received what was sent at or before a tick, and
    /// whose connection is lost.
    pub fn keep_places(&mut self, received: u64) {
        for field in self.fields.iter_mut().filter(|field| PLACE.contains(&&*field.key)) {
            field.keep_values(received);
        }
    }

    /// Its angle in degrees, where it has one.
    pub fn angle(&self) -> Option<f64> {
        json::as_number(&self.field(PLACE[2])?.value)
    }

    /// Whether it is stored as locked.
    pub fn is_locked(&self) -> bool {
        self.field("locked").is_some_and(|locked| locked.value.get() == "true")
    }

    /// Whether copies of it may be locked that have received everything but what was written at this tick.
    pub fn may_be_locked_before(&self, tick: u64) -> bool {
        self.is_locked() || self.field("locked").is_some_and(|locked| locked.tick == tick)
    }

    /// The item's `item_type` as JSON.
    pub fn item_type(&self) -> &RawValue {
        self.field("item_type").map_or(RawValue::NULL, |field| &field.value)
    }

    /// The field with this name.
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.key == key)
    }

    /// Whether somebody else wrote to it after a tick.
    pub fn is_written_by_others(&self, user: &UserId, since: u64) -> bool {
        self.fields.iter().any(|field| {
            let past = field.past.iter().map(|past| (&past.writer, past.tick));
            let mut writes = past.chain([(&field.writer, field.tick)]);
            writes.any(|(writer, tick)| writer != user && tick > since)
        })
    }

    /// Overwrites fields one by one, as [`overwritten`](Self::overwritten) has found them. A field that
    /// has the value already keeps its writer.
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
                        "angle_deg" => turned_print(&self.fields[place].value),
                        "item_type" => {
                            self.derived.is_plain.take();
                            None
                        }
                        _ => None,
                    };
                    self.fields[place].change(value, print, author);
                }
                None => {
                    let mut field = Field::new(key, value, author);
                    let default = writing::default_print(self, &field.key);
                    field.past.extend(default.map(|print| PastValue {
                        print,
                        moved_print: None,
                        writer: author.user.clone(),
                        tick: self.added,
                        kept: Kept::No,
                    }));
                    self.fields.push(field);
                }
            }
        }
        self.bytes = sizes.bytes;
        self.writer = author.user.clone();
    }

    /// Where these fields stand, and how large the item is once it has them.
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

    /// Drops the fields that are not among these, but for those that say which item it is. Whether
    /// there were any. Takes time linear in both.
    pub(super) fn drop_others(&mut self, fields: &Fields) -> bool {
        let mut is_wanted = vec![false; self.fields.len()];
        for place in find(&self.fields, fields).into_iter().flatten() {
            is_wanted[place] = true;
        }
        let before = self.fields.len();
        // What is overwritten next needs to know where interfaces stood that it changes.
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
        self.bytes = size_of(&self.id, kept);
        self.fields.len() < before
    }

    /// Whether a client that shows `fields` for this item shows what the document says. The fields
    /// that name the item don't count, nor does a type that only the server knows.
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

/// The fingerprint of an angle as editors report it: from 0 to 360 degrees.
fn turned_print(angle: &RawValue) -> Option<u64> {
    let turned = json::as_number(angle)?.rem_euclid(360.0);
    Some(json::fingerprint(&RawValue::from_string(turned.to_string()).ok()?))
}

/// Whose copies of a new item are ones that they built themselves: the one's who added it.
pub(super) fn default_builders(fields: &[Field], adder: Option<&UserId>) -> Vec<UserId> {
    adder.filter(|_| !is_plain(fields)).into_iter().cloned().collect()
}

/// Whether these are the fields of a component without a picture: it stands as all copies do that are
/// built from messages, and goes on doing so when it is given a picture.
pub(super) fn is_plain(fields: &[Field]) -> bool {
    let value = |name: &str| {
        let field = fields.iter().find(|field| *field.key == *name);
        field.map_or(RawValue::NULL, |field| &*field.value)
    };
    let path = value(IMAGE_PATH);
    let has_picture = !matches!(path.get(), "null" | "\"\"");
    let middle = geometry::first_middle(value(INTERFACES)).unwrap_or_default();
    // One with a picture whose first interface is in its middle, too.
    let stands_so = middle == (0.0, 0.0) && !is_unsafe_image_path(IMAGE_PATH, path);
    value("item_type").get() == "\"component\"" && (!has_picture || stands_so)
}

/// Where fields stand that are about to be written, and what that does to the item's size.
#[derive(Debug)]
pub(super) struct Overwritten {
    places: Vec<Option<usize>>,
    pub bytes: usize,
}

/// See [`Item::moved`].
#[derive(Debug)]
pub struct MovedItem<'a> {
    item: &'a Item,
    interfaces: &'a RawValue,
}

impl MovedItem<'_> {
    /// Appends the item as JSON.
    pub fn write(&self, json: &mut Vec<u8>) {
        json.reserve(self.item.bytes + ROOM);
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

/// Whether a field is one that a message about an item can't write: what says which item it is, and its
/// `_type`, which a relayed command has although its item may lack it.
pub(super) fn is_fixed(key: &str, value: &RawValue) -> bool {
    key == "_type" || is_identity(key, value)
}

/// Whether a field says which item this is, or fails to say of what type: neither can be changed.
pub(super) fn is_identity(key: &str, value: &RawValue) -> bool {
    matches!(key, "uuid" | "item_uuid") || (key == "item_type" && !is_string(value))
}

/// An item's size as JSON.
pub(super) fn size(id: &str, fields: &Fields) -> usize {
    size_of(id, fields.iter().map(|(key, value)| (&**key, &**value)))
}

/// The size of an item as it will be kept: with its id and a type, whatever a client called them.
pub(super) fn size_completed(id: &str, fields: &Fields) -> usize {
    size(id, fields).saturating_add_signed(growth_of_completed(id, fields))
}

/// The same, of any fields.
pub(super) fn size_of<'a>(
    id: &str,
    fields: impl Iterator<Item = (&'a str, &'a RawValue)>,
) -> usize {
    id.len()
        + fields.map(|(key, value)| key.len() + value.get().len() + FIELD_OVERHEAD).sum::<usize>()
}

/// Where each of `wanted` stands in `fields`. Editors write an item's fields in one order, so the
/// field after the last one found is tried first.
pub(super) fn find(fields: &[Field], wanted: &Fields) -> Vec<Option<usize>> {
    if fields.len().saturating_mul(wanted.len()) > SEARCH_BY_TABLE {
        let table: HashMap<&str, usize> =
            fields.iter().enumerate().map(|(place, field)| (&*field.key, place)).collect();
        return wanted.iter().map(|(key, _)| table.get(&**key).copied()).collect();
    }
    let mut next = 0;
    let mut places = Vec::with_capacity(wanted.len());
    for (key, _) in wanted {
        let place = match fields.get(next) {
            Some(field) if field.key == *key => Some(next),
            _ => fields.iter().position(|field| field.key == *key),
        };
        next = place.map_or(next, |place| place + 1);
        places.push(place);
    }
    places
}
