//! The values that an item's fields had once: a file, or a canvas that comes back, may show them.
//!
//! Of each only a mark is kept, four bytes made of the field's name and the value's fingerprint. Two
//! values have one mark by chance once in a few millions; then a value that is new counts as old.

use std::collections::VecDeque;

use super::item::PastValue;

/// How many marks are kept of values that were at rest.
const MOST_AT_REST: usize = 128;
/// How many of places amid a drag: some seconds of one.
const MOST_PASSED: usize = 2048;
/// How many of these are stored, the newest.
const MOST_STORED: usize = 256;

/// See the module's text. The oldest are forgotten first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OldValues {
    at_rest: VecDeque<u32>,
    /// Places amid a drag: somebody else may have saved a file or lost the connection just then.
    passed: VecDeque<u32>,
}

impl OldValues {
    /// Remembers a value of a field.
    pub fn remember(&mut self, key: &str, past: &PastValue) {
        let moved = past.moved_print.filter(|print| *print != past.print);
        for print in [past.print].into_iter().chain(moved) {
            let mark = mark(key, print);
            match past.is_at_rest {
                true if self.at_rest.contains(&mark) => {}
                true => push(&mut self.at_rest, mark, MOST_AT_REST),
                false => push(&mut self.passed, mark, MOST_PASSED),
            }
        }
    }

    /// Remembers a value of a field that was at rest.
    pub fn remember_at_rest(&mut self, key: &str, print: u64) {
        let mark = mark(key, print);
        if !self.at_rest.contains(&mark) {
            push(&mut self.at_rest, mark, MOST_AT_REST);
        }
    }

    /// Whether a field had a value with this fingerprint.
    pub fn has(&self, key: &str, print: u64) -> bool {
        let mark = mark(key, print);
        self.at_rest.contains(&mark) || self.passed.contains(&mark)
    }

    /// What it takes of memory, in bytes.
    pub fn memory(&self) -> usize {
        (self.at_rest.len() + self.passed.len()) * size_of::<u32>()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.at_rest.is_empty() && self.passed.is_empty()
    }

    /// What is stored: the marks of values at rest, and of others, as hexadecimal digits.
    pub fn to_stored(&self) -> [String; 2] {
        let text = |marks: &mut dyn Iterator<Item = &u32>| {
            marks.map(|mark| format!("{mark:08x}")).collect()
        };
        let newest = self.passed.len().saturating_sub(MOST_STORED);
        [text(&mut self.at_rest.iter()), text(&mut self.passed.iter().skip(newest))]
    }

    /// What was stored; `None` if it is something else.
    pub fn from_stored(at_rest: &str, passed: &str) -> Option<Self> {
        let marks = |text: &str| {
            let marks = text.as_bytes().chunks(8).map(|digits| {
                let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 8);
                u32::from_str_radix(digits?, 16).ok()
            });
            marks.collect::<Option<VecDeque<_>>>()
        };
        let (at_rest, passed) = (marks(at_rest)?, marks(passed)?);
        let are_few = at_rest.len() <= MOST_AT_REST && passed.len() <= MOST_PASSED;
        are_few.then_some(OldValues { at_rest, passed })
    }
}

fn push(marks: &mut VecDeque<u32>, mark: u32, most: usize) {
    if marks.len() == most {
        marks.pop_front();
    }
    marks.push_back(mark);
}

/// Marks are stored: the function stays as it is (FNV-1a of the name, mixed with the fingerprint).
fn mark(key: &str, print: u64) -> u32 {
    let of_key = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (print ^ of_key.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(print: u64, is_at_rest: bool) -> PastValue {
        PastValue { print, moved_print: None, writer: "ann".into(), tick: 0, is_at_rest }
    }

    #[test]
    fn what_was_at_rest_outlives_a_drag() {
        let mut old = OldValues::default();
        old.remember("x_mm", &value(7, true));
        for print in 1000..1000 + 3 * MOST_PASSED as u64 {
            old.remember("x_mm", &value(print, false));
        }
        assert!(old.has("x_mm", 7) && !old.has("y_mm", 7) && !old.has("x_mm", 8));
        assert!(!old.has("x_mm", 1000) && old.has("x_mm", 999 + 3 * MOST_PASSED as u64));
        for print in 0..3 * MOST_AT_REST as u64 {
            old.remember("name", &value(print, true));
        }
        assert!(!old.has("x_mm", 7));
        assert_eq!((old.at_rest.len(), old.passed.len()), (MOST_AT_REST, MOST_PASSED));
    }

    #[test]
    fn a_moved_form_is_one_of_its_values() {
        let mut old = OldValues::default();
        old.remember("angle_deg", &PastValue { moved_print: Some(2), ..value(1, true) });
        assert!(old.has("angle_deg", 1) && old.has("angle_deg", 2));
    }

    #[test]
    fn the_newest_are_stored() {
        let mut old = OldValues::default();
        old.remember("x_mm", &value(7, true));
        for print in 1000..1000 + 2 * MOST_STORED as u64 {
            old.remember("x_mm", &value(print, false));
        }
        let [at_rest, passed] = old.to_stored();
        let read = OldValues::from_stored(&at_rest, &passed).unwrap();
        assert!(read.has("x_mm", 7) && read.has("x_mm", 999 + 2 * MOST_STORED as u64));
        assert!(!read.has("x_mm", 1000));
        for damaged in ["1", "0000000g", "00000000f", "\u{fc}00000\u{fc}"] {
            assert_eq!(OldValues::from_stored(damaged, ""), None);
        }
    }
}
