//! A session made from what the store has: its document, its history and its last changes.
//!
//! [`LoadedSession::of`] parses and replays. It runs on the thread that read the store, so that the hub doesn't
//! wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::activity::ActivityLog;
use super::author::Author;
use super::bounds::Allowance;
use super::document::{Document, Outcome};
use super::field_changes::FieldChanges;
use super::history::{self, History};
use super::notes::Note;
use super::storage::Damaged;
use crate::journal::{StoredChange, StoredId, StoredSession};
use crate::protocol::inbound;
use crate::protocol::{Frame, Kind, UserId};

/// How many of the last changes the activity is made from. A drag is many changes and one activity.
const MAX_ACTIVITY_CHANGES: usize = 500;

/// An item is still that was not changed for this long.
const REST_MILLIS: u64 = 300;

/// A session made from what the store has, for the hub to go on with.
#[derive(Debug)]
pub struct LoadedSession {
    pub(super) epoch: Arc<str>,
    pub(super) document: Document,
    pub(super) history: History,
    pub(super) activity: ActivityLog,
    /// The size of the last whole document in stored form, and the number and bytes of the changes after it.
    pub(super) whole: usize,
    pub(super) changes: (usize, usize),
}

impl LoadedSession {
    /// Makes a session of what was stored. The history reaches back as far as it was loaded and `bounds` allow.
    ///
    /// # Errors
    /// [`Damaged`], if something is missing or is not what a hub gives to the store.
    pub fn of(stored: StoredSession, bounds: history::Bounds) -> Result<Self, Damaged> {
        let StoredSession {
            epoch,
            seq,
            document,
            seq_of_document,
            changes,
            history: earlier,
            taken,
            skipped,
        } = stored;
        let whole = document.len();
        let begins = earlier.first().map_or(seq_of_document, StoredChange::before);
        let mut history = History::starting_after(begins);
        let mut notes = Vec::new();
        let mut is_clients = |id: &StoredId| match Note::from_stored(&id.id) {
            Some(note) => {
                notes.push((id.seq, id.user.clone(), note));
                false
            }
            None => !is_of_an_older_version(id),
        };
        let mut taken = taken.into_iter().filter(|id| is_clients(id)).peekable();
        let mut take = |history: &mut History| {
            while let Some(id) = taken.next_if(|id| id.seq <= history.seq()) {
                history.confirm(&id.user, &id.id, bounds);
            }
        };
        take(&mut history);
        for change in earlier.iter().chain(&changes) {
            if change.skipped_after().is_some_and(|after| after == history.seq()) {
                history.skip(change.seq);
                continue;
            }
            if change.seq != history.next_seq() {
                return Err(Damaged::Change(history.next_seq(), "it is missing"));
            }
            let text = text(change)?;
            history.push(Frame::text(text).with_kind(kind_of(text)), bounds);
            if let Some(id) = &change.id {
                history.confirm(&change.user, id, bounds);
            }
            take(&mut history);
        }
        if history.seq() != seq {
            return Err(Damaged::Change(seq, "it is missing"));
        }
        history.skip(skipped);
        // None of the rest belongs to a change that is there.
        taken.for_each(drop);
        let count = earlier.len() + changes.len();
        let is_shown = changes.len().saturating_sub(MAX_ACTIVITY_CHANGES);
        let first_shown = changes.get(is_shown).map_or(u64::MAX, |change| change.seq);
        let replay = Replay { first_shown, ..Replay::begin(&document)? };
        let (mut document, written) = replay_with_notes(replay, &changes, seq_of_document, notes)?;
        // Everything it has is stored.
        document.take_news();
        let newest =
            earlier.iter().chain(&changes).skip(count.saturating_sub(MAX_ACTIVITY_CHANGES));
        let newest = newest.filter(|change| change.skipped_after().is_none());
        let activity = ActivityLog::from_stored(newest, &document, written);
        let bytes = changes.iter().map(|change| change.frame.len()).sum();
        let changes = (changes.len(), bytes);
        Ok(LoadedSession { epoch, document, history, activity, whole, changes })
    }
}

/// Whether it is a list of numbers, neither a client's id nor a note: versions before 0.2 stored these.
fn is_of_an_older_version(id: &StoredId) -> bool {
    serde_json::from_str::<Vec<Option<u64>>>(&id.id).is_ok()
}

