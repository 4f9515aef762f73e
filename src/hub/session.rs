//! One session: who is in it, who is host, and how a newcomer is recognised.

use std::sync::Arc;
use std::time::Duration;

use super::document::Document;
use super::history::History;
use super::item::Item;
use super::settle::{Settling, settled_update};
use super::timers::Timer;
use super::{ConnId, Effect, Turn};
use crate::protocol::inbound::{Action, Command, Since};
use crate::protocol::json::{self, Fields};
use crate::protocol::outbound::{Message, write_key};
use crate::protocol::{Frame, Timestamp, UserId, close};

/// How long a newcomer has to prove itself a host.
const ARRIVAL: Duration = Duration::from_secs(2);
/// How long something that was sent may still be on its way to a client, so that what the client
/// says meanwhile was said without knowing of it.
pub const IN_FLIGHT: Duration = Duration::from_secs(2);

/// A session. Its members stand in the order they joined; the first of them is the host.
#[derive(Debug)]
pub struct Session {
    pub name: Arc<str>,
    pub epoch: String,
    pub members: Vec<Member>,
    pub document: Document,
    pub history: History,
    pub settling: Settling,
    /// The document as it was sent last, and as of which change.
    encoded: Option<(u64, Arc<[Frame]>)>,
    /// When the last member left; `None` while there is one.
    empty_since: Option<Duration>,
}

/// A user of a session, on the connection it has now.
#[derive(Debug)]
pub struct Member {
    pub conn: ConnId,
    pub user: UserId,
    connected_at: Timestamp,
    /// The payload of the Ping it was sent on arrival.
    token: [u8; 8],
    pub arrival: Arrival,
    /// How many states it was sent on this connection. Each replaced its canvas.
    pub states_sent: u64,
    /// When the last of them was sent, and whether something it said shows that it was received.
    state_sent_at: Duration,
    state_is_received: bool,
    states_before_ping: u64,
    joined_at: Duration,
    /// Until then a correction may be on its way to it that undoes what it has just done.
    pub corrected_until: Duration,
    /// Until then an item may be on its way to it as it had it itself a moment ago.
    pub settled_until: Duration,
    /// Whether it has already answered its own `user:joined` with its canvas.
    pub has_shown_canvas: bool,
}

/// What is known of a member's role. Only the editor knows it, but a host answers its own
/// `user:joined` with its canvas before it answers the Ping that was sent after it.
#[derive(Debug)]
pub enum Arrival {
    Unknown {
        /// Nobody else was there: requests wait, because an empty answer would wipe a host's canvas.
        alone: bool,
        /// Alone in a session that had a document before: a host may have begun a new design.
        returns: bool,
        waiting: Option<Request>,
    },
    Client,
    Host {
        /// Its canvas is what the server knows it to be, so that its first request needs no state.
        canvas_is_known: bool,
    },
}

/// A `sync:request`.
#[derive(Debug)]
pub struct Request {
    pub since: Option<Since>,
}

impl Member {
    /// Whether a state may be on its way to it that wipes what it has just done.
    pub fn may_be_wiped(&self, now: Duration) -> bool {
        self.states_sent > 0 && !self.state_is_received && now < self.state_sent_at + IN_FLIGHT
    }

    /// Whether what it was sent lately may cross what it says now.
    pub fn may_be_crossed(&mut self, now: Duration) -> bool {
        // A client sends no whole canvas before it has its first state.
        self.state_is_received |= !self.could_speak_before_its_state();
        self.may_be_wiped(now) || now < self.corrected_until.max(self.settled_until)
    }

    fn could_speak_before_its_state(&self) -> bool {
        self.states_sent > 1 || matches!(self.arrival, Arrival::Host { .. })
    }

    /// Draws conclusions from a command about an item that the document has as `known`.
    fn speaks_of(&mut self, action: Action, known: Option<&Item>) {
        let could_add = self.could_speak_before_its_state();
        self.state_is_received |= match known {
            // Added by somebody else after the state, or so early that only a state told of it.
            Some(item) if item.added_at() > self.state_sent_at => {
                *item.added_by() != self.user && !item.came_back
            }
            Some(item) => !could_add && item.added_at() < self.joined_at,
            // A client adds nothing before it has its first state.
            None => !could_add && action == Action::Add,
        };
    }
}

impl Session {
    pub fn new(name: Arc<str>, epoch: String) -> Self {
        Session {
            name,
            epoch,
            members: Vec::new(),
            document: Document::default(),
            history: History::default(),
            settling: Settling::default(),
            encoded: None,
            empty_since: None,
        }
    }

