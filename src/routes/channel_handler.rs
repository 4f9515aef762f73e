//! The client protocol on a client's own thread: what a message becomes.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::{Authenticator, KeySource};
use crate::hub::channels;
use crate::hub::{ConnId, Event};
use crate::net::service::{ConnectionHandler, Incoming, Reaction, Role};
use crate::protocol::client::{self, Unreadable, outbound};
use crate::protocol::{Frame, Kind, Timestamp, UserId, close};

/// How many unreadable messages in a row end a connection.
const MOST_UNREADABLE: u32 = 3;
/// The largest message before a key was good, in bytes: memory for everybody who can connect.
const LARGEST_BEFORE_KEY: usize = 64 << 10;

/// A front end or an agent.
pub struct ChannelHandler {
    id: UserId,
    debug: bool,
    from: IpAddr,
    authenticator: Arc<Authenticator>,
    /// How many unreadable messages have come in a row.
    unreadable: u32,
    /// Whether a key of it was good. The hub may find that it is not any more, and ends it then.
    had_key: bool,
    last_kind: Kind,
}

impl ChannelHandler {
    /// A client that calls itself `id` and comes from this address.
    pub fn new(id: UserId, debug: bool, from: IpAddr, authenticator: Arc<Authenticator>) -> Self {
        ChannelHandler {
            id,
            debug,
            from,
            authenticator,
            unreadable: 0,
            had_key: false,
            last_kind: Kind::Other,
        }
    }

    fn text(&mut self, conn: ConnId, text: &str) -> Reaction {
        super::log_message(conn, text);
        let parsed = client::parse(text);
        self.last_kind = parsed.as_ref().map_or(Kind::Other, client::Heard::kind);
        let said = match parsed {
            Ok(client::Heard::Ping { echo }) => {
                self.unreadable = 0;
                return Reaction::Reply(outbound::pong(&echo, &self.id, Timestamp::now()));
            }
            // The key goes no further than this line; the hub gets what it permits.
            Ok(client::Heard::Connect { key }) => {
                let checked =
                    self.authenticator.check(key.as_deref(), self.from, KeySource::Client);
                self.had_key |= checked.is_ok();
                channels::Said::Connect(checked)
            }
            Ok(client::Heard::Request(request)) => channels::Said::Request(request),
            // The hub answers: its earlier answers come first.
            Err(Unreadable) => {
                self.unreadable += 1;
                let is_last = self.unreadable >= MOST_UNREADABLE;
                return Reaction::Event(Event::Said {
                    conn,
                    said: channels::Said::Unreadable { is_last },
                });
            }
        };
        self.unreadable = 0;
        Reaction::Event(Event::Said { conn, said })
    }
}

impl ConnectionHandler for ChannelHandler {
    fn join(&self, conn: ConnId) -> Option<Event> {
        Some(Event::Enter { conn, client: self.id.clone(), debug: self.debug })
    }

    fn on_message(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction {
        match heard {
            Incoming::Text(text) => self.text(conn, text),
            Incoming::Binary(_) => {
                Reaction::Close(close::VIOLATION, "only text messages are understood")
            }
            Incoming::Pong(_) => Reaction::Nothing,
        }
    }

    fn max_message_bytes(&self) -> Option<usize> {
        (!self.had_key).then_some(LARGEST_BEFORE_KEY)
    }

    fn last_kind(&self) -> Kind {
        self.last_kind
    }

    fn role(&self) -> Role {
        Role::Client
    }

    fn internal_error(&self) -> Option<Frame> {
        Some(outbound::server_error(&self.id, Timestamp::now()))
    }

    fn user(&self) -> &str {
        &self.id
    }

    fn target(&self) -> String {
        "the client protocol".into()
    }

    fn overrun_close(&self) -> Option<(u16, &'static str)> {
        Some((close::RATE_LIMIT, "rate limit exceeded"))
    }
}
