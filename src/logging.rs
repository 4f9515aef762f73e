//! The log: from any thread to stderr and a file, without ever making a thread wait.
//!
//! The editor starts the server as a child and may never read its stderr; a full pipe must not stop
//! the hub. So lines go through a bounded queue to a thread of their own, and when that can't keep up
//! lines are dropped and counted.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, ConfigBuilder, SharedLogger, WriteLogger};

use crate::protocol::Timestamp;

/// How many lines may wait. A line is at most a few hundred bytes.
const QUEUE: usize = 4096;
/// How long the last lines are waited for at the end.
const LAST_LINES: Duration = Duration::from_millis(300);
/// Only our own lines: a library's could hold what a client sent.
const OUR_TARGETS: &str = "collabd";

/// Lines that were dropped because the queue was full.
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Line(Level, String),
    /// The file is to be opened again: another one may have its name by now.
    Reopen,
    End,
}

struct Queue(Sender<Entry>);

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with(OUR_TARGETS)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // The moment it happened, not the one it is written.
            let level = record.level();
            let line = Entry::Line(level, line(level, record.args()));
            if self.0.try_send(line).is_err() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn flush(&self) {}
}

/// The running log; ends it when dropped, after what was logged so far.
#[derive(Debug)]
pub struct Logging {
    queue: Sender<Entry>,
    has_file: bool,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

/// Starts logging to stderr and, where one is named, to a file that is appended to. A file that is made
/// is its owner's alone. Panics are logged, too. Call it once.
///
/// # Errors
/// When the file can't be opened, or the system has no thread.
pub fn start(debug: bool, file: Option<&Path>) -> io::Result<Logging> {
    let level = if debug { LevelFilter::Debug } else { LevelFilter::Info };
    let file = file.map(LogFile::open).transpose()?;
    let exposed = file.as_ref().and_then(LogFile::exposed);
    let has_file = file.is_some();
    let file = file.map(|file| Arc::new(Mutex::new(file)));
    let mut outputs: Vec<Box<dyn SharedLogger>> =
        vec![WriteLogger::new(level, format(), LineWriter::new(io::stderr()))];
    if let Some(file) = &file {
        outputs.push(WriteLogger::new(level, format(), LineWriter::new(Shared(file.clone()))));
    }
    let (queue, entries) = bounded(QUEUE);
    let (ending, ended) = bounded(0);
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
        write(&entries, &CombinedLogger::new(outputs), file.as_deref());
        drop(ending);
    })?;
    // Only a second call could fail; the first one's log goes on.
    if log::set_boxed_logger(Box::new(Queue(queue.clone()))).is_ok() {
        log::set_max_level(level);
        std::panic::set_hook(Box::new(log_panic));
    }
    if let Some(line) = exposed {
        log::warn!("{line}");
    }
    Ok(Logging { queue, has_file, ended, thread: Some(thread) })
}

impl Logging {
    /// Has the file opened again, behind what was logged so far; the log says what came of it. Whether there
    /// is a file.
    pub fn reopen(&self) -> bool {
        if self.has_file {
            // A queue that stays full for so long has lost lines, too.
            let _ = self.queue.send_timeout(Entry::Reopen, LAST_LINES);
        }
        self.has_file
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        // A reader of the log that is this slow doesn't get the rest.
        let told = self.queue.send_timeout(Entry::End, LAST_LINES).is_ok();
        if told
            && self.ended.recv_timeout(LAST_LINES)
                == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn line(level: Level, text: impl std::fmt::Display) -> String {
    without_keys(&format!("{} [{level}] {text}", Timestamp::now())).into_owned()
}

/// Says a line on stderr, for the person who typed a command, without any key that may be in it. A line
/// that can't be written is lost.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", without_keys(line));
}

/// What all of collabd's keys begin with; hexadecimal digits follow, 64 of them in a whole one.
const KEY_MARK: &str = "ck_";
/// So many digits may be a part of a key.
const KEY_DIGITS: usize = 8;

/// A text without the keys in it, which were typed in a wrong place, in small letters or capitals: all that is
/// logged, and all that commands say of what they were given, goes through here.
pub fn without_keys(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    let mut done = 0;
    let lower = text.to_ascii_lowercase();
    for (at, mark) in lower.match_indices(KEY_MARK) {
        let begin = at + mark.len();
        // The next key's mark begins with a letter that is a digit, too.
        let rest = &lower[begin..];
        let rest = rest.find(KEY_MARK).map_or(rest, |end| &rest[..end]);
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits < KEY_DIGITS {
            continue;
        }
        if done == 0 {
            out = Cow::Owned(String::with_capacity(text.len()));
        }
        let out = out.to_mut();
        out.push_str(&text[done..begin]);
        out.push('…');
        done = begin + digits;
    }
    if done > 0 {
        out.to_mut().push_str(&text[done..]);
    }
    out
}

/// The lines come with time and level.
fn format() -> Config {
    ConfigBuilder::new()
        .set_time_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build()
}

/// Hands lines on with one call each: other processes may write to the same file, and `simplelog` writes a
/// line and its end apart.
struct LineWriter<W> {
    line: Vec<u8>,
    output: W,
}

impl<W: Write> LineWriter<W> {
    fn new(output: W) -> Self {
        LineWriter { line: Vec::new(), output }
    }
}

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(part);
        if self.line.ends_with(b"\n") {
            // That a line can't be written can be said nowhere. The next one is tried all the same.
            let _ = self.output.write_all(&self.line);
            self.line.clear();
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The file that is written to, which the log thread opens again between two lines.
struct Shared(Arc<Mutex<LogFile>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        locked(&self.0).file.flush()
    }
}

/// Only the log thread ever asks for it.
fn locked(file: &Mutex<LogFile>) -> std::sync::MutexGuard<'_, LogFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file that is logged to.
struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(LogFile { path: path.to_owned(), file: options.open(path)? })
    }

    /// That others than its owner and its group may read it, in words.
    #[cfg(unix)]
    fn exposed(&self) -> Option<String> {
        use std::os::unix::fs::PermissionsExt;
        let metadata = self.file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let (mode, path) = (metadata.permissions().mode() & 0o7777, self.path.display());
        (mode & 0o007 != 0).then(|| {
            format!("everybody can read or change the log file {path}, its mode is {mode:04o}: chmod o= {path}")
        })
    }

    /// Not to be told from a mode here.
    #[cfg(not(unix))]
    fn exposed(&self) -> Option<String> {
        None
    }

    /// Opens it by its name once more. Where that fails the one that was open before is gone on with.
    fn reopen(&mut self) -> io::Result<()> {
        self.file = Self::open(&self.path)?.file;
        Ok(())
    }
}

