//! What documents take of memory, all of them together: counted whenever one has changed, so that it is
//! known at any time.

use super::session::Session;
use super::sessions::Sessions;
use super::{Limits, Turn};

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
    fn replace(&mut self, before: MemoryUse, after: MemoryUse) {
        self.documents = self.documents - before.documents + after.documents;
        self.evictable = self.evictable - before.evictable + after.evictable;
        self.versions = self.versions - before.versions + after.versions;
    }

    /// By how much one of the documents may grow.
    fn left(&self, own: MemoryUse, limits: &Limits) -> usize {
        match limits.documents_memory {
            0 => usize::MAX,
            most => most.saturating_sub(self.documents - self.evictable + own.evictable),
        }
    }
}

impl Sessions {
    /// What all documents and versions take of memory.
    pub fn memory(&self) -> usize {
        self.held.documents + self.held.versions
    }

    /// Does something in a session, and counts what it takes of memory afterwards. Whatever changes a
    /// document, or who is in a session, is done in this way.
    pub(super) fn with_session<R>(
        &mut self,
        name: &str,
        turn: &mut Turn<'_>,
        act: impl FnOnce(&mut Session, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let session = self.by_name.get_mut(name)?;
        turn.left = self.held.left(session.counted, turn.limits);
        let result = act(session, turn);
        let after = session.memory_use(turn.limits);
        self.held.replace(std::mem::replace(&mut session.counted, after), after);
        Some(result)
    }

    /// A session is no longer in memory.
    pub(super) fn uncount(&mut self, session: &Session) {
        self.held.replace(session.counted, MemoryUse::default());
    }

    /// Whether there is memory for a stored document. Where there is no other one there is: otherwise
    /// nobody would ever see it again.
    pub(super) fn has_memory_for(&self, document: usize, limits: &Limits) -> bool {
        let others = self.held.documents - self.held.evictable;
        let most = limits.documents_memory;
        most == 0 || others == 0 || others.saturating_add(document) <= most
    }

    /// Has what nobody needs leave memory where there is too much: stored sessions that nobody is in, those
    /// first that were left first; then the oldest versions of any session.
    pub(super) fn free_memory(&mut self, turn: &mut Turn<'_>) {
        let most = turn.limits.documents_memory;
        debug_assert!(self.is_count_right(turn.limits), "{:?} is not what there is", self.held);
        while most > 0 && self.memory() > most {
            if self.held.evictable > 0 {
                let evictable =
                    self.by_name.values().filter(|session| session.counted.evictable > 0);
                let first = evictable
                    .min_by_key(|session| (!session.viewers.is_empty(), session.empty_since()));
                let Some(name) = first.map(|session| session.room.name().clone()) else { return };
                self.evict(&name, turn);
            } else if self.held.versions > 0 {
                let with = self.by_name.values().filter(|session| session.counted.versions > 0);
                let first = with.min_by_key(|session| session.versions.oldest());
                let Some(name) = first.map(|session| session.room.name().clone()) else { return };
                self.with_session(&name, turn, |session, _| session.versions.evict_oldest());
            } else {
                return;
            }
        }
    }

    /// Whether the count is right. Takes a time in proportion to the sessions there are.
    fn is_count_right(&self, limits: &Limits) -> bool {
        let mut held = MemoryUse::default();
        for session in self.by_name.values() {
            held.replace(MemoryUse::default(), session.memory_use(limits));
        }
        held == self.held
    }
}
