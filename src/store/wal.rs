//! Rewrites the journal of the database, `collabd.db-wal`, byte by byte.
//!
//! After a failed fsync, Linux marks the pages in memory as clean though they are not on disk, and
//! the next fsync succeeds. A process that opens the file then reads transactions that are not on
//! disk. So the whole journal is written again before anything in it is used.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// How much is read and written at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// Writes the journal over itself and syncs it: all that can be read is on disk then. Does nothing
/// where there is none. No program may have the database open to write.
pub fn rewrite(journal: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let read = read_at(&file, &mut chunk, offset)?;
        if read == 0 {
            break;
        }
        write_at(&file, &chunk[..read], offset)?;
        offset += read as u64;
    }
    file.sync_all()
}

#[cfg(unix)]
fn read_at(file: &File, chunk: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, chunk, offset)
}

#[cfg(unix)]
fn write_at(file: &File, chunk: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, chunk, offset)
}

#[cfg(windows)]
fn read_at(file: &File, chunk: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, chunk, offset)
}

#[cfg(windows)]
fn write_at(file: &File, chunk: &[u8], offset: u64) -> io::Result<()> {
    let written = std::os::windows::fs::FileExt::seek_write(file, chunk, offset)?;
    if written == chunk.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
