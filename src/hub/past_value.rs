//! An earlier value of an item's field.

use crate::protocol::UserId;

/// An earlier value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastValue {
    /// Its fingerprint, and that of the form that some copies report instead: moved `interfaces`, an angle
    /// from 0 to 360 degrees, a nudged `x_mm`.
    pub print: u64,
    pub moved_print: Option<u64>,
    pub writer: UserId,
    pub tick: u64,
    pub is_at_rest: bool,
}

impl PastValue {
    /// Whether a copy that reports a value with this fingerprint may show this value.
    pub fn shows(&self, print: u64) -> bool {
        self.print == print || self.moved_print == Some(print)
    }
}
