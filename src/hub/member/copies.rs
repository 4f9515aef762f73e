//! What is known of a member's copies of the items.
//!
//! An editor keeps a list of the items that messages reach, by their ids. A copy that it pasted or brought back
//! by undoing is not in this list until the editor looks through its canvas, after a `connection:ack` or when
//! it sends its canvas. Of two copies with one id the list has one.

use std::sync::Arc;

use super::Member;
use crate::hub::item::Item;
use crate::hub::told::{Report, Sight};
use crate::hub::writing::{Copy, CopyKind, Written};

/// What is known of one copy.
#[derive(Debug, Default, Clone)]
pub(super) struct KnownCopy {
    /// The tick at which it was sent the item by itself; 0 if it was not.
    sent: u64,
    /// The tick at which the member last listed the item in a snapshot, or added it by an `add_item`.
    listed: Option<u64>,
    /// Whether the member brought the item into the document. Then it built this copy itself.
    is_brought: bool,
    /// Whether messages about the item don't reach this copy: it was pasted or brought back by undoing, and the
    /// editor's list has no pasted items.
    is_unreachable: bool,
    /// Whether a removal that was on its way may have removed this copy, which was pasted.
    is_uncertain: bool,
    /// Whether its interfaces are moved, although the item was not in the document.
    is_moved: bool,
    /// Whether the member built the copy that its last command was about, if messages reach another copy. After
    /// the next `connection:ack` they may reach this one.
    other_copy_is_own: Option<bool>,
    /// The fingerprint of the colour that it reported last.
    color: Option<u64>,
    /// The fingerprint of the colour that it reported last in a list or an `add_item`.
    listed_color: Option<u64>,
    /// What the member has reported of it last.
    report: Option<Report>,
}

/// An item that an editor has found when it looked through its canvas again.
pub struct FoundCopy {
    pub id: Arc<str>,
    /// Whether it may have been removed meanwhile.
    pub may_be_gone: bool,
    /// Whether the member built it, where it has said so.
    pub is_own: Option<bool>,
}

/// Reading what is known.
impl Member {
    /// Whether a message about an item may be on its way to the member, so that it sent its own message without
    /// knowing of it.
    pub fn may_be_crossed(&self, item: &Item) -> bool {
        self.may_be_wiped() || self.sight_of(item, self.copies.get(&item.id)).is_crossed()
    }

    /// The tick at which its copy of an item was built from a message to it alone, or from a state; `None`
    /// where there was none.
    fn is_sent_at(&self, item: &Item, known: Option<&KnownCopy>) -> Option<u64> {
        let by_itself = known.map(|copy| copy.sent).filter(|sent| *sent > 0);
        by_itself.max(self.state_sent_at.filter(|tick| item.added <= *tick))
    }

