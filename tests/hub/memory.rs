//! The memory that all documents take together: it is always known, and it has a bound.

use std::time::Duration;

use collabd::hub::{ConnId, Event, Limits, Refusal, SessionFootprint, TooBig};
use collabd::protocol::inbound::State;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::rig::*;

const MOST: usize = 30_000;

fn bounded(durable: bool) -> Limits {
    Limits { documents_memory: MOST, durable, ..limits() }
}

fn add(item: &str, bytes: usize) -> Value {
    let data = json!({"text": "x".repeat(bytes)});
    let command = json!({"action": "add_item", "item_id": item, "item_type": "lens", "data": data});
    json!({"type": "command", "command": command})
}

fn command(action: &str, item: &str, data: Value) -> Value {
    json!({"type": "command", "command": {"action": action, "item_id": item, "data": data}})
}

/// Adds items until one is refused; how many there were, and what it was told.
fn fill(rig: &mut Rig, conn: ConnId, name: &str) -> (usize, Value) {
    for n in 0.. {
        rig.all();
        rig.tell(conn, add(&format!("{name}{n}"), 1000));
        if let Some(error) = rig.texts(conn).into_iter().find(|told| told["type"] == "error") {
            return (n, error);
        }
    }
    unreachable!()
}

fn state(items: Value) -> Box<State> {
    Box::new(State::parse(&items.to_string()).expect("a state"))
}

fn restore(rig: &mut Rig, session: &str, items: Value) -> Vec<Done> {
    let conn = rig.conn();
    let (state, by) = (state(json!({"items": items})), "api".into());
    rig.handle(Event::Restore { conn, session: session.into(), state, by });
    rig.on(conn)
}

fn held(rig: &Rig) -> usize {
    rig.hub.holdings().documents_memory
}

#[test]
fn what_would_need_more_memory_than_there_is_for_all_is_refused() {
    let mut rig = Rig::with(bounded(false));
    let (alice, bob) = (rig.join_session("a", "alice", None), rig.join_session("b", "bob", None));
    let (count, error) = fill(&mut rig, alice, "a");
    assert!(count > 10 && count < 30, "{count}");
    assert_eq!((&error["error_type"], &error["code"]), (&json!("document_full"), &json!(413)));
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains("all sessions together may take 30000 bytes of memory"), "{message}");
    assert!(held(&rig) <= MOST && rig.hub.holdings().most_documents_memory == MOST);
    // It is the same for everybody, and for each way to say it.
    assert_eq!(fill(&mut rig, bob, "b").0, 0);
    let items = json!([{"uuid": "i", "text": "x".repeat(1000)}]);
    for kind in ["sync:update", "sync:full_state"] {
        rig.all();
        rig.tell(bob, json!({"type": kind, "state": {"items": items}}));
        assert!(rig.told(bob).contains(&"document_full".to_owned()), "{kind}");
    }
    let full = Done::Refused(Refusal::TooBig(TooBig::Together(MOST)));
    for session in ["b", "new"] {
        assert_eq!(restore(&mut rig, session, items.clone()), std::slice::from_ref(&full));
    }
    rig.tell(alice, command("update_item", "a0", json!({"more": "y".repeat(3000)})));
    assert!(rig.told(alice).contains(&"document_full".to_owned()));
    // What makes a document no larger is taken.
    for (action, data) in [
        ("move_item", json!({"x_mm": 1})),
        ("update_item", json!({"text": "z"})),
        ("remove_item", json!({})),
    ] {
        let before = rig.hub.footprint().sessions;
        rig.all();
        rig.tell(alice, command(action, "a0", data));
        assert_eq!(rig.told(alice), [""; 0], "{action}");
        assert_ne!(rig.hub.footprint().sessions, before, "{action}");
    }
    assert_eq!(fill(&mut rig, bob, "c").0, 1, "that has made room for one of bob's");
    rig.tell(alice, json!({"type": "sync:update", "state": {"items": []}}));
    assert!(fill(&mut rig, bob, "d").0 > 10);
}

#[test]
fn stored_sessions_that_nobody_is_in_take_none_of_it() {
    let mut rig = Rig::with(bounded(true));
    let mut count = 0;
    for session in ["a", "b", "c"] {
        let conn = rig.join_session(session, "alice", None);
        count = fill(&mut rig, conn, "a").0;
        assert!(count > 10, "{session}");
        rig.gone(conn);
        rig.commit();
    }
    assert!(held(&rig) <= MOST, "{}", held(&rig));
    // The one that was left first has left memory first.
    let there: Vec<_> = rig.hub.footprint().sessions.iter().map(|it| it.name.clone()).collect();
    assert_eq!(there, ["c".into()]);
    // There is no memory for two of them: who comes to the second one is told so, until the first is left.
    let alice = rig.join_session("a", "alice", None);
    rig.commit();
    assert!(rig.on(alice).contains(&Done::Admitted));
    let bob = rig.join_session("b", "bob", None);
    rig.commit();
    assert_eq!(rig.on(bob), [Done::Refused(Refusal::NoMemory)]);
    let viewer = rig.view("b", None);
    rig.commit();
    assert_eq!(rig.on(viewer), [Done::Refused(Refusal::NoMemory)]);
    rig.gone(alice);
    let bob = rig.join_session("b", "bob", None);
    rig.commit();
    assert!(rig.on(bob).contains(&Done::Admitted));
    assert_eq!(rig.hub.document("b").expect("it is there").len(), count);
}

