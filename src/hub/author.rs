//! Who changes something, and when.

use crate::protocol::UserId;

/// Who changes something, and when.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    pub user: &'a UserId,
    /// The session's tick.
    pub tick: u64,
    /// Everybody has received what was sent at or before this tick.
    pub received: u64,
}

impl<'a> Author<'a> {
    /// Somebody whose change is long past: everybody has received it.
    pub fn of_replay(user: &'a UserId) -> Self {
        Author { user, tick: 0, received: u64::MAX }
    }
}
