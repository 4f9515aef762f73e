//! All sessions, and who is in which.

use std::collections::HashMap;
use std::sync::Arc;

use super::pass::{KeyIndex, Pass};
use super::session::Session;
use super::timers::SessionTimer;
use super::{ConnId, ConnMap, Effect, Refusal, Turn};
use crate::keys::{Grant, KeyRefusal};
use crate::protocol::{UserId, close, outbound};

/// See the module's text.
#[derive(Debug)]
pub struct Sessions {
    by_name: HashMap<Arc<str>, Session>,
    /// Which session a member is in.
    members: ConnMap<Arc<str>>,
    random: Random,
}

impl Sessions {
    /// No session at all. `seed` makes the epochs.
    pub fn new(seed: u64) -> Self {
        Sessions { by_name: HashMap::new(), members: ConnMap::default(), random: Random(seed) }
    }

    /// The session of this name.
    pub fn get(&self, name: &str) -> Option<&Session> {
        self.by_name.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_name.values()
    }

    /// How many connections are known to be in one.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Does something in the session that a connection is a member of, if it is one.
    pub fn of(&mut self, conn: ConnId, act: impl FnOnce(&mut Session)) {
        let name = self.members.get(&conn);
        if let Some(session) = name.and_then(|name| self.by_name.get_mut(name)) {
            act(session);
        }
    }

    /// A connection asks to be a member.
    pub fn join(
        &mut self,
        conn: ConnId,
        name: Arc<str>,
        user: UserId,
        grant: Option<Grant>,
        turn: &mut Turn<'_>,
    ) {
        let pass = grant.map(|grant| Pass::issue(grant, turn.keys, turn.now.wall)).transpose();
        let pass = match pass {
            Ok(pass) if pass.as_ref().is_none_or(|pass| pass.opens(&name)) => pass,
            _ => return turn.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused }),
        };
        // Who may only watch puts nobody out.
        let may_write = pass.as_ref().is_none_or(Pass::may_write);
        if !may_write && self.by_name.get(&name).is_some_and(|session| session.has_writer(&user)) {
            return turn.effects.push(Effect::Refuse { conn, why: Refusal::KeyRefused });
        }
        self.forget_if_lingered(&name, turn);
        let most = turn.limits.max_sessions;
        let is_full = most > 0 && self.by_name.len() >= most;
        if is_full && !self.by_name.contains_key(&name) && !self.forget_an_empty_one(turn) {
            return turn.effects.push(Effect::Refuse { conn, why: Refusal::Full });
        }
        let random = &mut self.random;
        let session = self
            .by_name
            .entry(name.clone())
            .or_insert_with(|| Session::new(name.clone(), format!("{:016x}", random.next())));
        let token = self.random.next().to_be_bytes();
        // First of all: should joining fail half-way, whoever is half in can still be put out.
        self.members.insert(conn, name);
        if let Some(replaced) = session.join(conn, user, pass, token, turn) {
            self.members.remove(&replaced);
        }
    }

    /// A connection has ended.
    pub fn gone(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.of(conn, |session| session.leave(conn, turn));
        if let Some(name) = self.members.remove(&conn) {
            self.forget_if_lingered(&name, turn);
        }
    }

    /// Handling something of this connection failed half-way.
    pub fn failed(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        // Whoever is no member may not even speak WebSocket.
        if self.members.contains_key(&conn) {
            turn.send(conn, &outbound::server_error());
        }
        let reason = "internal server error";
        turn.effects.push(Effect::Close { conn, code: close::INTERNAL_ERROR, reason });
        self.of(conn, |session| session.send_state_to_others(conn, turn));
        self.gone(conn, turn);
    }

    /// A session's timer has fired.
    pub fn timer_fired(&mut self, name: &Arc<str>, timer: SessionTimer, turn: &mut Turn<'_>) {
        if timer == SessionTimer::Linger {
            self.forget_if_lingered(name, turn);
        }
        let Some(session) = self.by_name.get_mut(name) else { return };
        match timer {
            SessionTimer::Linger => session.linger_timer_fired(turn),
            SessionTimer::Arrival(conn) => session.arrival_timed_out(conn, turn),
            SessionTimer::Settle(item) => session.settle_due(&item, turn),
            SessionTimer::Expiry(conn) => {
                if session.has_expired(conn, turn) {
                    self.dismiss(name, &[(conn, KeyRefusal::Expired)], turn);
                }
            }
        }
    }

    /// Another set of keys is in force.
    pub fn renew_passes(&mut self, keys: &KeyIndex<'_>, turn: &mut Turn<'_>) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        for name in names {
            let Some(session) = self.by_name.get_mut(&name) else { continue };
            let refused = session.renew_passes(keys, turn);
            self.dismiss(&name, &refused, turn);
        }
    }

    /// Ends the memberships of those whose keys don't open their session any more, and has the
    /// others agree on a host.
    fn dismiss(&mut self, name: &str, refused: &[(ConnId, KeyRefusal)], turn: &mut Turn<'_>) {
        if let Some(session) = self.by_name.get_mut(name) {
            session.dismiss(refused, turn);
        }
        for (conn, _) in refused {
            self.members.remove(conn);
        }
        self.forget_if_lingered(name, turn);
    }

    /// Removes a session that has been without members for as long as it is kept.
    fn forget_if_lingered(&mut self, name: &str, turn: &mut Turn<'_>) {
        let (now, linger) = (turn.elapsed(), turn.limits.linger);
        if self.by_name.get(name).is_some_and(|session| session.has_lingered(now, linger)) {
            self.forget(name, turn);
        }
    }

    /// Makes room for a new session where one that lingers holds no work.
    fn forget_an_empty_one(&mut self, turn: &mut Turn<'_>) -> bool {
        let idle = self.by_name.values().find(|session| session.is_idle_and_empty());
        match idle.map(|session| session.room.name().clone()) {
            Some(name) => self.forget(&name, turn),
            None => false,
        }
    }

    /// Removes a session. Whether it was there.
    fn forget(&mut self, name: &str, turn: &mut Turn<'_>) -> bool {
        let Some((name, session)) = self.by_name.remove_entry(name) else { return false };
        // Sessions that come and go must not leave anything behind.
        if let Some(at) = session.linger_timer() {
            turn.timers.take_back(at, &name, SessionTimer::Linger);
        }
        true
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
