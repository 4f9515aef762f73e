//! The thread `store`: what goes out when, who waits for whom, and what becomes of everything when the
//! disk fails.

use std::collections::VecDeque;
use std::fs;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use collabd::journal::{
    HistoryWindow, Journal, JournalEntry, PersistenceLag, SnapshotReason, StoreStats, StoreTrouble,
};
use collabd::store::{Retention, Settings, Store, StoreEvent, StoreHandle};
use rusqlite::Connection;

use super::scratch::{ALL, Scratch, change, changes, expect_changes, whole};

/// How long anything is waited for before a test fails.
pub const SAFETY_NET: Duration = Duration::from_secs(20);

/// A store's thread, and what it told the hub.
pub struct Running {
    pub keeper: StoreHandle,
    pub events: Receiver<StoreEvent>,
    confirmed: (Sender<u64>, Receiver<u64>),
    waiting: Arc<Mutex<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Waits for numbers of the store's thread for which this is true: they come after what it tells.
    fn stats_that(&self, holds: impl Fn(&StoreStats) -> bool) -> StoreStats {
        let until = Instant::now() + SAFETY_NET;
        loop {
            let stats = self.keeper.stats();
            if holds(&stats) {
                return stats;
            }
            assert!(Instant::now() < until, "{stats:?}");
            std::thread::yield_now();
        }
    }
}

type Act = Box<dyn FnOnce() + Send>;

/// What is done when something is persisted, by the number it has for the store.
#[derive(Default)]
struct Waiting {
    last: u64,
    acts: VecDeque<(u64, Act)>,
}

pub fn settings() -> Settings {
    let reach = HistoryWindow { changes: 1000, bytes: 1 << 20 };
    let retention = Retention { versions: 0, age: Duration::ZERO, history: 1000 };
    Settings {
        // Tried again at once: these tests wait for it.
        retry: (Duration::from_millis(5), Duration::from_millis(20)),
        ..Settings::new(reach, retention)
    }
}

impl Running {
    pub fn start(scratch: &Scratch) -> Self {
        Self::with(scratch.open(), settings())
    }

    pub fn with(store: Store, settings: Settings) -> Self {
        let (sender, events) = channel();
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let acts = waiting.clone();
        let next = move |up_to| {
            let acts = &mut acts.lock().expect("no panic").acts;
            match acts.front() {
                Some((number, _)) if *number <= up_to => acts.pop_front().map(|(_, act)| act),
                _ => None,
            }
        };
        let lost = waiting.clone();
        let events_of = move |event| match event {
            StoreEvent::Persisted { up_to } => {
                while let Some(act) = next(up_to) {
                    act();
                }
            }
            StoreEvent::Lost { first, last } => {
                let acts = &mut lost.lock().expect("no panic").acts;
                acts.retain(|(number, _)| !(first..=last).contains(number));
            }
            event => sender.send(event).expect("the test hears it"),
        };
        let (keeper, thread) = StoreHandle::start(store, settings, events_of).expect("a thread");
        Running { keeper, events, confirmed: channel(), waiting, thread: Some(thread) }
    }

    /// Has something done, on the store's thread, when everything up to here is on disk.
    pub fn after(&self, act: impl FnOnce() + Send + 'static) {
        let mut waiting = self.waiting.lock().expect("no panic");
        waiting.last += 1;
        let number = waiting.last;
        waiting.acts.push_back((number, Box::new(act)));
        drop(waiting);
        self.keeper.confirm(number);
    }

    pub fn keep(&self, keeps: &[JournalEntry]) {
        keeps.iter().for_each(|keep| self.keeper.keep(keep.clone()));
    }

    /// Asks for a confirmation of everything up to here.
    pub fn confirm(&self, number: u64) {
        let sender = self.confirmed.0.clone();
        self.after(move || {
            // The test may have ended.
            let _ = sender.send(number);
        });
    }

    pub fn confirmed(&self) -> u64 {
        self.confirmed.1.recv_timeout(SAFETY_NET).expect("a confirmation")
    }

    #[cfg(unix)]
    pub fn confirmed_already(&self) -> Option<u64> {
        self.confirmed.1.try_recv().ok()
    }

