//! What the hub gives to the store ([`JournalEntry`], [`Journal`]) and gets back ([`StoredSession`]), as plain data.
//!
//! The hub and the store import this module and not each other. `Debug` shows sizes, never contents.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::histogram::HistogramSample;
use crate::protocol::{Frame, Timestamp, UserId};

/// What an entry takes of memory beside its texts, in bytes.
const ENTRY_OVERHEAD: usize = 160;

/// One entry for the store. The hub gives entries in the order in which they happened.
#[derive(Clone)]
pub enum JournalEntry {
    /// One applied change of one item, as it was relayed to the others: a `command` with `seq`,
    /// `user_id` and `timestamp`.
    Change {
        session: Arc<str>,
        epoch: Arc<str>,
        /// 1 is a session's first change; each is one more than the one before it, or than
        /// [`StoredSession::skipped`].
        seq: u64,
        at: Timestamp,
        user: UserId,
        frame: Frame,
        /// The `id` of the sender's message, as JSON.
        id: Option<Box<str>>,
    },
    /// The whole document as of change `seq`: written where a change can't be replayed from its
    /// relayed form, and from time to time. It doesn't depend on earlier entries.
    Snapshot {
        session: Arc<str>,
        epoch: Arc<str>,
        seq: u64,
        at: Timestamp,
        /// The author of the change, where it was one.
        user: Option<UserId>,
        /// In stored form: JSON ([`Document::to_stored`](crate::hub::Document::to_stored)).
        document: Vec<u8>,
        /// The changes up to `seq` that this entry stands for, in order and as they were relayed: a
        /// host's snapshot may make many. Clients catch up with them. Empty where it is no change.
        frames: Vec<Frame>,
        /// The `id` of the sender's message, as JSON.
        id: Option<Box<str>>,
        why: SnapshotReason,
    },
    /// The `id` of a message that was processed and changed nothing, or a note of the hub's own, as of
    /// change `seq`.
    ProcessedId {
        session: Arc<str>,
        epoch: Arc<str>,
        seq: u64,
        /// Empty for a note about no user.
        user: UserId,
        /// JSON. A client's id is a string or a number; an object is a note of the hub's.
        id: Box<str>,
    },
}

/// Why a whole document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotReason {
    /// A `sync:update` replaced it.
    Replaced,
    /// A host's snapshot was merged into it.
    Snapshot,
    /// A new design under the same session id took its place. The document before it is a version.
    NewDesign,
    /// An earlier version was restored.
    Restored,
    /// A canvas was imported from a file.
    Imported,
    /// Written from time to time, to bound the changes that have to be replayed.
    Regular,
}

impl SnapshotReason {
    /// Every reason.
    pub const ALL: [SnapshotReason; 6] = [
        SnapshotReason::Replaced,
        SnapshotReason::Snapshot,
        SnapshotReason::NewDesign,
        SnapshotReason::Restored,
        SnapshotReason::Imported,
        SnapshotReason::Regular,
    ];

    /// The name that is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            SnapshotReason::Replaced => "replaced",
            SnapshotReason::Snapshot => "snapshot",
            SnapshotReason::NewDesign => "new design",
            SnapshotReason::Restored => "restored",
            SnapshotReason::Imported => "imported",
            SnapshotReason::Regular => "regular",
        }
    }

    /// The reason with this name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }
}

impl JournalEntry {
    /// The session's id.
    pub fn session(&self) -> &Arc<str> {
        match self {
            JournalEntry::Change { session, .. }
            | JournalEntry::Snapshot { session, .. }
            | JournalEntry::ProcessedId { session, .. } => session,
        }
    }

    /// The epoch of the session: it differs when a session of the same name begins anew.
    pub fn epoch(&self) -> &Arc<str> {
        match self {
            JournalEntry::Change { epoch, .. }
            | JournalEntry::Snapshot { epoch, .. }
            | JournalEntry::ProcessedId { epoch, .. } => epoch,
        }
    }

    /// The number of the change, or of the last change before the entry.
    pub fn seq(&self) -> u64 {
        match self {
            JournalEntry::Change { seq, .. }
            | JournalEntry::Snapshot { seq, .. }
            | JournalEntry::ProcessedId { seq, .. } => *seq,
        }
    }

    /// About how much memory the entry takes, in bytes.
    pub fn bytes(&self) -> usize {
        let texts = match self {
            JournalEntry::Change { frame, id, .. } => frame.bytes().len() + length(id),
            JournalEntry::Snapshot { document, frames, id, .. } => {
                let frames = frames.iter().map(|frame| frame.bytes().len() + ENTRY_OVERHEAD);
                document.len() + frames.sum::<usize>() + length(id)
            }
            JournalEntry::ProcessedId { id, .. } => id.len(),
        };
        ENTRY_OVERHEAD + texts
    }
}

