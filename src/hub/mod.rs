//! All session state, as a pure machine: an [`Event`] and the time go in, [`Effect`]s come out.
//!
//! Nothing here knows a socket, a file or a clock. One thread calls [`Hub::handle`]; tests call it
//! too and run hours of a session in milliseconds.

mod document;
mod exchange;
mod history;
mod item;
mod session;
mod settle;
mod snapshot;
mod timers;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

pub use document::{Bounds as DocumentBounds, Document};
pub use history::Bounds as HistoryBounds;

use crate::keys::{Grant, KeySet};
use crate::protocol::inbound::ClientMessage;
use crate::protocol::{Frame, Timestamp, UserId, close, outbound};
use session::Session;
use timers::{Timer, Timers};

/// One connection, from its handshake to its end. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A map by connection. Their numbers are given by us, one after the other, so that hashing them
/// needs no defence against chosen keys, and a fan-out looks up every receiver.
pub type ConnMap<T> = HashMap<ConnId, T, BuildHasherDefault<NumberHasher>>;

/// Spreads one number over the hash with a multiplication.
#[derive(Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// The time as the hub is told it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since the hub's start; never goes back.
    pub elapsed: Duration,
    /// The system's clock, for what clients are shown.
    pub wall: Timestamp,
}

/// What happens to the hub.
#[derive(Debug)]
pub enum Event {
    /// A connection asks to be a member of a session. Answered with [`Effect::Admit`] or
    /// [`Effect::Refuse`]. `grant` is what its key permits, where keys are asked for.
    Join { conn: ConnId, session: Arc<str>, user: UserId, grant: Option<Grant> },
    /// A member said something.
    Message { conn: ConnId, message: ClientMessage },
    /// A member answered a protocol Ping with this payload.
    Pong { conn: ConnId, payload: Vec<u8> },
    /// A connection has ended.
    Gone { conn: ConnId },
    /// Handling an event of this connection failed half-way: it ends, and whoever shares its
    /// session is told the whole state, because nobody knows which effects were lost.
    Failed { conn: ConnId },
    /// Another set of keys is in force.
    Keys(Arc<KeySet>),
    /// The moment of [`Hub::next_deadline`] has come.
    Tick,
}

/// What the hub wants done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// The connection is a member now; what is sent to it follows.
    Admit { conn: ConnId },
    /// The connection can't become a member: there are too many sessions.
    Refuse { conn: ConnId },
    /// Queue a frame. With `supersedes`, an older frame with the same key that is still queued for
    /// this receiver may be replaced by it.
    Send { conn: ConnId, frame: Frame, supersedes: Option<ConnId> },
    /// Tell a sender that its change was taken. A store that makes changes durable holds this back
    /// until they are.
    Confirm { conn: ConnId, frame: Frame },
    /// Answer a question that came without a WebSocket, with a page of JSON.
    Answer { conn: ConnId, body: Vec<u8> },
    /// Close the connection; the hub has forgotten it already.
    Close { conn: ConnId, code: u16, reason: &'static str },
}

/// What the hub keeps to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a session without members is kept.
    pub linger: Duration,
    /// How many sessions there may be, lingering ones included; 0 for any number.
    pub max_sessions: usize,
    pub document: DocumentBounds,
    pub history: HistoryBounds,
    /// Whether items are settled (docs/PROTOCOL.md, "Settling").
    pub settle: bool,
}

/// What a session's code works with while it handles one event.
struct Turn<'a> {
    now: Now,
    limits: &'a Limits,
    effects: &'a mut Vec<Effect>,
    timers: &'a mut Timers,
}

impl Turn<'_> {
    fn send(&mut self, conn: ConnId, frame: &Frame) {
        self.effects.push(Effect::Send { conn, frame: frame.clone(), supersedes: None });
    }

    fn elapsed(&self) -> Duration {
        self.now.elapsed
    }
}

/// The state of every session. Owned by one thread; see the module's text.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    sessions: HashMap<Arc<str>, Session>,
    /// Which session a member is in.
    members: ConnMap<Arc<str>>,
    timers: Timers,
    random: Random,
}

