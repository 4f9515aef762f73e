//! A check sum over everything that stands in one row.
//!
//! SQLite notices when its own structure is broken, not when a letter of a text has become another
//! one. A row that doesn't have its sum is not what was written.

use sha2::{Digest as _, Sha256};

/// A sum that is being made, of parts that are told apart by their order and length.
pub struct Sum(Sha256);

impl Sum {
    /// Of a row of this table.
    pub fn of(table: &str) -> Self {
        Sum(Sha256::new()).text(table.as_bytes())
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

    /// A text that may be missing.
    pub fn maybe(self, text: Option<&[u8]>) -> Self {
        match text {
            Some(text) => self.number(1).text(text),
            None => self.number(0),
        }
    }

    /// Its first 64 bits, as a column takes them.
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
    fn parts_are_told_apart() {
        let sums = [
            Sum::of("t").text(b"ab").text(b"c").finish(),
            Sum::of("t").text(b"a").text(b"bc").finish(),
            Sum::of("u").text(b"ab").text(b"c").finish(),
            Sum::of("t").text(b"ab").maybe(Some(b"c")).finish(),
            Sum::of("t").text(b"ab").maybe(None).finish(),
            Sum::of("t").text(b"ab").maybe(Some(b"")).finish(),
        ];
        for (place, sum) in sums.iter().enumerate() {
            assert!(!sums[..place].contains(sum), "{place}");
        }
    }
}