    pub fn nothing_confirmed(&self) -> bool {
        self.confirmed.1.try_recv().is_err()
    }

    pub fn event(&self) -> StoreEvent {
        self.events.recv_timeout(SAFETY_NET).expect("an event")
    }

    /// Does something with the store, and waits until it is done.
    pub fn with_store<T: Send + 'static>(
        &self,
        act: impl Fn(&mut Store) -> T + Send + 'static,
    ) -> T {
        let (sender, done) = channel();
        self.keeper.job(Box::new(move |store| {
            sender.send(act(store)).expect("the test waits");
            ControlFlow::Break(())
        }));
        done.recv_timeout(SAFETY_NET).expect("was done")
    }

    pub fn stop(mut self) -> bool {
        let complete = self.keeper.stop(Instant::now() + SAFETY_NET);
        self.thread.take().expect("runs").join().expect("ended");
        complete
    }
}

/// Holds the store's thread until it is let go.
fn hold(running: &Running) -> Sender<()> {
    let (release, held) = channel::<()>();
    let (begun, begins) = channel();
    running.keeper.job(Box::new(move |_| {
        begun.send(()).expect("the test waits");
        let _ = held.recv();
        ControlFlow::Break(())
    }));
    begins.recv_timeout(SAFETY_NET).expect("the job begins");
    release
}

#[test]
fn a_confirmation_goes_out_when_its_change_is_on_disk() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    for seq in 1..=20 {
        running.keep(&[change("s", "e", seq)]);
        let file = scratch.data();
        let (sender, seen) = channel();
        running.after(move || {
            let reader = collabd::store::Reader::open(&file).expect("a reader");
            let summary = reader.session("s").expect("is read").expect("is stored");
            sender.send(summary.seq).expect("the test waits");
        });
        assert_eq!(seen.recv_timeout(SAFETY_NET).expect("a confirmation"), seq);
    }
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 20);
}

#[test]
fn confirmations_go_out_in_order_and_many_share_a_transaction() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    let commits = |running: &Running| running.with_store(|store| store.commits());
    let before = commits(&running);
    let release = hold(&running);
    for seq in 1..=1000 {
        running.keep(&[change("s", "e", seq)]);
        running.confirm(seq);
    }
    assert!(running.nothing_confirmed());
    drop(release);
    (1..=1000).for_each(|seq| assert_eq!(running.confirmed(), seq));
    assert_eq!(commits(&running) - before, 1);
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 1000);
}

#[test]
fn what_nobody_waits_for_is_written_soon_and_together() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    let before = running.with_store(|store| store.commits());
    running.keep(&changes("s", 1, 50));
    let begun = Instant::now();
    let reader = collabd::store::Reader::open(&scratch.data()).expect("a reader");
    while reader.session("s").expect("is read").is_none() {
        assert!(begun.elapsed() < SAFETY_NET);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reader.session("s").expect("is read").expect("is stored").seq, 50);
    assert_eq!(running.with_store(|store| store.commits()) - before, 1);
    assert!(running.stop());
}

#[test]
fn a_session_is_loaded_as_it_is_after_everything_given_before() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&changes("s", 1, 30));
    running.keep(&[whole("s", "e", 30, SnapshotReason::Regular)]);
    running.keeper.load("s".into());
    running.keeper.load("t".into());
    let StoreEvent::Loaded { session, stored: Ok(Some(stored)) } = running.event() else {
        panic!("not loaded")
    };
    assert_eq!((&*session, stored.seq, stored.history.len()), ("s", 30, 30));
    let none = StoreEvent::Loaded { session: "t".into(), stored: Ok(None) };
    assert_eq!(running.event(), none);
    assert!(running.stop());
}

#[test]
fn a_job_comes_between_what_was_given_before_and_after_it() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&changes("s", 1, 5));
    let mut calls = 0;
    let (sender, done) = channel();
    running.keeper.job(Box::new(move |store| {
        calls += 1;
        let seq = store.load("s", ALL).expect("loads").map(|stored| stored.seq);
        sender.send(seq).expect("the test waits");
        assert!(calls < 3 || store.delete("s").expect("deleted"));
        if calls < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }));
    running.keep(&[change("s", "another", 1)]);
    running.confirm(1);
    assert_eq!(done.recv_timeout(SAFETY_NET).expect("the job begins"), Some(5));
    running.confirmed();
    assert!(running.stop());
}

