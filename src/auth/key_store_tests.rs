//! The tests of `key_store.rs`.

use std::fs;

use super::*;
use crate::auth::key_entries::to_hex;
use crate::auth::test_folder::Scratch;

/// Writes a key file with one key for each entry: the key is its name, and the rest are more of
/// its fields.
fn text(keys: &[(&str, &str)]) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|(name, fields)| {
            let hash = to_hex(KeyHash::new(name).as_bytes());
            format!("{{\"name\":\"{name}\",\"sha256\":\"{hash}\",\"level\":{fields}}}")
        })
        .collect();
    format!("{{\"keys\":[{}]}}", keys.join(","))
}

/// Replaces the file as a deploying tool does: as a whole, and readable by its owner only.
fn put(file: &Path, text: impl AsRef<[u8]>) {
    let new = file.with_extension("put");
    let _ = fs::remove_file(&new);
    let mut open = crate::files::writing().create_new(true).open(&new).expect("open");
    std::io::Write::write_all(&mut open, text.as_ref()).expect("written");
    drop(open);
    fs::rename(new, file).expect("replaced");
}

fn opened(scratch: &Scratch, keys: &[(&str, &str)]) -> KeyStore {
    put(&scratch.file(), text(keys));
    KeyStore::open(Some(scratch.file()), false).expect("a key file")
}

/// Reloads, and returns the keys and the log lines.
fn read_again(keys: &KeyStore) -> (Vec<String>, Option<u64>) {
    let mut lines = Vec::new();
    let newer = keys.read_again(&mut lines);
    for (_, line) in &lines {
        assert!(!line.contains("SECRET") && !line.contains('\n'), "{line}");
    }
    (lines.into_iter().map(|(_, line)| line).collect(), newer.map(|set| set.generation))
}

fn level(keys: &KeyStore, key: &str) -> Result<Level, KeyRefusal> {
    keys.check(Some(key), Timestamp::now()).map(|grant| grant.key.level)
}

#[test]
fn a_right_key_is_granted_what_it_opens_and_any_other_is_refused() {
    let scratch = Scratch::new();
    let keys =
        opened(&scratch, &[("alice", "\"read\",\"sessions\":[\"a\"]"), ("bob", "\"admin\"")]);
    let grant = keys.check(Some("alice"), Timestamp::now()).expect("a right key");
    assert_eq!((&*grant.key.name, grant.key.level, grant.generation), ("alice", Level::Read, 1));
    assert!(grant.key.opens("a") && !grant.key.opens("b"));
    assert_eq!(level(&keys, "bob"), Ok(Level::Admin));
    for wrong in ["", "Alice", "alice ", "development", "valid-test-key"] {
        assert_eq!(level(&keys, wrong), Err(KeyRefusal::Invalid), "{wrong:?}");
    }
    assert_eq!(keys.check(None, Timestamp::now()).err(), Some(KeyRefusal::Invalid));
    let hash = to_hex(KeyHash::new("alice").as_bytes());
    assert_eq!(level(&keys, &hash), Err(KeyRefusal::Invalid));
}

#[test]
fn the_hash_of_nothing_opens_nothing() {
    let scratch = Scratch::new();
    let keys = opened(&scratch, &[]);
    let hash = to_hex(KeyHash::new("").as_bytes());
    put(
        &scratch.file(),
        format!("{{\"keys\":[{{\"name\":\"a\",\"sha256\":\"{hash}\",\"level\":\"admin\"}}]}}"),
    );
    assert_eq!(keys.reload(false).map(|set| set.keys.len()), Some(1));
    assert_eq!(level(&keys, ""), Err(KeyRefusal::Invalid));
}

#[test]
fn from_its_last_moment_on_a_key_is_expired() {
    let scratch = Scratch::new();
    let keys = opened(&scratch, &[("alice", "\"read\",\"expires\":\"2026-12-20T00:00:00.000Z\"")]);
    let end = Timestamp::parse("2026-12-20T00:00:00Z").expect("a moment").millis();
    let at = |millis| keys.check(Some("alice"), Timestamp::from_millis(millis)).map(|_| ());
    assert_eq!(at(end - 1), Ok(()));
    assert_eq!(at(end), Err(KeyRefusal::Expired));
    assert_eq!(at(end + 1), Err(KeyRefusal::Expired));
}

