//! What is stored, while a server writes it: for a client's request a thread of its own reads the database,
//! a few at a time. The thread `store` makes the changes that concern no session in memory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::compact::{CompactResult, Compaction};
use super::{document, over_damaged};
use crate::hub::Document;
use crate::journal::Journal;
use crate::journal::{HistoryWindow, JournalEntry};
use crate::store::{Reader, Retention, Store, StoreError, StoreHandle, Summary};

/// How many requests read at a time.
const MAX_READERS: usize = 4;
/// How long a request waits until it may read, and how long it may then take.
const READER_WAIT: Duration = Duration::from_secs(1);
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How much later a read ends that has taken so long, unless the disk doesn't answer.
const READ_GRACE: Duration = Duration::from_secs(1);
/// How long a request waits until what was said before is on disk, and until a change is.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a compaction of everything may take.
const COMPACT_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a request that waits looks whether the server is stopping.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Reads and changes what is stored. Any client's thread may use it; every call blocks, none on the hub.
pub struct ArchiveService {
    directory: PathBuf,
    retention: Retention,
    /// Once the thread `store` runs.
    store: OnceLock<StoreHandle>,
    /// Nothing can be written now.
    fails: AtomicBool,
    readers: Mutex<usize>,
    changed: Condvar,
    /// Shared by readers; the thread `store` takes it to open the file again
    /// ([`Settings`](crate::store::Settings)).
    gate: Arc<RwLock<()>>,
    is_compacting: AtomicBool,
}

/// Why something can't be had or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveError {
    /// Too many requests read, or it takes too long.
    Busy,
    /// The disk doesn't answer.
    Silent,
    /// A compaction is going on.
    Compacting,
    /// Nothing can be written.
    NotWritten,
    /// Nothing can be read: the log says why.
    Unreadable,
    /// What is stored of this session is not what was written: likewise.
    Damaged,
    /// There is no such session.
    Unknown,
    /// The server is stopping.
    Stopping,
}

impl ArchiveService {
    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// For the store of a data directory. What is not to be kept is removed when it is compacted.
    pub fn new(directory: PathBuf, retention: Retention) -> Self {
        ArchiveService {
            directory,
            retention,
            store: OnceLock::new(),
            fails: AtomicBool::new(false),
            readers: Mutex::new(0),
            changed: Condvar::new(),
            gate: Arc::default(),
            is_compacting: AtomicBool::new(false),
        }
    }

    /// The thread `store` runs, and this is its handle. Only the first one counts.
    pub fn open(&self, store: StoreHandle) {
        let _ = self.store.set(store);
    }

    /// Takes note that writing works again, or doesn't any more.
    pub fn note(&self, works: bool) {
        self.fails.store(!works, Ordering::Relaxed);
    }

    /// The lock that keeps readers out while the thread `store` opens the file again.
    pub fn gate(&self) -> Arc<RwLock<()>> {
        self.gate.clone()
    }