#[test]
fn readers_wait_while_too_much_waits_for_the_disk_and_the_hub_never_does() {
    let scratch = Scratch::on_disk();
    let settings = Settings { queue_bytes: 10_000, ..settings() };
    let running = Running::with(scratch.open(), settings);
    running.keeper.wait_for_room(None);
    let release = hold(&running);
    // More than the bound: the hub doesn't wait.
    running.keep(&changes("s", 1, 200));
    let keeper = running.keeper.clone();
    let (sender, has_room) = channel();
    let reader = std::thread::spawn(move || {
        keeper.wait_for_room(None);
        sender.send(()).expect("the test waits");
    });
    assert!(has_room.recv_timeout(Duration::from_millis(50)).is_err());
    drop(release);
    has_room.recv_timeout(SAFETY_NET).expect("room");
    reader.join().expect("ended");
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 200);
}

#[test]
fn what_is_being_written_takes_room_until_it_is_on_disk() {
    let scratch = Scratch::on_disk();
    let settings = Settings { queue_bytes: 10_000, ..settings() };
    let running = Running::with(scratch.open(), settings);
    let holder = Holder::new(&scratch);
    running.keep(&changes("s", 1, 200));
    // One that comes before the store has taken it, and one that comes while it waits to write it.
    let (sender, has_room) = channel();
    let readers = [(); 2].map(|()| {
        let (keeper, sender) = (running.keeper.clone(), sender.clone());
        let reader = std::thread::spawn(move || {
            keeper.wait_for_room(None);
            sender.send(()).expect("the test waits");
        });
        assert!(has_room.recv_timeout(Duration::from_millis(200)).is_err());
        reader
    });
    holder.let_go();
    for reader in readers {
        has_room.recv_timeout(SAFETY_NET).expect("room");
        reader.join().expect("ended");
    }
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 200);
}

#[test]
fn nobody_waits_for_a_store_that_has_ended() {
    let scratch = Scratch::on_disk();
    let settings = Settings { queue_bytes: 1000, ..settings() };
    let running = Running::with(scratch.open(), settings);
    let release = hold(&running);
    running.keep(&changes("s", 1, 50));
    let keeper = running.keeper.clone();
    let reader = std::thread::spawn(move || keeper.wait_for_room(None));
    let keeper = running.keeper.clone();
    // It can't end yet.
    assert!(!keeper.stop(Instant::now() + Duration::from_millis(20)));
    drop(release);
    assert!(running.stop());
    reader.join().expect("ended");
    keeper.keep(change("s", "e", 51));
    assert!(!keeper.confirm(1), "nothing is confirmed any more");
    keeper.wait_for_room(None);
    expect_changes(&scratch.open(), "s", 50);
}

#[test]
fn a_job_that_panics_takes_nothing_with_it() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&[change("s", "e", 1)]);
    running.keeper.job(Box::new(|_| panic!("on purpose")));
    running.keep(&[change("s", "e", 2)]);
    running.confirm(2);
    assert_eq!(running.confirmed(), 2);
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 2);
}

