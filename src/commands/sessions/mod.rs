//! `collabd sessions`: what is stored in a data directory, or by a running server, through its API.
//! Looking into a directory is possible while a server uses it; changing something there is not,
//! except through that server.

mod change;
mod described;
mod look;
mod remote;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::whole_file::OutFile;
use crate::archive;
use crate::client::api::Server;
use crate::hub::DocumentBounds;
use crate::kept::Stored;
use crate::store::{PointInTime, Reader, Retention, StoreError, Summary};

/// What `sessions` is told.
#[derive(Debug)]
pub struct Options {
    pub place: Place,
    pub action: Action,
}

/// Where the sessions are stored.
#[derive(Debug)]
pub enum Place {
    /// In a server's data directory.
    Directory(PathBuf),
    /// A running server knows.
    Server(Server),
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
        to: PathBuf,
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

/// Does it.
pub fn run(options: Options) -> ExitCode {
    let done = match &options.place {
        Place::Directory(directory) => in_directory(directory, options.action),
        Place::Server(server) => remote::run(server, options.action),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            crate::logging::say(&format!("collabd: {line}"));
            ExitCode::FAILURE
        }
    }
}

fn in_directory(directory: &Path, action: Action) -> Result<(), String> {
    match action {
        Action::List { json } => look::list(directory, json),
        Action::Show { session, json } => look::show(directory, &session, json),
        Action::Export { session, at, out } => look::export(directory, &session, at, out.as_ref()),
        Action::Backup { to } => look::backup(directory, &to),
        Action::Import { session, file, replace, bounds } => {
            change::import(directory, &session, &file, replace, bounds)
        }
        Action::Restore { session, to } => change::restore(directory, &session, to),
        Action::Delete { session } => change::delete(directory, &session),
        Action::Compact { session, retention } => {
            change::compact(directory, session.as_deref(), retention)
        }
    }
}

/// What went wrong with the store of a directory, in a line.
fn told(directory: &Path) -> impl Fn(StoreError) -> String {
    let shown = directory.display().to_string();
    move |trouble| format!("{shown}: {trouble}: {}", trouble.advice())
}

fn unknown(directory: &Path, session: &str) -> String {
    format!(
        "there is no session {session:?} in {}: collabd sessions list shows which there are",
        directory.display()
    )
}

/// A session, which has to be there.
fn summary(reader: &Reader, directory: &Path, session: &str) -> Result<Summary, String> {
    known(reader.session(session).map_err(told(directory))?, directory, session)
}

/// What was found of a session, which has to be there.
fn known<T>(found: Option<T>, directory: &Path, session: &str) -> Result<T, String> {
    found.ok_or_else(|| unknown(directory, session))
}

/// A session as it was then; without a point, as it is.
fn stored(
    reader: &Reader,
    directory: &Path,
    session: &str,
    point: Option<PointInTime>,
) -> Result<Stored, String> {
    let summary = summary(reader, directory, session)?;
    let wanted = point.unwrap_or(PointInTime::Seq(summary.seq));
    let found = reader.document_at(session, wanted).map_err(told(directory))?;
    let first = archive::first_seq(reader, session).map_err(told(directory))?;
    found.ok_or_else(|| {
        let point = match wanted {
            PointInTime::Seq(seq) if seq > summary.seq => {
                return format!(
                    "session {session:?} has no change {seq}: its last one is {}",
                    summary.seq
                );
            }
            PointInTime::Seq(seq) => format!("after change {seq}"),
            PointInTime::Time(time) => format!("at {time}"),
        };
        format!(
            "what session {session:?} was like {point} isn't stored, or not any more: it can be brought \
             back to each change from {first} to {}, and to each of the versions that collabd sessions \
             show lists",
            summary.seq
        )
    })
}

/// The document that was stored.
fn document(session: &str, stored: &Stored) -> Result<crate::hub::Document, String> {
    archive::document(stored).map_err(|damaged| {
        format!(
            "session {session:?} can't be used: {damaged}: restore it to one of the versions that \
             collabd sessions show lists, or from a backup"
        )
    })
}

/// A size for a person.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1 << 20)),
    }
}
