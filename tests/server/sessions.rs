//! `collabd sessions`: what is stored is looked at while a server runs, and changed when none does.

#![cfg(all(unix, feature = "durable"))]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{
    Client, Place, Run, Server, add, canvas_items as items, collabd, confirmed, item, kill,
    move_to, number, remove, stop, story, update, with_id,
};

/// The same where others are at work, too.
fn until_confirmed(client: &mut Client, message: Value) {
    client.send(with_id(message, "m-".to_owned() + &number().to_string()));
    while client.next()["type"] != "message_delivered" {}
}

#[test]
fn what_is_stored_is_seen_while_the_server_runs() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let mut eve = Client::join(&server, "\u{202e}eve", "eve");
    confirmed(&mut eve, add("a", json!({})));

    let list = place.succeeds(&["sessions", "list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..5], ["NAME", "ITEMS", "SIZE", "CHANGES", "LAST"]);
    assert_eq!(rows.len(), 3, "{list}");
    let row = rows.iter().find(|row| row[0] == "table").expect("the session");
    assert_eq!((row[1], row[4], row[6]), ("1", "4", "alice"), "{list}");
    assert!(
        rows.iter().any(|row| row[0] == "\\u{202e}eve") && !list.contains('\u{202e}'),
        "{list}"
    );

    let show = place.succeeds(&["sessions", "show", "table"]);
    let epoch = alice.ack()["epoch"].as_str().expect("an epoch");
    assert!(show.contains(epoch) && show.contains("by alice"), "{show}");

    for (seq, canvas) in canvases.iter().enumerate() {
        assert_eq!(place.exported(&["table", "--at", &seq.to_string()]), *canvas, "{seq}");
    }
    assert_eq!(place.exported(&["table"]), canvases[4]);
    let file = place.path("canvas.json");
    place.succeeds(&["sessions", "export", "table", "--out", &file]);
    let written = fs::read_to_string(&file).expect("a file");
    assert!(written.contains("\"x_mm\":7.25"), "{written}");
    assert_eq!(items(&serde_json::from_str(&written).expect("JSON")), canvases[4]);

    let line = place.fails(&["sessions", "export", "table", "--at", "5"], 1);
    assert!(line.contains("its last one is 4"), "{line}");
    place.fails(&["sessions", "export", "table", "--at", "2001-01-01T00:00:00Z"], 1);
    let line = place.fails(&["sessions", "show", "no\u{202e}ne"], 1);
    assert!(line.contains("no\\u{202e}ne"), "{line}");
}

#[test]
fn of_backups_in_a_directory_the_newest_stay() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    confirmed(&mut alice, add("a", json!({"x_mm": 1.0})));
    let into = place.path("backups");
    // What others have put there stays.
    fs::create_dir(&into).expect("a directory");
    for other in ["collabd-monday.db", "collabd-2020-01-01.db", "notes"] {
        fs::write(PathBuf::from(&into).join(other), "kept").expect("written");
    }
    let back_up = || {
        let run = place.run(&["sessions", "backup", "--into", &into, "--keep", "2"]);
        assert_eq!(run.code, Some(0), "{}", run.err);
        let names =
            fs::read_dir(&into).expect("a directory").map(|entry| entry.expect("one").file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().expect("UTF-8")).collect();
        names.sort();
        names
            .into_iter()
            .filter(|name| name.contains("T") && name.ends_with("Z.db"))
            .collect::<Vec<_>>()
    };
    let first = back_up();
    assert_eq!(first.len(), 1);
    let second = back_up();
    assert_eq!((second.len(), &second[0]), (2, &first[0]));
    let third = back_up();
    assert_eq!((third.len(), &third[0]), (2, &second[1]));
    assert_eq!(fs::read_dir(&into).expect("a directory").count(), 5);
}

#[test]
fn a_backup_made_while_the_server_runs_can_be_used() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let file = place.path("copy.db");
    let run = place.run(&["sessions", "backup", &file]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.contains("pages") && run.out.contains("new, empty one"), "{}", run.err);
    assert!(!run.out.contains("remove"), "{}", run.out);
    confirmed(&mut alice, add("c", json!({})));
    // There is one of that name already.
    let run = place.run(&["sessions", "backup", &file]);
    assert_eq!(run.code, Some(1), "{}", run.out);

    let other = Place::new();
    fs::create_dir(other.data()).expect("a directory");
    fs::rename(&file, PathBuf::from(other.data()).join("collabd.db")).expect("the same disk");
    let server = other.serve();
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.items(), canvases[4]);
}

