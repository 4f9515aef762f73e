//! The hub thread: takes events, lets the hub handle them, carries out its effects.
//!
//! It takes all that waits in its event queue up to a bound, applies all of it, and only then flushes each
//! send queue that was touched: under load many frames go to a client with one system call. A question
//! without a WebSocket ends such a batch, and what came before it goes out first: nobody waits for the
//! answers to many of them.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::FLUSH_TIMEOUT;
use super::confirmations::Confirmations;
use super::counters::{Counters, PendingCounts};
use super::event_queue::Inputs;
use super::send_queue::{SendQueue, TooSlow};
use super::service::External;
use crate::hub::{ConnId, ConnMap, Effect, Event, Holdings, Hub, Now, Refusal};
use crate::kept::Journal;
use crate::protocol::{Frame, Timestamp, close};

/// How many events are handled before the send queues are flushed.
const BATCH: usize = 256;
/// How long a client is given to answer a close.
const CLOSE_TIMEOUT: Duration = FLUSH_TIMEOUT;

/// Whether a connection is admitted, and if not, why.
pub type Admission = Result<(), Refusal>;
/// What a question without a WebSocket is answered: a body of JSON, unless it is refused.
pub type Reply = Result<Vec<u8>, Refusal>;

/// What the hub thread drives: the [`Hub`], or in a test one that does what no hub should.
pub trait StateMachine: Send {
    /// Handles one event. `now` never goes back.
    fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>);

    /// How much it holds. Asked after every batch: from counts, not by counting.
    fn holdings(&self) -> Holdings {
        Holdings::default()
    }

    /// When it wants its next [`Event::Tick`], since its start.
    fn next_deadline(&self) -> Option<Duration> {
        None
    }
}

impl StateMachine for Hub {
    fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        Hub::handle(self, event, now, effects);
    }

    fn holdings(&self) -> Holdings {
        Hub::holdings(self)
    }

    fn next_deadline(&self) -> Option<Duration> {
        Hub::next_deadline(self)
    }
}

/// What reaches the hub thread.
pub enum Input {
    /// A connection asks to be admitted; `admission` is told whether it is. The answer to its
    /// handshake is the first thing in its send queue already. Without an event it is admitted at once.
    Join {
        conn: ConnId,
        send_queue: Arc<SendQueue>,
        admission: Sender<Admission>,
        event: Option<Event>,
    },
    /// A connection has something to say, which came at `arrived`.
    Event { conn: ConnId, arrived: Instant, event: Event },
    /// A connection that is no WebSocket asks something; `reply` is told the hub's answer. Nobody
    /// waits for it any more after `until`.
    Ask { conn: ConnId, reply: Sender<Reply>, until: Instant, event: Event },
    /// Something has happened outside of every connection.
    External(External),
    /// A connection has ended, or asks no longer.
    Gone(ConnId),
    /// The server is stopping.
    Stop,
}

/// The hub thread's own state: the hub and the send queues its effects go to.
pub struct HubThread {
    machine: Box<dyn StateMachine>,
    /// Where what has to survive goes.
    journal: Option<Arc<dyn Journal>>,
    /// What waits until the journal has written what was given before it.
    held: Confirmations<Held>,
    /// Who waits until a session is deleted, by number, and the answer.
    deleting: HashMap<u64, (Sender<Reply>, Vec<u8>)>,
    counters: Arc<Counters>,
    tally: PendingCounts,
    clients: ConnMap<Client>,
    /// Who waits for an answer; as many at most as there are connections.
    asking: ConnMap<Sender<Reply>>,
    effects: Vec<Effect>,
    /// Send queues that were pushed to and are still to be flushed.
    touched: Vec<Arc<SendQueue>>,
    /// Connections that were sent a close, oldest first, and until when they may answer it.
    closing: VecDeque<(Instant, ConnId)>,
    /// Connections that were closed for being too slow; the hub is still to be told.
    too_slow: Vec<ConnId>,
}

/// What goes out when everything before it is on disk.
enum Held {
    /// A frame for a member.
    Confirmation { conn: ConnId, frame: Frame },
    /// The answer to a request. Dropped, its end is what the client's thread hears.
    Answer { reply: Sender<Reply>, body: Vec<u8> },
}

struct Client {
    send_queue: Arc<SendQueue>,
    /// Waiting to be told whether it is admitted.
    admission: Option<Sender<Admission>>,
}

