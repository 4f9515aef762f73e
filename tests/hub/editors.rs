//! Editors and what they send: whole dictionaries of copies that are blank, stale, rebuilt or their own; each
//! rule of docs/PROTOCOL.md about who has the canvas, about the document and about settling by itself.

use collabd::hub::{ConnId, Event, Limits};
use collabd::protocol::inbound::State;
use serde_json::{Value, json};

use crate::rig::*;

pub fn rig() -> Rig {
    Rig::with(Limits { settle: true, durable: true, ..limits() })
}

/// A source as the editor that built it sends it.
pub fn source(id: &str, x: f64) -> Value {
    json!({"_type": "source", "item_uuid": id, "x_mm": x, "y_mm": 0.0, "angle_deg": 0.0,
           "locked": false, "z_value": 0.0, "size_mm": 6, "n_rays": 5, "ray_length_mm": 1500,
           "spread_deg": 0, "color_hex": "#0000ff", "wavelength_nm": 633.0})
}

/// A mirror with a picture, whose first interface is 25 mm off the middle of that.
pub fn mirror(id: &str, x: f64) -> Value {
    json!({"_type": "component", "item_uuid": id, "x_mm": x, "y_mm": 0.0, "angle_deg": 45.0,
           "locked": false, "z_value": 0.0, "name": "M1", "category": "mirrors",
           "image_path": "objects/library/m/images/m.png", "notes": null,
           "interfaces": [{"x1_mm": -25.0, "y1_mm": 10.0, "x2_mm": -25.0, "y2_mm": -10.0,
                           "element_type": "mirror", "name": "", "reflectivity": 99.0}]})
}

/// The same where its copy has no picture: moved by minus the middle of its first interface.
pub fn moved_mirror(id: &str, x: f64) -> Value {
    let mut mirror = mirror(id, x);
    mirror["interfaces"][0]["x1_mm"] = json!(0.0);
    mirror["interfaces"][0]["x2_mm"] = json!(0.0);
    mirror
}

pub fn with(mut item: Value, key: &str, value: Value) -> Value {
    item[key] = value;
    item
}

/// A command as the editor words it.
pub fn says(action: &str, data: &Value) -> Value {
    json!({"type": "command", "command": {"action": action, "item_type": data["_type"],
           "item_id": data["item_uuid"], "data": data}, "user_id": "x", "timestamp": "t"})
}

pub fn removes(id: &str) -> Value {
    json!({"type": "command", "command": {"action": "remove_item", "item_type": "source",
           "item_id": id, "data": {}}})
}

/// A snapshot as the editor sends it, with the names that it adds to each item.
pub fn canvas(items: &[Value], target: &str) -> Value {
    let items = items.iter().map(|item| {
        let mut item = item.clone();
        item["uuid"] = item["item_uuid"].clone();
        item["item_type"] = item["_type"].clone();
        item
    });
    json!({"type": "sync:full_state", "target_user": target,
           "state": {"items": items.collect::<Value>(), "version": 0, "timestamp": "t"}})
}

pub fn request(user: &str) -> Value {
    json!({"type": "sync:request", "user_id": user})
}

/// An editor that shares this canvas, and has received everything.
pub fn host(rig: &mut Rig, user: &str, items: &[Value]) -> ConnId {
    let conn = rig.join_session("s", user, None);
    rig.commit();
    rig.tell(conn, request(user));
    rig.tell(conn, canvas(items, user));
    rig.receive(conn);
    rig.all();
    conn
}

/// An editor that has joined with an empty canvas, and has received everything.
pub fn guest(rig: &mut Rig, user: &str) -> ConnId {
    let conn = rig.join_session("s", user, None);
    rig.commit();
    rig.tell(conn, request(user));
    rig.receive(conn);
    rig.all();
    conn
}

/// A program that is no editor, and has received everything.
pub fn script(rig: &mut Rig, user: &str) -> ConnId {
    let conn = rig.join_session("s", user, None);
    rig.commit();
    rig.receive(conn);
    rig.all();
    conn
}

/// The commands among what a connection was told: what is done to which item, whether it is settled, and the
/// item's data.
pub fn told(rig: &mut Rig, conn: ConnId) -> Vec<(String, bool, Value)> {
    let texts = rig.texts(conn).into_iter().filter(|told| told["type"] == "command");
    let commands = texts.map(|told| {
        let command = &told["command"];
        let text = |key: &str| command[key].as_str().expect("a string").to_owned();
        let done = format!("{} {}", text("action"), text("item_id"));
        (done, told["settled"] == true, command["data"].clone())
    });
    commands.collect()
}

/// The same, in short.
pub fn done(rig: &mut Rig, conn: ConnId) -> Vec<String> {
    let told = told(rig, conn).into_iter();
    told.map(|(done, settled, _)| if settled { format!("{done}, settled") } else { done }).collect()
}

/// A field of an item of the document; `null` where it has none.
pub fn field(rig: &Rig, item: &str, key: &str) -> Value {
    let item = rig.hub.document("s").expect("it is there").get(item).expect("it is there");
    let field = item.field(key);
    field.map_or(Value::Null, |field| serde_json::from_str(field.value.get()).expect("JSON"))
}

fn writer(rig: &Rig, item: &str, key: &str) -> String {
    let item = rig.hub.document("s").expect("it is there").get(item).expect("it is there");
    item.field(key).expect("it has one").writer.to_string()
}

fn items(rig: &Rig) -> Vec<String> {
    let document = rig.hub.document("s").expect("it is there");
    document.items().map(|item| item.id.to_string()).collect()
}

/// The state in an answer to a request.
fn state(rig: &mut Rig, conn: ConnId) -> Value {
    let mut texts = rig.texts(conn).into_iter();
    texts.find(|told| told["type"] == "sync:state").expect("a state")["state"].take()
}

// Who has the canvas.

