//! What of a session the store was given so far.

use std::time::Duration;

use crate::hub::loaded::LoadedSession;
use crate::protocol::{Frame, outbound};

/// The whole document is written once there are this many changes since the last time and they have as many
/// bytes as the document, so that at most twice the bytes are written.
const MIN_CHANGES: usize = 1_000;
/// The whole document is written after this many changes at the latest: replaying one takes about 4 µs, writing
/// a document of 7 MB 12 ms.
const MAX_CHANGES: usize = 5_000;
/// The whole document is written with the next change after this time since the first unwritten one.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What of a session the store was given so far.
#[derive(Debug, Default)]
pub struct JournalProgress {
    /// Something was given: the session can be loaded.
    pub has_begun: bool,
    /// Nothing is stored: the session began with [`Event::JoinTemporary`](crate::hub::Event).
    pub is_temporary: bool,
    /// When this hub gave something last.
    pub(super) last: Option<Duration>,
    /// Something may not be written because the disk fails: the session has to stay in memory.
    pub is_at_risk: bool,
    /// The size of the last whole document, in bytes.
    pub(super) whole: usize,
    /// The number of changes since, their bytes, and when the first of them was.
    pub(super) changes: usize,
    pub(super) bytes: usize,
    pub(super) since: Duration,
}

impl JournalProgress {
    /// The state of a session that was loaded.
    pub fn from_restored(past: &LoadedSession) -> Self {
        let (changes, bytes) = past.changes;
        JournalProgress {
            has_begun: true,
            whole: past.whole,
            changes,
            bytes,
            ..JournalProgress::default()
        }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        let enough = self.changes >= MIN_CHANGES && self.bytes >= self.whole;
        enough || self.changes >= MAX_CHANGES || now >= self.since + MAX_AGE
    }
}

/// The error that everyone is sent while the disk fails.
pub fn not_durable() -> Frame {
    let message = "the server can't write to its disk: what is done now is kept in memory only, and \
                   not confirmed until it can be written";
    outbound::error("not_durable", message, 503, None, None, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_due_after_many_changes_and_even_a_huge_one_after_very_many() {
        let progress = |whole, changes, bytes| JournalProgress {
            whole,
            changes,
            bytes,
            ..JournalProgress::default()
        };
        for (whole, changes, bytes, is_due) in [
            (100, MIN_CHANGES - 1, 1000, false),
            (100, MIN_CHANGES, 1000, true),
            (1 << 20, MIN_CHANGES, (1 << 20) - 1, false),
            (1 << 20, MIN_CHANGES, 1 << 20, true),
            (1 << 30, MAX_CHANGES - 1, 1 << 20, false),
            (1 << 30, MAX_CHANGES, 1 << 20, true),
        ] {
            let progress = progress(whole, changes, bytes);
            assert_eq!(progress.is_due(Duration::ZERO), is_due, "{progress:?}");
        }
    }
}
