//! Opens a store: checks that the file is collabd's, is sound, and has every confirmed transaction.
//!
//! After a failed fsync, what can be read may not be on disk. So everything is written again before
//! it is used ([`rewrite`]): after a process that did not end properly, and after a write or read
//! failed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::directory::{CommitMarker, Directory, is_in_use_error};
use super::error::StoreError;
use super::foreign_writes::FileStamp;
use super::schema::{self, Kind};
use super::{ClosedStore, Store, create, reserve, rows, wal};

/// How long the structure of the file is checked at most, after a proper end. What is left is
/// checked as it is read.
const MAX_CHECK_TIME: Duration = Duration::from_millis(250);
/// How long it is checked at most after a run that did not end properly.
const MAX_CHECK_TIME_UNCLEAN: Duration = Duration::from_secs(5);
/// How long the first opening waits for other programs that have the file open.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long opening it again waits for them: the thread `store` tries again soon.
const BUSY_TIMEOUT_AGAIN: Duration = Duration::from_millis(100);
/// How often the file is tried meanwhile.
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How often a directory that another process holds is tried.
const IN_USE_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The largest journal, in bytes, that an older version leaves when its first start is interrupted:
/// it holds tables, and nothing that was confirmed.
const MAX_FIRST_JOURNAL_BYTES: u64 = 1 << 18;

/// Opens the store of a directory. Makes it where `create` is true and there is none.
///
/// # Errors
/// One line that says what to do.
pub fn open(path: &Path, create: bool) -> Result<Store, String> {
    let (directory, marker) = Directory::claim(path, create)?;
    let paths = Paths::new(&directory);
    let is_clean = marker.is_some_and(|marker| marker.stopped);
    let was_killed = directory.length("-wal").unwrap_or(0) > 0 && !is_clean;
    let known = Known { marker, create, again: false, was_killed };
    let mut opened = prepare_and_connect(directory, &known, &paths);
    if let Err((directory, Refusal::StoreError(StoreError::Corrupt(_)))) = opened {
        // The whole file can be read now; a moment ago it may not have been.
        opened = prepare_and_connect(*directory, &known, &paths);
    }
    let begun = match opened {
        Ok(store) => store.begin(),
        Err((_, Refusal::Line(line))) => return Err(line),
        Err((directory, Refusal::StoreError(error))) => {
            Err((Box::new(ClosedStore::new(*directory, 0)), error))
        }
    };
    begun.map_err(|(_, error)| paths.line(&error))
}

/// Opens a store as [`Store::open_when_free`].
///
/// # Errors
/// One line that says what to do.
pub fn open_when_free(
    path: &Path,
    timeout: Duration,
    waits: impl FnOnce(),
) -> Result<Store, String> {
    let until = Instant::now() + timeout;
    let mut waits = Some(waits);
    loop {
        match open(path, true) {
            Err(line) if is_in_use_error(&line, path) && Instant::now() < until => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                thread::sleep(IN_USE_POLL_INTERVAL);
            }
            opened => return opened,
        }
    }
}

impl ClosedStore {
    /// Opens the store again, and writes again everything that is not known to be on disk.
    ///
    /// # Errors
    /// The reason, and the store that is still closed.
    pub fn open(self) -> Result<Store, (Box<Self>, StoreError)> {
        let paths = Paths::new(&self.directory);
        let error = match &self.overwritten {
            Some(why) => Some(StoreError::Overwritten(why.clone())),
            None if !self.directory.has_database() => Some(StoreError::Io(format!(
                "{} is gone, or another file has its name: put back the one that was there",
                paths.file
            ))),
            None => None,
        };
        if let Some(error) = error {
            return Err((Box::new(self), error));
        }
        let ClosedStore { directory, commits, .. } = self;
        let marker = Some(CommitMarker { commits, stopped: false });
        let known = Known { marker, create: false, again: true, was_killed: false };
        match prepare_and_connect(directory, &known, &paths) {
            Ok(store) => store.begin(),
            Err((directory, refusal)) => {
                let error = match refusal {
                    Refusal::Line(line) => StoreError::Io(line),
                    Refusal::StoreError(error) => error,
                };
                Err((Box::new(ClosedStore::new(*directory, commits)), error))
            }
        }
    }
}

