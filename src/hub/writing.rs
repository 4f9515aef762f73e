//! What a message writes to an item: of an editor's whole dictionary only what its user changed.
//!
//! An editor sends all fields of its copy with every message. Most of them it was sent itself, some a
//! while ago: somebody else may have changed them since. So the server asks of each value whether the
//! sender's copy may show it without its user having chosen it: because it is the document's own,
//! because it was so until a moment ago and the newer one may not have been received yet, or because
//! it is a mark that the editor leaves on copies that it built from a message. Only what is none of
//! that is written (docs/PROTOCOL.md, "What counts as writing"). Everything here is a pure function of
//! the item, the message and what is known of the sender's copy, linear in both.

use serde_json::value::RawValue;

use super::item::{Field, IMAGE_PATH, INTERFACES, Item, PLACE, PastValue, find, is_fixed};
use crate::protocol::json::{self, Fields, Object};
use crate::protocol::{UserId, geometry};

/// The colour that the editor reports of every source that it built from a message.
const REBUILT_COLOR: &str = "\"#dc143c\"";
const COLOR: &str = "color_hex";

/// What is known of the sender's copy of an item.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    pub user: &'a UserId,
    /// The sender has received everything that was sent at or before this tick.
    pub received: u64,
    /// The tick at which the sender was told of the item last.
    pub told: u64,
    pub kind: CopyKind,
    /// The fingerprint of the colour it reported last, where that is known.
    pub color: Option<u64>,
}

/// How a copy came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// The sender built it: placed it, or had it in a file.
    Own,
    /// Built from a message, and not yet told what the item looks like: all its fields are defaults.
    Blank,
    /// Built from a message, and told since.
    Rebuilt,
    /// Of a canvas that is seen for the first time on this connection: it may be from an earlier
    /// connection or an old file. `was_sent` where the user is known to have been sent the item.
    Unseen { was_sent: bool },
}

impl CopyKind {
    /// Whether the editor may have left its marks on it.
    fn may_be_rebuilt(self) -> bool {
        !matches!(self, CopyKind::Own | CopyKind::Unseen { was_sent: false })
    }
}

impl Copy<'_> {
    /// Whether its owner was sent it, on an earlier connection where it is seen for the first time.
    pub fn was_sent(self) -> bool {
        self.kind.may_be_rebuilt()
    }
}

/// What a dictionary writes.
#[derive(Debug, Default)]
pub struct Written {
    /// The fields with the values they are to have.
    pub fields: Fields,
    /// Whether the copy shows something that was not taken, so that its owner has to be told.
    pub is_stale: bool,
    /// The same of its colour alone, which it may show rightly and report wrongly.
    pub is_color_stale: bool,
    /// Whether the copy lacks a field that the item has.
    pub lacks_something: bool,
    /// Whether everything it says is the item's own, or is written as it stands.
    pub is_exact: bool,
    /// The fingerprint of the colour that it reports.
    pub color: Option<u64>,
}

/// The fingerprint of the colour that a dictionary reports.
pub fn color_print(said: &Fields) -> Option<u64> {
    said.iter().find(|(key, _)| **key == *COLOR).map(|(_, value)| json::fingerprint(value))
}