    /// What is kept when nothing else is said.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// Looks into the store, which goes on being written. What happened within the last second may
    /// not be there yet.
    ///
    /// A thread of its own does it: a disk that doesn't answer keeps that thread and its permit, and not the
    /// client's thread.
    ///
    /// # Errors
    /// Why that isn't possible; the log has more, where there is more to say.
    pub fn look<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let permit = self.permit().ok_or(ArchiveError::Busy)?;
        let until = Instant::now() + READ_TIMEOUT;
        let (done, looked) = crossbeam_channel::bounded(1);
        let archive = self.clone();
        let thread = thread::Builder::new().name("look".into()).spawn(move || {
            let found = archive.look_until(until, look);
            drop(permit);
            // A client's thread that has given up doesn't wait any more.
            let _ = done.try_send(found);
        });
        let thread = thread.map_err(|error| {
            log::error!("what is stored can't be looked at: no thread to do it: {error}");
            ArchiveError::Busy
        })?;
        match looked.recv_deadline(until + READ_GRACE) {
            Ok(found) => {
                let _ = thread.join();
                found
            }
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => Err(ArchiveError::Busy),
            },
            Err(RecvTimeoutError::Timeout) => {
                log::error!("what is stored can't be looked at: the disk doesn't answer");
                Err(ArchiveError::Silent)
            }
        }
    }

    fn look_until<T>(
        &self,
        until: Instant,
        look: impl FnOnce(&Reader) -> Result<T, StoreError>,
    ) -> Result<T, ArchiveError> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let mut reader = Reader::open(&self.directory).map_err(|why| {
            log::error!("what is stored can't be looked at: {why}");
            ArchiveError::Unreadable
        })?;
        let looked = reader.set_deadline(until).and_then(|()| look(&reader));
        looked.map_err(|trouble| match trouble {
            StoreError::Full(_) if Instant::now() >= until => ArchiveError::Busy,
            StoreError::SessionCorrupt(why) => {
                log::error!("what is stored of a session can't be used: {why}");
                ArchiveError::Damaged
            }
            trouble => {
                log::error!("what is stored can't be looked at: {trouble}: {}", trouble.advice());
                ArchiveError::Unreadable
            }
        })
    }

    /// Waits until all that has happened so far is on disk, so that a read sees it.
    ///
    /// # Errors
    /// [`ArchiveError::NotWritten`] where it can't be written, or [`ArchiveError::Stopping`].
    pub fn written(&self, is_stopping: &dyn Fn() -> bool) -> Result<(), ArchiveError> {
        wait(&self.store()?.flushed(), WRITE_TIMEOUT, is_stopping)
    }

    /// Puts an earlier document over what is stored of a session, if that can't be read: then the session is
    /// not in memory either. Returns the number of the change.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`], where it can be read; otherwise why it can't be done.
    pub fn restore_damaged(
        &self,
        now: Summary,
        earlier: Document,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<u64, ArchiveError> {
        let mut keep = over_damaged(now, earlier);
        self.change(WRITE_TIMEOUT, is_stopping, move |store| {
            let whole = match store.load(keep.session(), HistoryWindow { changes: 0, bytes: 0 }) {
                Ok(stored) => stored.is_none_or(|stored| document(&stored).is_ok()),
                Err(StoreError::SessionCorrupt(_)) => false,
                Err(trouble) => return ControlFlow::Break(Err(trouble)),
            };
            ControlFlow::Break(match whole {
                true => Ok(Err(ArchiveError::Busy)),
                false => put(store, &mut keep).map(Ok),
            })
        })?
    }

    /// Makes a session, or all, open faster, removes what is not to be kept, and gives the room back.
    /// Others go on writing meanwhile.
    ///
    /// # Errors
    /// Why it can't be done; some of it may be.
    pub fn compact(
        &self,
        session: Option<Arc<str>>,
        retention: Retention,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<CompactResult, ArchiveError> {
        if self.is_compacting.swap(true, Ordering::Acquire) {
            return Err(ArchiveError::Compacting);
        }
        let mut compaction = None;
        let done = self.change(COMPACT_TIMEOUT, is_stopping, move |store| {
            if compaction.is_none() {
                compaction = Compaction::begin(store, session.as_deref(), retention);
            }
            match &mut compaction {
                None => ControlFlow::Break(Ok(Err(ArchiveError::Unknown))),
                Some(compaction) => match compaction.go_on(store) {
                    Ok(None) => ControlFlow::Continue(()),
                    Ok(Some(done)) => ControlFlow::Break(Ok(Ok(done))),
                    Err(trouble) => ControlFlow::Break(Err(trouble)),
                },
            }
        });
        self.is_compacting.store(false, Ordering::Release);
        done?
    }

    /// Has something done on the thread `store`, piece by piece.
    fn change<T: Send + 'static>(
        &self,
        timeout: Duration,
        is_stopping: &dyn Fn() -> bool,
        mut change: impl FnMut(&mut Store) -> ControlFlow<Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let (done, answer) = crossbeam_channel::bounded(1);
        // The sender is dropped where the disk fails or the thread has ended, which ends the wait.
        self.store()?.job(Box::new(move |store| match change(store) {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(result) => {
                let _ = done.try_send(result);
                ControlFlow::Break(())
            }
        }));
        wait(&answer, timeout, is_stopping)?.map_err(|trouble| {
            log::error!("what is stored can't be changed: {trouble}: {}", trouble.advice());
            match trouble {
                StoreError::SessionCorrupt(_) => ArchiveError::Damaged,
                _ => ArchiveError::NotWritten,
            }
        })
    }

    fn store(&self) -> Result<&StoreHandle, ArchiveError> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(ArchiveError::NotWritten),
            false => self.store.get().ok_or(ArchiveError::NotWritten),
        }
    }

    fn permit(self: &Arc<Self>) -> Option<Permit> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.changed.wait_timeout_while(readers, READER_WAIT, |open| *open >= MAX_READERS);
        let (mut readers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (*readers < MAX_READERS).then(|| {
            *readers += 1;
            Permit(self.clone())
        })
    }
}

/// Permission to read, until it is dropped.
struct Permit(Arc<ArchiveService>);

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.readers.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_one();
    }
}

/// Stores a whole document as a session's next change, and returns its number.
fn put(store: &mut Store, keep: &mut JournalEntry) -> Result<u64, StoreError> {
    let next = store.next_number(keep.session())?;
    if let JournalEntry::Snapshot { seq, .. } = keep {
        *seq = next;
    }
    store.commit([&*keep]).map(|_| next)
}

/// Waits for an answer of the thread `store`. The end of that thread is an answer, too.
fn wait<T>(
    answer: &Receiver<T>,
    timeout: Duration,
    is_stopping: &dyn Fn() -> bool,
) -> Result<T, ArchiveError> {
    let until = Instant::now() + timeout;
    loop {
        match answer.recv_deadline(until.min(Instant::now() + STOP_POLL_INTERVAL)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(ArchiveError::NotWritten),
            Err(RecvTimeoutError::Timeout) if is_stopping() => return Err(ArchiveError::Stopping),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                return Err(ArchiveError::NotWritten);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
