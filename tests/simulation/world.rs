//! One simulated session: the hub, its editors, and the links between them.

mod disk;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use collabd::hub::{
    ConnId, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits, Now, Refusal,
};
use collabd::keys::{Grant, Key, KeyHash, Level};
use collabd::protocol::inbound::{self, ClientMessage};
use collabd::protocol::{Frame, Timestamp};
use serde_json::{Value, json};

use crate::editor::{Editor, FIELDS, Item, Role};
use crate::random::Random;
use disk::Disk;

const SESSION: &str = "bench";
/// The hub counts on answers within 2 s, there and back.
const SLOWEST: u64 = 900;

/// What travels on a link.
#[derive(Debug, Clone)]
enum Parcel {
    Text(Rc<Value>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The end of the connection.
    End,
}

/// One direction of a connection: nothing overtakes.
#[derive(Debug, Default)]
struct Link {
    parcels: VecDeque<(Duration, Parcel)>,
}

impl Link {
    fn send(&mut self, at: Duration, parcel: Parcel) {
        let last = self.parcels.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.parcels.push_back((at.max(last), parcel));
    }

    fn next(&self) -> Option<Duration> {
        self.parcels.front().map(|(at, _)| *at)
    }
}

/// A connection, until both ends know that it is over.
#[derive(Debug)]
struct Connection {
    editor: usize,
    up: Link,
    down: Link,
    /// The editor still listens.
    is_current: bool,
    /// The server has let it in.
    is_admitted: bool,
    /// The server it led to is no more.
    is_dead: bool,
}

/// Something a user keeps doing for a moment.
#[derive(Debug)]
struct Drag {
    editor: usize,
    item: String,
    steps: u64,
    next: Duration,
}

struct World {
    random: Random,
    limits: Limits,
    hub: Hub,
    now: Duration,
    /// When the hub began.
    started: Duration,
    /// Where sessions survive.
    disk: Option<Disk>,
    /// Whether the last event was of something that has to survive.
    was_kept: bool,
    effects: Vec<Effect>,
    editors: Vec<Editor>,
    connections: BTreeMap<ConnId, Connection>,
    /// The connection each editor has now.
    current: Vec<Option<ConnId>>,
    drags: Vec<Drag>,
    next_conn: u64,
    next_item: u64,
    next_value: i64,
    slowest: u64,
    /// Who wrote an item last by a command, in the hub's order.
    writers: HashMap<String, String>,
    /// What was relayed with each number, the same to everyone.
    relayed: HashMap<u64, Value>,
    verbose: bool,
}

/// Simulates the session of one seed; panics where something is wrong with it.
pub fn run(seed: u64, settle: bool, verbose: bool) {
    World::new(seed, settle, verbose).run();
}

/// The same where sessions survive, on a server that crashes and a disk that fails.
pub fn run_durable(seed: u64, verbose: bool) {
    World::new(seed, true, verbose).with_disk().run();
}

impl World {
    fn run(mut self) {
        let world = &mut self;
        let end = Duration::from_millis(2000 + world.random.below(15_000));
        while world.now < end {
            let pause = Duration::from_millis(1 + world.random.below(400));
            world.advance(world.now + pause);
            world.act();
        }
        world.come_to_rest();
        world.check();
        world.check_the_past();
    }

