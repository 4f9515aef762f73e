//! A process that is killed at any moment: everything it confirmed is there, in order, and what is
//! there is a prefix of what it did.
//!
//! `KILLS=200` kills more often.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use collabd::journal::{Journal as _, SnapshotReason};
use collabd::store::{PointInTime, Reader, Store};

use super::scratch::{ALL, Scratch, at, change, document, message, whole};
use super::waiting::{Running, settings};

/// The data directory, for the process that is to be killed.
const DIRECTORY: &str = "COLLABD_STORE_TO_KILL";
const SESSIONS: [&str; 3] = ["a", "b", "c"];
/// A whole document comes every so many changes.
const REGULAR: u64 = 70;

/// Not a test by itself: what is run in the process that is killed. Goes on where the last one was
/// killed, says what was confirmed, and doesn't end.
#[test]
fn the_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Store::open(Path::new(&directory)).expect("a store");
    let mut settings = settings();
    settings.gather = Duration::from_millis(1);
    settings.retention.versions = 3;
    settings.retention.history = 100;
    settings.reach.changes = 100;
    let mut seqs = SESSIONS
        .map(|session| store.load(session, ALL).expect("loads").map_or(0, |stored| stored.seq));
    let running = Running::with(store, settings);
    for round in 0_u64.. {
        let place = place(round);
        let session = SESSIONS[place];
        seqs[place] += 1;
        let seq = seqs[place];
        running.keeper.keep(change(session, "e", seq));
        if seq.is_multiple_of(REGULAR) {
            running.keeper.keep(whole(session, "e", seq, SnapshotReason::Regular));
        }
        if round % 2 == 0 {
            running.after(move || {
                let line = format!("\nkept {session} {seq}\n");
                std::io::stdout().write_all(line.as_bytes()).expect("somebody listens");
            });
        }
        if round % 500 == 499 {
            // So that it isn't all in one go.
            std::thread::sleep(Duration::from_millis(2));
        }
        running.keeper.wait_for_room(None);
    }
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["kills::the_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Runs the process until `is_enough` of what it confirmed, kills it, and returns all it confirmed.
fn run_and_kill(directory: &Path, lines: u64, longest: Duration) -> BTreeMap<String, u64> {
    let mut child = start(directory);
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, enough) = channel();
    let reader = std::thread::spawn(move || {
        let mut confirmed: BTreeMap<String, u64> = BTreeMap::new();
        let mut count = 0;
        for line in stdout.lines() {
            let line = line.expect("text");
            let Some(line) = line.strip_prefix("kept ") else { continue };
            let (session, seq) = line.split_once(' ').expect("two words");
            let seq = seq.parse().expect("a number");
            let before = confirmed.insert(session.to_owned(), seq);
            assert!(before.is_none_or(|before| before < seq), "confirmed in order");
            count += 1;
            if count == lines {
                let _ = sender.send(());
            }
        }
        confirmed
    });
    let _ = enough.recv_timeout(longest);
    child.kill().expect("killed");
    let status = child.wait().expect("ended");
    assert!(!status.success(), "it ended by itself: {status}");
    reader.join().expect("read")
}

/// What was done in so many rounds, session by session.
fn done_in(rounds: u64) -> [u64; 3] {
    let mut done = [0; 3];
    (0..rounds).for_each(|round| done[place(round)] += 1);
    done
}

fn place(round: u64) -> usize {
    (round % 7 % 3) as usize
}

/// Expects everything that was confirmed, and, beyond what was there `before`, what was done first:
/// nothing that was done later is there without it.
fn check(directory: &Path, before: [u64; 3], confirmed: &BTreeMap<String, u64>) -> [u64; 3] {
    let store = Store::open(directory).expect("a store");
    let reader = Reader::open(directory).expect("a reader");
    let mut seqs = [0; 3];
    for (seq, session) in seqs.iter_mut().zip(SESSIONS) {
        let expected = confirmed.get(session).copied().unwrap_or(0);
        let Some(stored) = store.load(session, ALL).expect("loads") else {
            assert_eq!(expected, 0, "{session} is gone");
            continue;
        };
        assert!(stored.seq >= expected, "{session}: {} of {expected}", stored.seq);
        *seq = stored.seq;
        assert!(stored.seq - stored.seq_of_document <= REGULAR);
        if stored.seq_of_document > 0 {
            assert_eq!(stored.document, document(session, stored.seq_of_document));
        }
        for change in stored.history.iter().chain(&stored.changes) {
            assert_eq!(change.frame, message(session, change.seq).into_bytes());
            assert_eq!(change.at, at(change.seq));
        }
        for version in reader.versions(session).expect("are read").expect("is stored") {
            let state =
                reader.document_at(session, PointInTime::Seq(version.seq)).expect("is read");
            assert_eq!(state.expect("is there").document, document(session, version.seq));
        }
    }
    let new = seqs.iter().sum::<u64>() - before.iter().sum::<u64>();
    let expected = done_in(new);
    for place in 0..3 {
        assert_eq!(seqs[place] - before[place], expected[place], "a prefix of {new} changes");
    }
    seqs
}

#[test]
fn everything_that_was_confirmed_survives_a_kill() {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let scratch = Scratch::on_disk();
    let mut confirmed = BTreeMap::new();
    let mut random = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .unwrap_or_else(|_| random = (Instant::now().elapsed().as_nanos() as u64).to_le_bytes());
    let mut random = u64::from_le_bytes(random);
    println!("seed {random}");
    let mut seqs = [0; 3];
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // After so many confirmations; or at some moment, which may be while it starts.
        let (lines, longest) = match kill % 4 {
            3 => (u64::MAX, Duration::from_micros((random >> 33) % 40_000)),
            _ => ((random >> 33) % 400 + 1, Duration::from_secs(20)),
        };
        confirmed.extend(run_and_kill(&scratch.data(), lines, longest));
        seqs = check(&scratch.data(), seqs, &confirmed);
    }
    println!("{kills} kills, changes {seqs:?}, confirmed {confirmed:?}");
    assert_eq!(confirmed.len(), 3);
}

#[test]
fn a_first_start_that_is_killed_is_no_hindrance() {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let mut seqs = 0;
    for kill in 0..kills {
        let scratch = Scratch::on_disk();
        // From its very first moment to when it confirms.
        let longest = Duration::from_micros(kill * 60_000 / kills);
        let confirmed = run_and_kill(&scratch.data(), u64::MAX, longest);
        seqs += check(&scratch.data(), [0; 3], &confirmed).iter().sum::<u64>();
    }
    println!("{kills} kills, {seqs} changes");
}
