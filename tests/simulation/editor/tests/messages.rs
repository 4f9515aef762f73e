//! A message comes in.

use super::*;
use crate::python::number;

#[test]
fn on_the_ack_it_asks_with_its_name_and_twice_when_a_guest_comes_again() {
    let mut editor = Editor::start("ann");
    assert_eq!(editor.connect(Mode::Guest), []);
    let asked = editor.hear(&ack());
    assert_eq!(asked[0].message, json!({"type": "sync:request", "user_id": "ann"}));
    editor.lose();
    let first = editor.connect(Mode::Guest);
    assert_eq!(first[0].message["local_version"], 0);
    assert_eq!(editor.hear(&ack()).len(), 1);
}

#[test]
fn a_host_answers_every_joined_with_its_map_and_a_guest_none() {
    let mut editor = host(&[source("s"), mirror("m")]);
    for user in ["ann", "bob"] {
        let said = editor.hear(&joined(user));
        assert_eq!(said[0].message["type"], "sync:full_state");
        assert_eq!(said[0].message["target_user"], user);
        assert_eq!(said[0].message["state"]["items"].as_array().unwrap().len(), 2);
        assert_eq!(said[0].message["state"]["items"][0]["uuid"], "m");
        assert_eq!(said[0].message["state"]["items"][0]["item_type"], "component");
    }
    assert_eq!(guest(&[]).hear(&joined("bob")), []);
}

#[test]
fn a_state_wipes_everything_and_builds_blank_items_at_the_default_place() {
    let mut editor = Editor::start("ann");
    editor.connect(Mode::Guest);
    editor.hear(&ack());
    editor.place(&mirror("mine"));
    editor.notes = 3;
    editor.hear(&state(&[source("s"), mirror("m")]));
    assert_eq!((editor.notes, editor.scene.len()), (0, 2));
    assert_eq!(editor.undo(), []);
    assert_eq!(editor.scene.len(), 2);
    let (source, mirror) = (object(&editor, "s"), object(&editor, "m"));
    assert_eq!(source.place, [-400.0, 0.0, 0.0]);
    assert_eq!(source.report()["color_hex"], CRIMSON);
    assert_eq!(mirror.place, [0.0, 0.0, 0.0]);
    assert_eq!(mirror.report()["interfaces"], json!([]));
    assert_eq!(mirror.report()["name"], Value::Null);
    assert_eq!(mirror.picture, None);
}

#[test]
fn a_null_and_an_empty_state_are_harmless_and_leave_a_guest_mute() {
    let mut editor = Editor::start("ann");
    editor.connect(Mode::Guest);
    editor.hear(&ack());
    assert_eq!(editor.place(&mirror("m")), []);
    for state in [json!({"state": null}), json!({"state": {}}), json!({})] {
        editor.hear(&with(&state, "type", json!("sync:state")));
        assert_eq!(editor.scene.len(), 1);
        assert_eq!(editor.place(&source("s")), []);
        editor.undo();
    }
    editor.hear(&state(&[]));
    assert_eq!(actions(&editor.place(&source("s"))), ["add_item"]);
    // A host needs no state.
    assert_eq!(actions(&host(&[]).place(&source("s"))), ["add_item"]);
}

#[test]
fn an_added_item_is_blank_until_the_whole_update() {
    let mut editor = host(&[]);
    editor.hear(&command("add_item", "m", &named(&mirror("m"))));
    assert_eq!(object(&editor, "m").place, [0.0, 0.0, 0.0]);
    editor.hear(&command("update_item", "m", &named(&mirror("m"))));
    let mut reported = object(&editor, "m").report();
    assert_eq!(reported.as_object_mut().unwrap().remove("uuid"), Some("m".into()));
    assert_eq!(reported["item_type"], "component");
    reported.as_object_mut().unwrap().remove("item_type");
    assert_eq!(reported, mirror("m"));
}

#[test]
fn an_add_without_its_type_is_dropped() {
    let mut editor = host(&[]);
    let mut data = named(&mirror("m"));
    data.as_object_mut().unwrap().remove("_type");
    let message = json!({"action": "add_item", "item_type": "component", "item_id": "m",
        "data": data});
    editor.hear(&json!({"type": "command", "command": message}));
    assert!(editor.scene.is_empty());
}

#[test]
#[should_panic(expected = "it doesn't know")]
fn a_text_cannot_be_sent_to_it() {
    let text = json!({"_type": "text", "uuid": "t", "item_type": "text"});
    host(&[]).hear(&command("add_item", "t", &text));
}

