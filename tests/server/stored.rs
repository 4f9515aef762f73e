//! What is stored, looked at and changed while a server runs: by its API, and by `collabd sessions`
//! through it.

#![cfg(all(unix, feature = "durable"))]

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{
    Client, Place, Response, Run, Server, Wire, add, canvas_items, collabd, confirmed, kill,
    move_to, stop, story, update,
};

/// Sends a request, whose headers are whole lines, and returns its answer.
fn ask(server: &Server, what: &str, headers: &str, body: &str) -> Response {
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    Wire::ask(server, &format!("{what} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}"))
}

/// What a page says, which has to be there.
fn get(server: &Server, path: &str) -> Value {
    let answer = ask(server, &format!("GET {path}"), "", "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_str(&answer.body).expect("JSON")
}

/// The status a request is answered with; what isn't 200 is one line.
fn status(server: &Server, what: &str, headers: &str, body: &str) -> u16 {
    let answer = ask(server, what, headers, body);
    assert!(answer.status == 200 || answer.body.lines().count() == 1, "{what}: {}", answer.body);
    answer.status
}

/// `collabd sessions` and others on a running server.
struct Remote {
    url: String,
    key: Option<String>,
}

impl Remote {
    fn of(server: &Server) -> Self {
        Remote { url: format!("http://{}", server.addr()), key: None }
    }

    fn with(server: &Server, key: &str) -> Self {
        Remote { key: Some(key.into()), ..Remote::of(server) }
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command = collabd(args);
        command.env("COLLABD_SERVER", &self.url);
        if let Some(key) = &self.key {
            command.env("COLLABD_KEY", key);
        }
        Run::of(command)
    }

    fn succeeds(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!((run.code, &*run.err), (Some(0), ""), "{args:?}");
        run.out
    }

    fn fails(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!((run.code, &*run.out), (Some(1), ""), "{args:?}: {}", run.err);
        let line = run.err.strip_prefix("collabd: ").expect("who says it").trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "{args:?}: {line}");
        line.to_owned()
    }

    fn exported(&self, args: &[&str]) -> Vec<Value> {
        let text = self.succeeds(&[&["sessions", "export"], args].concat());
        canvas_items(&serde_json::from_str(&text).expect("JSON"))
    }
}

/// The canvas after a session was restored, which members are told as commands.
fn restored(member: &mut Client) -> Vec<Value> {
    member.send(json!({"type": "sync:request"}));
    let mut changes = 0;
    loop {
        let mut message = member.next();
        if message["type"] == "sync:state" {
            assert!(changes > 0, "nobody was told of a change");
            return serde_json::from_value(message["state"]["items"].take()).expect("items");
        }
        assert_eq!((&message["type"], &message["user_id"]), (&json!("command"), &json!("collabd")));
        changes += 1;
    }
}

#[test]
fn the_api_shows_what_is_stored() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "a ü?", "alice");
    let epoch = alice.ack()["epoch"].clone();
    let canvases = story(&mut alice);
    confirmed(&mut Client::join(&server, "other", "eve"), add("a", json!({})));

    let stored = get(&server, "/api/stored");
    assert_eq!((&stored["total"], stored["timestamp"].is_string()), (&json!(2), true));
    let session = &stored["sessions"][0];
    assert_eq!(
        (&session["session_id"], &session["epoch"], &session["seq"], &session["changes"]),
        (&json!("a ü?"), &epoch, &json!(4), &json!(4))
    );
    assert_eq!((&session["changed_by"], session.get("items")), (&json!("alice"), None));
    assert!(session["created_at"].is_string() && session["bytes"].is_number());
    let page = get(&server, "/api/stored?limit=1&items=1&after=a%20%C3%BC%3F");
    assert_eq!(page["sessions"].as_array().expect("a list").len(), 1);
    let other = &page["sessions"][0];
    assert_eq!((&other["session_id"], &other["items"]), (&json!("other"), &json!(1)));
    assert_eq!(page["total"], 2);

    let at = "/api/sessions/a%20%C3%BC%3F";
    let versions = get(&server, &format!("{at}/versions"));
    assert_eq!((&versions["first_seq"], &versions["seq"]), (&json!(0), &json!(4)));
    assert_eq!((&versions["versions"], &versions["session"]["items"]), (&json!([]), &json!(1)));
    for (seq, canvas) in canvases.iter().enumerate() {
        let state = get(&server, &format!("{at}/state?at={seq}"));
        assert_eq!(canvas_items(&state), *canvas, "{seq}");
        assert_eq!(
            (&state["session_id"], &state["epoch"], &state["seq"]),
            (&json!("a ü?"), &epoch, &json!(seq))
        );
    }
    assert_eq!(canvas_items(&get(&server, &format!("{at}/state"))), canvases[4]);
    let now = "2100-01-01T00:00:00+01:00";
    assert_eq!(get(&server, &format!("{at}/state?at={now}"))["seq"], 4);

    let changes = get(&server, &format!("{at}/changes?after=1&limit=2"));
    let changes = changes["changes"].as_array().expect("a list");
    let seqs: Vec<&Value> = changes.iter().map(|change| &change["seq"]).collect();
    assert_eq!(seqs, [&json!(2), &json!(3)]);
    assert_eq!(
        (&changes[1]["user_id"], &changes[1]["message"]["seq"]),
        (&json!("alice"), &json!(3))
    );
    assert_eq!(changes[1]["message"]["command"]["data"]["x_mm"], 7.25);
    assert_eq!(get(&server, &format!("{at}/changes"))["changes"].as_array().expect("it").len(), 4);
    assert_eq!(get(&server, &format!("{at}/changes?after=4"))["changes"], json!([]));

    let head = ask(&server, &format!("HEAD {at}/state?at=2"), "", "");
    assert_eq!((head.status, &*head.body), (200, ""));
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_said_in_a_line() {
    let place = Place::new();
    let server = place.serve();
    confirmed(&mut Client::join(&server, "table", "alice"), add("a", json!({})));
    for (what, expected) in [
        ("GET /api/sessions/none/versions", 404),
        ("GET /api/sessions/none/changes", 404),
        ("GET /api/sessions/none/state", 404),
        ("GET /api/sessions/none/state?at=0", 404),
        ("GET /api/sessions/table/state?at=2", 404),
        ("GET /api/sessions/table/state?at=2001-01-01T00:00:00Z", 404),
        ("GET /api/sessions/table/state?at=yesterday", 400),
        ("GET /api/sessions/table/state?at=", 400),
        ("GET /api/sessions/table/state?at=-1", 400),
        ("GET /api/sessions/table/state?at=99999999999999999999", 400),
        ("GET /api/sessions/table/state?at=9223372036854775808", 404),
        ("GET /api/sessions/table/changes?after=x", 400),
        ("GET /api/sessions/table/changes?limit=-1", 400),
        ("GET /api/stored?limit=1.5", 400),
        ("POST /api/sessions/table/restore", 400),
        ("POST /api/sessions/table/restore?to=soon", 400),
        ("POST /api/sessions/table/restore?to=2", 404),
        ("POST /api/sessions/none/restore?to=0", 404),
        ("POST /api/compact?session=none", 404),
        ("POST /api/compact?keep_versions=x", 400),
        ("DELETE /api/sessions/none", 404),
        ("GET /api/sessions/%00/state", 404),
        ("GET /api/sessions//state", 404),
        ("GET /api/sessions/../../etc/state?at=0", 404),
        ("GET /api/nothing", 404),
        ("POST /api/backup", 404),
    ] {
        assert_eq!(status(&server, what, "", ""), expected, "{what}");
    }
    for (what, allow) in [
        ("DELETE /api/stored", "GET, HEAD"),
        ("POST /api/sessions/table/state", "GET, HEAD, PUT"),
        ("PUT /api/sessions/table", "GET, HEAD, DELETE"),
        ("GET /api/sessions/table/restore", "POST"),
        ("GET /api/compact", "POST"),
    ] {
        let answer = ask(&server, what, "", "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{what}");
    }
    let question = ask(&server, "OPTIONS /api/compact", "", "");
    assert_eq!((question.status, question.header("allow")), (204, Some("POST")));
    let empty = get(&server, "/api/sessions/table/changes?limit=0");
    assert_eq!((&empty["changes"], &empty["seq"]), (&json!([]), &json!(1)));
}

