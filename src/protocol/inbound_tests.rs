//! The tests of `inbound.rs`.

use super::*;

fn refusal(text: &str) -> &'static str {
    match parse(text) {
        Err(rejection) | Ok(ClientMessage::RefusedFullState(rejection)) => rejection.error_type,
        Ok(_) => panic!("{text}"),
    }
}

fn command(text: &str) -> Command {
    match parse(text) {
        Ok(ClientMessage::Command(command)) => command,
        other => panic!("{other:?} of {text}"),
    }
}

fn written(fields: &Fields) -> String {
    let mut json = Vec::new();
    let fields = fields.iter().map(|(key, value)| (&**key, &**value));
    json::write_object(&mut json, fields);
    String::from_utf8(json).unwrap()
}

fn state(text: &str) -> State {
    match parse(text) {
        Ok(ClientMessage::SyncUpdate { state, .. } | ClientMessage::FullState { state, .. }) => {
            state
        }
        other => panic!("{other:?} of {text}"),
    }
}

#[test]
fn what_python_writes_is_taken_wherever_it_stands() {
    let Ok(ClientMessage::Relay { body, .. }) =
        parse(r#"{"type":"chat","n":NaN,"far":-Infinity,"list":[NaN,1.50]}"#)
    else {
        panic!()
    };
    let kept = r#"{"type":"chat","far":-1e999,"list":[0,1.50]"#;
    assert_eq!(std::str::from_utf8(body.head()).unwrap(), kept);
    let state = state(
        r#"{"type":"sync:full_state","x":NaN,"state":{"items":[{"uuid":"a","n2":Infinity,
                "size_mm":NaN,"x_mm":1.0}],"version":NaN,"zoom":Infinity,"pan":NaN}}"#,
    );
    assert_eq!(written(&state.items[0].fields), r#"{"uuid":"a","n2":1e999,"x_mm":1.0}"#);
    assert_eq!((state.version, written(&state.extra)), (0, r#"{"zoom":1e999}"#.into()));
    assert!(state.left_out.is_empty());
}

#[test]
fn what_is_relayed_says_what_is_stored() {
    for (data, stored, relayed) in [
        (r#"{"x_mm": 1.50}"#, r#"{"x_mm":1.50}"#, r#"{"x_mm": 1.50}"#),
        (r#"{"x_mm":NaN,"a":1}"#, r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"{"a" : 1,"angle_deg":Infinity}"#, r#"{"a":1}"#, r#"{"a":1}"#),
        (
            r#"{"interfaces":[{"is_curved":true,"radius_of_curvature_mm":Infinity}]}"#,
            r#"{"interfaces":[{"is_curved":false,"radius_of_curvature_mm":1e999}]}"#,
            r#"{"interfaces":[{"is_curved":false,"radius_of_curvature_mm":1e999}]}"#,
        ),
        (
            r#"{"image_path":"objects/a.png", "a":1}"#,
            r#"{"image_path":"objects/a.png","a":1}"#,
            r#"{"image_path":"objects/a.png", "a":1}"#,
        ),
        (
            r#"{"image_path":"/home/ann/a.png", "a":1}"#,
            r#"{"image_path":"/home/ann/a.png","a":1}"#,
            r#"{"a":1}"#,
        ),
    ] {
        for action in ["update_item", "move_item"] {
            let command = command(&format!(
                r#"{{"type":"command","command":{{"action":"{action}","item_id":"a","data":{data}}}}}"#
            ));
            assert_eq!(written(&command.data), stored);
            let head = std::str::from_utf8(command.body.head()).unwrap();
            assert!(head.ends_with(&format!(r#""data":{relayed}}}"#)), "{head}");
        }
    }
    let add = command(
        r#"{"type":"command","command":{"action":"add_item","item_id":"a","item_type":"lens","data":
                {"image_path":"file:a.png"}}}"#,
    );
    assert!(add.data.iter().any(|(key, _)| &**key == "image_path"));
    let head = std::str::from_utf8(add.body.head()).unwrap();
    assert!(
        head.ends_with(r#""item_type":"lens","data":{"uuid":"a","item_type":"lens"}}"#),
        "{head}"
    );
}

#[test]
fn whole_dictionaries_and_editors_are_known_by_what_only_they_write() {
    for (data, is_whole) in [
        (r#"{"_type":"source"}"#, true),
        (r#"{"_type":7}"#, false),
        (r#"{"_type":null}"#, false),
        (r#"{"item_type":"source"}"#, false),
    ] {
        let text = format!(
            r#"{{"type":"command","command":{{"action":"update_item","item_id":"a","data":{data}}}}}"#
        );
        assert_eq!(command(&text).is_whole, is_whole, "{text}");
    }
    for (request, names) in [
        (r#"{"type":"sync:request","user_id":"ann"}"#, true),
        (r#"{"type":"sync:request","user_id":7}"#, false),
        (r#"{"type":"sync:request"}"#, false),
    ] {
        let Ok(ClientMessage::SyncRequest { since: None, names_user }) = parse(request) else {
            panic!()
        };
        assert_eq!(names_user, names, "{request}");
    }
}

#[test]
fn content_is_what_the_sender_means_and_only_asked_for_with_an_id() {
    let content = |text: &str| match parse(text) {
        Ok(ClientMessage::Command(command)) => command.content,
        Ok(ClientMessage::SyncUpdate { content, .. }) => content,
        other => panic!("{other:?} of {text}"),
    };
    let one = r#"{"type":"command","id":1,"command":{"action":"move_item","item_id":"a","data":{"x_mm":1,"n":NaN}}}"#;
    let again = r#"{"type":"command","timestamp":"later","command":{"item_id":"a","data":{"x_mm":1.0},"action":"move_item"},"id":1}"#;
    assert_eq!(content(one), content(again));
    assert!(content(one).is_some());
    assert_ne!(content(one), content(&one.replace("\"x_mm\":1", "\"x_mm\":2")));
    assert_ne!(content(one), content(&one.replace("move_item", "update_item")));
    assert_eq!(content(&one.replace("\"id\":1,", "")), None);
    assert_eq!(content(&one.replace("\"id\":1,", "\"id\":null,")), None);
    let state = r#"{"type":"sync:update","id":"s","state":{"items":[{"uuid":"a"}],"timestamp":1}}"#;
    assert!(content(state).is_some());
    assert_eq!(content(state), content(&state.replace("\"timestamp\":1", "\"timestamp\":2")));
    assert_ne!(content(state), content(&state.replace("\"a\"", "\"b\"")));
    assert_eq!(content(&state.replace("\"id\":\"s\",", "")), None);
}

#[test]
fn what_was_stored_is_not_judged_again() {
    let deep = format!("{}{}", "[".repeat(97), "]".repeat(97));
    for data in [
        r#"{"uuid":"a","name":7,"interfaces":0}"#,
        r#"{"uuid":"a","image_path":"/etc/a.png","n_rays":5.5}"#,
        &format!(r#"{{"uuid":"a","deep":{deep}}}"#),
    ] {
        let text = format!(
            r#"{{"type":"command","command":{{"action":"add_item","item_type":"x","item_id":"a","data":{data}}},"user_id":"ann","seq":7}}"#
        );
        let command = parse_stored(&text).unwrap();
        assert_eq!(written(&command.data), data);
    }
    for other in ["", "[]", r#"{"type":"sync:state"}"#, r#"{"type":"command","command":7}"#] {
        assert!(parse_stored(other).is_none(), "{other}");
    }
}

#[test]
fn a_refusal_names_the_item_of_a_command() {
    let refused = |text: &str| match parse(text) {
        Err(Rejection { error_type, item_id, id, .. }) => (error_type, item_id, id),
        other => panic!("{other:?} of {text}"),
    };
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (command, error_type, names) in [
        (
            r#"{"action":"move_item","item_id":"a","data":{"x_mm":"1"}}"#.to_owned(),
            "bad_command",
            true,
        ),
        (r#"{"action":"add_item","item_id":"a"}"#.into(), "bad_command", true),
        (
            format!(r#"{{"action":"add_item","item_id":"a","data":{{"b":{}}}}}"#, deep(97)),
            "bad_command",
            true,
        ),
        (
            format!(r#"{{"action":"add_item","item_id":"a","data":{{"b":{}}}}}"#, deep(500_000)),
            "bad_command",
            true,
        ),
        (
            format!(r#"{{"action":"add_item","item_id":"a","data":{{}},"b":{}}}"#, deep(99)),
            "bad_message",
            true,
        ),
        (r#"{"action":"move_item","item_id":"","data":{}}"#.into(), "bad_command", false),
        (r#"{"action":7}"#.into(), "bad_command", false),
    ] {
        let text = format!(r#"{{"type":"command","id":7,"command":{command}}}"#);
        let expected = (error_type, names.then(|| "a".into()), Some("7".into()));
        assert_eq!(refused(&text), expected, "{}", &text[..text.len().min(200)]);
    }
    let text = format!(
        r#"{{"type":"command","command":{{"action":"add_item","item_id":"a","data":{{"b":{}}}}}}}"#,
        deep(96)
    );
    assert!(parse(&text).is_ok());
    let chat = format!(r#"{{"type":"chat","b":{}}}"#, deep(100));
    assert_eq!(refused(&chat), ("bad_message", None, None));
}

#[test]
fn a_state_is_taken_with_what_is_too_deep_left_out() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let text = format!(
        r#"{{"type":"sync:full_state","state":{{"items":[{{"uuid":"a"}},{{"uuid":"b","c":{}}},
                {{"uuid":"c","c":{}}},{}],"deep":{},"zoom":[1]}},"more":{}}}"#,
        deep(96),
        deep(97),
        deep(100_000),
        deep(98),
        deep(100_000),
    );
    let state = state(&text);
    let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
    assert_eq!((ids, written(&state.extra)), (vec!["a", "b"], r#"{"zoom":[1]}"#.into()));
    let left_out: Vec<_> = state.left_out.iter().map(|one| one.id.as_deref()).collect();
    assert_eq!(left_out, [Some("c"), None]);
}

#[test]
fn only_so_many_items_without_an_id_are_listed() {
    let items = format!("[{}{{\"uuid\":\"a\",\"x_mm\":\"0\"}}]", "7,".repeat(100_000));
    let state = state(&format!(r#"{{"type":"sync:update","state":{{"items":{items}}}}}"#));
    assert_eq!((state.items.len(), state.left_out.len()), (0, MAX_LISTED_UNNAMED + 1));
    assert_eq!(state.left_out[MAX_LISTED_UNNAMED].id.as_deref(), Some("a"));
}

#[test]
fn the_editors_own_files_are_read() {
    let file = r##"{"version":"2.0","items":[{"_type":"source","item_uuid":"s","x_mm":-400.0,"y_mm":0.0,
            "angle_deg":0.0,"n_rays":5,"size_mm":Infinity,"spread_deg":NaN,"color_hex":"#dc143c"},
            {"_type":"component","item_uuid":"c","x_mm":NaN,"y_mm":Infinity}],
            "rulers":[{"a":NaN}],"texts":[],"session_id":"lab","seq":9}"##;
    let state = State::parse(file).unwrap();
    assert_eq!((state.items.len(), &*state.items[0].id, state.version), (1, "s", 0));
    assert_eq!(written(&state.extra), r#"{"rulers":[{}],"texts":[]}"#);
    assert_eq!(state.left_out[0].id.as_deref(), Some("c"));
    for hopeless in ["", "7", "[]", "{}", r#"{"items":{}}"#, r#"{"items":[NaN NaN]}"#] {
        assert!(State::parse(hopeless).is_err(), "{hopeless}");
    }
}

#[test]
fn what_is_relayed_keeps_its_bytes_but_not_the_servers_fields() {
    let text = r#"{"type":"chat","n":1.50,"user_id":"mallory","seq":9,"big":18446744073709551616,
            "timestamp":"x","settled":true,"a\"b": {"x" : [1, 2]}}"#;
    let Ok(ClientMessage::Relay { body, is_cursor: false }) = parse(text) else { panic!() };
    let kept = r#"{"type":"chat","n":1.50,"big":18446744073709551616,"a\"b":{"x" : [1, 2]}"#;
    assert_eq!(std::str::from_utf8(body.head()).unwrap(), kept);
}

#[test]
fn an_action_can_be_changed_without_touching_the_rest() {
    let text = r#"{"type":"command","command":{"action":"add_item","item_type":"lens","item_id":"a","data":{"uuid":"a","k":0.10}}}"#;
    let Ok(ClientMessage::Command(command)) = parse(text) else { panic!() };
    assert_eq!(command.action, Action::Add);
    let changed = String::from_utf8(command.body.with_action("update_item")).unwrap();
    assert_eq!(changed + "}", text.replace("add_item", "update_item"));
}

#[test]
fn an_add_that_does_not_name_its_item_is_completed() {
    let relayed = |command: &str| {
        let text = format!(r#"{{"type":"command","command":{command}}}"#);
        let Ok(ClientMessage::Command(command)) = parse(&text) else { panic!("{text}") };
        String::from_utf8(command.body.head().to_vec()).unwrap()
    };
    let whole =
        r#"{"action":"add_item","item_type":"lens","item_id":"a","data":{"item_uuid":"a"}}"#;
    assert!(relayed(whole).ends_with(whole));
    for (bare, completed) in [
        (
            r#"{"action":"add_item","item_type":"lens","item_id":"a","data":{"x_mm":1.0},"n":1}"#,
            r#"{"action":"add_item","item_id":"a","n":1,"item_type":"lens","data":{"x_mm":1.0,"uuid":"a","item_type":"lens"}}"#,
        ),
        (
            r#"{"action":"add_item","item_id":"a","data":{"uuid":"b","_type":"lens"}}"#,
            r#"{"action":"add_item","item_id":"a","item_type":"lens","data":{"uuid":"a","_type":"lens","item_type":"lens"}}"#,
        ),
    ] {
        assert!(relayed(bare).ends_with(completed), "{}", relayed(bare));
    }
}

#[test]
fn every_shape_that_aborts_an_editor_is_refused() {
    for command in [
        r#"7"#,
        r#"{"item_id":"a","data":{}}"#,
        r#"{"action":"add_item","item_id":7,"data":{}}"#,
        r#"{"action":"add_item","item_id":"","data":{}}"#,
        r#"{"action":"add_item","data":{}}"#,
        r#"{"action":"add_item","item_id":"a"}"#,
        r#"{"action":"remove_item","item_id":"a","data":null}"#,
        r#"{"action":"update_item","item_id":"a","data":[]}"#,
        r#"{"action":"move_item","item_id":"a","data":{"x_mm":"1"}}"#,
        r#"{"action":"move_item","item_id":"a","data":{"y_mm":null}}"#,
        r#"{"action":"move_item","item_id":"a","data":{"angle_deg":true}}"#,
        r#"{"action":"move_item","item_id":"a","data":{"x_mm":1e999}}"#,
        r#"{"action":"select","item_id":7}"#,
        r#"{"action":"select","data":"x"}"#,
    ] {
        let text = format!(r#"{{"type":"command","command":{command}}}"#);
        assert_eq!(refusal(&text), "bad_command", "{text}");
    }
    for state in ["null", "[]", "{}", r#"{"items":{}}"#] {
        for kind in ["sync:update", "sync:full_state"] {
            let text = format!(r#"{{"type":"{kind}","state":{state}}}"#);
            assert_eq!(refusal(&text), "bad_state", "{text}");
        }
    }
}

#[test]
fn items_of_a_file_that_share_an_id_are_all_taken() {
    let item = |id: &str, n: u32| format!(r#"{{"item_uuid":"{id}","_type":"source","n":{n}}}"#);
    let twins = [item("a", 1), item("a", 2), item("b", 3), item("a", 4), item("a-2", 5)];
    let file = format!(r#"{{"items":[{}]}}"#, twins.join(","));
    let state = State::parse(&file).unwrap();
    let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
    assert_eq!(ids, ["a", "a-3", "b", "a-4", "a-2"]);
    for StateItem { id, fields } in &state.items {
        let names = fields.iter().filter(|(key, _)| matches!(&**key, "uuid" | "item_uuid"));
        let names: Vec<_> = names.map(|(_, value)| json::as_string(value).unwrap()).collect();
        assert!(!names.is_empty() && names.iter().all(|name| **name == **id), "{names:?}");
    }
    let renamed = state.renamed.iter().map(|item| (&*item.id, &*item.new));
    assert_eq!(renamed.collect::<Vec<_>>(), [("a", "a-3"), ("a", "a-4")]);
    // An item for which every longer id is too long is left out.
    let long = "x".repeat(1024);
    let file = format!(r#"{{"items":[{},{}]}}"#, item(&long, 1), item(&long, 2));
    let state = State::parse(&file).unwrap();
    assert_eq!((state.items.len(), state.left_out.len(), state.renamed.len()), (1, 1, 0));
    // A member's canvas has only one item of an id: the last one replaces the others.
    let text = format!(r#"{{"type":"sync:update","state":{{"items":[{}]}}}}"#, twins.join(","));
    let Ok(ClientMessage::SyncUpdate { state, .. }) = parse(&text) else { panic!("{text}") };
    assert_eq!(state.items.len(), 3);
}

#[test]
fn an_item_that_cannot_be_taken_is_left_out_alone() {
    let deep = format!(r#"{{"uuid":"d","a":{}{}}}"#, "[".repeat(97), "]".repeat(97));
    let whys: Vec<(&str, Option<&str>)> = vec![
        ("7", None),
        ("[]", None),
        ("null", None),
        ("{}", None),
        (r#"{"uuid":7}"#, None),
        (r#"{"uuid":""}"#, None),
        (r#"{"uuid":"d","x_mm":"1"}"#, Some("d")),
        (r#"{"item_uuid":"d","y_mm":null}"#, Some("d")),
        (r#"{"uuid":"d","x_mm":Infinity}"#, Some("d")),
        (r#"{"uuid":"d","angle_deg":true}"#, Some("d")),
        (r#"{"uuid":"d","interfaces":{}}"#, Some("d")),
        (r#"{"uuid":"d","interfaces":[{},7]}"#, Some("d")),
        (r#"{"uuid":"d","interfaces":[{"x1_mm":"0"}]}"#, Some("d")),
        (&deep, Some("d")),
    ];
    for (item, id) in whys {
        for kind in ["sync:update", "sync:full_state"] {
            let items = format!(r#"[{{"uuid":"a"}},{item},{{"uuid":"b"}}]"#);
            let text = format!(r#"{{"type":"{kind}","state":{{"items":{items}}}}}"#);
            let state = match parse(&text) {
                Ok(
                    ClientMessage::SyncUpdate { state, .. }
                    | ClientMessage::FullState { state, .. },
                ) => state,
                other => panic!("{other:?} of {text}"),
            };
            let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
            assert_eq!(ids, ["a", "b"], "{text}");
            let left_out: Vec<_> = state.left_out.iter().map(|one| one.id.as_deref()).collect();
            assert_eq!(left_out, [id], "{text}");
        }
    }
}

#[test]
fn messages_without_form_are_refused() {
    for (text, error_type) in [
        ("", "bad_json"),
        ("[]", "bad_json"),
        ("{\"type\":\"chat\"", "bad_json"),
        ("{}", "no_type"),
        (r#"{"type":7}"#, "no_type"),
        (r#"{"type":"user:joined","user_id":"x"}"#, "reserved_type"),
        (r#"{"type":"chat","type":"pong"}"#, "reserved_type"),
        (r#"{"type":"sync:request","epoch":1,"since":0}"#, "bad_request"),
        (r#"{"type":"sync:request","epoch":"e","since":-1}"#, "bad_request"),
        (r#"{"type":"sync:update","state":{"items":[]},"id":{}}"#, "bad_id"),
        (r#"{"type":"sync:full_state","state":{"items":[]},"target_user":7}"#, "bad_state"),
    ] {
        assert_eq!(refusal(text), error_type, "{text}");
    }
}

#[test]
fn a_states_items_are_named_by_uuid_or_item_uuid() {
    let text = r#"{"type":"sync:update","state":{"items":[{"uuid":"a","n":1},{"item_uuid":"b"},
            {"uuid":"a","n":2}],"version":6.5,"zoom":3}}"#;
    let Ok(ClientMessage::SyncUpdate { state, id: None, .. }) = parse(text) else { panic!() };
    let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(state.items[0].fields[1].1.get(), "2");
    assert_eq!((state.version, &*state.extra[0].0), (7, "zoom"));
}