#[test]
fn a_field_that_says_nothing_is_told_once_until_it_is_another() {
    let scratch = Scratch::new();
    put(&scratch.file(), text(&[("alice", "\"read\",\"session\":[\"a\"]")]));
    let (keys, lines) = KeyStore::begin(Some(scratch.file()), false).expect("a key file");
    assert_eq!((lines.len(), lines[0].0), (2, Warn), "{lines:?}");
    assert!(lines[0].1.contains("\"session\"") && !lines[0].1.contains("[\"a\"]"), "{lines:?}");
    assert_eq!(read_again(&keys), (vec![], None));
    put(&scratch.file(), text(&[("alice", "\"write\",\"session\":[\"b\"]")]));
    assert_eq!(read_again(&keys).0.len(), 1, "the keys alone");
    put(&scratch.file(), text(&[("alice", "\"write\",\"expire\":\"2026\"")]));
    assert!(read_again(&keys).0.concat().contains("\"expire\""));
    put(&scratch.file(), text(&[("alice", "\"write\"")]));
    assert_eq!(read_again(&keys), (vec![], None));
}

#[test]
fn a_replaced_file_is_the_next_generation_and_the_same_keys_are_not() {
    let scratch = Scratch::new();
    let keys = opened(&scratch, &[("alice", "\"read\""), ("bob", "\"read\"")]);
    let old = keys.current();
    assert_eq!(read_again(&keys), (vec![], None));
    put(&scratch.file(), text(&[("alice", "\"write\""), ("carol", "\"read\"")]));
    let (lines, generation) = read_again(&keys);
    assert_eq!((lines.len(), generation), (1, Some(2)));
    assert_eq!(level(&keys, "alice"), Ok(Level::Write));
    assert_eq!(level(&keys, "bob"), Err(KeyRefusal::Invalid));
    assert_eq!(keys.check(Some("carol"), Timestamp::now()).expect("a key").generation, 2);
    assert_eq!((old.generation, old.keys.len()), (1, 2), "who has it keeps it");
    put(&scratch.file(), text(&[("alice", "\"write\""), ("carol", "\"read\"")]) + "\n \n");
    assert_eq!(read_again(&keys), (vec![], None));
    // Written in place, with the same size and perhaps the same modification time.
    fs::write(scratch.file(), text(&[("alice", "\"admin\""), ("carol", "\"read\"")]))
        .expect("written");
    assert_eq!(read_again(&keys).1, Some(3));
    assert_eq!(level(&keys, "alice"), Ok(Level::Admin));
}

#[test]
fn whatever_becomes_of_the_file_the_old_keys_stay_and_each_state_is_told_once() {
    let scratch = Scratch::new();
    let file = scratch.file();
    let keys = opened(&scratch, &[("alice", "\"read\"")]);
    let whole = text(&[("alice", "\"read\""), ("bob", "\"read\"")]);
    let told_once = |told: &str| {
        let (lines, newer) = read_again(&keys);
        assert_eq!((lines.len(), newer), (1, None), "{lines:?}");
        assert!(lines[0].contains(told) && lines[0].contains("stay in force"), "{lines:?}");
        for _ in 0..3 {
            assert_eq!(read_again(&keys), (vec![], None), "{told}");
            assert_eq!(level(&keys, "alice"), Ok(Level::Read), "{told}");
            assert_eq!(level(&keys, "bob"), Err(KeyRefusal::Invalid), "{told}");
        }
    };
    put(&file, "{\"keys\": [\"SECRET\"]}");
    told_once("key 1 has to be an object");
    put(&file, &whole[..whole.len() / 2]);
    told_once("not JSON");
    put(&file, "");
    told_once("empty");
    fs::remove_file(&file).expect("removed");
    told_once("there is no key file");
    fs::create_dir(&file).expect("a directory");
    told_once("no regular file");
    fs::remove_dir(&file).expect("removed");
    put(&file, vec![b' '; key_file::MAX_KEY_FILE_BYTES + 1]);
    told_once("1 MiB");
    // The keys are those in force: the log says that the file can be used again, and there is
    // no new set.
    put(&file, text(&[("alice", "\"read\"")]));
    let (lines, newer) = read_again(&keys);
    assert_eq!((lines.len(), newer), (1, None));
    assert!(lines[0].contains("can be used again"), "{lines:?}");
    assert_eq!(read_again(&keys), (vec![], None));
    fs::remove_file(&file).expect("removed");
    told_once("there is no key file");
    put(&file, &whole);
    let (lines, newer) = read_again(&keys);
    assert_eq!((lines.len(), newer), (2, Some(2)));
    assert!(lines[0].contains("can be used again") && lines[1].contains("2 keys"), "{lines:?}");
    assert_eq!(level(&keys, "bob"), Ok(Level::Read));
}

