//! Whether the server is stopping, for threads that look and for threads that sleep.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Begins once and doesn't end. Any thread may ask.
#[derive(Debug, Default)]
pub struct Stopping {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    has_begun: bool,
    /// Whoever sleeps is to look now.
    is_woken: bool,
}

impl Stopping {
    /// The server is stopping from now on; whoever sleeps is woken.
    pub fn begin(&self) {
        self.lock().has_begun = true;
        self.changed.notify_all();
    }

    /// Whether it is stopping.
    pub fn has_begun(&self) -> bool {
        self.lock().has_begun
    }

    /// Wakes the one that sleeps, or has it not sleep the next time.
    pub fn wake(&self) {
        self.lock().is_woken = true;
        self.changed.notify_all();
    }

    /// Sleeps for so long, or until woken, or until the server is stopping. Whether it is. For one thread.
    pub fn sleep(&self, longest: Duration) -> bool {
        let sleeps = |state: &mut State| !state.has_begun && !state.is_woken;
        let waited = self.changed.wait_timeout_while(self.lock(), longest, sleeps);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.is_woken = false;
        state.has_begun
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn whoever_sleeps_is_woken() {
        let stopping = Arc::new(Stopping::default());
        assert!(!stopping.sleep(Duration::from_millis(1)) && !stopping.has_begun());
        let (told, woken) = crossbeam_channel::bounded(1);
        let sleeping = stopping.clone();
        std::thread::spawn(move || told.send(sleeping.sleep(Duration::from_secs(3600))));
        stopping.wake();
        assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(false));
        stopping.wake();
        assert!(!stopping.sleep(Duration::from_secs(3600)), "it was woken before it slept");
        let (told, woken) = crossbeam_channel::bounded(1);
        let sleeping = stopping.clone();
        std::thread::spawn(move || told.send(sleeping.sleep(Duration::from_secs(3600))));
        stopping.begin();
        assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(true));
        assert!(stopping.has_begun() && stopping.sleep(Duration::from_secs(3600)));
    }
}