#[test]
fn after_a_bug_whoever_waits_for_a_session_is_answered() {
    let scratch = Scratch::on_disk();
    let (sender, events) = channel();
    let small = Settings { queue_bytes: 10_000, ..settings() };
    let (keeper, thread) = StoreHandle::start(scratch.open(), small, move |event| {
        assert!(!matches!(event, StoreEvent::SnapshotRequested { .. }), "on purpose");
        sender.send(event).expect("the test hears it");
    })
    .expect("a thread");
    let event = || events.recv_timeout(SAFETY_NET).expect("an event");
    let not_loaded = |session: &str| {
        assert_eq!(event(), StoreEvent::Loaded { session: session.into(), stored: Err(()) });
    };
    // One that doesn't follow is asked for, which fails; what has come by then waits.
    keeper.keep(change("s", "e", 7));
    assert!(keeper.confirm(1));
    assert_eq!(event(), StoreEvent::Durable(false));
    assert_eq!(keeper.stats().trouble, Some(StoreTrouble::Bug));
    assert_eq!(event(), StoreEvent::Lost { first: 1, last: 1 });
    keeper.load("early".into());
    not_loaded("early");
    // And so does whatever comes later; nobody waits for room.
    for seq in 0..500 {
        keeper.keep(change("s", "e", seq + 8));
        keeper.wait_for_room(None);
    }
    keeper.load("late".into());
    not_loaded("late");
    let (told, hears) = channel();
    keeper.job(Box::new(move |_| {
        told.send(()).expect("the test waits");
        ControlFlow::Break(())
    }));
    assert!(
        hears
            .recv_timeout(SAFETY_NET)
            .is_err_and(|why| { why == std::sync::mpsc::RecvTimeoutError::Disconnected })
    );
    assert!(!keeper.stop(Instant::now() + SAFETY_NET), "not everything is written");
    thread.join().expect("ended");
}

/// Another program that holds the file: the store's transactions fail until it lets go.
struct Holder(Connection);

impl Holder {
    fn new(scratch: &Scratch) -> Self {
        let db = Connection::open(scratch.file("collabd.db")).expect("a database");
        db.busy_timeout(SAFETY_NET).expect("set");
        db.execute_batch("BEGIN IMMEDIATE").expect("begun");
        Holder(db)
    }

    fn let_go(self) {
        self.0.execute_batch("ROLLBACK").expect("rolled back");
    }
}

#[test]
fn while_nothing_can_be_written_nothing_is_confirmed_and_then_everything_is() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&changes("s", 1, 5));
    running.confirm(5);
    assert_eq!(running.confirmed(), 5);
    let stats = running.stats_that(|stats| stats.wal_bytes > 0 && stats.database_bytes > 0);
    assert_eq!((stats.commits.total(), stats.trouble), (1, None));
    let holder = Holder::new(&scratch);
    running.keep(&changes("s", 6, 10));
    running.confirm(10);
    assert_eq!(running.event(), StoreEvent::Durable(false));
    let stats = running.keeper.stats();
    assert_eq!((stats.commits.total(), stats.trouble), (1, Some(StoreTrouble::Locked)));
    let lag = running.keeper.lag();
    assert!(lag.fails && lag.bytes > 0 && lag.oldest > Duration::ZERO, "{lag:?}");
    running.keep(&changes("s", 11, 15));
    running.confirm(15);
    // What is on disk can be read, unless more of it waits.
    running.keeper.load("s".into());
    running.keeper.load("t".into());
    assert_eq!(running.event(), StoreEvent::Loaded { session: "s".into(), stored: Err(()) });
    assert_eq!(running.event(), StoreEvent::Loaded { session: "t".into(), stored: Ok(None) });
    running.keeper.wait_for_room(None);
    assert!(running.nothing_confirmed());
    holder.let_go();
    assert_eq!(running.event(), StoreEvent::Durable(true));
    assert_eq!((running.confirmed(), running.confirmed()), (10, 15));
    let until = Instant::now() + SAFETY_NET;
    while running.keeper.lag() != PersistenceLag::default() {
        assert!(Instant::now() < until, "nothing waits: {:?}", running.keeper.lag());
    }
    let stats = running.keeper.stats();
    assert!(stats.commits.total() > 1 && stats.commits.sum > 0, "{stats:?}");
    assert_eq!(stats.trouble, None);
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 15);
}

