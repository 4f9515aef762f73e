//! Steps: what one user does, the other one sees, whole, once and in order.

use serde_json::{Value, json};

use super::client::{LISTEN_TIME, Pick};
use super::promises::{self, OLD_TIME};
use super::report::{StepError, Verdict, fault, skip};
use super::walk::{ALICE, Walk, ask_canvas, command, find, lens, pass};

/// How many commands go out in one go for the order.
const COMMANDS_AT_ONCE: u64 = 200;

/// A message's size for the fragments: over what the editor's library sends in one frame, under the
/// server's default limit.
const BIG: usize = 600_000;

/// A command reaches the other user, with the server's word on who and when.
pub(super) fn one_command(walk: &mut Walk) -> Verdict {
    let item = walk.name("item");
    let mut data = lens(&item, 12.5);
    data["check_number"] = json!(9_007_199_254_740_993_u64);
    let mut sent = command("add_item", &item, data);
    sent["user_id"] = json!("check-mallory");
    sent["timestamp"] = json!(OLD_TIME);
    sent["check_extra"] = json!({"kept": [1, 2.0, null]});
    let (alice, bob) = walk.pair()?;
    let message = pass(alice, bob, &sent)?;
    promises::command(&message, ALICE, &sent)?;
    Ok(None)
}

/// The sender has done it already and must not be told again.
pub(super) fn no_echo(walk: &mut Walk) -> Verdict {
    let item = walk.name("item");
    let (alice, bob) = walk.pair()?;
    pass(alice, bob, &command("add_item", &item, lens(&item, 1.0)))?;
    alice.listen(LISTEN_TIME, |m| match m.echoes(ALICE, "command") {
        true => Err(format!("{ALICE} got back its own command: {}", m.shown())),
        false => Ok(()),
    })?;
    Ok(None)
}

/// The other three actions, in both directions.
pub(super) fn changes(walk: &mut Walk) -> Verdict {
    let item = walk.name("item");
    let (alice, bob) = walk.pair()?;
    let mut full = lens(&item, 3.0);
    full["name"] = json!("renamed");
    let spot = json!({"x_mm": 4.25, "y_mm": 5.5, "angle_deg": -45.0});
    for (action, data, from_alice) in [
        ("add_item", lens(&item, 2.0), true),
        ("update_item", full, false),
        ("move_item", spot, true),
        ("remove_item", json!({}), false),
    ] {
        let sent = command(action, &item, data);
        let (sender, other) =
            if from_alice { (&mut *alice, &mut *bob) } else { (&mut *bob, &mut *alice) };
        let message = pass(sender, other, &sent)?;
        promises::command(&message, &sender.user, &sent)?;
        if action == "update_item" {
            // The editor makes a blank item of an update that has a part of its fields.
            let part = command(action, &item, json!({"name": "renamed again"}));
            let message = pass(sender, other, &part)?;
            promises::command(&message, &sender.user, &part)?;
            promises::whole_item(&message, &lens(&item, 3.0))?;
        }
    }
    Ok(None)
}

/// Many commands at once arrive all, in order, numbered without a gap.
pub(super) fn order(walk: &mut Walk) -> Verdict {
    let item = walk.name("item");
    let (alice, bob) = walk.pair()?;
    pass(alice, bob, &command("add_item", &item, lens(&item, 0.0)))?;
    for n in 1..=COMMANDS_AT_ONCE {
        alice.send(&command("move_item", &item, json!({"x_mm": n, "y_mm": 0, "angle_deg": 0})))?;
    }
    let (mut next, mut last_seq) = (1, None);
    let mut gap = None;
    bob.wait_for(&format!("all of {COMMANDS_AT_ONCE} commands sent in one go"), |m| {
        // What the server sends by itself to settle items may use up a number.
        if m.settles() {
            last_seq = last_seq.max(m.value["seq"].as_u64());
        }
        if !m.changes(&item) {
            return Ok(Pick::Other);
        }
        if *m.data("x_mm") != next {
            return Err(format!(
                "expected command {next} of {COMMANDS_AT_ONCE}; what came is {}",
                m.shown()
            ));
        }
        // A missing one is another step's fault.
        let seq = m.value["seq"].as_u64();
        if let (Some(seq), Some(last)) = (seq, last_seq)
            && seq != last + 1
        {
            gap.get_or_insert_with(|| {
                format!("command {next} has \"seq\" {seq}, the one before it {last}")
            });
        }
        last_seq = seq.or(last_seq);
        next += 1;
        Ok(if next > COMMANDS_AT_ONCE { Pick::Take(()) } else { Pick::More })
    })?;
    match gap {
        Some(words) => fault(words),
        None => Ok(None),
    }
}