#[test]
fn what_was_removed_is_told_apart_from_what_is_damaged() {
    let place = Place::new();
    // Versions go, and more changes stay than they leave states of.
    let mut server = Server::start(&[
        "--no-settle",
        "--data-dir",
        &place.data(),
        "--keep-versions",
        "2",
        "--linger",
        "0",
    ]);
    let mut alice = Client::join(&server, "table", "alice");
    // By the change after which they were so: a whole canvas is several.
    let mut canvases: BTreeMap<u64, Vec<Value>> = BTreeMap::from([(0, Vec::new())]);
    let mut canvas = |alice: &mut Client, change: Value| {
        confirmed(alice, change);
        alice.send(json!({"type": "sync:request"}));
        let state = alice.next();
        canvases.insert(state["seq"].as_u64().expect("it"), canvas_items(&state["state"]));
    };
    canvas(&mut alice, add("a", json!({"n": 1})));
    for round in 0..6 {
        // The whole canvas, which is not made of what is relayed.
        let items = json!([{"uuid": "a", "n": round}, {"uuid": format!("b{round}"), "n": 2}]);
        canvas(&mut alice, json!({"type": "sync:update", "state": {"items": items}}));
        canvas(&mut alice, move_to("a", f64::from(round) + 1.0));
        canvas(&mut alice, update("a", json!({"m": round})));
    }
    let last = *canvases.keys().last().expect("there are some");
    let compacted = ask(&server, "POST /api/compact?session=table&keep_versions=2", "", "");
    assert_eq!(compacted.status, 200, "{}", compacted.body);

    let versions = get(&server, "/api/sessions/table/versions");
    assert_eq!(versions["versions"].as_array().expect("a list").len(), 2);
    let first = versions["first_seq"].as_u64().expect("a number");
    assert!(first > 1 && first <= last, "{first} of {last}");
    let told = format!("each change from {first} to {last}");
    for seq in 0..=last {
        let state = ask(&server, &format!("GET /api/sessions/table/state?at={seq}"), "", "");
        if seq >= first {
            assert_eq!(state.status, 200, "{seq}: {}", state.body);
            let state: Value = serde_json::from_str(&state.body).expect("JSON");
            // With what a file has that an editor opens.
            let mut found = canvas_items(&state);
            found.iter_mut().filter_map(Value::as_object_mut).for_each(|item| {
                item.retain(|key, _| key != "_type" && key != "item_uuid");
            });
            assert!(canvases.get(&seq).is_none_or(|items| *items == found), "{seq}: {found:?}");
            continue;
        }
        let restored = ask(&server, &format!("POST /api/sessions/table/restore?to={seq}"), "", "");
        for answer in [state, restored] {
            assert_eq!(answer.status, 404, "{seq}: {}", answer.body);
            assert!(answer.body.contains(&told), "{seq}: {}", answer.body);
        }
    }
    let line = Remote::of(&server).fails(&["sessions", "restore", "table", "--to", "1"]);
    assert!(line.contains(&told), "{line}");
    let changes = get(&server, "/api/sessions/table/changes?after=0&limit=1");
    let of_changes = &changes["changes"][0]["seq"];
    assert_eq!(&changes["first_seq"], of_changes, "from there on nothing is missing");
    server.stop();
    let line = place.fails(&["sessions", "export", "table", "--at", "1"], 1);
    assert!(line.contains(&told), "{line}");
}