#[test]
fn what_had_to_be_dropped_is_asked_for_and_confirmed_when_it_is_there() {
    let scratch = Scratch::on_disk();
    let settings = Settings { queue_bytes: 20_000, ..settings() };
    let running = Running::with(scratch.open(), settings);
    let holder = Holder::new(&scratch);
    running.keep(&changes("quiet", 1, 3));
    running.keep(&[change("busy", "e", 1)]);
    running.confirm(1);
    assert_eq!(running.event(), StoreEvent::Durable(false));
    for seq in 2..=300 {
        running.keep(&[change("busy", "e", seq)]);
        // As a client's thread does: it is never held up for long.
        running.keeper.wait_for_room(None);
    }
    running.confirm(300);
    running.keep(&[change("quiet", "e", 4)]);
    running.confirm(4);
    holder.let_go();
    assert_eq!(running.event(), StoreEvent::Durable(true));
    assert_eq!(running.event(), StoreEvent::SnapshotRequested { session: "busy".into() });
    assert!(running.nothing_confirmed());
    running.keep(&[whole("busy", "e", 300, SnapshotReason::Regular), change("busy", "e", 301)]);
    running.confirm(301);
    let order: Vec<u64> = (0..4).map(|_| running.confirmed()).collect();
    assert_eq!(order, [1, 300, 4, 301]);
    assert!(running.stop());
    let store = scratch.open();
    expect_changes(&store, "quiet", 4);
    let stored = store.load("busy", ALL).expect("loads").expect("is stored");
    assert_eq!((stored.seq, stored.seq_of_document, stored.changes.len()), (301, 300, 1));
}

#[test]
fn a_change_that_does_not_follow_is_not_confirmed_before_a_whole_document_came() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&[change("s", "e", 7), change("t", "e", 1)]);
    running.confirm(7);
    assert_eq!(running.event(), StoreEvent::SnapshotRequested { session: "s".into() });
    running.keep(&[change("s", "e", 8)]);
    running.keep(&[whole("s", "e", 8, SnapshotReason::Regular)]);
    assert_eq!(running.confirmed(), 7);
    assert!(running.stop());
    expect_changes(&scratch.open(), "t", 1);
}

#[test]
fn what_nobody_has_any_more_is_given_up_when_it_is_asked_for() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&[change("s", "e", 7)]);
    running.confirm(7);
    assert_eq!(running.event(), StoreEvent::SnapshotRequested { session: "s".into() });
    // Whoever loads it doesn't have it.
    running.keeper.load("s".into());
    assert_eq!(running.event(), StoreEvent::Loaded { session: "s".into(), stored: Ok(None) });
    running.keep(&[change("t", "e", 1)]);
    running.confirm(1);
    assert_eq!(running.confirmed(), 1);
    assert!(running.nothing_confirmed());
    assert!(running.stop());
}

#[test]
#[cfg(unix)]
fn a_file_that_is_taken_away_is_noticed_and_taken_up_again_when_it_is_back() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&changes("s", 1, 5));
    running.confirm(5);
    assert_eq!(running.confirmed(), 5);
    let away = scratch.path().join("away");
    fs::rename(scratch.data(), &away).expect("renamed");
    running.keep(&changes("s", 6, 10));
    running.confirm(10);
    assert_eq!(running.event(), StoreEvent::Durable(false));
    assert_eq!(running.keeper.stats().trouble, Some(StoreTrouble::Unreachable));
    // Whatever is there now is not begun anew.
    fs::create_dir(scratch.data()).expect("a directory");
    loop {
        // An error says that it was closed and could not be opened again.
        running.keeper.load("t".into());
        if matches!(running.event(), StoreEvent::Loaded { stored: Err(()), .. }) {
            break;
        }
    }
    assert_eq!(fs::read_dir(scratch.data()).expect("a directory").count(), 0);
    assert!(running.nothing_confirmed());
    fs::remove_dir(scratch.data()).expect("removed");
    fs::rename(&away, scratch.data()).expect("renamed");
    assert_eq!(running.event(), StoreEvent::Durable(true));
    assert_eq!(running.confirmed(), 10);
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 10);
}

