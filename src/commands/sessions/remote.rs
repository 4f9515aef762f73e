//! The same on a running server, through its API.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Action, described, look, size};
use crate::archive::{Listing, Versions};
use crate::client::api::{Api, ApiError, Server, encoded, page_of};
use crate::commands::table::tell;
use crate::commands::whole_file::OutFile;
use crate::protocol::inbound::State;
use crate::protocol::json::Object;
use crate::protocol::json::write_object;
use crate::store::PointInTime;

/// How many sessions are asked for at once: their canvases are opened to be counted.
const AT_A_TIME: usize = 100;
/// How long a server is given to change something, and to make everything compact.
const PATIENCE: Duration = Duration::from_secs(30);
const COMPACTING: Duration = Duration::from_secs(660);
/// What a server says that has changed a session.
#[derive(Deserialize)]
struct Changed {
    seq: u64,
    items: usize,
    #[serde(default)]
    restored_to: u64,
    #[serde(default)]
    was_damaged: bool,
}

/// Which sessions are in memory, those with members first.
#[derive(Deserialize)]
struct Open {
    sessions: Vec<OpenSession>,
}

#[derive(Deserialize)]
struct OpenSession {
    session_id: String,
    member_count: usize,
}

#[derive(Deserialize)]
struct Compacted {
    sessions: usize,
    damaged: Vec<String>,
    bytes_before: u64,
    bytes_after: u64,
}

/// Does it.
///
/// # Errors
/// One line that says what to do.
pub fn run(server: &Server, action: Action) -> Result<(), String> {
    let remote = Api::find(server)?;
    match action {
        Action::List { json } => list(&remote, json),
        Action::Show { session, json } => look::print_versions(&versions(&remote, &session)?, json),
        Action::Export { session, at, out } => export(&remote, &session, at, out.as_ref()),
        Action::Import { session, file, replace, .. } => import(&remote, &session, &file, replace),
        Action::Restore { session, to } => restore(&remote, &session, to),
        Action::Delete { session } => {
            let path = page_of(&session, "");
            remote.ask("DELETE", &path, None, PATIENCE).map_err(known(&remote, &session))?;
            say(&described::deleted(&session, "collabd sessions compact --server"))
        }
        Action::Compact { session, retention } => {
            let mut path = format!(
                "/api/compact?keep_versions={}&keep_days={}",
                retention.versions,
                retention.age.as_secs() / (24 * 3600)
            );
            if let Some(session) = &session {
                path.push_str(&format!("&session={}", encoded(session)));
            }
            compact(&remote, session.as_deref().unwrap_or_default(), &path)
        }
        Action::Backup { .. } => Err("a backup is made from the directory, also while the server \
                                      runs: on its machine, with --data-dir"
            .into()),
    }
}

fn list(remote: &Api, json: bool) -> Result<(), String> {
    let mut path = format!("/api/stored?items=1&limit={AT_A_TIME}");
    let mut listing: Listing = remote.get_json(&path)?;
    let mut count = listing.sessions.len();
    while let Some(last) = listing.sessions.last().filter(|_| count == AT_A_TIME) {
        path = format!("/api/stored?items=1&limit={AT_A_TIME}&after={}", encoded(&last.session_id));
        let next: Listing = remote.get_json(&path)?;
        count = next.sessions.len();
        listing.sessions.extend(next.sessions);
        listing.total = next.total;
    }
    let open: Open = remote.get_json("/api/sessions")?;
    let members: HashMap<&str, usize> =
        open.sessions.iter().map(|open| (&*open.session_id, open.member_count)).collect();
    for session in &mut listing.sessions {
        session.members = Some(members.get(&*session.session_id).copied().unwrap_or(0));
    }
    look::print_listing(&listing, json)
}

fn versions(remote: &Api, session: &str) -> Result<Versions, String> {
    remote.get_json(&page_of(session, "/versions")).map_err(known(remote, session))
}

fn export(
    remote: &Api,
    session: &str,
    at: Option<PointInTime>,
    out: Option<&OutFile>,
) -> Result<(), String> {
    let at = at.map_or(String::new(), |at| format!("?at={}", encoded(&described::point(at))));
    let state = remote.get(&page_of(session, &format!("/state{at}")));
    let state = state.map_err(known(remote, session))?;
    let text = String::from_utf8_lossy(&state);
    let state = Object::parse(&text)
        .map_err(|error| format!("what {} answers is no canvas: {error}", remote.shown()))?;
    let mut json = Vec::with_capacity(text.len());
    write_object(&mut json, state.iter().filter(|(key, _)| !State::ORIGIN.contains(key)));
    json.push(b'\n');
    look::write_canvas(&json, out)
}

fn import(remote: &Api, session: &str, file: &Path, replace: bool) -> Result<(), String> {
    let text = described::read_canvas(file)?;
    // What is wrong with it is told with the file's name.
    let State { left_out, renamed, .. } = described::parse_canvas(file, &text)?;
    let path = page_of(session, if replace { "/state?replace=1" } else { "/state" });
    let put = remote.ask("PUT", &path, Some(text.as_bytes()), PATIENCE);
    let put = put.map_err(|refused| match refused.status {
        409 => described::exists(session),
        _ => refused.line,
    })?;
    let Changed { seq, items, .. } = remote.read(&put)?;
    say(&described::imported(session, file, items, seq, &left_out, &renamed))
}

fn restore(remote: &Api, session: &str, to: PointInTime) -> Result<(), String> {
    let path = format!("/restore?to={}", encoded(&described::point(to)));
    let restored = remote.ask("POST", &page_of(session, &path), None, PATIENCE);
    let restored = restored.map_err(known(remote, session))?;
    let Changed { seq, items, restored_to, was_damaged } = remote.read(&restored)?;
    say(&described::restored(session, restored_to, items, seq, !was_damaged))
}

fn compact(remote: &Api, session: &str, path: &str) -> Result<(), String> {
    let done = remote.ask("POST", path, None, COMPACTING).map_err(known(remote, session))?;
    let Compacted { sessions, damaged, bytes_before, bytes_after } = remote.read(&done)?;
    say(&format!(
        "{} of {sessions} sessions are compact; the file had {} and has {}",
        sessions - damaged.len().min(sessions),
        size(bytes_before),
        size(bytes_after)
    ))?;
    match damaged.first() {
        None => Ok(()),
        Some(name) => Err(format!(
            "session {name:?} is left as it is, because it is damaged: restore it to one of the \
             versions that collabd sessions show lists"
        )),
    }
}

/// That there is no such session is said as it is said of a directory.
fn known(remote: &Api, session: &str) -> impl Fn(ApiError) -> String {
    let line = format!(
        "there is no session {session:?} on {}: collabd sessions list shows which there are",
        remote.shown()
    );
    move |refused| match refused.status == 404 && refused.line.contains("no such session") {
        true => line.clone(),
        false => refused.line,
    }
}

fn say(line: &str) -> Result<(), String> {
    tell(&format!("{line}\n"))
}
