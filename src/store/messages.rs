//! What the thread `store` is told, and what it tells.

use std::ops::ControlFlow;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::{Retention, Store};
use crate::journal::{HistoryWindow, StoredSession};

/// The memory that a waiter is counted with, in bytes.
pub const WAITER_BYTES: usize = 256;

/// What waits until every entry that was pushed before it is on disk.
#[derive(Debug)]
pub enum Waiter {
    /// A confirmation that the hub thread holds back, by its number.
    Confirmation(u64),
    /// A thread, which holds the receiver.
    Thread(Sender<()>),
}

/// A function that is called with the store between two transactions, until it breaks. Entries that
/// are pushed meanwhile are on disk at the next call. Each call delays everything that waits for
/// the disk.
pub type Task = Box<dyn FnMut(&mut Store) -> ControlFlow<()> + Send>;

/// What the thread `store` does between two transactions.
pub enum Job {
    Task(Task),
    /// Removes a session, and tells [`StoreEvent::Deleted`] with this number.
    Delete {
        session: Arc<str>,
        number: u64,
    },
    /// Renames a session, and tells [`StoreEvent::Renamed`] with this number.
    Rename {
        session: Arc<str>,
        to: Arc<str>,
        number: u64,
    },
}

/// What the thread `store` tells the hub thread.
#[derive(Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// A session was loaded; `None` where none is stored under this name. An error where it can't
    /// be loaded now, or is damaged: the log says which.
    Loaded { session: Arc<str>, stored: Result<Option<StoredSession>, ()> },
    /// Every confirmation up to this number may be sent, except those that were told as lost.
    Persisted { up_to: u64 },
    /// The confirmations from `first` to `last` are never to be sent: their changes are not on disk
    /// and never will be.
    Lost { first: u64, last: u64 },
    /// A session was deleted, or could not be.
    Deleted { number: u64, is_done: bool },
    /// A session was renamed, or could not be.
    Renamed { number: u64, session: Arc<str>, to: Arc<str>, is_done: bool },
    /// Changes are written from now on (true), or can't be (false). It begins with true, which is
    /// not told.
    Durable(bool),
    /// Entries of this session were dropped. The hub is to journal a snapshot of it
    /// ([`JournalEntry::Snapshot`](crate::journal::JournalEntry::Whole)).
    SnapshotRequested { session: Arc<str> },
}

/// How the thread `store` works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much may wait before clients' threads wait too, in bytes. While the disk fails, half of
    /// it is kept in memory at most.
    pub queue_bytes: usize,
    /// How long entries without a waiter are collected before they are written.
    pub gather: Duration,
    /// The pause before writing is tried again: the first, and the longest.
    pub retry: (Duration, Duration),
    /// How much history is loaded with a session.
    pub reach: HistoryWindow,
    pub retention: Retention,
    /// Readers in this process hold it to read. The thread `store` holds it to write while it opens
    /// the file again after a failure: the file must not be open elsewhere in the process then.
    pub gate: Arc<RwLock<()>>,
}

impl Settings {
    /// This reach and retention, and defaults for the rest.
    pub fn new(reach: HistoryWindow, retention: Retention) -> Self {
        Settings {
            queue_bytes: 16 << 20,
            // With the fsync that follows, a change is on disk within 100 ms.
            gather: Duration::from_millis(80),
            retry: (Duration::from_secs(1), Duration::from_secs(10)),
            reach,
            retention,
            gate: Arc::default(),
        }
    }
}
