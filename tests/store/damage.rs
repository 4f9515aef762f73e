//! Files that are not as they were written: whatever was flipped, cut off or removed, a store gives
//! back what it was given or says that it can't. Never anything else.
//!
//! `DAMAGES=5000` tries more of it.

use std::fs;
use std::path::Path;

use collabd::journal::{JournalEntry, SnapshotReason};
use collabd::store::{PointInTime, Reader, Store};

use super::model::Model;
use super::scratch::{ALL, Scratch, at, change, changes, commit, copy, document, taken, whole};

/// What every session holds: enough for each table to have several pages.
fn history(session: &str) -> Vec<Vec<JournalEntry>> {
    let replaced = JournalEntry::Snapshot {
        session: session.into(),
        epoch: "e".into(),
        seq: 41,
        at: at(41),
        user: Some("alice".into()),
        document: document(session, 41),
        frames: vec![collabd::protocol::Frame::text("{\"type\":\"sync:state\"}")],
        id: Some("41".into()),
        why: SnapshotReason::Replaced,
    };
    let ids = (0..40).map(|n| taken(session, "e", 40, &format!("\"{n}\"")));
    vec![
        changes(session, 1, 20),
        vec![whole(session, "e", 20, SnapshotReason::Snapshot)],
        changes(session, 21, 40),
        ids.collect(),
        vec![replaced],
        changes(session, 42, 60),
    ]
}

const SESSIONS: [&str; 3] = ["a", "b", "c"];

/// A store that was filled, transaction by transaction; `after_each` looks at it.
fn fill(scratch: &Scratch, mut after_each: impl FnMut(&Model)) -> (Store, Model) {
    let mut store = scratch.open();
    let mut model = Model::default();
    let mut parts: Vec<_> = SESSIONS.map(|name| history(name).into_iter()).into();
    while let Some(batch) = parts.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
        for batch in batch {
            commit(&mut store, &batch);
            batch.iter().for_each(|keep| assert!(model.keep(keep)));
            after_each(&model);
        }
    }
    (store, model)
}

/// What came of looking at a damaged store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Refused,
    Harmless,
}

/// Expects what a store says to be right, or that it says it can't.
fn look(directory: &Path, model: &Model) -> Found {
    let Ok(store) = Store::open(directory) else { return Found::Refused };
    let mut names: Vec<String> = store.names().map(|name| name.to_string()).collect();
    names.sort();
    assert_eq!(names, model.sessions.keys().cloned().collect::<Vec<_>>(), "sessions");
    let mut found = Found::Harmless;
    let reader = Reader::open(directory).ok();
    for (name, session) in &model.sessions {
        match store.load(name, ALL) {
            Ok(stored) => assert_eq!(stored, Some(session.load(ALL)), "{name}"),
            Err(_) => found = Found::Refused,
        }
        for seq in (0..=session.seq).step_by(7) {
            let state =
                reader.as_ref().map(|reader| reader.document_at(name, PointInTime::Seq(seq)));
            match state {
                Some(Ok(Some(state))) => {
                    assert!(state.seq == seq && session.is_right(&state), "{name} {seq} {state:?}");
                }
                _ => found = Found::Refused,
            }
        }
    }
    found
}

/// The same, before and after more is written to it.
fn look_and_go_on(directory: &Path, model: &Model) -> Found {
    let found = look(directory, model);
    if found == Found::Refused {
        return found;
    }
    let mut model = model.clone();
    let mut store = Store::open(directory).expect("was opened before");
    for name in SESSIONS {
        let more: Vec<JournalEntry> = (61..90).map(|seq| change(name, "e", seq)).collect();
        if store.commit(&more).is_err() {
            return Found::Refused;
        }
        more.iter().for_each(|keep| assert!(model.keep(keep)));
    }
    drop(store);
    look(directory, &model)
}

/// Numbers that look random; the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