#[test]
fn a_file_that_is_broken_while_it_is_written_is_left_alone() {
    let scratch = Scratch::on_disk();
    let mut store = scratch.open();
    // More than SQLite keeps in memory.
    super::scratch::commit(&mut store, &changes("s", 1, 10_000));
    store.close().expect("closed");
    let running = Running::start(&scratch);
    let mut bytes = fs::read(scratch.file("collabd.db")).expect("a file");
    for page in bytes.chunks_mut(4096).skip(8) {
        page[..2048].fill(0xff);
    }
    let file = fs::OpenOptions::new().write(true).open(scratch.file("collabd.db")).expect("a file");
    std::io::Write::write_all(&mut &file, &bytes).expect("written");
    drop(file);
    let not_loaded = StoreEvent::Loaded { session: "s".into(), stored: Err(()) };
    running.keeper.load("s".into());
    assert_eq!(running.event(), not_loaded);
    assert_eq!(running.event(), StoreEvent::Durable(false));
    assert_eq!(running.keeper.stats().trouble, Some(StoreTrouble::Damaged));
    running.keep(&changes("s", 10_001, 10_010));
    running.confirm(1);
    running.keeper.load("s".into());
    assert_eq!(running.event(), not_loaded);
    assert!(running.nothing_confirmed());
    let journal = fs::read(scratch.file("collabd.db-wal")).expect("a journal");
    let change = super::scratch::message("s", 10_001);
    assert!(!journal.windows(change.len()).any(|part| part == change.as_bytes()));
    assert!(!running.stop());
    assert!(scratch.refused().contains("damaged"));
    assert!(fs::read(scratch.file("collabd.db")).expect("a file") == bytes, "it was written to");
}

#[test]
fn a_file_that_was_read_wrongly_for_a_while_is_gone_on_with() {
    let scratch = Scratch::on_disk();
    let mut store = scratch.open();
    super::scratch::commit(&mut store, &changes("s", 1, 10_000));
    store.close().expect("closed");
    let running = Running::start(&scratch);
    let whole = fs::read(scratch.file("collabd.db")).expect("a file");
    let mut wrong = whole.clone();
    for page in wrong.chunks_mut(4096).skip(8) {
        page[..2048].fill(0xff);
    }
    let put = |bytes: &[u8]| {
        let file = fs::OpenOptions::new().write(true).open(scratch.file("collabd.db"));
        std::io::Write::write_all(&mut file.expect("a file"), bytes).expect("written");
    };
    put(&wrong);
    running.keeper.load("s".into());
    assert_eq!(running.event(), StoreEvent::Loaded { session: "s".into(), stored: Err(()) });
    assert_eq!(running.event(), StoreEvent::Durable(false));
    running.keep(&changes("s", 10_001, 10_010));
    running.confirm(1);
    assert!(running.nothing_confirmed());
    put(&whole);
    assert_eq!(running.event(), StoreEvent::Durable(true));
    assert_eq!(running.confirmed(), 1);
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 10_010);
}

/// Nobody is told to remove it, and nothing hangs on it.
#[test]
#[cfg(target_os = "linux")]
fn a_second_server_after_the_lock_file_was_removed() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    running.keep(&changes("s", 1, 5));
    running.confirm(5);
    assert_eq!(running.confirmed(), 5);
    fs::remove_file(scratch.file("collabd.lock")).expect("removed");
    let refused = super::power::open_elsewhere(&scratch.data());
    assert!(refused.contains("another collabd uses"), "{refused}");
    // In the same process, too, which must not have touched SQLite's locks.
    for _ in 0..2 {
        assert!(scratch.refused().contains("another collabd uses"));
        fs::remove_file(scratch.file("collabd.lock")).expect("removed");
    }
    running.keep(&changes("s", 6, 10));
    running.confirm(10);
    assert_eq!(running.confirmed(), 10);
    // What is noted in it is noted again.
    let note = fs::read_to_string(scratch.file("collabd.lock")).expect("a note");
    assert!(note.ends_with("running\n"), "{note:?}");
    let refused = super::power::open_elsewhere(&scratch.data());
    assert!(refused.contains("another collabd uses"), "{refused}");
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 10);
}

