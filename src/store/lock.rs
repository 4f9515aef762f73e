//! The lock on the database itself. It stays when `collabd.lock` is removed.
//!
//! On Linux it is `flock` on a descriptor of `collabd.db`, which is independent of SQLite's locks
//! on byte ranges. The descriptor is open from before SQLite opens the file until after SQLite has
//! closed it. When a process closes any descriptor of a file, it loses all its byte-range locks on
//! it: nothing else in this process may open `collabd.db` and close it again.
//!
//! On macOS and the BSDs the two kinds of locks conflict. There the directory is locked; it can't
//! be removed while the database is in it. On Windows an open file can't be removed or replaced,
//! and the lock on `collabd.lock` is enough.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Device and inode: tells a file from another one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(u64, u64);

/// The lock on a database. Dropping it releases it.
pub struct Lock {
    #[cfg(unix)]
    held: held::Held,
}

impl Lock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where it is taken, by this process too; otherwise the system's
    /// reason.
    #[cfg(unix)]
    pub fn take(database: &Path) -> Result<Self, TryLockError> {
        Ok(Lock { held: held::Held::take(database)? })
    }

    /// Takes nothing: see the top of this file.
    #[cfg(not(unix))]
    pub fn take(_database: &Path) -> Result<Self, TryLockError> {
        Ok(Lock {})
    }

    /// Is true where the locked file is the one of this name.
    #[cfg(unix)]
    pub fn is_of(&self, database: &Path) -> bool {
        identity(database) == Some(self.held.database)
    }

    /// Is true where there is a file: an open one can't be replaced on this system.
    #[cfg(not(unix))]
    pub fn is_of(&self, database: &Path) -> bool {
        database.exists()
    }

    /// Reads a part of the database, without SQLite, and returns how many bytes.
    #[cfg(target_os = "linux")]
    pub fn read(&self, part: &mut [u8], from: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.held.file, part, from)
    }

    /// Reads nothing: the lock has no descriptor of the database on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&self, _part: &mut [u8], _from: u64) -> io::Result<usize> {
        Ok(0)
    }
}

#[cfg(unix)]
mod held {
    use std::collections::HashSet;
    use std::sync::{Mutex, PoisonError};

    use super::{File, Identity, Path, TryLockError, identity};

    /// The databases that this process has locked. Opening one to find that out would lose SQLite's
    /// locks.
    static HELD: Mutex<Option<HashSet<Identity>>> = Mutex::new(None);

    pub struct Held {
        pub database: Identity,
        /// The database on Linux, its directory elsewhere.
        pub file: File,
    }

    impl Held {
        pub fn take(path: &Path) -> Result<Self, TryLockError> {
            let gone = || TryLockError::Error(std::io::ErrorKind::NotFound.into());
            let database = identity(path).ok_or_else(gone)?;
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            let held = held.get_or_insert_default();
            if held.contains(&database) {
                return Err(TryLockError::WouldBlock);
            }
            let locked = if cfg!(target_os = "linux") { Some(path) } else { path.parent() };
            let file = File::open(locked.unwrap_or(path)).map_err(TryLockError::Error)?;
            file.try_lock()?;
            // It may have been replaced while it was opened.
            if identity(path) != Some(database) {
                return Err(gone());
            }
            held.insert(database);
            Ok(Held { database, file })
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            held.get_or_insert_default().remove(&self.database);
            // A child process that was just forked shares the lock: closing the file would leave it
            // locked.
            let _ = self.file.unlock();
        }
    }
}

/// How `collabd.lock` is opened: readable by its owner alone, and not through a link. On Windows it
/// can't be removed while it is open.
pub fn marker_options() -> OpenOptions {
    let mut options = crate::files::writing();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt as _;
        const READ_AND_WRITE: u32 = 3;
        // `FILE_FLAG_OPEN_REPARSE_POINT`: opens a link itself, not its target.
        const NO_FOLLOW: u32 = 0x0020_0000;
        options.share_mode(READ_AND_WRITE).custom_flags(NO_FOLLOW);
    }
    options
}

/// The identity of a file; `None` where there is none.
#[cfg(unix)]
pub fn identity(file: &Path) -> Option<Identity> {
    fs::metadata(file).ok().map(|found| identity_of(&found))
}

/// All files have one identity on this system: an open file can't be replaced.
#[cfg(not(unix))]
pub fn identity(file: &Path) -> Option<Identity> {
    fs::metadata(file).ok().map(|_| Identity(0, 0))
}

/// Is true where an open file is the one of this name.
#[cfg(unix)]
pub fn is_same(open: &File, file: &Path) -> bool {
    open.metadata().is_ok_and(|open| Some(identity_of(&open)) == identity(file))
}

/// Is always true: an open file can't be replaced on this system.
#[cfg(not(unix))]
pub fn is_same(_open: &File, _file: &Path) -> bool {
    true
}

#[cfg(unix)]
fn identity_of(found: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    Identity(found.dev(), found.ino())
}
