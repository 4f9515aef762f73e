//! A message costs the hub time linear in its bytes plus the bytes of the items it touches: every shape
//! of message doubles its size three times, and its cost must not grow by more than 2.3 each time, which
//! leaves room for sorting.
//!
//! The cost is the number of basic blocks that are run: `make linear` builds everything with LLVM's hooks
//! for coverage and counts them. A run takes the same number each time, but for the seeds of hash maps.
//! `cargo nextest run` has no hooks: it only does everything once, at a small size. What libc does in one
//! call, like copying bytes, isn't counted.

use std::collections::HashMap;
use std::time::Duration;

use collabd::hub::{
    ChannelMessage, ConnId, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits,
    LoadedSession, Time,
};
use collabd::journal::{StoredChange, StoredSession};
use collabd::protocol::Timestamp;
use collabd::protocol::client::{self, Inbound};
use collabd::protocol::inbound::{self, State};

use crate::rig::{START, writer};

/// How much a cost may grow while a size doubles.
const MOST: f64 = 2.3;
/// How often a size is doubled.
const DOUBLINGS: i32 = 3;

/// Counts what is run.
#[cfg(count_steps)]
mod steps {
    static mut STEPS: u64 = 0;

    /// Called at the beginning of every basic block, but for those of a function of such a name. One
    /// test runs at a time.
    #[unsafe(no_mangle)]
    pub extern "C" fn __sanitizer_cov_trace_pc() {
        unsafe { STEPS = STEPS.wrapping_add(1) };
    }

    pub fn now() -> u64 {
        unsafe { (&raw const STEPS).read_volatile() }
    }
}

/// A hub in which one shape of message is going to be handled.
struct Table {
    hub: Hub,
    elapsed: Duration,
    pings: HashMap<ConnId, Vec<u8>>,
}

/// What is measured: texts that members say, or other events.
enum Act {
    Says(ConnId, String),
    /// By the client protocol.
    Talks(ConnId, String),
    Happens(Event),
    /// So many milliseconds pass.
    Pass(u64),
    /// A member answers its Pings.
    Pong(ConnId),
    /// A session is read from what is stored, as the store's thread does.
    Load(StoredSession),
}

fn limits() -> Limits {
    Limits {
        linger: Duration::from_secs(600),
        max_sessions: 0,
        max_channels: 0,
        document: DocumentBounds { item: 1 << 26, document: 1 << 28 },
        documents_memory: 0,
        history: HistoryBounds { changes: 10_000, bytes: 1 << 26 },
        settle: true,
        durable: true,
    }
}

impl Table {
    fn new() -> Self {
        Table { hub: Hub::new(limits(), 1), elapsed: Duration::ZERO, pings: HashMap::new() }
    }

    fn handle(&mut self, event: Event) {
        let wall = Timestamp::from_millis(START + self.elapsed.as_millis() as u64);
        let mut effects = Vec::new();
        self.hub.handle(event, Time { elapsed: self.elapsed, wall }, &mut effects);
        for effect in &effects {
            if let Effect::Send { conn, frame, .. } = effect
                && frame.bytes()[0] == 0x89
            {
                self.pings.insert(*conn, frame.payload().to_vec());
            }
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Says(conn, text) => {
                let message = inbound::parse(&text).expect("what is allowed");
                self.handle(Event::Message { conn, message });
            }
            Act::Talks(conn, text) => {
                let Ok(Inbound::Request(request)) = client::parse(&text) else { panic!("{text}") };
                self.handle(Event::ChannelMessage { conn, said: ChannelMessage::Request(request) });
            }
            Act::Happens(event) => self.handle(event),
            Act::Pass(millis) => {
                let end = self.elapsed + Duration::from_millis(millis);
                while let Some(due) = self.hub.next_deadline().filter(|due| *due <= end) {
                    self.elapsed = self.elapsed.max(due);
                    self.handle(Event::Tick);
                }
                self.elapsed = end;
            }
            Act::Pong(conn) => {
                while let Some(payload) = self.pings.remove(&conn) {
                    self.handle(Event::Pong { conn, payload });
                }
            }
            Act::Load(stored) => {
                drop(LoadedSession::of(stored, limits().history).expect("what was kept"))
            }
        }
    }
}

