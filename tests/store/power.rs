//! A disk that fails and then loses its power: whatever was confirmed is on it.
//!
//! `disk.c` is loaded into a process that writes, makes its fsyncs fail, and writes down what is done to
//! the files. From that it is reckoned here what the disk holds at any moment, as it is on Linux: what a
//! failed fsync should have written is never written by a later one, though it can still be read. Each of
//! these disks is opened, and has to have all that was confirmed until then.
//!
//! `POWER=50` tries more of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use collabd::journal::Journal as _;
use collabd::store::Store;

use super::scratch::{Scratch, change, expect_changes};
use super::waiting::{Running, SAFETY_NET, settings};

const PAGE: usize = 4096;
/// The data directory, for the process that writes; and up to which change.
const DIRECTORY: &str = "COLLABD_STORE_POWER";
const UNTIL: &str = "COLLABD_STORE_UNTIL";
/// The data directory, for a process that only opens it.
const OTHER: &str = "COLLABD_STORE_OTHER";
/// Whether it ends when that is confirmed, or when nothing can be written any more.
const END: &str = "COLLABD_STORE_END";

/// Not a test by itself: what runs on the disk that fails. Goes on where the last one was, writes down
/// what was confirmed, and is gone without closing anything.
#[test]
fn the_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let until: u64 = std::env::var(UNTIL).expect("set").parse().expect("a number");
    let directory = Path::new(&directory);
    let marks = directory.with_file_name("marks");
    let open = || {
        let begun = Instant::now();
        loop {
            match Store::open(directory) {
                Ok(store) => break store,
                // As a supervisor does.
                Err(why) => assert!(begun.elapsed() < SAFETY_NET, "{why}"),
            }
        }
    };
    let store = open();
    let stored = store.load("s", super::scratch::ALL).expect("loads");
    let from = stored.map_or(0, |stored| stored.seq);
    let mut settings = settings();
    settings.gather = Duration::ZERO;
    settings.retry = (Duration::from_millis(1), Duration::from_millis(4));
    let running = Running::with(store, settings);
    let (begun, ends_failing) =
        (Instant::now(), std::env::var(END).is_ok_and(|end| end == "fails"));
    for seq in from + 1..=until {
        running.keep(&[change("s", "e", seq)]);
        let marks = marks.clone();
        let (sender, confirmed) = channel();
        running.after(move || {
            let marks = OpenOptions::new().create(true).append(true).open(marks);
            marks.and_then(|mut marks| marks.write_all(&seq.to_le_bytes())).expect("written");
            let _ = sender.send(());
        });
        // While it fails, people go on; one waits now and then.
        while confirmed.try_recv().is_err() && (seq % 3 == 0 || seq == until) {
            assert!(begun.elapsed() < SAFETY_NET, "nothing is confirmed");
            if ends_failing && running.keeper.lag().fails {
                std::process::exit(0);
            }
            std::thread::yield_now();
        }
        if seq % 5 == 0 {
            running.keeper.load("s".into());
        }
        if seq % 8 == 0 {
            running.keeper.job(Box::new(|store| {
                let _ = store.checkpoint();
                std::ops::ControlFlow::Break(())
            }));
        }
    }
    std::process::exit(0);
}

/// Not a test by itself: says in another process why a store isn't opened.
#[test]
fn the_other_process() {
    let Some(directory) = std::env::var_os(OTHER) else { return };
    match Store::open(Path::new(&directory)) {
        Ok(_) => println!("\nrefused: no"),
        Err(why) => println!("\nrefused: {why}"),
    }
}

/// Why another process doesn't open a store.
pub fn open_elsewhere(directory: &Path) -> String {
    opened_by(Command::new(std::env::current_exe().expect("this program")), directory)
}

