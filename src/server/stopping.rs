//! Whether the server is stopping, for threads that look and for threads that sleep.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Begins once and doesn't end. Any thread may ask.
#[derive(Debug, Default)]
pub struct Stopping {
    has_begun: Mutex<bool>,
    begun: Condvar,
}

impl Stopping {
    /// The server is stopping from now on; whoever sleeps is woken.
    pub fn begin(&self) {
        *self.lock() = true;
        self.begun.notify_all();
    }

    /// Whether it is stopping.
    pub fn has_begun(&self) -> bool {
        *self.lock()
    }

    /// Sleeps for so long, or until the server is stopping. Whether it is.
    pub fn sleep(&self, longest: Duration) -> bool {
        let waited = self.begun.wait_timeout_while(self.lock(), longest, |begun| !*begun);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.has_begun.lock().unwrap_or_else(PoisonError::into_inner)
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
        stopping.begin();
        assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(true));
        assert!(stopping.has_begun() && stopping.sleep(Duration::from_secs(3600)));
    }
}