/// What one size of a shape needs: what happens first, and what is measured.
#[derive(Default)]
struct Script {
    before: Vec<Act>,
    measured: Vec<Act>,
}

const ALICE: ConnId = ConnId(1);
const BOB: ConnId = ConnId(2);
const EVE: ConnId = ConnId(3);

impl Script {
    /// Alice shares a canvas with these items, Bob joins, both are editors; Eve is a script.
    fn session(items: &[String]) -> Self {
        let mut script = Script::default();
        for (conn, user) in [(ALICE, "alice"), (BOB, "bob"), (EVE, "eve")] {
            script.first(Act::Happens(join(conn, user)));
            if conn != EVE {
                let request = format!(r#"{{"type":"sync:request","user_id":"{user}"}}"#);
                script.first(Act::Says(conn, request));
            }
            if conn == ALICE {
                script.first(Act::Says(ALICE, canvas(items, "alice")));
            }
            script.first(Act::Pong(conn));
        }
        script.first(Act::Pass(1000));
        [ALICE, BOB, EVE].into_iter().for_each(|conn| script.first(Act::Pong(conn)));
        script
    }

    fn first(&mut self, act: Act) {
        self.before.push(act);
    }

    fn then(mut self, act: Act) -> Self {
        self.measured.push(act);
        self
    }

    /// What has been said to be measured so far comes before.
    fn already(mut self) -> Self {
        self.before.append(&mut self.measured);
        self
    }

    /// What it costs.
    fn cost(self) -> u64 {
        let mut table = Table::new();
        self.before.into_iter().for_each(|act| table.act(act));
        let began = steps();
        self.measured.into_iter().for_each(|act| table.act(act));
        steps() - began
    }
}

/// How much has been run; 0 where it isn't counted.
fn steps() -> u64 {
    #[cfg(count_steps)]
    return steps::now();
    #[cfg(not(count_steps))]
    0
}

fn join(conn: ConnId, user: &str) -> Event {
    Event::Join { conn, session: "s".into(), user: user.into(), grant: None }
}

fn canvas(items: &[String], target: &str) -> String {
    let target = if target.is_empty() { "null".to_owned() } else { format!("\"{target}\"") };
    format!(
        r#"{{"type":"sync:full_state","state":{{"items":[{}],"version":1}},"target_user":{target}}}"#,
        items.join(",")
    )
}

fn update(items: &[String]) -> String {
    format!(r#"{{"type":"sync:update","state":{{"items":[{}]}},"id":"u"}}"#, items.join(","))
}

/// An editor's component with so many fields beside its own, each with this value.
fn wide(id: &str, fields: usize, value: &str) -> String {
    let more: String = (0..fields).map(|n| format!(r#","field{n}":{value}"#)).collect();
    item(id, "0.0", &more)
}

/// An editor's component at this place, with more fields.
fn item(id: &str, x: &str, more: &str) -> String {
    format!(
        r#"{{"_type":"component","item_uuid":"{id}","x_mm":{x},"y_mm":0.0,"angle_deg":0.0,"locked":false,"z_value":0.0{more}}}"#
    )
}

fn tiny(count: usize, x: &str) -> Vec<String> {
    (0..count).map(|n| item(&format!("item{n}"), x, "")).collect()
}

/// A component with a picture and so many interfaces, each with more fields.
fn picture(id: &str, x: &str, interfaces: usize, y: f64, more: &str) -> String {
    let interface = format!(
        r#"{{"x1_mm":-25.0,"y1_mm":{y:?},"x2_mm":-25.0,"y2_mm":-9.5,"element_type":"mirror","name":""{more}}}"#
    );
    let interfaces = vec![interface; interfaces].join(",");
    item(id, x, &format!(r#","image_path":"objects/m.png","interfaces":[{interfaces}]"#))
}

fn command(action: &str, id: &str, data: &str) -> String {
    format!(
        r#"{{"type":"command","command":{{"action":"{action}","item_type":"component","item_id":"{id}","data":{data}}}}}"#
    )
}

fn script_says(action: &str, id: &str, data: &str) -> Act {
    Act::Says(EVE, command(action, id, data))
}

/// The shapes whose cost has been found.
#[derive(Default)]
struct Shapes {
    too_steep: Vec<String>,
}

impl Shapes {
    /// Finds what a shape costs, from this size on.
    fn cost(&mut self, shape: &str, size: usize, script: impl Fn(usize) -> Script) {
        if cfg!(not(count_steps)) {
            script((size / 10).max(1)).cost();
            return;
        }
        let sizes = (0..=DOUBLINGS).map(|doubling| size << doubling);
        let costs: Vec<u64> = sizes.map(|size| script(size).cost()).collect();
        let growth = costs[costs.len() - 1] as f64 / costs[0] as f64;
        let each = growth.powf(1.0 / f64::from(DOUBLINGS));
        println!("{each:.2} {shape}: {costs:?}");
        if each > MOST {
            self.too_steep.push(format!("{each:.2} a doubling, {shape}: {costs:?}"));
        }
    }
}

impl Drop for Shapes {
    /// Panics if one of them grows faster than linearly.
    fn drop(&mut self) {
        let is_panicking = std::thread::panicking();
        assert!(is_panicking || self.too_steep.is_empty(), "{:#?}", self.too_steep);
    }
}

#[test]
fn commands_with_many_fields() {
    let mut shapes = Shapes::default();
    let fields = |n, value: &str| wide("a", n, value);
    let add =
        |n| Script::session(&[]).then(Act::Says(ALICE, command("add_item", "a", &fields(n, "1"))));
    shapes.cost("add_item", 1000, add);
    for (said, conn) in [("the builder", ALICE), ("a rebuilt copy", BOB), ("a script", EVE)] {
        for action in ["add_item", "update_item", "move_item"] {
            for (what, value) in [("the same again", "1"), ("all anew", "2")] {
                let data = |n| match conn {
                    EVE => fields(n, value).replace(r#""_type":"component","#, ""),
                    _ => fields(n, value),
                };
                let script = |n| {
                    let script = add(n).then(Act::Pass(1000)).then(Act::Pong(BOB)).already();
                    script
                        .then(Act::Says(conn, command(action, "a", &data(n))))
                        .then(Act::Pass(400))
                };
                shapes.cost(&format!("{action} by {said}, {what}"), 1000, script);
            }
        }
        // None of them is one that the item has.
        let script = |n| {
            let script = add(1).then(Act::Pass(1000)).then(Act::Pong(BOB)).already();
            script.then(Act::Says(conn, command("update_item", "a", &fields(n, "1"))))
        };
        shapes.cost(&format!("new fields by {said}"), 1000, script);
    }
    let script = |n| {
        let script = add(n).then(Act::Pass(1000)).then(Act::Pong(BOB)).already();
        script.then(Act::Says(BOB, command("remove_item", "a", "{}"))).then(Act::Pass(400))
    };
    shapes.cost("remove_item", 1000, script);
}

#[test]
fn commands_with_one_huge_field() {
    let mut shapes = Shapes::default();
    for (shape, open, part, close) in [
        ("a string", "\"", "x\\u00fc", "\""),
        ("a list", "[0", ",1", "]"),
        ("an object", "{\"a\":0", ",\"b\":1", "}"),
        ("many objects", "[{}", ",{\"a\":[{}]}", "]"),
        ("a number", "0.", "123456789", ""),
    ] {
        let size = if shape == "a number" { 4 } else { 4000 };
        let data =
            |n: usize, x: &str| item("a", x, &format!(",\"huge\":{open}{}{close}", part.repeat(n)));
        let script = |n| {
            Script::session(&[])
                .then(Act::Says(ALICE, command("add_item", "a", &data(n, "1.0"))))
                .then(Act::Pass(1000))
                .then(Act::Pong(BOB))
                .then(Act::Says(BOB, command("move_item", "a", &data(n, "2.0"))))
                .then(Act::Says(BOB, command("update_item", "a", &data(n + 1, "2.0"))))
                .then(Act::Pass(1000))
        };
        shapes.cost(&format!("{shape} in an item"), size, script);
        let said =
            |n: usize| format!(r#"{{"type":"chat","text":{open}{}{close}}}"#, part.repeat(n));
        shapes.cost(&format!("{shape} in a chat"), size, |n| {
            Script::session(&[]).then(Act::Says(ALICE, said(n)))
        });
    }
}

#[test]
fn interfaces_with_many_entries_or_fields() {
    let mut shapes = Shapes::default();
    let more = |n: usize| -> String { (0..n).map(|n| format!(r#","f{n}":1"#)).collect() };
    type Shape<'a> = (&'a str, &'a dyn Fn(usize, &str, f64) -> String);
    let many: Shape<'_> = ("many interfaces", &|n, x, y| picture("a", x, n, y, ""));
    let wide: Shape<'_> =
        ("an interface of many fields", &|n, x, y| picture("a", x, 1, y, &more(n)));
    // The smaller ones are moved for copies without a picture, the larger ones are too large for that.
    for (size, (shape, data)) in [(60, many), (800, many), (600, wide), (8000, wide)] {
        let shape = &format!("{shape} from {size}");
        let added = |n: usize| {
            let add = Act::Says(ALICE, command("add_item", "a", &data(n, "0.0", 9.5)));
            Script::session(&[]).then(add).then(Act::Pass(1000)).then(Act::Pong(BOB))
        };
        shapes.cost(&format!("add_item, {shape}"), size, added);
        for (what, x, y) in [("moved", "1.0", 9.5), ("bent", "1.0", 9.75)] {
            for (said, conn) in [("the builder", ALICE), ("a rebuilt copy", BOB)] {
                // A rebuilt copy's interfaces are moved by minus the middle of the first one.
                let data = |n| {
                    let data = data(n, x, y);
                    if conn == BOB { data.replace("-25.0", "0.0") } else { data }
                };
                let script = |n| {
                    let said = Act::Says(conn, command("move_item", "a", &data(n)));
                    added(n).already().then(said).then(Act::Pass(1000))
                };
                shapes.cost(&format!("{shape} {what} by {said}"), size, script);
            }
        }
        let script =
            |n| added(n).already().then(Act::Says(ALICE, canvas(&[data(n, "0.0", 9.5)], "alice")));
        shapes.cost(&format!("a snapshot of {shape}"), size, script);
    }
}

#[test]
fn snapshots() {
    let mut shapes = Shapes::default();
    let again = |n| Act::Says(ALICE, canvas(&[wide("a", n, "1")], "bob"));
    shapes.cost("one item of many fields", 1000, |n| Script::session(&[]).then(again(n)));
    shapes.cost("the same item again", 1000, |n| {
        Script::session(&[wide("a", n, "1")]).then(again(n)).then(again(n))
    });
    shapes.cost("the same item, changed", 1000, |n| {
        Script::session(&[wide("a", n, "2")]).then(again(n))
    });
    shapes.cost("one id many times", 500, |n| {
        Script::session(&[]).then(Act::Says(ALICE, canvas(&vec![item("a", "1.0", ""); n], "")))
    });
    shapes.cost("one field many times", 1000, |n| {
        let fields = r#","f":1"#.repeat(n);
        Script::session(&[]).then(Act::Says(ALICE, canvas(&[item("a", "1.0", &fields)], "")))
    });
    shapes.cost("many tiny items", 500, |n| {
        Script::session(&[]).then(Act::Says(ALICE, canvas(&tiny(n, "0.0"), "bob")))
    });
    shapes.cost("many tiny items again", 500, |n| {
        Script::session(&tiny(n, "0.0")).then(Act::Says(ALICE, canvas(&tiny(n, "0.0"), "bob")))
    });
    shapes.cost("many tiny items, moved", 500, |n| {
        let said = Act::Says(ALICE, canvas(&tiny(n, "1.0"), "bob"));
        Script::session(&tiny(n, "0.0")).then(said).then(Act::Pass(1000))
    });
    shapes.cost("all but one removed", 500, |n| {
        Script::session(&tiny(n, "0.0")).then(Act::Says(ALICE, canvas(&tiny(1, "0.0"), "bob")))
    });
    shapes.cost("items that can't be taken", 500, |n| {
        let items: Vec<String> = (0..n).map(|n| item(&format!("i{n}"), "\"x\"", "")).collect();
        Script::session(&tiny(n, "0.0")).then(Act::Says(ALICE, canvas(&items, "")))
    });
    shapes.cost("much beside the items", 1000, |n| {
        let extra: String = (0..n).map(|n| format!(r#","e{n}":1"#)).collect();
        let text =
            format!(r#"{{"type":"sync:full_state","state":{{"items":[],"version":1{extra}}}}}"#);
        Script::session(&[]).then(Act::Says(ALICE, text.clone())).then(Act::Says(ALICE, text))
    });
    // A new connection's first canvas, with none or all of the document's items, of a host and of a reader.
    for (what, x) in [("as it is", "0.0"), ("from elsewhere", "5.0")] {
        shapes.cost(&format!("a first canvas {what}"), 500, |n| {
            let mut script = Script::session(&tiny(n, "0.0"));
            script.first(Act::Happens(join(ConnId(9), "alice")));
            script.then(Act::Says(ConnId(9), canvas(&tiny(n, x), "alice")))
        });
    }
    shapes.cost("a first canvas that lacks everything", 500, |n| {
        let mut script = Script::session(&tiny(n, "0.0"));
        script.first(Act::Happens(join(ConnId(9), "carol")));
        script.then(Act::Says(ConnId(9), canvas(&[item("new", "1.0", "")], "carol")))
    });
    shapes.cost("a new design", 500, |n| {
        let mut script = Script::session(&tiny(n, "0.0"));
        for conn in [ALICE, BOB, EVE] {
            script.first(Act::Happens(Event::Disconnected { conn }));
        }
        script.first(Act::Happens(join(ConnId(9), "carol")));
        script.then(Act::Says(ConnId(9), canvas(&[item("new", "1.0", "")], "carol")))
    });
}

#[test]
fn whole_documents() {
    let mut shapes = Shapes::default();
    for (what, x, count) in
        [("the same", "0.0", 1), ("moved", "1.0", 1), ("all but half", "0.0", 2)]
    {
        shapes.cost(&format!("sync:update, {what}"), 500, |n| {
            let script = Script::session(&tiny(n, "0.0"));
            script.then(Act::Says(EVE, update(&tiny(n / count, x)))).then(Act::Pass(400))
        });
    }
    shapes.cost("sync:update of one item of many fields", 1000, |n| {
        Script::session(&[wide("a", n, "1")]).then(Act::Says(EVE, update(&[wide("a", n, "2")])))
    });
    shapes.cost("sync:update that drops many fields", 4000, |n| {
        Script::session(&[wide("a", n, "1")]).then(Act::Says(EVE, update(&[wide("a", 0, "2")])))
    });
    shapes.cost("restore", 500, |n| {
        let items = tiny(n, "3.0").join(",");
        let state = State::parse(&format!(r#"{{"items":[{items}]}}"#)).expect("a canvas");
        let (state, by) = (Box::new(state), "operator".into());
        let restore = Event::Restore { conn: ConnId(99), session: "s".into(), state, by };
        Script::session(&tiny(n, "0.0")).then(Act::Happens(restore)).then(Act::Pass(400))
    });
    shapes.cost("sync:request", 500, |n| {
        Script::session(&tiny(n, "0.0"))
            .then(Act::Says(EVE, r#"{"type":"sync:request"}"#.into()))
            .then(Act::Says(BOB, r#"{"type":"sync:request","user_id":"bob"}"#.into()))
            .then(Act::Pong(BOB))
    });
    shapes.cost("many who ask for the same document", 200, |n| {
        let mut script = Script::session(&tiny(100, "0.0"));
        for user in 0..n {
            let conn = ConnId(100 + user as u64);
            script.first(Act::Happens(Event::View {
                conn,
                session: "s".into(),
                grant: None,
                since: None,
            }));
        }
        for user in 0..n {
            let conn = ConnId(100 + user as u64);
            script = script.then(Act::Happens(Event::RequestState { conn, since: None }));
        }
        script
    });
}

#[test]
fn removed_items() {
    let mut shapes = Shapes::default();
    let removed = |n: usize| {
        let mut script = Script::session(&tiny(n, "0.0"));
        for item in 0..n {
            script = script.then(script_says("remove_item", &format!("item{item}"), "{}"));
        }
        script
    };
    shapes.cost("many removals", 500, removed);
    shapes.cost("removals by another", 500, |n| {
        let mut script = removed(n).already();
        for item in 0..n {
            let said = command("remove_item", &format!("item{item}"), "{}");
            script = script.then(Act::Says(BOB, said));
        }
        script.then(Act::Pass(3000))
    });
    shapes.cost("removals amid changes", 500, |n| {
        let mut script = Script::session(&tiny(n, "0.0"));
        for (action, x) in [("move_item", "1.0"), ("remove_item", "1.0")] {
            for item in 0..n {
                let id = format!("item{item}");
                let said = command(action, &id, &self::item(&id, x, ""));
                script = script.then(Act::Says(ALICE, said));
            }
        }
        script.then(Act::Pass(3000))
    });
    shapes.cost("a snapshot of what was removed", 500, |n| {
        removed(n).already().then(Act::Says(ALICE, canvas(&tiny(n, "0.0"), "bob")))
    });
    shapes.cost("a state amid removals", 500, |n| {
        removed(n).already().then(Act::Says(BOB, update(&tiny(1, "0.0"))))
    });
    shapes.cost("removed items come back", 500, |n| {
        let mut script = removed(n).already();
        for item in 0..n {
            let id = format!("item{item}");
            script = script.then(script_says("add_item", &id, &self::item(&id, "1.0", "")));
        }
        script
    });
}

#[test]
fn long_work_on_one_item() {
    let mut shapes = Shapes::default();
    // More earlier values than are remembered.
    let drags = |n: usize, conns: &[ConnId]| {
        let mut script = Script::session(&[item("a", "0.0", "")]);
        for step in 0..n {
            for conn in conns {
                let data = item("a", &format!("{step}.5"), "");
                script = script.then(Act::Says(*conn, command("move_item", "a", &data)));
                script = script.then(Act::Pass(8));
            }
        }
        script
    };
    shapes.cost("a drag", 1000, |n| drags(n, &[ALICE]));
    shapes.cost("two who drag", 1000, |n| drags(n, &[ALICE, BOB]));
    shapes.cost("a snapshot after a drag", 1000, |n| {
        drags(n, &[ALICE]).already().then(Act::Says(ALICE, canvas(&tiny(500, "0.0"), "")))
    });
    // Of everything: what is measured is the last message alone.
    shapes.cost("many fields that were written again and again", 200, |n| {
        let mut script = Script::session(&[wide("a", n, "0")]);
        for value in 0..30 {
            let conn = if value % 2 == 0 { ALICE } else { EVE };
            let said = command("update_item", "a", &wide("a", n, &value.to_string()));
            script = script.then(Act::Says(conn, said));
        }
        script.already().then(Act::Says(ALICE, canvas(&[wide("a", n, "31")], "")))
    });
}

#[test]
fn many_members() {
    let mut shapes = Shapes::default();
    // Each hears of each other: what is measured is one message in a session of so many.
    let crowd = |n: usize| {
        let mut script = Script::session(&[item("a", "0.0", "")]);
        for user in 0..n {
            let conn = ConnId(100 + user as u64);
            script.first(Act::Happens(join(conn, &format!("user{user}"))));
            script.first(Act::Pong(conn));
        }
        script
    };
    let last = |n: usize| ConnId(99 + n as u64);
    shapes.cost("a command to many", 200, |n| {
        crowd(n).then(Act::Says(last(n), command("move_item", "a", &item("a", "1.0", ""))))
    });
    shapes.cost("one more who joins many", 200, |n| {
        crowd(n).then(Act::Happens(join(ConnId(9), "z")))
    });
    shapes.cost("one of many who leaves", 200, |n| {
        crowd(n).then(Act::Happens(Event::Disconnected { conn: ConnId(100) }))
    });
    // Nobody else hears of it: so many messages of so many members.
    shapes.cost("everybody's ping", 500, |n| {
        let mut script = crowd(n);
        for user in 0..n {
            let ping = Act::Says(ConnId(100 + user as u64), r#"{"type":"ping"}"#.into());
            script = script.then(ping);
        }
        script
    });
}

fn client(conn: ConnId) -> [Act; 2] {
    let enter =
        Event::ConnectClient { conn, client: format!("client{}", conn.0).into(), debug: false };
    let said = ChannelMessage::Connect(Ok(writer()));
    [Act::Happens(enter), Act::Happens(Event::ChannelMessage { conn, said })]
}

#[test]
fn channels() {
    let mut shapes = Shapes::default();
    let join_channel = |conn: ConnId, channel: usize| {
        let text = format!(r#"{{"type":"join_channel","data":{{"channel":"c{channel}"}}}}"#);
        Act::Talks(conn, text)
    };
    let talk = |conn: ConnId, channel: usize, thread: usize| {
        let text = format!(
            r#"{{"type":"chat_message","channel":"c{channel}","data":{{"content":"x","thread_id":"t{thread}"}}}}"#
        );
        Act::Talks(conn, text)
    };
    let crowd = |n: usize| {
        let mut script = Script::default();
        for conn in (0..n).map(|n| ConnId(n as u64)) {
            script.before.extend(client(conn));
            script = script.then(join_channel(conn, 0));
        }
        script
    };
    shapes.cost("many who join a channel", 500, crowd);
    shapes.cost("a message to a channel of many", 500, |n| {
        crowd(n).already().then(talk(ConnId(0), 0, 0))
    });
    shapes.cost("one of many who leaves a channel", 500, |n| {
        crowd(n).already().then(Act::Happens(Event::Disconnected { conn: ConnId(n as u64 / 2) }))
    });
    shapes.cost("one who joins many channels", 100, |n| {
        let mut script = Script::default();
        script.before.extend(client(ALICE));
        for channel in 0..n {
            script = script.then(join_channel(ALICE, channel)).then(talk(ALICE, channel, 0));
        }
        script
    });
    shapes.cost("many threads in a channel", 500, |n| {
        let mut script = crowd(1).already();
        for thread in 0..n {
            script = script.then(talk(ConnId(0), 0, thread));
        }
        script
    });
    shapes.cost("a large message to a channel", 4000, |n| {
        let text = format!(
            r#"{{"type":"chat_message","channel":"c0","data":{{"content":"{}"}}}}"#,
            "x".repeat(n)
        );
        crowd(2).already().then(Act::Talks(ConnId(0), text))
    });
}

/// What a store's thread does while a session is loaded.
#[test]
fn stored_sessions() {
    let mut shapes = Shapes::default();
    let change = |seq: u64, action: &str, id: &str, data: &str| {
        let text = format!(
            r#"{{"type":"command","command":{{"action":"{action}","item_type":"component","item_id":"{id}","data":{data}}},"user_id":"alice","timestamp":"2025-10-28T13:30:45.123Z","seq":{seq}}}"#
        );
        let at = Timestamp::from_millis(START);
        StoredChange { seq, at, user: "alice".into(), frame: text.into_bytes(), id: None }
    };
    let stored = |changes: Vec<StoredChange>| StoredSession {
        skipped: 0,
        epoch: "e".into(),
        seq: changes.len() as u64,
        document: Vec::new(),
        seq_of_document: 0,
        changes,
        history: Vec::new(),
        taken: Vec::new(),
    };
    shapes.cost("a session of many items is loaded", 500, |n| {
        let changes = (0..n).map(|item| {
            let id = format!("item{item}");
            change(item as u64 + 1, "add_item", &id, &self::item(&id, "0.0", ""))
        });
        Script::default().then(Act::Load(stored(changes.collect())))
    });
    shapes.cost("a session with a long drag is loaded", 500, |n| {
        let add = change(1, "add_item", "a", &item("a", "0.0", ""));
        let moves = (2..=n as u64)
            .map(|seq| change(seq, "move_item", "a", &format!(r#"{{"x_mm":{seq}.5,"y_mm":0.0}}"#)));
        Script::default().then(Act::Load(stored([add].into_iter().chain(moves).collect())))
    });
}
