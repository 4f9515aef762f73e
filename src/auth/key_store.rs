//! The keys of a running server, for all threads. They are read again when the key file changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use log::Level::{Info, Warn};

use super::key_entries::KeyEntries;
use super::key_file::KeyFileError;
use super::{Grant, Key, KeyHash, KeyRefusal, KeySet, Level, key_file};
use crate::protocol::Timestamp;

/// The development keys. They open everything with level write, where the operator asks for them,
/// and are publicly known.
pub const DEV_KEYS: [&str; 2] = ["development", "valid-test-key"];

/// The keys in force. Any thread may check a key; one thread calls [`reload`](Self::reload).
pub struct KeyStore {
    file: Option<PathBuf>,
    dev_keys: bool,
    in_force: RwLock<Arc<KeySet>>,
    last: Mutex<LastLoad>,
}

/// The result of the last read of the key file.
#[derive(Default)]
struct LastLoad {
    /// The text that the keys in force were parsed from.
    text: Vec<u8>,
    /// The error of the last read. It is logged when it changes, and not each time.
    problem: Option<String>,
    /// The file's mode, where others may read or change it. Logged when it changes.
    exposed: Option<u32>,
    /// The fields without a meaning. Logged when they change.
    unknown: Option<String>,
}

/// A line to log.
type LogLine = (log::Level, String);

impl KeyStore {
    /// Reads the key file, if there is one, as generation 1. Without a file, [`DEV_KEYS`] are the
    /// only keys, where `dev_keys` is set. Logs what the operator should know, so logging has to be
    /// set up before. Blocks on the disk.
    ///
    /// # Errors
    /// One line for the operator, when the file can't be used.
    pub fn open(file: Option<PathBuf>, dev_keys: bool) -> Result<Self, String> {
        let (keys, lines) = Self::begin(file, dev_keys)?;
        log_lines(lines);
        Ok(keys)
    }

    fn begin(file: Option<PathBuf>, dev_keys: bool) -> Result<(Self, Vec<LogLine>), String> {
        let (mut lines, mut last) = (Vec::new(), LastLoad::default());
        let mut keys = Vec::new();
        if let Some(file) = &file {
            let (entries, contents) =
                key_file::load(file).map_err(|problem| problem.with_advice())?;
            last.text = contents.text;
            last.record_mode(file, contents.exposed, &mut lines);
            last.record_unknown(file, &entries, &mut lines);
            lines.push(count(file, &entries));
            keys = with_dev_keys(&entries, dev_keys);
        } else if dev_keys {
            keys = with_dev_keys(&KeyEntries::none(), true);
        }
        if dev_keys {
            let line = "the development keys open everything, and everybody knows them: only for a \
                        machine that nobody else can reach";
            lines.push((Warn, line.to_owned()));
        }
        let in_force = RwLock::new(Arc::new(KeySet { generation: 1, keys }));
        Ok((KeyStore { file, dev_keys, in_force, last: Mutex::new(last) }, lines))
    }

    /// A store of these keys without a file, as generation 1. For tests, which change the keys by
    /// [`put_in_force`](Self::put_in_force).
    #[doc(hidden)]
    pub fn from_keys(keys: Vec<Arc<Key>>) -> Self {
        let in_force = RwLock::new(Arc::new(KeySet { generation: 1, keys }));
        KeyStore { file: None, dev_keys: false, in_force, last: Mutex::default() }
    }

    /// Puts other keys in force as the next generation and returns them; `None` where they are the
    /// keys in force already.
    #[doc(hidden)]
    pub fn put_in_force(&self, keys: Vec<Arc<Key>>) -> Option<Arc<KeySet>> {
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        if keys == in_force.keys {
            return None;
        }
        *in_force = Arc::new(KeySet { generation: in_force.generation + 1, keys });
        Some(in_force.clone())
    }

    /// True where the operator has set up keys, others than [`DEV_KEYS`].
    pub fn has_own_keys(&self) -> bool {
        self.file.is_some() || (!self.dev_keys && !self.current().keys.is_empty())
    }

