//! The session protocol on a client's thread: turns each message into an event for the hub or a
//! reply.

use std::sync::Arc;

use crate::auth::Grant;
use crate::hub::{ConnId, Event};
use crate::net::service::{ConnectionHandler, Incoming, Reaction, Role};
use crate::protocol::inbound::{self, ClientMessage, Rejection, Since};
use crate::protocol::{Frame, Kind, Timestamp, UserId, close, outbound};

/// The handshake's header that asks, with the value `1`, that nothing is stored of a session that
/// begins with it.
pub const TEMPORARY_HEADER: &str = "Collabd-Temporary";
/// What a message may have besides a canvas, in bytes.
const MAX_ENVELOPE_BYTES: usize = 64 << 10;

/// The handler of one member's connection. Runs on the member's thread.
#[derive(Debug)]
pub struct SessionHandler {
    session: Arc<str>,
    user: UserId,
    grant: Option<Grant>,
    /// True where nothing is stored of a session that begins with this member.
    is_temporary: bool,
    /// The largest message with a canvas, in bytes.
    largest_canvas: usize,
    last_kind: Kind,
    /// True once it has sent a message.
    has_spoken: bool,
}

impl SessionHandler {
    /// A handler for a user that joins a session whose canvases may have `largest_canvas` bytes.
    pub fn new(session: Arc<str>, user: UserId, largest_canvas: usize) -> Self {
        // Spaces between fields, and the fields around the canvas, don't count in the document.
        let largest_canvas = largest_canvas.saturating_add(largest_canvas / 4 + MAX_ENVELOPE_BYTES);
        let last_kind = Kind::Other;
        SessionHandler {
            session,
            user,
            grant: None,
            is_temporary: false,
            largest_canvas,
            last_kind,
            has_spoken: false,
        }
    }

    /// Sets what the user's key permits.
    pub fn with_grant(self, grant: Grant) -> Self {
        SessionHandler { grant: Some(grant), ..self }
    }

    /// Sets whether nothing is stored of a session that begins with this member.
    pub fn with_temporary(self, is_temporary: bool) -> Self {
        SessionHandler { is_temporary, ..self }
    }
}

impl ConnectionHandler for SessionHandler {
    fn join(&self, conn: ConnId) -> Option<Event> {
        let (session, user, grant) = (self.session.clone(), self.user.clone(), self.grant.clone());
        Some(match self.is_temporary {
            true => Event::JoinTemporary { conn, session, user, grant },
            false => Event::Join { conn, session, user, grant },
        })
    }

    fn on_message(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction {
        match heard {
            Incoming::Text(text) => {
                let (kind, parsed) = parse(conn, text);
                self.last_kind = kind;
                let is_first = !std::mem::replace(&mut self.has_spoken, true);
                match parsed {
                    // Only the first message shows whether the client is an editor.
                    Ok(ClientMessage::SyncRequest { since, names_user }) => {
                        let names_user = names_user && is_first;
                        let message = ClientMessage::SyncRequest { since, names_user };
                        Reaction::Event(Event::Message { conn, message })
                    }
                    // Answering here costs a third of what it costs through the hub.
                    Ok(ClientMessage::Ping { echo }) => {
                        Reaction::Reply(outbound::pong(&echo, Timestamp::now()))
                    }
                    Ok(message) => Reaction::Event(Event::Message { conn, message }),
                    Err(rejection) => Reaction::Reply(outbound::rejected(&rejection)),
                }
            }
            Incoming::Binary(_) => {
                Reaction::Close(close::UNSUPPORTED, "only text messages are understood")
            }
            Incoming::Pong(payload) => {
                Reaction::Event(Event::Pong { conn, payload: payload.to_vec() })
            }
        }
    }

    fn max_large_bytes(&self) -> Option<usize> {
        Some(self.largest_canvas)
    }

    fn may_be_large(&self, text: &str) -> bool {
        inbound::carries_canvas(text)
    }

    fn last_kind(&self) -> Kind {
        self.last_kind
    }

    fn internal_error(&self) -> Option<Frame> {
        Some(outbound::server_error())
    }

    fn user(&self) -> &str {
        &self.user
    }

    fn target(&self) -> String {
        format!("session {:?}", self.session)
    }
}

/// The handler of a connection that views a session without joining it. Runs on the viewer's
/// thread.
#[derive(Debug)]
pub struct ViewerHandler {
    session: Arc<str>,
    grant: Option<Grant>,
    /// Which document it has already.
    since: Option<Since>,
    last_kind: Kind,
}

impl ViewerHandler {
    /// A handler for a viewer. `grant` is what its key permits, where one is needed; `since` says which document it
    /// has already.
    pub fn new(session: Arc<str>, grant: Option<Grant>, since: Option<Since>) -> Self {
        ViewerHandler { session, grant, since, last_kind: Kind::Other }
    }
}

impl ConnectionHandler for ViewerHandler {
    fn join(&self, conn: ConnId) -> Option<Event> {
        let (session, grant, since) =
            (self.session.clone(), self.grant.clone(), self.since.clone());
        Some(Event::View { conn, session, grant, since })
    }

    /// Refuses every message that would change something; the hub doesn't get it.
    fn on_message(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction {
        match heard {
            Incoming::Text(text) => {
                let (kind, parsed) = parse(conn, text);
                self.last_kind = kind;
                match parsed {
                    Ok(ClientMessage::Ping { echo }) => {
                        Reaction::Reply(outbound::pong(&echo, Timestamp::now()))
                    }
                    Ok(ClientMessage::SyncRequest { since, .. }) => {
                        Reaction::Event(Event::RequestState { conn, since })
                    }
                    Ok(ClientMessage::RefusedFullState(rejection)) | Err(rejection) => {
                        Reaction::Reply(outbound::rejected(&rejection))
                    }
                    Ok(message) => {
                        let why = "a viewer may watch, not change or say anything";
                        Reaction::Reply(outbound::rejected(&message.read_only(why)))
                    }
                }
            }
            Incoming::Binary(_) => {
                Reaction::Close(close::UNSUPPORTED, "only text messages are understood")
            }
            Incoming::Pong(_) => Reaction::Nothing,
        }
    }

    fn last_kind(&self) -> Kind {
        self.last_kind
    }

    fn role(&self) -> Role {
        Role::Viewer
    }

    fn internal_error(&self) -> Option<Frame> {
        Some(outbound::server_error())
    }

    fn user(&self) -> &str {
        "viewer"
    }

    fn target(&self) -> String {
        format!("the viewers of session {:?}", self.session)
    }
}

/// Parses a message and returns its type for the counters, too.
fn parse(conn: ConnId, text: &str) -> (Kind, Result<ClientMessage, Rejection>) {
    super::log_message(conn, text);
    let parsed = inbound::parse(text);
    let kind = match &parsed {
        Ok(message) => message.kind(),
        Err(rejection) => rejection.kind(),
    };
    (kind, parsed)
}
