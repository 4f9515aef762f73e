//! Numbers of changes are given once, whatever ends the server.

use std::time::Duration;

use collabd::journal::{JournalEntry, StoredSession};
use collabd::store::{PointInTime, Reader, Retention, Store};
use rusqlite::Connection;

use super::scratch::{ALL, Scratch, at, change, changes, commit, whole};
use collabd::journal::SnapshotReason;

/// Goes on with a session as a server that was just started does.
fn used_again(scratch: &Scratch) -> (Store, StoredSession) {
    let mut store = scratch.open();
    store.begin_use("s").expect("numbers are reserved");
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    (store, stored)
}

/// A session with four changes before a crash, and after it two with a version each, of which the first
/// has the number that is returned.
fn with_versions_after_a_crash(scratch: &Scratch) -> (Store, u64) {
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 4));
    drop(store);
    let (mut store, stored) = used_again(scratch);
    let first = stored.skipped + 1;
    for seq in [first, first + 1] {
        commit(&mut store, &[change("s", "e", seq), whole("s", "e", seq, SnapshotReason::Regular)]);
    }
    (store, first)
}

fn seqs(store: &Store) -> Vec<u64> {
    let reader = Reader::open(store.directory()).expect("a reader");
    let changes = reader.changes_after("s", 0, usize::MAX).expect("are read");
    changes.iter().map(|change| change.seq).collect()
}

fn state_at(store: &Store, seq: u64) -> Option<u64> {
    let reader = Reader::open(store.directory()).expect("a reader");
    let stored = reader.document_at("s", PointInTime::Seq(seq)).expect("is read");
    stored.map(|stored| stored.seq)
}

#[test]
fn after_a_crash_a_session_goes_on_behind_what_may_have_been_given() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 4));
    // As if it were killed: nothing is said to it any more.
    drop(store);
    let (mut store, stored) = used_again(&scratch);
    assert_eq!(stored.seq, 4);
    let first = stored.skipped + 1;
    assert!(first > 1_000_000, "{first}");
    commit(&mut store, &[change("s", "e", first), change("s", "e", first + 1)]);
    drop(store);
    // And again, twice without a change.
    for _ in 0..2 {
        let (_, stored) = used_again(&scratch);
        assert_eq!(stored.seq, first + 1);
        assert!(stored.skipped > first + 1_000_000);
    }
    let (mut store, stored) = used_again(&scratch);
    let third = stored.skipped + 1;
    let made = JournalEntry::Snapshot {
        session: "s".into(),
        epoch: "e".into(),
        seq: third + 1,
        at: at(9),
        user: Some("alice".into()),
        document: b"{}".to_vec(),
        frames: vec![collabd::protocol::Frame::text("1"), collabd::protocol::Frame::text("2")],
        id: None,
        why: SnapshotReason::Snapshot,
    };
    commit(&mut store, &[made, change("s", "e", third + 2)]);
    let all = [1, 2, 3, 4, first, first + 1, third, third + 1, third + 2];
    assert_eq!(seqs(&store), all);
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    let history: Vec<u64> = stored.history.iter().map(|change| change.before()).collect();
    assert_eq!(history, [0, 1, 2, 3, 4, first - 1, first, first + 1, third - 1, third]);
    // Every number has a state: one that was skipped, that of the change before it.
    for (asked, is) in [(4, 4), (5, 4), (first - 1, 4), (first, first), (third - 1, first + 1)] {
        assert_eq!(state_at(&store, asked), Some(is), "{asked}");
    }
    let reader = Reader::open(store.directory()).expect("a reader");
    let summary = reader.session("s").expect("is read").expect("is stored");
    assert_eq!((summary.changes, summary.seq), (9, third + 2));
    // What is missing is still told from what was skipped.
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    db.execute("DELETE FROM changes WHERE seq = ?", [first as i64 + 1]).expect("deleted");
    assert!(store.load("s", ALL).is_err());
}

#[test]
fn after_a_stop_a_session_goes_on_with_the_next_number() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 4));
    store.close().expect("closed");
    let (mut store, stored) = used_again(&scratch);
    assert_eq!((stored.seq, stored.skipped), (4, 0));
    commit(&mut store, &[change("s", "e", 5)]);
    store.close().expect("closed");
    // One that was not used since the server was killed that used it is told from one that was.
    let (store, _) = used_again(&scratch);
    drop(store);
    scratch.open().close().expect("closed");
    let (_, stored) = used_again(&scratch);
    assert!(stored.seq == 5 && stored.skipped > 5);
}

#[test]
fn what_was_skipped_is_removed_with_what_was_before_it() {
    let scratch = Scratch::new();
    let (mut store, first) = with_versions_after_a_crash(&scratch);
    let retention = Retention { versions: 1, age: Duration::ZERO, history: 1 };
    while store.prune("s", &retention, at(9), 100).expect("is removed").is_more() {}
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    assert_eq!((stored.seq, stored.history.len()), (first + 1, 1));
    assert_eq!(seqs(&store), [first + 1]);
    drop(store);
    let (_, stored) = used_again(&scratch);
    assert!(stored.skipped > first + 1);
}

#[test]
fn what_was_skipped_takes_no_change_out_of_the_history() {
    let scratch = Scratch::new();
    let (mut store, first) = with_versions_after_a_crash(&scratch);
    for (history, left) in [(9, vec![2, 3, 4, first, first + 1]), (4, vec![3, 4, first, first + 1])]
    {
        let retention = Retention { versions: 1, age: Duration::ZERO, history };
        while store.prune("s", &retention, at(9), 100).expect("is removed").is_more() {}
        assert_eq!(seqs(&store), left, "{history}");
        let stored = store.load("s", ALL).expect("loads").expect("is stored");
        assert_eq!(stored.history.last().map(|change| change.seq), Some(first + 1));
    }
}

/// A version that reserved no numbers was killed: what it gave last may be lost.
#[test]
fn after_a_crash_of_an_older_version_a_session_goes_on_behind_a_block() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 4));
    drop(store);
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    let stays = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    db.set_db_config(stays, true).expect("a setting");
    let deleted = db.execute("DELETE FROM changes WHERE seq > 4", []).expect("deleted");
    assert_eq!(deleted, 1, "the row that reserves numbers");
    drop(db);
    let (_, stored) = used_again(&scratch);
    assert!(stored.seq == 4 && stored.skipped > 1_000_000, "{}", stored.skipped);
}
