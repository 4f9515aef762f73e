//! The handlers of the API about stored sessions. Each runs on the thread of the client that asks.
//! `memory_api.rs` has them for a server that stores nothing.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Router;
use super::route::Call;
use super::sessions_api::ArchiveRequest;
use crate::archive::{
    self, ArchiveError, ArchiveService, BY, ChangesPage, Listing, MAX_ON_A_PAGE, MAX_PAGE_BYTES,
    Versions,
};
use crate::auth::Grant;
use crate::http::{Request, Response};
use crate::hub::{ConnId, Document, Event, Refusal};
use crate::journal::StoredSession;
use crate::net::service::{HubClient, Outcome, Unanswered, Work, WorkFn};
use crate::protocol::Timestamp;
use crate::protocol::inbound::State;
use crate::store::{PointInTime, Retention, Summary};

const NO_SUCH_SESSION: &str = "there is no such session";
pub(super) const BAD_POINT: &str = "this needs the number of a change, like 120, or a time, like \
                         2026-12-20T09:30:00Z";
const BAD_NUMBER: &str =
    "`after`, `limit`, `keep_versions` and `keep_days` have to be whole numbers";

/// How many left-out or renamed items of a canvas are listed in a response.
const MAX_LISTED_ITEMS: usize = 100;

impl Router {
    pub(super) fn stored(&self, page: ArchiveRequest, call: Call<'_>) -> Result<Outcome, Response> {
        let Some(persistence) = &self.persistence else {
            return self.in_memory(page, call);
        };
        let body = self.body_of(&page);
        let act = handler(page, call, persistence.archive().clone())?;
        Ok(Outcome::Work(Work { body, act }))
    }

    /// The largest body of a request, in bytes.
    pub(super) fn body_of(&self, page: &ArchiveRequest) -> usize {
        if let ArchiveRequest::Put(_) = page { self.largest_canvas } else { 0 }
    }
}

/// Checks a request's parameters and returns the work to do.
fn handler(
    page: ArchiveRequest,
    call: Call<'_>,
    archive: Arc<ArchiveService>,
) -> Result<Box<WorkFn>, Response> {
    let Call { request, conn, grant, by: who, .. } = call;
    let limit = || -> Result<usize, Response> {
        Ok(number(request, "limit")?.unwrap_or(MAX_ON_A_PAGE).min(MAX_ON_A_PAGE))
    };
    let act: Box<WorkFn> = match page {
        ArchiveRequest::Stored => {
            let (after, most) = (request.query_value("after"), limit()?);
            let with_items = is_set(request, "items");
            Box::new(move |_, _| list(&archive, grant, after, most, with_items))
        }
        ArchiveRequest::Versions(session) => Box::new(move |_, _| {
            answer(archive.look(move |reader| Versions::read(reader, &session)))
        }),
        ArchiveRequest::Changes(session) => {
            let (after, most) = (number(request, "after")?.unwrap_or(0), limit()?);
            Box::new(move |_, _| changes(&archive, session, after, most))
        }
        ArchiveRequest::State(session) => match point(request, "at")? {
            Some(at) => Box::new(move |_, _| as_of(&archive, &session, Some(at))),
            None => Box::new(move |_, hub| state(&archive, conn, &session, grant, hub)),
        },
        ArchiveRequest::Delete(session) => delete(conn, session, who),
        ArchiveRequest::Put(session) => put_of(conn, session, is_set(request, "replace"), who),
        ArchiveRequest::Rename(session, to) => rename(conn, session, to, who),
        ArchiveRequest::RestoreItem(session, item) => restore_item(conn, session, item, who),
        ArchiveRequest::Copy(session, to) => Box::new(move |_, hub| {
            // A session in memory may have changes that are not on disk yet.
            let found = archive.written(&|| hub.is_stopping()).map_err(unavailable);
            let found = found.and_then(|()| find(&archive, &session, None));
            match found {
                Ok((_, stored)) => copy(conn, &session, to, &stored, &who, hub),
                Err(page) => page,
            }
        }),
        ArchiveRequest::Restore(session) => {
            let to = point(request, "to")?.ok_or(Response::text(400, BAD_POINT))?;
            Box::new(move |_, hub| {
                let restored = restore(&archive, conn, &session, to, hub);
                if restored.status() == 200 {
                    log::info!("session {session:?} was restored by {who}");
                }
                restored
            })
        }
        ArchiveRequest::Compact => {
            let session: Option<Arc<str>> = request.query_value("session").map(Into::into);
            let retention = retention(request, archive.retention())?;
            Box::new(move |_, hub| compact(&archive, session, retention, &who, hub))
        }
    };
    Ok(act)
}