impl Hub {
    /// A hub without sessions. `seed` makes the epochs: random in the server, fixed in a test.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Hub {
            limits,
            sessions: HashMap::new(),
            members: ConnMap::default(),
            timers: Timers::default(),
            random: Random(seed),
        }
    }

    /// Handles one event and appends what is to be done about it.
    ///
    /// `now` must not go back between calls. Events of connections that are no members (any more)
    /// have no effect.
    #[inline(never)] // a name in thread dumps
    pub fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        match event {
            Event::Join { conn, session, user, grant: _ } => {
                self.join(conn, session, user, now, effects);
            }
            Event::Keys(_) => {}
            Event::Message { conn, message } => {
                self.in_session_of(conn, now, effects, |session, turn| {
                    session.message(conn, message, turn);
                });
            }
            Event::Pong { conn, payload } => {
                self.in_session_of(conn, now, effects, |session, turn| {
                    session.pong(conn, &payload, turn);
                });
            }
            Event::Gone { conn } => self.gone(conn, now, effects),
            Event::Failed { conn } => {
                effects.push(Effect::Send {
                    conn,
                    frame: outbound::server_error(),
                    supersedes: None,
                });
                let reason = "internal server error";
                effects.push(Effect::Close { conn, code: close::INTERNAL_ERROR, reason });
                self.in_session_of(conn, now, effects, |session, turn| {
                    session.send_state_to_others(conn, turn);
                });
                self.gone(conn, now, effects);
            }
            Event::Tick => self.tick(now, effects),
        }
    }

    /// When the hub wants its next [`Event::Tick`], since its start.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The document of a session, for tests and for whoever stores it.
    pub fn document(&self, session: &str) -> Option<&Document> {
        Some(&self.sessions.get(session)?.document)
    }

    fn join(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        user: UserId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.forget_if_lingered(&name, now);
        let full = self.limits.max_sessions > 0 && self.sessions.len() >= self.limits.max_sessions;
        if full && !self.sessions.contains_key(&name) && !self.forget_an_empty_session() {
            effects.push(Effect::Refuse { conn });
            return;
        }
        let random = &mut self.random;
        let session = self
            .sessions
            .entry(name.clone())
            .or_insert_with(|| Session::new(name.clone(), format!("{:016x}", random.next())));
        let token = self.random.next().to_be_bytes();
        let mut turn = Turn { now, limits: &self.limits, effects, timers: &mut self.timers };
        let replaced = session.join(conn, user, token, &mut turn);
        if let Some(replaced) = replaced {
            self.members.remove(&replaced);
        }
        self.members.insert(conn, name);
    }

    fn gone(&mut self, conn: ConnId, now: Now, effects: &mut Vec<Effect>) {
        self.in_session_of(conn, now, effects, |session, turn| session.leave(conn, turn));
        if let Some(name) = self.members.remove(&conn) {
            self.forget_if_lingered(&name, now);
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((name, timer)) = self.timers.pop_due(now.elapsed) {
            match timer {
                Timer::Linger => self.forget_if_lingered(&name, now),
                Timer::Arrival(conn) => self.in_session(&name, now, effects, |session, turn| {
                    session.arrival_timed_out(conn, turn);
                }),
                Timer::Settle(item) => self.in_session(&name, now, effects, |session, turn| {
                    session.settle_due(&item, turn);
                }),
            }
        }
    }

    /// Removes a session that has been without members for as long as it is kept.
    fn forget_if_lingered(&mut self, name: &str, now: Now) {
        let session = self.sessions.get(name);
        if session.is_some_and(|session| session.has_lingered(now.elapsed, self.limits.linger)) {
            self.sessions.remove(name);
        }
    }

    /// Makes room for a new session where one that lingers holds no work.
    fn forget_an_empty_session(&mut self) -> bool {
        let idle = self.sessions.values().find(|session| session.is_idle_and_empty());
        match idle.map(|session| session.name.clone()) {
            Some(name) => self.sessions.remove(&name).is_some(),
            None => false,
        }
    }

    fn in_session_of(
        &mut self,
        conn: ConnId,
        now: Now,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut Session, &mut Turn<'_>),
    ) {
        if let Some(name) = self.members.get(&conn).cloned() {
            self.in_session(&name, now, effects, act);
        }
    }

    fn in_session(
        &mut self,
        name: &str,
        now: Now,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut Session, &mut Turn<'_>),
    ) {
        if let Some(session) = self.sessions.get_mut(name) {
            let mut turn = Turn { now, limits: &self.limits, effects, timers: &mut self.timers };
            act(session, &mut turn);
        }
    }
}

/// SplitMix64: names for epochs and ping tokens that don't repeat; not for secrets.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
