//! A member of a session: how its role is recognised and what it has received. What is known of its copies of
//! the items is in `member/copies.rs`.

mod copies;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::connection::HasConnection;
use super::{ConnId, Time};
use crate::protocol::inbound::Since;
use crate::protocol::{Frame, Timestamp, UserId};
pub use copies::FoundCopy;
use copies::KnownCopy;

/// A member with this many unanswered Pings is sent no more until it answers.
const MAX_UNANSWERED_PINGS: usize = 8;
/// A member's message that crossed a change of its item was sent by a copy that showed the item as it was
/// before. The copy may show that until the member is told again, at most for this time.
const CROSSING_WINDOW: Duration = Duration::from_secs(5);
/// How long a takeover is counted.
const TAKEOVER_WINDOW: Duration = Duration::from_secs(300);
/// How many takeovers are counted at most.
const MAX_TAKEOVERS: usize = 100;

/// A user of a session, on the connection it has now.
#[derive(Debug)]
pub struct Member {
    pub conn: ConnId,
    pub user: UserId,
    /// The access that its key gave it; `None` where the server asks for no keys.
    pub access: Option<Access>,
    pub connected_at: Timestamp,
    /// When its user's connections took over from one another, within [`TAKEOVER_WINDOW`], oldest first.
    takeovers: VecDeque<Duration>,
    pub arrival: RoleDetection,
    /// Whether the member is the editor: its first message was a `sync:request` that names its user.
    pub is_editor: bool,
    /// Whether it has sent a message.
    pub has_spoken: bool,
    /// Whether it has sent a command about an item.
    has_edited: bool,
    /// The first half of the payload of its Pings. It is random, so a client can't answer a Ping that it was
    /// not sent.
    token: [u8; 8],
    /// The Pings that it has not answered: the tick and the time at which each was sent.
    pings: VecDeque<(u64, Duration)>,
    /// It has received everything that was sent at or before this tick.
    pub received: u64,
    /// The tick at which it was sent something whose receipt has to be known soon: it is pinged at once, not at
    /// the next interval.
    receipt_wanted_at: u64,
    round_trip: Option<Duration>,
    /// The tick at which it was last sent a `remove_item` that the others were not sent.
    pub removal_sent_at: u64,
    /// The tick at which it was last sent a state, which replaced its canvas.
    pub state_sent_at: Option<u64>,
    pub joined_at: u64,
    /// It was sent no change at or before this tick: the server did not know its canvas yet.
    recognised_at: u64,
    /// What it had received when its last crossing began, and when that ends ([`CROSSING_WINDOW`]).
    crossing: Option<(u64, Duration)>,
    /// Whether it has answered its own `user:joined` with its canvas.
    pub has_shown_canvas: bool,
    /// Whether it was sent another `connection:ack` that it has not answered with a request.
    is_second_ack_pending: bool,
    /// Whether it was ever sent one. From then on messages may reach items of its canvas that it never named:
    /// from a file or from its undo history.
    was_sent_second_ack: bool,
    /// The tick at which it last answered such a `connection:ack`. From then on messages may reach other
    /// copies.
    second_ack_answered_at: u64,
    /// A request that waits until the member has received the state that is on its way to it.
    waiting: Option<Request>,
    /// What is known of single copies, where that is more than what is known of all.
    copies: HashMap<Arc<str>, KnownCopy>,
}

/// What is known of a member's canvas. Only the editor knows its mode. But one that shares its canvas answers
/// its own `user:joined` with the canvas, before it answers the Ping that was sent after `user:joined`.
#[derive(Debug)]
pub enum RoleDetection {
    /// Not recognised yet: requests wait, because a state would wipe a shared canvas.
    Unknown {
        /// The session had a document, and no other member who may write was there.
        returns_alone: bool,
        waiting: Option<Request>,
    },
    /// It starts from the document.
    Guest,
    /// It shares a canvas of its own. Its first request is answered with `"state": null`.
    Sharing { is_asked_for: bool },
}