#[test]
fn a_session_is_restored_and_what_it_was_before_is_a_version() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let epoch = alice.ack()["epoch"].clone();
    let canvases = story(&mut alice);
    let line = place.fails(&["sessions", "restore", "table", "--to", "2"], 1);
    assert!(line.contains("another collabd uses"), "{line}");
    stop(server);

    let line = place.fails(&["sessions", "restore", "table", "--to", "9"], 1);
    assert!(line.contains("no change 9"), "{line}");
    let out = place.succeeds(&["sessions", "restore", "table", "--to", "2"]);
    assert!(out.contains("change 6"), "one item is moved back, one added: {out}");
    let show = place.succeeds(&["sessions", "show", "table"]);
    assert!(show.contains("restored") && show.contains("regular"), "{show}");
    for (seq, canvas) in canvases.iter().enumerate() {
        assert_eq!(place.exported(&["table", "--at", &seq.to_string()]), *canvas, "{seq}");
    }

    let server = place.serve();
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!((&bob.ack()["epoch"], &bob.ack()["seq"]), (&epoch, &json!(6)));
    assert_eq!(bob.items(), canvases[2]);
    assert_eq!(confirmed(&mut bob, update("b", json!({"n": 2}))), 7);
    stop(server);

    // And back again.
    place.succeeds(&["sessions", "restore", "table", "--to", "4"]);
    assert_eq!(place.exported(&["table"]), canvases[4]);
    let show = place.succeeds(&["sessions", "show", "table"]);
    let time = show.lines().last().and_then(|line| line.split_whitespace().nth(1)).expect("a time");
    place.succeeds(&["sessions", "restore", "table", "--to", time]);
    assert_eq!(place.exported(&["table"]), canvases[4]);
}

#[test]
fn a_damaged_session_is_shown_as_such_and_can_be_restored() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    stop(server);
    let file = PathBuf::from(place.data()).join("collabd.db");
    let db = rusqlite::Connection::open(file).expect("a database");
    db.execute("UPDATE changes SET message = '{}' WHERE seq = 3", []).expect("written");
    drop(db);
    let list = place.succeeds(&["sessions", "list"]);
    assert!(list.contains("table  damaged"), "{list}");
    place.fails(&["sessions", "export", "table"], 1);
    place.fails(&["sessions", "restore", "table", "--to", "4"], 1);
    assert_eq!(place.run(&["sessions", "compact"]).code, Some(1));
    let out = place.succeeds(&["sessions", "restore", "table", "--to", "2"]);
    assert!(out.contains("could not be read"), "{out}");
    let server = place.serve();
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.ack()["seq"], 5);
    assert_eq!(bob.items(), canvases[2]);
}

#[test]
fn a_canvas_goes_out_and_comes_in_unchanged() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let file = place.path("canvas.json");
    place.succeeds(&["sessions", "export", "table", "--at", "3", "--out", &file]);
    place.fails(&["sessions", "import", "copy", &file], 1);
    kill(server);

    place.succeeds(&["sessions", "import", "copy", &file]);
    let line = place.fails(&["sessions", "import", "table", &file], 1);
    assert!(line.contains("--replace"), "{line}");
    assert_eq!(place.exported(&["table"]), canvases[4]);
    place.succeeds(&["sessions", "import", "table", &file, "--replace"]);
    assert_eq!(place.exported(&["table", "--at", "4"]), canvases[4]);

    let server = place.serve();
    for session in ["copy", "table"] {
        let mut bob = Client::join(&server, session, "bob");
        assert_eq!(bob.items(), canvases[3], "{session}");
    }
}