impl Store {
    /// Writes an empty transaction, syncs the directory and writes the marker: a store that can't
    /// be written is refused now, and not when the first change comes.
    fn begin(mut self) -> Result<Self, (Box<ClosedStore>, StoreError)> {
        let begun = self.commit([]).and_then(|_| {
            self.directory.sync()?;
            let marker = CommitMarker { commits: self.commits, stopped: false };
            Ok(self.directory.write_marker_synced(marker)?)
        });
        match begun {
            Ok(()) => Ok(self),
            Err(error) => Err((Box::new(self.close_unwritten()), error)),
        }
    }
}

/// What is known of a store before it is opened.
struct Known {
    /// The transactions it must have.
    marker: Option<CommitMarker>,
    /// Is true where it may be made.
    create: bool,
    /// Is true where this process had it open before.
    again: bool,
    /// Is true where the last process that had it open was killed.
    was_killed: bool,
}

impl Known {
    fn commits(&self) -> u64 {
        self.marker.map_or(0, |marker| marker.commits)
    }

    fn is_clean(&self) -> bool {
        self.marker.is_some_and(|marker| marker.stopped)
    }
}

/// Why a file isn't opened.
enum Refusal {
    /// A complete line for the operator.
    Line(String),
    StoreError(StoreError),
}

impl<T: Into<StoreError>> From<T> for Refusal {
    fn from(error: T) -> Self {
        Refusal::StoreError(error.into())
    }
}

/// The paths of the files, as messages show them.
struct Paths {
    directory: String,
    file: String,
}

impl Paths {
    fn new(directory: &Directory) -> Self {
        Paths {
            directory: directory.path().display().to_string(),
            file: directory.database().display().to_string(),
        }
    }

    /// The line that the operator reads where the store can't be opened.
    fn line(&self, error: &StoreError) -> String {
        let Paths { directory, file } = self;
        match error {
            StoreError::Full(why) | StoreError::Internal(why) | StoreError::Overwritten(why) => {
                format!("can't use {file}: {why}: {}", error.advice())
            }
            StoreError::Busy(why) => format!(
                "can't use {file}: {why}: start again when it has ended; it may be a backup that is \
                 being made"
            ),
            StoreError::Io(why) => format!(
                "can't use {file}: {why}: see to it that {directory} is on a disk of this machine \
                 and that collabd may write in it"
            ),
            StoreError::Corrupt(why) | StoreError::SessionCorrupt(why) => format!(
                "{file} is damaged: {why}: a disk that reads wrongly may read it rightly later, so \
                 try again first; else move all of {directory} away and keep it, and put a backup as \
                 collabd.db into an empty directory, or start with another --data-dir"
            ),
        }
    }
}

/// Opens a store, up to its first transaction.
fn prepare_and_connect(
    mut directory: Directory,
    known: &Known,
    paths: &Paths,
) -> Result<Store, (Box<Directory>, Refusal)> {
    let result = prepare(&mut directory, known, paths)
        .and_then(|checked| connect(&mut directory, known, paths, checked));
    match result {
        Ok(Connected { mut db, sessions, commits, stamp, data_version }) => {
            let next_id = sessions.values().map(|session| session.id).max().unwrap_or(0) + 1;
            let journal_pages = Arc::new(AtomicUsize::new(0));
            let pages = journal_pages.clone();
            let hooked = db.wal_hook(Some(move |_: &mut Wal, length| {
                pages.store(usize::try_from(length).unwrap_or_default(), Ordering::Relaxed);
                Ok(())
            }));
            match hooked {
                Ok(()) => Ok(Store {
                    db,
                    directory,
                    sessions,
                    commits,
                    next_id,
                    journal_pages,
                    stamp,
                    data_version,
                    overwritten: None,
                    is_suspect: false,
                }),
                Err(error) => Err((Box::new(directory), error.into())),
            }
        }
        // SQLite reports some failed reads as damage.
        Err(Refusal::StoreError(StoreError::Corrupt(why))) => {
            let refusal = match directory.read_through() {
                Ok(()) => StoreError::Corrupt(why),
                Err(error) => StoreError::Io(error.to_string()),
            };
            Err((Box::new(directory), Refusal::StoreError(refusal)))
        }
        Err(refusal) => Err((Box::new(directory), refusal)),
    }
}

