//! How many may ask something without a WebSocket at one time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many questions there may be at one time, from when they reach the hub's event queue until they are
/// answered. The event queue has room for many more events than that, so that whoever asks
/// over and over never stands in the way of whoever says something.
pub const MAX_AT_ONCE: usize = 16;

/// The questions that are being answered. Any thread may ask; nobody waits.
#[derive(Debug)]
pub struct Semaphore {
    open: AtomicUsize,
    most: usize,
}

impl Default for Semaphore {
    fn default() -> Self {
        Semaphore::at_most(MAX_AT_ONCE)
    }
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Permit<'a>(&'a Semaphore);

impl Semaphore {
    /// At most so many at one time.
    pub fn at_most(most: usize) -> Self {
        Semaphore { open: AtomicUsize::new(0), most }
    }

    /// A turn; `None` while there are as many as there may be.
    pub fn ask(&self) -> Option<Permit<'_>> {
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
        let mut turns: Vec<Permit<'_>> = (0..MAX_AT_ONCE).filter_map(|_| questions.ask()).collect();
        assert_eq!((turns.len(), questions.ask().is_none()), (MAX_AT_ONCE, true));
        drop(turns.pop());
        let again = questions.ask();
        assert!(again.is_some() && questions.ask().is_none());
        drop((turns, again));
        assert_eq!((0..100).map(|_| questions.ask()).filter(Option::is_some).count(), 100);
    }
}
