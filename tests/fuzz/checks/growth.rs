//! How many timers a hub may have, by what has happened lately: one that goes on setting them for
//! something it has set one for already grows until it is full.

use std::collections::HashMap;
use std::time::Duration;

use collabd::hub::ConnId;

/// An item is looked at once it has been still for 0.3 s, and then 2 s after its last change: one
/// that is changed again and again has both timers set again each time it has been still.
const MOST_OF_AN_ITEM: usize = 16;

/// What a timer may be set for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A newcomer is given 10 s to be recognised, or to show a key.
    Arrival(ConnId),
    /// A key's time is looked at once a minute; a newer key may set another timer.
    Expiry(ConnId, u64),
    /// A session that was left, in one of its lives, lingers.
    Linger(String, String),
    /// An item that was changed settles.
    Settle(String, String),
}

/// What timers may be set for, and until when.
#[derive(Debug, Default)]
pub struct Growth {
    reasons: HashMap<Reason, Duration>,
}

impl Growth {
    /// Something has happened that a timer may be set for, `after` which it has fired.
    pub fn allow(&mut self, reason: Reason, now: Duration, after: Duration) {
        self.reasons.insert(reason, now + after);
    }

    /// The hub looks at its timers later than it should have: whatever it sets again, it sets late.
    pub fn delay(&mut self, by: Duration) {
        self.reasons.values_mut().for_each(|until| *until += by);
    }

    /// There must not be more timers than reasons for one; `open` is how many connections there are,
    /// each of which may have one that looks at its key again and again.
    pub fn check(&mut self, timers: usize, open: usize, now: Duration) {
        self.reasons.retain(|_, until| *until >= now);
        let settling = |reason: &&Reason| matches!(reason, Reason::Settle(..));
        let items = self.reasons.keys().filter(settling).count();
        let most = open + self.reasons.len() + items * MOST_OF_AN_ITEM;
        assert!(
            timers <= most,
            "{timers} timers for {open} connections and {:?} at {now:?}",
            self.reasons
        );
    }
}