#[test]
fn a_server_that_stores_nothing_says_so() {
    let server = Server::start(&[]);
    for what in ["GET /api/stored", "GET /api/sessions/a/changes", "POST /api/compact"] {
        let answer = ask(&server, what, "", "");
        assert_eq!(answer.status, 404, "{what}");
        assert!(answer.body.contains("--in-memory"), "{what}: {}", answer.body);
    }
    let line = Remote::of(&server).fails(&["sessions", "list"]);
    assert!(line.contains("--in-memory"), "{line}");
}

#[test]
fn a_table_in_memory_that_was_wiped_is_brought_back_by_one_command() {
    let server = Server::start(&["--no-settle"]);
    let remote = Remote::of(&server);
    let mut alice = Client::join(&server, "table", "alice");
    let mut eve = Client::join(&server, "table", "eve");
    alice.expect("user:joined");
    let names = ["a", "b", "c", "d", "e"];
    for (place, name) in (1..).zip(names) {
        assert_eq!(confirmed(&mut alice, add(name, json!({"x_mm": place}))), place);
        eve.expect_command("add_item", name);
    }
    let before = canvas_items(&get(&server, "/api/sessions/table/state"));
    let wipe = json!({"type": "sync:update", "state": {"items": [], "version": 1}});
    assert_eq!(confirmed(&mut eve, wipe), 10);
    for name in names {
        alice.expect_command("remove_item", name);
    }

    let shown = remote.succeeds(&["sessions", "show", "table"]);
    let version: Vec<&str> = shown.lines().last().expect("a version").split("  ").collect();
    assert_eq!((version[0].trim(), version[version.len() - 1].trim()), ("5", "5"), "{shown}");
    assert!(shown.contains("REPLACED BY") && shown.contains("eve"), "{shown}");
    assert_eq!(remote.exported(&["table", "--at", "9"]), before);

    let out = remote.succeeds(&["sessions", "restore", "table", "--to", "9"]);
    assert!(out.contains("after change 5, with 5 items; that is change 15"), "{out}");
    for name in names {
        alice.expect_command("add_item", name);
        eve.expect_command("add_item", name);
    }
    assert_eq!(canvas_items(&get(&server, "/api/sessions/table/state")), before);
    let versions = get(&server, "/api/sessions/table/versions");
    assert_eq!(versions["versions"][1]["user_id"], "collabd", "what was restored can be undone");
    assert_eq!(remote.exported(&["table", "--at", "10"]), [Value::Null; 0]);

    for (what, expected) in [
        ("GET /api/sessions/table/state?at=4", 404),
        ("GET /api/sessions/table/state?at=16", 404),
        ("GET /api/sessions/table/state?at=soon", 400),
        ("GET /api/sessions/none/state?at=1", 404),
        ("GET /api/sessions/none/versions", 404),
        ("POST /api/sessions/table/restore", 400),
        ("POST /api/sessions/table/restore?to=4", 404),
        ("POST /api/sessions/none/restore?to=1", 404),
    ] {
        assert_eq!(status(&server, what, "", ""), expected, "{what}");
    }
    let (what, proxy) = ("POST /api/sessions/table/restore?to=5", "Via: 1.1 proxy\r\n");
    assert_eq!(status(&server, what, proxy, ""), 403, "for somebody else");
}

#[test]
fn the_same_is_seen_through_the_server_as_in_its_directory() {
    let place = Place::new();
    let server = place.serve();
    let remote = Remote::of(&server);
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    confirmed(&mut Client::join(&server, "\u{202e}eve", "eve"), add("a", json!({})));
    remote.succeeds(&["sessions", "restore", "table", "--to", "2"]);

    for words in [&["show", "table"][..], &["export", "table", "--at", "3"]] {
        let words = [&["sessions"], words].concat();
        let without_time = |text: String| text.split("\"timestamp\"").next().map(str::to_owned);
        let (here, there) = (place.succeeds(&words), remote.succeeds(&words));
        assert_eq!(without_time(here), without_time(there), "{words:?}");
    }
    for words in [&["list", "--json"][..], &["show", "table", "--json"]] {
        let words = [&["sessions"], words].concat();
        let [here, there] = [place.succeeds(&words), remote.succeeds(&words)].map(|text| {
            let mut json: Value = serde_json::from_str(&text).expect("JSON");
            assert!(json["timestamp"].take().is_string());
            json
        });
        // Who is in a session is only known where it is.
        let mut there = there;
        let sessions = there.get_mut("sessions").and_then(Value::as_array_mut);
        for session in sessions.into_iter().flatten() {
            let members = session.as_object_mut().expect("a session").remove("members");
            assert!(members.is_some_and(|members| members.is_number()));
        }
        assert_eq!(here, there, "{words:?}");
    }
    let in_table = |list: String| {
        let row = list.lines().find(|line| line.starts_with("table")).expect("a row").to_owned();
        row.split_whitespace().last().expect("a column").to_owned()
    };
    let list = ["sessions", "list"];
    assert_eq!(in_table(remote.succeeds(&list)), "1");
    assert_eq!(in_table(place.succeeds(&list)), "-");
    assert_eq!(remote.exported(&["table"]), canvases[2]);
    for (seq, canvas) in canvases.iter().enumerate() {
        assert_eq!(remote.exported(&["table", "--at", &seq.to_string()]), *canvas, "{seq}");
    }
    let file = place.path("canvas.json");
    remote.succeeds(&["sessions", "export", "table", "--out", &file]);
    let written: Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    assert_eq!(canvas_items(&written), canvases[2]);
    assert!(written.get("session_id").is_none() && written.get("seq").is_none(), "{written}");

    let [here, there] = [place.path("here"), place.path("there")];
    place.succeeds(&["record", "table", "--out", &here]);
    remote.succeeds(&["record", "table", "--out", &there]);
    let [here, there] = [here, there].map(|file| {
        let text = fs::read_to_string(file).expect("a file");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let mut lines: Vec<Value> = lines.collect();
        assert!(lines[0]["document"]["timestamp"].take().is_string());
        assert!(lines[5]["message"]["state"]["timestamp"].take().is_string());
        lines
    });
    assert_eq!((here.len(), &here), (6, &there), "what was restored is one of them");

    let line = remote.fails(&["sessions", "show", "no\u{202e}ne"]);
    assert!(line.contains("there is no session \"no\\u{202e}ne\" on http://127"), "{line}");
    let line = remote.fails(&["sessions", "export", "table", "--at", "9"]);
    assert!(line.contains("isn't stored"), "{line}");
    remote.fails(&["record", "none", "--out", &file]);
}

