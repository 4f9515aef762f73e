//! What a message writes to an item: of an editor's whole dictionary, only what its user has changed.
//!
//! An editor sends all fields of its copy with every message. It was sent most of them itself, some a while
//! ago, and other users may have changed them since. So the server asks of each value whether the copy may show
//! it without its user having chosen it:
//! - it is the document's own value;
//! - it was the document's value until a moment ago, and the sender may not have received the newer one;
//! - it is a mark that the editor leaves on copies that it built from a message.
//!
//! Only a value that is none of these is written (docs/PROTOCOL.md, "What counts as writing"). The functions
//! are pure: they depend on the item, the message and what is known of the sender's copy, and take time linear
//! in these.

mod moved_interfaces;

use std::cell::OnceCell;

use serde_json::value::RawValue;

use super::item::{
    Field, IMAGE_PATH, INTERFACES, Item, PLACE, find, is_blank_default, is_default, is_fixed,
    looks_blank,
};
use super::nudge::NUDGE_MM;
use super::told::Sight;
use crate::protocol::json::{self, Fields, Name, Object};
use crate::protocol::{UserId, geometry};
use moved_interfaces::is_moved_copy;
pub use moved_interfaces::{
    is_own, keep_origin, moved_back, stands_at_origin, with_hidden_path, with_moved_interfaces,
};

/// The colour that the editor reports of each source that it built from a message.
const REBUILT_COLOR: &str = "\"#dc143c\"";
const COLOR: &str = "color_hex";
const LOCKED: &str = "locked";

/// The number of values of one message that are remembered because they were not taken over.
const MAX_REFUSED_VALUES: usize = 64;
/// Interfaces with more fields than this are compared as a whole, not field by field. An editor writes about
/// ten.
const MAX_INTERFACE_FIELDS: usize = 64;

/// What is known of the sender's copy of an item.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    pub user: &'a UserId,
    pub kind: CopyKind,
    /// What the copy may show; `None` for a canvas that is seen for the first time.
    pub sight: Option<Sight<'a>>,
    /// The fingerprints of the colours that the member reported last, if it did: in any message, and in a list.
    /// There are two because a command and a list may be about different copies.
    pub colors: [Option<u64>; 2],
    /// Whether the message may be about a copy that was removed, because its editor was sent the item anew
    /// since. Such a copy shows what the item was before that.
    pub is_gone: bool,
}

/// How a copy came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// The sender built it: its user placed it, or opened a file with it.
    Own,
    /// Built from a message. The member has not been told yet what the item looks like: all fields are
    /// defaults.
    Blank,
    /// Built from a message. The member has been told since what the item looks like.
    Rebuilt,
    /// Of a canvas that is seen for the first time on this connection: it may be from an earlier connection or
    /// from an old file. `was_sent`: the user was sent the item before.
    Unseen { was_sent: bool },
}

impl CopyKind {
    /// Whether the editor may have left its marks on the copy.
    fn may_be_rebuilt(self) -> bool {
        !matches!(self, CopyKind::Own | CopyKind::Unseen { was_sent: false })
    }
}

impl Copy<'_> {
    /// Whether the copy was built from a message, on this connection or an earlier one.
    pub fn was_sent(self) -> bool {
        self.kind.may_be_rebuilt()
    }
}

/// What a dictionary writes, and what it shows of the copy.
#[derive(Debug, Default)]
pub struct Written {
    /// The fields that are written, with their new values.
    pub fields: Fields,
    /// Whether the copy shows a value that was not taken, so that its owner has to be told.
    pub is_stale: bool,
    /// Whether the colour was not taken. The copy may show the right one and report a wrong one.
    pub is_color_stale: bool,
    /// Whether the copy lacks a field that the item has.
    pub lacks_something: bool,
    /// Whether each value is the item's own or is written as it stands.
    pub is_exact: bool,
    /// The fingerprint of the colour that the dictionary reports.
    pub color: Option<u64>,
    /// Whether the sender built the copy, where the place of the first interface shows that.
    pub is_own: Option<bool>,
    /// The fingerprints of the values that the document did not take over, by field; at most
    /// [`MAX_REFUSED_VALUES`].
    pub refused: Vec<(Name, u64)>,
}

impl Written {
    /// Adds a field with the verdict on its value. `kind` is that of the copy.
    fn add(&mut self, key: Name, value: Box<RawValue>, verdict: Verdict, kind: CopyKind) {
        match verdict {
            Verdict::Identical => return,
            Verdict::Chosen => return self.fields.push((key, value)),
            Verdict::ChosenMoved(value) => self.fields.push((key, value)),
            Verdict::Same | Verdict::Equivalent => {}
            // The owner of a copy that is known to be blank is told anyway what the item looks like.
            Verdict::Blank => self.is_stale |= kind != CopyKind::Blank,
            Verdict::Stale => self.is_stale = true,
            Verdict::ColorStale => self.is_color_stale = true,
        }
        self.is_exact = false;
    }
}