#[test]
fn what_no_client_may_send_is_not_imported_either() {
    let place = Place::new();
    let file = place.path("canvas.json");
    place.fails(&["sessions", "import", "table", &file], 1);
    for (canvas, why) in [
        ("[1, 2]", "object"),
        ("{\"items\":[", "object"),
        ("{\"items\":{}}", "list"),
        ("{\"items\":[{\"name\":\"SECRET\"}]}", "uuid"),
        ("{\"items\":[{\"uuid\":\"a\",\"x_mm\":\"SECRET\"}]}", "x_mm"),
    ] {
        fs::write(&file, canvas).expect("written");
        let line = place.fails(&["sessions", "import", "table", &file], 1);
        assert!(line.contains(why) && !line.contains("SECRET"), "{canvas}: {line}");
    }
    // What can be taken is, and the rest is named.
    let part = r#"{"items":[{"item_uuid":"a","x_mm":Infinity},{"item_uuid":"b","n":NaN},7],"version":"2.0"}"#;
    fs::write(&file, part).expect("written");
    let lines = place.succeeds(&["sessions", "import", "part", &file]);
    assert!(lines.contains("1 item ") && lines.contains("\"a\" was left out: `x_mm`"), "{lines}");
    assert!(lines.contains("an item without an id was left out"), "{lines}");
    let large = json!({"items": [{"uuid": "a", "text": "x".repeat(2000)}]});
    fs::write(&file, large.to_string()).expect("written");
    let small = ["sessions", "import", "table", &file, "--max-document-bytes", "1KiB"];
    let line = place.fails(&small, 1);
    assert!(line.contains("--max-document-bytes"), "{line}");
    place.succeeds(&small[..4]);
}

/// In a directory as on a server: what a file has that can't be taken is not removed.
#[test]
fn an_import_removes_nothing_that_the_file_has() {
    let place = Place::new();
    let file = place.path("canvas.json");
    let [a, b, c] = ["a", "b", "c"].map(|id| json!({"uuid": id, "x_mm": 1.0}));
    for (session, through_server) in [("there", true), ("here", false)] {
        fs::write(&file, json!({"items": [a, b, c]}).to_string()).expect("written");
        place.succeeds(&["sessions", "import", session, &file]);
        let part = r#"{"items":[{"uuid":"a","x_mm":2.0},{"uuid":"b","x_mm":Infinity}]}"#;
        fs::write(&file, part).expect("written");
        let lines = match through_server {
            true => {
                let server = place.serve();
                let url = format!("http://{}", server.addr());
                let mut command = collabd(&["sessions", "import", session, &file, "--replace"]);
                command.env("COLLABD_SERVER", url);
                Run::of(command).succeeded()
            }
            false => place.succeeds(&["sessions", "import", session, &file, "--replace"]),
        };
        assert!(lines.contains("\"b\" was left out"), "{lines}");
        let items = place.exported(&[session]);
        let items: Vec<_> = items.iter().map(|item| (&item["uuid"], &item["x_mm"])).collect();
        let expected = [(json!("a"), json!(2.0)), (json!("b"), json!(1.0))];
        assert_eq!(items, expected.each_ref().map(|(id, x)| (id, x)), "{session}");
    }
}

#[test]
fn a_session_is_deleted_only_when_it_is_meant() {
    let place = Place::new();
    let server = place.serve();
    for session in ["table", "other"] {
        let mut alice = Client::join(&server, session, "alice");
        confirmed(&mut alice, add("a", json!({})));
    }
    let line = place.fails(&["sessions", "delete", "table", "--yes"], 1);
    assert!(line.contains("another collabd uses"), "{line}");
    kill(server);
    let line = place.fails(&["sessions", "delete", "table"], 2);
    assert!(line.contains("--yes"), "{line}");
    place.succeeds(&["sessions", "delete", "table", "--yes"]);
    place.fails(&["sessions", "delete", "table", "--yes"], 1);
    let list = place.succeeds(&["sessions", "list"]);
    assert!(list.contains("other") && !list.contains("table"), "{list}");
    let server = place.serve();
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.ack()["seq"], 0);
    assert_eq!(bob.items(), Vec::<Value>::new());
}

#[test]
fn compacting_loses_nothing_that_is_not_named() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    place.fails(&["sessions", "compact"], 1);
    kill(server);
    place.fails(&["sessions", "compact", "none"], 1);
    place.succeeds(&["sessions", "compact"]);
    for (seq, canvas) in canvases.iter().enumerate() {
        assert_eq!(place.exported(&["table", "--at", &seq.to_string()]), *canvas, "{seq}");
    }
    place.succeeds(&["sessions", "restore", "table", "--to", "1"]);
    place.succeeds(&["sessions", "compact", "table", "--keep-versions", "1"]);
    assert_eq!(place.exported(&["table"]), canvases[1]);
    let show = place.succeeds(&["sessions", "show", "table"]);
    assert!(show.contains("restored") && !show.contains("regular"), "{show}");
}

