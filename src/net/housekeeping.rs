//! The watch thread: looks about once a second whether anything outside has changed and whether clients
//! are still there, and gives the memory that a burst has left behind back to the system.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::Shared;
use super::connection::ALIVE;
use super::connection_stats::Liveness;
use super::counters::Counters;
use super::hub_thread::Input;
use super::service::{External, Role};
use super::shutdown::Slept;
use crate::os::give_memory_back;
use crate::protocol::{Frame, close};

/// How long it sleeps after each look.
const PAUSE: Duration = Duration::from_secs(1);
/// After how many looks memory is given back, if there was anything to do for the hub since.
const LOOKS: u32 = 5;

/// The watch thread; ends when the server is stopping. The service may block it for as long as it
/// likes: nobody else waits for it.
#[inline(never)] // a name in thread dumps
pub fn run(shared: &Shared) {
    let (mut looks, mut was_busy) = (0, false);
    let mut is_asked = false;
    loop {
        let look = || if is_asked { shared.service.reload() } else { shared.service.watch() };
        match catch_unwind(AssertUnwindSafe(look)) {
            Ok(Some(event)) => {
                if shared.event_queue.send(Input::External(External::Event(event))).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            // The next look may go well.
            Err(_) => {
                Counters::note(&shared.counters.panics);
                log::error!("a bug in the server: the watch thread could not look");
            }
        }
        ask_who_is_there(shared);
        looks += 1;
        if looks == LOOKS {
            looks = 0;
            let is_busy = shared.event_queue.was_used();
            // Once more after the last time: what was in use then may be free now.
            if is_busy || was_busy {
                give_memory_back();
            }
            was_busy = is_busy;
        }
        is_asked = match shared.stopping.sleep(PAUSE) {
            Slept::Enough => false,
            Slept::Woken => true,
            Slept::Stopping => return,
        };
    }
}

/// Has those asked for a sign of life of whom nothing has come for a while, and those closed who gave
/// none. A machine that was switched off says nothing; as long as something is on its way to it, TCP's
/// keep-alive doesn't ask, and a proxy in between knows no more.
fn ask_who_is_there(shared: &Shared) {
    let silence = shared.config.silence;
    let signs = shared.connections.stats(|_, stats| {
        let sign = match stats.role() {
            Role::Page => Liveness::Alive,
            _ => stats.liveness(silence),
        };
        (sign, stats.send_queue().cloned().filter(|_| sign != Liveness::Alive))
    });
    for (sign, send_queue) in signs {
        let Some(send_queue) = send_queue else { continue };
        match sign {
            Liveness::Alive => {}
            Liveness::NeedsPing => {
                // One that has too much waiting is found out by whoever sends it the next thing.
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
