//! What waits for the disk, in its order, and what of it may go on when. Pure: no thread, no file.
//!
//! Everything to be kept has a number. A confirmation, a load or a job has the number of the first
//! thing that was given after it, and its turn comes when all before that is on disk.
//!
//! While the disk fails, memory is bounded by dropping what waits of a session. From then on the
//! session is *lacking*: only a whole document of it can make up for what was dropped, and no
//! confirmation that was given after the first thing dropped may go out before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::messages::{Job, WAITER_BYTES, Waiter};
use crate::kept::Keep;

/// See the module's text.
#[derive(Default)]
pub struct PendingWrites {
    keeps: VecDeque<(u64, Keep)>,
    waiters: VecDeque<(u64, Waiter)>,
    loads: VecDeque<(u64, Arc<str>)>,
    jobs: VecDeque<(u64, Job)>,
    /// The number of whatever is given next.
    next: u64,
    bytes: usize,
    lacking: HashMap<Arc<str>, Lack>,
}

/// What a session lacks.
#[derive(Debug)]
struct Lack {
    /// The number of the first thing that was dropped, or one before it.
    since: u64,
    /// The number of a whole document that waits and makes up for it.
    made_up_by: Option<u64>,
    /// When somebody was asked for one.
    asked: Option<Instant>,
}

impl PendingWrites {
    /// Adds something to be kept; unless nothing can be done with it, because its session lacks
    /// what came before.
    pub fn keep(&mut self, keep: Keep) {
        let number = self.next;
        self.next += 1;
        if let Some(lack) = self.lacking.get_mut(keep.session()) {
            match keep {
                Keep::Whole { .. } => drop(lack.made_up_by.get_or_insert(number)),
                _ if lack.made_up_by.is_none() => return,
                _ => {}
            }
        }
        self.bytes += keep.bytes();
        self.keeps.push_back((number, keep));
    }

    /// Adds what waits until everything before it is on disk.
    pub fn wait(&mut self, waiter: Waiter) {
        self.bytes += WAITER_BYTES;
        self.waiters.push_back((self.next, waiter));
    }

    /// Adds a session to be loaded.
    pub fn load(&mut self, session: Arc<str>) {
        self.loads.push_back((self.next, session));
    }

    /// Adds something to be done with the store.
    pub fn job(&mut self, job: Job) {
        self.jobs.push_back((self.next, job));
    }

    /// How much memory it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many confirmations and threads wait.
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// The next things to write, from the front: at most `most`, or about so many bytes. A job that
    /// has not begun comes before what was given after it.
    pub fn batch(&self, most: usize, bytes: usize) -> impl Iterator<Item = &Keep> {
        let end = self.jobs.front().map_or(self.next, |(number, _)| *number);
        let mut left = bytes;
        let keeps = self.keeps.iter().take_while(move |(number, _)| *number < end).take(most);
        keeps
            .take_while(move |(_, keep)| {
                let fits = left > 0;
                left = left.saturating_sub(keep.bytes());
                fits
            })
            .map(|(_, keep)| keep)
    }

    /// The first `count` are on disk, except that these sessions turned out to lack something.
    pub fn written(&mut self, count: usize, lacking: &[Arc<str>]) {
        let first = self.keeps.front().map_or(self.next, |(number, _)| *number);
        for (_, keep) in self.keeps.drain(..count.min(self.keeps.len())) {
            self.bytes -= keep.bytes();
        }
        let done = self.done();
        self.lacking.retain(|name, lack| {
            lack.made_up_by.is_none_or(|number| number >= done) || lacking.contains(name)
        });
        for session in lacking {
            self.drop_waiting(session, first, true);
        }
    }

    /// Everything before this number is on disk, or was dropped.
    fn done(&self) -> u64 {
        self.keeps.front().map_or(self.next, |(number, _)| *number)
    }

    /// The next that waits no longer: everything before it is on disk.
    pub fn ready_waiter(&mut self) -> Option<Waiter> {
        let lacking = self.lacking.values().map(|lack| lack.since).min().unwrap_or(u64::MAX);
        let done = self.done().min(lacking);
        let waiter = pop_up_to(&mut self.waiters, done)?;
        self.bytes -= WAITER_BYTES;
        Some(waiter)
    }

    /// The next session whose turn to be loaded has come.
    pub fn ready_load(&mut self) -> Option<Arc<str>> {
        let done = self.done();
        pop_up_to(&mut self.loads, done)
    }

    /// The next session to be loaded, though not all is on disk.
    pub fn any_load(&mut self) -> Option<Arc<str>> {
        self.loads.pop_front().map(|(_, session)| session)
    }

    /// The next job whose turn has come.
    pub fn ready_job(&mut self) -> Option<Job> {
        let done = self.done();
        pop_up_to(&mut self.jobs, done)
    }

