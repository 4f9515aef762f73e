//! A member of a session: how its role is recognised, what it has received, and what is known of its
//! copies of the items.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::item::Item;
use super::pass::Pass;
use super::room::Occupant;
use super::told::{Said, Sight};
use super::writing::{Copy, CopyKind, Written};
use super::{ConnId, Now};
use crate::protocol::inbound::Since;
use crate::protocol::{Frame, Timestamp, UserId};

/// How many of its Pings a member may leave unanswered; no more are sent until it answers.
const MAX_PINGS: usize = 8;
/// After a member's message has crossed something about an item, its copy may show what was sent before
/// that until it is told again, at most for so long.
const CROSSING: Duration = Duration::from_secs(5);

/// A user of a session, on the connection it has now.
#[derive(Debug)]
pub struct Member {
    pub conn: ConnId,
    pub user: UserId,
    /// What it was let in with, where keys are asked for.
    pub pass: Option<Pass>,
    pub connected_at: Timestamp,
    pub arrival: Arrival,
    /// Whether it is the editor: its first message was a `sync:request` that names its user.
    pub is_editor: bool,
    /// Whether it has said anything but `sync:request` and Pong.
    pub has_spoken: bool,
    /// Whether it has sent a command about an item.
    has_edited: bool,
    /// Makes its Pings unlike anybody else's.
    token: [u8; 8],
    /// The ticks at which it was sent a Ping that it has not answered, and when.
    pings: VecDeque<(u64, Duration)>,
    /// It has received everything that was sent at or before this tick.
    pub received: u64,
    /// The tick at which it was sent something that has to be known to be received: its next Ping
    /// follows at once.
    urgent: u64,
    round_trip: Option<Duration>,
    /// The tick at which it was sent a `remove_item` of its own last.
    pub removals: u64,
    /// The tick at which it was sent a state last, which replaced its canvas.
    pub rebuilt: Option<u64>,
    /// The tick at which it joined.
    pub joined: u64,
    /// It was told of no change at or before this tick: its canvas was not known yet.
    recognised: u64,
    /// What it had received when a message of its last crossed something, and until when that counts.
    crossing: Option<(u64, Duration)>,
    /// Whether it has answered its own `user:joined` with its canvas.
    pub has_shown_canvas: bool,
    /// Whether it was sent another `connection:ack`, which it answers with a request.
    is_greeted_again: bool,
    /// Whether it was ever sent one. From then on its list may hold items that it never named, from a file or its
    /// undo history.
    may_list_more: bool,
    /// The tick at which it answered the last `connection:ack` after the first. Its list may hold other copies since.
    looked_again: u64,
    /// A request that waits until it has received the state that is on its way to it.
    waiting: Option<Request>,
    /// What is known of single copies, where it is more than what is known of all.
    copies: HashMap<Arc<str>, KnownCopy>,
}

/// What is known of one copy.
#[derive(Debug, Default, Clone)]
struct KnownCopy {
    /// The tick at which it was sent the item by itself.
    sent: u64,
    /// The tick at which the member listed the item in a snapshot, or added it by an `add_item`, last.
    listed: Option<u64>,
    /// Whether the member brought the item into the document. Then it built this copy itself.
    is_first: bool,
    /// Whether messages about the item don't reach this copy: it was pasted or came back by an undone
    /// removal, which the editor takes no note of.
    is_deaf: bool,
    /// Whether a removal that was on its way may have removed this copy, which was pasted.
    is_uncertain: bool,
    /// Whether its interfaces are moved although the item was not in the document.
    is_moved: bool,
    /// Whether the member built the copy that its last command was about, where messages reach another copy. After
    /// the next `connection:ack` they may reach that one.
    is_other_own: Option<bool>,
    /// The fingerprint of the colour it reported last, and of the one that it reported last in a list or an
    /// `add_item`.
    color: Option<u64>,
    listed_color: Option<u64>,
    /// What the member has said of it last.
    said: Option<Said>,
}

