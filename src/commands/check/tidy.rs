//! After the walk: what it has made is removed from a server that keeps it for good.

use std::thread;
use std::time::{Duration, Instant};

use super::report::Report;
use super::walk::Walk;
use crate::client::http::{self, Request};
use crate::client::{Target, Wire};

/// How long a server is given to notice that all users have left, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Removes the sessions of a walk. A server that keeps none for good has no such page, and forgets them
/// by itself; one that doesn't let them be removed is told of.
pub(super) fn remove(walk: &mut Walk, url: &str, report: &Report) {
    walk.leave();
    // The address was taken apart before.
    let Ok((target, key)) = Target::parse_api(url) else { return };
    let key = key.filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
    let headers: Vec<String> =
        key.map(|key| format!("Authorization: Bearer {key}")).into_iter().collect();
    let mut left = Vec::new();
    for session in walk.sessions() {
        let path = target.under_prefix(&format!("/api/sessions/{session}"));
        let until = Instant::now() + TIMEOUT;
        let status = loop {
            let status = delete(walk, &target, &path, &headers, until);
            // The server has not noticed yet that the session is empty.
            if status != Some(409) || Instant::now() >= until {
                break status;
            }
            thread::sleep(RETRY_INTERVAL);
        };
        match status {
            Some(401 | 403 | 409 | 503) => left.push(session),
            Some(_) => {}
            // One that has no such page, and doesn't even say so.
            None => break,
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

/// The status of the answer, where there is one.
fn delete(
    walk: &Walk,
    target: &Target,
    path: &str,
    headers: &[String],
    until: Instant,
) -> Option<u16> {
    let (mut wire, _) = Wire::open(walk.addresses()).ok()?;
    wire.wait_until(until);
    let request =
        Request { method: "DELETE", path, headers, body: None, longest: MAX_ANSWER_BYTES };
    http::send(&mut wire, target, &request).ok().map(|response| response.status)
}
