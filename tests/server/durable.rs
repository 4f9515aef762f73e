//! Sessions that survive: a server is killed, stopped, and loses its disk (PROTOCOL.md §2.5).

#![cfg(all(unix, feature = "durable"))]

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Client, Folder, Run, Server, Wire, add, collabd, full_state, handshake, item, move_to,
    nothing_more, update, with_id,
};

fn serve(folder: &Folder, more: &[&str]) -> Server {
    let directory = folder.typed("data");
    Server::start(&[&["--no-settle", "--data-dir", &directory], more].concat())
}

/// Has it done, and waits until it is on disk.
fn confirmed(client: &mut Client, message: Value, id: &str) -> u64 {
    client.send(with_id(message, id));
    let confirmation = client.expect("message_delivered");
    assert_eq!(confirmation["id"], id);
    confirmation["seq"].as_u64().expect("a number")
}

fn kill(server: &mut Server) {
    server.signal("KILL");
    server.wait();
}

/// What a member missed: `{"type":"sync:request","epoch":…,"since":…}`.
fn missed(client: &mut Client, epoch: &Value, since: u64) -> Vec<Value> {
    client.send(json!({"type": "sync:request", "epoch": epoch, "since": since}));
    let mut messages = Vec::new();
    loop {
        let message = client.next();
        if message["type"] == "sync:done" {
            return messages;
        }
        messages.push(message);
    }
}

#[test]
fn a_server_that_is_killed_goes_on_where_it_was() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let epoch = alice.ack()["epoch"].clone();
    assert_eq!(confirmed(&mut alice, add("a", json!({"x_mm": 1.50})), "first"), 1);
    assert_eq!(confirmed(&mut alice, move_to("a", 2.0), "second"), 2);
    let relayed = [bob.next(), bob.next()];
    kill(&mut server);

    let server = serve(&folder, &[]);
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!((&bob.ack()["epoch"], &bob.ack()["seq"]), (&epoch, &json!(2)));
    assert_eq!(bob.ack()["is_host"], true);
    assert_eq!(missed(&mut bob, &epoch, 1), relayed[1..]);
    assert_eq!(missed(&mut bob, &epoch, 2), [] as [Value; 0]);
    let item = json!({"x_mm": 2.0, "uuid": "a", "item_type": "component"});
    assert_eq!(bob.items(), [item]);
    // What was confirmed is confirmed again and not applied again; what comes next goes on.
    let mut alice = Client::join(&server, "table", "alice");
    bob.expect("user:joined");
    assert_eq!(confirmed(&mut alice, move_to("a", 2.0), "second"), 2);
    alice.send(with_id(move_to("a", 99.0), "second"));
    alice.expect_error("duplicate_id");
    let third = confirmed(&mut alice, move_to("a", 3.0), "third");
    assert!(third > 2, "behind what may have been lost");
    assert_eq!(bob.expect_command("move_item", "a")["seq"], third);
    assert_eq!(missed(&mut bob, &epoch, 1).len(), 2);
    nothing_more([&mut alice, &mut bob]);
}

/// A change that is relayed and not yet on disk when the server is killed: bob has been told of it as
/// change `lost`, and it never happened. Alice then makes more changes than were lost.
fn after_a_crash_that_loses_a_change(folder: &Folder) -> (Server, Client, Value, u64) {
    for attempt in 0..20 {
        let mut server = serve(folder, &[]);
        let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
        let epoch = alice.ack()["epoch"].clone();
        let kept = confirmed(
            &mut alice,
            add(&format!("kept-{attempt}"), json!({})),
            &format!("{attempt}"),
        );
        bob.expect_command("add_item", &format!("kept-{attempt}"));
        let item = format!("lost-{attempt}");
        // Nobody waits for it, so that it is gathered with what comes next.
        alice.send(add(&item, json!({})));
        let lost = bob.expect_command("add_item", &item)["seq"].as_u64().expect("a number");
        assert!(lost > kept);
        kill(&mut server);
        let server = serve(folder, &[]);
        let mut alice = Client::join(&server, "table", "alice");
        assert_eq!(alice.ack()["epoch"], epoch);
        if alice.items().iter().any(|found| found["uuid"] == *item) {
            // The disk was quicker.
            continue;
        }
        assert_eq!(alice.ack()["seq"], kept, "the last change that there is");
        for n in 0..3 {
            let seq =
                confirmed(&mut alice, add(&format!("new-{n}"), json!({})), &format!("new-{n}"));
            assert!(seq > lost, "{seq} may be taken for a change that was lost");
        }
        return (server, alice, epoch, lost);
    }
    panic!("the disk was quicker twenty times");
}

