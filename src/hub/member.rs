//! A member of a session: what was sent to it, what that says about its canvas, and how its role is
//! recognised.

use std::time::Duration;

use super::item::Item;
use super::pass::Pass;
use super::room::Occupant;
use super::{ConnId, Now};
use crate::protocol::inbound::{Action, Since};
use crate::protocol::{Frame, Timestamp, UserId};

/// How long something that was sent may still be on its way to a client, so that what the client
/// says meanwhile was said without knowing of it.
pub const IN_FLIGHT: Duration = Duration::from_secs(2);

/// A user of a session, on the connection it has now.
#[derive(Debug)]
pub struct Member {
    pub conn: ConnId,
    pub user: UserId,
    /// What it was let in with, where keys are asked for.
    pub pass: Option<Pass>,
    pub connected_at: Timestamp,
    /// The payload of the Ping it was sent on arrival.
    token: [u8; 8],
    /// When it was sent that, and how long it took to answer; `None` until it has.
    pinged_at: Duration,
    round_trip: Option<Duration>,
    pub arrival: Arrival,
    /// How many states it was sent on this connection. Each replaced its canvas.
    pub states_sent: u64,
    /// When the last of them was sent, and whether something it said shows that it was received.
    state_sent_at: Duration,
    state_is_received: bool,
    states_before_ping: u64,
    pub joined_at: Duration,
    /// Until then a correction may be on its way to it that undoes what it has just done.
    pub corrected_until: Duration,
    /// Until then an item may be on its way to it as it had it itself a moment ago.
    pub settled_until: Duration,
    /// Whether it has already answered its own `user:joined` with its canvas.
    pub has_shown_canvas: bool,
}

/// What is known of a member's role. Only the editor knows it, but a host answers its own
/// `user:joined` with its canvas before it answers the Ping that was sent after it.
#[derive(Debug)]
pub enum Arrival {
    Unknown {
        /// Nobody else was there who may have a canvas, which is whoever may write: requests wait,
        /// because an empty answer would wipe a host's canvas.
        alone: bool,
        /// Alone in a session that had a document before: a host may have begun a new design.
        returns: bool,
        waiting: Option<Request>,
    },
    Client,
    Host {
        /// Its canvas is what the server knows it to be, so that its first request needs no state.
        canvas_is_known: bool,
    },
}

/// A `sync:request`.
#[derive(Debug)]
pub struct Request {
    pub since: Option<Since>,
}

impl Occupant for Member {
    fn conn(&self) -> ConnId {
        self.conn
    }
}

impl Member {
    /// A user that has just come in; the server knows nothing of its canvas yet.
    pub fn new(
        conn: ConnId,
        user: UserId,
        pass: Option<Pass>,
        token: [u8; 8],
        arrival: Arrival,
        now: Now,
    ) -> Self {
        Member {
            conn,
            user,
            pass,
            connected_at: now.wall,
            token,
            pinged_at: Duration::ZERO,
            round_trip: None,
            arrival,
            states_sent: 0,
            state_sent_at: Duration::ZERO,
            state_is_received: false,
            states_before_ping: 0,
            joined_at: now.elapsed,
            corrected_until: Duration::ZERO,
            settled_until: Duration::ZERO,
            has_shown_canvas: false,
        }
    }

    /// Whether it may do more than watch and point.
    pub fn may_write(&self) -> bool {
        self.pass.as_ref().is_none_or(Pass::may_write)
    }

    /// Notes that a state was sent to it.
    pub fn was_sent_a_state(&mut self, now: Duration) {
        self.states_sent += 1;
        self.state_sent_at = now;
        self.state_is_received = false;
    }

    /// The Ping of its arrival, which follows all that it is greeted with.
    pub fn ping(&mut self, now: Duration) -> Frame {
        self.pinged_at = now;
        self.states_before_ping = self.states_sent;
        Frame::ping(&self.token)
    }

    /// It has answered a Ping. Whether it was that of its arrival.
    pub fn answers_the_ping(&mut self, payload: &[u8], now: Duration) -> bool {
        let is_ours = self.token == payload;
        if is_ours && self.round_trip.is_none() {
            self.round_trip = Some(now.saturating_sub(self.pinged_at));
        }
        // A state it was sent on arrival came before the Ping; later ones didn't.
        self.state_is_received |= is_ours && self.states_sent == self.states_before_ping;
        is_ours
    }

    /// How long that took, the way to the hub and in it included; `None` as long as it hasn't.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Whether it may have a canvas that it has not shown and that nothing was put in the place of.
    pub fn has_unseen_canvas(&self) -> bool {
        self.states_sent == 0 && matches!(self.arrival, Arrival::Unknown { .. })
    }

    /// Whether a state may be on its way to it that wipes what it has just done.
    pub fn may_be_wiped(&self, now: Duration) -> bool {
        self.states_sent > 0 && !self.state_is_received && now < self.state_sent_at + IN_FLIGHT
    }

    /// Whether what it was sent lately may cross what it says now.
    pub fn may_be_crossed(&mut self, now: Duration) -> bool {
        // A client sends no whole canvas before it has its first state.
        self.state_is_received |= !self.could_speak_before_its_state();
        self.may_be_wiped(now) || now < self.corrected_until.max(self.settled_until)
    }

    fn could_speak_before_its_state(&self) -> bool {
        self.states_sent > 1 || matches!(self.arrival, Arrival::Host { .. })
    }

    /// Draws conclusions from a command about an item that the document has as `known`.
    pub fn speaks_of(&mut self, action: Action, known: Option<&Item>) {
        let could_add = self.could_speak_before_its_state();
        self.state_is_received |= match known {
            // Added by somebody else after the state, or so early that only a state told of it.
            Some(item) if item.added_at() > self.state_sent_at => {
                *item.added_by() != self.user && !item.came_back
            }
            Some(item) => !could_add && item.added_at() < self.joined_at,
            // A client adds nothing before it has its first state.
            None => !could_add && action == Action::Add,
        };
    }
}
