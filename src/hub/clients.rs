//! The connections of the client protocol.
//!
//! A connection is [`Established`] when it is opened and [`Authenticated`] after a `connect` with a valid
//! key. Joining, leaving and sending are methods of [`Authenticated`] alone, so the compiler checks that a
//! key was shown.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::access::{Access, KeyIndex};
use super::channels::Channels;
use super::event::ChannelMessage;
use super::timers::{ClientTimer, Timer};
use super::{ConnId, ConnMap, Context, Effect};
use crate::auth::{Grant, KeyRefusal};
use crate::protocol::client::refusal::{
    AUTH_TIMEOUT, CHANNELS_FULL, INVALID_FORMAT, INVALID_KEY, NO_MEMBER, NOT_AUTHENTICATED,
    NOT_JOINED, NOT_OPENED, READ_ONLY, TOKEN_EXPIRED, TOO_MANY_ATTEMPTS, TOO_MANY_JOINED,
};
use crate::protocol::client::{ClientError, Publication, Request, Subscription, outbound};
use crate::protocol::inbound::MessageId;
use crate::protocol::{UserId, close};

/// How long a connection has to authenticate. Then it is closed.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(10);
/// How many channels one connection may join.
pub const MAX_JOINED_CHANNELS: usize = 1000;

/// All open connections of the client protocol, and their channels.
#[derive(Debug, Default)]
pub struct Clients {
    connections: ConnMap<Stage>,
    channels: Channels,
}

/// The state of an open connection.
#[derive(Debug)]
enum Stage {
    Established(Established),
    Authenticated(Authenticated),
}

/// A connection that has to show a key next.
#[derive(Debug, Clone)]
struct Established {
    conn: ConnId,
    client: UserId,
    /// It was opened at the debug endpoint.
    debug: bool,
}

/// A connection that has shown a valid key.
#[derive(Debug)]
struct Authenticated {
    who: Established,
    access: Access,
    joined: BTreeSet<Arc<str>>,
}

impl Clients {
    /// Admits a new connection.
    pub fn connected(&mut self, conn: ConnId, client: UserId, debug: bool, cx: &mut Context<'_>) {
        cx.effects.push(Effect::Admit { conn });
        cx.send(conn, &outbound::established(&client, cx.now.wall));
        let until = cx.elapsed() + AUTHENTICATION_TIMEOUT;
        cx.timers.set(until, Timer::Client(conn, ClientTimer::Authentication));
        let entered = Established { conn, client, debug };
        self.connections.insert(conn, Stage::Established(entered));
    }

    /// The number of open connections.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// The number of memberships of all connections.
    pub fn joined(&self) -> usize {
        let joined = self.connections.values().map(|stage| match stage {
            Stage::Established(_) => 0,
            Stage::Authenticated(client) => client.joined.len(),
        });
        joined.sum()
    }

