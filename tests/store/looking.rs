//! Looking into a store with ordinary tools, beside the server that writes it; copies of it; and what
//! is removed from it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use collabd::journal::{JournalEntry, SnapshotReason};
use collabd::protocol::Timestamp;
use collabd::store::{PointInTime, Reader, Retention, Store};
use rusqlite::Connection;

use super::scratch::{
    ALL, Scratch, at, change, changes, commit, document, expect_changes, message,
};
use super::scratch::{taken, whole};

const FOR_EVER: Retention = Retention { versions: 0, age: Duration::ZERO, history: 0 };

#[test]
fn a_person_can_read_it() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("table 1", 1, 4));
    commit(&mut store, &[whole("table 1", "e", 4, SnapshotReason::NewDesign)]);
    // While the server runs.
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    let row: (String, i64, String, String, i64, i64) = db
        .query_row("SELECT name, seq, created, changed, changes, versions FROM overview", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
        })
        .expect("a row");
    // Four changes, and the numbers that are reserved while a server uses the session.
    assert_eq!(row, ("table 1".into(), 4, at(1).to_string(), at(4).to_string(), 5, 1));
    let mut journal = db
        .prepare(
            "SELECT seq, time, user, id, message ->> '$.command.data.x_mm' FROM journal
            WHERE user <> ''",
        )
        .expect("a view");
    type Row = (i64, String, String, Option<String>, f64);
    let rows: Vec<Row> = journal
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("rows");
    let times: Vec<String> = (1..=4).map(|seq| at(seq).to_string()).collect();
    assert_eq!(rows.iter().map(|row| row.1.clone()).collect::<Vec<_>>(), times);
    assert_eq!(rows[2], (3, at(3).to_string(), "alice".into(), Some("\"3\"".into()), 3.25));
    let version: (i64, String, String) = db
        .query_row("SELECT seq, time, why FROM versions", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .expect("a row");
    assert_eq!(version, (4, at(4).to_string(), "new design".into()));
    // Any millisecond is shown as it is.
    for millis in 0..1000 {
        let text: String = db
            .query_row(
                "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ? / 1000.0, 'unixepoch')",
                [1_761_658_245_000_i64 + millis],
                |row| row.get(0),
            )
            .expect("a time");
        let moment = Timestamp::from_millis(1_761_658_245_000 + millis as u64);
        assert_eq!(text, moment.to_string());
    }
}

#[test]
fn a_reader_sees_what_is_committed_and_holds_nobody_up() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 5));
    let reader = Reader::open(&scratch.data()).expect("a reader");
    let names = |reader: &Reader| -> Vec<String> {
        reader.sessions().expect("sessions").iter().map(|one| one.name.to_string()).collect()
    };
    assert_eq!(names(&reader), ["s"]);
    commit(&mut store, &[change("a", "e", 1), change("s", "e", 6)]);
    assert_eq!(names(&reader), ["a", "s"]);
    let summary = reader.session("s").expect("is read").expect("is stored");
    assert_eq!((summary.seq, summary.changes, summary.versions), (6, 6, 0));
    assert_eq!((summary.created, summary.changed), (at(1), at(6)));
    let bytes: usize = (1..=6).map(|seq| message("s", seq).len()).sum();
    assert_eq!(summary.bytes, bytes as u64);
    assert!(reader.session("t").expect("is read").is_none());
    assert!(reader.load("t", ALL).expect("is read").is_none());
    assert!(reader.versions("t").expect("is read").is_none());
    assert!(reader.document_at("t", PointInTime::Seq(0)).expect("is read").is_none());
    assert!(reader.changes_after("t", 0, 10).expect("is read").is_empty());
    let some = reader.changes_after("s", 2, 3).expect("are read");
    assert_eq!(some.iter().map(|change| change.seq).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(reader.changes_after("s", u64::MAX, 3).expect("are read").is_empty());
    // It can't change anything.
    drop(store);
    assert_eq!(names(&reader), ["a", "s"]);
}

