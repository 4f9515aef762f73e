//! Keeping documents within the memory they may take together.

use super::Sessions;
use crate::hub::held::MemoryUse;
use crate::hub::session::Session;
use crate::hub::{Limits, Turn};

impl Sessions {
    /// What all documents and versions take of memory.
    pub fn memory(&self) -> usize {
        self.held.documents + self.held.versions
    }

    /// Does something in a session, and counts what it takes of memory afterwards. Whatever changes a
    /// document, or who is in a session, is done in this way.
    pub(in crate::hub) fn with_session<R>(
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
    pub(in crate::hub) fn uncount(&mut self, session: &Session) {
        self.held.replace(session.counted, MemoryUse::default());
    }

    /// Whether there is memory for a stored document. Where there is no other one there is: otherwise
    /// nobody would ever see it again.
    pub(in crate::hub) fn has_memory_for(&self, document: usize, limits: &Limits) -> bool {
        let others = self.held.documents - self.held.evictable;
        let most = limits.documents_memory;
        most == 0 || others == 0 || others.saturating_add(document) <= most
    }

    /// Has what nobody needs leave memory where there is too much: stored sessions that nobody is in, those
    /// first that were left first; then the oldest versions of any session.
    pub(in crate::hub) fn free_memory(&mut self, turn: &mut Turn<'_>) {
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
