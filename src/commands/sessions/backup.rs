//! `collabd sessions backup`: a copy of everything in a data directory, also while a server uses it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BackupTarget, output};
use crate::commands::progress::Progress;
use crate::protocol::Timestamp;
use crate::store::Reader;

/// What the names of copies in a directory begin and end with; between them stands the moment, so that
/// they are sorted by it.
const BEGIN: &str = "collabd-";
const END: &str = ".db";

/// Makes the copy, and removes older ones where that is wanted. Blocks on the disk.
///
/// # Errors
/// One line. A copy that was made stays, also where an older one can't be removed.
pub fn run(from: &Path, to: &BackupTarget) -> Result<(), String> {
    match to {
        BackupTarget::File(file) => copy(from, file),
        BackupTarget::Directory { directory, keep } => {
            let cannot = |error| format!("can't use {}: {error}", directory.display());
            fs::create_dir_all(directory).map_err(cannot)?;
            let moment = Timestamp::now().to_string().replace(':', "-");
            copy(from, &directory.join(format!("{BEGIN}{moment}{END}")))?;
            if *keep > 0 {
                for old in copies(directory)?.into_iter().rev().skip(*keep) {
                    let cannot = |error| format!("can't remove {}: {error}", old.display());
                    fs::remove_file(&old).map_err(cannot)?;
                    output::say(&format!("{} is removed", old.display()))?;
                }
            }
            Ok(())
        }
    }
}

/// The copies in a directory that were made with `--into`, the oldest first. Other files are left alone.
fn copies(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error: std::io::Error| format!("can't read {}: {error}", directory.display());
    let mut copies = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        let moment = name.to_str().and_then(|name| name.strip_prefix(BEGIN)?.strip_suffix(END));
        if moment.is_some_and(is_moment) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            copies.push(entry.path());
        }
    }
    copies.sort();
    Ok(copies)
}

/// True for a moment as it stands in the name of a copy: `2026-11-28T04-47-10.123Z`.
fn is_moment(text: &str) -> bool {
    text.split_once('T').is_some_and(|(date, time)| {
        Timestamp::parse(&format!("{date}T{}", time.replace('-', ":"))).is_some()
    })
}

/// Copies everything in a directory as it is at this moment.
fn copy(directory: &Path, to: &Path) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let mut progress = Progress::new("copying".into(), "pages");
    let mut last = (0, 0);
    let copied = reader.backup(to, |done, total| {
        last = (done, total);
        progress.at(done, total);
    });
    progress.end(last.0, last.1);
    copied?;
    output::say(&format!(
        "{} is a copy of the sessions in {}: to use it, stop the server, move its directory away, \
         and put the copy as collabd.db into a new, empty one",
        to.display(),
        directory.display()
    ))
}