/// What the whole dictionary `said` of a copy writes to the item.
pub fn written(item: &Item, said: Fields, copy: Copy<'_>) -> Written {
    let mut written = Written { is_exact: true, ..Written::default() };
    let is_blank = match copy.kind {
        CopyKind::Blank => true,
        CopyKind::Unseen { was_sent: true } => looks_blank(item, &said),
        _ => false,
    };
    let mut found = 0;
    let places = find(&item.fields, &said);
    for ((key, value), place) in said.into_iter().zip(places) {
        if is_fixed(&key, &value) {
            continue;
        }
        found += usize::from(place.is_some());
        if *key == *COLOR {
            written.color = Some(json::fingerprint(&value));
        }
        let is_chosen = !is_blank || !is_default(item, &key, &value);
        let field = place.map(|place| &item.fields[place]);
        let verdict = match field {
            Some(field) if field.value.get() == value.get() => continue,
            _ if !is_chosen => Verdict::Blank,
            // A path that leads out of the library was left out of what the copy's owner was sent.
            Some(field) if is_lost_path(field, &value) && item.hides_path() => Verdict::Same,
            Some(field) => judge(item, field, &value, copy),
            None if copy.kind.may_be_rebuilt() && is_default(item, &key, &value) => Verdict::Same,
            None => Verdict::Chosen,
        };
        match verdict {
            Verdict::Chosen => {
                written.fields.push((key, value));
                continue;
            }
            Verdict::ChosenMoved(value) => written.fields.push((key, value)),
            Verdict::Same => {}
            // A copy that is known to be blank is told what the item looks like anyway.
            Verdict::Blank => written.is_stale |= copy.kind != CopyKind::Blank,
            Verdict::Stale => written.is_stale = true,
            Verdict::ColorStale => written.is_color_stale = true,
        }
        written.is_exact = false;
    }
    let own = item.fields.iter().filter(|field| !is_fixed(&field.key, &field.value)).count();
    written.lacks_something = found < own;
    written
}

/// What is to be thought of one value.
enum Verdict {
    /// The copy's owner chose it.
    Chosen,
    /// The same, of interfaces that stand elsewhere in the copy: where the item has them.
    ChosenMoved(Box<RawValue>),
    /// It is the item's own, as this copy has it.
    Same,
    /// The default of a copy that has not been told what the item looks like.
    Blank,
    /// The copy shows an earlier value.
    Stale,
    ColorStale,
}

fn judge(item: &Item, field: &Field, value: &RawValue, copy: Copy<'_>) -> Verdict {
    if json::same_value(&field.value, value) || means_the_same(field, value) {
        return Verdict::Same;
    }
    if *field.key == *COLOR && is_colors_mark(json::fingerprint(value), value, copy) {
        return Verdict::ColorStale;
    }
    let moved = item.moved_interfaces().filter(|_| *field.key == *INTERFACES);
    if moved.is_some_and(|moved| json::same_value(moved, value) || is_normal_form(value, moved)) {
        return Verdict::Same;
    }
    let may_show = |print| may_show(field, print, copy);
    if !field.past.is_empty()
        && (may_show(json::fingerprint(value)) || other_print(field, value).is_some_and(may_show))
    {
        return Verdict::Stale;
    }
    match moved {
        Some(_) if is_moved_copy(value, copy) => {
            moved_back(item, value).map_or(Verdict::Chosen, Verdict::ChosenMoved)
        }
        _ => Verdict::Chosen,
    }
}

/// Whether a copy may show this value, or its moved form, without its user having chosen it.
fn may_show(field: &Field, print: u64, copy: Copy<'_>) -> bool {
    let shows = |past: &PastValue| past.print == print || past.moved_print == Some(print);
    if matches!(copy.kind, CopyKind::Unseen { .. }) {
        // What the user has written last is the user's to change; what others have written since is
        // not taken back by a copy from before.
        return field.writer != *copy.user && field.past.iter().any(shows);
    }
    // From the newest to the oldest: a value is out of sight once the copy has left it behind, by its
    // owner's own change or by a newer value that is known to have been received.
    let mut is_left = field.writer == *copy.user || field.tick <= copy.received;
    let mut ended = field.tick;
    for past in field.past.iter().rev() {
        let is_own = past.writer == *copy.user;
        // The owner's own value may be on its way, too, with all the others, as somebody else's
        // change of another field was told.
        let is_told = copy.told > copy.received && ended > copy.received;
        let is_on_its_way = is_told || (!is_own && past.tick > copy.received);
        ended = past.tick;
        if shows(past) && (is_on_its_way || !is_left) {
            return true;
        }
        is_left |= is_own || past.tick <= copy.received;
    }
    false
}

