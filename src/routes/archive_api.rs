//! The API of what is stored, where something is; where nothing is: `memory.rs`. Each page is worked on
//! by the thread of the client that asks.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Router;
use super::route::Call;
use super::sessions_api::Api;
use crate::archive::{self, ArchiveError, ArchiveService, BY, Listing, MOST, MOST_BYTES, Versions};
use crate::auth::Grant;
use crate::http::{Request, Response};
use crate::hub::{ConnId, Document, Event, Refusal};
use crate::kept::Stored;
use crate::net::service::{HubClient, Outcome, Unanswered, Work, WorkFn};
use crate::protocol::Timestamp;
use crate::protocol::inbound::State;
use crate::store::{PointInTime, Retention, Summary};

const NO_SUCH_SESSION: &str = "there is no such session";
pub(super) const BAD_POINT: &str = "this needs the number of a change, like 120, or a time, like \
                         2026-12-20T09:30:00Z";
const BAD_NUMBER: &str =
    "`after`, `limit`, `keep_versions` and `keep_days` have to be whole numbers";

/// How many items of a canvas that could not be taken are named in the answer.
const MAX_LEFT_OUT: usize = 100;

/// What becomes of a page: the work, or a refusal.
type Worked = Result<(usize, Box<WorkFn>), Response>;

impl Router {
    /// Answers what is asked of what is stored.
    pub(super) fn stored(&self, page: Api, call: Call<'_>) -> Result<Outcome, Response> {
        let Some(persistence) = &self.persistence else {
            return self.in_memory(page, call);
        };
        let (body, act) = self.work_on(page, call, persistence.archive().clone())?;
        Ok(Outcome::Work(Work { body, act }))
    }

    fn work_on(&self, page: Api, call: Call<'_>, archive: Arc<ArchiveService>) -> Worked {
        let Call { request, conn, grant, by: who, .. } = call;
        Ok(match page {
            Api::Stored => {
                let after = request.query_value("after");
                let most = number(request, "limit")?.unwrap_or(MOST).min(MOST);
                let with_items = is_set(request, "items");
                let list: Box<WorkFn> =
                    Box::new(move |_, _| list(&archive, grant, after, most, with_items));
                (0, list)
            }
            Api::Versions(session) => (
                0,
                Box::new(move |_, _| {
                    let found = archive.look(move |reader| Versions::of(reader, &session));
                    answer(found)
                }),
            ),
            Api::Changes(session) => {
                let after = number(request, "after")?.unwrap_or(0);
                let most = number(request, "limit")?.unwrap_or(MOST).min(MOST);
                (0, Box::new(move |_, _| changes(&archive, session, after, most)))
            }
            Api::State(session) => match point(request, "at")? {
                Some(at) => (0, Box::new(move |_, _| as_of(&archive, &session, Some(at)))),
                None => {
                    (0, Box::new(move |_, inside| state(&archive, conn, &session, grant, inside)))
                }
            },
            Api::Delete(session) => (
                0,
                Box::new(move |_, inside| {
                    let deleted = inside.change(Event::Delete { conn, session: session.clone() });
                    if deleted.is_ok() {
                        log::warn!("session {session:?} was deleted by {who}");
                    }
                    deleted.map_or_else(Unanswered::page, Response::json)
                }),
            ),
            Api::Put(session) => {
                let replace = is_set(request, "replace");
                let put: Box<WorkFn> = Box::new(move |body, inside| {
                    let put = put(conn, &session, &body, replace, inside);
                    if matches!(put.status(), 200 | 201) {
                        log::info!("session {session:?} was given a canvas by {who}");
                    }
                    put
                });
                (self.largest_canvas, put)
            }
            Api::Restore(session) => {
                let to = point(request, "to")?.ok_or(Response::text(400, BAD_POINT))?;
                let restore: Box<WorkFn> = Box::new(move |_, inside| {
                    let restored = restore(&archive, conn, &session, to, inside);
                    if restored.status() == 200 {
                        log::info!("session {session:?} was restored by {who}");
                    }
                    restored
                });
                (0, restore)
            }
            Api::Compact => {
                let session: Option<Arc<str>> = request.query_value("session").map(Into::into);
                let retention = retention(request, archive.retention())?;
                let compact: Box<WorkFn> =
                    Box::new(move |_, inside| compact(&archive, session, retention, &who, inside));
                (0, compact)
            }
        })
    }
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
        Listing::of(reader, wanted, after.as_deref(), most, with_items)
    });
    answer(found.map(Some))
}

fn changes(archive: &Arc<ArchiveService>, session: Arc<str>, after: u64, most: usize) -> Response {
    let found = archive.look(move |reader| {
        let session = &*session;
        let Some(summary) = reader.session(session)? else { return Ok(None) };
        let changes = reader.some_changes_after(session, after, most, MOST_BYTES)?;
        let first = reader.begins(session)?.map_or(1, |begins| begins.changes);
        Ok(Some(archive::changes(&changes, first, summary.seq)))
    });
    match found {
        Ok(Some(body)) => Response::json(body),
        Ok(None) => Response::text(404, NO_SUCH_SESSION),
        Err(why) => unavailable(why),
    }
}

