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
        // Others from there may have been wrong since: what the eleventh was is not told.
        if checked.is_err() && key.is_some() && !self.attempts.refused(from, now) {
            return Err(KeyRefusal::TooMany);
        }
        checked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Again and again, because they have to meet.
    #[test]
    fn of_wrong_keys_at_one_moment_ten_are_looked_at() {
        let gate = Gate::new(KeyRing::open(None, true).expect("no file"));
        for round in 0..200 {
            let from = IpAddr::from([192, 0, 2, round]);
            let all_at_once = Barrier::new(16);
            let try_one = || {
                all_at_once.wait();
                gate.check(Some("wrong"), from).err()
            };
            let told: Vec<Option<KeyRefusal>> = thread::scope(|scope| {
                let threads: Vec<_> = (0..16).map(|_| scope.spawn(try_one)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            let count = |why| told.iter().filter(|told| **told == Some(why)).count();
            assert_eq!((count(KeyRefusal::Invalid), count(KeyRefusal::TooMany)), (10, 6));
        }
    }
}
