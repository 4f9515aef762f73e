//! The handle to the thread `store`.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::Store;
use super::messages::{Job, Settings, StoreEvent, Task, Waiter};
use super::queue::{Queue, StoreRequest};
use super::writer::Writer;
use crate::journal::{Journal, JournalEntry, PersistenceLag, StoreStats};

/// A handle to the thread `store`. The hub thread pushes to its queue, and clients' threads wait
/// for room in it. Cheap to clone; any thread may use it.
#[derive(Clone)]
pub struct StoreHandle {
    queue: Arc<Queue>,
}

impl StoreHandle {
    /// Makes a handle, and the writer that is to be run on a thread named `store`. `events` is
    /// called on that thread. It may wait for the hub's event queue, as the hub never waits for the
    /// store.
    pub fn new(
        store: Store,
        settings: Settings,
        events: impl Fn(StoreEvent) + Send + 'static,
    ) -> (Self, Writer) {
        let queue = Arc::new(Queue::new(settings.queue_bytes));
        let reported = queue.clone();
        let events = move |event| {
            if let StoreEvent::Durable(works) = event {
                reported.set_failing(!works);
            }
            events(event);
        };
        let writer = Writer::new(store, settings, Box::new(events), queue.clone());
        (StoreHandle { queue }, writer)
    }

    /// Makes a handle and starts the thread `store`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        store: Store,
        settings: Settings,
        events: impl Fn(StoreEvent) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (handle, writer) = Self::new(store, settings, events);
        let thread = std::thread::Builder::new().name("store".into());
        Ok((handle, thread.spawn(move || writer.run())?))
    }

    /// Has the thread `store` call a task, after everything that was pushed before it is on disk.
    /// Doesn't wait. The task is dropped uncalled while the disk fails, and after the thread has
    /// ended.
    pub fn job(&self, task: Task) {
        self.queue.push(StoreRequest::Job(Job::Task(task)));
    }

    /// Has the thread write everything and end, and waits for that until `deadline`. Returns true
    /// where everything is on disk. To be called when no thread pushes any more.
    pub fn stop(&self, deadline: Instant) -> bool {
        self.queue.stop(deadline)
    }
}

impl Journal for StoreHandle {
    fn keep(&self, keep: JournalEntry) {
        self.queue.push(StoreRequest::Write(keep));
    }

    fn confirm(&self, number: u64) -> bool {
        self.queue.push(StoreRequest::Wait(Waiter::Confirmation(number)))
    }

    /// Answered with [`StoreEvent::Loaded`].
    fn load(&self, session: Arc<str>) {
        self.queue.push(StoreRequest::Load(session));
    }

    /// Answered with [`StoreEvent::Deleted`].
    fn delete(&self, session: Arc<str>, number: u64) -> bool {
        self.queue.push(StoreRequest::Job(Job::Delete { session, number }))
    }

    /// Answered with [`StoreEvent::Renamed`].
    fn rename(&self, session: Arc<str>, to: Arc<str>, number: u64) -> bool {
        self.queue.push(StoreRequest::Job(Job::Rename { session, to, number }))
    }

    fn flushed(&self) -> Receiver<()> {
        let (done, flushed) = crossbeam_channel::bounded(1);
        self.queue.push(StoreRequest::Wait(Waiter::Thread(done)));
        flushed
    }

    fn wait_for_room(&self, deadline: Option<Instant>) -> bool {
        self.queue.wait_for_room(deadline)
    }

    fn lag(&self) -> PersistenceLag {
        self.queue.lag()
    }

    fn stats(&self) -> StoreStats {
        self.queue.counters.read()
    }
}
