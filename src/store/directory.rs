//! The data directory: used by one server at a time, with a marker of how many transactions there
//! were.
//!
//! A server holds two locks while it uses the directory; the system releases them after a crash.
//! One is on the database itself (`lock.rs`). The other is on `collabd.lock`, which older versions
//! of collabd lock.
//!
//! `collabd.lock` also holds the [`CommitMarker`]: the number of transactions, written after each
//! one without waiting for the disk. A database that has fewer when it is opened has lost confirmed
//! ones: its `-wal` file was damaged or removed, the disk lost data that it had acknowledged, or an
//! older copy took its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::lock::{self, Identity, Lock};
use crate::files::sync_directory;

const DATABASE_NAME: &str = "collabd.db";
const MARKER_NAME: &str = "collabd.lock";

/// A data directory that this process has locked.
pub struct Directory {
    path: PathBuf,
    /// `collabd.lock`: holds the marker, and is locked for older versions.
    marker_file: File,
    /// The lock on the database; `None` before [`lock_database`](Self::lock_database).
    lock: Option<Lock>,
    /// The database and its `-wal` as they were opened, to notice when they are removed.
    opened: Option<[Identity; 2]>,
}

/// How many transactions a database must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitMarker {
    pub commits: u64,
    /// Is true where the store was closed properly.
    pub stopped: bool,
}

impl Directory {
    /// Locks a directory for this process, and reads its marker. Makes the directory where `create`
    /// is true and there is none. Blocks on the disk.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn claim(path: &Path, create: bool) -> Result<(Self, Option<CommitMarker>), String> {
        let path = std::path::absolute(path)
            .map_err(|error| format!("{} is no data directory: {error}", path.display()))?;
        let shown = path.display().to_string();
        if create {
            make(&path).map_err(|error| {
                format!(
                    "can't make the data directory {shown}: {error}: name another one with \
                     --data-dir, or see to it that collabd may make this one"
                )
            })?;
        }
        // No marker is made in the mount point of a disk that is not mounted.
        let create = create || database(&path).exists();
        let file = path.join(MARKER_NAME);
        for file in [&file, &database(&path), &with_suffix(&database(&path), "-wal")] {
            check_regular_file(file)?;
        }
        let opened = lock::marker_options().create(create).truncate(false).open(&file);
        let marker_file = opened.map_err(|error| {
            format!(
                "can't write in the data directory {shown}: {error}: see to it that it is there \
                 and that collabd may write in it"
            )
        })?;
        marker_file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => in_use(&shown),
            TryLockError::Error(error) => format!(
                "can't lock {}: {error}: the data directory has to be on a file system of this \
                 machine that knows locks",
                file.display()
            ),
        })?;
        let mut text = Vec::new();
        let read = (&marker_file).take(100).read_to_end(&mut text);
        read.map_err(|error| format!("can't read {}: {error}: see to the disk", file.display()))?;
        let marker = std::str::from_utf8(&text).ok().and_then(CommitMarker::parse);
        if marker.is_none() && !text.is_empty() {
            log::warn!(
                "{} is damaged and ignored: a loss of transactions would not be noticed",
                file.display()
            );
        }
        Ok((Directory { path, marker_file, lock: None, opened: None }, marker))
    }

    /// Locks the database, which must exist, until the directory is dropped. To be called before
    /// anything else opens it.
    ///
    /// # Errors
    /// One line where another process holds it or it can't be locked.
    pub fn lock_database(&mut self) -> Result<(), String> {
        if self.lock.is_none() {
            let file = self.database();
            self.lock = Some(Lock::take(&file).map_err(|error| match error {
                TryLockError::WouldBlock => in_use(&self.path.display().to_string()),
                TryLockError::Error(error) => format!(
                    "can't lock {}: {error}: the data directory has to be on a file system of this \
                     machine that knows locks",
                    file.display()
                ),
            })?);
        }
        Ok(())
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the database.
    pub fn database(&self) -> PathBuf {
        database(&self.path)
    }

    /// The path of the database with this suffix.
    pub fn file(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.database(), suffix)
    }

    /// Syncs a complete database and renames it to `collabd.db`.
    pub fn put_database(&self, whole: &Path) -> io::Result<()> {
        OpenOptions::new().read(true).write(true).open(whole)?.sync_all()?;
        fs::rename(whole, self.database())?;
        self.sync()
    }

    /// Reads the whole database and its journal, to find out whether the disk can.
    pub fn read_through(&self) -> io::Result<()> {
        if let Some(lock) = &self.lock {
            let (mut piece, mut place) = (vec![0; 1 << 16], 0);
            loop {
                match lock.read(&mut piece, place)? {
                    0 => break,
                    read => place += read as u64,
                }
            }
        }
        match fs::read(self.file("-wal")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Syncs the names in the directory, where the system can.
    pub fn sync(&self) -> io::Result<()> {
        let open = match File::open(&self.path) {
            Ok(open) => open,
            // Windows can't open directories, and syncs names by itself.
            Err(_) if cfg!(windows) => return Ok(()),
            Err(error) => return Err(error),
        };
        match open.sync_all() {
            // The file system can't sync directories.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            synced => synced,
        }
    }

    /// The length of a file of the database in bytes; `None` where there is none.
    pub fn length(&self, suffix: &str) -> Option<u64> {
        fs::metadata(with_suffix(&self.database(), suffix)).ok().map(|found| found.len())
    }

    /// Notes which files are open. To be called after a transaction has begun, as SQLite opens them
    /// then.
    pub fn set_opened(&mut self) {
        self.opened = self.identities();
    }

    /// Is true where the directory still holds the files that were opened, and the database is the
    /// one that is locked.
    pub fn is_unchanged(&self) -> bool {
        self.opened.is_some() && self.opened == self.identities() && self.has_database()
    }

    /// Is true where the file named `collabd.db` is the one that is locked.
    pub fn has_database(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.is_of(&self.database()))
    }

    /// The lock on the database; `None` before [`lock_database`](Self::lock_database).
    pub fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    fn identities(&self) -> Option<[Identity; 2]> {
        let database = self.database();
        let wal = with_suffix(&database, "-wal");
        Some([lock::identity(&database)?, lock::identity(&wal)?])
    }

    /// Writes the marker. Doesn't wait for the disk.
    ///
    /// # Errors
    /// Where it can't be written: a loss of transactions may go unnoticed then.
    pub fn write_marker(&mut self, marker: CommitMarker) -> io::Result<()> {
        self.restore_marker_file();
        self.marker_file.seek(SeekFrom::Start(0))?;
        self.marker_file.write_all(marker.text().as_bytes())
    }

    /// Makes `collabd.lock` again where it was removed. The directory stays locked by the database
    /// meanwhile.
    fn restore_marker_file(&mut self) {
        let file = self.path.join(MARKER_NAME);
        if lock::is_same(&self.marker_file, &file) || !self.has_database() {
            return;
        }
        if let Ok(new) = lock::marker_options().create(true).truncate(false).open(&file)
            && new.try_lock().is_ok()
        {
            self.marker_file = new;
        }
    }

    /// Writes the marker and waits until it is on disk.
    pub fn write_marker_synced(&mut self, marker: CommitMarker) -> io::Result<()> {
        self.write_marker(marker)?;
        self.marker_file.sync_data()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A child process that was just forked shares the lock: closing the file would leave it
        // locked.
        let _ = self.marker_file.unlock();
    }
}

