//! Earlier documents of sessions on a server that stores nothing: the hub keeps the last ones and
//! answers as the store would.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Router;
use super::archive_api::{
    BAD_POINT, canvas, copy, delete, is_set, point, put_of, rename, restore_document, restore_item,
};
use super::route::Call;
use super::sessions_api::{ArchiveRequest, NOTHING_STORED};
use crate::auth::Grant;
use crate::http::Response;
use crate::hub::{ConnId, Event};
use crate::journal::{PointInTime, StoredSession};
use crate::net::service::{HubClient, Outcome, Unanswered, Work, WorkFn};
use crate::protocol::Timestamp;

impl Router {
    /// Handles a request about earlier documents where nothing is stored.
    pub(super) fn in_memory(
        &self,
        page: ArchiveRequest,
        call: Call<'_>,
    ) -> Result<Outcome, Response> {
        let body = self.body_of(&page);
        let Call { request, conn, grant, by: who, .. } = call;
        let act: Box<WorkFn> = match page {
            ArchiveRequest::Versions(session) => {
                return Ok(Outcome::Ask(Event::Versions { conn, session, grant }));
            }
            ArchiveRequest::State(session) => {
                let at = point(request, "at")?.ok_or(Response::text(400, BAD_POINT))?;
                Box::new(move |_, hub| {
                    let found = find(conn, &session, at, grant, hub);
                    found.map_or_else(Unanswered::page, |stored| canvas(&session, &stored))
                })
            }
            ArchiveRequest::Restore(session) => {
                let to = point(request, "to")?.ok_or(Response::text(400, BAD_POINT))?;
                Box::new(move |_, hub| {
                    let found = find(conn, &session, to, None, hub);
                    let restored =
                        found.and_then(|stored| restore_document(conn, &session, &stored, hub));
                    if restored.is_ok() {
                        log::info!("session {session:?} was restored by {who}");
                    }
                    restored.unwrap_or_else(Unanswered::page)
                })
            }
            ArchiveRequest::Put(session) => put_of(conn, session, is_set(request, "replace"), who),
            ArchiveRequest::Delete(session) => delete(conn, session, who),
            ArchiveRequest::Rename(session, to) => rename(conn, session, to, who),
            ArchiveRequest::RestoreItem(session, item) => restore_item(conn, session, item, who),
            ArchiveRequest::Copy(session, to) => Box::new(move |_, hub| {
                // The newest there is, whatever the clock says.
                let newest = PointInTime::Time(Timestamp::from_millis(u64::MAX));
                match find(conn, &session, newest, None, hub) {
                    Ok(stored) => copy(conn, &session, to, &stored, &who, hub),
                    Err(why) => why.page(),
                }
            }),
            ArchiveRequest::Stored | ArchiveRequest::Changes(_) | ArchiveRequest::Compact => {
                return Err(Response::text(404, NOTHING_STORED));
            }
        };
        Ok(Outcome::Work(Work { body, act }))
    }
}

#[derive(Deserialize)]
struct Earlier<'a> {
    epoch: Box<str>,
    seq: u64,
    #[serde(borrow)]
    document: &'a RawValue,
}

/// A session's document as of `at`, in the form of the store.
fn find(
    conn: ConnId,
    session: &Arc<str>,
    at: PointInTime,
    grant: Option<Grant>,
    hub: &dyn HubClient,
) -> Result<StoredSession, Unanswered> {
    let body = hub.ask(Event::Version { conn, session: session.clone(), at, grant })?;
    let Ok(Earlier { epoch, seq, document }) = serde_json::from_slice(&body) else {
        return Err(Unanswered::Lost);
    };
    Ok(StoredSession {
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