    /// Whether something of a session waits, or is lacking.
    pub fn concerns(&self, session: &str) -> bool {
        self.lacking.contains_key(session)
            || self.keeps.iter().any(|(_, keep)| &**keep.session() == session)
    }

    /// Drops what waits until it takes no more than `bound` bytes: of the session that takes the
    /// most first. Of confirmations and threads the newest are dropped, which are returned.
    #[must_use]
    pub fn shrink_to(&mut self, bound: usize) -> Vec<Waiter> {
        let dropped = self.drop_waiters(bound / 2 / WAITER_BYTES);
        while self.bytes > bound {
            let mut sizes: HashMap<&Arc<str>, usize> = HashMap::new();
            for (_, keep) in &self.keeps {
                *sizes.entry(keep.session()).or_default() += keep.bytes();
            }
            let largest = sizes.into_iter().max_by_key(|(_, bytes)| *bytes);
            let Some((session, _)) = largest else { break };
            let session = session.clone();
            let first = self.keeps.iter().find(|(_, keep)| *keep.session() == session);
            let first = first.map_or(self.next, |(number, _)| *number);
            self.drop_waiting(&session, first, false);
        }
        dropped
    }

    /// Drops all that waits, of every session.
    pub fn drop_all(&mut self) {
        while let Some((number, keep)) = self.keeps.front() {
            let (session, number) = (keep.session().clone(), *number);
            self.drop_waiting(&session, number, false);
        }
    }

    /// Drops every confirmation and thread that waits but the first `count`, and returns them.
    pub fn drop_waiters(&mut self, count: usize) -> Vec<Waiter> {
        let dropped = self.waiters.drain(count.min(self.waiters.len())..);
        self.bytes -= dropped.len() * WAITER_BYTES;
        dropped.map(|(_, waiter)| waiter).collect()
    }

    /// Drops every job, and returns them.
    #[must_use]
    pub fn drop_jobs(&mut self) -> VecDeque<(u64, Job)> {
        std::mem::take(&mut self.jobs)
    }

    /// Drops what waits of a session, which lacks it from now on, since `number`. The last whole
    /// document that waits makes up for it and stays, with what follows it; unless there is nothing
    /// before it to drop and `spare_whole` is not set.
    fn drop_waiting(&mut self, session: &Arc<str>, number: u64, spare_whole: bool) {
        let of_session = |keep: &Keep| keep.session() == session;
        let first = self.keeps.iter().position(|(_, keep)| of_session(keep));
        let whole = self
            .keeps
            .iter()
            .rposition(|(_, keep)| of_session(keep) && matches!(keep, Keep::Whole { .. }))
            .filter(|place| spare_whole || first.is_some_and(|first| first < *place));
        let end = whole.map_or(self.next, |place| self.keeps[place].0);
        let bytes = &mut self.bytes;
        self.keeps.retain(|(number, keep)| {
            let stays = *number >= end || !of_session(keep);
            if !stays {
                *bytes -= keep.bytes();
            }
            stays
        });
        let made_up_by = whole.map(|_| end);
        let lack = self.lacking.entry(session.clone());
        let lack = lack.or_insert(Lack { since: number, made_up_by, asked: None });
        lack.made_up_by = made_up_by;
    }

    /// Sessions of which a whole document has to be asked for; each is named once.
    pub fn ask(&mut self, now: Instant) -> Vec<Arc<str>> {
        let waits = |lack: &Lack| lack.made_up_by.is_none() && lack.asked.is_none();
        let asking = self.lacking.iter_mut().filter(|(_, lack)| waits(lack));
        let asked = asking.map(|(session, lack)| {
            lack.asked = Some(now);
            session.clone()
        });
        asked.collect()
    }

    /// Has them be asked for once more.
    pub fn ask_again(&mut self) {
        self.lacking.values_mut().for_each(|lack| lack.asked = None);
    }

    /// A session that was asked for before `since`, in vain.
    pub fn in_vain(&self, since: Instant) -> Option<Arc<str>> {
        let in_vain = |lack: &Lack| {
            lack.made_up_by.is_none() && lack.asked.is_some_and(|asked| asked <= since)
        };
        let found = self.lacking.iter().find(|(_, lack)| in_vain(lack));
        found.map(|(session, _)| session.clone())
    }

    /// Whether somebody was asked for a whole document and it hasn't come.
    pub fn is_asking(&self) -> bool {
        self.lacking.values().any(|lack| lack.made_up_by.is_none() && lack.asked.is_some())
    }

    /// What a session lacks is lost for good: what is stored of it is what there is. Whatever may wait for
    /// what was lost is dropped and returned; `None` where the session lacks nothing.
    #[must_use]
    pub fn give_up(&mut self, session: &str) -> Option<Vec<Waiter>> {
        let lack = self.lacking.remove(session)?;
        let count = self.waiters.partition_point(|(number, _)| *number <= lack.since);
        Some(self.drop_waiters(count))
    }

