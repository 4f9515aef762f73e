//! A hand moves.

use super::*;

#[test]
fn a_dialog_writes_all_that_stood_in_it_when_it_was_opened() {
    let mut editor = host(&[source("s")]);
    let s = handle(&editor, "s");
    editor.open_dialog(s);
    editor.hear(&command("update_item", "s", &with(&source("s"), "size_mm", json!(9.5))));
    editor.close_dialog("n_rays", json!(7));
    let reported = object(&editor, "s").report();
    assert_eq!((&reported["size_mm"], &reported["n_rays"]), (&json!(6.0), &json!(7)));
    assert_eq!(object(&editor, "s").untold["size_mm"], Untold::Along);
}

#[test]
fn a_cancelled_dialog_brings_the_whole_item_back_and_reports_the_colour_that_was_picked() {
    let mut editor = host(&[]);
    editor.place(&source("s"));
    let s = handle(&editor, "s");
    editor.open_dialog(s);
    editor.pick("#0000ff");
    editor.hear(&command("update_item", "s", &with(&source("s"), "x_mm", json!(1.0))));
    let said = editor.cancel_dialog();
    assert_eq!(actions(&said), ["update_item", "move_item", "update_item"]);
    assert_eq!(data(&said[0])["x_mm"], -300.0);
    assert_eq!(data(&said[0])["color_hex"], "#0000ff");
    assert_eq!(object(&editor, "s").shown()["color_hex"], "#00ff00");
    assert!(said[0].told.iter().all(|told| told.how == Untold::Along));
}

#[test]
fn a_picked_colour_is_chosen_and_its_undo_is_not_reported() {
    let mut editor = host(&[]);
    editor.place(&source("s"));
    let s = handle(&editor, "s");
    editor.open_dialog(s);
    editor.pick("#0000ff");
    let said = editor.close_dialog("", Value::Null);
    assert!(matches!(said[0].told[0].how, Untold::Chosen(_)));
    assert_eq!(object(&editor, "s").shown()["color_hex"], "#0000ff");
    let said = editor.undo();
    assert_eq!(data(&said[0])["color_hex"], "#0000ff");
    assert_eq!(object(&editor, "s").shown()["color_hex"], "#00ff00");
}

#[test]
fn an_undo_of_what_is_on_no_canvas_chooses_nothing() {
    let mut editor = host(&[]);
    editor.place(&mirror("m"));
    let m = handle(&editor, "m");
    edit(&mut editor, m, "M2");
    editor.hear(&command("remove_item", "m", &json!({})));
    editor.hear(&command("add_item", "m", &mirror("m")));
    let said = editor.undo();
    assert_eq!((actions(&said), &data(&said[0])["name"]), (vec!["update_item"], &json!("M1")));
    assert!(said[0].told.iter().all(|told| told.how == Untold::Along));
}

#[test]
fn a_paste_is_told_when_it_is_touched() {
    let mut editor = host(&[mirror("m")]);
    let m = handle(&editor, "m");
    let copy = editor.paste(m, "copy", [20.0, 20.0]);
    let said = editor.drag(copy, [1.0, 1.0]);
    assert_eq!(actions(&said), ["update_item", "move_item"]);
    assert_eq!(data(&said[0])["name"], "M1");
}

#[test]
fn opening_a_file_replaces_the_canvas_and_leaves_the_map() {
    let mut editor = host(&[mirror("m")]);
    editor.open(&[source("s")], 0);
    assert_eq!((editor.scene.len(), object(&editor, "s").kind), (1, "source"));
    let said = editor.hear(&joined("bob"));
    assert_eq!(said[0].message["state"]["items"][0]["uuid"], "m");
    editor.hear(&ack());
    let said = editor.hear(&joined("bob"));
    assert_eq!(said[0].message["state"]["items"][0]["uuid"], "s");
}

#[test]
fn a_drag_of_what_it_placed_sends_both_and_of_anything_else_a_move() {
    let mut editor = host(&[mirror("m")]);
    editor.place(&source("s"));
    let (m, s) = (handle(&editor, "m"), handle(&editor, "s"));
    assert_eq!(actions(&editor.drag(m, [1.0, 2.0])), ["move_item"]);
    let said = editor.drag(s, [1.0, 2.0]);
    assert_eq!(actions(&said), ["update_item", "move_item"]);
    assert_eq!(data(&said[1]), &object(&editor, "s").report());
    let fields: Vec<&str> = said[0].told.iter().map(|told| told.field.as_str()).collect();
    assert_eq!(fields, ["x_mm", "y_mm"]);
    assert_eq!(said[1].told, []);
    assert_eq!(actions(&editor.turn(s, -90.0)), ["update_item", "move_item", "update_item"]);
    assert_eq!(object(&editor, "s").place[2], 270.0);
}

#[test]
fn a_dialog_tells_of_what_it_placed_and_of_anything_else_with_the_next_move() {
    let mut editor = host(&[mirror("m")]);
    editor.place(&mirror("n"));
    let (m, n) = (handle(&editor, "m"), handle(&editor, "n"));
    assert_eq!(actions(&edit(&mut editor, n, "mine")), ["update_item", "update_item"]);
    assert_eq!(edit(&mut editor, m, "ours"), []);
    let said = editor.drag(m, [1.0, 2.0]);
    assert_eq!(data(&said[0])["name"], "ours");
    assert_eq!(said[0].told.iter().find(|told| told.field == "name").unwrap().value, "ours");
}

