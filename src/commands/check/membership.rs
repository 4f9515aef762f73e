//! Steps: who is in which session. Takeover, isolation, a host's own canvas, leaving.

use serde_json::json;

use super::client::{Client, Closed, LISTEN_TIME, Pick};
use super::document::snapshot_item;
use super::promises;
use super::received::Received;
use super::report::{Outcome, StepError, Verdict, fault, skip};
use super::walk::{ALICE, BOB, CAROL, Walk, ask_canvas, command, find, lens, pass, pass_last};
use crate::client::shown;

/// Whether `message` says that `user` came, went or became host, or that the host changed because
/// of it.
fn tells_of(message: &Received, user: &str) -> bool {
    message.is("host:changed")
        || ((message.is("user:left") || message.is("user:joined")) && message.by(user))
}

/// A second connection of a user: the new one counts, the old one is told so, the others notice
/// nothing.
pub(super) fn takeover(walk: &mut Walk) -> Verdict {
    let verdict = take_over(walk);
    // What the server now thinks of the new connection is anybody's guess. It ends, as well as it
    // can be ended, and the next step joins anew.
    if verdict.is_err()
        && let Some(mut alice) = walk.alice.take()
    {
        let _ = alice.send_close().and_then(|()| alice.wait_close());
        let _ = alice.wait_tcp_end();
    }
    verdict
}

fn take_over(walk: &mut Walk) -> Verdict {
    let (there, back) = (walk.name("item"), walk.name("item"));
    let session = walk.session.clone();
    let was_host = walk.pair()?.0.is_host;
    let (new, ack) = walk.join(&session, ALICE)?;
    let is_host = new.is_host;
    let Some(mut old) = walk.alice.replace(new) else {
        return skip(format!("{ALICE} was not connected"));
    };
    let closed = old.wait_close().map_err(|trouble| match trouble {
        StepError::Fault(words) => StepError::Fault(format!("the old connection: {words}")),
        skip => skip,
    })?;
    let ended = old.wait_tcp_end();
    drop(old);
    let expected = Closed { code: Some(1008), reason: "replaced by a newer connection".to_owned() };
    if closed != expected {
        let (expected, closed) = (expected.words(), closed.words());
        let words = format!("the old connection expected {expected}; it got {closed}");
        return fault(words);
    }
    ended?;
    if ack.is_some() && was_host != is_host {
        let words =
            format!("\"is_host\" was {was_host} before and is {is_host} after the takeover");
        return fault(words);
    }
    // The end of the old connection must not take the new one with it, now or a moment later.
    let (alice, bob) = walk.both()?;
    let judge = |m: &Received| match tells_of(m, ALICE) {
        true => Err(format!("{BOB} was told of a takeover: {}", m.shown())),
        false => Ok(()),
    };
    pass_last(alice, bob, &there, judge)?;
    bob.listen(LISTEN_TIME, judge)?;
    pass(bob, alice, &command("add_item", &back, lens(&back, 0.0)))?;
    Ok(None)
}

/// A user of the same name in another session is another user.
pub(super) fn isolation(walk: &mut Walk) -> Verdict {
    let (item, last) = (walk.name("item"), walk.name("item"));
    let elsewhere = format!("{}-2", walk.session);
    walk.pair()?;
    let (mut other, ack) = walk.join(&elsewhere, ALICE)?;
    if let Some(ack) = ack {
        promises::ack(&ack, &elsewhere, ALICE, &[ALICE])?;
    }
    let (alice, bob) = walk.both()?;
    alice.send(&json!({"type": "check:chat", "text": "for one session"}))?;
    pass(alice, bob, &command("add_item", &item, lens(&item, 0.0)))?;
    other.listen(LISTEN_TIME, |m| match m.is("check:chat") || m.changes(&item) {
        true => Err(format!("what was sent in one session came into another: {}", m.shown())),
        false => Ok(()),
    })?;
    other.send(&json!({"type": "check:chat", "text": "for the other session"}))?;
    other.send(&command("add_item", "check-elsewhere", lens("check-elsewhere", 0.0)))?;
    drop(other);
    pass_last(alice, bob, &last, |m| {
        match m.is("check:chat") && m.value["text"] == "for the other session"
            || m.changes("check-elsewhere")
            || tells_of(m, ALICE)
        {
            true => Err(format!("what happened in another session came to {BOB}: {}", m.shown())),
            false => Ok(()),
        }
    })?;
    Ok(None)
}