    /// Checks a key. The caller counts wrong keys by address: see [`Lockout`](super::Lockout).
    ///
    /// # Errors
    /// `Invalid` where the key doesn't exist or none was given, `Expired` where it has expired.
    pub fn check(&self, key: Option<&str>, now: Timestamp) -> Result<Grant, KeyRefusal> {
        // The file may by mistake contain the hash of an empty key.
        let key = key.filter(|key| !key.is_empty()).ok_or(KeyRefusal::Invalid)?;
        let set = self.current();
        let found = set.find(&KeyHash::new(key)).ok_or(KeyRefusal::Invalid)?;
        if found.has_expired(now) {
            return Err(KeyRefusal::Expired);
        }
        Ok(Grant { key: found.clone(), generation: set.generation })
    }

    /// The keys in force.
    pub fn current(&self) -> Arc<KeySet> {
        // The set is only replaced as a whole, so a panic of another thread can't have left half of
        // one.
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again and, where it has other keys than before, puts them in force and
    /// returns them. A file that is missing or broken changes no keys; this is logged once when it
    /// begins and once when it ends. With `is_asked`, because the operator asked for it, the result
    /// is logged in any case. Called by one thread, about once a second. Blocks on the disk.
    pub fn reload(&self, is_asked: bool) -> Option<Arc<KeySet>> {
        let mut lines = Vec::new();
        if is_asked {
            self.lock().problem = None;
        }
        let newer = self.read_again(&mut lines);
        if is_asked
            && self.lock().problem.is_none()
            && let Some(file) = &self.file
        {
            let changed = if newer.is_some() { "" } else { ": it has the same keys as before" };
            let line = format!("the key file {} has been read again{changed}", file.display());
            lines.insert(0, (Info, line));
        }
        log_lines(lines);
        newer
    }

    /// True where the keys come from a file.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, LastLoad> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_again(&self, lines: &mut Vec<LogLine>) -> Option<Arc<KeySet>> {
        let file = self.file.as_deref()?;
        let mut last = self.lock();
        // The whole text is compared, because a modification time may be too coarse to show a
        // second change.
        let contents = match key_file::read(file) {
            Ok(contents) => contents,
            Err(problem) => return last.record_problem(problem.to_string(), lines),
        };
        last.record_mode(file, contents.exposed, lines);
        let entries = if contents.text == last.text {
            None
        } else {
            match KeyEntries::parse(&contents.text) {
                Ok(entries) => Some(entries),
                Err(why) => {
                    let problem = KeyFileError::Unusable { file: file.to_owned(), why };
                    return last.record_problem(problem.to_string(), lines);
                }
            }
        };
        if last.problem.take().is_some() {
            lines.push((Info, format!("the key file {} can be used again", file.display())));
        }
        let entries = entries?;
        last.text = contents.text;
        last.record_unknown(file, &entries, lines);
        let newer = self.put_in_force(with_dev_keys(&entries, self.dev_keys))?;
        lines.push(count(file, &entries));
        Some(newer)
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore").field("file", &self.file).finish_non_exhaustive()
    }
}

impl LastLoad {
    fn record_problem(&mut self, problem: String, lines: &mut Vec<LogLine>) -> Option<Arc<KeySet>> {
        if self.problem.as_ref() != Some(&problem) {
            lines.push((Warn, format!("{problem}; the keys that were read before stay in force")));
            self.problem = Some(problem);
        }
        None
    }

    fn record_mode(&mut self, file: &Path, exposed: Option<u32>, lines: &mut Vec<LogLine>) {
        if let Some(mode) = exposed
            && self.exposed != exposed
        {
            lines.push((Warn, key_file::warning(file, mode)));
        }
        self.exposed = exposed;
    }

    fn record_unknown(&mut self, file: &Path, entries: &KeyEntries, lines: &mut Vec<LogLine>) {
        let unknown = entries.unknown();
        if let Some(field) = &unknown
            && self.unknown != unknown
        {
            let line = format!(
                "the key file {}: {field} says nothing here: a key may open more than was meant",
                file.display()
            );
            lines.push((Warn, line));
        }
        self.unknown = unknown;
    }
}

/// Of two keys with one hash the last one counts. The development keys come last, so they have
/// level write even where the file has them with another level.
fn with_dev_keys(entries: &KeyEntries, dev_keys: bool) -> Vec<Arc<Key>> {
    let dev_keys = if dev_keys { &DEV_KEYS[..] } else { &[] };
    let dev_keys = dev_keys.iter().map(|&key| {
        Arc::new(Key {
            name: key.into(),
            hash: KeyHash::new(key),
            level: Level::Write,
            expires: None,
            opens: None,
        })
    });
    entries.keys().cloned().chain(dev_keys).collect()
}

