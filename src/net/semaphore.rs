//! A bound of the questions without a WebSocket that are asked at one time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many questions may wait in the hub's event queue or for its answer. The queue has room for
/// many more events, so repeated questions don't delay other messages.
pub const MAX_QUESTIONS: usize = 16;

/// The questions that are being answered. Any thread may ask; none waits.
#[derive(Debug)]
pub struct Semaphore {
    open: AtomicUsize,
    most: usize,
}

impl Default for Semaphore {
    fn default() -> Self {
        Semaphore::new(MAX_QUESTIONS)
    }
}

/// The permit for one question. Dropping it releases it.
#[derive(Debug)]
pub struct Permit<'a>(&'a Semaphore);

impl Semaphore {
    /// At most `most` permits at one time.
    pub fn new(most: usize) -> Self {
        Semaphore { open: AtomicUsize::new(0), most }
    }

    /// Takes a permit; `None` while there are as many as there may be.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        let one_more = |open| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_sixteen_turns_and_one_that_is_over_is_there_again() {
        let questions = Semaphore::default();
        let mut turns: Vec<Permit<'_>> =
            (0..MAX_QUESTIONS).filter_map(|_| questions.try_acquire()).collect();
        assert_eq!((turns.len(), questions.try_acquire().is_none()), (MAX_QUESTIONS, true));
        drop(turns.pop());
        let again = questions.try_acquire();
        assert!(again.is_some() && questions.try_acquire().is_none());
        drop((turns, again));
        assert_eq!((0..100).map(|_| questions.try_acquire()).filter(Option::is_some).count(), 100);
    }
}
