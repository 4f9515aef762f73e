//! Steps: connecting, the greeting, the empty canvas, heartbeats, a second user.

use std::time::Instant;

use serde_json::json;
use tungstenite::Message;

use super::client::Event;
use super::promises;
use super::received::shown;
use super::report::{Trouble, Verdict};
use super::walk::{ALICE, BOB, Walk, ask_state};
use super::wire::PATIENCE;

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
    let alice = walk.solo()?;
    let what = "connection:ack as the very first message";
    let first = alice.hear(what, |_| true)?;
    if !first.is("connection:ack") {
        let words = format!(
            "expected {what}, because the editor ignores whatever comes before it; first came {}",
            first.shown()
        );
        alice.put_back(first);
        return Err(Trouble::Fault(words));
    }
    alice.is_host = first.value["is_host"] == true;
    let is_host = alice.is_host;
    walk.greeting.ack = true;
    walk.epoch = first.value.get("epoch").filter(|epoch| !epoch.is_null()).cloned();
    promises::ack(&first, &session, ALICE, &[ALICE])?;
    if !is_host {
        return Err(Trouble::Fault(
            "the first user of a session must have \"is_host\" true".to_owned(),
        ));
    }
    let server = &first.value["server"];
    Ok(Some(format!("the server calls itself {}", shown(&server.to_string()))))
}

/// The second message is one's own `user:joined`.
pub(super) fn joined(walk: &mut Walk) -> Verdict {
    walk.greeting.joined = false;
    let alice = walk.solo()?;
    let what = "its own user:joined, right after connection:ack";
    let second = alice.hear(what, |_| true)?;
    if !(second.is("user:joined") && second.by(ALICE)) {
        let words = format!("{ALICE} expected {what}; what came is {}", second.shown());
        alice.put_back(second);
        return Err(Trouble::Fault(words));
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
        return Err(Trouble::Fault(words));
    }
    Ok(None)
}

/// Pings are answered with their own id and t, in the order they were sent.
pub(super) fn heartbeat(walk: &mut Walk) -> Verdict {
    let alice = walk.solo()?;
    for n in 1..=3 {
        alice.send(&json!({"type": "ping", "id": format!("check-beat-{n}"), "t": n * 1000}))?;
    }
    for n in 1..=3 {
        let pong = alice.hear("a pong", |m| m.is("pong"))?;
        promises::timestamp(&pong)?;
        if pong.value["id"] != format!("check-beat-{n}") || pong.value["t"] != n * 1000 {
            let words = format!(
                "expected the pong to bring back \"id\":\"check-beat-{n}\" and \"t\":{}; came {}",
                n * 1000,
                pong.shown()
            );
            return Err(Trouble::Fault(words));
        }
    }
    Ok(None)
}

/// WebSocket's own pings too. One after the other: of several at once RFC 6455 §5.5.3 lets a server
/// answer the last alone.
pub(super) fn protocol_ping(walk: &mut Walk) -> Verdict {
    let alice = walk.solo()?;
    for payload in ["check-1", "", "check-3"] {
        alice.transmit(Message::Ping(payload.into()))?;
        let deadline = Instant::now() + PATIENCE;
        let expected = format!("expected a Pong frame with {payload:?} in it");
        loop {
            let came = match alice.event(deadline)? {
                Event::Pong(came) if came == payload.as_bytes() => break,
                Event::Message(_) => continue,
                Event::Pong(came) => {
                    format!("one with {} came", shown(&String::from_utf8_lossy(&came)))
                }
                Event::Closed(closed) => format!("the server closed with {}", closed.words()),
                Event::Silence => format!("none came within {} s", PATIENCE.as_secs()),
            };
            return Err(Trouble::Fault(format!("{expected}; {came}")));
        }
    }
    Ok(None)
}

/// A second user is greeted with who is there; the first one hears of it before anything else from there.
pub(super) fn second_user(walk: &mut Walk) -> Verdict {
    let session = walk.session.clone();
    let (epoch, greets) = (walk.epoch.clone(), walk.greeting.joined);
    let alice_is_host = walk.solo()?.is_host;
    let (mut bob, ack) = walk.join(&session, BOB)?;
    let state = ask_state(&mut bob);
    let bob_is_host = bob.is_host;
    walk.bob = Some(bob);
    if let Some(ack) = ack {
        promises::ack(&ack, &session, BOB, &[ALICE, BOB])?;
        if epoch.is_some_and(|epoch| ack.value["epoch"] != epoch) {
            return Err(Trouble::Fault(
                "the second user was given another \"epoch\" than the first".to_owned(),
            ));
        }
        if alice_is_host && bob_is_host {
            return Err(Trouble::Fault(
                "the second user was told that it is the host too".to_owned(),
            ));
        }
    }
    let state = state?;
    if promises::state(&state, walk.epoch.as_ref())?.is_none() {
        let words = format!("the second user needs a canvas to start with; came {}", state.shown());
        return Err(Trouble::Fault(words));
    }
    if !greets {
        return Ok(Some(
            "whether others hear of it was not asked: this server sends no user:joined".to_owned(),
        ));
    }
    let what = "user:joined of check-bob before anything else about him";
    let joined = walk.solo()?.hear(what, |m| m.by(BOB))?;
    if !joined.is("user:joined") {
        return Err(Trouble::Fault(format!("{ALICE} expected {what}; came {}", joined.shown())));
    }
    promises::timestamp(&joined)?;
    Ok(None)
}
