//! The watch thread: asks the service about once a second whether anything outside has changed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::Shared;
use super::dispatch::Input;
use super::service::Service;

/// How long it sleeps after each look.
const PAUSE: Duration = Duration::from_secs(1);

/// The watch thread; ends when the server is stopping. The service may block it for as long as it
/// likes: nobody else waits for it.
#[inline(never)] // a name in thread dumps
pub fn run<S: Service>(shared: &Shared<S>) {
    loop {
        match catch_unwind(AssertUnwindSafe(|| shared.service.watch())) {
            Ok(Some(event)) => {
                if shared.inbox.send(Input::Watched(event)).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            // The next look may go well.
            Err(_) => log::error!("a bug in the server: the watch thread could not look"),
        }
        if shared.stopping.sleep(PAUSE) {
            return;
        }
    }
}
