//! Messages that are refused: the sender is told why, nobody else notices, nothing is half applied
//! (PROTOCOL.md §2.2, and §1.14 for the shapes that abort an editor).

use serde_json::{Value, json};

use crate::support::{Client, Server, add, nothing_more};

/// A table with one item, a member who says what it shouldn't, and one who mustn't notice.
struct Table {
    _server: Server,
    mallory: Client,
    bob: Client,
    before: Value,
}

impl Table {
    fn set() -> Self {
        let server = Server::start(&["--no-settle"]);
        let [mut mallory, mut bob] = Client::join_all(&server, "table", ["mallory", "bob"]);
        mallory.send(add("lens-1", json!({"x_mm": 1})));
        bob.expect_command("add_item", "lens-1");
        let before = bob.document();
        Table { _server: server, mallory, bob, before }
    }

    /// Sends something that has to be refused, and returns the error.
    fn refuses(&mut self, text: &str) -> Value {
        self.mallory.send_text(text);
        let error = self.mallory.expect("error");
        let kind = error["error_type"].as_str().expect("an error_type");
        assert!(kind.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        assert!((400..600).contains(&error["code"].as_u64().expect("a code")), "{error}");
        error
    }

    /// Nobody noticed, nothing was applied, and the connection stays.
    fn stays_untouched(mut self) {
        nothing_more([&mut self.mallory, &mut self.bob]);
        let after = self.bob.document();
        assert_eq!(after["items"], self.before["items"]);
        assert_eq!(after["version"], self.before["version"]);
        self.mallory.send(add("lens-2", json!({})));
        assert_eq!(self.bob.expect_command("add_item", "lens-2")["seq"], 2);
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let mut table = Table::set();
    for text in [
        "",
        " ",
        "hello",
        "{",
        "{\"type\":\"chat\"",
        "{'type':'chat'}",
        "{\"type\":\"chat\",}",
        "{\"type\":\"chat\"} {}",
        "NaN",
        "{\"type\":\"chat\",\"n\":NaN,}",
        "{\"type\":\"chat\",\"n\":01}",
        "{\"type\":\"a\nb\"}",
        "{\"type\":\"\\ud800\"}",
        "\u{feff}{\"type\":\"chat\"}",
    ] {
        let error = table.refuses(text);
        assert_eq!(error["code"], 400, "{text:?}");
    }
    table.stays_untouched();
}

#[test]
fn what_is_no_object_with_a_string_type_is_refused() {
    let mut table = Table::set();
    for text in [
        "[]",
        "7",
        "null",
        "\"chat\"",
        "[{\"type\":\"chat\"}]",
        "{}",
        "{\"type\":7}",
        "{\"type\":null}",
        "{\"type\":[\"chat\"]}",
        "{\"Type\":\"chat\"}",
    ] {
        let error = table.refuses(text);
        assert_eq!((&error["code"], error.get("original_type")), (&json!(400), None), "{text}");
    }
    table.stays_untouched();
}

#[test]
fn every_command_that_would_abort_an_editor_is_refused() {
    let mut table = Table::set();
    for command in [
        r#"null"#,
        r#"7"#,
        r#"[]"#,
        r#""add_item""#,
        r#"{}"#,
        r#"{"action":7,"item_id":"lens-1","data":{}}"#,
        r#"{"action":"add_item","item_id":"lens-9"}"#,
        r#"{"action":"add_item","item_id":"lens-9","data":null}"#,
        r#"{"action":"add_item","item_id":"lens-9","data":[]}"#,
        r#"{"action":"add_item","item_id":"lens-9","data":"x"}"#,
        r#"{"action":"add_item","item_id":7,"data":{}}"#,
        r#"{"action":"add_item","item_id":null,"data":{}}"#,
        r#"{"action":"add_item","item_id":"","data":{}}"#,
        r#"{"action":"add_item","data":{"uuid":"lens-9"}}"#,
        r#"{"action":"add_item","item_id":"lens-9","item_type":7,"data":{}}"#,
        r#"{"action":"add_item","item_id":"lens-9","data":{"x_mm":"1"}}"#,
        r#"{"action":"update_item","item_id":"lens-1","data":7}"#,
        r#"{"action":"update_item","item_id":"lens-1","data":{"x_mm":2,"y_mm":null}}"#,
        r#"{"action":"update_item","item_id":["lens-1"],"data":{"x_mm":2}}"#,
        r#"{"action":"move_item","item_id":"lens-1","data":{"x_mm":2,"angle_deg":true}}"#,
        r#"{"action":"move_item","item_id":"lens-1","data":{"x_mm":2,"y_mm":[1]}}"#,
        r#"{"action":"move_item","item_id":"lens-1","data":{"x_mm":1e999}}"#,
        r#"{"action":"remove_item"}"#,
        r#"{"action":"remove_item","item_id":{},"data":{}}"#,
        r#"{"action":"remove_item","item_id":"lens-1","data":[]}"#,
        r#"{"action":"unknown","item_id":7}"#,
        r#"{"action":"unknown","data":7}"#,
    ] {
        let error = table.refuses(&format!(r#"{{"type":"command","command":{command}}}"#));
        assert_eq!(
            (&error["code"], &error["original_type"]),
            (&json!(400), &json!("command")),
            "{command}"
        );
    }
    assert_eq!(table.refuses(r#"{"type":"command"}"#)["original_type"], "command");
    table.stays_untouched();
}

#[test]
fn a_state_without_a_list_of_items_is_refused() {
    let mut table = Table::set();
    for state in [r#"null"#, r#"[]"#, r#""state""#, r#"{}"#, r#"{"items":null}"#, r#"{"items":{}}"#]
    {
        for kind in ["sync:update", "sync:full_state"] {
            let error = table.refuses(&format!(r#"{{"type":"{kind}","state":{state}}}"#));
            assert_eq!(
                (&error["code"], &error["original_type"]),
                (&json!(400), &json!(kind)),
                "{state}"
            );
        }
    }
    table.refuses(r#"{"type":"sync:update"}"#);
    table.refuses(r#"{"type":"sync:full_state","state":{"items":[]},"target_user":7}"#);
    table.stays_untouched();
}

#[test]
fn nesting_is_fine_to_100_levels_and_refused_beyond() {
    let mut table = Table::set();
    // The message is the first level.
    let nested = |levels: usize| {
        let list = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"type":"chat","deep":{list}}}"#)
    };
    table.mallory.send_text(&nested(100));
    assert_eq!(table.bob.expect("chat")["deep"].as_array().map(Vec::len), Some(1));
    for levels in [101, 1000, 100_000] {
        assert_eq!(table.refuses(&nested(levels))["code"], 400);
    }
    table.stays_untouched();
}

/// Python writes infinite numbers as no other parser reads them, and integers of any length.
#[test]
fn a_number_that_only_python_reads_is_relayed_as_one_that_all_read() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let digits = "9".repeat(5000);
    let chat =
        format!(r#"{{"type":"chat","a":Infinity,"b":[-Infinity,NaN],"c":NaN,"d":{digits}}}"#);
    alice.send_text(&chat);
    let told = bob.next_text();
    assert!(told.starts_with(r#"{"type":"chat","a":1e999,"b":[-1e999,0],"d":1e999,"#), "{told}");
    let data = r#"{"x_mm":1,"angle_deg":Infinity,"size_mm":NaN,"n_rays":7}"#;
    alice.send_text(&format!(
        r#"{{"type":"command","command":{{"action":"add_item","item_id":"a","data":{data}}}}}"#
    ));
    bob.expect_command("add_item", "a");
    let item = json!({"x_mm": 1, "n_rays": 7, "uuid": "a", "item_type": "component"});
    assert_eq!(bob.items(), [item]);
    alice.send_text(
        r#"{"type":"command","id":7,"command":{"action":"move_item","item_id":"a","data":{"x_mm":Infinity}}}"#,
    );
    let error = alice.expect_error("bad_command");
    assert_eq!((&error["item_id"], &error["id"]), (&json!("a"), &json!(7)));
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn an_error_names_the_message_it_is_about() {
    let mut table = Table::set();
    let error = table.refuses(r#"{"type":"command","id":"m-7","command":7}"#);
    assert_eq!((&error["id"], &error["original_type"]), (&json!("m-7"), &json!("command")));
    table.stays_untouched();
}

#[test]
fn any_number_of_errors_is_forgiven() {
    let mut table = Table::set();
    for _ in 0..500 {
        table.refuses("nonsense");
    }
    table.stays_untouched();
}
