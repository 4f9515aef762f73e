//! A member's snapshot of its canvas (`sync:full_state`): it is taken into the session, which may have a
//! document already, and the members are told what came of it (docs/PROTOCOL.md, "Who has the canvas"). The
//! rules are in `merge.rs`.

use std::collections::HashSet;
use std::sync::Arc;

use super::Context;
use super::activity::ActivityKind;
use super::bounds::{Allowance, TooBig};
use super::document::Applied;
use super::field_changes::FieldChanges;
use super::item::{INTERFACES, Item, size_completed};
use super::item_frames::{UpdateFrames, settled_add, settled_remove};
use super::item_summary::ItemSummary;
use super::member::{Request, RoleDetection};
use super::merge::{Merge, MergeChange, MergeMode, ReportedCopy, merge};
use super::publish::Publication;
use super::reconcile::send_settled;
use super::session::Session;
use super::settling::Correction;
use super::told::{Audience, Part};
use super::writing::{CopyKind, Written, color_print, is_own, stands_at_origin};
use crate::journal::SnapshotReason;
use crate::protocol::inbound::{LeftOut, State};
use crate::protocol::json::Fields;
use crate::protocol::outbound;

/// A sender is told of at most this many items that were left out of its message.
pub const MAX_LEFT_OUT_REPORTED: usize = 100;

/// A snapshot that has been merged and fits.
struct MergedSnapshot {
    mode: MergeMode,
    merge: Merge,
    /// The ids of all items that the canvas shows.
    shown: HashSet<Box<str>>,
    version: u64,
    /// What the snapshot carries beside its items.
    extra: Fields,
}

impl Session {
    /// Handles `sync:full_state` from the member at `place`, meant for `target`. The host may send it at any
    /// time, and each member once on a connection, for itself.
    pub fn take_snapshot(
        &mut self,
        place: usize,
        mut snapshot: State,
        target: Option<&str>,
        cx: &mut Context<'_>,
    ) {
        let is_first = self.is_first_snapshot(place, target);
        if !self.is_host(place) && !is_first {
            let message = "only the session's host can send its canvas to others";
            let kind = Some("sync:full_state");
            let error = outbound::error("not_host", message, 403, kind, None, None);
            cx.send(self.room[place].conn, &error);
            return self.note_origins(place, &snapshot, cx);
        }
        let max_items = cx.limits.document.items();
        if snapshot.items.len() > max_items {
            return self.refuse_snapshot(place, TooBig::Items(max_items), cx);
        }
        self.leave_out(place, &mut snapshot, cx);
        let mode = match is_first {
            true if self.is_new_design(place, &snapshot) => MergeMode::Replace,
            true => MergeMode::First,
            false => MergeMode::Later,
        };
        match self.merge_snapshot(place, snapshot, mode, cx) {
            Ok(merged) => self.apply_snapshot(place, merged, is_first, cx),
            Err(why) => self.refuse_snapshot(place, why, cx),
        }
    }

    /// Whether a snapshot is the first one of its connection and meant for its sender. A program may leave out
    /// the target: then it counts if the host sends it before its Pong.
    fn is_first_snapshot(&self, place: usize, target: Option<&str>) -> bool {
        let member = &self.room[place];
        let names_itself = match target {
            Some(target) => *target == *member.user,
            None => !member.is_recognised() && self.is_host(place),
        };
        names_itself && !member.has_shown_canvas
    }

    fn refuse_snapshot(&mut self, place: usize, why: TooBig, cx: &mut Context<'_>) {
        self.refuse_as_too_big(place, why, "sync:full_state", None, None, cx);
        self.accept_unseen_host(place, cx);
    }

