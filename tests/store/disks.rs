//! Disks that fill up, refuse or are read-only, under a store that runs: nothing is confirmed that
//! isn't there, and when the disk is well again everything is.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use collabd::journal::{Journal as _, JournalEntry, SnapshotReason};
use collabd::protocol::Frame;
use collabd::store::{Retention, Store, StoreEvent};

use super::scratch::{ALL, Scratch, at, change, changes, commit, expect_changes, whole};
use super::waiting::{Running, settings};

/// A small disk of its own, in memory; nothing where the system doesn't let us make one.
struct Disk<'a>(&'a Scratch);

impl<'a> Disk<'a> {
    fn new(scratch: &'a Scratch, bytes: usize) -> Option<Self> {
        fs::create_dir(scratch.data()).expect("a directory");
        let size = format!("size={bytes}");
        let mount = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let mut command = Command::new("mount");
        let made = command.args(mount).arg(scratch.data()).stderr(Stdio::null()).status();
        if made.is_ok_and(|status| status.success()) {
            return Some(Disk(scratch));
        }
        eprintln!("not tried: making a small disk takes root and mount");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mount = Command::new("mount").args(["-o", &options]).arg(self.0.data()).status();
        assert!(mount.expect("mount runs").success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.data()).status();
    }
}

/// Gives changes until the store says that they can't be written. How many were given and confirmed.
fn fill(running: &Running) -> (u64, u64) {
    let (mut given, mut confirmed) = (0, 0);
    loop {
        for _ in 0..20 {
            given += 1;
            running.keep(&[change("s", "e", given)]);
        }
        running.confirm(given);
        // One or the other comes.
        loop {
            if let Some(number) = running.confirmed_already() {
                confirmed = number;
                break;
            }
            if let Ok(event) = running.events.try_recv() {
                assert_eq!(event, StoreEvent::Durable(false));
                return (given, confirmed);
            }
            std::thread::yield_now();
        }
        assert!(given < 1_000_000, "the disk never fills up");
    }
}

/// What is on a disk that is full has all that was confirmed.
fn expect_prefix(directory: &Path, confirmed: u64, given: u64) {
    let store = Store::open(directory).expect("a store");
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    assert!((confirmed..=given).contains(&stored.seq), "{} of {confirmed}", stored.seq);
    expect_changes(&store, "s", stored.seq);
}

#[test]
fn a_disk_that_fills_up_and_is_emptied() {
    let scratch = Scratch::on_disk();
    let Some(_disk) = Disk::new(&scratch, 3 << 20) else { return };
    let filler = scratch.file("filler");
    fs::write(&filler, vec![1; 2 << 20]).expect("written");
    let running = Running::start(&scratch);
    let (mut given, confirmed) = fill(&running);
    assert!(confirmed > 0);
    let copy = Scratch::on_disk();
    super::scratch::copy(&scratch.data(), &copy.data());
    expect_prefix(&copy.data(), confirmed, given);
    // People go on working.
    for _ in 0..100 {
        given += 1;
        running.keep(&[change("s", "e", given)]);
        running.keeper.wait_for_room(None);
    }
    running.confirm(given);
    assert!(running.nothing_confirmed());
    fs::remove_file(filler).expect("removed");
    assert_eq!(running.event(), StoreEvent::Durable(true));
    while running.confirmed() < given {}
    assert!(running.stop());
    expect_changes(&scratch.open(), "s", given);
}

#[test]
fn a_disk_that_stays_full_while_much_is_done() {
    let scratch = Scratch::on_disk();
    let Some(_disk) = Disk::new(&scratch, 3 << 20) else { return };
    let filler = scratch.file("filler");
    fs::write(&filler, vec![1; 2 << 20]).expect("written");
    let small = collabd::store::Settings { queue_bytes: 40_000, ..settings() };
    let running = Running::with(scratch.open(), small);
    let (mut given, confirmed) = fill(&running);
    for _ in 0..1000 {
        given += 1;
        running.keep(&[change("s", "e", given)]);
        running.keeper.wait_for_room(None);
    }
    running.confirm(given);
    fs::remove_file(filler).expect("removed");
    assert_eq!(running.event(), StoreEvent::Durable(true));
    assert_eq!(running.event(), StoreEvent::SnapshotRequested { session: "s".into() });
    running.keep(&[whole("s", "e", given, SnapshotReason::Regular)]);
    while running.confirmed() < given {}
    assert!(running.stop());
    let store = scratch.open();
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    assert_eq!((stored.seq, stored.seq_of_document), (given, given));
    assert!(given > confirmed + 1000);
}

#[test]
fn a_server_that_is_stopped_while_the_disk_is_full() {
    let scratch = Scratch::on_disk();
    let Some(_disk) = Disk::new(&scratch, 1 << 20) else { return };
    let running = Running::start(&scratch);
    let (given, confirmed) = fill(&running);
    assert!(!running.stop(), "not everything is written");
    // What is there can be looked at, if not be gone on with: there is no room for its journal.
    let copy = Scratch::on_disk();
    super::scratch::copy(&scratch.data(), &copy.data());
    expect_prefix(&copy.data(), confirmed, given);
}

