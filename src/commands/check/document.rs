//! Steps: what the server remembers. Confirmations, late joiners, catching up, whole new canvases.

use serde_json::{Value, json};

use super::client::{Client, LISTEN_TIME, Pick};
use super::promises;
use super::received::Received;
use super::report::{Outcome, Verdict, fault, skip};
use super::walk::{
    ALICE, BOB, CAROL, Walk, ask_canvas, ask_state, command, find, lens, pass, pass_last,
};

/// Sends `sent`, which has an `id`, and waits for its confirmation. Gives the confirmed `seq`.
fn confirm(client: &mut Client, sent: &Value) -> Outcome<u64> {
    let message = hear_confirmation(client, sent)?;
    let (id, original) = (sent["id"].as_str(), sent["type"].as_str());
    Ok(promises::delivered(&message, id.unwrap_or_default(), original.unwrap_or_default())?)
}

fn hear_confirmation(client: &mut Client, sent: &Value) -> Outcome<Received> {
    let id = sent["id"].as_str().unwrap_or_default();
    let original = sent["type"].as_str().unwrap_or_default();
    client.send(sent)?;
    let what = format!("message_delivered for its {original} with \"id\":{id:?}");
    client.hear(&what, |m| m.is("message_delivered"))
}

/// A command with an `id` is confirmed to its sender, under the number it was passed on with.
pub(super) fn confirmation(walk: &mut Walk) -> Verdict {
    let (item, id) = (walk.name("item"), walk.name("id"));
    let (alice, bob) = walk.pair()?;
    let mut sent = command("add_item", &item, lens(&item, 7.0));
    sent["id"] = json!(id);
    let confirmed = confirm(alice, &sent)?;
    let message = bob.hear("alice's add_item", |m| m.changes(&item))?;
    walk.confirms = true;
    let passed_on = promises::seq(&message)?;
    if confirmed != passed_on {
        let words = format!("confirmed with \"seq\" {confirmed}, but passed on with {passed_on}");
        return fault(words);
    }
    Ok(None)
}

/// A message that is sent again, as after a doubtful connection, is confirmed again and does nothing; another
/// one with its `id` is refused.
pub(super) fn repeated_id(walk: &mut Walk) -> Verdict {
    if !walk.confirms {
        return skip("this server does not confirm commands");
    }
    let (item, id, last) = (walk.name("item"), walk.name("id"), walk.name("item"));
    let (alice, bob) = walk.pair()?;
    let mut once = command("update_item", &item, json!({"x_mm": 1.0}));
    once["id"] = json!(id);
    alice.send(&command("add_item", &item, lens(&item, 0.0)))?;
    confirm(alice, &once)?;
    alice.send(&command("update_item", &item, json!({"x_mm": 2.0})))?;
    let again = hear_confirmation(alice, &once)?;
    promises::delivered(&again, &id, "command")?;
    if again.value["repeated"] != true {
        let words = format!(
            "a repeated command's confirmation needs \"repeated\":true; came {}",
            again.shown()
        );
        return fault(words);
    }
    let mut other = once.clone();
    other["command"]["data"]["x_mm"] = json!(3.0);
    alice.send(&other)?;
    let error = alice
        .hear("an error \"duplicate_id\" for another command with the same \"id\"", |m| {
            m.is("error") || m.is("message_delivered")
        })?;
    if error.value["error_type"] != "duplicate_id" {
        let words = format!("expected \"error_type\":\"duplicate_id\"; came {}", error.shown());
        return fault(words);
    }
    promises::error(&error, Some("command"))?;
    let mut heard = 0;
    pass_last(alice, bob, &last, |m| {
        heard += usize::from(m.changes(&item));
        match heard > 3 {
            true => Err(format!(
                "{BOB} heard a command twice because its \"id\" was sent twice: {}",
                m.shown()
            )),
            false => Ok(()),
        }
    })?;
    let items = ask_canvas(bob)?;
    match find(&items, &item).map(|item| &item["x_mm"]) {
        Some(x) if *x == 2.0 => Ok(None),
        Some(x) => {
            fault(format!("the repeated command was applied again: \"x_mm\" is {x}, not 2.0"))
        }
        None => fault("the item is not in the server's canvas"),
    }
}

