//! Sessions in which people work at random, with viewers that come, ask and go and without: nobody may
//! be able to tell the difference, and what viewers are shown is always the document.
//!
//! A failing case is printed, with the seed that brings it back.

use std::collections::BTreeMap;
use std::time::Duration;

use collabd::hub::{ConnId, Event, Limits};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::rig::*;

const SESSIONS: [&str; 2] = ["bench", "table"];
const USERS: usize = 3;
const ITEMS: usize = 4;
const VIEWERS: usize = 3;
/// Connections of viewers, and of whoever asks without a WebSocket, have higher numbers than anybody's.
const FIRST_VIEWER: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Act {
    Join { user: usize, session: usize, reads: bool },
    Gone { user: usize },
    Pong { user: usize },
    Failed { user: usize },
    Command { user: usize, action: &'static str, item: usize, value: i64, named: bool },
    Cursor { user: usize },
    Request { user: usize },
    Replace { user: usize, items: Vec<usize>, value: i64 },
    Snapshot { user: usize, items: Vec<usize>, value: i64, target: Option<usize> },
    Wait { millis: u64 },
    View { viewer: usize, session: usize },
    Look { viewer: usize, back: Option<u64> },
    LookAway { viewer: usize },
    Ask { session: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let (user, session, item) = (0..USERS, 0..SESSIONS.len(), 0..ITEMS);
    let action = prop_oneof![
        3 => Just("add_item"),
        2 => Just("move_item"),
        2 => Just("update_item"),
        1 => Just("remove_item"),
    ];
    let items = vec(0..ITEMS, 0..ITEMS);
    let target = proptest::option::weighted(0.7, 0..USERS);
    prop_oneof![
        3 => (user.clone(), session.clone(), prop::bool::weighted(0.2))
            .prop_map(|(user, session, reads)| Act::Join { user, session, reads }),
        1 => user.clone().prop_map(|user| Act::Gone { user }),
        2 => user.clone().prop_map(|user| Act::Pong { user }),
        1 => user.clone().prop_map(|user| Act::Failed { user }),
        8 => (user.clone(), action, item, 0..9i64, any::<bool>()).prop_map(
            |(user, action, item, value, named)| Act::Command { user, action, item, value, named }
        ),
        1 => user.clone().prop_map(|user| Act::Cursor { user }),
        1 => user.clone().prop_map(|user| Act::Request { user }),
        1 => (user.clone(), items.clone(), 0..9i64)
            .prop_map(|(user, items, value)| Act::Replace { user, items, value }),
        2 => (user, items, 0..9i64, target).prop_map(
            |(user, items, value, target)| Act::Snapshot { user, items, value, target }
        ),
        3 => prop_oneof![0..400u64, 0..3000u64, 0..30_000u64]
            .prop_map(|millis| Act::Wait { millis }),
        3 => (0..VIEWERS, session.clone()).prop_map(|(viewer, session)| Act::View { viewer, session }),
        2 => (0..VIEWERS, proptest::option::of(0..5u64))
            .prop_map(|(viewer, back)| Act::Look { viewer, back }),
        1 => (0..VIEWERS).prop_map(|viewer| Act::LookAway { viewer }),
        1 => session.prop_map(|session| Act::Ask { session }),
    ]
}

/// What a viewer shows: built from what it is sent, in the order it comes.
#[derive(Debug)]
struct View {
    conn: ConnId,
    session: &'static str,
    items: Option<BTreeMap<String, Map<String, Value>>>,
    epoch: String,
    seq: u64,
    users: Vec<String>,
    host: Option<String>,
}

impl View {
    fn hear(&mut self, message: &Value) {
        let user = || message["user_id"].as_str().expect("a user").to_owned();
        match message["type"].as_str().expect("a type") {
            "connection:ack" => {
                self.epoch = message["epoch"].as_str().expect("an epoch").into();
                for user in message["users"].as_array().expect("a list") {
                    let name = user["user_id"].as_str().expect("a name").to_owned();
                    if user["is_host"] == true {
                        self.host = Some(name.clone());
                    }
                    self.users.push(name);
                }
            }
            "user:joined" => self.users.push(user()),
            "user:left" => {
                self.users.retain(|there| *there != user());
                self.host.take_if(|host| *host == user());
            }
            "host:changed" => self.host = Some(user()),
            "sync:state" => {
                let items = message["state"]["items"].as_array().expect("a list");
                let items = items.iter().map(|item| {
                    let item = item.as_object().expect("an object").clone();
                    (item["uuid"].as_str().expect("a name").to_owned(), item)
                });
                self.items = Some(items.collect());
            }
            "command" => self.obey(&message["command"]),
            _ => {}
        }
        if let Some(seq) = message["seq"].as_u64() {
            self.seq = seq;
        }
    }

    fn obey(&mut self, command: &Value) {
        let items = self.items.as_mut().expect("the state came first");
        let id = command["item_id"].as_str().expect("a name");
        let data = command["data"].as_object().cloned().unwrap_or_default();
        match command["action"].as_str().expect("an action") {
            "add_item" => drop(items.insert(id.into(), data)),
            "update_item" if items.contains_key(id) => drop(items.insert(id.into(), data)),
            "remove_item" => drop(items.remove(id)),
            action => {
                let Some(item) = items.get_mut(id).filter(|_| action == "move_item") else {
                    return;
                };
                let is_place = |key: &String| matches!(&**key, "x_mm" | "y_mm" | "angle_deg");
                item.extend(data.into_iter().filter(|(key, _)| is_place(key)));
            }
        }
    }
}

/// One hub with all that happens, or with all but the viewers.
struct World {
    rig: Rig,
    seats: [Option<ConnId>; USERS],
    /// Their names change with where they are, so that a user is in one session.
    views: Option<Vec<Option<View>>>,
    next_viewer: u64,
    /// What was done on members' connections and not yet compared.
    seen: Vec<(ConnId, Done)>,
    is_durable: bool,
}

impl World {
    fn new(limits: Limits, has_viewers: bool) -> Self {
        let is_durable = limits.durable;
        World {
            rig: Rig::with(limits),
            seats: [None; USERS],
            views: has_viewers.then(|| (0..VIEWERS).map(|_| None).collect()),
            next_viewer: FIRST_VIEWER,
            seen: Vec::new(),
            is_durable,
        }
    }

    fn act(&mut self, act: &Act) {
        let seat = |user: &usize| self.seats[*user];
        match act {
            Act::Join { user, session, reads } => {
                if let Some(conn) = self.seats[*user].take() {
                    self.rig.gone(conn);
                }
                let grant = Some(if *reads { reader() } else { writer() });
                let name = format!("user{user}");
                let conn = self.rig.join_session(SESSIONS[*session], &name, grant);
                self.seats[*user] = Some(conn);
            }
            Act::Gone { user } => {
                if let Some(conn) = self.seats[*user].take() {
                    self.rig.gone(conn);
                }
            }
            Act::Failed { user } => {
                if let Some(conn) = self.seats[*user].take() {
                    self.rig.handle(Event::Failed { conn });
                }
            }
            Act::Pong { user } => {
                if let Some(conn) = seat(user) {
                    self.rig.receive(conn);
                }
            }
            Act::Command { user, action, item, value, named } => {
                let id = format!("item{item}");
                let mut data = placed(*value);
                if *named {
                    data["uuid"] = json!(id);
                }
                let command = json!({"action": action, "item_id": id, "item_type": "component",
                                     "data": data});
                self.say(*user, json!({"type": "command", "id": value, "command": command}));
            }
            Act::Cursor { user } => self.say(*user, json!({"type": "cursor", "x": 1})),
            Act::Request { user } => self.say(*user, json!({"type": "sync:request"})),
            Act::Replace { user, items, value } => {
                self.say(*user, json!({"type": "sync:update", "state": canvas(items, *value)}));
            }
            Act::Snapshot { user, items, value, target } => {
                let target = target.map(|user| format!("user{user}"));
                let state = canvas(items, *value);
                self.say(
                    *user,
                    json!({"type": "sync:full_state", "state": state, "target_user": target}),
                );
            }
            Act::Wait { millis } => self.rig.pass(*millis),
            Act::View { .. } | Act::Look { .. } | Act::LookAway { .. } | Act::Ask { .. } => {
                self.view(act);
            }
        }
        self.rig.commit();
        self.settle_accounts();
    }

    fn say(&mut self, user: usize, message: Value) {
        if let Some(conn) = self.seats[user] {
            self.rig.tell(conn, message);
        }
    }

    fn view(&mut self, act: &Act) {
        let Some(views) = &mut self.views else { return };
        self.next_viewer += 1;
        let conn = ConnId(self.next_viewer);
        match act {
            Act::View { viewer, session } => {
                if let Some(view) = views[*viewer].take() {
                    self.rig.gone(view.conn);
                }
                let session = SESSIONS[*session];
                views[*viewer] = Some(View {
                    conn,
                    session,
                    items: None,
                    epoch: String::new(),
                    seq: 0,
                    users: Vec::new(),
                    host: None,
                });
                self.rig.handle(Event::View {
                    conn,
                    session: session.into(),
                    grant: None,
                    since: None,
                });
            }
            Act::Look { viewer, back } => {
                let Some(view) = &views[*viewer] else { return };
                let since = back.map(|back| (&*view.epoch, view.seq.saturating_sub(back)));
                self.rig.look(view.conn, since);
            }
            Act::LookAway { viewer } => {
                if let Some(view) = views[*viewer].take() {
                    self.rig.gone(view.conn);
                }
            }
            Act::Ask { session } => {
                let name = SESSIONS[*session];
                self.rig.handle(Event::Sessions { conn, grant: None });
                self.rig.handle(Event::Details { conn, session: name.into(), grant: None });
                self.rig.handle(Event::State { conn, session: name.into(), grant: None });
            }
            _ => {}
        }
    }

    /// Viewers hear what they were sent; what was done to others is kept.
    fn settle_accounts(&mut self) {
        for (conn, done) in self.rig.all() {
            if conn.0 < FIRST_VIEWER {
                self.seen.push((conn, undated(done)));
                continue;
            }
            let views = self.views.as_mut().expect("there are viewers");
            let Some(place) =
                views.iter().position(|view| view.as_ref().is_some_and(|view| view.conn == conn))
            else {
                assert!(matches!(done, Done::Answered(_) | Done::Refused(_)), "{done:?}");
                continue;
            };
            match done {
                Done::Admitted => {}
                Done::Refused(_) => views[place] = None,
                Done::Closed(code, reason) => {
                    assert_eq!((code, reason), (1000, "the session has ended"));
                    let view = views[place].take().expect("found above");
                    assert!(!self.is_durable || view.seq == 0, "what could be loaded again stays");
                }
                Done::Told(message) => {
                    views[place].as_mut().expect("found above").hear(&message);
                }
                other => panic!("a viewer had {other:?}"),
            }
        }
    }

    /// What every viewer shows is what is there.
    fn check(&mut self, settles: bool) -> Result<(), TestCaseError> {
        let views = self.views.iter().flatten().flatten();
        for view in views {
            let document = self.rig.hub.document(view.session).expect("somebody views it");
            let items = document.items().map(|item| {
                let mut json = Vec::new();
                item.write(&mut json);
                let item: Map<String, Value> = serde_json::from_slice(&json).expect("an item");
                (item["uuid"].as_str().expect("a name").to_owned(), item)
            });
            let expected: BTreeMap<String, Map<String, Value>> = items.collect();
            let mut shown = view.items.clone().expect("it was shown a state");
            // An editor needs it, and no item here has it.
            shown.values_mut().for_each(|item| drop(item.remove("_type")));
            if !settles {
                // An add that names its item is relayed as it is, and nothing follows it up.
                for (id, item) in &mut shown {
                    item.insert("uuid".into(), json!(id));
                    item.entry("item_type").or_insert(json!("component"));
                }
            }
            prop_assert_eq!(&shown, &expected, "{:?}", view.conn);
        }
        Ok(())
    }

    /// Who is there is who is said to be.
    fn check_users(&mut self) -> Result<(), TestCaseError> {
        let Some(views) = &self.views else { return Ok(()) };
        for view in views.iter().flatten() {
            let conn = ConnId(FIRST_VIEWER);
            let session = view.session.into();
            self.rig.handle(Event::Details { conn, session, grant: None });
            let Some(Done::Answered(told)) = self.rig.on(conn).pop() else { panic!("viewed") };
            let members = told["members"].as_array().expect("a list");
            let name = |member: &Value| member["user_id"].as_str().expect("a name").to_owned();
            let there: Vec<String> = members.iter().map(name).collect();
            let host = members.iter().find(|member| member["is_host"] == true).map(name);
            prop_assert_eq!((&view.users, &view.host), (&there, &host));
            prop_assert_eq!(&told["seq"], &json!(view.seq));
        }
        Ok(())
    }
}

/// Without its time stamps: a state that was encoded for somebody else may be a little older.
fn undated(done: Done) -> Done {
    let Done::Told(mut message) = done else { return done };
    message["timestamp"].take();
    if message["state"].is_object() {
        message["state"]["timestamp"].take();
    }
    Done::Told(message)
}

/// The same fields in every item: a host's canvas that lacks one would take it away, and that nobody is
/// told but by a state.
fn placed(value: i64) -> Value {
    json!({"x_mm": value, "y_mm": 1.50, "angle_deg": -value, "efl_mm": value * 10,
           "item_type": "component"})
}

fn canvas(items: &[usize], value: i64) -> Value {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    let items = items.into_iter().map(|item| {
        let mut data = placed(value);
        data["uuid"] = json!(format!("item{item}"));
        data
    });
    json!({"items": items.collect::<Value>(), "version": value, "timestamp": "x"})
}

/// Each is a hundred events on two hubs.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100)
}

fn run(acts: &[Act], limits: &Limits) -> Result<(), TestCaseError> {
    let mut without = World::new(limits.clone(), false);
    let mut with = World::new(limits.clone(), true);
    for act in acts {
        without.act(act);
        with.act(act);
        with.check(limits.settle)?;
        with.check_users()?;
        let is_of_members = |(_, done): &(ConnId, Done)| {
            // Where sessions survive, it is what is kept of a life's beginning that may come earlier.
            !limits.durable || !matches!(done, Done::Kept(_) | Done::Loading(_))
        };
        let seen = |world: &mut World| -> Vec<(ConnId, Done)> {
            std::mem::take(&mut world.seen).into_iter().filter(is_of_members).collect()
        };
        prop_assert_eq!(seen(&mut without), seen(&mut with));
    }
    for world in [&mut without, &mut with] {
        let seats = world.seats;
        seats.iter().flatten().for_each(|conn| world.rig.gone(*conn));
        let views = world.views.iter().flatten().flatten();
        let conns: Vec<ConnId> = views.map(|view| view.conn).collect();
        conns.into_iter().for_each(|conn| world.rig.gone(conn));
        world.rig.pass(1_000_000);
        let left = world.rig.hub.footprint();
        prop_assert_eq!((left.members, left.viewers, left.sessions.len()), (0, 0, 0));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn viewers_change_nothing_and_see_everything(
        acts in vec(act(), 0..120),
        settle in any::<bool>(),
    ) {
        let linger = Duration::from_secs(8);
        run(&acts, &Limits { settle, linger, ..limits() })?;
    }

    #[test]
    fn viewers_of_sessions_that_survive_change_nothing(
        acts in vec(act(), 0..120),
        settle in any::<bool>(),
    ) {
        let linger = Duration::from_secs(8);
        run(&acts, &Limits { settle, linger, durable: true, ..limits() })?;
    }
}
