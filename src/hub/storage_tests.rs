//! The stored form of a document, that of earlier versions, and damaged ones.

use super::*;
use crate::hub::bounds::Allowance;
use crate::hub::document::Author;
use crate::protocol::inbound::{self, ClientMessage, State};

const BOUNDS: Allowance = Allowance::NONE;

fn author(user: &UserId) -> Author<'_> {
    Author { user, tick: 7, received: 0, at: crate::protocol::Timestamp::from_millis(0) }
}

fn apply(document: &mut Document, user: &str, command: &str) {
    let text = format!(r#"{{"type":"command","command":{command}}}"#);
    let Ok(ClientMessage::Command(mut command)) = inbound::parse(&text) else { panic!() };
    document.apply(&mut command, author(&user.into()), BOUNDS).expect("there is room");
    document.advance(0);
}

fn example() -> Document {
    let mut document = Document::default();
    let state = r#"{"items":[{"uuid":"b","item_type":"source","ü\n":18446744073709551616},
        {"uuid":"c"}],"version":4,"zoom":3.50}"#;
    document.replace(State::parse(state).expect("a state"), author(&"bob".into()));
    let add = r#"{"action":"add_item","item_id":"a","item_type":"source","data":{"x_mm":1}}"#;
    for (user, command) in [
        ("alice", add),
        ("bob", r#"{"action":"remove_item","item_id":"a"}"#),
        ("alice", add),
        ("bob", r#"{"action":"move_item","item_id":"a","data":{"x_mm":1.50}}"#),
        ("carol", r#"{"action":"remove_item","item_id":"c"}"#),
    ] {
        apply(&mut document, user, command);
    }
    // A user who has written nothing, an item with two builders, and one that two users removed.
    document.meet(&"dora".into());
    document.note_builder("b", &"alice".into(), true);
    document.remove_again("c", &"alice".into());
    document
}

#[test]
fn a_person_can_read_it() {
    let stored = String::from_utf8(example().to_stored()).expect("text");
    let expected = r#"{"format":2,"version":5,"items":[
{"uuid":"b","item_type":"source","ü\n":18446744073709551616},
{"x_mm":1.50,"uuid":"a","item_type":"source"}],
"users":["bob","alice","carol","dora"],
"writers":[{"last":0,"built":[0,1]},{"last":0,"fields":[0,1,1]}],
"old":[[1,"84ae6c9c0ab9f5a6",""]],
"removed":[["c",2,1]],
"removed_items":[
{"uuid":"c","item_type":"component"}],
"extra":{"zoom":3.50}}
"#;
    assert_eq!(stored, expected);
}

#[test]
fn it_is_read_back_as_it_was() {
    for document in [example(), Document::default()] {
        let stored = document.to_stored();
        let read = Document::from_stored(&stored).expect("it was just written");
        assert_eq!(read.to_stored(), stored);
        assert_eq!((read.bytes(), read.version()), (document.bytes(), document.version()));
        assert_eq!(canvas(&read), canvas(&document));
    }
}

fn canvas(document: &Document) -> String {
    let mut json = Vec::new();
    document.write_state(&mut json, crate::protocol::Timestamp::from_millis(0));
    String::from_utf8(json).expect("text")
}

/// Versions before 0.2 wrote this.
const FORMAT_1: &str = r#"{"format":1,"version":5,"items":[
{"uuid":"b","item_type":"source","ü\n":18446744073709551616},
{"x_mm":1.50,"uuid":"a","item_type":"source"}],
"users":["bob","alice","carol"],
"writers":[0,{"last":0,"fields":[0,1,1],"again":true}],
"removed":[["c",2],["d",0]],
"extra":{"zoom":3.50}}
"#;

