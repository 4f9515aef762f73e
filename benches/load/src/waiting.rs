//! How long others wait while one message is handled: clients that do what they are told on stdin,
//! and pairs of clients that measure all the time.
//!
//! A pair is two members of one session, of whom one drags an item and the other receives that
//! (`pair.rs`). The other clients have a thread each (`scripted.rs`), so that a large frame for one of
//! them delays nothing that is measured.
//!
//! | line | what it does |
//! |---|---|
//! | `pair SESSION` | a pair comes to session `sSESSION` and begins |
//! | `join NAME PATH MODE` | a client comes: `script`, `editor`, `sharing` (an editor that answers its Pings after its first message) or `channel` |
//! | `say NAMES FILE` | each of these, with commas between them, sends the file's content as a message |
//! | `begin`, `end` | something else happens in between |
//!
//! Each line is answered with one of JSON. `say` and `end` report the longest wait of each pair in
//! milliseconds, `null` where a connection of it has ended. It is measured from the beginning until the
//! clients have their answers and nothing has come for [`QUIET`]: what was changed is sent again 300 ms
//! later (docs/PROTOCOL.md, "Settling").

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::pair::Pair;
use crate::scripted::{Counters, Mode, ScriptedClient};
use crate::swarm::now;

/// Nothing more is expected when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(400);
/// How long the answer to anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(2);

/// Does what stdin says until it ends.
pub fn waiting(arguments: &Arguments) -> io::Result<String> {
    let addr: SocketAddrV4 = arguments.get("addr")?;
    let mut clients =
        Clients { addr, pairs: Vec::new(), scripted: HashMap::new(), counters: Arc::default() };
    for line in io::stdin().lock().lines() {
        let answer = clients.execute(&line?)?;
        println!("{answer}");
        io::stdout().flush()?;
    }
    Ok("{}".to_owned())
}

/// Everyone who takes part.
struct Clients {
    addr: SocketAddrV4,
    pairs: Vec<Pair>,
    scripted: HashMap<String, ScriptedClient>,
    /// What was sent to the scripted clients, all together.
    counters: Arc<Counters>,
}

impl Clients {
    fn execute(&mut self, line: &str) -> io::Result<String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["pair", session] => {
                let session = session.parse().map_err(io::Error::other)?;
                let nth = self.pairs.len();
                self.pairs.push(Pair::begin(self.addr, session, nth)?);
                Ok("{}".to_owned())
            }
            ["join", name, path, mode] => {
                let mode = Mode::of(mode).ok_or_else(|| io::Error::other("no such mode"))?;
                let client = ScriptedClient::join(self.addr, name, path, mode, &self.counters)?;
                until("a client can't join", || client.is_ready())?;
                self.scripted.insert(name.to_owned(), client);
                Ok("{}".to_owned())
            }
            ["say", names, file] => {
                let text = std::fs::read(file)?;
                let names: Vec<&str> = names.split(',').collect();
                self.begin()?;
                let begun = now();
                let (answers, closed) = (self.counters.answers(), self.counters.closed());
                for name in &names {
                    self.scripted[*name].say(&text)?;
                }
                let is_answered = until("no answer", || {
                    let gone = self.counters.closed() - closed;
                    self.counters.answers() - answers + gone >= names.len() as u64
                });
                Ok(self.end(begun, is_answered.is_err()))
            }
            ["begin"] => self.begin().map(|()| "{}".to_owned()),
            ["end"] => Ok(self.end(now(), false)),
            _ => Err(io::Error::other(format!("{line:?} is nothing to do"))),
        }
    }

    /// Starts to count and to measure anew.
    fn begin(&self) -> io::Result<()> {
        self.counters.start_over();
        self.pairs.iter().for_each(Pair::start_over);
        until("a pair has lost something", self.are_pairs_through())
    }

    /// Waits until it is over, unless it `is_stuck` already. What was counted and measured, and how
    /// long the answers took.
    fn end(&self, begun: u64, mut is_stuck: bool) -> String {
        let answered = now();
        if !is_stuck {
            let quiet = QUIET.as_nanos() as u64;
            let is_over = until("it does not end", || {
                let last = self.pairs.iter().map(Pair::last_other).max().unwrap_or(0);
                now().saturating_sub(last.max(self.counters.last()).max(answered)) >= quiet
            });
            let are_through = is_over.and_then(|()| until("", self.are_pairs_through()));
            is_stuck = are_through.is_err();
        }
        let waits = self.pairs.iter().map(|pair| match pair.has_failed() {
            true => "null".to_owned(),
            false => format!("{:.3}", pair.longest().max(pair.overdue()) as f64 / 1e6),
        });
        format!(
            "{{\"waits\":[{}],\"too_slow\":{},\"is_stuck\":{is_stuck},\"answered\":{:.3},{}}}",
            waits.collect::<Vec<_>>().join(","),
            self.pairs.iter().any(Pair::was_too_slow),
            (answered - begun) as f64 / 1e6,
            self.counters.fields()
        )
    }

    /// Whether everything has arrived by now that the pairs have sent by now.
    fn are_pairs_through(&self) -> impl Fn() -> bool {
        let sent: Vec<u64> = self.pairs.iter().map(|pair| pair.sent.load(Relaxed)).collect();
        let is_through = |(pair, sent): (&Pair, &u64)| {
            pair.delivered.load(Relaxed) >= *sent || pair.has_failed()
        };
        move || self.pairs.iter().zip(&sent).all(is_through)
    }
}

/// Waits until this is so.
fn until(what: &str, is_so: impl Fn() -> bool) -> io::Result<()> {
    let late = now() + PATIENCE.as_nanos() as u64;
    while !is_so() {
        if now() > late {
            return Err(io::Error::other(what.to_owned()));
        }
        sleep(STEP);
    }
    Ok(())
}
