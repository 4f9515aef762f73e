//! The server's reports on itself: its health, its metrics and its connections.
//!
//! Runs on the thread of the client that asks. A report never waits for the hub, nor the hub for a
//! report.

use std::fmt::Write;
use std::time::Duration;

use super::Shared;
use super::connection_stats::SendState;
use super::exposition::{self, Queues};
use super::service::{Report, Role};
use serde_json::json;

use crate::http::Response;
use crate::journal::PersistenceLag;
use crate::os::{process_use, resident_memory};
use crate::protocol::{Kind, Timestamp};

/// The server is unhealthy when the hub works on one input for longer than this.
const HUB_TIMEOUT: Duration = Duration::from_secs(5);
/// The server is unhealthy when a change waits for the disk for longer than this.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);

/// About the length of a connection in the list of them, in bytes.
const BYTES_PER_CONNECTION: usize = 160;

impl Shared {
    pub(super) fn report(&self, report: Report) -> Response {
        match report {
            Report::Health => match self.unhealthy_reason() {
                None => Response::text(200, self.healthy()),
                Some(why) => Response::text(503, why),
            },
            Report::Metrics => Response::page(exposition::CONTENT_TYPE, self.metrics()),
            Report::Server { may_administer } => Response::json(self.server(may_administer)),
            Report::Connections => Response::json(self.all_connections()),
        }
    }

    /// What a server says that is well: `ok`, and why it forgets sessions where nobody wants that.
    fn healthy(&self) -> String {
        self.service.not_stored().map_or("ok".into(), |why| {
            format!(
                "ok, but sessions are kept in memory only, and forgotten when the server stops: {why}"
            )
        })
    }

    /// True while the hub thread runs and finishes its events in time.
    pub(super) fn hub_works(&self) -> bool {
        let hub = &self.counters.hub;
        let busy = hub.busy_for(self.counters.started.elapsed());
        !hub.has_ended() && busy.is_none_or(|busy| busy <= HUB_TIMEOUT)
    }

    /// Why the server is unhealthy: a line that says what to do; `None` where it is well.
    fn unhealthy_reason(&self) -> Option<&'static str> {
        if self.stopping.has_begun() {
            return Some("the server is shutting down");
        }
        if !self.hub_works() {
            return Some(
                "the hub has not finished one event for 5 seconds: take a thread dump, then restart the server",
            );
        }
        if self.lag().is_some_and(|lag| lag.fails) {
            return Some(
                "sessions are not written to the disk, and nothing is confirmed: the log says why",
            );
        }
        if self.lag().is_some_and(|lag| lag.oldest > DISK_TIMEOUT) {
            return Some(
                "the disk has not answered for 10 seconds: nothing is confirmed, and changes wait for it",
            );
        }
        None
    }

    /// How far behind the disk is; `None` where sessions are not stored.
    fn lag(&self) -> Option<PersistenceLag> {
        self.journal.as_ref().map(|journal| journal.lag())
    }

    fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        self.connections.stats(|_, stats| {
            let (bytes, waiting) = stats.waiting();
            queues.bytes += bytes;
            match SendState::new(waiting) {
                SendState::Good => {}
                SendState::Slow => queues.slow += 1,
                SendState::Stalled => queues.stalled += 1,
            }
        });
        queues
    }

    fn metrics(&self) -> String {
        exposition::write(&exposition::Sources {
            counters: &self.counters,
            http: &self.http,
            queues: self.queues(),
            limits: self.connections.limits(),
            queue_limit: self.config.queue_bytes,
            lag: self.lag(),
            store: self.journal.as_ref().map(|journal| journal.stats()).unwrap_or_default(),
            threads: self.threads.running(),
            process: process_use(),
        })
    }

    fn server(&self, may_administer: bool) -> String {
        let counters = &self.counters;
        let add = |[n, bytes]: [u64; 2], [more, larger]: [u64; 2]| [n + more, bytes + larger];
        let received = Kind::from_clients().map(|kind| counters.received_of(kind));
        let [messages_in, bytes_in] = received.fold([0; 2], add);
        let sent = Kind::to_clients().map(|kind| counters.sent_of(kind));
        let [messages_out, bytes_out] = sent.fold([0; 2], add);
        let (hub, unhealthy_reason) = (counters.hub.holdings(), self.unhealthy_reason());
        let addresses = super::reachable(&self.addrs).into_iter();
        let addresses: Vec<String> = addresses.map(|addr| format!("\"ws://{addr}\"")).collect();
        let open = |role| counters.open(role);
        let [pages, members, viewers, clients] = Role::ALL.map(open);
        format!(
            "{{\"server\":{{\"name\":\"collabd\",\"version\":\"{}\"}},\"started_at\":\"{}\",\
             \"uptime_seconds\":{},\"addresses\":[{}],\"may_administer\":{may_administer},\
             \"durable\":{},\"not_stored\":{},\"healthy\":{},\"reason\":{},\
             \"connections\":{{\"open\":{},\"members\":{members},\"viewers\":{viewers},\
             \"clients\":{clients}}},\"sessions\":{},\"channels\":{},\
             \"messages_in\":{messages_in},\"messages_out\":{messages_out},\
             \"bytes_in\":{bytes_in},\"bytes_out\":{bytes_out},\"queue_bytes\":{},\
             \"memory_bytes\":{},\"threads\":{},\"timestamp\":\"{}\"}}",
            env!("CARGO_PKG_VERSION"),
            counters.started_at,
            counters.started.elapsed().as_secs(),
            addresses.join(","),
            self.lag().is_some_and(|lag| !lag.fails),
            self.service.not_stored().map_or("null".into(), |why| json!(why).to_string()),
            unhealthy_reason.is_none(),
            unhealthy_reason.map_or("null".into(), |why| format!("\"{why}\"")),
            pages + members + viewers + clients,
            hub.sessions,
            hub.channels,
            self.queues().bytes,
            resident_memory().map_or("null".into(), |bytes| bytes.to_string()),
            self.threads.running(),
            Timestamp::now(),
        )
    }

    fn all_connections(&self) -> String {
        let mut samples = self.connections.stats(|conn, stats| (conn, stats.sample()));
        samples.sort_unstable_by_key(|(conn, _)| *conn);
        let mut json = String::with_capacity(64 + samples.len() * BYTES_PER_CONNECTION);
        json.push_str("{\"connections\":[");
        for (place, (conn, sample)) in samples.iter().enumerate() {
            if place > 0 {
                json.push(',');
            }
            let (kind, state) = (sample.role.name(), sample.send_state.name());
            let _ = write!(
                json,
                "{{\"connection\":{},\"kind\":\"{kind}\",\"open_seconds\":{},\"messages_in\":{},\
                 \"messages_out\":{},\"queue_bytes\":{},\"state\":\"{state}\",\
                 \"stalled_seconds\":{:.1}}}",
                conn.0,
                sample.open.as_secs(),
                sample.received,
                sample.sent,
                sample.queued,
                sample.stalled.as_secs_f64(),
            );
        }
        json.push_str("]}");
        json
    }
}
