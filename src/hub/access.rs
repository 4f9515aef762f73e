//! What a connection's key permits, kept up to date with the keys in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::time::Time;
use crate::auth::{Grant, Key, KeyHash, KeyRefusal, KeySet, Level};
use crate::protocol::Timestamp;

/// How often the expiry of a key is checked at least: the system's clock may be set.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The grant of a connection's key, with the timer that checks its expiry.
#[derive(Debug)]
pub struct Access {
    grant: Grant,
    /// When the timer fires that checks the expiry; `None` while none is set.
    timer: Option<Duration>,
}

impl Access {
    /// The access that a grant gives. If `keys` are newer than the set the grant was found in, the key is
    /// looked up again.
    ///
    /// # Errors
    /// The key is gone, or has expired.
    pub fn new(mut grant: Grant, keys: &KeySet, now: Timestamp) -> Result<Self, KeyRefusal> {
        if grant.generation < keys.generation {
            let key = keys.find(&grant.key.hash).ok_or(KeyRefusal::Invalid)?.clone();
            grant = Grant { key, generation: keys.generation };
        }
        if grant.key.has_expired(now) {
            return Err(KeyRefusal::Expired);
        }
        Ok(Access { grant, timer: None })
    }

    /// Takes over another grant; the timer stays.
    pub fn replace(&mut self, newer: Access) {
        self.grant = newer.grant;
    }

    /// Looks the key up in a newer set.
    ///
    /// # Errors
    /// The key is gone, or has expired.
    pub fn renew(&mut self, keys: &KeyIndex<'_>, now: Timestamp) -> Result<(), KeyRefusal> {
        if self.grant.generation < keys.generation {
            let key = *keys.by_hash.get(&self.grant.key.hash).ok_or(KeyRefusal::Invalid)?;
            self.grant = Grant { key: key.clone(), generation: keys.generation };
        }
        if self.has_expired(now) { Err(KeyRefusal::Expired) } else { Ok(()) }
    }

    /// Whether the key permits writing.
    pub fn may_write(&self) -> bool {
        self.grant.key.level >= Level::Write
    }

    /// Whether the key opens the session or channel of this name.
    pub fn opens(&self, room: &str) -> bool {
        self.grant.key.opens(room)
    }

    /// The names of the sessions and channels that the key opens; `None` for all.
    pub fn rooms(&self) -> Option<&[Box<str>]> {
        self.grant.key.opens.as_deref()
    }

    /// Whether the key has expired.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.grant.key.has_expired(now)
    }

    /// When a timer has to be set to check the expiry, at most a minute ahead; `None` if the key doesn't expire,
    /// or if a timer is set that fires earlier.
    pub fn next_timer(&mut self, now: Time) -> Option<Duration> {
        let expires = self.grant.key.expires?;
        let left = Duration::from_millis(expires.millis().saturating_sub(now.wall.millis()));
        let at = now.elapsed + left.min(EXPIRY_CHECK_INTERVAL);
        if self.timer.is_some_and(|timer| timer <= at) {
            return None;
        }
        self.timer = Some(at);
        Some(at)
    }

    /// Records that a timer has fired; `true` if it is the one that was set last.
    pub fn timer_fired(&mut self, now: Duration) -> bool {
        self.timer.take_if(|at| *at <= now).is_some()
    }
}

/// A set of keys by their hashes, to look up the keys of all connections when the set changes. Each of them
/// was compared in constant time when the connection was admitted, so a plain map is enough here.
pub struct KeyIndex<'a> {
    generation: u64,
    by_hash: HashMap<KeyHash, &'a Arc<Key>>,
}

impl<'a> KeyIndex<'a> {
    /// Indexes a set of keys.
    pub fn new(keys: &'a KeySet) -> Self {
        let by_hash = keys.keys.iter().map(|key| (key.hash, key)).collect();
        KeyIndex { generation: keys.generation, by_hash }
    }
}
