//! The watch thread. About once a second it reloads what has changed on disk, finds clients that
//! have gone, and gives memory that a burst has left back to the system.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::Shared;
use super::connection::ALIVE;
use super::connection_stats::Liveness;
use super::counters::Counters;
use super::hub_thread::Input;
use super::service::{External, Role};
use super::shutdown::WakeReason;
use crate::os::give_memory_back;
use crate::protocol::{Frame, close};

/// The pause between two rounds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Memory is given back after this many rounds, if the hub had anything to do since.
const TRIM_ROUNDS: u32 = 5;

/// The loop of the watch thread. Ends when the server is stopping. The service may block it: no
/// other thread waits for it.
#[inline(never)] // a name in thread dumps
pub fn run(shared: &Shared) {
    let (mut rounds, mut was_busy) = (0, false);
    let mut is_asked = false;
    loop {
        let reload = || if is_asked { shared.service.reload() } else { shared.service.watch() };
        match catch_unwind(AssertUnwindSafe(reload)) {
            Ok(Some(event)) => {
                if shared.event_queue.send(Input::External(External::Event(event))).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            // The next round may succeed.
            Err(_) => {
                Counters::note(&shared.counters.panics);
                log::error!(
                    "a bug in the server: the watch thread failed; it tries again in a second"
                );
            }
        }
        check_liveness(shared);
        rounds += 1;
        if rounds == TRIM_ROUNDS {
            rounds = 0;
            let is_busy = shared.event_queue.was_used();
            // Given back once more after the last busy round: memory that was in use then may be
            // free now.
            if is_busy || was_busy {
                give_memory_back();
            }
            was_busy = is_busy;
        }
        is_asked = match shared.stopping.sleep(POLL_INTERVAL) {
            WakeReason::TimedOut => false,
            WakeReason::Woken => true,
            WakeReason::Stopping => return,
        };
    }
}

/// Pings clients that have sent nothing for a while, and closes those that don't answer. A machine
/// that was switched off sends nothing. TCP's keep-alive doesn't notice while data is on its way to
/// the machine, nor where a proxy is in between.
fn check_liveness(shared: &Shared) {
    let silence = shared.config.silence;
    let states = shared.connections.stats(|_, stats| {
        let liveness = match stats.role() {
            Role::Page => Liveness::Alive,
            _ => stats.liveness(silence),
        };
        (liveness, stats.send_queue().cloned().filter(|_| liveness != Liveness::Alive))
    });
    for (liveness, send_queue) in states {
        let Some(send_queue) = send_queue else { continue };
        match liveness {
            Liveness::Alive => {}
            Liveness::NeedsPing => {
                // A client that is too slow is closed by the next thread that sends to it.
                let _ = send_queue.push(Frame::ping(ALIVE).into_bytes(), None);
                send_queue.flush();
            }
            Liveness::Dead => {
                send_queue.close_instead(close::POLICY, "no sign of life");
                send_queue.flush();
            }
            Liveness::CloseTimedOut => send_queue.abort(),
        }
    }
}
