//! What a command does to the document, decided before anything is changed.
//!
//! An editor sends the whole dictionary of its copy with most commands, and it sends them without knowing what
//! is on its way to it. So the decision goes by what is known of the sender's copy (`member.rs`): [`written`]
//! finds the fields that its user has chosen.

use std::sync::Arc;

use super::item::{Item, PLACE, is_fixed};
use super::member::Member;
use super::message_name::MessageName;
use super::session::Session;
use super::tombstones::Tombstone;
use super::writing::{CopyKind, with_moved_interfaces, written};
use super::{ConnId, Context};
use crate::protocol::UserId;
use crate::protocol::inbound::{Action, Command};
use crate::protocol::json::Fields;

/// A command about an item while it is handled.
pub(super) struct Edit {
    pub place: usize,
    pub conn: ConnId,
    pub user: UserId,
    pub id: Arc<str>,
    pub command: Command,
    pub name: MessageName,
}

/// What a command does.
pub(super) enum Decision {
    /// It adds the item. `is_pasted`: the sender's editor pasted the item or brought it back by undoing.
    Add { is_pasted: bool },
    /// It writes these fields of an item of the document. `is_stale`: the sender's copy shows a value that was
    /// not taken.
    Write { fields: Fields, relay: RelayForm, is_stale: bool },
    /// It removes the item.
    Remove,
    /// It removes an item that is removed already.
    RemoveAgain,
    /// It changes nothing. `is_stale` as above.
    Nothing { is_stale: bool },
    /// It is about an item that another user removed: the sender is told so. `is_unreachable`: the sender has
    /// received the removal before, so its copy is one that messages don't reach.
    Removed { is_unreachable: bool },
}

/// The form in which a change of an item is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayForm {
    /// The sender's message.
    AsSent,
    /// A `move_item` with the document's values.
    Move,
    /// An `update_item` with the whole item.
    Update,
}

/// What a command writes to an item of the document.
struct Edited {
    fields: Fields,
    /// Everything that the message says is written as it stands, so it can be relayed as it was sent.
    is_exact: bool,
    is_stale: bool,
    /// Whether the sender built its copy, where the message shows that.
    is_own: Option<bool>,
}

impl Session {
    /// Decides what a command does. Changes nothing but what is known of the sender's copy.
    pub(super) fn decide(&mut self, edit: &mut Edit, cx: &Context<'_>) -> Decision {
        let member = &mut self.room[edit.place];
        let Some(item) = self.document.get(&edit.id) else {
            let tombstone = self.document.removed().get(&edit.id);
            return decide_without_item(member, tombstone, &edit.command);
        };
        let edited = match edit.command.action {
            Action::Remove | Action::Other => return Decision::Remove,
            _ if edit.command.is_whole => {
                read_whole(member, item, &mut edit.command, self.tick, cx)
            }
            Action::Move => read_move(&mut edit.command),
            Action::Add | Action::Update => {
                let sent = std::mem::take(&mut edit.command.data);
                let fields = with_moved_interfaces(item, sent);
                Edited { fields, is_exact: true, is_stale: false, is_own: None }
            }
        };
        let Edited { fields, is_exact, is_stale, is_own } = edited;
        let is_place = fields.iter().all(|(key, _)| PLACE.contains(&&**key));
        let relay = match edit.command.action {
            Action::Move if is_place && is_exact && !item.hides_path() => RelayForm::AsSent,
            Action::Move if is_place => RelayForm::Move,
            _ => RelayForm::Update,
        };
        if let Some(is_own) = is_own {
            self.document.note_builder(&edit.id, &edit.user, is_own);
        }
        if edit.command.is_whole && fields.is_empty() {
            return Decision::Nothing { is_stale };
        }
        Decision::Write { fields, relay, is_stale }
    }
}

/// Decides what a command does whose item is not in the document.
fn decide_without_item(
    member: &Member,
    tombstone: Option<&Tombstone>,
    command: &Command,
) -> Decision {
    let is_own_removal = tombstone.is_some_and(|tombstone| tombstone.is_by(&member.user));
    let is_removed = tombstone.is_some() && !is_own_removal;
    // A script that has not edited yet gets no Pings, so it isn't known what it has received: what it was sent
    // counts.
    let is_script = !member.is_editor && member.is_recognised();
    let has_received_removal =
        tombstone.is_some_and(|stone| is_script || member.has_received(stone.tick));
    match command.action {
        Action::Add if !is_removed || has_received_removal => Decision::Add { is_pasted: false },
        Action::Update if command.is_whole && !is_removed => Decision::Add { is_pasted: true },
        // An editor that undoes its removal of an item that it was sent says no more than this.
        Action::Move if command.is_whole && is_own_removal => Decision::Add { is_pasted: true },
        Action::Remove => Decision::RemoveAgain,
        _ if is_removed => {
            let is_pasted = command.action == Action::Update && command.is_whole;
            let is_unreachable = member.is_editor && is_pasted && has_received_removal;
            Decision::Removed { is_unreachable }
        }
        _ => Decision::Nothing { is_stale: false },
    }
}

/// Reads a command with the whole dictionary of the sender's copy, and notes what that says of the copy.
fn read_whole(
    member: &mut Member,
    item: &Item,
    command: &mut Command,
    tick: u64,
    cx: &Context<'_>,
) -> Edited {
    let sent = std::mem::take(&mut command.data);
    let copy = match command.action {
        Action::Update => member.copy_of_update(item, cx.limits.settle),
        _ => member.copy_of(item, cx.limits.settle),
    };
    let is_gone = copy.is_gone && command.action == Action::Update;
    let is_blank = copy.kind == CopyKind::Blank;
    let written = written(item, sent, copy);
    // An editor reports every field of its copy. One that it doesn't report is one that it was not sent.
    let is_lacking = member.is_editor && !is_blank && written.lacks_something;
    let id: Arc<str> = item.id.clone();
    if !is_gone {
        member.note_reported(&id, &written, tick);
    }
    // Messages don't reach a copy that is removed, so its origin says nothing of the one that they reach.
    let is_own = written.is_own.filter(|_| member.is_editor && !is_gone);
    let is_own = is_own.filter(|is_own| member.note_origin(item, *is_own));
    if command.action == Action::Add {
        member.note_listed(&id, tick);
    }
    let is_stale = is_gone || is_lacking || written.is_stale || written.is_color_stale;
    Edited { fields: written.fields, is_exact: written.is_exact, is_stale, is_own }
}

/// Reads a `move_item` that has only some fields: of them the place is taken.
fn read_move(command: &mut Command) -> Edited {
    let sent = std::mem::take(&mut command.data);
    let is_place = |key: &str| PLACE.contains(&key);
    let is_exact = sent.iter().all(|(key, value)| is_place(key) || is_fixed(key, value));
    let fields = sent.into_iter().filter(|(key, _)| is_place(key)).collect();
    Edited { fields, is_exact, is_stale: false, is_own: None }
}
