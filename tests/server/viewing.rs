//! Viewing a session without being in it, and asking about sessions without a WebSocket.

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{
    Client, Response, Run, SAFETY_NET, Server, Wire, add, collabd, full_state, handshake, move_to,
    nothing_more, with_id,
};

fn ask(server: &Server, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    Wire::ask(server, &request)
}

fn asked(server: &Server, path: &str) -> Value {
    let answer = ask(server, path);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&answer.body).expect("JSON")
}

#[test]
fn a_viewer_is_shown_what_is_there_and_what_happens() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "a table", ["alice", "bob"]);
    alice.send(add("a", json!({"x_mm": 1.50})));
    bob.expect_command("add_item", "a");
    let mut viewer = Client::view(&server, "", "a table");
    let [ack, state] = &viewer.greeting[..] else { panic!("two messages") };
    assert_eq!((&ack["user_id"], &ack["viewer"]), (&Value::Null, &json!(true)));
    assert_eq!((&ack["is_host"], &ack["seq"]), (&json!(false), &json!(1)));
    assert_eq!(ack["users"].as_array().map(Vec::len), Some(2));
    assert_eq!(state["state"]["items"][0]["uuid"], "a");
    nothing_more([&mut alice, &mut bob, &mut viewer]);
    alice.send(move_to("a", 7.0));
    let moved = viewer.expect_command("move_item", "a");
    assert_eq!(moved, bob.expect_command("move_item", "a"));
    bob.send(json!({"type": "cursor", "x": 3}));
    assert_eq!(viewer.expect("cursor")["user_id"], "bob");
    let carol = Client::join(&server, "a table", "carol");
    assert_eq!(viewer.expect("user:joined")["user_id"], "carol");
    carol.leave();
    assert_eq!(viewer.expect("user:left")["user_id"], "carol");
    alice.vanish();
    assert_eq!(viewer.expect("user:left")["user_id"], "alice");
    assert_eq!(viewer.expect("host:changed")["user_id"], "bob");
}

#[test]
fn a_viewer_changes_nothing_and_says_nothing() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut viewer = Client::view(&server, "", "table");
    for (message, kind) in [
        (add("a", json!({})), "command"),
        (json!({"type": "cursor"}), "cursor"),
        (json!({"type": "chat", "text": "hi"}), "chat"),
        (json!({"type": "sync:update", "state": {"items": []}}), "sync:update"),
        (full_state(json!([]), Some("alice")), "sync:full_state"),
    ] {
        viewer.send(message.clone());
        let error = viewer.expect_error("read_only");
        assert_eq!((&error["code"], &error["original_type"]), (&json!(403), &json!(kind)));
        if kind != "sync:full_state" {
            viewer.send(with_id(message, "i7"));
            assert_eq!(viewer.expect_error("read_only")["id"], "i7");
        }
    }
    viewer.send(json!({"type": "command", "command": 7}));
    viewer.expect_error("bad_command");
    viewer.send_text("{");
    viewer.expect_error("bad_json");
    viewer.send(json!({"type": "sync:state"}));
    viewer.expect_error("reserved_type");
    viewer.send(json!({"type": "ping", "id": 1.5, "t": "x"}));
    let pong = viewer.expect("pong");
    assert_eq!((&pong["id"], &pong["t"]), (&json!(1.5), &json!("x")));
    nothing_more([&mut alice, &mut bob, &mut viewer]);
    viewer.send_frame(Message::binary(vec![1, 2]));
    assert_eq!(viewer.closed().0, 1003);
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_viewer_asks_for_the_document_and_for_what_it_missed() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut viewer = Client::view(&server, "", "table");
    for item in ["a", "b", "c"] {
        alice.send(add(item, json!({})));
        bob.expect_command("add_item", item);
        viewer.expect_command("add_item", item);
    }
    assert_eq!(viewer.items().len(), 3);
    let epoch = viewer.ack()["epoch"].clone();
    viewer.send(json!({"type": "sync:request", "epoch": epoch, "since": 1}));
    viewer.expect_command("add_item", "b");
    viewer.expect_command("add_item", "c");
    assert_eq!(viewer.expect("sync:done")["seq"], 3);
}

