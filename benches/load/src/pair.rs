//! Two members of one session, on a thread of their own: one drags an item, a small command every
//! [`EVERY`], the other receives it. How long the slowest one took.

use std::io;
use std::net::SocketAddrV4;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use crate::message::{Kind, Mark, Script};
use crate::swarm::{Protocol, Swarm, now};

/// Between two commands.
const EVERY: Duration = Duration::from_millis(4);
/// Bytes of a command.
const SIZE: usize = 300;
/// How long the joining may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the file's first line. What the thread says of itself; times are nanoseconds.
#[derive(Default)]
pub struct Progress {
    pub sent: AtomicU64,
    pub delivered: AtomicU64,
    longest: AtomicU64,
    /// When the first command was due that has not arrived.
    next_due: AtomicU64,
    /// When something else came last than what the pair itself says.
    last_other: AtomicU64,
    /// The longest wait is to be measured anew.
    starts_over: AtomicBool,
    has_failed: AtomicBool,
    /// The server has ended a connection of it because it was too slow.
    was_too_slow: AtomicBool,
}

/// A pair that is at work.
pub struct Pair(Arc<Progress>);

impl std::ops::Deref for Pair {
    type Target = Progress;

    fn deref(&self) -> &Progress {
        &self.0
    }
}

impl Pair {
    /// Joins session `s{session}` and begins; the thread ends with the process.
    pub fn begin(addr: SocketAddrV4, session: u32, nth: usize) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let its = progress.clone();
        thread::Builder::new().name(format!("pair-{nth}")).spawn(move || {
            let _ = rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN));
            // It goes on until a connection ends.
            let _ = join(addr, session).and_then(|mut swarm| drag(&mut swarm, session, &its));
            its.has_failed.store(true, Relaxed);
        })?;
        while progress.delivered.load(Relaxed) == 0 {
            if progress.has_failed.load(Relaxed) {
                return Err(io::Error::other("a pair can't join"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Pair(progress))
    }

    /// Has the longest wait measured anew, from the next command on.
    pub fn start_over(&self) {
        self.starts_over.store(true, Relaxed);
        while self.starts_over.load(Relaxed) && !self.has_failed() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The longest wait since then.
    pub fn longest(&self) -> u64 {
        self.longest.load(Relaxed)
    }

    /// For how long the next command to arrive has been on its way.
    pub fn overdue(&self) -> u64 {
        now().saturating_sub(self.next_due.load(Relaxed))
    }

    /// When something else came last than what the pair itself says.
    pub fn last_other(&self) -> u64 {
        self.last_other.load(Relaxed)
    }

    /// Whether the server has ended a connection of it because it was too slow.
    pub fn was_too_slow(&self) -> bool {
        self.was_too_slow.load(Relaxed)
    }

    /// Whether a connection of it has ended.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Relaxed)
    }
}

/// Both of them, once they have the session's state.
fn join(addr: SocketAddrV4, session: u32) -> io::Result<Swarm> {
    let mut swarm = Swarm::new(addr, Protocol::Session, SIZE)?;
    let late = now() + PATIENCE.as_nanos() as u64;
    for place in 0..2 {
        swarm.connect(session, place, 1)?;
        while swarm.ready <= place as usize {
            swarm.wait(Duration::from_millis(10))?;
            if now() > late || swarm.tally.closed > 0 {
                return Err(io::Error::other("a pair can't join"));
            }
        }
    }
    Ok(swarm)
}

/// Sends a command whenever one is due; latency counts from when it was due.
fn drag(swarm: &mut Swarm, session: u32, its: &Progress) -> io::Result<()> {
    let mut script = Script::new(Kind::Command, session, 0, SIZE, 1);
    swarm.send(0, &script.prologue)?;
    let started = now();
    let every = EVERY.as_nanos() as u64;
    let mut due = started;
    let mut number = 0;
    let mut others = 0;
    while swarm.tally.closed == 0 {
        while due <= now() {
            let mark = Mark { session, sender: 0, number, due };
            swarm.send(0, script.frame(mark))?;
            number += 1;
            its.sent.store(number.into(), Relaxed);
            due += every;
        }
        swarm.wait(Duration::from_nanos(due.saturating_sub(now())))?;
        // Pings are none: whoever drags is sent some all the time.
        let came = swarm.tally.other + swarm.tally.settled;
        if came > others {
            others = came;
            its.last_other.store(now(), Relaxed);
        }
        its.longest.store(swarm.tally.latency.largest(), Relaxed);
        its.next_due.store(started + swarm.tally.delivered * every, Relaxed);
        its.delivered.store(swarm.tally.delivered, Relaxed);
        if its.starts_over.load(Relaxed) {
            swarm.tally.latency = crate::histogram::Histogram::new();
            its.starts_over.store(false, Relaxed);
        }
    }
    its.was_too_slow.store(swarm.tally.too_slow > 0, Relaxed);
    Ok(())
}
