//! Earlier documents of sessions in memory, where nothing is stored: the hub has the last ones, and
//! answers as the store would.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{Api, NOTHING_STORED};
use super::stored::{BAD_POINT, canvas, point, put_back};
use super::{Door, Guest, route};
use crate::hub::{ConnId, Event};
use crate::kept::{Point, Stored};
use crate::keys::Grant;
use crate::server::http::{Request, Response};
use crate::server::service::{Act, Answer, Inside, Unanswered, Work};

impl Door {
    /// A page of the API, on a server that stores nothing. The method is one that the page knows.
    pub(super) fn in_memory(
        &self,
        page: Api,
        request: &Request<'_>,
        from: IpAddr,
        conn: ConnId,
    ) -> Answer<Guest> {
        let act = match page {
            Api::Versions(session) => {
                let name = session.clone();
                return self.ask(Some(&name), request, from, |grant| Event::Versions {
                    conn,
                    session,
                    grant,
                });
            }
            Api::State(session) if matches!(request.method, "GET" | "HEAD") => {
                self.earlier_state(session, request, from, conn)
            }
            Api::Restore(session) => self.restore_in_memory(session, request, from, conn),
            _ => Err(Response::text(404, NOTHING_STORED)),
        };
        match act {
            Ok(act) => Answer::Work(Work { body: 0, act }),
            Err(page) => Answer::Page(page),
        }
    }

    fn earlier_state(
        &self,
        session: Arc<str>,
        request: &Request<'_>,
        from: IpAddr,
        conn: ConnId,
    ) -> Result<Box<Act<Event>>, Response> {
        let grant = self.grant(Some(&session), route::key_of(request).as_deref(), from)?;
        let at = point(request, "at")?.ok_or(Response::text(400, BAD_POINT))?;
        Ok(Box::new(move |_, inside| {
            let found = find(conn, &session, at, grant, inside);
            found.map_or_else(Unanswered::page, |stored| canvas(&session, &stored))
        }))
    }

    fn restore_in_memory(
        &self,
        session: Arc<str>,
        request: &Request<'_>,
        from: IpAddr,
        conn: ConnId,
    ) -> Result<Box<Act<Event>>, Response> {
        let who = format!("{} at {from}", self.may_change(request, from, Some(&session))?);
        let to = point(request, "to")?.ok_or(Response::text(400, BAD_POINT))?;
        Ok(Box::new(move |_, inside| {
            let found = find(conn, &session, to, None, inside);
            let restored = found.and_then(|stored| put_back(conn, &session, &stored, inside));
            if restored.is_ok() {
                log::info!("session {session:?} was restored by {who}");
            }
            restored.unwrap_or_else(Unanswered::page)
        }))
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
    at: Point,
    grant: Option<Grant>,
    inside: &dyn Inside<Event>,
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
    })
}
