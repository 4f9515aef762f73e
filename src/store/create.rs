//! Making a database where there was none: whole, or not at all.
//!
//! It is made beside the place where it is to be, and gets its name when it is complete and on disk. A
//! start that is cut off leaves nothing of the name `collabd.db`, and what it left is removed by the
//! next one.

use std::fs;
use std::io;

use rusqlite::{Connection, OpenFlags};

use super::directory::Directory;
use super::error::StoreError;
use super::schema;
use crate::files::writing;

/// What the name of the unfinished one has more; and those of the files that SQLite makes beside it.
const NEW: &str = ".new";
const BESIDE: [&str; 4] = ["", "-journal", "-wal", "-shm"];

/// Makes the database of a directory that has none, or an empty file in its place.
///
/// # Errors
/// [`StoreError`]: then there is none.
pub fn make(directory: &Directory) -> Result<(), StoreError> {
    let new = directory.file(NEW);
    for beside in BESIDE {
        match fs::remove_file(directory.file(&format!("{NEW}{beside}"))) {
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