fn count(default: usize) -> usize {
    std::env::var("DAMAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// Damages a copy of `file` in many ways, one at a time, and looks at each.
fn damage(original: &Path, file: &str, model: &Model, seed: u64) -> usize {
    let scratch = Scratch::new();
    let whole = fs::read(original.join(file)).expect("a file");
    let mut random = Random(seed);
    let (mut refused, mut harmless) = (0, 0);
    for number in 0..count(80) {
        let place = match number % 4 {
            // What stands first in it counts most.
            0 => random.below(100.min(whole.len())),
            _ => random.below(whole.len()),
        };
        let (bit, length) = (random.below(8), 1 + random.below(600));
        let mut bytes = whole.clone();
        let what = match number % 8 {
            0..5 => {
                bytes[place] ^= 1 << bit;
                format!("bit {bit} of byte {place} flipped")
            }
            5 => {
                let end = (place + length).min(whole.len());
                bytes[place..end].fill(0);
                format!("zeros from {place} to {end}")
            }
            6 => {
                bytes.truncate(place);
                format!("cut off at {place}")
            }
            _ => {
                let end = (place + length).min(whole.len());
                bytes.copy_within(place..end, 0);
                format!("{place} to {end} written over the beginning")
            }
        };
        copy(original, &scratch.data());
        fs::write(scratch.file(file), bytes).expect("written");
        eprintln!("{file}, {number}: {what}");
        match look_and_go_on(&scratch.data(), model) {
            Found::Refused => refused += 1,
            Found::Harmless => harmless += 1,
        }
    }
    println!("{file}: {refused} refused, {harmless} harmless");
    refused
}

#[test]
fn a_damaged_database_is_noticed() {
    let scratch = Scratch::new();
    let (mut store, model) = fill(&scratch, |_| {});
    // Free pages, which are used again.
    commit(&mut store, &changes("d", 1, 150));
    assert!(store.delete("d").expect("deleted"));
    store.close().expect("closed");
    assert_eq!(look(&scratch.data(), &model), Found::Harmless);
    assert!(damage(&scratch.data(), "collabd.db", &model, 1) > 0);
}

#[test]
fn a_damaged_journal_after_a_crash_is_noticed() {
    let (scratch, crashed) = (Scratch::new(), Scratch::new());
    scratch.open().close().expect("closed");
    let (store, model) = fill(&scratch, |_| {});
    copy(&scratch.data(), &crashed.data());
    drop(store);
    // It has everything without what the damage does to it.
    copy(&crashed.data(), &scratch.data());
    assert_eq!(look(&scratch.data(), &model), Found::Harmless);
    assert!(damage(&crashed.data(), "collabd.db-wal", &model, 2) > 0);
    // Most of it stands in the journal and is taken from there.
    damage(&crashed.data(), "collabd.db", &model, 3);
    damage(&crashed.data(), "collabd.lock", &model, 4);
}

#[test]
fn after_a_power_failure_there_is_a_prefix_that_has_all_that_reached_the_disk() {
    let (scratch, torn, opened) = (Scratch::new(), Scratch::new(), Scratch::new());
    scratch.open().close().expect("closed");
    // How long the journal was when each transaction had reached the disk.
    let length = || fs::metadata(scratch.file("collabd.db-wal")).map_or(0, |wal| wal.len());
    let mut states = vec![(0, Model::default())];
    let (store, _) = fill(&scratch, |model| states.push((length(), model.clone())));
    copy(&scratch.data(), &torn.data());
    drop(store);
    // The note is written without waiting for the disk: here it never reached it.
    fs::remove_file(torn.file("collabd.lock")).expect("removed");
    let journal = fs::read(torn.file("collabd.db-wal")).expect("a journal");
    let mut random = Random(5);
    let mut ends: Vec<usize> = (0..count(60)).map(|_| random.below(journal.len() + 1)).collect();
    // And right at, before and after the end of each.
    ends.extend(states.iter().flat_map(|(end, _)| {
        let end = *end as usize;
        [end.saturating_sub(1), end, (end + 1).min(journal.len())]
    }));
    for end in ends {
        copy(&torn.data(), &opened.data());
        fs::write(opened.file("collabd.db-wal"), &journal[..end]).expect("written");
        let (_, expected) =
            states.iter().rfind(|(length, _)| *length <= end as u64).expect("there is a first");
        let store = Store::open(&opened.data()).expect("a store");
        let names = store.names().count();
        assert_eq!(names, expected.sessions.len(), "cut off at {end}");
        drop(store);
        assert_eq!(look(&opened.data(), expected), Found::Harmless, "cut off at {end}");
    }
}

#[test]
fn a_row_that_is_missing_is_noticed() {
    let scratch = Scratch::new();
    let (store, model) = fill(&scratch, |_| {});
    store.close().expect("closed");
    let missing = |what: &str| {
        let damaged = Scratch::new();
        copy(&scratch.data(), &damaged.data());
        let db = rusqlite::Connection::open(damaged.file("collabd.db")).expect("a database");
        db.pragma_update(None, "foreign_keys", false).expect("set");
        let sql = format!("DELETE FROM {what}");
        assert_eq!(db.execute(&sql, []).expect("deleted"), 1, "{what}");
        drop(db);
        look(&damaged.data(), &model)
    };
    let a = "session = (SELECT id FROM sessions WHERE name = 'a')";
    for seq in [1, 20, 40, 41, 42, 59, 60] {
        let found = missing(&format!("changes WHERE {a} AND seq = {seq}"));
        assert_eq!(found, Found::Refused, "change {seq}");
    }
    for n in [1, 20, 40] {
        let found = missing(&format!("taken WHERE {a} AND n = {n}"));
        assert_eq!(found, Found::Refused, "id {n}");
    }
    // From an older one the same state is made.
    assert_eq!(missing(&format!("documents WHERE {a} AND seq = 20")), Found::Harmless);
    assert_eq!(missing(&format!("documents WHERE {a} AND seq = 41")), Found::Refused);
    assert_eq!(missing("sessions WHERE name = 'a'"), Found::Refused);
    assert_eq!(missing("store"), Found::Refused);
}

#[test]
fn a_list_of_free_pages_that_has_one_in_use_is_noticed_before_it_is_written_to() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 50));
    commit(&mut store, &changes("d", 1, 150));
    assert!(store.delete("d").expect("deleted"));
    store.close().expect("closed");
    let mut bytes = fs::read(scratch.file("collabd.db")).expect("a file");
    let number = |bytes: &[u8], place: usize| {
        u32::from_be_bytes(bytes[place..place + 4].try_into().expect("four bytes")) as usize
    };
    let first = number(&bytes, 32);
    let free = (first - 1) * 4096 + 8;
    assert!(first > 0 && number(&bytes, free - 4) > 0, "there are free pages");
    bytes[free..free + 4].copy_from_slice(&5_u32.to_be_bytes());
    fs::write(scratch.file("collabd.db"), bytes).expect("written");
    assert!(scratch.refused().contains("damaged"));
}