fn length(id: &Option<Box<str>>) -> usize {
    id.as_ref().map_or(0, |id| id.len())
}

impl fmt::Debug for JournalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            JournalEntry::Change { .. } => "Change".to_owned(),
            JournalEntry::Snapshot { why, .. } => format!("Whole, {}", why.name()),
            JournalEntry::ProcessedId { .. } => "Taken".to_owned(),
        };
        let (session, seq, bytes) = (self.session(), self.seq(), self.bytes());
        write!(f, "{kind}({session:?} {seq}, {bytes} bytes)")
    }
}

/// Everything the store has of a session, as far as the hub needs it to go on.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSession {
    pub epoch: Arc<str>,
    /// The number of the last change.
    pub seq: u64,
    /// In stored form, as of change `seq_of_document`. Empty where no whole document was stored: the
    /// document is then made from the changes alone.
    pub document: Vec<u8>,
    pub seq_of_document: u64,
    /// All changes after the document, in order.
    pub changes: Vec<StoredChange>,
    /// The newest changes up to the document that fit the [`HistoryWindow`] asked for, in order and without a
    /// gap. Clients catch up with them, and repeated ids are found by them.
    pub history: Vec<StoredChange>,
    /// Ids that were processed without a change, and notes, in order, as far back as the history.
    pub taken: Vec<StoredId>,
    /// Numbers up to this one may belong to changes that were lost in a crash, so the next change gets a
    /// larger one. Not larger than `seq` where nothing can have been lost.
    pub skipped: u64,
}

/// One stored change, as it was relayed.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredChange {
    pub seq: u64,
    pub at: Timestamp,
    pub user: UserId,
    /// A frame's payload: JSON.
    pub frame: Vec<u8>,
    /// The `id` of the sender's message, as JSON.
    pub id: Option<Box<str>>,
}

/// Begins the frame of an entry that stands for numbers without a change.
const SKIPPED: &[u8] = br#"{"type":"skipped","after":"#;

impl StoredChange {
    /// An entry that is no change: the numbers after `after` up to `seq` may belong to changes that were
    /// lost in a crash, and are not used again.
    pub fn skip(after: u64, seq: u64, at: Timestamp) -> Self {
        let frame = [SKIPPED, after.to_string().as_bytes(), b"}"].concat();
        StoredChange { seq, at, user: "".into(), frame, id: None }
    }

    /// The last number before the skipped ones; `None` where this is a change.
    pub fn skipped_after(&self) -> Option<u64> {
        // A change always has a user.
        let frame = self.frame.strip_prefix(SKIPPED).filter(|_| self.user.is_empty())?;
        std::str::from_utf8(frame.strip_suffix(b"}")?).ok()?.parse().ok()
    }

    /// The number of the change before it.
    pub fn before(&self) -> u64 {
        self.skipped_after().unwrap_or(self.seq.saturating_sub(1))
    }
}

/// The id of a message that was processed without a change, or a note of the hub's.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredId {
    /// The number of the last change before it.
    pub seq: u64,
    pub user: UserId,
    /// As JSON.
    pub id: Box<str>,
}

/// The store, as the hub thread uses it. One thread gives entries, in the order in which things happened. Nothing
/// here waits for a disk, except [`wait_for_room`](Self::wait_for_room). Results arrive as events.
pub trait Journal: Send + Sync {
    /// Queues an entry to be written.
    fn keep(&self, keep: JournalEntry);

    /// Asks for an event when everything that was given before is on disk. `number` grows by one from call to
    /// call. `false` when the store has ended: there will be no event.
    fn confirm(&self, number: u64) -> bool;

    /// Loads a session, after everything that was given before.
    fn load(&self, session: Arc<str>);

    /// Removes all that is stored of a session, after everything that was given before. An event says under
    /// `number` whether it is removed. `false` when the store has ended: there will be no event.
    fn delete(&self, session: Arc<str>, number: u64) -> bool;

    /// Renames all that is stored of a session, after everything that was given before. An event says under
    /// `number` whether it is done. `false` when the store has ended: there will be no event.
    fn rename(&self, session: Arc<str>, to: Arc<str>, number: u64) -> bool;

    /// A channel that receives once when everything that was given before is on disk and its events are sent. It
    /// disconnects when the store has ended.
    fn flushed(&self) -> Receiver<()>;

    /// Blocks while the queue to the disk is full, until `deadline` if there is one; `true` once there is room.
    /// Clients' threads call it before they send an event to the hub.
    fn wait_for_room(&self, deadline: Option<Instant>) -> bool;

    /// How far the disk is behind. Any thread may call it; it waits for no other thread.
    fn lag(&self) -> PersistenceLag;

    /// What was counted for the metrics. Any thread may call it; it waits for no other thread and for no disk.
    fn stats(&self) -> StoreStats;
}

