//! The handle to the thread `store`.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::Store;
use super::messages::{Job, Settings, StoreEvent, Task, Waiter};
use super::queue::{Entry, Queue};
use super::writer::Writer;
use crate::kept::{Journal, Keep, Lag};

/// The handle to the thread `store`: the hub gives, clients' threads wait for room. Cloning it is
/// cheap, and any thread may use it.
#[derive(Clone)]
pub struct StoreHandle {
    queue: Arc<Queue>,
}

impl StoreHandle {
    /// The handle to a store's thread, and what is to be run on it. `events` is called on that
    /// thread; it may wait for the hub's event queue, as the hub never waits for the store.
    pub fn new(
        store: Store,
        settings: Settings,
        events: impl Fn(StoreEvent) + Send + 'static,
    ) -> (Self, Writer) {
        let queue = Arc::new(Queue::new(settings.queue_bytes));
        let shown = queue.clone();
        let events = move |event| {
            if let StoreEvent::Durable(works) = event {
                shown.fails(!works);
            }
            events(event);
        };
        let writer = Writer::new(store, settings, Box::new(events), queue.clone());
        (StoreHandle { queue }, writer)
    }

    /// The same, with the thread started: for whoever has no server's threads to put it among.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        store: Store,
        settings: Settings,
        events: impl Fn(StoreEvent) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (handle, writer) = Self::new(store, settings, events);
        let thread = std::thread::Builder::new().name("store".into());
        Ok((handle, thread.spawn(move || writer.run())?))
    }

    /// Has a task called with the store, after everything that was given before it is on disk. Never waits for
    /// the disk. Dropped without being called while the disk fails, or when the thread has ended.
    pub fn job(&self, task: Task) {
        self.queue.give(Entry::Job(Job::Task(task)));
    }

    /// Has the thread write what waits and end, and waits for that until `deadline`. Whether
    /// everything is on disk. Call it when nobody gives anything any more.
    pub fn stop(&self, deadline: Instant) -> bool {
        self.queue.stop(deadline)
    }
}

impl Journal for StoreHandle {
    fn keep(&self, keep: Keep) {
        self.queue.give(Entry::Keep(keep));
    }

    fn confirm(&self, number: u64) -> bool {
        self.queue.give(Entry::Wait(Waiter::Confirmation(number)))
    }

    /// Answered with [`StoreEvent::Loaded`].
    fn load(&self, session: Arc<str>) {
        self.queue.give(Entry::Load(session));
    }

    /// Answered with [`StoreEvent::Deleted`].
    fn delete(&self, session: Arc<str>, number: u64) -> bool {
        self.queue.give(Entry::Job(Job::Delete { session, number }))
    }

    fn flushed(&self) -> Receiver<()> {
        let (done, flushed) = crossbeam_channel::bounded(1);
        self.queue.give(Entry::Wait(Waiter::Thread(done)));
        flushed
    }

    fn wait_for_room(&self, deadline: Option<Instant>) -> bool {
        self.queue.wait_for_room(deadline)
    }

    fn lag(&self) -> Lag {
        self.queue.lag()
    }
}