#[test]
fn a_newcomer_is_told_nothing_of_items_before_it_is_recognised() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = rig.join_session("s", "bob", None);
    let greeting = rig.on_with_pings(bob);
    let types: Vec<&str> = greeting
        .iter()
        .map(|done| match done {
            Done::Told(told) => told["type"].as_str().expect("a string"),
            Done::Pinged(payload) if payload.len() == 16 => "Ping",
            Done::Admitted => "in",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(types, ["in", "connection:ack", "user:joined", "Ping"]);
    rig.tell(bob, request("bob"));
    rig.tell(alice, says("move_item", &source("a", 2.0)));
    rig.tell(alice, canvas(&[source("a", 2.0), source("b", 0.0)], ""));
    rig.pass(400);
    assert_eq!(rig.on(bob), [], "two requests may wait");
    rig.tell(bob, request("bob"));
    rig.pong(bob);
    let texts = rig.texts(bob);
    assert_eq!(texts[0]["state"]["items"].as_array().map(Vec::len), Some(2), "one answer");
    let rest = texts[1..].iter().map(|told| &told["command"]["action"]);
    assert_eq!(rest.collect::<Vec<_>>(), ["update_item"; 2], "each item once with its data");
    // From now on it is told.
    rig.tell(alice, says("move_item", &source("a", 3.0)));
    assert_eq!(done(&mut rig, bob), ["move_item a"]);
}

#[test]
fn a_sharing_editor_keeps_its_canvas_and_is_told_what_it_lacks() {
    let mut rig = rig();
    host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = rig.join_session("s", "bob", None);
    rig.tell(bob, request("bob"));
    rig.on(bob);
    rig.tell(bob, canvas(&[source("b", 2.0)], "bob"));
    let texts = rig.texts(bob);
    assert_eq!((&texts[0]["type"], &texts[0]["state"]), (&json!("sync:state"), &Value::Null));
    let actions = texts[1..].iter().map(|told| &told["command"]["action"]);
    assert_eq!(actions.collect::<Vec<_>>(), ["add_item", "update_item", "update_item"]);
    assert_eq!(items(&rig), ["a", "b"]);
    rig.tell(bob, request("bob"));
    assert!(state(&mut rig, bob).is_object(), "whoever asks again gets a state");
}

#[test]
fn a_rejected_canvas_is_left_alone_and_a_late_one_counts() {
    let mut rig = rig();
    host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = rig.join_session("s", "bob", None);
    rig.tell(bob, request("bob"));
    rig.on(bob);
    rig.tell(bob, json!({"type": "sync:full_state", "state": 7, "target_user": "bob"}));
    let texts = rig.texts(bob);
    assert_eq!((&texts[0]["error_type"], &texts[1]["state"]), (&json!("bad_state"), &Value::Null));
    rig.receive(bob);
    assert_eq!(rig.on(bob), [], "no state");
    // A connection's first canvas for itself counts whenever it comes.
    rig.tell(bob, canvas(&[source("b", 2.0)], "bob"));
    assert_eq!(items(&rig), ["a", "b"]);
    assert_eq!(done(&mut rig, bob)[0], "add_item a, settled");
}

#[test]
fn silence_proves_nothing() {
    let mut rig = rig();
    host(&mut rig, "alice", &[source("a", 1.0)]);
    let [asks, waits] = ["bob", "carol"].map(|user| rig.join_session("s", user, None));
    rig.tell(asks, request("bob"));
    rig.all();
    rig.pass(9_999);
    assert_eq!((rig.on(asks), rig.on(waits)), (vec![], vec![]));
    rig.pass(1);
    assert_eq!(state(&mut rig, asks), Value::Null);
    assert_eq!(rig.on(waits), [], "it has not asked");
    // One was stopped and has a canvas of its own, the other has none.
    rig.tell(asks, canvas(&[source("b", 2.0)], "bob"));
    assert_eq!(items(&rig), ["a", "b"]);
    rig.receive(asks);
    rig.pong(waits);
    let states = rig.texts(asks).into_iter().filter(|told| told["type"] == "sync:state");
    let states: Vec<Value> = states.map(|mut told| told["state"].take()).collect();
    assert!(states.iter().all(Value::is_null), "its canvas is its own: {states:?}");
    assert_eq!(state(&mut rig, waits)["items"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_program_is_recognised_by_what_it_says_first() {
    let mut rig = rig();
    host(&mut rig, "alice", &[source("a", 1.0)]);
    let eve = rig.join_session("s", "eve", None);
    rig.on(eve);
    rig.tell(eve, json!({"type": "cursor", "x": 1}));
    assert_eq!(state(&mut rig, eve)["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn nobody_is_sent_a_state_unasked() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0), source("b", 1.0)]);
    let bob = guest(&mut rig, "bob");
    let eve = script(&mut rig, "eve");
    rig.tell(eve, json!({"type": "sync:update", "state": {"items": [source("a", 2.0)]}}));
    for conn in [alice, bob] {
        assert_eq!(done(&mut rig, conn), ["update_item a", "remove_item b"]);
    }
    let items = json!({"items": [source("a", 1.0), source("b", 3.0)]});
    let state = Box::new(State::parse(&items.to_string()).expect("a canvas"));
    let conn = rig.conn();
    rig.handle(Event::Restore { conn, session: "s".into(), state, by: "operator".into() });
    for conn in [alice, bob] {
        let told = done(&mut rig, conn);
        assert_eq!(told[..2], ["update_item a", "add_item b"], "and then its data");
    }
    rig.tell(alice, canvas(&[source("a", 5.0), source("b", 3.0)], "bob"));
    assert_eq!(done(&mut rig, bob), ["update_item a"]);
}

// Taking a canvas.

#[test]
fn a_snapshot_adds_writes_and_removes_what_is_its_senders() {
    let mut rig = rig();
    let alice = host(
        &mut rig,
        "alice",
        &[source("a", 1.0), source("b", 1.0), source("c", 1.0), source("d", 1.0)],
    );
    let bob = guest(&mut rig, "bob");
    let eve = script(&mut rig, "eve");
    rig.tell(bob, says("move_item", &source("a", 2.0)));
    rig.tell(bob, says("move_item", &source("c", 2.0)));
    rig.tell(eve, says("add_item", &source("e", 1.0)));
    rig.tell(
        eve,
        json!({"type": "command", "command": {"action": "update_item", "item_id": "a",
                         "data": {"note": "eve's"}}}),
    );
    for conn in [alice, bob] {
        rig.receive(conn);
    }
    rig.pass(3000);
    for conn in [alice, bob] {
        rig.receive(conn);
    }
    rig.all();
    // She has turned "a", dropped "b" and "c", added "f"; she doesn't know of "e" and of the note.
    let turned = with(source("a", 2.0), "angle_deg", json!(90.0));
    rig.tell(alice, canvas(&[turned, source("d", 1.0), source("f", 1.0)], ""));
    assert_eq!(
        items(&rig),
        ["a", "c", "d", "e", "f"],
        "somebody else has written to c, and e isn't hers"
    );
    assert_eq!(field(&rig, "a", "angle_deg"), 90.0);
    assert_eq!(field(&rig, "a", "note"), "eve's", "what a snapshot lacks stays");
    assert_eq!((&*writer(&rig, "a", "x_mm"), &*writer(&rig, "a", "angle_deg")), ("bob", "alice"));
    let to_alice = done(&mut rig, alice);
    for expected in ["add_item c, settled", "add_item e, settled", "update_item a, settled"] {
        assert!(to_alice.contains(&expected.into()), "{to_alice:?}");
    }
    let to_bob = done(&mut rig, bob);
    assert_eq!(to_bob[..3], ["remove_item b", "update_item a", "add_item f"]);
}

#[test]
fn an_empty_snapshot_removes_nothing() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    rig.tell(alice, canvas(&[], ""));
    assert_eq!(items(&rig), ["a"]);
    assert_eq!(done(&mut rig, alice)[0], "add_item a, settled", "it is sent what it lacks");
}

#[test]
fn a_canvas_of_other_items_in_a_session_that_was_left_is_a_new_design() {
    for (shows_old, comes_alone, expected) in [
        (false, true, vec!["new"]),
        (true, true, vec!["a", "new"]),
        (false, false, vec!["a", "new"]),
    ] {
        let mut rig = rig();
        let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
        if comes_alone {
            rig.gone(alice);
        }
        rig.kept();
        let old = shows_old.then(|| source("a", 1.0));
        let items: Vec<Value> = old.into_iter().chain([source("new", 1.0)]).collect();
        host(&mut rig, "bob", &items);
        assert_eq!(self::items(&rig), expected);
        let kept = rig.store.kept("s");
        let is_version = |rig: &mut Rig| {
            rig.commit();
            rig.store.kept("s").is_some_and(|kept| kept.documents.len() > 1)
        };
        assert!(kept.is_some() && (expected.len() > 1 || is_version(&mut rig)));
    }
}

#[test]
fn only_the_host_shows_its_canvas_again() {
    let mut rig = rig();
    host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = host(&mut rig, "bob", &[source("b", 1.0)]);
    rig.tell(bob, canvas(&[source("c", 1.0)], ""));
    assert_eq!(rig.told(bob), ["not_host"]);
    assert_eq!(items(&rig), ["a", "b"]);
}

#[test]
fn a_sharing_editor_that_may_only_watch_keeps_its_items_and_is_told_the_documents() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0), source("b", 1.0)]);
    let watcher = rig.join_session("s", "watcher", Some(reader()));
    rig.tell(watcher, request("watcher"));
    rig.all();
    rig.tell(watcher, canvas(&[source("b", 9.0), source("own", 1.0)], "watcher"));
    assert_eq!(rig.on(alice), []);
    let texts = rig.texts(watcher);
    assert_eq!((&texts[0]["error_type"], &texts[1]["state"]), (&json!("read_only"), &Value::Null));
    let told = texts[2..].iter().map(|told| {
        let command = &told["command"];
        (command["action"].as_str().expect("one"), command["item_id"].as_str().expect("one"))
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.first(), Some(&("add_item", "a")));
    assert!(told.contains(&("update_item", "b")) && !told.iter().any(|(_, id)| *id == "own"));
    assert_eq!(items(&rig), ["a", "b"]);
}

// What counts as writing.

#[test]
fn of_a_whole_dictionary_only_what_the_sender_changed_is_written() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    // Bob renames it by his dialog: the name first appears in the next drag.
    let dragged = with(source("a", 2.0), "n_rays", json!(7));
    rig.tell(bob, says("move_item", &dragged));
    assert_eq!((field(&rig, "a", "x_mm"), field(&rig, "a", "n_rays")), (json!(2.0), json!(7)));
    let relayed = told(&mut rig, alice);
    assert_eq!((&*relayed[0].0, &relayed[0].2["n_rays"]), ("update_item a", &json!(7)));
    assert_eq!(relayed[0].2["wavelength_nm"], 633.0, "the whole item");
    // Alice turns it; she hasn't received any of that.
    rig.tell(alice, says("move_item", &with(source("a", 1.0), "angle_deg", json!(90.0))));
    assert_eq!(
        ["x_mm", "n_rays", "angle_deg"].map(|key| field(&rig, "a", key)),
        [json!(2.0), json!(7), json!(90.0)],
        "a stale copy takes nothing back"
    );
    assert_eq!(["x_mm", "angle_deg"].map(|key| writer(&rig, "a", key)), ["bob", "alice"]);
    // When she has, the same values are hers.
    rig.pass(3000);
    rig.receive(alice);
    rig.pass(1001);
    rig.tell(alice, json!({"type": "ping"}));
    rig.receive(alice);
    rig.tell(alice, says("move_item", &with(source("a", 1.0), "angle_deg", json!(90.0))));
    assert_eq!(field(&rig, "a", "x_mm"), 1.0, "dragged back to where it was");
}

#[test]
fn a_partial_dictionary_writes_all_that_it_has() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let eve = script(&mut rig, "eve");
    let update = |data: Value| json!({"type": "command", "command": {"action": "update_item", "item_id": "a", "data": data}});
    rig.tell(alice, says("update_item", &source("a", 2.0)));
    rig.tell(eve, update(json!({"x_mm": 1.0, "n_rays": 5})));
    assert_eq!((field(&rig, "a", "x_mm"), &*writer(&rig, "a", "x_mm")), (json!(1.0), "eve"));
    let move_item = json!({"type": "command", "command": {"action": "move_item", "item_id": "a",
               "data": {"x_mm": 4.0, "n_rays": 9}}});
    rig.tell(eve, move_item);
    assert_eq!((field(&rig, "a", "x_mm"), field(&rig, "a", "n_rays")), (json!(4.0), json!(5)));
}