#[test]
#[should_panic(expected = "sees m twice")]
fn an_add_of_what_it_has_leaves_a_ghost() {
    host(&[mirror("m")]).hear(&command("add_item", "m", &named(&mirror("m"))));
}

#[test]
#[should_panic(expected = "is wiped by a state")]
fn a_host_is_never_to_be_sent_a_state() {
    host(&[mirror("m")]).hear(&state(&[mirror("m")]));
}

#[test]
fn an_update_replaces_every_field_and_what_it_lacks_becomes_the_default() {
    let mut editor = host(&[mirror("m")]);
    editor.hear(&command("update_item", "m", &json!({"_type": "component", "x_mm": 7.0})));
    let reported = object(&editor, "m").report();
    assert_eq!((&reported["x_mm"], &reported["y_mm"]), (&json!(7.0), &json!(0.0)));
    assert_eq!((&reported["name"], &reported["interfaces"]), (&Value::Null, &json!([])));
    // The picture that is on the canvas stays there.
    assert_eq!(object(&editor, "m").picture, Some([-25.7, 0.0]));
}

#[test]
fn unknown_fields_are_reported_back_but_not_inside_interfaces() {
    let mut editor = host(&[]);
    let mut data = with(&named(&mirror("m")), "serial", json!("A7"));
    data["interfaces"][0]["coating"] = json!("silver");
    editor.hear(&command("add_item", "m", &data));
    editor.hear(&command("update_item", "m", &data));
    let reported = object(&editor, "m").report();
    assert_eq!(reported["serial"], "A7");
    assert_eq!(reported["interfaces"][0].get("coating"), None);
}

#[test]
fn a_locked_item_refuses_its_place_and_then_takes_the_lock() {
    let mut editor = host(&[mirror("m")]);
    let m = handle(&editor, "m");
    editor.lock(m);
    assert_eq!(editor.drag(m, [1.0, 1.0]), []);
    assert_eq!(editor.delete(m), []);
    let locked = with(&with(&mirror("m"), "x_mm", json!(1.0)), "locked", json!(true));
    let unlocked = with(&locked, "locked", json!(false));
    editor.hear(&command("move_item", "m", &unlocked));
    editor.hear(&command("update_item", "m", &unlocked));
    assert_eq!(object(&editor, "m").place[0], 100.0);
    assert!(!object(&editor, "m").locked);
    // The settled pair: the place first, then the real lock.
    editor.lock(m);
    editor.hear(&command("update_item", "m", &unlocked));
    editor.hear(&command("update_item", "m", &unlocked));
    editor.hear(&command("update_item", "m", &locked));
    assert_eq!((object(&editor, "m").place[0], object(&editor, "m").locked), (1.0, true));
}

#[test]
fn a_move_turns_the_angles_sign() {
    let mut editor = host(&[mirror("m")]);
    let place = json!({"_type": "component", "x_mm": 1.0, "y_mm": 2.0, "angle_deg": 30.0});
    editor.hear(&command("move_item", "m", &place));
    assert_eq!(object(&editor, "m").place, [1.0, 2.0, 330.0]);
    editor.hear(&command("update_item", "m", &with(&mirror("m"), "angle_deg", json!(-30.0))));
    assert_eq!(object(&editor, "m").place[2], 330.0);
    editor.hear(&command("move_item", "m", &json!({"x_mm": 5.0})));
    assert_eq!(object(&editor, "m").place[0], 100.0);
}

#[test]
fn a_source_that_it_was_sent_reports_crimson_for_ever() {
    let mut editor = host(&[]);
    editor.hear(&command("add_item", "s", &named(&source("s"))));
    editor.hear(&command("update_item", "s", &named(&source("s"))));
    assert_eq!(object(&editor, "s").report()["color_hex"], CRIMSON);
    assert_eq!(object(&editor, "s").shown()["color_hex"], "#00ff00");
    // Its copy is built from what is shown.
    let s = handle(&editor, "s");
    editor.paste(s, "copy", [20.0, 20.0]);
    assert_eq!(object(&editor, "copy").report()["color_hex"], "#00ff00");
}

#[test]
fn a_source_of_its_own_reports_what_it_chose_itself() {
    let mut editor = host(&[source("s")]);
    editor.hear(&command("update_item", "s", &with(&source("s"), "color_hex", json!("#0000FF"))));
    assert_eq!(object(&editor, "s").report()["color_hex"], "#00ff00");
    assert_eq!(object(&editor, "s").shown()["color_hex"], "#0000ff");
    // OK in its dialog writes that into the rays.
    let s = handle(&editor, "s");
    editor.open_dialog(s);
    editor.close_dialog("n_rays", json!(7));
    assert_eq!(object(&editor, "s").shown()["color_hex"], "#00ff00");
}

