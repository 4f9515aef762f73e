//! Opening a store: what is there, whose it is, and whether it is all that was confirmed.
//!
//! What a process that didn't end properly has left is written anew before any of it is believed, and so
//! is everything after something could not be written or read ([`write_anew`]): after a failed fsync,
//! what can be read is not on disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::directory::{CommitMarker, Directory, says_in_use};
use super::error::StoreError;
use super::foreign_writes::Stamp;
use super::schema::{self, Kind};
use super::{Closed, Store, create, reserve, rows, wal};

/// How long the structure of the file is checked at most, after a run that ended properly and after
/// one that did not. The rest is checked as it is read.
const CHECK: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// How long others that have the file open are waited for when a store is opened, and when it is opened
/// again, which is tried again soon.
const PATIENCE: [Duration; 2] = [Duration::from_secs(10), Duration::from_millis(100)];
/// How often it is tried meanwhile.
const GLANCE: Duration = Duration::from_millis(5);
/// How large the journal can be at most, in bytes, in which the first start was cut off that an older
/// version made: its tables, and nothing that was ever confirmed.
const FIRST_JOURNAL: u64 = 1 << 18;

/// Opens the store of a directory; `create` says whether it may be made.
///
/// # Errors
/// One line that says what to do.
pub fn open(path: &Path, create: bool) -> Result<Store, String> {
    let (directory, note) = Directory::claim(path, create)?;
    let place = Place::of(&directory);
    let is_clean = note.is_some_and(|note| note.stopped);
    let was_killed = directory.length("-wal").unwrap_or(0) > 0 && !is_clean;
    let known = Known { note, create, again: false, was_killed };
    let mut opening = opened(directory, &known, &place);
    if let Err((directory, Refusal::StoreError(StoreError::Corrupt(_)))) = opening {
        // All of it can be read now; it may not have been a moment ago.
        opening = opened(*directory, &known, &place);
    }
    let begun = match opening {
        Ok(store) => store.begin(),
        Err((_, Refusal::Said(line))) => return Err(line),
        Err((directory, Refusal::StoreError(trouble))) => {
            Err((Box::new(Closed::of(*directory, 0)), trouble))
        }
    };
    begun.map_err(|(_, trouble)| place.line(&trouble))
}

/// The same; where another process holds the directory, `waits` is called and that one's end waited for,
/// for `longest` at most.
///
/// # Errors
/// One line that says what to do.
pub fn open_when_free(
    path: &Path,
    longest: Duration,
    waits: impl FnOnce(),
) -> Result<Store, String> {
    let until = Instant::now() + longest;
    let mut waits = Some(waits);
    loop {
        match open(path, true) {
            Err(line) if says_in_use(&line, path) && Instant::now() < until => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                thread::sleep(GLANCE * 4);
            }
            opened => return opened,
        }
    }
}

impl Closed {
    /// Opens it again: everything that is not known to be on disk is written anew, whatever SQLite says
    /// of it.
    ///
    /// # Errors
    /// Why that isn't possible now. Nothing has been changed then that was not written anew.
    pub fn open(self) -> Result<Store, (Box<Self>, StoreError)> {
        let place = Place::of(&self.directory);
        let trouble = match &self.overwritten {
            Some(why) => Some(StoreError::Overwritten(why.clone())),
            None if !self.directory.has_database() => Some(StoreError::Io(format!(
                "{} is gone, or another file has its name: put back the one that was there",
                place.file
            ))),
            None => None,
        };
        if let Some(trouble) = trouble {
            return Err((Box::new(self), trouble));
        }
        let Closed { directory, commits, .. } = self;
        let note = Some(CommitMarker { commits, stopped: false });
        let known = Known { note, create: false, again: true, was_killed: false };
        match opened(directory, &known, &place) {
            Ok(store) => store.begin(),
            Err((directory, refusal)) => {
                let trouble = match refusal {
                    Refusal::Said(line) => StoreError::Io(line),
                    Refusal::StoreError(trouble) => trouble,
                };
                Err((Box::new(Closed::of(*directory, commits)), trouble))
            }
        }
    }
}