fn opened_by(mut command: Command, directory: &Path) -> String {
    let output = command
        .args(["power::the_other_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(OTHER, directory)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("refused: "));
    line.expect("a line").to_owned()
}

/// The shim, compiled; nothing where there is no compiler.
fn shim(scratch: &Scratch) -> Option<PathBuf> {
    let shim = scratch.path().join("disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/disk.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&shim, &source])
        .args(["-ldl", "-lpthread"])
        .status();
    match compiled {
        Ok(status) if status.success() => Some(shim),
        Ok(status) => panic!("the shim can't be compiled: {status}"),
        Err(_) => {
            eprintln!("not run: a disk that fails takes a C compiler");
            None
        }
    }
}

/// What fails in one life of the process.
#[derive(Debug, Default, Clone)]
struct Plan {
    syncs: String,
    writes: String,
    reads: String,
    /// ENOSPC rather than EIO.
    is_full: bool,
}

/// Runs the process up to a change.
fn run(scratch: &Scratch, shim: &Path, plan: &Plan, until: u64) {
    run_until(scratch, shim, plan, until, "confirmed");
}

/// Runs the process until a change is confirmed, or until it can't be written.
fn run_until(scratch: &Scratch, shim: &Path, plan: &Plan, until: u64, end: &str) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["power::the_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, scratch.data())
        .env(UNTIL, until.to_string())
        .env(END, end)
        .env("LD_PRELOAD", shim)
        .env("DISK_DIRECTORY", scratch.data())
        .env("DISK_LOG", scratch.path().join("log"))
        .env("DISK_SYNCS", &plan.syncs)
        .env("DISK_WRITES", &plan.writes)
        .env("DISK_READS", &plan.reads)
        .env("DISK_ERROR", if plan.is_full { "28" } else { "5" })
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{plan:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
}

/// A file: what can be read of it, and what is on the disk.
#[derive(Default, Clone)]
struct File {
    memory: Vec<u8>,
    disk: Vec<u8>,
    /// Pages that the next fsync writes.
    dirty: BTreeSet<usize>,
}

impl File {
    fn write(&mut self, place: usize, bytes: &[u8]) {
        let end = place + bytes.len();
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        self.memory[place..end].copy_from_slice(bytes);
        self.dirty.extend(place / PAGE..end.div_ceil(PAGE));
    }

    /// Has the disk hold these pages.
    fn flush(&mut self, pages: impl Iterator<Item = usize>) {
        self.disk.resize(self.memory.len(), 0);
        for page in pages {
            let place = page * PAGE;
            let end = (place + PAGE).min(self.memory.len());
            if place < end {
                self.disk[place..end].copy_from_slice(&self.memory[place..end]);
            }
        }
    }
}

/// A disk, as it is reckoned from what was written down.
#[derive(Default)]
struct Disk {
    files: BTreeMap<u64, File>,
    directory: u64,
    names: BTreeMap<String, u64>,
    names_on_disk: BTreeMap<String, u64>,
    confirmed: u64,
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

impl Disk {
    /// What a power failure leaves: what is surely on the disk; or of the rest something, too.
    fn image(&self, to: &Path, random: Option<&mut Random>) {
        let _ = fs::remove_dir_all(to);
        fs::create_dir(to).expect("a new directory");
        let (mut names, mut flushed) = (&self.names_on_disk, BTreeMap::new());
        if let Some(random) = random {
            for (number, file) in &self.files {
                let mut file = file.clone();
                let pages = file.dirty.clone();
                if !pages.is_empty() {
                    file.flush(pages.into_iter().filter(|_| random.below(2) == 0));
                }
                flushed.insert(*number, file.disk);
            }
            if random.below(2) == 0 {
                names = &self.names;
            }
        }
        for (name, number) in names {
            let file = self.files.get(number).map_or(&[][..], |file| &file.disk);
            let file = flushed.get(number).map_or(file, |flushed| flushed);
            fs::write(to.join(name), file).expect("written");
        }
    }

    /// Does what the next record says. Which kind it was.
    fn step(&mut self, log: &mut &[u8]) -> Option<u8> {
        let mut part = |length: usize| {
            let (part, rest) = log.split_at_checked(length)?;
            *log = rest;
            Some(part)
        };
        let kind = part(1)?[0];
        let mut number = || Some(u64::from_le_bytes(part(8)?.try_into().expect("eight bytes")));
        let (file, place, count) = (number()?, number()?, number()?);
        let bytes = part(count as usize)?;
        let known = self.files.entry(file).or_default();
        match kind {
            b'W' => known.write(place as usize, bytes),
            b'T' => {
                known.memory.resize(place as usize, 0);
                known.dirty.insert(place as usize / PAGE);
            }
            b'S' if file == self.directory => self.names_on_disk = self.names.clone(),
            b'S' => {
                let pages = std::mem::take(&mut known.dirty);
                known.flush(pages.into_iter());
            }
            b'F' => known.dirty.clear(),
            b'N' => {
                self.directory = file;
                self.names.clear();
                let mut rest = bytes;
                while let Some((number, after)) = rest.split_at_checked(8) {
                    let end = after.iter().position(|byte| *byte == 0).expect("an end");
                    let name = String::from_utf8_lossy(&after[..end]).into_owned();
                    let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
                    self.names.insert(name, number);
                    rest = &after[end + 1..];
                }
            }
            b'M' => {
                self.confirmed = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            }
            other => panic!("a record of kind {other}"),
        }
        Some(kind)
    }
}

/// Cuts the power at every fsync, and with something of the rest on the disk at many a write; looks at
/// what is left each time. How many of these disks there were.
fn cut_everywhere(log: &[u8], seed: u64) -> usize {
    let scratch = Scratch::new();
    let mut random = Random(seed);
    let (mut disk, mut rest, mut cuts) = (Disk::default(), log, 0);
    let mut look = |disk: &Disk, random: Option<&mut Random>| {
        cuts += 1;
        disk.image(&scratch.data(), random);
        let store = Store::open(&scratch.data());
        let store = store.unwrap_or_else(|why| panic!("{} were confirmed: {why}", disk.confirmed));
        let stored = store.load("s", super::scratch::ALL).expect("loads");
        let seq = stored.map_or(0, |stored| stored.seq);
        assert!(seq >= disk.confirmed, "{seq} of {} confirmed changes", disk.confirmed);
        if seq > 0 {
            expect_changes(&store, "s", seq);
        }
    };
    while !rest.is_empty() {
        match rest[0] {
            b'S' | b'F' => look(&disk, None),
            b'W' | b'T' if random.below(8) == 0 => look(&disk, Some(&mut random)),
            _ => {}
        }
        disk.step(&mut rest).expect("a whole record");
    }
    look(&disk, None);
    cuts
}

/// The files as a process leaves them that is killed: all that was written is there.
fn image_in_memory(disk: &Disk, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("a new directory");
    for (name, number) in &disk.names {
        let file = disk.files.get(number).map_or(&[][..], |file| &file.memory);
        fs::write(to.join(name), file).expect("written");
    }
}

#[test]
fn a_first_start_that_was_killed_anywhere_is_no_hindrance() {
    let (tools, scratch, killed) = (Scratch::new(), Scratch::new(), Scratch::new());
    let Some(shim) = shim(&tools) else { return };
    fs::create_dir(scratch.data()).expect("a directory");
    run(&scratch, &shim, &Plan::default(), 3);
    let log = fs::read(scratch.path().join("log")).expect("a log");
    let (mut disk, mut rest, mut moments) = (Disk::default(), &*log, 0);
    while let Some(kind) = disk.step(&mut rest) {
        if !b"WTN".contains(&kind) {
            continue;
        }
        moments += 1;
        image_in_memory(&disk, &killed.data());
        let mut store = Store::open(&killed.data()).expect("starts");
        let stored = store.load("s", super::scratch::ALL).expect("loads");
        let seq = stored.map_or(0, |stored| stored.seq);
        assert!(seq >= disk.confirmed);
        super::scratch::commit(&mut store, &[change("s", "e", seq + 1)]);
        drop(store);
        expect_changes(&killed.open(), "s", seq + 1);
        let names = fs::read_dir(killed.data())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let names: Vec<String> = names.filter(|name| name.contains(".new")).collect();
        assert!(names.is_empty(), "{names:?}");
    }
    println!("{moments} moments");
    assert!(moments > 30, "{moments}");
}

fn more() -> usize {
    std::env::var("POWER").ok().and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Lives of one process after the other on a disk that fails as planned.
fn try_plans(what: &str, plans: impl Iterator<Item = Vec<Plan>>) {
    let tools = Scratch::new();
    let Some(shim) = shim(&tools) else { return };
    let (mut lives, mut cuts) = (0, 0);
    for (seed, plan) in plans.enumerate() {
        eprintln!("{plan:?}");
        let scratch = Scratch::new();
        fs::create_dir(scratch.data()).expect("a directory");
        for (life, plan) in plan.iter().enumerate() {
            run(&scratch, &shim, plan, 24 * (life as u64 + 1));
            lives += 1;
        }
        let log = fs::read(scratch.path().join("log")).expect("a log");
        cuts += cut_everywhere(&log, seed as u64);
    }
    println!("{what}: {lives} lives, {cuts} disks");
    assert!(cuts > lives * 24);
}

fn syncs(from: usize, count: usize) -> Plan {
    Plan { syncs: format!("{from}-{}", from + count - 1), ..Plan::default() }
}

#[test]
fn a_power_failure_on_a_disk_that_works() {
    try_plans("well", std::iter::once(vec![Plan::default(), Plan::default()]));
}

#[test]
fn a_power_failure_after_fsyncs_failed() {
    let plans = (0..6 * more()).map(|n| vec![syncs(8 + n * 5 / more(), 1 + n % 5)]);
    try_plans("fsync", plans);
}

#[test]
fn a_power_failure_after_fsyncs_failed_on_a_full_disk() {
    let both = (0..2 * more()).map(|n| {
        vec![Plan { is_full: true, writes: "60-90".into(), ..syncs(12 + n * 9 / more(), 3) }]
    });
    // And writes alone, among them those that move the journal into the database.
    let writes = (0..16 * more()).map(|n| {
        let from = 60 + n * 5 / more();
        vec![Plan { is_full: true, writes: format!("{from}-{from}"), ..Plan::default() }]
    });
    try_plans("full", both.chain(writes));
}

#[test]
fn a_power_failure_after_writes_failed() {
    let plans = (0..3 * more()).map(|n| {
        let from = 60 + n * 41 / more();
        vec![Plan { writes: format!("{from}-{}", from + n % 3 * 4), ..Plan::default() }]
    });
    try_plans("write", plans);
}

/// A disk that can't be read for a while: what heals by itself is tried again, and nothing is called
/// damaged for good.
#[test]
fn a_power_failure_after_reads_failed() {
    let plans = (0..4 * more()).map(|n| {
        let reads = format!("{}-{}", 3 + n * 7 / more(), 60 + n * 20);
        let failed = syncs(14 + n * 4, 2);
        vec![Plan { reads: reads.clone(), ..failed }, Plan { reads, ..Plan::default() }]
    });
    try_plans("read", plans);
}

/// A read that fails once makes no file damaged, and nobody is told to put another in its place.
#[test]
fn a_start_at_which_something_can_not_be_read() {
    let (tools, scratch, tried) = (Scratch::new(), Scratch::new(), Scratch::new());
    let Some(shim) = shim(&tools) else { return };
    fs::create_dir(scratch.data()).expect("a directory");
    run(&scratch, &shim, &Plan::default(), 60);
    let (mut started, mut refused) = (0, 0);
    for first in (1..=60 * more()).step_by(2) {
        super::scratch::copy(&scratch.data(), &tried.data());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .env("LD_PRELOAD", &shim)
            .env("DISK_DIRECTORY", tried.data())
            .env("DISK_LOG", tried.path().join("log"))
            .env("DISK_READS", format!("{first}-{}", first + first % 3));
        let line = opened_by(command, &tried.data());
        match line == "no" {
            true => started += 1,
            false => refused += 1,
        }
        assert!(!line.contains("damaged") && !line.contains("backup"), "read {first}: {line}");
        expect_changes(&tried.open(), "s", 60);
    }
    println!("{started} started, {refused} were refused");
    assert!(started > 0 && refused > 0);
}

/// The next process reads what the failed fsyncs of the last one have left in memory.
#[test]
fn a_power_failure_after_a_process_was_killed_whose_fsyncs_failed() {
    let tools = Scratch::new();
    let Some(shim) = shim(&tools) else { return };
    for n in 0..3 * more() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.data()).expect("a directory");
        // Which fsyncs come last is known when it has run once.
        let plan = Plan { syncs: format!("{}-1000", 24 + 3 * n), ..Plan::default() };
        run_until(&scratch, &shim, &plan, 24, "fails");
        run(&scratch, &shim, &syncs(1 + n, n % 3), 48);
        let log = fs::read(scratch.path().join("log")).expect("a log");
        assert!(cut_everywhere(&log, n as u64) > 24);
    }
}
