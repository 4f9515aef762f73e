//! The key file on disk. It is read whole and replaced whole.
//!
//! A program that changes it holds a lock on `FILE.lock` from before it reads until after it has
//! written, so two changes at once lose nothing. It writes the new file beside the old one and
//! renames it: a reader sees the old or the new file and needs no lock.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::key_entries::KeyEntries;
use crate::files;

/// The largest key file, in bytes: enough for several thousand keys.
pub const MAX_KEY_FILE_BYTES: usize = 1 << 20;

/// Why a key file can't be used. Displayed as one line that quotes only names of keys.
#[derive(Debug)]
pub enum KeyFileError {
    /// The file does not exist.
    Missing(PathBuf),
    /// The file can't be read or written, or it isn't a key file.
    Unusable { file: PathBuf, why: String },
}

impl KeyFileError {
    fn unusable(file: &Path, why: impl fmt::Display) -> Self {
        KeyFileError::Unusable { file: file.to_owned(), why: why.to_string() }
    }

    /// The line for the operator, with what to do.
    pub fn with_advice(&self) -> String {
        match self {
            KeyFileError::Missing(file) => format!(
                "{self}: make one with collabd key new --name NAME --level write --file {}",
                file.display()
            ),
            KeyFileError::Unusable { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFileError::Missing(file) => write!(f, "there is no key file {}", file.display()),
            KeyFileError::Unusable { file, why } => {
                write!(f, "the key file {} can't be used: {why}", file.display())
            }
        }
    }
}

#[derive(PartialEq, Eq)]
pub struct Contents {
    pub text: Vec<u8>,
    /// The file's mode, where others than its owner may read or change it.
    pub exposed: Option<u32>,
}

/// Reads the whole file without a lock. Blocks on the disk.
///
/// # Errors
/// When the file doesn't exist, can't be read, is no regular file or is larger than
/// [`MAX_KEY_FILE_BYTES`].
pub fn read(file: &Path) -> Result<Contents, KeyFileError> {
    read_with_metadata(file).map(|(contents, _)| contents)
}

/// Reads and parses the whole file. Blocks on the disk.
///
/// # Errors
/// The errors of [`read`], and when the file isn't a key file.
pub fn load(file: &Path) -> Result<(KeyEntries, Contents), KeyFileError> {
    let contents = read(file)?;
    let entries =
        KeyEntries::parse(&contents.text).map_err(|why| KeyFileError::unusable(file, why))?;
    Ok((entries, contents))
}

fn read_with_metadata(file: &Path) -> Result<(Contents, Metadata), KeyFileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing(file.to_owned()),
        io::ErrorKind::PermissionDenied => match crate::os::of_another_user(file) {
            Some(why) => KeyFileError::unusable(file, format!("{error}: {why}")),
            None => KeyFileError::unusable(file, error),
        },
        _ => KeyFileError::unusable(file, error),
    };
    // Checked before opening: opening a pipe waits for a process that writes to it.
    if !fs::metadata(file).map_err(failed)?.is_file() {
        return Err(KeyFileError::unusable(file, "it is no regular file"));
    }
    let open = File::open(file).map_err(failed)?;
    let metadata = open.metadata().map_err(failed)?;
    let mut text = Vec::new();
    open.take(MAX_KEY_FILE_BYTES as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() > MAX_KEY_FILE_BYTES {
        return Err(KeyFileError::unusable(file, "it is larger than 1 MiB"));
    }
    Ok((Contents { text, exposed: files::exposed(&metadata) }, metadata))
}

/// The warning that others than its owner may read or change the file.
pub fn warning(file: &Path, mode: u32) -> String {
    let file = file.display();
    format!(
        "others can read or change the key file {file}, its mode is {mode:04o}: chmod 600 {file}"
    )
}

/// A key file that no other program changes while this value exists. It changes only by
/// [`save`](Self::save).
pub struct LockedKeyFile {
    pub entries: KeyEntries,
    /// The file's mode when it was opened, where others than its owner could read or change it.
    pub exposed: Option<u32>,
    /// The path as the user gave it.
    file: PathBuf,
    /// The path with links resolved: the target of a link is replaced, not the link.
    target: PathBuf,
    old: Option<Metadata>,
    /// Dropping it releases the lock.
    _lock: File,
}

impl LockedKeyFile {
    /// Waits for the lock and reads the file. Blocks on the disk.
    ///
    /// # Errors
    /// The errors of [`load`], and when the file can't be locked.
    pub fn open(file: &Path) -> Result<Self, KeyFileError> {
        // Read before locking, so that a missing file leaves no lock file behind.
        read(file)?;
        Self::lock(file)
    }

