//! Opening a store: what is there, whose it is, and whether it is all that was confirmed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::directory::{Directory, Note};
use super::schema::{self, Kind};
use super::trouble::Trouble;
use super::{Store, rows};

/// How long the structure of the file is checked at most, after a run that ended properly and after
/// one that did not. The rest is checked as it is read.
const CHECK: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

/// Opens the store of a directory; `create` says whether it may be made.
///
/// # Errors
/// One line that says what to do.
pub fn open(path: &Path, create: bool) -> Result<Store, String> {
    let (directory, note) = Directory::claim(path, create)?;
    let place = Place {
        directory: directory.path().display().to_string(),
        file: directory.database().display().to_string(),
        note: directory.note_file().display().to_string(),
    };
    opened(directory, note, create, &place).map_err(|refusal| match refusal {
        Refusal::Said(line) => line,
        Refusal::Trouble(trouble) => place.line(&trouble),
    })
}

/// Why a file isn't opened.
enum Refusal {
    /// In a line of its own.
    Said(String),
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Refusal {
    fn from(trouble: T) -> Self {
        Refusal::Trouble(trouble.into())
    }
}

/// What the files are called, for people.
struct Place {
    directory: String,
    file: String,
    note: String,
}

impl Place {
    fn line(&self, trouble: &Trouble) -> String {
        let Place { directory, file, note } = self;
        match trouble {
            Trouble::Full(why) | Trouble::Bug(why) => {
                format!("can't use {file}: {why}: {}", trouble.advice())
            }
            Trouble::Unreachable(why) => format!(
                "can't use {file}: {why}: see to it that {directory} is on a disk of this machine \
                 and that collabd may write in it"
            ),
            Trouble::Corrupt(why) | Trouble::Damaged(why) => format!(
                "{file} is damaged: {why}: put a backup in its place and remove {file}-wal and \
                 {note}, or start with another --data-dir"
            ),
        }
    }
}

fn opened(
    mut directory: Directory,
    note: Option<Note>,
    create: bool,
    place: &Place,
) -> Result<Store, Refusal> {
    let Place { file, note: note_file, .. } = place;
    let seen = note.map_or(0, |note| note.commits);
    let said = |line: String| Err(Refusal::Said(line));
    // Nothing was ever in it, as far as can be told; a start that was cut off leaves an empty file.
    let may_be_new = create && seen == 0 && directory.length("-wal").unwrap_or(0) == 0;
    if directory.length("").unwrap_or(0) == 0 {
        if !may_be_new {
            return said(format!(
                "{file} is missing or empty, but there was a database: put it or a backup back; to \
                 begin anew, remove {file}-wal and {note_file}"
            ));
        }
        directory.make_database()?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(directory.database(), flags)?;
    schema::configure(&db)?;
    // Until it is known to be as it should be.
    schema::keep_journal(&db, true)?;
    let format = match schema::kind(&db)? {
        Kind::Ours(format) => format,
        Kind::Empty if may_be_new => 0,
        Kind::Empty => {
            return said(format!(
                "{file} is empty, but there was a database: put it or a backup back; to begin \
                 anew, remove {file}-wal and {note_file}"
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
                "{file} is a database, but not collabd's: move it away, or use another --data-dir"
            ));
        }
    };
    schema::configure_writer(&db)?;
    let unclean = format > 0 && !note.is_some_and(|note| note.stopped);
    if !check(&mut db, CHECK[usize::from(unclean)])? && unclean {
        log::info!("{file} is large: most of it is checked as it is read");
    }
    schema::migrate(&mut db, format)?;
    let (sessions, commits) = rows::sessions(&db)?;
    if commits < seen {
        return said(format!(
            "{file} lacks {} transactions that were confirmed: its -wal file was damaged or \
             removed, or it is an older copy: put the right one back; to go on without them, \
             remove {note_file}",
            seen - commits
        ));
    }
    let journal = Arc::new(AtomicUsize::new(0));
    let pages = journal.clone();
    db.wal_hook(Some(move |_: &mut Wal, length| {
        pages.store(usize::try_from(length).unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }))?;
    schema::keep_journal(&db, false)?;
    directory.note_for_good(Note { commits, stopped: false })?;
    directory.opened();
    let next_id = sessions.values().map(|session| session.id).max().unwrap_or(0) + 1;
    let mut store = Store { db, directory, sessions, commits, next_id, journal };
    // Whether it can be written shows now, not when the first change comes.
    store.commit([])?;
    Ok(store)
}

/// Checks the structure of the file for so long. Whether it was all checked.
///
/// # Errors
/// [`Trouble::Corrupt`] when something is wrong with it.
fn check(db: &mut Connection, longest: Duration) -> Result<bool, Trouble> {
    let until = Instant::now() + longest;
    db.progress_handler(1000, Some(move || Instant::now() > until))?;
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    db.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(found) if found == "ok" => Ok(true),
        // After a line that says in which database.
        Ok(found) => Err(Trouble::Corrupt(found.lines().last().unwrap_or_default().into())),
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
