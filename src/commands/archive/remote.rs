//! The sessions of a running server, through its API.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Archive, CanvasFile, ChangeResult, CompactResult, exists};
use crate::archive::{ChangesPage, Listing, Versions};
use crate::client::api::{Api, ApiError, Server, encoded, page_of};
use crate::hub::DocumentBounds;
use crate::protocol::inbound::State;
use crate::protocol::json::{Object, write_object};
use crate::store::{PointInTime, Retention};

/// How many sessions are asked for at once: their canvases are opened to be counted.
const MAX_SESSIONS_AT_A_TIME: usize = 100;
/// How long a server is given to change something, and to make everything compact.
const TIMEOUT: Duration = Duration::from_secs(30);
const COMPACT_TIMEOUT: Duration = Duration::from_secs(660);

pub(super) struct RemoteArchive(Api);

/// Which sessions are in memory, those with members first.
#[derive(Deserialize)]
struct OpenSessions {
    sessions: Vec<OpenSession>,
}

#[derive(Deserialize)]
struct OpenSession {
    session_id: String,
    member_count: usize,
}

#[derive(Deserialize)]
struct CompactAnswer {
    sessions: usize,
    damaged: Vec<String>,
    bytes_before: u64,
    bytes_after: u64,
}

impl RemoteArchive {
    pub fn find(server: &Server) -> Result<Self, String> {
        Api::find(server).map(RemoteArchive)
    }

    /// The error of a call about a session. That there is none of this name is said as it is said of a
    /// directory.
    fn failed(&self, session: &str, error: ApiError) -> String {
        match error.status == 404 && error.line.contains("no such session") {
            true => format!(
                "there is no session {session:?} on {}: collabd sessions list shows which there are",
                self.0.shown()
            ),
            false => error.line,
        }
    }

    fn get(&self, session: &str, page: &str) -> Result<Vec<u8>, String> {
        let answer = self.0.get(&page_of(session, page));
        answer.map_err(|error| self.failed(session, error))
    }

    fn post(&self, session: &str, path: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let answer = self.0.ask("POST", path, None, timeout);
        answer.map_err(|error| self.failed(session, error))
    }
}

impl Archive for RemoteArchive {
    fn sessions(&self) -> Result<Listing, String> {
        let first = format!("/api/stored?items=1&limit={MAX_SESSIONS_AT_A_TIME}");
        let mut listing: Listing = self.0.get_json(&first)?;
        let mut count = listing.sessions.len();
        while let Some(last) = listing.sessions.last().filter(|_| count == MAX_SESSIONS_AT_A_TIME) {
            let path = format!("{first}&after={}", encoded(&last.session_id));
            let next: Listing = self.0.get_json(&path)?;
            count = next.sessions.len();
            listing.sessions.extend(next.sessions);
            listing.total = next.total;
        }
        let open: OpenSessions = self.0.get_json("/api/sessions")?;
        let members: HashMap<&str, usize> =
            open.sessions.iter().map(|open| (&*open.session_id, open.member_count)).collect();
        for session in &mut listing.sessions {
            session.members = Some(members.get(&*session.session_id).copied().unwrap_or(0));
        }
        Ok(listing)
    }

    fn versions(&self, session: &str) -> Result<Versions, String> {
        Ok(self.0.read(&self.get(session, "/versions")?)?)
    }

    fn canvas(&self, session: &str, at: Option<PointInTime>) -> Result<Vec<u8>, String> {
        let at = at.map_or(String::new(), |at| format!("?at={}", encoded(&typed(at))));
        let text =
            String::from_utf8_lossy(&self.get(session, &format!("/state{at}"))?).into_owned();
        let state = Object::parse(&text)
            .map_err(|error| format!("what {} answers is no canvas: {error}", self.0.shown()))?;
        let mut json = Vec::with_capacity(text.len());
        write_object(&mut json, state.iter().filter(|(key, _)| !State::ORIGIN.contains(key)));
        Ok(json)
    }

    fn changes_after(&self, session: &str, seq: u64, max: usize) -> Result<ChangesPage, String> {
        Ok(self.0.read(&self.get(session, &format!("/changes?after={seq}&limit={max}"))?)?)
    }

    fn import(
        &self,
        session: &str,
        canvas: CanvasFile,
        replace: bool,
        _: DocumentBounds,
    ) -> Result<ChangeResult, String> {
        let path = page_of(session, if replace { "/state?replace=1" } else { "/state" });
        let answer = self.0.ask("PUT", &path, Some(canvas.text.as_bytes()), TIMEOUT);
        let answer = answer.map_err(|error| match error.status {
            409 => exists(session),
            _ => error.line,
        })?;
        Ok(self.0.read(&answer)?)
    }

    fn restore(&self, session: &str, to: PointInTime) -> Result<ChangeResult, String> {
        let path = page_of(session, &format!("/restore?to={}", encoded(&typed(to))));
        Ok(self.0.read(&self.post(session, &path, TIMEOUT)?)?)
    }

    fn delete(&self, session: &str) -> Result<(), String> {
        let answer = self.0.ask("DELETE", &page_of(session, ""), None, TIMEOUT);
        answer.map(|_| ()).map_err(|error| self.failed(session, error))
    }

    fn compact(
        &self,
        session: Option<&str>,
        retention: Retention,
    ) -> Result<CompactResult, String> {
        let mut path = format!(
            "/api/compact?keep_versions={}&keep_days={}",
            retention.versions,
            retention.age.as_secs() / (24 * 3600)
        );
        if let Some(session) = session {
            path.push_str(&format!("&session={}", encoded(session)));
        }
        let answer = self.post(session.unwrap_or_default(), &path, COMPACT_TIMEOUT)?;
        let CompactAnswer { sessions, damaged, bytes_before, bytes_after } =
            self.0.read(&answer)?;
        let damaged = damaged.into_iter().map(|name| (name, "it is damaged".to_owned())).collect();
        Ok(CompactResult { sessions, damaged, bytes_before, bytes_after })
    }
}

/// A change or a moment, as the API takes it.
fn typed(point: PointInTime) -> String {
    match point {
        PointInTime::Seq(seq) => seq.to_string(),
        PointInTime::Time(time) => time.to_string(),
    }
}
