//! What a step found and the line that says so: ✓, ✗ or –, the name, the words, the time it took.

use crate::logging::without_keys;
use std::io::{self, Write};
use std::time::Duration;

/// Why a step did not pass.
#[derive(Debug, Clone)]
pub(super) enum StepError {
    /// The server did something else than it promises; the words say what was expected and what
    /// came.
    Fault(String),
    /// The step could not be tried, because of something an earlier step has already reported.
    Skip(String),
}

impl StepError {
    /// Makes of a fault a reason to leave another step out.
    pub(super) fn into_skip(self, because: &str) -> StepError {
        match self {
            StepError::Fault(words) | StepError::Skip(words) => {
                StepError::Skip(format!("{because}: {words}"))
            }
        }
    }
}

impl From<String> for StepError {
    fn from(words: String) -> StepError {
        StepError::Fault(words)
    }
}

/// What a part of a step gives back.
pub(super) type Outcome<T> = Result<T, StepError>;

/// What a whole step gives back: passed, perhaps with a note for the reader.
pub(super) type Verdict = Outcome<Option<String>>;

/// A [`StepError::Fault`], as what a step gives back.
pub(super) fn fault<T>(words: impl Into<String>) -> Outcome<T> {
    Err(StepError::Fault(words.into()))
}

/// A [`StepError::Skip`], as what a step gives back.
pub(super) fn skip<T>(words: impl Into<String>) -> Outcome<T> {
    Err(StepError::Skip(words.into()))
}

/// Prints the lines and counts them. Nothing reaches the output but through here, so that a key
/// is taken out of everything, also out of what the server said.
pub(super) struct Report {
    secrets: Vec<String>,
    passed: usize,
    failed: usize,
}

impl Report {
    /// A report that never shows any of `secrets`.
    pub(super) fn new(secrets: Vec<String>) -> Report {
        Report { secrets, passed: 0, failed: 0 }
    }

    /// Prints one line. A closed output (`check … | head -3`) is no reason to stop or to panic:
    /// the exit code still tells.
    pub(super) fn line(&self, text: &str) {
        let text = self.without_secrets(text);
        let text = without_keys(&text);
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "…");
            // What the server said was cut to fit, perhaps in the middle of a key.
            for end in (1..secret.len()).rev().filter(|end| secret.is_char_boundary(*end)) {
                text = text.replace(&format!("{}\"…", &secret[..end]), "\"…");
            }
        }
        text
    }

    /// Prints and counts the step `name`, which promised `promise`.
    pub(super) fn step(&mut self, name: &str, promise: &str, verdict: &Verdict, took: Duration) {
        let took = spoken(took);
        match verdict {
            Ok(None) => {
                self.passed += 1;
                self.line(&format!("✓ {name}: {promise} ({took})"));
            }
            Ok(Some(note)) => {
                self.passed += 1;
                self.line(&format!("✓ {name}: {promise}; {note} ({took})"));
            }
            Err(StepError::Fault(words)) => {
                self.failed += 1;
                self.line(&format!("✗ {name}: {words} ({took})"));
            }
            Err(StepError::Skip(words)) => {
                self.line(&format!("– {name}: skipped: {words}"));
            }
        }
    }

    /// Prints the last line, for a walk of `total` steps, and says whether every one passed.
    pub(super) fn finish(&self, total: usize) -> bool {
        let mut last = format!("{} of {total} steps passed", self.passed);
        if self.passed < total {
            let untried = total - self.passed - self.failed;
            last.push_str(&format!(", {} failed, {untried} not tried", self.failed));
        }
        self.line(&last);
        self.passed == total
    }
}

/// A time a person can read: `0.4 ms`, `12.3 ms`, `15.0 s`.
fn spoken(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_of_what_the_server_said() {
        let report = Report::new(vec!["k3y-größe".to_owned()]);
        for (said, printed) in [
            ("no place /key/k3y-größe/x", "no place /key/…/x"),
            ("came \"no place /key/k3y-grö\"…", "came \"no place /key/\"…"),
            ("came \"no place /key/k\"…", "came \"no place /key/\"…"),
            ("the k3y", "the k3y"),
        ] {
            assert_eq!(report.without_secrets(said), printed);
        }
    }
}