fn list(
    archive: &Arc<ArchiveService>,
    grant: Option<Grant>,
    after: Option<String>,
    most: usize,
    with_items: bool,
) -> Response {
    let found = archive.look(move |reader| {
        let wanted = |session: &str| grant.as_ref().is_none_or(|grant| grant.key.opens(session));
        Listing::read(reader, wanted, after.as_deref(), most, with_items)
    });
    answer(found.map(Some))
}

fn changes(archive: &Arc<ArchiveService>, session: Arc<str>, after: u64, most: usize) -> Response {
    answer(archive.look(move |reader| {
        let session = &*session;
        let Some(summary) = reader.session(session)? else { return Ok(None) };
        let changes = reader.some_changes_after(session, after, most, MAX_PAGE_BYTES)?;
        let first = reader.begins(session)?.map_or(1, |begins| begins.changes);
        ChangesPage::new(changes, first, summary.seq).map(Some)
    }))
}

/// The canvas of a session as it is: from the hub where it is in memory, otherwise from the store.
fn state(
    archive: &Arc<ArchiveService>,
    conn: ConnId,
    session: &Arc<str>,
    grant: Option<Grant>,
    hub: &dyn HubClient,
) -> Response {
    match hub.ask(Event::State { conn, session: session.clone(), grant }) {
        Ok(body) => Response::state(body),
        // It may have been in memory a moment ago: its last changes are written first. Where
        // writing fails, sessions stay in memory, so what is on disk is complete.
        Err(Unanswered::Refused(Refusal::Unknown)) => {
            match archive.written(&|| hub.is_stopping()) {
                Ok(()) | Err(ArchiveError::NotWritten) => as_of(archive, session, None),
                Err(why) => unavailable(why),
            }
        }
        Err(Unanswered::Busy) => unavailable(ArchiveError::Busy),
        Err(why) => why.page(),
    }
}

/// The canvas of a session as of `at`, or as it is stored.
fn as_of(archive: &Arc<ArchiveService>, session: &str, at: Option<PointInTime>) -> Response {
    match find(archive, session, at) {
        Ok((_, stored)) => canvas(session, &stored),
        Err(page) => page,
    }
}

/// The response with a stored canvas.
pub(super) fn canvas(session: &str, stored: &StoredSession) -> Response {
    match archive::document(stored) {
        Ok(document) => Response::state(archive::state(session, stored, &document)),
        Err(_) => unavailable(ArchiveError::Damaged),
    }
}

/// Finds a session and what is stored of it as of `at`.
fn find(
    archive: &Arc<ArchiveService>,
    session: &str,
    at: Option<PointInTime>,
) -> Result<(Summary, StoredSession), Response> {
    let name: Arc<str> = session.into();
    let found = archive.look(move |reader| {
        let session = &*name;
        let Some(summary) = reader.session(session)? else { return Ok(None) };
        let stored = reader.document_at(session, at.unwrap_or(PointInTime::Seq(summary.seq)))?;
        let first = archive::first_seq(reader, session)?;
        Ok(Some((summary, stored, first)))
    });
    match found.map_err(unavailable)? {
        Some((summary, Some(stored), _)) => Ok((summary, stored)),
        Some((summary, None, first)) => Err(no_such_state(first, summary.seq)),
        None => Err(Response::text(404, NO_SUCH_SESSION)),
    }
}

fn no_such_state(first: u64, last: u64) -> Response {
    Response::text(
        404,
        format!(
            "this state of the session isn't stored, or not any more: there are the states after each \
             change from {first} to {last}, and the session's versions"
        ),
    )
}

/// Removes a session.
pub(super) fn delete(conn: ConnId, session: Arc<str>, who: String) -> Box<WorkFn> {
    Box::new(move |_, hub| {
        let deleted = hub.change(Event::Delete { conn, session: session.clone() });
        if deleted.is_ok() {
            log::warn!("session {session:?} was deleted by {who}");
        }
        deleted.map_or_else(Unanswered::page, Response::json)
    })
}

/// Gives a session another name.
pub(super) fn rename(conn: ConnId, session: Arc<str>, to: Arc<str>, who: String) -> Box<WorkFn> {
    Box::new(move |_, hub| {
        let (old, new) = (session.clone(), to.clone());
        let renamed = hub.change(Event::Rename { conn, session: old, to: new });
        if renamed.is_ok() {
            log::info!("session {session:?} was renamed to {to:?} by {who}");
        }
        renamed.map_or_else(Unanswered::page, Response::json)
    })
}

