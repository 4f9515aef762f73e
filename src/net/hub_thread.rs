//! The hub thread: takes inputs from its event queue, has the hub handle them, and applies the
//! effects.
//!
//! It handles all inputs that wait, up to a bound, and only then flushes each send queue it has
//! pushed to: under load many frames go to a client with one system call. A question of an HTTP
//! request ends such a batch, and frames that were pushed before it are flushed first: a frame
//! never waits for the answers to many questions.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::FLUSH_TIMEOUT;
use super::confirmations::Confirmations;
use super::counters::{Counters, PendingCounts};
use super::event_queue::Inputs;
use super::send_queue::{SendQueue, TooSlow};
use super::service::External;
use crate::hub::{ConnId, ConnMap, Effect, Event, Hub, HubStats, Refusal, Time};
use crate::journal::Journal;
use crate::protocol::{Frame, Timestamp, close};

#[cfg(test)]
mod tests;

/// How many inputs are handled before the send queues are flushed.
const MAX_BATCH_INPUTS: usize = 256;
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT: Duration = FLUSH_TIMEOUT;

/// A connection is admitted, or refused with this reason.
pub type Admission = Result<(), Refusal>;
/// The answer to an HTTP request: a body of JSON, or a refusal.
pub type Answer = Result<Vec<u8>, Refusal>;

/// What the hub thread drives: the [`Hub`], or a test's own, which may panic.
pub trait StateMachine: Send {
    /// Handles one event. `now` never goes back.
    fn handle(&mut self, event: Event, now: Time, effects: &mut Vec<Effect>);

    /// How much it holds. Called after every batch: takes constant time.
    fn holdings(&self) -> HubStats {
        HubStats::default()
    }

    /// When it needs its next [`Event::Tick`], as time since its start.
    fn next_deadline(&self) -> Option<Duration> {
        None
    }
}

impl StateMachine for Hub {
    fn handle(&mut self, event: Event, now: Time, effects: &mut Vec<Effect>) {
        Hub::handle(self, event, now, effects);
    }

    fn holdings(&self) -> HubStats {
        Hub::holdings(self)
    }

    fn next_deadline(&self) -> Option<Duration> {
        Hub::next_deadline(self)
    }
}

/// What reaches the hub thread.
pub enum Input {
    /// A connection asks to be admitted; `admission` gets the result. Its send queue holds the
    /// answer to its handshake already. Without an event it is admitted at once.
    Join {
        conn: ConnId,
        send_queue: Arc<SendQueue>,
        admission: Sender<Admission>,
        event: Option<Event>,
    },
    /// A message of a connection, which was read at `arrived`.
    Event { conn: ConnId, arrived: Instant, event: Event },
    /// An HTTP request asks the hub; `reply` gets the answer. The client's thread stops waiting at
    /// `until`.
    Ask { conn: ConnId, reply: Sender<Answer>, until: Instant, event: Event },
    /// Something has happened outside of every connection.
    External(External),
    /// A connection has ended, or its request needs no answer any more.
    Disconnected(ConnId),
    /// The server is stopping.
    Stop,
}

/// The state of the hub thread: the hub, and the send queues of all clients.
pub struct HubThread {
    machine: Box<dyn StateMachine>,
    /// Where changes are made durable; `None` where they are not.
    journal: Option<Arc<dyn Journal>>,
    /// Messages that wait until the journal has written every entry before them.
    held: Confirmations<HeldMessage>,
    /// The requests that delete a session, by number, and their answers.
    deleting: HashMap<u64, (Sender<Answer>, Vec<u8>)>,
    counters: Arc<Counters>,
    tally: PendingCounts,
    clients: ConnMap<ClientEntry>,
    /// The requests that wait for an answer: one a connection at most.
    asking: ConnMap<Sender<Answer>>,
    /// The effects of the event that is handled. Empty between events; kept to reuse its memory.
    effects: Vec<Effect>,
    /// Send queues that are to be flushed at the end of the batch.
    touched: Vec<Arc<SendQueue>>,
    /// Connections that were sent a close, oldest first, and until when they may answer it.
    closing: VecDeque<(Instant, ConnId)>,
    /// Connections that were closed for being too slow, and of which the hub is still to be told.
    too_slow: Vec<ConnId>,
}

/// A message that is sent when every entry before it is on disk.
enum HeldMessage {
    /// A frame for a member.
    Confirmation { conn: ConnId, frame: Frame },
    /// The answer to a request. Where it is dropped, the client's thread finds `reply`
    /// disconnected.
    Answer { reply: Sender<Answer>, body: Vec<u8> },
}

