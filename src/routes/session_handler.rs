//! The session protocol on a client's own thread: what a message becomes.

use std::sync::Arc;

use crate::auth::Grant;
use crate::hub::{ConnId, Event};
use crate::net::service::{ConnectionHandler, Incoming, Reaction, Role};
use crate::protocol::inbound::{self, ClientMessage, Rejection};
use crate::protocol::{Frame, Kind, Timestamp, UserId, close, outbound};

/// The header by which a handshake says, with `1`, that nothing is to be kept of a session that it begins.
pub const TEMPORARY_HEADER: &str = "Collabd-Temporary";
/// What a message may have beside a canvas, in bytes.
const ENVELOPE: usize = 64 << 10;

/// A client's part of the session protocol, on its own thread.
#[derive(Debug)]
pub struct SessionHandler {
    session: Arc<str>,
    user: UserId,
    grant: Option<Grant>,
    /// Whether nothing is to be kept of a session that it begins.
    is_temporary: bool,
    /// The largest message with a canvas in it, in bytes.
    largest_canvas: usize,
    last_kind: Kind,
    /// Whether it has sent a message.
    has_spoken: bool,
}

impl SessionHandler {
    /// Somebody who wants to join a session, in which a canvas may have `largest_canvas` bytes.
    pub fn new(session: Arc<str>, user: UserId, largest_canvas: usize) -> Self {
        // Spaces between its fields, and what stands around it, don't count in the document.
        let largest_canvas = largest_canvas.saturating_add(largest_canvas / 4 + ENVELOPE);
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

    /// The same, with what its key permits.
    pub fn with(self, grant: Grant) -> Self {
        SessionHandler { grant: Some(grant), ..self }
    }

    /// The same; nothing is to be kept of a session that it begins.
    pub fn made_temporary(self, is_temporary: bool) -> Self {
        SessionHandler { is_temporary, ..self }
    }
}

impl ConnectionHandler for SessionHandler {
    fn join(&self, conn: ConnId) -> Option<Event> {
        let (session, user, grant) = (self.session.clone(), self.user.clone(), self.grant.clone());
        Some(match self.is_temporary {
            true => Event::JoinForNow { conn, session, user, grant },
            false => Event::Join { conn, session, user, grant },
        })
    }

    fn on_message(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction {
        match heard {
            Incoming::Text(text) => {
                let (kind, parsed) = understood(conn, text);
                self.last_kind = kind;
                let is_first = !std::mem::replace(&mut self.has_spoken, true);
                match parsed {
                    // Only an editor's first message tells that it is one.
                    Ok(ClientMessage::SyncRequest { since, names_user }) => {
                        let names_user = names_user && is_first;
                        let message = ClientMessage::SyncRequest { since, names_user };
                        Reaction::Event(Event::Message { conn, message })
                    }
                    // Answered here it costs a third of what it would cost through the hub.
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

/// Somebody who views a session without being in it, on the viewer's own thread.
#[derive(Debug)]
pub struct ViewerHandler {
    session: Arc<str>,
    grant: Option<Grant>,
    last_kind: Kind,
}

impl ViewerHandler {
    /// Somebody who wants to view a session; `grant` is what its key permits, where one is asked for.
    pub fn new(session: Arc<str>, grant: Option<Grant>) -> Self {
        ViewerHandler { session, grant, last_kind: Kind::Other }
    }
}

impl ConnectionHandler for ViewerHandler {
    fn join(&self, conn: ConnId) -> Option<Event> {
        Some(Event::View { conn, session: self.session.clone(), grant: self.grant.clone() })
    }

    /// The hub hears of nothing that would change something.
    fn on_message(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction {
        match heard {
            Incoming::Text(text) => {
                let (kind, parsed) = understood(conn, text);
                self.last_kind = kind;
                match parsed {
                    Ok(ClientMessage::Ping { echo }) => {
                        Reaction::Reply(outbound::pong(&echo, Timestamp::now()))
                    }
                    Ok(ClientMessage::SyncRequest { since, .. }) => {
                        Reaction::Event(Event::Look { conn, since })
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

/// What a text says, and the type of the message, which is counted.
fn understood(conn: ConnId, text: &str) -> (Kind, Result<ClientMessage, Rejection>) {
    super::log_message(conn, text);
    let parsed = inbound::parse(text);
    let kind = match &parsed {
        Ok(message) => message.kind(),
        Err(rejection) => rejection.kind(),
    };
    (kind, parsed)
}
