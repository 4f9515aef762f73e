//! The checksum of a row, over all its columns.
//!
//! SQLite notices damage to its own structure, and not a changed byte in a text. A row whose
//! checksum is wrong is refused.

use sha2::{Digest as _, Sha256};

/// A checksum in the making. Its parts differ by their order and length, not by their bytes alone.
pub struct Checksum(Sha256);

impl Checksum {
    /// Begins the checksum of a row of this table.
    pub fn new(table: &str) -> Self {
        Checksum(Sha256::new()).text(table.as_bytes())
    }

    pub fn number(mut self, number: i64) -> Self {
        self.0.update(number.to_le_bytes());
        self
    }

    pub fn text(mut self, text: &[u8]) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    /// Adds a text that may be NULL.
    pub fn maybe(self, text: Option<&[u8]>) -> Self {
        match text {
            Some(text) => self.number(1).text(text),
            None => self.number(0),
        }
    }

    /// The first 64 bits of the SHA-256, as SQLite's integer.
    pub fn finish(self) -> i64 {
        let digest = self.0.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        i64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_parts_have_different_checksums() {
        let sums = [
            Checksum::new("t").text(b"ab").text(b"c").finish(),
            Checksum::new("t").text(b"a").text(b"bc").finish(),
            Checksum::new("u").text(b"ab").text(b"c").finish(),
            Checksum::new("t").text(b"ab").maybe(Some(b"c")).finish(),
            Checksum::new("t").text(b"ab").maybe(None).finish(),
            Checksum::new("t").text(b"ab").maybe(Some(b"")).finish(),
        ];
        for (place, sum) in sums.iter().enumerate() {
            assert!(!sums[..place].contains(sum), "{place}");
        }
    }
}
