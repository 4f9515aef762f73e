//! A directory for one test, and what is put into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use collabd::journal::{HistoryWindow, JournalEntry, SnapshotReason};
use collabd::protocol::{Frame, Timestamp, UserId};
use collabd::store::Store;

/// Everything there is.
pub const ALL: HistoryWindow = HistoryWindow { changes: usize::MAX, bytes: usize::MAX };

/// Gone when the test ends.
pub struct Scratch(PathBuf);

impl Scratch {
    /// In memory where the system has such a place: for what would only wait for the disk.
    pub fn new() -> Self {
        Self::under(Path::new("/dev/shm")).unwrap_or_else(Self::on_disk)
    }

    pub fn on_disk() -> Self {
        Self::under(&std::env::temp_dir()).expect("a new directory")
    }

    fn under(place: &Path) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("collabd-store-{}-{number}", std::process::id());
        let directory = place.join(name);
        fs::create_dir(&directory).ok()?;
        Some(Scratch(directory))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A data directory in it, not made yet.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// A file of that data directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    pub fn open(&self) -> Store {
        Store::open(&self.data()).expect("a store")
    }

    /// Why it isn't opened.
    pub fn refused(&self) -> String {
        match Store::open(&self.data()) {
            Ok(_) => panic!("the store was opened"),
            Err(line) => {
                assert!(!line.contains('\n'), "one line: {line}");
                // Nothing that could lose what is there, or let two in.
                assert!(!line.contains("remove "), "{line}");
                line
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies the files of a data directory, as they are at this moment.
pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        // SQLite makes the shared memory anew.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

/// The moment of a change.
pub fn at(seq: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seq * 10)
}

/// Who makes a change.
pub fn user(seq: u64) -> UserId {
    ["alice", "bob", "Jürgen 🦀"][seq as usize % 3].into()
}

/// What a change says: it can be told from its session and its number.
pub fn message(session: &str, seq: u64) -> String {
    let filler = "0123456789abcdef".repeat(seq as usize % 40);
    format!(
        r#"{{"type":"command","command":{{"action":"move_item","item_id":"{session}","data":{{"x_mm":{seq}.25,"note":"ü{filler}"}}}},"seq":{seq}}}"#
    )
}

/// A whole document as of a change.
pub fn document(session: &str, seq: u64) -> Vec<u8> {
    let filler = "x".repeat(seq as usize * 37 % 9000);
    format!(r#"{{"items":[],"session":"{session}","as of":{seq},"filler":"{filler}"}}"#)
        .into_bytes()
}

pub fn change(session: &str, epoch: &str, seq: u64) -> JournalEntry {
    JournalEntry::Change {
        session: session.into(),
        epoch: epoch.into(),
        seq,
        at: at(seq),
        user: user(seq),
        frame: Frame::text(&message(session, seq)),
        id: seq.is_multiple_of(3).then(|| format!("\"{seq}\"").into()),
    }
}

pub fn whole(session: &str, epoch: &str, seq: u64, why: SnapshotReason) -> JournalEntry {
    JournalEntry::Snapshot {
        session: session.into(),
        epoch: epoch.into(),
        seq,
        at: at(seq),
        user: None,
        document: document(session, seq),
        frames: Vec::new(),
        id: None,
        why,
    }
}

pub fn taken(session: &str, epoch: &str, seq: u64, id: &str) -> JournalEntry {
    let (session, epoch): (Arc<str>, Arc<str>) = (session.into(), epoch.into());
    JournalEntry::ProcessedId { session, epoch, seq, user: user(seq), id: id.into() }
}

/// The changes from one to another, both included.
pub fn changes(session: &str, from: u64, to: u64) -> Vec<JournalEntry> {
    (from..=to).map(|seq| change(session, "e", seq)).collect()
}

/// Gives a store some changes, and expects that it took them.
pub fn commit(store: &mut Store, keeps: &[JournalEntry]) {
    let lacking = store.commit(keeps).expect("committed");
    assert_eq!(lacking, Vec::<Arc<str>>::new());
}

/// Expects that a session's changes are there from the first to `seq`, each as it was written.
pub fn expect_changes(store: &Store, session: &str, seq: u64) {
    let stored = store.load(session, ALL).expect("loads").expect("is stored");
    assert_eq!(stored.seq, seq);
    let all: Vec<_> = stored.history.iter().chain(&stored.changes).collect();
    assert_eq!(all.len() as u64, seq);
    for (expected, change) in (1..).zip(all) {
        assert_eq!(change.seq, expected);
        assert_eq!(change.at, at(expected));
        assert_eq!(change.user, user(expected));
        assert_eq!(change.frame, message(session, expected).into_bytes());
    }
}
