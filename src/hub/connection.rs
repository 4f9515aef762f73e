//! The numbers of connections, and maps by them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The number of a connection, from its handshake to its end. No number is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A member or viewer: it is reached through one connection.
pub trait HasConnection {
    /// The connection that receives what it is sent.
    fn conn(&self) -> ConnId;
}

impl HasConnection for ConnId {
    fn conn(&self) -> ConnId {
        *self
    }
}

/// A map by connection. The server counts the numbers up, so the hash needs no defence against chosen
/// keys, and it has to be fast: a broadcast looks up every receiver.
pub type ConnMap<T> = HashMap<ConnId, T, BuildHasherDefault<NumberHasher>>;

/// Spreads one number over the hash with a multiplication.
#[derive(Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}
