//! Finds out whether another program has written to the database without SQLite's locks: a copy was
//! put over it, say. SQLite relies on its cache and journal, does not notice, and would mix its
//! pages with the new ones.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rusqlite::Connection;

use super::error::StoreError;
use super::lock::Lock;

/// The length of SQLite's file header, which is compared.
const HEADER_BYTES: usize = 100;
const PAGE_BYTES: usize = 4096;

/// The file's length, time and two parts of its content, after this process wrote to it last.
pub struct FileStamp {
    length: u64,
    modified: Option<SystemTime>,
    /// SQLite's header, and the page of the table `store`, which holds the number of transactions:
    /// it differs in every copy.
    content: Vec<u8>,
    /// The offset of that page in bytes.
    totals_offset: u64,
}

impl FileStamp {
    /// The stamp of a file as it is now. `db` is a connection to it.
    pub fn new(db: &Connection, file: &Path, lock: Option<&Lock>) -> Result<Self, StoreError> {
        let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'store'";
        let page: i64 = db.query_row(sql, [], |row| row.get(0))?;
        let totals_offset = u64::try_from(page - 1).unwrap_or(0) * PAGE_BYTES as u64;
        let mut stamp = FileStamp { length: 0, modified: None, content: Vec::new(), totals_offset };
        stamp.renew(file, lock)?;
        Ok(stamp)
    }

    /// Takes the stamp again, after this process has written to the file.
    pub fn renew(&mut self, file: &Path, lock: Option<&Lock>) -> io::Result<()> {
        (self.length, self.modified) = length_and_time(file)?;
        self.content = content(self.totals_offset, lock)?;
        Ok(())
    }

    /// Returns true where no other program has written to the file. A file that only has another
    /// time is unchanged.
    pub fn is_current(&mut self, file: &Path, lock: Option<&Lock>) -> io::Result<bool> {
        let now = length_and_time(file)?;
        if now == (self.length, self.modified) {
            return Ok(true);
        }
        if now.0 != self.length || content(self.totals_offset, lock)? != self.content {
            return Ok(false);
        }
        self.modified = now.1;
        Ok(true)
    }
}

/// The file's length and the time of its last change. On Windows neither: it updates them when a
/// file is closed.
fn length_and_time(file: &Path) -> io::Result<(u64, Option<SystemTime>)> {
    let found = fs::metadata(file)?;
    Ok(if cfg!(unix) { (found.len(), found.modified().ok()) } else { (0, None) })
}

/// The header and the page at this offset; empty where the lock can't read the file.
fn content(totals_offset: u64, lock: Option<&Lock>) -> io::Result<Vec<u8>> {
    let Some(lock) = lock else { return Ok(Vec::new()) };
    let mut content = vec![0; HEADER_BYTES + PAGE_BYTES];
    let header = lock.read(&mut content[..HEADER_BYTES], 0)?;
    let page = lock.read(&mut content[HEADER_BYTES..], totals_offset)?;
    content.truncate(if header + page > 0 { HEADER_BYTES + PAGE_BYTES } else { 0 });
    Ok(content)
}