#[test]
#[cfg(unix)]
fn another_file_under_its_name_is_noticed_before_anything_is_confirmed() {
    let scratch = Scratch::on_disk();
    let (running, other) = (Running::start(&scratch), Scratch::on_disk());
    running.keep(&changes("s", 1, 5));
    running.confirm(5);
    assert_eq!(running.confirmed(), 5);
    // Even one that is complete, with nothing beside it that says how far it has come.
    let mut store = other.open();
    super::scratch::commit(&mut store, &changes("s", 1, 50));
    store.close().expect("closed");
    let away = scratch.path().join("away");
    fs::rename(scratch.file("collabd.db"), &away).expect("renamed");
    fs::remove_file(scratch.file("collabd.lock")).expect("removed");
    fs::copy(other.file("collabd.db"), scratch.file("collabd.db")).expect("a copy");
    running.keep(&changes("s", 6, 10));
    running.confirm(10);
    assert_eq!(running.event(), StoreEvent::Durable(false));
    for _ in 0..5 {
        running.keeper.load("t".into());
        assert_eq!(running.event(), StoreEvent::Loaded { session: "t".into(), stored: Err(()) });
    }
    assert!(running.nothing_confirmed());
    fs::rename(&away, scratch.file("collabd.db")).expect("renamed");
    assert_eq!(running.event(), StoreEvent::Durable(true));
    assert_eq!(running.confirmed(), 10);
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", 10);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_another_program_writes_over_is_noticed_before_anything_is_confirmed() {
    let scratch = Scratch::on_disk();
    let mut store = scratch.open();
    super::scratch::commit(&mut store, &changes("s", 1, 50));
    store.close().expect("closed");
    let older = fs::read(scratch.file("collabd.db")).expect("a file");
    let running = Running::start(&scratch);
    running.keep(&changes("s", 51, 60));
    running.with_store(|store| store.checkpoint().expect("moved"));
    let touched = fs::OpenOptions::new().write(true).open(scratch.file("collabd.db"));
    touched.expect("a file").set_modified(std::time::SystemTime::UNIX_EPOCH).expect("touched");
    running.keep(&changes("s", 61, 62));
    running.confirm(62);
    assert_eq!(running.confirmed(), 62);
    fs::write(scratch.file("collabd.db"), &older).expect("written over");
    running.keep(&changes("s", 63, 64));
    running.confirm(64);
    assert_eq!(running.event(), StoreEvent::Durable(false));
    running.keeper.load("t".into());
    assert_eq!(running.event(), StoreEvent::Loaded { session: "t".into(), stored: Err(()) });
    assert!(running.nothing_confirmed());
    assert!(!running.stop());
    assert!(fs::read(scratch.file("collabd.db")).expect("a file") == older, "it was written to");
}

#[test]
fn what_is_persisted_together_is_told_once() {
    let scratch = Scratch::new();
    let (sender, events) = channel();
    let told = move |event| sender.send(event).expect("the test hears it");
    let (keeper, thread) = StoreHandle::start(scratch.open(), settings(), told).expect("a thread");
    let (release, held) = channel::<()>();
    keeper.job(Box::new(move |_| {
        let _ = held.recv();
        ControlFlow::Break(())
    }));
    for seq in 1..=300 {
        keeper.keep(change("s", "e", seq));
        assert!(keeper.confirm(seq));
    }
    let flushed = keeper.flushed();
    drop(release);
    flushed.recv_timeout(SAFETY_NET).expect("everything is on disk");
    assert_eq!(events.try_recv(), Ok(StoreEvent::Persisted { up_to: 300 }), "it is told before");
    keeper.delete("s".into(), 7);
    let deleted = StoreEvent::Deleted { number: 7, is_done: true };
    assert_eq!(events.recv_timeout(SAFETY_NET), Ok(deleted));
    assert!(keeper.stop(Instant::now() + SAFETY_NET));
    assert_eq!(events.try_iter().count(), 0);
    thread.join().expect("ended");
}

#[test]
fn what_many_clients_do_at_once_is_all_there() {
    let scratch = Scratch::on_disk();
    let running = Running::start(&scratch);
    // As the hub does: one thread gives, in one order.
    let confirmed: Arc<Mutex<Vec<(usize, u64)>>> = Arc::default();
    for seq in 1..=500 {
        for session in 0..8 {
            running.keep(&[change(&format!("s{session}"), "e", seq)]);
            let confirmed = confirmed.clone();
            running.after(move || {
                confirmed.lock().expect("no panic").push((session, seq));
            });
        }
        running.keeper.wait_for_room(None);
    }
    assert!(running.stop());
    let expected = (1..=500).flat_map(|seq| (0..8).map(move |session| (session, seq)));
    assert_eq!(*confirmed.lock().expect("no panic"), expected.collect::<Vec<_>>());
    let store = scratch.open();
    (0..8).for_each(|session| expect_changes(&store, &format!("s{session}"), 500));
}
