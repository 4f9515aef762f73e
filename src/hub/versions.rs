//! The versions of a session that is not stored: its documents before they were replaced, or before a snapshot
//! removed items. They are dropped with the session. A store has the versions of stored sessions.

use std::collections::VecDeque;

use super::DocumentBounds;
use crate::journal::{PointInTime, SnapshotReason};
use crate::protocol::{Timestamp, UserId};

/// How many versions a session has at most, and their size together in documents of the largest size. The
/// oldest are dropped first.
const MAX_VERSIONS: usize = 10;

/// A document before it was replaced.
#[derive(Debug)]
pub struct Version {
    /// The number of its last change.
    pub seq: u64,
    /// When that was.
    pub at: Timestamp,
    /// The user who replaced it.
    pub user: UserId,
    /// Why it was replaced.
    pub why: SnapshotReason,
    pub items: usize,
    /// In stored form.
    pub document: Vec<u8>,
}

/// The versions of one session.
#[derive(Debug, Default)]
pub struct Versions {
    /// The newest last.
    versions: VecDeque<Version>,
    bytes: usize,
}

impl Versions {
    /// Adds the newest version. Drops the oldest to stay within `bounds`.
    pub fn add(&mut self, version: Version, bounds: DocumentBounds) {
        self.bytes += version.document.len();
        self.versions.push_back(version);
        while self.versions.len() > MAX_VERSIONS
            || self.bytes > bounds.document.saturating_mul(MAX_VERSIONS)
        {
            self.evict_oldest();
        }
    }

    /// Drops the oldest version.
    pub fn evict_oldest(&mut self) {
        if let Some(oldest) = self.versions.pop_front() {
            self.bytes -= oldest.document.len();
            debug_assert!(!self.versions.is_empty() || self.bytes == 0);
        }
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.versions.iter()
    }

    /// The newest version at or before `point`.
    pub fn at(&self, point: PointInTime) -> Option<&Version> {
        self.versions.iter().rev().find(|version| match point {
            PointInTime::Seq(asked) => version.seq <= asked,
            PointInTime::Time(asked) => version.at <= asked,
        })
    }

    /// When the oldest version was changed last; `None` without versions.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.versions.front().map(|version| version.at)
    }

    /// The number of items of the version with most.
    pub fn max_items(&self) -> usize {
        self.versions.iter().map(|version| version.items).max().unwrap_or_default()
    }

    /// The number of versions and their bytes in stored form.
    pub fn sizes(&self) -> (usize, usize) {
        (self.versions.len(), self.bytes)
    }
}