    /// Merges a snapshot with the document, without changing the document.
    ///
    /// # Errors
    ///
    /// There is no room for what the snapshot adds.
    fn merge_snapshot(
        &self,
        place: usize,
        mut snapshot: State,
        mode: MergeMode,
        cx: &Context<'_>,
    ) -> Result<MergedSnapshot, TooBig> {
        let allowance = cx.allowance();
        if mode == MergeMode::Replace {
            self.document.fits_alone(&snapshot, allowance)?;
        }
        let shown = shown_ids(&snapshot);
        let (version, extra) = (snapshot.version, std::mem::take(&mut snapshot.extra));
        let merge = merge(&self.document, snapshot, &self.room[place], mode, cx.limits);
        if mode != MergeMode::Replace {
            self.fits_merged(&merge, &extra, allowance)?;
        }
        Ok(MergedSnapshot { mode, merge, shown, version, extra })
    }

    /// Changes the document as a merged snapshot says, and tells the members. `is_first`: the snapshot is the
    /// first one of its connection.
    fn apply_snapshot(
        &mut self,
        place: usize,
        merged: MergedSnapshot,
        is_first: bool,
        cx: &mut Context<'_>,
    ) {
        let MergedSnapshot { mode, merge, shown, version, extra } = merged;
        let member = &mut self.room[place];
        let (conn, user) = (member.conn, member.user.clone());
        member.has_shown_canvas |= is_first;
        // The sender was sent a state meanwhile: its editor replaces the canvas that the snapshot shows.
        let is_wiped = is_first && member.state_sent_at.is_some();
        let why = if mode == MergeMode::Replace {
            SnapshotReason::NewDesign
        } else {
            SnapshotReason::Snapshot
        };
        let Merge { changes, outdated, removed, reported, too_large, .. } = merge;
        for id in &too_large {
            let why = TooBig::Item(cx.limits.document.item).to_string();
            cx.send(conn, &outbound::bad_item(Some(id), &why, "sync:full_state", None));
        }
        if changes.iter().any(|change| matches!(change, MergeChange::Remove(_))) {
            self.journal_version(cx);
            let before = self.version_before(&user, why, cx);
            before.into_iter().for_each(|before| self.versions.add(before, cx.limits.document));
        }
        let crossed = self.note_crossings(place, &changes, cx);
        let applied = self.apply_changes(place, changes, mode, cx);
        // After the changes: how a copy stands is compared with what the item is now.
        for copy in reported.iter().filter(|_| !is_wiped) {
            self.note_reported_copy(place, copy);
        }
        if mode == MergeMode::Replace {
            // Texts and rulers of the design before are no part of it.
            self.document.forget_extra();
            self.forget_encoded();
        }
        // A new design forgets the tombstones, too, so it is stored even if no item changed.
        let is_news = self.set_extra(&extra) || mode == MergeMode::Replace;
        if is_wiped {
            // Its canvas doesn't show any more what it has sent.
            applied.iter().for_each(|change| self.room[place].forget_copy(change.id()));
            self.note_rebuilt(&user, cx);
        }
        let except = (!is_wiped).then_some(conn);
        let publication = Publication { user: &user, version, why, id: None, except, is_news };
        self.publish(&applied, publication, cx);
        for id in &crossed {
            self.schedule_correction(&user, id, Correction::Update, cx);
        }
        if is_first {
            self.recognise_sharing(place, cx);
        }
        if !is_wiped {
            let canvas = Canvas { shown, outdated, removed, is_first };
            self.tell_differences(place, &canvas, cx);
        }
    }

