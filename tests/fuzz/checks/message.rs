//! One message of either protocol, and what becomes of it: whatever it is, nobody panics, the others
//! are told what its sender said and nothing else, and what can't be read is answered.

use std::time::Duration;

use collabd::auth::Level;
use collabd::hub::{ConnId, Effect, Event, Hub};
use collabd::net::service::{ConnectionHandler, Incoming, Outcome, Reaction};
use collabd::protocol::inbound::{self, ClientMessage};
use collabd::protocol::{Frame, client};

use super::json::{self, Fields};
use super::{rig, shape};

const KEY: &str = "development";
const ANN: ConnId = ConnId(1);
const BOB: ConnId = ConnId(2);
const EVE: ConnId = ConnId(3);
const VIEWER: ConnId = ConnId(4);

/// A hub, its time, and what it had done.
struct Table {
    hub: Hub,
    elapsed: Duration,
    effects: Vec<Effect>,
}

impl Table {
    fn new(settle: bool) -> Self {
        let limits = collabd::hub::Limits { settle, ..rig::limits() };
        Table { hub: Hub::new(limits, 7), elapsed: Duration::ZERO, effects: Vec::new() }
    }

    fn handle(&mut self, event: Event) {
        self.hub.handle(event, rig::now(self.elapsed), &mut self.effects);
    }

    fn pass(&mut self, millis: u64) {
        let end = self.elapsed + Duration::from_millis(millis);
        while let Some(due) = self.hub.next_deadline().filter(|due| *due <= end) {
            self.elapsed = self.elapsed.max(due);
            self.handle(Event::Tick);
        }
        self.elapsed = end;
    }

    /// The texts a connection was sent since everything was last forgotten.
    fn told(&self, to: ConnId) -> Vec<&str> {
        let frames = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send { conn, frame, .. } | Effect::Confirm { conn, frame } if *conn == to => {
                text(frame)
            }
            _ => None,
        });
        frames.collect()
    }

    fn is_closed(&self, who: ConnId) -> bool {
        self.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Close { conn, .. } if *conn == who))
    }
}

/// The text of a text frame.
fn text(frame: &Frame) -> Option<&str> {
    let is_text = frame.bytes()[0] == 0x81;
    is_text.then(|| std::str::from_utf8(frame.payload()).expect("text is UTF-8"))
}