#[test]
fn where_nothing_is_stored_nothing_is_made() {
    let place = Place::new();
    for words in [
        &["list"][..],
        &["show", "table"],
        &["export", "table"],
        &["restore", "table", "--to", "1"],
        &["delete", "table", "--yes"],
        &["compact"],
    ] {
        place.fails(&[&["sessions"], words].concat(), 1);
        assert!(!PathBuf::from(place.data()).exists(), "{words:?}");
    }
}

/// Three users at work, one of them a host; the canvas at the end.
fn work(server: &Server, session: &str) -> Vec<Value> {
    let items =
        json!([{"_type": "component", "uuid": "h", "item_type": "component", "x_mm": 1.50}]);
    let mut host = Client::host(server, session, "host", items);
    host.expect("sync:state");
    let mut alice = Client::join(server, session, "alice");
    host.expect("user:joined");
    let mut bob = Client::join(server, session, "b\u{f6}b/2");
    host.expect("user:joined");
    alice.expect("user:joined");
    for n in 0..20 {
        for (client, id) in [(&mut alice, "a"), (&mut bob, "b")] {
            until_confirmed(client, add(&format!("{id}{n}"), json!({"n": n})));
            until_confirmed(client, move_to("h", f64::from(n)));
        }
    }
    until_confirmed(&mut alice, remove("b3"));
    let items = [item("h", 7), json!({"_type": "component", "uuid": "new", "k": 1.0})];
    let canvas = json!({"items": items, "version": 7, "zoom": 2});
    until_confirmed(&mut bob, json!({"type": "sync:update", "state": canvas}));
    until_confirmed(&mut bob, update("new", json!({"k": 2.50})));
    let mut late = Client::join(server, session, "late");
    late.document()["items"].as_array().expect("a list").clone()
}

