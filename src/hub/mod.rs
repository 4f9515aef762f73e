//! All state of sessions and channels: an [`Event`] and the time go in, [`Effect`]s come out.
//!
//! | file | what it owns |
//! |---|---|
//! | `event` | everything that goes in and comes out |
//! | `context` | what the handlers of one event share |
//! | `sessions` | which sessions exist, are being loaded or may be evicted |
//! | `session` | one session: its document, members, host, history and viewers |
//! | `document`, `item`, `field` | what is on a canvas, and who wrote it |
//! | `clients`, `channels` | the client protocol: connections, channels, threads |
//! | `room` | a name and its members: what a session and a channel share |
//! | `keeping`, `past`, `stored` | what the store is given, and a session made from what it gives back |
//! | `pass` | what a connection's key permits |
//! | `timers` | deadlines, as data |
//!
//! A connection is in one session at most; a client may be in many channels. A session outlives its
//! members for [`Limits::linger`]; a channel without members has nothing but the counts of its threads.
//! Viewers are sent the same frames as members; they are not listed and can't change anything.
//!
//! With [`Limits::durable`] the hub gives each change to the store ([`Effect::Keep`]) and loads a session
//! when it is needed ([`Effect::Load`]); memory then holds the sessions that are in use.
//!
//! There is no socket, file or clock in this module. One thread calls [`Hub::handle`]. Tests call it with
//! a clock of their own and run hours of a session in milliseconds.

mod author;
mod bounds;
pub mod channels;
mod clients;
mod confirm;
mod conn;
mod context;
mod decide;
mod document;
mod edit;
mod event;
mod field;
mod footprint;
mod held;
mod history;
mod incoming;
mod item;
mod item_frames;
mod keeping;
mod listing;
mod loading;
mod member;
mod merge;
mod message_name;
mod notes;
mod old_values;
mod pass;
mod past;
mod past_value;
mod publish;
mod recent;
mod relay;
mod removed;
mod replace;
mod roles;
mod room;
mod session;
mod sessions;
mod settle;
mod snapshot;
mod stored;
mod threads;
mod time;
mod timers;
mod told;
mod versions;
mod viewers;
mod writing;

use std::sync::Arc;
use std::time::Duration;

pub use bounds::{Bounds as DocumentBounds, TooBig};
pub use conn::{ConnId, ConnMap, NumberHasher};
pub use document::Document;
pub use event::{Effect, Event, Limits, Refusal, Said};
pub use footprint::{ChannelsFootprint, Footprint, Holdings, SessionFootprint};
pub use history::Bounds as HistoryBounds;
pub use loading::NotLoaded;
pub use past::{Past, replay};
pub use stored::Damaged;
pub use time::Now;

use crate::auth::KeySet;
use clients::Clients;
use context::Turn;
use member::Request;
use pass::KeyIndex;
use sessions::Sessions;
use timers::{Timer, Timers};

/// How many timers one [`Event::Tick`] fires at most. A canvas moved as a whole has one per item; the rest
/// fires with the next tick, after the events that arrived meanwhile.
const TIMERS_AT_ONCE: usize = 200;

/// The state of every session and every channel. One thread owns it.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    /// The newest set of keys that an [`Event::Keys`] brought.
    keys: Arc<KeySet>,
    sessions: Sessions,
    clients: Clients,
    timers: Timers,
    /// The store can't write, by the last [`Event::Durable`].
    disk_fails: bool,
}

