//! Whether a newcomer shares a canvas of its own or starts from the document (PROTOCOL.md §2.3, first
//! part). Only the editor knows, and it answers a Ping after it has answered its own `user:joined`.

use serde_json::{Value, json};

use crate::support::{Client, PING, PONG, Server, TEXT, Wire, add, full_state, item, masked};

const REQUEST: &str = r#"{"type":"sync:request","user_id":"nina"}"#;

/// A session, with or without somebody else and with or without a document.
fn sessions() -> impl Iterator<Item = (Server, Option<Client>, Value)> {
    let cases = [(false, false), (false, true), (true, false), (true, true)];
    cases.into_iter().map(|(has_others, has_document)| {
        let server = Server::start(&["--no-settle"]);
        let mut alice = Client::join(&server, "table", "alice");
        if has_document {
            alice.send(add("a", item("a", 1)));
            alice.told();
        }
        let document = if has_document { json!([item("a", 1)]) } else { json!([]) };
        if has_others {
            return (server, Some(alice), document);
        }
        alice.leave();
        (server, None, document)
    })
}

/// A newcomer that has read up to its Ping, whose payload is returned.
fn newcomer(server: &Server) -> (Wire, Vec<u8>) {
    Wire::arrive(server, "/ws/table/nina")
}

/// Waits until the hub has before it what was sent so far, ahead of anything that others send from now on. The
/// answers that came meanwhile.
fn is_heard(wire: &mut Wire) -> Vec<Value> {
    wire.send(json!({"type": "ping"}).to_string());
    std::iter::from_fn(|| Some(wire.next()).filter(|told| told["type"] != "pong")).collect()
}

/// Somebody else comes and goes: were an answer due, it would have come before.
fn still_waits(server: &Server, wire: &mut Wire) {
    Client::join(server, "table", "passer-by").leave();
    assert_eq!(wire.next()["type"], "user:joined");
    assert_eq!(wire.next()["type"], "user:left");
}

/// The items of a `sync:state`; `None` where its state is null.
fn state(message: &Value) -> Option<&Value> {
    assert_eq!(message["type"], "sync:state", "{message}");
    assert_eq!(
        (&message["from_server"], &message["conflict_resolution"]),
        (&json!(true), &json!("host_wins"))
    );
    message.get("state").expect("a state").get("items")
}

#[test]
fn the_ping_follows_ones_own_joined() {
    for (server, _alice, _) in sessions() {
        let mut wire = Wire::upgrade(&server, "/ws/table/nina");
        assert_eq!(wire.next()["type"], "connection:ack");
        assert_eq!(wire.next()["type"], "user:joined");
        assert_eq!(wire.frame().0, PING);
    }
}

#[test]
fn a_request_waits_for_the_pong_and_is_answered_with_the_document() {
    for (server, _alice, document) in sessions() {
        let (mut wire, token) = newcomer(&server);
        wire.send(REQUEST);
        still_waits(&server, &mut wire);
        wire.write(masked(PONG, b"a Pong that nobody asked for"));
        still_waits(&server, &mut wire);
        wire.write(masked(PONG, &token));
        let answer = wire.next();
        assert_eq!(state(&answer), Some(&document));
        let version = &answer["state"]["version"];
        assert_eq!(version, document.as_array().map_or(0, Vec::len), "0 without a document");
    }
}

#[test]
fn two_requests_before_the_pong_get_one_answer() {
    for (server, _alice, document) in sessions() {
        let (mut wire, token) = newcomer(&server);
        wire.send(REQUEST);
        wire.send(REQUEST);
        wire.write(masked(PONG, &token));
        assert_eq!(state(&wire.next()), Some(&document));
        still_waits(&server, &mut wire);
    }
}

#[test]
fn before_it_is_recognised_it_is_told_of_no_item() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    let (mut wire, token) = newcomer(&server);
    alice.send(add("a", item("a", 1)));
    alice.send(json!({"type": "chat"}));
    assert_eq!(wire.next()["type"], "chat");
    wire.write(masked(PONG, &token));
    assert_eq!(state(&wire.next()), Some(&json!([item("a", 1)])), "though it asked for nothing");
    alice.send(add("b", json!({})));
    assert_eq!(wire.next()["command"]["item_id"], "b");
}

