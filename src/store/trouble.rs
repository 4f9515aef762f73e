//! What can go wrong with the file, told apart by what is to be done next.

use std::fmt;
use std::io;

use rusqlite::{Error, ErrorCode};

/// Why something couldn't be written or read. Each carries a reason for a person, without any
/// content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room: the same may succeed later.
    Full(String),
    /// Another program holds the file: likewise.
    Busy(String),
    /// The file can't be reached, or something of it could not be read or written: it has to be opened
    /// anew, and that may succeed later.
    Unreachable(String),
    /// The file is not what was written, or was read wrongly: nothing may be written to it until it has
    /// been found in order.
    Corrupt(String),
    /// Another program has written to the file: nothing more may be written to it.
    Overwritten(String),
    /// What stands there of one session is not what was written; the others are none the worse.
    Damaged(String),
    /// A mistake of ours: doing it again won't help.
    Bug(String),
}

impl Trouble {
    /// What a person is told to do about it. Nothing that could lose what is still there.
    pub fn advice(&self) -> &'static str {
        match self {
            Trouble::Full(_) => "make room on that disk",
            Trouble::Busy(_) => "end the program that holds the file",
            Trouble::Unreachable(_) => "see to the disk and to who may write there",
            Trouble::Corrupt(_) => {
                "see to the disk, which may read wrongly: it is tried again, and nothing is written \
                 to the file before it is in order; before you put anything in its place, copy the \
                 whole directory"
            }
            Trouble::Overwritten(_) => {
                "save what is in memory with collabd sessions export --server, then stop collabd and \
                 see what stands in the directory"
            }
            Trouble::Damaged(_) => "restore that session to one of its versions, or from a backup",
            Trouble::Bug(_) => "this is a bug in collabd: please report it",
        }
    }

    /// Whether what was written last may not be on disk, whatever SQLite says: the file has to be opened
    /// anew before anything is confirmed.
    pub fn is_suspicious(&self) -> bool {
        match self {
            Trouble::Unreachable(_) | Trouble::Corrupt(_) | Trouble::Overwritten(_) => true,
            Trouble::Full(_) | Trouble::Busy(_) | Trouble::Damaged(_) | Trouble::Bug(_) => false,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trouble::Full(why)
        | Trouble::Busy(why)
        | Trouble::Unreachable(why)
        | Trouble::Corrupt(why)
        | Trouble::Overwritten(why)
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
                Trouble::Busy("another program holds the file".into())
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