impl Hub {
    /// A hub without sessions. Epochs and ping tokens follow from `seed`: random in the server, fixed in a
    /// test.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Hub {
            limits,
            keys: Arc::default(),
            sessions: Sessions::new(seed),
            clients: Clients::default(),
            timers: Timers::default(),
            disk_fails: false,
        }
    }

    /// Adds the names of the sessions that are stored, at the server's start.
    pub fn with_stored(mut self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.sessions.add_stored(names);
        self
    }

    /// Handles one event and appends the effects to `effects`, in the order in which they are to be done.
    ///
    /// `now` must not go back between calls. Events of connections that the hub doesn't know, or doesn't
    /// know any more, have no effect.
    #[inline(never)] // a name in thread dumps
    pub fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        let was_failing = self.disk_fails;
        self.note_keys_and_disk(&event);
        let Hub { limits, keys, sessions, clients, timers, disk_fails } = self;
        let disk_fails = *disk_fails;
        let turn = &mut Turn { now, limits, keys, effects, timers, disk_fails, left: 0 };
        match event {
            Event::Join { conn, session, user, grant } => {
                sessions.join(conn, session, user, grant, false, turn);
            }
            Event::JoinForNow { conn, session, user, grant } => {
                sessions.join(conn, session, user, grant, true, turn);
            }
            Event::View { conn, session, grant } => sessions.view(conn, session, grant, turn),
            Event::Look { conn, since } => sessions.request_state(conn, &Request { since }, turn),
            Event::Message { conn, message } => {
                sessions.with_session_of(conn, turn, |session, turn| {
                    session.message(conn, message, turn);
                });
            }
            Event::Pong { conn, payload } => {
                sessions.with_session_of(conn, turn, |session, turn| {
                    session.pong(conn, &payload, turn);
                });
            }
            Event::Enter { conn, client, debug } => clients.connected(conn, client, debug, turn),
            Event::Said { conn, said } => clients.message(conn, said, turn),
            Event::Threads { conn, channel, grant } => {
                let body = clients.threads(channel.as_deref(), grant, turn);
                turn.effects.push(Effect::Answer { conn, body });
            }
            Event::Sessions { conn, grant } => sessions.list(conn, grant, turn),
            Event::Details { conn, session, grant } => {
                sessions.describe(conn, &session, grant, turn);
            }
            Event::State { conn, session, grant } => sessions.state(conn, &session, grant, turn),
            Event::Versions { conn, session, grant } => {
                sessions.versions(conn, &session, grant, turn);
            }
            Event::Version { conn, session, at, grant } => {
                sessions.version(conn, &session, at, grant, turn);
            }
            Event::Gone { conn } => {
                clients.disconnected(conn);
                sessions.disconnected(conn, turn);
            }
            Event::Failed { conn } if clients.has(conn) => clients.failed(conn, turn),
            Event::Failed { conn } => sessions.failed(conn, turn),
            Event::Keys(_) => renew_access(clients, sessions, turn),
            Event::Loaded { session, past } => sessions.loaded(&session, past, turn),
            Event::Durable(_) if turn.disk_fails != was_failing => sessions.disk_changed(turn),
            Event::Durable(_) => {}
            Event::Wanted { session } => sessions.snapshot_requested(&session, turn),
            Event::Restore { conn, session, state, by } => {
                sessions.restore(conn, session, state, by, turn);
            }
            Event::Import { conn, session, state, by } => {
                sessions.import(conn, session, state, by, turn);
            }
            Event::Delete { conn, session } => sessions.delete(conn, session, turn),
            Event::Tick => run_timers(clients, sessions, turn),
        }
        sessions.free_memory(turn);
    }

    /// Takes over what an event says about the keys in force and about the disk.
    fn note_keys_and_disk(&mut self, event: &Event) {
        match event {
            Event::Keys(keys) if keys.generation >= self.keys.generation => {
                self.keys = keys.clone();
            }
            Event::Durable(works) => self.disk_fails = self.limits.durable && !works,
            _ => {}
        }
    }

    /// When the next [`Event::Tick`] is due, since the hub's start; `None` while no timer is set.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// How many sessions, members and channels there are, from counters: takes constant time.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            sessions: self.sessions.len(),
            members: self.sessions.members(),
            channels: self.clients.channels().len(),
            documents_memory: self.sessions.memory(),
            most_documents_memory: self.limits.documents_memory,
        }
    }

    /// The document of a session in memory, for tests.
    pub fn document(&self, session: &str) -> Option<&Document> {
        Some(&self.sessions.get(session)?.document)
    }
}

fn renew_access(clients: &mut Clients, sessions: &mut Sessions, turn: &mut Turn<'_>) {
    let keys = KeyIndex::new(turn.keys);
    clients.renew_passes(&keys, turn);
    sessions.renew_passes(&keys, turn);
}

fn run_timers(clients: &mut Clients, sessions: &mut Sessions, turn: &mut Turn<'_>) {
    for _ in 0..TIMERS_AT_ONCE {
        let Some(timer) = turn.timers.pop_due(turn.now.elapsed) else { break };
        match timer {
            Timer::Session(name, timer) => sessions.timer_fired(&name, timer, turn),
            Timer::Client(conn, timer) => clients.timer_fired(conn, timer, turn),
        }
    }
}