/// Whether a value is the field's own as the editor writes it: it turns angles into 0 to 360 degrees,
/// writes colours in small letters, and interfaces with the fields that it knows.
fn means_the_same(field: &Field, value: &RawValue) -> bool {
    match &*field.key {
        "angle_deg" => {
            let angle = |value| json::as_number(value).map(|angle| angle.rem_euclid(360.0));
            let distance = angle(value).zip(angle(&field.value)).map(|(a, b)| (a - b).abs());
            distance.is_some_and(|distance| distance.min(360.0 - distance) < 1e-9)
        }
        COLOR => field.value.get().eq_ignore_ascii_case(value.get()),
        INTERFACES => is_normal_form(value, &field.value),
        _ => false,
    }
}

/// The fingerprint that an angle had before the editor turned it into 0 to 360 degrees.
fn other_print(field: &Field, value: &RawValue) -> Option<u64> {
    let angle = json::as_number(value).filter(|_| &*field.key == "angle_deg")?;
    let before = RawValue::from_string((angle - 360.0).to_string()).ok()?;
    Some(json::fingerprint(&before))
}

/// How many fields an interface may have to be compared with another one field by field.
const MAX_FIELDS: usize = 64;

/// Whether an editor that was sent `known` reports `said`: as many interfaces, and in each the fields
/// that both have say the same.
fn is_normal_form(said: &RawValue, known: &RawValue) -> bool {
    let entries = |list| {
        let mut entries = Vec::new();
        json::each_in_list(list, |entry| entries.push(entry)).then_some(entries)
    };
    let (Some(said), Some(known)) = (entries(said), entries(known)) else { return false };
    let is_same = |said: &RawValue, known: &RawValue| {
        let fields = |entry| Object::parse(entry).ok();
        let (Some(said), Some(known)) = (fields(said.get()), fields(known.get())) else {
            return false;
        };
        // An interface has some ten fields; one with very many is none that an editor wrote.
        let known = |key| known.iter().take(MAX_FIELDS).find(|(name, _)| *name == key);
        let is_same =
            |(key, value)| known(key).is_none_or(|(_, known)| json::same_value(known, value));
        said.iter().count() <= MAX_FIELDS && said.iter().all(is_same)
    };
    let is_same =
        |(said, known): (&RawValue, &RawValue)| said.get() == known.get() || is_same(said, known);
    said.len() == known.len() && said.into_iter().zip(known).all(is_same)
}

/// Whether a value is what an editor takes for a field that it was not sent.
fn is_default(item: &Item, key: &str, value: &RawValue) -> bool {
    default_of(item, key).is_some_and(|default| json::same_value(default, value))
}

/// The value that an editor takes for a field that it was not sent.
pub fn default_of(item: &Item, key: &str) -> Option<&'static RawValue> {
    let named = |defaults: &[(&str, &'static str)]| {
        let default = defaults.iter().find(|(name, _)| *name == key);
        default.map(|(_, text)| *text)
    };
    let (of_source, of_component) = (named(&SOURCE_DEFAULTS), named(&COMPONENT_DEFAULTS));
    // The item's type is looked for only where the name is one of these few.
    let text = match of_source.or(of_component)? {
        _ if item.item_type().get() == "\"source\"" => of_source?,
        _ => of_component?,
    };
    serde_json::from_str(text).ok()
}

