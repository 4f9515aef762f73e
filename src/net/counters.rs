//! The server's counters. Any thread may read them at any time without waiting.
//!
//! No two busy threads write to one place. The hub counts what it sends in plain numbers
//! ([`PendingCounts`]) and adds them once a flush to shared numbers that only it writes. Clients'
//! threads count in one of sixteen shards, by the connection's number. All other counters are rare.
//! So a delivery costs two additions, and a message two uncontended atomic ones.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::service::Role;
use crate::histogram::{Histogram, bump};
use crate::http::{REASON_COUNT, Reason};
use crate::hub::{ConnId, HubStats};
use crate::protocol::kind::KIND_COUNT;
use crate::protocol::{Frame, Kind, Timestamp};

const SHARDS: usize = 16;
/// Upper bounds of the latency histogram, in microseconds.
pub const LATENCY_BOUNDS: [u64; 15] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000,
];
/// Upper bounds of the batch histogram, in events.
pub const BATCH_BOUNDS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// The close codes that are counted one by one.
pub const CLOSE_CODES: [u16; 14] =
    [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 4000, 4001, 4002, 4003];

/// All counters, shared by all threads.
#[derive(Debug)]
pub struct Counters {
    pub started: Instant,
    pub started_at: Timestamp,
    pub accepted: AtomicU64,
    /// Requests that were answered with a page.
    pub pages: AtomicU64,
    /// Refused requests, by the number of their reason.
    refused: [AtomicU64; REASON_COUNT],
    /// Open connections, by the number of their role.
    open: [AtomicUsize; Role::ALL.len()],
    /// Closed WebSockets, by the place of their code in [`CLOSE_CODES`]; the last one counts all
    /// other codes.
    closed: [AtomicU64; CLOSE_CODES.len() + 1],
    /// Connections that were closed because their client didn't read.
    pub too_slow: AtomicU64,
    /// Messages after which the client was read more slowly.
    pub slowed: AtomicU64,
    /// Connections that were closed for being over their rate for too long.
    pub overrun: AtomicU64,
    /// Confirmations and answers that were never sent, because their change could not be written.
    pub lost_confirmations: AtomicU64,
    /// Stored sessions that could not be loaded when somebody joined them.
    pub failed_loads: AtomicU64,
    pub panics: AtomicU64,
    shards: [Shard; SHARDS],
    pub hub: HubCounters,
}

/// What the clients' threads of one shard count. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    received: Traffic,
    sent: Traffic,
}

/// What the hub's thread counts. Only it writes here. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HubCounters {
    sent: Traffic,
    /// The time from a message's arrival until everything it caused was flushed, in microseconds.
    pub latency: Histogram<{ LATENCY_BOUNDS.len() }>,
    /// Events between two flushes.
    pub batch: Histogram<{ BATCH_BOUNDS.len() }>,
    sessions: AtomicUsize,
    members: AtomicUsize,
    channels: AtomicUsize,
    documents_memory: AtomicUsize,
    most_documents_memory: AtomicUsize,
    most_sessions: AtomicUsize,
    /// How long it has worked since the start, in nanoseconds: from waking until it sleeps again.
    busy_nanos: AtomicU64,
    /// When it began with the current input: milliseconds since the start plus one; 0 while it has
    /// nothing to do.
    busy_since: AtomicU64,
    has_ended: AtomicBool,
}

/// The number of messages and their bytes, by type.
#[derive(Debug)]
struct Traffic([[AtomicU64; 2]; KIND_COUNT]);

impl Default for Traffic {
    fn default() -> Self {
        Traffic(std::array::from_fn(|_| Default::default()))
    }
}

impl Counters {
    pub fn new() -> Self {
        Counters {
            started: Instant::now(),
            started_at: Timestamp::now(),
            accepted: AtomicU64::default(),
            pages: AtomicU64::default(),
            refused: Default::default(),
            open: Default::default(),
            closed: Default::default(),
            too_slow: AtomicU64::default(),
            slowed: AtomicU64::default(),
            overrun: AtomicU64::default(),
            lost_confirmations: AtomicU64::default(),
            failed_loads: AtomicU64::default(),
            panics: AtomicU64::default(),
            shards: Default::default(),
            hub: HubCounters::default(),
        }
    }