#[test]
fn more_sessions_than_are_told_of_at_once_are_listed() {
    let place = Place::new();
    let file = place.path("canvas.json");
    fs::write(&file, json!({"items": [{"uuid": "a"}]}).to_string()).expect("written");
    let server = place.serve();
    for n in 0..101 {
        let body = r#"{"items":[{"uuid":"a"}]}"#;
        assert_eq!(status(&server, &format!("PUT /api/sessions/s{n}/state"), "", body), 201);
    }
    let list = Remote::of(&server).succeeds(&["sessions", "list"]);
    assert_eq!(list.lines().count(), 102, "{list}");
}

#[test]
fn members_get_what_is_restored_and_what_was_before_is_a_version() {
    let place = Place::new();
    let server = place.serve();
    let remote = Remote::of(&server);
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");

    let out = remote.succeeds(&["sessions", "restore", "table", "--to", "2"]);
    assert!(out.contains("after change 2, with 2 items; that is change 6"), "{out}");
    for member in [&mut alice, &mut bob] {
        assert_eq!(restored(member), canvases[2]);
    }
    let versions = get(&server, "/api/sessions/table/versions");
    let whys: Vec<(&Value, &Value)> = versions["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|version| (&version["seq"], &version["why"]))
        .collect();
    assert_eq!(whys, [(&json!(4), &json!("regular")), (&json!(6), &json!("restored"))]);
    assert_eq!(versions["versions"][1]["user_id"], "collabd");
    assert_eq!(remote.exported(&["table", "--at", "4"]), canvases[4]);

    // They go on from there, and it can be undone.
    assert_eq!(confirmed(&mut bob, update("b", json!({"n": 2}))), 7);
    alice.expect_command("update_item", "b");
    let time = versions["versions"][0]["at"].as_str().expect("a time");
    let restore = ["sessions", "restore", "table", "--to", time];
    let out = remote.succeeds(&restore);
    assert!(out.contains("that is change 9"), "{out}");
    assert_eq!(restored(&mut alice), canvases[4]);

    // What was answered survives.
    kill(server);
    let server = place.serve();
    let mut late = Client::join(&server, "table", "late");
    assert_eq!((late.ack()["seq"].clone(), late.items()), (json!(9), canvases[4].clone()));
}

#[test]
fn a_restored_session_that_nobody_is_in_is_loaded_and_stored() {
    let place = Place::new();
    let server = place.serve();
    let canvases = story(&mut Client::join(&server, "table", "alice"));
    kill(server);
    let server = place.serve();
    Remote::of(&server).succeeds(&["sessions", "restore", "table", "--to", "3"]);
    kill(server);
    assert_eq!(place.exported(&["table"]), canvases[3]);
}

#[test]
fn a_canvas_comes_in_while_people_work() {
    let place = Place::new();
    let server = place.serve();
    let remote = Remote::of(&server);
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let file = place.path("canvas.json");
    remote.succeeds(&["sessions", "export", "table", "--at", "3", "--out", &file]);

    for session in ["ü copy", "a/b"] {
        let out = remote.succeeds(&["sessions", "import", session, &file]);
        assert!(out.contains("has 2 items") && out.contains("change 2"), "{out}");
        assert_eq!(remote.exported(&[session]), canvases[3]);
    }
    let mut bob = Client::join(&server, "ü copy", "bob");
    assert_eq!(bob.items(), canvases[3]);
    let line = remote.fails(&["sessions", "import", "table", &file]);
    assert!(line.contains("--replace"), "{line}");
    remote.succeeds(&["sessions", "import", "table", &file, "--replace"]);
    assert_eq!(restored(&mut alice), canvases[3]);
    assert_eq!(remote.exported(&["table", "--at", "4"]), canvases[4]);

    // Somebody is in it, though nothing was done there yet.
    let _eve = Client::join(&server, "empty", "eve");
    remote.fails(&["sessions", "import", "empty", &file]);
    fs::write(&file, "{\"items\":[{\"name\":\"SECRET\"}]}").expect("written");
    let line = remote.fails(&["sessions", "import", "new", &file]);
    assert!(line.contains("canvas.json is no canvas") && !line.contains("SECRET"), "{line}");
    remote.fails(&["sessions", "import", "new", &place.path("none")]);
}

#[test]
fn a_canvas_that_was_fetched_brings_nothing_of_where_it_is_from() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    story(&mut alice);
    let fetched = get(&server, "/api/sessions/table/state");
    assert_eq!((&fetched["session_id"], &fetched["seq"]), (&"table".into(), &4.into()));
    let put = status(&server, "PUT /api/sessions/copy/state", "", &fetched.to_string());
    assert_eq!(put, 201);
    let mut bob = Client::join(&server, "copy", "bob");
    let document = bob.document();
    let fields: Vec<&String> = document.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["items", "timestamp", "version"]);
    assert_eq!(document["items"], fetched["items"]);
}

