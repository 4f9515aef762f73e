//! What the hub thread holds back until the journal has written every entry before it. Pure: no
//! thread, no socket, no file.

use std::collections::VecDeque;

/// Held messages in the order of their numbers. The journal tells which numbers are persisted and
/// which are lost. It has each number in its own bounded queue, which bounds this one too.
#[derive(Debug)]
pub struct Confirmations<T> {
    waiting: VecDeque<(u64, T)>,
    /// The number that was given last.
    last: u64,
}

impl<T> Default for Confirmations<T> {
    fn default() -> Self {
        Confirmations { waiting: VecDeque::new(), last: 0 }
    }
}

impl<T> Confirmations<T> {
    /// Holds a message back. Returns its number, which the caller tells the journal.
    pub fn hold(&mut self, held: T) -> u64 {
        self.last += 1;
        self.waiting.push_back((self.last, held));
        self.last
    }

    /// Takes the next message to send, where everything up to this number is persisted.
    pub fn next_up_to(&mut self, number: u64) -> Option<T> {
        match self.waiting.front() {
            Some((waiting, _)) if *waiting <= number => {
                self.waiting.pop_front().map(|(_, held)| held)
            }
            _ => None,
        }
    }

    /// Drops the messages with the numbers from `first` to `last`: what they confirm is lost.
    /// Returns how many there were.
    pub fn drop_lost(&mut self, first: u64, last: u64) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|(number, _)| !(first..=last).contains(number));
        before - self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_messages_are_sent_in_order_and_lost_ones_never() {
        let mut held = Confirmations::default();
        let numbers: Vec<u64> = (b'a'..=b'f').map(|letter| held.hold(letter as char)).collect();
        assert_eq!(held.next_up_to(numbers[0] - 1), None);
        assert_eq!(held.drop_lost(numbers[2], numbers[3]), 2);
        assert_eq!(held.drop_lost(numbers[2], numbers[3]), 0, "they are gone");
        let mut out = |up_to| std::iter::from_fn(|| held.next_up_to(up_to)).collect::<String>();
        assert_eq!(out(numbers[2]), "ab");
        assert_eq!(out(numbers[4]), "e");
        assert_eq!(out(u64::MAX), "f");
    }
}