#[test]
fn a_field_that_a_replacement_drops_is_not_there_in_a_recording_of_it() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    confirmed(&mut alice, add("a", json!({"_type": "component", "x_mm": 1, "name": "dropped"})));
    confirmed(&mut alice, json!({"type": "sync:update", "state": {"items": [item("a", 1)]}}));
    let file = place.path("table.jsonl");
    place.succeeds(&["record", "table", "--out", &file]);
    let url = format!("ws://{}", server.addr());
    let run = place.run(&["replay", &file, &url, "--session", "copy", "--speed", "max"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(Client::join(&server, "copy", "eve").items(), [item("a", 1)]);
}

/// After a crash a session goes on behind numbers that are skipped.
#[test]
fn a_recording_goes_across_a_crash() {
    let place = Place::new();
    for n in 0..3 {
        let server = place.serve();
        let mut alice = Client::join(&server, "table", "alice");
        confirmed(&mut alice, add(&format!("a{n}"), json!({"_type": "component", "n": n})));
        kill(server);
    }
    let server = place.serve();
    let items = Client::join(&server, "table", "alice").items();
    let url = format!("ws://{}", server.addr());
    let (here, there) = (place.path("here.jsonl"), place.path("there.jsonl"));
    let out = place.succeeds(&["record", "table", "--out", &here]);
    assert!(out.contains(" 3 changes"), "{out}");
    let run = place.run(&["replay", &here, &url, "--session", "copy", "--speed", "max"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(Client::join(&server, "copy", "eve").items(), items);
    let http = url.replace("ws:", "http:");
    let from_server = ["record", "table", "--out", &there, "--server", &http];
    Run::of(collabd(&from_server)).succeeded();
    let changes = |file: &str| {
        let text = fs::read_to_string(file).expect("a file");
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(changes(&here), changes(&there));
}

#[test]
fn a_recording_played_elsewhere_ends_with_the_same_canvas() {
    let place = Place::new();
    let server = place.serve();
    let canvas = work(&server, "table");
    let file = place.path("table.jsonl");
    let out = place.succeeds(&["record", "table", "--out", &file]);
    assert!(out.contains("changes"), "{out}");
    let text = fs::read_to_string(&file).expect("a file");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["session"], &lines[0]["from_seq"]), (&json!("table"), &json!(0)));
    assert_eq!(lines[0]["document"]["items"], json!([]));
    let replacements = lines.iter().filter(|line| line["message"]["type"] == "sync:update");
    assert_eq!(replacements.count(), 2, "the host's canvas and the one that replaced it");
    for line in &lines[1..] {
        let message = &line["message"];
        assert!(message["type"] == "command" || message["type"] == "sync:update", "{line}");
        assert!(line["user"].is_string() && line["offset_ms"].is_number(), "{line}");
        for field in ["user_id", "seq", "timestamp", "settled", "id"] {
            assert!(message.get(field).is_none(), "{line}");
        }
    }

    let url = format!("ws://{}", server.addr());
    let other = Server::start(&[]);
    let there = format!("ws://{}", other.addr());
    for (url, server, session, speed) in [
        (&url, &server, "copy", "max"),
        (&there, &other, "copy", "1000"),
        (&there, &other, "x", "0"),
    ] {
        let run = place.run(&["replay", &file, url, "--session", session, "--speed", speed]);
        assert_eq!(run.code, Some(0), "{}", run.err);
        assert!(run.out.contains("were played into") && run.err.contains(" of "), "{}", run.err);
        let eve = Client::join(server, session, "eve");
        assert_eq!(eve.greeting[2]["state"]["items"], json!(canvas), "{session} {speed}");
    }

    // It isn't played over what somebody works at, unless that is meant.
    let line = place.fails(&["replay", &file, &there, "--session", "copy"], 1);
    assert!(line.contains("--replace"), "{line}");
    let again = ["replay", &file, &there, "--session", "copy", "--speed", "max", "--replace"];
    let run = place.run(&again);
    assert_eq!(run.code, Some(0), "{}", run.err);
}

#[test]
fn what_was_there_before_the_recorded_changes_is_in_it() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    story(&mut alice);
    kill(server);
    place.succeeds(&["sessions", "restore", "table", "--to", "3"]);
    let server = place.serve();
    let canvas = place.exported(&["table"]);
    let file = place.path("table.jsonl");
    place.succeeds(&["record", "table", "--out", &file]);
    let url = format!("ws://{}", server.addr());
    let run = place.run(&["replay", &file, &url, "--session", "copy", "--speed", "max"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(place.exported(&["copy"]), canvas);
}

#[test]
fn what_the_server_refuses_is_reported() {
    let place = Place::new();
    let file = place.path("table.jsonl");
    let head = r#"{"collabd_recording":1,"session":"table","document":{"items":[]}}"#;
    let line = |message: &str| format!(r#"{{"offset_ms":0,"user":"alice","message":{message}}}"#);
    let server = Server::start(&[]);
    let url = format!("ws://{}", server.addr());
    let bad = line(r#"{"type":"command","command":7}"#);
    fs::write(&file, [head, &bad].join("\n")).expect("written");
    let run = place.run(&["replay", &file, &url]);
    assert_eq!(run.code, Some(1), "{}", run.out);
    assert!(run.err.contains("refused 1 of 1") && run.err.contains("bad_command"), "{}", run.err);

    let chat = line(r#"{"type":"chat"}"#);
    for text in ["", "{}", "[]", &head.replace(":1", ":2")]
        .into_iter()
        .map(str::to_owned)
        .chain(["{}", &chat].map(|line| [head, line].join("\n")))
    {
        fs::write(&file, &text).expect("written");
        let line = place.fails(&["replay", &file, &url], 1);
        assert!(line.contains("no recording"), "{text}: {line}");
    }
    let mut eve = Client::join(&server, "busy", "alice");
    fs::write(&file, [head, &bad].join("\n")).expect("written");
    let line = place.fails(&["replay", &file, &url, "--session", "busy"], 1);
    assert!(line.contains("\"alice\" is in session"), "{line}");
    eve.expect("user:joined");
    drop(server);
    let line = place.fails(&["replay", &file, &url], 1);
    assert!(line.contains("can't reach"), "{line}");
    let line = place.fails(&["replay", &file, "http://hunter2"], 2);
    assert!(!line.contains("hunter2"), "{line}");
}

#[test]
fn a_replay_keeps_its_pace_and_can_be_stopped() {
    let place = Place::new();
    let file = place.path("table.jsonl");
    let head = r#"{"collabd_recording":1,"session":"table","document":{"items":[]}}"#;
    let line = |offset: u32, item: &str| {
        json!({"offset_ms": offset, "user": "alice", "message": add(item, json!({}))}).to_string()
    };
    fs::write(&file, [head, &line(0, "a"), &line(3_600_000, "b")].join("\n")).expect("written");
    let server = Server::start(&["--no-settle"]);
    let mut eve = Client::join(&server, "table", "eve");
    let url = format!("ws://{}", server.addr());
    let replay = collabd(&["replay", &file, &url]).spawn().expect("collabd starts");
    while eve.next()["type"] != "command" {}
    let pid = replay.id().to_string();
    let sent = std::process::Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(sent.expect("kill runs").success());
    let ended = replay.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    let err = String::from_utf8(ended.stderr).expect("UTF-8");
    assert!(err.contains("stopped after 1 of 2 changes"), "{err}");
    let left = [eve.expect("user:left"), eve.expect("user:left")];
    assert!(left.iter().any(|left| left["user_id"] == "alice"), "{left:?}");
    assert_eq!(eve.items().len(), 1);
}

#[test]
fn what_was_typed_wrong_is_one_line_and_exit_2() {
    let place = Place::new();
    for words in [
        &["record", "table"][..],
        &["record", "--out", "f"],
        &["record", "a", "b", "--out", "f"],
        &["replay"],
        &["replay", "f"],
        &["replay", "f", "ws://localhost:1", "--speed", "-1"],
        &["replay", "f", "ws://localhost:1", "--speed", "fast"],
        &["replay", "f", "ws://localhost:1", "--speed", "nan"],
        &["replay", "f", "ws://localhost:1", "--session", ""],
        &["sessions"],
        &["sessions", "restore", "table"],
    ] {
        place.fails(words, 2);
    }
}

/// A file that is there stays as it is, unless somebody says that it may go.
#[test]
fn a_file_that_is_there_is_not_written_over() {
    let place = Place::new();
    let server = place.serve();
    work(&server, "table");
    let (file, folder) = (place.path("precious"), place.path("folder"));
    fs::write(&file, "precious").expect("a file");
    fs::create_dir(&folder).expect("a directory");
    for command in [&["sessions", "export", "table", "--out"][..], &["record", "table", "--out"]] {
        let with = |more: &[&str]| place.run(&[command, more].concat());
        let refused = with(&[&file]);
        assert_eq!(refused.code, Some(1), "{command:?}");
        assert!(
            refused.err.contains("--force") && refused.err.lines().count() == 1,
            "{}",
            refused.err
        );
        assert_eq!(fs::read_to_string(&file).expect("it"), "precious");
        // What is no plain file never is one afterwards.
        let refused = with(&[&folder, "--force"]);
        assert!(refused.code == Some(1) && refused.err.contains("is no file"), "{}", refused.err);
        assert!(fs::metadata(&folder).expect("it").is_dir());
        assert_eq!(with(&[&file, "--force"]).code, Some(0));
        assert!(fs::read_to_string(&file).expect("it").contains("items"));
        fs::write(&file, "precious").expect("a file");
        // Nothing else is left beside them.
        let beside = fs::read_dir(std::path::Path::new(&file).parent().expect("a directory"));
        let new = beside.expect("a list").filter_map(Result::ok);
        assert!(new.map(|entry| entry.path()).all(|path| path.extension() != Some("new".as_ref())));
    }
}

/// All that a server says of a refusal is repeated, and a program that needs no key isn't told to give one.
#[test]
fn what_a_server_says_is_repeated_whole() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // As long as collabd's longest, and from another machine, where this one can't be.
    let said = format!("without keys {} end", "word ".repeat(60));
    let answer = said.clone();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut request = [0; 4096];
        let _ = client.read(&mut request).expect("a request");
        let body =
            json!({"error": {"code": 403, "type": "forbidden", "message": answer}}).to_string();
        let head = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).expect("sent");
    });
    let run = Run::of(collabd(&["sessions", "delete", "s", "--yes", "--server", &url]));
    server.join().expect("it answers");
    assert_eq!(run.code, Some(1));
    assert!(run.err.trim_end().ends_with(&said), "{}", run.err);
}
