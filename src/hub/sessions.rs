//! All sessions, and who is in which.

mod admin;
mod memory;
mod version_answers;
mod viewing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::held::MemoryUse;
use super::loading::{PendingRequest, PendingRequests};
use super::pass::{KeyIndex, Pass};
use super::session::Session;
use super::timers::SessionTimer;
use super::{ConnId, ConnMap, Effect, Refusal, Turn};
use crate::auth::{Grant, KeyRefusal};
use crate::protocol::{UserId, close, outbound};

/// See the module's text.
#[derive(Debug)]
pub struct Sessions {
    /// Those in memory.
    pub(super) by_name: HashMap<Arc<str>, Session>,
    /// Those that are stored and not in memory; some of those that are in memory, too.
    pub(super) stored: HashSet<Arc<str>>,
    pub(super) loading: PendingRequests,
    pub(super) held: MemoryUse,
    /// Which session a member is in.
    members: ConnMap<Arc<str>>,
    /// Which session a viewer looks at.
    pub(super) viewers: ConnMap<Arc<str>>,
    random: Random,
}

impl Sessions {
    /// No session at all. `seed` makes the epochs.
    pub fn new(seed: u64) -> Self {
        Sessions {
            by_name: HashMap::new(),
            stored: HashSet::new(),
            loading: PendingRequests::default(),
            held: MemoryUse::default(),
            members: ConnMap::default(),
            viewers: ConnMap::default(),
            random: Random(seed),
        }
    }

    /// Takes note of sessions that are stored, at the server's start.
    pub fn add_stored(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        self.stored.extend(names);
    }

    /// The session of this name.
    pub fn get(&self, name: &str) -> Option<&Session> {
        self.by_name.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_name.values()
    }