    /// Like [`open`](Self::open), but a missing file begins empty.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), except for a missing file.
    pub fn open_or_new(file: &Path) -> Result<Self, KeyFileError> {
        match Self::open(file) {
            Err(KeyFileError::Missing(_)) => Self::lock(file),
            opened => opened,
        }
    }

    fn lock(file: &Path) -> Result<Self, KeyFileError> {
        let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let lock_file = beside(&target, "", ".lock");
        let lock = files::writing()
            .create(true)
            .truncate(false)
            .open(&lock_file)
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(|error| {
                KeyFileError::unusable(file, format!("can't lock {}: {error}", lock_file.display()))
            })?;
        // Read again: the file may have changed before the lock was there.
        let (entries, exposed, old) = match read_with_metadata(&target) {
            Ok((contents, metadata)) => {
                let entries = KeyEntries::parse(&contents.text);
                let entries = entries.map_err(|why| KeyFileError::unusable(file, why))?;
                (entries, contents.exposed, Some(metadata))
            }
            Err(KeyFileError::Missing(_)) => (KeyEntries::empty(), None, None),
            Err(KeyFileError::Unusable { why, .. }) => {
                return Err(KeyFileError::unusable(file, why));
            }
        };
        if let Some(old) = &old {
            // Where root made the lock file, its owner has to be able to lock it, too.
            let _ = files::as_owner_of(old, &lock);
        }
        Ok(LockedKeyFile { entries, exposed, file: file.to_owned(), target, old, _lock: lock })
    }

    /// Replaces the file by one with the current entries that only its owner can read. The file is
    /// on disk when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// When the new file is too large or can't be written. The old one is unchanged then.
    pub fn save(self) -> Result<(), KeyFileError> {
        let text = self.entries.to_json();
        if text.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyFileError::unusable(&self.file, "it would be larger than 1 MiB"));
        }
        let new = beside(&self.target, ".", ".new");
        let written = self.write(&new, &text).and_then(|()| files::replace(&self.target, &new));
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            KeyFileError::unusable(&self.file, format!("can't write it: {error}"))
        })
    }

    fn write(&self, new: &Path, text: &str) -> io::Result<()> {
        // A run that was killed may have left the file. No other program writes it: this one holds
        // the lock.
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = files::writing().create_new(true).open(new)?;
        file.write_all(text.as_bytes())?;
        if let Some(old) = &self.old {
            files::as_owner_of(old, &file)?;
        }
        file.sync_all()
    }
}

