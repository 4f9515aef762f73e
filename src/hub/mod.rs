//! All state of sessions and channels: an [`Event`] and the time go in, [`Effect`]s come out.
//!
//! | file | what it owns |
//! |---|---|
//! | `event` | everything that goes in and comes out |
//! | `context` | what the handlers of one event share |
//! | `registry` | which sessions exist, are being loaded or may be evicted |
//! | `session` | one session: its document, members, host, history and viewers |
//! | `document`, `item`, `field` | what is on a canvas, and who wrote it |
//! | `clients`, `channels` | the client protocol: connections, channels, threads |
//! | `room` | a name and its members: what a session and a channel share |
//! | `journaling`, `loaded`, `storage` | what the store is given, and a session made from what it gives back |
//! | `access` | what a connection's key permits |
//! | `timers` | deadlines, as data |
//!
//! A connection is in one session at most; a client may be in many channels. A session outlives its
//! members for [`Limits::linger`]; a channel without members has nothing but the counts of its threads.
//! Viewers are sent the same frames as members; they are not listed and can't change anything.
//!
//! With [`Limits::durable`] the hub gives each change to the store ([`Effect::Persist`]) and loads a session
//! when it is needed ([`Effect::Load`]); memory then holds the sessions that are in use.
//!
//! There is no socket, file or clock in this module. One thread calls [`Hub::handle`]. Tests call it with
//! a clock of their own and run hours of a session in milliseconds.

mod access;
mod activity;
mod author;
mod bounds;
mod channel_threads;
pub mod channels;
mod clients;
mod confirm;
mod connection;
mod context;
mod decide;
mod document;
mod edit;
mod event;
mod field;
mod field_changes;
mod history;
mod incoming;
mod item;
mod item_frames;
mod item_summary;
mod journaling;
mod listing;
mod loaded;
mod member;
mod memory_use;
mod merge;
mod message_name;
mod notes;
mod nudge;
mod old_values;
mod past_value;
mod pending_requests;
mod per_minute;
mod publish;
mod reconcile;
mod registry;
mod relay;
mod replace;
mod roles;
mod room;
mod session;
mod settling;
mod snapshot;
mod stats;
mod storage;
mod time;
mod timers;
mod told;
mod tombstones;
mod versions;
mod viewers;
mod writing;

use std::sync::Arc;
use std::time::Duration;

pub use bounds::{Bounds as DocumentBounds, TooBig};
pub use connection::{ConnId, ConnMap, NumberHasher};
pub use document::Document;
pub use event::{ChannelMessage, Effect, Event, Limits, Refusal};
pub use history::Bounds as HistoryBounds;
pub use loaded::{LoadedSession, replay};
pub use pending_requests::NotLoaded;
pub use stats::{ChannelsFootprint, DebugStats, HubStats, SessionFootprint};
pub use storage::Damaged;
pub use time::Time;

