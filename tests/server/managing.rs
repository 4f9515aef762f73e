//! What an operator does to sessions through the API of a running server, stored or in memory.

#![cfg(all(unix, feature = "durable"))]

use serde_json::{Value, json};

use crate::support::{
    Client, Place, Response, Run, Server, Wire, add, canvas_items, collabd, confirmed, move_to,
    number, remove, with_id,
};

fn ask(server: &Server, what: &str, headers: &str) -> Response {
    Wire::ask(server, &format!("{what} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
}

fn put(server: &Server, path: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
    Wire::ask(server, &format!("{head}\r\n\r\n{body}"))
}

/// The answer to a request that does what it is asked.
fn done(server: &Server, what: &str) -> Value {
    let answer = ask(server, what, "");
    assert!(matches!(answer.status, 200 | 201), "{what}: {}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// The status of a refusal, and its line.
fn refused(server: &Server, what: &str) -> (u16, String) {
    let answer = ask(server, what, "");
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    (answer.status, body["error"]["message"].as_str().expect("a line").to_owned())
}

fn canvas(server: &Server, session: &str) -> Value {
    done(server, &format!("GET /api/sessions/{session}/state"))
}

/// A server that stores sessions, and one that doesn't.
fn servers(place: &Place) -> [Server; 2] {
    [place.serve(), Server::start(&["--no-settle"])]
}

#[test]
fn a_session_is_renamed_when_everybody_has_left() {
    let place = Place::new();
    for server in servers(&place) {
        let mut alice = Client::join(&server, "old", "alice");
        confirmed(&mut alice, add("a", json!({"x_mm": 1.50})));
        let epoch = alice.ack()["epoch"].clone();
        let (status, line) = refused(&server, "POST /api/sessions/old/rename?to=new");
        assert_eq!(status, 409);
        assert!(line.contains("renamed when they have left"), "{line}");
        alice.leave();
        let told = done(&server, "POST /api/sessions/old/rename?to=b%20%C3%BC");
        assert_eq!(told, json!({"session_id": "b ü", "renamed_from": "old"}));
        let renamed = canvas(&server, "b%20%C3%BC");
        assert_eq!((&renamed["items"][0]["x_mm"], &renamed["epoch"]), (&json!(1.5), &epoch));
        assert_eq!(ask(&server, "GET /api/sessions/old/state", "").status, 404);
        // It goes on with its numbers, and the old name begins anew.
        let mut bob = Client::join(&server, "b ü", "bob");
        assert_eq!((&bob.ack()["seq"], &bob.ack()["epoch"]), (&json!(1), &epoch));
        assert_eq!(confirmed(&mut bob, move_to("a", 2.0)), 2);
        let eve = Client::join(&server, "old", "eve");
        assert_eq!(eve.ack()["seq"], 0);
        assert_eq!(refused(&server, "POST /api/sessions/none/rename?to=x").0, 404);
        for bad in
            ["", "?to=", "?to=a%0Ab", "?to=%ff", "?to=%zz", &format!("?to={}", "x".repeat(129))]
        {
            let (status, line) = refused(&server, &format!("POST /api/sessions/old/rename{bad}"));
            assert_eq!(status, 400, "{bad}");
            assert!(line.contains("1 to 128 characters"), "{line}");
        }
    }
}

#[test]
fn a_renamed_session_is_on_disk_with_its_versions_and_history() {
    let place = Place::new();
    let mut server = place.serve();
    let mut alice = Client::join(&server, "old", "alice");
    confirmed(&mut alice, add("a", json!({})));
    let state = json!({"type": "sync:update", "state": {"items": [], "version": 1}});
    confirmed(&mut alice, state);
    alice.leave();
    done(&server, "POST /api/sessions/old/rename?to=new");
    server.signal("KILL");
    server.wait();
    let server = place.serve();
    let versions = done(&server, "GET /api/sessions/new/versions");
    assert_eq!((&versions["seq"], &versions["session"]["session_id"]), (&json!(2), &json!("new")));
    assert!(versions["versions"].as_array().is_some_and(|all| all.len() >= 2), "{versions}");
    let changes = done(&server, "GET /api/sessions/new/changes");
    assert_eq!(changes["changes"].as_array().map(Vec::len), Some(2));
    done(&server, "POST /api/sessions/new/restore?to=1");
    assert_eq!(canvas(&server, "new")["items"][0]["uuid"], "a");
    assert_eq!(done(&server, "GET /api/stored")["total"], 1);
    // Which can be done with it as with any other.
    done(&server, "POST /api/sessions/new/rename?to=old");
    assert_eq!(done(&server, "DELETE /api/sessions/old")["deleted"], true);
}

#[test]
fn a_copy_has_the_canvas_and_a_past_of_its_own() {
    let place = Place::new();
    for server in servers(&place) {
        // Also while somebody is in it.
        let mut alice = Client::join(&server, "table", "alice");
        let texts =
            json!({"items": [{"uuid": "a", "x_mm": 1.5}], "version": 1, "texts": [{"t": 1}]});
        confirmed(&mut alice, json!({"type": "sync:update", "state": texts}));
        confirmed(&mut alice, move_to("a", 2.0));
        let told = done(&server, "POST /api/sessions/table/copy?to=second");
        assert_eq!(
            (&told["session_id"], &told["copied_from"], &told["items"], &told["seq"]),
            (&json!("second"), &json!("table"), &json!(1), &json!(1))
        );
        let [first, second] = ["table", "second"].map(|name| canvas(&server, name));
        assert_eq!(first["items"], second["items"]);
        assert_eq!((&first["texts"], &second["texts"]), (&json!([{"t": 1}]), &json!([{"t": 1}])));
        assert_ne!(first["epoch"], second["epoch"]);
        let (status, line) = refused(&server, "POST /api/sessions/table/copy?to=second");
        assert_eq!((status, line.contains("another name")), (409, true), "{line}");
        assert_eq!(refused(&server, "POST /api/sessions/none/copy?to=third").0, 404);
        // The one is not changed with the other.
        confirmed(&mut Client::join(&server, "second", "bob"), move_to("a", 9.0));
        assert_eq!(canvas(&server, "table")["items"][0]["x_mm"], 2.0);
    }
    // And of a stored session that is not in memory.
    let server = place.serve();
    done(&server, "POST /api/sessions/table/copy?to=third");
    assert_eq!(canvas(&server, "third")["items"], canvas(&server, "table")["items"]);
}

#[test]
fn a_removed_item_is_brought_back() {
    let place = Place::new();
    for server in servers(&place) {
        let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
        let id = "a/b \u{7f} ü";
        confirmed(&mut alice, add(id, json!({"x_mm": 1.50})));
        let before = canvas_items(&canvas(&server, "table"));
        confirmed(&mut alice, remove(id));
        let path = "/api/sessions/table/items/a%2Fb%20%7F%20%C3%BC/restore";
        let told = done(&server, &format!("POST {path}"));
        assert_eq!((&told["item_id"], &told["seq"]), (&json!(id), &json!(3)));
        bob.expect_command("add_item", id);
        bob.expect_command("remove_item", id);
        let added = bob.expect_command("add_item", id);
        assert_eq!(added["user_id"], "collabd");
        assert_eq!(canvas_items(&canvas(&server, "table")), before);
        assert_eq!(refused(&server, &format!("POST {path}")).0, 409);
        assert_eq!(refused(&server, "POST /api/sessions/table/items/x/restore").0, 404);
        assert_eq!(refused(&server, "POST /api/sessions/none/items/x/restore").0, 404);
        let too_long = "x".repeat(1025);
        let path = format!("POST /api/sessions/table/items/{too_long}/restore");
        assert_eq!(refused(&server, &path).0, 404);
    }
}

#[test]
fn an_operator_ends_a_connection() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    let about = done(&server, "GET /api/sessions/table");
    let member = about["members"].as_array().expect("members");
    let member = member.iter().find(|member| member["user_id"] == "bob").expect("she is there");
    let number = member["connection"].as_u64().expect("a number");
    let told = done(&server, &format!("DELETE /api/connections/{number}"));
    assert_eq!(told, json!({"connection": number, "ended": true}));
    assert_eq!(bob.closed_after_all(), (1008, "ended by the operator of this server".into()));
    assert_eq!(alice.expect("user:left")["user_id"], "bob");
    server.wait_for_log(&format!("c{number}: ended by a program on this machine"));
    for none in [number.to_string(), "0".into(), "x".into(), "99999999999999999999".into()] {
        assert_eq!(refused(&server, &format!("DELETE /api/connections/{none}")).0, 404, "{none}");
    }
    // Nothing keeps her out.
    Client::join(&server, "table", "bob");
}

#[test]
fn a_canvas_comes_to_a_server_that_stores_nothing_and_goes_again() {
    let server = Server::start(&["--no-settle"]);
    let file = r#"{"version":"2.0","items":[{"item_uuid":"a","_type":"source","x_mm":1.50}]}"#;
    assert_eq!(put(&server, "/api/sessions/table/state", file).status, 201);
    assert_eq!(put(&server, "/api/sessions/table/state", file).status, 409);
    assert_eq!(put(&server, "/api/sessions/table/state?replace=1", file).status, 200);
    let mut alice = Client::join(&server, "table", "alice");
    assert_eq!(alice.items()[0]["x_mm"], 1.5);
    assert_eq!(refused(&server, "DELETE /api/sessions/table").0, 409);
    alice.leave();
    done(&server, "DELETE /api/sessions/table");
    assert_eq!(refused(&server, "DELETE /api/sessions/table").0, 404);
}

fn key(file: &str, name: &str, more: &[&str]) -> String {
    let run = Run::of(collabd(&[&["key", "new", "--name", name, "--file", file], more].concat()));
    assert_eq!(run.code, Some(0), "{}", run.err);
    run.out.trim_end().to_owned()
}

/// Sends a message and reads up to its confirmation.
fn heard(client: &mut Client, message: Value) {
    client.send(with_id(message, number()));
    while client.next()["type"] != "message_delivered" {}
}

#[test]
fn only_an_admin_whose_key_opens_both_names_renames_and_copies() {
    let place = Place::new();
    let file = place.path("keys.json");
    let [write, admin] = ["write", "admin"].map(|level| key(&file, level, &["--level", level]));
    let narrow = key(&file, "narrow", &["--level", "admin", "--sessions", "table,second"]);
    let server = Server::start(&["--keys", &file]);
    confirmed(&mut Client::join(&server, "table", "alice"), add("a", json!({})));
    let with = |key: &str| format!("Authorization: Bearer {key}\r\n");
    let may = |headers: &str, query: &str| {
        let about = ask(&server, &format!("GET /api/server{query}"), headers);
        let about: Value = serde_json::from_str(&about.body).expect("JSON");
        about["may_administer"].as_bool().expect("a bool")
    };
    assert!(may(&with(&admin), "") && may(&with(&admin), "?session=table"));
    assert!(!may(&with(&narrow), "") && may(&with(&narrow), "?session=table"));
    assert!(!may(&with(&narrow), "?session=other"));
    assert!(!may(&with(&write), "") && !may("", "") && !may(&with("wrong"), ""));
    for (what, keys) in [
        ("POST /api/sessions/table/copy?to=other", [401, 403, 403]),
        ("POST /api/sessions/table/rename?to=other", [401, 403, 403]),
        ("DELETE /api/connections/1", [401, 403, 403]),
        ("POST /api/sessions/table/items/x/restore", [401, 403, 404]),
        ("POST /api/sessions/table/copy?to=second", [401, 403, 201]),
    ] {
        let given = ["".to_owned(), with(&write), with(&narrow)];
        for (headers, expected) in given.iter().zip(keys) {
            assert_eq!(ask(&server, what, headers).status, expected, "{what} {headers}");
        }
    }
    // Wrong keys are counted here as anywhere: it is no way to try many.
    for _ in 0..9 {
        assert!(!may(&with("wrong"), ""));
    }
    assert!(!may(&with(&admin), ""), "this address is locked out for a minute");
}

#[test]
fn pages_from_elsewhere_and_proxies_manage_nothing() {
    let server = Server::start(&["--no-settle"]);
    confirmed(&mut Client::join(&server, "table", "alice"), add("a", json!({})));
    assert_eq!(done(&server, "GET /api/server")["may_administer"], true);
    for headers in ["X-Forwarded-For: 192.0.2.7\r\n", "Via: 1.1 proxy\r\n"] {
        let about = ask(&server, "GET /api/server", headers).body;
        assert!(about.contains("\"may_administer\":false"), "{about}");
    }
    for headers in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "X-Forwarded-For: 192.0.2.7\r\n",
        "Via: 1.1 proxy\r\n",
    ] {
        for what in [
            "POST /api/sessions/table/copy?to=second",
            "POST /api/sessions/table/rename?to=second",
            "POST /api/sessions/table/items/a/restore",
            "DELETE /api/connections/1",
            "DELETE /api/sessions/table",
        ] {
            assert_eq!(ask(&server, what, headers).status, 403, "{what} {headers}");
        }
    }
}

#[test]
fn the_server_tells_the_addresses_that_it_printed() {
    let mut server = Server::start(&["--no-settle"]);
    let about = done(&server, "GET /api/server");
    assert_eq!(about["addresses"], json!([format!("ws://{}", server.addr())]));
    let command = collabd(&["--host", "0.0.0.0", "--port", "0"]);
    server = Server::spawn(command);
    assert!(server.prints().starts_with("to join, in Optiverse: "));
    let printed =
        std::iter::from_fn(|| Some(server.prints()).filter(|line| line.starts_with("  ")));
    let printed: Vec<String> = printed.map(|line| line.trim().to_owned()).collect();
    assert_eq!(done(&server, "GET /api/server")["addresses"], json!(printed));
    assert!(printed.last().is_some_and(|last| last.contains("127.0.0.1")), "{printed:?}");
}

/// A file as the editor writes it, with all that it has beside items.
fn editors_file() -> Value {
    json!({
        "version": "2.0",
        "items": [
            {"_type": "source", "item_uuid": "s", "x_mm": -400.0, "y_mm": 0.0, "n_rays": 5},
            {"_type": "component", "item_uuid": "l", "x_mm": 1.50, "name": "L2", "interfaces": []},
        ],
        "rulers": [{"point1": [0.0, 1.5], "point2": [2.0, 3.0], "item_uuid": "r"}],
        "texts": [{"text": "mind the \u{fc}\n", "x_mm": 3.0}],
        "rectangles": [{"w": 1.0}],
        "path_measures": [{"segment": 1, "label": ""}],
        "groups": [{"name": "g", "items": ["s", "l"]}],
    })
}

/// Checks that a canvas has what a file has, and of each item all that the file says.
fn assert_has(canvas: &Value, file: &Value) {
    let beside = |canvas: &Value| {
        let mut canvas = canvas.clone();
        let fields = canvas.as_object_mut().expect("an object");
        for name in ["version", "items", "timestamp", "session_id", "epoch", "seq"] {
            fields.remove(name);
        }
        canvas
    };
    assert_eq!(beside(canvas), beside(file));
    let items = |canvas: &Value| canvas["items"].as_array().cloned().expect("a list");
    assert_eq!(items(canvas).len(), items(file).len());
    for (item, written) in items(canvas).iter().zip(items(file)) {
        let mut item = item.as_object().expect("an object").clone();
        assert!(item.remove("uuid").is_some() && item.remove("item_type").is_some());
        assert_eq!(Value::Object(item), written);
    }
}

#[test]
fn a_file_of_the_editor_comes_back_as_it_was_texts_and_all() {
    let place = Place::new();
    let file = editors_file();
    for server in servers(&place) {
        assert_eq!(put(&server, "/api/sessions/table/state", &file.to_string()).status, 201);
        let exported = canvas(&server, "table");
        assert_has(&exported, &file);
        // And what was exported is imported.
        let again = put(&server, "/api/sessions/again/state", &exported.to_string());
        assert_eq!(again.status, 201);
        assert_has(&canvas(&server, "again"), &file);
        // What people do to the items leaves the rest alone, and so does a host's canvas.
        let mut alice = Client::join(&server, "table", "alice");
        heard(&mut alice, move_to("l", 2.0));
        let shown =
            json!([{"uuid": "l", "item_type": "component", "_type": "component", "x_mm": 3.0}]);
        let snapshot = json!({"type": "sync:full_state",
                              "state": {"items": shown, "version": 9, "timestamp": ""}});
        alice.send(snapshot);
        heard(&mut alice, json!({"type": "sync:update", "state": {"items": [], "version": 1}}));
        assert_eq!(canvas(&server, "table")["texts"], file["texts"]);
        // A state that has anything beside its items brings all of that.
        let state = json!({"items": [], "version": 1, "texts": [{"text": "new"}]});
        heard(&mut alice, json!({"type": "sync:update", "state": state}));
        let now = canvas(&server, "table");
        assert_eq!((&now["texts"], now.get("rulers")), (&json!([{"text": "new"}]), None));
        // An import brings exactly what it has.
        let bare = r#"{"version":"2.0","items":[]}"#;
        assert_eq!(put(&server, "/api/sessions/table/state?replace=1", bare).status, 200);
        assert_eq!(canvas(&server, "table").get("texts"), None);
        let versions = done(&server, "GET /api/sessions/table/versions");
        let versions = versions["versions"].as_array().cloned().expect("versions");
        let of_file = versions.iter().find(|version| version["bytes"].as_u64() > Some(600));
        assert!(of_file.is_some(), "what was replaced is a version: {versions:?}");
    }
    // It outlives the server.
    let server = place.serve();
    assert_has(&canvas(&server, "again"), &file);
}

#[test]
fn a_new_design_under_an_old_name_has_no_texts_of_the_one_before() {
    let server = Server::start(&["--no-settle"]);
    let file = editors_file().to_string();
    assert_eq!(put(&server, "/api/sessions/table/state", &file).status, 201);
    let items = json!([{"uuid": "other", "item_type": "source", "_type": "source"}]);
    let mut host = Client::host(&server, "table", "alice", items);
    heard(&mut host, move_to("other", 1.0));
    let now = canvas(&server, "table");
    assert_eq!((now["items"].as_array().map(Vec::len), now.get("texts")), (Some(1), None));
}

#[test]
fn a_file_reaches_people_as_commands() {
    let place = Place::new();
    for server in servers(&place) {
        let mut alice = Client::editor(&server, "table", "alice");
        confirmed(&mut alice, add("mine", json!({"_type": "source", "x_mm": 1})));
        let mut file = editors_file();
        let path = "/api/sessions/table/state?replace=1";
        assert_eq!(put(&server, path, &file.to_string()).status, 200);
        alice.expect_command("add_item", "s");
        alice.expect_command("add_item", "l");
        alice.expect_command("remove_item", "mine");
        file["items"][1]["x_mm"] = json!(7.0);
        assert_eq!(put(&server, path, &file.to_string()).status, 200);
        alice.expect_command("update_item", "l");
        let told = alice.told();
        assert!(told.iter().all(|told| told["type"] != "sync:state"), "{told:?}");
    }
}

#[test]
fn a_key_in_a_file_opens_a_server_for_an_import() {
    let place = Place::new();
    let keys = place.path("keys.json");
    let admin = key(&keys, "admin", &["--level", "admin"]);
    let server = Server::start(&["--no-settle", "--keys", &keys, "--require-key"]);
    let url = format!("http://{}", server.addr());
    let (file, key_file) = (place.path("design.json"), place.path("admin.key"));
    std::fs::write(&file, editors_file().to_string()).expect("written");
    let run = |key_file: &str, key: Option<&str>| {
        let words = ["sessions", "import", "table", &file, "--server", &url, "--replace"];
        let mut command = collabd(&[&words[..], &["--key-file", key_file]].concat());
        key.map(|key| command.env("COLLABD_KEY", key));
        Run::of(command)
    };
    let line = run(&key_file, None).failed(1);
    assert!(line.contains("admin.key") && line.contains("collabd key new"), "{line}");
    for (text, word) in [("", "no key in"), (" \n", "no key in"), ("wrong\n", "401")] {
        std::fs::write(&key_file, text).expect("written");
        let line = run(&key_file, None).failed(1);
        assert!(line.contains(word) && !line.contains("wrong\n"), "{line}");
    }
    let line = run(&keys, None).failed(1);
    assert!(line.contains("a server's key file"), "{line}");
    std::fs::write(&key_file, format!("\n {admin}\r\n")).expect("written");
    // A file that is named counts more than a variable.
    let said = run(&key_file, Some("wrong")).succeeded();
    assert!(said.contains("has 2 items"), "{said}");
}