/// However low the bound is set afterwards.
#[test]
fn a_stored_document_can_always_be_opened_where_no_other_is() {
    let mut rig = Rig::with(bounded(true));
    let conn = rig.join_session("a", "alice", None);
    fill(&mut rig, conn, "a");
    rig.gone(conn);
    rig.commit();
    rig.restart(Limits { documents_memory: 1000, durable: true, ..limits() });
    let conn = rig.join_session("a", "alice", None);
    rig.commit();
    assert!(rig.on(conn).contains(&Done::Admitted));
    rig.tell(conn, add("more", 1));
    assert!(rig.told(conn).contains(&"document_full".to_owned()));
    rig.tell(conn, command("remove_item", "a0", json!({})));
    assert!(!rig.told(conn).contains(&"document_full".to_owned()));
}

#[test]
fn earlier_versions_have_the_memory_that_documents_leave() {
    let mut rig = Rig::with(bounded(false));
    let items = |n: u64| json!([{"uuid": "i", "text": n.to_string().repeat(5000)}]);
    for n in 1..8 {
        assert!(matches!(restore(&mut rig, "a", items(n))[..], [Done::Answered(_)]), "{n}");
        rig.pass(1000);
        assert!(held(&rig) <= MOST);
    }
    let of_a = |rig: &Rig| rig.hub.footprint().sessions[0].versions;
    let versions = of_a(&rig);
    assert!(versions > 1 && versions < 6, "{versions}");
    let conn = rig.join_session("a", "alice", None);
    assert!(fill(&mut rig, conn, "a").0 > 10);
    assert_eq!(of_a(&rig), 0, "they have made way");
}

#[derive(Debug, Clone)]
enum Act {
    Join { user: usize, session: usize },
    Gone { user: usize },
    Say { user: usize, message: Value },
    Pong { user: usize },
    Failed { user: usize },
    Restore { session: usize, state: Value },
    Delete { session: usize },
    Commit,
    Fails(bool),
    Pass { millis: u64 },
}

const SESSIONS: [&str; 3] = ["a", "b", "c"];
const USERS: [&str; 3] = ["alice", "bob", "carol"];

fn fields() -> impl Strategy<Value = Value> {
    let lengths = prop_oneof![4 => 0..60usize, 1 => 0..6000usize];
    vec(("[xyz]|x_mm|image_path|interfaces", lengths), 0..4).prop_map(|fields| {
        let field = |(name, length): (String, usize)| match &*name {
            "x_mm" => (name, json!(length)),
            "interfaces" => (name, json!([{"text": "v".repeat(length)}])),
            _ => (name, json!("v".repeat(length))),
        };
        Value::Object(fields.into_iter().map(field).collect())
    })
}

