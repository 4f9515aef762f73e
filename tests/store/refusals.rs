//! What a store doesn't begin with: each is refused with one line that says what to do, and left as
//! it is. It never starts empty where something was.

use std::fs;
use std::path::Path;

use collabd::journal::SnapshotReason;
use collabd::store::{Reader, Store};
use rusqlite::Connection;

use super::scratch::{ALL, Scratch, change, changes, commit, copy, expect_changes, whole};

fn expect(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{line:?} has no {part:?}");
    }
}

/// A store with ten changes, closed properly.
fn filled() -> Scratch {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 10));
    store.close().expect("closed");
    scratch
}

/// The same as a crash leaves it.
fn crashed() -> Scratch {
    let (scratch, from) = (Scratch::new(), Scratch::new());
    from.open().close().expect("closed");
    let mut store = from.open();
    for seq in 1..=10 {
        commit(&mut store, &[change("s", "e", seq)]);
    }
    copy(&from.data(), &scratch.data());
    scratch
}

#[test]
fn a_second_server_on_the_directory() {
    let scratch = filled();
    let store = scratch.open();
    expect(&scratch.refused(), &["another collabd uses", "data", "--data-dir"]);
    expect_changes(&store, "s", 10);
    drop(store);
    expect_changes(&scratch.open(), "s", 10);
}

#[test]
fn what_is_no_database() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.data()).expect("a directory");
    for text in ["a text of mine", &"x".repeat(100_000)] {
        fs::write(scratch.file("collabd.db"), text).expect("written");
        expect(&scratch.refused(), &["collabd.db is damaged", "backup", "--data-dir"]);
        assert_eq!(fs::read_to_string(scratch.file("collabd.db")).expect("a file"), text);
    }
    fs::remove_file(scratch.file("collabd.db")).expect("removed");
    fs::create_dir(scratch.file("collabd.db")).expect("a directory");
    scratch.refused();
}

#[test]
fn another_programs_database() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.data()).expect("a directory");
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    db.execute_batch("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)").expect("filled");
    drop(db);
    let before = fs::read(scratch.file("collabd.db")).expect("a file");
    expect(&scratch.refused(), &["not collabd's", "--data-dir"]);
    assert!(Reader::open(&scratch.data()).is_err());
    assert_eq!(fs::read(scratch.file("collabd.db")).expect("a file"), before);
}

#[test]
fn a_format_that_is_yet_to_come_or_never_was() {
    let scratch = filled();
    let set = |format: i32| {
        let db = Connection::open(scratch.file("collabd.db")).expect("a database");
        db.pragma_update(None, "user_version", format).expect("set");
    };
    set(1_000_000);
    expect(&scratch.refused(), &["newer collabd", "format 1000000", "--data-dir"]);
    expect(&Reader::open(&scratch.data()).err().expect("refused"), &["newer collabd"]);
    for format in [0, -1] {
        set(format);
        expect(&scratch.refused(), &["damaged", "backup"]);
    }
    set(1);
    expect_changes(&scratch.open(), "s", 10);
}

#[test]
fn a_database_that_is_gone_or_empty() {
    for is_gone in [true, false] {
        let scratch = filled();
        let file = scratch.file("collabd.db");
        let whole = fs::read(&file).expect("a file");
        if is_gone {
            fs::remove_file(&file).expect("removed");
        } else {
            fs::write(&file, "").expect("emptied");
        }
        expect(&scratch.refused(), &["missing or empty", "back", "--data-dir"]);
        assert_eq!(file.exists(), !is_gone);
        assert!(Store::open_existing(&scratch.data()).is_err());
        fs::write(&file, whole).expect("put back");
        expect_changes(&scratch.open(), "s", 10);
    }
    // The journal alone.
    let scratch = crashed();
    fs::remove_file(scratch.file("collabd.lock")).expect("removed");
    fs::remove_file(scratch.file("collabd.db")).expect("removed");
    expect(&scratch.refused(), &["missing or empty", "collabd.db-wal"]);
}

