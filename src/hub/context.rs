//! What the handlers of one event share.

use std::time::Duration;

use super::bounds::Allowance;
use super::conn::ConnId;
use super::event::{Effect, Limits};
use super::time::Now;
use super::timers::Timers;
use crate::auth::KeySet;
use crate::protocol::Frame;

/// What the code of a session or of a client works with while it handles one event.
pub(super) struct Turn<'a> {
    pub now: Now,
    pub limits: &'a Limits,
    pub keys: &'a KeySet,
    pub effects: &'a mut Vec<Effect>,
    pub timers: &'a mut Timers,
    /// Whether what is to be kept can't be written.
    pub disk_fails: bool,
    /// By how many bytes of memory the document may grow that is being changed.
    pub left: usize,
}

impl Turn<'_> {
    pub fn allowance(&self) -> Allowance {
        let together = self.limits.documents_memory;
        Allowance { bounds: self.limits.document, left: self.left, together }
    }

    pub fn send(&mut self, conn: ConnId, frame: &Frame) {
        self.effects.push(Effect::Send { conn, frame: frame.clone(), supersedes: None });
    }

    pub fn elapsed(&self) -> Duration {
        self.now.elapsed
    }
}
