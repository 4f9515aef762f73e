//! The time, which the hub is told: it has no clock.

use std::time::Duration;

use crate::protocol::Timestamp;

/// The time of one event.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// Since the hub's start; never goes back.
    pub elapsed: Duration,
    /// The system's clock: shown to clients and stored. It may jump.
    pub wall: Timestamp,
}
