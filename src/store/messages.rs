//! What the thread `store` is told, and what it tells.

use std::ops::ControlFlow;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::{Retention, Store};
use crate::kept::{Reach, Stored};

/// What a waiting confirmation is reckoned to take, in bytes.
pub const WAITER_BYTES: usize = 256;

/// What waits until everything that was given before it is on disk.
#[derive(Debug)]
pub enum Waiter {
    /// A confirmation of the hub's, with its number.
    Confirmation(u64),
    /// A thread, which holds the other end.
    Thread(Sender<()>),
}

/// A function that is called with the store, between two transactions, until it breaks. What was given
/// meanwhile is on disk at each call. Each call delays everything that waits for the disk.
pub type Task = Box<dyn FnMut(&mut Store) -> ControlFlow<()> + Send>;

/// Something to be done with the store, between two transactions.
pub enum Job {
    Task(Task),
    /// Removes a session; the number is that of [`StoreEvent::Deleted`].
    Delete {
        session: Arc<str>,
        number: u64,
    },
}

/// What the store tells the hub.
#[derive(Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// A session that was to be loaded; `None` where none is stored. An error where it can't be
    /// loaded now or at all; the log says why.
    Loaded { session: Arc<str>, stored: Result<Option<Stored>, ()> },
    /// Every confirmation up to this number may go out, except those that were told as lost before.
    Persisted { up_to: u64 },
    /// What these confirmations, from the first number to the last, are about is not on disk and never will be.
    Lost { first: u64, last: u64 },
    /// Whether a session was removed.
    Deleted { number: u64, is_done: bool },
    /// Whether what happens is being written. True at the start, without being said.
    Durable(bool),
    /// What was to be kept of this session has been dropped: a [`Keep::Whole`](crate::kept::Keep::Whole) has to come of it.
    Wanted { session: Arc<str> },
}

/// What the thread keeps to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many bytes may wait before clients' readers do; and half of it is what is kept in memory
    /// at most while the disk fails.
    pub queue_bytes: usize,
    /// How long what nobody waits for is gathered.
    pub gather: Duration,
    /// How long to wait before writing is tried again: at first, and at most.
    pub retry: (Duration, Duration),
    /// How far back a session is loaded.
    pub reach: Reach,
    pub retention: Retention,
    /// Held to read by whoever looks into the file in this process, and to write while the file is opened
    /// again after it could not be written: nobody else may have it open then.
    pub gate: Arc<RwLock<()>>,
}

impl Settings {
    /// With this reach and retention, and the rest as it is by default.
    pub fn new(reach: Reach, retention: Retention) -> Self {
        Settings {
            queue_bytes: 16 << 20,
            // With an fsync it is on disk within 100 ms.
            gather: Duration::from_millis(80),
            retry: (Duration::from_secs(1), Duration::from_secs(10)),
            reach,
            retention,
            gate: Arc::default(),
        }
    }
}