#[test]
fn of_a_blank_copy_only_a_place_counts() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("add_item", &source("b", 1.0)));
    assert_eq!(done(&mut rig, bob)[0], "add_item b");
    // Bob drags it before he has got its data.
    let blank = json!({"_type": "source", "item_uuid": "b", "x_mm": 50.0, "y_mm": 7.0,
                       "angle_deg": 0.0, "size_mm": 10.0, "n_rays": 9, "ray_length_mm": 1000.0,
                       "spread_deg": 0.0, "color_hex": "#dc143c", "wavelength_nm": 633.0,
                       "locked": false, "z_value": 0.0});
    rig.tell(bob, says("move_item", &blank));
    let of_b = ["x_mm", "y_mm", "size_mm", "n_rays", "ray_length_mm", "color_hex"];
    let shown = of_b.map(|key| field(&rig, "b", key));
    assert_eq!(shown, [json!(50.0), json!(7.0), json!(6), json!(5), json!(1500), json!("#0000ff")]);
    // Once he has been told and has answered, everything he says is true.
    rig.pass(300);
    rig.receive(bob);
    rig.tell(bob, says("move_item", &with(source("b", 50.0), "n_rays", json!(9))));
    assert_eq!(field(&rig, "b", "n_rays"), 9);
}

#[test]
fn a_rebuilt_sources_red_is_not_written_and_what_somebody_chooses_is() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    let red = |x| with(source("a", x), "color_hex", json!("#dc143c"));
    rig.tell(bob, says("move_item", &red(2.0)));
    assert_eq!(
        (field(&rig, "a", "x_mm"), field(&rig, "a", "color_hex")),
        (json!(2.0), json!("#0000ff"))
    );
    rig.pass(300);
    assert!(done(&mut rig, bob).contains(&"update_item a, settled".into()), "its rays may be red");
    let green = with(source("a", 2.0), "color_hex", json!("#00ff00"));
    rig.tell(bob, says("move_item", &green));
    assert_eq!(field(&rig, "a", "color_hex"), "#00ff00", "he has chosen that");
    // Alice built it: her editor goes on reporting what she chose last.
    rig.pass(3000);
    rig.receive(alice);
    rig.tell(alice, says("move_item", &source("a", 3.0)));
    assert_eq!(field(&rig, "a", "color_hex"), "#00ff00");
    rig.tell(alice, says("move_item", &red(3.0)));
    assert_eq!(field(&rig, "a", "color_hex"), "#dc143c", "her own choice");
}

