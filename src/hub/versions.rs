//! Earlier documents of a session that is not stored: the last ones that were replaced, or that items
//! were removed from as a whole. Bounded in number and bytes, the oldest are forgotten first; they go
//! with the session. Where sessions are stored, the store has them.

use std::collections::VecDeque;

use super::DocumentBounds;
use crate::kept::{PointInTime, Why};
use crate::protocol::{Timestamp, UserId};

/// How many versions a session has, and how large they are together, in documents of the largest size.
const MAX_VERSIONS: usize = 10;

/// A document that something took the place of.
#[derive(Debug)]
pub struct Version {
    /// Its last change, and when that was.
    pub seq: u64,
    pub at: Timestamp,
    /// Who replaced it, and why.
    pub user: UserId,
    pub why: Why,
    pub items: usize,
    /// In stored form.
    pub document: Vec<u8>,
}

/// See the file's text.
#[derive(Debug, Default)]
pub struct Versions {
    /// The newest last.
    kept: VecDeque<Version>,
    bytes: usize,
}

impl Versions {
    /// Adds one that was replaced just now.
    pub fn add(&mut self, version: Version, bounds: DocumentBounds) {
        self.bytes += version.document.len();
        self.kept.push_back(version);
        while self.kept.len() > MAX_VERSIONS
            || self.bytes > bounds.document.saturating_mul(MAX_VERSIONS)
        {
            self.evict_oldest();
        }
    }

    /// Forgets the oldest one.
    pub fn evict_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes -= oldest.document.len();
        }
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.kept.iter()
    }

    /// The newest version at or before `point`.
    pub fn at(&self, point: PointInTime) -> Option<&Version> {
        self.kept.iter().rev().find(|version| match point {
            PointInTime::Seq(asked) => version.seq <= asked,
            PointInTime::Time(asked) => version.at <= asked,
        })
    }

    /// When the oldest version was changed last; `None` without versions.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.kept.front().map(|version| version.at)
    }

    /// How many items the largest one has.
    pub fn max_items(&self) -> usize {
        self.kept.iter().map(|version| version.items).max().unwrap_or_default()
    }

    /// How many there are, and how many bytes they have.
    pub fn sizes(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }
}
