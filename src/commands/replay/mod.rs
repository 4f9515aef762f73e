//! `collabd replay`: plays a recording into a session of a running server, each user on a connection
//! of its own, at the pace at which it happened or another.
//!
//! One more connection, the conductor's, sends the canvas that it starts with and sees what the
//! server relays. What another user did comes only after what was done before it has been relayed,
//! so that the changes have the order they had.

mod player;
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
use player::{Heard, Open, Player};
use recording::Recording;

/// What was typed makes no sense.
const USAGE: u8 = 2;
/// A pause that nobody has to sit through, after `--speed` has made it shorter.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the server has to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many changes may be unconfirmed, at its own pace and as fast as they are confirmed.
const UNCONFIRMED: usize = 1000;
const UNCONFIRMED_AT_MOST_SPEED: usize = 64;
/// How long a connection may be left unread.
const ROUND: Duration = Duration::from_millis(5);
/// A canvas up to this size, in bytes, fits into a message; a larger one is sent item by item.
const FITS_A_MESSAGE: usize = 900_000;

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
    /// Whether what the session has may be replaced.
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
        // A closed terminal ends it, too: nobody looks any more.
        let (Signal::Stop | Signal::Reload) = signal;
        stop.store(true, Ordering::SeqCst);
    });
    let mut stage = Stage::enter(target, session, &users, options.replace)?;
    let pace = Pace { speed: options.speed };
    let started = Instant::now();
    let total = recording.changes.len() as u64;
    let played = stage.set(&recording.document).and_then(|()| {
        let (doing, unit) = (format!("playing into {session:?}"), "changes");
        let mut progress = Progress::new(doing, unit);
        let played = stage.play(&recording, &pace, &is_stopped, &mut progress);
        progress.end(stage.done, total);
        played
    });
    stage.leave();
    played?;
    if stage.errors > 0 {
        return Err(format!(
            "the server refused {} of {total} changes; the first one: {}",
            stage.errors, stage.first_error
        ));
    }
    if is_stopped.load(Ordering::SeqCst) {
        return Err(format!("stopped after {} of {total} changes", stage.done));
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
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
    }

    fn unconfirmed(&self) -> usize {
        if self.speed.is_some() { UNCONFIRMED } else { UNCONFIRMED_AT_MOST_SPEED }
    }
}

/// All connections, and what is under way on them.
struct Stage {
    conductor: Player,
    players: Vec<Player>,
    open: Open,
    /// The number of the next message.
    next: u64,
    /// How many changes have been played.
    done: u64,
    errors: u64,
    first_error: String,
    /// When the server last said anything of a change.
    answered: Instant,
    /// When every connection was read.
    round: Instant,
}

impl Stage {
    /// Everybody comes in.
    fn enter(
        target: &Target,
        session: &str,
        users: &[String],
        replace: bool,
    ) -> Result<Self, String> {
        let bits = getrandom::u64().map_err(|error| format!("no random name: {error}"))?;
        let tag = format!("replay-{bits:016x}");
        let addresses = target.addresses()?;
        let mut conductor = Player::enter(target, &addresses, session, &tag, &tag)?;
        conductor.send("{\"type\":\"sync:request\"}", 0)?;
        let (mut present, mut has_items) = (None, None);
        let until = Instant::now() + PATIENCE;
        while present.is_none() || has_items.is_none() {
            let mut heard = Vec::new();
            conductor.wait(ROUND, &mut heard)?;
            for heard in heard {
                match heard {
                    Heard::Ack { users } => present = Some(users),
                    Heard::State { has_items: items } => has_items = Some(items),
                    Heard::Error { words, .. } => return Err(format!("the server says {words}")),
                    _ => {}
                }
            }
            if Instant::now() > until {
                return Err("the server doesn't greet: is it collabd?".into());
            }
        }
        if has_items == Some(true) && !replace {
            conductor.leave();
            return Err(format!(
                "session {session:?} has items: name another one with --session, or say --replace"
            ));
        }
        let present = present.unwrap_or_default();
        if let Some(user) = users.iter().find(|user| present.contains(user)) {
            conductor.leave();
            return Err(format!(
                "{user:?} is in session {session:?} now, and would be thrown out by the one of the \
                 recording: name another session with --session"
            ));
        }
        let mut players = Vec::new();
        for user in users {
            players.push(Player::enter(target, &addresses, session, user, &tag)?);
        }
        let now = Instant::now();
        Ok(Stage {
            conductor,
            players,
            open: Open::default(),
            next: 1,
            done: 0,
            errors: 0,
            first_error: String::new(),
            answered: now,
            round: now,
        })
    }