    fn new(seed: u64, settle: bool, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let limits = Limits {
            linger: Duration::from_secs(600),
            max_sessions: 0,
            max_channels: 0,
            document: DocumentBounds { item: 1 << 20, document: 1 << 24 },
            history: HistoryBounds { changes: 50, bytes: 1 << 20 },
            settle,
            durable: false,
        };
        let editors: Vec<Editor> = (0..2 + random.below(3))
            .map(|n| {
                let role = match random.below(5) {
                    0 | 1 => Role::Host,
                    2 | 3 => Role::Client,
                    _ => Role::Script,
                };
                Editor::new(format!("user{n}"), role)
            })
            .collect();
        let watchers = (0..random.below(3)).map(|n| {
            let role = if random.chance(70) { Role::Client } else { Role::Script };
            Editor::watcher(format!("watcher{n}"), role)
        });
        let editors: Vec<Editor> = editors.into_iter().chain(watchers).collect();
        let viewers = (0..random.below(3)).map(|n| Editor::viewer(format!("viewer{n}")));
        let editors: Vec<Editor> = editors.into_iter().chain(viewers).collect();
        let slowest = match random.below(3) {
            0 => 5,
            1 => 80,
            _ => SLOWEST,
        };
        let current = vec![None; editors.len()];
        let mut world = World {
            random,
            hub: Hub::new(limits.clone(), seed),
            limits,
            now: Duration::ZERO,
            started: Duration::ZERO,
            disk: None,
            was_kept: false,
            effects: Vec::new(),
            editors,
            connections: BTreeMap::new(),
            current,
            drags: Vec::new(),
            next_conn: 1,
            next_item: 1,
            next_value: 1,
            slowest,
            writers: HashMap::new(),
            relayed: HashMap::new(),
            verbose,
        };
        // A host comes with a canvas.
        for editor in 0..world.editors.len() {
            if world.editors[editor].role == Role::Host {
                for _ in 0..world.random.below(4) {
                    world.paste(editor);
                }
            }
        }
        world
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:8.3} {}", self.now.as_secs_f64(), text());
        }
    }

    fn delay(&mut self) -> Duration {
        self.now + Duration::from_millis(self.random.below(self.slowest))
    }

    fn value(&mut self) -> i64 {
        self.next_value += 1;
        self.next_value
    }

    /// Lets time pass, and whatever is due in it happen.
    fn advance(&mut self, until: Duration) {
        loop {
            let links = self.connections.values().flat_map(|c| [c.up.next(), c.down.next()]);
            let drags = self.drags.iter().map(|drag| Some(drag.next));
            let others = [self.next_tick(), self.next_commit()];
            let due = links.chain(drags).chain(others).flatten().min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            if self.next_tick().is_some_and(|at| at <= self.now) {
                self.handle(Event::Tick);
            }
            self.commit();
            self.deliver();
            self.drag();
        }
        self.now = until;
    }

    fn next_tick(&self) -> Option<Duration> {
        self.hub.next_deadline().map(|at| self.started + at)
    }

    /// Delivers all parcels that are due.
    fn deliver(&mut self) {
        let due: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in due {
            while let Some(parcel) = self.due(conn, |connection| &mut connection.up) {
                self.arrive(conn, parcel);
            }
            while let Some(parcel) = self.due(conn, |connection| &mut connection.down) {
                self.hear(conn, parcel);
            }
        }
    }

    fn due(&mut self, conn: ConnId, link: impl Fn(&mut Connection) -> &mut Link) -> Option<Parcel> {
        let link = link(self.connections.get_mut(&conn)?);
        link.next().filter(|at| *at <= self.now)?;
        link.parcels.pop_front().map(|(_, parcel)| parcel)
    }

    /// The server reads something.
    fn arrive(&mut self, conn: ConnId, parcel: Parcel) {
        match parcel {
            Parcel::End if self.connections[&conn].is_dead => drop(self.connections.remove(&conn)),
            _ if self.connections[&conn].is_dead => {}
            Parcel::Text(value) => {
                let text = value.to_string();
                let message = inbound::parse(&text).expect("editors send what is allowed");
                if self.editors[self.connections[&conn].editor].is_viewer {
                    let ClientMessage::SyncRequest { since, .. } = message else {
                        panic!("viewers say nothing else: {text}")
                    };
                    return self.handle(Event::Look { conn, since });
                }
                if self.editors[self.connections[&conn].editor].is_watcher {
                    let before = self.document();
                    self.handle(Event::Message { conn, message });
                    assert_eq!(before, self.document(), "a watcher changed it");
                    return;
                }
                let before = self.snapshot_begins(conn, &value);
                self.handle(Event::Message { conn, message });
                self.note(conn, &value, before);
                self.note_writers();
            }
            Parcel::Pong(payload) => self.handle(Event::Pong { conn, payload }),
            Parcel::Ping(_) => unreachable!("editors don't ping"),
            Parcel::End => {
                self.handle(Event::Gone { conn });
                self.connections.remove(&conn);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let wall = Timestamp::from_millis(1_700_000_000_000 + self.now.as_millis() as u64);
        let mut effects = std::mem::take(&mut self.effects);
        let now = Now { elapsed: self.now - self.started, wall };
        self.hub.handle(event, now, &mut effects);
        let mut kept = None;
        // What the hub sends at one time arrives at one time: nobody acts in between.
        let mut arrivals: HashMap<ConnId, Duration> = HashMap::new();
        let (mut parsed, mut frames): (Option<(*const u8, Rc<Value>)>, Vec<Frame>) =
            (None, Vec::new());
        for effect in effects.drain(..) {
            let effect = match effect {
                Effect::Confirm { conn, frame } => match self.hold_back(conn, frame) {
                    Some((conn, frame)) => Effect::Send { conn, frame, supersedes: None },
                    None => continue,
                },
                effect => effect,
            };
            let (conn, parcel) = match effect {
                Effect::Send { conn, frame, .. } | Effect::Confirm { conn, frame } => {
                    match frame.bytes()[0] {
                        0x81 => {
                            // What goes to several is parsed once.
                            let bytes = frame.bytes().as_ptr();
                            if parsed.as_ref().is_none_or(|(last, _)| *last != bytes) {
                                parsed = Some((bytes, Rc::new(self.checked(frame.payload()))));
                            }
                            let message = parsed.as_ref().map(|(_, message)| message.clone());
                            // Kept, so that no other frame can get the same address meanwhile.
                            frames.push(frame);
                            (conn, Parcel::Text(message.expect("just parsed")))
                        }
                        _ => (conn, Parcel::Ping(frame.payload().to_vec())),
                    }
                }
                Effect::Close { conn, .. } => (conn, Parcel::End),
                Effect::Admit { conn } => {
                    self.connections.get_mut(&conn).expect("it asked").is_admitted = true;
                    continue;
                }
                Effect::Keep(keep) => {
                    // Where a life began is as of a change that is long past.
                    kept = kept.max(Some(keep.seq()));
                    self.keep(*keep);
                    continue;
                }
                Effect::Load { session } => {
                    self.load(session);
                    continue;
                }
                // Of a document that was restored.
                Effect::AnswerKept { .. } => continue,
                Effect::Refuse { why: Refusal::NotWritten, .. } => continue,
                effect @ Effect::Answer { .. } => panic!("{effect:?}"),
                Effect::Refuse { conn, why: Refusal::Unknown } => {
                    let connection = self.connections.remove(&conn).expect("it asked");
                    assert!(self.editors[connection.editor].is_viewer, "others begin a session");
                    // Unless it has left meanwhile.
                    self.current[connection.editor].take_if(|current| *current == conn);
                    continue;
                }
                effect @ (Effect::Refuse { .. } | Effect::Delete { .. }) => panic!("{effect:?}"),
            };
            let at = match arrivals.get(&conn) {
                Some(at) => *at,
                None => {
                    let at = self.delay();
                    arrivals.insert(conn, at);
                    at
                }
            };
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.down.send(at, parcel);
            }
        }
        self.effects = effects;
        self.note_moment(kept);
        self.was_kept = kept.is_some();
    }

    /// One number, one message, whoever it goes to.
    fn checked(&mut self, payload: &[u8]) -> Value {
        let message: Value = serde_json::from_slice(payload).expect("the hub sends JSON");
        if let (Some(seq), "command") = (message["seq"].as_u64(), message["type"].as_str().unwrap())
        {
            let first = self.relayed.entry(seq).or_insert_with(|| message.clone());
            assert_eq!(*first, message, "change {seq} is not the same for all");
        }
        message
    }

    /// An editor reads something.
    fn hear(&mut self, conn: ConnId, parcel: Parcel) {
        let Some(connection) = self.connections.get(&conn).filter(|c| c.is_current) else { return };
        let editor = connection.editor;
        let answers = match parcel {
            Parcel::Text(message) => {
                self.say(|| format!("{} hears {message}", self.editors[editor].user));
                let answers = self.editors[editor].hear(&message);
                answers.into_iter().map(Rc::new).map(Parcel::Text).collect()
            }
            Parcel::Ping(payload) => {
                assert!(!self.editors[editor].is_viewer, "nobody asks whether it is a host");
                vec![Parcel::Pong(payload)]
            }
            Parcel::End => {
                self.lose(editor);
                Vec::new()
            }
            Parcel::Pong(_) => unreachable!("the server answers no ping here"),
        };
        for answer in answers {
            let at = self.delay();
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.up.send(at, answer);
            }
        }
    }

    /// The editor's connection is gone, as it sees it; the server learns it later.
    fn lose(&mut self, editor: usize) {
        let Some(conn) = self.current[editor].take() else { return };
        self.say(|| format!("{} loses c{}", self.editors[editor].user, conn.0));
        let at = self.delay() + Duration::from_millis(self.random.below(3000));
        let is_pulled = self.random.chance(50);
        let connection = self.connections.get_mut(&conn).expect("it is current");
        connection.is_current = false;
        if is_pulled {
            // A pulled cable takes with it what was on its way.
            connection.up.parcels.clear();
        }
        connection.up.send(at, Parcel::End);
        self.drags.retain(|drag| drag.editor != editor);
    }

    fn join(&mut self, editor: usize) {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        // Sometimes the old connection is still open, as far as anyone knows.
        self.lose(editor);
        self.editors[editor].connect();
        self.current[editor] = Some(conn);
        let connection = Connection {
            editor,
            up: Link::default(),
            down: Link::default(),
            is_current: true,
            is_admitted: false,
            is_dead: false,
        };
        self.connections.insert(conn, connection);
        let user = self.editors[editor].user.clone();
        self.say(|| format!("{user} ({:?}) joins on c{}", self.editors[editor].role, conn.0));
        if self.editors[editor].is_viewer {
            let session = SESSION.into();
            return self.handle(Event::View { conn, session, grant: None });
        }
        let grant = self.editors[editor].is_watcher.then(|| Grant {
            key: Arc::new(Key {
                name: "watchers".into(),
                hash: KeyHash::of("watchers"),
                level: Level::Read,
                expires: None,
                opens: None,
            }),
            generation: 0,
        });
        let user = user.as_str().into();
        self.handle(Event::Join { conn, session: SESSION.into(), user, grant });
    }

    fn send(&mut self, editor: usize, mut message: Value) {
        let Some(conn) = self.current[editor] else { return };
        let is_script = self.editors[editor].role == Role::Script;
        let is_member = !self.editors[editor].is_watcher && !self.editors[editor].is_viewer;
        if self.disk.is_some() && is_script && is_member {
            message["id"] = json!(self.value());
            self.editors[editor].unconfirmed.push(message.clone());
        }
        self.say(|| format!("{} says {message}", self.editors[editor].user));
        let at = self.delay();
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.up.send(at, Parcel::Text(Rc::new(message)));
        }
    }

    fn command(&mut self, editor: usize, action: &str, id: &str, data: Value) {
        let kind = "lens";
        let command = json!({"action": action, "item_type": kind, "item_id": id, "data": data});
        self.send(editor, json!({"type": "command", "command": command}));
    }

    /// One user does something.
    fn act(&mut self) {
        let editor = self.random.below(self.editors.len() as u64) as usize;
        if self.have_an_accident() {
            return;
        }
        let Some(conn) = self.current[editor] else {
            if self.random.chance(60) {
                self.join(editor);
            }
            return;
        };
        // Nobody can say anything before the handshake is over.
        if !self.connections[&conn].is_admitted {
            if self.random.chance(10) {
                self.lose(editor);
            }
            return;
        }
        if self.editors[editor].is_viewer {
            return self.look(editor);
        }
        if self.editors[editor].is_watcher {
            return self.watch(editor);
        }
        if self.editors[editor].position.is_some() {
            return self.follow(editor);
        }
        let can_edit = !self.editors[editor].is_mute;
        match self.random.below(100) {
            0..=2 => self.lose(editor),
            3..=4 => self.join(editor),
            5..=34 if can_edit => {
                let id = self.paste(editor);
                let data = self.editors[editor].canvas[&id].data(&id);
                self.command(editor, "add_item", &id, data);
            }
            35..=44 => {
                if let Some(id) = self.some_item(editor) {
                    self.editors[editor].canvas.remove(&id);
                    self.command(editor, "remove_item", &id, json!({}));
                }
            }
            45..=60 => self.change_fields(editor),
            61..=68 if self.shares_its_canvas(editor) => self.act_in_secret(editor),
            69..=70 if self.editors[editor].role == Role::Script && can_edit => {
                self.act_in_secret(editor);
                let state = self.editors[editor].state();
                self.send(editor, json!({"type": "sync:update", "state": state}));
            }
            _ => {
                if let Some(item) = self.some_item(editor) {
                    let steps = 1 + self.random.below(12);
                    self.drags.push(Drag { editor, item, steps, next: self.now });
                }
            }
        }
    }

    /// Somebody who may only watch comes, goes, points, and tries what is refused.
    fn watch(&mut self, editor: usize) {
        match self.random.below(100) {
            0..=4 => self.lose(editor),
            5..=7 => self.join(editor),
            8..=40 => self.send(editor, json!({"type": "cursor", "x": 1})),
            41..=50 => self.send(editor, json!({"type": "sync:request"})),
            51..=60 => {
                if let Some(id) = self.some_item(editor) {
                    self.command(editor, "remove_item", &id, json!({}));
                }
            }
            61..=63 => self.send(editor, json!({"type": "sync:update", "state": {"items": []}})),
            // Before its first state that would say that it is a host.
            64..=66 if !self.editors[editor].is_mute => self.send(
                editor,
                json!({"type": "sync:full_state", "state": {"items": []}, "target_user": "user0"}),
            ),
            _ => {}
        }
    }

    /// Somebody who looks on comes, goes, and asks.
    fn look(&mut self, editor: usize) {
        match self.random.below(100) {
            0..=6 => self.lose(editor),
            7..=12 => self.join(editor),
            13..=30 => self.send(editor, json!({"type": "sync:request"})),
            _ => {}
        }
    }

    /// Somebody who wants to miss nothing comes and goes.
    fn follow(&mut self, editor: usize) {
        match self.random.below(100) {
            0..=6 => self.lose(editor),
            7..=14 => self.join(editor),
            _ => {}
        }
    }

    /// Whether the editor's next snapshot will be taken: what it doesn't tell surfaces in it.
    fn shares_its_canvas(&self, editor: usize) -> bool {
        let editor = &self.editors[editor];
        editor.role == Role::Host && editor.is_sessions_host
    }

    fn some_item(&mut self, editor: usize) -> Option<String> {
        let ids: Vec<String> = self.editors[editor].canvas.keys().cloned().collect();
        self.random.pick(&ids).cloned()
    }

    /// Puts a new item on a canvas without telling anybody.
    fn paste(&mut self, editor: usize) -> String {
        let id = format!("item{}", self.next_item);
        self.next_item += 1;
        let fields = FIELDS.iter().map(|name| (*name, self.value())).collect();
        let item = Item { kind: "lens".into(), fields };
        self.editors[editor].canvas.insert(id.clone(), item);
        id
    }

    /// Paste and undo are not sent at all.
    fn act_in_secret(&mut self, editor: usize) {
        match (self.random.below(3), self.some_item(editor)) {
            (0, Some(id)) => drop(self.editors[editor].canvas.remove(&id)),
            (1, Some(id)) => {
                let value = self.value();
                let item = self.editors[editor].canvas.get_mut(&id).expect("it was picked");
                item.fields.insert("efl_mm", value);
            }
            _ => drop(self.paste(editor)),
        }
    }

    fn change_fields(&mut self, editor: usize) {
        let Some(id) = self.some_item(editor) else { return };
        let (value, name) = (self.value(), *self.random.pick(&FIELDS).expect("there are some"));
        let item = self.editors[editor].canvas.get_mut(&id).expect("it was picked");
        item.fields.insert(name, value);
        // An editor sends the whole dictionary, a script only what it has changed.
        let data = match self.editors[editor].role {
            Role::Script => json!({name: value}),
            _ => self.editors[editor].canvas[&id].data(&id),
        };
        self.command(editor, "update_item", &id, data);
    }

    fn drag(&mut self) {
        let due: Vec<usize> =
            (0..self.drags.len()).filter(|&n| self.drags[n].next <= self.now).collect();
        for n in due {
            let (editor, id) = (self.drags[n].editor, self.drags[n].item.clone());
            self.drags[n].next = self.now + Duration::from_millis(8 + self.random.below(120));
            self.drags[n].steps -= 1;
            let (x, y, angle) = (self.value(), self.value(), self.value());
            let Some(item) = self.editors[editor].canvas.get_mut(&id) else {
                self.drags[n].steps = 0;
                continue;
            };
            item.fields.extend([("x_mm", x), ("y_mm", y), ("angle_deg", angle)]);
            let data = item.data(&id);
            self.command(editor, "move_item", &id, data.clone());
            if self.editors[editor].role != Role::Script {
                self.command(editor, "update_item", &id, data);
            }
        }
        self.drags.retain(|drag| drag.steps > 0);
    }

    /// What every item looks like before a snapshot is taken.
    fn snapshot_begins(&self, conn: ConnId, message: &Value) -> Option<BTreeMap<String, Item>> {
        let is_snapshot = message["type"] == "sync:full_state";
        (is_snapshot && self.is_member(conn)).then(|| self.document())
    }

    /// Keeps the record of who wrote what, and holds a snapshot against it.
    fn note(&mut self, conn: ConnId, message: &Value, before: Option<BTreeMap<String, Item>>) {
        if !self.is_member(conn) {
            return;
        }
        let user = self.editors[self.connections[&conn].editor].user.clone();
        if let Some(before) = before {
            let after = self.document();
            let shown: HashSet<&str> = message["state"]["items"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|item| item["uuid"].as_str())
                .collect();
            let is_new_design = before.keys().all(|id| !shown.contains(id.as_str()))
                && after.keys().all(|id| shown.contains(id.as_str()));
            if !is_new_design {
                for (id, item) in &before {
                    if self.writers.get(id).is_some_and(|writer| *writer != user) {
                        assert_eq!(
                            Some(item),
                            after.get(id),
                            "{user}'s snapshot changed what {} did to {id}",
                            self.writers[id],
                        );
                    }
                }
            }
            for id in after.keys().filter(|id| !before.contains_key(*id)) {
                self.writers.insert(id.clone(), user.clone());
            }
        }
        if message["type"] == "sync:update" {
            // It replaces what anybody did.
            self.writers.clear();
        }
        // What was said twice is not applied twice.
        if message["type"] == "command" && (self.was_kept || self.disk.is_none()) {
            let id = message["command"]["item_id"].as_str().expect("a string");
            if self.hub.document(SESSION).is_some_and(|document| document.get(id).is_some()) {
                self.writers.insert(id.to_owned(), user);
            }
        }
    }

    /// Whether the server still listens to a connection.
    fn is_member(&self, conn: ConnId) -> bool {
        let editor = self.connections[&conn].editor;
        self.connections.iter().filter(|(_, c)| c.editor == editor).all(|(other, _)| *other <= conn)
    }

    fn document(&self) -> BTreeMap<String, Item> {
        let Some(document) = self.hub.document(SESSION) else { return BTreeMap::new() };
        let mut json = Vec::new();
        document.write_state(&mut json, Timestamp::from_millis(0));
        let state: Value = serde_json::from_slice(&json).expect("a state is JSON");
        let items = state["items"].as_array().expect("a list");
        items
            .iter()
            .map(|data| {
                let kind = data["item_type"].as_str().expect("an item_type");
                (data["uuid"].as_str().expect("a uuid").to_owned(), Item::of(kind, data))
            })
            .collect()
    }

    /// Nobody does anything any more; what is on its way arrives, items settle, and somebody comes
    /// in whom the host shows its canvas.
    fn come_to_rest(&mut self) {
        self.say(|| "everyone rests".into());
        self.drags.clear();
        if self.disk.is_some() {
            self.work_again();
        }
        self.advance(self.now + Duration::from_secs(20));
        for late in [
            Editor::new("late".into(), Role::Client),
            Editor::watcher("late watcher".into(), Role::Client),
            Editor::viewer("late viewer".into()),
        ] {
            self.editors.push(late);
            self.current.push(None);
            self.join(self.editors.len() - 1);
            self.advance(self.now + Duration::from_secs(20));
        }
    }

    fn check(&self) {
        let document = self.document();
        for (editor, _) in self.editors.iter().zip(&self.current).filter(|(_, c)| c.is_some()) {
            if editor.canvas != document {
                for id in editor.canvas.keys().chain(document.keys()) {
                    if editor.canvas.get(id) != document.get(id) {
                        println!("{id} on {}: {:?}", editor.user, editor.canvas.get(id));
                        println!("{id} in the document: {:?}", document.get(id));
                    }
                }
                panic!("{}'s canvas is wrong", editor.user);
            }
        }
    }
}