/// Makes a session with the canvas of another, and nothing of its past.
pub(super) fn copy(
    conn: ConnId,
    session: &str,
    to: Arc<str>,
    stored: &StoredSession,
    who: &str,
    hub: &dyn HubClient,
) -> Response {
    let Ok(document) = archive::document(stored) else {
        return unavailable(ArchiveError::Damaged);
    };
    let told = json!({"items": document.len(), "copied_from": session});
    let state = State { is_from_file: true, ..document.into_state() };
    let (state, by) = (Box::new(state), BY.into());
    match hub.change(Event::Import { conn, session: to.clone(), state, by }) {
        Ok(body) => {
            log::info!("session {session:?} was copied to {to:?} by {who}");
            restored(&body, told).created()
        }
        Err(Unanswered::Refused(Refusal::Exists)) => Unanswered::Refused(Refusal::NameTaken).page(),
        Err(why) => why.page(),
    }
}

/// Brings a removed item back.
pub(super) fn restore_item(
    conn: ConnId,
    session: Arc<str>,
    item: Arc<str>,
    who: String,
) -> Box<WorkFn> {
    Box::new(move |_, hub| {
        let (name, id) = (session.clone(), item.clone());
        let event = Event::RestoreItem { conn, session: name, item: id, by: BY.into() };
        match hub.change(event) {
            Ok(body) => {
                log::info!("session {session:?}: an item was brought back by {who}");
                restored(&body, json!({"item_id": &*item}))
            }
            Err(why) => why.page(),
        }
    })
}

/// Makes a canvas a session's document.
pub(super) fn put_of(conn: ConnId, session: Arc<str>, replace: bool, who: String) -> Box<WorkFn> {
    Box::new(move |body, hub| {
        let put = put(conn, &session, &body, replace, hub);
        if matches!(put.status(), 200 | 201) {
            log::info!("session {session:?} was given a canvas by {who}");
        }
        put
    })
}

fn put(
    conn: ConnId,
    session: &Arc<str>,
    body: &[u8],
    replace: bool,
    hub: &dyn HubClient,
) -> Response {
    let Ok(text) = std::str::from_utf8(body) else {
        return Response::text(400, "a canvas has to be UTF-8");
    };
    let parse = || State::parse(text.trim_start_matches('\u{feff}')).map(Box::new);
    let state = match parse() {
        Ok(state) => state,
        Err(why) => return Response::text(400, why),
    };
    let mut told = json!({"items": state.items.len()});
    if !state.left_out.is_empty() {
        let left_out = state.left_out.iter().take(MAX_LISTED_ITEMS);
        let left_out = left_out.map(|item| json!({"item_id": item.id, "message": item.why}));
        told["left_out"] = left_out.collect();
    }
    if !state.renamed.is_empty() {
        let renamed = state.renamed.iter().take(MAX_LISTED_ITEMS);
        let renamed = renamed.map(|item| json!({"item_id": item.id, "new_id": item.new}));
        told["renamed"] = renamed.collect();
    }
    let by = || BY.into();
    let import = Event::Import { conn, session: session.clone(), state, by: by() };
    match hub.change(import) {
        Ok(body) => restored(&body, told).created(),
        Err(Unanswered::Refused(Refusal::Exists)) if replace => match parse() {
            Ok(state) => {
                let restore = Event::Restore { conn, session: session.clone(), state, by: by() };
                let done = hub.change(restore);
                done.map_or_else(Unanswered::page, |body| restored(&body, told))
            }
            Err(why) => Response::text(400, why),
        },
        Err(why) => why.page(),
    }
}

fn restore(
    archive: &Arc<ArchiveService>,
    conn: ConnId,
    session: &Arc<str>,
    to: PointInTime,
    hub: &dyn HubClient,
) -> Response {
    let is_stopping = || hub.is_stopping();
    if let Err(why) = archive.written(&is_stopping) {
        return unavailable(why);
    }
    let (summary, stored) = match find(archive, session, Some(to)) {
        Ok(found) => found,
        Err(page) => return page,
    };
    match restore_document(conn, session, &stored, hub) {
        Ok(page) => page,
        // The current document can't be read, but the one to restore could be.
        Err(Unanswered::Refused(Refusal::NotLoaded)) => {
            let Ok(document) = archive::document(&stored) else {
                return unavailable(ArchiveError::Damaged);
            };
            let more = restored_to(&document, &stored);
            let epoch = summary.epoch.clone();
            match archive.restore_damaged(summary, document, &is_stopping) {
                Ok(seq) => {
                    let now = Timestamp::now().to_string();
                    let head = json!({
                        "session_id": &**session, "epoch": &*epoch, "seq": seq, "timestamp": now,
                        "was_damaged": true,
                    });
                    restored(head.to_string().as_bytes(), more)
                }
                Err(why) => unavailable(why),
            }
        }
        Err(why) => why.page(),
    }
}

