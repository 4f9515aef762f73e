//! Where a recording comes from: a data directory, or a running server.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::archive::{self, Versions};
use crate::client::api::{Api, page_of};
use crate::commands::sessions::Place;
use crate::protocol::Timestamp;
use crate::protocol::json::Object;
use crate::protocol::json::write_object;
use crate::store::{PointInTime, Reader, StoreError};

/// One session as it is stored.
pub trait Source {
    /// What there is to know of it.
    ///
    /// # Errors
    /// One line, here and below.
    fn versions(&self) -> Result<Versions, String>;

    /// Changes after this one, in order: at most so many, and some if there are any.
    ///
    /// # Errors
    /// One line.
    fn changes_after(&self, seq: u64, most: usize) -> Result<Vec<Change>, String>;

    /// The change from which on all are stored: numbers that none has were skipped after a crash.
    ///
    /// # Errors
    /// One line.
    fn complete_from(&self) -> Result<u64, String>;

    /// The canvas as it was after a change; `None` where that isn't stored.
    ///
    /// # Errors
    /// One line.
    fn state(&self, seq: u64, now: Timestamp) -> Result<Option<Vec<u8>>, String>;
}

/// A change as it was relayed.
pub struct Change {
    pub seq: u64,
    pub at: Timestamp,
    pub user: String,
    /// JSON.
    pub frame: Vec<u8>,
}

/// A session of a directory, or of a server.
///
/// # Errors
/// One line, where neither can be reached.
pub fn of<'a>(place: &'a Place, session: &'a str) -> Result<Box<dyn Source + 'a>, String> {
    Ok(match place {
        Place::Directory(directory) => {
            Box::new(InDirectory { reader: Reader::open(directory)?, directory, session })
        }
        Place::Server(server) => Box::new(OnServer { remote: Api::find(server)?, session }),
    })
}

struct InDirectory<'a> {
    reader: Reader,
    directory: &'a Path,
    session: &'a str,
}

impl InDirectory<'_> {
    fn failed(&self, trouble: &StoreError) -> String {
        format!("{}: {trouble}: {}", self.directory.display(), trouble.advice())
    }
}

impl Source for InDirectory<'_> {
    fn versions(&self) -> Result<Versions, String> {
        let found = Versions::of(&self.reader, self.session);
        found.map_err(|trouble| self.failed(&trouble))?.ok_or_else(|| {
            format!(
                "there is no session {:?} in {}: collabd sessions list shows which there are",
                self.session,
                self.directory.display()
            )
        })
    }

    fn changes_after(&self, seq: u64, most: usize) -> Result<Vec<Change>, String> {
        let changes = self.reader.changes_after(self.session, seq, most);
        let changes = changes.map_err(|trouble| self.failed(&trouble))?.into_iter();
        Ok(changes
            .map(|change| Change {
                seq: change.seq,
                at: change.at,
                user: change.user.to_string(),
                frame: change.frame,
            })
            .collect())
    }

    fn complete_from(&self) -> Result<u64, String> {
        let begins = self.reader.begins(self.session).map_err(|trouble| self.failed(&trouble))?;
        Ok(begins.map_or(1, |begins| begins.changes))
    }

    fn state(&self, seq: u64, now: Timestamp) -> Result<Option<Vec<u8>>, String> {
        let found = self.reader.document_at(self.session, PointInTime::Seq(seq));
        let Some(stored) = found.map_err(|trouble| self.failed(&trouble))? else {
            return Ok(None);
        };
        let document = archive::document(&stored)
            .map_err(|damaged| format!("session {:?}: {damaged}", self.session))?;
        let mut json = Vec::new();
        document.write_state(&mut json, now);
        Ok(Some(json))
    }
}

struct OnServer<'a> {
    remote: Api,
    session: &'a str,
}

#[derive(Deserialize)]
struct Changes<'a> {
    #[serde(borrow)]
    changes: Vec<Told<'a>>,
    /// Versions before 0.2 don't say it.
    #[serde(default)]
    first_seq: Option<u64>,
}

#[derive(Deserialize)]
struct Told<'a> {
    seq: u64,
    at: String,
    user_id: Option<String>,
    #[serde(borrow)]
    message: &'a RawValue,
}

impl OnServer<'_> {
    fn odd(&self) -> String {
        format!("what {} answers can't be understood", self.remote.shown())
    }
}

impl Source for OnServer<'_> {
    fn versions(&self) -> Result<Versions, String> {
        Ok(self.remote.get_json(&page_of(self.session, "/versions"))?)
    }

    fn changes_after(&self, seq: u64, most: usize) -> Result<Vec<Change>, String> {
        let path = page_of(self.session, &format!("/changes?after={seq}&limit={most}"));
        let body = self.remote.get(&path)?;
        let odd = || self.odd();
        let told: Changes<'_> = serde_json::from_slice(&body).map_err(|_| odd())?;
        let change = |told: Told<'_>| {
            Some(Change {
                seq: told.seq,
                at: Timestamp::parse(&told.at)?,
                user: told.user_id.unwrap_or_default(),
                frame: told.message.get().into(),
            })
        };
        told.changes.into_iter().map(|told| change(told).ok_or_else(odd)).collect()
    }

    fn complete_from(&self) -> Result<u64, String> {
        let body = self.remote.get(&page_of(self.session, "/changes?after=0&limit=1"))?;
        let told: Result<Changes<'_>, _> = serde_json::from_slice(&body);
        let told = told.map_err(|_| self.odd())?;
        Ok(told.first_seq.unwrap_or(u64::MAX))
    }

    fn state(&self, seq: u64, _: Timestamp) -> Result<Option<Vec<u8>>, String> {
        let body = match self.remote.get(&page_of(self.session, &format!("/state?at={seq}"))) {
            Err(refused) if refused.status == 404 => return Ok(None),
            body => body?,
        };
        let text = String::from_utf8_lossy(&body);
        let state = Object::parse(&text).map_err(|error| {
            format!("what {} answers is no canvas: {error}", self.remote.shown())
        })?;
        let own = ["session_id", "epoch", "seq"];
        let mut json = Vec::with_capacity(text.len());
        write_object(&mut json, state.iter().filter(|(key, _)| !own.contains(key)));
        Ok(Some(json))
    }
}
