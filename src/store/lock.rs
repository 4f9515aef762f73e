//! The lock on the database itself, which nobody takes away by removing a file beside it.
//!
//! On Linux it is a lock on a descriptor of `collabd.db` (`flock`), which has nothing to do with SQLite's
//! own locks on byte ranges of it. That descriptor is open from before SQLite opens the file until after
//! SQLite has closed it: when a process closes any descriptor of a file, all its byte-range locks on it are
//! gone, so nothing else in this process may open `collabd.db` and close it again.
//!
//! On macOS and the BSDs the two kinds of locks get in each other's way, so there the directory is locked,
//! which can't be removed while the database is in it. On Windows no file that is open here can be removed
//! or replaced, and the lock on `collabd.lock` is enough.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Which file it is, to tell it from another one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(u64, u64);

/// See the module's text. Released when it is dropped.
pub struct Lock {
    #[cfg(unix)]
    held: held::Held,
}

impl Lock {
    /// Takes it for this process.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] when it is taken; otherwise the system's own reason.
    #[cfg(unix)]
    pub fn take(database: &Path) -> Result<Self, TryLockError> {
        Ok(Lock { held: held::Held::take(database)? })
    }

    /// Nothing more is needed here.
    ///
    /// # Errors
    /// None on this system.
    #[cfg(not(unix))]
    pub fn take(_database: &Path) -> Result<Self, TryLockError> {
        Ok(Lock {})
    }

    /// Whether it is the lock of the file of this name.
    #[cfg(unix)]
    pub fn is_of(&self, database: &Path) -> bool {
        identity(database) == Some(self.held.database)
    }

    /// A file that is open can't be replaced here.
    #[cfg(not(unix))]
    pub fn is_of(&self, database: &Path) -> bool {
        database.exists()
    }

    /// Reads a part of the database, without SQLite; nothing where the system has another kind of lock.
    ///
    /// # Errors
    /// When it can't be read.
    #[cfg(target_os = "linux")]
    pub fn read(&self, part: &mut [u8], from: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.held.file, part, from)
    }

    /// See above.
    ///
    /// # Errors
    /// None on this system.
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

    /// The databases that this process holds: they must not be opened to find that out.
    static HELD: Mutex<Option<HashSet<Identity>>> = Mutex::new(None);

    pub struct Held {
        pub database: Identity,
        /// Only on Linux the database itself.
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
            // Closing it leaves the lock to a child process that has only just been forked off.
            let _ = self.file.unlock();
        }
    }
}

/// How `collabd.lock` is opened: its owner's alone, and no file that a link leads to; on Windows it can't
/// be removed while it is open.
pub fn note_options() -> OpenOptions {
    let mut options = crate::files::writing();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt as _;
        const READ_AND_WRITE: u32 = 3;
        // `FILE_FLAG_OPEN_REPARSE_POINT`: the link itself.
        const NO_FOLLOW: u32 = 0x0020_0000;
        options.share_mode(READ_AND_WRITE).custom_flags(NO_FOLLOW);
    }
    options
}

/// Which file this is; `None` where there is none.
#[cfg(unix)]
pub fn identity(file: &Path) -> Option<Identity> {
    fs::metadata(file).ok().map(|found| identity_of(&found))
}

/// Where an open file can't be replaced, there is nothing to tell apart.
#[cfg(not(unix))]
pub fn identity(file: &Path) -> Option<Identity> {
    fs::metadata(file).ok().map(|_| Identity(0, 0))
}

/// Whether an open file is the one of this name.
#[cfg(unix)]
pub fn is_same(open: &File, file: &Path) -> bool {
    open.metadata().is_ok_and(|open| Some(identity_of(&open)) == identity(file))
}

/// See above.
#[cfg(not(unix))]
pub fn is_same(_open: &File, _file: &Path) -> bool {
    true
}

#[cfg(unix)]
fn identity_of(found: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    Identity(found.dev(), found.ino())
}
