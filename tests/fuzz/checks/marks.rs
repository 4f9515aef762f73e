//! Words nobody can guess: whoever is sent one was told what was said with it.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What is replaced by a mark wherever it stands in an input.
pub const PLACEHOLDER: char = '$';
const FIRST: u8 = b'Q';
const DIGITS: usize = 15;

/// The marks of one input. They depend on all of its bytes, so that an input can't come to contain
/// its own.
pub struct Marks(u64);

impl Marks {
    pub fn of(input: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        Marks(hasher.finish())
    }

    /// The mark of something that is called so: the same one each time.
    pub fn mark(&self, name: impl Hash) -> String {
        let mut hasher = DefaultHasher::new();
        (self.0, name).hash(&mut hasher);
        format!("Q{:015x}", hasher.finish() >> 4)
    }
}

/// All words in a text that look like marks.
pub fn find(text: &[u8]) -> impl Iterator<Item = &str> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.windows(DIGITS + 1)
        .filter(move |word| word[0] == FIRST && word[1..].iter().all(is_digit))
        .map(|word| std::str::from_utf8(word).expect("ASCII"))
}

/// The mark at the end of a name; an input may have put other words like it before.
pub fn of_name(name: &str) -> &str {
    name.len().checked_sub(DIGITS + 1).and_then(|at| name.get(at..)).unwrap_or_default()
}

/// Whether a text has this mark in it.
pub fn has(text: &[u8], mark: &str) -> bool {
    find(text).any(|found| found == mark)
}
