//! `collabd sessions`: what is stored in a data directory, or by a running server, through its API.
//! Looking into a directory is possible while a server uses it; changing something there is not,
//! except through that server.

mod backup;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use super::archive::{CanvasFile, CompactResult, Place};
use super::whole_file::OutFile;
use crate::hub::DocumentBounds;
use crate::store::{PointInTime, Retention};

/// What `sessions` is told.
#[derive(Debug)]
pub struct Options {
    pub place: Place,
    pub action: Action,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    List {
        json: bool,
    },
    Show {
        session: String,
        json: bool,
    },
    /// Writes a canvas as an editor would save it, to stdout where no file is named.
    Export {
        session: String,
        at: Option<PointInTime>,
        out: Option<OutFile>,
    },
    Backup {
        to: BackupTarget,
    },
    /// Makes a session of a canvas, or puts it in the place of a session's own.
    Import {
        session: String,
        file: PathBuf,
        replace: bool,
        bounds: DocumentBounds,
    },
    Restore {
        session: String,
        to: PointInTime,
    },
    Delete {
        session: String,
    },
    /// Makes opening faster and the file smaller. One session, or all.
    Compact {
        session: Option<String>,
        retention: Retention,
    },
}

/// Where a backup is made.
#[derive(Debug)]
pub enum BackupTarget {
    /// This file, which must not be there yet.
    File(PathBuf),
    /// A file in this directory, named by the moment. The newest `keep` of them stay; 0 for all.
    Directory { directory: PathBuf, keep: usize },
}

/// Does it.
pub fn run(options: Options) -> ExitCode {
    super::exit_code(execute(options))
}

fn execute(Options { place, action }: Options) -> Result<(), String> {
    let archive = place.open()?;
    match action {
        Action::List { json } => output::print_listing(&archive.sessions()?, json),
        Action::Show { session, json } => {
            output::print_versions(&archive.versions(&session)?, json)
        }
        Action::Export { session, at, out } => {
            let mut json = archive.canvas(&session, at)?;
            json.push(b'\n');
            output::write_canvas(&json, out.as_ref())
        }
        Action::Backup { to } => match &place {
            Place::Directory(directory) => backup::run(directory, &to),
            Place::Server(_) => Err("a backup is made from the directory, also while the server \
                                     runs: on its machine, with --data-dir"
                .into()),
        },
        Action::Import { session, file, replace, bounds } => {
            let canvas = CanvasFile::read(&file)?;
            // The file has these, too: what there is of them stays as it is.
            let (left_out, renamed) = (canvas.state.left_out.clone(), canvas.state.renamed.clone());
            let done = archive.import(&session, canvas, replace, bounds)?;
            output::say(&output::imported(&session, &file, &done, &left_out, &renamed))
        }
        Action::Restore { session, to } => {
            let done = archive.restore(&session, to)?;
            output::say(&output::restored(&session, &done))
        }
        Action::Delete { session } => {
            archive.delete(&session)?;
            let more = if let Place::Server(_) = &place { " --server" } else { "" };
            output::say(&format!(
                "{session:?} and all its versions are gone; collabd sessions compact{more} gives \
                 the room back"
            ))
        }
        Action::Compact { session, retention } => {
            compacted(&archive.compact(session.as_deref(), retention)?)
        }
    }
}

/// Says what was made compact.
fn compacted(done: &CompactResult) -> Result<(), String> {
    output::say(&format!(
        "{} of {} sessions are compact; the file had {} and has {}",
        done.sessions - done.damaged.len().min(done.sessions),
        done.sessions,
        output::size(done.bytes_before),
        output::size(done.bytes_after)
    ))?;
    match done.damaged.first() {
        None => Ok(()),
        Some((name, why)) => Err(format!(
            "session {name:?} is left as it is: {why}: restore it to one of the versions that \
             collabd sessions show lists"
        )),
    }
}