#[test]
fn interfaces_are_moved_for_copies_without_a_picture_and_moved_back() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[mirror("m", 1.0)]);
    let bob = rig.join_session("s", "bob", None);
    rig.tell(bob, request("bob"));
    let eve = script(&mut rig, "eve");
    rig.all();
    rig.pong(bob);
    let texts = rig.texts(bob);
    let (true_place, moved) =
        (&mirror("m", 1.0)["interfaces"], &moved_mirror("m", 1.0)["interfaces"]);
    assert_eq!(&texts[0]["state"]["items"][0]["interfaces"], true_place, "a state is true");
    let last = texts.last().expect("its data");
    assert_eq!(&last["command"]["data"]["interfaces"], moved);
    rig.receive(bob);
    // A drag of the copy says where its interfaces are there.
    rig.tell(bob, says("move_item", &moved_mirror("m", 2.0)));
    assert_eq!(&field(&rig, "m", "interfaces"), true_place);
    // An edit of it comes back to the right place.
    let edited = |x| {
        let mut mirror = moved_mirror("m", x);
        mirror["interfaces"][0]["reflectivity"] = json!(50.0);
        mirror
    };
    rig.tell(bob, says("move_item", &edited(3.0)));
    let interface = &field(&rig, "m", "interfaces")[0];
    assert_eq!((&interface["x1_mm"], &interface["reflectivity"]), (&json!(-25.0), &json!(50.0)));
    for conn in [alice, eve] {
        let told = told(&mut rig, conn);
        let (_, _, data) = told.last().expect("the change");
        assert_eq!(
            data["interfaces"][0]["x1_mm"], -25.0,
            "who built it, or is no editor, is told the truth"
        );
    }
    // What somebody else does to it is moved for Bob.
    rig.tell(
        eve,
        json!({"type": "command", "command": {"action": "update_item", "item_id": "m",
                         "data": {"name": "M2"}}}),
    );
    let (_, _, data) = told(&mut rig, bob).pop().expect("the change");
    assert_eq!((&data["name"], &data["interfaces"][0]["x1_mm"]), (&json!("M2"), &json!(0.0)));
}

#[test]
fn an_image_path_that_leads_out_is_kept_and_sent_to_nobody() {
    let mut rig = rig();
    let path = "/home/alice/m.png";
    let unsafe_mirror = with(mirror("m", 1.0), "image_path", json!(path));
    let alice = host(&mut rig, "alice", std::slice::from_ref(&unsafe_mirror));
    assert_eq!(field(&rig, "m", "image_path"), path);
    let bob = rig.join_session("s", "bob", None);
    rig.tell(bob, request("bob"));
    rig.on(bob);
    rig.pong(bob);
    let sent = json!(rig.texts(bob)).to_string();
    assert!(sent.contains("reflectivity") && !sent.contains(path), "{sent}");
    rig.receive(bob);
    rig.tell(alice, says("move_item", &with(unsafe_mirror, "name", json!("M2"))));
    let sent = json!(rig.texts(bob)).to_string();
    assert!(sent.contains("M2") && !sent.contains(path), "{sent}");
    // His copy has none, which takes nothing away.
    rig.receive(bob);
    let blank_path = with(mirror("m", 5.0), "image_path", Value::Null);
    rig.tell(bob, says("move_item", &with(blank_path, "name", json!("M2"))));
    assert_eq!(
        (field(&rig, "m", "image_path"), field(&rig, "m", "x_mm")),
        (json!(path), json!(5.0))
    );
}