/// A host answers its own `user:joined` with its canvas. The server must take it, pass it to who
/// joins, and never send the host an emptier one, which would wipe what the host has drawn.
pub(super) fn host_canvas(walk: &mut Walk) -> Verdict {
    let (one, two) = (walk.name("item"), walk.name("item"));
    let session = format!("{}-3", walk.session);
    if !walk.greeting.joined {
        return skip("this server sends no user:joined for a host to answer");
    }
    let snapshot = json!({
        "items": [snapshot_item(&one), snapshot_item(&two)],
        "version": 3, "timestamp": "2025-10-28T13:30:45.123Z",
    });
    let (mut host, _) = walk.join(&session, ALICE)?;
    host.send(&json!({"type": "sync:request", "user_id": ALICE}))?;
    let mine = json!({"type": "sync:full_state", "state": snapshot, "target_user": ALICE});
    host.send(&mine)?;
    let would_wipe = |m: &Received| {
        let state = &m.value["state"];
        let empty = state.as_object().is_none_or(serde_json::Map::is_empty);
        let items = state["items"].as_array();
        let has = |id: &str| items.is_some_and(|items| items.iter().any(|item| item["uuid"] == id));
        match (m.is("sync:state") || m.is("sync:full_state")) && !empty && !(has(&one) && has(&two))
        {
            true => {
                Err(format!("this would wipe the canvas of a host that shares one: {}", m.shown()))
            }
            false => Ok(()),
        }
    };
    let answer = host.wait_for("\"state\":null in answer to a host's sync:request", |m| {
        would_wipe(m)?;
        Ok(if m.is("sync:state") { Pick::Take(m.clone()) } else { Pick::Other })
    })?;
    if promises::state(&answer, None)?.is_some() {
        let words =
            format!("a host whose canvas the server has needs no other; came {}", answer.shown());
        return fault(words);
    }

    let (mut guest, _) = walk.join(&session, BOB)?;
    let items = ask_canvas(&mut guest)?;
    promises::items(&items)?;
    if items.len() != 2 || find(&items, &one).is_none() || find(&items, &two).is_none() {
        let words = format!(
            "the guest expected the host's 2 items; came {}",
            shown(&json!(items).to_string())
        );
        return fault(words);
    }
    host.listen(LISTEN_TIME, would_wipe)?;
    Ok(None)
}

/// A snapshot from a user who is not the host and has not just joined changes nothing.
pub(super) fn guest_snapshot(walk: &mut Walk) -> Verdict {
    let (item, last) = (walk.name("item"), walk.name("item"));
    let (alice, bob) = walk.pair()?;
    let (host, guest) = if bob.is_host { (bob, alice) } else { (alice, bob) };
    pass(host, guest, &command("add_item", &item, lens(&item, 0.0)))?;
    let sent = json!({
        "type": "sync:full_state", "target_user": host.user,
        "state": {"items": [], "version": 2000, "timestamp": "2025-10-28T13:30:45.123Z"},
    });
    guest.send(&sent)?;
    let answer = guest
        .hear("an error \"not_host\" for a snapshot from who is not the host", |m| m.is("error"))?;
    promises::error(&answer, Some("sync:full_state"))?;
    if answer.value["error_type"] != "not_host" {
        let words = format!("expected \"error_type\":\"not_host\"; came {}", answer.shown());
        return fault(words);
    }
    pass_last(guest, host, &last, |m| {
        let removed = m.value["command"]["action"] == "remove_item";
        match m.is("sync:state") || m.is("sync:full_state") || removed {
            true => Err(format!("a refused snapshot reached the host: {}", m.shown())),
            false => Ok(()),
        }
    })?;
    match find(&ask_canvas(host)?, &item) {
        Some(_) => Ok(None),
        None => fault("a refused snapshot changed the canvas"),
    }
}

/// Waits until `client` is told that `user` left.
fn hear_left(client: &mut Client, user: &str) -> Outcome<()> {
    let left = client.hear(&format!("user:left of {user}"), |m| m.is("user:left") && m.by(user))?;
    Ok(promises::timestamp(&left)?)
}

/// A connection that ends without a word is a user who left.
pub(super) fn lost_connection(walk: &mut Walk) -> Verdict {
    let Some(carol) = walk.carol.take() else {
        return skip("the late joiner was not connected");
    };
    walk.pair()?;
    drop(carol);
    let (alice, bob) = walk.both()?;
    hear_left(alice, CAROL)?;
    hear_left(bob, CAROL)?;
    Ok(None)
}

/// A close is answered with the same code, and the server ends the TCP connection.
pub(super) fn close(walk: &mut Walk) -> Verdict {
    let (alice, _) = walk.pair()?;
    alice.send_close()?;
    let closed = alice.wait_close()?;
    if closed.code != Some(1000) {
        let words = format!("expected close code 1000 in answer to 1000; came {}", closed.words());
        return fault(words);
    }
    alice.wait_tcp_end()?;
    Ok(None)
}

/// Those who stay hear of it.
pub(super) fn leave(walk: &mut Walk) -> Verdict {
    match &mut walk.bob {
        Some(bob) if !bob.ended() => hear_left(bob, ALICE)?,
        _ => return skip("nobody is left to hear of it"),
    }
    Ok(None)
}

/// The host has left; the one who is there longest is the next.
pub(super) fn new_host(walk: &mut Walk) -> Verdict {
    let was_host = walk.alice.as_ref().is_some_and(|alice| alice.is_host);
    match &mut walk.bob {
        Some(bob) if !bob.ended() && bob.is_host => Ok(None),
        Some(bob) if !bob.ended() && was_host => {
            bob.wait_for(&format!("host:changed to {BOB}, who is there longest"), |m| {
                if m.is("host:changed") && !m.by(BOB) {
                    return Err(format!(
                        "{BOB} is there longest, but another one became host: {}",
                        m.shown()
                    ));
                }
                Ok(if m.is("host:changed") { Pick::Take(()) } else { Pick::Other })
            })?;
            Ok(None)
        }
        _ => skip("the one who left was not the host"),
    }
}