    /// Tells a read-only editor that shares its canvas what the document has. Its own items stay on its canvas
    /// and are not taken.
    pub fn show_differences(&mut self, place: usize, snapshot: State, cx: &mut Context<'_>) {
        self.room[place].has_shown_canvas = true;
        let shown = shown_ids(&snapshot);
        let tick = self.tick;
        for item in snapshot.items.iter().filter(|item| self.document.get(&item.id).is_none()) {
            let interfaces = item.fields.iter().find(|(key, _)| **key == *INTERFACES);
            let is_moved = interfaces.is_some_and(|(_, value)| stands_at_origin(value));
            let id: Arc<str> = (&*item.id).into();
            self.room[place].note_listed(&id, tick);
            self.room[place].note_listed_moved(&id, is_moved);
        }
        let member = &self.room[place];
        let merged = merge(&self.document, snapshot, member, MergeMode::First, cx.limits);
        let mut outdated = merged.outdated;
        for change in merged.changes {
            if let MergeChange::Write(id, _) = change {
                outdated.push(id);
            }
        }
        for copy in &merged.reported {
            self.note_reported_copy(place, copy);
        }
        self.recognise_sharing(place, cx);
        let canvas = Canvas { shown, outdated, removed: Vec::new(), is_first: true };
        self.tell_differences(place, &canvas, cx);
    }

    /// Notes which copies an editor built itself, from a snapshot that is not taken otherwise. It lists the
    /// copies that messages reach, and they may be from a file that the user opened meanwhile.
    pub(super) fn note_origins(&mut self, place: usize, snapshot: &State, cx: &mut Context<'_>) {
        let member = &self.room[place];
        if !member.is_editor || !member.is_recognised() {
            return;
        }
        let user = member.user.clone();
        for shown in &snapshot.items {
            let Some(item) = self.document.get(&shown.id) else { continue };
            let interfaces = shown.fields.iter().find(|(key, _)| **key == *INTERFACES);
            let field = item.field(INTERFACES);
            let is_own = interfaces.and_then(|(_, value)| is_own(item, field, value));
            let Some(is_own) = is_own else { continue };
            let copy = self.room[place].copy_of(item, cx.limits.settle);
            if copy.kind != CopyKind::Blank && is_own != item.builders.contains(&user) {
                let id = item.id.clone();
                self.document.note_builder(&id, &user, is_own);
                self.schedule_correction(&user, &id, Correction::Update, cx);
            }
        }
    }

    /// Recognises a newcomer whose canvas can't be taken as one that shares its canvas: a guest's canvas would
    /// be replaced by a state.
    pub fn accept_unseen_host(&mut self, place: usize, cx: &mut Context<'_>) {
        if !self.room[place].is_recognised() {
            self.recognise_sharing(place, cx);
        }
    }

    /// Notes that an editor shares its canvas. Its request is answered with `"state": null`.
    fn recognise_sharing(&mut self, place: usize, cx: &mut Context<'_>) {
        let sharing = RoleDetection::Sharing { is_asked_for: false };
        let before = self.room[place].recognise_as(sharing, self.tick);
        match before {
            RoleDetection::Unknown { waiting: Some(_), .. } => {
                self.request(place, Request { since: None }, cx);
            }
            RoleDetection::Sharing { is_asked_for } => {
                self.room[place].arrival = RoleDetection::Sharing { is_asked_for };
            }
            _ => {}
        }
    }

    /// Checks that there is room for what a snapshot adds to the document.
    fn fits_merged(
        &self,
        merged: &Merge,
        extra: &Fields,
        allowance: Allowance,
    ) -> Result<(), TooBig> {
        let bounds = allowance.bounds;
        let items = self.document.len().saturating_add_signed(merged.more_items);
        if merged.more_items > 0 && items > bounds.items() {
            return Err(TooBig::Items(bounds.items()));
        }
        if self.document.bytes() + merged.growth > bounds.document {
            return Err(TooBig::Document(bounds.document));
        }
        allowance.check_growth(merged.memory_growth + self.document.growth_of_extra(extra))
    }