    /// Counts a message from a client. Called on the client's thread.
    pub fn count_received(&self, conn: ConnId, kind: Kind, bytes: usize) {
        self.shard(conn).received.add(kind, bytes);
    }

    /// Counts a message to a client that another thread than the hub's sends.
    pub fn count_sent(&self, conn: ConnId, frame: &Frame) {
        if let Some(kind) = frame.kind() {
            self.shard(conn).sent.add(kind, frame.payload().len());
        }
    }

    fn shard(&self, conn: ConnId) -> &Shard {
        &self.shards[conn.0 as usize % SHARDS]
    }

    /// All messages of a type from clients: their number and their bytes. Messages of the types that
    /// only the server sends are among [`Kind::Other`].
    pub fn received_of(&self, kind: Kind) -> [u64; 2] {
        let kinds = kinds_under(kind, Kind::is_from_clients);
        let of = |kind| self.shards.iter().map(move |shard| shard.received.read(kind));
        sum(kinds.flat_map(of))
    }

    /// All messages of a type to clients: their number and their bytes. Messages of the types that
    /// only clients send, which members may be relayed, are among [`Kind::Other`].
    pub fn sent_of(&self, kind: Kind) -> [u64; 2] {
        let kinds = kinds_under(kind, Kind::is_to_clients);
        let all = || self.shards.iter().map(|shard| &shard.sent).chain([&self.hub.sent]);
        sum(kinds.flat_map(|kind| all().map(move |sent| sent.read(kind))))
    }

    pub fn refused(&self, reason: Reason) {
        self.refused[reason.number()].fetch_add(1, Relaxed);
    }

    pub fn refused_for(&self, reason: Reason) -> u64 {
        self.refused[reason.number()].load(Relaxed)
    }

    /// Counts a connection that is open in this role.
    pub fn opened(&self, role: Role) {
        self.open[role as usize].fetch_add(1, Relaxed);
    }

    /// Ends the count of a connection in this role.
    pub fn left(&self, role: Role) {
        self.open[role as usize].fetch_sub(1, Relaxed);
    }

    /// How many connections are open in this role.
    pub fn open(&self, role: Role) -> usize {
        self.open[role as usize].load(Relaxed)
    }

    pub fn closed(&self, code: u16) {
        let place =
            CLOSE_CODES.iter().position(|known| *known == code).unwrap_or(CLOSE_CODES.len());
        self.closed[place].fetch_add(1, Relaxed);
    }

    /// How many WebSockets were closed with the code at this place in [`CLOSE_CODES`], or, beyond
    /// its end, with any other code.
    pub fn closed_with(&self, place: usize) -> u64 {
        self.closed[place].load(Relaxed)
    }

    /// Adds one to a counter of rare events.
    pub fn note(count: &AtomicU64) {
        count.fetch_add(1, Relaxed);
    }
}

impl HubCounters {
    /// Records that the hub begins with an input, `elapsed` after the server's start.
    pub fn mark_busy(&self, elapsed: Duration) {
        self.busy_since.store(elapsed.as_millis() as u64 + 1, Relaxed);
    }

    pub fn mark_idle(&self) {
        self.busy_since.store(0, Relaxed);
    }

    /// What the hub held after its last batch.
    pub fn holdings(&self) -> HubStats {
        HubStats {
            sessions: self.sessions.load(Relaxed),
            members: self.members.load(Relaxed),
            channels: self.channels.load(Relaxed),
            documents_memory: self.documents_memory.load(Relaxed),
            most_documents_memory: self.most_documents_memory.load(Relaxed),
            most_sessions: self.most_sessions.load(Relaxed),
        }
    }

    /// How long the hub's thread has worked since the start, batches that have ended.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_nanos.load(Relaxed))
    }

    pub fn mark_ended(&self) {
        self.has_ended.store(true, Relaxed);
    }

    /// How long the hub has been working on one input, `elapsed` after the server's start; `None`
    /// while it has nothing to do.
    pub fn busy_for(&self, elapsed: Duration) -> Option<Duration> {
        let since = self.busy_since.load(Relaxed).checked_sub(1)?;
        Some(elapsed.saturating_sub(Duration::from_millis(since)))
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }
}