    /// What is known of what its copy of an item shows.
    fn sight_of<'a>(&'a self, item: &'a Item, known: Option<&'a KnownCopy>) -> Sight<'a> {
        let sent = self.is_sent_at(item, known).filter(|sent| *sent > self.recognised_at);
        Sight {
            user: &self.user,
            told: &item.told,
            since: sent.unwrap_or(self.recognised_at),
            is_told_since: sent.is_some(),
            received: self.received,
            report: known.and_then(|copy| copy.report.as_ref()),
        }
    }

    /// What is known of its copy of an item. `settles`: the server tells members what items look like.
    pub fn copy_of<'a>(&'a self, item: &'a Item, settles: bool) -> Copy<'a> {
        let known = self.copies.get(&item.id);
        let sent = self.is_sent_at(item, known);
        let is_own_add = known.is_some_and(|copy| copy.listed.is_some() || copy.is_brought);
        let is_on_its_way = match sent {
            Some(sent) => sent > self.received,
            None if is_own_add => false,
            None => item.added > self.received && item.told.has(&self.user, item.added),
        };
        let kind = match self.is_editor {
            true if item.builders.contains(&self.user) => CopyKind::Own,
            true if settles && is_on_its_way => CopyKind::Blank,
            true => CopyKind::Rebuilt,
            // A program has the fields that it was sent.
            false => CopyKind::Own,
        };
        let colors = [known.and_then(|copy| copy.color), None];
        let sight = Some(self.sight_of(item, known));
        // As long as the member may not have received the new copy, its message may be about the old one.
        let is_gone = kind == CopyKind::Blank;
        Copy { user: &self.user, kind, colors, is_gone, sight }
    }

    /// What is known of the copy that it lists in a snapshot.
    pub fn listed_copy<'a>(&'a self, item: &'a Item, settles: bool) -> Copy<'a> {
        let copy = self.copy_of(item, settles);
        let listed_color = self.copies.get(&item.id).and_then(|known| known.listed_color);
        Copy { colors: [copy.colors[0], listed_color], ..copy }
    }

    /// What is known of the copy that an `update_item` is about. An editor sends `update_item` only of copies
    /// that its user has placed or pasted. So if it was sent the item since, the message is about a copy that
    /// was removed: by a dialog that was open, or after an undo.
    pub fn copy_of_update<'a>(&'a self, item: &'a Item, settles: bool) -> Copy<'a> {
        let known = self.copies.get(&item.id);
        let sent = self.is_sent_at(item, known);
        let is_brought = known.is_some_and(|copy| copy.is_brought);
        let added = Some(item.added).filter(|added| !is_brought && *added > self.recognised_at);
        let is_sent = sent.max(added).is_some_and(|tick| tick > self.second_ack_answered_at);
        let is_own = item.builders.contains(&self.user);
        let copy = self.copy_of(item, settles);
        Copy { is_gone: copy.is_gone || (self.is_editor && is_sent && !is_own), ..copy }
    }

    /// What is known of its copy of an item in the first snapshot of a canvas. `was_sent`: the user was sent
    /// the item on an earlier connection.
    pub fn unseen_copy(&self, was_sent: bool) -> Copy<'_> {
        let kind = CopyKind::Unseen { was_sent: was_sent && self.is_editor };
        Copy { user: &self.user, kind, colors: [None; 2], is_gone: false, sight: None }
    }

    /// Whether its copy was built from a message, so that it needs the item with its interfaces moved.
    pub fn has_moved_copy(&self, item: &Item) -> bool {
        self.is_editor && !item.builders.contains(&self.user)
    }

    /// Whether its message is about a copy that its user placed or pasted while the item is on its way to it.
    /// Then it will show two.
    pub fn has_second_copy(&self, item: &Item) -> bool {
        let known = self.copies.get(&item.id);
        let added = if item.told.has(&self.user, item.added) { item.added } else { 0 };
        let sent = known.map_or(0, |copy| copy.sent).max(added);
        let before = self.received.max(self.recognised_at).max(self.state_sent_at.unwrap_or(0));
        let is_known = known.is_some_and(|copy| copy.listed.is_some() || copy.is_unreachable);
        self.is_editor && sent > before && !is_known && item.is_for_editors()
    }

    /// Whether its editor has listed an item that is new to the document.
    pub fn has_listed(&self, id: &str) -> bool {
        self.is_editor && self.listed_at(id).is_some()
    }

    /// Whether its copy of an item that is new to the document has its interfaces moved.
    pub fn has_listed_moved(&self, id: &str) -> bool {
        self.copies.get(id).is_some_and(|copy| copy.is_moved)
    }

    /// Whether messages about the item don't reach its copy.
    pub fn has_unreachable_copy(&self, id: &str) -> bool {
        self.copies.get(id).is_some_and(|copy| copy.is_unreachable)
    }

    /// The tick at which it last listed or added the item on this connection.
    pub fn listed_at(&self, id: &str) -> Option<u64> {
        self.copies.get(id)?.listed
    }
}

/// Noting what messages show.
impl Member {
    /// Notes what its message reports of an item at this tick.
    pub fn note_reported(&mut self, id: &Arc<str>, written: &Written, tick: u64) {
        let report = Report { tick, received: self.received, refused: written.refused.clone() };
        let copy = self.copies.entry(id.clone()).or_default();
        copy.report = Some(report);
        if self.is_editor && written.color.is_some() {
            copy.color = written.color;
        }
    }

    /// Notes what a list or an `add_item` reports. If the colour is the one that it has listed before, the
    /// colour of its last command is the newer one and stays.
    pub fn note_reported_in_list(&mut self, id: &Arc<str>, written: &Written, tick: u64) {
        let before = self.copies.get(id).map_or([None; 2], |copy| [copy.color, copy.listed_color]);
        self.note_reported(id, written, tick);
        if let Some(copy) = self.copies.get_mut(id).filter(|_| self.is_editor) {
            if before[1].is_some() && before[1] == written.color {
                copy.color = before[0];
            }
            copy.listed_color = written.color.or(before[1]);
        }
    }

