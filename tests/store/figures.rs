//! What the store costs; printed, not judged, because it depends on the disk and on who else uses it.
//! To see it:
//!
//!     cargo test --release --test store figures -- --nocapture

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use collabd::journal::{HistoryWindow, SnapshotReason};
use collabd::store::Retention;

use super::scratch::{ALL, Scratch, change, changes, commit, whole};
use super::waiting::{Running, SAFETY_NET, settings};

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// What one synchronisation of 4 KiB costs on this disk.
fn fsync(scratch: &Scratch) -> Duration {
    let mut file = File::create(scratch.path().join("fsync")).expect("a file");
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            file.write_all(&[1; 4096]).expect("written");
            let begun = Instant::now();
            file.sync_data().expect("on disk");
            begun.elapsed()
        })
        .collect();
    median(&mut times)
}

#[test]
fn confirmations_of_concurrent_writers() {
    let scratch = Scratch::on_disk();
    let fsync = fsync(&scratch);
    for writers in [1, 10, 100] {
        let session = format!("of {writers}");
        let running = Running::with(scratch.open(), settings());
        // Each has one change under way, and makes the next when it is confirmed.
        let (sender, confirmed) = channel();
        let mut times = Vec::new();
        let (begun, before) = (Instant::now(), running.with_store(|store| store.commits()));
        let mut under_way = VecDeque::new();
        let total = 20 * writers.max(10);
        for seq in 1..=total {
            if under_way.len() == writers {
                let of: u64 = confirmed.recv_timeout(SAFETY_NET).expect("a confirmation");
                let (seq, since): (u64, Instant) = under_way.pop_front().expect("is under way");
                assert_eq!(seq, of);
                times.push(since.elapsed());
            }
            let seq = seq as u64;
            under_way.push_back((seq, Instant::now()));
            running.keep(&[change(&session, "e", seq)]);
            let sender = sender.clone();
            running.after(move || sender.send(seq).expect("the test waits"));
        }
        let elapsed = begun.elapsed();
        let commits = running.with_store(|store| store.commits()) - before;
        println!(
            "{writers} writers: confirmed after {:?} at the median, {:.0} a second, {:.1} in a \
             transaction; one fsync: {fsync:?}",
            median(&mut times),
            total as f64 / elapsed.as_secs_f64(),
            total as f64 / commits as f64
        );
        assert!(running.stop());
    }
}

#[test]
fn a_session_with_a_hundred_thousand_changes() {
    // Enough to see that it works, where nothing is optimised.
    let count = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
    let scratch = Scratch::on_disk();
    let mut store = scratch.open();
    let begun = Instant::now();
    for first in (1..count).step_by(500) {
        commit(&mut store, &changes("s", first, first + 499));
        store.checkpoint_if_large().expect("tidied");
    }
    println!("{count} changes written, 500 in a transaction: {:?}", begun.elapsed());
    let begun = Instant::now();
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    println!("loaded without a whole document: {:?}", begun.elapsed());
    assert_eq!(stored.changes.len() as u64, count);
    drop(stored);

    commit(&mut store, &[whole("s", "e", count, SnapshotReason::Regular)]);
    commit(&mut store, &changes("s", count + 1, count + 100));
    store.close().expect("closed");
    let begun = Instant::now();
    let mut store = scratch.open();
    println!("opened: {:?}", begun.elapsed());
    let history = count as usize / 10;
    let reach = HistoryWindow { changes: history, bytes: 8 << 20 };
    let begun = Instant::now();
    let stored = store.load("s", reach).expect("loads").expect("is stored");
    println!(
        "loaded with a whole document 100 changes ago, and {} changes before it: {:?}",
        stored.history.len(),
        begun.elapsed()
    );
    assert_eq!(stored.changes.len(), 100);

    let keep = Retention { versions: 1, age: Duration::ZERO, history };
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    let now = collabd::protocol::Timestamp::now();
    loop {
        let begun = Instant::now();
        let more = store.prune("s", &keep, now, 2000).expect("pruned").is_more();
        longest = longest.max(begun.elapsed());
        if !more {
            break;
        }
    }
    println!("nine tenths removed: {:?}, {longest:?} at a time at most", begun.elapsed());
    let begun = Instant::now();
    let stored = store.load("s", reach).expect("loads").expect("is stored");
    println!("loaded then: {:?}", begun.elapsed());
    assert_eq!(stored.changes.len(), 100);
}

/// How long a thread of this process has run on a processor.
#[cfg(target_os = "linux")]
fn processor_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    let times = tasks.filter_map(|task| {
        let task = task.expect("an entry").path();
        let is_it = std::fs::read_to_string(task.join("comm")).ok()?.trim() == name;
        let times = std::fs::read_to_string(task.join("schedstat")).ok().filter(|_| is_it)?;
        times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    times.sum()
}

#[test]
#[cfg(target_os = "linux")]
fn processor_time_at_five_hundred_changes_a_second() {
    let total = if cfg!(debug_assertions) { 100 } else { 1000 };
    let scratch = Scratch::on_disk();
    for is_confirmed in [false, true] {
        let session = format!("confirmed: {is_confirmed}");
        let running = Running::with(scratch.open(), settings());
        let commits = running.with_store(|store| store.commits());
        let (begun, before) = (Instant::now(), processor_time("store"));
        for seq in 1..=total {
            running.keep(&[change(&session, "e", seq)]);
            if is_confirmed {
                running.confirm(seq);
            }
            let next = Duration::from_millis(2) * u32::try_from(seq).expect("a few");
            std::thread::sleep(next.saturating_sub(begun.elapsed()));
        }
        let spent = processor_time("store") - before;
        let commits = running.with_store(|store| store.commits()) - commits;
        println!(
            "{session}: {:.1} ms of processor time a second, {:.1} µs a change, {commits} \
             transactions for {total} changes",
            spent.as_secs_f64() * 1e3 / begun.elapsed().as_secs_f64(),
            spent.as_secs_f64() * 1e6 / total as f64
        );
        assert!(running.stop());
    }
}