/// A message of the session protocol, said by one of two in a session with a few items.
pub fn check_member(input: &[u8]) {
    let said = String::from_utf8_lossy(input);
    let mut table = Table::new(input.len().is_multiple_of(2));
    for (conn, user) in [(ANN, "ann"), (BOB, "bob")] {
        table.handle(Event::Join { conn, session: "s".into(), user: user.into(), grant: None });
        table.pass(2000);
        let add = r#"{"type":"command","command":{"action":"add_item","item_id":"USER","item_type":"component","data":{"x_mm":1}}}"#;
        let message = inbound::parse(&add.replace("USER", user)).expect("an item");
        table.handle(Event::Message { conn, message });
        table.pass(3000);
    }
    table.handle(Event::View { conn: VIEWER, session: "s".into(), grant: None, since: None });
    table.effects.clear();
    check_viewer(&said);
    let message = match inbound::parse(&said) {
        Ok(message) => message,
        Err(rejection) => {
            let frame = collabd::protocol::outbound::rejected(&rejection);
            return check_refusal(text(&frame).expect("a text"), rejection.code);
        }
    };
    assert!(format!("{message:?}").len() < 20, "a message is shown");
    if let ClientMessage::Command(command) = &message {
        assert!(Fields::read(&format!("{}}}", head(&command.body.with_action("x")))).is_some());
    }
    let sent = Fields::sent_by_member(&said).expect("it was taken");
    let kind = sent.string("type").expect("it was taken");
    table.handle(Event::Message { conn: ANN, message });
    // A canvas of which an item is left out is taken.
    let is_refusal =
        |told: &str| type_of(told) == "error" && !told.contains(r#""error_type":"bad_item""#);
    let refused = table.told(ANN).into_iter().any(is_refusal);
    let to_bob: Vec<Fields> = table.told(BOB).into_iter().map(shape::to_editor).collect();
    table.told(ANN).into_iter().for_each(|told| drop(shape::to_editor(told)));
    // Where a whole canvas is said, a viewer is shown what has become of it.
    if !matches!(&*kind, "sync:full_state" | "sync:update") {
        assert_eq!(table.told(BOB), table.told(VIEWER), "a viewer is told what a member is");
    }
    if refused {
        assert!(to_bob.is_empty(), "others were told of what was refused");
    } else {
        check_relay(&kind, sent, to_bob);
    }
    check_afterwards(table);
}

/// Nothing of what a viewer says reaches the hub, but that it asks.
fn check_viewer(said: &str) {
    let door = rig::door(Vec::new(), false);
    let Outcome::Upgrade(mut viewer) =
        rig::ask(&door, "/view/s", None, [192, 0, 2, 1].into(), VIEWER)
    else {
        panic!("anybody may come in")
    };
    let kind = inbound::type_of(said);
    match viewer.on_message(VIEWER, Incoming::Text(said)) {
        Reaction::Event(Event::RequestState { conn: VIEWER, .. }) => {
            assert_eq!(kind.as_deref(), Some("sync:request"));
        }
        Reaction::Reply(frame) => match (kind.as_deref(), text(&frame).expect("a text")) {
            (Some("ping"), told) if type_of(told) == "pong" => drop(shape::to_editor(told)),
            (_, told) => {
                let code = if told.contains("\"read_only\"") { 403 } else { 400 };
                check_refusal(told, code);
            }
        },
        _ => panic!("a viewer's message is neither answered nor a request"),
    }
}

fn head(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn type_of(told: &str) -> String {
    Fields::read(told).and_then(|told| told.string("type")).expect("a type")
}

/// An `error` is short, and what it repeats of the message has bounds.
fn check_refusal(told: &str, code: u16) {
    let error = shape::to_editor(told);
    assert_eq!(error.get("code"), Some(&*code.to_string()));
    assert!(error.string("original_type").is_none_or(|kind| kind.chars().count() <= 128));
    assert!(error.get("id").is_none_or(|id| id.len() <= inbound::MAX_MESSAGE_ID_BYTES));
}

/// What others were told is what was sent, to the letter, less the server's fields and with them.
fn check_relay(kind: &str, sent: Fields, to_others: Vec<Fields>) {
    const OURS: [&str; 4] = ["user_id", "timestamp", "seq", "settled"];
    match kind {
        "ping" | "sync:request" => assert!(to_others.is_empty()),
        // What a whole canvas has changed.
        "sync:update" | "sync:full_state" => {}
        _ => {
            let command = sent.object("command").filter(|_| kind == "command");
            let mut told = to_others.into_iter();
            let Some(relayed) = told.next() else {
                return assert!(!command.as_ref().is_none_or(changes_something), "nobody was told");
            };
            // What follows is an added item once more.
            assert!(told.all(|told| kind == "command" && told.get("settled") == Some("true")));
            assert_eq!(relayed.string("user_id").as_deref(), Some("ann"));
            assert!(relayed.get("settled").is_none());
            assert!(!shape::SERVERS.contains(&kind) && kind != "sync:state");
            if let Some(command) = command {
                check_command(&command, &relayed.object("command").expect("a command"));
                let rest = |fields: Fields| fields.without(&OURS).without(&["command"]);
                assert_eq!(rest(sent), rest(relayed));
            } else {
                assert!(relayed.get("seq").is_none(), "it has changed something");
                assert_eq!(sent.without(&OURS), relayed.without(&OURS));
            }
        }
    }
}

/// Whether others certainly have to hear of a command.
fn changes_something(command: &Fields) -> bool {
    let is_known = command.string("item_id").is_some_and(|id| matches!(&*id, "ann" | "bob"));
    match (command.string("action").as_deref(), is_known) {
        // A whole update is of a pasted item.
        (Some("update_item"), false) => is_whole(command),
        // A tool that hovers moves an item that nobody has; removing what is gone changes nothing.
        (Some("move_item" | "remove_item"), false) => false,
        // The sender may just say what it shows.
        (Some("add_item" | "update_item" | "move_item"), true) => !is_whole(command),
        _ => true,
    }
}

/// Whether a command has the editor's whole dictionary.
fn is_whole(command: &Fields) -> bool {
    command.object("data").is_some_and(|data| data.string("_type").is_some())
}

fn check_command(sent: &Fields, told: &Fields) {
    let action = sent.string("action").expect("an action");
    let told_action = told.string("action").expect("an action");
    assert!(match &*action {
        "add_item" => matches!(&*told_action, "add_item" | "update_item"),
        // An item that nobody knows was pasted.
        "update_item" => matches!(&*told_action, "update_item" | "add_item"),
        // What it writes beside the place.
        "move_item" => matches!(&*told_action, "move_item" | "update_item"),
        _ => told_action == action,
    });
    assert_eq!(sent.string("item_id"), told.string("item_id"));
    let has_item = matches!(&*action, "add_item" | "update_item" | "move_item");
    // What was pasted is told with a command of the server's own.
    let is_pasted = action == "update_item" && told_action == "add_item";
    for (name, value) in &sent.0 {
        let may_change = match &**name {
            "action" => true,
            // The id is the same, perhaps written in another way.
            _ if is_pasted => true,
            "data" | "item_type" => has_item,
            _ => false,
        };
        assert!(may_change || told.get(name) == Some(&**value), "{name}");
    }
    if has_item {
        let data = told.object("data").expect("an item");
        for (name, value) in &sent.object("data").expect("an item").0 {
            let may_change = match &**name {
                "uuid" | "item_uuid" | "item_type" => true,
                // Of a move only the place is told.
                _ if told_action == "move_item" && !PLACE.contains(&&**name) => true,
                _ => name.starts_with("__") || MAY_CHANGE.contains(&&**name),
            };
            // A whole dictionary may say what the item has in other words.
            let is_told = data.get(name).is_some_and(|told| is_whole(sent) || told == &**value);
            assert!(may_change || is_told, "{name}");
        }
    }
}

const PLACE: [&str; 3] = ["x_mm", "y_mm", "angle_deg"];

/// What of an item is left out or mended where the editor would fail on it.
const MAY_CHANGE: [&str; 11] = [
    "angle_deg",
    "n_rays",
    "spread_deg",
    "object_height_mm",
    "interfaces",
    "name",
    "image_path",
    "color_hex",
    "polarization_type",
    "_type",
    "get_polarization",
];

/// The document is one that any editor can build, and as large as it is said to be.
fn check_afterwards(mut table: Table) {
    table.effects.clear();
    table.pass(5000);
    let request = inbound::parse(r#"{"type":"sync:request"}"#).expect("a request");
    table.handle(Event::Message { conn: BOB, message: request });
    let told: Vec<Fields> = table.told(BOB).into_iter().map(shape::to_editor).collect();
    assert!(told.iter().any(|told| told.string("type").as_deref() == Some("sync:state")));
    for effect in &table.effects {
        if let Effect::Send { conn: ANN, frame, .. } = effect {
            text(frame).map(shape::to_editor);
        }
    }
    let session = table.hub.footprint().sessions.pop().expect("a session");
    let document = table.hub.document("s").expect("a session");
    let sizes = document.items().map(|item| {
        let fields = item.fields.iter().map(|field| field.key.len() + field.value.get().len() + 4);
        item.id.len() + fields.sum::<usize>()
    });
    let bounds = rig::limits().document;
    let sizes: Vec<usize> = sizes.collect();
    assert!(sizes.iter().all(|size| *size <= bounds.item), "{sizes:?}");
    assert_eq!(session.document_bytes, sizes.iter().sum::<usize>());
    assert!(session.document_bytes <= bounds.document);
}

/// A message of the client protocol, said by one of two in a channel, and by one who has not shown a
/// key.
pub fn check_client(input: &[u8]) {
    let said = String::from_utf8_lossy(input);
    let mut table = Table::new(false);
    let mut guests = clients(&mut table);
    table.effects.clear();
    check_stranger(&mut table, &mut *guests[2], &said);
    table.effects.clear();
    let event = match guests[0].on_message(ANN, Incoming::Text(&said)) {
        Reaction::Event(event) if client::parse(&said).is_err() => {
            return check_unreadable(&mut table, ANN, event);
        }
        Reaction::Event(event) => event,
        Reaction::Reply(frame) => return check_reply(text(&frame).expect("a text"), &said),
        _ => panic!("it was answered neither by the hub nor at once"),
    };
    let sent = Fields::sent(&said).expect("it was taken");
    table.handle(event);
    assert!(table.told(EVE).is_empty() && !table.is_closed(BOB), "others are concerned");
    let kind = sent.string("type").expect("a type");
    let to_ann = table.told(ANN);
    let message = |told: &str| Fields::read(told).unwrap_or_else(|| panic!("{told}"));
    for told in to_ann.iter().map(|told| message(told)) {
        assert!(told.string("client_id").as_deref() == Some("ann"));
        let now = Some(rig::now(table.elapsed).wall.to_string());
        assert_eq!(told.string("timestamp"), now);
    }
    let answers: Vec<String> = to_ann.iter().map(|told| type_of(told)).collect();
    let answers: Vec<&str> = answers.iter().map(|kind| &**kind).collect();
    match (&*kind, &answers[..]) {
        ("connect", ["connection_success", "message_delivered"]) => {
            assert_eq!(sent.object("data").and_then(|d| d.string("api_key")).as_deref(), Some(KEY));
        }
        ("connect", ["error", "disconnect"]) => assert!(table.is_closed(ANN)),
        (_, ["error"]) => assert!(!table.is_closed(ANN) && table.told(BOB).is_empty()),
        ("join_channel" | "subscribe", ["message_delivered", "subscription_success"])
        | ("leave_channel" | "unsubscribe", ["message_delivered", "unsubscription_success"]) => {
            assert!(table.told(BOB).is_empty());
            check_confirmation(&message(to_ann[0]), &sent, &kind);
            let channel = sent.object("data").and_then(|data| data.string("channel"));
            assert_eq!(message(to_ann[1]).string("channel"), channel);
        }
        (_, [_, "message_delivered"]) => {
            check_confirmation(&message(to_ann[1]), &sent, &kind);
            let to_bob = table.told(BOB);
            match sent.get("channel").filter(|channel| *channel != "null") {
                Some(channel) => {
                    assert_eq!(json::string(channel).as_deref(), Some("general"));
                    assert_eq!(to_bob, to_ann[..1], "both are told the same");
                }
                None => assert!(to_bob.is_empty()),
            }
            const OURS: [&str; 2] = ["timestamp", "client_id"];
            assert_eq!(sent.without(&OURS), message(to_ann[0]).without(&OURS));
        }
        other => panic!("unexpected: {other:?}"),
    }
}

/// Ann and Bob, who are in one channel, Eve, who is in another.
fn clients(table: &mut Table) -> [Box<dyn ConnectionHandler>; 3] {
    let keys = vec![rig::key("writer", KEY, Level::Write, None, None)];
    let door = rig::door(keys, false);
    [(ANN, "ann", "general"), (BOB, "bob", "general"), (EVE, "eve", "other")].map(
        |(conn, client, channel)| {
            let path = format!("/client_{client}");
            let asked = rig::ask(&door, &path, None, [192, 0, 2, 1].into(), conn);
            let Outcome::Upgrade(mut guest) = asked else { panic!("{client} comes in") };
            table.handle(guest.join(conn).expect("the hub admits it"));
            if conn != EVE {
                let join = format!(r#"{{"type":"join_channel","data":{{"channel":"{channel}"}}}}"#);
                for text in [r#"{"type":"connect","data":{"api_key":"development"}}"#, &*join] {
                    let Reaction::Event(event) = guest.on_message(conn, Incoming::Text(text))
                    else {
                        panic!()
                    };
                    table.handle(event);
                }
            }
            guest
        },
    )
}

/// Whoever has shown no key reaches nobody, whatever it says.
fn check_stranger(table: &mut Table, eve: &mut dyn ConnectionHandler, said: &str) {
    match eve.on_message(EVE, Incoming::Text(said)) {
        Reaction::Event(event) if client::parse(said).is_err() => {
            check_unreadable(table, EVE, event)
        }
        Reaction::Event(event) => {
            let is_connect = Fields::sent(said).and_then(|said| said.string("type")).as_deref()
                == Some("connect");
            table.handle(event);
            assert!(table.told(ANN).is_empty() && table.told(BOB).is_empty());
            let told: Vec<String> = table.told(EVE).into_iter().map(type_of).collect();
            match is_connect {
                true => assert_eq!(table.is_closed(EVE), told[0] == "error"),
                false => assert!(table.is_closed(EVE) && told == ["error"]),
            }
        }
        Reaction::Reply(frame) => check_reply(text(&frame).expect("a text"), said),
        _ => panic!("one message alone ends no connection here"),
    }
    table.handle(Event::Disconnected { conn: EVE });
}

/// What can't be read is answered to its sender, and that is all.
fn check_unreadable(table: &mut Table, from: ConnId, event: Event) {
    table.handle(event);
    assert!([ANN, BOB, EVE].iter().all(|conn| *conn == from || table.told(*conn).is_empty()));
    let told = table.told(from);
    let [told] = told[..] else { panic!("one answer, not {}", told.len()) };
    let told = Fields::read(told).expect("an object");
    let data = told.object("data").expect("data");
    assert_eq!(data.string("error_type").as_deref(), Some("invalid_format"));
    assert!(data.get("id").is_none() && told.0.len() == 4 && !table.is_closed(from));
}

/// A ping is answered without asking the hub.
fn check_reply(told: &str, said: &str) {
    let told = Fields::read(told).expect("an object");
    let sent = Fields::sent(said).expect("it was read");
    let kinds = (told.string("type"), sent.string("type"));
    assert_eq!((kinds.0.as_deref(), kinds.1.as_deref()), (Some("pong"), Some("ping")));
    for name in ["id", "t"] {
        assert_eq!(told.get(name), sent.get(name));
    }
    assert_eq!(told.0.len(), 3 + ["id", "t"].iter().filter(|n| sent.get(n).is_some()).count());
}

fn check_confirmation(told: &Fields, sent: &Fields, kind: &str) {
    let data = told.object("data").expect("data");
    assert_eq!(data.string("original_type").as_deref(), Some(kind));
    assert_eq!(data.string("status").as_deref(), Some("success"));
    assert_eq!(data.get("id"), sent.get("id").filter(|id| *id != "null"));
}