    /// Leaves out the items that are too large, and tells the sender of all that are left out, up to
    /// [`MAX_LEFT_OUT_REPORTED`].
    fn leave_out(&mut self, place: usize, snapshot: &mut State, cx: &mut Context<'_>) {
        let (conn, kind) = (self.room[place].conn, "sync:full_state");
        for item in snapshot.left_out.iter().take(MAX_LEFT_OUT_REPORTED) {
            cx.send(conn, &outbound::left_out(item, kind, None));
        }
        let largest = cx.limits.document.item;
        let why = TooBig::Item(largest).to_string();
        let left_out = &mut snapshot.left_out;
        snapshot.items.retain(|item| {
            let fits = size_completed(&item.id, &item.fields) <= largest;
            if !fits {
                if left_out.len() < MAX_LEFT_OUT_REPORTED {
                    cx.send(conn, &outbound::bad_item(Some(&item.id), &why, kind, None));
                }
                left_out.push(LeftOut { id: Some(item.id.clone()), why: "it is too large" });
            }
            fits
        });
    }

    /// Whether a snapshot begins a new design under an old name: its user came to a session without members,
    /// with a canvas that has no item of the document, and no other user has changed the document since.
    fn is_new_design(&self, place: usize, snapshot: &State) -> bool {
        let member = &self.room[place];
        let RoleDetection::Unknown { returns_alone: true, .. } = member.arrival else {
            return false;
        };
        let is_by_others = |users: &[_]| users.iter().any(|user| *user != member.user);
        // A removed item is of the same design, too.
        let is_known =
            |id| self.document.get(id).is_some() || self.document.removed().get(id).is_some();
        // An empty document needs no replacing.
        !snapshot.items.is_empty()
            && !self.document.is_empty()
            && !snapshot.items.iter().any(|item| is_known(&item.id))
            && !self
                .document
                .items()
                .any(|item| item.is_written_by_others(&member.user, member.joined_at))
            && !self.document.removed().iter().any(|(_, tombstone)| {
                tombstone.tick > member.joined_at && is_by_others(&tombstone.users)
            })
    }

    /// The items that the snapshot writes to and that a message on its way to the sender may be about.
    fn note_crossings(
        &mut self,
        place: usize,
        changes: &[MergeChange],
        cx: &Context<'_>,
    ) -> Vec<Arc<str>> {
        let member = &mut self.room[place];
        let mut crossed = Vec::new();
        for change in changes {
            let MergeChange::Write(id, _) = change else { continue };
            if self.document.get(id).is_some_and(|item| member.may_be_crossed(item)) {
                member.note_crossing(cx.elapsed());
                crossed.push(id.clone());
            }
        }
        crossed
    }

    /// Notes what a snapshot reports of a copy.
    fn note_reported_copy(&mut self, place: usize, copy: &ReportedCopy) {
        let member = &mut self.room[place];
        member.note_listed(&copy.id, self.tick);
        member.note_reported_in_list(&copy.id, &copy.written, self.tick);
        if let Some(is_own) = copy.is_own {
            self.document.note_builder(&copy.id, &member.user, is_own);
        }
    }

