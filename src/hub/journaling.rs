//! What a session gives to the store: each applied change once, and the whole document where a change can't
//! be replayed, and from time to time.

pub mod progress;

use std::time::Duration;

use super::document::News;
use super::notes::Note;
use super::session::Session;
use super::versions::Version;
use super::{Context, Effect};
use crate::journal::{JournalEntry, SnapshotReason};
use crate::protocol::{Frame, Timestamp, UserId};
use progress::not_durable;

/// Entries that were given within this time before the disk was found to fail may not be written.
const UNCONFIRMED_WINDOW: Duration = Duration::from_secs(60);
/// If more items than this have news at once, the whole document is written instead of notes.
const MAX_NOTES: usize = 100;

/// Changes that were applied together, for [`JournalEntry::Snapshot`].
pub struct AppliedChange<'a> {
    pub user: &'a UserId,
    pub frames: Vec<Frame>,
    /// The id of the message in stored form ([`stored_id`](super::history::stored_id)).
    pub id: Option<&'a str>,
}

impl Session {
    /// Whether the session is stored.
    fn is_journaled(&self, cx: &Context<'_>) -> bool {
        cx.limits.durable && !self.journal.is_temporary
    }

    /// Ends `is_temporary`: a connection joined with [`Event::Join`](super::Event::Join).
    pub fn start_persisting(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.journal.is_temporary) && self.history.seq() > 0 {
            self.journal_document(cx);
        }
    }

    /// Gives the last change to the store, as it was relayed. The whole document follows if it is due.
    pub fn journal_change(
        &mut self,
        user: &UserId,
        frame: &Frame,
        id: Option<&str>,
        cx: &mut Context<'_>,
    ) {
        if !self.is_journaled(cx) {
            return;
        }
        let keep = JournalEntry::Change {
            session: self.room.name().clone(),
            epoch: self.epoch.clone(),
            seq: self.history.seq(),
            at: cx.now.wall,
            user: user.clone(),
            frame: frame.clone(),
            id: id.map(Into::into),
        };
        self.keep(keep, cx);
        self.document.note_user_stored(user);
        let progress = &mut self.journal;
        if progress.changes == 0 {
            progress.since = cx.elapsed();
        }
        progress.changes += 1;
        progress.bytes += frame.payload().len();
        if progress.is_due(cx.elapsed()) {
            self.journal_document(cx);
        }
    }

    /// Gives the stored id of a message to the store that was processed without a change.
    pub fn journal_id(&mut self, user: UserId, id: Box<str>, cx: &mut Context<'_>) {
        self.journal_processed_id(self.history.seq(), user, id, cx);
    }

    /// Gives a note to the store.
    pub fn journal_note(&mut self, user: &UserId, note: &Note, cx: &mut Context<'_>) {
        self.journal_processed_id(self.history.seq(), user.clone(), note.to_stored(), cx);
    }

    /// Gives the document's news to the store as notes. They wait until something of the session is stored.
    pub(super) fn journal_news(&mut self, cx: &mut Context<'_>) {
        if self.is_journaled(cx) && !self.journal.has_begun {
            return;
        }
        let News { users, built } = self.document.take_news();
        if !self.is_journaled(cx) {
            return;
        }
        if built.len() > MAX_NOTES {
            return self.journal_document(cx);
        }
        for user in users {
            self.journal_note(&user, &Note::Joined, cx);
        }
        for id in built {
            let Some(item) = self.document.get(&id) else { continue };
            let note = Note::Built(
                (&*id).into(),
                item.builders.iter().map(|user| (&**user).into()).collect(),
            );
            self.journal_note(&"".into(), &note, cx);
        }
    }

    fn journal_processed_id(&mut self, seq: u64, user: UserId, id: Box<str>, cx: &mut Context<'_>) {
        if self.is_journaled(cx) {
            let (session, epoch) = (self.room.name().clone(), self.epoch.clone());
            self.keep(JournalEntry::ProcessedId { session, epoch, seq, user, id }, cx);
        }
    }

    /// Gives the whole document to the store after changes that can't be replayed.
    pub fn journal_with_document(
        &mut self,
        made: AppliedChange<'_>,
        why: SnapshotReason,
        cx: &mut Context<'_>,
    ) {
        self.journal_whole(Some(made), why, cx.now.wall, cx);
    }

    /// Gives the whole document to the store.
    pub fn journal_document(&mut self, cx: &mut Context<'_>) {
        self.journal_whole(None, SnapshotReason::Regular, cx.now.wall, cx);
    }

    /// Gives everything to the store that a later load needs: entries were lost.
    pub fn journal_snapshot(&mut self, cx: &mut Context<'_>) {
        self.journal_document(cx);
        // The ids get the current `seq`: the stored history may not reach back to their own.
        let taken = self.history.processed_ids().map(|(user, id)| (user.clone(), id));
        for (user, id) in taken.collect::<Vec<_>>() {
            self.journal_id(user, id, cx);
        }
    }

    /// Gives the whole document to the store before it is replaced, so that it becomes a version. Does nothing if
    /// the store has it already.
    pub fn journal_version(&mut self, cx: &mut Context<'_>) {
        if self.journal.changes > 0 {
            // The time of its last change sorts it before the change that replaces it.
            let at = self.activity.changed_at().unwrap_or(cx.now.wall);
            self.journal_whole(None, SnapshotReason::Regular, at, cx);
        }
    }

    /// The document before it is replaced, as a version in memory. The caller adds it to
    /// [`Versions`](super::versions::Versions) afterwards. `None` if the store has versions.
    pub fn version_before(
        &self,
        user: &UserId,
        why: SnapshotReason,
        cx: &Context<'_>,
    ) -> Option<Version> {
        (!cx.limits.durable && self.document.exists()).then(|| Version {
            seq: self.history.seq(),
            at: self.activity.changed_at().unwrap_or(cx.now.wall),
            user: user.clone(),
            why,
            items: self.document.len(),
            document: self.document.to_version(),
        })
    }

    fn journal_whole(
        &mut self,
        made: Option<AppliedChange<'_>>,
        why: SnapshotReason,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        if !self.is_journaled(cx) {
            return;
        }
        let document = self.document.to_stored();
        self.document.take_news();
        let progress = &mut self.journal;
        (progress.whole, progress.changes, progress.bytes) = (document.len(), 0, 0);
        let user = made.as_ref().map(|made| made.user.clone());
        let id = made.as_ref().and_then(|made| made.id).map(Into::into);
        let keep = JournalEntry::Snapshot {
            session: self.room.name().clone(),
            epoch: self.epoch.clone(),
            seq: self.history.seq(),
            at,
            user,
            document,
            frames: made.map_or(Vec::new(), |made| made.frames),
            id,
            why,
        };
        self.keep(keep, cx);
    }

    /// The store began or ceased to fail: tells everyone, or makes up for entries that may be lost.
    pub fn disk_changed(&mut self, cx: &mut Context<'_>) {
        if cx.disk_fails {
            let lately = |last| last + UNCONFIRMED_WINDOW >= cx.elapsed();
            self.journal.is_at_risk |= self.journal.last.is_some_and(lately);
            self.tell_all(&not_durable(), cx);
        } else if self.journal.is_at_risk {
            self.journal.is_at_risk = false;
            self.journal_snapshot(cx);
        }
    }

    fn keep(&mut self, keep: JournalEntry, cx: &mut Context<'_>) {
        self.journal.has_begun = true;
        self.journal.last = Some(cx.elapsed());
        self.journal.is_at_risk |= cx.disk_fails;
        cx.effects.push(Effect::Persist(Box::new(keep)));
    }
}