    /// The channels.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Whether this is an open connection of the client protocol.
    pub fn has(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// Handles a message.
    pub fn message(&mut self, conn: ConnId, said: ChannelMessage, cx: &mut Context<'_>) {
        let Some(stage) = self.connections.get_mut(&conn) else { return };
        match (said, stage) {
            (ChannelMessage::Connect(key), _) => self.connect(conn, key, cx),
            (ChannelMessage::Unreadable { is_last: true }, _) => {
                let reason = "invalid message format";
                self.close(conn, INVALID_FORMAT, close::INVALID_FORMAT, reason, cx);
            }
            (ChannelMessage::Unreadable { is_last: false }, stage) => {
                let client = &stage.established().client;
                cx.send(conn, &outbound::error(INVALID_FORMAT, None, client, cx.now.wall));
            }
            (ChannelMessage::Request(request), Stage::Authenticated(client)) => {
                client.request(request, &mut self.channels, cx);
            }
            (ChannelMessage::Request(_), Stage::Established(_)) => {
                self.close(conn, NOT_AUTHENTICATED, close::VIOLATION, "not authenticated", cx);
            }
        }
    }

    /// Handles a `connect`. A connection may send more than one; the newest valid key counts.
    fn connect(&mut self, conn: ConnId, key: Result<Grant, KeyRefusal>, cx: &mut Context<'_>) {
        let access = key.and_then(|grant| Access::new(grant, cx.keys, cx.now.wall));
        let access = match access {
            Ok(access) => access,
            Err(why) => return self.reject_key(conn, why, cx),
        };
        let Some(stage) = self.connections.get_mut(&conn) else { return };
        let now = cx.now.wall;
        cx.send(conn, &outbound::connect_success(&stage.established().client, now));
        cx.send(conn, &outbound::connect_delivered(&stage.established().client, now));
        match stage {
            Stage::Established(who) => {
                let mut client = who.authenticate(access);
                client.set_expiry_timer(cx);
                *stage = Stage::Authenticated(client);
            }
            Stage::Authenticated(client) => {
                client.access.replace(access);
                client.apply_changed_access(&mut self.channels, cx);
            }
        }
    }

    /// Applies a new set of keys: leaves channels that a key doesn't open any more, closes connections whose
    /// key is gone.
    pub fn renew_access(&mut self, keys: &KeyIndex<'_>, cx: &mut Context<'_>) {
        let mut refused = Vec::new();
        for (conn, stage) in &mut self.connections {
            let Stage::Authenticated(client) = stage else { continue };
            match client.access.renew(keys, cx.now.wall) {
                Ok(()) => client.apply_changed_access(&mut self.channels, cx),
                Err(why) => refused.push((*conn, why)),
            }
        }
        for (conn, why) in refused {
            self.close_unauthorized(conn, why, cx);
        }
    }

    /// Handles a timer of a connection.
    pub fn timer_fired(&mut self, conn: ConnId, timer: ClientTimer, cx: &mut Context<'_>) {
        match (timer, self.connections.get_mut(&conn)) {
            (ClientTimer::Authentication, Some(Stage::Established(_))) => {
                let reason = "authentication timed out";
                self.close(conn, AUTH_TIMEOUT, close::AUTHENTICATION, reason, cx);
            }
            (ClientTimer::Expiry, Some(Stage::Authenticated(client))) => {
                if !client.access.timer_fired(cx.elapsed()) {
                } else if client.access.has_expired(cx.now.wall) {
                    self.close_unauthorized(conn, KeyRefusal::Expired, cx);
                } else {
                    client.set_expiry_timer(cx);
                }
            }
            _ => {}
        }
    }

    /// Closes a connection whose event panicked.
    pub fn failed(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        let Some(who) = self.connections.get(&conn).map(Stage::established) else { return };
        cx.send(conn, &outbound::server_error(&who.client, cx.now.wall));
        let reason = "internal server error";
        cx.effects.push(Effect::Close { conn, code: close::INTERNAL_ERROR, reason });
        self.disconnected(conn);
    }

    /// Removes a connection from all its channels.
    pub fn disconnected(&mut self, conn: ConnId) {
        if let Some(Stage::Authenticated(client)) = self.connections.remove(&conn) {
            client.joined.iter().for_each(|name| self.channels.leave(name, conn));
        }
    }

    /// The threads of the channels that a key opens, as JSON; none for a key that is not valid any more.
    pub fn threads(&self, channel: Option<&str>, grant: Grant, cx: &Context<'_>) -> Vec<u8> {
        let now = cx.now.wall;
        match Access::new(grant, cx.keys, now) {
            Ok(access) => self.channels.threads(channel, access.rooms(), now),
            Err(_) => self.channels.threads(channel, Some(&[]), now),
        }
    }

    /// Refuses the key of a `connect` and closes the connection.
    fn reject_key(&mut self, conn: ConnId, why: KeyRefusal, cx: &mut Context<'_>) {
        let Some(who) = self.connections.get(&conn).map(Stage::established) else { return };
        let why = refusal(why);
        cx.send(conn, &outbound::error(why, None, &who.client, cx.now.wall));
        cx.send(conn, &outbound::disconnect(why.message, &who.client, cx.now.wall));
        let code = close::AUTHENTICATION;
        cx.effects.push(Effect::Close { conn, code, reason: why.message });
        self.disconnected(conn);
    }

    /// Closes a connection whose key is not valid any more.
    fn close_unauthorized(&mut self, conn: ConnId, why: KeyRefusal, cx: &mut Context<'_>) {
        let why = refusal(why);
        self.close(conn, why, close::AUTHENTICATION, why.message, cx);
    }

    fn close(
        &mut self,
        conn: ConnId,
        why: ClientError,
        code: u16,
        reason: &'static str,
        cx: &mut Context<'_>,
    ) {
        let Some(who) = self.connections.get(&conn).map(Stage::established) else { return };
        cx.send(conn, &outbound::error(why, None, &who.client, cx.now.wall));
        cx.effects.push(Effect::Close { conn, code, reason });
        self.disconnected(conn);
    }
}

impl Stage {
    fn established(&self) -> &Established {
        match self {
            Stage::Established(who) => who,
            Stage::Authenticated(client) => &client.who,
        }
    }
}

impl Established {
    /// The only constructor of [`Authenticated`].
    fn authenticate(&self, access: Access) -> Authenticated {
        Authenticated { who: self.clone(), access, joined: BTreeSet::new() }
    }
}

impl Authenticated {
    fn request(&mut self, request: Request, channels: &mut Channels, cx: &mut Context<'_>) {
        match request {
            Request::Join(subscription) => self.join(subscription, channels, cx),
            Request::Leave(subscription) => self.leave(subscription, channels, cx),
            Request::Publish(talk) => self.talk(talk, channels, cx),
            Request::Refused { why, id } => self.refuse(why, id, cx),
        }
    }