impl CommitMarker {
    /// The marker's text. All have one length: each overwrites the one before.
    fn text(self) -> String {
        let state = if self.stopped { "stopped" } else { "running" };
        format!("{:020} {state}\n", self.commits)
    }

    fn parse(text: &str) -> Option<Self> {
        let (commits, state) = text.split_once(' ')?;
        let stopped = match state {
            "stopped\n" => true,
            "running\n" => false,
            _ => return None,
        };
        Some(CommitMarker { commits: commits.parse().ok()?, stopped })
    }
}

/// The path of the database of a data directory.
pub fn database(directory: &Path) -> PathBuf {
    directory.join(DATABASE_NAME)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the directory and its parents. Only their owner may enter the new ones.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    path.ancestors().skip(1).take(1).for_each(sync_directory);
    Ok(())
}

/// Checks that a file that collabd writes is a regular file, or doesn't exist.
///
/// # Errors
/// One line where it is a link, a directory or a device.
fn check_regular_file(file: &Path) -> Result<(), String> {
    let Ok(found) = fs::symlink_metadata(file) else { return Ok(()) };
    let what = match found.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_symlink() => "a link, which collabd doesn't follow",
        kind if kind.is_dir() => "a directory",
        _ => "no ordinary file",
    };
    Err(format!(
        "{} is {what}, and collabd needs a file of this name: move what is there away, or name another \
         --data-dir",
        file.display()
    ))
}

/// Is true where this is the error for a directory that another process holds.
pub fn is_in_use_error(line: &str, directory: &Path) -> bool {
    std::path::absolute(directory).is_ok_and(|path| line == in_use(&path.display().to_string()))
}

fn in_use(directory: &str) -> String {
    format!(
        "another collabd uses the data directory {directory}: stop that one, or give this one a \
         --data-dir of its own; collabd sessions --server goes through the one that runs"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_other_text_is_none() {
        for marker in [
            CommitMarker { commits: 0, stopped: false },
            CommitMarker { commits: 42, stopped: true },
            CommitMarker { commits: u64::MAX, stopped: true },
        ] {
            let text = marker.text();
            assert_eq!(CommitMarker::parse(&text), Some(marker));
            assert_eq!(text.len(), 29);
            assert_eq!(CommitMarker::parse(&text[..28]), None);
        }
        for text in ["", "x", "1 2\n", "-1 running\n", "1 running \n"] {
            assert_eq!(CommitMarker::parse(text), None, "{text}");
        }
    }
}