#[test]
fn a_copy_made_while_it_is_written_is_whole() {
    let (scratch, copies) = (Scratch::new(), Scratch::new());
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 2000));
    let done = AtomicBool::new(false);
    let copied = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut seq = 2000;
            while !done.load(Ordering::Relaxed) {
                commit(&mut store, &changes("s", seq + 1, seq + 10));
                seq += 10;
            }
            seq
        });
        let reader = Reader::open(&scratch.data()).expect("a reader");
        let copied: Vec<u64> = (0..5)
            .map(|number| {
                let copy = copies.path().join(format!("copy-{number}"));
                fs::create_dir(&copy).expect("a directory");
                let mut last = (0, 0);
                reader
                    .backup(&copy.join("collabd.db"), |done, of| last = (done, of))
                    .expect("made");
                assert!(last.0 == last.1 && last.1 > 100, "{last:?}");
                assert_eq!(fs::read_dir(&copy).expect("a directory").count(), 1);
                let copy = Store::open(&copy).expect("a store");
                let seq = copy.load("s", ALL).expect("loads").expect("is stored").seq;
                expect_changes(&copy, "s", seq);
                seq
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(writer.join().expect("ended") >= copied[4]);
        copied
    });
    assert!(copied.is_sorted() && copied[0] >= 2000, "{copied:?}");

    let reader = Reader::open(&scratch.data()).expect("a reader");
    let there = copies.path().join("copy-0").join("collabd.db");
    let line = reader.backup(&there, |_, _| {}).expect_err("refused");
    assert!(line.contains("there already"), "{line}");
    let nowhere = copies.path().join("nowhere").join("copy.db");
    assert!(reader.backup(&nowhere, |_, _| {}).expect_err("refused").contains("can't write"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let file = copies.path().join("copy.db");
        reader.backup(&file, |_, _| {}).expect("made");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn a_session_that_is_removed_is_gone_and_may_begin_anew() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 50));
    commit(&mut store, &[whole("s", "e", 50, SnapshotReason::Regular), taken("s", "e", 50, "1")]);
    commit(&mut store, &changes("t", 1, 5));
    assert!(store.delete("s").expect("deleted"));
    assert!(!store.delete("s").expect("nothing to delete"));
    assert!(store.load("s", ALL).expect("is read").is_none());
    drop(store);
    let mut store = scratch.open();
    assert_eq!(store.names().map(|name| &**name).collect::<BTreeSet<_>>(), BTreeSet::from(["t"]));
    expect_changes(&store, "t", 5);
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    for table in ["changes", "documents", "taken"] {
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE session NOT IN
            (SELECT id FROM sessions WHERE name = 't')"
        );
        let left: i64 = db.query_row(&sql, [], |row| row.get(0)).expect("a count");
        assert_eq!(left, 0, "{table}");
    }
    drop(db);
    commit(&mut store, &[change("s", "another", 1)]);
    drop(store);
    expect_changes(&scratch.open(), "s", 1);
}

#[test]
fn a_session_that_begins_anew_overwrites_nothing() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 5));
    commit(&mut store, &[change("s", "another", 1), change("s", "another", 2)]);
    drop(store);
    let store = scratch.open();
    expect_changes(&store, "s", 2);
    let stored = store.load("s (epoch e)", ALL).expect("loads").expect("is stored");
    assert_eq!((&*stored.epoch, stored.seq, stored.changes.len()), ("e", 5, 5));
}

/// A session with a version every ten changes, the first as of change 0, each a day later.
fn with_versions(scratch: &Scratch, days: &[u64]) -> Store {
    let mut store = scratch.open();
    for (place, day) in (0..).zip(days) {
        let mut version = whole("s", "e", place * 10, SnapshotReason::Regular);
        if let JournalEntry::Snapshot { at, .. } = &mut version {
            *at = on(*day);
        }
        if place > 0 {
            commit(&mut store, &changes("s", place * 10 - 9, place * 10));
        }
        commit(&mut store, &[version]);
    }
    store
}

fn on(day: u64) -> Timestamp {
    Timestamp::from_millis(day * 86_400_000)
}

fn versions_after(days: &[u64], retention: &Retention, today: u64) -> Vec<u64> {
    let scratch = Scratch::new();
    let mut store = with_versions(&scratch, days);
    while store.prune("s", retention, on(today), 7).expect("pruned").is_more() {}
    let last = (days.len() as u64 - 1) * 10;
    let reader = Reader::open(&scratch.data()).expect("a reader");
    let versions = reader.versions("s").expect("are read").expect("is stored");
    let seqs: Vec<u64> = versions.iter().map(|version| version.seq).collect();
    // The present is always there, and every state since the oldest version.
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    assert_eq!((stored.seq, stored.document), (last, document("s", last)));
    for seq in seqs[0]..=last {
        assert!(reader.document_at("s", PointInTime::Seq(seq)).expect("is read").is_some());
    }
    if retention.history < 10 && seqs[0] > 0 {
        assert!(reader.document_at("s", PointInTime::Seq(seqs[0] - 1)).expect("is read").is_none());
    }
    seqs
}