impl Store {
    /// Shows that it can be written, now and not when the first change comes, and that a power failure
    /// finds all its names.
    fn begin(mut self) -> Result<Self, (Box<Closed>, StoreError)> {
        let begun = self.commit([]).and_then(|_| {
            self.directory.sync()?;
            let note = CommitMarker { commits: self.commits, stopped: false };
            Ok(self.directory.note_for_good(note)?)
        });
        match begun {
            Ok(()) => Ok(self),
            Err(trouble) => Err((Box::new(self.let_go()), trouble)),
        }
    }
}

/// What is known of a store before it is opened.
struct Known {
    /// How far it has come.
    note: Option<CommitMarker>,
    /// Whether it may be made.
    create: bool,
    /// Whether this process had it open before.
    again: bool,
    /// Whether the process that had it open before this one was killed.
    was_killed: bool,
}

impl Known {
    fn commits(&self) -> u64 {
        self.note.map_or(0, |note| note.commits)
    }

    fn is_clean(&self) -> bool {
        self.note.is_some_and(|note| note.stopped)
    }
}

/// Why a file isn't opened.
enum Refusal {
    /// In a line of its own.
    Said(String),
    StoreError(StoreError),
}

impl<T: Into<StoreError>> From<T> for Refusal {
    fn from(trouble: T) -> Self {
        Refusal::StoreError(trouble.into())
    }
}

/// What the files are called, for people.
struct Place {
    directory: String,
    file: String,
}

impl Place {
    fn of(directory: &Directory) -> Self {
        Place {
            directory: directory.path().display().to_string(),
            file: directory.database().display().to_string(),
        }
    }

