//! The handle to the thread `store`.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::Store;
use super::messages::{After, Job, Settings, StoreEvent};
use super::queue::{Entry, Queue};
use super::writer::Writer;
use crate::kept::{Keep, Lag};

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
        let (keeper, writer) = Self::new(store, settings, events);
        let thread = std::thread::Builder::new().name("store".into());
        Ok((keeper, thread.spawn(move || writer.run())?))
    }

    /// Has something kept. Never waits for the disk. Dropped when the thread has ended.
    pub fn keep(&self, keep: Keep) {
        self.queue.give(Entry::Keep(keep));
    }

    /// Has something run on the thread `store` when everything that was to be kept before it is on
    /// disk, in the order given. Never waits for the disk. Dropped without being run when that can't
    /// be: when the thread has ended, or what came before is lost.
    pub fn after(&self, after: Box<dyn FnOnce() + Send>) {
        self.confirm(Box::new(move |_| after()));
    }

    /// The same for something that adds to clients' queues.
    pub fn confirm(&self, after: After) {
        self.queue.give(Entry::After(after));
    }

    /// Has a session loaded, which is answered with [`StoreEvent::Loaded`]. Never waits for the
    /// disk.
    pub fn load(&self, session: Arc<str>) {
        self.queue.give(Entry::Load(session));
    }

    /// Has something done with the store, after everything that was to be kept before it. Never
    /// waits for the disk. Dropped without being called while the disk fails, or when the thread has
    /// ended.
    pub fn job(&self, job: Job) {
        self.queue.give(Entry::Job(job));
    }

    /// Waits while more than [`Settings::queue_bytes`] wait for the disk. For clients' threads,
    /// before they give the hub anything; never for the hub's.
    pub fn wait_for_room(&self) {
        self.queue.wait_for_room();
    }

    /// The same until `deadline` at most. Whether there is room.
    pub fn wait_for_room_until(&self, deadline: Instant) -> bool {
        self.queue.wait_for_room_until(deadline)
    }

    /// How far the disk is behind. Doesn't wait.
    pub fn lag(&self) -> Lag {
        self.queue.lag()
    }

    /// Has the thread write what waits and end, and waits for that until `deadline`. Whether
    /// everything is on disk. Call it when nobody gives anything any more.
    pub fn stop(&self, deadline: Instant) -> bool {
        self.queue.stop(deadline)
    }
}
