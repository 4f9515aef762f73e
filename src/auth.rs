//! Who may come in: keys, what each opens, and the set that is in force.
//!
//! Here plain data. A key itself is never kept: only its SHA-256, and that only to compare it. Where
//! the data comes from: [`key_file`] is the key file on disk, [`key_entries`] what stands in it,
//! [`key_store`] what a running server makes of it; [`lockout`] counts
//! the keys that were refused, and [`authenticator`] asks both.

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

/// The SHA-256 of a key. Not shown by `Debug`: a log has no use for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key.
    pub fn of(key: &str) -> Self {
        KeyHash(Sha256::digest(key).into())
    }

    /// Of a hash as it stands in the key file.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        KeyHash(bytes)
    }

    /// As it stands in the key file.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What a key permits; each level what the ones before it do, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// To watch, to ping and to point.
    Read,
    /// Everything the protocols offer.
    Write,
    /// The API that changes or lists things, too.
    Admin,
}

impl Level {
    /// All of them, the lowest first.
    pub const ALL: [Level; 3] = [Level::Read, Level::Write, Level::Admin];

    /// As it is typed and as it stands in the key file.
    pub fn name(self) -> &'static str {
        match self {
            Level::Read => "read",
            Level::Write => "write",
            Level::Admin => "admin",
        }
    }

    /// The level of this name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What people call it: for the log and for `collabd key revoke`.
    pub name: Arc<str>,
    pub hash: KeyHash,
    pub level: Level,
    /// From this moment on it opens nothing any more.
    pub expires: Option<Timestamp>,
    /// The sessions and channels it opens; `None` for all.
    pub opens: Option<Vec<Box<str>>>,
}

impl Key {
    /// Whether it opens a session or channel of this name.
    pub fn opens(&self, room: &str) -> bool {
        self.opens.as_ref().is_none_or(|rooms| rooms.iter().any(|name| &**name == room))
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// All keys that are in force. Replaced as a whole; each newer set has a higher generation.
#[derive(Debug, Default)]
pub struct KeySet {
    pub generation: u64,
    pub keys: Vec<Arc<Key>>,
}

impl KeySet {
    /// The key with this hash, expired or not. Takes as long whichever key it is, or none.
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

/// What a right key was given: what may be done with it, until a newer set says otherwise.
#[derive(Debug, Clone)]
pub struct Grant {
    pub key: Arc<Key>,
    /// Of the set it was found in.
    pub generation: u64,
}

/// Why a key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// There is no such key, or none was given.
    Invalid,
    /// Its time is over.
    Expired,
    /// Too many wrong keys came from this address within a minute.
    TooMany,
}
