//! Whether the server is stopping, for threads that check it and for one thread that sleeps.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A flag that is set once. Any thread may read it.
#[derive(Debug, Default)]
pub struct Shutdown {
    state: Mutex<ShutdownState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ShutdownState {
    has_begun: bool,
    /// True where the sleeping thread has to wake up.
    is_woken: bool,
}

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeReason {
    /// The time has passed.
    TimedOut,
    /// Another thread called [`wake`](Shutdown::wake).
    Woken,
    Stopping,
}

impl Shutdown {
    /// Sets the flag and wakes the sleeping thread.
    pub fn begin(&self) {
        self.lock().has_begun = true;
        self.changed.notify_all();
    }

    pub fn has_begun(&self) -> bool {
        self.lock().has_begun
    }

    /// Wakes the sleeping thread, or ends its next sleep at once.
    pub fn wake(&self) {
        self.lock().is_woken = true;
        self.changed.notify_all();
    }

    /// Sleeps for `longest`, until woken, or until the server is stopping. Only one thread may call
    /// it.
    pub fn sleep(&self, longest: Duration) -> WakeReason {
        let sleeps = |state: &mut ShutdownState| !state.has_begun && !state.is_woken;
        let waited = self.changed.wait_timeout_while(self.lock(), longest, sleeps);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (state.has_begun, std::mem::take(&mut state.is_woken)) {
            (true, _) => WakeReason::Stopping,
            (false, true) => WakeReason::Woken,
            (false, false) => WakeReason::TimedOut,
        }
    }

    fn lock(&self) -> MutexGuard<'_, ShutdownState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_sleeping_thread_is_woken() {
        let stopping = Arc::new(Shutdown::default());
        assert_eq!(stopping.sleep(Duration::from_millis(1)), WakeReason::TimedOut);
        assert!(!stopping.has_begun());
        let (told, woken) = crossbeam_channel::bounded(1);
        let sleeping = stopping.clone();
        std::thread::spawn(move || told.send(sleeping.sleep(Duration::from_secs(3600))));
        stopping.wake();
        assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(WakeReason::Woken));
        stopping.wake();
        let slept = stopping.sleep(Duration::from_secs(3600));
        assert_eq!(slept, WakeReason::Woken, "it was woken before it slept");
        let (told, woken) = crossbeam_channel::bounded(1);
        let sleeping = stopping.clone();
        std::thread::spawn(move || told.send(sleeping.sleep(Duration::from_secs(3600))));
        stopping.begin();
        assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(WakeReason::Stopping));
        assert!(stopping.has_begun());
        assert_eq!(stopping.sleep(Duration::from_secs(3600)), WakeReason::Stopping);
    }
}
