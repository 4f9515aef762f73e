//! The data directory: one server at a time, its owner's alone, and a note of how far it has come.
//!
//! Two locks are held as long as a server uses the directory; a crash ends them. One belongs to the
//! database itself (`lock.rs`). The other is on `collabd.lock`, which older versions of collabd look at,
//! too. In that file stands how many transactions the database has seen, written after each without
//! waiting for the disk: a database that has seen fewer when it is opened again has lost some that were
//! confirmed, because its `-wal` file was damaged or removed, the disk didn't keep what it had
//! acknowledged, or an older copy was put in its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::lock::{self, Identity, Lock};
use crate::files::sync_directory;

const DATABASE: &str = "collabd.db";
const NOTE: &str = "collabd.lock";

/// A data directory that nobody else uses.
pub struct Directory {
    path: PathBuf,
    /// What is noted in, and locked for older versions.
    note: File,
    /// The lock that counts; from [`lock_database`](Self::lock_database) on.
    lock: Option<Lock>,
    /// What was opened as the database and its `-wal`, to notice when they are removed.
    opened: Option<[Identity; 2]>,
}

/// How far the last run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitMarker {
    /// How many transactions it had committed.
    pub commits: u64,
    /// Whether it ended properly.
    pub stopped: bool,
}

impl Directory {
    /// Takes the directory for this process, and says how far the last one came that used it.
    /// Makes it where `create` says so and it isn't there. Blocks on the disk.
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
        // None is left behind where a disk isn't mounted any more.
        let create = create || database(&path).exists();
        let file = path.join(NOTE);
        for file in [&file, &database(&path), &with_suffix(&database(&path), "-wal")] {
            is_own_kind(file)?;
        }
        let opened = lock::note_options().create(create).truncate(false).open(&file);
        let note_file = opened.map_err(|error| {
            format!(
                "can't write in the data directory {shown}: {error}: see to it that it is there \
                 and that collabd may write in it"
            )
        })?;
        note_file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => in_use(&shown),
            TryLockError::Error(error) => format!(
                "can't lock {}: {error}: the data directory has to be on a file system of this \
                 machine that knows locks",
                file.display()
            ),
        })?;
        let mut text = Vec::new();
        let read = (&note_file).take(100).read_to_end(&mut text);
        read.map_err(|error| format!("can't read {}: {error}: see to the disk", file.display()))?;
        let note = std::str::from_utf8(&text).ok().and_then(CommitMarker::parse);
        if note.is_none() && !text.is_empty() {
            log::warn!("{} is damaged; what stands in it is ignored", file.display());
        }
        Ok((Directory { path, note: note_file, lock: None, opened: None }, note))
    }

    /// Takes the database itself for this process, which has to be there. Before anything else opens
    /// it; held until the directory is dropped.
    ///
    /// # Errors
    /// One line, when another process holds it or it can't be locked.
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

    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        database(&self.path)
    }

    /// Another file of the database, by what its name has more.
    pub fn file(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.database(), suffix)
    }

    /// Puts a whole database in the place of `collabd.db`, where there was none or an empty one.
    ///
    /// # Errors
    /// When that can't be done for good.
    pub fn put_database(&self, whole: &Path) -> io::Result<()> {
        OpenOptions::new().read(true).write(true).open(whole)?.sync_all()?;
        fs::rename(whole, self.database())?;
        self.sync()
    }

    /// Reads all of the database and its journal, for nothing but to see whether the disk can.
    ///
    /// # Errors
    /// When it can't.
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

    /// Has the names in it survive a power failure, where the system knows how.
    ///
    /// # Errors
    /// When the disk doesn't take them.
    pub fn sync(&self) -> io::Result<()> {
        let open = match File::open(&self.path) {
            Ok(open) => open,
            // Windows opens no directories, and keeps names by itself.
            Err(_) if cfg!(windows) => return Ok(()),
            Err(error) => return Err(error),
        };
        match open.sync_all() {
            // A file system that doesn't know how.
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

    /// Whether a file of the database is there, and its length in bytes.
    pub fn length(&self, suffix: &str) -> Option<u64> {
        fs::metadata(with_suffix(&self.database(), suffix)).ok().map(|found| found.len())
    }

    /// Remembers which files are open now; call it with a transaction under way or done.
    pub fn opened(&mut self) {
        self.opened = self.identities();
    }

    /// Whether the files that were opened are still the ones in the directory, and the database is the
    /// one that is locked.
    pub fn is_still_there(&self) -> bool {
        self.opened.is_some() && self.opened == self.identities() && self.has_database()
    }

    /// Whether the file that is called `collabd.db` is the one that is locked.
    pub fn has_database(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.is_of(&self.database()))
    }

    /// The lock on the database; `None` before there is one.
    pub fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    fn identities(&self) -> Option<[Identity; 2]> {
        let database = self.database();
        let wal = with_suffix(&database, "-wal");
        Some([lock::identity(&database)?, lock::identity(&wal)?])
    }

    /// Notes how far the database has come. Doesn't wait for the disk.
    ///
    /// # Errors
    /// When it can't be written: a loss would go unnoticed then.
    pub fn note(&mut self, note: CommitMarker) -> io::Result<()> {
        self.make_note_file();
        self.note.seek(SeekFrom::Start(0))?;
        self.note.write_all(note.text().as_bytes())
    }

    /// Makes `collabd.lock` anew where it was removed. The lock that counts is not in it.
    fn make_note_file(&mut self) {
        let file = self.path.join(NOTE);
        if lock::is_same(&self.note, &file) || !self.has_database() {
            return;
        }
        if let Ok(new) = lock::note_options().create(true).truncate(false).open(&file)
            && new.try_lock().is_ok()
        {
            self.note = new;
        }
    }

    /// The same, and waits until it is on disk.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn note_for_good(&mut self, note: CommitMarker) -> io::Result<()> {
        self.note(note)?;
        self.note.sync_data()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing it leaves the lock to a child process that has only just been forked off.
        let _ = self.note.unlock();
    }
}

impl CommitMarker {
    /// Always of the same length: it is written over the one before.
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

/// Where the database of a data directory is.
pub fn database(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the directory and those above it; the new ones are their owner's alone.
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

/// Whether a file that collabd writes is a file, if it is there: what a link leads to isn't collabd's.
///
/// # Errors
/// One line.
fn is_own_kind(file: &Path) -> Result<(), String> {
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

/// Whether this is what is said when another process holds the directory.
pub fn says_in_use(line: &str, directory: &Path) -> bool {
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
    fn a_note_is_read_back_and_anything_else_is_none() {
        for note in [
            CommitMarker { commits: 0, stopped: false },
            CommitMarker { commits: 42, stopped: true },
            CommitMarker { commits: u64::MAX, stopped: true },
        ] {
            let text = note.text();
            assert_eq!(CommitMarker::parse(&text), Some(note));
            assert_eq!(text.len(), 29);
            assert_eq!(CommitMarker::parse(&text[..28]), None);
        }
        for text in ["", "x", "1 2\n", "-1 running\n", "1 running \n"] {
            assert_eq!(CommitMarker::parse(text), None, "{text}");
        }
    }
}