/// Her own value comes back to her while she chooses the next one, and her editor shows the older one
/// again: what it says then is no choice.
#[test]
fn a_value_that_came_back_while_the_next_was_chosen_is_not_chosen() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    let rays = |x: f64, rays: u64| says("move_item", &with(source("a", x), "n_rays", json!(rays)));
    rig.tell(alice, rays(1.0, 7));
    rig.tell(bob, says("move_item", &with(moved(2.0), "n_rays", json!(7))));
    // Both are told what it looks like; before she has that she chooses 9.
    rig.pass(300);
    rig.tell(alice, rays(2.0, 9));
    assert_eq!(field(&rig, "a", "n_rays"), 9);
    rig.receive(alice);
    rig.tell(alice, rays(3.0, 7));
    assert_eq!((field(&rig, "a", "n_rays"), field(&rig, "a", "x_mm")), (json!(9), json!(3.0)));
    // She is told, and then 7 is hers to choose.
    rig.pass(300);
    rig.receive(alice);
    rig.tell(alice, rays(3.0, 7));
    assert_eq!(field(&rig, "a", "n_rays"), 7);
}

/// The guest's copy of the source, which reports the colour of all that is built from messages.
fn moved(x: f64) -> Value {
    with(source("a", x), "color_hex", json!("#dc143c"))
}

#[test]
fn going_back_counts_after_a_while_in_which_nothing_is_said() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("move_item", &source("a", 2.0)));
    rig.tell(bob, says("move_item", &moved(3.0)));
    // Nobody says anything for some seconds, and everybody answers what is asked.
    for _ in 0..4 {
        rig.pass(1000);
        rig.receive(alice);
        rig.receive(bob);
    }
    rig.tell(alice, says("move_item", &source("a", 2.0)));
    assert_eq!(field(&rig, "a", "x_mm"), 2.0, "she undoes what bob did");
}

#[test]
fn a_locked_copy_stays_where_it_is_and_its_place_is_no_choice() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let eve = script(&mut rig, "eve");
    // Alice locks it by the menu, which tells nobody; a script moves it, and her copy stays.
    let to = json!({"type": "command", "command": {"action": "move_item", "item_id": "a",
                    "data": {"x_mm": 8.0, "y_mm": 0.0}}});
    rig.tell(eve, to);
    rig.receive(alice);
    let locked = with(source("a", 1.0), "locked", json!(true));
    rig.tell(alice, says("update_item", &with(locked, "n_rays", json!(9))));
    let fields = ["x_mm", "n_rays", "locked"].map(|key| field(&rig, "a", key));
    assert_eq!(fields, [json!(8.0), json!(9), json!(true)]);
}

#[test]
fn who_was_not_sent_a_path_does_not_remove_it() {
    let mut rig = rig();
    let path = "/home/alice/m.png";
    let unsafe_mirror = with(mirror("m", 1.0), "image_path", json!(path));
    host(&mut rig, "alice", std::slice::from_ref(&unsafe_mirror));
    let eve = script(&mut rig, "eve");
    rig.tell(eve, json!({"type": "sync:request"}));
    let mut state = state(&mut rig, eve);
    assert_eq!(state["items"][0].get("image_path"), None);
    state["items"][0]["name"] = json!("M2");
    rig.tell(eve, json!({"type": "sync:update", "state": state}));
    let fields = ["name", "image_path", "interfaces"].map(|key| field(&rig, "m", key));
    assert_eq!(fields, [json!("M2"), json!(path), unsafe_mirror["interfaces"].clone()]);
}

/// A copy that was pasted hears nothing, not even that somebody else has removed the item.
#[test]
fn what_others_removed_goes_from_a_canvas_that_did_not_hear_of_it() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let eve = script(&mut rig, "eve");
    rig.tell(eve, removes("a"));
    rig.pass(1000);
    rig.receive(alice);
    rig.all();
    // It is back on her canvas, from a file.
    rig.tell(alice, says("update_item", &source("a", 2.0)));
    assert_eq!(rig.told(alice), ["connection:ack", "command"]);
    rig.tell(alice, request("alice"));
    assert_eq!(state(&mut rig, alice), Value::Null);
    rig.pass(300);
    assert_eq!(done(&mut rig, alice)[0], "remove_item a, settled");
    assert_eq!(items(&rig), [""; 0]);
}

/// The link is lost while somebody drags an item: the canvas that comes back shows it half-way.
#[test]
fn a_canvas_from_amid_a_drag_takes_nothing_back() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = host(&mut rig, "bob", &[source("a", 1.0)]);
    for x in [2.0, 3.0, 4.0] {
        rig.tell(alice, says("move_item", &source("a", x)));
    }
    rig.gone(bob);
    for x in [5.0, 6.0] {
        rig.tell(alice, says("move_item", &source("a", x)));
    }
    rig.pass(300);
    host(&mut rig, "bob", &[source("a", 3.0)]);
    assert_eq!(field(&rig, "a", "x_mm"), 6.0);
}

// The document.

#[test]
fn an_old_canvas_takes_back_none_of_many_places() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    for place in 2..60 {
        rig.tell(bob, says("move_item", &source("a", f64::from(place) + 0.5)));
        rig.tell(bob, says("move_item", &source("a", f64::from(place))));
        rig.pass(400);
        [alice, bob].into_iter().for_each(|conn| rig.receive(conn));
    }
    for old in [1.0, 30.0, 30.5] {
        host(&mut rig, "alice", &[source("a", old)]);
        assert_eq!(field(&rig, "a", "x_mm"), json!(59.0), "{old} is old");
    }
    host(&mut rig, "alice", &[source("a", 777.0)]);
    assert_eq!(field(&rig, "a", "x_mm"), json!(777.0));
}

#[test]
fn a_canvas_of_what_was_removed_is_no_new_design() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0), source("b", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(bob, removes("a"));
    [alice, bob].into_iter().for_each(|conn| rig.gone(conn));
    host(&mut rig, "alice", &[source("a", 1.0)]);
    assert_eq!(items(&rig), ["b"]);
}

