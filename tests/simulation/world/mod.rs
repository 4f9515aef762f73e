//! One simulated session: the hub, the people and programs in it, and the links between them.

mod brief;
mod check;
mod disk;
mod ledger;
mod links;
mod people;
mod programs;
mod server;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use collabd::auth::{Grant, Key, KeyHash, Level};
use collabd::hub::{ConnId, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits, Time};
use collabd::protocol::{Frame, Timestamp};
use serde_json::Value;

use crate::editor::{Editor, Mode, Outgoing};
use crate::python;
use crate::random::Random;
use crate::script::{Purpose, Script};
use crate::shapes::Values;
use disk::Disk;
use ledger::{Ledger, Taken};
use links::{Connection, Parcel};

const SESSION: &str = "bench";
/// How long a message travels where nothing is the matter, in milliseconds.
const SLOWEST: u64 = 900;

/// What a run is to have in it.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The server settles.
    pub settle: bool,
    /// View → Magnetic snap, in every editor.
    pub snap: bool,
    pub verbose: bool,
}

/// Somebody's program.
#[derive(Debug)]
pub enum Client {
    Editor(Box<Editor>),
    Script(Script),
}

/// Somebody who comes and goes.
#[derive(Debug)]
struct Person {
    user: String,
    client: Client,
    /// It came with a key to watch and to point.
    is_reader: bool,
    /// Which button of the editor's dialog it is used to.
    likes: Mode,
    conn: Option<ConnId>,
    drag: Option<people::Drag>,
    /// The process is stopped, and goes on then.
    stopped: Duration,
}

impl Person {
    fn editor(&mut self) -> &mut Editor {
        match &mut self.client {
            Client::Editor(editor) => editor,
            Client::Script(_) => panic!("{} has no editor", self.user),
        }
    }

    fn script(&mut self) -> &mut Script {
        match &mut self.client {
            Client::Script(script) => script,
            Client::Editor(_) => panic!("{} is no script", self.user),
        }
    }

    fn is_viewer(&self) -> bool {
        matches!(&self.client, Client::Script(script) if script.purpose == Purpose::View)
    }
}

struct World {
    random: Random,
    values: Values,
    plan: Plan,
    limits: Limits,
    hub: Hub,
    now: Duration,
    /// When the hub began.
    started: Duration,
    /// Where sessions survive.
    disk: Option<Disk>,
    /// The change that was kept last.
    seq: u64,
    effects: Vec<Effect>,
    people: Vec<Person>,
    connections: BTreeMap<ConnId, Connection>,
    /// Those who may write, as the hub knows them.
    members: BTreeSet<ConnId>,
    /// Whose canvas was refused in the last event.
    refused: Option<ConnId>,
    /// Files that people could open: the items in them, and how many texts and rulers.
    files: Vec<(Vec<Value>, u64)>,
    has_odd_numbers: bool,
    has_stalls: bool,
    /// What is sent at one time may arrive at several, and somebody acts in between.
    has_splits: bool,
    next_conn: u64,
    slowest: u64,
    ledger: Ledger,
    /// How many events there were.
    events: u64,
    /// What was relayed with each number, the same to everyone.
    relayed: HashMap<u64, Rc<Value>>,
}

/// Simulates the session of one seed; panics where something is wrong with it.
pub fn run(seed: u64, plan: Plan) {
    World::new(seed, plan).run();
}

/// The same where sessions survive, on a server that crashes and a disk that fails.
pub fn run_durable(seed: u64, plan: Plan) {
    World::new(seed, plan).with_disk().run();
}

impl World {
    fn run(mut self) {
        let world = &mut self;
        for _ in 0..1 + world.random.below(3) {
            for _ in 0..10 + world.random.below(40) {
                let pause = Duration::from_millis(1 + world.random.below(400));
                world.advance(world.now + pause);
                world.act();
            }
            world.come_to_rest();
            world.check();
        }
        world.meet_latecomers();
        world.check();
        world.check_the_past();
    }

    fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let limits = Limits {
            linger: Duration::from_secs(600),
            max_sessions: 0,
            max_channels: 0,
            document: DocumentBounds { item: 1 << 20, document: 1 << 24 },
            documents_memory: 0,
            history: HistoryBounds { changes: 50, bytes: 1 << 20 },
            settle: plan.settle,
            durable: false,
        };
        let slowest = [5, 80, SLOWEST][random.below(3) as usize];
        let (has_odd_numbers, has_stalls) = (random.chance(25), random.chance(30));
        let has_splits = random.chance(25);
        let window = Duration::from_secs(if has_stalls { 90 } else { 6 });
        let mut world = World {
            hub: Hub::new(limits.clone(), seed),
            random,
            values: Values::default(),
            plan,
            limits,
            now: Duration::ZERO,
            started: Duration::ZERO,
            disk: None,
            seq: 0,
            effects: Vec::new(),
            people: Vec::new(),
            connections: BTreeMap::new(),
            members: BTreeSet::new(),
            refused: None,
            files: Vec::new(),
            has_odd_numbers,
            has_stalls,
            has_splits,
            next_conn: 1,
            slowest,
            ledger: Ledger::new(window),
            events: 0,
            relayed: HashMap::new(),
        };
        world.gather();
        world
    }

    /// Two to four who work, and some who watch.
    fn gather(&mut self) {
        for n in 0..2 + self.random.below(3) {
            let likes = if self.random.chance(50) { Mode::Host } else { Mode::Guest };
            match self.random.below(5) {
                0 => self.add_script(&format!("script{n}"), Purpose::Write, false),
                _ => self.add_editor(&format!("user{n}"), likes, false),
            };
        }
        for n in 0..self.random.below(3) {
            match self.random.below(10) {
                0..=1 => self.add_script(&format!("watcher{n}"), Purpose::Write, true),
                2..=4 => self.add_editor(&format!("watcher{n}"), Mode::Host, true),
                _ => self.add_editor(&format!("watcher{n}"), Mode::Guest, true),
            };
        }
        for n in 0..self.random.below(3) {
            self.add_script(&format!("viewer{n}"), Purpose::View, false);
        }
    }

    fn add_script(&mut self, user: &str, purpose: Purpose, is_reader: bool) -> usize {
        let client = Client::Script(Script::new(user, purpose));
        self.add_person(user, client, Mode::Guest, is_reader)
    }

    fn add_editor(&mut self, user: &str, likes: Mode, is_reader: bool) -> usize {
        let client = Client::Editor(Box::new(self.start_editor(user)));
        let person = self.add_person(user, client, likes, is_reader);
        if likes == Mode::Host {
            for _ in 0..self.random.below(4) {
                self.place(person);
            }
        }
        person
    }

    fn start_editor(&self, user: &str) -> Editor {
        let mut editor = Editor::start(user);
        editor.snap = self.plan.snap.then_some(10.0);
        editor
    }

    fn add_person(&mut self, user: &str, client: Client, likes: Mode, is_reader: bool) -> usize {
        let stopped = Duration::ZERO;
        let user = user.to_owned();
        self.people.push(Person {
            user,
            client,
            is_reader,
            likes,
            conn: None,
            drag: None,
            stopped,
        });
        self.people.len() - 1
    }

    fn log(&self, text: impl FnOnce() -> String) {
        if self.plan.verbose {
            println!("{:8.3} {}", self.now.as_secs_f64(), text());
        }
    }

    fn delay(&mut self) -> Duration {
        self.now + Duration::from_millis(self.random.below(self.slowest))
    }

    /// Lets time pass, and whatever is due in it happen.
    fn advance(&mut self, until: Duration) {
        loop {
            let links = self.connections.values();
            let links = links.flat_map(|c| [c.next_up(), self.next_down(c)]);
            let drags = self.people.iter().map(|person| person.next_move());
            let others = [self.next_tick(), self.next_commit()];
            let due = links.chain(drags).chain(others).flatten().min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            if self.next_tick().is_some_and(|at| at <= self.now) {
                self.handle(Event::Tick);
            }
            self.commit();
            self.deliver();
            self.go_on_dragging();
        }
        self.now = until;
    }

    fn next_tick(&self) -> Option<Duration> {
        self.hub.next_deadline().map(|at| self.started + at)
    }

    fn next_down(&self, connection: &Connection) -> Option<Duration> {
        let stopped = match connection.is_current {
            true => self.people[connection.person].stopped,
            false => Duration::ZERO,
        };
        connection.next_down().map(|at| at.max(stopped))
    }

    /// Delivers all parcels that are due.
    fn deliver(&mut self) {
        let all: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in all {
            while let Some(connection) = self.connections.get_mut(&conn)
                && connection.next_up().is_some_and(|at| at <= self.now)
            {
                let (_, parcel) = connection.up.parcels.pop_front().expect("it is due");
                self.arrive(conn, parcel);
            }
            while let Some(connection) = self.connections.get(&conn)
                && self.next_down(connection).is_some_and(|at| at <= self.now)
            {
                let connection = self.connections.get_mut(&conn).expect("it is there");
                let (_, parcel) = connection.down.parcels.pop_front().expect("it is due");
                self.hear(conn, parcel);
            }
        }
    }

    fn send_all(&mut self, person: usize, said: Vec<Outgoing>) {
        for Outgoing { message, told } in said {
            self.send(person, message, told);
        }
    }

    fn send(&mut self, person: usize, message: Value, told: Vec<crate::editor::Told>) {
        let Some(conn) = self.people[person].conn else { return };
        self.log(|| format!("{} says {}", self.people[person].user, brief::of(&message)));
        let at = self.delay();
        let text = python::dumps(&message);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.up.send(at, Parcel::Up { text, message: Rc::new(message), told });
        }
    }

    fn join(&mut self, person: usize) {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        // Sometimes the old connection is still open, as far as anyone knows.
        self.lose(person);
        self.people[person].conn = Some(conn);
        self.connections.insert(conn, Connection::new(person));
        let user = self.people[person].user.clone();
        self.log(|| format!("{user} joins on c{}", conn.0));
        let said = match &mut self.people[person].client {
            Client::Editor(editor) => editor.connect(editor.mode),
            Client::Script(script) => {
                script.connect();
                Vec::new()
            }
        };
        if self.people[person].is_viewer() {
            return self.handle(Event::View {
                conn,
                session: SESSION.into(),
                grant: None,
                since: None,
            });
        }
        let grant = self.people[person].is_reader.then(|| Grant {
            key: Arc::new(Key {
                name: "watchers".into(),
                hash: KeyHash::new("watchers"),
                level: Level::Read,
                expires: None,
                opens: None,
            }),
            generation: 0,
        });
        let user = user.as_str().into();
        self.handle(Event::Join { conn, session: SESSION.into(), user, grant });
        self.send_all(person, said);
    }

    /// The connection is gone, as its person sees it; the server learns it later.
    fn lose(&mut self, person: usize) {
        let Some(conn) = self.people[person].conn.take() else { return };
        self.log(|| format!("{} loses c{}", self.people[person].user, conn.0));
        if let Client::Editor(editor) = &mut self.people[person].client {
            editor.lose();
        }
        let at = self.delay() + Duration::from_millis(self.random.below(3000));
        let is_pulled = self.random.chance(50);
        let connection = self.connections.get_mut(&conn).expect("it is current");
        connection.is_current = false;
        if is_pulled {
            // A pulled cable takes with it what was on its way.
            connection.up.parcels.clear();
        }
        connection.up.send(at, Parcel::End);
    }

    /// The items of the document by their ids, as they are stored: what is sent and exported lacks pictures
    /// that nobody is to open.
    fn document(&self) -> BTreeMap<String, Value> {
        let Some(document) = self.hub.document(SESSION) else { return BTreeMap::new() };
        let mut stored = python::loads(&document.to_stored());
        let items = stored["items"].as_array_mut().expect("a list").drain(..);
        items.map(|data| (data["uuid"].as_str().expect("a uuid").to_owned(), data)).collect()
    }

    /// What the server exports as a file: its items.
    fn export(&self) -> Vec<Value> {
        let Some(document) = self.hub.document(SESSION) else { return Vec::new() };
        let mut json = Vec::new();
        document.write_file(&mut json, Timestamp::from_millis(0));
        let mut state = python::loads(&json);
        state["items"].as_array_mut().expect("a list").drain(..).collect()
    }
}
