//! Sessions with keys: who watches changes nothing, is never host, and has no canvas that counts.

use collabd::auth::{Grant, Level};
use collabd::hub::{ConnId, Limits, Refusal};
use serde_json::{Value, json};

use crate::rig::*;

fn writes() -> Option<Grant> {
    Some(writer())
}

fn reads() -> Option<Grant> {
    Some(reader())
}

fn request() -> Value {
    json!({"type": "sync:request"})
}

fn lens(id: &str) -> Value {
    json!({"uuid": id, "item_type": "component"})
}

fn add(id: &str) -> Value {
    let command =
        json!({"action": "add_item", "item_id": id, "item_type": "component", "data": lens(id)});
    json!({"type": "command", "command": command})
}

fn canvas(items: Value, target: &str) -> Value {
    json!({"type": "sync:full_state", "target_user": target,
           "state": {"items": items, "version": 1, "timestamp": "x"}})
}

fn items(rig: &Rig, session: &str) -> Vec<String> {
    let document = rig.hub.document(session).expect("the session is there");
    document.items().map(|item| item.id.to_string()).collect()
}

/// A client who joins as a shipped editor does, has been recognised and has read everything.
fn editor(rig: &mut Rig, user: &str, grant: Option<Grant>) -> ConnId {
    let conn = rig.join_session("a", user, grant);
    rig.tell(conn, request());
    rig.receive(conn);
    rig.all();
    conn
}

/// The acknowledgement among what was done on a connection: whether it is host, and who else is.
fn acknowledged(rig: &mut Rig, conn: ConnId) -> (bool, Vec<String>) {
    let done = rig.on(conn);
    let Some(Done::Told(ack)) = done.get(1) else { panic!("{done:?}") };
    assert_eq!((&done[0], &ack["type"]), (&Done::Admitted, &json!("connection:ack")));
    let users = ack["users"].as_array().expect("a list");
    let hosts = users.iter().filter(|user| user["is_host"] == true);
    let hosts = hosts.map(|user| user["user_id"].as_str().expect("a string").into()).collect();
    (ack["is_host"] == true, hosts)
}