impl HubThread {
    /// A hub thread's state at its start.
    pub fn new(
        machine: Box<dyn StateMachine>,
        journal: Option<Arc<dyn Journal>>,
        counters: Arc<Counters>,
    ) -> Self {
        // Whoever asks before the thread has begun is told what there is.
        let tally = PendingCounts::default();
        tally.batch_done(0, machine.holdings(), &counters.hub);
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

    /// The loop of the hub thread; ends when told to stop.
    #[inline(never)] // a name in thread dumps
    pub fn run(mut self, event_queue: &Inputs<Input>) {
        loop {
            self.counters.hub.mark_idle();
            let first = event_queue.next(self.next_deadline());
            let mut batch = 0;
            for input in first.into_iter().chain(event_queue.waiting()).take(BATCH) {
                batch += 1;
                if matches!(input, Input::Stop) {
                    self.flush();
                    return self.stop(event_queue);
                }
                let is_question = matches!(input, Input::Ask { .. });
                if is_question {
                    self.flush();
                }
                self.take(input);
                if is_question {
                    break;
                }
            }
            self.keep_time();
            self.flush();
            self.tally.batch_done(batch, self.machine.holdings(), &self.counters.hub);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Join { conn, send_queue, admission, event } => {
                let client = Client { send_queue, admission: Some(admission) };
                self.clients.insert(conn, client);
                match event {
                    Some(event) => self.handle(Some(conn), event),
                    None => {
                        self.effects.push(Effect::Admit { conn });
                        self.carry_out();
                    }
                }
            }
            Input::Event { conn, arrived, event } => {
                let said = self.tally.messages();
                self.handle(Some(conn), event);
                if self.tally.messages() > said {
                    self.tally.arrived(arrived);
                }
            }
            Input::Ask { until, .. } if until <= Instant::now() => {}
            Input::Ask { conn, reply, event, .. } => {
                self.asking.insert(conn, reply);
                self.handle(Some(conn), event);
            }
            Input::External(happened) => self.take_external(happened),
            Input::Gone(conn) => {
                self.asking.remove(&conn);
                self.clients.remove(&conn);
                self.handle(None, Event::Gone { conn });
            }
            Input::Stop => {}
        }
    }

    /// Lets the hub handle an event, and then the departure of whoever turned out to be too slow
    /// for what came of it. One after the other: each departure may find another one too slow, and
    /// the hub's stack must not grow with that.
    fn handle(&mut self, from: Option<ConnId>, event: Event) {
        self.handle_one(from, event);
        self.handle_too_slow();
    }

    fn handle_too_slow(&mut self) {
        while let Some(conn) = self.too_slow.pop() {
            self.handle_one(None, Event::Gone { conn });
        }
    }

    /// Lets the hub handle an event and does what it wants done. If that panics, the connection
    /// it came from ends, and nothing else.
    fn handle_one(&mut self, from: Option<ConnId>, event: Event) {
        let now = self.now();
        self.counters.hub.mark_busy(now.elapsed);
        let (machine, effects) = (&mut self.machine, &mut self.effects);
        let handling = AssertUnwindSafe(|| machine.handle(event, now, effects));
        if catch_unwind(handling).is_err() {
            self.effects.clear();
            Counters::note(&self.counters.panics);
            let Some(conn) = from else {
                log::error!("a bug in the server: what came from no client could not be handled");
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
        self.carry_out();
    }

    /// Does what the hub wants done.
    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        // Several, where they have waited for one session to be loaded.
        let mut admitted = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { conn, frame, supersedes } => {
                    self.push(conn, frame, supersedes);
                }
                Effect::Confirm { conn, frame } => self.confirm(conn, frame),
                Effect::Keep(keep) => {
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
                Effect::Admit { conn } => {
                    // The answer to its handshake is waiting, even if nothing else is.
                    if let Some(client) = self.clients.get(&conn) {
                        self.touched.push(client.send_queue.clone());
                    }
                    admitted.push(conn);
                }
                Effect::Answer { conn, body } => {
                    self.reply(conn, Ok(body));
                }
                Effect::AnswerKept { conn, body } => self.reply_when_kept(conn, body),
                Effect::Refuse { conn, why } => {
                    self.reply(conn, Err(why));
                    self.decide(conn, Err(why));
                    self.clients.remove(&conn);
                }
                Effect::Close { conn, code, reason } => {
                    self.asking.remove(&conn);
                    // One that was never admitted learns of it when its `admission` is dropped.
                    if let Some(client) = self.clients.get_mut(&conn) {
                        client.admission = None;
                        client.send_queue.close(code, reason);
                        self.touched.push(client.send_queue.clone());
                        self.closing.push_back((Instant::now() + CLOSE_TIMEOUT, conn));
                    }
                }
            }
        }
        self.effects = effects;
        // Only now may its thread answer anything itself: nothing comes before the greetings.
        for conn in admitted {
            self.decide(conn, Ok(()));
        }
    }

    fn reply(&mut self, conn: ConnId, reply: Reply) {
        if let Some(waiting) = self.asking.remove(&conn) {
            // One that doesn't wait any more has no use for it.
            let _ = waiting.try_send(reply);
        }
    }

    /// Where changes are made durable, an answer that tells of one waits until it is. Where that
    /// can't be, the answer's end is what is heard of it.
    fn reply_when_kept(&mut self, conn: ConnId, body: Vec<u8>) {
        if self.journal.is_none() {
            return self.reply(conn, Ok(body));
        }
        if let Some(reply) = self.asking.remove(&conn) {
            self.hold(Held::Answer { reply, body });
        }
    }

    /// Holds something back until the journal has written everything that was given before it. Drops it where the
    /// journal doesn't write any more.
    fn hold(&mut self, held: Held) {
        let number = self.held.hold(held);
        if self.journal.as_ref().is_some_and(|journal| !journal.confirm(number)) {
            self.held.drop_lost(number, number);
        }
    }

    /// Removes what is stored of a session, and answers when that is done.
    fn delete(&mut self, conn: ConnId, session: Arc<str>, body: Vec<u8>) {
        let Some(journal) = &self.journal else { return self.reply(conn, Ok(body)) };
        if !journal.delete(session, conn.0) {
            self.reply(conn, Err(Refusal::NotWritten));
        } else if let Some(reply) = self.asking.remove(&conn) {
            self.deleting.insert(conn.0, (reply, body));
        }
    }

    fn take_external(&mut self, happened: External) {
        match happened {
            External::Event(event) => self.handle(None, event),
            External::Persisted { up_to } => {
                while let Some(held) = self.held.next_up_to(up_to) {
                    match held {
                        Held::Confirmation { conn, frame } => self.push(conn, frame, None),
                        // One that doesn't wait any more has no use for it.
                        Held::Answer { reply, body } => drop(reply.try_send(Ok(body))),
                    }
                }
                self.handle_too_slow();
            }
            External::Lost { first, last } => self.held.drop_lost(first, last),
            External::Deleted { number, is_done } => {
                if let Some((reply, body)) = self.deleting.remove(&number) {
                    let answer = if is_done { Ok(body) } else { Err(Refusal::NotWritten) };
                    let _ = reply.try_send(answer);
                }
            }
        }
    }

    fn decide(&mut self, conn: ConnId, admission: Admission) {
        let waiting = self.clients.get_mut(&conn).and_then(|client| client.admission.take());
        if let Some(waiting) = waiting {
            // One that doesn't wait any more has no use for it.
            let _ = waiting.try_send(admission);
        }
    }

    /// Where changes are made durable, a confirmation waits until what it confirms is on disk.
    fn confirm(&mut self, conn: ConnId, frame: Frame) {
        match self.journal {
            None => self.push(conn, frame, None),
            Some(_) => self.hold(Held::Confirmation { conn, frame }),
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

    #[inline(never)] // a name in thread dumps
    fn flush(&mut self) {
        for send_queue in self.touched.drain(..) {
            send_queue.flush();
        }
        self.tally.flushed(&self.counters.hub);
    }

    fn now(&self) -> Now {
        Now { elapsed: self.counters.started.elapsed(), wall: Timestamp::now() }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let machine = self.machine.next_deadline().map(|elapsed| self.counters.started + elapsed);
        let closing = self.closing.front().map(|(until, _)| *until);
        machine.into_iter().chain(closing).min()
    }

    fn keep_time(&mut self) {
        if self.machine.next_deadline().is_some_and(|due| due <= self.counters.started.elapsed()) {
            self.handle(None, Event::Tick);
        }
        let now = Instant::now();
        while self.closing.front().is_some_and(|(until, _)| *until <= now) {
            let late = self.closing.pop_front().and_then(|(_, conn)| self.clients.get(&conn));
            if let Some(client) = late {
                client.send_queue.abort();
            }
        }
    }

    /// Closes every client and waits until all have answered, or for as long as they are given.
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
                Some(Input::Gone(conn)) => drop(self.clients.remove(&conn)),
                // Too late to join: its thread learns of it when `admission` is dropped.
                Some(_) => {}
                None => break,
            }
        }
        for client in self.clients.values() {
            client.send_queue.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::super::event_queue::event_queue;
    use super::super::send_queue::SendMode;
    use super::super::threads::Threads;
    use super::*;

    /// Answers a question with what has reached the member by then.
    struct Reporter {
        member: TcpStream,
        /// Who waits to be let in, where somebody has to.
        waiting: Option<Vec<ConnId>>,
    }

    fn join(conn: ConnId) -> Event {
        Event::Enter { conn, client: "ann".into(), debug: false }
    }

    fn say(conn: ConnId) -> Event {
        Event::Pong { conn, payload: Vec::new() }
    }

    fn question(conn: ConnId) -> Event {
        Event::Sessions { conn, grant: None }
    }

    impl StateMachine for Reporter {
        fn handle(&mut self, event: Event, _now: Now, effects: &mut Vec<Effect>) {
            effects.push(match event {
                Event::Enter { conn, .. } => match &mut self.waiting {
                    Some(waiting) => return waiting.push(conn),
                    None => Effect::Admit { conn },
                },
                Event::Durable(_) => {
                    let waiting = self.waiting.take().into_iter().flatten();
                    return effects.extend(waiting.map(|conn| Effect::Admit { conn }));
                }
                Event::Pong { conn, .. } => {
                    Effect::Send { conn, frame: Frame::text("said"), supersedes: None }
                }
                Event::Sessions { conn, .. } => {
                    let mut body = vec![0; Frame::text("said").bytes().len()];
                    self.member.read_exact(&mut body).expect("it has been sent");
                    Effect::Answer { conn, body }
                }
                _ => return,
            });
        }
    }

    #[test]
    fn all_who_are_admitted_at_once_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let member = TcpStream::connect(listener.local_addr().expect("bound")).expect("a client");
        let (socket, _) = listener.accept().expect("it has connected");
        let (threads, socket) = (Arc::new(Threads::default()), Arc::new(socket));
        let (event_queue, inputs) = event_queue(16);
        let put = |input| event_queue.send(input).expect("there is room");
        let joining = |conn| {
            let (threads, socket) = (threads.clone(), socket.clone());
            let send_queue = SendQueue::new(conn, socket, threads, SendMode::NonBlocking, 1 << 20);
            let (admission, decided) = crossbeam_channel::bounded(1);
            put(Input::Join { conn, send_queue, admission, event: Some(join(conn)) });
            decided
        };
        let waiting = [1, 2, 3].map(|conn| joining(ConnId(conn)));
        put(Input::External(External::Event(Event::Durable(true))));
        put(Input::Stop);
        (1..=3).for_each(|conn| put(Input::Gone(ConnId(conn))));
        let reporter = Reporter { member, waiting: Some(Vec::new()) };
        HubThread::new(Box::new(reporter), None, Arc::new(Counters::new())).run(&inputs);
        for admission in waiting {
            assert_eq!(admission.recv(), Ok(Ok(())));
        }
    }

    /// The answers to questions that came in one go, each behind something that is said, the first one
    /// before it was asked in time.
    #[test]
    fn what_was_said_goes_out_before_the_next_question_and_a_late_question_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let member = TcpStream::connect(listener.local_addr().expect("bound")).expect("a client");
        let (socket, _) = listener.accept().expect("it has connected");
        // Where it fails it has to end.
        member.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        let conn = ConnId(1);
        let threads = Arc::new(Threads::default());
        let send_queue =
            SendQueue::new(conn, socket.into(), threads, SendMode::NonBlocking, 1 << 20);
        let (event_queue, inputs) = event_queue(16);
        let (admission, _decided) = crossbeam_channel::bounded(1);
        let put = |input| event_queue.send(input).expect("there is room");
        put(Input::Join { conn, send_queue, admission, event: Some(join(conn)) });
        let ask = |asker, until| {
            let (reply, answer) = crossbeam_channel::bounded(1);
            put(Input::Ask { conn: ConnId(asker), reply, until, event: question(ConnId(asker)) });
            answer
        };
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        let late = ask(2, now);
        put(Input::Event { conn, arrived: now, event: say(conn) });
        let late_too = ask(3, now);
        let first = ask(4, later);
        put(Input::Event { conn, arrived: now, event: say(conn) });
        let second = ask(5, later);
        put(Input::Stop);
        put(Input::Gone(conn));
        let reporter = Reporter { member, waiting: None };
        HubThread::new(Box::new(reporter), None, Arc::new(Counters::new())).run(&inputs);
        let said = Frame::text("said").bytes().to_vec();
        assert_eq!((late.recv().ok(), late_too.recv().ok()), (None, None), "nobody was asked");
        assert_eq!(first.recv(), Ok(Ok(said.clone())));
        assert_eq!(second.recv(), Ok(Ok(said)));
    }
}