#[test]
fn a_viewer_with_the_state_of_the_api_is_sent_only_what_came_after_it() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "a table", ["alice", "bob"]);
    let mut add_one = |item| {
        alice.send(add(item, json!({})));
        bob.expect_command("add_item", item);
    };
    add_one("a");
    let state = asked(&server, "/api/sessions/a%20table/state");
    add_one("b");
    add_one("c");
    let epoch = state["epoch"].as_str().expect("a string");
    let since = state["seq"].as_u64().expect("a number");
    let viewer = Client::view_since(&server, "a table", epoch, since);
    let kinds = |viewer: &Client| -> Vec<String> {
        let id = |told: &Value| told["command"]["item_id"].as_str().unwrap_or("").to_owned();
        viewer.greeting.iter().map(|told| format!("{} {}", told["type"], id(told))).collect()
    };
    let missed = ["\"connection:ack\" ", "\"command\" b", "\"command\" c", "\"sync:done\" "];
    assert_eq!(kinds(&viewer), missed);
    // Of another life of the session, or of no change: the whole state.
    for (epoch, since) in [("0", since), (epoch, since + 9)] {
        let viewer = Client::view_since(&server, "a table", epoch, since);
        assert_eq!(kinds(&viewer), ["\"connection:ack\" ", "\"sync:state\" "]);
        assert_eq!(viewer.greeting[1]["state"]["items"].as_array().map(Vec::len), Some(3));
    }
    // Half of it is none; what is no number is refused.
    for (query, status) in
        [("since=1", 101), ("epoch=x", 101), ("epoch=x&since=-1", 400), ("epoch=x&since=", 400)]
    {
        let request = handshake(&format!("/view/a%20table?{query}"));
        assert_eq!(Wire::ask_for(&server, &request), status, "{query}");
    }
}

#[test]
fn what_cannot_be_viewed_is_refused_before_the_upgrade() {
    let server = Server::start(&[]);
    let _alice = Client::join(&server, "table", "alice");
    let refused = |request: &str| {
        let answer = Wire::ask(&server, request);
        assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
        (answer.status, answer.header("allow").map(str::to_owned))
    };
    for path in ["/view/none", "/view/", "/view", "/view/table/alice", "/view/%ff"] {
        assert_eq!(refused(&handshake(path)), (404, None), "{path}");
    }
    assert_eq!(
        refused(&handshake("/view/table").replace("GET", "POST")),
        (405, Some("GET".into()))
    );
    let plain = "GET /view/table HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(refused(plain).0, 426);
    assert_eq!(asked(&server, "/api/sessions")["total"], 1, "nothing was made");
}

#[test]
fn viewing_ends_with_the_session() {
    let server = Server::start(&["--linger", "0"]);
    let alice = Client::join(&server, "table", "alice");
    let mut viewer = Client::view(&server, "", "table");
    alice.leave();
    viewer.expect("user:left");
    assert_eq!(viewer.closed(), (1000, "the session has ended".into()));
    assert_eq!(Wire::ask_for(&server, &handshake("/view/table")), 404);
}

#[test]
fn sessions_are_answered_about_as_json() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "a table", "alice");
    alice.send(with_id(add("a", json!({"x_mm": 1.5, "name": "Lens f=100"})), "i"));
    alice.expect("message_delivered");
    let viewer = Client::view(&server, "", "a table");
    let list = asked(&server, "/api/sessions");
    let [summary] = &list["sessions"].as_array().expect("a list")[..] else { panic!("{list}") };
    let of = |key: &str| &summary[key];
    assert_eq!(
        [of("session_id"), of("seq"), of("items"), of("viewers"), of("member_count"), of("stored")],
        [&json!("a table"), &json!(1), &json!(1), &json!(1), &json!(1), &json!(false)]
    );
    assert_eq!(of("epoch"), &viewer.ack()["epoch"]);
    let member = &summary["members"][0];
    assert_eq!((&member["user_id"], &member["is_host"]), (&json!("alice"), &json!(true)));
    assert!(member["connection"].is_u64() && member["connected_at"].is_string());
    let minutes: Vec<u32> =
        serde_json::from_value(of("changes_per_minute").clone()).expect("numbers");
    assert_eq!((minutes.len(), minutes.iter().sum::<u32>()), (30, 1));
    // Its thread has answered the Ping; the hub may not have heard of it yet.
    let began = std::time::Instant::now();
    let details = loop {
        let details = asked(&server, "/api/sessions/a%20table");
        if details["members"][0]["round_trip_ms"].is_number() {
            break details;
        }
        assert!(began.elapsed() < SAFETY_NET, "{details}");
    };
    let done = &details["recent"][0];
    assert_eq!(
        [&done["user_id"], &done["action"], &done["label"], &done["x_mm"], &done["at"]],
        [&json!("alice"), &json!("add_item"), &json!("Lens f=100"), &json!(1.5), of("changed_at")]
    );
    let state = asked(&server, "/api/sessions/a%20table/state");
    assert_eq!((&state["items"][0]["uuid"], &state["version"]), (&json!("a"), &json!(1)));
    assert_eq!((&state["session_id"], &state["seq"]), (&json!("a table"), &json!(1)));
    for path in ["/api/sessions/none", "/api/sessions/none/state"] {
        assert_eq!(ask(&server, path).status, 404, "{path}");
    }
    assert_eq!(asked(&server, "/api/sessions/")["total"], 1, "a slash too many");
    let post = "POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(Wire::ask(&server, post).status, 405);
    let foreign = "GET /api/sessions HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\nConnection: close\r\n\r\n";
    assert_eq!(Wire::ask(&server, foreign).status, 403);
}