/// A canvas as it is: in memory, or where it isn't there, as it is stored.
fn state(
    archive: &Arc<ArchiveService>,
    conn: ConnId,
    session: &Arc<str>,
    grant: Option<Grant>,
    inside: &dyn HubClient,
) -> Response {
    match inside.ask(Event::State { conn, session: session.clone(), grant }) {
        Ok(body) => Response::state(body),
        // It may have been in memory a moment ago. What isn't on disk while that fails is in memory.
        Err(Unanswered::Refused(Refusal::Unknown)) => {
            match archive.written(&|| inside.is_stopping()) {
                Ok(()) | Err(ArchiveError::NotWritten) => as_of(archive, session, None),
                Err(why) => unavailable(why),
            }
        }
        Err(Unanswered::Busy) => unavailable(ArchiveError::Busy),
        Err(why) => why.page(),
    }
}

/// A canvas as it was then, or as it is stored.
fn as_of(archive: &Arc<ArchiveService>, session: &str, at: Option<PointInTime>) -> Response {
    match find(archive, session, at) {
        Ok((_, stored)) => canvas(session, &stored),
        Err(page) => page,
    }
}

/// A canvas that was stored.
pub(super) fn canvas(session: &str, stored: &Stored) -> Response {
    match archive::document(stored) {
        Ok(document) => Response::state(archive::state(session, stored, &document)),
        Err(_) => unavailable(ArchiveError::Damaged),
    }
}

/// A session, and what is stored of it as of then.
fn find(
    archive: &Arc<ArchiveService>,
    session: &str,
    at: Option<PointInTime>,
) -> Result<(Summary, Stored), Response> {
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
            "what this session was like then isn't stored, or not any more: it can be brought back to \
             each change from {first} to {last}, and to each of its versions"
        ),
    )
}

fn put(
    conn: ConnId,
    session: &Arc<str>,
    body: &[u8],
    replace: bool,
    inside: &dyn HubClient,
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
        let left_out = state.left_out.iter().take(MAX_LEFT_OUT);
        let left_out = left_out.map(|item| json!({"item_id": item.id, "message": item.why}));
        told["left_out"] = left_out.collect();
    }
    if !state.renamed.is_empty() {
        let renamed = state.renamed.iter().take(MAX_LEFT_OUT);
        let renamed = renamed.map(|item| json!({"item_id": item.id, "new_id": item.new}));
        told["renamed"] = renamed.collect();
    }
    let by = || BY.into();
    let import = Event::Import { conn, session: session.clone(), state, by: by() };
    match inside.change(import) {
        Ok(body) => restored(&body, told).created(),
        Err(Unanswered::Refused(Refusal::Exists)) if replace => match parse() {
            Ok(state) => {
                let restore = Event::Restore { conn, session: session.clone(), state, by: by() };
                let done = inside.change(restore);
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
    inside: &dyn HubClient,
) -> Response {
    let is_stopping = || inside.is_stopping();
    if let Err(why) = archive.written(&is_stopping) {
        return unavailable(why);
    }
    let (summary, stored) = match find(archive, session, Some(to)) {
        Ok(found) => found,
        Err(page) => return page,
    };
    match put_back(conn, session, &stored, inside) {
        Ok(page) => page,
        // What it is now can't be read. What it was then could be.
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
    inside: &dyn HubClient,
) -> Response {
    match archive.compact(session, retention, &|| inside.is_stopping()) {
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

/// Puts an earlier document in the place of a session's own.
///
/// # Errors
/// Why the hub has not answered.
pub(super) fn put_back(
    conn: ConnId,
    session: &Arc<str>,
    stored: &Stored,
    inside: &dyn HubClient,
) -> Result<Response, Unanswered> {
    let Ok(document) = archive::document(stored) else {
        return Ok(unavailable(ArchiveError::Damaged));
    };
    let more = restored_to(&document, stored);
    let state = Box::new(document.into_state());
    let restore = Event::Restore { conn, session: session.clone(), state, by: BY.into() };
    Ok(restored(&inside.change(restore)?, more))
}

/// What only this thread knows of what was restored.
fn restored_to(document: &Document, stored: &Stored) -> Value {
    json!({"items": document.items().count(), "restored_to": stored.seq})
}

/// What the hub answers, and what only this thread knows.
fn restored(body: &[u8], more: Value) -> Response {
    let mut told: Value = serde_json::from_slice(body).unwrap_or_default();
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.remove("type");
        told.extend(more);
    }
    Response::json(told.to_string())
}

/// What was found, or that there is no such session.
fn answer<T: Serialize>(found: Result<Option<T>, ArchiveError>) -> Response {
    match found.map(|found| found.map(|found| serde_json::to_vec(&found))) {
        Ok(Some(Ok(body))) => Response::json(body),
        // Plain data can always be written.
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
            (503, "the server can't write to its disk: whoever runs it finds the reason in its log")
        }
        ArchiveError::Unreadable => (
            503,
            "what is stored can't be read now: whoever runs this server finds the reason in its log",
        ),
        ArchiveError::Damaged => (
            503,
            "what is stored of this session is damaged: restore it to one of its versions, or from \
             a backup",
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

/// Whether a switch is on: `replace=1`, or only `replace`.
fn is_set(request: &Request<'_>, name: &str) -> bool {
    request.query_value(name).is_some_and(|value| matches!(&*value, "" | "1" | "true"))
}

pub(super) fn point(request: &Request<'_>, name: &str) -> Result<Option<PointInTime>, Response> {
    // A time may have been put there with its plus as it is.
    let text = request.query_value(name).map(|text| text.replace(' ', "+"));
    let point = text.map(|text| PointInTime::parse(&text).ok_or(Response::text(400, BAD_POINT)));
    point.transpose()
}

/// What is to be kept: as the server is told, and no more than this asks for.
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