#[test]
fn a_session_is_deleted_when_everybody_has_left() {
    let place = Place::new();
    let server = place.serve();
    let remote = Remote::of(&server);
    let mut alice = Client::join(&server, "table", "alice");
    story(&mut alice);
    let line = remote.fails(&["sessions", "delete", "table", "--yes"]);
    assert!(line.contains("when they have left"), "{line}");
    assert_eq!(status(&server, "DELETE /api/sessions/table", "", ""), 409);
    confirmed(&mut alice, move_to("a", 1.0));
    alice.leave();
    let run = remote.run(&["sessions", "delete", "table"]);
    assert_eq!(run.code, Some(2), "{}", run.err);
    let out = remote.succeeds(&["sessions", "delete", "table", "--yes"]);
    assert!(out.contains("all its versions are gone"), "{out}");
    remote.fails(&["sessions", "delete", "table", "--yes"]);
    remote.fails(&["sessions", "show", "table"]);
    let bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.ack()["seq"], 0);
}

#[test]
fn who_views_a_session_sees_what_is_restored_and_when_it_is_deleted() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let mut viewer = Wire::upgrade(&server, "/view/table");
    let mut shown = |seq: u64| loop {
        let message = viewer.next();
        if message["type"] == "sync:state" && message["seq"] == seq {
            return canvas_items(&message["state"]);
        }
    };
    assert_eq!(shown(4), canvases[4]);
    Remote::of(&server).succeeds(&["sessions", "restore", "table", "--to", "2"]);
    assert_eq!(shown(6), canvases[2]);
    assert_eq!(restored(&mut alice), canvases[2]);
    alice.leave();
    Remote::of(&server).succeeds(&["sessions", "delete", "table", "--yes"]);
    assert_eq!(viewer.closed(), (1000, "the session has ended".into()));
}

#[test]
fn compacting_goes_on_beside_people_who_work() {
    let place = Place::new();
    let server = place.serve();
    let remote = Remote::of(&server);
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let out = remote.succeeds(&["sessions", "compact"]);
    assert!(out.starts_with("1 of 1 sessions are compact"), "{out}");
    assert_eq!(confirmed(&mut alice, move_to("a", 3.0)), 5);
    for (seq, canvas) in canvases.iter().enumerate() {
        assert_eq!(remote.exported(&["table", "--at", &seq.to_string()]), *canvas, "{seq}");
    }
    remote.succeeds(&["sessions", "restore", "table", "--to", "1"]);
    assert_eq!(restored(&mut alice), canvases[1]);
    remote.succeeds(&["sessions", "compact", "table", "--keep-versions", "1"]);
    let versions = get(&server, "/api/sessions/table/versions");
    assert_eq!(versions["versions"].as_array().expect("a list").len(), 1);
    assert_eq!(remote.exported(&["table"]), canvases[1]);
    let line = remote.fails(&["sessions", "compact", "none"]);
    assert!(line.contains("there is no session \"none\""), "{line}");
    assert_eq!(confirmed(&mut alice, move_to("a", 4.0)), 7);
}

#[test]
fn compacting_makes_the_file_no_larger_while_somebody_edits() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let items: Vec<Value> = (0..300)
        .map(|n| json!({"uuid": format!("i{n}"), "x_mm": 1.0, "text": "x".repeat(1000)}))
        .collect();
    confirmed(&mut alice, json!({"type": "sync:update", "state": {"items": items}}));
    let compact = || {
        let answer = ask(&server, "POST /api/compact", "", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let told: Value = serde_json::from_str(&answer.body).expect("JSON");
        ["bytes_before", "bytes_after"].map(|key| told[key].as_u64().expect("a number"))
    };
    let [_, first] = compact();
    for round in 0..5 {
        confirmed(&mut alice, move_to("i0", f64::from(round)));
        let [before, after] = compact();
        assert!(after <= before, "{after} after {before}");
        assert!(after < first + 100_000, "{after} where {first} were");
    }
}

/// An editor shows both of two items with one id when it opens such a file; neither is lost.
#[test]
fn items_of_a_file_that_share_an_id_are_all_taken_and_the_answer_says_so() {
    let twin = |id: &str, n: u32| json!({"_type": "component", "item_uuid": id, "n": n});
    let canvas = json!({"version": "2.0", "items": [twin("a", 1), twin("b", 2), twin("a", 3)]});
    let expected = |items: Vec<Value>| {
        let found: Vec<_> = items
            .iter()
            .map(|item| (item["item_uuid"].as_str().expect("text").to_owned(), item["n"].clone()))
            .collect();
        let expected = [("a", 1), ("b", 2), ("a-2", 3)].map(|(id, n)| (id.to_owned(), json!(n)));
        assert_eq!(found, expected);
    };
    let place = Place::new();
    for stores in [true, false] {
        let server = if stores { place.serve() } else { Server::start(&[]) };
        let json = "Content-Type: application/json\r\n";
        let put = "PUT /api/sessions/table/state";
        let answer = ask(&server, put, json, &canvas.to_string());
        if !stores && answer.status == 404 {
            continue;
        }
        let said: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!((answer.status, &said["items"]), (201, &json!(3)), "{said}");
        assert_eq!(said["renamed"], json!([{"item_id": "a", "new_id": "a-2"}]));
        expected(canvas_items(&get(&server, "/api/sessions/table/state")));
        let file = place.path("twins.json");
        std::fs::write(&file, canvas.to_string()).expect("written");
        let out = Remote::of(&server).succeeds(&["sessions", "import", "copy", &file]);
        assert!(
            out.contains("several items are called \"a\": one of them is now \"a-2\""),
            "{out}"
        );
        server.signal("TERM");
    }
    let file = place.path("twins.json");
    let out = place.succeeds(&["sessions", "import", "alone", &file]);
    assert!(out.contains("one of them is now \"a-2\""), "{out}");
    expected(place.exported(&["alone"]));
}