/// Of an editor only the Pong does: it may add something before it has shown its canvas.
#[test]
fn any_message_of_a_script_but_a_request_shows_that_it_shares_no_canvas() {
    for message in [
        json!({"type": "cursor"}),
        json!({"type": "chat"}),
        add("b", json!({})),
        json!({"type": "sync:update", "state": {"items": [item("a", 1)]}}),
    ] {
        let server = Server::start(&["--no-settle"]);
        let _alice = Client::join(&server, "table", "alice");
        let (mut wire, _) = newcomer(&server);
        wire.send(r#"{"type":"sync:request"}"#);
        wire.send(message.to_string());
        assert!(state(&wire.next()).is_some(), "{message}");
    }
}

#[test]
fn who_shares_a_canvas_is_answered_with_null() {
    for (server, mut alice, document) in sessions() {
        // What it has in common with the document is no reason to send it a state.
        let canvas = json!([item("a", 1), item("c", 3)]);
        let mut nina = Client::host(&server, "table", "nina", canvas);
        assert_eq!(state(&nina.expect("sync:state")), None);
        assert_eq!(nina.told(), [] as [Value; 0]);
        if let Some(alice) = &mut alice {
            alice.expect("user:joined");
            for id in if document == json!([]) { &["a", "c"][..] } else { &["c"] } {
                alice.expect_command("add_item", id);
            }
        }
        let late = Client::join(&server, "table", "late");
        assert_eq!(state(&late.greeting[2]), Some(&json!([item("a", 1), item("c", 3)])));
    }
}

#[test]
fn a_shared_canvas_may_be_empty_and_gets_what_it_lacks_as_commands() {
    for (server, _alice, document) in sessions() {
        let mut nina = Client::host(&server, "table", "nina", json!([]));
        assert_eq!(state(&nina.expect("sync:state")), None);
        let lacking: Vec<_> = nina.told_commands().into_iter().map(|(action, _)| action).collect();
        assert_eq!(lacking.len(), document.as_array().map_or(0, Vec::len));
        assert!(lacking.iter().all(|action| action == "add_item"), "{lacking:?}");
    }
}

#[test]
fn a_canvas_that_comes_before_the_request_is_one_as_well() {
    for (server, _alice, _) in sessions() {
        let (mut wire, _) = newcomer(&server);
        wire.send(full_state(json!([item("a", 1)]), Some("nina")).to_string());
        assert_eq!(is_heard(&mut wire), [Value::Null; 0]);
        still_waits(&server, &mut wire);
        wire.send(REQUEST);
        assert_eq!(state(&wire.next()), None);
    }
}

#[test]
fn a_canvas_that_is_refused_is_not_wiped() {
    let too_big = json!([{"_type": "component", "uuid": "a", "name": "x".repeat(9000)}]);
    for (canvas, error_type) in [(json!({"no": "list"}), "bad_state"), (too_big, "document_full")] {
        let server =
            Server::start(&["--max-document-bytes", "4KiB", "--max-message-bytes", "64KiB"]);
        let (mut wire, token) = newcomer(&server);
        wire.send(REQUEST);
        wire.send(full_state(canvas, Some("nina")).to_string());
        wire.write(masked(PONG, &token));
        let error = wire.next();
        assert!(error["error_type"] == error_type || error["item_id"] == "a", "{error}");
        assert_eq!(state(&wire.next()), None);
    }
}

/// It was taken for a guest, so that a state is on its way that wipes its canvas.
#[test]
fn a_canvas_that_comes_after_the_pong_counts_and_is_sent_back_where_a_state_wiped_it() {
    for (server, mut alice, document) in sessions() {
        let (mut wire, token) = newcomer(&server);
        wire.send(REQUEST);
        wire.write(masked(PONG, &token));
        assert_eq!(state(&wire.next()), Some(&document));
        wire.send(full_state(json!([item("c", 3)]), Some("nina")).to_string());
        let added = wire.next();
        assert_eq!(
            (&added["command"]["action"], &added["command"]["item_id"]),
            (&json!("add_item"), &json!("c"))
        );
        if let Some(alice) = &mut alice {
            alice.expect("user:joined");
            alice.expect_command("add_item", "c");
            assert_eq!(alice.items().last(), Some(&item("c", 3)));
        }
    }
}

#[test]
fn after_10_s_of_silence_its_canvas_is_left_alone_and_a_pong_brings_the_document() {
    std::thread::scope(|scope| {
        for (server, _alice, document) in sessions() {
            scope.spawn(move || {
                let _alice = _alice;
                let (mut wire, token) = newcomer(&server);
                wire.send(REQUEST);
                assert_eq!(state(&wire.next()), None, "it may share a canvas");
                wire.write(masked(PONG, &token));
                let (first, payload) = wire.frame();
                assert_eq!(first, TEXT);
                let answer: Value = serde_json::from_slice(&payload).expect("JSON");
                assert_eq!(state(&answer), Some(&document), "it doesn't share one");
            });
        }
    });
}

#[test]
fn after_10_s_of_silence_a_canvas_counts_all_the_same() {
    let server = Server::start(&["--no-settle"]);
    let (mut wire, token) = newcomer(&server);
    wire.send(REQUEST);
    assert_eq!(state(&wire.next()), None);
    wire.send(full_state(json!([item("c", 3)]), Some("nina")).to_string());
    is_heard(&mut wire);
    wire.write(masked(PONG, &token));
    let bob = Client::join(&server, "table", "bob");
    assert_eq!(state(&bob.greeting[2]), Some(&json!([item("c", 3)])));
}
