//! The states of a session, and when a waiter is ready.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::journal::SnapshotReason;
use crate::protocol::{Frame, Timestamp};

fn at() -> Timestamp {
    Timestamp::from_millis(0)
}

fn change(session: &str, seq: u64) -> JournalEntry {
    let frame = Frame::text("a change");
    let (session, epoch, user) = (session.into(), "e".into(), "u".into());
    JournalEntry::Change { session, epoch, seq, at: at(), user, frame, id: None }
}

fn snapshot(session: &str, seq: u64) -> JournalEntry {
    let (session, epoch, why) = (session.into(), "e".into(), SnapshotReason::Regular);
    let (document, user) = (Vec::new(), None);
    JournalEntry::Snapshot {
        session,
        epoch,
        seq,
        at: at(),
        user,
        document,
        frames: Vec::new(),
        id: None,
        why,
    }
}

fn seqs(pending: &PendingWrites) -> Vec<(String, u64)> {
    let all = pending.batch(usize::MAX, usize::MAX);
    all.map(|keep| (keep.session().to_string(), keep.seq())).collect()
}

fn ready(pending: &mut PendingWrites) -> usize {
    std::iter::from_fn(|| pending.ready_waiter()).count()
}

#[test]
fn a_waiter_is_ready_when_the_entries_before_it_are_written() {
    let mut pending = PendingWrites::default();
    pending.push_waiter(Waiter::Confirmation(0));
    assert_eq!(ready(&mut pending), 1);
    pending.push(change("s", 1));
    pending.push_waiter(Waiter::Confirmation(0));
    pending.push(change("s", 2));
    pending.push_waiter(Waiter::Confirmation(0));
    assert_eq!(ready(&mut pending), 0);
    pending.mark_written(1, &[]);
    assert_eq!(ready(&mut pending), 1);
    pending.mark_written(1, &[]);
    assert_eq!((ready(&mut pending), pending.bytes()), (1, 0));
}

#[test]
fn a_batch_is_bounded_and_a_job_comes_before_the_entries_after_it() {
    let mut pending = PendingWrites::default();
    (1..=5).for_each(|seq| pending.push(change("s", seq)));
    assert_eq!(pending.batch(3, usize::MAX).count(), 3);
    let one = change("s", 1).bytes();
    assert_eq!(pending.batch(9, one + 1).count(), 2);
    assert_eq!(pending.batch(9, 1).count(), 1);
    pending.push_job(Job::Delete { session: "s".into(), number: 1 });
    pending.push(change("s", 6));
    pending.push_load("t".into());
    assert_eq!(pending.batch(9, usize::MAX).count(), 5);
    assert!(pending.ready_job().is_none() && pending.ready_load().is_none());
    pending.mark_written(5, &[]);
    assert_eq!(pending.batch(9, usize::MAX).count(), 0);
    assert!(pending.ready_load().is_none());
    assert!(pending.ready_job().is_some());
    assert_eq!(pending.batch(9, usize::MAX).count(), 1);
    pending.mark_written(1, &[]);
    assert!(pending.ready_load().is_some() && pending.is_idle());
}

#[test]
fn only_a_snapshot_closes_a_gap() {
    let mut pending = PendingWrites::default();
    pending.push(change("t", 1));
    pending.push_waiter(Waiter::Confirmation(0));
    (1..=9).for_each(|seq| pending.push(change("s", seq)));
    pending.push_waiter(Waiter::Confirmation(0));
    assert!(pending.shrink_to(4 * WAITER_BYTES).is_empty());
    assert_eq!(seqs(&pending), [("t".into(), 1)]);
    pending.push(change("s", 10));
    pending.push(change("t", 2));
    pending.push_waiter(Waiter::Confirmation(0));
    assert_eq!(seqs(&pending), [("t".into(), 1), ("t".into(), 2)]);
    pending.mark_written(2, &[]);
    assert_eq!(ready(&mut pending), 1);
    let now = Instant::now();
    assert_eq!(pending.take_requests(now), ["s".into()]);
    assert_eq!(pending.take_requests(now).len(), 0);
    assert_eq!(pending.expired_request(now).as_deref(), Some("s"));
    pending.push(snapshot("s", 10));
    pending.push(change("s", 11));
    assert_eq!((ready(&mut pending), pending.expired_request(now)), (0, None));
    pending.mark_written(1, &[]);
    assert_eq!(ready(&mut pending), 2);
    assert_eq!(seqs(&pending), [("s".into(), 11)]);
}

