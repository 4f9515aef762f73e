//! What the server says of itself: whether it is well, and how it is doing, from what it counts.
//!
//! Runs on the thread of whoever asks. Nothing here waits for the hub, and the hub waits for none of it.

use std::fmt::Write;
use std::time::Duration;

use super::Shared;
use super::connection_stats::Quality;
use super::exposition::{self, Queues};
use super::os_limits;
use super::service::{Report, Role};
use crate::http::Response;
use crate::kept::Lag;
use crate::protocol::{Kind, Timestamp};

/// For how long the hub may be at one thing.
const STUCK: Duration = Duration::from_secs(5);
/// For how long a change may wait for the disk.
const SILENT: Duration = Duration::from_secs(10);

/// About what a connection takes in a list of them, in bytes.
const ENTRY: usize = 160;

impl Shared {
    /// Answers with this report.
    pub(super) fn report(&self, report: Report) -> Response {
        match report {
            Report::Health => match self.trouble() {
                None => Response::text(200, "ok"),
                Some(why) => Response::text(503, why),
            },
            Report::Metrics => Response::page(exposition::CONTENT_TYPE, self.metrics()),
            Report::Server => Response::json(self.server()),
            Report::Connections => Response::json(self.all_connections()),
        }
    }

    /// What is wrong with the server, in a line that says what to do, if anything is.
    fn trouble(&self) -> Option<&'static str> {
        let hub = &self.counters.hub;
        if self.stopping.has_begun() {
            return Some("the server is shutting down");
        }
        let is_stuck = hub.busy_for(self.counters.started.elapsed()).is_some_and(|at| at > STUCK);
        if is_stuck || hub.has_ended() {
            return Some(
                "the hub has not moved for 5 seconds: take a thread dump, then restart the server",
            );
        }
        if self.lag().is_some_and(|lag| lag.fails) {
            return Some(
                "sessions are not written to the disk, and nothing is confirmed: the log says why",
            );
        }
        if self.lag().is_some_and(|lag| lag.oldest > SILENT) {
            return Some(
                "the disk has not answered for 10 seconds: nothing is confirmed, and changes wait for it",
            );
        }
        None
    }

    /// How far behind the disk is, where sessions are to survive.
    fn lag(&self) -> Option<Lag> {
        self.journal.as_ref().map(|journal| journal.lag())
    }

    fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        self.connections.stats(|_, stats| {
            let (bytes, waiting) = stats.waiting();
            queues.bytes += bytes;
            match Quality::of(waiting) {
                Quality::Good => {}
                Quality::Slow => queues.slow += 1,
                Quality::Stalled => queues.stalled += 1,
            }
        });
        queues
    }

    fn metrics(&self) -> String {
        exposition::write(&exposition::Sources {
            counters: &self.counters,
            queues: self.queues(),
            lag: self.lag(),
            threads: self.threads.running(),
            memory: os_limits::resident_memory(),
        })
    }

    fn server(&self) -> String {
        let counters = &self.counters;
        let all = |of: &dyn Fn(Kind) -> [u64; 2]| {
            Kind::all()
                .map(of)
                .fold([0; 2], |[n, bytes], [more, larger]| [n + more, bytes + larger])
        };
        let [messages_in, bytes_in] = all(&|kind| counters.all_heard(kind));
        let [messages_out, bytes_out] = all(&|kind| counters.all_said(kind));
        let (hub, trouble) = (counters.hub.holdings(), self.trouble());
        let open = |role| counters.open(role);
        let [pages, members, viewers, clients] = Role::ALL.map(open);
        format!(
            "{{\"server\":{{\"name\":\"collabd\",\"version\":\"{}\"}},\"started_at\":\"{}\",\
             \"uptime_seconds\":{},\"durable\":{},\"healthy\":{},\"reason\":{},\
             \"connections\":{{\"open\":{},\"members\":{members},\"viewers\":{viewers},\
             \"clients\":{clients}}},\"sessions\":{},\"channels\":{},\
             \"messages_in\":{messages_in},\"messages_out\":{messages_out},\
             \"bytes_in\":{bytes_in},\"bytes_out\":{bytes_out},\"queue_bytes\":{},\
             \"memory_bytes\":{},\"threads\":{},\"timestamp\":\"{}\"}}",
            env!("CARGO_PKG_VERSION"),
            counters.started_at,
            counters.started.elapsed().as_secs(),
            self.lag().is_some_and(|lag| !lag.fails),
            trouble.is_none(),
            trouble.map_or("null".into(), |why| format!("\"{why}\"")),
            pages + members + viewers + clients,
            hub.sessions,
            hub.channels,
            self.queues().bytes,
            os_limits::resident_memory().map_or("null".into(), |bytes| bytes.to_string()),
            self.threads.running(),
            Timestamp::now(),
        )
    }

    fn all_connections(&self) -> String {
        let mut readings = self.connections.stats(|conn, stats| (conn, stats.read()));
        readings.sort_unstable_by_key(|(conn, _)| *conn);
        let mut json = String::with_capacity(64 + readings.len() * ENTRY);
        json.push_str("{\"connections\":[");
        for (place, (conn, reading)) in readings.iter().enumerate() {
            if place > 0 {
                json.push(',');
            }
            let (kind, state) = (reading.role.name(), reading.quality.name());
            let _ = write!(
                json,
                "{{\"connection\":{},\"kind\":\"{kind}\",\"open_seconds\":{},\"messages_in\":{},\
                 \"messages_out\":{},\"queue_bytes\":{},\"state\":\"{state}\",\
                 \"stalled_seconds\":{:.1}}}",
                conn.0,
                reading.open.as_secs(),
                reading.heard,
                reading.said,
                reading.queued,
                reading.stalled.as_secs_f64(),
            );
        }
        json.push_str("]}");
        json
    }
}