/// A `sync:request`.
#[derive(Debug)]
pub struct Request {
    pub since: Option<Since>,
}

impl HasConnection for Member {
    fn conn(&self) -> ConnId {
        self.conn
    }
}

impl Member {
    /// A user that has just joined. The server knows nothing of its canvas yet.
    pub fn new(
        conn: ConnId,
        user: UserId,
        access: Option<Access>,
        token: [u8; 8],
        returns_alone: bool,
        joined_at: u64,
        now: Time,
    ) -> Self {
        Member {
            conn,
            user,
            access,
            connected_at: now.wall,
            takeovers: VecDeque::new(),
            arrival: RoleDetection::Unknown { returns_alone, waiting: None },
            is_editor: false,
            has_spoken: false,
            has_edited: false,
            token,
            pings: VecDeque::new(),
            received: 0,
            receipt_wanted_at: 0,
            round_trip: None,
            state_sent_at: None,
            removal_sent_at: 0,
            joined_at,
            recognised_at: joined_at,
            crossing: None,
            has_shown_canvas: false,
            is_second_ack_pending: false,
            was_sent_second_ack: false,
            second_ack_answered_at: 0,
            waiting: None,
            copies: HashMap::new(),
        }
    }

    /// Takes the place of an earlier connection of the same user, `now`.
    pub fn take_over(&mut self, earlier: Member, now: Duration) {
        self.connected_at = earlier.connected_at;
        self.takeovers = earlier.takeovers;
        self.takeovers.push_back(now);
        let is_over = |at: &Duration| now.saturating_sub(*at) > TAKEOVER_WINDOW;
        while self.takeovers.len() > MAX_TAKEOVERS || self.takeovers.front().is_some_and(is_over) {
            self.takeovers.pop_front();
        }
    }

    /// How often its user's connections took over from one another within the last five minutes. Many takeovers
    /// mean that two editors use one name. At most [`MAX_TAKEOVERS`].
    pub fn takeovers(&self, now: Duration) -> usize {
        self.takeovers.iter().filter(|at| now.saturating_sub(**at) <= TAKEOVER_WINDOW).count()
    }

    /// Whether its key permits more than to watch and to show a cursor.
    pub fn may_write(&self) -> bool {
        self.access.as_ref().is_none_or(Access::may_write)
    }

    /// Whether the server knows what the member's canvas shows. Only then the member is sent changes.
    pub fn is_recognised(&self) -> bool {
        !matches!(self.arrival, RoleDetection::Unknown { .. })
    }

    /// Notes whether it shares its canvas. A newcomer is sent the changes from this tick on. Returns what was
    /// known before.
    pub fn recognise_as(&mut self, arrival: RoleDetection, tick: u64) -> RoleDetection {
        if !self.is_recognised() {
            self.recognised_at = tick - 1;
        }
        std::mem::replace(&mut self.arrival, arrival)
    }

    /// Whether the server asks it by Pings what it has received: it may send whole dictionaries.
    pub fn is_tracked(&self) -> bool {
        self.is_editor || self.has_edited
    }

    /// Notes that it has sent a command about an item.
    pub fn note_edit(&mut self) {
        self.has_edited = true;
    }

    /// Notes that it is sent a state at this tick. Its editor builds its canvas anew.
    pub fn on_state_sent(&mut self, tick: u64) {
        self.state_sent_at = Some(tick);
        self.receipt_wanted_at = tick;
        self.copies.clear();
    }

    /// Notes that the receipt of what it is sent at this tick has to be known soon. Does so for members that
    /// may send whole dictionaries alone, and returns whether the member is one.
    pub fn expect_receipt(&mut self, tick: u64) -> bool {
        if self.is_tracked() {
            self.receipt_wanted_at = tick;
        }
        self.is_tracked()
    }