/// A version says what made it.
#[test]
fn an_import_is_not_called_a_restoration() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    story(&mut alice);
    let canvas = json!({"items": [{"_type": "component", "item_uuid": "new"}]}).to_string();
    let answer = ask(&server, "PUT /api/sessions/table/state?replace=1", "", &canvas);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let details = get(&server, "/api/sessions/table");
    let last = details["recent"].as_array().and_then(|recent| recent.last()).expect("something");
    assert_eq!(last["action"], "import");
    Remote::of(&server).succeeds(&["sessions", "restore", "table", "--to", "2"]);
    stop(server);
    let file = place.path("canvas.json");
    std::fs::write(&file, &canvas).expect("written");
    place.succeeds(&["sessions", "import", "table", &file, "--replace"]);
    let server = place.serve();
    let versions = get(&server, "/api/sessions/table/versions");
    let versions = versions["versions"].as_array().expect("a list");
    let whys: Vec<&str> =
        versions.iter().map(|version| version["why"].as_str().expect("text")).collect();
    assert_eq!(whys, ["regular", "imported", "restored", "imported"]);
}

#[test]
fn a_damaged_session_is_restored_while_the_server_runs() {
    let place = Place::new();
    let server = place.serve();
    let canvases = story(&mut Client::join(&server, "table", "alice"));
    stop(server);
    let file = PathBuf::from(place.data()).join("collabd.db");
    let db = rusqlite::Connection::open(file).expect("a database");
    db.execute("UPDATE changes SET message = '{}' WHERE seq = 3", []).expect("written");
    drop(db);
    let server = place.serve();
    let remote = Remote::of(&server);
    let list = remote.succeeds(&["sessions", "list"]);
    assert!(list.contains("table  damaged"), "{list}");
    let line = remote.fails(&["sessions", "export", "table"]);
    assert!(line.contains("restore one of its versions"), "{line}");
    remote.fails(&["sessions", "restore", "table", "--to", "4"]);
    let compact = remote.run(&["sessions", "compact"]);
    assert_eq!(compact.code, Some(1), "{}", compact.err);
    assert!(compact.err.contains("session \"table\" is left as it is"), "{}", compact.err);
    let out = remote.succeeds(&["sessions", "restore", "table", "--to", "2"]);
    assert!(out.contains("could not be read"), "{out}");
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!((bob.ack()["seq"].clone(), bob.items()), (json!(5), canvases[2].clone()));
    assert_eq!(confirmed(&mut bob, add("new", json!({}))), 6);
    kill(server);
    assert_eq!(place.exported(&["table"]).len(), 3);
}

/// A key of a key file, made by the command.
fn key(file: &str, name: &str, more: &[&str]) -> String {
    let run = Run::of(collabd(&[&["key", "new", "--name", name, "--file", file], more].concat()));
    assert_eq!(run.code, Some(0), "{}", run.err);
    run.out.trim_end().to_owned()
}

#[test]
fn with_keys_an_admin_changes_and_who_may_come_in_looks() {
    let place = Place::new();
    let file = place.path("keys.json");
    let [read, write] = ["read", "write"].map(|level| key(&file, level, &["--level", level]));
    let admin = key(&file, "admin", &["--level", "admin"]);
    let narrow = key(&file, "narrow", &["--level", "admin", "--sessions", "table"]);
    let data = place.data();
    let canvas = place.path("canvas.json");
    fs::write(&canvas, json!({"items": [{"uuid": "x"}]}).to_string()).expect("written");

    let server = Server::start(&["--data-dir", &data, "--keys", &file]);
    for session in ["table", "other"] {
        confirmed(&mut Client::join(&server, session, "alice"), add("a", json!({})));
    }
    let everything: [&[&str]; 5] = [
        &["restore", "table", "--to", "1"],
        &["import", "table", &canvas, "--replace"],
        &["import", "new", &canvas],
        &["compact"],
        &["delete", "other", "--yes"],
    ];
    for words in everything {
        let words = [&["sessions"], words].concat();
        let line = Remote::of(&server).fails(&words);
        assert!(line.contains("--key or COLLABD_KEY"), "{line}");
        for (wrong, status) in [(&*read, "403"), (&write, "403"), ("no-such-key", "401")] {
            let line = Remote::with(&server, wrong).fails(&words);
            assert!(line.contains(status) && !line.contains(wrong), "{line}");
        }
    }
    // Sessions ask for none, and so nobody needs one who looks.
    Remote::of(&server).succeeds(&["sessions", "list"]);
    let one = Remote::with(&server, &narrow);
    one.succeeds(&["sessions", "restore", "table", "--to", "1"]);
    one.succeeds(&["sessions", "compact", "table"]);
    one.fails(&["sessions", "compact"]);
    one.fails(&["sessions", "delete", "other", "--yes"]);
    for words in everything {
        Remote::with(&server, &admin).succeeds(&[&["sessions"], words].concat());
    }
    // In the address, as an editor has it.
    let keyed = Remote { url: format!("ws://{}/key/{admin}", server.addr()), key: None };
    keyed.succeeds(&["sessions", "delete", "new", "--yes"]);
    drop(server);

    let server = Server::start(&["--data-dir", &data, "--keys", &file, "--require-key"]);
    Remote::of(&server).fails(&["sessions", "list"]);
    Remote::with(&server, &read).succeeds(&["sessions", "show", "table"]);
    Remote::with(&server, &admin).succeeds(&["sessions", "import", "second", &canvas]);
    let list = Remote::with(&server, &narrow).succeeds(&["sessions", "list"]);
    assert!(list.contains("table") && !list.contains("second"), "{list}");
    let line = Remote::with(&server, &narrow).fails(&["sessions", "export", "second"]);
    assert!(line.contains("403"), "{line}");
    for what in ["GET /api/stored", "GET /api/sessions/none/state", "DELETE /api/sessions/table"] {
        assert_eq!(status(&server, what, "", ""), 401, "{what}");
    }
}

