//! Whether another program has written to the database. SQLite doesn't notice: it believes what it has
//! in memory and in the journal, and would write its pages amid those of another file.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rusqlite::Connection;

use super::error::StoreError;
use super::lock::Lock;

/// How much of the file's beginning is compared, in bytes: SQLite's own head.
const HEAD: usize = 100;
const PAGE: usize = 4096;

/// What the file was like when this process had written to it last.
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// SQLite's head, and the page that says how many transactions there are: an older copy has others.
    content: Vec<u8>,
    /// Where that page is, in bytes.
    totals: u64,
}

impl Stamp {
    /// What it is like now. `db` is a connection to it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(db: &Connection, file: &Path, lock: Option<&Lock>) -> Result<Self, StoreError> {
        let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'store'";
        let page: i64 = db.query_row(sql, [], |row| row.get(0))?;
        let totals = u64::try_from(page - 1).unwrap_or(0) * PAGE as u64;
        let mut stamp = Stamp { length: 0, modified: None, content: Vec::new(), totals };
        stamp.renew(file, lock)?;
        Ok(stamp)
    }

    /// After this process has written to it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn renew(&mut self, file: &Path, lock: Option<&Lock>) -> io::Result<()> {
        (self.length, self.modified) = look(file)?;
        self.content = content(self.totals, lock)?;
        Ok(())
    }

    /// Whether nobody else has written to it since. That its time was changed is no matter.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn holds(&mut self, file: &Path, lock: Option<&Lock>) -> io::Result<bool> {
        let now = look(file)?;
        if now == (self.length, self.modified) {
            return Ok(true);
        }
        if now.0 != self.length || content(self.totals, lock)? != self.content {
            return Ok(false);
        }
        self.modified = now.1;
        Ok(true)
    }
}

/// Its length, and when it was changed last, where the system says so at once.
fn look(file: &Path) -> io::Result<(u64, Option<SystemTime>)> {
    let found = fs::metadata(file)?;
    // Windows notes both when a file is closed.
    Ok(if cfg!(unix) { (found.len(), found.modified().ok()) } else { (0, None) })
}

/// Empty where the lock doesn't let it be read.
fn content(totals: u64, lock: Option<&Lock>) -> io::Result<Vec<u8>> {
    let Some(lock) = lock else { return Ok(Vec::new()) };
    let mut content = vec![0; HEAD + PAGE];
    let head = lock.read(&mut content[..HEAD], 0)?;
    let page = lock.read(&mut content[HEAD..], totals)?;
    content.truncate(if head + page > 0 { HEAD + PAGE } else { 0 });
    Ok(content)
}
