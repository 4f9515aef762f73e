//! The counters in Prometheus's text format, version 0.0.4.
//!
//! Names follow Prometheus's conventions: base units, and `_total` for counters. The values of
//! labels are a fixed set; none names a user, a session or an address.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

use super::counters::{BATCH_BOUNDS, CLOSE_CODES, Counters, LATENCY_BOUNDS};
use super::service::Role;
use crate::http::Reason;
use crate::journal::PersistenceLag;
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
const EXPECTED_BYTES: usize = 24 * 1024;

/// Where the numbers come from.
#[derive(Debug)]
pub struct Sources<'a> {
    pub counters: &'a Counters,
    pub queues: Queues,
    /// How far behind the disk is; `None` where sessions are not stored.
    pub lag: Option<PersistenceLag>,
    pub threads: usize,
    /// Resident memory in bytes, where the system tells it.
    pub memory: Option<u64>,
}

pub fn write(sources: &Sources<'_>) -> String {
    let mut text = Text(String::with_capacity(EXPECTED_BYTES));
    text.process(sources);
    text.connections(sources);
    text.messages(sources.counters);
    text.hub(sources.counters);
    text.store(sources.lag);
    text.0
}

struct Text(String);

impl Text {
    fn process(&mut self, sources: &Sources<'_>) {
        self.gauge("collabd_build_info", "Always 1; the label says which version runs.");
        self.sample("collabd_build_info", Some(("version", env!("CARGO_PKG_VERSION"))), 1);
        let started = sources.counters.started_at.millis() as f64 / 1000.0;
        self.one("process_start_time_seconds", "When the server started, as Unix time.", started);
        if let Some(memory) = sources.memory {
            self.one("process_resident_memory_bytes", "Resident memory of the server.", memory);
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
            self.sample(name, Some(("kind", role.name())), counters.open(role));
        }
        let name = "collabd_connections_behind";
        self.gauge(
            name,
            "Connections for which something waits: slow for at most 2 s, stalled for longer.",
        );
        self.sample(name, Some(("state", "slow")), queues.slow);
        self.sample(name, Some(("state", "stalled")), queues.stalled);
        let help = "Bytes that wait to be sent, of all clients together.";
        self.one("collabd_queue_bytes", help, queues.bytes);
        let help = "Connections that were accepted, refused ones included.";
        self.total("collabd_connections_accepted_total", help, counters.accepted.load(Relaxed));
        let help = "Requests that were answered with a page.";
        self.total("collabd_pages_served_total", help, counters.pages.load(Relaxed));
        let name = "collabd_requests_refused_total";
        self.counter(name, "Requests that were refused, WebSocket handshakes and others.");
        for reason in Reason::all() {
            let refused = counters.refused_for(reason);
            self.sample(name, Some(("reason", reason.name())), refused);
        }
        let name = "collabd_websockets_closed_total";
        self.counter(name, "WebSockets that have ended, by close code; 1006 is a lost connection.");
        for place in 0..=CLOSE_CODES.len() {
            let code = CLOSE_CODES.get(place).map_or("other".into(), u16::to_string);
            self.sample(name, Some(("code", &code)), counters.closed_with(place));
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

    fn messages(&mut self, counters: &Counters) {
        let received = |kind| counters.received_of(kind);
        let sent = |kind| counters.sent_of(kind);
        let directions: [(_, _, &dyn Fn(Kind) -> [u64; 2]); 2] = [
            ("received", "clients have sent", &received),
            ("sent", "were queued for clients", &sent),
        ];
        for (direction, words, read) in directions {
            let name = format!("collabd_messages_{direction}_total");
            self.counter(&name, &format!("Messages that {words}, by type."));
            for kind in Kind::all() {
                self.sample(&name, Some(("type", kind.name())), read(kind)[0]);
            }
            let name = format!("collabd_message_bytes_{direction}_total");
            self.counter(&name, &format!("Bytes of the messages that {words}, by type."));
            for kind in Kind::all() {
                self.sample(&name, Some(("type", kind.name())), read(kind)[1]);
            }
        }
    }

    fn hub(&mut self, counters: &Counters) {
        let (hub, holdings) = (&counters.hub, counters.hub.holdings());
        self.one("collabd_sessions", "Sessions in memory.", holdings.sessions);
        self.one("collabd_members", "Members of all sessions.", holdings.members);
        self.one("collabd_channels", "Channels of the client protocol.", holdings.channels);
        let help = "Memory of all documents and their earlier versions together, as estimated.";
        self.one("collabd_documents_bytes", help, holdings.documents_memory);
        let help = "Limit of the memory of all documents together; 0 is no limit.";
        self.one("collabd_documents_limit_bytes", help, holdings.most_documents_memory);
        let busy = hub.busy_for(counters.started.elapsed()).unwrap_or_default();
        let help = "How long the hub has been working on one event; 0 while it is idle.";
        self.one("collabd_hub_busy_seconds", help, busy.as_secs_f64());
        let help =
            "Time from a message's arrival until everything it caused was handed to the system.";
        let bounds = LATENCY_BOUNDS.map(|bound| bound as f64 / 1e6);
        let (counts, sum) = hub.latency.read();
        self.histogram("collabd_fanout_latency_seconds", help, &bounds, &counts, sum as f64 / 1e6);
        let help = "Events the hub handled at once before it sent their effects.";
        let (counts, sum) = hub.batch.read();
        let bounds = BATCH_BOUNDS.map(|bound| bound as f64);
        self.histogram("collabd_hub_batch_events", help, &bounds, &counts, sum as f64);
    }

    fn store(&mut self, lag: Option<PersistenceLag>) {
        let help = "1 where sessions are stored, otherwise 0.";
        self.one("collabd_store_configured", help, u8::from(lag.is_some()));
        let help = "1 while changes are written to the disk, otherwise 0.";
        self.one("collabd_durable", help, u8::from(lag.is_some_and(|lag| !lag.fails)));
        let lag = lag.unwrap_or_default();
        let help = "How long the oldest change that is not on the disk has waited.";
        self.one("collabd_store_lag_seconds", help, lag.oldest.as_secs_f64());
        let help = "Bytes that wait to be written to the disk.";
        self.one("collabd_store_waiting_bytes", help, lag.bytes);
    }

    /// Writes a gauge without labels.
    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help);
        self.sample(name, None, value);
    }

