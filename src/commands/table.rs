//! What several commands print: names that can't play tricks, tables, and files that are whole.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Names are anybody's: none of them may move the cursor or turn the line around.
pub fn printable(name: &str) -> String {
    let quoted = format!("{name:?}");
    quoted[1..quoted.len() - 1].to_owned()
}

/// Columns as wide as their widest cell.
pub fn table<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Prints it. A reader that has seen enough, like `head`, is no failure.
///
/// # Errors
/// One line, when it can't be printed.
pub fn print(text: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("can't print it: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes a file, which is whole when it has this name: it is written beside it and on disk before
/// it takes the place of one that was there. Blocks on the disk.
///
/// # Errors
/// One line, when it can't be written or `write` has failed; what was there is as it was then.
pub fn write_file(
    file: &Path,
    write: impl FnOnce(&mut BufWriter<fs::File>) -> Result<(), String>,
) -> Result<(), String> {
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
        fs::rename(&unfinished, file).map_err(failed)
    });
    if written.is_err() {
        // It is of no use to anybody; the reason is being told.
        let _ = fs::remove_file(&unfinished);
    }
    written
}
