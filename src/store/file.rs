//! The database file of the thread `store`: open, closed after a failure, or closed for good.

use super::{ClosedStore, Store, StoreError};
use crate::journal::StoredSession;

/// The file in one of its states.
pub enum StoreFile {
    Open(Box<Store>),
    /// A write or read has failed: to be opened again.
    Closed(Box<ClosedStore>),
    /// The thread `store` ends.
    Ended,
}

impl StoreFile {
    /// The open store.
    ///
    /// # Errors
    /// [`StoreError::Io`] where it is not open.
    pub fn store(&mut self) -> Result<&mut Store, StoreError> {
        match self {
            StoreFile::Open(store) => Ok(store),
            _ => Err(StoreError::Io("the file is not open".into())),
        }
    }

    /// Reads a session; `None` where none of this name is stored.
    pub fn load(
        &self,
        session: &str,
        reach: super::HistoryWindow,
    ) -> Result<Option<StoredSession>, StoreError> {
        match self {
            StoreFile::Open(store) => store.load(session, reach),
            StoreFile::Closed(closed) => closed.load(session, reach),
            StoreFile::Ended => Err(StoreError::Io("the file is not open".into())),
        }
    }

    /// Closes an open file and writes nothing to it.
    pub fn close_unwritten(&mut self) {
        *self = match std::mem::replace(self, StoreFile::Ended) {
            StoreFile::Open(store) => StoreFile::Closed(Box::new(store.close_unwritten())),
            other => other,
        };
    }

    /// Opens a closed file, and writes again what may not be on disk ([`ClosedStore::open`]).
    ///
    /// # Errors
    /// [`StoreError`]: it stays closed.
    pub fn open(&mut self) -> Result<(), StoreError> {
        let (opened, result) = match std::mem::replace(self, StoreFile::Ended) {
            StoreFile::Closed(closed) => match closed.open() {
                Ok(store) => (StoreFile::Open(Box::new(store)), Ok(())),
                Err((closed, error)) => (StoreFile::Closed(closed), Err(error)),
            },
            other => (other, Ok(())),
        };
        *self = opened;
        result
    }
}