/// What is known of a member's canvas. Only the editor knows its mode, but one that shares its canvas
/// answers its own `user:joined` with it, before it answers the Ping that was sent after it.
#[derive(Debug)]
pub enum Arrival {
    /// Not recognised yet: requests wait, because a state would wipe a shared canvas.
    Unknown {
        /// Nobody else was there who may write, and the session had a document.
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

impl Occupant for Member {
    fn conn(&self) -> ConnId {
        self.conn
    }
}

/// An item that an editor has found when it looked through its canvas again.
pub struct FoundCopy {
    pub id: Arc<str>,
    /// Whether it may have been removed meanwhile.
    pub may_be_gone: bool,
    /// Whether its owner built it, as far as it has said so.
    pub is_own: Option<bool>,
}

impl Member {
    /// A user that has just come in; the server knows nothing of its canvas yet.
    pub fn new(
        conn: ConnId,
        user: UserId,
        pass: Option<Pass>,
        token: [u8; 8],
        returns_alone: bool,
        joined: u64,
        now: Now,
    ) -> Self {
        Member {
            conn,
            user,
            pass,
            connected_at: now.wall,
            arrival: Arrival::Unknown { returns_alone, waiting: None },
            is_editor: false,
            has_spoken: false,
            has_edited: false,
            token,
            pings: VecDeque::new(),
            received: 0,
            urgent: 0,
            round_trip: None,
            rebuilt: None,
            removals: 0,
            joined,
            recognised: joined,
            crossing: None,
            has_shown_canvas: false,
            is_greeted_again: false,
            may_list_more: false,
            looked_again: 0,
            waiting: None,
            copies: HashMap::new(),
        }
    }

    /// Whether it may do more than watch and point.
    pub fn may_write(&self) -> bool {
        self.pass.as_ref().is_none_or(Pass::may_write)
    }

    /// Whether it is known what its canvas shows: only then is it told of changes.
    pub fn is_recognised(&self) -> bool {
        !matches!(self.arrival, Arrival::Unknown { .. })
    }

    /// Whether the server wants to know what it has received: it may send whole dictionaries.
    pub fn is_tracked(&self) -> bool {
        self.is_editor || self.has_edited
    }

    /// Notes that it has sent a command about an item.
    pub fn edits(&mut self) {
        self.has_edited = true;
    }

    /// Notes that it is sent a state at this tick: its canvas is built anew.
    pub fn is_sent_a_state(&mut self, tick: u64) {
        self.rebuilt = Some(tick);
        self.urgent = tick;
        self.copies.clear();
    }

    /// Notes that what it is sent at this tick has to be known to be received soon, if it may send
    /// whole dictionaries. Whether that is so.
    pub fn is_sent_something_urgent(&mut self, tick: u64) -> bool {
        if self.is_tracked() {
            self.urgent = tick;
        }
        self.is_tracked()
    }

    /// A Ping with which it says that it has received everything up to this tick; `None` where enough
    /// of them are unanswered.
    pub fn ping(&mut self, tick: u64, now: Duration) -> Option<Frame> {
        if self.pings.len() >= MAX_PINGS || self.pings.back().is_some_and(|(at, _)| *at == tick) {
            return None;
        }
        self.pings.push_back((tick, now));
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&self.token);
        payload[8..].copy_from_slice(&tick.to_be_bytes());
        Some(Frame::ping(&payload))
    }

    /// Whether a Ping is due at once: it was sent something urgent, and no Ping is on its way to it.
    pub fn needs_ping(&self) -> bool {
        self.pings.is_empty() && self.urgent > self.received
    }

    /// Whether it has an unanswered Ping.
    pub fn is_pinged(&self) -> bool {
        !self.pings.is_empty()
    }

    /// It has sent a Pong. Whether it answers a Ping of its own; what was sent before that is received.
    pub fn answers(&mut self, payload: &[u8], now: Duration) -> bool {
        let Some(tick) = payload.strip_prefix(&self.token) else { return false };
        let Ok(tick) = tick.try_into().map(u64::from_be_bytes) else { return false };
        let Some(place) = self.pings.iter().position(|(at, _)| *at == tick) else { return false };
        let sent = self.pings[place].1;
        self.pings.drain(..=place);
        self.round_trip.get_or_insert(now.saturating_sub(sent));
        self.received = self.received.max(tick);
        true
    }

    /// How long its first Pong took, the way to the hub and in it included; `None` as long as there is
    /// none.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Whether a state may be on its way to it that wipes what it has just done.
    pub fn may_be_wiped(&self) -> bool {
        self.rebuilt.is_some_and(|tick| tick > self.received)
    }

    /// Has a request wait until the state that is on its way to it is received.
    pub fn waits_with(&mut self, request: Request) {
        self.waiting = Some(request);
    }

    /// The request that has waited, once there is nothing to wait for.
    pub fn take_waiting(&mut self) -> Option<Request> {
        if self.may_be_wiped() { None } else { self.waiting.take() }
    }

    /// Whether something about an item may be on its way to it, so that it says what it says without
    /// knowing of it.
    pub fn may_be_crossed(&self, item: &Item) -> bool {
        self.may_be_wiped() || self.sight_of(item, self.copies.get(&item.id)).is_crossed()
    }

    /// Whether what everybody was sent at this tick may be on its way to it. What was sent before it
    /// joined is not.
    pub fn is_on_its_way(&self, tick: u64) -> bool {
        tick > self.received.max(self.joined)
    }

    /// Whether it has received what everybody was sent at this tick, or, where that was before it joined,
    /// the document as it was then.
    pub fn knows_of(&self, tick: u64) -> bool {
        self.received >= tick.max(self.joined) && !self.may_be_wiped()
    }

    /// The tick at which its copy of an item was built from a message; `None` where it wasn't, or where
    /// everybody was sent the item.
    fn is_sent_at(&self, item: &Item, known: Option<&KnownCopy>) -> Option<u64> {
        let by_itself = known.map(|copy| copy.sent).filter(|sent| *sent > 0);
        by_itself.max(self.rebuilt.filter(|tick| item.added <= *tick))
    }

    /// What is known of what its copy of an item shows.
    fn sight_of<'a>(&'a self, item: &'a Item, known: Option<&'a KnownCopy>) -> Sight<'a> {
        let sent = self.is_sent_at(item, known).filter(|sent| *sent > self.recognised);
        Sight {
            user: &self.user,
            told: &item.told,
            since: sent.unwrap_or(self.recognised),
            is_told_since: sent.is_some(),
            received: self.received,
            said: known.and_then(|copy| copy.said.as_ref()),
        }
    }

    /// What is known of its copy of an item; `settles` where it is told what items look like.
    pub fn copy_of<'a>(&'a self, item: &'a Item, settles: bool) -> Copy<'a> {
        let known = self.copies.get(&item.id);
        let sent = self.is_sent_at(item, known);
        let is_own_add = known.is_some_and(|copy| copy.listed.is_some() || copy.is_first);
        let is_on_its_way = match sent {
            Some(sent) => sent > self.received,
            None if is_own_add => false,
            None => item.added > self.received && item.told.has(&self.user, item.added),
        };
        let kind = match self.is_editor {
            true if item.builders.contains(&self.user) => CopyKind::Own,
            true if settles && is_on_its_way => CopyKind::Blank,
            true => CopyKind::Rebuilt,
            // A program builds what it is sent.
            false => CopyKind::Own,
        };
        let colors = [known.and_then(|copy| copy.color), None];
        let sight = Some(self.sight_of(item, known));
        // What is not known to have taken the old one's place may be told of the old one.
        let is_gone = kind == CopyKind::Blank;
        Copy { user: &self.user, kind, colors, is_gone, sight }
    }

    /// The same of the copy that it lists.
    pub fn listed_copy<'a>(&'a self, item: &'a Item, settles: bool) -> Copy<'a> {
        let copy = self.copy_of(item, settles);
        let listed_color = self.copies.get(&item.id).and_then(|known| known.listed_color);
        Copy { colors: [copy.colors[0], listed_color], ..copy }
    }

    /// The same of the copy of which an `update_item` tells: an editor says that of none but those that its user has
    /// placed or pasted. So where it was sent the item since, it tells of one that was removed before, by a dialog
    /// that was open or by undoing.
    pub fn copy_of_update<'a>(&'a self, item: &'a Item, settles: bool) -> Copy<'a> {
        let known = self.copies.get(&item.id);
        let sent = self.is_sent_at(item, known);
        let is_first = known.is_some_and(|copy| copy.is_first);
        let added = Some(item.added).filter(|added| !is_first && *added > self.recognised);
        let is_sent = sent.max(added).is_some_and(|tick| tick > self.looked_again);
        let is_own = item.builders.contains(&self.user);
        let copy = self.copy_of(item, settles);
        Copy { is_gone: copy.is_gone || (self.is_editor && is_sent && !is_own), ..copy }
    }

    /// What is known of its copy of an item, of a canvas that it shows for the first time; `was_sent`
    /// where it was sent the item on an earlier connection.
    pub fn unseen_copy(&self, was_sent: bool) -> Copy<'_> {
        let kind = CopyKind::Unseen { was_sent: was_sent && self.is_editor };
        Copy { user: &self.user, kind, colors: [None; 2], is_gone: false, sight: None }
    }

    /// Whether its copy needs the item with its interfaces moved.
    pub fn has_moved_copy(&self, item: &Item) -> bool {
        self.is_editor && !item.builders.contains(&self.user)
    }

    /// Notes what its message has said of an item, at this tick.
    pub fn says(&mut self, id: &Arc<str>, written: &Written, tick: u64) {
        let said = Said { tick, received: self.received, odd: written.odd.clone() };
        let copy = self.copies.entry(id.clone()).or_default();
        copy.said = Some(said);
        if self.is_editor && written.color.is_some() {
            copy.color = written.color;
        }
    }

    /// The same of a list or an `add_item`. The colour that it has listed before is not a newer one than
    /// that of its last command.
    pub fn says_in_list(&mut self, id: &Arc<str>, written: &Written, tick: u64) {
        let before = self.copies.get(id).map_or([None; 2], |copy| [copy.color, copy.listed_color]);
        self.says(id, written, tick);
        if let Some(copy) = self.copies.get_mut(id).filter(|_| self.is_editor) {
            if before[1].is_some() && before[1] == written.color {
                copy.color = before[0];
            }
            copy.listed_color = written.color.or(before[1]);
        }
    }

    /// Notes that its message has crossed something about an item.
    pub fn has_crossed(&mut self, now: Duration) {
        if self.crossing.is_none_or(|(_, until)| until <= now) {
            self.crossing = Some((self.received, now + CROSSING));
        }
    }

    /// Its copies show nothing any more that was replaced at or before this tick.
    pub fn left_behind(&self, now: Duration) -> u64 {
        match self.crossing {
            Some((received, until)) if until > now => received.min(self.received),
            _ => self.received,
        }
    }

    /// Notes that it is known from now on whether it shares its canvas; a newcomer is told of changes
    /// from now on. What was known before.
    pub fn is_recognised_as(&mut self, arrival: Arrival, tick: u64) -> Arrival {
        if !self.is_recognised() {
            self.recognised = tick - 1;
        }
        std::mem::replace(&mut self.arrival, arrival)
    }

    /// Notes that it has the item by its own account, in its list.
    pub fn lists(&mut self, id: &Arc<str>, tick: u64) {
        let copy = self.copies.entry(id.clone()).or_default();
        (copy.listed, copy.is_deaf) = (Some(tick), false);
    }

    /// Notes that it was the one to bring the item, which was not in the document before.
    pub fn brings(&mut self, id: &Arc<str>) {
        self.copies.entry(id.clone()).or_default().is_first = true;
    }

    /// Notes that it has pasted the item or brought it back by undoing: messages don't reach it.
    /// `is_uncertain` where it may speak of a copy that is about to be removed instead.
    pub fn pasted(&mut self, id: &Arc<str>, is_uncertain: bool) {
        let copy = self.copies.entry(id.clone()).or_default();
        (copy.listed, copy.is_deaf, copy.is_first) = (None, self.is_editor, false);
        copy.is_uncertain |= is_uncertain && self.is_editor;
    }

    /// Notes that it is sent another `connection:ack`, unless one is on its way to it. Whether it has to
    /// be: an editor then looks through its canvas again, and finds what it has pasted.
    pub fn is_to_be_greeted_again(&mut self) -> bool {
        let is_to_be = self.is_editor && !self.is_greeted_again;
        self.is_greeted_again |= is_to_be;
        self.may_list_more |= is_to_be;
        is_to_be
    }

    /// Whether it may have an item that is new to the document, and hear of it, although it never said
    /// so: from a file or the undo history, and it has looked through its canvas since.
    pub fn may_have(&self) -> bool {
        self.may_list_more
    }

    /// It has answered the second `connection:ack`, if it was sent one: all of its canvas can hear from
    /// now on. The items of which another copy may hear than until now; what it listed before is another
    /// canvas's list.
    pub fn has_looked_again(&mut self, tick: u64) -> Option<Vec<FoundCopy>> {
        if !std::mem::take(&mut self.is_greeted_again) {
            return None;
        }
        self.looked_again = tick;
        let mut found = Vec::new();
        for (id, copy) in &mut self.copies {
            copy.listed = None;
            let is_own = copy.is_other_own.take();
            // Its list may have named a copy that was removed since.
            let may_be_gone = std::mem::take(&mut copy.is_uncertain);
            if std::mem::take(&mut copy.is_deaf) || may_be_gone || is_own.is_some() {
                found.push(FoundCopy { id: id.clone(), may_be_gone, is_own });
            }
        }
        Some(found)
    }

    /// A command has told whether its owner built the copy that it speaks of. That may be another one than the
    /// one that messages reach: of a file that was opened meanwhile, or of an item that was removed while its
    /// dialog was open. So where it is known how that one came to be this is kept for later. Whether it counts now.
    pub fn tells_of_origin(&mut self, item: &Item, is_own: bool) -> bool {
        let known = self.copies.get(&item.id);
        let listed = known.and_then(|copy| copy.listed);
        let sent = self.is_sent_at(item, known);
        let added = Some(item.added).filter(|added| *added > self.recognised);
        let is_known = listed.max(sent).max(added).is_some_and(|tick| tick > self.looked_again);
        if is_known {
            self.copies.entry(item.id.clone()).or_default().is_other_own = Some(is_own);
        }
        !is_known
    }

    /// Notes that it is sent a `remove_item` of its own. A copy that hears it is gone.
    pub fn is_sent_a_removal(&mut self, id: &str, tick: u64) {
        self.removals = tick;
        if !self.is_deaf_to(id) {
            self.forgets(id);
        }
    }

    /// Whether it speaks of a copy of its own, as one only does that it placed or pasted, of an item that
    /// is on its way to it: it is going to show two.
    pub fn has_another(&self, item: &Item) -> bool {
        let known = self.copies.get(&item.id);
        let added = if item.told.has(&self.user, item.added) { item.added } else { 0 };
        let sent = known.map_or(0, |copy| copy.sent).max(added);
        let before = self.received.max(self.recognised).max(self.rebuilt.unwrap_or(0));
        let is_known = known.is_some_and(|copy| copy.listed.is_some() || copy.is_deaf);
        self.is_editor && sent > before && !is_known && item.is_for_editors()
    }

    /// Whether it has an item that is new to the document, by its own account.
    pub fn has_already(&self, id: &str) -> bool {
        self.is_editor && self.listed(id).is_some()
    }

    /// Notes whether its copy of an item that is not in the document has its interfaces moved.
    pub fn lists_moved(&mut self, id: &Arc<str>, is_moved: bool) {
        self.copies.entry(id.clone()).or_default().is_moved = is_moved;
    }

    /// Whether its copy of an item that is new to the document has its interfaces moved.
    pub fn has_moved_already(&self, id: &str) -> bool {
        self.copies.get(id).is_some_and(|copy| copy.is_moved)
    }

    /// Whether messages about the item don't reach its copy.
    pub fn is_deaf_to(&self, id: &str) -> bool {
        self.copies.get(id).is_some_and(|copy| copy.is_deaf)
    }

    /// The tick at which it listed the item, or added it, last on this connection.
    pub fn listed(&self, id: &str) -> Option<u64> {
        self.copies.get(id)?.listed
    }

    /// Notes that it is sent an item by itself.
    pub fn is_sent_item(&mut self, id: &Arc<str>, tick: u64) {
        if self.is_editor {
            let copy = self.copies.entry(id.clone()).or_default();
            *copy = KnownCopy { sent: tick, ..KnownCopy::default() };
        }
        self.is_sent_something_urgent(tick);
    }

    /// Forgets what is known of its copy of an item that is gone.
    pub fn forgets(&mut self, id: &str) {
        self.copies.remove(id);
    }
}
