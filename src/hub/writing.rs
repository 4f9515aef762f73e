//! What a message writes to an item: of an editor's whole dictionary only what its user changed.
//!
//! An editor sends all fields of its copy with every message. Most of them it was sent itself, some a
//! while ago: somebody else may have changed them since. So the server asks of each value whether the
//! sender's copy may show it without its user having chosen it: because it is the document's own,
//! because it was so until a moment ago and the newer one may not have been received yet, or because
//! it is a mark that the editor leaves on copies that it built from a message. Only what is none of
//! that is written (docs/PROTOCOL.md, "What counts as writing"). Everything here is a pure function of
//! the item, the message and what is known of the sender's copy, linear in both.

use std::cell::OnceCell;

use serde_json::value::RawValue;

use super::item::{Field, IMAGE_PATH, INTERFACES, Item, PLACE, find, is_fixed};
use super::item_frames::NUDGE_MM;
use super::told::Sight;
use crate::protocol::json::{self, Fields, Name, Object};
use crate::protocol::{UserId, geometry};

/// The colour that the editor reports of every source that it built from a message.
const REBUILT_COLOR: &str = "\"#dc143c\"";
const COLOR: &str = "color_hex";
const LOCKED: &str = "locked";

/// Of how many values that were not taken it is remembered that the copy shows them.
const MAX_REFUSED_VALUES: usize = 64;

/// What is known of the sender's copy of an item.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    pub user: &'a UserId,
    pub kind: CopyKind,
    /// What it may show; `None` of a canvas that is seen for the first time.
    pub sight: Option<Sight<'a>>,
    /// The fingerprints of the colours it reported last, in a command or a list, and in a list, where they
    /// are known: of two copies a command may speak of the one and a list of the other.
    pub colors: [Option<u64>; 2],
    /// Whether it may be one that was removed: its editor was sent the item anew since. Then it shows what the
    /// item was before that.
    pub is_gone: bool,
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
    /// Whether its owner built it, as far as the place of its first interface tells.
    pub is_own: Option<bool>,
    /// The fingerprints of the values that it shows and the document didn't take over, by field.
    pub refused: Vec<(Name, u64)>,
}

/// The fingerprint of the colour that a dictionary reports.
pub fn color_print(said: &Fields) -> Option<u64> {
    said.iter().find(|(key, _)| **key == *COLOR).map(|(_, value)| json::fingerprint(value))
}

