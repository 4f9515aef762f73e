//! Steps: connecting, the greeting, the empty canvas, heartbeats, a second user.

use std::time::Instant;

use serde_json::json;
use tungstenite::Message;

use super::client::{Event, Pick};
use super::promises;
use super::received::Received;
use super::report::{Verdict, fault, skip};
use super::walk::{ALICE, BOB, Walk, ask_state};
use crate::client::TIMEOUT;
use crate::client::shown;

/// Finds the server and upgrades the first connection.
pub(super) fn connect(walk: &mut Walk) -> Verdict {
    walk.resolve()?;
    let session = walk.session.clone();
    walk.alice = Some(walk.enter(&session, ALICE)?);
    Ok(None)
}

/// The first message is the ack.
pub(super) fn ack(walk: &mut Walk) -> Verdict {
    walk.greeting.ack = false;
    let session = walk.session.clone();
    let alice = walk.alice()?;
    // One that comes too late is a fault, but the later steps need what is in it all the same.
    let mut before = Vec::new();
    let ack = alice.wait_for("connection:ack as the very first message", |m| {
        if m.is("connection:ack") {
            return Ok(Pick::Take(m.clone()));
        }
        // A server that says much more than this is not waited for to the end of it.
        match before.len() < 100 {
            true => before.push(m.clone()),
            false => return Err("100 messages came, and no connection:ack".to_owned()),
        }
        Ok(Pick::Other)
    });
    let first = before.first().map(Received::shown);
    alice.put_back(before);
    let ack = ack?;
    alice.is_host = ack.value["is_host"] == true;
    let is_host = alice.is_host;
    walk.greeting.ack = true;
    walk.epoch = ack.value.get("epoch").filter(|epoch| !epoch.is_null()).cloned();
    if let Some(first) = first {
        let words = "connection:ack came too late: the editor ignores what comes before it";
        return fault(format!("{words}, and first came {first}"));
    }
    promises::ack(&ack, &session, ALICE, &[ALICE])?;
    if !is_host {
        return fault("the first user of a session must have \"is_host\" true");
    }
    Ok(Some(format!("the server is {}", server_name(&ack))))
}

/// What the server calls itself, however it writes that.
fn server_name(ack: &Received) -> String {
    let server = &ack.value["server"];
    let parts = ["name", "version"].map(|field| server[field].as_str());
    match (server.as_str(), parts) {
        (Some(name), _) => shown(name),
        (None, [Some(name), Some(version)]) => shown(&format!("{name} {version}")),
        _ => shown(&server.to_string()),
    }
}

/// The second message is one's own `user:joined`.
pub(super) fn joined(walk: &mut Walk) -> Verdict {
    walk.greeting.joined = false;
    let alice = walk.alice()?;
    let what = "its own user:joined, right after connection:ack";
    let second = alice.hear(what, |_| true)?;
    if !(second.is("user:joined") && second.by(ALICE)) {
        let words = format!("{ALICE} expected {what}; what came is {}", second.shown());
        alice.put_back(vec![second]);
        return fault(words);
    }
    walk.greeting.joined = true;
    promises::timestamp(&second)?;
    Ok(None)
}

/// Alone and without a canvas to share, a user gets an empty one and not none: the editor sends
/// nothing of its own before it has received a state.
pub(super) fn empty_canvas(walk: &mut Walk) -> Verdict {
    let epoch = walk.epoch.clone();
    let alice = walk.solo()?;
    let state = ask_state(alice)?;
    let items = promises::state(&state, epoch.as_ref())?;
    let version = &state.value["state"]["version"];
    if items.is_none_or(|items| !items.is_empty()) || version.as_f64() != Some(0.0) {
        let words =
            format!("expected a state with \"items\":[] and \"version\":0; came {}", state.shown());
        return fault(words);
    }
    Ok(None)
}

