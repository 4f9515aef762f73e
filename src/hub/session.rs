//! One session: its state, joining and leaving, and how a newcomer is recognised.
//!
//! A newcomer either shows the canvas that its user has open (a host, an editor that was connected before) or
//! starts from the document (a guest). It is recognised by its first messages, or by the Pong to its first
//! Ping. Until then it is told nothing of the document.

mod eviction;
mod receipts;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::activity::ActivityLog;
use super::connection::HasConnection;
use super::document::Document;
use super::history::History;
use super::journaling::progress::{JournalProgress, not_durable};
use super::loaded::LoadedSession;
use super::member::{Member, RoleDetection};
use super::memory_use::MemoryUse;
use super::room::Room;
use super::settling::Settling;
use super::stats::SessionFootprint;
use super::timers::SessionTimer;
use super::versions::Versions;
use super::{ConnId, Context, Effect, Limits};
use crate::protocol::json::Fields;
use crate::protocol::outbound::Message;
use crate::protocol::{Frame, Timestamp, UserId, close};

/// How long a newcomer's request waits for it to be recognised. Then it is answered without a document.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Members who work on one document. One of them is the host (`roles.rs`).
#[derive(Debug)]
pub struct Session {
    pub room: Room<Member>,
    pub viewers: Room<Viewer>,
    pub epoch: Arc<str>,
    /// The host; `None` if no member may write. Only an election changes it.
    pub(super) host: Option<UserId>,
    pub document: Document,
    pub history: History,
    pub settling: Settling,
    pub journal: JournalProgress,
    pub activity: ActivityLog,
    pub versions: Versions,
    /// Counts the events that were handled. Frames that are sent for one event have one tick; a Pong tells
    /// up to which tick a member has received everything.
    pub(super) tick: u64,
    /// Every tracked member has received what was sent at or before this tick.
    pub(super) received_by_all: u64,
    /// A member was sent something urgent and needs a Ping at the end of this event.
    pub(super) needs_pings: bool,
    /// The tick at which a member was last told of an item.
    pub(super) told_last: u64,
    /// When members are next pinged for what they have received; `None` if they have received everything.
    receipts_timer: Option<Duration>,
    /// The document as it was sent last, with the number of its last change: to all others, and to editors.
    encoded: [Option<(u64, Arc<[Frame]>)>; 2],
    /// Its memory as it is counted in the sum over all sessions.
    pub counted_memory: MemoryUse,
    /// When the last member left; `None` while there is one.
    empty_since: Option<Duration>,
    /// When the timer fires that checks whether it has expired; `None` while none is set.
    linger_timer: Option<Duration>,
}

/// A connection that is sent what members are sent, and can't change anything.
#[derive(Debug)]
pub struct Viewer {
    pub conn: ConnId,
    /// What its key permits; `None` where no key is asked for.
    pub access: Option<Access>,
}

impl HasConnection for Viewer {
    fn conn(&self) -> ConnId {
        self.conn
    }
}

impl Session {
    /// A new session.
    pub fn new(name: Arc<str>, epoch: Arc<str>) -> Self {
        Session {
            viewers: Room::indexed(name.clone()),
            room: Room::indexed(name),
            epoch,
            host: None,
            document: Document::default(),
            history: History::default(),
            settling: Settling::default(),
            journal: JournalProgress::default(),
            activity: ActivityLog::default(),
            versions: Versions::default(),
            tick: 1,
            received_by_all: 0,
            needs_pings: false,
            told_last: 0,
            receipts_timer: None,
            encoded: [None, None],
            counted_memory: MemoryUse::default(),
            empty_since: None,
            linger_timer: None,
        }
    }

    /// A session that was loaded.
    pub fn resume(name: Arc<str>, past: LoadedSession) -> Self {
        let journal = JournalProgress::from_restored(&past);
        let LoadedSession { epoch, document, history, activity, .. } = past;
        Session { document, history, activity, journal, ..Session::new(name, epoch) }
    }

    /// The session under another name. It has neither members nor viewers.
    pub fn renamed(self, name: Arc<str>) -> Self {
        let Session { epoch, document, history, journal, activity, versions, .. } = self;
        let (tick, received_by_all, told_last) = (self.tick, self.received_by_all, self.told_last);
        Session {
            document,
            history,
            journal,
            activity,
            versions,
            tick,
            received_by_all,
            told_last,
            ..Session::new(name, epoch)
        }
    }

