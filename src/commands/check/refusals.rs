//! Steps: what the server must refuse without ending the connection, and over plain HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::client::generate_key;

use super::client::{Client, Pick};
use super::promises;
use super::report::{Outcome, Verdict, fault};
use super::walk::{ALICE, BOB, Walk, ask_canvas, command, find, lens, pass, pass_last};
use crate::client::TIMEOUT;
use crate::client::http::{self, Response};
use crate::client::shown;

/// How much later than the pong to a later ping an error may come: the two may be made in different
/// places of a server.
const LATE_ERROR_TIMEOUT: Duration = Duration::from_millis(500);

/// Sends `text`, which must get an `error`, and a ping after it, which must still be answered.
fn refused(client: &mut Client, ping: Option<&str>, text: &str) -> Outcome<()> {
    let sent = shown(text);
    let parsed = serde_json::from_str::<Value>(text).unwrap_or_default();
    let original = parsed["type"].as_str();
    let mut refusal = None;
    client.send_text(text)?;
    if let Some(id) = ping {
        client.send(&json!({"type": "ping", "id": id}))?;
        let what = format!("a connection that goes on, and a pong on it, after {sent}");
        client.wait_for(&what, |m| {
            if m.is("error") {
                refusal = Some(m.clone());
                return Ok(Pick::More);
            }
            let pong = m.is("pong") && m.value["id"] == id;
            Ok(if pong { Pick::Take(()) } else { Pick::Other })
        })?;
    }
    let refusal = match refusal {
        Some(refusal) => refusal,
        None => {
            let patience = if ping.is_some() { LATE_ERROR_TIMEOUT } else { TIMEOUT };
            let what = format!("an error for {sent}");
            client.wait_within(patience, &what, |m| {
                Ok(if m.is("error") { Pick::Take(m.clone()) } else { Pick::Other })
            })?
        }
    };
    Ok(promises::error(&refusal, original)?)
}

/// Sends each of `texts` as Alice: each must be refused, and Bob must hear none of it.
fn all_refused(walk: &mut Walk, texts: &[String]) -> Outcome<()> {
    let (last, ping) = (walk.name("item"), walk.name("beat"));
    let ping = walk.pongs.then_some(ping);
    let (alice, bob) = walk.pair()?;
    for text in texts {
        refused(alice, ping.as_deref(), text)?;
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
    let shapes = [
        json!({"type": "command", "command": "add_item"}),
        json!({"type": "command", "command": ["add_item"]}),
        json!({"type": "command", "command": {"action": "add_item", "item_id": 7, "data": {}}}),
        data(json!("x_mm")),
        data(json!([1, 2])),
        data(json!({"x_mm": "12"})),
        data(json!({"name": "half", "y_mm": true})),
        data(json!({"x_mm": 2.0, "angle_deg": null})),
        command("move_item", &item, json!({"x_mm": 3.0, "y_mm": {}, "angle_deg": 0})),
        command("add_item", &other, json!({"item_uuid": other, "_type": "component", "x_mm": []})),
        state(json!("canvas")),
        state(json!([])),
        items(json!({})),
        json!({"type": "sync:full_state", "state": 7, "target_user": BOB}),
    ];
    let count = shapes.len();
    all_refused(walk, &shapes.map(|shape| shape.to_string()))?;
    let items = ask_canvas(walk.both()?.1)?;
    let kept = find(&items, &item);
    if kept.is_none_or(|kept| kept["x_mm"] != 1.0 || kept["name"] != "a lens")
        || find(&items, &other).is_some()
    {
        return fault("a refused message was applied to the canvas, whole or in part");
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
        return fault(words);
    }
    if response.body_line().is_empty() {
        let words =
            format!("{asked} is refused with {status}, but no line of text says what is wrong");
        return fault(words);
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
        let response = http::ask_upgrade(&mut wire, &walk.target, &path, &[], &generate_key())?;
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