    /// Writes a counter without labels.
    fn total(&mut self, name: &str, help: &str, value: u64) {
        self.counter(name, help);
        self.sample(name, None, value);
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.begin(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.begin(name, help, "counter");
    }

    /// Writes a histogram. `counts` has one more entry than `bounds`: the values above the last
    /// bound.
    fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        self.begin(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        for (place, count) in counts.iter().enumerate() {
            so_far += count;
            let bound = bounds.get(place).map_or("+Inf".into(), f64::to_string);
            self.sample(&bucket, Some(("le", &bound)), so_far);
        }
        self.sample(&format!("{name}_sum"), None, sum);
        self.sample(&format!("{name}_count"), None, so_far);
    }

    fn begin(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes a sample. The values of labels are the server's own and need no escapes.
    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: impl Display) {
        let _ = match label {
            Some((label, of)) => writeln!(self.0, "{name}{{{label}=\"{of}\"}} {value}"),
            None => writeln!(self.0, "{name} {value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::hub::ConnId;
    use crate::net::counters::PendingCounts;
    use crate::protocol::Frame;

    fn written(counters: &Counters, lag: Option<PersistenceLag>) -> String {
        let queues = Queues { bytes: 77, slow: 2, stalled: 1 };
        write(&Sources { counters, queues, lag, threads: 9, memory: Some(12345) })
    }

    /// Checks the rules of promtool, which the outside tests run, as far as a few lines can.
    #[test]
    fn every_sample_belongs_to_a_metric_that_is_explained_and_named_by_the_conventions() {
        let text = written(&Counters::new(), None);
        let mut types: HashMap<&str, &str> = HashMap::new();
        let mut seen = HashSet::new();
        let mut current = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and a help");
                assert!(help.ends_with('.') && help.len() > 10, "{line}");
                current = name;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert_eq!(name, current);
                assert!(types.insert(name, kind).is_none(), "{name} twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
                assert!(seen.insert(sample), "{sample} twice");
                assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
                let name = sample.split('{').next().expect("a name");
                let suffixes = ["", "_bucket", "_sum", "_count"];
                let suffixes = if types[current] == "histogram" { &suffixes[1..] } else { &[""] };
                assert!(suffixes.iter().any(|end| name == format!("{current}{end}")), "{line}");
            }
        }
        assert_eq!(current, "collabd_store_waiting_bytes", "nothing is cut off");
        assert!(text.ends_with('\n') && text.len() < EXPECTED_BYTES, "{} bytes", text.len());
    }

    #[test]
    fn what_was_counted_is_written() {
        let counters = Counters::new();
        let mut pending = PendingCounts::default();
        for after in [0, 1_000, 60_000] {
            let arrived = Instant::now().checked_sub(Duration::from_millis(after));
            pending.count_sent(&Frame::text("hello").with_kind(Kind::Command));
            pending.arrived(arrived.expect("a clock that has run for a minute"));
        }
        pending.flushed(&counters.hub);
        counters.count_received(ConnId(3), Kind::Cursor, 100);
        counters.refused(Reason::Origin);
        counters.closed(4001);
        counters.closed(3999);
        counters.opened(Role::Viewer);
        let lag = PersistenceLag { bytes: 4096, oldest: Duration::from_millis(1500), fails: true };
        let text = written(&counters, Some(lag));
        for line in [
            "collabd_messages_sent_total{type=\"command\"} 3",
            "collabd_message_bytes_sent_total{type=\"command\"} 15",
            "collabd_messages_received_total{type=\"cursor\"} 1",
            "collabd_message_bytes_received_total{type=\"cursor\"} 100",
            "collabd_requests_refused_total{reason=\"origin\"} 1",
            "collabd_requests_refused_total{reason=\"key\"} 0",
            "collabd_websockets_closed_total{code=\"4001\"} 1",
            "collabd_websockets_closed_total{code=\"other\"} 1",
            "collabd_connections{kind=\"viewer\"} 1",
            "collabd_connections_behind{state=\"slow\"} 2",
            "collabd_queue_bytes 77",
            "collabd_threads 9",
            "process_resident_memory_bytes 12345",
            "collabd_fanout_latency_seconds_bucket{le=\"2.5\"} 2",
            "collabd_fanout_latency_seconds_bucket{le=\"+Inf\"} 3",
            "collabd_fanout_latency_seconds_count 3",
            "collabd_store_configured 1",
            "collabd_durable 0",
            "collabd_store_lag_seconds 1.5",
            "collabd_store_waiting_bytes 4096",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is missing in {text}");
        }
        assert!(
            text.contains("\ncollabd_fanout_latency_seconds_bucket{le=\"0.00005\"} "),
            "{text}"
        );
    }
}
