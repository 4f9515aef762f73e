//! `collabd replay`: plays a recording into a session of a running server, each user on a connection
//! of its own, at the pace at which it happened or another.
//!
//! One more connection, the observer, sends the canvas that the recording starts with and sees what the
//! server relays. A change by another user is sent only after the change before it has been relayed, so
//! that the changes have the order they had.

mod client;
mod recording;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::progress::Progress;
use super::table::tell;
use crate::client::Target;
use crate::os::{Signal, hold_signals, on_signals};
use client::{PendingChanges, ReplayClient, Reply};
use recording::Recording;

/// What was typed makes no sense.
const USAGE: u8 = 2;
/// The longest pause between two changes, after `--speed` has made it shorter.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// How long the server has to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many changes may be unconfirmed, at its own pace and as fast as they are confirmed.
const MAX_UNCONFIRMED: usize = 1000;
const MAX_UNCONFIRMED_AT_FULL_SPEED: usize = 64;
/// How often every connection is read.
const READ_INTERVAL: Duration = Duration::from_millis(5);
/// A canvas up to this size, in bytes, fits into a message; a larger one is sent item by item.
const MAX_CANVAS_MESSAGE_BYTES: usize = 900_000;

/// What `replay` is told.
#[derive(Debug)]
pub struct Options {
    pub file: PathBuf,
    /// The server, as `ws://HOST[:PORT][/PREFIX]` or `HOST[:PORT]`.
    pub url: String,
    /// How many times as fast; `None` for as fast as changes are confirmed.
    pub speed: Option<f64>,
    /// Without one, the session that was recorded.
    pub session: Option<String>,
    /// What the session has may be replaced.
    pub replace: bool,
}

/// Does it.
pub fn run(options: &Options) -> ExitCode {
    let target = match Target::parse(&options.url) {
        Ok(target) => target,
        Err(line) => {
            crate::logging::say(&format!("collabd: {line}"));
            return ExitCode::from(USAGE);
        }
    };
    super::exit_code(replay(options, &target))
}

fn replay(options: &Options, target: &Target) -> Result<(), String> {
    let (recording, users) = Recording::read(&options.file)?;
    let session = options.session.as_ref().unwrap_or(&recording.session);
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stop = is_stopped.clone();
    // Without it Ctrl+C ends everything at once, which the server survives.
    let _ = on_signals(hold_signals(), move |signal| {
        // A closed terminal ends it, too.
        let (Signal::Stop | Signal::Reload) = signal;
        stop.store(true, Ordering::SeqCst);
    });
    let mut replay = Replay::begin(target, session, &users, options.replace)?;
    let pace = Pace { speed: options.speed };
    let started = Instant::now();
    let total = recording.changes.len() as u64;
    let played = replay.set_canvas(&recording.document).and_then(|()| {
        let (doing, unit) = (format!("playing into {session:?}"), "changes");
        let mut progress = Progress::new(doing, unit);
        let played = replay.play(&recording, &pace, &is_stopped, &mut progress);
        progress.end(replay.done, total);
        played
    });
    replay.end();
    played?;
    if replay.errors > 0 {
        return Err(format!(
            "the server refused {} of {total} changes; the first one: {}",
            replay.errors, replay.first_error
        ));
    }
    if is_stopped.load(Ordering::SeqCst) {
        return Err(format!("stopped after {} of {total} changes", replay.done));
    }
    let time = started.elapsed().as_secs_f64();
    tell(&format!(
        "{total} changes of {} users were played into {session:?} in {time:.1} s\n",
        users.len()
    ))
}

/// When a change is due.
struct Pace {
    speed: Option<f64>,
}

impl Pace {
    /// How long after the one before it, which was recorded at `before`.
    fn pause(&self, before: u64, offset: u64) -> Duration {
        let Some(speed) = self.speed else { return Duration::ZERO };
        let seconds = Duration::from_millis(offset.saturating_sub(before)).as_secs_f64() / speed;
        Duration::try_from_secs_f64(seconds).unwrap_or(MAX_PAUSE).min(MAX_PAUSE)
    }

    fn unconfirmed(&self) -> usize {
        if self.speed.is_some() { MAX_UNCONFIRMED } else { MAX_UNCONFIRMED_AT_FULL_SPEED }
    }
}

/// All connections, and what is under way on them.
struct Replay {
    observer: ReplayClient,
    clients: Vec<ReplayClient>,
    pending: PendingChanges,
    /// The number of the next message.
    next: u64,
    /// How many changes have been played.
    done: u64,
    errors: u64,
    first_error: String,
    /// When the server last confirmed or relayed a change.
    answered: Instant,
    /// When every connection was read.
    read_at: Instant,
}

impl Replay {
    /// Connects all users.
    fn begin(
        target: &Target,
        session: &str,
        users: &[String],
        replace: bool,
    ) -> Result<Self, String> {
        let bits = getrandom::u64().map_err(|error| format!("no random name: {error}"))?;
        let tag = format!("replay-{bits:016x}");
        let addresses = target.addresses()?;
        let mut observer = ReplayClient::join(target, &addresses, session, &tag, &tag)?;
        observer.send("{\"type\":\"sync:request\"}", 0)?;
        let (mut present, mut has_items) = (None, None);
        let until = Instant::now() + TIMEOUT;
        while present.is_none() || has_items.is_none() {
            let mut replies = Vec::new();
            observer.wait(READ_INTERVAL, &mut replies)?;
            for reply in replies {
                match reply {
                    Reply::Ack { users } => present = Some(users),
                    Reply::State { has_items: items } => has_items = Some(items),
                    Reply::Error { words, .. } => return Err(format!("the server says {words}")),
                    _ => {}
                }
            }
            if Instant::now() > until {
                return Err("the server doesn't greet: is it collabd?".into());
            }
        }
        if has_items == Some(true) && !replace {
            observer.close();
            return Err(format!(
                "session {session:?} has items: name another one with --session, or say --replace"
            ));
        }
        let present = present.unwrap_or_default();
        if let Some(user) = users.iter().find(|user| present.contains(user)) {
            observer.close();
            return Err(format!(
                "{user:?} is in session {session:?} now, and would be thrown out by the one of the \
                 recording: name another session with --session"
            ));
        }
        let mut clients = Vec::new();
        for user in users {
            clients.push(ReplayClient::join(target, &addresses, session, user, &tag)?);
        }
        let now = Instant::now();
        Ok(Replay {
            observer,
            clients,
            pending: PendingChanges::default(),
            next: 1,
            done: 0,
            errors: 0,
            first_error: String::new(),
            answered: now,
            read_at: now,
        })
    }