    /// Whether nothing can be done any more but to wait for a whole document.
    pub fn is_idle(&self) -> bool {
        self.keeps.is_empty() && self.loads.is_empty() && self.jobs.is_empty()
    }
}

/// Takes the first of a queue, if its number is no larger than this.
fn pop_up_to<T>(queue: &mut VecDeque<(u64, T)>, most: u64) -> Option<T> {
    match queue.front() {
        Some((number, _)) if *number <= most => queue.pop_front().map(|(_, first)| first),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::kept::Why;
    use crate::protocol::{Frame, Timestamp};

    fn at() -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn change(session: &str, seq: u64) -> Keep {
        let frame = Frame::text("a change");
        let (session, epoch, user) = (session.into(), "e".into(), "u".into());
        Keep::Change { session, epoch, seq, at: at(), user, frame, id: None }
    }

    fn whole(session: &str, seq: u64) -> Keep {
        let (session, epoch, why) = (session.into(), "e".into(), Why::Regular);
        let (document, user) = (Vec::new(), None);
        Keep::Whole {
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

    fn seqs(line: &PendingWrites) -> Vec<(String, u64)> {
        let all = line.batch(usize::MAX, usize::MAX);
        all.map(|keep| (keep.session().to_string(), keep.seq())).collect()
    }

    fn ready(line: &mut PendingWrites) -> usize {
        std::iter::from_fn(|| line.ready_waiter()).count()
    }

    #[test]
    fn a_confirmation_waits_for_what_came_before_it() {
        let mut line = PendingWrites::default();
        line.wait(Waiter::Confirmation(0));
        assert_eq!(ready(&mut line), 1);
        line.keep(change("s", 1));
        line.wait(Waiter::Confirmation(0));
        line.keep(change("s", 2));
        line.wait(Waiter::Confirmation(0));
        assert_eq!(ready(&mut line), 0);
        line.written(1, &[]);
        assert_eq!(ready(&mut line), 1);
        line.written(1, &[]);
        assert_eq!((ready(&mut line), line.bytes()), (1, 0));
    }

    #[test]
    fn a_transaction_is_bounded_and_a_job_comes_before_what_follows_it() {
        let mut line = PendingWrites::default();
        (1..=5).for_each(|seq| line.keep(change("s", seq)));
        assert_eq!(line.batch(3, usize::MAX).count(), 3);
        let one = change("s", 1).bytes();
        assert_eq!(line.batch(9, one + 1).count(), 2);
        assert_eq!(line.batch(9, 1).count(), 1);
        line.job(Job::Delete { session: "s".into(), number: 1 });
        line.keep(change("s", 6));
        line.load("t".into());
        assert_eq!(line.batch(9, usize::MAX).count(), 5);
        assert!(line.ready_job().is_none() && line.ready_load().is_none());
        line.written(5, &[]);
        assert_eq!(line.batch(9, usize::MAX).count(), 0);
        assert!(line.ready_load().is_none());
        assert!(line.ready_job().is_some());
        assert_eq!(line.batch(9, usize::MAX).count(), 1);
        line.written(1, &[]);
        assert!(line.ready_load().is_some() && line.is_idle());
    }

    #[test]
    fn what_is_dropped_is_made_up_for_by_a_whole_document_and_nothing_else() {
        let mut line = PendingWrites::default();
        line.keep(change("t", 1));
        line.wait(Waiter::Confirmation(0));
        (1..=9).for_each(|seq| line.keep(change("s", seq)));
        line.wait(Waiter::Confirmation(0));
        assert!(line.shrink_to(4 * WAITER_BYTES).is_empty());
        assert_eq!(seqs(&line), [("t".into(), 1)]);
        line.keep(change("s", 10));
        line.keep(change("t", 2));
        line.wait(Waiter::Confirmation(0));
        assert_eq!(seqs(&line), [("t".into(), 1), ("t".into(), 2)]);
        line.written(2, &[]);
        assert_eq!(ready(&mut line), 1);
        let now = Instant::now();
        assert_eq!(line.ask(now), ["s".into()]);
        assert_eq!(line.ask(now).len(), 0);
        assert_eq!(line.in_vain(now).as_deref(), Some("s"));
        line.keep(whole("s", 10));
        line.keep(change("s", 11));
        assert_eq!((ready(&mut line), line.in_vain(now)), (0, None));
        line.written(1, &[]);
        assert_eq!(ready(&mut line), 2);
        assert_eq!(seqs(&line), [("s".into(), 11)]);
    }

    #[test]
    fn a_whole_document_that_waits_is_the_last_to_be_dropped() {
        let mut line = PendingWrites::default();
        line.keep(change("s", 1));
        line.keep(whole("s", 1));
        line.keep(change("s", 2));
        line.keep(whole("s", 2));
        line.keep(change("s", 3));
        let two = whole("s", 2).bytes() + change("s", 3).bytes();
        assert!(line.shrink_to(two).is_empty());
        assert_eq!(seqs(&line), [("s".into(), 2), ("s".into(), 3)]);
        assert_eq!(line.ask(Instant::now()).len(), 0);
        assert!(line.shrink_to(two - 1).is_empty());
        assert_eq!((seqs(&line).len(), line.bytes()), (0, 0));
        assert_eq!(line.ask(Instant::now()), ["s".into()]);
    }

    #[test]
    fn what_nobody_has_any_more_holds_nothing_up() {
        let mut line = PendingWrites::default();
        line.wait(Waiter::Confirmation(0));
        line.keep(change("s", 1));
        line.wait(Waiter::Confirmation(7));
        line.drop_all();
        assert!(line.concerns("s") && !line.concerns("t"));
        let lost = line.give_up("s").expect("it lacks something");
        assert!(matches!(lost[..], [Waiter::Confirmation(7)]), "{lost:?}");
        assert!(line.give_up("s").is_none());
        line.keep(change("s", 2));
        line.wait(Waiter::Confirmation(0));
        line.written(1, &[]);
        assert_eq!((ready(&mut line), line.bytes()), (2, 0));
    }

    /// What happens to a line.
    #[derive(Debug, Clone)]
    enum Step {
        Change(usize),
        Whole(usize),
        After,
        Written(usize),
        Lacking(usize),
        Shrink(usize),
        DropAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..3usize).prop_map(Step::Change),
            2 => (0..3usize).prop_map(Step::Whole),
            5 => Just(Step::After),
            3 => (0..6usize).prop_map(Step::Written),
            1 => (0..3usize).prop_map(Step::Lacking),
            1 => (0..2000usize).prop_map(Step::Shrink),
            1 => Just(Step::DropAll),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is dropped and written: when a confirmation goes out, everything given before it
        /// is on disk, or in a later whole document of its session that is.
        #[test]
        fn nothing_is_confirmed_that_is_not_on_disk(steps in vec(step(), 1..80)) {
            let names = ["a", "b", "c"];
            let mut line = PendingWrites::default();
            let mut seqs = [0; 3];
            // The last change on disk of each session, without a gap.
            let mut disk: BTreeMap<String, u64> = BTreeMap::new();
            let mut promised: Vec<[u64; 3]> = Vec::new();
            for step in steps {
                match step {
                    Step::Change(session) => {
                        seqs[session] += 1;
                        line.keep(change(names[session], seqs[session]));
                    }
                    Step::Whole(session) => line.keep(whole(names[session], seqs[session])),
                    Step::After => {
                        line.wait(Waiter::Confirmation(promised.len() as u64));
                        promised.push(seqs);
                    }
                    Step::Written(_) | Step::Lacking(_) => {
                        let most = if let Step::Written(most) = step { most } else { 4 };
                        let batch: Vec<_> = line.batch(most, usize::MAX).cloned().collect();
                        let mut lacking: Vec<Arc<str>> = Vec::new();
                        if let Step::Lacking(session) = step
                            && batch.iter().any(|keep| **keep.session() == *names[session])
                            && line.waiters() == 0
                        {
                            // As if an older file had been put in its place.
                            disk.insert(names[session].into(), 0);
                        }
                        for keep in &batch {
                            let last = disk.entry(keep.session().to_string()).or_default();
                            if matches!(keep, Keep::Whole { .. }) || keep.seq() == *last + 1 {
                                *last = keep.seq();
                                lacking.retain(|name| name != keep.session());
                            } else if keep.seq() > *last {
                                lacking.push(keep.session().clone());
                            }
                        }
                        line.written(batch.len(), &lacking);
                    }
                    Step::Shrink(bound) => drop(line.shrink_to(bound)),
                    Step::DropAll => line.drop_all(),
                }
                while let Some(Waiter::Confirmation(number)) = line.ready_waiter() {
                    for (name, seq) in names.iter().zip(promised[number as usize]) {
                        let on_disk = disk.get(*name).copied().unwrap_or(0);
                        prop_assert!(on_disk >= seq, "{name}: {on_disk} of {seq}");
                    }
                }
            }
            // And when whole documents have come of all sessions, everything goes out.
            for (name, seq) in names.iter().zip(seqs) {
                line.keep(whole(name, seq));
            }
            line.written(usize::MAX, &[]);
            while line.ready_waiter().is_some() {}
            prop_assert_eq!((line.waiters(), line.bytes()), (0, 0));
        }
    }
}