/// The fingerprint of the colour that a dictionary reports.
pub fn color_print(sent: &Fields) -> Option<u64> {
    sent.iter().find(|(key, _)| **key == *COLOR).map(|(_, value)| json::fingerprint(value))
}

/// Says what a member writes to an item that has sent the whole dictionary `sent` of its copy.
pub fn written(item: &Item, mut sent: Fields, copy: Copy<'_>) -> Written {
    let mut written = Written { is_exact: true, ..Written::default() };
    let dictionary = Dictionary::new(item, &sent, copy);
    // The lock comes last: its verdict depends on whether the user has moved the copy.
    if let Some(place) = sent.iter().position(|(key, _)| **key == *LOCKED) {
        let locked = sent.remove(place);
        sent.push(locked);
    }
    let mut found = 0;
    let places = find(&item.fields, &sent);
    for ((key, value), place) in sent.into_iter().zip(places) {
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
            // The copy that the message is about may be one that a blank copy has replaced.
            let is_own = is_own(item, field, &value);
            written.is_own = is_own.filter(|_| copy.kind != CopyKind::Blank);
        }
        let verdict = dictionary.judge(&key, &value, field, print, &written);
        if matches!(verdict, Verdict::Chosen)
            && matches!(copy.kind, CopyKind::Unseen { .. })
            && *key == *INTERFACES
            && geometry::first_middle(&value)
                .is_some_and(|middle| !geometry::is_near(middle, (0.0, 0.0)))
        {
            written.is_own = Some(true);
        }
        if verdict.is_refused() && written.refused.len() < MAX_REFUSED_VALUES {
            written.refused.push((key.clone(), print()));
        }
        written.add(key, value, verdict, copy.kind);
    }
    let own = item.fields.iter().filter(|field| !is_fixed(&field.key, &field.value)).count();
    written.lacks_something = found < own;
    written
}

/// The verdict on one value of a dictionary.
enum Verdict {
    /// It is, byte by byte, the item's own.
    Identical,
    /// The user chose it.
    Chosen,
    /// The user chose these interfaces in a moved copy. The value has them where the item has them.
    ChosenMoved(Box<RawValue>),
    /// It is the item's own value, as this copy has it.
    Same,
    /// It is the form in which the editor reports the item's own value.
    Equivalent,
    /// It is a default, of a copy that has not been told what the item looks like.
    Blank,
    /// It is an earlier value that the copy shows.
    Stale,
    /// It is a colour that the editor reports without its user having chosen it.
    ColorStale,
}

impl Verdict {
    /// Whether the document keeps another value than the copy shows.
    fn is_refused(&self) -> bool {
        use Verdict::{Chosen, ChosenMoved, Identical, Same};
        !matches!(self, Identical | Chosen | ChosenMoved(_) | Same)
    }
}

/// A whole dictionary of a copy: what it shows of the copy as a whole.
struct Dictionary<'a> {
    item: &'a Item,
    copy: Copy<'a>,
    /// The copy may be blank, so a default value was not chosen.
    is_blank: bool,
    /// The copy is blank for certain, so only its place was chosen: it has no interfaces, and the item has
    /// some.
    is_surely_blank: bool,
    is_locked: bool,
}

impl<'a> Dictionary<'a> {
    fn new(item: &'a Item, sent: &Fields, copy: Copy<'a>) -> Self {
        let is_blank = match copy.kind {
            CopyKind::Blank => true,
            CopyKind::Unseen { was_sent: true } => looks_blank(item, sent),
            _ => false,
        };
        let is_without_interfaces =
            |(key, value): &(Name, Box<RawValue>)| **key == *INTERFACES && value.get() == "[]";
        let is_surely_blank = copy.kind == CopyKind::Blank
            && item.field(INTERFACES).is_some_and(|field| field.value.get() != "[]")
            && sent.iter().any(is_without_interfaces);
        let is_locked = sent.iter().any(|(key, value)| **key == *LOCKED && value.get() == "true");
        Dictionary { item, copy, is_blank, is_surely_blank, is_locked }
    }

