//! How connections are called, and maps by their names.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// One connection, from its handshake to its end. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A map by connection. Their numbers are given by us, one after the other, so that hashing them
/// needs no defence against chosen keys, and a fan-out looks up every receiver.
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