struct ClientEntry {
    send_queue: Arc<SendQueue>,
    /// Gets the result of its admission; `None` once it has.
    admission: Option<Sender<Admission>>,
}

impl HubThread {
    /// The state of a hub thread that is to be run.
    pub fn new(
        machine: Box<dyn StateMachine>,
        journal: Option<Arc<dyn Journal>>,
        counters: Arc<Counters>,
    ) -> Self {
        // A report before the first batch shows what was restored.
        let tally = PendingCounts::default();
        tally.batch_done(0, Duration::ZERO, machine.holdings(), &counters.hub);
        HubThread {
            machine,
            journal,
            held: Confirmations::default(),
            deleting: HashMap::new(),
            counters,
            tally,
            clients: ConnMap::default(),
            asking: ConnMap::default(),
            effects: Vec::new(),
            touched: Vec::new(),
            closing: VecDeque::new(),
            too_slow: Vec::new(),
        }
    }

    /// The body of the thread `hub`. Ends after [`Input::Stop`].
    #[inline(never)] // a name in thread dumps
    pub fn run(mut self, event_queue: &Inputs<Input>) {
        loop {
            self.counters.hub.mark_idle();
            let first = event_queue.next(self.next_deadline());
            let woken = Instant::now();
            let mut batch = 0;
            for input in first.into_iter().chain(event_queue.waiting()).take(MAX_BATCH_INPUTS) {
                batch += 1;
                if matches!(input, Input::Stop) {
                    self.flush();
                    return self.stop(event_queue);
                }
                let is_question = matches!(input, Input::Ask { .. });
                if is_question {
                    self.flush();
                }
                self.handle_input(input);
                if is_question {
                    break;
                }
            }
            self.run_timers(woken);
            let done = self.flush().unwrap_or_else(Instant::now);
            let took = done.saturating_duration_since(woken);
            self.tally.batch_done(batch, took, self.machine.holdings(), &self.counters.hub);
        }
    }

    fn handle_input(&mut self, input: Input) {
        match input {
            Input::Join { conn, send_queue, admission, event } => {
                let client = ClientEntry { send_queue, admission: Some(admission) };
                self.clients.insert(conn, client);
                match event {
                    Some(event) => self.handle(Some(conn), event),
                    None => {
                        self.effects.push(Effect::Admit { conn });
                        self.apply_effects();
                    }
                }
            }
            Input::Event { conn, arrived, event } => {
                let sent = self.tally.messages();
                self.handle(Some(conn), event);
                if self.tally.messages() > sent {
                    self.tally.arrived(arrived);
                }
            }
            Input::Ask { until, .. } if until <= Instant::now() => {}
            Input::Ask { conn, reply, event, .. } => {
                self.asking.insert(conn, reply);
                self.handle(Some(conn), event);
            }
            Input::External(external) => self.handle_external(external),
            Input::Disconnected(conn) => {
                self.asking.remove(&conn);
                self.clients.remove(&conn);
                self.handle(None, Event::Disconnected { conn });
            }
            Input::Stop => {}
        }
    }

    /// Has the hub handle an event, and then tells it which clients were too slow for its effects.
    /// That is a loop, as each departure may find another client too slow, and recursion would have
    /// no bound.
    fn handle(&mut self, from: Option<ConnId>, event: Event) {
        self.handle_event(from, event);
        self.handle_too_slow();
    }

    fn handle_too_slow(&mut self) {
        while let Some(conn) = self.too_slow.pop() {
            self.handle_event(None, Event::Disconnected { conn });
        }
    }

    /// Has the hub handle one event, and applies its effects. Where the hub panics, only the
    /// connection that the event came from is closed.
    fn handle_event(&mut self, from: Option<ConnId>, event: Event) {
        let now = self.now();
        self.counters.hub.mark_busy(now.elapsed);
        let (machine, effects) = (&mut self.machine, &mut self.effects);
        let handling = AssertUnwindSafe(|| machine.handle(event, now, effects));
        if catch_unwind(handling).is_err() {
            self.effects.clear();
            Counters::note(&self.counters.panics);
            let Some(conn) = from else {
                log::error!(
                    "a bug in the server: an event that no client sent could not be handled"
                );
                return;
            };
            log::error!(
                "c{}: closed, a bug in the server: its message could not be handled",
                conn.0
            );
            let (machine, effects) = (&mut self.machine, &mut self.effects);
            let failing = AssertUnwindSafe(|| machine.handle(Event::Failed { conn }, now, effects));
            if catch_unwind(failing).is_err() {
                self.effects.clear();
                let reason = "internal server error";
                self.effects.push(Effect::Close { conn, code: close::INTERNAL_ERROR, reason });
            }
        }
        self.apply_effects();
    }

