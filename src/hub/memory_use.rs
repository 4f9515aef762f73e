//! The memory of documents, versions and removed items that are kept, counted whenever a session has changed.

use super::Limits;

/// The memory of one session, or of all of them, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Documents.
    pub documents: usize,
    /// Of those, documents of sessions that can be evicted at any time.
    pub evictable: usize,
    /// Versions, and removed items that are kept. They get the memory that the documents leave.
    pub versions: usize,
}

impl MemoryUse {
    /// Counts that a session takes `after` instead of `before`, which was counted.
    pub fn replace(&mut self, before: MemoryUse, after: MemoryUse) {
        debug_assert!(self.documents >= before.documents && self.versions >= before.versions);
        debug_assert!(self.evictable >= before.evictable && after.evictable <= after.documents);
        self.documents = self.documents - before.documents + after.documents;
        self.evictable = self.evictable - before.evictable + after.evictable;
        self.versions = self.versions - before.versions + after.versions;
    }

    /// By how many bytes a document may grow that now takes `own`.
    pub fn left(&self, own: MemoryUse, limits: &Limits) -> usize {
        match limits.documents_memory {
            0 => usize::MAX,
            most => most.saturating_sub(self.documents - self.evictable + own.evictable),
        }
    }
}
