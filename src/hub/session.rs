//! One session: who is in it, and how a newcomer is recognised.

mod eviction;
mod receipts;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use super::conn::HasConnection;
use super::document::Document;
use super::footprint::SessionFootprint;
use super::held::MemoryUse;
use super::history::History;
use super::keeping::state::{PersistenceState, not_durable};
use super::member::{Arrival, Member};
use super::pass::Pass;
use super::past::Past;
use super::recent::Recent;
use super::room::Room;
use super::settle::Settling;
use super::timers::SessionTimer;
use super::versions::Versions;
use super::{ConnId, Effect, Limits, Turn};
use crate::protocol::json::Fields;
use crate::protocol::outbound::Message;
use crate::protocol::{Frame, Timestamp, UserId, close};

/// How long a newcomer's request waits for it to be recognised; then it is told nothing of the document.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A room whose members work on one document. One of them is the host (`roles.rs`).
#[derive(Debug)]
pub struct Session {
    pub room: Room<Member>,
    pub viewers: Room<Viewer>,
    pub epoch: Arc<str>,
    /// Who is host; `None` where nobody may write. Changed by elections alone.
    pub(super) host: Option<UserId>,
    pub document: Document,
    pub history: History,
    pub settling: Settling,
    pub keeping: PersistenceState,
    pub recent: Recent,
    pub versions: Versions,
    /// Counts the events that were handled: everything that is sent while one is handled is sent at
    /// one tick, and a Pong tells up to which tick a member has received everything.
    pub(super) tick: u64,
    /// Every member that may send whole dictionaries has received what was sent at or before this tick.
    pub(super) received_by_all: u64,
    /// Whether a member was sent something that has to be known to be received soon.
    pub(super) needs_pings: bool,
    /// The tick at which somebody was told of an item last.
    pub(super) told_last: u64,
    /// When members are asked what they have received of what they are told all the time; `None` while
    /// they have received all of it.
    receipts_timer: Option<Duration>,
    /// The document as it was sent last, and as of which change: to editors, and to all others.
    encoded: [Option<(u64, Arc<[Frame]>)>; 2],
    /// What of it is counted where all documents are.
    pub counted: MemoryUse,
    /// When the last member left; `None` while there is one.
    empty_since: Option<Duration>,
    /// When the timer fires that looks whether it has lingered; `None` while there is none.
    linger_timer: Option<Duration>,
}

/// A connection that watches.
#[derive(Debug)]
pub struct Viewer {
    pub conn: ConnId,
    /// What it was let in with, where keys are asked for.
    pub pass: Option<Pass>,
}

impl HasConnection for Viewer {
    fn conn(&self) -> ConnId {
        self.conn
    }
}

impl Session {
    /// One that begins.
    pub fn new(name: Arc<str>, epoch: Arc<str>) -> Self {
        Session {
            viewers: Room::indexed(name.clone()),
            room: Room::indexed(name),
            epoch,
            host: None,
            document: Document::default(),
            history: History::default(),
            settling: Settling::default(),
            keeping: PersistenceState::default(),
            recent: Recent::default(),
            versions: Versions::default(),
            tick: 1,
            received_by_all: 0,
            needs_pings: false,
            told_last: 0,
            receipts_timer: None,
            encoded: [None, None],
            counted: MemoryUse::default(),
            empty_since: None,
            linger_timer: None,
        }
    }

    /// One that goes on.
    pub fn resume(name: Arc<str>, past: Past) -> Self {
        let keeping = PersistenceState::from_restored(&past);
        let Past { epoch, document, history, recent, .. } = past;
        Session { document, history, recent, keeping, ..Session::new(name, epoch) }
    }

    /// Makes a connection a member. Returns the connection it replaces, if its user was present.
    pub fn join(
        &mut self,
        conn: ConnId,
        user: UserId,
        pass: Option<Pass>,
        token: [u8; 8],
        turn: &mut Turn<'_>,
    ) -> Option<ConnId> {
        self.begin();
        // A canvas of somebody who may only watch doesn't count.
        let has_writers = self.room.iter().any(Member::may_write);
        let returns_alone = !has_writers && self.document.exists();
        let (tick, now) = (self.tick, turn.now);
        let mut member = Member::new(conn, user.clone(), pass, token, returns_alone, tick, now);
        self.empty_since = None;
        let (place, replaced) = match self.room.iter().position(|member| member.user == user) {
            Some(place) => {
                member.connected_at = self.room[place].connected_at;
                let old = self.room.replace(place, member).conn;
                let reason = "replaced by a newer connection";
                turn.effects.push(Effect::Close { conn: old, code: close::POLICY, reason });
                (place, Some(old))
            }
            None => (self.room.add(member), None),
        };
        if self.room[place].may_write() {
            self.document.meet(&user);
        }
        let elected = self.elect_host();
        turn.effects.push(Effect::Admit { conn });
        turn.send(conn, &self.acknowledgement(Some(place), turn.now.wall));
        let joined = user_message("user:joined", &user, turn.now.wall);
        match replaced {
            Some(_) => turn.send(conn, &joined),
            None => self.tell_all(&joined, turn),
        }
        if let Some(host) = elected {
            // The newcomer was told in its acknowledgement.
            self.tell_others(conn, &host_changed(&host, turn.now.wall), turn);
        }
        let ping = self.room[place].ping(self.tick, turn.elapsed());
        ping.iter().for_each(|ping| turn.send(conn, ping));
        if turn.disk_fails {
            turn.send(conn, &not_durable());
        }
        let arrival = SessionTimer::Arrival(conn);
        turn.timers.set_in_session(turn.elapsed() + ARRIVAL_TIMEOUT, self.room.name(), arrival);
        self.set_expiry_timer(conn, turn);
        self.keep_news(turn);
        replaced
    }