/// The middle of a list of numbers is rounded: what is at the origin but for that is at the origin.
#[test]
fn a_copy_stands_at_its_origin_but_for_rounding() {
    let mut rig = rig();
    let off = |y1: f64, y2: f64| {
        let mut mirror = moved_mirror("a", 1.0);
        mirror["interfaces"][0]["y1_mm"] = json!(y1);
        mirror["interfaces"][0]["y2_mm"] = json!(y2);
        mirror
    };
    // It was sent the item before the server forgot it, and brings it back.
    let alice = host(&mut rig, "alice", &[off(1.6, -1.5999999999999999)]);
    host(&mut rig, "bob", &[with(mirror("a", 1.0), "name", json!("M2"))]);
    rig.pass(400);
    let told = told(&mut rig, alice);
    let (_, _, data) = told.iter().rfind(|(what, ..)| what == "update_item a").expect("it is told");
    assert_eq!(data["interfaces"], moved_mirror("a", 1.0)["interfaces"]);
}

#[test]
fn a_restored_item_keeps_the_origin_that_its_builders_copies_have() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[mirror("a", 1.0)]);
    let mut earlier = canvas(&[moved_mirror("a", 7.0)], "nobody")["state"].take();
    earlier["version"] = json!(1);
    let state = State::parse(&earlier.to_string()).expect("a state");
    let (conn, session, by) = (rig.conn(), "s".into(), "operator".into());
    rig.handle(Event::Restore { conn, session, state: Box::new(state), by });
    assert_eq!(field(&rig, "a", "x_mm"), json!(7.0));
    let told = told(&mut rig, alice);
    let (_, _, data) = told.last().expect("it is told");
    assert_eq!(data["interfaces"], mirror("a", 1.0)["interfaces"]);
}

#[test]
fn an_item_that_nobody_knows() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("move_item", &source("hover", 1.0)));
    let partial = json!({"type": "command", "command": {"action": "update_item", "item_id": "p",
                         "data": {"x_mm": 1.0}}});
    rig.tell(alice, partial);
    assert_eq!((items(&rig), rig.on(bob)), (vec!["a".to_owned()], vec![]));
    rig.tell(alice, says("update_item", &source("pasted", 1.0)));
    assert_eq!(items(&rig), ["a", "pasted"]);
    assert_eq!(done(&mut rig, bob)[0], "add_item pasted");
    // Her editor doesn't hear of what it has pasted until it looks through its canvas again.
    assert_eq!(rig.told(alice), ["connection:ack"]);
    rig.tell(alice, request("alice"));
    assert_eq!(state(&mut rig, alice), Value::Null);
    rig.tell(bob, says("move_item", &source("pasted", 2.0)));
    assert_eq!(done(&mut rig, alice), ["move_item pasted"]);
}

#[test]
fn items_that_editors_do_not_know_are_for_all_others() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let [eve, mallory] = ["eve", "mallory"].map(|user| script(&mut rig, user));
    let note = json!({"_type": "note", "item_uuid": "n", "text": "hi"});
    rig.tell(eve, says("add_item", &note));
    rig.tell(eve, says("update_item", &with(note, "text", json!("ho"))));
    rig.pass(400);
    assert_eq!(done(&mut rig, alice), [""; 0]);
    assert_eq!(
        done(&mut rig, mallory),
        ["add_item n", "update_item n, settled", "update_item n", "update_item n, settled"]
    );
    rig.tell(alice, request("alice"));
    assert_eq!(state(&mut rig, alice)["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(items(&rig), ["a", "n"]);
}

#[test]
fn a_tombstone_names_all_who_removed_it_and_any_of_them_brings_it_back() {
    for who_undoes in ["alice", "bob", "carol"] {
        let mut rig = rig();
        let alice = host(&mut rig, "alice", &[source("a", 1.0), source("b", 1.0)]);
        let bob = guest(&mut rig, "bob");
        let carol = guest(&mut rig, "carol");
        rig.tell(alice, removes("a"));
        // Before he has heard of it.
        rig.tell(bob, removes("a"));
        rig.all();
        let conn = match who_undoes {
            "alice" => alice,
            "bob" => bob,
            _ => carol,
        };
        // The undo of a removal says nothing; the next drag does.
        rig.tell(conn, says("update_item", &source("a", 2.0)));
        match who_undoes {
            "carol" => {
                assert_eq!(items(&rig), ["b"]);
                assert_eq!(done(&mut rig, carol), ["remove_item a, settled"], "it is gone");
                rig.tell(carol, says("add_item", &source("a", 2.0)));
                assert_eq!(items(&rig), ["b"], "she has not been told before that");
                rig.pass(2000);
                rig.tell(carol, json!({"type": "ping"}));
                rig.receive(carol);
                rig.tell(carol, says("add_item", &source("a", 2.0)));
                assert_eq!(items(&rig), ["b", "a"], "she knows of the removal");
            }
            _ => assert_eq!(items(&rig), ["b", "a"]),
        }
    }
}

#[test]
fn a_snapshot_brings_back_nothing_that_somebody_else_removed() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0), source("b", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(bob, removes("a"));
    rig.all();
    // Alice answers a newcomer before she has heard of it.
    rig.tell(alice, canvas(&[source("a", 1.0), source("b", 1.0)], "bob"));
    assert_eq!(items(&rig), ["b"]);
    assert!(done(&mut rig, alice).contains(&"remove_item a, settled".into()));
}

#[test]
fn an_action_that_only_editors_know_is_relayed() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, json!({"type": "command", "command": {"action": "select", "item_id": "a"}}));
    let texts = rig.texts(bob);
    assert_eq!((&texts[0]["command"]["action"], texts[0].get("seq")), (&json!("select"), None));
}

// Everyone ends with the same canvas.