/// Of one user's two programs the first asks for the state, and the second, which saw the change that was
/// lost, for what came after it.
#[test]
fn a_second_device_that_saw_what_a_crash_has_lost_gets_the_state() {
    let folder = Folder::new();
    let (mut server, _alice, epoch, lost) = after_a_crash_that_loses_a_change(&folder);
    let check = |server: &Server| {
        let mut first = Client::join(server, "table", "bob");
        let items = first.items();
        let mut second = Client::join(server, "table", "bob");
        for _ in 0..2 {
            second.send(json!({"type": "sync:request", "epoch": epoch, "since": lost}));
            let answer = second.next();
            assert_eq!(answer["type"], "sync:state", "it has seen something else");
            assert_eq!(answer["state"]["items"], json!(items));
        }
        // Who has seen only what is there catches up across the crash.
        assert_eq!(missed(&mut second, &epoch, lost - 1).len(), 3);
        items
    };
    let items = check(&server);
    // In the next life, too, however that begins.
    kill(&mut server);
    let mut server = serve(&folder, &[]);
    assert_eq!(check(&server), items);
    server.stop();
    let server = serve(&folder, &[]);
    assert_eq!(check(&server), items);
}

/// A server that stops properly has lost nothing, and goes on with the next number.
#[test]
fn numbers_are_skipped_after_a_crash_alone() {
    let folder = Folder::new();
    for n in 1..=3 {
        let mut server = serve(&folder, &[]);
        let mut alice = Client::join(&server, "table", "alice");
        assert_eq!(confirmed(&mut alice, add(&format!("{n}"), json!({})), &format!("{n}")), n);
        server.stop();
    }
}

#[test]
fn a_server_that_is_stopped_has_written_what_nobody_had_confirmed() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    let mut alice = Client::join(&server, "table", "alice");
    for n in 0..100 {
        alice.send(add(&format!("item-{n}"), json!({"n": n})));
    }
    nothing_more([&mut alice]);
    server.stop();
    let server = serve(&folder, &[]);
    assert_eq!(Client::join(&server, "table", "alice").items().len(), 100);
}

#[test]
fn a_session_that_has_lingered_is_loaded_again() {
    let folder = Folder::new();
    let server = serve(&folder, &["--linger", "0", "--max-sessions", "1"]);
    let mut alice = Client::join(&server, "table", "alice");
    confirmed(&mut alice, add("a", json!({})), "first");
    alice.leave();
    // There is room in memory for one session, and any number of them is stored.
    for session in ["bench", "shelf"] {
        let mut bob = Client::join(&server, session, "bob");
        confirmed(&mut bob, add("b", json!({})), "first");
        bob.leave();
    }
    let mut alice = Client::join(&server, "table", "alice");
    assert_eq!(alice.ack()["seq"], 1);
    assert_eq!(alice.items().len(), 1);
}

/// Whoever comes while a session is being loaded is let in with the first of them.
#[test]
fn many_come_at_once_to_a_session_that_has_to_be_loaded() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    for session in 0..10 {
        let mut alice = Client::join(&server, &format!("table-{session}"), "alice");
        confirmed(&mut alice, add("a", json!({})), "first");
    }
    kill(&mut server);
    let server = serve(&folder, &[]);
    for session in 0..10 {
        let session = format!("table-{session}");
        let knock = |n: u32| Client::knock(&server, &session, &format!("user-{n}"));
        std::thread::scope(|scope| {
            let come = |n| {
                scope.spawn(move || {
                    let mut user = knock(n);
                    // Answered by its own thread, which has to know that it is in.
                    user.send(json!({"type": "ping"}));
                    while user.next()["type"] != "pong" {}
                })
            };
            (0..8).for_each(|n| drop(come(n)));
        });
    }
}