    /// Judges one value. `field` is the item's, `print` gives the value's fingerprint, and `written` is what
    /// was found in the fields before it.
    fn judge(
        &self,
        key: &str,
        value: &RawValue,
        field: Option<&Field>,
        print: impl Fn() -> u64,
        written: &Written,
    ) -> Verdict {
        let Dictionary { item, copy, .. } = *self;
        let counts = !self.is_surely_blank || PLACE.contains(&key);
        let is_chosen = || counts && (!self.is_blank || !is_blank_default(item, key, value));
        match field {
            Some(field) if field.value.get() == value.get() => Verdict::Identical,
            _ if !is_chosen() => Verdict::Blank,
            // The member was sent the item without a path that leads out of the library.
            Some(field) if is_lost_path(field, value) && item.hides_path() => Verdict::Equivalent,
            // A locked copy takes no place that it is sent, and its user can't move it either.
            Some(field) if self.is_locked && was_here(item, field, value) => Verdict::Stale,
            Some(field) => match judge(item, field, value, copy) {
                Verdict::Chosen if is_put_aside(item, field, value, copy, written) => {
                    Verdict::Stale
                }
                verdict => verdict,
            },
            None if copy.kind.may_be_rebuilt() && is_default(item, key, value) => {
                Verdict::Equivalent
            }
            None if copy.is_gone && item.had_before(key, print()) => Verdict::Stale,
            None => Verdict::Chosen,
        }
    }
}

/// Judges a value of a field that the item has.
fn judge(item: &Item, field: &Field, value: &RawValue, copy: Copy<'_>) -> Verdict {
    if json::same_value(&field.value, value) {
        return Verdict::Same;
    }
    if means_the_same(field, value) {
        return Verdict::Equivalent;
    }
    if *field.key == *COLOR && is_colors_mark(json::fingerprint(value), value, copy) {
        return Verdict::ColorStale;
    }
    let moved = item.moved_interfaces().filter(|_| *field.key == *INTERFACES);
    if moved.is_some_and(|moved| json::same_value(moved, value)) {
        return Verdict::Same;
    }
    if moved.is_some_and(|moved| is_normal_form(value, moved)) {
        return Verdict::Equivalent;
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
        // An old canvas doesn't take back what others have written since. If this user wrote the field last, an
        // earlier value of its own is a choice, but one of another user may have been on its way to it.
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

/// Whether the item was at this place before; `false` for fields that are no place.
fn was_here(item: &Item, field: &Field, value: &RawValue) -> bool {
    PLACE.contains(&&*field.key)
        && !means_the_same(field, value)
        && !json::same_value(&field.value, value)
        && item.has_had(field, json::fingerprint(value))
}

/// Whether a value is one that the server's own unlocking update has set: an editor that is told what an item
/// looks like shows it aside of its place and unlocked until the second of the two messages arrives.
///
/// A user who drags a locked item has unlocked it before, because in the short time between the two messages
/// hardly any user takes hold of an item. So after a drag to a new place the missing lock was chosen. An undo
/// needs no hold, but it puts the item at a place where it was before.
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

/// Whether a value is the field's own in the form in which the editor writes it: angles from 0 to 360 degrees,
/// colours in small letters, interfaces with the fields that it knows.
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

/// Whether an editor that was sent the interfaces `known` reports `said`: there are as many, and in each the
/// fields that both have are the same.
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
        let known = |key| known.iter().take(MAX_INTERFACE_FIELDS).find(|(name, _)| *name == key);
        let is_same =
            |(key, value)| known(key).is_none_or(|(_, known)| json::same_value(known, value));
        said.iter().count() <= MAX_INTERFACE_FIELDS && said.iter().all(is_same)
    };
    let is_same =
        |(said, known): (&RawValue, &RawValue)| said.get() == known.get() || is_same(said, known);
    said.len() == known.len() && said.into_iter().zip(known).all(is_same)
}

/// Whether a reported colour is a mark of the editor. It reports one colour for each source that it built from
/// a message, and for others the colour that its user chose last, whatever the copy shows.
fn is_colors_mark(print: u64, value: &RawValue, copy: Copy<'_>) -> bool {
    // An old canvas may have been saved by an editor that built its copies from messages.
    let may_be_rebuilt = copy.kind != CopyKind::Own;
    let is_default = value.get().eq_ignore_ascii_case(REBUILT_COLOR);
    copy.colors.contains(&Some(print)) || (is_default && may_be_rebuilt)
}

/// Whether a path is missing because the member was sent none, or because the file that it opened had none.
fn is_lost_path(field: &Field, value: &RawValue) -> bool {
    *field.key == *IMAGE_PATH && matches!(value.get(), "null" | "\"\"")
}

#[cfg(test)]
#[path = "writing_tests.rs"]
mod tests;
