//! The counters in Prometheus's text format, version 0.0.4.
//!
//! Names follow Prometheus's conventions: base units, and `_total` for counters. The values of
//! labels are a fixed set; none names a user, a session or an address.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

use super::connections::ConnectionLimits;
use super::counters::{BATCH_BOUNDS, CLOSE_CODES, Counters, LATENCY_BOUNDS};
use super::http_counters::{HttpCounters, REQUEST_BOUNDS};
use super::service::Role;
use crate::histogram::HistogramSample;
use crate::http::Reason;
use crate::journal::{COMMIT_BOUNDS, PersistenceLag, StoreStats, StoreTrouble};
use crate::os::ProcessUse;
use crate::protocol::Kind;

/// The send queues of all open connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Bytes that wait, of all connections together.
    pub bytes: usize,
    pub slow: usize,
    pub stalled: usize,
}

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The expected length, in bytes.
const EXPECTED_BYTES: usize = 32 * 1024;

/// Where the numbers come from.
#[derive(Debug)]
pub struct Sources<'a> {
    pub counters: &'a Counters,
    pub http: &'a HttpCounters,
    pub queues: Queues,
    pub limits: ConnectionLimits,
    /// How many bytes may wait for one client; `None` for any number.
    pub queue_limit: Option<usize>,
    /// How far behind the disk is; `None` where sessions are not stored.
    pub lag: Option<PersistenceLag>,
    pub store: StoreStats,
    pub threads: usize,
    pub process: ProcessUse,
}

pub fn write(sources: &Sources<'_>) -> String {
    let mut text = Text(String::with_capacity(EXPECTED_BYTES));
    text.process(sources);
    text.connections(sources);
    text.requests(sources);
    text.websockets(sources.counters);
    text.messages(sources.counters);
    text.hub(sources.counters);
    text.store(sources);
    text.0
}

struct Text(String);

