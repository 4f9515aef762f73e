//! The journal of the database, `collabd.db-wal`, as bytes.
//!
//! When an fsync fails, Linux has forgotten what it should have written: the pages stay in memory as if
//! they were on disk, and the next fsync succeeds. So whoever opens the file after that, this process or
//! the next one, reads transactions that are not on disk. Before any of it is believed, all of it is
//! written once more.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// How much is written again at a time, in bytes.
const PIECE: usize = 1 << 16;

/// Writes the journal over itself, so that all of it is on disk that can be read. Nothing where there
/// is none. Nobody may have the database open, other than to read.
///
/// # Errors
/// When it can't be read or written.
pub fn write_again(journal: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut piece = vec![0; PIECE];
    let mut place = 0;
    loop {
        let read = read_at(&file, &mut piece, place)?;
        if read == 0 {
            break;
        }
        write_at(&file, &piece[..read], place)?;
        place += read as u64;
    }
    file.sync_all()
}

#[cfg(unix)]
fn read_at(file: &File, piece: &mut [u8], place: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, piece, place)
}

#[cfg(unix)]
fn write_at(file: &File, piece: &[u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, piece, place)
}

#[cfg(windows)]
fn read_at(file: &File, piece: &mut [u8], place: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, piece, place)
}

#[cfg(windows)]
fn write_at(file: &File, piece: &[u8], place: u64) -> io::Result<()> {
    let written = std::os::windows::fs::FileExt::seek_write(file, piece, place)?;
    if written == piece.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
