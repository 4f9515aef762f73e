//! The log: from any thread to stderr and a file, without ever making a thread wait.
//!
//! The editor starts the server as a child and may never read its stderr; a full pipe must not stop
//! the hub. So lines go through a bounded queue to a thread of their own, and when that can't keep up
//! lines are dropped and counted.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
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
            let (now, level) = (Timestamp::now(), record.level());
            let line = Entry::Line(level, format!("{now} [{level}] {}", record.args()));
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
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

/// Starts logging to stderr and, where one is named, to a file that is appended to. Panics are
/// logged, too. Call it once.
///
/// # Errors
/// When the file can't be opened, or the system has no thread.
pub fn start(debug: bool, file: Option<&Path>) -> io::Result<Logging> {
    let level = if debug { LevelFilter::Debug } else { LevelFilter::Info };
    let mut outputs: Vec<Box<dyn SharedLogger>> =
        vec![WriteLogger::new(level, format(), io::stderr())];
    if let Some(file) = file {
        let file = OpenOptions::new().create(true).append(true).open(file)?;
        outputs.push(WriteLogger::new(level, format(), file));
    }
    let (queue, entries) = bounded(QUEUE);
    let (ending, ended) = bounded(0);
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
        write(&entries, &CombinedLogger::new(outputs));
        drop(ending);
    })?;
    // Only a second call could fail; the first one's log goes on.
    if log::set_boxed_logger(Box::new(Queue(queue.clone()))).is_ok() {
        log::set_max_level(level);
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(Logging { queue, ended, thread: Some(thread) })
}

impl Drop for Logging {
    fn drop(&mut self) {
        // Whoever doesn't read the log by now won't get the rest.
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

/// The log thread.
#[inline(never)] // a name in thread dumps
fn write(entries: &Receiver<Entry>, log: &dyn Log) {
    let line = |level, text: &str| {
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
            let warning = format!("{} [WARN] {dropped} lines are missing here", Timestamp::now());
            line(Level::Warn, &warning);
        }
        match entry {
            Entry::Line(level, text) => line(level, &text),
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
