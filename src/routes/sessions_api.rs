//! The handlers of the API about sessions. The hub answers for sessions in memory; stored ones are
//! answered by `archive_api.rs`.

use std::sync::Arc;

use super::Router;
use super::path_ids::{self, BAD_NAME};
use super::route::Call;
use crate::http::Response;
use crate::hub::{ConnId, Event};
use crate::net::service::Outcome;

/// The 404 of a path about stored sessions on a server that stores none.
pub const NOTHING_STORED: &str = match cfg!(feature = "durable") {
    true => {
        "this server stores no sessions: /api/sessions lists those in memory; it was started with \
         --in-memory, or /healthz says why it can't store them"
    }
    false => "this collabd stores no sessions: it was built without the feature `durable`",
};

/// The 404 of a connection that is no number.
const NO_SUCH_CONNECTION: &str =
    "there is no such connection: /api/connections lists the numbers of those that are open";

/// A request about sessions that needs more than one question to the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "durable"),
    allow(dead_code, reason = "without stored sessions every request is answered alike")
)]
pub enum ArchiveRequest {
    Stored,
    /// A session's canvas, as it is or was.
    State(Arc<str>),
    /// The versions that a session can be restored to.
    Versions(Arc<str>),
    Changes(Arc<str>),
    /// Replaces a session's canvas, or creates the session with it.
    Put(Arc<str>),
    Delete(Arc<str>),
    Restore(Arc<str>),
    /// Gives a session another name.
    Rename(Arc<str>, Arc<str>),
    /// Makes a session of this name with the canvas of another.
    Copy(Arc<str>, Arc<str>),
    /// Brings a removed item back.
    RestoreItem(Arc<str>, Arc<str>),
    Compact,
}

impl Router {
    pub(super) fn sessions(&self, call: Call<'_>) -> Result<Outcome, Response> {
        Ok(Outcome::Ask(Event::Sessions { conn: call.conn, grant: call.grant }))
    }

    pub(super) fn details(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let session = call.session();
        Ok(Outcome::Ask(Event::Details { conn: call.conn, session, grant: call.grant }))
    }

    pub(super) fn item(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let (conn, session) = (call.conn, call.session());
        let item = call.ids.get(1).map_or("", String::as_str).into();
        Ok(Outcome::Ask(Event::Item { conn, session, item, grant: call.grant }))
    }

    pub(super) fn state(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let session = call.session();
        if !self.stores() && call.request.query_value("at").is_none() {
            let (conn, grant) = (call.conn, call.grant);
            return Ok(Outcome::AskState(Event::State { conn, session, grant }));
        }
        self.work(ArchiveRequest::State(session), call)
    }

    pub(super) fn put_state(&self, call: Call<'_>) -> Result<Outcome, Response> {
        self.work(ArchiveRequest::Put(call.session()), call)
    }

    pub(super) fn delete(&self, call: Call<'_>) -> Result<Outcome, Response> {
        self.work(ArchiveRequest::Delete(call.session()), call)
    }

    pub(super) fn versions(&self, call: Call<'_>) -> Result<Outcome, Response> {
        self.work(ArchiveRequest::Versions(call.session()), call)
    }

    pub(super) fn changes(&self, call: Call<'_>) -> Result<Outcome, Response> {
        self.work(ArchiveRequest::Changes(call.session()), call)
    }

    pub(super) fn restore(&self, call: Call<'_>) -> Result<Outcome, Response> {
        self.work(ArchiveRequest::Restore(call.session()), call)
    }

    pub(super) fn rename(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let to = self.new_name(&call)?;
        self.work(ArchiveRequest::Rename(call.session(), to), call)
    }

    pub(super) fn copy(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let to = self.new_name(&call)?;
        self.work(ArchiveRequest::Copy(call.session(), to), call)
    }

    /// The name in `to`, which the request's key has to open, too.
    fn new_name(&self, call: &Call<'_>) -> Result<Arc<str>, Response> {
        let to = call.request.name_in_query("to").filter(|to| path_ids::is_id(to));
        let to = to.ok_or_else(|| Response::text(400, BAD_NAME))?;
        self.admin_of(call, Some(&to))?;
        Ok(to.into())
    }

    pub(super) fn restore_item(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let item = call.ids.get(1).map_or("", String::as_str).into();
        self.work(ArchiveRequest::RestoreItem(call.session(), item), call)
    }

    pub(super) fn end_connection(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let number = call.ids.first().and_then(|number| number.parse().ok());
        let Some(target) = number.map(ConnId) else {
            return Err(Response::text(404, NO_SUCH_CONNECTION));
        };
        log::warn!("c{}: ended by {}", target.0, call.by);
        Ok(Outcome::Ask(Event::EndConnection { conn: call.conn, target }))
    }

    pub(super) fn stored_sessions(&self, call: Call<'_>) -> Result<Outcome, Response> {
        self.work(ArchiveRequest::Stored, call)
    }

    pub(super) fn compact(&self, call: Call<'_>) -> Result<Outcome, Response> {
        self.work(ArchiveRequest::Compact, call)
    }

    #[cfg(feature = "durable")]
    fn work(&self, page: ArchiveRequest, call: Call<'_>) -> Result<Outcome, Response> {
        self.stored(page, call)
    }

    #[cfg(not(feature = "durable"))]
    fn work(&self, _: ArchiveRequest, _: Call<'_>) -> Result<Outcome, Response> {
        Err(Response::text(404, NOTHING_STORED))
    }
}