    fn join(&mut self, subscription: Subscription, channels: &mut Channels, cx: &mut Context<'_>) {
        let Subscription { channel, kind, id } = subscription;
        if !self.access.opens(&channel) {
            return self.refuse(NOT_OPENED, id, cx);
        }
        if !self.joined.contains(&channel) {
            if self.joined.len() >= MAX_JOINED_CHANNELS {
                return self.refuse(TOO_MANY_JOINED, id, cx);
            }
            let joined = channels.join(&channel, self.who.conn, cx.limits.max_channels);
            let Ok(own_name) = joined else { return self.refuse(CHANNELS_FULL, id, cx) };
            self.joined.insert(own_name);
        }
        let Established { conn, client, .. } = &self.who;
        cx.send(*conn, &outbound::join_delivered(kind, id.as_deref(), client, cx.now.wall));
        cx.send(*conn, &outbound::subscribed(&channel, client, cx.now.wall));
    }

    fn leave(&mut self, subscription: Subscription, channels: &mut Channels, cx: &mut Context<'_>) {
        let Subscription { channel, kind, id } = subscription;
        if !self.joined.remove(&channel) {
            return self.refuse(NOT_JOINED, id, cx);
        }
        let Established { conn, client, .. } = &self.who;
        channels.leave(&channel, *conn);
        cx.send(*conn, &outbound::leave_delivered(kind, id.as_deref(), client, cx.now.wall));
        cx.send(*conn, &outbound::unsubscribed(&channel, client, cx.now.wall));
    }

    fn talk(&mut self, talk: Publication, channels: &mut Channels, cx: &mut Context<'_>) {
        let Established { conn, client, debug } = &self.who;
        let (may_write, now) = (self.access.may_write(), cx.now.wall);
        if talk.channel.is_some() && !may_write && !talk.is_cursor() {
            return self.refuse(READ_ONLY, talk.id, cx);
        }
        let frame = outbound::relayed(&talk.body, client, now);
        match &talk.channel {
            Some(channel) if self.joined.contains(channel) => {
                channels.send(channel, &frame, cx);
                // Messages of read-only connections don't count.
                if let Some(thread) = talk.thread.as_deref().filter(|_| may_write) {
                    channels.count(channel, thread, client, now);
                }
            }
            Some(_) if !debug => return self.refuse(NO_MEMBER, talk.id, cx),
            _ => cx.send(*conn, &frame),
        }
        cx.send(*conn, &outbound::delivered(&talk.kind, talk.id.as_deref(), client, now));
    }

    fn refuse(&self, why: ClientError, id: Option<MessageId>, cx: &mut Context<'_>) {
        let Established { conn, client, .. } = &self.who;
        cx.send(*conn, &outbound::error(why, id.as_deref(), client, cx.now.wall));
    }

    /// Leaves the channels that its key doesn't open any more.
    fn apply_changed_access(&mut self, channels: &mut Channels, cx: &mut Context<'_>) {
        let Established { conn, client, .. } = &self.who;
        let access = &self.access;
        self.joined.retain(|channel| {
            let stays = access.opens(channel);
            if !stays {
                channels.leave(channel, *conn);
                cx.send(*conn, &outbound::revoked(channel, client, cx.now.wall));
            }
            stays
        });
        self.set_expiry_timer(cx);
    }

    /// Sets a timer for the next check of the key's expiry, unless an earlier one is set.
    fn set_expiry_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(at) = self.access.next_timer(cx.now) {
            cx.timers.set(at, Timer::Client(self.who.conn, ClientTimer::Expiry));
        }
    }
}

fn refusal(why: KeyRefusal) -> ClientError {
    match why {
        KeyRefusal::Invalid => INVALID_KEY,
        KeyRefusal::Expired => TOKEN_EXPIRED,
        KeyRefusal::TooMany => TOO_MANY_ATTEMPTS,
    }
}
