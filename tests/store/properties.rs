//! For any history: after closing and opening again, and after what is not to be kept was removed,
//! the store gives back what a simple model of it does.
//!
//! A failing case is printed, with the seed that brings it back.

use std::time::Duration;

use collabd::journal::{HistoryWindow, JournalEntry, SnapshotReason};
use collabd::protocol::{Frame, Timestamp};
use collabd::store::{PointInTime, Reader, Retention};
use proptest::collection::vec;
use proptest::prelude::*;

use super::model::Model;
use super::scratch::{ALL, Scratch, document, message, user};

/// What happens to a store.
#[derive(Debug, Clone)]
enum Step {
    Change {
        session: usize,
        id: bool,
    },
    Whole {
        session: usize,
        why: usize,
        is_change: bool,
        id: bool,
    },
    Taken {
        session: usize,
        id: u8,
    },
    /// A change that the store is never given.
    Lost {
        session: usize,
    },
    /// The last few are given once more.
    Again {
        count: usize,
    },
    /// The session begins anew under its name.
    Epoch {
        session: usize,
    },
    Commit,
    Reopen,
    /// The process ends without closing the store.
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..SESSIONS.len();
    prop_oneof![
        20 => (session.clone(), any::<bool>()).prop_map(|(session, id)| Step::Change { session, id }),
        4 => (session.clone(), 0..5usize, any::<bool>(), any::<bool>())
            .prop_map(|(session, why, is_change, id)| Step::Whole { session, why, is_change, id }),
        3 => (session.clone(), 0..4u8).prop_map(|(session, id)| Step::Taken { session, id }),
        1 => session.clone().prop_map(|session| Step::Lost { session }),
        1 => (1..6usize).prop_map(|count| Step::Again { count }),
        1 => session.prop_map(|session| Step::Epoch { session }),
        5 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Drop),
    ]
}

const SESSIONS: [&str; 3] = ["s", "tisch 7 'ü\" 🦀", "S"];

/// What the hub knows of a session: its epoch and its last change.
#[derive(Clone, Copy, Default)]
struct Live {
    epoch: u64,
    seq: u64,
}

/// Makes what is to be kept of each step. The clock jumps now and then.
struct Maker {
    live: [Live; SESSIONS.len()],
    clock: u64,
}

impl Maker {
    fn is_live(&self, keep: &JournalEntry) -> bool {
        let session = SESSIONS.iter().position(|name| **name == **keep.session());
        session.is_some_and(|session| **keep.epoch() == *format!("e{}", self.live[session].epoch))
    }

    fn make(&mut self, step: &Step) -> Option<JournalEntry> {
        self.clock += 7;
        if self.clock.is_multiple_of(11) {
            self.clock = self.clock * 5 % 900;
        }
        let at = Timestamp::from_millis(1_700_000_000_000 + self.clock * 1000);
        let (Step::Change { session, .. }
        | Step::Whole { session, .. }
        | Step::Taken { session, .. }
        | Step::Lost { session }
        | Step::Epoch { session }) = *step
        else {
            return None;
        };
        let (name, live) = (SESSIONS[session], &mut self.live[session]);
        let epoch = format!("e{}", live.epoch).into();
        let by = user(live.seq + 1);
        let session = name.into();
        match *step {
            Step::Change { id, .. } => {
                live.seq += 1;
                let seq = live.seq;
                let frame = Frame::text(&message(name, seq));
                let id = id.then(|| format!("{seq}").into());
                Some(JournalEntry::Change { session, epoch, seq, at, user: by, frame, id })
            }
            Step::Whole { why, is_change, id, .. } => {
                // A snapshot may be several changes.
                let changes = if is_change { 1 + self.clock % 3 } else { 0 };
                let frames = (1..=changes).map(|n| Frame::text(&message(name, live.seq + n)));
                let frames = frames.collect();
                live.seq += changes;
                let seq = live.seq;
                let user = (is_change || id).then_some(by);
                let id = id.then(|| format!("\"w{seq}\"").into());
                let (document, why) = (document(name, seq + self.clock), SnapshotReason::ALL[why]);
                Some(JournalEntry::Snapshot {
                    session,
                    epoch,
                    seq,
                    at,
                    user,
                    document,
                    frames,
                    id,
                    why,
                })
            }
            Step::Taken { id, .. } => {
                let (seq, id) = (live.seq, format!("\"t{id}\"").into());
                Some(JournalEntry::ProcessedId { session, epoch, seq, user: by, id })
            }
            Step::Lost { .. } => {
                live.seq += 1;
                None
            }
            _ => {
                *live = Live { epoch: live.epoch + 1, seq: 0 };
                None
            }
        }
    }
}