    /// Makes a connection a member. Returns the connection it replaces, if its user was present.
    pub fn join(
        &mut self,
        conn: ConnId,
        user: UserId,
        token: [u8; 8],
        turn: &mut Turn<'_>,
    ) -> Option<ConnId> {
        let present = self.members.iter().position(|member| member.user == user);
        let alone = self.members.len() == usize::from(present.is_some());
        let returns = self.members.is_empty() && self.document.exists();
        self.empty_since = None;
        let connected_at = present.map_or(turn.now.wall, |place| self.members[place].connected_at);
        let member = Member {
            conn,
            user: user.clone(),
            connected_at,
            token,
            arrival: Arrival::Unknown { alone, returns, waiting: None },
            states_sent: 0,
            state_sent_at: Duration::ZERO,
            state_is_received: false,
            states_before_ping: 0,
            joined_at: turn.elapsed(),
            corrected_until: Duration::ZERO,
            settled_until: Duration::ZERO,
            has_shown_canvas: false,
        };
        let (place, replaced) = match present {
            Some(place) => {
                let old = std::mem::replace(&mut self.members[place], member).conn;
                let reason = "replaced by a newer connection";
                turn.effects.push(Effect::Close { conn: old, code: close::POLICY, reason });
                (place, Some(old))
            }
            None => {
                self.members.push(member);
                (self.members.len() - 1, None)
            }
        };
        turn.effects.push(Effect::Admit { conn });
        turn.send(conn, &self.acknowledgement(place, turn.now.wall));
        let joined = about_user("user:joined", &user, turn.now.wall);
        match replaced {
            Some(_) => turn.send(conn, &joined),
            None => self.broadcast(&joined, turn),
        }
        if !alone && self.document.exists() {
            self.send_state(&[place], turn);
        }
        self.members[place].states_before_ping = self.members[place].states_sent;
        turn.send(conn, &Frame::ping(&token));
        turn.timers.set(turn.elapsed() + ARRIVAL, &self.name, Timer::Arrival(conn));
        replaced
    }

    /// Ends a membership.
    pub fn leave(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(place) = self.place(conn) else { return };
        let member = self.members.remove(place);
        self.broadcast(&about_user("user:left", &member.user, turn.now.wall), turn);
        match self.members.first() {
            Some(host) if place == 0 => {
                let host = about_user("host:changed", &host.user, turn.now.wall);
                self.broadcast(&host, turn);
            }
            Some(_) => {}
            None => {
                self.encoded = None;
                self.empty_since = Some(turn.elapsed());
                let until = turn.elapsed() + turn.limits.linger;
                turn.timers.set(until, &self.name, Timer::Linger);
            }
        }
    }

    /// Whether the session has been without members for as long as it is kept.
    pub fn has_lingered(&self, now: Duration, linger: Duration) -> bool {
        self.empty_since.is_some_and(|since| now >= since + linger)
    }

    /// Whether nobody is there and no work would be lost with it.
    pub fn is_idle_and_empty(&self) -> bool {
        self.members.is_empty() && self.document.is_empty()
    }

    /// A member answered a protocol Ping: if it was ours and its canvas hasn't come before it, the
    /// member is no host.
    pub fn pong(&mut self, conn: ConnId, payload: &[u8], turn: &mut Turn<'_>) {
        let Some(place) = self.place(conn) else { return };
        let member = &mut self.members[place];
        if member.token == payload {
            // A state it was sent on arrival came before the Ping; later ones didn't.
            member.state_is_received |= member.states_sent == member.states_before_ping;
            self.arrival_timed_out(conn, turn);
        }
    }

    /// A newcomer has had its time.
    pub fn arrival_timed_out(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(place) = self.place(conn) else { return };
        if matches!(self.members[place].arrival, Arrival::Unknown { .. }) {
            self.recognise_client(place, turn);
        }
    }

    /// Takes over what a client's state carries beside its items.
    pub fn set_extra(&mut self, extra: &Fields) {
        if !extra.is_empty() {
            self.encoded = None;
            self.document.set_extra(extra);
        }
    }

    /// Answers a `sync:request`, or lets it wait until the newcomer is recognised.
    pub fn request(&mut self, place: usize, request: Request, turn: &mut Turn<'_>) {
        match &mut self.members[place].arrival {
            Arrival::Unknown { alone: true, waiting, .. } => *waiting = Some(request),
            Arrival::Host { canvas_is_known } if *canvas_is_known && request.since.is_none() => {
                *canvas_is_known = false;
                self.send_null_state(place, turn);
            }
            _ => self.answer(place, &request, turn),
        }
    }

    /// Sends the document to these members, each item followed up by its whole data.
    pub fn send_state(&mut self, places: &[usize], turn: &mut Turn<'_>) {
        let frames = self.state_frames(turn);
        for &place in places {
            let member = &mut self.members[place];
            member.states_sent += 1;
            member.state_sent_at = turn.elapsed();
            member.state_is_received = false;
            frames.iter().for_each(|frame| turn.send(member.conn, frame));
        }
    }