fn compact(
    archive: &Arc<ArchiveService>,
    session: Option<Arc<str>>,
    retention: Retention,
    who: &str,
    hub: &dyn HubClient,
) -> Response {
    match archive.compact(session, retention, &|| hub.is_stopping()) {
        Ok(done) => {
            log::info!(
                "{} sessions were compacted by {who}: {} bytes, before {}",
                done.sessions,
                done.after,
                done.before
            );
            for (session, why) in &done.damaged {
                log::error!("session {session:?} is stored but can't be used: {why}");
            }
            let damaged = done.damaged.iter().map(|(session, _)| &**session);
            let told = json!({
                "sessions": done.sessions,
                "damaged": damaged.collect::<Vec<&str>>(),
                "bytes_before": done.before,
                "bytes_after": done.after,
                "timestamp": Timestamp::now().to_string(),
            });
            Response::json(told.to_string())
        }
        Err(why) => unavailable(why),
    }
}

/// Replaces a session's document by an earlier one.
///
/// # Errors
/// Why the hub has not answered.
pub(super) fn restore_document(
    conn: ConnId,
    session: &Arc<str>,
    stored: &StoredSession,
    hub: &dyn HubClient,
) -> Result<Response, Unanswered> {
    let Ok(document) = archive::document(stored) else {
        return Ok(unavailable(ArchiveError::Damaged));
    };
    let more = restored_to(&document, stored);
    let state = Box::new(document.into_state());
    let restore = Event::Restore { conn, session: session.clone(), state, by: BY.into() };
    Ok(restored(&hub.change(restore)?, more))
}

/// The fields of the response that only this thread knows.
fn restored_to(document: &Document, stored: &StoredSession) -> Value {
    json!({"items": document.items().count(), "restored_to": stored.seq})
}

/// The hub's answer, with further fields.
fn restored(body: &[u8], more: Value) -> Response {
    let mut told: Value = serde_json::from_slice(body).unwrap_or_default();
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.remove("type");
        told.extend(more);
    }
    Response::json(told.to_string())
}

/// The response with what was found; 404 where there is no such session.
fn answer<T: Serialize>(found: Result<Option<T>, ArchiveError>) -> Response {
    match found.map(|found| found.map(|found| serde_json::to_vec(&found))) {
        Ok(Some(Ok(body))) => Response::json(body),
        // Not reached: plain data can always be serialized.
        Ok(Some(Err(_))) => unavailable(ArchiveError::Unreadable),
        Ok(None) => Response::text(404, NO_SUCH_SESSION),
        Err(why) => unavailable(why),
    }
}

fn unavailable(why: ArchiveError) -> Response {
    let (status, line) = match why {
        ArchiveError::Busy => (503, "the server is busy: try again"),
        ArchiveError::Silent => (503, "the server's disk doesn't answer: try again later"),
        ArchiveError::Compacting => (409, "a compaction is going on: wait until it is done"),
        ArchiveError::NotWritten => {
            (503, "the server can't write to its disk: its log has the reason")
        }
        ArchiveError::Unreadable => {
            (503, "the stored data can't be read now: the server's log has the reason")
        }
        ArchiveError::Damaged => (
            503,
            "the stored data of this session is damaged: restore one of its versions, or a backup",
        ),
        ArchiveError::Unknown => (404, NO_SUCH_SESSION),
        ArchiveError::Stopping => return Unanswered::Stopping.page(),
    };
    Response::text(status, line)
}

fn number<T: std::str::FromStr>(request: &Request<'_>, name: &str) -> Result<Option<T>, Response> {
    let value = request.query_value(name).map(|value| value.parse());
    value.transpose().map_err(|_| Response::text(400, BAD_NUMBER))
}

/// True where a switch is on: `replace=1`, or only `replace`.
pub(super) fn is_set(request: &Request<'_>, name: &str) -> bool {
    request.query_value(name).is_some_and(|value| matches!(&*value, "" | "1" | "true"))
}

pub(super) fn point(request: &Request<'_>, name: &str) -> Result<Option<PointInTime>, Response> {
    // The plus of a time zone may have been sent unencoded, which decodes to a space.
    let text = request.query_value(name).map(|text| text.replace(' ', "+"));
    let point = text.map(|text| PointInTime::parse(&text).ok_or(Response::text(400, BAD_POINT)));
    point.transpose()
}

/// What a compaction keeps: what the request asks for, or else what the server is configured to
/// keep.
fn retention(request: &Request<'_>, own: Retention) -> Result<Retention, Response> {
    let versions = number(request, "keep_versions")?.filter(|versions| *versions > 0);
    let days = number::<u32>(request, "keep_days")?.filter(|days| *days > 0);
    let age = days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
    Ok(Retention {
        versions: versions.unwrap_or(own.versions),
        age: age.unwrap_or(own.age),
        history: own.history,
    })
}