use crate::auth::KeySet;
use crate::protocol::close;
use access::KeyIndex;
use clients::Clients;
use context::Context;
use member::Request;
use registry::Registry;
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
    sessions: Registry,
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
            sessions: Registry::new(seed),
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
    pub fn handle(&mut self, event: Event, now: Time, effects: &mut Vec<Effect>) {
        let was_failing = self.disk_fails;
        self.note_keys_and_disk(&event);
        let Hub { limits, keys, sessions, clients, timers, disk_fails } = self;
        let disk_fails = *disk_fails;
        let cx = &mut Context { now, limits, keys, effects, timers, disk_fails, left: 0 };
        match event {
            Event::Join { conn, session, user, grant } => {
                sessions.join(conn, session, user, grant, false, cx);
            }
            Event::JoinTemporary { conn, session, user, grant } => {
                sessions.join(conn, session, user, grant, true, cx);
            }
            Event::View { conn, session, grant, since } => {
                sessions.view(conn, session, grant, since, cx);
            }
            Event::RequestState { conn, since } => {
                sessions.request_state(conn, &Request { since }, cx)
            }
            Event::Message { conn, message } => {
                sessions.with_session_of(conn, cx, |session, cx| {
                    session.message(conn, message, cx);
                });
            }
            Event::Pong { conn, payload } => {
                sessions.with_session_of(conn, cx, |session, cx| {
                    session.pong(conn, &payload, cx);
                });
            }
            Event::ConnectClient { conn, client, debug } => {
                clients.connected(conn, client, debug, cx)
            }
            Event::ChannelMessage { conn, said } => clients.message(conn, said, cx),
            Event::Threads { conn, channel, grant } => {
                let body = clients.threads(channel.as_deref(), grant, cx);
                cx.effects.push(Effect::Answer { conn, body });
            }
            Event::Sessions { conn, grant } => sessions.list(conn, grant, cx),
            Event::Details { conn, session, grant } => {
                sessions.describe(conn, &session, grant, cx);
            }
            Event::Item { conn, session, item, grant } => {
                sessions.item(conn, &session, &item, grant, cx);
            }
            Event::State { conn, session, grant } => sessions.state(conn, &session, grant, cx),
            Event::Versions { conn, session, grant } => {
                sessions.versions(conn, &session, grant, cx);
            }
            Event::Version { conn, session, at, grant } => {
                sessions.version(conn, &session, at, grant, cx);
            }
            Event::Disconnected { conn } => {
                clients.disconnected(conn);
                sessions.disconnected(conn, cx);
            }
            Event::Failed { conn } if clients.has(conn) => clients.failed(conn, cx),
            Event::Failed { conn } => sessions.failed(conn, cx),
            Event::Keys(_) => renew_access(clients, sessions, cx),
            Event::Loaded { session, past } => sessions.loaded(&session, past, cx),
            Event::Durable(_) if cx.disk_fails != was_failing => sessions.disk_changed(cx),
            Event::Durable(_) => {}
            Event::SnapshotRequested { session } => sessions.snapshot_requested(&session, cx),
            Event::Restore { conn, session, state, by } => {
                sessions.restore(conn, session, state, by, cx);
            }
            Event::Import { conn, session, state, by } => {
                sessions.import(conn, session, state, by, cx);
            }
            Event::Delete { conn, session } => sessions.delete(conn, session, cx),
            Event::Rename { conn, session, to } => sessions.rename(conn, session, to, cx),
            Event::Renamed { conn, session, to, is_done } => {
                sessions.renamed(conn, session, to, is_done, cx);
            }
            Event::RestoreItem { conn, session, item, by } => {
                sessions.restore_item(conn, session, item, by, cx);
            }
            Event::EndConnection { conn, target } => {
                end_connection(clients, sessions, conn, target, cx);
            }
            Event::Tick => run_timers(clients, sessions, cx),
        }
        sessions.free_memory(cx);
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
    pub fn holdings(&self) -> HubStats {
        HubStats {
            sessions: self.sessions.len(),
            members: self.sessions.members(),
            channels: self.clients.channels().len(),
            documents_memory: self.sessions.memory(),
            most_documents_memory: self.limits.documents_memory,
            most_sessions: self.limits.max_sessions,
        }
    }

    /// The document of a session in memory, for tests.
    pub fn document(&self, session: &str) -> Option<&Document> {
        Some(&self.sessions.get(session)?.document)
    }
}

fn renew_access(clients: &mut Clients, sessions: &mut Registry, cx: &mut Context<'_>) {
    let keys = KeyIndex::new(cx.keys);
    clients.renew_access(&keys, cx);
    sessions.renew_access(&keys, cx);
}

/// Closes a connection of a member, a viewer or a client, because the operator ends it.
fn end_connection(
    clients: &mut Clients,
    sessions: &mut Registry,
    conn: ConnId,
    target: ConnId,
    cx: &mut Context<'_>,
) {
    if !clients.has(target) && !sessions.has(target) {
        return cx.effects.push(Effect::Refuse { conn, why: Refusal::NoSuchConnection });
    }
    let reason = "ended by the operator of this server";
    cx.effects.push(Effect::Close { conn: target, code: close::POLICY, reason });
    clients.disconnected(target);
    sessions.disconnected(target, cx);
    let body = serde_json::json!({ "connection": target.0, "ended": true });
    cx.effects.push(Effect::Answer { conn, body: body.to_string().into_bytes() });
}

fn run_timers(clients: &mut Clients, sessions: &mut Registry, cx: &mut Context<'_>) {
    for _ in 0..TIMERS_AT_ONCE {
        let Some(timer) = cx.timers.pop_due(cx.now.elapsed) else { break };
        match timer {
            Timer::Session(name, timer) => sessions.timer_fired(&name, timer, cx),
            Timer::Client(conn, timer) => clients.timer_fired(conn, timer, cx),
        }
    }
}