#[test]
fn an_item_settles_when_it_has_been_still_and_an_editor_is_told_twice() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[with(source("a", 1.0), "locked", json!(true))]);
    let bob = guest(&mut rig, "bob");
    let eve = script(&mut rig, "eve");
    let locked = |x| with(source("a", x), "locked", json!(true));
    rig.tell(alice, says("move_item", &locked(2.0)));
    rig.pass(299);
    rig.tell(alice, says("move_item", &locked(3.0)));
    rig.pass(299);
    // A locked copy is unlocked before it is moved.
    let pair = ["update_item a, settled", "update_item a"];
    assert_eq!(done(&mut rig, bob), [pair, pair].concat());
    rig.all();
    rig.pass(1);
    assert_eq!(rig.on(alice), [], "she has done it herself");
    let settled = told(&mut rig, bob);
    let [(first, true, unlocked), (second, true, real)] = &settled[..] else {
        panic!("{settled:?}")
    };
    assert_eq!((&**first, &**second), ("update_item a", "update_item a"));
    assert_eq!((&unlocked["locked"], &real["locked"]), (&json!(false), &json!(true)));
    assert_eq!(real["x_mm"], 3.0);
    let aside = unlocked["x_mm"].as_f64().expect("a number") - 3.0;
    assert!(aside != 0.0 && aside.abs() < 0.001, "an editor draws its rays anew where it moves");
    assert_eq!(done(&mut rig, eve), ["update_item a, settled"]);
}

#[test]
fn the_writer_is_told_too_where_somebody_else_was_at_it() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    for (between, is_told) in [(1900, true), (2600, false)] {
        let at = between as f64;
        rig.tell(bob, says("move_item", &source("a", at)));
        rig.pass(between);
        for conn in [alice, bob] {
            rig.tell(conn, json!({"type": "ping"}));
            rig.receive(conn);
        }
        rig.tell(alice, says("move_item", &source("a", at + 1.0)));
        rig.all();
        rig.pass(300);
        let told = done(&mut rig, alice);
        assert_eq!(!told.is_empty(), is_told, "{between} ms: {told:?}");
        rig.pass(5000);
        [alice, bob].into_iter().for_each(|conn| rig.receive(conn));
    }
}

#[test]
fn an_item_that_was_removed_amid_changes_settles_as_removed() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(bob, says("move_item", &source("a", 2.0)));
    rig.tell(alice, removes("a"));
    rig.all();
    rig.pass(300);
    assert_eq!(done(&mut rig, alice)[0], "remove_item a, settled");
    // An editor draws its rays anew when an item comes, not when it is told that one goes.
    let told = done(&mut rig, bob);
    assert_eq!(told, ["remove_item a, settled", "add_item a, settled", "remove_item a, settled"]);
}

#[test]
fn an_added_item_is_told_at_once_with_all_its_data() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("add_item", &source("b", 7.0)));
    let told = told(&mut rig, bob);
    assert_eq!((&*told[0].0, told[0].1), ("add_item b", false));
    let (last, settled, data) = told.last().expect("its data");
    assert_eq!((&**last, *settled, &data["x_mm"]), ("update_item b", true, &json!(7.0)));
    assert_eq!(rig.on(alice), []);
}

/// A Ping that was sent before an item settled says nothing of whether that was received.
#[test]
fn what_settles_after_a_ping_is_not_received_by_its_pong() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.pass(2000);
    // Bob is asked what he has received when Alice drags, and answers after half a second.
    rig.tell(alice, says("move_item", &source("a", 2.0)));
    rig.pass(300);
    rig.pong(bob);
    // He has received the drag, not what it settled to.
    rig.tell(bob, says("move_item", &with(source("a", 2.0), "angle_deg", json!(10.0))));
    rig.pass(299);
    rig.all();
    rig.pass(1);
    let told = done(&mut rig, bob);
    assert!(
        told.contains(&"update_item a, settled".into()),
        "it may have turned his copy back: {told:?}"
    );
}

#[test]
fn without_settling_only_what_was_done_is_told() {
    let mut rig = Rig::new();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("add_item", &source("b", 1.0)));
    rig.tell(bob, says("move_item", &source("a", 2.0)));
    rig.tell(alice, says("move_item", &source("a", 3.0)));
    rig.pass(5000);
    let told = done(&mut rig, bob);
    assert_eq!(told, ["add_item b", "move_item a"]);
    assert_eq!(done(&mut rig, alice), ["move_item a"]);
}

// What an editor may show twice, or not at all.

/// An editor that may only watch, and shares this canvas; it has received everything.
fn watcher(rig: &mut Rig, items: &[Value]) -> ConnId {
    let conn = rig.join_session("s", "watcher", Some(reader()));
    rig.commit();
    rig.tell(conn, request("watcher"));
    rig.tell(conn, canvas(items, "watcher"));
    rig.receive(conn);
    conn
}

#[test]
fn what_a_watcher_removed_from_its_own_canvas_is_sent_to_it_when_somebody_adds_it() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let watcher = watcher(&mut rig, &[source("own", 1.0)]);
    rig.tell(watcher, removes("own"));
    rig.all();
    rig.tell(alice, says("add_item", &source("own", 2.0)));
    assert_eq!(done(&mut rig, watcher)[0], "add_item own");
}

#[test]
fn a_watchers_own_item_stays_when_its_removal_settles() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0), source("b", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(bob, says("move_item", &source("a", 2.0)));
    rig.tell(alice, removes("a"));
    let watcher = watcher(&mut rig, &[source("a", 1.0)]);
    rig.all();
    rig.pass(300);
    assert!(!done(&mut rig, watcher).contains(&"remove_item a, settled".into()));
    rig.tell(alice, says("add_item", &source("a", 3.0)));
    assert_eq!(done(&mut rig, watcher), ["update_item a, settled", "update_item a, settled"]);
}

/// Bob has removed an item while something about it was on its way to him, so that he is sent its removal;
/// before that comes he moves what he sees of it.
#[test]
fn a_copy_that_is_about_to_be_removed_is_built_anew_where_it_was_moved() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0), source("b", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("move_item", &source("a", 2.0)));
    rig.tell(bob, removes("a"));
    rig.all();
    rig.tell(bob, says("move_item", &source("a", 3.0)));
    assert_eq!(field(&rig, "a", "x_mm"), json!(3.0));
    assert_eq!(rig.told(bob), ["connection:ack"], "it looks through its canvas");
    rig.tell(bob, request("bob"));
    rig.pass(300);
    let told = done(&mut rig, bob);
    assert!(
        told.starts_with(&["remove_item a, settled".into(), "add_item a, settled".into()]),
        "{told:?}"
    );
}

