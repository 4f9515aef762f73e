//! What has to survive, as plain data: what the hub wants kept, and what it is given to go on from.
//!
//! The hub says it ([`Keep`]), the store writes it and gives it back ([`Stored`]). Neither knows the
//! other. `Debug` never shows what people wrote.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::protocol::{Frame, Timestamp, UserId};

/// What an entry costs in memory beside its texts, in bytes.
const OVERHEAD: usize = 160;

/// Something that has to survive. They are given in the order in which they happened.
#[derive(Clone)]
pub enum Keep {
    /// One applied change of one item, as it was relayed to the others: a `command` with `seq`,
    /// `user_id` and `timestamp`.
    Change {
        session: Arc<str>,
        epoch: Arc<str>,
        /// 1 is a session's first change; each is one more than the one before it, or than
        /// [`Stored::skipped`].
        seq: u64,
        at: Timestamp,
        user: UserId,
        frame: Frame,
        /// What the sender called it, as JSON.
        id: Option<Box<str>>,
    },
    /// The whole document as of change `seq`: where a change can't be replayed from its relayed form,
    /// and from time to time. Everything before it may be missing; it can always be kept.
    Whole {
        session: Arc<str>,
        epoch: Arc<str>,
        seq: u64,
        at: Timestamp,
        /// Whose change it was, where it was one.
        user: Option<UserId>,
        /// In stored form: JSON.
        document: Vec<u8>,
        /// The changes up to `seq` that made it, in order and as they were relayed, for catching up:
        /// a host's snapshot may be many. Empty where it is no change.
        frames: Vec<Frame>,
        /// What the sender called it, as JSON.
        id: Option<Box<str>>,
        why: Why,
    },
    /// An id that was taken without a change, as of change `seq`.
    Taken {
        session: Arc<str>,
        epoch: Arc<str>,
        seq: u64,
        /// Empty where it is the server itself.
        user: UserId,
        /// As JSON. A client's is a string or a number; a list is the hub's own.
        id: Box<str>,
    },
}

/// Why a whole document is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A `sync:update` replaced it.
    Replaced,
    /// A host's canvas was merged into it.
    Snapshot,
    /// A new canvas under an old name took its place; what was there before is a version.
    NewDesign,
    /// An earlier state was put in its place.
    Restored,
    /// A canvas from a file was.
    Imported,
    /// So that there is less to replay.
    Regular,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 6] =
        [Why::Replaced, Why::Snapshot, Why::NewDesign, Why::Restored, Why::Imported, Why::Regular];

    /// As it is shown and stored.
    pub fn name(self) -> &'static str {
        match self {
            Why::Replaced => "replaced",
            Why::Snapshot => "snapshot",
            Why::NewDesign => "new design",
            Why::Restored => "restored",
            Why::Imported => "imported",
            Why::Regular => "regular",
        }
    }

    /// The one with this name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }
}

impl Keep {
    /// Whose it is.
    pub fn session(&self) -> &Arc<str> {
        match self {
            Keep::Change { session, .. }
            | Keep::Whole { session, .. }
            | Keep::Taken { session, .. } => session,
        }
    }

    /// The life of the session it belongs to.
    pub fn epoch(&self) -> &Arc<str> {
        match self {
            Keep::Change { epoch, .. } | Keep::Whole { epoch, .. } | Keep::Taken { epoch, .. } => {
                epoch
            }
        }
    }

    /// The change it is, or as of which it is.
    pub fn seq(&self) -> u64 {
        match self {
            Keep::Change { seq, .. } | Keep::Whole { seq, .. } | Keep::Taken { seq, .. } => *seq,
        }
    }

    /// About how much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let texts = match self {
            Keep::Change { frame, id, .. } => frame.bytes().len() + length(id),
            Keep::Whole { document, frames, id, .. } => {
                let frames = frames.iter().map(|frame| frame.bytes().len() + OVERHEAD);
                document.len() + frames.sum::<usize>() + length(id)
            }
            Keep::Taken { id, .. } => id.len(),
        };
        OVERHEAD + texts
    }
}

fn length(id: &Option<Box<str>>) -> usize {
    id.as_ref().map_or(0, |id| id.len())
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Keep::Change { .. } => "Change".to_owned(),
            Keep::Whole { why, .. } => format!("Whole, {}", why.name()),
            Keep::Taken { .. } => "Taken".to_owned(),
        };
        let (session, seq, bytes) = (self.session(), self.seq(), self.bytes());
        write!(f, "{kind}({session:?} {seq}, {bytes} bytes)")
    }
}

/// What was kept of a session, to go on from.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    pub epoch: Arc<str>,
    /// The last change.
    pub seq: u64,
    /// In stored form, as of change `seq_of_document`; empty where the session never had a whole
    /// document stored, which is then to be made from the changes alone.
    pub document: Vec<u8>,
    pub seq_of_document: u64,
    /// All changes after the document, in order.
    pub changes: Vec<StoredChange>,
    /// Changes up to the document, in order and without a gap before it: the newest that fit what
    /// was asked for. For catching up and for repeated ids.
    pub history: Vec<StoredChange>,
    /// Ids that were taken without a change, in order: the newest, as far as the history reaches.
    pub taken: Vec<StoredId>,
    /// Numbers up to this one may have been given to changes that were lost in a crash: the next change
    /// gets a later one. Not larger than `seq` where none may have been.
    pub skipped: u64,
}

