//! Steps: what the server must refuse without ending the connection, and over plain HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::client::generate_key;

use super::client::{Client, Pick};
use super::http::{self, Response};
use super::promises;
use super::received::{Received, shown};
use super::report::{Outcome, Trouble, Verdict};
use super::walk::{ALICE, BOB, Walk, ask_state, command, lens, pass, pass_last};

/// How much later than the pong to a later ping an error may come: the two may be made in different
/// places of a server.
const LATER: Duration = Duration::from_millis(500);

/// Sends `text` and a ping after it. Both have to be answered, `text` with an `error`.
fn refused(client: &mut Client, ping: &str, text: &str) -> Outcome<()> {
    let sent = shown(text);
    let kind = serde_json::from_str::<Value>(text).unwrap_or_default();
    let original = kind["type"].as_str();
    let mut judged = None;
    let mut judge = |m: &Received| match m.is("error") {
        true => {
            judged = Some(promises::error(m, original));
            Ok(Pick::More)
        }
        false => Ok(Pick::Other),
    };
    client.send_text(text)?;
    client.send(&json!({"type": "ping", "id": ping}))?;
    let after = format!("the pong to a ping after {sent}, which must not end the connection");
    client.wait_for(&after, |m| match m.is("pong") && m.value["id"] == ping {
        true => Ok(Pick::Take(())),
        false => judge(m),
    })?;
    match judged {
        Some(verdict) => Ok(verdict?),
        None => {
            client.wait_within(LATER, &format!("an error for {sent}"), |m| match m.is("error") {
                true => promises::error(m, original).map(Pick::Take),
                false => Ok(Pick::Other),
            })
        }
    }
}

/// Sends each of `texts` as Alice: each must be refused, and Bob must hear none of it.
fn all_refused(walk: &mut Walk, texts: &[String]) -> Outcome<()> {
    let (last, ping) = (walk.name("item"), walk.name("beat"));
    let (alice, bob) = walk.pair()?;
    for text in texts {
        refused(alice, &ping, text)?;
    }
    pass_last(alice, bob, &last, |m| match m.by(ALICE) && !m.settles() || m.is("sync:state") {
        true => Err(format!("{BOB} heard of a message that was refused: {}", m.shown())),
        false => Ok(()),
    })
}

/// What is no message at all.
pub(super) fn bad_json(walk: &mut Walk) -> Verdict {
    let texts = [
        "{\"type\":\"check:chat\"",
        "check, check",
        "",
        "[1,2]",
        "\"check:chat\"",
        "null",
        "{}",
        "{\"type\":7}",
        "{\"type\":null}",
        "{\"type\":[\"ping\"]}",
    ];
    all_refused(walk, &texts.map(str::to_owned))?;
    Ok(Some(format!("{} ways of it", texts.len())))
}

/// Shapes on which the editor of everybody else would abort.
pub(super) fn malformed(walk: &mut Walk) -> Verdict {
    let (item, other) = (walk.name("item"), walk.name("item"));
    let (alice, bob) = walk.pair()?;
    pass(alice, bob, &command("add_item", &item, lens(&item, 1.0)))?;
    let data = |data: Value| command("update_item", &item, data);
    let state = |state: Value| json!({"type": "sync:update", "state": state});
    let items = |items: Value| state(json!({"items": items, "version": 1}));
    let good = super::document::snapshot_item(&other);
    let shapes = [
        json!({"type": "command", "command": "add_item"}),
        json!({"type": "command", "command": ["add_item"]}),
        json!({"type": "command", "command": {"action": "add_item", "item_type": "lens", "item_id": 7, "data": {}}}),
        data(json!("x_mm")),
        data(json!([1, 2])),
        data(json!({"x_mm": "12"})),
        data(json!({"name": "half", "y_mm": true})),
        data(json!({"x_mm": 2.0, "angle_deg": null})),
        command("move_item", &item, json!({"x_mm": 3.0, "y_mm": {}, "angle_deg": 0})),
        command("add_item", &other, json!({"item_uuid": other, "_type": "LensItem", "x_mm": []})),
        state(json!("canvas")),
        state(json!([])),
        items(json!({})),
        items(json!([good, 1])),
        items(json!([good, {"item_type": "lens", "x_mm": 0}])),
        json!({"type": "sync:full_state", "state": 7, "target_user": BOB}),
    ];
    let count = shapes.len();
    all_refused(walk, &shapes.map(|shape| shape.to_string()))?;
    let bob = walk.pair()?.1;
    let answer = ask_state(bob)?;
    let items = promises::state(&answer, None)?.map(Vec::as_slice).unwrap_or_default();
    let kept = items.iter().find(|known| known["uuid"] == item);
    if kept.is_none_or(|kept| kept["x_mm"] != 1.0 || kept["name"] != "a lens")
        || items.iter().any(|known| known["uuid"] == other)
    {
        return Err(Trouble::Fault(
            "a refused message was applied to the canvas, whole or in part".to_owned(),
        ));
    }
    Ok(Some(format!("{count} shapes")))
}

/// What only the server may say.
pub(super) fn reserved_types(walk: &mut Walk) -> Verdict {
    let (session, epoch) = (walk.session.clone(), walk.epoch.clone());
    let messages = [
        json!({"type": "connection:ack", "session_id": session, "is_host": true, "users": []}),
        json!({"type": "user:joined", "user_id": "check-mallory"}),
        json!({"type": "user:left", "user_id": BOB}),
        json!({"type": "host:changed", "user_id": "check-mallory"}),
        json!({"type": "sync:state", "state": {"items": []}, "from_server": true, "epoch": epoch}),
        json!({"type": "pong"}),
        json!({"type": "error", "message": "check"}),
    ];
    let count = messages.len();
    all_refused(walk, &messages.map(|message| message.to_string()))?;
    Ok(Some(format!("{count} types")))
}

fn expect_status(response: &Response, status: u16, asked: &str) -> Outcome<()> {
    if response.status != status {
        let words = format!("{asked} must be refused with {status}; came {}", response.words());
        return Err(Trouble::Fault(words));
    }
    if response.body_line().is_empty() {
        let words =
            format!("{asked} is refused with {status}, but no line of text says what is wrong");
        return Err(Trouble::Fault(words));
    }
    Ok(())
}

/// Places that do not exist.
pub(super) fn unknown_path(walk: &mut Walk) -> Verdict {
    let session = walk.session.clone();
    let long = "x".repeat(129);
    for (asked, path) in [
        ("an unknown path", "/check-nowhere".to_owned()),
        ("a session without a user", format!("/ws/{session}")),
        ("an empty user id", format!("/ws/{session}/")),
        ("a user id of 129 characters", format!("/ws/{session}/{long}")),
        ("a session id with a control character", "/ws/check%07/check-alice".to_owned()),
    ] {
        let mut wire = walk.dial()?;
        let path = walk.target.under_prefix(&path);
        let response = http::ask_upgrade(&mut wire, &walk.target, &path, &generate_key())?;
        expect_status(&response, 404, asked)?;
    }
    Ok(None)
}

/// A browser that was given the editor's address.
pub(super) fn no_upgrade(walk: &mut Walk) -> Verdict {
    let path = walk.target.place(&walk.session, "check-dave");
    let mut wire = walk.dial()?;
    let response = http::get(&mut wire, &walk.target, &path)?;
    expect_status(&response, 426, "a plain GET of a user's place")?;
    Ok(None)
}