impl Traffic {
    /// Counts a message. Several threads may call it at the same time.
    fn add(&self, kind: Kind, bytes: usize) {
        let [messages, all_bytes] = &self.0[kind.number()];
        messages.fetch_add(1, Relaxed);
        all_bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn read(&self, kind: Kind) -> [u64; 2] {
        let [messages, bytes] = &self.0[kind.number()];
        [messages.load(Relaxed), bytes.load(Relaxed)]
    }
}

/// The types that are counted under this one: those that don't go in a direction are under
/// [`Kind::Other`].
fn kinds_under(kind: Kind, goes: fn(Kind) -> bool) -> impl Iterator<Item = Kind> {
    let others = Kind::all().filter(move |other| kind == Kind::Other && !goes(*other));
    std::iter::once(kind).chain(others)
}

fn sum(of: impl Iterator<Item = [u64; 2]>) -> [u64; 2] {
    of.fold([0; 2], |[messages, bytes], [more, larger]| [messages + more, bytes + larger])
}

/// What the hub's thread has counted since its last flush.
#[derive(Debug)]
pub struct PendingCounts {
    sent: [[u64; 2]; KIND_COUNT],
    /// The number of messages in `sent`.
    messages: u64,
    /// When the messages arrived that caused something to be sent.
    arrivals: Vec<Instant>,
}

impl Default for PendingCounts {
    fn default() -> Self {
        PendingCounts { sent: [[0; 2]; KIND_COUNT], messages: 0, arrivals: Vec::new() }
    }
}

impl PendingCounts {
    pub fn count_sent(&mut self, frame: &Frame) {
        let Some(kind) = frame.kind() else { return };
        let [messages, bytes] = &mut self.sent[kind.number()];
        *messages += 1;
        *bytes += frame.payload().len() as u64;
        self.messages += 1;
    }

    /// How many messages were sent to clients since the last flush.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Records the arrival of a message that caused something to be sent.
    pub fn arrived(&mut self, at: Instant) {
        self.arrivals.push(at);
    }

    /// Adds the numbers to the shared ones. Called after everything was flushed. Returns the time
    /// where it had to know it.
    pub fn flushed(&mut self, hub: &HubCounters) -> Option<Instant> {
        if self.messages == 0 {
            return None;
        }
        self.messages = 0;
        for (of_kind, [messages, bytes]) in hub.sent.0.iter().zip(&mut self.sent) {
            if *messages > 0 {
                bump(&of_kind[0], std::mem::take(messages));
                bump(&of_kind[1], std::mem::take(bytes));
            }
        }
        if self.arrivals.is_empty() {
            return None;
        }
        let now = Instant::now();
        for arrival in self.arrivals.drain(..) {
            let took = now.saturating_duration_since(arrival).as_micros() as u64;
            hub.latency.add(took, &LATENCY_BOUNDS);
        }
        Some(now)
    }

