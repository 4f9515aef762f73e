//! Keys as they are presented: right, wrong, or too often wrong.

use std::net::IpAddr;
use std::time::Instant;

use crate::keys::{Attempts, Grant, KeyRefusal, KeyRing};
use crate::protocol::Timestamp;

/// Checks keys and counts the wrong ones by address. Shared by all clients' threads.
pub struct Gate {
    ring: KeyRing,
    attempts: Attempts,
}

impl Gate {
    /// A gate for these keys.
    pub fn new(ring: KeyRing) -> Self {
        Gate { ring, attempts: Attempts::default() }
    }

    /// The keys that are in force.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Checks a key that came from this address.
    ///
    /// # Errors
    /// Why it opens nothing. A wrong or expired key counts against its address; having none doesn't.
    pub fn check(&self, key: Option<&str>, from: IpAddr) -> Result<Grant, KeyRefusal> {
        let now = Instant::now();
        if self.attempts.is_locked(from, now) {
            return Err(KeyRefusal::TooMany);
        }
        let checked = self.ring.check(key, Timestamp::now());
        if checked.is_err() && key.is_some() {
            self.attempts.refused(from, now);
        }
        checked
    }
}