/// Who comes late is given the canvas as the others have made it, right after its own
/// `user:joined`.
pub(super) fn late_join(walk: &mut Walk) -> Verdict {
    let (first, second, gone) = (walk.name("item"), walk.name("item"), walk.name("item"));
    let session = walk.session.clone();
    let epoch = walk.epoch.clone();
    let (alice, bob) = walk.pair()?;
    pass(alice, bob, &command("add_item", &first, lens(&first, 1.0)))?;
    // serde_json would write 12.5; only the text itself can show that the server kept the number.
    let odd = command(
        "add_item",
        &second,
        json!({"item_uuid": second, "_type": "component", "x_mm": "ODD"}),
    );
    bob.send_text(&odd.to_string().replace("\"ODD\"", "12.50"))?;
    alice.hear("bob's add_item", |m| m.changes(&second))?;
    pass(alice, bob, &command("add_item", &gone, lens(&gone, 3.0)))?;
    // A guest of the editor moves an item with its other fields blank: they must not count.
    let moved = json!({"x_mm": 99.0, "y_mm": 0.0, "angle_deg": 0.0, "name": ""});
    pass(bob, alice, &command("move_item", &first, moved))?;
    pass(alice, bob, &command("remove_item", &gone, json!({})))?;
    bob.send(&command("update_item", &gone, lens(&gone, 4.0)))?;
    bob.hear("remove_item for what it still changes although somebody else removed it", |m| {
        m.value["command"]["action"] == "remove_item" && m.value["command"]["item_id"] == gone
    })?;

    let (mut carol, ack) = walk.join(&session, CAROL)?;
    let state = carol.hear("sync:state right after its own user:joined", |_| true);
    walk.carol = Some(carol);
    let users = ack.iter().flat_map(|ack| ack.value["users"].as_array()).flatten();
    let users: Vec<&str> = users.filter_map(|user| user["user_id"].as_str()).collect();
    if !users.is_empty() && ![ALICE, BOB, CAROL].iter().all(|user| users.contains(user)) {
        return fault(format!("the late joiner was told that only {users:?} are there"));
    }
    let state = state?;
    if !state.is("sync:state") {
        let words = format!(
            "expected sync:state right after the late joiner's user:joined; came {}",
            state.shown()
        );
        return fault(words);
    }
    let Some(items) = promises::state(&state, epoch.as_ref())? else {
        return fault("the late joiner was given no canvas");
    };
    promises::items(items)?;
    judge_late_canvas(items, &state.text, [&first, &second, &gone])?;
    Ok(Some(format!("{} items", items.len())))
}

fn judge_late_canvas(
    items: &[Value],
    text: &str,
    [first, second, gone]: [&str; 3],
) -> Result<(), String> {
    let place = |id: &str| items.iter().position(|item| item["uuid"] == id);
    let (Some(first_at), Some(second_at)) = (place(first), place(second)) else {
        return Err(format!(
            "an item is missing from the late joiner's canvas of {} items",
            items.len()
        ));
    };
    let item = &items[first_at];
    if item["x_mm"] != 99.0 {
        return Err(format!(
            "the late joiner's item has not moved: \"x_mm\" is {}, not 99.0",
            item["x_mm"]
        ));
    }
    if item["name"] != "a lens" {
        return Err("a move_item overwrote more than x_mm, y_mm and angle_deg".to_owned());
    }
    if first_at > second_at {
        return Err("the late joiner's items are not in the order they were added".to_owned());
    }
    if place(gone).is_some() {
        return Err("a removed item came back when somebody else still changed it".to_owned());
    }
    if !text.contains("12.50") {
        return Err("a number changed its form: 12.50 was sent".to_owned());
    }
    Ok(())
}