fn canvas() -> impl Strategy<Value = Value> {
    (vec(("[abcd]", fields()), 0..5), proptest::option::weighted(0.2, fields())).prop_map(
        |(items, extra)| {
            let items = items.into_iter().map(|(id, mut fields)| {
                fields["uuid"] = json!(id);
                fields
            });
            let mut state = json!({"items": items.collect::<Value>()});
            if let Some(extra) = extra {
                state["zoom"] = extra;
            }
            state
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let (user, session) = (0..USERS.len(), 0..SESSIONS.len());
    let action = prop_oneof![
        4 => Just("add_item"), 3 => Just("update_item"), 2 => Just("move_item"), 2 => Just("remove_item")
    ];
    let commands =
        (action, "[abcd]", fields()).prop_map(|(action, id, data)| command(action, &id, data));
    let target = proptest::option::of(user.clone());
    let snapshots = (canvas(), target).prop_map(|(state, target)| {
        json!({"type": "sync:full_state", "state": state, "target_user": target.map(|user| USERS[user])})
    });
    let updates = canvas().prop_map(|state| json!({"type": "sync:update", "state": state}));
    let message = prop_oneof![8 => commands, 2 => snapshots, 1 => updates];
    prop_oneof![
        3 => (user.clone(), session.clone()).prop_map(|(user, session)| Act::Join { user, session }),
        1 => user.clone().prop_map(|user| Act::Gone { user }),
        10 => (user.clone(), message).prop_map(|(user, message)| Act::Say { user, message }),
        2 => user.clone().prop_map(|user| Act::Pong { user }),
        1 => user.prop_map(|user| Act::Failed { user }),
        1 => (session.clone(), canvas()).prop_map(|(session, state)| Act::Restore { session, state }),
        1 => session.prop_map(|session| Act::Delete { session }),
        2 => Just(Act::Commit),
        1 => any::<bool>().prop_map(Act::Fails),
        1 => prop_oneof![0..2000u64, 0..20_000u64].prop_map(|millis| Act::Pass { millis }),
    ]
}

/// The count is what there is, reckoned anew and summed up.
fn check(rig: &Rig) -> Result<(), TestCaseError> {
    let there = rig.hub.footprint();
    for session in &there.sessions {
        let [counted, reckoned] = session.document_memory;
        prop_assert_eq!(counted, reckoned, "{}", &session.name);
    }
    let of = |it: &SessionFootprint| it.document_memory[0] + it.version_bytes + it.removed_bytes;
    let all = there.sessions.iter().map(of);
    prop_assert_eq!(there.documents_memory, all.sum::<usize>());
    Ok(())
}

fn run(acts: Vec<Act>, durable: bool) -> Result<(), TestCaseError> {
    let mut rig = Rig::with(Limits { linger: Duration::from_secs(8), ..bounded(durable) });
    let mut seats: [Option<ConnId>; USERS.len()] = [None; USERS.len()];
    for act in acts {
        match act {
            Act::Join { user, session } => {
                seats[user].take().into_iter().for_each(|conn| rig.gone(conn));
                seats[user] = Some(rig.join_session(SESSIONS[session], USERS[user], None));
            }
            Act::Gone { user } => {
                seats[user].take().into_iter().for_each(|conn| rig.gone(conn));
            }
            Act::Say { user, message } => {
                if let Some(conn) = seats[user] {
                    rig.tell(conn, message);
                }
            }
            Act::Pong { user } => seats[user].into_iter().for_each(|conn| rig.receive(conn)),
            Act::Failed { user } => {
                if let Some(conn) = seats[user].take() {
                    rig.handle(Event::Failed { conn });
                }
            }
            Act::Restore { session, state: items } => {
                let conn = rig.conn();
                let (session, state) = (SESSIONS[session].into(), state(items));
                rig.handle(Event::Restore { conn, session, state, by: "api".into() });
            }
            Act::Delete { session } => {
                let conn = rig.conn();
                rig.handle(Event::Delete { conn, session: SESSIONS[session].into() });
            }
            Act::Commit => rig.commit(),
            Act::Fails(fails) => rig.handle(Event::Durable(!fails)),
            Act::Pass { millis } => rig.pass(millis),
        }
        check(&rig)?;
    }
    seats.into_iter().flatten().for_each(|conn| rig.gone(conn));
    rig.handle(Event::Durable(true));
    rig.commit();
    rig.pass(100_000);
    check(&rig)?;
    let left = rig.hub.footprint();
    prop_assert_eq!((left.sessions.len(), left.documents_memory), (0, 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
    ))]

    #[test]
    fn the_memory_of_all_documents_is_known_at_any_time(
        acts in vec(act(), 0..120),
        durable in any::<bool>(),
    ) {
        run(acts, durable)?;
    }
}

#[test]
fn a_full_table_can_be_worked_at_wiped_and_brought_back() {
    let mut rig = Rig::with(bounded(false));
    let alice = rig.join_session("a", "alice", None);
    rig.tell(alice, command("add_item", "moved", json!({"x_mm": 1, "y_mm": 1, "angle_deg": 0})));
    fill(&mut rig, alice, "a");
    let full: Vec<Value> = rig
        .hub
        .document("a")
        .expect("it is there")
        .items()
        .map(|item| {
            let mut json = Vec::new();
            item.write(&mut json);
            serde_json::from_slice(&json).expect("JSON")
        })
        .collect();
    let place = json!({"x_mm": 123.456_789_012_345_6, "y_mm": -123.456_789_012_345_6});
    rig.tell(alice, command("move_item", "moved", place));
    assert!(!rig.told(alice).contains(&"document_full".to_owned()), "a drag is taken");
    // Removed items leave room for all of them.
    rig.tell(alice, json!({"type": "sync:update", "state": {"items": []}}));
    assert!(matches!(restore(&mut rig, "a", json!(full))[..], [Done::Answered(_)]));
}

#[test]
fn what_an_editor_alone_has_stays_on_its_canvas_when_there_is_no_room_for_it() {
    let mut rig = Rig::with(Limits { settle: true, ..bounded(false) });
    let alice = rig.join_session("a", "alice", None);
    fill(&mut rig, alice, "a");
    let bob = rig.join_session("a", "bob", None);
    rig.tell(bob, json!({"type": "sync:request", "user_id": "bob"}));
    let own = json!({"_type": "component", "item_uuid": "own", "uuid": "own", "item_type": "component",
                     "x_mm": 1, "y_mm": 2, "notes": "n".repeat(2000)});
    let canvas = json!({"items": [own], "version": 0});
    rig.tell(bob, json!({"type": "sync:full_state", "target_user": "bob", "state": canvas}));
    rig.receive(bob);
    rig.all();
    rig.tell(bob, command("update_item", "own", own));
    let told = rig.texts(bob);
    assert!(told.iter().any(|told| told["error_type"] == "document_full"), "{told:?}");
    rig.pass(1000);
    let removed = |told: &Value| told["command"]["action"] == "remove_item";
    assert!(!told.iter().chain(&rig.texts(bob)).any(removed));
}
