//! `collabd check URL`: joins any server as two users and says what it does wrong.
//!
//! It is a client of its own. It shares no code with the server, so that a misunderstanding in the
//! server's protocol code cannot hide itself here; `docs/PROTOCOL.md` is what it is written from.
//!
//! One [`Walk`] goes through [`STEPS`] in order. A step that finds a fault says what it expected
//! and what came instead, and the walk goes on: a user who was thrown out joins again, and a step that
//! cannot be tried because of a fault already reported is left out, which is not passing. Each wait
//! has a deadline of its own, so no server can hold the walk up; what must *not* come is listened
//! for only after what must come has come.

mod client;
mod document;
mod editing;
mod frames;
mod joining;
mod membership;
mod promises;
mod received;
mod refusals;
mod report;
mod staying;
mod tidy;
mod walk;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Target;
use client::LISTEN_TIME;
use report::{Report, Verdict};
use walk::Walk;

/// What `check` was asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server, as `ws://HOST[:PORT][/PREFIX]` or `HOST[:PORT]`.
    pub url: String,
    /// How long to stay connected.
    pub seconds: Duration,
}

/// One line of the walk.
struct Step {
    name: &'static str,
    /// What is true of the server if the step passes.
    promise: &'static str,
    run: fn(&mut Walk) -> Verdict,
}

const fn step(name: &'static str, promise: &'static str, run: fn(&mut Walk) -> Verdict) -> Step {
    Step { name, promise, run }
}

// One line a step, to be read as a list.
#[rustfmt::skip]
const STEPS: &[Step] = &[
    step("connect", "connected and upgraded", joining::connect),
    step("ack", "connection:ack comes first and is complete", joining::ack),
    step("joined", "one's own user:joined comes second", joining::joined),
    step("empty canvas", "who is alone gets an empty canvas to start with", joining::empty_canvas),
    step("heartbeat", "each ping gets its own pong, in order", joining::heartbeat),
    step("protocol ping", "Ping frames get their Pong frames", joining::protocol_ping),
    step("second user", "joins, and the first one hears of it", joining::second_user),
    step("command", "reaches the other user unchanged, with the sender's real name", editing::one_command),
    step("no echo", "a command does not come back to its sender", editing::no_echo),
    step("changes", "update, move and remove reach the other user, both ways", editing::changes),
    step("order", "200 commands in one go arrive all, in order and numbered", editing::order),
    step("both at once", "100 commands from each have one order for both", editing::both_at_once),
    step("cursor", "reaches the other user", editing::cursor),
    step("unknown type", "is passed on unchanged, not back", editing::unknown_type),
    step("fragments", "a message of 600,000 bytes in three frames arrives whole", editing::fragments),
    step("confirmation", "a command with an id is confirmed under its number", document::confirmation),
    step("repeated id", "is confirmed again and not applied again", document::repeated_id),
    step("late join", "who comes late gets the canvas as it is", document::late_join),
    step("lost connection", "the others hear user:left", membership::lost_connection),
    step("catch-up", "who was away gets what it missed, and only that", document::catch_up),
    step("new canvas", "sync:update replaces the canvas for everybody else", document::new_canvas),
    step("takeover", "the same user again replaces the old connection, unnoticed", membership::takeover),
    step("isolation", "sessions hear nothing of each other", membership::isolation),
    step("names", "spaces, umlauts, slashes and % arrive as they were typed", joining::names),
    step("host's canvas", "is taken, passed to who joins, and never wiped", membership::host_canvas),
    step("guest's snapshot", "is refused with not_host", membership::guest_snapshot),
    step("bad JSON", "gets an error, the connection stays", refusals::bad_json),
    step("malformed", "gets an error, nobody else notices, nothing is applied", refusals::malformed),
    step("reserved types", "get an error, nobody else notices", refusals::reserved_types),
    step("binary", "is closed with 1003", frames::binary),
    step("bad UTF-8", "is closed with 1007", frames::bad_utf8),
    step("unmasked", "is closed with 1002", frames::unmasked),
    step("reserved bits", "are closed with 1002", frames::reserved_bits),
    step("too big", "a message over the limit gets its answer", frames::too_big),
    step("unknown path", "is refused with 404 and a reason", refusals::unknown_path),
    step("no upgrade", "is refused with 426 and a reason", refusals::no_upgrade),
    step("stay", "connected all the time, nothing lost", staying::stay),
    step("close", "is answered with its own code, then TCP ends", membership::close),
    step("leave", "the other user hears user:left", membership::leave),
    step("new host", "who is there longest becomes host", membership::new_host),
];

/// Checks the server and prints a line a step. The exit code is 0 when all passed, 1 when not, and
/// 2 when the address is none.
pub fn run(options: &Options) -> ExitCode {
    let target = match Target::parse(&options.url) {
        Ok(target) => target,
        Err(complaint) => return give_up(&complaint, 2),
    };
    let mut report = Report::new(target.secrets());
    let shown = target.shown();
    let mut walk = match Walk::new(target, options.seconds) {
        Ok(walk) => walk,
        Err(complaint) => return give_up(&complaint, 1),
    };
    report.line(&format!(
        "checking {shown} in session {} as {} and {}, staying {} s",
        walk.session,
        walk::ALICE,
        walk::BOB,
        options.seconds.as_secs_f64()
    ));
    let mut has_connected = false;
    for (number, step) in STEPS.iter().enumerate() {
        let started = Instant::now();
        let verdict = (step.run)(&mut walk);
        report.step(step.name, step.promise, &verdict, started.elapsed());
        has_connected |= verdict.is_ok();
        // Without a first connection every other step would only say the same again.
        if number == 0 && verdict.is_err() {
            break;
        }
        // Answers to a step that failed half-way may be under way still; the next step reads them off
        // before it begins, if they are there by then.
        if verdict.is_err() {
            thread::sleep(LISTEN_TIME);
        }
    }
    if has_connected {
        tidy::remove(&mut walk, &options.url, &report);
    }
    ExitCode::from(u8::from(!report.finish(STEPS.len())))
}

/// Says on stderr why nothing is checked.
fn give_up(complaint: &str, code: u8) -> ExitCode {
    crate::logging::say(&format!("collabd check: {complaint}"));
    ExitCode::from(code)
}