/// Has a store and a model live through the same.
fn live_through(scratch: &Scratch, steps: &[Step], reach: HistoryWindow) -> Model {
    let mut store = Some(scratch.open());
    let (mut model, mut batch, mut given) = (Model::default(), Vec::new(), Vec::new());
    let mut maker = Maker { live: [Live::default(); SESSIONS.len()], clock: 0 };
    for step in steps {
        if let Some(keep) = maker.make(step) {
            batch.push(keep);
        }
        let open = store.as_mut().expect("open");
        match step {
            Step::Again { count } => {
                // As after a transaction of which nobody knows whether it was written.
                let earlier = given.iter().rev().take(*count).rev();
                batch.extend(earlier.filter(|keep| maker.is_live(keep)).cloned());
            }
            Step::Commit | Step::Reopen | Step::Drop => {
                let mut expected: Vec<String> = Vec::new();
                for keep in &batch {
                    let name = keep.session().to_string();
                    let known = model.sessions.get(&name);
                    let known = known.filter(|known| *known.epoch == **keep.epoch());
                    let seq = known.map_or(0, |known| known.seq);
                    if !model.keep(keep) {
                        expected.push(name);
                    } else if matches!(keep, JournalEntry::Snapshot { .. }) && keep.seq() >= seq {
                        expected.retain(|lacking| *lacking != name);
                    }
                }
                expected.sort();
                expected.dedup();
                let lacking = open.commit(&batch).expect("committed");
                let mut lacking: Vec<_> = lacking.iter().map(|name| name.to_string()).collect();
                lacking.sort();
                assert_eq!(lacking, expected);
                given.append(&mut batch);
            }
            _ => {}
        }
        if matches!(step, Step::Reopen) {
            store.take().expect("open").close().expect("closed");
            store = Some(scratch.open());
        }
        if matches!(step, Step::Drop) {
            store = None;
            store = store.or_else(|| Some(scratch.open()));
        }
    }
    drop(store);
    model.expect(&scratch.open(), reach);
    model
}

fn reach() -> impl Strategy<Value = HistoryWindow> {
    prop_oneof![
        Just(ALL),
        (0..40usize, 0..6000usize).prop_map(|(changes, bytes)| HistoryWindow { changes, bytes }),
    ]
}

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("STORIES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases.unwrap_or(default))
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn what_was_kept_is_given_back(steps in vec(step(), 1..120), reach in reach()) {
        live_through(&Scratch::new(), &steps, reach);
    }

    #[test]
    fn what_is_to_be_kept_survives_the_removal_of_the_rest(
        steps in vec(step(), 1..120),
        keep in 0..5usize,
        history in 0..20usize,
        at_a_time in 1..50usize,
        reach in reach(),
    ) {
        let scratch = Scratch::new();
        let model = live_through(&scratch, &steps, ALL);
        let mut store = scratch.open();
        let retention = Retention { versions: keep, age: Duration::ZERO, history };
        for name in model.sessions.keys() {
            let mut rounds = 0;
            while store.prune(name, &retention, Timestamp::now(), at_a_time).expect("pruned").is_more() {
                rounds += 1;
                prop_assert!(rounds < 1000);
            }
            while store.shrink(10).expect("shrunk").is_more() {}
        }
        drop(store);
        let store = scratch.open();
        let reader = Reader::open(&scratch.data()).expect("a reader");
        for (name, session) in &model.sessions {
            let versions = session.versions();
            let first = versions.len() - if keep == 0 { versions.len() } else { keep.min(versions.len()) };
            prop_assert_eq!(&reader.versions(name).unwrap().unwrap()[..], &versions[first..]);
            // Every state from the oldest version on, or from the beginning where there is none.
            let oldest = versions.get(first).map_or(0, |version| version.seq);
            for seq in oldest..=session.seq {
                prop_assert_eq!(reader.document_at(name, PointInTime::Seq(seq)).unwrap(), session.at(seq));
            }
            // And what catching up needs.
            let reach = HistoryWindow { changes: reach.changes.min(history), ..reach };
            let (is, was) = (store.load(name, reach).unwrap().unwrap(), session.load(reach));
            prop_assert_eq!(&is.changes, &was.changes);
            // Where a version goes, the first change does.
            let was_first = usize::from(first > 0 && was.history.first().is_some_and(|first| first.seq == 1));
            prop_assert_eq!(&is.history[..], &was.history[was_first..]);
            // Nothing is told as damage that isn't.
            let begins = reader.begins(name).unwrap().unwrap();
            for seq in 0..=session.seq {
                let state = reader.document_at(name, PointInTime::Seq(seq)).unwrap();
                prop_assert!(state.is_none() || state == session.at(seq), "{name} at {seq}");
                prop_assert!(state.is_some() || seq < begins.states, "{name} at {seq}");
            }
            let kept: Vec<_> = session.taken.iter().rev().take(history).collect();
            prop_assert!(is.taken.iter().all(|id| was.taken.contains(id)));
            prop_assert!(history > 0 || kept.is_empty());
        }
    }
}
