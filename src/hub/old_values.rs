//! The values that an item's fields had once. A file or a canvas from an earlier connection may show them.
//!
//! Of each value a mark of four bytes is kept, made of the field's name and the value's fingerprint. Two values
//! have the same mark by chance once in a few millions. Then a new value counts as an old one.

use std::collections::VecDeque;

use super::item::PastValue;

/// The number of marks that are kept of values at rest.
const MAX_MARKS_AT_REST: usize = 128;
/// The number of marks that are kept of places during drags: some seconds of a drag.
const MAX_MARKS_PASSED: usize = 2048;
/// The number of marks of places during drags that are stored, the newest.
const MAX_MARKS_PASSED_STORED: usize = 256;

/// The marks of an item's old values. The oldest are forgotten first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OldValues {
    at_rest: VecDeque<u32>,
    /// Marks of places during drags: another user may have saved a file or lost the connection at such a
    /// moment.
    passed: VecDeque<u32>,
}

impl OldValues {
    /// Remembers a value of a field, and its moved form.
    pub fn remember(&mut self, key: &str, past: &PastValue) {
        let moved = past.moved_print.filter(|print| *print != past.print);
        for print in [past.print].into_iter().chain(moved) {
            let mark = mark(key, print);
            match past.is_at_rest {
                true if self.at_rest.contains(&mark) => {}
                true => push(&mut self.at_rest, mark, MAX_MARKS_AT_REST),
                false => push(&mut self.passed, mark, MAX_MARKS_PASSED),
            }
        }
    }

    /// Remembers a value of a field that was at rest.
    pub fn remember_at_rest(&mut self, key: &str, print: u64) {
        let mark = mark(key, print);
        if !self.at_rest.contains(&mark) {
            push(&mut self.at_rest, mark, MAX_MARKS_AT_REST);
        }
    }

    /// Whether a field had a value with this fingerprint.
    pub fn has(&self, key: &str, print: u64) -> bool {
        let mark = mark(key, print);
        self.at_rest.contains(&mark) || self.passed.contains(&mark)
    }

    /// The memory that the marks take, in bytes.
    pub fn memory(&self) -> usize {
        (self.at_rest.len() + self.passed.len()) * size_of::<u32>()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.at_rest.is_empty() && self.passed.is_empty()
    }

    /// The stored form: the marks of values at rest and of places during drags, as hexadecimal digits.
    pub fn to_stored(&self) -> [String; 2] {
        let text = |marks: &mut dyn Iterator<Item = &u32>| {
            marks.map(|mark| format!("{mark:08x}")).collect()
        };
        let newest = self.passed.len().saturating_sub(MAX_MARKS_PASSED_STORED);
        [text(&mut self.at_rest.iter()), text(&mut self.passed.iter().skip(newest))]
    }

    /// Reads the stored form; `None` if the texts are no marks, or too many.
    pub fn from_stored(at_rest: &str, passed: &str) -> Option<Self> {
        let marks = |text: &str| {
            let marks = text.as_bytes().chunks(8).map(|digits| {
                let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 8);
                u32::from_str_radix(digits?, 16).ok()
            });
            marks.collect::<Option<VecDeque<_>>>()
        };
        let (at_rest, passed) = (marks(at_rest)?, marks(passed)?);
        let are_few = at_rest.len() <= MAX_MARKS_AT_REST && passed.len() <= MAX_MARKS_PASSED;
        are_few.then_some(OldValues { at_rest, passed })
    }
}

fn push(marks: &mut VecDeque<u32>, mark: u32, most: usize) {
    if marks.len() == most {
        marks.pop_front();
    }
    marks.push_back(mark);
}

/// The mark of a field's value: FNV-1a of the name, mixed with the fingerprint. Marks are stored, so this must
/// not change.
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
        for print in 1000..1000 + 3 * MAX_MARKS_PASSED as u64 {
            old.remember("x_mm", &value(print, false));
        }
        assert!(old.has("x_mm", 7) && !old.has("y_mm", 7) && !old.has("x_mm", 8));
        assert!(!old.has("x_mm", 1000) && old.has("x_mm", 999 + 3 * MAX_MARKS_PASSED as u64));
        for print in 0..3 * MAX_MARKS_AT_REST as u64 {
            old.remember("name", &value(print, true));
        }
        assert!(!old.has("x_mm", 7));
        assert_eq!((old.at_rest.len(), old.passed.len()), (MAX_MARKS_AT_REST, MAX_MARKS_PASSED));
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
        for print in 1000..1000 + 2 * MAX_MARKS_PASSED_STORED as u64 {
            old.remember("x_mm", &value(print, false));
        }
        let [at_rest, passed] = old.to_stored();
        let read = OldValues::from_stored(&at_rest, &passed).unwrap();
        assert!(read.has("x_mm", 7) && read.has("x_mm", 999 + 2 * MAX_MARKS_PASSED_STORED as u64));
        assert!(!read.has("x_mm", 1000));
        for damaged in ["1", "0000000g", "00000000f", "\u{fc}00000\u{fc}"] {
            assert_eq!(OldValues::from_stored(damaged, ""), None);
        }
    }
}
