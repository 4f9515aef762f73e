//! What can go wrong with the file, told apart by what is to be done next.

use std::fmt;
use std::io;

use rusqlite::{Error, ErrorCode};

/// Why something couldn't be written or read. Each carries a reason for a person, without any
/// content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room, or somebody else holds the file: the same may succeed later.
    Full(String),
    /// The file can't be reached: it has to be opened anew, and that may succeed later.
    Unreachable(String),
    /// The file is not what was written: nothing more may be written to it.
    Corrupt(String),
    /// What stands there of one session is not what was written; the others are none the worse.
    Damaged(String),
    /// A mistake of ours: doing it again won't help.
    Bug(String),
}

impl Trouble {
    /// What a person is told to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Trouble::Full(_) => "make room on that disk, or end the program that holds the file",
            Trouble::Unreachable(_) => "see to the disk and to who may write there",
            Trouble::Corrupt(_) => "stop collabd and put a backup in its place",
            Trouble::Damaged(_) => "restore that session from a backup",
            Trouble::Bug(_) => "this is a bug in collabd: please report it",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trouble::Full(why)
        | Trouble::Unreachable(why)
        | Trouble::Corrupt(why)
        | Trouble::Damaged(why)
        | Trouble::Bug(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Trouble {}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let why = error.to_string();
        let Error::SqliteFailure(failure, _) = &error else {
            return match error {
                // A column that holds what was never put into it.
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::QueryReturnedNoRows
                | Error::Utf8Error(..) => Trouble::Damaged(why),
                _ => Trouble::Bug(why),
            };
        };
        match failure.code {
            ErrorCode::DiskFull => Trouble::Full("the disk is full".into()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Trouble::Full("another program holds the file".into())
            }
            ErrorCode::OutOfMemory => Trouble::Full(why),
            ErrorCode::OperationInterrupted => Trouble::Full("it takes too long".into()),
            ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport => {
                Trouble::Unreachable(format!("{why} (SQLite's error {})", failure.extended_code))
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Trouble::Corrupt(why),
            _ => Trouble::Bug(format!("{why} (SQLite's error {})", failure.extended_code)),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Trouble::Full(error.to_string())
            }
            _ => Trouble::Unreachable(error.to_string()),
        }
    }
}
