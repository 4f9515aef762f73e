//! Files that are whole or not there.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// A file that is to be written.
#[derive(Debug)]
pub struct OutFile {
    pub path: PathBuf,
    /// A file that is there already is replaced; only a plain file ever is.
    pub replaces: bool,
}

/// Writes a file, which is whole when it has this name: it is written beside it and on disk before it has
/// it. Blocks on the disk.
///
/// # Errors
/// One line, when it can't be written or `write` has failed; what was there is as it was then.
pub fn write_file(
    out: &OutFile,
    write: impl FnOnce(&mut BufWriter<fs::File>) -> Result<(), String>,
) -> Result<(), String> {
    let OutFile { path: file, replaces } = out;
    is_free(file, *replaces)?;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(format!(".{}.new", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let failed = |error: io::Error| {
        format!("can't write {}: {error}: name another file with --out", file.display())
    };
    let made = OpenOptions::new().write(true).create_new(true).open(&unfinished);
    let mut writer = BufWriter::new(made.map_err(failed)?);
    let written = write(&mut writer).and_then(|()| {
        writer.flush().and_then(|()| writer.get_ref().sync_all()).map_err(failed)?;
        // Another process may have made one meanwhile.
        is_free(file, *replaces)?;
        fs::rename(&unfinished, file).map_err(failed)?;
        crate::files::sync_directory_of(file);
        Ok(())
    });
    if written.is_err() {
        // A part of a file is of no use; the error says why it is one.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn is_free(file: &Path, replaces: bool) -> Result<(), String> {
    let shown = file.display();
    match fs::metadata(file) {
        Ok(there) if !there.is_file() => {
            Err(format!("{shown} is there already, and is no file: name another one with --out"))
        }
        Ok(_) if !replaces => Err(format!(
            "{shown} is there already: name another file with --out, or say --force to replace it"
        )),
        _ => Ok(()),
    }
}