/// Who was away asks for what it missed and gets just that.
pub(super) fn catch_up(walk: &mut Walk) -> Verdict {
    let Some(epoch) = walk.epoch.clone() else {
        return skip("the connection:ack had no \"epoch\" to catch up with");
    };
    let item = walk.name("item");
    let (alice, bob) = walk.pair()?;
    let mut missed = vec![pass(alice, bob, &command("add_item", &item, lens(&item, 0.0)))?];
    for x in [1.0, 2.0, 3.0] {
        missed.push(pass(alice, bob, &command("update_item", &item, json!({"x_mm": x})))?);
    }
    let Some(since) = missed[0].value["seq"].as_u64().and_then(|seq| seq.checked_sub(1)) else {
        return skip("the commands have no \"seq\" from 1 on to catch up from");
    };
    bob.send(&json!({"type": "sync:request", "epoch": epoch, "since": since}))?;
    let mut came: Vec<Received> = Vec::new();
    let done = bob.wait_for("sync:done after the messages it missed", |m| {
        if m.changes(&item) && came.len() <= missed.len() {
            came.push(m.clone());
            return Ok(Pick::More);
        }
        if m.is("sync:state") {
            return Err(format!(
                "asked for {} messages, was sent the whole canvas: {}",
                missed.len(),
                m.shown()
            ));
        }
        Ok(if m.is("sync:done") { Pick::Take(m.clone()) } else { Pick::Other })
    })?;
    for (n, (have, was)) in came.iter().zip(&missed).enumerate() {
        if have.value != was.value {
            let words = format!(
                "missed message {} was {}; sent again it is {}",
                n + 1,
                was.shown(),
                have.shown()
            );
            return fault(words);
        }
    }
    if came.len() != missed.len() {
        let words =
            format!("{} messages were missed, {} were sent again", missed.len(), came.len());
        return fault(words);
    }
    if promises::seq(&done)? < since + missed.len() as u64 {
        return fault(format!(
            "sync:done has an older \"seq\" than the last message: {}",
            done.shown()
        ));
    }
    bob.send(&json!({"type": "sync:request", "epoch": "check-no-such-epoch", "since": since}))?;
    bob.wait_for("the whole sync:state for an epoch that is not this session's", |m| {
        match m.is("sync:done") {
            true => Err("an epoch that is not this session's was caught up with".to_owned()),
            false => Ok(if m.is("sync:state") { Pick::Take(()) } else { Pick::Other }),
        }
    })?;
    Ok(None)
}

/// `sync:update` puts a new canvas in the place of the old one. Everybody else is told as commands what
/// that changes: a state would cost an editor its texts, rulers and pictures.
pub(super) fn new_canvas(walk: &mut Walk) -> Verdict {
    let (old, one, two, id) =
        (walk.name("item"), walk.name("item"), walk.name("item"), walk.name("id"));
    let confirms = walk.confirms;
    let (alice, bob) = walk.pair()?;
    pass(alice, bob, &command("add_item", &old, lens(&old, 0.0)))?;
    let items: Vec<Value> = [&one, &two].map(|id| snapshot_item(id)).into();
    let sent = json!({
        "type": "sync:update", "id": id,
        "state": {"items": items, "version": 1000, "timestamp": "2025-10-28T13:30:45.123Z"},
    });
    match confirms {
        true => confirm(alice, &sent).map(|_| ())?,
        false => alice.send(&sent)?,
    }
    let mut expected =
        vec![("remove_item", old.clone()), ("add_item", one.clone()), ("add_item", two.clone())];
    bob.wait_for("commands that remove the old item and add the two new ones", |m| {
        if m.is("sync:state") {
            return Err(format!("{BOB} was sent a state that it had not asked for: {}", m.shown()));
        }
        let command = &m.value["command"];
        expected.retain(|(action, id)| command["action"] != *action || command["item_id"] != **id);
        Ok(if expected.is_empty() { Pick::Take(()) } else { Pick::Other })
    })?;
    let state = ask_state(bob)?;
    let items = promises::state(&state, None)?.map(Vec::as_slice).unwrap_or_default();
    promises::items(items)?;
    if find(items, &old).is_some() || find(items, &one).is_none() || find(items, &two).is_none() {
        return fault(format!("the canvas is another one than the new one: {}", state.shown()));
    }
    if state.value["state"]["version"].as_f64().is_none_or(|version| version < 1000.0) {
        let words = format!(
            "the canvas was sent with \"version\" 1000; what came is older: {}",
            state.shown()
        );
        return fault(words);
    }
    alice.listen(LISTEN_TIME, |m| match m.is("sync:state") || m.echoes(ALICE, "command") {
        true => Err(format!("{ALICE} got back its own canvas: {}", m.shown())),
        false => Ok(()),
    })?;
    Ok(None)
}

/// An item as it stands in a snapshot.
pub(super) fn snapshot_item(id: &str) -> Value {
    let mut item = lens(id, 5.0);
    item["uuid"] = json!(id);
    item["item_type"] = json!("component");
    item
}