/// The document after these changes. `document` is the one before them in stored form, empty for an empty
/// document.
///
/// The result is exactly what the hub had. Amid the changes of one snapshot, which the hub applies together,
/// it is what members were told so far.
///
/// # Errors
/// [`Damaged`], if a change can't be read or changes nothing.
pub fn replay<'a>(
    document: &[u8],
    changes: impl IntoIterator<Item = &'a StoredChange>,
) -> Result<Document, Damaged> {
    let mut replay = Replay::begin(document)?;
    for change in changes {
        replay.apply(change)?;
    }
    Ok(replay.document)
}

/// Replays changes and the notes between them. `seq` is the last change in the document that the replay begins
/// with. Returns the document, and which fields each change has changed.
fn replay_with_notes(
    mut replay: Replay,
    changes: &[StoredChange],
    mut seq: u64,
    notes: Vec<(u64, UserId, Note)>,
) -> Result<(Document, HashMap<u64, FieldChanges>), Damaged> {
    let mut changes = changes.iter().peekable();
    for (at, user, note) in notes {
        if at < seq {
            continue;
        }
        while let Some(change) = changes.next_if(|change| change.seq <= at) {
            replay.apply(change)?;
        }
        seq = at;
        let document = &mut replay.document;
        match note {
            Note::Rebuilt => drop(document.remove_builder(&user)),
            Note::Joined => document.meet(&user),
            Note::Built(id, users) => {
                document.set_builders(&id, users.into_iter().map(UserId::from).collect());
            }
            Note::RemovedAgain(id) => drop(document.remove_again(&id, &user)),
        }
    }
    for change in changes {
        replay.apply(change)?;
    }
    Ok((replay.document, replay.written))
}

/// A document that changes are applied to.
struct Replay {
    document: Document,
    /// When each item was changed last, in milliseconds since 1970. An item that was still has a place that a
    /// file may have been saved with.
    changed: HashMap<Box<str>, u64>,
    /// Which fields the changes from `first_shown` on have changed, by number, for the activity log.
    written: HashMap<u64, FieldChanges>,
    first_shown: u64,
}

impl Replay {
    fn begin(document: &[u8]) -> Result<Self, Damaged> {
        let document = match document {
            b"" => Document::default(),
            stored => Document::from_stored(stored)?,
        };
        let (changed, written) = (HashMap::new(), HashMap::new());
        Ok(Replay { document, changed, written, first_shown: u64::MAX })
    }

    fn apply(&mut self, change: &StoredChange) -> Result<(), Damaged> {
        if change.skipped_after().is_some() {
            return Ok(());
        }
        let damaged = |why| Damaged::Change(change.seq, why);
        let Some(mut command) = inbound::parse_stored(text(change)?) else {
            return Err(damaged("it is not a command"));
        };
        let (document, at) = (&mut self.document, change.at.millis());
        let id = command.item_id.clone();
        let before = self.changed.insert(id.clone(), at);
        if let Some(item) = document.get_mut(&id)
            && before.is_some_and(|before| at.saturating_sub(before) >= REST_MILLIS)
        {
            item.rests();
        }
        if change.seq >= self.first_shown
            && let Some(item) = document.get(&id)
        {
            self.written.insert(change.seq, FieldChanges::of(item, &command.data));
        }
        let author = Author::of_replay(&change.user, change.at);
        document.meet(&change.user);
        match document.apply(&mut command, author, Allowance::NONE) {
            Ok(Outcome::Added | Outcome::Changed | Outcome::Removed) => document.advance(0),
            _ => return Err(damaged("it changes nothing")),
        }
        Ok(())
    }
}

/// The kind of a relayed change: a command, or a whole state, whose JSON the server writes itself.
fn kind_of(text: &str) -> Kind {
    match text.starts_with(r#"{"type":"sync:state""#) {
        true => Kind::SyncState,
        false => Kind::Command,
    }
}

fn text(change: &StoredChange) -> Result<&str, Damaged> {
    std::str::from_utf8(&change.frame).map_err(|_| Damaged::Change(change.seq, "it is not UTF-8"))
}
