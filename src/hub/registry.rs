//! All sessions: which exist, which are in memory, and which connection is in which.

mod admin;
mod loading;
mod memory;
mod version_answers;
mod viewing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::access::{Access, KeyIndex};
use super::memory_use::MemoryUse;
use super::pending_requests::{PendingRequest, PendingRequests};
use super::session::Session;
use super::timers::SessionTimer;
use super::{ConnId, ConnMap, Context, Effect, Refusal};
use crate::auth::{Grant, KeyRefusal};
use crate::protocol::{UserId, close, outbound};

/// All sessions, and the connections in them.
#[derive(Debug)]
pub struct Registry {
    /// The sessions in memory.
    pub(super) by_name: HashMap<Arc<str>, Session>,
    /// The names of stored sessions: of all that are not in memory, and of some that are.
    pub(super) stored: HashSet<Arc<str>>,
    pub(super) loading: PendingRequests,
    pub(super) memory: MemoryUse,
    /// The session of each member.
    members: ConnMap<Arc<str>>,
    /// The session of each viewer.
    pub(super) viewers: ConnMap<Arc<str>>,
    random: Random,
}

impl Registry {
    /// No sessions. Epochs and ping tokens follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Registry {
            by_name: HashMap::new(),
            stored: HashSet::new(),
            loading: PendingRequests::default(),
            memory: MemoryUse::default(),
            members: ConnMap::default(),
            viewers: ConnMap::default(),
            random: Random(seed),
        }
    }

    /// Adds the names of stored sessions, at the server's start.
    pub fn add_stored(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        self.stored.extend(names);
    }

    /// The session of this name, if it is in memory.
    pub fn get(&self, name: &str) -> Option<&Session> {
        self.by_name.get(name)
    }

    /// All sessions in memory.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_name.values()
    }

    /// The number of sessions in memory.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether a connection is a member or a viewer.
    pub fn has(&self, conn: ConnId) -> bool {
        self.members.contains_key(&conn) || self.viewers.contains_key(&conn)
    }

    /// The number of members of all sessions.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Calls `act` on the session that a connection is a member of. Does nothing if it is no member.
    pub fn with_session_of(
        &mut self,
        conn: ConnId,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Session, &mut Context<'_>),
    ) {
        if let Some(name) = self.members.get(&conn).cloned() {
            self.with_session(&name, cx, act);
        }
    }

    /// Makes a connection a member, or refuses it. A session that begins with `for_now` is not stored until a
    /// connection joins without it.
    pub fn join(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        user: UserId,
        grant: Option<Grant>,
        for_now: bool,
        cx: &mut Context<'_>,
    ) {
        let issue = |grant| Access::new(grant, cx.keys, cx.now.wall);
        let access = match grant.clone().map(issue).transpose() {
            Ok(access) if access.as_ref().is_none_or(|access| access.opens(&name)) => access,
            _ => return cx.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused }),
        };
        // A read-only connection must not replace a writer's.
        let may_write = access.as_ref().is_none_or(Access::may_write);
        if !may_write && self.by_name.get(&name).is_some_and(|session| session.has_writer(&user)) {
            return cx.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused });
        }
        self.evict_if_expired(&name, cx);
        let begins = !self.by_name.contains_key(&name);
        match self.ensure_available(&name, AccessMode::Member, cx) {
            Err(why) => return cx.effects.push(Effect::Refuse { conn, why }),
            Ok(Availability::Loading) => {
                return self.loading.add(name, conn, PendingRequest::Join { user, grant });
            }
            Ok(Availability::Ready) => {}
        }
        let token = self.random.next().to_be_bytes();
        // Registered first: if the rest panics, the connection can still be closed.
        self.members.insert(conn, name.clone());
        let join = |session: &mut Session, cx: &mut Context<'_>| {
            match for_now {
                true => session.journal.is_temporary |= begins,
                false => session.start_persisting(cx),
            }
            session.join(conn, user, access, token, cx)
        };
        if let Some(replaced) = self.with_session(&name, cx, join).flatten() {
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
        cx: &mut Context<'_>,
    ) -> Result<Availability, Refusal> {
        self.evict_if_expired(name, cx);
        if self.by_name.contains_key(name) {
            return Ok(Availability::Ready);
        }
        let is_loading = self.loading.has(name);
        if is_loading && (mode == AccessMode::Viewer || self.loading.is_counted(name)) {
            return Ok(Availability::Loading);
        }
        if !self.make_room(mode, cx) {
            return Err(Refusal::Full);
        }
        if is_loading {
            return Ok(Availability::Loading);
        }
        if self.stored.contains(name) {
            self.loading.begin(name.clone());
            cx.effects.push(Effect::Load { session: name.clone() });
            return Ok(Availability::Loading);
        }
        let epoch = format!("{:016x}", self.random.next()).into();
        self.by_name.insert(name.clone(), Session::new(name.clone(), epoch));
        Ok(Availability::Ready)
    }

    /// Removes a connection from its session, or from the requests for a session that is being loaded.
    pub fn disconnected(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        self.loading.remove(conn);
        self.remove_viewer(conn, cx);
        self.with_session_of(conn, cx, |session, cx| session.leave(conn, cx));
        if let Some(name) = self.members.remove(&conn) {
            self.evict_if_expired(&name, cx);
        }
    }

    /// Closes a connection whose event panicked, and recovers its session.
    pub fn failed(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        // Other connections are HTTP requests and can't be sent a frame.
        if self.members.contains_key(&conn) || self.viewers.contains_key(&conn) {
            cx.send(conn, &outbound::server_error());
        }
        let reason = "internal server error";
        cx.effects.push(Effect::Close { conn, code: close::INTERNAL_ERROR, reason });
        self.with_session_of(conn, cx, |session, cx| session.recover(conn, cx));
        self.disconnected(conn, cx);
    }

    /// Handles a timer of a session.
    pub fn timer_fired(&mut self, name: &Arc<str>, timer: SessionTimer, cx: &mut Context<'_>) {
        if timer == SessionTimer::Linger {
            self.evict_if_expired(name, cx);
        }
        let mut expired = None;
        self.with_session(name, cx, |session, cx| {
            session.begin();
            match timer {
                SessionTimer::Linger => session.linger_timer_fired(cx),
                SessionTimer::Arrival(conn) => session.arrival_timed_out(conn, cx),
                SessionTimer::Settle(item) => {
                    session.settle_due(&item, cx);
                    session.finish(cx);
                }
                SessionTimer::Receipts => {
                    session.check_receipts(cx);
                    session.finish(cx);
                }
                SessionTimer::Expiry(conn) => {
                    expired = session.has_expired(conn, cx).then_some(conn);
                }
            }
        });
        if let Some(conn) = expired {
            self.disconnect_revoked(name, &[(conn, KeyRefusal::Expired)], cx);
        }
    }

    /// Applies a new set of keys: closes connections whose key doesn't open their session any more.
    pub fn renew_access(&mut self, keys: &KeyIndex<'_>, cx: &mut Context<'_>) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        for name in names {
            let refused =
                self.with_session(&name, cx, |session, cx| session.renew_access(keys, cx));
            self.disconnect_revoked(&name, &refused.unwrap_or_default(), cx);
        }
    }

    /// Removes members and viewers whose keys don't open their session any more. The others elect a host if it is
    /// one of them.
    fn disconnect_revoked(
        &mut self,
        name: &str,
        refused: &[(ConnId, KeyRefusal)],
        cx: &mut Context<'_>,
    ) {
        self.with_session(name, cx, |session, cx| session.disconnect_revoked(refused, cx));
        for (conn, _) in refused {
            self.members.remove(conn);
            self.viewers.remove(conn);
        }
        self.evict_if_expired(name, cx);
    }

    /// Starts the time after which a session without members expires, if it isn't running.
    pub(super) fn linger_if_empty(&mut self, name: &Arc<str>, cx: &mut Context<'_>) {
        self.with_session(name, cx, |session, cx| session.linger_if_empty(cx));
        self.evict_if_expired(name, cx);
    }

    /// Evicts a session that has expired.
    pub(super) fn evict_if_expired(&mut self, name: &str, cx: &mut Context<'_>) {
        let session = self.by_name.get(name);
        if session.is_some_and(|session| session.is_expired(cx.now.elapsed, cx.limits)) {
            self.evict(name, cx);
        }
    }

    /// Makes room for another session within [`Limits::max_sessions`](super::Limits); `false` if there is none. A
    /// member's session evicts the one without members with which least is lost
    /// ([`Session::eviction_cost`]); a viewer's session evicts none that has viewers. Takes time linear in the
    /// sessions.
    pub(super) fn make_room(&mut self, mode: AccessMode, cx: &mut Context<'_>) -> bool {
        let most = cx.limits.max_sessions;
        if most == 0 || self.by_name.len() + self.loading.counted_sessions() < most {
            return true;
        }
        let sessions = self.by_name.values();
        let spared = sessions
            .filter(|session| mode == AccessMode::Member || session.viewers.is_empty())
            .filter_map(|session| Some((session.eviction_cost(cx.limits)?, session.room.name())))
            .min();
        match spared.map(|(_, name)| name.clone()) {
            Some(name) => self.evict(&name, cx),
            None => false,
        }
    }

    /// Removes a session from memory, and closes its viewers. `false` if it wasn't there.
    pub(super) fn evict(&mut self, name: &str, cx: &mut Context<'_>) -> bool {
        let Some(session) = self.take(name, cx) else { return false };
        if session.journal.has_begun {
            self.stored.insert(session.room.name().clone());
        }
        true
    }

    /// Takes a session out of memory, and closes its viewers. `None` if it wasn't there.
    fn take(&mut self, name: &str, cx: &mut Context<'_>) -> Option<Session> {
        let (name, mut session) = self.by_name.remove_entry(name)?;
        self.uncount(&session);
        for conn in session.close_viewers(cx) {
            self.viewers.remove(&conn);
        }
        // Timers of evicted sessions would add up.
        if let Some(at) = session.linger_timer() {
            cx.timers.cancel(at, &name, SessionTimer::Linger);
        }
        Some(session)
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

/// SplitMix64, for epochs and ping tokens: numbers that don't repeat, not secrets.
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