    /// `sync:state` and what follows it, encoded once for all who ask before the next change.
    fn state_frames(&mut self, turn: &Turn<'_>) -> Arc<[Frame]> {
        let seq = self.history.seq();
        if let Some((_, frames)) = self.encoded.as_ref().filter(|(as_of, _)| *as_of == seq) {
            return frames.clone();
        }
        let state = self.state_frame(seq, turn.now.wall);
        let items = self.document.items().filter(|_| turn.limits.settle);
        let items = items.map(|item| settled_update(item, turn.now.wall));
        let frames: Arc<[Frame]> = std::iter::once(state).chain(items).collect();
        self.encoded = Some((seq, frames.clone()));
        frames
    }

    /// Answers a request without touching the receiver's canvas.
    pub fn send_null_state(&self, place: usize, turn: &mut Turn<'_>) {
        let state = self.state_message(self.history.seq(), turn.now.wall, |json| {
            json.extend_from_slice(b"null");
        });
        turn.send(self.members[place].conn, &state);
    }

    /// Sends the document to all members but one connection.
    pub fn send_state_to_others(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        if self.document.exists() {
            let others = self.places_but(|member| member.conn == conn);
            self.send_state(&others, turn);
        }
    }

    /// Sends a frame to every member.
    pub fn broadcast(&self, frame: &Frame, turn: &mut Turn<'_>) {
        self.members.iter().for_each(|member| turn.send(member.conn, frame));
    }

    /// Sends a frame to every member but one connection.
    pub fn send_to_others(&self, conn: ConnId, frame: &Frame, turn: &mut Turn<'_>) {
        let others = self.members.iter().filter(|member| member.conn != conn);
        others.for_each(|member| turn.send(member.conn, frame));
    }

    /// Where a connection's member stands.
    pub fn place(&self, conn: ConnId) -> Option<usize> {
        self.members.iter().position(|member| member.conn == conn)
    }

    /// Draws conclusions from a command, before it is applied, about what its sender has received.
    pub fn note_what_is_known(&mut self, place: usize, command: &Command) {
        let known = self.document.get(&command.item_id);
        self.members[place].speaks_of(command.action, known);
    }

    /// The members for whom `left_out` doesn't hold.
    pub fn places_but(&self, left_out: impl Fn(&Member) -> bool) -> Vec<usize> {
        (0..self.members.len()).filter(|&place| !left_out(&self.members[place])).collect()
    }

    fn recognise_client(&mut self, place: usize, turn: &mut Turn<'_>) {
        let arrival = std::mem::replace(&mut self.members[place].arrival, Arrival::Client);
        if let Arrival::Unknown { waiting: Some(request), .. } = arrival {
            self.answer(place, &request, turn);
        }
    }

    fn answer(&mut self, place: usize, request: &Request, turn: &mut Turn<'_>) {
        let since = request.since.as_ref().filter(|since| since.epoch == self.epoch);
        let Some(missed) = since.and_then(|since| self.history.after(since.seq)) else {
            self.send_state(&[place], turn);
            return;
        };
        let conn = self.members[place].conn;
        missed.for_each(|frame| turn.send(conn, frame));
        let done = Message::new("sync:done")
            .string("epoch", &self.epoch)
            .number("seq", self.history.seq())
            .timestamp(turn.now.wall);
        turn.send(conn, &done.finish());
    }

    fn acknowledgement(&self, place: usize, now: Timestamp) -> Frame {
        let server = format!(r#"{{"name":"collabd","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
        Message::new("connection:ack")
            .string("session_id", &self.name)
            .string("user_id", &self.members[place].user)
            .flag("is_host", place == 0)
            .written("users", |json| {
                json.push(b'[');
                for (place, member) in self.members.iter().enumerate() {
                    json.extend_from_slice(if place > 0 { b",{" } else { b"{" });
                    write_key(json, "user_id");
                    json.extend_from_slice(json::string(&member.user).get().as_bytes());
                    let since = member.connected_at;
                    let rest = format!(r#","connected_at":"{since}","is_host":{}}}"#, place == 0);
                    json.extend_from_slice(rest.as_bytes());
                }
                json.push(b']');
            })
            .string("epoch", &self.epoch)
            .number("seq", self.history.seq())
            .raw("server", &server)
            .timestamp(now)
            .finish()
    }

    /// `sync:state` with the document as of change `seq`.
    pub fn state_frame(&self, seq: u64, now: Timestamp) -> Frame {
        self.state_message(seq, now, |json| self.document.write_state(json, now))
    }

    fn state_message(&self, seq: u64, now: Timestamp, state: impl FnOnce(&mut Vec<u8>)) -> Frame {
        Message::new("sync:state")
            .written("state", state)
            .flag("from_server", true)
            .string("conflict_resolution", "host_wins")
            .string("epoch", &self.epoch)
            .number("seq", seq)
            .timestamp(now)
            .finish()
    }
}

fn about_user(kind: &str, user: &UserId, now: Timestamp) -> Frame {
    Message::new(kind).string("user_id", user).timestamp(now).finish()
}
