//! Merging a snapshot of a canvas into the document, as a pure function: [`merge`] says what changes.
//!
//! | an item is | what happens |
//! |---|---|
//! | in the snapshot, not in the document | it is added, unless another user removed it |
//! | in both | the fields that the sender has changed get the snapshot's values (`writing.rs`) |
//! | only in the document | it is removed if the sender listed or added it before on this connection, and no other user has written to it since |
//!
//! An empty snapshot removes nothing. A new design under an old name ([`MergeMode::Replace`]) removes each item
//! that it doesn't show.

use std::collections::HashSet;
use std::sync::Arc;

use super::Limits;
use super::document::Document;
use super::item::{Item, find, is_fixed, memory_completed, size_completed};
use super::member::Member;
use super::writing::{Copy, Written, written};
use crate::protocol::inbound::{State, StateItem};
use crate::protocol::item::is_whole;
use crate::protocol::json::{self, Fields};

/// How a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeMode {
    /// The first one of its connection: the canvas may be as old as a file or an earlier connection.
    First,
    /// A later one.
    Later,
    /// A new design, in place of the document.
    Replace,
}

/// What a snapshot does to the document, and what its sender has to be told of its own canvas.
#[derive(Default)]
pub struct Merge {
    /// In the order in which they are applied: removals first.
    pub changes: Vec<MergeChange>,
    /// The items that the canvas shows differently from the document, even after the changes.
    pub outdated: Vec<Arc<str>>,
    /// The items that the canvas shows although another user removed them.
    pub removed: Vec<Box<str>>,
    /// What the snapshot reports of the items that are in both.
    pub reported: Vec<ReportedCopy>,
    /// The items that stay as they are because what the canvas writes to them would make them too large.
    pub too_large: Vec<Arc<str>>,
    /// The growth of the document in bytes of JSON, without what is removed.
    pub growth: usize,
    /// The growth of the document in bytes of memory, less what is removed.
    pub memory_growth: isize,
    /// The number of added items, less the removed ones.
    pub more_items: isize,
}

/// What a snapshot reports of the copy of an item that is in the document.
#[derive(Debug)]
pub struct ReportedCopy {
    pub id: Arc<str>,
    /// What it writes, without the fields: they are in a [`MergeChange::Write`].
    pub written: Written,
    /// Whether the sender built the copy; `None` where the snapshot doesn't show that and it is known already.
    pub is_own: Option<bool>,
}

/// One change of the document.
pub enum MergeChange {
    Add(StateItem),
    Write(Arc<str>, Fields),
    Remove(Arc<str>),
}

/// Says what a member's snapshot does to the document. Takes time linear in the bytes of both.
pub fn merge(
    document: &Document,
    snapshot: State,
    member: &Member,
    mode: MergeMode,
    limits: &Limits,
) -> Merge {
    let mut merge = Merge::default();
    merge.remove_unlisted(document, &snapshot, member, mode);
    for item in snapshot.items {
        match document.get(&item.id) {
            None => merge.add(document, item, member, mode),
            Some(known) => {
                let copy = match mode {
                    MergeMode::Later => member.listed_copy(known, limits.settle),
                    _ => {
                        let was_sent =
                            document.knows(&member.user) && !known.builders.contains(&member.user);
                        member.unseen_copy(was_sent)
                    }
                };
                merge.write(known, item.fields, copy, mode, limits);
            }
        }
    }
    merge
}

impl Merge {
    /// Removes the items that the sender has deleted from its canvas, or that are no part of a new design.
    fn remove_unlisted(
        &mut self,
        document: &Document,
        snapshot: &State,
        member: &Member,
        mode: MergeMode,
    ) {
        if snapshot.items.is_empty() {
            return;
        }
        let left_out = snapshot.left_out.iter().filter_map(|item| item.id.as_deref());
        let shown: HashSet<&str> =
            snapshot.items.iter().map(|item| &*item.id).chain(left_out).collect();
        for item in document.items().filter(|item| !shown.contains(&*item.id)) {
            let is_own = |tick| !item.is_written_by_others(&member.user, tick);
            if mode == MergeMode::Replace || member.listed_at(&item.id).is_some_and(is_own) {
                self.changes.push(MergeChange::Remove(item.id.clone()));
                self.more_items -= 1;
                self.memory_growth -= item.memory() as isize;
            }
        }
    }

    /// Adds an item that is not in the document, unless another user removed it.
    fn add(&mut self, document: &Document, item: StateItem, member: &Member, mode: MergeMode) {
        let tombstone = document.removed().get(&item.id).filter(|_| mode != MergeMode::Replace);
        if tombstone.is_some_and(|tombstone| !tombstone.is_by(&member.user)) {
            self.removed.push(item.id);
            return;
        }
        self.growth += size_completed(&item.id, &item.fields);
        self.memory_growth += memory_completed(&item.id, &item.fields) as isize;
        self.changes.push(MergeChange::Add(item));
        self.more_items += 1;
    }

    /// Writes to an item of the document what the sender has changed in its copy.
    fn write(
        &mut self,
        known: &Item,
        shown: Fields,
        copy: Copy<'_>,
        mode: MergeMode,
        limits: &Limits,
    ) {
        let was_sent = copy.was_sent();
        let mut written = match is_whole(&shown) {
            true => written(known, shown, copy),
            false => Written { fields: differing(known, shown), ..Written::default() },
        };
        let is_color_outdated = written.is_color_stale && mode == MergeMode::First;
        if written.is_stale || written.lacks_something || is_color_outdated {
            self.outdated.push(known.id.clone());
        }
        let fields = std::mem::take(&mut written.fields);
        // Where the interfaces of an older canvas don't show who built the copy, it is the member unless the
        // item was sent to it.
        let is_own = written.is_own.or((mode != MergeMode::Later).then_some(!was_sent));
        self.reported.push(ReportedCopy { id: known.id.clone(), written, is_own });
        if fields.is_empty() {
            return;
        }
        let sizes = known.overwritten(&fields);
        let bytes = sizes.bytes;
        if bytes > known.bytes && bytes > limits.document.item {
            self.outdated.push(known.id.clone());
            self.too_large.push(known.id.clone());
            return;
        }
        self.growth += bytes.saturating_sub(known.bytes);
        self.memory_growth += known.growth(&sizes);
        self.changes.push(MergeChange::Write(known.id.clone(), fields));
    }
}

/// The fields of a partial dictionary whose values differ from the item's.
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
