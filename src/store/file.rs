//! The database file as the thread `store` has it: open, closed because it failed, or ended.

use super::{Closed, Store, StoreError};
use crate::kept::Stored;

/// The file.
pub enum StoreFile {
    Open(Box<Store>),
    Closed(Box<Closed>),
    /// For good: the thread ends.
    Ended,
}

impl StoreFile {
    /// The store, while it is open.
    ///
    /// # Errors
    /// [`StoreError::Io`] while it is not.
    pub fn store(&mut self) -> Result<&mut Store, StoreError> {
        match self {
            StoreFile::Open(store) => Ok(store),
            _ => Err(StoreError::Io("it is not open".into())),
        }
    }

    /// What is stored of a session.
    ///
    /// # Errors
    /// [`StoreError`], when it can't be read.
    pub fn load(&self, session: &str, reach: super::Reach) -> Result<Option<Stored>, StoreError> {
        match self {
            StoreFile::Open(store) => store.load(session, reach),
            StoreFile::Closed(closed) => closed.load(session, reach),
            StoreFile::Ended => Err(StoreError::Io("it is not open".into())),
        }
    }

    /// Closes the file if it may have to be written anew.
    pub fn let_go(&mut self) {
        *self = match std::mem::replace(self, StoreFile::Ended) {
            StoreFile::Open(store) => StoreFile::Closed(Box::new(store.let_go())),
            other => other,
        };
    }

    /// Opens it if it was closed. Everything that may not be on disk is written anew then
    /// ([`Closed::open`]).
    ///
    /// # Errors
    /// [`StoreError`]: it stays closed.
    pub fn open(&mut self) -> Result<(), StoreError> {
        let (opened, result) = match std::mem::replace(self, StoreFile::Ended) {
            StoreFile::Closed(closed) => match closed.open() {
                Ok(store) => (StoreFile::Open(Box::new(store)), Ok(())),
                Err((closed, trouble)) => (StoreFile::Closed(closed), Err(trouble)),
            },
            other => (other, Ok(())),
        };
        *self = opened;
        result
    }
}
