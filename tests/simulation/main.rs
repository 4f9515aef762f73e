//! Seeded simulation of whole sessions: editors with the real one's habits and bugs, links that
//! delay, cables that are pulled. In the end every canvas has to equal the document, and the document what
//! people chose.
//!
//! `SIMULATIONS=100000 cargo test --profile ci --test simulation` runs more of them, `FIRST=50000` all but those
//! before, `SEED=17` one again; a failing run prints its seed.

mod editor;
#[path = "../journal/mod.rs"]
mod journal;
mod python;
mod random;
mod script;
mod shapes;
mod world;

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::Plan;

/// How many sessions are simulated where nothing else is asked for. Not optimised they take five times as long, and
/// are there for what is asserted in a debug build alone.
const SIMULATIONS: u64 = if cfg!(debug_assertions) { 60 } else { 1500 };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a whole number"))
}

/// Runs as many simulations as are asked for, on all processors, or the one of `SEED`.
fn simulate(run: impl Fn(u64, Plan) + Sync + std::panic::RefUnwindSafe) {
    let plan = Plan { settle: true, snap: false, verbose: false };
    if let Some(seed) = number("SEED") {
        return run(seed, Plan { verbose: true, ..plan });
    }
    let (first, end) = (number("FIRST").unwrap_or(0), number("SIMULATIONS").unwrap_or(SIMULATIONS));
    let next = AtomicU64::new(first);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            if catch_unwind(|| run(seed, plan)).is_err() {
                wrong.lock().expect("nobody panics with it").push(seed);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let mut wrong = wrong.into_inner().expect("nobody panics with it");
    wrong.sort_unstable();
    assert!(wrong.is_empty(), "something went wrong: SEED=N brings it back, N of {wrong:?}");
    println!("sessions {first} to {end} simulated");
}

#[test]
fn every_canvas_ends_equal_to_the_document() {
    simulate(world::run);
}

/// What was confirmed is there after every crash; the document is what it was after one of the changes
/// that everyone saw; whoever comes back ends with the same canvas as all others.
#[test]
fn nothing_confirmed_is_lost_when_the_server_crashes() {
    simulate(world::run_durable);
}

fn some_run_goes_wrong(plan: Plan) -> bool {
    (0..20).any(|seed| catch_unwind(|| world::run(seed, plan)).is_err())
}

/// The simulation has to be able to fail: without settling the editors' bugs show.
#[test]
fn without_settling_some_canvas_goes_wrong() {
    assert!(some_run_goes_wrong(Plan { settle: false, snap: false, verbose: false }));
}

/// Magnetic snap pulls wherever an item is sent to: nothing is promised while it is on.
#[test]
fn with_magnetic_snap_some_canvas_goes_wrong() {
    assert!(some_run_goes_wrong(Plan { settle: true, snap: true, verbose: false }));
}