    /// How many of them are in memory.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many connections are known to be in one.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Does something in the session that a connection is a member of, if it is one.
    pub fn with_session_of(
        &mut self,
        conn: ConnId,
        turn: &mut Turn<'_>,
        act: impl FnOnce(&mut Session, &mut Turn<'_>),
    ) {
        if let Some(name) = self.members.get(&conn).cloned() {
            self.with_session(&name, turn, act);
        }
    }

    /// A connection asks to be a member. With `for_now` a session that begins with it is not stored until
    /// somebody joins without.
    pub fn join(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        user: UserId,
        grant: Option<Grant>,
        for_now: bool,
        turn: &mut Turn<'_>,
    ) {
        let issue = |grant| Pass::new(grant, turn.keys, turn.now.wall);
        let pass = match grant.clone().map(issue).transpose() {
            Ok(pass) if pass.as_ref().is_none_or(|pass| pass.opens(&name)) => pass,
            _ => return turn.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused }),
        };
        // Who may only watch puts nobody out.
        let may_write = pass.as_ref().is_none_or(Pass::may_write);
        if !may_write && self.by_name.get(&name).is_some_and(|session| session.has_writer(&user)) {
            return turn.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused });
        }
        self.evict_if_expired(&name, turn);
        let begins = !self.by_name.contains_key(&name);
        match self.ensure_available(&name, AccessMode::Member, turn) {
            Err(why) => return turn.effects.push(Effect::Refuse { conn, why }),
            Ok(Availability::Loading) => {
                return self.loading.add(name, conn, PendingRequest::Join { user, grant });
            }
            Ok(Availability::Ready) => {}
        }
        let token = self.random.next().to_be_bytes();
        // First of all: should joining fail half-way, whoever is half in can still be put out.
        self.members.insert(conn, name.clone());
        let join = |session: &mut Session, turn: &mut Turn<'_>| {
            match for_now {
                true => session.keeping.is_temporary |= begins,
                false => session.start_persisting(turn),
            }
            session.join(conn, user, pass, token, turn)
        };
        if let Some(replaced) = self.with_session(&name, turn, join).flatten() {
            self.members.remove(&replaced);
        }
    }

    /// Makes a session available: begins to load one that is stored, creates one that isn't.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub(super) fn ensure_available(
        &mut self,
        name: &Arc<str>,
        mode: AccessMode,
        turn: &mut Turn<'_>,
    ) -> Result<Availability, Refusal> {
        self.evict_if_expired(name, turn);
        if self.by_name.contains_key(name) {
            return Ok(Availability::Ready);
        }
        let is_loading = self.loading.has(name);
        if is_loading && (mode == AccessMode::Viewer || self.loading.is_counted(name)) {
            return Ok(Availability::Loading);
        }
        if !self.make_room(mode, turn) {
            return Err(Refusal::Full);
        }
        if is_loading {
            return Ok(Availability::Loading);
        }
        if self.stored.contains(name) {
            self.loading.begin(name.clone());
            turn.effects.push(Effect::Load { session: name.clone() });
            return Ok(Availability::Loading);
        }
        let epoch = format!("{:016x}", self.random.next()).into();
        self.by_name.insert(name.clone(), Session::new(name.clone(), epoch));
        Ok(Availability::Ready)
    }

    /// A connection has ended.
    pub fn disconnected(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.loading.remove(conn);
        self.remove_viewer(conn, turn);
        self.with_session_of(conn, turn, |session, turn| session.leave(conn, turn));
        if let Some(name) = self.members.remove(&conn) {
            self.evict_if_expired(&name, turn);
        }
    }

    /// Handling something of this connection failed half-way.
    pub fn failed(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        // Whoever is no member may not even speak WebSocket.
        if self.members.contains_key(&conn) || self.viewers.contains_key(&conn) {
            turn.send(conn, &outbound::server_error());
        }
        let reason = "internal server error";
        turn.effects.push(Effect::Close { conn, code: close::INTERNAL_ERROR, reason });
        self.with_session_of(conn, turn, |session, turn| session.recover(conn, turn));
        self.disconnected(conn, turn);
    }

    /// A session's timer has fired.
    pub fn timer_fired(&mut self, name: &Arc<str>, timer: SessionTimer, turn: &mut Turn<'_>) {
        if timer == SessionTimer::Linger {
            self.evict_if_expired(name, turn);
        }
        let mut expired = None;
        self.with_session(name, turn, |session, turn| {
            session.begin();
            match timer {
                SessionTimer::Linger => session.linger_timer_fired(turn),
                SessionTimer::Arrival(conn) => session.arrival_timed_out(conn, turn),
                SessionTimer::Settle(item) => {
                    session.settle_due(&item, turn);
                    session.finish(turn);
                }
                SessionTimer::Receipts => {
                    session.check_receipts(turn);
                    session.finish(turn);
                }
                SessionTimer::Expiry(conn) => {
                    expired = session.has_expired(conn, turn).then_some(conn);
                }
            }
        });
        if let Some(conn) = expired {
            self.disconnect_revoked(name, &[(conn, KeyRefusal::Expired)], turn);
        }
    }

    /// Another set of keys is in force.
    pub fn renew_passes(&mut self, keys: &KeyIndex<'_>, turn: &mut Turn<'_>) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        for name in names {
            let refused =
                self.with_session(&name, turn, |session, turn| session.renew_passes(keys, turn));
            self.disconnect_revoked(&name, &refused.unwrap_or_default(), turn);
        }
    }

    /// Ends the memberships and the viewing of those whose keys don't open their session any more, and
    /// has the others agree on a host.
    fn disconnect_revoked(
        &mut self,
        name: &str,
        refused: &[(ConnId, KeyRefusal)],
        turn: &mut Turn<'_>,
    ) {
        self.with_session(name, turn, |session, turn| session.disconnect_revoked(refused, turn));
        for (conn, _) in refused {
            self.members.remove(conn);
            self.viewers.remove(conn);
        }
        self.evict_if_expired(name, turn);
    }

    /// A session that nobody is in lingers from now on, if it doesn't already.
    pub(super) fn linger_if_empty(&mut self, name: &Arc<str>, turn: &mut Turn<'_>) {
        self.with_session(name, turn, |session, turn| session.linger_if_empty(turn));
        self.evict_if_expired(name, turn);
    }

    /// Removes a session that has been without members for as long as it is kept in memory.
    pub(super) fn evict_if_expired(&mut self, name: &str, turn: &mut Turn<'_>) {
        let session = self.by_name.get(name);
        if session.is_some_and(|session| session.is_expired(turn.now.elapsed, turn.limits)) {
            self.evict(name, turn);
        }
    }

    /// Sees to it that there is room for another session. Where there is none, one that nobody is in makes
    /// way: for a member the one with which least is lost ([`Session::worth`]), for a viewer one that
    /// nobody views. Takes a time in proportion to the sessions there are.
    pub(super) fn make_room(&mut self, mode: AccessMode, turn: &mut Turn<'_>) -> bool {
        let most = turn.limits.max_sessions;
        if most == 0 || self.by_name.len() + self.loading.counted_sessions() < most {
            return true;
        }
        let sessions = self.by_name.values();
        let spared = sessions
            .filter(|session| mode == AccessMode::Member || session.viewers.is_empty())
            .filter_map(|session| Some((session.eviction_cost(turn.limits)?, session.room.name())))
            .min();
        match spared.map(|(_, name)| name.clone()) {
            Some(name) => self.evict(&name, turn),
            None => false,
        }
    }

    /// Drops a session from memory. Whether it was there.
    pub(super) fn evict(&mut self, name: &str, turn: &mut Turn<'_>) -> bool {
        let Some((name, mut session)) = self.by_name.remove_entry(name) else { return false };
        self.uncount(&session);
        for conn in session.close_viewers(turn) {
            self.viewers.remove(&conn);
        }
        // Sessions that come and go must not leave anything behind.
        if let Some(at) = session.linger_timer() {
            turn.timers.cancel(at, &name, SessionTimer::Linger);
        }
        if session.keeping.has_begun {
            self.stored.insert(name);
        }
        true
    }
}

/// Whether a session can be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    Ready,
    /// The store was asked for it: what is to be done with it waits in [`PendingRequests`].
    Loading,
}

/// What a connection needs a session for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// To be a member, or to change the document. Counts against [`Limits::max_sessions`](super::Limits).
    Member,
    /// To be sent what members are sent.
    Viewer,
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