/// How much of the file's structure was checked.
#[derive(PartialEq, Eq)]
enum Checked {
    All,
    Part,
    Nothing,
}

/// Makes the database, where a new one is to be made; locks it; and writes again what may not be on
/// disk.
fn prepare(directory: &mut Directory, known: &Known, paths: &Paths) -> Result<Checked, Refusal> {
    let Paths { file, .. } = paths;
    let journal = directory.length("-wal").unwrap_or(0);
    if directory.length("").unwrap_or(0) == 0 {
        // An interrupted start of an older version leaves an empty file.
        if !(known.create && known.commits() == 0 && journal == 0) {
            return Err(Refusal::Line(format!(
                "{file} is missing or empty, but there was a database, of which {file}-wal may hold \
                 the last part: put it or a backup back; to begin anew, name an empty --data-dir"
            )));
        }
        create::create(directory)?;
    }
    directory.lock_database().map_err(Refusal::Line)?;
    if known.again || journal > 0 && !known.is_clean() {
        return rewrite(directory, known, paths);
    }
    Ok(Checked::Nothing)
}

/// Writes again everything that can be read. After a failed fsync, pages of the journal may be in
/// memory alone, and so may pages of the database that were moved there from the journal. So the
/// journal is written over itself, and all of it, from its beginning, is moved into the database.
/// That needs a connection that excludes all others, because the index that processes share says
/// which pages are moved already.
fn rewrite(directory: &Directory, known: &Known, paths: &Paths) -> Result<Checked, Refusal> {
    wal::rewrite(&directory.file("-wal"))?;
    let mut db = connection(directory)?;
    schema::exclude_others(&db)?;
    let timeout = if known.again { BUSY_TIMEOUT_AGAIN } else { BUSY_TIMEOUT };
    let until = Instant::now() + timeout;
    let kind = loop {
        match schema::kind(&db) {
            Err(StoreError::Busy(_)) if Instant::now() < until => {
                thread::sleep(BUSY_POLL_INTERVAL);
            }
            kind => break kind?,
        }
    };
    // `connect` reports any other kind.
    if kind != Kind::Ours(schema::FORMAT) {
        return Ok(Checked::Nothing);
    }
    schema::configure_writer(&db)?;
    check(&mut db, MAX_CHECK_TIME_UNCLEAN)?;
    let (_, commits) = rows::sessions(&db)?;
    if commits < known.commits() {
        return Err(lacks_commits(paths, known.commits() - commits));
    }
    let is_busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        return Err(StoreError::Busy("another program reads the file".into()).into());
    }
    db.close().map_err(|(_, error)| StoreError::from(error))?;
    directory.sync()?;
    // A part that was not checked in time is checked as it is read.
    Ok(Checked::All)
}

fn connection(directory: &Directory) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(directory.database(), flags)?;
    schema::configure(&db)?;
    // The journal is left alone until the file is known to be sound.
    schema::keep_journal(&db, true)?;
    Ok(db)
}

fn lacks_commits(paths: &Paths, count: u64) -> Refusal {
    let Paths { file, .. } = paths;
    Refusal::Line(format!(
        "{file} lacks {count} transactions that were confirmed: its -wal file was damaged or removed, \
         or it is an older copy: put the right one back; to go on without them, copy {file} alone into \
         an empty directory and name that with --data-dir"
    ))
}