#[test]
fn rays_are_traced_where_something_has_moved() {
    let mut editor = host(&[mirror("m")]);
    let mut changed = with(&mirror("m"), "name", json!("changed"));
    editor.hear(&command("update_item", "m", &mirror("m")));
    editor.hear(&command("update_item", "m", &changed));
    assert!(editor.is_drawn);
    changed["interfaces"][0]["reflectivity"] = json!(50.0);
    editor.hear(&command("update_item", "m", &changed));
    assert!(!editor.is_drawn);
    editor.hear(&command("update_item", "m", &with(&changed, "x_mm", json!(100.001))));
    assert!(editor.is_drawn);
    editor.hear(&command("remove_item", "m", &json!({})));
    assert!(!editor.is_drawn);
    editor.hear(&command("add_item", "m", &named(&mirror("m"))));
    assert!(editor.is_drawn);
}

#[test]
fn a_second_ack_makes_everything_hear_and_breaks_the_map_of_who_hovers() {
    let mut editor = host(&[mirror("m")]);
    let m = handle(&editor, "m");
    editor.paste(m, "copy", [20.0, 20.0]);
    assert_eq!(editor.hear(&ack()).len(), 1);
    editor.hear(&command("remove_item", "copy", &json!({})));
    assert_eq!(editor.scene.len(), 1);
    editor.hover("hover", [1.0, 2.0]);
    editor.hear(&ack());
    assert_eq!(editor.place(&source("s")), []);
    assert_eq!(editor.hear(&joined("bob")), []);
    editor.hear(&ack());
    assert_eq!(editor.hear(&joined("bob")).len(), 1);
}

#[test]
fn with_a_picture_it_stands_by_its_first_interface_and_rebuilt_by_its_origin() {
    let built = host(&[mirror("m")]);
    let mut rebuilt = guest(&[mirror("m")]);
    rebuilt.hear(&command("update_item", "m", &named(&mirror("m"))));
    let at = |editor: &Editor| object(editor, "m").shown()["interfaces"][0]["x1_mm"].clone();
    assert_eq!((at(&built), at(&rebuilt)), (json!(0.0), json!(-25.7)));
    // Moved by minus the middle of the first one they are where they ought to be.
    let mut moved = mirror("m");
    object::shift(&mut moved["interfaces"][0], [-25.7, 0.0]);
    rebuilt.hear(&command("update_item", "m", &named(&moved)));
    assert_eq!(object(&built, "m").shown(), object(&rebuilt, "m").shown());
    let m = handle(&rebuilt, "m");
    let said = rebuilt.drag(m, [1.0, 2.0]);
    assert_eq!(data(&said[0])["interfaces"][0]["x1_mm"], 0.0);
}

#[test]
fn what_the_map_lacks_cannot_be_reached() {
    let mut editor = host(&[mirror("m")]);
    let m = handle(&editor, "m");
    editor.paste(m, "copy", [20.0, 20.0]);
    editor.delete(m);
    editor.undo();
    for id in ["m", "copy", "unheard of"] {
        let data = with(&mirror(id), "name", json!("changed"));
        editor.hear(&command("update_item", id, &data));
        editor.hear(&command("move_item", id, &data));
        editor.hear(&command("remove_item", id, &json!({})));
    }
    assert_eq!(editor.scene.len(), 2);
    assert!(editor.scene.iter().all(|handle| editor.objects[*handle].params["name"] == "M1"));
    // Not in a snapshot either, before the next ack.
    assert_eq!(editor.hear(&joined("bob"))[0].message["state"]["items"], json!([]));
    editor.hear(&ack());
    let said = editor.hear(&joined("bob"));
    assert_eq!(said[0].message["state"]["items"].as_array().unwrap().len(), 2);
}

#[test]
fn odd_numbers_are_numbers_to_it() {
    let mut editor = host(&[]);
    editor.place(&with(&mirror("m"), "object_height_mm", number(f64::INFINITY)));
    let said = editor.hear(&joined("bob"));
    let text = crate::python::dumps(&said[0].message);
    assert!(text.contains(r#""object_height_mm":Infinity"#), "{text}");
}

#[test]
fn magnetic_snap_pulls_whatever_it_is_sent() {
    let mut editor = host(&[mirror("m"), mirror("n")]);
    let near = with(&mirror("m"), "x_mm", json!(104.0));
    editor.hear(&command("update_item", "m", &near));
    assert_eq!(object(&editor, "m").place[0], 104.0);
    editor.snap = Some(10.0);
    editor.hear(&command("update_item", "m", &near));
    assert_eq!(object(&editor, "m").place[0], 100.0);
}