/// One change as it was relayed.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredChange {
    pub seq: u64,
    pub at: Timestamp,
    pub user: UserId,
    /// A frame's payload: JSON.
    pub frame: Vec<u8>,
    /// What the sender called it, as JSON.
    pub id: Option<Box<str>>,
}

/// What stands in the place of numbers that no change has.
const SKIPPED: &[u8] = br#"{"type":"skipped","after":"#;

impl StoredChange {
    /// No change: the numbers after `after` up to `seq` may have been given to changes that were lost
    /// in a crash, and are not given again.
    pub fn skip(after: u64, seq: u64, at: Timestamp) -> Self {
        let frame = [SKIPPED, after.to_string().as_bytes(), b"}"].concat();
        StoredChange { seq, at, user: "".into(), frame, id: None }
    }

    /// The change after which numbers were skipped; `None` where this is a change.
    pub fn skipped_after(&self) -> Option<u64> {
        // No user's name is empty.
        let frame = self.frame.strip_prefix(SKIPPED).filter(|_| self.user.is_empty())?;
        std::str::from_utf8(frame.strip_suffix(b"}")?).ok()?.parse().ok()
    }

    /// The number of the change before it.
    pub fn before(&self) -> u64 {
        self.skipped_after().unwrap_or(self.seq.saturating_sub(1))
    }
}

/// An id that was taken without a change.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredId {
    /// The last change at that moment.
    pub seq: u64,
    pub user: UserId,
    /// As JSON.
    pub id: Box<str>,
}

/// Where the hub thread has things written. One thread gives, in the order in which things happened; nothing
/// here waits for a disk, except [`wait_for_room`](Self::wait_for_room). What comes of it is told as events.
pub trait Journal: Send + Sync {
    /// Writes something.
    fn keep(&self, keep: Keep);

    /// Has it told that number `number` is persisted, when everything that was given before it is on disk. Numbers
    /// grow by one. `false` where nothing is written any more, and nothing will be told.
    fn confirm(&self, number: u64) -> bool;

    /// Loads a session, after everything that was given before it.
    fn load(&self, session: Arc<str>);

    /// Removes all that is stored of a session, after everything that was given before it, and has it told under
    /// `number` whether it is removed. `false` where nothing is written any more, and nothing will be told.
    fn delete(&self, session: Arc<str>, number: u64) -> bool;

    /// Receives when everything that was given before it is on disk and told; disconnected where that can't be.
    fn flushed(&self) -> Receiver<()>;

    /// Waits until `deadline`, or for ever, while too much waits for the disk. For clients' threads, before they
    /// say anything to the hub. Whether there is room.
    fn wait_for_room(&self, deadline: Option<Instant>) -> bool;

    /// How far behind the disk is. From any thread, without waiting for another.
    fn lag(&self) -> Lag;
}

/// Which state of a session is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointInTime {
    /// After this change.
    Seq(u64),
    /// After the newest change that was made then or before. Where a clock has jumped, changes later
    /// in the order may bear earlier times: the order counts.
    Time(Timestamp),
}

impl PointInTime {
    /// As people write it: the number of a change, or a time like `2026-12-20T10:30:00+01:00`.
    /// `None` for what is neither.
    pub fn parse(text: &str) -> Option<Self> {
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok().map(PointInTime::Seq),
            false => Timestamp::parse(text).map(PointInTime::Time),
        }
    }
}

/// How far a history reaches back: at most as many changes and as many bytes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub changes: usize,
    pub bytes: usize,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
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

/// How far what survives is behind what has happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// How much waits to be written, in bytes.
    pub bytes: usize,
    /// For how long the oldest of it has waited; zero where nothing does.
    pub oldest: Duration,
    /// Whether writing fails at present.
    pub fails: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_people_wrote_is_shown() {
        let (session, epoch, at): (Arc<str>, Arc<str>, _) =
            ("s".into(), "e".into(), Timestamp::from_millis(0));
        let keeps = [
            Keep::Change {
                session: session.clone(),
                epoch: epoch.clone(),
                seq: 1,
                at,
                user: "u".into(),
                frame: Frame::text("SECRET"),
                id: Some("SECRET".into()),
            },
            Keep::Whole {
                session: session.clone(),
                epoch: epoch.clone(),
                seq: 1,
                at,
                user: None,
                document: b"SECRET".to_vec(),
                frames: vec![Frame::text("SECRET")],
                id: None,
                why: Why::Replaced,
            },
            Keep::Taken { session, epoch, seq: 1, user: "u".into(), id: "SECRET".into() },
        ];
        let change = StoredChange {
            seq: 1,
            at,
            user: "u".into(),
            frame: b"SECRET".to_vec(),
            id: Some("SECRET".into()),
        };
        let stored = Stored {
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
        for why in Why::ALL {
            assert_eq!(Why::named(why.name()), Some(why));
        }
        assert_eq!(Why::named("regularly"), None);
    }
}