/// An open and checked file.
struct Connected {
    db: Connection,
    sessions: HashMap<Arc<str>, rows::SessionRow>,
    commits: u64,
    stamp: FileStamp,
    data_version: i64,
}

/// Opens the file for use: checks it, migrates it, and reads its sessions.
fn connect(
    directory: &mut Directory,
    known: &Known,
    paths: &Paths,
    checked: Checked,
) -> Result<Connected, Refusal> {
    let Paths { file, .. } = paths;
    let mut db = connection(directory)?;
    let format = format_of(&db, directory, known, paths)?;
    schema::configure_writer(&db)?;
    let is_unclean = format > 0 && !known.is_clean();
    if checked != Checked::All {
        let max_time = if is_unclean { MAX_CHECK_TIME_UNCLEAN } else { MAX_CHECK_TIME };
        if check(&mut db, max_time)? == Checked::Part && is_unclean {
            log::info!("{file} is large: most of it is checked as it is read");
        }
    }
    schema::migrate(&mut db, format)?;
    let (sessions, mut commits) = rows::sessions(&db)?;
    if commits < known.commits() {
        return Err(lacks_commits(paths, known.commits() - commits));
    }
    if known.was_killed && reserve::reserve_for_all(&mut db, sessions.values(), commits + 1)? {
        commits += 1;
    }
    schema::keep_journal(&db, false)?;
    directory.set_opened();
    let stamp = FileStamp::new(&db, &directory.database(), directory.lock())?;
    let data_version = schema::pragma(&db, "data_version")?;
    Ok(Connected { db, sessions, commits, stamp, data_version })
}

/// The format of the file; 0 where its tables are to be made.
fn format_of(
    db: &Connection,
    directory: &Directory,
    known: &Known,
    paths: &Paths,
) -> Result<i32, Refusal> {
    let Paths { file, directory: shown } = paths;
    let refuse = |line: String| Err(Refusal::Line(line));
    let journal = directory.length("-wal").unwrap_or(0);
    // An older version that was killed while it made the tables has confirmed nothing.
    let may_be_new = known.create && known.commits() == 0 && journal <= MAX_FIRST_JOURNAL_BYTES;
    match schema::kind(db)? {
        Kind::Ours(format) => Ok(format),
        Kind::Empty if may_be_new => Ok(0),
        Kind::Empty => refuse(format!(
            "{file} is empty, but there was a database: put it or a backup back; to begin anew, \
                 name an empty --data-dir"
        )),
        Kind::Newer(format) => refuse(format!(
            "{file} was written by a newer collabd (format {format}, this one knows up to {}): \
             start that version, or use another --data-dir",
            schema::FORMAT
        )),
        Kind::Foreign => refuse(format!(
            "{file} is a database, but not collabd's: name another --data-dir than {shown}"
        )),
    }
}

/// Checks the structure of the file, for `max_time` at most.
fn check(db: &mut Connection, max_time: Duration) -> Result<Checked, StoreError> {
    let until = Instant::now() + max_time;
    db.progress_handler(1000, Some(move || Instant::now() > until))?;
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    db.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(found) if found == "ok" => Ok(Checked::All),
        // The first line names the database.
        Ok(found) => Err(StoreError::Corrupt(found.lines().last().unwrap_or_default().into())),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(Checked::Part)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_the_disk() {
        let name = format!("collabd-unit-store-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let store = open(&directory, true).expect("a store");
        let setting = |name| -> i64 { schema::pragma(&store.db, name).expect("a setting") };
        // No test can see these settings before a power failure.
        assert_eq!((setting("synchronous"), setting("mmap_size")), (2, 0));
        assert_eq!((setting("fullfsync"), setting("checkpoint_fullfsync")), (1, 1));
        assert_eq!((setting("foreign_keys"), setting("cell_size_check")), (1, 1));
        let mode: String = schema::pragma(&store.db, "journal_mode").expect("a setting");
        assert_eq!(mode, "wal");
        drop(store);
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
