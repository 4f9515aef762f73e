//! Who chose what, and what the document then has to say.

use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn item(name: &str, x: f64) -> Value {
    json!({"_type": "component", "uuid": "a", "x_mm": x, "y_mm": 0.0, "name": name})
}

fn document(items: &[Value]) -> BTreeMap<String, Value> {
    items.iter().map(|data| ("a".to_owned(), data.clone())).collect()
}

fn command(action: &str, data: &Value) -> Value {
    json!({"type": "command", "command": {"action": action, "item_id": "a", "data": data}})
}

fn canvas(items: &[Value]) -> Value {
    json!({"type": "sync:full_state", "state": {"items": items}})
}

fn chosen(field: &str, value: Value, number: u64) -> Told {
    Told { item: "a".into(), field: field.into(), value, how: Untold::Chosen(number) }
}

/// Ann has added an item at 1.
fn begun() -> Ledger {
    let mut ledger = Ledger::new(SECOND);
    ledger.note(1, SECOND, "ann", &command("add_item", &item("M", 1.0)), &[], Taken::Whole);
    ledger
}

fn is_right(ledger: &Ledger, items: &[Value]) -> bool {
    let check = || ledger.check(&document(items));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok()
}

#[test]
fn the_last_choice_counts_and_what_comes_along_may() {
    let mut ledger = begun();
    assert!(is_right(&ledger, &[item("M", 1.0)]));
    assert!(!is_right(&ledger, &[item("M", 2.0)]) && !is_right(&ledger, &[]));
    let drag = command("move_item", &item("old", 2.0));
    ledger.note(2, 3 * SECOND, "bob", &drag, &[chosen("x_mm", json!(2.0), 1)], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 2.0)]));
    assert!(!is_right(&ledger, &[item("M", 1.0)]) && !is_right(&ledger, &[item("old", 2.0)]));
    let along = Told { how: Untold::Along, ..chosen("name", json!("old"), 0) };
    ledger.note(3, 3 * SECOND, "bob", &drag, &[along], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 2.0)]) && is_right(&ledger, &[item("old", 2.0)]));
}

#[test]
fn a_choice_counts_once_and_going_back_at_once_may_be_taken_for_an_old_copy() {
    let mut ledger = begun();
    let drag = |x: f64| command("move_item", &item("M", x));
    ledger.note(2, 4 * SECOND, "bob", &drag(2.0), &[chosen("x_mm", json!(2.0), 1)], Taken::Whole);
    ledger.note(3, 9 * SECOND, "ann", &drag(3.0), &[chosen("x_mm", json!(3.0), 1)], Taken::Whole);
    ledger.note(4, 9 * SECOND, "bob", &drag(2.0), &[chosen("x_mm", json!(2.0), 1)], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 3.0)]) && !is_right(&ledger, &[item("M", 2.0)]));
    ledger.note(5, 9 * SECOND, "bob", &drag(2.0), &[chosen("x_mm", json!(2.0), 2)], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 3.0)]) && is_right(&ledger, &[item("M", 2.0)]));
    ledger.note(6, 15 * SECOND, "ann", &drag(1.0), &[chosen("x_mm", json!(1.0), 2)], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 1.0)]) && !is_right(&ledger, &[item("M", 2.0)]));
}

#[test]
fn what_was_removed_comes_back_only_by_who_removed_it() {
    let mut ledger = begun();
    ledger.note(2, SECOND, "bob", &command("remove_item", &json!({})), &[], Taken::Whole);
    assert!(is_right(&ledger, &[]) && !is_right(&ledger, &[item("M", 1.0)]));
    ledger.note(3, SECOND, "ann", &command("update_item", &item("M", 1.0)), &[], Taken::Whole);
    ledger.note(3, SECOND, "ann", &canvas(&[item("M", 1.0)]), &[], Taken::AsFirstCanvas);
    assert!(is_right(&ledger, &[]));
    ledger.note(4, SECOND, "bob", &command("update_item", &item("M", 5.0)), &[], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 5.0)]) && !is_right(&ledger, &[]));
}

#[test]
fn an_old_canvas_takes_nothing_back_but_may_have_what_is_new() {
    let mut ledger = begun();
    let drag = command("move_item", &item("M", 2.0));
    ledger.note(2, SECOND, "bob", &drag, &[chosen("x_mm", json!(2.0), 1)], Taken::Whole);
    let old = canvas(&[item("new", 1.0)]);
    ledger.note(3, SECOND, "ann", &old, &[], Taken::AsFirstCanvas);
    assert!(is_right(&ledger, &[item("M", 2.0)]) && is_right(&ledger, &[item("new", 2.0)]));
    assert!(!is_right(&ledger, &[item("M", 1.0)]));
}

#[test]
fn what_takes_the_place_of_everything_leaves_open_what_it_lacks() {
    let mut ledger = begun();
    let update = json!({"type": "sync:update", "state": {"items": []}});
    ledger.note(2, SECOND, "script", &update, &[], Taken::Whole);
    assert!(is_right(&ledger, &[]) && is_right(&ledger, &[item("M", 1.0)]));
}

#[test]
fn after_a_crash_what_came_later_is_forgotten() {
    let mut ledger = begun();
    let drag = command("move_item", &item("M", 2.0));
    ledger.note(2, SECOND, "bob", &drag, &[chosen("x_mm", json!(2.0), 1)], Taken::Whole);
    ledger.forget_after(1, 0, |_, _| true);
    assert!(is_right(&ledger, &[item("M", 1.0)]) && !is_right(&ledger, &[item("M", 2.0)]));
    ledger.note(2, SECOND, "bob", &drag, &[chosen("x_mm", json!(2.0), 1)], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 2.0)]));
}

#[test]
fn a_message_that_is_said_again_counts_once() {
    let mut ledger = begun();
    let mut rename = command("update_item", &json!({"name": "N"}));
    rename["id"] = 7.into();
    let other = command("update_item", &json!({"name": "O"}));
    ledger.note(2, 3 * SECOND, "script", &rename, &[], Taken::Whole);
    ledger.note(3, 6 * SECOND, "other", &other, &[], Taken::Whole);
    ledger.note(3, 6 * SECOND, "script", &rename, &[], Taken::Whole);
    assert!(is_right(&ledger, &[item("O", 1.0)]) && !is_right(&ledger, &[item("N", 1.0)]));
}

#[test]
fn a_number_that_is_none_leaves_the_field_open() {
    let mut ledger = begun();
    let odd = command("update_item", &item("∞/∞", 1.0));
    let told = chosen("name", json!("∞/∞"), 1);
    ledger.note(2, SECOND, "ann", &odd, &[told], Taken::Whole);
    assert!(is_right(&ledger, &[item("M", 1.0)]) && is_right(&ledger, &[item("X", 1.0)]));
}

#[test]
fn what_an_item_lacks_is_what_everybody_sees_in_its_place() {
    let mut ledger = begun();
    let drag = command("move_item", &item("M", 1.0));
    let mut choose = |value: bool, number| {
        let told = [chosen("locked", json!(value), number)];
        ledger.note(2, 3 * SECOND, "bob", &drag, &told, Taken::Whole);
        is_right(&ledger, &[item("M", 1.0)])
    };
    assert!(choose(false, 1) && !choose(true, 2));
}