const COMPONENT_DEFAULTS: [(&str, &str); 13] = [
    ("x_mm", "0"),
    ("y_mm", "0"),
    ("angle_deg", "0"),
    ("object_height_mm", "60"),
    ("mm_per_pixel", "0.1"),
    ("name", "null"),
    ("image_path", "null"),
    ("reference_line_mm", "null"),
    ("interfaces", "[]"),
    ("category", "null"),
    ("notes", "null"),
    ("locked", "false"),
    ("z_value", "0"),
];
const SOURCE_DEFAULTS: [(&str, &str); 18] = [
    ("x_mm", "-400"),
    ("y_mm", "0"),
    ("angle_deg", "0"),
    ("size_mm", "10"),
    ("n_rays", "9"),
    ("ray_length_mm", "1000"),
    ("spread_deg", "0"),
    ("color_hex", "\"#dc143c\""),
    ("wavelength_nm", "633"),
    ("polarization_type", "\"horizontal\""),
    ("polarization_angle_deg", "0"),
    ("custom_jones_ex_real", "1"),
    ("custom_jones_ex_imag", "0"),
    ("custom_jones_ey_real", "0"),
    ("custom_jones_ey_imag", "0"),
    ("use_custom_jones", "false"),
    ("locked", "false"),
    ("z_value", "0"),
];

/// Whether a reported colour is a mark of the editor's: it reports one colour for every source that it
/// built from a message, and for any other what its user chose last, whatever it shows.
fn is_colors_mark(print: u64, value: &RawValue, copy: Copy<'_>) -> bool {
    // A canvas from before may have been saved where its copies were built from messages.
    let may_be_rebuilt = copy.kind != CopyKind::Own;
    let is_default = value.get().eq_ignore_ascii_case(REBUILT_COLOR);
    copy.color == Some(print) || (is_default && may_be_rebuilt)
}

/// Whether a blank copy's place is one that its user has dragged it to, not where it was built.
fn is_place_chosen(item: &Item, key: &str, value: &RawValue) -> bool {
    PLACE.contains(&key) && !is_default(item, key, value)
}

/// Whether an item is where the editor builds every new copy.
pub fn is_at_default_place(item: &Item) -> bool {
    let is_there =
        |key: &&str| item.field(key).is_none_or(|field| !is_place_chosen(item, key, &field.value));
    PLACE.iter().all(is_there)
}

/// Whether a copy of a canvas that is seen for the first time looks as the editor builds them: where
/// it is built, and, if the item does anything to light, doing nothing.
fn looks_blank(item: &Item, said: &Fields) -> bool {
    let is_default = |(key, value): &(Box<str>, Box<RawValue>)| match &**key {
        key if PLACE.contains(&key) => !is_place_chosen(item, key, value),
        INTERFACES => value.get() == "[]" || item.field(INTERFACES).is_none(),
        _ => true,
    };
    !is_at_default_place(item) && said.iter().all(is_default)
}

/// Whether a path is missing because its copy, or the file that was opened, was sent none.
fn is_lost_path(field: &Field, value: &RawValue) -> bool {
    *field.key == *IMAGE_PATH && matches!(value.get(), "null" | "\"\"")
}

/// Whether interfaces are those of a copy without a picture, which stands where the first of them is.
fn is_moved_copy(interfaces: &RawValue, copy: Copy<'_>) -> bool {
    match copy.kind {
        CopyKind::Rebuilt | CopyKind::Blank => true,
        CopyKind::Own => false,
        CopyKind::Unseen { .. } => stands_at_origin(interfaces),
    }
}

/// Whether the middle of the first interface is the item's origin.
pub fn stands_at_origin(interfaces: &RawValue) -> bool {
    let middle = geometry::first_middle(interfaces);
    middle.is_some_and(|(x, y)| x.abs() < 1e-6 && y.abs() < 1e-6)
}

/// Interfaces as a moved copy has them, moved back to where the item has them. Interfaces whose places
/// are those that the copy was sent get exactly the item's own.
pub fn moved_back(item: &Item, interfaces: &RawValue) -> Option<Box<RawValue>> {
    let (x, y) = item.offset()?;
    geometry::shift_back(interfaces, &item.field(INTERFACES)?.value, x, y)
}

/// The fingerprint of the value that an editor takes for a field that it was not sent.
pub fn default_print(item: &Item, key: &str) -> Option<u64> {
    Some(json::fingerprint(default_of(item, key)?))
}

#[cfg(test)]
#[path = "writing_tests.rs"]
mod tests;