fn count(file: &Path, entries: &KeyEntries) -> LogLine {
    let file = file.display();
    match entries.keys().count() {
        0 => (Warn, format!("the key file {file} has no keys: nobody can come in with one of it")),
        1 => (Info, format!("1 key of {file} is in force")),
        many => (Info, format!("{many} keys of {file} are in force")),
    }
}

fn log_lines(lines: Vec<LogLine>) {
    for (level, line) in lines {
        log::log!(level, "{line}");
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            (&*grant.key.name, grant.key.level, grant.generation),
            ("alice", Level::Read, 1)
        );
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
        let keys =
            opened(&scratch, &[("alice", "\"read\",\"expires\":\"2026-12-20T00:00:00.000Z\"")]);
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
        assert_eq!(look(&keys), (vec![], None));
        put(&scratch.file(), text(&[("alice", "\"write\",\"session\":[\"b\"]")]));
        assert_eq!(look(&keys).0.len(), 1, "the keys alone");
        put(&scratch.file(), text(&[("alice", "\"write\",\"expire\":\"2026\"")]));
        assert!(look(&keys).0.concat().contains("\"expire\""));
        put(&scratch.file(), text(&[("alice", "\"write\"")]));
        assert_eq!(look(&keys), (vec![], None));
    }

    #[test]
    fn a_replaced_file_is_the_next_generation_and_the_same_keys_are_not() {
        let scratch = Scratch::new();
        let keys = opened(&scratch, &[("alice", "\"read\""), ("bob", "\"read\"")]);
        let old = keys.current();
        assert_eq!(look(&keys), (vec![], None));
        put(&scratch.file(), text(&[("alice", "\"write\""), ("carol", "\"read\"")]));
        let (lines, generation) = read_again(&keys);
        assert_eq!((lines.len(), generation), (1, Some(2)));
        assert_eq!(level(&keys, "alice"), Ok(Level::Write));
        assert_eq!(level(&keys, "bob"), Err(KeyRefusal::Invalid));
        assert_eq!(keys.check(Some("carol"), Timestamp::now()).expect("a key").generation, 2);
        assert_eq!((old.generation, old.keys.len()), (1, 2), "who has it keeps it");
        put(&scratch.file(), text(&[("alice", "\"write\""), ("carol", "\"read\"")]) + "\n \n");
        assert_eq!(look(&keys), (vec![], None));
        // Written in place, with the same size and perhaps the same modification time.
        fs::write(scratch.file(), text(&[("alice", "\"admin\""), ("carol", "\"read\"")]))
            .expect("written");
        assert_eq!(look(&keys).1, Some(3));
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
                assert_eq!(look(&keys), (vec![], None), "{told}");
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
        assert_eq!(look(&keys), (vec![], None));
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
        assert_eq!(look(&keys).1, Some(2));
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
        assert!(
            line.contains("line 1") && !line.contains("SECRET") && !line.contains('\n'),
            "{line}"
        );
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
        let mode =
            |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        put(&file, text(&[("alice", "\"read\"")]));
        mode(0o644);
        let (keys, lines) = KeyStore::begin(Some(file.clone()), false).expect("a key file");
        assert!(
            lines.iter().any(|(level, line)| *level == Warn && line.contains("0644")),
            "{lines:?}"
        );
        assert_eq!(look(&keys), (vec![], None));
        mode(0o600);
        assert_eq!(look(&keys), (vec![], None));
        mode(0o660);
        let (lines, newer) = read_again(&keys);
        assert_eq!((lines.len(), newer), (1, None));
        assert!(lines[0].contains("0660") && lines[0].contains("chmod 600"), "{lines:?}");
        assert_eq!(look(&keys), (vec![], None));
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
                put(
                    &scratch.file(),
                    text(&[("alice", "\"read\""), (&format!("n{n}"), "\"read\"")]),
                );
                assert_eq!(keys.reload(false).map(|set| set.generation), Some(n + 2));
            }
            drop(stop);
        });
    }
}
