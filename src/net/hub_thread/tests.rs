//! The hub thread with a state machine that reports what has reached a socket.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use super::super::event_queue::event_queue;
use super::super::send_queue::SendMode;
use super::super::threads::Threads;
use super::*;

/// Answers a question with what has reached the member by then.
struct Reporter {
    member: TcpStream,
    /// Connections that wait to be admitted; `None` where all are admitted at once.
    waiting: Option<Vec<ConnId>>,
}

fn join(conn: ConnId) -> Event {
    Event::ConnectClient { conn, client: "ann".into(), debug: false }
}

fn say(conn: ConnId) -> Event {
    Event::Pong { conn, payload: Vec::new() }
}

fn question(conn: ConnId) -> Event {
    Event::Sessions { conn, grant: None }
}

impl StateMachine for Reporter {
    fn handle(&mut self, event: Event, _now: Time, effects: &mut Vec<Effect>) {
        effects.push(match event {
            Event::ConnectClient { conn, .. } => match &mut self.waiting {
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
fn several_connections_can_be_admitted_by_one_event() {
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
    (1..=3).for_each(|conn| put(Input::Disconnected(ConnId(conn))));
    let reporter = Reporter { member, waiting: Some(Vec::new()) };
    HubThread::new(Box::new(reporter), None, Arc::new(Counters::new())).run(&inputs);
    for admission in waiting {
        assert_eq!(admission.recv(), Ok(Ok(())));
    }
}

/// Questions in one batch, each behind a frame for the member. The first and the third are late.
#[test]
fn frames_are_flushed_before_a_question_and_a_late_question_is_not_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let member = TcpStream::connect(listener.local_addr().expect("bound")).expect("a client");
    let (socket, _) = listener.accept().expect("it has connected");
    // A failure must not wait for ever.
    member.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    let conn = ConnId(1);
    let threads = Arc::new(Threads::default());
    let send_queue = SendQueue::new(conn, socket.into(), threads, SendMode::NonBlocking, 1 << 20);
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
    put(Input::Disconnected(conn));
    let reporter = Reporter { member, waiting: None };
    HubThread::new(Box::new(reporter), None, Arc::new(Counters::new())).run(&inputs);
    let said = Frame::text("said").bytes().to_vec();
    assert_eq!((late.recv().ok(), late_too.recv().ok()), (None, None), "nobody was asked");
    assert_eq!(first.recv(), Ok(Ok(said.clone())));
    assert_eq!(second.recv(), Ok(Ok(said)));
}

/// Works for a while at every event, and tells so.
struct Worker {
    counters: Arc<Counters>,
    worked: Sender<Duration>,
}

impl StateMachine for Worker {
    fn handle(&mut self, _event: Event, _now: Time, _effects: &mut Vec<Effect>) {
        let begun = self.counters.started.elapsed();
        let mut worked = Duration::ZERO;
        while worked < Duration::from_millis(2) {
            worked = self.counters.started.elapsed() - begun;
        }
        self.worked.send(worked).expect("the test listens");
    }
}

#[test]
fn work_is_counted_and_sleep_is_not() {
    let counters = Arc::new(Counters::new());
    let (worked, told) = crossbeam_channel::unbounded();
    let (event_queue, inputs) = event_queue(16);
    let machine = Worker { counters: counters.clone(), worked };
    let hub_thread = HubThread::new(Box::new(machine), None, counters.clone());
    let hub = std::thread::spawn(move || hub_thread.run(&inputs));
    let until = Instant::now() + Duration::from_secs(20);
    let (mut worked, mut slept) = (Duration::ZERO, Duration::ZERO);
    while slept < Duration::from_millis(100) {
        event_queue.send(Input::External(External::Event(Event::Tick))).expect("there is room");
        worked += told.recv().expect("it works");
        std::thread::sleep(Duration::from_millis(5));
        // What it has not worked for is what it has slept.
        slept = counters.started.elapsed().saturating_sub(counters.hub.busy());
        assert!(Instant::now() < until, "slept {slept:?}");
    }
    while counters.hub.busy() < worked {
        assert!(Instant::now() < until, "worked {worked:?}, counted {:?}", counters.hub.busy());
        std::thread::yield_now();
    }
    event_queue.send(Input::Stop).expect("there is room");
    hub.join().expect("ended");
}

/// Confirms whatever it is given, at every event.
struct Confirmer;

impl StateMachine for Confirmer {
    fn handle(&mut self, event: Event, _now: Time, effects: &mut Vec<Effect>) {
        if matches!(event, Event::Tick) {
            effects.push(Effect::Confirm { conn: ConnId(1), frame: Frame::text("done") });
        }
    }
}

/// A store whose disk never answers.
struct NoDisk;

impl Journal for NoDisk {
    fn keep(&self, _keep: crate::journal::JournalEntry) {}

    fn confirm(&self, _number: u64) -> bool {
        true
    }

    fn load(&self, _session: Arc<str>) {}

    fn delete(&self, _session: Arc<str>, _number: u64) -> bool {
        false
    }

    fn rename(&self, _session: Arc<str>, _to: Arc<str>, _number: u64) -> bool {
        false
    }

    fn flushed(&self) -> crossbeam_channel::Receiver<()> {
        crossbeam_channel::never()
    }

    fn wait_for_room(&self, _deadline: Option<Instant>) -> bool {
        true
    }

    fn lag(&self) -> crate::journal::PersistenceLag {
        Default::default()
    }

    fn stats(&self) -> crate::journal::StoreStats {
        Default::default()
    }
}

#[test]
fn what_the_store_has_lost_and_can_not_load_is_counted() {
    let counters = Arc::new(Counters::new());
    let (event_queue, inputs) = event_queue(16);
    let put = |input| event_queue.send(Input::External(input)).expect("there is room");
    (0..4).for_each(|_| put(External::Event(Event::Tick)));
    put(External::Lost { first: 2, last: 3 });
    put(External::Lost { first: 2, last: 3 });
    for past in [Ok(None), Err(crate::hub::NotLoaded)] {
        put(External::Event(Event::Loaded { session: "s".into(), past }));
    }
    event_queue.send(Input::Stop).expect("there is room");
    HubThread::new(Box::new(Confirmer), Some(Arc::new(NoDisk)), counters.clone()).run(&inputs);
    assert_eq!(counters.lost_confirmations.load(Relaxed), 2);
    assert_eq!(counters.failed_loads.load(Relaxed), 1);
}