/// The log thread.
#[inline(never)] // a name in thread dumps
fn write(entries: &Receiver<Entry>, log: &dyn Log, file: Option<&Mutex<LogFile>>) {
    let put = |level, text: &str| {
        log.log(
            &Record::builder()
                .level(level)
                .target(OUR_TARGETS)
                .args(format_args!("{text}"))
                .build(),
        );
    };
    for entry in entries {
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format_args!("{dropped} lines are missing here");
            put(Level::Warn, &line(Level::Warn, text));
        }
        match entry {
            Entry::Line(level, text) => put(level, &text),
            Entry::Reopen => match file.map(|file| locked(file).reopen()) {
                Some(Ok(())) => {
                    put(Level::Info, &line(Level::Info, "the log file has been opened again"));
                }
                Some(Err(error)) => {
                    let text = format_args!(
                        "the log file can't be opened again, so the one that was open before is \
                             written on: {error}"
                    );
                    put(Level::Error, &line(Level::Error, text));
                }
                None => {}
            },
            Entry::End => break,
        }
    }
    log.flush();
}

/// Says where, but not with which values: they could be a client's.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("?");
    log::error!("panic in thread {thread} at {}", place.as_deref().unwrap_or("an unknown place"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each call wrote.
    #[derive(Clone, Default)]
    struct Calls(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_looks_like_a_key_or_a_part_of_one_is_left_out() {
        let key = format!("ck_{}", "0123456789abcdef".repeat(4));
        for (text, expected) in [
            (key.clone(), "ck_…"),
            (format!("{key}{key}"), "ck_…ck_…"),
            (format!("é{}é", key.to_uppercase()), "éCK_…é"),
            (format!("no file /a/{key}.json: ck_deadbeef\"…"), "no file /a/ck_….json: ck_…\"…"),
            (
                "a key ck_, a stack_overflow, ck_café".to_owned(),
                "a key ck_, a stack_overflow, ck_café",
            ),
            (String::new(), ""),
        ] {
            assert_eq!(without_keys(&text), expected);
            assert!(!line(Level::Info, &text).contains("deadbeef"));
        }
    }

    #[test]
    fn a_line_is_written_with_one_call_however_long_it_is() {
        let calls = Calls::default();
        let output = WriteLogger::new(LevelFilter::Info, format(), LineWriter::new(calls.clone()));
        let (queue, entries) = crossbeam_channel::unbounded();
        let lines = ["short".to_owned(), "x".repeat(100_000), String::new()];
        for text in &lines {
            queue.send(Entry::Line(Level::Info, text.clone())).unwrap();
        }
        queue.send(Entry::Line(Level::Debug, "not asked for".into())).unwrap();
        drop(queue);
        write(&entries, &CombinedLogger::new(vec![output]), None);
        let written = lines.map(|text| (text + "\n").into_bytes());
        assert_eq!(*calls.0.lock().unwrap(), written);
    }
}