    /// Sends the canvas that the recording starts with.
    fn set_canvas(&mut self, document: &RawValue) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Canvas<'a> {
            #[serde(borrow)]
            items: Vec<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Item {
            uuid: String,
        }
        let wrong = |_| "the recording's canvas is none: record it again".to_owned();
        let whole = document.get().len() <= MAX_CANVAS_MESSAGE_BYTES;
        let first = if whole { document.get() } else { "{\"items\":[]}" };
        self.send_and_wait(&format!("{{\"type\":\"sync:update\",\"state\":{first}}}"))?;
        if !whole {
            let canvas: Canvas<'_> = serde_json::from_str(document.get()).map_err(wrong)?;
            for item in canvas.items {
                let Item { uuid } = serde_json::from_str(item.get()).map_err(wrong)?;
                let id = serde_json::Value::from(uuid);
                self.send_and_wait(&format!(
                    "{{\"type\":\"command\",\"command\":{{\"action\":\"add_item\",\"item_id\":{id},\
                     \"data\":{item}}}}}"
                ))?;
            }
        }
        match self.errors {
            0 => Ok(()),
            _ => Err(format!("the server refuses the recording's canvas: {}", self.first_error)),
        }
    }

    /// Has the observer send a message, and waits until it is confirmed.
    fn send_and_wait(&mut self, message: &str) -> Result<(), String> {
        self.observer.send(message, self.next)?;
        self.pending.sent(self.next);
        self.next += 1;
        self.answered = Instant::now();
        while !self.pending.not_confirmed.is_empty() {
            self.read_replies(READ_INTERVAL)?;
        }
        Ok(())
    }

    fn play(
        &mut self,
        recording: &Recording,
        pace: &Pace,
        is_stopped: &AtomicBool,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let total = recording.changes.len() as u64;
        let mut due = Instant::now();
        let mut before = (0, None);
        for change in &recording.changes {
            due += pace.pause(before.0, change.offset_ms);
            // The server takes two changes of one user in this order.
            let may_follow = before.1 == Some(change.user);
            self.answered = self.answered.max(due);
            loop {
                if is_stopped.load(Ordering::SeqCst) {
                    return Ok(());
                }
                let now = Instant::now();
                let is_free = (may_follow || self.pending.not_applied.is_empty())
                    && self.pending.not_confirmed.len() < pace.unconfirmed();
                if now >= due && is_free {
                    break;
                }
                let time = due.saturating_duration_since(now);
                self.read_replies(if time.is_zero() {
                    READ_INTERVAL
                } else {
                    time.min(READ_INTERVAL)
                })?;
                progress.at(self.done, total);
            }
            let client = self.clients.get_mut(change.user).ok_or("a user is missing")?;
            client.send(change.message.get(), self.next)?;
            self.pending.sent(self.next);
            self.next += 1;
            self.done += 1;
            before = (change.offset_ms, Some(change.user));
            if self.read_at.elapsed() > READ_INTERVAL {
                self.read_replies(Duration::ZERO)?;
            }
            progress.at(self.done, total);
        }
        self.answered = Instant::now();
        while !self.pending.not_confirmed.is_empty() && !is_stopped.load(Ordering::SeqCst) {
            self.read_replies(READ_INTERVAL)?;
        }
        Ok(())
    }

    /// Reads every connection, and waits at most so long for a message to the observer.
    fn read_replies(&mut self, time: Duration) -> Result<(), String> {
        let mut replies = Vec::new();
        match self.pending.not_applied.is_empty() && time.is_zero() {
            true => self.observer.read_all(&mut replies)?,
            false => self.observer.wait(time, &mut replies)?,
        }
        if self.read_at.elapsed() >= READ_INTERVAL / 2 {
            for client in &mut self.clients {
                client.read_all(&mut replies)?;
            }
            self.read_at = Instant::now();
        }
        for reply in replies {
            match reply {
                Reply::Applied(id) => self.pending.applied(id),
                Reply::Confirmed(id) => self.pending.answered(id),
                Reply::Error { id, words } => {
                    if let Some(id) = id {
                        self.pending.answered(id);
                    }
                    if self.errors == 0 {
                        self.first_error.clone_from(&words);
                    }
                    self.errors += 1;
                    continue;
                }
                Reply::Ack { .. } | Reply::State { .. } => continue,
            }
            self.answered = Instant::now();
        }
        if !self.pending.not_confirmed.is_empty() && self.answered.elapsed() > TIMEOUT {
            return Err(format!(
                "the server has confirmed nothing for {} s: see its log",
                TIMEOUT.as_secs()
            ));
        }
        Ok(())
    }

    fn end(&mut self) {
        self.clients.iter_mut().for_each(ReplayClient::close);
        self.observer.close();
        self.clients.iter_mut().for_each(ReplayClient::wait_for_end);
        self.observer.wait_for_end();
    }
}