/// What came to a canvas from a file or the undo history hears once its editor has looked through it.
#[test]
fn who_may_have_an_item_without_having_said_so_is_not_shown_it_twice() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("update_item", &source("pasted", 1.0)));
    rig.tell(alice, request("alice"));
    rig.pass(1000);
    rig.all();
    rig.tell(bob, says("add_item", &source("b", 1.0)));
    assert_eq!(done(&mut rig, alice)[..2], ["remove_item b, settled", "add_item b"]);
}

/// Alice's editor sends an `update_item` of nothing but what was placed or pasted there: it has one of its own.
#[test]
fn who_has_an_item_that_is_on_its_way_ends_with_one() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(bob, says("add_item", &source("b", 1.0)));
    rig.all();
    rig.tell(alice, says("update_item", &source("b", 2.0)));
    let told = rig.texts(alice);
    let kinds: Vec<&Value> = told.iter().map(|told| &told["type"]).collect();
    assert_eq!(kinds, ["command", "connection:ack"]);
    assert_eq!(told[0]["command"]["action"], "remove_item", "the one that comes");
    rig.tell(alice, request("alice"));
    rig.pass(300);
    let told = done(&mut rig, alice);
    assert!(
        told.starts_with(&["remove_item b, settled".into(), "add_item b, settled".into()]),
        "{told:?}"
    );
}

#[test]
fn an_item_of_its_own_is_not_blank_after_an_editor_has_looked_through_its_canvas() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let table = |name: Value| {
        json!({"_type": "component", "item_uuid": "b", "x_mm": 1.0, "y_mm": 0.0,
               "angle_deg": 0.0, "name": name, "image_path": null, "interfaces": []})
    };
    rig.tell(alice, says("add_item", &table(json!("T"))));
    rig.tell(alice, says("update_item", &source("pasted", 1.0)));
    rig.tell(alice, request("alice"));
    rig.tell(alice, says("update_item", &table(Value::Null)));
    assert_eq!(field(&rig, "b", "name"), Value::Null);
}

/// Two editors that have a locked item of which an update is on its way to both.
fn told_of_a_locked_item(rig: &mut Rig) -> [ConnId; 2] {
    let locked = with(source("a", 1.0), "locked", json!(true));
    let alice = host(rig, "alice", &[locked]);
    let bob = guest(rig, "bob");
    let script = script(rig, "script");
    let set = |rig: &mut Rig, key: &str, value: f64| {
        rig.tell(script, says("update_item", &json!({"item_uuid": "a", key: value})));
        rig.pass(300);
    };
    set(rig, "x_mm", 5.0);
    for _ in 0..4 {
        rig.pass(1000);
        [alice, bob].into_iter().for_each(|conn| rig.receive(conn));
    }
    rig.all();
    set(rig, "z_value", 3.0);
    [alice, bob]
}

/// Of the two messages by which an editor is told what an item looks like the first takes its lock off.
#[test]
fn who_edits_an_item_while_its_lock_is_off_does_not_take_it_off() {
    let mut rig = rig();
    let [alice, bob] = told_of_a_locked_item(&mut rig);
    assert_eq!(told(&mut rig, bob).iter().rev().nth(1).expect("two").2["locked"], json!(false));
    let between = with(source("a", 5.000001), "z_value", json!(3.0));
    let edited = |n_rays| with(between.clone(), "n_rays", json!(n_rays));
    rig.tell(alice, says("update_item", &edited(7)));
    let fields = ["x_mm", "n_rays", "locked"].map(|key| field(&rig, "a", key));
    assert_eq!(fields, [json!(5.0), json!(7), json!(true)]);
    // An undo takes hold of nothing.
    rig.tell(bob, says("move_item", &with(source("a", 1.0), "z_value", json!(3.0))));
    assert_eq!((field(&rig, "a", "x_mm"), field(&rig, "a", "locked")), (json!(1.0), json!(true)));
    for conn in [alice, bob] {
        rig.receive(conn);
    }
    rig.pass(5000);
    [alice, bob].into_iter().for_each(|conn| rig.receive(conn));
    rig.tell(alice, says("update_item", &edited(9)));
    assert_eq!(field(&rig, "a", "locked"), json!(false), "she has done that herself");
}

/// Nobody takes hold of what is locked.
#[test]
fn who_moves_an_item_has_taken_its_lock_off() {
    let mut rig = rig();
    let [_, bob] = told_of_a_locked_item(&mut rig);
    rig.tell(bob, says("move_item", &with(source("a", 8.0), "z_value", json!(3.0))));
    assert_eq!((field(&rig, "a", "x_mm"), field(&rig, "a", "locked")), (json!(8.0), json!(false)));
}

#[test]
fn who_was_told_an_item_amid_a_drag_shows_it_put_aside_and_writes_no_place() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    rig.tell(alice, says("move_item", &source("a", 2.0)));
    // Bob hosts a canvas of before, and is told where it is now.
    let bob = rig.join_session("s", "bob", None);
    rig.commit();
    rig.tell(bob, request("bob"));
    rig.tell(bob, canvas(&[source("a", 1.0)], "bob"));
    assert_eq!(told(&mut rig, bob)[0].2["x_mm"], 2.000001);
    rig.tell(alice, says("move_item", &source("a", 3.0)));
    rig.tell(bob, says("move_item", &with(source("a", 2.000001), "n_rays", json!(9))));
    assert_eq!((field(&rig, "a", "x_mm"), field(&rig, "a", "n_rays")), (json!(3.0), json!(9)));
}

/// The host has opened a file: its list shows the copy that messages reach, its commands speak of the other one.
#[test]
fn the_colours_of_two_copies_are_told_apart() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let colored = |x, color: &str| with(source("a", x), "color_hex", json!(color));
    let color = |rig: &Rig| field(rig, "a", "color_hex");
    rig.tell(alice, says("move_item", &colored(2.0, "#00ff00")));
    assert_eq!(color(&rig), "#00ff00");
    rig.tell(alice, canvas(&[source("a", 2.0)], "carol"));
    assert_eq!(color(&rig), "#00ff00", "she has listed the other one so before");
    rig.tell(alice, canvas(&[colored(2.0, "#00ffff")], "carol"));
    assert_eq!(color(&rig), "#00ffff", "she has picked that");
    rig.tell(alice, says("move_item", &colored(3.0, "#00ff00")));
    assert_eq!(color(&rig), "#00ff00");
}