/// A server that asks for keys, and two of them: one to read all, one to read one session.
struct Locked {
    server: Server,
    keys: [String; 2],
    file: std::path::PathBuf,
}

impl Locked {
    fn new() -> Self {
        let name = format!("collabd-viewing-{}.json", std::process::id());
        let file = std::env::temp_dir().join(name);
        let path = file.to_str().expect("UTF-8");
        let make = |name: &str, more: &[&str]| {
            let args = ["key", "new", "--name", name, "--level", "read", "--file", path];
            let run = Run::of(collabd(&[&args, more].concat()));
            assert_eq!(run.code, Some(0), "{}", run.err);
            run.out.trim_end().to_owned()
        };
        let keys = [make("all", &[]), make("one", &["--sessions", "table"])];
        let server = Server::start(&["--require-key", "--keys", path]);
        Locked { server, keys, file }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[test]
fn keys_open_what_they_open_here_too() {
    let locked = Locked::new();
    let (server, [all, one]) = (&locked.server, &locked.keys);
    let _reader = Wire::upgrade(server, &format!("/key/{all}/ws/table/reader"));
    let _other = Wire::upgrade(server, &format!("/key/{all}/ws/bench/reader"));
    let viewer = Client::view(server, &format!("/key/{one}"), "table");
    assert_eq!(viewer.ack()["users"][0]["user_id"], "reader");
    for (path, status) in [
        ("/view/table".to_owned(), 403),
        ("/view/table?key=wrong".into(), 403),
        (format!("/view/bench?key={one}"), 403),
        (format!("/view/none?key={one}"), 403),
        (format!("/view/none?key={all}"), 404),
        (format!("/view/bench?key={all}"), 101),
    ] {
        assert_eq!(Wire::ask_for(server, &handshake(&path)), status, "{path}");
    }
    let with_key = |path: &str, key: &str| {
        let key =
            if key.is_empty() { String::new() } else { format!("Authorization: Bearer {key}\r\n") };
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        Wire::ask(server, &format!("{head}{key}\r\n"))
    };
    for (path, key, status) in [
        ("/api/sessions", "", 401),
        ("/api/sessions", "wrong", 401),
        ("/api/sessions/bench", one, 403),
        ("/api/sessions/none", one, 403),
        ("/api/sessions/none/state", all, 404),
        ("/api/sessions/table/state", one, 200),
    ] {
        assert_eq!(with_key(path, key).status, status, "{path}");
    }
    let listed = |key| -> Value {
        serde_json::from_str(&with_key("/api/sessions", key).body).expect("JSON")
    };
    assert_eq!(listed(all)["total"], 2);
    let list = listed(one);
    assert_eq!((&list["total"], &list["sessions"][0]["session_id"]), (&json!(1), &json!("table")));
    let reader = &list["sessions"][0]["members"][0];
    assert_eq!((&reader["read_only"], &reader["is_host"]), (&json!(true), &json!(false)));
}

/// A directory for a server's data; gone when the test ends.
#[cfg(feature = "durable")]
struct Data(std::path::PathBuf);

#[cfg(feature = "durable")]
impl Data {
    fn new() -> Self {
        let data = std::env::temp_dir().join(format!("collabd-viewing-{}", std::process::id()));
        std::fs::create_dir(&data).expect("a new directory");
        Data(data)
    }

    fn server(&self) -> Server {
        Server::start(&["--linger", "0", "--data-dir", self.0.to_str().expect("UTF-8")])
    }
}

#[cfg(feature = "durable")]
impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
#[cfg(all(feature = "durable", unix))]
fn a_stored_session_is_loaded_for_its_viewers_and_stays() {
    let data = Data::new();
    let mut server = data.server();
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(with_id(add("a", json!({"x_mm": 1})), "i"));
    alice.expect("message_delivered");
    alice.leave();
    server.stop();
    let server = data.server();
    assert_eq!(ask(&server, "/api/sessions/table").status, 404, "it isn't in memory");
    let mut viewer = Client::view(&server, "", "table");
    assert_eq!(viewer.greeting[1]["state"]["items"][0]["uuid"], "a");
    viewer.expect_command("update_item", "a");
    let alice = Client::join(&server, "table", "alice");
    viewer.expect("user:joined");
    viewer.expect("host:changed");
    alice.leave();
    viewer.expect("user:left");
    let details = asked(&server, "/api/sessions/table");
    assert_eq!((&details["stored"], &details["viewers"]), (&json!(true), &json!(1)));
    let _bob = Client::join(&server, "table", "bob");
    assert_eq!(viewer.expect("user:joined")["user_id"], "bob");
    assert_eq!(Wire::ask_for(&server, &handshake("/view/none")), 404);
}