impl Text {
    fn process(&mut self, sources: &Sources<'_>) {
        self.gauge("collabd_build_info", "Always 1; the label says which version runs.");
        self.sample("collabd_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let started = sources.counters.started_at.millis() as f64 / 1000.0;
        self.one("process_start_time_seconds", "When the server started, as Unix time.", started);
        let ProcessUse { processor, open_files, max_files, memory } = sources.process;
        if let Some(processor) = processor {
            let help =
                "Processor time that the server has used, the system's work for it included.";
            self.counter("process_cpu_seconds_total", help);
            self.sample("process_cpu_seconds_total", &[], processor.as_secs_f64());
        }
        if let Some(memory) = memory {
            self.one("process_resident_memory_bytes", "Resident memory of the server.", memory);
        }
        if let Some(open) = open_files {
            let help = "Open descriptors; each connection takes one. On Windows handles.";
            self.one("process_open_fds", help, open);
        }
        if let Some(most) = max_files {
            self.one("process_max_fds", "How many descriptors may be open.", most);
        }
        let help = "Threads of the server that are running.";
        self.one("collabd_threads", help, sources.threads);
        let help = "Panics that were caught; each closed at most one connection.";
        self.total("collabd_panics_total", help, sources.counters.panics.load(Relaxed));
    }

    fn connections(&mut self, sources: &Sources<'_>) {
        let Sources { counters, queues, .. } = sources;
        let name = "collabd_connections";
        self.gauge(name, "Open connections; a page is one that is no WebSocket, or not yet.");
        for role in Role::ALL {
            self.sample(name, &[("kind", role.name())], counters.open(role));
        }
        let name = "collabd_connections_behind";
        self.gauge(
            name,
            "Connections for which something waits: slow for at most 2 s, stalled for longer.",
        );
        self.sample(name, &[("state", "slow")], queues.slow);
        self.sample(name, &[("state", "stalled")], queues.stalled);
        let help = "Bytes that wait to be sent, of all clients together.";
        self.one("collabd_queue_bytes", help, queues.bytes);
        let help = "Limit of the bytes that wait for one client; 0 is no limit.";
        self.one("collabd_queue_limit_bytes", help, sources.queue_limit.unwrap_or_default());
        let help = "Limit of open connections; 0 is no limit.";
        self.one("collabd_connections_limit", help, sources.limits.connections);
        let help = "Limit of open connections from one address; 0 is no limit.";
        self.one("collabd_connections_per_address_limit", help, sources.limits.per_address);
        let help = "Connections that were accepted, refused ones included.";
        self.total("collabd_connections_accepted_total", help, counters.accepted.load(Relaxed));
    }

    fn requests(&mut self, sources: &Sources<'_>) {
        let counters = sources.counters;
        let name = "collabd_http_requests_total";
        self.counter(name, "Requests that were answered, by route and status; 101 is a WebSocket.");
        for route in sources.http.read() {
            for (status, count) in &route.answered {
                let labels = [("route", route.route), ("code", &*status.to_string())];
                self.sample(name, &labels, count);
            }
        }
        let name = "collabd_http_request_duration_seconds";
        let help =
            "Time from a request's head until its answer was ready, with the reading of its body.";
        self.begin(name, help, "histogram");
        for route in sources.http.read() {
            self.histogram(
                name,
                &[("route", route.route)],
                &in_seconds(REQUEST_BOUNDS),
                &route.took,
                1e6,
            );
        }
        let help = "Requests that were answered with a page.";
        self.total("collabd_pages_served_total", help, counters.pages.load(Relaxed));
        let name = "collabd_requests_refused_total";
        self.counter(name, "Requests that were refused, WebSocket handshakes and others.");
        for reason in Reason::all() {
            let refused = counters.refused_for(reason);
            self.sample(name, &[("reason", reason.name())], refused);
        }
    }

    fn websockets(&mut self, counters: &Counters) {
        let name = "collabd_websockets_closed_total";
        self.counter(name, "WebSockets that have ended, by close code; 1006 is a lost connection.");
        for place in 0..=CLOSE_CODES.len() {
            let code = CLOSE_CODES.get(place).map_or("other".into(), u16::to_string);
            self.sample(name, &[("code", &code)], counters.closed_with(place));
        }
        let help = "Connections that were closed because their client didn't read.";
        self.total("collabd_slow_closes_total", help, counters.too_slow.load(Relaxed));
        let help =
            "Messages after which their client was read more slowly, for being over its rate.";
        self.total("collabd_rate_limited_messages_total", help, counters.slowed.load(Relaxed));
        let help =
            "Connections that were closed with 4001, for being over their rate for too long.";
        self.total("collabd_rate_limit_closes_total", help, counters.overrun.load(Relaxed));
    }

    /// Only types that go in a direction have a counter for it.
    fn messages(&mut self, counters: &Counters) {
        let received: Vec<_> =
            Kind::from_clients().map(|kind| (kind, counters.received_of(kind))).collect();
        let sent: Vec<_> = Kind::to_clients().map(|kind| (kind, counters.sent_of(kind))).collect();
        for (direction, words, counts) in
            [("received", "clients have sent", received), ("sent", "were queued for clients", sent)]
        {
            let name = format!("collabd_messages_{direction}_total");
            self.counter(&name, &format!("Messages that {words}, by type."));
            for (kind, [messages, _]) in &counts {
                self.sample(&name, &[("type", kind.name())], messages);
            }
            let name = format!("collabd_message_bytes_{direction}_total");
            self.counter(&name, &format!("Bytes of the messages that {words}, by type."));
            for (kind, [_, bytes]) in &counts {
                self.sample(&name, &[("type", kind.name())], bytes);
            }
        }
    }

    fn hub(&mut self, counters: &Counters) {
        let (hub, holdings) = (&counters.hub, counters.hub.holdings());
        self.one("collabd_sessions", "Sessions in memory.", holdings.sessions);
        let help = "Limit of the sessions in memory; 0 is no limit.";
        self.one("collabd_sessions_limit", help, holdings.most_sessions);
        self.one("collabd_members", "Members of all sessions.", holdings.members);
        self.one("collabd_channels", "Channels of the client protocol.", holdings.channels);
        let help = "Memory of all documents and their earlier versions together, as estimated.";
        self.one("collabd_documents_bytes", help, holdings.documents_memory);
        let help = "Limit of the memory of all documents together; 0 is no limit.";
        self.one("collabd_documents_limit_bytes", help, holdings.most_documents_memory);
        let busy = hub.busy_for(counters.started.elapsed()).unwrap_or_default();
        let help = "How long the hub has been working on one event; 0 while it is idle.";
        self.one("collabd_hub_busy_seconds", help, busy.as_secs_f64());
        let name = "collabd_hub_busy_seconds_total";
        self.counter(name, "How long the hub has worked, from waking until it slept again.");
        self.sample(name, &[], hub.busy().as_secs_f64());
        let name = "collabd_fanout_latency_seconds";
        let help =
            "Time from a message's arrival until everything it caused was handed to the system.";
        self.begin(name, help, "histogram");
        self.histogram(name, &[], &in_seconds(LATENCY_BOUNDS), &hub.latency.read(), 1e6);
        let name = "collabd_hub_batch_events";
        self.begin(
            name,
            "Events the hub handled at once before it sent their effects.",
            "histogram",
        );
        let bounds = BATCH_BOUNDS.map(|bound| bound as f64);
        self.histogram(name, &[], &bounds, &hub.batch.read(), 1.0);
    }

    fn store(&mut self, Sources { counters, lag, store, .. }: &Sources<'_>) {
        let help = "1 where sessions are stored, otherwise 0.";
        self.one("collabd_store_configured", help, u8::from(lag.is_some()));
        let help = "1 while changes are written to the disk, otherwise 0.";
        self.one("collabd_durable", help, u8::from(lag.is_some_and(|lag| !lag.fails)));
        let name = "collabd_store_failing";
        self.gauge(name, "1 while nothing can be written for this reason, otherwise 0.");
        for trouble in StoreTrouble::ALL {
            let is_so = u8::from(store.trouble == Some(trouble));
            self.sample(name, &[("reason", trouble.name())], is_so);
        }
        let lag = lag.unwrap_or_default();
        let help = "How long the oldest change that is not on the disk has waited.";
        self.one("collabd_store_lag_seconds", help, lag.oldest.as_secs_f64());
        let help = "Bytes that wait to be written to the disk.";
        self.one("collabd_store_waiting_bytes", help, lag.bytes);
        let name = "collabd_store_commit_seconds";
        self.begin(name, "Time that transactions took until they were on the disk.", "histogram");
        self.histogram(name, &[], &in_seconds(COMMIT_BOUNDS), &store.commits, 1e6);
        let name = "collabd_database_bytes";
        self.gauge(
            name,
            "Size of the database and of its journal (wal) after the last transaction.",
        );
        self.sample(name, &[("file", "database")], store.database_bytes);
        self.sample(name, &[("file", "wal")], store.wal_bytes);
        let help = "Confirmations that were never sent, because their change could not be written.";
        let lost = counters.lost_confirmations.load(Relaxed);
        self.total("collabd_confirmations_lost_total", help, lost);
        let help = "Requests for a stored session that failed because it could not be loaded.";
        self.total(
            "collabd_session_load_failures_total",
            help,
            counters.failed_loads.load(Relaxed),
        );
    }

    /// Writes a gauge without labels.
    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help);
        self.sample(name, &[], value);
    }

    /// Writes a counter without labels.
    fn total(&mut self, name: &str, help: &str, value: u64) {
        self.counter(name, help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.begin(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.begin(name, help, "counter");
    }

    /// Writes the samples of a histogram. Its values are divided by `unit`, its bounds are not.
    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        values: &HistogramSample,
        unit: f64,
    ) {
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        for place in 0..=bounds.len() {
            so_far += values.counts.get(place).unwrap_or(&0);
            let bound = bounds.get(place).map_or("+Inf".into(), f64::to_string);
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), so_far);
        }
        self.sample(&format!("{name}_sum"), labels, values.sum as f64 / unit);
        self.sample(&format!("{name}_count"), labels, so_far);
    }

    fn begin(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes a sample. The values of labels are the server's own and need no escapes.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, of)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{of}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

/// Bounds in seconds of those in microseconds.
fn in_seconds<const N: usize>(bounds: [u64; N]) -> [f64; N] {
    bounds.map(|bound| bound as f64 / 1e6)
}

#[cfg(test)]
mod tests;
