//! Creates the database: whole, or not at all.
//!
//! It is created under another name, and renamed to `collabd.db` when it is complete and on disk.
//! What an interrupted start leaves under the other name is removed by the next start.

use std::fs;
use std::io;

use rusqlite::{Connection, OpenFlags};

use super::directory::Directory;
use super::error::StoreError;
use super::schema;
use crate::files::writing;

/// The suffix of the unfinished database.
const NEW_SUFFIX: &str = ".new";
/// The further suffixes of the database itself and of the files that SQLite makes beside it.
const SQLITE_SUFFIXES: [&str; 4] = ["", "-journal", "-wal", "-shm"];

/// Creates the database of a directory that has none, or an empty file in its place.
///
/// # Errors
/// [`StoreError`]: there is none then.
pub fn create(directory: &Directory) -> Result<(), StoreError> {
    let new = directory.file(NEW_SUFFIX);
    for suffix in SQLITE_SUFFIXES {
        match fs::remove_file(directory.file(&format!("{NEW_SUFFIX}{suffix}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    writing().create_new(true).open(&new)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(&new, flags)?;
    schema::configure(&db)?;
    schema::configure_writer(&db)?;
    schema::migrate(&mut db, 0)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| StoreError::from(error))?;
    Ok(directory.put_database(&new)?)
}