#[test]
fn a_database_that_lacks_what_was_confirmed() {
    // Without its journal.
    let scratch = crashed();
    fs::remove_file(scratch.file("collabd.db-wal")).expect("removed");
    for _ in 0..2 {
        expect(&scratch.refused(), &["lacks 1", "confirmed", "-wal", "empty directory"]);
    }
    // As the line says.
    let alone = Scratch::new();
    fs::create_dir(alone.data()).expect("a directory");
    fs::copy(scratch.file("collabd.db"), alone.file("collabd.db")).expect("a copy");
    assert_eq!(alone.open().names().count(), 0);
    // A file with no table in it, where there was something.
    fs::remove_file(scratch.file("collabd.db")).expect("removed");
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    db.pragma_update(None, "journal_mode", "WAL").expect("set");
    drop(db);
    expect(&scratch.refused(), &["is empty, but there was a database"]);

    // An older copy.
    let (scratch, older) = (filled(), Scratch::new());
    copy(&scratch.data(), &older.data());
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 11, 20));
    store.close().expect("closed");
    fs::copy(older.file("collabd.db"), scratch.file("collabd.db")).expect("a copy");
    expect(&scratch.refused(), &["lacks", "older copy"]);
    fs::remove_file(scratch.file("collabd.lock")).expect("removed");
    expect_changes(&scratch.open(), "s", 10);
}

/// What a link leads to belongs to somebody else, and is neither read nor written.
#[cfg(unix)]
#[test]
fn a_link_or_a_directory_in_the_place_of_a_file() {
    for name in ["collabd.lock", "collabd.db", "collabd.db-wal"] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.data()).expect("a directory");
        let victim = scratch.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        std::os::unix::fs::symlink(&victim, scratch.file(name)).expect("a link");
        expect(&scratch.refused(), &[name, "a link", "--data-dir"]);
        assert_eq!(fs::read(&victim).expect("a file"), b"precious", "{name}");
        // One that leads nowhere makes nothing there.
        fs::remove_file(&victim).expect("removed");
        expect(&scratch.refused(), &[name, "a link"]);
        assert!(!victim.exists(), "{name}");
        fs::remove_file(scratch.file(name)).expect("removed");
        fs::create_dir(scratch.file(name)).expect("a directory");
        expect(&scratch.refused(), &[name, "a directory", "--data-dir"]);
        fs::remove_dir(scratch.file(name)).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(scratch.file(name)).status();
        if made.is_ok_and(|made| made.success()) {
            expect(&scratch.refused(), &[name, "no ordinary file"]);
            fs::remove_file(scratch.file(name)).expect("removed");
        }
        scratch.open();
    }
    // While the server runs the note is written to no link that has taken its place.
    let scratch = Scratch::new();
    let mut store = scratch.open();
    let victim = scratch.path().join("victim");
    fs::write(&victim, "precious").expect("written");
    fs::remove_file(scratch.file("collabd.lock")).expect("removed");
    std::os::unix::fs::symlink(&victim, scratch.file("collabd.lock")).expect("a link");
    commit(&mut store, &changes("s", 1, 3));
    assert_eq!(fs::read(&victim).expect("a file"), b"precious");
}

#[test]
fn a_start_that_was_cut_off_is_no_hindrance() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.data()).expect("a directory");
    fs::write(scratch.file("collabd.db"), "").expect("written");
    fs::write(scratch.file("collabd.lock"), "").expect("written");
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 3));
    drop(store);
    expect_changes(&scratch.open(), "s", 3);

    // Later still: a database without a table.
    let scratch = Scratch::new();
    fs::create_dir(scratch.data()).expect("a directory");
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    db.pragma_update(None, "journal_mode", "WAL").expect("set");
    db.execute_batch("CREATE TABLE t (a); DROP TABLE t").expect("made and removed");
    drop(db);
    assert!(fs::metadata(scratch.file("collabd.db")).expect("a file").len() > 0);
    assert_eq!(scratch.open().names().count(), 0);

    // And as an older version left it that was killed while it made the tables: a page, and a journal
    // that holds no whole transaction.
    let (scratch, from) = (Scratch::new(), Scratch::new());
    for directory in [&scratch, &from] {
        fs::create_dir(directory.data()).expect("a directory");
    }
    let db = Connection::open(from.file("collabd.db")).expect("a database");
    db.pragma_update(None, "journal_mode", "WAL").expect("set");
    db.execute_batch("CREATE TABLE t (a)").expect("made");
    let wal = fs::read(from.file("collabd.db-wal")).expect("a journal");
    fs::copy(from.file("collabd.db"), scratch.file("collabd.db")).expect("a copy");
    fs::write(scratch.file("collabd.db-wal"), &wal[..wal.len() - 100]).expect("written");
    fs::write(scratch.file("collabd.lock"), "").expect("written");
    let mut store = scratch.open();
    commit(&mut store, &changes("s", 1, 3));
    drop(store);
    expect_changes(&scratch.open(), "s", 3);
}