/// A state of a session's document in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointInTime {
    /// After this change.
    Seq(u64),
    /// After the newest change with this time or an earlier one. If the clock has jumped, later changes
    /// may have earlier times; the order of changes counts.
    Time(Timestamp),
}

impl PointInTime {
    /// Parses the number of a change, or a time like `2026-12-20T10:30:00+01:00`; `None` for anything
    /// else.
    pub fn parse(text: &str) -> Option<Self> {
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok().map(PointInTime::Seq),
            false => Timestamp::parse(text).map(PointInTime::Time),
        }
    }
}

/// How much history is loaded with a session: at most this many changes and bytes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryWindow {
    pub changes: usize,
    pub bytes: usize,
}

impl fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSession")
            .field("epoch", &self.epoch)
            .field("seq", &self.seq)
            .field("document", &self.document.len())
            .field("seq_of_document", &self.seq_of_document)
            .field("changes", &self.changes)
            .field("history", &self.history)
            .field("taken", &self.taken)
            .field("skipped", &self.skipped)
            .finish()
    }
}

impl fmt::Debug for StoredChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.seq, self.frame.len())
    }
}

impl fmt::Debug for StoredId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "id at {}", self.seq)
    }
}

/// How far the disk is behind the hub.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PersistenceLag {
    /// How many bytes wait to be written.
    pub bytes: usize,
    /// How long the oldest of them has waited; zero if none waits.
    pub oldest: Duration,
    /// Writing fails at present.
    pub fails: bool,
}

/// Upper bounds of the histogram of transactions, in microseconds.
pub const COMMIT_BOUNDS: [u64; 10] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// What the store has counted, for the metrics.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// How long transactions took until they were on disk, in microseconds, by [`COMMIT_BOUNDS`]. Those that
    /// failed don't count.
    pub commits: HistogramSample,
    /// The size of the database after the last transaction, in bytes.
    pub database_bytes: u64,
    /// The size of its journal, in bytes.
    pub wal_bytes: u64,
    /// Why nothing can be written; `None` while changes are written.
    pub trouble: Option<StoreTrouble>,
}

/// Why nothing can be written. Its name is a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreTrouble {
    Full,
    /// Another program holds the database.
    Locked,
    /// The database can't be reached, read or written.
    Unreachable,
    /// The database is damaged, or the disk reads it wrongly.
    Damaged,
    /// Another program has written to the database.
    Overwritten,
    /// A bug in the server.
    Bug,
}

impl StoreTrouble {
    pub const ALL: [StoreTrouble; 6] = [
        StoreTrouble::Full,
        StoreTrouble::Locked,
        StoreTrouble::Unreachable,
        StoreTrouble::Damaged,
        StoreTrouble::Overwritten,
        StoreTrouble::Bug,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            StoreTrouble::Full => "full",
            StoreTrouble::Locked => "locked",
            StoreTrouble::Unreachable => "unreachable",
            StoreTrouble::Damaged => "damaged",
            StoreTrouble::Overwritten => "overwritten",
            StoreTrouble::Bug => "bug",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_people_wrote_is_shown() {
        let (session, epoch, at): (Arc<str>, Arc<str>, _) =
            ("s".into(), "e".into(), Timestamp::from_millis(0));
        let keeps = [
            JournalEntry::Change {
                session: session.clone(),
                epoch: epoch.clone(),
                seq: 1,
                at,
                user: "u".into(),
                frame: Frame::text("SECRET"),
                id: Some("SECRET".into()),
            },
            JournalEntry::Snapshot {
                session: session.clone(),
                epoch: epoch.clone(),
                seq: 1,
                at,
                user: None,
                document: b"SECRET".to_vec(),
                frames: vec![Frame::text("SECRET")],
                id: None,
                why: SnapshotReason::Replaced,
            },
            JournalEntry::ProcessedId {
                session,
                epoch,
                seq: 1,
                user: "u".into(),
                id: "SECRET".into(),
            },
        ];
        let change = StoredChange {
            seq: 1,
            at,
            user: "u".into(),
            frame: b"SECRET".to_vec(),
            id: Some("SECRET".into()),
        };
        let stored = StoredSession {
            skipped: 0,
            epoch: "e".into(),
            seq: 1,
            document: b"SECRET".to_vec(),
            seq_of_document: 0,
            changes: vec![change],
            history: Vec::new(),
            taken: vec![StoredId { seq: 1, user: "u".into(), id: "SECRET".into() }],
        };
        let shown = format!("{keeps:?} {stored:?}");
        assert!(shown.contains("replaced"), "{shown}");
        // Neither as text nor as a list of bytes.
        assert!(!shown.contains("SECRET") && !shown.contains("83, 69"), "{shown}");
    }

    #[test]
    fn a_reason_is_known_by_its_name() {
        for why in SnapshotReason::ALL {
            assert_eq!(SnapshotReason::named(why.name()), Some(why));
        }
        assert_eq!(SnapshotReason::named("regularly"), None);
    }
}
