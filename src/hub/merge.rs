//! Merging a snapshot of a canvas into the document: what of it counts, as a pure function.
//!
//! | an item is | what happens |
//! |---|---|
//! | in the snapshot, not in the document | it is added, unless somebody else removed it |
//! | in both | the fields that this connection wrote get the snapshot's values (`writing.rs`) |
//! | only in the document | it is removed if this connection listed or added it before and nobody else has written to it since |
//!
//! An empty snapshot removes nothing. A new design under an old name ([`Mode::Replace`]) removes
//! everything it doesn't show.

use std::collections::HashSet;
use std::sync::Arc;

use super::Limits;
use super::document::Document;
use super::item::{Item, find, is_fixed, memory_completed, size_completed};
use super::member::Member;
use super::writing::{Written, written};
use crate::protocol::inbound::{State, StateItem};
use crate::protocol::item::is_whole;
use crate::protocol::json::{self, Fields};

/// How a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The first one of its connection: its canvas may be from before.
    First,
    /// A later one.
    Later,
    /// A new design, in place of the document.
    Replace,
}

/// What a snapshot does to the document and what its sender has to be told of its own canvas.
#[derive(Default)]
pub struct Merge {
    /// In order.
    pub changes: Vec<Change>,
    /// The items that the canvas shows differently from the document, even after the changes.
    pub outdated: Vec<Arc<str>>,
    /// The items that the canvas shows although somebody else removed them.
    pub removed: Vec<Box<str>>,
    /// The items that are in both.
    pub known: Vec<KnownCopy>,
    /// The items that would become too large by what the canvas writes to them, and stay as they are.
    pub too_large: Vec<Arc<str>>,
    /// How much larger the document becomes at most, in bytes of JSON.
    pub growth: usize,
    /// By how many bytes of memory it grows, less what removed items give back.
    pub memory_growth: isize,
    /// How many more items it has then.
    pub more_items: isize,
}

/// What the snapshot says of the copy of an item that is in the document, too.
#[derive(Debug)]
pub struct KnownCopy {
    pub id: Arc<str>,
    /// What of it is written, but for the fields, and what it shows.
    pub written: Written,
    /// Whether its owner built it, as far as can be seen; `None` where that is known already.
    pub is_own: Option<bool>,
}

/// One change.
pub enum Change {
    Add(StateItem),
    Write(Arc<str>, Fields),
    Remove(Arc<str>),
}

/// What a member's snapshot does to the document. Linear in the bytes of both.
pub fn merge(
    document: &Document,
    snapshot: State,
    member: &Member,
    mode: Mode,
    limits: &Limits,
) -> Merge {
    let mut merge = Merge::default();
    let left_out = snapshot.left_out.iter().filter_map(|item| item.id.as_deref());
    let shown: HashSet<&str> =
        snapshot.items.iter().map(|item| &*item.id).chain(left_out).collect();
    if !snapshot.items.is_empty() {
        for item in document.items().filter(|item| !shown.contains(&*item.id)) {
            let is_own = |tick| !item.is_written_by_others(&member.user, tick);
            if mode == Mode::Replace || member.listed_at(&item.id).is_some_and(is_own) {
                merge.changes.push(Change::Remove(item.id.clone()));
                merge.more_items -= 1;
                merge.memory_growth -= item.memory() as isize;
            }
        }
    }
    drop(shown);
    for item in snapshot.items {
        let Some(known) = document.get(&item.id) else {
            let tombstone = document.removed().get(&item.id).filter(|_| mode != Mode::Replace);
            if tombstone.is_some_and(|tombstone| !tombstone.is_by(&member.user)) {
                merge.removed.push(item.id);
            } else {
                merge.growth += size_completed(&item.id, &item.fields);
                merge.memory_growth += memory_completed(&item.id, &item.fields) as isize;
                merge.changes.push(Change::Add(item));
                merge.more_items += 1;
            }
            continue;
        };
        let copy = match mode {
            Mode::Later => member.listed_copy(known, limits.settle),
            _ => {
                let was_sent =
                    document.knows(&member.user) && !known.builders.contains(&member.user);
                member.unseen_copy(was_sent)
            }
        };
        let was_sent = copy.was_sent();
        let mut written = match is_whole(&item.fields) {
            true => written(known, item.fields, copy),
            false => Written { fields: differing(known, item.fields), ..Written::default() },
        };
        if written.is_stale
            || written.lacks_something
            || (written.is_color_stale && mode == Mode::First)
        {
            merge.outdated.push(known.id.clone());
        }
        let fields = std::mem::take(&mut written.fields);
        // A copy from before shows by the place of its first interface how it came to be.
        let is_own = written.is_own.or((mode != Mode::Later).then_some(!was_sent));
        merge.known.push(KnownCopy { id: known.id.clone(), written, is_own });
        if !fields.is_empty() {
            let sizes = known.overwritten(&fields);
            let bytes = sizes.bytes;
            if bytes > known.bytes && bytes > limits.document.item {
                merge.outdated.push(known.id.clone());
                merge.too_large.push(known.id.clone());
                continue;
            }
            merge.growth += bytes.saturating_sub(known.bytes);
            merge.memory_growth += known.growth(&sizes);
            merge.changes.push(Change::Write(known.id.clone(), fields));
        }
    }
    merge
}

/// The fields of a partial dictionary that say something else than the item does.
fn differing(item: &Item, mut said: Fields) -> Fields {
    let places = find(&item.fields, &said);
    let mut places = places.into_iter();
    said.retain(|(key, value)| {
        let place = places.next().flatten();
        let is_same = place.is_some_and(|place| json::same_value(&item.fields[place].value, value));
        !is_same && !is_fixed(key, value)
    });
    said
}
