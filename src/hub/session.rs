//! One session: who is in it, and how a newcomer is recognised.

use std::sync::Arc;
use std::time::Duration;

use super::document::Document;
use super::footprint::SessionFootprint;
use super::held::MemoryUse;
use super::history::History;
use super::item_frames::UpdateFrames;
use super::keeping::{PersistenceState, not_durable};
use super::member::{Arrival, FoundCopy, Member, Request};
use super::notes::Note;
use super::pass::Pass;
use super::past::Past;
use super::recent::Recent;
use super::room::Room;
use super::settle::{Owed, Settling};
use super::timers::SessionTimer;
use super::versions::Versions;
use super::viewers::Viewer;
use super::{ConnId, Effect, Limits, Turn};
use crate::protocol::json::{self, Fields};
use crate::protocol::outbound::{Message, write_key};
use crate::protocol::{Frame, Timestamp, UserId, close};

/// How long a newcomer's request waits for it to be recognised; then it is told nothing of the document.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often members who are told of changes are asked what they have received.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// From this size of the document on, a member's request waits while a state is on its way to it.
const LARGE_DOCUMENT: usize = 64 << 10;
/// When a session is looked at again that has lingered and could not be forgotten.
const EVICTION_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// How many items it has or had, whether somebody views it, whether several people were there, and when
/// the last one left.
pub type EvictionCost = (usize, bool, bool, Duration);

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

    /// Lingers from now on, if nobody is there and it doesn't already.
    pub fn linger_if_empty(&mut self, turn: &mut Turn<'_>) {
        if self.room.is_empty() && self.empty_since.is_none() {
            self.forget_encoded();
            self.empty_since = Some(turn.elapsed());
            self.set_linger_timer(turn);
            if let Some(at) = self.receipts_timer.take() {
                turn.timers.cancel(at, self.room.name(), SessionTimer::Receipts);
            }
        }
    }

    /// Sets a timer for the moment at which the session may have lingered for long enough, unless
    /// there is one: it may be left many times meanwhile.
    fn set_linger_timer(&mut self, turn: &mut Turn<'_>) {
        if let (Some(since), None) = (self.empty_since, self.linger_timer) {
            // What must not be forgotten although its time is over is looked at again.
            let until = match since + turn.limits.linger {
                until if until > turn.elapsed() => until,
                _ => turn.elapsed() + EVICTION_RETRY_INTERVAL,
            };
            self.linger_timer = Some(until);
            turn.timers.set_in_session(until, self.room.name(), SessionTimer::Linger);
        }
    }

    /// The timer has fired, and the session is still there.
    pub fn linger_timer_fired(&mut self, turn: &mut Turn<'_>) {
        if self.linger_timer.take_if(|at| *at <= turn.elapsed()).is_some() {
            self.set_linger_timer(turn);
        }
    }

    /// When it sees whether it has lingered, if that is to be seen.
    pub fn linger_timer(&self) -> Option<Duration> {
        self.linger_timer
    }

    /// Whether the session has been without members for as long as it is kept in memory.
    pub fn is_expired(&self, now: Duration, limits: &Limits) -> bool {
        self.empty_since.is_some_and(|since| now >= since + limits.linger)
            && !self.keeping.is_at_risk
            && !self.is_held_by_viewers(limits)
    }

    /// Whether it can leave memory at any time: it is stored, and nobody but viewers is there.
    fn is_evictable(&self, limits: &Limits) -> bool {
        limits.durable && self.room.is_empty() && !self.keeping.is_at_risk
    }

    /// What would be lost with it, if another session took its place: the least is the first to go. `None`
    /// where it stays: somebody is there, it isn't stored yet, or more than an item would be lost that nobody
    /// has any more. One person's canvas is on that person's screen, too; its earlier versions are nowhere else.
    pub fn eviction_cost(&self, limits: &Limits) -> Option<EvictionCost> {
        let since = self.empty_since.filter(|_| self.room.is_empty())?;
        let is_viewed = !self.viewers.is_empty();
        if limits.durable {
            return self.is_evictable(limits).then_some((0, is_viewed, false, since));
        }
        let earlier = self.versions.max_items();
        let items = self.document.len().max(earlier);
        let is_shared = self.document.users().nth(1).is_some();
        let is_elsewhere = !is_shared && earlier <= 1;
        (is_elsewhere || items <= 1).then_some((items, is_viewed, is_shared, since))
    }

    /// When the last member left; `None` while there is one.
    pub fn empty_since(&self) -> Option<Duration> {
        self.empty_since
    }

    /// What it takes of memory.
    pub fn memory_use(&self, limits: &Limits) -> MemoryUse {
        let documents = self.document.memory();
        let is_spare = self.is_evictable(limits);
        let (_, versions) = self.versions.sizes();
        MemoryUse { documents, evictable: if is_spare { documents } else { 0 }, versions }
    }

    /// Another event is about to be handled.
    pub(super) fn begin(&mut self) {
        self.tick += 1;
    }

    /// An event has been handled: members are asked what they have received, where that has to be known.
    pub(super) fn finish(&mut self, turn: &mut Turn<'_>) {
        self.keep_news(turn);
        let (tick, now) = (self.tick, turn.elapsed());
        let is_behind = self.told_last > self.received_by_all && !self.room.is_empty();
        if is_behind && self.receipts_timer.is_none() {
            self.set_receipts_timer(turn);
        }
        if std::mem::take(&mut self.needs_pings) {
            for member in self.room.iter_mut().filter(|member| member.needs_ping()) {
                let ping = member.ping(tick, now);
                ping.iter().for_each(|ping| turn.send(member.conn, ping));
            }
        }
    }

    fn set_receipts_timer(&mut self, turn: &mut Turn<'_>) {
        let at = turn.elapsed() + PING_INTERVAL;
        self.receipts_timer = Some(at);
        turn.timers.set_in_session(at, self.room.name(), SessionTimer::Receipts);
    }

    /// Asks members what they have received, and sees what all of them have.
    pub fn check_receipts(&mut self, turn: &mut Turn<'_>) {
        self.receipts_timer = None;
        let (tick, now) = (self.tick, turn.elapsed());
        let tracked = self.room.iter().filter(|member| member.is_tracked());
        self.received_by_all = tracked.map(|member| member.left_behind(now)).min().unwrap_or(tick);
        for member in self.room.iter_mut() {
            if member.is_tracked() && member.received < self.told_last && !member.is_pinged() {
                let ping = member.ping(tick, now);
                ping.iter().for_each(|ping| turn.send(member.conn, ping));
            }
        }
    }

    /// A member has answered a protocol Ping. If its canvas hasn't come before the Pong of its arrival,
    /// it shares none.
    pub fn pong(&mut self, conn: ConnId, payload: &[u8], turn: &mut Turn<'_>) {
        let Some(place) = self.room.place(conn) else { return };
        if !self.room[place].answers(payload, turn.elapsed()) {
            return;
        }
        self.begin();
        if !self.room[place].is_recognised() {
            self.recognise_guest(place, self.document.exists(), turn);
        } else if let Some(request) = self.room[place].take_waiting() {
            self.answer(place, &request, turn);
        }
        self.needs_pings |= self.room[place].needs_ping();
        if self.needs_pings {
            self.finish(turn);
        }
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
        let arrival = self.room[place].is_recognised_as(Arrival::Guest, self.tick);
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

    /// Answers a `sync:request`, or lets it wait until the newcomer is recognised.
    pub fn request(&mut self, place: usize, request: Request, turn: &mut Turn<'_>) {
        let is_large = self.document.bytes() >= LARGE_DOCUMENT;
        let member = &mut self.room[place];
        if let Some(items) = member.has_looked_again(self.tick) {
            let user = member.user.clone();
            for FoundCopy { id, may_be_gone, is_own } in items {
                if let Some(is_own) = is_own {
                    self.document.note_builder(&id, &user, is_own);
                }
                self.owe(&user, &id, if may_be_gone { Owed::Anew } else { Owed::Update }, turn);
            }
            return self.send_null_state(place, turn);
        }
        let awaits_a_state = member.may_be_wiped();
        match &mut member.arrival {
            Arrival::Unknown { waiting, .. } => *waiting = Some(request),
            Arrival::Sharing { is_asked_for } if !*is_asked_for && request.since.is_none() => {
                *is_asked_for = true;
                self.send_null_state(place, turn);
            }
            // One answer for all that it asks until it has the last one.
            _ if is_large && awaits_a_state => member.waits_with(request),
            _ => self.answer(place, &request, turn),
        }
    }

    /// Sends the document to these members, each item followed up by its whole data.
    pub fn send_state(&mut self, places: &[usize], turn: &mut Turn<'_>) {
        for &place in places {
            let is_editor = self.room[place].is_editor;
            let frames = self.state_frames(is_editor, turn);
            let member = &mut self.room[place];
            member.is_sent_a_state(self.tick);
            self.needs_pings = true;
            frames.iter().for_each(|frame| turn.send(member.conn, frame));
            let user = member.user.clone();
            if is_editor {
                self.note_rebuilt(&user, turn);
            }
        }
    }

    /// Notes that a user's canvas is built anew from the document: none of it is its own work.
    pub(super) fn note_rebuilt(&mut self, user: &UserId, turn: &mut Turn<'_>) {
        if self.document.remove_builder(user) {
            self.keep_note(user, &Note::Rebuilt, turn);
        }
    }

    /// `sync:state` and what follows it, encoded once for all who ask before the next change.
    pub(super) fn state_frames(&mut self, for_editors: bool, turn: &Turn<'_>) -> Arc<[Frame]> {
        let seq = self.history.seq();
        let encoded = &self.encoded[usize::from(for_editors)];
        if let Some((_, frames)) = encoded.as_ref().filter(|(as_of, _)| *as_of == seq) {
            return frames.clone();
        }
        let now = turn.now.wall;
        let mut frames = vec![self.state_frame(seq, for_editors, now)];
        let items = self.document.items().filter(|_| turn.limits.settle);
        for item in items.filter(|item| !for_editors || item.is_for_editors()) {
            let update = UpdateFrames::settled(item, now);
            match for_editors {
                true => frames.extend(update.rebuilt().cloned()),
                false => frames.push(update.plain().clone()),
            }
        }
        let frames: Arc<[Frame]> = frames.into();
        self.encoded[usize::from(for_editors)] = Some((seq, frames.clone()));
        frames
    }

    /// Answers a request without touching the receiver's canvas.
    pub fn send_null_state(&self, place: usize, turn: &mut Turn<'_>) {
        let state = self.state_message(self.history.seq(), turn.now.wall, |json| {
            json.extend_from_slice(b"null");
        });
        turn.send(self.room[place].conn, &state);
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

    fn answer(&mut self, place: usize, request: &Request, turn: &mut Turn<'_>) {
        let since = self.since(request);
        let conn = self.room[place].conn;
        if !since.is_some_and(|since| self.send_missed(conn, since, turn)) {
            self.send_state(&[place], turn);
        }
    }

    /// The change that a request wants to catch up from, if that is of this life of the session.
    pub(super) fn since(&self, request: &Request) -> Option<u64> {
        let since = request.since.as_ref().filter(|since| *since.epoch == *self.epoch);
        since.map(|since| since.seq)
    }

    /// Sends somebody what came after a change, as far as it is still known. Whether it was.
    pub(super) fn send_missed(&self, conn: ConnId, since: u64, turn: &mut Turn<'_>) -> bool {
        let Some(missed) = self.history.after(since) else { return false };
        missed.for_each(|frame| turn.send(conn, frame));
        let done = Message::new("sync:done")
            .string("epoch", &self.epoch)
            .number("seq", self.history.seq())
            .timestamp(turn.now.wall);
        turn.send(conn, &done.finish());
        true
    }

    /// `connection:ack` for the member at `place`, or for a viewer.
    pub(super) fn acknowledgement(&self, place: Option<usize>, now: Timestamp) -> Frame {
        let server = format!(r#"{{"name":"collabd","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
        let message = Message::new("connection:ack").string("session_id", self.room.name());
        let message = match place {
            Some(place) => message
                .string("user_id", &self.room[place].user)
                .flag("is_host", self.is_host(place)),
            None => message.raw("user_id", "null").flag("viewer", true).flag("is_host", false),
        };
        message
            .written("users", |json| {
                json.push(b'[');
                for (place, member) in self.room.iter().enumerate() {
                    json.extend_from_slice(if place > 0 { b",{" } else { b"{" });
                    write_key(json, "user_id");
                    json.extend_from_slice(json::string(&member.user).get().as_bytes());
                    let since = member.connected_at;
                    let is_host = self.is_host(place);
                    let rest = format!(r#","connected_at":"{since}","is_host":{is_host}}}"#);
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

    /// `sync:state` with the document as of change `seq`, with all of it or what editors know.
    fn state_frame(&self, seq: u64, for_editors: bool, now: Timestamp) -> Frame {
        self.state_message(seq, now, |json| match for_editors {
            true => self.document.write_editors_state(json, now),
            false => self.document.write_state(json, now),
        })
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

fn user_message(kind: &str, user: &UserId, now: Timestamp) -> Frame {
    Message::new(kind).string("user_id", user).timestamp(now).finish()
}

/// Who is host from now on.
pub(super) fn host_changed(host: &UserId, now: Timestamp) -> Frame {
    user_message("host:changed", host, now)
}
