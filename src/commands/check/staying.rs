//! Step: staying connected. Most of what is wrong with a server or a proxy shows only after a while.

use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Client, Pick};
use super::report::{Outcome, Trouble, Verdict};
use super::walk::{ALICE, BOB, Walk};

/// The editor's own heartbeat. A shorter one could keep a connection alive that the editor would lose.
const EDITOR_BEAT: Duration = Duration::from_secs(30);

/// How long one of the two is read before the other: a server's pings have to be answered meanwhile.
const TURN: Duration = Duration::from_millis(50);

/// Both stay for the time asked for. Alice's heart beats, with a numbered message for Bob each time;
/// Bob says nothing for as long as an editor would. Nothing may be lost.
pub(super) fn stay(walk: &mut Walk) -> Verdict {
    let (time, mark) = (walk.stay, walk.name("stay"));
    let (alice, bob) = walk.pair()?;
    let started = Instant::now();
    match remain(alice, bob, time, &mark, started) {
        Ok(beats) => Ok(Some(format!("{beats} heartbeats"))),
        Err(Trouble::Fault(words)) => {
            let after = started.elapsed().as_secs_f64();
            Err(Trouble::Fault(format!("{words}; that was {after:.1} s into the stay")))
        }
        Err(skip) => Err(skip),
    }
}

fn remain(
    alice: &mut Client,
    bob: &mut Client,
    time: Duration,
    mark: &str,
    started: Instant,
) -> Outcome<u64> {
    let between = (time / 3).min(EDITOR_BEAT);
    let mut bob_spoke = started;
    let mut beats = 0;
    loop {
        beats += 1;
        alice.send(&json!({"type": "command", "command": {
            "action": "check:beat", "item_type": "lens", "item_id": mark, "data": {"beat": beats},
        }}))?;
        alice.ping(&format!("{mark}-{beats}"))?;
        bob.wait_for(&format!("message {beats} from {ALICE}"), |m| {
            if !m.changes(mark) {
                return Ok(Pick::Other);
            }
            match *m.data("beat") == beats {
                true => Ok(Pick::Take(())),
                false => {
                    Err(format!("{BOB} expected message {beats} from {ALICE}; came {}", m.shown()))
                }
            }
        })?;
        if bob_spoke.elapsed() >= EDITOR_BEAT {
            bob_spoke = Instant::now();
            bob.ping(&format!("{mark}-bob-{beats}"))?;
        }
        if started.elapsed() >= time {
            break;
        }
        let beat = Instant::now();
        while beat.elapsed() < between && started.elapsed() < time {
            alice.listen(TURN, |_| Ok(()))?;
            bob.listen(TURN, |_| Ok(()))?;
        }
    }
    bob.ping(&format!("{mark}-bob-last"))?;
    Ok(beats)
}
