//! Errors of the store, by what is to be done about them.

use std::fmt;
use std::io;

use rusqlite::{Error, ErrorCode};

/// Why a write or read failed. Each holds a reason in words, which quotes no content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The disk is full. A retry may succeed later.
    Full(String),
    /// Another program holds the file. A retry may succeed later.
    Busy(String),
    /// The file can't be reached, read or written. It has to be opened again, which may succeed
    /// later.
    Io(String),
    /// The file is damaged, or the disk reads it wrongly. Nothing is written to it until a check
    /// finds it in order.
    Corrupt(String),
    /// Another program has written to the file. Nothing more is written to it.
    Overwritten(String),
    /// One session is damaged; the others are not.
    SessionCorrupt(String),
    /// A bug in collabd. A retry does not help.
    Internal(String),
}

impl StoreError {
    /// What the operator can do about it. Never advises what could lose stored data.
    pub fn advice(&self) -> &'static str {
        match self {
            StoreError::Full(_) => "make room on that disk",
            StoreError::Busy(_) => "end the program that holds the file",
            StoreError::Io(_) => "see to the disk and to who may write there",
            StoreError::Corrupt(_) => {
                "see to the disk, which may read wrongly: it is tried again, and nothing is written \
                 to the file before it is in order; before you put anything in its place, copy the \
                 whole directory"
            }
            StoreError::Overwritten(_) => {
                "save what is in memory with collabd sessions export --server, then stop collabd and \
                 see what stands in the directory"
            }
            StoreError::SessionCorrupt(_) => {
                "restore that session to one of its versions, or from a backup"
            }
            StoreError::Internal(_) => "this is a bug in collabd: please report it",
        }
    }

    /// Is true where the last writes may not be on disk, though SQLite can read them: the file has
    /// to be opened again before anything is confirmed.
    pub fn is_suspicious(&self) -> bool {
        match self {
            StoreError::Io(_) | StoreError::Corrupt(_) | StoreError::Overwritten(_) => true,
            StoreError::Full(_)
            | StoreError::Busy(_)
            | StoreError::SessionCorrupt(_)
            | StoreError::Internal(_) => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StoreError::Full(why)
        | StoreError::Busy(why)
        | StoreError::Io(why)
        | StoreError::Corrupt(why)
        | StoreError::Overwritten(why)
        | StoreError::SessionCorrupt(why)
        | StoreError::Internal(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for StoreError {}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let why = error.to_string();
        let Error::SqliteFailure(failure, _) = &error else {
            return match error {
                // A column holds a value that collabd never writes.
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::QueryReturnedNoRows
                | Error::Utf8Error(..) => StoreError::SessionCorrupt(why),
                _ => StoreError::Internal(why),
            };
        };
        match failure.code {
            ErrorCode::DiskFull => StoreError::Full("the disk is full".into()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                StoreError::Busy("another program holds the file".into())
            }
            ErrorCode::OutOfMemory => StoreError::Full(why),
            ErrorCode::OperationInterrupted => StoreError::Full("it takes too long".into()),
            ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport => {
                StoreError::Io(format!("{why} (SQLite's error {})", failure.extended_code))
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt(why),
            _ => StoreError::Internal(format!("{why} (SQLite's error {})", failure.extended_code)),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full(error.to_string())
            }
            _ => StoreError::Io(error.to_string()),
        }
    }
}
