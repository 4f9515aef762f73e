//! What documents take of memory, all of them together: counted whenever one has changed, so that it is
//! known at any time.

use super::Limits;

/// Bytes of memory, of one session or of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// The documents.
    pub documents: usize,
    /// Of those, the ones of stored sessions that nobody is in: they may leave memory at any time.
    pub evictable: usize,
    /// Earlier versions of them. They have what memory the documents leave.
    pub versions: usize,
}

impl MemoryUse {
    pub fn replace(&mut self, before: MemoryUse, after: MemoryUse) {
        self.documents = self.documents - before.documents + after.documents;
        self.evictable = self.evictable - before.evictable + after.evictable;
        self.versions = self.versions - before.versions + after.versions;
    }

    /// By how much one of the documents may grow.
    pub fn left(&self, own: MemoryUse, limits: &Limits) -> usize {
        match limits.documents_memory {
            0 => usize::MAX,
            most => most.saturating_sub(self.documents - self.evictable + own.evictable),
        }
    }
}