    /// Notes that its list has the item: messages reach its copy.
    pub fn note_listed(&mut self, id: &Arc<str>, tick: u64) {
        let copy = self.copies.entry(id.clone()).or_default();
        (copy.listed, copy.is_unreachable) = (Some(tick), false);
    }

    /// Notes whether its copy of an item that is not in the document has its interfaces moved.
    pub fn note_listed_moved(&mut self, id: &Arc<str>, is_moved: bool) {
        self.copies.entry(id.clone()).or_default().is_moved = is_moved;
    }

    /// Notes that it brought the item into the document.
    pub fn note_brought(&mut self, id: &Arc<str>) {
        self.copies.entry(id.clone()).or_default().is_brought = true;
    }

    /// Notes that it has pasted the item or brought it back by undoing: messages don't reach the copy.
    /// `is_uncertain`: the copy may be one that a message on its way is about to remove.
    pub fn note_pasted(&mut self, id: &Arc<str>, is_uncertain: bool) {
        let copy = self.copies.entry(id.clone()).or_default();
        (copy.listed, copy.is_unreachable, copy.is_brought) = (None, self.is_editor, false);
        copy.is_uncertain |= is_uncertain && self.is_editor;
    }

    /// Handles the answer to the second `connection:ack`; `None` if it was sent none. From now on messages
    /// reach all of its canvas. Returns the items of which they may reach another copy than before. What the
    /// member listed before is the list of another canvas, and is forgotten.
    pub fn on_second_ack_answered(&mut self, tick: u64) -> Option<Vec<FoundCopy>> {
        if !std::mem::take(&mut self.is_second_ack_pending) {
            return None;
        }
        self.second_ack_answered_at = tick;
        let mut found = Vec::new();
        for (id, copy) in &mut self.copies {
            copy.listed = None;
            let is_own = copy.other_copy_is_own.take();
            // The copy that the list had may have been removed since.
            let may_be_gone = std::mem::take(&mut copy.is_uncertain);
            if std::mem::take(&mut copy.is_unreachable) || may_be_gone || is_own.is_some() {
                found.push(FoundCopy { id: id.clone(), may_be_gone, is_own });
            }
        }
        Some(found)
    }

    /// Notes that a command shows whether the member built the copy that the command is about, and returns
    /// whether that counts for the copy that messages reach. The two may differ: the command may be about an
    /// item of a file that was opened meanwhile, or about one that was removed while its dialog was open. So
    /// where it is known how the reachable copy came to be, the answer is `false`, and what the command shows
    /// is kept until the editor looks through its canvas again.
    pub fn note_origin(&mut self, item: &Item, is_own: bool) -> bool {
        let known = self.copies.get(&item.id);
        let listed = known.and_then(|copy| copy.listed);
        let sent = self.is_sent_at(item, known);
        let added = Some(item.added).filter(|added| *added > self.recognised_at);
        let last = listed.max(sent).max(added);
        let is_known = last.is_some_and(|tick| tick > self.second_ack_answered_at);
        if is_known {
            self.copies.entry(item.id.clone()).or_default().other_copy_is_own = Some(is_own);
        }
        !is_known
    }

    /// Notes that it is sent a `remove_item` that the others are not sent. It removes a copy that messages
    /// reach.
    pub fn on_removal_sent(&mut self, id: &str, tick: u64) {
        self.removal_sent_at = tick;
        if !self.has_unreachable_copy(id) {
            self.forget_copy(id);
        }
    }

    /// Notes that it is sent an item by itself.
    pub fn on_item_sent(&mut self, id: &Arc<str>, tick: u64) {
        if self.is_editor {
            let copy = self.copies.entry(id.clone()).or_default();
            *copy = KnownCopy { sent: tick, ..KnownCopy::default() };
        }
        self.expect_receipt(tick);
    }

    /// Forgets what is known of its copy of an item that is removed.
    pub fn forget_copy(&mut self, id: &str) {
        self.copies.remove(id);
    }
}