#[test]
fn a_directory_that_cannot_be_one() {
    let scratch = Scratch::new();
    fs::write(scratch.data(), "a file").expect("written");
    scratch.refused();
    let below = scratch.data().join("deeper");
    let line = Store::open(&below).err().expect("refused");
    expect(&line, &["can't make", "--data-dir", "deeper"]);
    if cfg!(target_os = "linux") {
        let line = Store::open(Path::new("/proc/collabd/data")).err().expect("refused");
        expect(&line, &["can't make", "/proc/collabd/data"]);
    }
    let line = Reader::open(&scratch.path().join("none")).err().expect("refused");
    expect(&line, &["there is no", "--data-dir"]);
    assert!(!scratch.path().join("none").exists());
    let line = Store::open_existing(&scratch.path().join("none")).err().expect("refused");
    expect(&line, &["none"]);
    assert!(!scratch.path().join("none").exists());
}

#[test]
#[cfg(unix)]
fn a_directory_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = filled();
    let may = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(scratch.data(), permissions).expect("a mode");
    };
    may(0o500);
    if fs::write(scratch.file("probe"), "").is_ok() {
        eprintln!("not tried: root may write anywhere (disks.rs tries a disk that is read-only)");
    } else {
        fs::remove_file(scratch.file("collabd.lock")).expect_err("read-only");
        expect(&scratch.refused(), &["collabd may write"]);
    }
    may(0o700);
    expect_changes(&scratch.open(), "s", 10);
}

#[test]
#[cfg(unix)]
fn everything_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    let directory = scratch.path().join("new").join("data");
    let mut store = Store::open(&directory).expect("a store");
    commit(&mut store, &changes("s", 1, 3));
    let mode = |file: &Path| fs::metadata(file).expect("a file").permissions().mode() & 0o7777;
    assert_eq!(mode(&scratch.path().join("new")), 0o700);
    assert_eq!(mode(&directory), 0o700);
    let mut names: Vec<_> = fs::read_dir(&directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
            entry.file_name()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["collabd.db", "collabd.db-shm", "collabd.db-wal", "collabd.lock"]);
    store.close().expect("closed");
    assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 2);
}

/// A database of each format that ever landed; `formats/README.md` says how one is made.
#[test]
fn every_format_that_ever_landed_is_opened() {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/formats");
    for format in 1.. {
        let fixture = formats.join(format!("{format}.db"));
        if !fixture.exists() {
            assert!(format > 1, "there are fixtures");
            break;
        }
        let scratch = Scratch::new();
        fs::create_dir(scratch.data()).expect("a directory");
        fs::copy(&fixture, scratch.file("collabd.db")).expect("a copy");
        let mut store = scratch.open();
        expect_changes(&store, "s", 12);
        let stored = store.load("s", ALL).expect("loads").expect("is stored");
        assert_eq!((stored.seq_of_document, stored.taken.len()), (8, 1));
        commit(&mut store, &changes("s", 13, 20));
        drop(store);
        expect_changes(&scratch.open(), "s", 20);
    }
}

/// Makes the fixture of the present format.
#[test]
#[ignore = "run it when a new format lands, before it changes again"]
fn make_the_fixture_of_this_format() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    let taken = super::scratch::taken("s", "e", 11, "\"t\"");
    let parts = [
        changes("s", 1, 8),
        vec![whole("s", "e", 8, SnapshotReason::Regular)],
        changes("s", 9, 12),
    ];
    commit(&mut store, &parts.concat());
    commit(&mut store, &[taken]);
    store.close().expect("closed");
    let db = Connection::open(scratch.file("collabd.db")).expect("a database");
    let format: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("one");
    drop(db);
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/formats");
    fs::copy(scratch.file("collabd.db"), formats.join(format!("{format}.db"))).expect("a copy");
}