    fn apply_effects(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        // Several connections may have waited for one session to be loaded.
        let mut admitted = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { conn, frame, supersedes } => {
                    self.push(conn, frame, supersedes);
                }
                Effect::Confirm { conn, frame } => self.confirm(conn, frame),
                Effect::Persist(keep) => {
                    if let Some(journal) = &self.journal {
                        journal.keep(*keep);
                    }
                }
                Effect::Load { session } => {
                    if let Some(journal) = &self.journal {
                        journal.load(session);
                    }
                }
                Effect::Delete { conn, session, body } => self.delete(conn, session, body),
                Effect::Rename { conn, session, to } => self.rename(conn, session, to),
                Effect::Admit { conn } => {
                    // Its send queue holds the answer to its handshake.
                    if let Some(client) = self.clients.get(&conn) {
                        self.touched.push(client.send_queue.clone());
                    }
                    admitted.push(conn);
                }
                Effect::Answer { conn, body } => {
                    self.reply(conn, Ok(body));
                }
                Effect::AnswerWhenPersisted { conn, body } => self.reply_when_kept(conn, body),
                Effect::Refuse { conn, why } => {
                    self.reply(conn, Err(why));
                    self.respond_admission(conn, Err(why));
                    self.clients.remove(&conn);
                }
                Effect::Close { conn, code, reason } => self.close(conn, code, reason),
            }
        }
        self.effects = effects;
        // The client's thread may reply to messages from now on: after the frames that greet the
        // client.
        for conn in admitted {
            self.respond_admission(conn, Ok(()));
        }
    }

    fn close(&mut self, conn: ConnId, code: u16, reason: &'static str) {
        self.asking.remove(&conn);
        if let Some(client) = self.clients.get_mut(&conn) {
            // A client's thread that waits for its admission finds the channel disconnected.
            client.admission = None;
            client.send_queue.close(code, reason);
            self.touched.push(client.send_queue.clone());
            self.closing.push_back((Instant::now() + CLOSE_TIMEOUT, conn));
        }
    }

    fn reply(&mut self, conn: ConnId, answer: Answer) {
        if let Some(waiting) = self.asking.remove(&conn) {
            // It fails where the client's thread has stopped waiting.
            let _ = waiting.try_send(answer);
        }
    }

    /// Answers when the change that the answer tells of is on disk; at once where changes are not
    /// durable.
    fn reply_when_kept(&mut self, conn: ConnId, body: Vec<u8>) {
        if self.journal.is_none() {
            return self.reply(conn, Ok(body));
        }
        if let Some(reply) = self.asking.remove(&conn) {
            self.hold(HeldMessage::Answer { reply, body });
        }
    }

    /// Holds a message until the journal has written every entry before it. Drops it where the
    /// journal has ended.
    fn hold(&mut self, held: HeldMessage) {
        let number = self.held.hold(held);
        if self.journal.as_ref().is_some_and(|journal| !journal.confirm(number)) {
            self.drop_lost(number, number);
        }
    }

    /// Drops confirmations that are never to be sent, and counts them.
    fn drop_lost(&mut self, first: u64, last: u64) {
        let lost = self.held.drop_lost(first, last) as u64;
        self.counters.lost_confirmations.fetch_add(lost, Relaxed);
    }

    /// Has the journal delete a session, and answers when that is done.
    fn delete(&mut self, conn: ConnId, session: Arc<str>, body: Vec<u8>) {
        let Some(journal) = &self.journal else { return self.reply(conn, Ok(body)) };
        if !journal.delete(session, conn.0) {
            self.reply(conn, Err(Refusal::NotWritten));
        } else if let Some(reply) = self.asking.remove(&conn) {
            self.deleting.insert(conn.0, (reply, body));
        }
    }

    /// Has the journal rename a session, which tells the hub when that is done.
    fn rename(&mut self, conn: ConnId, session: Arc<str>, to: Arc<str>) {
        let is_asked =
            self.journal.as_ref().is_some_and(|journal| journal.rename(session, to, conn.0));
        if !is_asked {
            // The store has ended: no session is loaded any more.
            self.reply(conn, Err(Refusal::NotWritten));
        }
    }

    fn handle_external(&mut self, external: External) {
        match external {
            External::Event(event) => {
                if matches!(event, Event::Loaded { past: Err(_), .. }) {
                    Counters::note(&self.counters.failed_loads);
                }
                self.handle(None, event);
            }
            External::Persisted { up_to } => {
                while let Some(held) = self.held.next_up_to(up_to) {
                    match held {
                        HeldMessage::Confirmation { conn, frame } => self.push(conn, frame, None),
                        // It fails where the client's thread has stopped waiting.
                        HeldMessage::Answer { reply, body } => drop(reply.try_send(Ok(body))),
                    }
                }
                self.handle_too_slow();
            }
            External::Lost { first, last } => self.drop_lost(first, last),
            External::Deleted { number, is_done } => {
                if let Some((reply, body)) = self.deleting.remove(&number) {
                    let answer = if is_done { Ok(body) } else { Err(Refusal::NotWritten) };
                    let _ = reply.try_send(answer);
                }
            }
        }
    }

    fn respond_admission(&mut self, conn: ConnId, admission: Admission) {
        let waiting = self.clients.get_mut(&conn).and_then(|client| client.admission.take());
        if let Some(waiting) = waiting {
            // It fails where the client's thread has stopped waiting.
            let _ = waiting.try_send(admission);
        }
    }

    /// Sends a confirmation when its change is on disk; at once where changes are not durable.
    fn confirm(&mut self, conn: ConnId, frame: Frame) {
        match self.journal {
            None => self.push(conn, frame, None),
            Some(_) => self.hold(HeldMessage::Confirmation { conn, frame }),
        }
    }

    fn push(&mut self, conn: ConnId, frame: Frame, supersedes: Option<ConnId>) {
        let Some(client) = self.clients.get(&conn) else { return };
        self.tally.count_sent(&frame);
        match client.send_queue.push(frame.into_bytes(), supersedes) {
            Ok(false) => {}
            Ok(true) => self.touched.push(client.send_queue.clone()),
            Err(TooSlow) => {
                log::warn!("c{}: closed, too slow: it doesn't read what is sent to it", conn.0);
                Counters::note(&self.counters.too_slow);
                client.send_queue.close_instead(close::POLICY, "too slow");
                self.touched.push(client.send_queue.clone());
                self.closing.push_back((Instant::now() + CLOSE_TIMEOUT, conn));
                self.too_slow.push(conn);
            }
        }
    }

    /// Flushes the send queues that were pushed to. Returns the time where it had to know it.
    #[inline(never)] // a name in thread dumps
    fn flush(&mut self) -> Option<Instant> {
        for send_queue in self.touched.drain(..) {
            send_queue.flush();
        }
        self.tally.flushed(&self.counters.hub)
    }

    fn now(&self) -> Time {
        Time { elapsed: self.counters.started.elapsed(), wall: Timestamp::now() }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let machine = self.machine.next_deadline().map(|elapsed| self.counters.started + elapsed);
        let closing = self.closing.front().map(|(until, _)| *until);
        machine.into_iter().chain(closing).min()
    }

    /// Sends the hub a tick where one is due, and cuts connections that have not answered a close
    /// in time. `now` is when the batch began: what becomes due meanwhile is seen after the next one.
    fn run_timers(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.counters.started);
        if self.machine.next_deadline().is_some_and(|due| due <= elapsed) {
            self.handle(None, Event::Tick);
        }
        while self.closing.front().is_some_and(|(until, _)| *until <= now) {
            let late = self.closing.pop_front().and_then(|(_, conn)| self.clients.get(&conn));
            if let Some(client) = late {
                client.send_queue.abort();
            }
        }
    }

    /// Closes every client, waits until all have answered or 2 s have passed, and cuts the others.
    #[inline(never)] // a name in thread dumps
    fn stop(mut self, event_queue: &Inputs<Input>) {
        let until = Instant::now() + FLUSH_TIMEOUT;
        self.counters.hub.mark_ended();
        self.asking.clear();
        for client in self.clients.values() {
            client.send_queue.close(close::GOING_AWAY, "server shutting down");
            client.send_queue.flush();
        }
        while !self.clients.is_empty() {
            match event_queue.next(Some(until)) {
                Some(Input::Disconnected(conn)) => drop(self.clients.remove(&conn)),
                // A client that asks to join finds its channel disconnected.
                Some(_) => {}
                None => break,
            }
        }
        for client in self.clients.values() {
            client.send_queue.abort();
        }
    }
}
