//! Step: staying connected. Much that is wrong with a server or a proxy shows only after a while.

use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Client, Pick};
use super::report::{Outcome, StepError, Verdict, fault};
use super::walk::{Walk, command};

/// The editor's own heartbeat. A shorter one could keep a connection alive that the editor would
/// lose.
const EDITOR_BEAT: Duration = Duration::from_secs(30);

/// How long one of the two is read before the other: a server's pings have to be answered
/// meanwhile.
const TURN_INTERVAL: Duration = Duration::from_millis(50);

/// Both stay for the time asked for. Alice's heart beats, with a numbered message for Bob each
/// time; Bob says nothing for as long as an editor would. Nothing may be lost.
pub(super) fn stay(walk: &mut Walk) -> Verdict {
    let stay = Stay {
        time: walk.stay,
        mark: walk.name("stay"),
        pongs: walk.pongs,
        started: Instant::now(),
    };
    let (alice, bob) = walk.pair()?;
    match stay.remain(alice, bob) {
        Ok(beats) => Ok(Some(format!("{beats} heartbeats"))),
        Err(StepError::Fault(words)) => {
            let after = stay.started.elapsed().as_secs_f64();
            fault(format!("{words}; that was {after:.1} s into the stay"))
        }
        Err(skip) => Err(skip),
    }
}

struct Stay {
    time: Duration,
    /// What the messages are about, and how the pings begin.
    mark: String,
    /// Whether the server answers pings.
    pongs: bool,
    started: Instant,
}

impl Stay {
    /// Gives the number of heartbeats.
    fn remain(&self, alice: &mut Client, bob: &mut Client) -> Outcome<u64> {
        let between = (self.time / 3).min(EDITOR_BEAT);
        let mut bob_spoke = self.started;
        let mut beats = 0;
        loop {
            beats += 1;
            self.beat(alice, beats)?;
            self.message(alice, bob, beats)?;
            if bob_spoke.elapsed() >= EDITOR_BEAT {
                bob_spoke = Instant::now();
                self.beat(bob, beats)?;
            }
            if self.started.elapsed() >= self.time {
                break;
            }
            let beat = Instant::now();
            while beat.elapsed() < between && self.started.elapsed() < self.time {
                alice.listen(TURN_INTERVAL, |_| Ok(()))?;
                bob.listen(TURN_INTERVAL, |_| Ok(()))?;
            }
        }
        // That Bob has heard everything does not say yet that he is still heard.
        self.message(bob, alice, beats + 1)?;
        Ok(beats)
    }

    fn beat(&self, client: &mut Client, number: u64) -> Outcome<()> {
        if !self.pongs {
            return Ok(());
        }
        let id = format!("{}-{}-{number}", self.mark, client.user);
        client.send(&json!({"type": "ping", "id": id}))?;
        client.hear(&format!("the pong to heartbeat {number}"), |m| {
            m.is("pong") && m.value["id"] == id
        })?;
        Ok(())
    }

    fn message(&self, sender: &mut Client, other: &mut Client, number: u64) -> Outcome<()> {
        sender.send(&command("check:beat", &self.mark, json!({"number": number})))?;
        let expected = format!("message {number} of the stay");
        other.wait_for(&expected, |m| {
            let came = m.data("number");
            match m.changes(&self.mark) && m.by(&sender.user) {
                true if *came == number => Ok(Pick::Take(())),
                true => {
                    Err(format!("a message was lost: expected {expected}; came message {came}"))
                }
                false => Ok(Pick::Other),
            }
        })
    }
}