#[test]
fn a_stored_document_that_a_new_design_replaces_is_a_version() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    let items = |id: &str| json!([item(id, 1)]);
    let mut alice = Client::host(&server, "table", "alice", items("old"));
    alice.expect("sync:state");
    alice.leave();
    server.stop();
    let server = serve(&folder, &[]);
    let mut alice = Client::host(&server, "table", "alice", items("new"));
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    confirmed(&mut alice, update("new", json!({"n": 1})), "written");
    let directory = folder.typed("data");
    let export = |at: &[&str]| {
        let base = ["sessions", "export", "table", "--data-dir", &directory];
        let run = Run::of(collabd(&[&base, at].concat()));
        assert_eq!((run.code, &*run.err), (Some(0), ""));
        let canvas: Value = serde_json::from_str(&run.out).expect("JSON");
        canvas["items"][0]["uuid"].clone()
    };
    assert_eq!(export(&[]), "new");
    assert_eq!(export(&["--at", "1"]), "old");
}

/// The directory is taken away from under the server, as a network share is, and comes back.
#[test]
fn while_the_disk_fails_everyone_is_told_and_nothing_is_confirmed() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    confirmed(&mut alice, add("a", json!({})), "first");
    bob.expect_command("add_item", "a");
    let (data, away) = (folder.path().join("data"), folder.path().join("away"));
    fs::rename(&data, &away).expect("renamed");

    alice.send(with_id(move_to("a", 1.0), "second"));
    bob.expect_command("move_item", "a");
    for member in [&mut alice, &mut bob] {
        assert_eq!(member.expect_error("not_durable")["code"], 503);
    }
    // Sessions go on, and whoever comes is told, too.
    let mut carol = Client::join(&server, "table", "carol");
    assert!(carol.greeting.iter().any(|message| message["error_type"] == "not_durable"));
    for member in [&mut alice, &mut bob] {
        member.expect("user:joined");
    }
    bob.send(json!({"type": "chat"}));
    for other in [&mut alice, &mut carol] {
        other.expect("chat");
    }
    assert_eq!(carol.items()[0]["x_mm"], 1.0);
    let refused = Run::of(collabd(&["--port", "0", "--data-dir", &folder.typed("away")]));
    assert_eq!(refused.code, Some(1), "the first server still holds it");
    assert!(refused.err.contains("another collabd uses"), "{}", refused.err);

    fs::rename(&away, &data).expect("renamed");
    assert_eq!(alice.expect("message_delivered")["id"], "second");
    kill(&mut server);
    let server = serve(&folder, &[]);
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.ack()["seq"], 2);
    assert_eq!(bob.items()[0]["x_mm"], 1.0);
}

/// A server that stops takes its time where a client doesn't answer; the next one waits for it.
#[test]
fn a_server_that_is_started_while_the_last_one_stops_waits_for_it() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    let mut alice = Client::join(&server, "table", "alice");
    confirmed(&mut alice, add("a", json!({})), "first");
    // It answers no close.
    let silent = Wire::upgrade(&server, "/ws/table/bob");
    alice.expect("user:joined");
    server.signal("TERM");
    let next = serve(&folder, &[]);
    next.wait_for_log("waiting 5 s for it to end");
    assert!(server.wait().status.success());
    let mut alice = Client::join(&next, "table", "alice");
    assert_eq!(alice.ack()["seq"], 1);
    assert_eq!(confirmed(&mut alice, move_to("a", 1.0), "second"), 2);
    drop(silent);
    // One that goes on is not waited for without end.
    let directory = folder.typed("data");
    let refused = Run::of(collabd(&["--port", "0", "--data-dir", &directory]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("stop that one"), "{}", refused.err);
}