    /// Makes a connection a member. Returns the connection that it replaces, if its user is a member already.
    pub fn join(
        &mut self,
        conn: ConnId,
        user: UserId,
        access: Option<Access>,
        token: [u8; 8],
        cx: &mut Context<'_>,
    ) -> Option<ConnId> {
        self.begin();
        // The canvas of a read-only member doesn't count.
        let has_writers = self.room.iter().any(Member::may_write);
        let returns_alone = !has_writers && self.document.exists();
        let (tick, now) = (self.tick, cx.now);
        let member = Member::new(conn, user.clone(), access, token, returns_alone, tick, now);
        self.empty_since = None;
        let (place, replaced) = match self.room.iter().position(|member| member.user == user) {
            Some(place) => {
                let old = self.room.replace(place, member);
                let replaced = old.conn;
                self.room[place].take_over(old, cx.elapsed());
                let reason = "replaced by a newer connection";
                cx.effects.push(Effect::Close { conn: replaced, code: close::POLICY, reason });
                (place, Some(replaced))
            }
            None => (self.room.add(member), None),
        };
        if self.room[place].may_write() {
            self.document.meet(&user);
        }
        let elected = self.elect_host();
        cx.effects.push(Effect::Admit { conn });
        cx.send(conn, &self.acknowledgement(Some(place), cx.now.wall));
        let joined = user_message("user:joined", &user, cx.now.wall);
        match replaced {
            Some(_) => cx.send(conn, &joined),
            None => self.tell_all(&joined, cx),
        }
        if let Some(host) = elected {
            // The newcomer's acknowledgement names the host.
            self.tell_others(conn, &host_changed(&host, cx.now.wall), cx);
        }
        let ping = self.room[place].ping(self.tick, cx.elapsed());
        ping.iter().for_each(|ping| cx.send(conn, ping));
        if cx.disk_fails {
            cx.send(conn, &not_durable());
        }
        let arrival = SessionTimer::Arrival(conn);
        cx.timers.set_in_session(cx.elapsed() + ARRIVAL_TIMEOUT, self.room.name(), arrival);
        self.set_expiry_timer(conn, cx);
        self.journal_news(cx);
        replaced
    }

    /// Removes a member.
    pub fn leave(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        self.leave_together(&[conn], cx);
    }

    /// Removes members at one moment, so that none of them becomes host because another leaves.
    pub(super) fn leave_together(&mut self, conns: &[ConnId], cx: &mut Context<'_>) {
        let left: Vec<Member> = conns.iter().filter_map(|conn| self.room.remove(*conn)).collect();
        for member in &left {
            self.tell_all(&user_message("user:left", &member.user, cx.now.wall), cx);
        }
        self.elect_and_announce(cx);
        self.linger_if_empty(cx);
    }

    /// Its memory.
    pub fn memory_use(&self, limits: &Limits) -> MemoryUse {
        let documents = self.document.memory();
        let is_spare = self.is_evictable(limits);
        let (_, versions) = self.versions.sizes();
        let versions = versions + self.document.removed().bytes();
        MemoryUse { documents, evictable: if is_spare { documents } else { 0 }, versions }
    }

    /// Gives up a part of what is kept of the past: first all removed items, then the oldest version.
    pub fn forget_some_past(&mut self) {
        match self.document.removed().bytes() {
            0 => self.versions.evict_oldest(),
            _ => self.document.forget_removed_items(),
        }
    }

    /// Answers the request of a newcomer that wasn't recognised in time, without a document: it may still show
    /// its canvas, so its canvas must not change. It is sent the document if it turns out to be a guest.
    pub fn arrival_timed_out(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        let Some(place) = self.room.place(conn) else { return };
        if let RoleDetection::Unknown { waiting: Some(_), .. } = self.room[place].arrival {
            self.send_null_state(place, cx);
        }
    }

    /// Recognises a newcomer as a guest by a message that one with a canvas doesn't send first.
    pub(super) fn recognise_by_message(
        &mut self,
        place: usize,
        had_document: bool,
        cx: &mut Context<'_>,
    ) {
        if !self.room[place].is_recognised() {
            self.recognise_guest(place, had_document, cx);
        }
    }

    /// Recognises a newcomer as a guest: it starts from the document.
    fn recognise_guest(&mut self, place: usize, has_document: bool, cx: &mut Context<'_>) {
        let arrival = self.room[place].recognise_as(RoleDetection::Guest, self.tick);
        let RoleDetection::Unknown { waiting, .. } = arrival else { return };
        match waiting {
            Some(request) => self.answer(place, &request, cx),
            None if has_document => self.send_state(&[place], cx),
            None => {}
        }
    }

    /// Takes over the extra fields of a client's state. `true` if the document changes by it.
    pub fn set_extra(&mut self, extra: &Fields) -> bool {
        let is_news = self.document.set_extra(extra);
        if is_news {
            self.forget_encoded();
        }
        is_news
    }

    /// Drops the encoded document.
    pub(super) fn forget_encoded(&mut self) {
        self.encoded = [None, None];
    }

    /// Recovers from a panic while an event of `conn` was handled: effects may be lost, so all others are sent the
    /// document, and it is given to the store.
    pub fn recover(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        if self.document.exists() {
            self.begin();
            self.journal_document(cx);
            let others =
                self.places_except(|member| member.conn == conn || !member.is_recognised());
            self.send_state(&others, cx);
            self.send_state_to_viewers(cx);
            self.finish(cx);
        }
    }

    /// How much it holds, for tests.
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
            removed_bytes: self.document.removed().bytes(),
        }
    }

    /// The places of the members for whom `left_out` is `false`.
    pub fn places_except(&self, left_out: impl Fn(&Member) -> bool) -> Vec<usize> {
        (0..self.room.len()).filter(|&place| !left_out(&self.room[place])).collect()
    }
}

fn user_message(kind: &str, user: &UserId, now: Timestamp) -> Frame {
    Message::new(kind).string("user_id", user).timestamp(now).finish()
}

/// `host:changed`.
pub(super) fn host_changed(host: &UserId, now: Timestamp) -> Frame {
    user_message("host:changed", host, now)
}