/// Pings are answered with their own id and t, in the order they were sent. The editor's have
/// neither.
pub(super) fn heartbeat(walk: &mut Walk) -> Verdict {
    let alice = walk.solo()?;
    let pings = [
        json!({"type": "ping", "id": "check-beat-1", "t": 1000}),
        json!({"type": "ping"}),
        json!({"type": "ping", "id": 3, "t": "check"}),
    ];
    for ping in &pings {
        alice.send(ping)?;
    }
    for ping in &pings {
        let pong = alice.hear("a pong", |m| m.is("pong"))?;
        promises::timestamp(&pong)?;
        if pong.value["id"] != ping["id"] || pong.value["t"] != ping["t"] {
            let words =
                format!("expected the pong to {ping}, with its id and t; came {}", pong.shown());
            return fault(words);
        }
    }
    walk.pongs = true;
    Ok(None)
}

/// WebSocket's own pings too. One after the other: of several at once RFC 6455 §5.5.3 lets a server
/// answer the last alone.
pub(super) fn protocol_ping(walk: &mut Walk) -> Verdict {
    let alice = walk.solo()?;
    for payload in ["check-1", "", "check-3"] {
        alice.transmit(Message::Ping(payload.into()))?;
        let deadline = Instant::now() + TIMEOUT;
        let expected = format!("expected a Pong frame with {payload:?} in it");
        loop {
            let came = match alice.event(deadline)? {
                Event::Pong(came) if came == payload.as_bytes() => break,
                Event::Message(_) => continue,
                Event::Pong(came) => {
                    format!("one with {} came", shown(&String::from_utf8_lossy(&came)))
                }
                Event::Closed(closed) => format!("the server closed with {}", closed.words()),
                Event::Silence => format!("none came within {} s", TIMEOUT.as_secs()),
            };
            return fault(format!("{expected}; {came}"));
        }
    }
    Ok(None)
}

/// A second user is greeted with who is there; the first one hears of it before anything else from
/// there.
pub(super) fn second_user(walk: &mut Walk) -> Verdict {
    let (session, epoch) = (walk.session.clone(), walk.epoch.clone());
    let alice_is_host = walk.solo()?.is_host;
    let (mut bob, ack) = walk.join(&session, BOB)?;
    let state = ask_state(&mut bob);
    let bob_is_host = bob.is_host;
    walk.bob = Some(bob);
    if let Some(ack) = ack {
        promises::ack(&ack, &session, BOB, &[ALICE, BOB])?;
        if epoch.as_ref().is_some_and(|epoch| ack.value["epoch"] != *epoch) {
            return fault("the second user was given another \"epoch\" than the first");
        }
        if alice_is_host && bob_is_host {
            return fault("the second user was told that it is the host too");
        }
    }
    let state = state?;
    if promises::state(&state, epoch.as_ref())?.is_none() {
        let words = format!("the second user needs a canvas to start with; came {}", state.shown());
        return fault(words);
    }
    let what = format!("user:joined of {BOB} before anything else about him");
    let joined = walk.alice()?.hear(&what, |m| m.by(BOB))?;
    if !joined.is("user:joined") {
        return fault(format!("{ALICE} expected {what}; came {}", joined.shown()));
    }
    promises::timestamp(&joined)?;
    Ok(None)
}

/// Names are what the user typed, not how they travel: the editor encodes some characters and not
/// others.
pub(super) fn names(walk: &mut Walk) -> Verdict {
    if !walk.greeting.ack {
        return skip("this server sends no connection:ack with a name in it");
    }
    let session = format!("{}-größe 1+1 100%", walk.session);
    for user in ["check däve", "check/dave/2", "check-50%+?#"] {
        let mut client = walk.enter(&session, user)?;
        let ack = client.hear("connection:ack", |m| m.is("connection:ack"))?;
        for (field, name) in [("session_id", session.as_str()), ("user_id", user)] {
            if ack.value[field] != name {
                let words = format!("\"{field}\" must be {name:?} and is {}", ack.value[field]);
                return fault(format!("connection:ack: {words}"));
            }
        }
    }
    Ok(None)
}
