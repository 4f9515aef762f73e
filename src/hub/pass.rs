//! What a connection was let in with: the grant of its key, kept up to date with the keys in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::time::Now;
use crate::auth::{Grant, Key, KeyHash, KeyRefusal, KeySet, Level};
use crate::protocol::Timestamp;

/// The system's clock can be set: whether a key's time is over is looked at this often.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// See the module's text.
#[derive(Debug)]
pub struct Pass {
    grant: Grant,
    /// When the timer that looks at the key's expiry fires; `None` while there is none.
    timer: Option<Duration>,
}

impl Pass {
    /// Lets somebody in with what a key was found to permit. If `keys` are newer than what it was
    /// found in, they decide.
    ///
    /// # Errors
    /// The key is gone, or its time is over.
    pub fn new(mut grant: Grant, keys: &KeySet, now: Timestamp) -> Result<Self, KeyRefusal> {
        if grant.generation < keys.generation {
            let key = keys.find(&grant.key.hash).ok_or(KeyRefusal::Invalid)?.clone();
            grant = Grant { key, generation: keys.generation };
        }
        if grant.key.has_expired(now) {
            return Err(KeyRefusal::Expired);
        }
        Ok(Pass { grant, timer: None })
    }

    /// Puts another pass in this one's place.
    pub fn replace(&mut self, newer: Pass) {
        self.grant = newer.grant;
    }

    /// Looks its key up in a newer set.
    ///
    /// # Errors
    /// The key is gone, or its time is over: the pass is good for nothing any more.
    pub fn renew(&mut self, keys: &KeyIndex<'_>, now: Timestamp) -> Result<(), KeyRefusal> {
        if self.grant.generation < keys.generation {
            let key = *keys.by_hash.get(&self.grant.key.hash).ok_or(KeyRefusal::Invalid)?;
            self.grant = Grant { key: key.clone(), generation: keys.generation };
        }
        if self.has_expired(now) { Err(KeyRefusal::Expired) } else { Ok(()) }
    }

    /// Whether it permits more than to watch.
    pub fn may_write(&self) -> bool {
        self.grant.key.level >= Level::Write
    }

    /// Whether it opens a session or channel of this name.
    pub fn opens(&self, room: &str) -> bool {
        self.grant.key.opens(room)
    }

    /// The names of the sessions and channels it opens; `None` where it opens all.
    pub fn rooms(&self) -> Option<&[Box<str>]> {
        self.grant.key.opens.as_deref()
    }

    /// Whether its key's time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.grant.key.has_expired(now)
    }

    /// When a timer has to be set to look at the key's expiry: never more than a minute ahead;
    /// `None` where it doesn't expire, or a timer fires as early already.
    pub fn next_timer(&mut self, now: Now) -> Option<Duration> {
        let expires = self.grant.key.expires?;
        let left = Duration::from_millis(expires.millis().saturating_sub(now.wall.millis()));
        let at = now.elapsed + left.min(EXPIRY_CHECK_INTERVAL);
        if self.timer.is_some_and(|timer| timer <= at) {
            return None;
        }
        self.timer = Some(at);
        Some(at)
    }

    /// A timer has fired. Whether it was the one that counts.
    pub fn timer_fired(&mut self, now: Duration) -> bool {
        self.timer.take_if(|at| *at <= now).is_some()
    }
}

/// A set of keys by their hashes. Every connection is looked up when the set changes; whom it holds
/// was found out in constant time when it was let in.
pub struct KeyIndex<'a> {
    generation: u64,
    by_hash: HashMap<KeyHash, &'a Arc<Key>>,
}

impl<'a> KeyIndex<'a> {
    /// Indexes a set.
    pub fn new(keys: &'a KeySet) -> Self {
        let by_hash = keys.keys.iter().map(|key| (key.hash, key)).collect();
        KeyIndex { generation: keys.generation, by_hash }
    }
}
