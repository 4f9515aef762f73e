//! Any history at all: what is kept of it makes the same document again, after every change, and a
//! server that goes on from it does exactly what one would do that was never stopped.

use std::collections::{BTreeMap, BTreeSet};

use collabd::hub::{ConnId, Document, Event, HistoryBounds, Hub, Limits, LoadedSession, replay};
use collabd::protocol::inbound::{self, State};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::rig::*;

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const SESSION: &str = "bench";

#[derive(Debug, Clone)]
enum Act {
    Say {
        user: usize,
        text: String,
    },
    /// Somebody goes and comes back.
    Return {
        user: usize,
    },
    /// Everybody goes and comes back.
    Desert,
    Restart,
    /// An earlier document comes back: so many thousandths of the way.
    Restore {
        way: u64,
    },
    /// A moment passes.
    Pass {
        millis: u64,
    },
}

/// Texts as they come, as JSON: in more than one spelling.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        Just(r#""lens""#.to_owned()),
        Just(r#""\u006cens""#.to_owned()),
        Just(r#""\ud800""#.to_owned()),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..4u8).prop_map(|n| n.to_string()),
        1 => Just("1.50".to_owned()),
        1 => Just("18446744073709551616".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just(r#"{"b":[ 1 ],"a":{}, "a":2}"#.to_owned()),
        2 => text(),
    ]
}

/// Names of fields as they come, those among them that say what an item is.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[nmk]",
        1 => prop_oneof![Just("x_mm"), Just("angle_deg")].prop_map(str::to_owned),
        1 => prop_oneof![Just("uuid"), Just("item_uuid"), Just("item_type"), Just("_type")]
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// An object with these fields and others.
fn object(fields: BTreeMap<String, String>, own: &[(&str, &str)]) -> String {
    let own = own.iter().map(|(name, value)| (Value::from(*name).to_string(), (*value).to_owned()));
    let fields = fields.into_iter().map(|(name, value)| (Value::from(name).to_string(), value));
    let fields: Vec<String> =
        own.chain(fields).map(|(name, value)| format!("{name} : {value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn fields() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(name(), value(), 0..5)
}

fn item() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[abcd]", 1 => "[ü\"\\\\]"].prop_map(|id| Value::from(id).to_string())
}

fn id() -> impl Strategy<Value = Option<String>> {
    proptest::option::weighted(0.4, (0..30u8).prop_map(|n| n.to_string()))
}

fn command() -> impl Strategy<Value = String> {
    let action = prop_oneof![
        4 => Just("add_item"),
        4 => Just("update_item"),
        2 => Just("move_item"),
        2 => Just("remove_item"),
        1 => Just("select"),
    ];
    let kind = proptest::option::of(text());
    (action, item(), kind, fields(), fields(), id()).prop_map(
        |(action, item, kind, data, mut beside, id)| {
            let (action, data) = (Value::from(action).to_string(), object(data, &[]));
            let mut command = vec![("action", &*action), ("item_id", &*item), ("data", &*data)];
            command.extend(kind.as_deref().map(|kind| ("item_type", kind)));
            let command = object(BTreeMap::new(), &command);
            beside.extend(id.map(|id| ("id".to_owned(), id)));
            object(beside, &[("type", "\"command\""), ("command", &command)])
        },
    )
}

fn state() -> impl Strategy<Value = String> {
    let extra = proptest::option::weighted(0.2, value());
    (vec((item(), fields()), 0..4), 0..40u64, extra).prop_map(|(items, version, extra)| {
        let items = items.into_iter().map(|(id, mut fields)| {
            fields.remove("uuid");
            object(fields, &[("uuid", &id)])
        });
        let items = format!("[{}]", items.collect::<Vec<_>>().join(","));
        let version = version.to_string();
        let mut state = vec![("items", &*items), ("version", &*version)];
        state.extend(extra.as_deref().map(|extra| ("zoom", extra)));
        object(BTreeMap::new(), &state)
    })
}

fn message() -> impl Strategy<Value = String> {
    let update = (state(), id()).prop_map(|(state, id)| {
        let id = id.map(|id| ("id".to_owned(), id)).into_iter().collect();
        object(id, &[("type", "\"sync:update\""), ("state", &state)])
    });
    let target = proptest::option::weighted(0.7, 0..USERS.len());
    let snapshot = (state(), target).prop_map(|(state, target)| {
        let target = target.map_or(Value::Null, |user| USERS[user].into()).to_string();
        let own = [("type", "\"sync:full_state\""), ("state", &*state), ("target_user", &*target)];
        object(BTreeMap::new(), &own)
    });
    prop_oneof![20 => command(), 1 => update, 4 => snapshot]
}

fn act() -> impl Strategy<Value = Act> {
    let user = 0..USERS.len();
    prop_oneof![
        40 => (user.clone(), message()).prop_map(|(user, text)| Act::Say { user, text }),
        3 => user.prop_map(|user| Act::Return { user }),
        1 => Just(Act::Desert),
        2 => Just(Act::Restart),
        1 => (0..1000u64).prop_map(|way| Act::Restore { way }),
        3 => (0..3000u64).prop_map(|millis| Act::Pass { millis }),
    ]
}

/// A server that is stopped now and then.
struct Stopped {
    rig: Rig,
    conns: Vec<ConnId>,
    /// The document after each change, in stored form.
    documents: BTreeMap<u64, Vec<u8>>,
}

impl Stopped {
    fn new() -> Self {
        let mut stopped = Stopped {
            rig: Rig::with(bounds()),
            conns: vec![NOBODY; USERS.len()],
            documents: BTreeMap::new(),
        };
        (0..USERS.len()).for_each(|user| stopped.join(user));
        stopped
    }

    fn join(&mut self, user: usize) {
        self.conns[user] = self.rig.join_session(SESSION, USERS[user], None);
        self.rig.commit();
    }

    fn document(&self) -> Option<Vec<u8>> {
        self.rig.hub.document(SESSION).map(Document::to_stored)
    }

    /// Everything that was kept is on disk: it has to be all there is.
    fn check(&mut self) -> Result<(), TestCaseError> {
        self.rig.commit();
        let (Some(kept), Some(document)) = (self.rig.store.kept(SESSION), self.document()) else {
            return Ok(());
        };
        let stored = kept.at(kept.seq).expect("nothing was dropped");
        let again = replay(&stored.document, &stored.changes).expect("it was just kept");
        compare(&again.to_stored(), &document)?;
        self.documents.insert(kept.seq, document);
        Ok(())
    }

    /// What everybody has missed who missed everything.
    fn history(&mut self) -> Vec<String> {
        let since = json!({"type": "sync:request", "epoch": self.epoch(), "since": 0});
        let conn = self.rig.join_session(SESSION, "late", None);
        self.rig.commit();
        self.rig.pass(2000);
        self.rig.all();
        self.rig.tell(conn, since);
        let told = self.rig.on(conn).into_iter().map(|done| match done {
            Done::Told(mut told) => {
                told.as_object_mut().expect("an object").remove("timestamp");
                told.to_string()
            }
            other => format!("{other:?}"),
        });
        let told = told.collect();
        self.rig.gone(conn);
        self.rig.all();
        told
    }

    fn epoch(&self) -> Option<String> {
        self.rig.store.kept(SESSION).map(|kept| kept.epoch.to_string())
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Say { user, text } => {
                // What is refused never comes so far.
                if let Ok(message) = inbound::parse(text) {
                    self.rig.handle(Event::Message { conn: self.conns[*user], message });
                }
            }
            Act::Return { user } => {
                self.rig.gone(self.conns[*user]);
                self.join(*user);
            }
            Act::Desert => {
                self.conns.clone().into_iter().for_each(|conn| self.rig.gone(conn));
                (0..USERS.len()).for_each(|user| self.join(user));
            }
            Act::Restart => self.restart()?,
            Act::Restore { way } => self.restore(*way)?,
            Act::Pass { millis } => self.rig.pass(*millis),
        }
        self.check()
    }

    fn restart(&mut self) -> Result<(), TestCaseError> {
        self.check()?;
        let Some(epoch) = self.epoch() else { return Ok(()) };
        let history = self.history();
        let document = self.document();
        self.rig.restart(bounds());
        self.conns.fill(NOBODY);
        prop_assert_eq!(self.history(), history);
        let (again, again_marks) = self.document().as_deref().map(shown).unzip();
        let (live, live_marks) = document.as_deref().map(shown).unzip();
        prop_assert_eq!(again, live);
        compare_marks(&again_marks.unwrap_or_default(), &live_marks.unwrap_or_default())?;
        prop_assert_eq!(self.epoch(), Some(epoch));
        (0..USERS.len()).for_each(|user| self.join(user));
        Ok(())
    }

    fn restore(&mut self, way: u64) -> Result<(), TestCaseError> {
        let Some(kept) = self.rig.store.kept(SESSION) else { return Ok(()) };
        let wanted = kept.seq * way / 1000;
        let Some((seq, document)) = self.documents.range(..=wanted).next_back() else {
            return Ok(());
        };
        let stored = kept.at(*seq).expect("nothing was dropped");
        let state = replay(&stored.document, &stored.changes).expect("it is stored").into_state();
        let before = canvas(document);
        let (conn, session, by) = (self.rig.conn(), SESSION.into(), "operator".into());
        self.rig.handle(Event::Restore { conn, session, state: Box::new(state), by });
        self.rig.commit();
        let now = self.document().expect("somebody is there");
        prop_assert_eq!(canvas(&now), before);
        Ok(())
    }

    /// At the end every document there was can be made again.
    fn check_the_past(&self) -> Result<(), TestCaseError> {
        for (seq, document) in &self.documents {
            let kept = self.rig.store.kept(SESSION).expect("it has documents");
            let stored = kept.at(*seq).expect("nothing was dropped");
            let again = replay(&stored.document, &stored.changes).expect("it is stored");
            compare(&again.to_stored(), document)?;
        }
        Ok(())
    }
}

fn bounds() -> Limits {
    let history = HistoryBounds { changes: 10_000, bytes: 1 << 24 };
    Limits { durable: true, history, ..limits() }
}

/// In text without the marks of old values, and these, each with the item that it is of: those of two fields
/// may come in either order, and one that was stored amid a drag counts as at rest.
fn shown(stored: &[u8]) -> (String, BTreeSet<(u64, String)>) {
    let stored = String::from_utf8_lossy(stored);
    let mut marks = BTreeSet::new();
    let mut shown = String::new();
    for line in stored.lines() {
        let Some(old) = line.strip_prefix("\"old\":") else {
            shown.extend([line, "\n"]);
            continue;
        };
        let lists = old.strip_suffix(',').expect("more comes after it");
        let lists: Vec<(u64, String, String)> = serde_json::from_str(lists).expect("lists");
        for (item, at_rest, passed) in lists {
            let of_item = at_rest + &passed;
            let of_item = of_item.as_bytes().chunks(8).map(String::from_utf8_lossy);
            marks.extend(of_item.map(|mark| (item, mark.into_owned())));
        }
    }
    (shown, marks)
}

/// Where a document is made again a value may count as still that others changed without a pause: then one more
/// form is known in which it was told.
fn compare_marks<T: Ord + std::fmt::Debug>(
    again: &BTreeSet<T>,
    live: &BTreeSet<T>,
) -> Result<(), TestCaseError> {
    prop_assert!(again.is_superset(live), "{again:?} lack some of {live:?}");
    Ok(())
}

/// All that a version says: the items to the letter, who wrote what, and what their fields were before. Not
/// what only whoever goes on with the session has to know: who has been there, whose copies are their
/// own, and who else has removed what was gone.
fn facts(stored: &[u8]) -> (String, Value) {
    let (stored, _) = shown(stored);
    let (items, _) = stored.split_once("\n\"users\":").expect("a stored document");
    let mut parts: Map<String, Value> =
        serde_json::from_str(&stored.replace("\\ud800", "\\ufffd")).expect("JSON");
    let users = parts.remove("users").expect("a list");
    let user = |place: &Value| users[place.as_u64().expect("a place") as usize].clone();
    for writer in parts["writers"].as_array_mut().expect("a list") {
        let last = user(writer.get("last").unwrap_or(writer));
        let fields = writer.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
        *writer = json!([last, fields.iter().map(user).collect::<Value>()]);
    }
    for removed in parts["removed"].as_array_mut().expect("a list") {
        *removed = json!([removed[0], user(&removed[1])]);
    }
    parts.remove("items");
    (items.to_owned(), Value::Object(parts))
}

/// Whether a document that was made again is what there was.
fn compare(again: &[u8], live: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(facts(again), facts(live));
    compare_marks(&shown(again).1, &shown(live).1)
}

/// What is on the canvas, and beside it.
fn canvas(stored: &[u8]) -> (Value, Value) {
    // serde can't read half a character.
    let stored = shown(stored).0.replace("\\ud800", "\\ufffd");
    let mut stored: Map<String, Value> = serde_json::from_str(&stored).expect("JSON");
    for item in stored["items"].as_array_mut().expect("a list") {
        // Another name for the same.
        item.as_object_mut().expect("an object").remove("item_uuid");
    }
    (stored["items"].take(), stored["extra"].take())
}

proptest! {
    #[test]
    fn what_is_kept_of_any_history_is_all_of_it(acts in vec(act(), 0..60)) {
        let mut stopped = Stopped::new();
        for act in &acts {
            stopped.act(act)?;
        }
        stopped.check_the_past()?;
    }

    #[test]
    fn what_is_damaged_is_refused_or_read_as_something_else_but_never_a_panic(
        acts in vec(act(), 0..20),
        places in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut stopped = Stopped::new();
        for act in &acts {
            stopped.act(act)?;
        }
        let Some(mut stored) = stopped.rig.store.stored(SESSION, 100) else { return Ok(()) };
        let mut document = stopped.document().unwrap_or_default();
        for (place, byte) in &places {
            if !document.is_empty() {
                let place = place.index(document.len());
                document[place] = *byte;
            }
            if !stored.changes.is_empty() {
                let change = place.index(stored.changes.len());
                let frame = &mut stored.changes[change].frame;
                let place = place.index(frame.len());
                frame[place] = *byte;
            }
        }
        let _ = Document::from_stored(&document);
        let _ = State::parse(&String::from_utf8_lossy(&document));
        let bounds = bounds().history;
        if let Ok(past) = LoadedSession::of(stored.clone(), bounds) {
            let mut hub = Hub::new(self::bounds(), 1).with_stored([SESSION.into()]);
            let now = collabd::hub::Time { elapsed: Default::default(), wall: stopped.rig.wall() };
            let (conn, session, user) = (ConnId(1), SESSION, "alice");
            let join =
                Event::Join { conn, session: session.into(), user: user.into(), grant: None };
            hub.handle(join, now, &mut Vec::new());
            let past = Ok(Some(Box::new(past)));
            hub.handle(Event::Loaded { session: session.into(), past }, now, &mut Vec::new());
            prop_assert!(hub.document(session).is_some());
        }
    }
}
