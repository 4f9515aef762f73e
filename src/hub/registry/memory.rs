//! The memory of all documents and versions, and its bound.

use super::Registry;
use crate::hub::memory_use::MemoryUse;
use crate::hub::session::Session;
use crate::hub::{Context, Limits};

impl Registry {
    /// The memory of all documents, versions and removed items that are kept, in bytes.
    pub fn memory(&self) -> usize {
        self.memory.documents + self.memory.versions
    }

    /// Calls `act` on a session and counts its memory afterwards; `None` if there is no such session in memory.
    /// Everything that changes a document or members goes through here.
    pub(in crate::hub) fn with_session<R>(
        &mut self,
        name: &str,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let session = self.by_name.get_mut(name)?;
        cx.left = self.memory.left(session.counted_memory, cx.limits);
        let result = act(session, cx);
        let after = session.memory_use(cx.limits);
        self.memory.replace(std::mem::replace(&mut session.counted_memory, after), after);
        Some(result)
    }

    /// Takes a session that was removed out of the count.
    pub(in crate::hub) fn uncount(&mut self, session: &Session) {
        self.memory.replace(session.counted_memory, MemoryUse::default());
    }

    /// Whether there is memory for a stored document of this size. A single document is always loaded, whatever
    /// its size: it could never be opened otherwise.
    pub(in crate::hub) fn has_memory_for(&self, document: usize, limits: &Limits) -> bool {
        let others = self.memory.documents - self.memory.evictable;
        let most = limits.documents_memory;
        most == 0 || others == 0 || others.saturating_add(document) <= most
    }

    /// Evicts until the documents and versions are within [`Limits::documents_memory`], or nothing can be evicted:
    /// first stored sessions without members, in the order in which they were left, those with viewers last; then
    /// removed items that are kept, and the oldest versions of any session.
    pub(in crate::hub) fn free_memory(&mut self, cx: &mut Context<'_>) {
        let most = cx.limits.documents_memory;
        debug_assert!(self.is_count_right(cx.limits), "{:?} is not what there is", self.memory);
        while most > 0 && self.memory() > most {
            if self.memory.evictable > 0 {
                let evictable =
                    self.by_name.values().filter(|session| session.counted_memory.evictable > 0);
                let first = evictable
                    .min_by_key(|session| (!session.viewers.is_empty(), session.empty_since()));
                let Some(name) = first.map(|session| session.room.name().clone()) else { return };
                self.evict(&name, cx);
            } else if self.memory.versions > 0 {
                let with =
                    self.by_name.values().filter(|session| session.counted_memory.versions > 0);
                let first = with.min_by_key(|session| session.versions.oldest());
                let Some(name) = first.map(|session| session.room.name().clone()) else { return };
                self.with_session(&name, cx, |session, _| session.forget_some_past());
            } else {
                return;
            }
        }
    }

    /// Whether the count is right. Takes time linear in the sessions.
    fn is_count_right(&self, limits: &Limits) -> bool {
        let mut counted_now = MemoryUse::default();
        for session in self.by_name.values() {
            counted_now.replace(MemoryUse::default(), session.memory_use(limits));
        }
        counted_now == self.memory
    }
}
