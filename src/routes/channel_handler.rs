//! The client protocol on a client's thread: turns each message into an event for the hub or a
//! reply.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::{Authenticator, KeySource};
use crate::hub::channels;
use crate::hub::{ConnId, Event};
use crate::net::service::{ConnectionHandler, Incoming, Reaction, Role};
use crate::protocol::client::{self, Unreadable, outbound};
use crate::protocol::{Frame, Kind, Timestamp, UserId, close};

/// After this many unreadable messages in a row the connection is closed.
const MAX_UNREADABLE: u32 = 3;
/// The largest message before the key was accepted, in bytes. Bounded because anyone can connect.
const MAX_BYTES_BEFORE_KEY: usize = 64 << 10;

/// The handler of one connection of the client protocol: a front end or an agent.
pub struct ChannelHandler {
    id: UserId,
    debug: bool,
    from: IpAddr,
    authenticator: Arc<Authenticator>,
    /// How many unreadable messages have come in a row.
    unreadable: u32,
    /// True once a key of this client was good. The hub closes the connection when the key stops
    /// being good.
    had_key: bool,
    last_kind: Kind,
}

impl ChannelHandler {
    /// A handler for a client with this id and address.
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
        self.last_kind = parsed.as_ref().map_or(Kind::Other, client::Inbound::kind);
        let said = match parsed {
            Ok(client::Inbound::Ping { echo }) => {
                self.unreadable = 0;
                return Reaction::Reply(outbound::pong(&echo, &self.id, Timestamp::now()));
            }
            // The key stays here; the hub gets what it permits.
            Ok(client::Inbound::Connect { key }) => {
                let checked =
                    self.authenticator.check(key.as_deref(), self.from, KeySource::Client);
                self.had_key |= checked.is_ok();
                channels::ChannelMessage::Connect(checked)
            }
            Ok(client::Inbound::Request(request)) => channels::ChannelMessage::Request(request),
            // The hub answers, so that the answer comes after its earlier ones.
            Err(Unreadable) => {
                self.unreadable += 1;
                let is_last = self.unreadable >= MAX_UNREADABLE;
                return Reaction::Event(Event::ChannelMessage {
                    conn,
                    said: channels::ChannelMessage::Unreadable { is_last },
                });
            }
        };
        self.unreadable = 0;
        Reaction::Event(Event::ChannelMessage { conn, said })
    }
}

impl ConnectionHandler for ChannelHandler {
    fn join(&self, conn: ConnId) -> Option<Event> {
        Some(Event::ConnectClient { conn, client: self.id.clone(), debug: self.debug })
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
        (!self.had_key).then_some(MAX_BYTES_BEFORE_KEY)
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
