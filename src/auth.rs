//! Keys: which there are, what each opens, and which set is in force.
//!
//! The server never keeps a key itself, only its SHA-256 to compare with. [`key_file`] reads and
//! writes the key file, [`key_entries`] parses it, [`key_store`] holds the keys in force,
//! [`lockout`] counts refused keys by address, and [`authenticator`] checks a key against both. The
//! types in this file are plain data.

pub mod authenticator;
pub mod key_entries;
pub mod key_file;
pub mod key_store;
pub mod lockout;
#[cfg(test)]
mod test_folder;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

pub use authenticator::{Authenticator, KeySource};
pub use key_store::KeyStore;
pub use lockout::Lockout;

use crate::protocol::Timestamp;

/// The SHA-256 of a key. `Debug` doesn't show it: a log has no use for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub fn new(key: &str) -> Self {
        KeyHash(Sha256::digest(key).into())
    }

    /// Takes the bytes of a hash from the key file.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        KeyHash(bytes)
    }

    /// The bytes of the hash, for the key file.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What a key permits. Each level permits what the levels before it do, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Watching, pinging and showing a cursor.
    Read,
    /// Everything that the WebSocket protocols offer.
    Write,
    /// The API that changes or lists things.
    Admin,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Level; 3] = [Level::Read, Level::Write, Level::Admin];

    /// The level's name on the command line and in the key file.
    pub fn name(self) -> &'static str {
        match self {
            Level::Read => "read",
            Level::Write => "write",
            Level::Admin => "admin",
        }
    }

    /// The level of this name; `None` for an unknown name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The name that people give it, for the log and for `collabd key revoke`.
    pub name: Arc<str>,
    pub hash: KeyHash,
    pub level: Level,
    /// The moment from which on it opens nothing.
    pub expires: Option<Timestamp>,
    /// The sessions and channels that it opens; `None` for all.
    pub opens: Option<Vec<Box<str>>>,
}

impl Key {
    /// True where the key opens the session or channel of this name.
    pub fn opens(&self, room: &str) -> bool {
        self.opens.as_ref().is_none_or(|rooms| rooms.iter().any(|name| &**name == room))
    }

    /// True from the moment `expires` on.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// All keys that are in force. A set is replaced as a whole, and a newer one has a higher
/// generation.
#[derive(Debug, Default)]
pub struct KeySet {
    pub generation: u64,
    pub keys: Vec<Arc<Key>>,
}

impl KeySet {
    /// Finds the key with this hash, expired or not. Takes the same time for every hash, so that it
    /// tells nothing of the keys.
    pub fn find(&self, hash: &KeyHash) -> Option<&Arc<Key>> {
        let mut found = None;
        for key in &self.keys {
            if bool::from(key.hash.0.ct_eq(&hash.0)) {
                found = Some(key);
            }
        }
        found
    }
}

/// What an accepted key permits, until a newer set of keys says otherwise.
#[derive(Debug, Clone)]
pub struct Grant {
    pub key: Arc<Key>,
    /// The generation of the set in which the key was found.
    pub generation: u64,
}

/// Why a key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    Invalid,
    Expired,
    /// Too many wrong keys came from this address within a minute.
    TooMany,
}
