//! The stored sessions that `sessions` and `record` work on: in a data directory, or on a running server.

mod local;
mod remote;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::archive::{ChangesPage, Listing, Versions};
use crate::client::api::Server;
use crate::hub::DocumentBounds;
use crate::protocol::Timestamp;
use crate::protocol::inbound::State;
use crate::store::{PointInTime, Retention};

/// Where the sessions are stored.
#[derive(Debug)]
pub enum Place {
    /// In a server's data directory.
    Directory(PathBuf),
    /// By a running server.
    Server(Server),
}

/// Stored sessions. Every call blocks, and its error is one line for the user.
pub trait Archive {
    /// All sessions.
    fn sessions(&self) -> Result<Listing, String>;

    /// One session, and what it can be brought back to.
    fn versions(&self, session: &str) -> Result<Versions, String>;

    /// The canvas as an editor saves it, as JSON; as it is, where no point is named.
    fn canvas(&self, session: &str, at: Option<PointInTime>) -> Result<Vec<u8>, String>;

    /// The canvas after this change, as JSON. Where it can be, its timestamp is `now`, and it has nothing
    /// that only an editor's file needs.
    fn state(&self, session: &str, seq: u64, _now: Timestamp) -> Result<Vec<u8>, String> {
        self.canvas(session, Some(PointInTime::Seq(seq)))
    }

    /// Changes after this one, in order: at most so many, and some if there are any.
    fn changes_after(&self, session: &str, seq: u64, max: usize) -> Result<ChangesPage, String>;

    /// Makes a session of a canvas, or puts it in the place of a session's own.
    fn import(
        &self,
        session: &str,
        canvas: CanvasFile,
        replace: bool,
        bounds: DocumentBounds,
    ) -> Result<ChangeResult, String>;

    /// Puts a session back to what it was.
    fn restore(&self, session: &str, to: PointInTime) -> Result<ChangeResult, String>;

    /// Removes a session and its versions.
    fn delete(&self, session: &str) -> Result<(), String>;

    /// Makes one session, or all, open faster, removes what is not to be kept, and gives the room back.
    fn compact(&self, session: Option<&str>, retention: Retention)
    -> Result<CompactResult, String>;
}

impl Place {
    /// The archive that is there.
    pub fn open(&self) -> Result<Box<dyn Archive + '_>, String> {
        Ok(match self {
            Place::Directory(directory) => Box::new(local::LocalArchive::new(directory)),
            Place::Server(server) => Box::new(remote::RemoteArchive::find(server)?),
        })
    }
}

/// What a session has been changed to.
#[derive(Deserialize)]
pub struct ChangeResult {
    /// The change that did it.
    pub seq: u64,
    pub items: usize,
    /// The change that the session was put back to.
    #[serde(default)]
    pub restored_to: u64,
    /// What was there couldn't be read.
    #[serde(default)]
    pub was_damaged: bool,
}

/// What a compaction has done.
pub struct CompactResult {
    pub sessions: usize,
    /// The sessions that are left as they are, and why.
    pub damaged: Vec<(String, String)>,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// A canvas as an editor saved it.
pub struct CanvasFile {
    pub text: String,
    pub state: State,
}

impl CanvasFile {
    /// Reads a file that an editor saved.
    pub fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let bytes = std::fs::read(file).map_err(|error| {
            format!("can't read {shown}: {error}: name a file that an editor saved")
        })?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| format!("{shown} is no canvas: not UTF-8"))?;
        let state = State::parse(text.trim_start_matches('\u{feff}')).map_err(|why| {
            format!(
                "{shown} is no canvas: {why}: it has to be like {{\"items\":[…],\"version\":1,\
                 \"timestamp\":…}}"
            )
        })?;
        Ok(CanvasFile { text, state })
    }
}

fn exists(session: &str) -> String {
    format!(
        "there is a session {session:?} already: with --replace the canvas takes its place, and \
         what was there stays as a version"
    )
}