#[test]
fn a_queued_snapshot_is_dropped_last() {
    let mut pending = PendingWrites::default();
    pending.push(change("s", 1));
    pending.push(snapshot("s", 1));
    pending.push(change("s", 2));
    pending.push(snapshot("s", 2));
    pending.push(change("s", 3));
    let two = snapshot("s", 2).bytes() + change("s", 3).bytes();
    assert!(pending.shrink_to(two).is_empty());
    assert_eq!(seqs(&pending), [("s".into(), 2), ("s".into(), 3)]);
    assert_eq!(pending.take_requests(Instant::now()).len(), 0);
    assert!(pending.shrink_to(two - 1).is_empty());
    assert_eq!((seqs(&pending).len(), pending.bytes()), (0, 0));
    assert_eq!(pending.take_requests(Instant::now()), ["s".into()]);
}

#[test]
fn an_abandoned_gap_delays_nothing() {
    let mut pending = PendingWrites::default();
    pending.push_waiter(Waiter::Confirmation(0));
    pending.push(change("s", 1));
    pending.push_waiter(Waiter::Confirmation(7));
    pending.drop_all();
    assert!(pending.has_pending("s") && !pending.has_pending("t"));
    let lost = pending.abandon("s").expect("it has a gap");
    assert!(matches!(lost[..], [Waiter::Confirmation(7)]), "{lost:?}");
    assert!(pending.abandon("s").is_none());
    pending.push(change("s", 2));
    pending.push_waiter(Waiter::Confirmation(0));
    pending.mark_written(1, &[]);
    assert_eq!((ready(&mut pending), pending.bytes()), (2, 0));
}

/// One call of [`PendingWrites`].
#[derive(Debug, Clone)]
enum Step {
    Change(usize),
    Whole(usize),
    Wait,
    Written(usize),
    Incomplete(usize),
    Shrink(usize),
    DropAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3usize).prop_map(Step::Change),
        2 => (0..3usize).prop_map(Step::Whole),
        5 => Just(Step::Wait),
        3 => (0..6usize).prop_map(Step::Written),
        1 => (0..3usize).prop_map(Step::Incomplete),
        1 => (0..2000usize).prop_map(Step::Shrink),
        1 => Just(Step::DropAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In every order of calls: when a confirmation is ready, each change that was pushed before it
    /// is on disk, or in a later snapshot of its session that is.
    #[test]
    fn a_confirmation_is_ready_when_its_changes_are_on_disk(steps in vec(step(), 1..80)) {
        let names = ["a", "b", "c"];
        let mut pending = PendingWrites::default();
        let mut seqs = [0; 3];
        // The last change on disk of each session, without a gap.
        let mut disk: BTreeMap<String, u64> = BTreeMap::new();
        let mut promised: Vec<[u64; 3]> = Vec::new();
        for step in steps {
            match step {
                Step::Change(session) => {
                    seqs[session] += 1;
                    pending.push(change(names[session], seqs[session]));
                }
                Step::Whole(session) => pending.push(snapshot(names[session], seqs[session])),
                Step::Wait => {
                    pending.push_waiter(Waiter::Confirmation(promised.len() as u64));
                    promised.push(seqs);
                }
                Step::Written(_) | Step::Incomplete(_) => {
                    let most = if let Step::Written(most) = step { most } else { 4 };
                    let batch: Vec<_> = pending.batch(most, usize::MAX).cloned().collect();
                    let mut incomplete: Vec<Arc<str>> = Vec::new();
                    if let Step::Incomplete(session) = step
                        && batch.iter().any(|keep| **keep.session() == *names[session])
                        && pending.waiters() == 0
                    {
                        // As if an older file had replaced the present one.
                        disk.insert(names[session].into(), 0);
                    }
                    for keep in &batch {
                        let last = disk.entry(keep.session().to_string()).or_default();
                        if matches!(keep, JournalEntry::Snapshot { .. }) || keep.seq() == *last + 1 {
                            *last = keep.seq();
                            incomplete.retain(|name| name != keep.session());
                        } else if keep.seq() > *last {
                            incomplete.push(keep.session().clone());
                        }
                    }
                    pending.mark_written(batch.len(), &incomplete);
                }
                Step::Shrink(bound) => drop(pending.shrink_to(bound)),
                Step::DropAll => pending.drop_all(),
            }
            while let Some(Waiter::Confirmation(number)) = pending.ready_waiter() {
                for (name, seq) in names.iter().zip(promised[number as usize]) {
                    let on_disk = disk.get(*name).copied().unwrap_or(0);
                    prop_assert!(on_disk >= seq, "{name}: {on_disk} of {seq}");
                }
            }
        }
        // When a snapshot of every session is on disk, every waiter is ready.
        for (name, seq) in names.iter().zip(seqs) {
            pending.push(snapshot(name, seq));
        }
        pending.mark_written(usize::MAX, &[]);
        while pending.ready_waiter().is_some() {}
        prop_assert_eq!((pending.waiters(), pending.bytes()), (0, 0));
    }
}
