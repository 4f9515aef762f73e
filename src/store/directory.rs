//! The data directory: one server at a time, its owner's alone, and a note of how far it has come.
//!
//! `collabd.lock` is locked as long as a server uses the directory; a crash ends the lock. In it
//! stands how many transactions the database has seen, written after each without waiting for the
//! disk: a database that has seen fewer when it is opened again has lost some that were confirmed,
//! because its `-wal` file was damaged or removed, the disk didn't keep what it had acknowledged, or
//! an older copy was put in its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

const DATABASE: &str = "collabd.db";
const LOCK: &str = "collabd.lock";

/// A data directory that nobody else uses.
pub struct Directory {
    path: PathBuf,
    lock: File,
    /// What was opened as the database and its `-wal`, to notice when they are removed.
    opened: Option<[Identity; 2]>,
}

/// How far the last run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// How many transactions it had committed.
    pub commits: u64,
    /// Whether it ended properly.
    pub stopped: bool,
}

/// What the database file is, to tell it from another one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Directory {
    /// Takes the directory for this process, and says how far the last one came that used it.
    /// Makes it where `create` says so and it isn't there. Blocks on the disk.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn claim(path: &Path, create: bool) -> Result<(Self, Option<Note>), String> {
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
        let file = path.join(LOCK);
        // None is left behind where a disk isn't mounted any more.
        let create = create || database(&path).exists();
        let opened = writing().read(true).create(create).truncate(false).open(&file);
        let lock = opened.map_err(|error| {
            format!(
                "can't write in the data directory {shown}: {error}: see to it that it is there \
                 and that collabd may write in it"
            )
        })?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => format!(
                "another collabd uses the data directory {shown}: stop that one, or give this one \
                 a --data-dir of its own; collabd sessions --server goes through the one that runs"
            ),
            TryLockError::Error(error) => format!(
                "can't lock {}: {error}: the data directory has to be on a file system of this \
                 machine that knows locks",
                file.display()
            ),
        })?;
        let mut text = String::new();
        let read = (&lock).take(100).read_to_string(&mut text);
        let note = read.ok().and_then(|_| Note::parse(&text));
        if note.is_none() && !text.is_empty() {
            log::warn!("{} is damaged; what stands in it is ignored", file.display());
        }
        Ok((Directory { path, lock, opened: None }, note))
    }

    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        database(&self.path)
    }

    /// Where the note is.
    pub fn note_file(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// Makes an empty database file, if there is none, that only its owner may read.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make_database(&self) -> io::Result<()> {
        match writing().create_new(true).open(self.database()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => {
                sync_directory(&self.path);
                Ok(())
            }
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

    /// Whether the files that were opened are still the ones in the directory.
    pub fn is_still_there(&self) -> bool {
        self.opened.is_some() && self.opened == self.identities()
    }

    fn identities(&self) -> Option<[Identity; 2]> {
        let database = self.database();
        let wal = with_suffix(&database, "-wal");
        Some([identity(&database)?, identity(&wal)?])
    }

    /// Notes how far the database has come. Doesn't wait for the disk.
    ///
    /// # Errors
    /// When it can't be written: a loss would go unnoticed then.
    pub fn note(&mut self, note: Note) -> io::Result<()> {
        self.lock.seek(SeekFrom::Start(0))?;
        self.lock.write_all(note.text().as_bytes())
    }

    /// The same, and waits until it is on disk.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn note_for_good(&mut self, note: Note) -> io::Result<()> {
        self.note(note)?;
        self.lock.sync_data()
    }
}

impl Note {
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
        Some(Note { commits: commits.parse().ok()?, stopped })
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

/// Opens for writing; what it makes is its owner's alone from the first moment on.
pub fn writing() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Has a new name in a directory survive a power failure, where the system knows how.
pub fn sync_directory(path: &Path) {
    // Elsewhere a directory can't be opened, and a file system that can't do it is no reason to fail.
    let _ = File::open(path).and_then(|open| open.sync_all());
}

#[cfg(unix)]
fn identity(file: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(file).ok().map(|found| Identity(found.dev(), found.ino()))
}

/// Where an open file can't be removed, there is nothing to notice.
#[cfg(not(unix))]
fn identity(_file: &Path) -> Option<Identity> {
    Some(Identity(0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_anything_else_is_none() {
        for note in [
            Note { commits: 0, stopped: false },
            Note { commits: 42, stopped: true },
            Note { commits: u64::MAX, stopped: true },
        ] {
            let text = note.text();
            assert_eq!(Note::parse(&text), Some(note));
            assert_eq!(text.len(), 29);
            assert_eq!(Note::parse(&text[..28]), None);
        }
        for text in ["", "x", "1 2\n", "-1 running\n", "1 running \n"] {
            assert_eq!(Note::parse(text), None, "{text}");
        }
    }
}