#[test]
fn without_keys_only_who_is_on_this_machine_changes_anything() {
    let place = Place::new();
    let data = place.data();
    let server = Server::start(&["--data-dir", &data, "--trust-proxy", "127.0.0.1"]);
    confirmed(&mut Client::join(&server, "table", "alice"), add("a", json!({})));
    for headers in [
        "X-Forwarded-For: 192.0.2.7\r\n",
        // It is somebody's word that this is so.
        "X-Forwarded-For: 127.0.0.1\r\n",
        "Forwarded: for=127.0.0.1\r\n",
        "X-Real-IP: 127.0.0.1\r\n",
        "Via: 1.1 proxy\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-FORWARDED-Anything: \r\n",
        "CF-Connecting-IP: 192.0.2.7\r\n",
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
    ] {
        for what in [
            "POST /api/sessions/table/restore?to=0",
            "DELETE /api/sessions/table",
            "POST /api/compact",
        ] {
            assert_eq!(status(&server, what, headers, ""), 403, "{what} {headers}");
        }
        let put = status(&server, "PUT /api/sessions/new/state", headers, r#"{"items":[]}"#);
        assert_eq!(put, 403, "{headers}");
    }
    assert_eq!(get(&server, "/api/stored")["total"], 1);
    let here = "Origin: http://localhost:3000\r\n";
    let restored = ask(&server, "POST /api/sessions/table/restore?to=0", here, "");
    assert_eq!(restored.status, 200, "{}", restored.body);
    assert_eq!(
        restored.header("access-control-allow-origin"),
        Some("http://localhost:3000"),
        "{restored:?}"
    );
    let asked = ask(&server, "OPTIONS /api/sessions/table/state", here, "");
    assert_eq!(
        (asked.status, asked.header("access-control-allow-methods")),
        (204, Some("GET, HEAD, PUT"))
    );
    assert_eq!(asked.header("access-control-allow-headers"), Some("authorization, content-type"));
    let elsewhere = "Origin: http://evil.example\r\n";
    assert_eq!(status(&server, "OPTIONS /api/sessions/table/state", elsewhere, ""), 403);
    // Keys that everybody knows are none.
    let server = Server::start(&["--data-dir", &place.path("more"), "--dev-keys"]);
    assert_eq!(status(&server, "PUT /api/sessions/new/state", "", r#"{"items":[]}"#), 201);
    // It is there now, though nothing is in it.
    for items in [r#"{"items":[]}"#, r#"{"items":[],"zoom":1}"#, r#"{"items":[]}"#] {
        assert_eq!(status(&server, "PUT /api/sessions/new/state", "", items), 409);
        assert_eq!(status(&server, "PUT /api/sessions/new/state?replace=1", "", items), 200);
    }
    // A name that leads here is not this machine's word for itself.
    let named = "DELETE /api/sessions/new HTTP/1.1\r\nHost: NAME\r\n\r\n";
    for (name, expected) in
        [("192.0.2.7", 403), ("evil.example", 421), ("localhost:1", 200), ("[::1]", 404)]
    {
        let answer = Wire::ask(&server, &named.replace("NAME", name));
        assert_eq!(answer.status, expected, "{name}");
    }
    let unnamed = "DELETE /api/sessions/new HTTP/1.0\r\n\r\n";
    assert_eq!(Wire::ask(&server, unnamed).status, 403);
}

/// Sends these bytes, one piece after the other, and returns the answer's status.
fn pieces(server: &Server, pieces: &[&[u8]]) -> u16 {
    let mut wire = Wire::open(server);
    pieces.iter().for_each(|piece| wire.write(piece));
    wire.head().status
}

#[test]
fn a_body_has_a_length_a_bound_and_a_time() {
    let place = Place::new();
    let data = place.data();
    let bounds = ["--max-message-bytes", "2KiB", "--max-document-bytes", "1KiB"];
    let timeout = ["--handshake-timeout", "1", "--queue-bytes", "64KiB"];
    let server =
        Server::start(&[&["--data-dir", &data, "--no-settle"], &bounds[..], &timeout].concat());
    let canvas = |size: usize| {
        let bare = json!({"items": [{"uuid": "a", "text": ""}]}).to_string().len();
        json!({"items": [{"uuid": "a", "text": "x".repeat(size - bare)}]}).to_string()
    };
    let put = |headers: &str, body: &[u8]| {
        let head = format!(
            "PUT /api/sessions/s/state?replace=1 HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
        );
        pieces(&server, &[head.as_bytes(), body])
    };
    assert_eq!(put("", b"{}"), 411);
    assert_eq!(put("Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"), 411);
    assert_eq!(put("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"{}"), 400);
    assert_eq!(put("Content-Length: 2\r\nContent-Length: 2\r\n", b"{}"), 400);
    assert_eq!(put("Content-Length: 2x\r\n", b"{}"), 400);
    assert_eq!(put("Content-Length: -2\r\n", b"{}"), 400);
    assert_eq!(put("Content-Length: 99999999999999999999999\r\n", b"{}"), 413);
    assert_eq!(put("Content-Length: 2049\r\n", canvas(2049).as_bytes()), 413);
    // Taken whole, and then too large for a document; or not.
    assert_eq!(put("Content-Length: 2048\r\n", canvas(2048).as_bytes()), 413);
    assert_eq!(put("Content-Length: 900\r\n", canvas(900).as_bytes()), 201);
    assert_eq!(put("Content-Length: 900\r\n", canvas(900).as_bytes()), 200);
    assert_eq!(put("Content-Length: 0\r\n", b""), 400);
    assert_eq!(put("Content-Length: 1\r\n", b"\xff"), 400);
    assert_eq!(put("Content-Length: 4\r\n", b"null"), 400);
    let bom = "\u{feff}{\"items\":[]}";
    assert_eq!(put(&format!("Content-Length: {}\r\n", bom.len()), bom.as_bytes()), 200);
    let deep = "[".repeat(2000);
    assert_eq!(put("Content-Length: 2000\r\n", deep.as_bytes()), 400);
    // What comes after it is nobody's.
    assert_eq!(put("Content-Length: 12\r\n", b"{\"items\":[]}GET / HTTP/1.1\r\n\r\n"), 200);
    // One that never comes, or not all of it.
    assert_eq!(put("Content-Length: 12\r\n", b""), 408);
    assert_eq!(put("Content-Length: 12\r\n", b"{\"items\":[]"), 408);
    let post = "POST /api/compact HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(pieces(&server, &[post.as_bytes()]), 413);
    let chunked =
        "DELETE /api/sessions/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(pieces(&server, &[chunked.as_bytes()]), 411);

    // Who asks beforehand is told to go on, and not where it is refused.
    let expects = |length: usize| {
        format!(
            "PUT /api/sessions/t/state HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    let mut wire = Wire::open(&server);
    wire.write(expects(12));
    assert_eq!(wire.head().status, 100);
    wire.write("{\"items\":[]}");
    assert_eq!(wire.refusal().status, 201);
    assert_eq!(pieces(&server, &[expects(9999).as_bytes()]), 413);
    // Whoever leaves amid it leaves nothing behind.
    let mut gone = TcpStream::connect(server.addr()).expect("the server accepts");
    gone.write_all(expects(12).as_bytes()).expect("sent");
    gone.shutdown(std::net::Shutdown::Write).expect("a socket");
    let mut answer = String::new();
    gone.read_to_string(&mut answer).expect("text");
    assert!(answer.contains("400 Bad Request"), "{answer}");
    assert_eq!(
        get(&server, "/api/sessions/t/versions")["seq"],
        0,
        "an empty canvas has no changes"
    );
}

#[test]
fn nothing_is_changed_while_the_disk_fails_and_an_answer_waits_for_it() {
    let place = Place::new();
    let server = place.serve();
    let remote = Remote::of(&server);
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    confirmed(&mut Client::join(&server, "other", "eve"), add("a", json!({})));
    let file = PathBuf::from(place.data()).join("collabd.db");
    let other = rusqlite::Connection::open(file).expect("a database");

    // Another program holds the file, so that what is restored can't be written.
    other.execute_batch("BEGIN IMMEDIATE").expect("it is free");
    let asking = TcpStream::connect(server.addr()).expect("the server accepts");
    let mut wire = Wire::on(asking.try_clone().expect("a socket"));
    wire.write("POST /api/sessions/table/restore?to=2 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    alice.expect_command("update_item", "a");
    alice.expect_command("add_item", "b");
    alice.expect_error("not_durable");
    assert_eq!(alice.items(), canvases[2]);
    for what in
        ["POST /api/sessions/table/restore?to=1", "DELETE /api/sessions/other", "POST /api/compact"]
    {
        assert_eq!(status(&server, what, "", ""), 503, "{what}");
    }
    assert_eq!(status(&server, "PUT /api/sessions/new/state", "", r#"{"items":[]}"#), 503);
    let line = remote.fails(&["sessions", "restore", "table", "--to", "1"]);
    assert!(line.contains("can't write to its disk"), "{line}");
    assert_eq!(get(&server, "/api/sessions/table/versions")["seq"], 4, "it is not there yet");
    asking.set_nonblocking(true).expect("a socket");
    let early = asking.peek(&mut [0]).expect_err("no answer before it is on disk");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    asking.set_nonblocking(false).expect("a socket");

    other.execute_batch("ROLLBACK").expect("it was held");
    let answer = wire.refusal();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((&answer["seq"], &answer["restored_to"]), (&json!(6), &json!(2)));
    assert_eq!(get(&server, "/api/sessions/table/versions")["seq"], 6);
    remote.succeeds(&["sessions", "delete", "other", "--yes"]);
}

#[test]
fn what_is_no_collabd_is_said_in_a_line() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = silent.local_addr().expect("an address");
    drop(silent);
    let nobody = Remote { url: format!("http://{addr}"), key: Some("hunter2".into()) };
    let line = nobody.fails(&["sessions", "list"]);
    assert!(line.contains("nothing listens") && !line.contains("hunter2"), "{line}");
    let run = Run::of(collabd(&["sessions", "list", "--server", "https://hunter2"]));
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("TLS") && !run.err.contains("hunter2"), "{}", run.err);
    let echo = Server::spawn(collabd(&["echo", "--host", "127.0.0.1", "--port", "0"]));
    let line = Remote::of(&echo).fails(&["sessions", "list"]);
    assert!(line.contains("says"), "{line}");
}