    /// A Ping whose Pong says that the member has received everything up to this tick. `None` where there is
    /// one for this tick already, or where [`MAX_UNANSWERED_PINGS`] are unanswered.
    pub fn ping(&mut self, tick: u64, now: Duration) -> Option<Frame> {
        let has_pinged = self.pings.back().is_some_and(|(at, _)| *at == tick);
        if self.pings.len() >= MAX_UNANSWERED_PINGS || has_pinged {
            return None;
        }
        self.pings.push_back((tick, now));
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&self.token);
        payload[8..].copy_from_slice(&tick.to_be_bytes());
        Some(Frame::ping(&payload))
    }

    /// Whether a Ping is due at once: a receipt is wanted, and no Ping is unanswered.
    pub fn needs_ping(&self) -> bool {
        self.pings.is_empty() && self.receipt_wanted_at > self.received
    }

    /// Whether it has an unanswered Ping.
    pub fn has_unanswered_ping(&self) -> bool {
        !self.pings.is_empty()
    }

    /// Handles a Pong: the member has received everything that was sent before the Ping. Returns whether the
    /// Pong answers a Ping that it was sent on this connection.
    pub fn on_pong(&mut self, payload: &[u8], now: Duration) -> bool {
        let Some(tick) = payload.strip_prefix(&self.token) else { return false };
        let Ok(tick) = tick.try_into().map(u64::from_be_bytes) else { return false };
        let Some(place) = self.pings.iter().position(|(at, _)| *at == tick) else { return false };
        let sent = self.pings[place].1;
        self.pings.drain(..=place);
        self.round_trip.get_or_insert(now.saturating_sub(sent));
        self.received = self.received.max(tick);
        true
    }

    /// The time from the first Ping to its Pong, as the hub thread sees it; `None` before the first Pong.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Whether a state may be on its way to it that replaces what the member has just done.
    pub fn may_be_wiped(&self) -> bool {
        self.state_sent_at.is_some_and(|tick| tick > self.received)
    }

    /// Keeps a request until the member has received the state that is on its way to it. Replaces an earlier
    /// one.
    pub fn set_waiting_request(&mut self, request: Request) {
        self.waiting = Some(request);
    }

    /// Takes the request that has waited, once the member has received the state.
    pub fn take_waiting_request(&mut self) -> Option<Request> {
        if self.may_be_wiped() { None } else { self.waiting.take() }
    }

    /// Whether something that all members were sent at this tick may be on its way to it. It was not sent what
    /// was sent before it joined.
    pub fn is_on_its_way(&self, tick: u64) -> bool {
        tick > self.received.max(self.joined_at)
    }

    /// Whether it has received what all members were sent at this tick, or, if that was before it joined, a
    /// document in which that was done.
    pub fn has_received(&self, tick: u64) -> bool {
        self.received >= tick.max(self.joined_at) && !self.may_be_wiped()
    }

    /// Notes that its message has crossed a change of the item that the message is about.
    pub fn note_crossing(&mut self, now: Duration) {
        if self.crossing.is_none_or(|(_, until)| until <= now) {
            self.crossing = Some((self.received, now + CROSSING_WINDOW));
        }
    }

    /// Its copies show no value any more that was replaced at or before this tick.
    pub fn received_by_copies(&self, now: Duration) -> u64 {
        match self.crossing {
            Some((received, until)) if until > now => received.min(self.received),
            _ => self.received,
        }
    }

    /// Notes that it is sent another `connection:ack`, unless it has one to answer, and returns whether it is
    /// sent one. An editor then looks through its canvas again: from then on messages reach what it has pasted.
    pub fn start_second_ack(&mut self) -> bool {
        let is_due = self.is_editor && !self.is_second_ack_pending;
        self.is_second_ack_pending |= is_due;
        self.was_sent_second_ack |= is_due;
        is_due
    }

    /// Whether messages may reach items of its canvas that it never named, and that are new to the document: it
    /// has looked through its canvas since it opened a file or used its undo history.
    pub fn may_list_unknown_items(&self) -> bool {
        self.was_sent_second_ack
    }
}
