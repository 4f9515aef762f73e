//! Earlier documents of sessions in memory, where nothing is stored: the hub has the last ones, and
//! answers as the store would.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Router;
use super::archive_api::{BAD_POINT, canvas, point, put_back};
use super::route::Call;
use super::sessions_api::{Api, NOTHING_STORED};
use crate::auth::Grant;
use crate::http::Response;
use crate::hub::{ConnId, Event};
use crate::kept::{PointInTime, Stored};
use crate::net::service::{HubClient, Outcome, Unanswered, Work, WorkFn};

impl Router {
    /// The same on a server that stores nothing.
    pub(super) fn in_memory(&self, page: Api, call: Call<'_>) -> Result<Outcome, Response> {
        let Call { request, conn, grant, by: who, .. } = call;
        let act: Box<WorkFn> = match page {
            Api::Versions(session) => {
                return Ok(Outcome::Ask(Event::Versions { conn, session, grant }));
            }
            Api::State(session) => {
                let at = point(request, "at")?.ok_or(Response::text(400, BAD_POINT))?;
                Box::new(move |_, inside| {
                    let found = find(conn, &session, at, grant, inside);
                    found.map_or_else(Unanswered::page, |stored| canvas(&session, &stored))
                })
            }
            Api::Restore(session) => {
                let to = point(request, "to")?.ok_or(Response::text(400, BAD_POINT))?;
                Box::new(move |_, inside| {
                    let found = find(conn, &session, to, None, inside);
                    let restored =
                        found.and_then(|stored| put_back(conn, &session, &stored, inside));
                    if restored.is_ok() {
                        log::info!("session {session:?} was restored by {who}");
                    }
                    restored.unwrap_or_else(Unanswered::page)
                })
            }
            _ => return Err(Response::text(404, NOTHING_STORED)),
        };
        Ok(Outcome::Work(Work { body: 0, act }))
    }
}

/// What the hub answers.
#[derive(Deserialize)]
struct Earlier<'a> {
    epoch: Box<str>,
    seq: u64,
    #[serde(borrow)]
    document: &'a RawValue,
}

/// A session's document as it was then, in the form in which a store gives it.
fn find(
    conn: ConnId,
    session: &Arc<str>,
    at: PointInTime,
    grant: Option<Grant>,
    inside: &dyn HubClient,
) -> Result<Stored, Unanswered> {
    let body = inside.ask(Event::Version { conn, session: session.clone(), at, grant })?;
    let Ok(Earlier { epoch, seq, document }) = serde_json::from_slice(&body) else {
        return Err(Unanswered::Lost);
    };
    Ok(Stored {
        epoch: epoch.into(),
        seq,
        document: document.get().into(),
        seq_of_document: seq,
        changes: Vec::new(),
        history: Vec::new(),
        taken: Vec::new(),
        skipped: seq,
    })
}
