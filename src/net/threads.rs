//! All threads of the server. Each has a name for thread dumps, is counted, and is joined.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// The longest name of a thread that every system shows, in bytes.
const MAX_NAME_BYTES: usize = 15;

/// The threads that run, and those that have ended but are not joined yet.
#[derive(Debug, Default)]
pub struct Threads {
    /// How many may run at a time; `None` for no bound.
    most: Option<usize>,
    running: AtomicUsize,
    state: Mutex<ThreadLists>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ThreadLists {
    next: u64,
    running: HashMap<u64, (String, JoinHandle<()>)>,
    ended: Vec<JoinHandle<()>>,
}

impl Threads {
    /// No thread runs yet. At most `most` may run at a time.
    pub fn new(most: Option<usize>) -> Self {
        Threads { most, ..Self::default() }
    }

    /// How many threads run. Takes no lock.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// Starts a thread with this name. `stack` is the size of its stack in bytes, `None` for the
    /// system's default.
    ///
    /// # Errors
    /// When as many threads run as may, or when the system can't start one.
    pub fn spawn(
        self: &std::sync::Arc<Self>,
        name: String,
        stack: Option<usize>,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let threads = self.clone();
        // The lock is held until the handle is stored, so the thread can't end before that.
        let mut state = self.lock();
        if self.most.is_some_and(|most| state.running.len() >= most) {
            return Err(io::Error::other("as many threads run as the system permits"));
        }
        let number = state.next;
        state.next += 1;
        let mut builder = Builder::new().name(shortened(&name).to_owned());
        if let Some(stack) = stack {
            builder = builder.stack_size(stack);
        }
        let handle = builder.spawn(move || {
            let _ending = EndGuard { threads: &threads, number };
            body();
        })?;
        state.running.insert(number, (name, handle));
        self.running.store(state.running.len(), Relaxed);
        Ok(())
    }

    /// Waits until all threads have ended, or until `deadline`. Returns the names of those that
    /// still run.
    pub fn join_all(&self, deadline: Instant) -> Vec<String> {
        let mut state = self.lock();
        loop {
            let ended = std::mem::take(&mut state.ended);
            if !ended.is_empty() {
                drop(state);
                join(ended);
                state = self.lock();
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.running.is_empty() || left.is_zero() {
                return state.running.values().map(|(name, _)| name.clone()).collect();
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, ThreadLists> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a thread ends, by returning or by a panic, moves it to the ended threads and joins those
/// that ended before.
struct EndGuard<'a> {
    threads: &'a Threads,
    number: u64,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.threads.lock();
        // A thread joins those that ended before it. Starting a thread must not join any: the hub
        // may start one while it holds a send queue's lock.
        let before = std::mem::take(&mut state.ended);
        if let Some((_, handle)) = state.running.remove(&self.number) {
            state.ended.push(handle);
        }
        self.threads.running.store(state.running.len(), Relaxed);
        self.threads.changed.notify_all();
        drop(state);
        join(before);
    }
}

fn join(ended: Vec<JoinHandle<()>>) {
    for handle in ended {
        // A panic was reported when it happened.
        let _ = handle.join();
    }
}

/// Renames the current thread in thread dumps, where the system allows it. A client's thread is
/// started before its client is known.
pub fn rename_current(name: &str) {
    crate::os::name_thread(shortened(name));
}

fn shortened(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    // On Windows a thread can't start while another one ends, because that one holds the loader's
    // lock.
    #[cfg(unix)]
    #[test]
    fn starting_a_thread_waits_for_no_other_to_end() {
        use std::cell::RefCell;
        use std::sync::mpsc::{Receiver, channel};

        /// Delays the end of its thread when the thread has done everything else.
        struct Last(Receiver<()>);
        impl Drop for Last {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        thread_local! {
            static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
        }

        let threads = Arc::new(Threads::default());
        let (release, held) = channel();
        let body = move || LAST.with(|last| *last.borrow_mut() = Some(Last(held)));
        threads.spawn("slow".into(), None, body).unwrap();
        while threads.running() > 0 {
            std::thread::yield_now();
        }
        let (sender, started) = channel();
        let starter = threads.clone();
        std::thread::spawn(move || {
            starter.spawn("next".into(), None, || {}).unwrap();
            sender.send(()).unwrap();
        });
        let started = started.recv_timeout(std::time::Duration::from_secs(20));
        release.send(()).unwrap();
        assert!(started.is_ok(), "it waited");
        let left = threads.join_all(Instant::now() + std::time::Duration::from_secs(20));
        assert_eq!(left, [""; 0]);
    }

    #[test]
    fn threads_are_joined_even_those_that_panic() {
        let threads = Arc::new(Threads::default());
        threads.spawn("fine".into(), None, || {}).unwrap();
        threads.spawn("fails".into(), None, || panic!("on purpose")).unwrap();
        let (release, held) = crossbeam_channel::bounded::<()>(0);
        threads
            .spawn("waits".into(), Some(1 << 17), move || assert!(held.recv().is_err()))
            .unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        let mut left = threads.join_all(soon);
        while left.len() > 1 {
            left = threads.join_all(Instant::now() + Duration::from_millis(50));
        }
        assert_eq!(left, ["waits"]);
        drop(release);
        assert!(threads.join_all(Instant::now() + Duration::from_secs(20)).is_empty());
    }

    #[test]
    fn there_are_never_more_than_may_be() {
        let threads = Arc::new(Threads::new(Some(1)));
        let (release, held) = crossbeam_channel::bounded::<()>(0);
        threads.spawn("waits".into(), None, move || assert!(held.recv().is_err())).unwrap();
        assert!(threads.spawn("one too many".into(), None, || {}).is_err());
        drop(release);
        assert!(threads.join_all(Instant::now() + Duration::from_secs(20)).is_empty());
        threads.spawn("again".into(), None, || {}).unwrap();
    }

    #[test]
    fn names_are_cut_at_a_character() {
        assert_eq!(shortened("c1 müllermüllermüller"), "c1 müllermüll");
        assert_eq!(shortened("hub"), "hub");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_can_be_renamed() {
        let name = std::thread::spawn(|| {
            rename_current("c7 alice and more");
            std::fs::read_to_string("/proc/thread-self/comm").unwrap()
        });
        assert_eq!(name.join().unwrap(), "c7 alice and mo\n");
    }
}