/// Another program writes by way of SQLite while the server runs: nothing is written over it, nothing more
/// is confirmed, and it is said. Programs that read do no harm.
#[test]
fn what_another_program_writes_with_sqlite_is_noticed() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    confirmed(&mut alice, add("a", json!({"x_mm": 1.5})), "first");
    bob.expect_command("add_item", "a");
    let file = folder.path().join("data").join("collabd.db");
    let other = rusqlite::Connection::open(&file).expect("a database");
    let count = |other: &rusqlite::Connection| {
        other.query_row("SELECT count(*) FROM journal WHERE user <> ''", [], |row| row.get(0))
    };
    assert_eq!(count(&other), Ok(1));
    confirmed(&mut alice, move_to("a", 2.0), "second");
    bob.expect_command("move_item", "a");
    assert_eq!(count(&other), Ok(2));

    other.execute("UPDATE changes SET message = '{}' WHERE seq = 2", []).expect("written");
    alice.send(with_id(move_to("a", 3.0), "third"));
    bob.expect_command("move_item", "a");
    for member in [&mut alice, &mut bob] {
        member.expect_error("not_durable");
    }
    server.wait_for_log("another program has written to");
    let health = Wire::ask(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(health.status, 503);
    assert!(health.body.contains("not written to the disk"), "{}", health.body);
    // What is in memory can be saved, as the log advises.
    let url = format!("http://{}", server.addr());
    let export = collabd(&["sessions", "export", "table", "--server", &url]);
    let canvas: Value = serde_json::from_str(&Run::of(export).succeeded()).expect("JSON");
    assert_eq!(canvas["items"][0]["x_mm"], 3.0);
    server.stop();
    // Nothing was written after it, and what it did not touch is there.
    assert_eq!(count(&other), Ok(2));
    drop(other);
    let out = Run::of(collabd(&[
        "sessions",
        "export",
        "table",
        "--at",
        "1",
        "--data-dir",
        &folder.typed("data"),
    ]));
    let canvas: Value = serde_json::from_str(&out.succeeded()).expect("JSON");
    assert_eq!(canvas["items"][0]["x_mm"], 1.5);
}

/// Rows of one session are overwritten; the others don't suffer.
#[test]
fn a_session_that_is_damaged_is_refused_and_the_others_are_not() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    for (session, content) in [("table", "content-of-the-table"), ("bench", "content-of-the-bench")]
    {
        let mut alice = Client::join(&server, session, "alice");
        confirmed(&mut alice, add("a", json!({"content": content})), "first");
    }
    server.stop();
    let file = folder.path().join("data").join("collabd.db");
    let mut bytes = fs::read(&file).expect("the database");
    let place = bytes.windows(20).position(|found| found == b"content-of-the-table");
    let place = place.expect("it is stored as text");
    bytes[place..place + 7].copy_from_slice(b"CONTENT");
    fs::write(&file, bytes).expect("written");
    let server = serve(&folder, &[]);
    let refusal = Wire::ask(&server, &handshake("/ws/table/alice"));
    assert_eq!(refusal.status, 503);
    assert!(refusal.body.contains("can't be read"), "{}", refusal.body);
    server.wait_for_log("session \"table\"");
    assert_eq!(Client::join(&server, "bench", "alice").items().len(), 1);
}

/// A host who comes back after the server was killed has the same canvas: nothing changes for it.
#[test]
fn a_host_who_comes_back_after_a_crash_keeps_its_canvas() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]);
    let items = json!([item("a", 1), item("b", 2)]);
    let mut alice = Client::host(&server, "table", "alice", items.clone());
    alice.expect("sync:state");
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    alice.send(full_state(items.clone(), Some("bob")));
    confirmed(&mut bob, move_to("b", 20.0), "moved");
    alice.expect_command("move_item", "b");
    kill(&mut server);
    let server = serve(&folder, &[]);
    // It comes with the canvas as it was before it was told.
    let mut alice = Client::host(&server, "table", "alice", items);
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    let told = alice.expect_command("update_item", "b");
    assert_eq!(
        (&told["settled"], &told["command"]["data"]["locked"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(alice.expect_command("update_item", "b")["command"]["data"]["x_mm"], 20.0);
    assert_eq!(alice.items().len(), 2);
}

#[test]
fn without_a_history_what_is_sent_again_is_recognised_all_the_same() {
    let folder = Folder::new();
    let mut server = serve(&folder, &["--history-changes", "0"]);
    let mut alice = Client::join(&server, "table", "alice");
    let epoch = alice.ack()["epoch"].clone();
    for round in 0..2 {
        alice.send(with_id(add("a", json!({})), "first"));
        let confirmation = alice.expect("message_delivered");
        assert_eq!(confirmation["seq"], 1);
        assert_eq!(confirmation.get("repeated").is_some(), round > 0, "{confirmation}");
    }
    kill(&mut server);
    let server = serve(&folder, &["--history-changes", "0"]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(with_id(add("a", json!({})), "first"));
    let confirmation = alice.expect("message_delivered");
    assert_eq!((&confirmation["seq"], &confirmation["repeated"]), (&json!(1), &json!(true)));
    alice.send(json!({"type": "sync:request", "epoch": epoch, "since": 0}));
    assert_eq!(alice.next()["type"], "sync:state", "there is nothing to catch up on");
}
