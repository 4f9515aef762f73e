//! Who changes something, and when.

use crate::protocol::{Timestamp, UserId};

/// The author of a change.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    pub user: &'a UserId,
    /// The session's tick.
    pub tick: u64,
    /// Every tracked member has received what was sent at or before this tick.
    pub received: u64,
    /// When, by the system's clock.
    pub at: Timestamp,
}

impl<'a> Author<'a> {
    /// The author of a stored change that is replayed: every copy has received it.
    pub fn of_replay(user: &'a UserId, at: Timestamp) -> Self {
        Author { user, tick: 0, received: u64::MAX, at }
    }
}