/// Two users at once: there is one order, the same for both of them and for the canvas.
pub(super) fn both_at_once(walk: &mut Walk) -> Verdict {
    let item = walk.name("item");
    let (alice, bob) = walk.pair()?;
    pass(alice, bob, &command("add_item", &item, lens(&item, 0.0)))?;
    for n in 1..=COMMANDS_AT_ONCE / 2 {
        alice.send(&command("move_item", &item, json!({"x_mm": n, "y_mm": 0, "angle_deg": 0})))?;
        bob.send(&command(
            "move_item",
            &item,
            json!({"x_mm": -(n as i64), "y_mm": 0, "angle_deg": 0}),
        ))?;
    }
    let mut all: Vec<(u64, Value)> = Vec::new();
    for client in [&mut *alice, &mut *bob] {
        let user = client.user.clone();
        let (mut left, mut last_seq) = (COMMANDS_AT_ONCE / 2, 0);
        let what = format!("the other user's {left} commands sent at the same time");
        client.wait_for(&what, |m| {
            if !m.changes(&item) || m.by(&user) {
                return Ok(Pick::Other);
            }
            if let Some(seq) = m.value["seq"].as_u64() {
                if seq <= last_seq {
                    return Err(format!(
                        "{user} expected a \"seq\" over {last_seq}; came {}",
                        m.shown()
                    ));
                }
                last_seq = seq;
                all.push((seq, m.data("x_mm").clone()));
            }
            left -= 1;
            Ok(if left == 0 { Pick::Take(()) } else { Pick::More })
        })?;
    }
    if all.is_empty() {
        return skip("the commands have no \"seq\" to compare");
    }
    all.sort_by_key(|(seq, _)| *seq);
    if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let words = format!("two different commands have the same \"seq\" {}", pair[0].0);
        return fault(words);
    }
    let canvas = ask_canvas(bob)?;
    let x = find(&canvas, &item).map(|item| &item["x_mm"]);
    match all.last() {
        Some((seq, last)) if x != Some(last) => {
            let x = x.unwrap_or(&Value::Null);
            fault(format!(
                "the last command, \"seq\" {seq}, set \"x_mm\" {last}; the canvas has {x}"
            ))
        }
        _ => Ok(None),
    }
}

/// Cursors are passed on.
pub(super) fn cursor(walk: &mut Walk) -> Verdict {
    let sent = json!({
        "type": "cursor", "user_id": "check-mallory", "timestamp": OLD_TIME,
        "x_mm": 1.5, "y_mm": -2, "check_extra": "kept",
    });
    let (alice, bob) = walk.pair()?;
    alice.send(&sent)?;
    let message = bob.hear("alice's cursor", |m| m.is("cursor"))?;
    promises::relayed(&message, ALICE, &sent)?;
    Ok(None)
}

/// So is what the server has never heard of, but not back to its sender.
pub(super) fn unknown_type(walk: &mut Walk) -> Verdict {
    let sent = json!({
        "type": "check:chat", "user_id": "check-mallory", "timestamp": OLD_TIME,
        "text": "größer \u{1f52d} \"quoted\" \\ \u{0}", "nested": {"list": [1, [2, {"three": 3}]]},
    });
    let (alice, bob) = walk.pair()?;
    alice.send(&sent)?;
    let message =
        bob.hear("alice's message of a type the server does not know", |m| m.is("check:chat"))?;
    promises::relayed(&message, ALICE, &sent)?;
    alice.listen(LISTEN_TIME, |m| match m.is("check:chat") {
        true => Err(format!("{ALICE} got back its own message: {}", m.shown())),
        false => Ok(()),
    })?;
    Ok(None)
}

/// A big message in several frames, as the editor sends a large canvas, arrives whole.
pub(super) fn fragments(walk: &mut Walk) -> Verdict {
    let mark = walk.name("big");
    let (alice, bob) = walk.pair()?;
    let sent = json!({"type": "check:big", "mark": mark, "filling": "x".repeat(BIG)});
    let text = sent.to_string();
    let (first, rest) = text.as_bytes().split_at(BIG / 2);
    let (second, third) = rest.split_at(BIG / 4);
    let mut bytes = super::frames::frame(0x01, true, first);
    bytes.extend(super::frames::frame(0x00, true, second));
    // A ping may stand between the fragments of a message.
    bytes.extend(super::frames::frame(0x89, true, b"check"));
    bytes.extend(super::frames::frame(0x80, true, third));
    // Whether a server that closed let all of it be sent is a matter of luck; what it said counts.
    let _ = alice.send_raw(&bytes);
    let passed = bob.hear("a message of 600,000 bytes in three fragments", |m| m.is("check:big"));
    let message = passed.map_err(|trouble| {
        // The sender was not read meanwhile. If it was thrown out, that is the answer.
        let _ = alice.skim();
        match alice.end() {
            Some(end) => StepError::Fault(format!(
                "on {BIG} bytes in three fragments {end}; \
                 with a limit under 2^20 bytes large canvases cannot be shared"
            )),
            None => trouble,
        }
    })?;
    promises::relayed(&message, ALICE, &sent)?;
    Ok(None)
}