    /// The canvas that it starts with.
    fn set(&mut self, document: &RawValue) -> Result<(), String> {
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
        let whole = document.get().len() <= FITS_A_MESSAGE;
        let first = if whole { document.get() } else { "{\"items\":[]}" };
        self.conduct(&format!("{{\"type\":\"sync:update\",\"state\":{first}}}"))?;
        if !whole {
            let canvas: Canvas<'_> = serde_json::from_str(document.get()).map_err(wrong)?;
            for item in canvas.items {
                let Item { uuid } = serde_json::from_str(item.get()).map_err(wrong)?;
                let id = serde_json::Value::from(uuid);
                self.conduct(&format!(
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

    /// The conductor does something, and waits until it is done.
    fn conduct(&mut self, message: &str) -> Result<(), String> {
        self.conductor.send(message, self.next)?;
        self.open.sent(self.next);
        self.next += 1;
        self.answered = Instant::now();
        while !self.open.confirmed.is_empty() {
            self.listen(ROUND)?;
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
            // Who sends two in a row has them taken in this order.
            let may_follow = before.1 == Some(change.user);
            self.answered = self.answered.max(due);
            loop {
                if is_stopped.load(Ordering::SeqCst) {
                    return Ok(());
                }
                let now = Instant::now();
                let is_free = (may_follow || self.open.applied.is_empty())
                    && self.open.confirmed.len() < pace.unconfirmed();
                if now >= due && is_free {
                    break;
                }
                let time = due.saturating_duration_since(now);
                self.listen(if time.is_zero() { ROUND } else { time.min(ROUND) })?;
                progress.at(self.done, total);
            }
            let player = self.players.get_mut(change.user).ok_or("a user is missing")?;
            player.send(change.message.get(), self.next)?;
            self.open.sent(self.next);
            self.next += 1;
            self.done += 1;
            before = (change.offset_ms, Some(change.user));
            if self.round.elapsed() > ROUND {
                self.listen(Duration::ZERO)?;
            }
            progress.at(self.done, total);
        }
        self.answered = Instant::now();
        while !self.open.confirmed.is_empty() && !is_stopped.load(Ordering::SeqCst) {
            self.listen(ROUND)?;
        }
        Ok(())
    }

    /// Hears what everybody is told, and waits at most so long for the conductor to be told something.
    fn listen(&mut self, time: Duration) -> Result<(), String> {
        let mut heard = Vec::new();
        match self.open.applied.is_empty() && time.is_zero() {
            true => self.conductor.hear(&mut heard)?,
            false => self.conductor.wait(time, &mut heard)?,
        }
        if self.round.elapsed() >= ROUND / 2 {
            for player in &mut self.players {
                player.hear(&mut heard)?;
            }
            self.round = Instant::now();
        }
        for heard in heard {
            match heard {
                Heard::Applied(id) => self.open.applied(id),
                Heard::Confirmed(id) => self.open.answered(id),
                Heard::Error { id, words } => {
                    if let Some(id) = id {
                        self.open.answered(id);
                    }
                    if self.errors == 0 {
                        self.first_error.clone_from(&words);
                    }
                    self.errors += 1;
                    continue;
                }
                Heard::Ack { .. } | Heard::State { .. } => continue,
            }
            self.answered = Instant::now();
        }
        if !self.open.confirmed.is_empty() && self.answered.elapsed() > PATIENCE {
            return Err(format!(
                "the server has confirmed nothing for {} s: see its log",
                PATIENCE.as_secs()
            ));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.players.iter_mut().for_each(Player::leave);
        self.conductor.leave();
        self.players.iter_mut().for_each(Player::left);
        self.conductor.left();
    }
}
