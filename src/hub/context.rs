//! What the handlers of one event share.

use std::time::Duration;

use super::bounds::Allowance;
use super::connection::ConnId;
use super::event::{Effect, Limits};
use super::time::Time;
use super::timers::Timers;
use crate::auth::KeySet;
use crate::protocol::Frame;

/// The time, the limits and the effects of the event that is being handled.
pub(super) struct Context<'a> {
    pub now: Time,
    pub limits: &'a Limits,
    pub keys: &'a KeySet,
    pub effects: &'a mut Vec<Effect>,
    pub timers: &'a mut Timers,
    /// The store can't write.
    pub disk_fails: bool,
    /// By how many bytes of memory the document of the session may grow that is being changed.
    pub left: usize,
}

impl Context<'_> {
    /// What a change of the session's document may take.
    pub fn allowance(&self) -> Allowance {
        let together = self.limits.documents_memory;
        Allowance { bounds: self.limits.document, left: self.left, together }
    }

    /// Queues a frame for one connection.
    pub fn send(&mut self, conn: ConnId, frame: &Frame) {
        self.effects.push(Effect::Send { conn, frame: frame.clone(), supersedes: None });
    }

    /// Since the hub's start.
    pub fn elapsed(&self) -> Duration {
        self.now.elapsed
    }
}