#[test]
fn an_empty_list_is_taken_with_a_warning_at_the_start_and_later() {
    let scratch = Scratch::new();
    put(&scratch.file(), text(&[]));
    let (keys, lines) = KeyStore::begin(Some(scratch.file()), false).expect("a key file");
    assert_eq!((lines.len(), lines[0].0), (1, Warn));
    assert!(lines[0].1.contains("no keys"));
    put(&scratch.file(), text(&[("alice", "\"read\"")]));
    assert_eq!(read_again(&keys).1, Some(2));
    put(&scratch.file(), text(&[]));
    let (lines, newer) = read_again(&keys);
    assert_eq!((lines.len(), newer), (1, Some(3)));
    assert!(lines[0].contains("no keys"), "{lines:?}");
    assert_eq!(level(&keys, "alice"), Err(KeyRefusal::Invalid));
}

#[test]
fn at_the_start_a_file_has_to_be_there_and_whole() {
    let scratch = Scratch::new();
    let line = KeyStore::open(Some(scratch.file()), true).expect_err("there is none");
    assert!(line.contains("collabd key new --name NAME --level write --file "), "{line}");
    put(&scratch.file(), "{\"keys\": [SECRET");
    let line = KeyStore::open(Some(scratch.file()), true).expect_err("it is broken");
    assert!(line.contains("line 1") && !line.contains("SECRET") && !line.contains('\n'), "{line}");
    assert!(KeyStore::open(Some(scratch.path().into()), false).is_err());
}

#[test]
fn development_keys_are_there_in_every_generation_where_asked_for() {
    let scratch = Scratch::new();
    // This holds even where the file has one of them with a lower level.
    put(&scratch.file(), text(&[("development", "\"read\"")]));
    let (keys, lines) = KeyStore::begin(Some(scratch.file()), true).expect("a key file");
    assert!(lines.iter().any(|(level, line)| *level == Warn && line.contains("development")));
    for generation in 1..3 {
        for key in DEV_KEYS {
            let grant = keys.check(Some(key), Timestamp::now()).expect("a development key");
            assert_eq!((grant.key.level, grant.generation), (Level::Write, generation));
            assert!(grant.key.opens("anything"));
        }
        put(&scratch.file(), text(&[("alice", "\"read\"")]));
        keys.reload(false);
    }
    let (keys, lines) = KeyStore::begin(None, true).expect("no file");
    assert_eq!((level(&keys, "development"), lines.len()), (Ok(Level::Write), 1));
    assert!(keys.reload(false).is_none());
    let (keys, lines) = KeyStore::begin(None, false).expect("no file");
    assert_eq!((level(&keys, "development"), lines), (Err(KeyRefusal::Invalid), vec![]));
}

#[cfg(unix)]
#[test]
fn a_mode_that_lets_others_in_is_told_once() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let file = scratch.file();
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
    put(&file, text(&[("alice", "\"read\"")]));
    mode(0o644);
    let (keys, lines) = KeyStore::begin(Some(file.clone()), false).expect("a key file");
    assert!(lines.iter().any(|(level, line)| *level == Warn && line.contains("0644")), "{lines:?}");
    assert_eq!(read_again(&keys), (vec![], None));
    mode(0o600);
    assert_eq!(read_again(&keys), (vec![], None));
    mode(0o660);
    let (lines, newer) = read_again(&keys);
    assert_eq!((lines.len(), newer), (1, None));
    assert!(lines[0].contains("0660") && lines[0].contains("chmod 600"), "{lines:?}");
    assert_eq!(read_again(&keys), (vec![], None));
}

#[test]
fn many_threads_ask_while_it_changes() {
    let scratch = Scratch::new();
    let keys = opened(&scratch, &[("alice", "\"read\"")]);
    let keys = &keys;
    std::thread::scope(|scope| {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..4 {
            let stopped = stopped.clone();
            scope.spawn(move || {
                let mut last = 0;
                while stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
                    let grant = keys.check(Some("alice"), Timestamp::now()).expect("a key");
                    assert!(grant.generation >= last);
                    last = grant.generation;
                }
            });
        }
        for n in 0..50 {
            put(&scratch.file(), text(&[("alice", "\"read\""), (&format!("n{n}"), "\"read\"")]));
            assert_eq!(keys.reload(false).map(|set| set.generation), Some(n + 2));
        }
        drop(stop);
    });
}