/// A file in the same directory, named with this prefix and suffix.
fn beside(file: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(before);
    name.push(file.file_name().unwrap_or_default());
    name.push(after);
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::test_folder::Scratch;
    use crate::auth::{Key, KeyHash, Level};

    fn key(name: &str) -> Key {
        Key {
            name: name.into(),
            hash: KeyHash::new(name),
            level: Level::Read,
            expires: None,
            opens: None,
        }
    }

    fn add(file: &Path, name: &str) {
        let mut locked = LockedKeyFile::open_or_new(file).expect("a key file");
        locked.entries.add(key(name));
        locked.save().expect("written");
    }

    fn names(file: &Path) -> Vec<String> {
        load(file).expect("a key file").0.keys().map(|key| key.name.to_string()).collect()
    }

    #[test]
    fn a_change_is_there_once_it_is_saved_and_not_before() {
        let scratch = Scratch::new();
        let file = scratch.file();
        add(&file, "alice");
        let mut locked = LockedKeyFile::open(&file).expect("a key file");
        locked.entries.add(key("bob"));
        assert_eq!(names(&file), ["alice"]);
        drop(locked);
        assert_eq!(names(&file), ["alice"]);
        add(&file, "carol");
        assert_eq!(names(&file), ["alice", "carol"]);
        let mut left: Vec<_> = fs::read_dir(scratch.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["keys.json", "keys.json.lock"]);
    }

    #[test]
    fn of_changes_at_once_none_is_lost_and_a_reader_never_sees_half_of_one() {
        let scratch = Scratch::new();
        let file = scratch.file();
        add(&file, "first");
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let file = &file;
                    scope.spawn(move || (0..10).for_each(|n| add(file, &format!("{writer}-{n}"))))
                })
                .collect();
            let mut most = 1;
            while !writers.iter().all(|writer| writer.is_finished()) {
                let read = names(&file).len();
                // On Windows a file can't be replaced while it is open for reading, and a server
                // doesn't read without a break.
                std::thread::sleep(std::time::Duration::from_millis(1));
                assert!(read >= most, "{read} after {most}");
                most = read;
            }
        });
        assert_eq!(names(&file).len(), 41);
    }

    #[test]
    fn where_there_is_none_it_says_so_and_leaves_no_lock() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let problem = LockedKeyFile::open(&file).err().expect("there is none");
        assert!(matches!(problem, KeyFileError::Missing(_)));
        let line = problem.with_advice();
        assert!(line.contains("collabd key new --name NAME --level write --file"), "{line}");
        assert!(line.ends_with(file.to_str().expect("UTF-8")), "{line}");
        assert_eq!(fs::read_dir(scratch.path()).expect("a directory").count(), 0);
        assert!(matches!(read(&file), Err(KeyFileError::Missing(_))));
    }

    #[test]
    fn what_is_no_key_file_is_left_as_it_is() {
        let scratch = Scratch::new();
        let file = scratch.file();
        fs::write(&file, "SECRET").expect("written");
        let line = LockedKeyFile::open_or_new(&file).err().expect("no key file").with_advice();
        assert!(line.contains("not JSON") && !line.contains("SECRET"), "{line}");
        assert_eq!(fs::read(&file).expect("a file"), b"SECRET");
        assert!(LockedKeyFile::open_or_new(scratch.path()).is_err());
        assert!(!scratch.path().with_extension("lock").exists());
    }

    #[test]
    fn a_file_has_a_largest_size_read_or_written() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let mut text = b"{\"keys\": []}".to_vec();
        text.resize(MAX_KEY_FILE_BYTES, b' ');
        fs::write(&file, &text).expect("written");
        assert_eq!(names(&file), [""; 0]);
        text.push(b' ');
        fs::write(&file, &text).expect("written");
        let line = load(&file).err().expect("too large").to_string();
        assert!(line.contains("1 MiB"), "{line}");
        let note =
            format!("{{\"keys\": [], \"note\": \"{}\"}}", "x".repeat(MAX_KEY_FILE_BYTES - 60));
        fs::write(&file, &note).expect("written");
        let mut locked = LockedKeyFile::open(&file).expect("a key file");
        locked.entries.add(key("alice"));
        let line = locked.save().expect_err("too large").to_string();
        assert!(line.contains("1 MiB"), "{line}");
        assert_eq!(fs::read_to_string(&file).expect("a file"), note);
    }

    #[test]
    fn what_a_cut_off_run_left_is_no_hindrance() {
        let scratch = Scratch::new();
        let file = scratch.file();
        fs::write(beside(&file, ".", ".new"), "half a fi").expect("written");
        add(&file, "alice");
        assert_eq!(names(&file), ["alice"]);
    }

    #[cfg(unix)]
    #[test]
    fn it_is_its_owners_alone_whatever_it_was_before() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        let file = scratch.file();
        add(&file, "alice");
        let mode = || fs::metadata(&file).expect("a file").permissions().mode() & 0o7777;
        assert_eq!((mode(), read(&file).expect("a file").exposed), (0o600, None));
        for exposed in [0o640, 0o604, 0o602, 0o610] {
            fs::set_permissions(&file, fs::Permissions::from_mode(exposed)).expect("a mode");
            assert_eq!(read(&file).expect("a file").exposed, Some(exposed));
        }
        add(&file, "bob");
        assert_eq!((mode(), read(&file).expect("a file").exposed), (0o600, None));
    }

    #[cfg(unix)]
    #[test]
    fn root_may_change_it_and_it_stays_its_owners() {
        use std::os::unix::fs::{MetadataExt, chown};
        let scratch = Scratch::new();
        let file = scratch.file();
        add(&file, "alice");
        if chown(&file, Some(12_345), Some(12_346)).is_err() {
            // Only root can give a file to another user.
            return;
        }
        add(&file, "bob");
        for file in [beside(&file, "", ".lock"), file] {
            let metadata = fs::metadata(&file).expect("a file");
            assert_eq!((metadata.uid(), metadata.gid()), (12_345, 12_346));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_its_target_is_what_changes() {
        let scratch = Scratch::new();
        let (file, link) = (scratch.file(), scratch.path().join("link"));
        add(&file, "alice");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        add(&link, "bob");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(names(&file), ["alice", "bob"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_not_waited_for() {
        let scratch = Scratch::new();
        let file = scratch.file();
        let made = std::process::Command::new("mkfifo").arg(&file).status().expect("mkfifo runs");
        assert!(made.success());
        let line = load(&file).err().expect("no file").to_string();
        assert!(line.contains("no regular file"), "{line}");
    }
}