    /// Makes the changes of a merged snapshot. Each one fits, because the removals come first and the rest was
    /// checked.
    fn apply_changes(
        &mut self,
        place: usize,
        changes: Vec<MergeChange>,
        mode: MergeMode,
        cx: &mut Context<'_>,
    ) -> Vec<Applied> {
        let user = self.room[place].user.clone();
        let author = self.author(&user, cx);
        let mut applied = Vec::with_capacity(changes.len());
        let mut written_fields = Vec::new();
        let mut is_cleared = false;
        for change in changes {
            match change {
                MergeChange::Remove(id) => {
                    let seen = self.document.get(&id).map(ItemSummary::of);
                    self.document.remove(&id, author);
                    let seq = self.history.next_seq() + applied.len() as u64;
                    self.activity.note_removed(seq, &user, seen, cx.now);
                    applied.push(Applied::Removed(id));
                }
                MergeChange::Write(id, fields) => {
                    let item = self.document.get(&id);
                    let changes = item.map(|item| FieldChanges::of(item, &fields));
                    written_fields.push(changes.unwrap_or_default());
                    let _ = self.document.overwrite(&id, fields, author, Allowance::NONE);
                    applied.push(Applied::Changed(id));
                }
                MergeChange::Add(item) => {
                    if mode == MergeMode::Replace && !is_cleared {
                        self.document.forget_removed();
                        is_cleared = true;
                    }
                    let written =
                        Written { color: color_print(&item.fields), ..Written::default() };
                    let _ = self.document.add(&item.id, item.fields, None, author, Allowance::NONE);
                    let id: Arc<str> = item.id.into();
                    self.room[place].note_listed(&id, author.tick);
                    self.room[place].note_brought(&id);
                    self.room[place].note_reported_in_list(&id, &written, author.tick);
                    applied.push(Applied::Added(id));
                }
            }
        }
        let mut written_fields = written_fields.into_iter();
        for (n, change) in applied.iter().enumerate() {
            let seq = self.history.next_seq() + n as u64;
            let (did, id, fields) = match change {
                Applied::Added(id) => (ActivityKind::Add, id, FieldChanges::default()),
                Applied::Changed(id) => {
                    (ActivityKind::Update, id, written_fields.next().unwrap_or_default())
                }
                Applied::Removed(_) => continue,
            };
            let Some(item) = self.document.get(id) else { continue };
            self.activity.note_item(seq, &user, did, item, fields, cx.now);
        }
        applied
    }

    /// Sends the sender of a snapshot the items that its canvas lacks or shows differently, as commands.
    fn tell_differences(&mut self, place: usize, canvas: &Canvas, cx: &mut Context<'_>) {
        let (tick, wall) = (self.tick, cx.now.wall);
        for id in &canvas.removed {
            let by = self.document.removed().get(id).and_then(|tombstone| tombstone.users.first());
            let member = &self.room[place];
            let by = by.unwrap_or(&member.user);
            cx.send(member.conn, &settled_remove(id, by, wall));
        }
        let member = &mut self.room[place];
        let lacks = |item: &&Item| {
            let is_on_its_way = member.may_be_crossed(item);
            let is_here = canvas.shown.contains(&*item.id) || member.has_unreachable_copy(&item.id);
            !is_here && (canvas.is_first || !is_on_its_way)
        };
        let lacking: Vec<Arc<str>> =
            self.document.items().filter(lacks).map(|item| item.id.clone()).collect();
        let mut told: Vec<Arc<str>> = Vec::new();
        for id in lacking {
            let is_shown = |item: &Item| !member.is_editor || item.is_for_editors();
            if !self.document.get(&id).is_some_and(is_shown) {
                continue;
            }
            self.document.note_builder(&id, &member.user, false);
            let Some(item) = self.document.get(&id) else { continue };
            member.on_item_sent(&id, tick);
            cx.send(member.conn, &settled_add(item, wall));
            if cx.limits.settle {
                send_settled(member, &UpdateFrames::settled(item, wall), cx);
            }
            told.push(id);
        }
        for id in &canvas.outdated {
            if let Some(item) = self.document.get(id) {
                send_settled(member, &UpdateFrames::settled(item, wall), cx);
                told.push(id.clone());
            }
        }
        let user = member.user.clone();
        for id in told {
            self.record_told(&id, Part::Whole, Audience::Only(user.clone()));
        }
        self.ask_all_soon();
    }
}

/// What a canvas shows, compared with the document after the snapshot's changes.
struct Canvas {
    shown: HashSet<Box<str>>,
    /// The items that it shows differently.
    outdated: Vec<Arc<str>>,
    /// The items that it shows although they are removed.
    removed: Vec<Box<str>>,
    /// The snapshot is the first one of its connection: no command is on its way to its sender.
    is_first: bool,
}

fn shown_ids(snapshot: &State) -> HashSet<Box<str>> {
    let left_out = snapshot.left_out.iter().filter_map(|item| item.id.clone());
    snapshot.items.iter().map(|item| item.id.clone()).chain(left_out).collect()
}