#[test]
fn a_disk_that_is_full_or_read_only_from_the_beginning() {
    let scratch = Scratch::on_disk();
    let Some(disk) = Disk::new(&scratch, 1 << 20) else { return };
    let filler = scratch.file("filler");
    let full = vec![1; 2 << 20];
    assert!(fs::write(&filler, &full).is_err(), "it is full");
    let line = scratch.refused();
    assert!(line.contains("make room") || line.contains("may write"), "{line}");
    fs::remove_file(&filler).expect("removed");
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 10));
    store.close().expect("closed");
    assert!(fs::write(&filler, &full).is_err(), "it is full");
    let line = scratch.refused();
    assert!(line.contains("make room") || line.contains("may write"), "{line}");
    fs::remove_file(&filler).expect("removed");
    disk.remount("ro");
    let line = scratch.refused();
    assert!(line.contains("may write") && line.contains("Read-only"), "{line}");
    disk.remount("rw");
    expect_changes(&scratch.open(), "s", 10);
}

/// Set in a process that may write no longer files than a limit.
const LIMITED: &str = "COLLABD_STORE_LIMITED";

/// Not a test by itself: what is run where a file may have 400 KiB and no more.
#[test]
fn the_limited_process() {
    let Some(directory) = std::env::var_os(LIMITED) else { return };
    let store = Store::open(Path::new(&directory)).expect("a store");
    let running = Running::with(store, settings());
    let (given, confirmed) = fill(&running);
    assert!(confirmed > 0);
    let (_, hard) = rlimit::Resource::FSIZE.get().expect("a limit");
    rlimit::Resource::FSIZE.set(hard, hard).expect("no limit");
    assert_eq!(running.event(), StoreEvent::Durable(true));
    while running.confirmed() < given {}
    assert!(running.stop());
    expect_changes(&Store::open(Path::new(&directory)).expect("a store"), "s", given);
}

#[test]
fn a_file_that_may_not_grow_and_then_may() {
    let scratch = Scratch::on_disk();
    // The signal that goes with it would end the process; a shell can have it ignored.
    let script = "ulimit -S -f 800 && trap '' XFSZ && exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .args(["disks::the_limited_process", "--exact", "--nocapture"])
        .env(LIMITED, scratch.data())
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
    scratch.open().close().expect("closed");
}

/// Set in a process that may write in its data directory and nowhere else.
const CONFINED: &str = "COLLABD_STORE_CONFINED";

/// Not a test by itself: what is run where only the data directory can be written.
#[test]
fn the_confined_process() {
    let Some(directory) = std::env::var_os(CONFINED) else { return };
    for elsewhere in ["/tmp", "/var/tmp", "/dev/shm", "."] {
        let probe = Path::new(elsewhere).join(format!("collabd-probe-{}", std::process::id()));
        assert!(fs::write(&probe, "").is_err(), "{elsewhere} can be written");
    }
    let directory = Path::new(&directory);
    let mut store = Store::open(directory).expect("a store");
    let retention = Retention { versions: 1, age: std::time::Duration::ZERO, history: 10 };
    for round in 1..=10 {
        // Into the pages that the one before has left.
        commit(&mut store, &[large(round)]);
        commit(&mut store, &[large(round)]);
        while store.prune("s", &retention, at(1), 2000).expect("pruned").is_more() {}
    }
    while store.shrink(500).expect("shrunk").is_more() {}
    let stored = store.load("s", ALL).expect("loads").expect("is stored");
    assert_eq!((stored.seq, stored.history.len()), (10_000, 10));
    store.close().expect("closed");
    println!("\nconfined: done");
}

/// A whole canvas of a thousand items that takes the place of another one.
fn large(round: u64) -> JournalEntry {
    let frame = |n: u64| Frame::text(&super::scratch::message("s", (round - 1) * 1000 + n));
    JournalEntry::Snapshot {
        session: "s".into(),
        epoch: "e".into(),
        seq: round * 1000,
        at: at(round),
        user: Some("alice".into()),
        document: vec![b'x'; 300_000],
        frames: (1..=1000).map(frame).collect(),
        id: Some(round.to_string().into()),
        why: SnapshotReason::Replaced,
    }
}

#[test]
fn nothing_is_written_outside_the_data_directory() {
    let scratch = Scratch::on_disk();
    fs::create_dir(scratch.data()).expect("a directory");
    // Everything is read-only there but the data directory.
    let script = "mount --make-rprivate / || exit 99
        for place in / /tmp /var/tmp /dev/shm; do
            mount --bind $place $place && mount -o remount,bind,ro $place || exit 99
        done
        mount --bind \"$DATA\" \"$DATA\" && mount -o remount,bind,rw \"$DATA\" || exit 99
        cd / && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .args(["disks::the_confined_process", "--exact", "--nocapture"])
        .env("DATA", scratch.data())
        .env(CONFINED, scratch.data())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(99) && output.status.code() != Some(1) => output,
        _ => {
            eprintln!("not run: making everything else read-only takes root, unshare and mount");
            return;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("confined: done"), "{text}{said}");
}
