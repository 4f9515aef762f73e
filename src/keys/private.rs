//! Files that are their owner's alone: modes and owners on Unix. Other systems have no modes; there a
//! new file gets the rules of its directory, and the twins have nothing to do.

pub use system::{as_owner_of, exposed, sync_directory, writing};

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

    /// Gives `file` to whoever owns the file it is going to replace: root may make a key, and the
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

    /// Has a rename survive a power failure. A file system that can't is no reason to fail: the
    /// file has been replaced.
    pub fn sync_directory(directory: &Path) {
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::{File, Metadata, OpenOptions};
    use std::io;
    use std::path::Path;

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

    /// A directory can't be opened like a file here.
    pub fn sync_directory(_directory: &Path) {}
}
