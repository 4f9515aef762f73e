//! After the walk: what it has made is removed from a server that keeps it for good.

use std::thread;
use std::time::{Duration, Instant};

use super::report::Report;
use super::walk::Walk;
use crate::client::api::{Api, Server, page_of};

/// How long a server is given to notice that all users have left, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Removes the sessions of a walk. A server that keeps none for good has no such page, and forgets them
/// by itself; of one that doesn't let them be removed the report says so.
pub(super) fn remove(walk: &mut Walk, url: &str, report: &Report) {
    walk.leave();
    // The address was taken apart before.
    let Ok(api) = Api::find(&Server { url: url.to_owned(), key: None, key_file: None }) else {
        return;
    };
    let mut left = Vec::new();
    for session in walk.sessions() {
        let until = Instant::now() + TIMEOUT;
        let status = loop {
            let left = until.saturating_duration_since(Instant::now());
            let deleted = api.ask("DELETE", &page_of(&session, ""), None, left);
            let status = deleted.map_or_else(|refused| refused.status, |_| 200);
            // The server has not noticed yet that the session is empty.
            if status != 409 || Instant::now() >= until {
                break status;
            }
            thread::sleep(RETRY_INTERVAL);
        };
        match status {
            401 | 403 | 409 | 503 => left.push(session),
            // The server gave no answer that makes sense: it has no such page.
            0 => break,
            _ => {}
        }
    }
    if !left.is_empty() {
        report.line(&format!(
            "the server doesn't let this program remove what it made: {}; collabd sessions delete \
             SESSION --yes does, on the server's machine or with an admin key",
            left.join(", ")
        ));
    }
}