    /// Records a batch of events, how long it took, and what the hub holds after it.
    pub fn batch_done(&self, events: u64, took: Duration, holdings: HubStats, hub: &HubCounters) {
        if events > 0 {
            hub.batch.add(events, &BATCH_BOUNDS);
        }
        bump(&hub.busy_nanos, took.as_nanos() as u64);
        hub.sessions.store(holdings.sessions, Relaxed);
        hub.members.store(holdings.members, Relaxed);
        hub.channels.store(holdings.channels, Relaxed);
        hub.documents_memory.store(holdings.documents_memory, Relaxed);
        hub.most_documents_memory.store(holdings.most_documents_memory, Relaxed);
        hub.most_sessions.store(holdings.most_sessions, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_threads_count_adds_up_by_type() {
        let counters = Counters::new();
        let pong = Frame::text("1234567").with_kind(Kind::Pong);
        std::thread::scope(|scope| {
            for conn in 0..40 {
                let (counters, pong) = (&counters, &pong);
                scope.spawn(move || {
                    for n in 0..1000 {
                        counters.count_received(ConnId(conn), Kind::Command, n);
                        counters.count_sent(ConnId(conn), pong);
                    }
                });
            }
            let mut pending = PendingCounts::default();
            for _ in 0..10 {
                (0..100).for_each(|_| pending.count_sent(&pong));
                (0..100).for_each(|_| pending.count_sent(&Frame::text("0123456789")));
                (0..100).for_each(|_| pending.count_sent(&Frame::ping(b"no message")));
                assert_eq!(pending.messages(), 200);
                pending.flushed(&counters.hub);
                assert_eq!(pending.messages(), 0);
            }
        });
        assert_eq!(counters.received_of(Kind::Command), [40_000, 40 * 499_500]);
        assert_eq!(counters.sent_of(Kind::Pong), [41_000, 41_000 * 7]);
        assert_eq!(counters.sent_of(Kind::Other), [1000, 10_000]);
        assert_eq!(counters.sent_of(Kind::Command), [0, 0]);
    }

    /// A client may send any type: what only the server sends is no type of a client's, and the
    /// other way round.
    #[test]
    fn a_type_that_goes_the_other_way_is_one_of_the_others() {
        let counters = Counters::new();
        let mut pending = PendingCounts::default();
        for kind in Kind::all() {
            counters.count_received(ConnId(1), kind, 1);
            counters.count_sent(ConnId(1), &Frame::text("xx").with_kind(kind));
            pending.count_sent(&Frame::text("xx").with_kind(kind));
        }
        pending.flushed(&counters.hub);
        let all = KIND_COUNT as u64;
        let (from, to) = (Kind::from_clients().count() as u64, Kind::to_clients().count() as u64);
        assert!(from < all && to < all);
        assert_eq!(counters.received_of(Kind::Other), [all - from + 1; 2]);
        assert_eq!(counters.sent_of(Kind::Other), [2 * (all - to + 1), 4 * (all - to + 1)]);
        assert_eq!(counters.received_of(Kind::Command), [1, 1]);
        assert_eq!(counters.sent_of(Kind::Command), [2, 4]);
    }

    #[test]
    fn how_long_the_hub_worked_adds_up() {
        let counters = Counters::new();
        let tally = PendingCounts::default();
        for (events, micros) in [(3, 1500), (0, 250), (1, 0)] {
            let took = Duration::from_micros(micros);
            tally.batch_done(events, took, HubStats::default(), &counters.hub);
        }
        assert_eq!(counters.hub.busy(), Duration::from_micros(1750));
        assert_eq!(counters.hub.batch.read().total(), 2, "a timer alone is no event");
    }

    #[test]
    fn a_flush_counts_the_way_of_every_message_that_something_came_of() {
        let counters = Counters::new();
        let mut pending = PendingCounts::default();
        pending.arrived(Instant::now());
        pending.flushed(&counters.hub);
        assert_eq!(counters.hub.latency.read().total(), 0, "nothing has been sent yet");
        pending.arrived(Instant::now());
        pending.count_sent(&Frame::text("x"));
        pending.flushed(&counters.hub);
        assert_eq!(counters.hub.latency.read().total(), 2);
        pending.flushed(&counters.hub);
        assert_eq!(counters.hub.latency.read().total(), 2);
    }

    #[test]
    fn a_hub_that_stays_at_one_thing_is_told_from_one_that_rests() {
        let hub = HubCounters::default();
        let at = Duration::from_millis;
        assert_eq!(hub.busy_for(at(9000)), None);
        hub.mark_busy(at(0));
        assert_eq!(hub.busy_for(at(9000)), Some(at(9000)));
        hub.mark_busy(at(8000));
        assert_eq!(hub.busy_for(at(9000)), Some(at(1000)));
        assert_eq!(hub.busy_for(at(7000)), Some(at(0)), "clocks are read in any order");
        hub.mark_idle();
        assert_eq!(hub.busy_for(at(9000)), None);
    }

    #[test]
    fn an_unknown_close_code_is_one_of_the_others() {
        let counters = Counters::new();
        for code in [1000, 1000, 4003, 4999, 1] {
            counters.closed(code);
        }
        let closed: Vec<u64> =
            (0..=CLOSE_CODES.len()).map(|place| counters.closed_with(place)).collect();
        assert_eq!(closed, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }
}