#[test]
fn what_versions_before_stored_is_read_and_goes_on() {
    let mut document = Document::from_stored(FORMAT_1.as_bytes()).expect("it was once written");
    assert_eq!(canvas(&document), canvas(&example()));
    let users = |users: &[UserId]| users.iter().map(ToString::to_string).collect::<Vec<_>>();
    let item = document.get("a").expect("it is there");
    assert_eq!((&*item.writer, users(&item.builders)), ("bob", vec!["alice".to_owned()]));
    let writers: Vec<&str> = item.fields.iter().map(|field| &*field.writer).collect();
    assert_eq!(writers, ["bob", "alice", "alice"]);
    assert!(item.fields.iter().all(|field| field.past.is_empty() && field.tick == 0));
    for (id, by) in [("c", "carol"), ("d", "bob")] {
        let tombstone = document.removed().get(id).expect("it was removed");
        assert_eq!(users(&tombstone.users), [by]);
    }
    // All writers count as members.
    assert!(["alice", "bob", "carol"].iter().all(|user| document.knows(&(*user).into())));
    apply(&mut document, "alice", r#"{"action":"move_item","item_id":"a","data":{"x_mm":2}}"#);
    let stored = String::from_utf8(document.to_stored()).expect("text");
    assert!(stored.starts_with("{\"format\":2,"), "{stored}");
    let again = Document::from_stored(stored.as_bytes()).expect("it was just written");
    assert_eq!(canvas(&again), canvas(&document));
}

#[test]
fn earlier_values_are_read_as_they_were_stored_at_first() {
    let stored = String::from_utf8(example().to_stored()).expect("text");
    let old = stored.lines().find(|line| line.starts_with("\"old\"")).expect("it has old values");
    let past = r#""past":[[1,"x_mm",[[1,"ca23171e358c7f4c"]]]],"#;
    let read = |past: &str| Document::from_stored(stored.replace(old, past).as_bytes());
    let marks = stored.replace(old, r#""old":[[1,"84ae6c9c",""]],"#);
    assert_eq!(read(past).expect("it was once written").to_stored(), marks.as_bytes());
    for (part, wrong) in [
        ("[[1,\"x_mm\"", "[[2,\"x_mm\""),
        ("[[1,\"ca23171e358c7f4c\"]]", "[[1,\"SECRET\"]]"),
        ("[[1,\"ca23171e358c7f4c\"]]", "[[1]]"),
        ("\"past\":[[", "\"past\":[[["),
    ] {
        assert!(read(&past.replacen(part, wrong, 1)).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_not_a_document_is_refused_and_nothing_of_it_is_shown() {
    let whole = String::from_utf8(example().to_stored()).expect("text");
    for (part, wrong) in [
        ("\"format\":2", "\"format\":3"),
        ("\"format\":2", "\"format\":0"),
        ("\"format\":2", "\"SECRET\":2"),
        ("\"version\":5", "\"version\":-1"),
        ("\"version\":5", "\"version\":9007199254740992"),
        ("\"uuid\":\"a\"", "\"uuid\":\"b\""),
        ("\"uuid\":\"a\"", "\"uuid\":\"\""),
        ("\"item_type\":\"source\"", "\"item_type\":{\"SECRET\":1}"),
        ("\"item_type\":\"source\"", "\"item_type\":\"\\ud800\""),
        ("\"fields\":[0,1,1]", "\"fields\":[0,1]"),
        ("\"fields\":[0,1,1]", "\"fields\":[0,1,4]"),
        ("\"built\":[0,1]", "\"built\":[0,4]"),
        ("\"built\":[0,1]", "\"built\":\"SECRET\""),
        ("\"last\":0", "\"last\":4"),
        ("\"writers\":[{\"last\":0,\"built\":[0,1]},", "\"writers\":["),
        ("\"writers\":[", "\"writers\":[\"SECRET\","),
        ("\"old\":[[1,", "\"old\":[[2,"),
        ("\"old\":[[1,\"", "\"old\":[[1,\"0"),
        ("\"old\":[[1,\"", "\"old\":[[1,\"SECRETS!"),
        ("\"old\":[[", "\"old\":[[["),
        ("[\"c\",2,1]", "[\"c\",2,4]"),
        ("[\"c\",2,1]", "[\"c\"]"),
        ("[\"c\",2,1]", "\"SECRET\""),
        ("\"extra\":{\"zoom\":3.50}", "\"extra\":[]"),
        ("\"users\"", "\"SECRET\""),
    ] {
        assert!(whole.contains(part), "{part}");
        let damaged = Document::from_stored(whole.replacen(part, wrong, 1).as_bytes());
        let why = damaged.expect_err(wrong).to_string();
        assert!(!why.contains("SECRET"), "{why}");
    }
    for cut in 0..whole.len() - 2 {
        assert!(Document::from_stored(&whole.as_bytes()[..cut]).is_err(), "the first {cut}");
    }
    assert!(Document::from_stored(b"\xff").is_err());
    let deep = format!("{{\"format\":{}", "[".repeat(1_000_000));
    assert!(Document::from_stored(deep.as_bytes()).is_err());
}