#[test]
fn what_was_not_told_is_gone_with_the_next_update() {
    let mut editor = host(&[mirror("m")]);
    let m = handle(&editor, "m");
    edit(&mut editor, m, "ours");
    editor.hear(&command("update_item", "m", &mirror("m")));
    assert_eq!(object(&editor, "m").params["name"], "M1");
    assert!(object(&editor, "m").untold.is_empty());
}

#[test]
fn the_delete_key_is_told_and_a_menu_is_not() {
    let mut editor = host(&[mirror("m"), source("s")]);
    let (m, s) = (handle(&editor, "m"), handle(&editor, "s"));
    assert_eq!(actions(&editor.delete(s)), ["remove_item"]);
    editor.lock(m);
    editor.lock(m);
    editor.bring_to_front(m, 3.0);
    editor.delete_by_menu(m);
    assert!(editor.scene.is_empty());
    assert_eq!(editor.map.len(), 1);
    let said = editor.hear(&joined("bob"));
    assert_eq!(said[0].message["state"]["items"][0]["z_value"], 3.0);
}

#[test]
fn undo_and_redo_of_an_add_are_not_told() {
    let mut editor = host(&[]);
    editor.place(&mirror("m"));
    assert_eq!(editor.undo(), []);
    assert!(editor.scene.is_empty());
    assert_eq!(editor.redo(), []);
    assert_eq!(editor.scene.len(), 1);
    // Removed and added by messages meanwhile, it is there twice after a redo.
    editor.hear(&command("remove_item", "m", &json!({})));
    editor.hear(&command("add_item", "m", &named(&mirror("m"))));
    editor.undo();
    editor.redo();
    assert_eq!(editor.scene.len(), 2);
    assert!(editor.ghosts.contains("m"));
}

#[test]
fn undo_of_a_drag_and_of_an_edit_are_told() {
    let mut editor = host(&[]);
    editor.place(&mirror("m"));
    let m = handle(&editor, "m");
    editor.drag(m, [1.0, 2.0]);
    editor.dragged(m, [100.0, 20.0]);
    edit(&mut editor, m, "mine");
    // Whatever came meanwhile is undone, too.
    editor.hear(&command("update_item", "m", &with(&mirror("m"), "object_height_mm", json!(9.0))));
    let said = editor.undo();
    assert_eq!(data(&said[0])["name"], "M1");
    assert_eq!(data(&said[0])["object_height_mm"], 50.8);
    let how = |field: &str| said[0].told.iter().find(|told| told.field == field).unwrap().how;
    assert!(matches!(how("name"), Untold::Chosen(_)));
    assert_eq!(how("object_height_mm"), Untold::Along);
    let said = editor.undo();
    assert_eq!(actions(&said), ["update_item", "move_item"]);
    assert_eq!(data(&said[0])["x_mm"], 100.0);
}

#[test]
fn hovering_moves_what_nobody_has() {
    let mut editor = host(&[]);
    let said = editor.hover("hover", [1.0, 2.0]);
    assert_eq!(actions(&said), ["move_item"]);
    assert!(editor.scene.is_empty());
}

#[test]
fn offline_nothing_is_told() {
    let mut editor = host(&[]);
    editor.place(&mirror("m"));
    editor.lose();
    let m = handle(&editor, "m");
    assert_eq!(editor.drag(m, [1.0, 2.0]), []);
    assert_eq!(editor.place(&source("s")), []);
    editor.connect(Mode::Host);
    editor.hear(&ack());
    let said = editor.hear(&joined("ann"));
    assert_eq!(said[0].message["state"]["items"].as_array().unwrap().len(), 2);
}

/// Its own, of which the server was told while another one was on its way, is not what was wanted; what nobody was
/// told of, and what a file has twice, is its user's own doing.
#[test]
fn an_item_is_seen_twice_by_its_users_own_doing_or_until_the_server_has_put_it_right() {
    let add = |editor: &mut Editor| editor.hear(&command("add_item", "m", &named(&mirror("m"))));
    let mut editor = host(&[]);
    let m = handle_of_pasted(&mut editor);
    add(&mut editor);
    assert!(editor.ghosts.contains("m"), "nobody was told of {m}");
    let mut editor = host(&[]);
    let m = handle_of_pasted(&mut editor);
    assert_eq!(actions(&editor.drag(m, [1.0, 2.0])), ["update_item", "move_item"]);
    add(&mut editor);
    assert!(editor.ghosts.is_empty() && editor.scene.len() == 3, "with the first");
    editor.hear(&command("remove_item", "m", &json!({})));
    editor.hear(&ack());
    assert_eq!((editor.scene.len(), editor.map["m"]), (2, m));
    editor.open(&[mirror("m"), mirror("m")], 0);
    assert!(editor.ghosts.contains("m"));
}

fn handle_of_pasted(editor: &mut Editor) -> Handle {
    editor.place(&mirror("first"));
    let first = handle(editor, "first");
    editor.paste(first, "m", [10.0, 10.0])
}