    fn line(&self, trouble: &StoreError) -> String {
        let Place { directory, file } = self;
        match trouble {
            StoreError::Full(why) | StoreError::Internal(why) | StoreError::Overwritten(why) => {
                format!("can't use {file}: {why}: {}", trouble.advice())
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

/// Everything but the first transaction.
fn opened(
    mut directory: Directory,
    known: &Known,
    place: &Place,
) -> Result<Store, (Box<Directory>, Refusal)> {
    let result = prepare(&mut directory, known, place)
        .and_then(|is_checked| connect(&mut directory, known, place, is_checked));
    match result {
        Ok((mut db, sessions, commits, stamp, version)) => {
            let next_id = sessions.values().map(|session| session.id).max().unwrap_or(0) + 1;
            let journal = Arc::new(AtomicUsize::new(0));
            let pages = journal.clone();
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
                    journal,
                    stamp,
                    version,
                    overwritten: None,
                    is_suspect: false,
                }),
                Err(error) => Err((Box::new(directory), error.into())),
            }
        }
        // SQLite tells wrong content from a disk that can't read only by half.
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

/// Makes the database, where there is to be a new one; takes it for this process; and writes anew what
/// may not be on disk. Whether its structure has been checked.
fn prepare(directory: &mut Directory, known: &Known, place: &Place) -> Result<bool, Refusal> {
    let Place { file, .. } = place;
    let journal = directory.length("-wal").unwrap_or(0);
    if directory.length("").unwrap_or(0) == 0 {
        // A start that was cut off leaves no such file, but an older version's left an empty one.
        if !(known.create && known.commits() == 0 && journal == 0) {
            return Err(Refusal::Said(format!(
                "{file} is missing or empty, but there was a database, of which {file}-wal may hold \
                 the last part: put it or a backup back; to begin anew, name an empty --data-dir"
            )));
        }
        create::make(directory)?;
    }
    directory.lock_database().map_err(Refusal::Said)?;
    if known.again || journal > 0 && !known.is_clean() {
        return write_anew(directory, known, place);
    }
    Ok(false)
}

/// Has everything be on disk that can be read. After a failed fsync it need not be: of the journal the
/// pages may be in memory alone, and of the database those that were moved there from the journal. The
/// journal is written over itself. Then all of it, from its beginning, is moved into the database, which
/// needs a connection that excludes all others: what processes share about the journal says which pages
/// are in the database already. Whether the structure of the file was checked.
fn write_anew(directory: &Directory, known: &Known, place: &Place) -> Result<bool, Refusal> {
    wal::write_again(&directory.file("-wal"))?;
    let mut db = connection(directory)?;
    schema::exclude_others(&db)?;
    let until = Instant::now() + PATIENCE[usize::from(known.again)];
    let kind = loop {
        match schema::kind(&db) {
            Err(StoreError::Busy(_)) if Instant::now() < until => thread::sleep(GLANCE),
            kind => break kind?,
        }
    };
    // Anything else is told from what it is when it is opened as usual.
    if kind != Kind::Ours(schema::FORMAT) {
        return Ok(false);
    }
    schema::configure_writer(&db)?;
    check(&mut db, CHECK[1])?;
    let (_, commits) = rows::sessions(&db)?;
    if commits < known.commits() {
        return Err(lacks(place, known.commits() - commits));
    }
    let is_busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        return Err(StoreError::Busy("another program reads the file".into()).into());
    }
    db.close().map_err(|(_, error)| StoreError::from(error))?;
    directory.sync()?;
    Ok(true)
}

fn connection(directory: &Directory) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(directory.database(), flags)?;
    schema::configure(&db)?;
    // Until it is known to be as it should be.
    schema::keep_journal(&db, true)?;
    Ok(db)
}

fn lacks(place: &Place, count: u64) -> Refusal {
    let Place { file, .. } = place;
    Refusal::Said(format!(
        "{file} lacks {count} transactions that were confirmed: its -wal file was damaged or removed, \
         or it is an older copy: put the right one back; to go on without them, copy {file} alone into \
         an empty directory and name that with --data-dir"
    ))
}

type Connected = (Connection, std::collections::HashMap<Arc<str>, rows::Session>, u64, Stamp, i64);

/// Opens the file as it is used from then on.
fn connect(
    directory: &mut Directory,
    known: &Known,
    place: &Place,
    is_checked: bool,
) -> Result<Connected, Refusal> {
    let Place { file, directory: shown } = place;
    let said = |line: String| Err(Refusal::Said(line));
    let mut db = connection(directory)?;
    let journal = directory.length("-wal").unwrap_or(0);
    // Nothing was ever confirmed by a version that was killed when it had only begun to make the tables.
    let may_be_new = known.create && known.commits() == 0 && journal <= FIRST_JOURNAL;
    let format = match schema::kind(&db)? {
        Kind::Ours(format) => format,
        Kind::Empty if may_be_new => 0,
        Kind::Empty => {
            return said(format!(
                "{file} is empty, but there was a database: put it or a backup back; to begin anew, \
                 name an empty --data-dir"
            ));
        }
        Kind::Newer(format) => {
            return said(format!(
                "{file} was written by a newer collabd (format {format}, this one knows up to {}): \
                 start that version, or use another --data-dir",
                schema::FORMAT
            ));
        }
        Kind::Foreign => {
            return said(format!(
                "{file} is a database, but not collabd's: name another --data-dir than {shown}"
            ));
        }
    };
    schema::configure_writer(&db)?;
    let is_unclean = format > 0 && !known.is_clean();
    if !is_checked && !check(&mut db, CHECK[usize::from(is_unclean)])? && is_unclean {
        log::info!("{file} is large: most of it is checked as it is read");
    }
    schema::migrate(&mut db, format)?;
    let (sessions, mut commits) = rows::sessions(&db)?;
    if commits < known.commits() {
        return Err(lacks(place, known.commits() - commits));
    }
    if known.was_killed && reserve::where_none_are(&mut db, sessions.values(), commits + 1)? {
        commits += 1;
    }
    schema::keep_journal(&db, false)?;
    directory.opened();
    let stamp = Stamp::of(&db, &directory.database(), directory.lock())?;
    let version = schema::pragma(&db, "data_version")?;
    Ok((db, sessions, commits, stamp, version))
}

/// Checks the structure of the file for so long. Whether it was all checked.
///
/// # Errors
/// [`StoreError::Corrupt`] when something is wrong with it.
fn check(db: &mut Connection, longest: Duration) -> Result<bool, StoreError> {
    let until = Instant::now() + longest;
    db.progress_handler(1000, Some(move || Instant::now() > until))?;
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    db.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(found) if found == "ok" => Ok(true),
        // After a line that says in which database.
        Ok(found) => Err(StoreError::Corrupt(found.lines().last().unwrap_or_default().into())),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(false)
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
        // Not one of them can be seen from outside before the power fails.
        assert_eq!((setting("synchronous"), setting("mmap_size")), (2, 0));
        assert_eq!((setting("fullfsync"), setting("checkpoint_fullfsync")), (1, 1));
        assert_eq!((setting("foreign_keys"), setting("cell_size_check")), (1, 1));
        let mode: String = schema::pragma(&store.db, "journal_mode").expect("a setting");
        assert_eq!(mode, "wal");
        drop(store);
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