    /// Ends a membership.
    pub fn leave(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.leave_together(&[conn], turn);
    }

    /// Ends memberships at one moment: none of these members becomes host because another leaves.
    pub(super) fn leave_together(&mut self, conns: &[ConnId], turn: &mut Turn<'_>) {
        let left: Vec<Member> = conns.iter().filter_map(|conn| self.room.remove(*conn)).collect();
        for member in &left {
            self.tell_all(&user_message("user:left", &member.user, turn.now.wall), turn);
        }
        self.elect_and_announce(turn);
        self.linger_if_empty(turn);
    }

    /// What it takes of memory.
    pub fn memory_use(&self, limits: &Limits) -> MemoryUse {
        let documents = self.document.memory();
        let is_spare = self.is_evictable(limits);
        let (_, versions) = self.versions.sizes();
        MemoryUse { documents, evictable: if is_spare { documents } else { 0 }, versions }
    }

    /// A newcomer has had its time. Its silence proves nothing, so its canvas is left alone; its request
    /// is answered with the document, or an empty one, once it turns out to share none.
    pub fn arrival_timed_out(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(place) = self.room.place(conn) else { return };
        if let Arrival::Unknown { waiting: Some(_), .. } = self.room[place].arrival {
            self.send_null_state(place, turn);
        }
    }

    /// A newcomer has said something else than one that shares its canvas says first.
    pub(super) fn recognise_by_message(
        &mut self,
        place: usize,
        had_document: bool,
        turn: &mut Turn<'_>,
    ) {
        if !self.room[place].is_recognised() {
            self.recognise_guest(place, had_document, turn);
        }
    }

    /// A newcomer shares no canvas: it starts from the document.
    fn recognise_guest(&mut self, place: usize, has_document: bool, turn: &mut Turn<'_>) {
        let arrival = self.room[place].recognise_as(Arrival::Guest, self.tick);
        let Arrival::Unknown { waiting, .. } = arrival else { return };
        match waiting {
            Some(request) => self.answer(place, &request, turn),
            None if has_document => self.send_state(&[place], turn),
            None => {}
        }
    }

    /// Takes over what a client's state carries beside its items. Whether that is news.
    pub fn set_extra(&mut self, extra: &Fields) -> bool {
        let is_news = self.document.set_extra(extra);
        if is_news {
            self.forget_encoded();
        }
        is_news
    }

    /// Forgets the document as it was sent last.
    pub(super) fn forget_encoded(&mut self) {
        self.encoded = [None, None];
    }

    /// What a connection said was handled half-way: nobody knows what was lost of it, so that all the
    /// others are sent the document, and it is kept.
    pub fn recover(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        if self.document.exists() {
            self.begin();
            self.keep_document(turn);
            let others =
                self.places_except(|member| member.conn == conn || !member.is_recognised());
            self.send_state(&others, turn);
            self.send_state_to_viewers(turn);
            self.finish(turn);
        }
    }

    /// How much it holds.
    pub fn footprint(&self) -> SessionFootprint {
        let (history, history_bytes, confirmed) = self.history.sizes();
        let (versions, version_bytes) = self.versions.sizes();
        SessionFootprint {
            name: self.room.name().clone(),
            members: self.room.len(),
            viewers: self.viewers.len(),
            document_bytes: self.document.bytes(),
            document_memory: [self.document.memory(), self.document.computed_memory()],
            removed: self.document.removed().len(),
            history,
            history_bytes,
            confirmed,
            settling: self.settling.len(),
            versions,
            version_bytes,
        }
    }

    /// The members for whom `left_out` doesn't hold.
    pub fn places_except(&self, left_out: impl Fn(&Member) -> bool) -> Vec<usize> {
        (0..self.room.len()).filter(|&place| !left_out(&self.room[place])).collect()
    }
}

fn user_message(kind: &str, user: &UserId, now: Timestamp) -> Frame {
    Message::new(kind).string("user_id", user).timestamp(now).finish()
}

/// Who is host from now on.
pub(super) fn host_changed(host: &UserId, now: Timestamp) -> Frame {
    user_message("host:changed", host, now)
}
