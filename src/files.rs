//! Files that are their owner's alone, and replaced whole: what Unix has for it, and the portable
//! twins. Other systems have no modes; a new file gets the rules of its directory there.

use std::fs::File;
use std::path::Path;

pub use system::{as_owner_of, exposed, replace, writing};

/// Has a new name in a directory survive a power failure, where the system knows how.
pub fn sync_directory(path: &Path) {
    // Elsewhere a directory can't be opened, and a file system that can't do it is no reason to fail.
    let _ = File::open(path).and_then(|open| open.sync_all());
}

/// Has a file's new name survive a power failure: syncs the directory that the file is in.
pub fn sync_directory_of(file: &Path) {
    let directory = file.parent().filter(|parent| *parent != Path::new(""));
    sync_directory(directory.unwrap_or(Path::new(".")));
}

#[cfg(unix)]
mod system {
    use std::fs::{File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
    use std::path::Path;

    /// Opens for writing; what it creates is readable by its owner only, from the first moment on.
    pub fn writing() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        options
    }

    /// The file's mode, where others than its owner may read or change it.
    pub fn exposed(metadata: &Metadata) -> Option<u32> {
        let mode = metadata.permissions().mode() & 0o7777;
        (mode & 0o077 != 0).then_some(mode)
    }

    /// Gives `file` to the owner of the file it is going to replace: root may make a key, and the
    /// server's user still has to be able to read it.
    ///
    /// # Errors
    /// When that is another user and the system doesn't permit it.
    pub fn as_owner_of(old: &Metadata, file: &File) -> io::Result<()> {
        let new = file.metadata()?;
        if new.uid() != old.uid() {
            return fchown(file, Some(old.uid()), Some(old.gid())).map_err(|error| {
                io::Error::new(error.kind(), "it belongs to another user, who has to do this")
            });
        }
        if new.gid() != old.gid() {
            // The group may do nothing with the file, so it is no loss.
            let _ = fchown(file, None, Some(old.gid()));
        }
        Ok(())
    }

    /// Puts `new` in the place of `old`, also while that is read, and has this survive a power
    /// failure.
    ///
    /// # Errors
    /// When the system refuses: `old` is as it was.
    pub fn replace(old: &Path, new: &Path) -> io::Result<()> {
        std::fs::rename(new, old)?;
        super::sync_directory_of(old);
        Ok(())
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::{File, Metadata, OpenOptions};
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    /// Opens for writing.
    pub fn writing() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true);
        options
    }

    /// Not to be told from a mode here.
    pub fn exposed(_metadata: &Metadata) -> Option<u32> {
        None
    }

    /// The directory's rules say who owns what is made in it.
    ///
    /// # Errors
    /// None on this system.
    pub fn as_owner_of(_old: &Metadata, _file: &File) -> io::Result<()> {
        Ok(())
    }

    /// How often to try, and how long to wait before the next time: a second and a half in all.
    const TRIES: u32 = 100;
    const RETRY_INTERVAL: Duration = Duration::from_millis(15);

    /// Puts `new` in the place of `old`. Windows may refuse as long as `old` is read, which
    /// is never for long.
    ///
    /// # Errors
    /// When the system goes on refusing: `old` is as it was.
    pub fn replace(old: &Path, new: &Path) -> io::Result<()> {
        for _ in 1..TRIES {
            match std::fs::rename(new, old) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    std::thread::sleep(RETRY_INTERVAL);
                }
                done => return done,
            }
        }
        std::fs::rename(new, old)
    }
}
