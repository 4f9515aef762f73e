//! `collabd sessions`: what is stored is looked at while a server runs, and changed when none does.

#![cfg(feature = "durable")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use support::{Client, Run, Server, add, collabd, move_to, remove, update, with_id};

/// A data directory of a test's own, and room beside it; gone when the test ends.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("collabd-sessions-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a new directory");
        Place(directory)
    }

    fn data(&self) -> String {
        self.path("data")
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn serve(&self) -> Server {
        Server::start(&["--no-settle", "--data-dir", &self.data()])
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command = collabd(args);
        command.env("COLLABD_DATA_DIR", self.data());
        Run::of(command)
    }

    /// A run that does what it should and has nothing to remark.
    fn succeeds(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!((run.code, &*run.err), (Some(0), ""), "{args:?}");
        run.out
    }

    /// A run that fails with one line.
    fn fails(&self, args: &[&str], code: i32) -> String {
        let run = self.run(args);
        assert_eq!((run.code, &*run.out), (Some(code), ""), "{args:?}: {}", run.err);
        let line = run.err.strip_prefix("collabd: ").expect("who says it").trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "{args:?}: {line}");
        line.to_owned()
    }

    /// The items that `sessions export` writes.
    fn exported(&self, args: &[&str]) -> Vec<Value> {
        let text = self.succeeds(&[&["sessions", "export"], args].concat());
        items(&serde_json::from_str(&text).expect("JSON"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn items(canvas: &Value) -> Vec<Value> {
    assert!(canvas["version"].is_number() && canvas["timestamp"].is_string(), "{canvas}");
    canvas["items"].as_array().expect("a list of items").clone()
}

/// Killed without a word.
fn kill(mut server: Server) {
    server.signal("KILL");
    server.wait();
}

/// Has it done, and waits until it is on disk.
fn confirmed(client: &mut Client, message: Value) -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    client.send(with_id(message, NEXT.fetch_add(1, Ordering::Relaxed)));
    client.expect("message_delivered")["seq"].as_u64().expect("a number")
}

/// Four changes; what the canvas shows after each.
fn story(client: &mut Client) -> Vec<Vec<Value>> {
    let changes = [
        add("a", json!({"x_mm": 1.50, "ü\n": "\u{202e}"})),
        add("b", json!({"n": 1})),
        move_to("a", 7.25),
        remove("b"),
    ];
    let mut canvases = vec![Vec::new()];
    for change in changes {
        confirmed(client, change);
        canvases.push(client.items());
    }
    canvases
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
fn a_backup_made_while_the_server_runs_can_be_used() {
    let place = Place::new();
    let server = place.serve();
    let mut alice = Client::join(&server, "table", "alice");
    let canvases = story(&mut alice);
    let file = place.path("copy.db");
    let run = place.run(&["sessions", "backup", &file]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.contains("pages") && run.out.contains("collabd.lock"), "{}", run.err);
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
    kill(server);

    let line = place.fails(&["sessions", "restore", "table", "--to", "9"], 1);
    assert!(line.contains("no change 9"), "{line}");
    let out = place.succeeds(&["sessions", "restore", "table", "--to", "2"]);
    assert!(out.contains("change 5"), "{out}");
    let show = place.succeeds(&["sessions", "show", "table"]);
    assert!(show.contains("restored") && show.contains("regular"), "{show}");
    for (seq, canvas) in canvases.iter().enumerate() {
        assert_eq!(place.exported(&["table", "--at", &seq.to_string()]), *canvas, "{seq}");
    }

    let server = place.serve();
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!((&bob.ack()["epoch"], &bob.ack()["seq"]), (&epoch, &json!(5)));
    assert_eq!(bob.items(), canvases[2]);
    assert_eq!(confirmed(&mut bob, update("b", json!({"n": 2}))), 6);
    kill(server);

    // And back again.
    place.succeeds(&["sessions", "restore", "table", "--to", "4"]);
    assert_eq!(place.exported(&["table"]), canvases[4]);
    let show = place.succeeds(&["sessions", "show", "table"]);
    let time = show.lines().last().and_then(|line| line.split_whitespace().nth(1)).expect("a time");
    place.succeeds(&["sessions", "restore", "table", "--to", time]);
    assert_eq!(place.exported(&["table"]), canvases[4]);
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
        ("{\"items\":[],\"version\":\"SECRET\"}", "version"),
    ] {
        fs::write(&file, canvas).expect("written");
        let line = place.fails(&["sessions", "import", "table", &file], 1);
        assert!(line.contains(why) && !line.contains("SECRET"), "{canvas}: {line}");
    }
    let large = json!({"items": [{"uuid": "a", "text": "x".repeat(2000)}]});
    fs::write(&file, large.to_string()).expect("written");
    let small = ["sessions", "import", "table", &file, "--max-document-bytes", "1KiB"];
    let line = place.fails(&small, 1);
    assert!(line.contains("--max-document-bytes"), "{line}");
    place.succeeds(&small[..4]);
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