#[test]
fn a_version_goes_when_it_is_over_the_number_or_over_the_age() {
    let days = [10, 11, 12, 13, 14];
    let keep = |versions, age: u64| Retention {
        versions,
        age: Duration::from_secs(age * 86_400),
        history: 0,
    };
    assert_eq!(versions_after(&days, &FOR_EVER, 1000), [0, 10, 20, 30, 40]);
    assert_eq!(versions_after(&days, &keep(2, 0), 14), [30, 40]);
    assert_eq!(versions_after(&days, &keep(1, 0), 14), [40]);
    assert_eq!(versions_after(&days, &keep(9, 0), 14), [0, 10, 20, 30, 40]);
    // A state that was the present within the last two days can be brought back.
    assert_eq!(versions_after(&days, &keep(0, 2), 14), [10, 20, 30, 40]);
    assert_eq!(versions_after(&days, &keep(0, 2), 15), [20, 30, 40]);
    assert_eq!(versions_after(&days, &keep(0, 2), 1000), [40]);
    assert_eq!(versions_after(&days, &keep(2, 1000), 14), [30, 40]);
    assert_eq!(versions_after(&days, &keep(4, 2), 15), [20, 30, 40]);
}

#[test]
fn a_clock_that_jumps_makes_no_version_older_than_it_is() {
    let keep = Retention { versions: 0, age: Duration::from_secs(2 * 86_400), history: 0 };
    // One made in 1970 is no older than the one before it.
    assert_eq!(versions_after(&[13, 1, 14], &keep, 15), [0, 10, 20]);
    assert_eq!(versions_after(&[13, 1, 14], &keep, 16), [10, 20]);
    // One from a year to come says nothing about those after it.
    assert_eq!(versions_after(&[10, 9999, 11, 12], &keep, 13), [10, 20, 30]);
    assert_eq!(versions_after(&[9999, 9999, 9999], &keep, 13), [0, 10, 20]);
}

#[test]
fn a_file_shrinks_when_much_is_removed() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 5000));
    commit(&mut store, &[whole("s", "e", 5000, SnapshotReason::Regular)]);
    store.close().expect("closed");
    let before = fs::metadata(scratch.file("collabd.db")).expect("a file").len();
    let mut store = scratch.open();
    let keep = Retention { versions: 1, history: 100, ..FOR_EVER };
    let mut rounds = 1;
    while store.prune("s", &keep, Timestamp::now(), 1000).expect("pruned").is_more() {
        rounds += 1;
    }
    assert_eq!(rounds, 5);
    while store.shrink(100).expect("shrunk").is_more() {}
    store.close().expect("closed");
    let after = fs::metadata(scratch.file("collabd.db")).expect("a file").len();
    assert!(after < before / 10, "{after} of {before} bytes");
    let store = scratch.open();
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    assert_eq!((stored.history.len(), stored.changes.len()), (100, 0));
}

#[test]
fn whoever_looks_after_a_crash_writes_nothing_and_is_waited_for() {
    let (scratch, from) = (Scratch::new(), Scratch::new());
    let mut store = from.open();
    commit(&mut store, &changes("s", 1, 20));
    super::scratch::copy(&from.data(), &scratch.data());
    let files = ["collabd.db", "collabd.db-wal"].map(|name| scratch.file(name));
    let read = || files.each_ref().map(|file| std::fs::read(file).expect("a file"));
    let before = read();
    let reader = Reader::open(&scratch.data()).expect("a reader");
    assert_eq!(reader.session("s").expect("is read").expect("is stored").seq, 20);
    drop(reader);
    assert!(read() == before, "it was written to");
    // Everything is written anew when it is opened, which nobody else may see half done.
    let reader = Reader::open(&scratch.data()).expect("a reader");
    assert_eq!(reader.session("s").expect("is read").expect("is stored").seq, 20);
    let data = scratch.data();
    let opening = std::thread::spawn(move || Store::open(&data).expect("a store"));
    drop(reader);
    super::scratch::expect_changes(&opening.join().expect("opened"), "s", 20);
}