fn hosts_told(rig: &mut Rig, conn: ConnId) -> Vec<String> {
    let told = rig.on(conn).into_iter().filter_map(|done| match done {
        Done::Told(told) if told["type"] == "host:changed" => {
            Some(told["user_id"].as_str().expect("a string").to_owned())
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn a_reader_may_watch_and_point_and_nothing_else() {
    let mut rig = Rig::new();
    let alice = editor(&mut rig, "alice", writes());
    let watcher = editor(&mut rig, "watcher", reads());
    rig.tell(alice, add("1"));
    assert_eq!(rig.told(watcher), ["command"]);
    rig.tell(watcher, json!({"type": "cursor", "x": 1}));
    assert_eq!(rig.told(alice), ["cursor"]);
    rig.tell(watcher, json!({"type": "ping"}));
    rig.tell(watcher, request());
    assert_eq!(rig.told(watcher), ["pong", "sync:state"]);
    for (message, kind) in [
        (add("2"), "command"),
        (json!({"type": "command", "command": {"action": "select"}}), "command"),
        (json!({"type": "sync:update", "state": {"items": []}}), "sync:update"),
        (canvas(json!([lens("9")]), "alice"), "sync:full_state"),
        (json!({"type": "chat", "text": "hi"}), "chat"),
    ] {
        for id in [None, Some(json!("i7"))] {
            let mut message = message.clone();
            if let Some(id) = &id {
                message["id"] = id.clone();
            }
            rig.tell(watcher, message);
            let mut refused = json!({"type": "error", "error_type": "read_only", "code": 403,
                "message": "the key permits to watch, not to change", "original_type": kind});
            // A whole canvas is never confirmed; its id is nobody's business.
            if let Some(id) = id.filter(|_| kind != "sync:full_state") {
                refused["id"] = id;
            }
            assert_eq!(rig.all(), [(watcher, Done::Told(refused))]);
        }
    }
    rig.pass(10_000);
    assert_eq!(rig.all(), [], "nothing settles");
    assert_eq!(items(&rig, "a"), ["1"]);
}

#[test]
fn what_only_admins_may_do_elsewhere_makes_no_difference_here() {
    let mut rig = Rig::new();
    let admin = editor(&mut rig, "admin", Some(granted(key("k", Level::Admin), 0)));
    rig.tell(admin, add("1"));
    assert_eq!(items(&rig, "a"), ["1"]);
}

#[test]
fn the_first_who_may_write_is_host() {
    let mut rig = Rig::new();
    let watcher = rig.join_session("a", "watcher", reads());
    assert_eq!(acknowledged(&mut rig, watcher), (false, vec![]));
    let another = rig.join_session("a", "another", reads());
    assert_eq!(acknowledged(&mut rig, another), (false, vec![]));
    rig.all();
    let alice = rig.join_session("a", "alice", writes());
    assert_eq!(rig.told(watcher), ["user:joined", "host:changed"]);
    assert_eq!(hosts_told(&mut rig, another), ["alice"]);
    assert_eq!(acknowledged(&mut rig, alice), (true, vec!["alice".into()]));
    let bob = rig.join_session("a", "bob", writes());
    assert_eq!(acknowledged(&mut rig, bob), (false, vec!["alice".into()]));
    rig.all();
    // The readers have been there longer.
    rig.gone(alice);
    for conn in [watcher, another, bob] {
        assert_eq!(hosts_told(&mut rig, conn), ["bob"]);
    }
    rig.gone(bob);
    assert_eq!(rig.told(watcher), ["user:left"], "nobody is host");
    rig.gone(watcher);
    rig.gone(another);
    let watcher = rig.join_session("a", "watcher", reads());
    assert_eq!(acknowledged(&mut rig, watcher), (false, vec![]));
}

#[test]
fn without_keys_everybody_may_write() {
    let mut rig = Rig::new();
    let alice = rig.join_session("a", "alice", None);
    assert_eq!(acknowledged(&mut rig, alice), (true, vec!["alice".into()]));
    rig.keys(9, []);
    rig.tell(alice, add("1"));
    assert_eq!((items(&rig, "a"), rig.all()), (vec!["1".into()], vec![]));
}

#[test]
fn a_taking_over_connection_counts_with_its_own_key() {
    let mut rig = Rig::new();
    let alice = editor(&mut rig, "alice", writes());
    let bob = editor(&mut rig, "bob", writes());
    // Whoever may only watch puts nobody out who may write.
    let refused = rig.join_session("a", "alice", reads());
    assert_eq!(rig.all(), [(refused, Done::Refused(Refusal::KeyRefused))]);
    rig.gone(alice);
    assert_eq!(rig.told(bob), ["user:left", "host:changed"]);
    let watching = rig.join_session("a", "alice", reads());
    assert_eq!(acknowledged(&mut rig, watching), (false, vec!["bob".into()]));
    let again = rig.join_session("a", "alice", reads());
    assert_eq!(rig.told(watching), ["1008 replaced by a newer connection"]);
    assert_eq!(acknowledged(&mut rig, again), (false, vec!["bob".into()]));
    rig.tell(again, add("1"));
    assert_eq!(rig.told(again), ["read_only"]);
    rig.on(bob);
    // A host that is there is not replaced.
    let writing = rig.join_session("a", "alice", writes());
    assert_eq!(acknowledged(&mut rig, writing), (false, vec!["bob".into()]));
    assert_eq!(rig.on(bob), []);
    rig.gone(bob);
    assert_eq!(hosts_told(&mut rig, writing), ["alice"]);
    rig.gone(writing);
    // Nobody else may write.
    let watching = rig.join_session("a", "alice", reads());
    assert_eq!(acknowledged(&mut rig, watching), (false, vec![]));
    let writing = rig.join_session("a", "alice", writes());
    assert_eq!(acknowledged(&mut rig, writing), (true, vec!["alice".into()]));
}

/// A watcher's editor has done already what the server refuses.
#[test]
fn what_a_watcher_did_on_its_canvas_is_undone() {
    let mut rig = Rig::with(Limits { settle: true, ..limits() });
    let alice = editor(&mut rig, "alice", writes());
    let watcher = editor(&mut rig, "watcher", reads());
    rig.tell(alice, add("1"));
    rig.pass(10_000);
    rig.all();
    let item = |action| {
        let data = json!({"uuid": "1", "x_mm": 99.0});
        let command =
            json!({"action": action, "item_type": "component", "item_id": "1", "data": data});
        json!({"type": "command", "command": command})
    };
    for action in ["move_item", "update_item", "add_item"] {
        rig.tell(watcher, item(action));
        let done = rig.all();
        let [(on, Done::Told(refused)), (also_on, Done::Told(shown))] = &done[..] else {
            panic!("{done:?}")
        };
        assert_eq!((*on, *also_on), (watcher, watcher));
        assert_eq!(refused["error_type"], "read_only");
        assert_eq!(
            (&shown["settled"], &shown["command"]["action"]),
            (&json!(true), &json!("update_item"))
        );
        assert_ne!(shown["command"]["data"]["x_mm"], 99.0);
    }
    rig.tell(watcher, add("2"));
    let done = rig.on(watcher);
    let [_, Done::Told(shown)] = &done[..] else { panic!("{done:?}") };
    assert_eq!(shown["command"]["action"], "remove_item");
    rig.tell(watcher, item("remove_item"));
    let told = rig.texts(watcher);
    let actions: Vec<&Value> = told[1..].iter().map(|told| &told["command"]["action"]).collect();
    assert_eq!(told[0]["error_type"], "read_only");
    assert_eq!(actions, ["add_item", "update_item"]);
    rig.pass(10_000);
    assert_eq!((rig.all(), items(&rig, "a")), (vec![], vec!["1".into()]));
}

#[test]
fn a_host_whose_key_permits_less_is_host_no_more() {
    let mut rig = Rig::new();
    let set = |a, b| [key("a", a), key("b", b)];
    rig.keys(1, set(Level::Write, Level::Read));
    let alice = rig.join_session("a", "alice", Some(granted(key("a", Level::Write), 1)));
    let bob = rig.join_session("a", "bob", Some(granted(key("b", Level::Read), 1)));
    rig.all();
    rig.keys(2, set(Level::Read, Level::Read));
    assert_eq!(rig.all(), [], "there is nobody to be host");
    rig.tell(alice, add("1"));
    assert_eq!(rig.told(alice), ["read_only"]);
    rig.keys(3, set(Level::Read, Level::Write));
    assert_eq!(
        (hosts_told(&mut rig, alice), hosts_told(&mut rig, bob)),
        (vec!["bob".into()], vec!["bob".into()])
    );
    rig.keys(4, set(Level::Write, Level::Write));
    assert_eq!(rig.all(), [], "a host that is there is not replaced");
    rig.keys(5, set(Level::Write, Level::Read));
    assert_eq!(hosts_told(&mut rig, bob), ["alice"]);
}

/// A host shares its canvas; an empty state would wipe it.
#[test]
fn a_watcher_does_not_cost_a_host_its_canvas() {
    let mut rig = Rig::new();
    let watcher = editor(&mut rig, "watcher", reads());
    let alice = rig.join_session("a", "alice", writes());
    rig.tell(alice, request());
    assert!(!rig.told(alice).contains(&"sync:state".into()), "it waits to be recognised");
    rig.all();
    rig.tell(alice, canvas(json!([lens("1")]), "alice"));
    let [Done::Told(state)] = &rig.on(alice)[..] else { panic!() };
    assert_eq!((&state["type"], &state["state"]), (&json!("sync:state"), &Value::Null));
    assert_eq!(rig.told(watcher), ["command"]);
    assert_eq!(items(&rig, "a"), ["1"]);
}

#[test]
fn a_host_that_takes_its_own_place_again_keeps_its_canvas() {
    let mut rig = Rig::new();
    editor(&mut rig, "watcher", reads());
    let first = rig.join_session("a", "alice", writes());
    rig.tell(first, canvas(json!([lens("1")]), "alice"));
    let again = rig.join_session("a", "alice", writes());
    rig.tell(again, request());
    assert!(!rig.told(again).contains(&"sync:state".into()), "it waits to be recognised");
    // Neither a new design, because it has been here all the time, nor a removal: this connection has
    // not shown the item before.
    rig.tell(again, canvas(json!([lens("2")]), "alice"));
    assert_eq!(items(&rig, "a"), ["1", "2"]);
    rig.tell(again, canvas(json!([lens("2"), lens("4")]), "bob"));
    rig.tell(again, canvas(json!([lens("2")]), "bob"));
    assert_eq!(items(&rig, "a"), ["1", "2"], "what it has shown and shows no more is removed");
    rig.gone(again);
    editor(&mut rig, "bob", writes());
    let third = rig.join_session("a", "bob", writes());
    rig.tell(third, canvas(json!([lens("3")]), "bob"));
    assert_eq!(items(&rig, "a"), ["1", "2", "3"], "nothing that alice did is lost");
}

#[test]
fn a_client_among_watchers_is_given_the_document() {
    let mut rig = Rig::new();
    let watcher = editor(&mut rig, "watcher", reads());
    let alice = rig.join_session("a", "alice", writes());
    rig.tell(alice, request());
    rig.pong(alice);
    assert_eq!(rig.told(alice).last().map(String::as_str), Some("sync:state"));
    rig.tell(alice, add("1"));
    rig.gone(alice);
    rig.all();
    // Watchers alone keep the session, but not a canvas.
    let bob = rig.join_session("a", "bob", writes());
    rig.tell(bob, request());
    assert!(!rig.told(bob).contains(&"sync:state".into()), "bob may be a host");
    rig.pass(10_000);
    let [Done::Told(state)] = &rig.on(bob)[..] else { panic!() };
    assert_eq!(state["state"], Value::Null, "its silence proves nothing");
    rig.pong(bob);
    let [Done::Told(state)] = &rig.on(bob)[..] else { panic!() };
    assert_eq!(state["state"]["items"][0]["uuid"], "1");
    rig.gone(watcher);
}

#[test]
fn a_host_who_comes_to_watchers_may_have_begun_a_new_design() {
    let mut rig = Rig::new();
    let alice = editor(&mut rig, "alice", writes());
    rig.tell(alice, add("old"));
    let watcher = editor(&mut rig, "watcher", reads());
    rig.gone(alice);
    rig.all();
    let bob = rig.join_session("a", "bob", writes());
    rig.tell(bob, canvas(json!([lens("new")]), "bob"));
    assert_eq!(items(&rig, "a"), ["new"]);
    assert_eq!(rig.told(watcher), ["user:joined", "host:changed", "command", "command"]);
    rig.tell(watcher, request());
    let [Done::Told(state)] = &rig.on(watcher)[..] else { panic!() };
    assert_eq!(state["state"]["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_watcher_is_greeted_with_the_document_where_somebody_works_on_it() {
    let mut rig = Rig::new();
    let alice = editor(&mut rig, "alice", writes());
    rig.tell(alice, add("1"));
    let watcher = rig.join_session("a", "watcher", reads());
    rig.tell(alice, json!({"type": "cursor", "x": 1}));
    rig.pong(watcher);
    let expected = ["Admitted", "connection:ack", "user:joined", "cursor", "sync:state"];
    assert_eq!(rig.told(watcher), expected);
    rig.tell(alice, canvas(json!([lens("1"), lens("2")]), "watcher"));
    assert_eq!(rig.told(watcher), ["command"], "it has a state, and is told what it lacks");
}

/// The editor can be a host with a key to read: its canvas is its own business.
#[test]
fn a_refused_canvas_is_left_alone() {
    let mut rig = Rig::new();
    let watcher = rig.join_session("a", "watcher", reads());
    rig.tell(watcher, request());
    rig.on(watcher);
    rig.tell(watcher, canvas(json!([lens("own")]), "watcher"));
    let done = rig.on(watcher);
    let [Done::Told(refused), Done::Told(state)] = &done[..] else { panic!("{done:?}") };
    assert_eq!((&refused["error_type"], &state["state"]), (&json!("read_only"), &Value::Null));
    assert!(!rig.hub.document("a").expect("it is there").exists());
}
