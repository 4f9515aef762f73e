//! How far a command has come, on stderr: a bar where that is a terminal, a line now and then where
//! it isn't.

use crate::logging::without_keys;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The width of the bar, in characters.
const BAR_WIDTH: u64 = 30;
/// How often the bar is drawn at most, and how often a line is written.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How far a command has come.
pub struct Progress {
    /// What is being done, and what is counted.
    doing: String,
    unit: &'static str,
    is_terminal: bool,
    last: Instant,
    is_drawn: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(doing: String, unit: &'static str) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Progress { doing, unit, is_terminal, last: Instant::now(), is_drawn: false }
    }

    /// `done` of `total` are done. Cheap where nothing is shown.
    pub fn at(&mut self, done: u64, total: u64) {
        let pause = if self.is_terminal { REDRAW_INTERVAL } else { LINE_INTERVAL };
        if self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        self.say(&self.line(done, total));
    }

    /// Nothing more will be done; shows how far it came.
    pub fn end(&mut self, done: u64, total: u64) {
        self.say(&self.line(done, total));
        self.end_bar();
    }

    fn end_bar(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = writeln!(io::stderr());
        }
    }

    fn line(&self, done: u64, total: u64) -> String {
        let Progress { doing, unit, .. } = self;
        if !self.is_terminal {
            return format!("{doing}: {done} of {total} {unit}");
        }
        let full =
            (done * BAR_WIDTH).checked_div(total).unwrap_or(BAR_WIDTH).min(BAR_WIDTH) as usize;
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR_WIDTH as usize - full));
        format!("{doing} [{bar}] {done} of {total} {unit}")
    }

    /// Writes a line to stderr; what can't be written there is lost.
    fn say(&mut self, line: &str) {
        let line = without_keys(line);
        let mut stderr = io::stderr().lock();
        let _ = match self.is_terminal {
            // Over the line that stands there, and nothing of it may be left.
            true => write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush()),
            false => writeln!(stderr, "{line}"),
        };
        self.is_drawn = self.is_terminal;
    }
}