/// What the whole dictionary `said` of a copy writes to the item.
pub fn written(item: &Item, mut said: Fields, copy: Copy<'_>) -> Written {
    let mut written = Written { is_exact: true, ..Written::default() };
    let is_blank = match copy.kind {
        CopyKind::Blank => true,
        CopyKind::Unseen { was_sent: true } => looks_blank(item, &said),
        _ => false,
    };
    // One that may be blank, or be of before, shows by its interfaces which it is.
    let does_nothing =
        |said: &Fields| said.iter().any(|(key, value)| **key == *INTERFACES && value.get() == "[]");
    let is_surely_blank = copy.kind == CopyKind::Blank
        && item.field(INTERFACES).is_some_and(|field| field.value.get() != "[]")
        && does_nothing(&said);
    let is_locked = said.iter().any(|(key, value)| **key == *LOCKED && value.get() == "true");
    // Last, when it is known whether its user has moved it.
    if let Some(place) = said.iter().position(|(key, _)| **key == *LOCKED) {
        let locked = said.remove(place);
        said.push(locked);
    }
    let mut found = 0;
    let places = find(&item.fields, &said);
    for ((key, value), place) in said.into_iter().zip(places) {
        if is_fixed(&key, &value) {
            continue;
        }
        let print = OnceCell::new();
        let print = || *print.get_or_init(|| json::fingerprint(&value));
        let field = place.map(|place| &item.fields[place]);
        found += usize::from(place.is_some());
        if *key == *COLOR {
            written.color = Some(print());
        } else if *key == *INTERFACES {
            // A blank copy may have taken the place of the one that is spoken of.
            let is_own = is_own(item, field, &value);
            written.is_own = is_own.filter(|_| copy.kind != CopyKind::Blank);
        }
        let counts = !is_surely_blank || PLACE.contains(&&*key);
        let is_chosen = counts && (!is_blank || !is_blank_default(item, &key, &value));
        let verdict = match field {
            Some(field) if field.value.get() == value.get() => continue,
            _ if !is_chosen => Verdict::Blank,
            // A path that leads out of the library was left out of what the copy's owner was sent.
            Some(field) if is_lost_path(field, &value) && item.hides_path() => Verdict::Likewise,
            // A locked copy stays where it is, wherever it is sent; its user can't move it either.
            Some(field) if is_locked && was_here(item, field, &value) => Verdict::Stale,
            Some(field) => match judge(item, field, &value, copy) {
                Verdict::Chosen if is_put_aside(item, field, &value, copy, &written) => {
                    Verdict::Stale
                }
                verdict => verdict,
            },
            None if copy.kind.may_be_rebuilt() && is_default(item, &key, &value) => {
                Verdict::Likewise
            }
            None if copy.is_gone && item.had_before(&key, print()) => Verdict::Stale,
            None => Verdict::Chosen,
        };
        if matches!(verdict, Verdict::Chosen)
            && matches!(copy.kind, CopyKind::Unseen { .. })
            && *key == *INTERFACES
            && geometry::first_middle(&value).is_some_and(|middle| !is_near(middle, (0.0, 0.0)))
        {
            written.is_own = Some(true);
        }
        let is_taken = matches!(verdict, Verdict::Chosen | Verdict::ChosenMoved(_) | Verdict::Same);
        if !is_taken && written.refused.len() < MAX_REFUSED_VALUES {
            written.refused.push((key.clone(), print()));
        }
        match verdict {
            Verdict::Chosen => {
                written.fields.push((key, value));
                continue;
            }
            Verdict::ChosenMoved(value) => written.fields.push((key, value)),
            Verdict::Same | Verdict::Likewise => {}
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
    /// It is how the editor reports the item's own.
    Likewise,
    /// The default of a copy that has not been told what the item looks like.
    Blank,
    /// The copy shows an earlier value.
    Stale,
    ColorStale,
}

fn judge(item: &Item, field: &Field, value: &RawValue, copy: Copy<'_>) -> Verdict {
    if json::same_value(&field.value, value) {
        return Verdict::Same;
    }
    if means_the_same(field, value) {
        return Verdict::Likewise;
    }
    if *field.key == *COLOR && is_colors_mark(json::fingerprint(value), value, copy) {
        return Verdict::ColorStale;
    }
    let moved = item.moved_interfaces().filter(|_| *field.key == *INTERFACES);
    if moved.is_some_and(|moved| json::same_value(moved, value)) {
        return Verdict::Same;
    }
    if moved.is_some_and(|moved| is_normal_form(value, moved)) {
        return Verdict::Likewise;
    }
    if may_show(item, field, value, copy) {
        return Verdict::Stale;
    }
    match moved {
        Some(_) if is_moved_copy(item, value, copy) => {
            moved_back(item, value).map_or(Verdict::Chosen, Verdict::ChosenMoved)
        }
        _ => Verdict::Chosen,
    }
}

/// Whether a copy may show this value, or its moved form, without its user having chosen it.
fn may_show(item: &Item, field: &Field, value: &RawValue, copy: Copy<'_>) -> bool {
    let Some(sight) = copy.sight else {
        // What the user has written last is the user's to change; what others have written since is
        // not taken back by a copy from before, nor what others had written that was still on its way.
        let print = json::fingerprint(value);
        let mut past = field.past.iter();
        return match field.writer == *copy.user {
            true => past.any(|past| past.shows(print) && past.writer != *copy.user),
            false => item.has_had(field, print),
        };
    };
    if copy.is_gone {
        let print = json::fingerprint(value);
        if item.had_before(&field.key, print) || item.has_had(field, print) {
            return true;
        }
    }
    if field.past.is_empty() && sight.report.is_none() {
        return false;
    }
    let print = json::fingerprint(value);
    let spans = field.earlier().filter(|(past, _)| past.shows(print)).map(|(_, when)| when);
    sight.may_show(&field.key, spans) || sight.may_show_reported(&field.key, print)
}

/// Whether a field of an item's place had this value before.
fn was_here(item: &Item, field: &Field, value: &RawValue) -> bool {
    PLACE.contains(&&*field.key)
        && !means_the_same(field, value)
        && !json::same_value(&field.value, value)
        && item.has_had(field, json::fingerprint(value))
}

/// Whether an item is shown aside of where it is, or without its lock, as an editor is told between the two
/// messages by which it is told what an item looks like. Who has dragged it has taken the lock off before:
/// hardly anybody takes hold of it in between. An undo, which needs no hold, puts it where it was once.
fn is_put_aside(
    item: &Item,
    field: &Field,
    value: &RawValue,
    copy: Copy<'_>,
    written: &Written,
) -> bool {
    let is_told = |sight: Sight<'_>| sight.is_crossed();
    let is_new = |(key, value): &(Name, Box<RawValue>)| {
        let field = item.field(key).filter(|_| PLACE.contains(&&**key));
        field.is_some_and(|field| !item.has_had(field, json::fingerprint(value)))
    };
    let is_dragged = || written.fields.iter().any(is_new);
    let is_so = match &*field.key {
        LOCKED => field.value.get() == "true" && value.get() == "false" && !is_dragged(),
        key if key == PLACE[0] => {
            let (said, known) = (json::as_number(value), json::as_number(&field.value));
            said.zip(known)
                .is_some_and(|(said, known)| (said - known - NUDGE_MM).abs() < NUDGE_MM / 2.0)
        }
        _ => false,
    };
    is_so && copy.sight.is_some_and(is_told)
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

/// Whether a value is one that a copy has that has just been built, without the picture that would put it
/// behind everything else.
fn is_blank_default(item: &Item, key: &str, value: &RawValue) -> bool {
    is_default(item, key, value) || (key == "z_value" && json::as_number(value) == Some(0.0))
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
    let text = if text == "0" && key == "z_value" && is_background(item) { "-10" } else { text };
    serde_json::from_str(text).ok()
}

/// Whether editors put it behind everything else: a component with a picture that does nothing.
fn is_background(item: &Item) -> bool {
    let picture = item.field(IMAGE_PATH).filter(|_| !item.hides_path());
    let picture = picture.and_then(|path| json::as_string(&path.value));
    let interfaces = item.field(INTERFACES).map_or("[]", |interfaces| interfaces.value.get());
    picture.is_some_and(|path| !path.is_empty()) && interfaces == "[]"
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
    copy.colors.contains(&Some(print)) || (is_default && may_be_rebuilt)
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
    let is_default = |(key, value): &(Name, Box<RawValue>)| match &**key {
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
fn is_moved_copy(item: &Item, interfaces: &RawValue, copy: Copy<'_>) -> bool {
    match copy.kind {
        // Its user may have opened a file meanwhile, in which they stand where the item has them.
        CopyKind::Rebuilt | CopyKind::Blank => !stands_as(item, interfaces),
        CopyKind::Own => false,
        CopyKind::Unseen { .. } => stands_at_origin(interfaces),
    }
}

/// Whether the middle of the first interface is the item's origin.
pub fn stands_at_origin(interfaces: &RawValue) -> bool {
    geometry::first_middle(interfaces).is_some_and(|middle| is_near(middle, (0.0, 0.0)))
}

/// Whether these interfaces are of a copy that its owner built, where they differ from those of one that
/// was built from a message; `field` has the item's own.
pub fn is_own(item: &Item, field: Option<&Field>, interfaces: &RawValue) -> Option<bool> {
    let own = item.offset()?;
    let said = match field {
        Some(field) if field.value.get() == interfaces.get() => own,
        _ => geometry::first_middle(interfaces)?,
    };
    match is_near(said, (0.0, 0.0)) {
        true => Some(false),
        false => is_near(said, own).then_some(true),
    }
}

/// Whether the middle of the first interface is where the item has it.
fn stands_as(item: &Item, interfaces: &RawValue) -> bool {
    let middles = item.offset().zip(geometry::first_middle(interfaces));
    middles.is_some_and(|(own, said)| is_near(own, said))
}

/// Whether two points of an item are one, but for rounding.
pub fn is_near(a: (f64, f64), b: (f64, f64)) -> bool {
    (a.0 - b.0).abs() < 1e-6 && (a.1 - b.1).abs() < 1e-6
}

/// What somebody says of an item who was sent it without its `image_path`, and with its interfaces moved:
/// moved back.
pub fn with_moved_interfaces(item: &Item, mut said: Fields) -> Fields {
    if item.hides_path() {
        for (_, value) in said.iter_mut().filter(|(key, _)| **key == *INTERFACES) {
            if stands_at_origin(value)
                && let Some(moved) = moved_back(item, value)
            {
                *value = moved;
            }
        }
    }
    said
}

/// The same, of the whole item: the path is the item's own where none is said.
pub fn with_hidden_path(item: &Item, said: Fields) -> Fields {
    let Some(path) = item.field(IMAGE_PATH).filter(|_| item.hides_path()) else { return said };
    let is_said =
        |(key, value): &(Name, Box<RawValue>)| **key == *IMAGE_PATH && !is_lost_path(path, value);
    if said.iter().any(is_said) {
        return said;
    }
    let mut said = with_moved_interfaces(item, said);
    said.retain(|(key, _)| **key != *IMAGE_PATH);
    said.push((path.key.clone(), path.value.clone()));
    said
}

/// Makes interfaces that are the item's own but for its origin the item's own. To whatever opens them they look
/// the same, but not to an editor that has built the item with the origin that it has.
pub fn keep_origin(item: &Item, fields: &mut Fields) {
    let own_and_moved = item.field(INTERFACES).zip(item.moved_interfaces());
    let Some((own, moved)) = own_and_moved else { return };
    for (_, value) in fields.iter_mut().filter(|(key, _)| **key == *INTERFACES) {
        if json::same_value(moved, value) {
            *value = own.value.clone();
        }
    }
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
