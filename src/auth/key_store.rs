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
            keys = with_dev_keys(&KeyEntries::empty(), true);
        }
        if dev_keys {
            let line = "the development keys open everything and are publicly known: use them only on \
                        a machine that no one else can reach";
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
                "the key file {}: {field} is unknown: if it is misspelt, the key may open more than was meant",
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
        0 => (Warn, format!("the key file {file} has no keys: no client can connect with a key")),
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
#[path = "key_store_tests.rs"]
mod tests;
