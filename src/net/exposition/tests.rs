//! The exposition against Prometheus's rules, the manual, the dashboard and the alerts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::*;
use crate::http::STATUSES;
use crate::hub::ConnId;
use crate::net::counters::PendingCounts;
use crate::net::http_counters::BegunRequest;
use crate::protocol::Frame;

/// What a server writes of which everything is known.
fn written(counters: &Counters, lag: Option<PersistenceLag>) -> String {
    let http = HttpCounters::new(vec!["/", "/api/sessions/{id}"]);
    for (route, status) in [(Some(0), 200), (Some(1), 404), (Some(1), 404), (None, 404)] {
        http.answered(BegunRequest { route, at: Instant::now() }, status);
    }
    write(&Sources {
        counters,
        http: &http,
        queues: Queues { bytes: 77, slow: 2, stalled: 1 },
        limits: ConnectionLimits { connections: 500, per_address: 50 },
        queue_limit: Some(1 << 20),
        lag,
        store: StoreStats {
            commits: HistogramSample {
                counts: vec![1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1],
                sum: 12_500_000,
            },
            database_bytes: 8192,
            wal_bytes: 4152,
            trouble: Some(StoreTrouble::Damaged),
        },
        threads: 9,
        process: ProcessUse {
            processor: Some(Duration::from_millis(1250)),
            open_files: Some(17),
            max_files: Some(1024),
            memory: Some(12345),
        },
    })
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
    assert_eq!(current, "collabd_session_load_failures_total", "nothing is cut off");
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
        "process_cpu_seconds_total 1.25",
        "process_open_fds 17",
        "process_max_fds 1024",
        "collabd_connections_limit 500",
        "collabd_connections_per_address_limit 50",
        "collabd_queue_limit_bytes 1048576",
        "collabd_http_requests_total{route=\"/\",code=\"200\"} 1",
        "collabd_http_requests_total{route=\"/api/sessions/{id}\",code=\"404\"} 2",
        "collabd_http_requests_total{route=\"other\",code=\"404\"} 1",
        "collabd_http_request_duration_seconds_bucket{route=\"/api/sessions/{id}\",le=\"+Inf\"} 2",
        "collabd_http_request_duration_seconds_count{route=\"/api/sessions/{id}\"} 2",
        "collabd_store_failing{reason=\"damaged\"} 1",
        "collabd_store_failing{reason=\"full\"} 0",
        "collabd_store_commit_seconds_bucket{le=\"0.0005\"} 1",
        "collabd_store_commit_seconds_bucket{le=\"0.0025\"} 3",
        "collabd_store_commit_seconds_bucket{le=\"10\"} 3",
        "collabd_store_commit_seconds_bucket{le=\"+Inf\"} 4",
        "collabd_store_commit_seconds_sum 12.5",
        "collabd_database_bytes{file=\"database\"} 8192",
        "collabd_database_bytes{file=\"wal\"} 4152",
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
    assert!(text.contains("\ncollabd_fanout_latency_seconds_bucket{le=\"0.00005\"} "), "{text}");
}

/// A type has a counter for a direction only where it goes that way.
#[test]
fn only_types_that_can_occur_have_a_counter() {
    let text = written(&Counters::new(), None);
    for (name, present, absent) in [
        ("received", ["ping", "sync:update", "other"], ["pong", "connection:ack", "user:left"]),
        ("sent", ["pong", "user:left", "other"], ["ping", "sync:update", "connect"]),
    ] {
        let has = |kind: &str| {
            let samples = ["messages", "message_bytes"]
                .map(|what| format!("\ncollabd_{what}_{name}_total{{type=\"{kind}\"}} "));
            samples.iter().filter(|sample| text.contains(&**sample)).count()
        };
        assert_eq!(present.map(has), [2; 3], "{name} {present:?}");
        assert_eq!(absent.map(has), [0; 3], "{name} {absent:?}");
    }
}

/// The metrics with their labels; of a histogram its three names, with `le` for the buckets.
fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let text = written(&Counters::new(), None);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.rsplit_once(' ').expect("a sample and a value").0;
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let names = labels.map(|label| label.split('=').next().expect("a name").to_owned());
        found.entry(name.to_owned()).or_default().extend(names);
    }
    found
}

/// The name of a metric as its `TYPE` line has it.
fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[test]
fn the_manual_lists_every_metric_and_no_other() {
    let manual = include_str!("../../../docs/OPERATIONS.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut listed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for row in rows.filter(|row| row.starts_with("collabd_") || row.starts_with("process_")) {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().expect("a name").trim_end_matches('`');
        let labels = cells.next().expect("labels").split('`').skip(1).step_by(2);
        assert!(cells.next().is_some_and(|about| about.len() > 5), "{row}");
        assert!(listed.insert(name, labels.map(str::to_owned).collect()).is_none(), "{name} twice");
    }
    let exposed = exposed();
    let mut families: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, labels) in &exposed {
        let is_histogram = exposed.contains_key(&format!("{}_bucket", family(name)));
        let labels = labels.iter().filter(|label| *label != "le").cloned();
        families.entry(if is_histogram { family(name) } else { name }).or_default().extend(labels);
    }
    assert_eq!(listed, families);
}

/// The metrics that an expression names, each with the labels that stand behind it in braces; and
/// the labels that it groups by.
fn named(expression: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let (mut metrics, mut grouped) = (Vec::new(), Vec::new());
    let mut rest = expression;
    while let Some(start) = rest.find(is_of_name) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let list = |open: char, close: char| {
            let inside = after.trim_start().strip_prefix(open)?.split_once(close)?;
            Some((inside.0.to_owned(), inside.1))
        };
        if word == "by" || word == "without" {
            let (labels, after) = list('(', ')').expect("labels in parentheses");
            grouped.extend(labels.split(',').map(|label| label.trim().to_owned()));
            rest = after;
        } else if word == "up" || word.starts_with("collabd_") || word.starts_with("process_") {
            let mut labels = Vec::new();
            if let Some((matchers, after)) = list('{', '}') {
                let matchers = matchers.split("\",").map(|one| one.split(['=', '!']).next());
                labels.extend(matchers.flatten().map(|label| label.trim().to_owned()));
                rest = after;
            }
            metrics.push((word.to_owned(), labels));
        } else if let Some(after) = after.strip_prefix('"') {
            rest = after;
        }
    }
    (metrics, grouped)
}

/// Checks that an expression names metrics and labels of the server, and those that Prometheus adds.
fn check(expression: &str, exposed: &BTreeMap<String, BTreeSet<String>>) {
    let (metrics, grouped) = named(expression);
    assert!(!metrics.is_empty(), "{expression}");
    let of_prometheus = |label: &String| label == "job" || label == "instance";
    let mut all = BTreeSet::new();
    for (metric, labels) in metrics {
        // Prometheus' own: whether it has reached the server.
        let known = if metric == "up" { Some(&all) } else { exposed.get(&metric) };
        let known = known.unwrap_or_else(|| panic!("{metric} doesn't exist: {expression}")).clone();
        for label in labels.iter().filter(|label| !of_prometheus(label)) {
            assert!(known.contains(label), "{metric} has no {label}: {expression}");
        }
        all.extend(known);
    }
    for label in grouped.iter().filter(|label| !of_prometheus(label)) {
        assert!(all.contains(label), "nothing has {label}: {expression}");
    }
}

#[test]
fn the_alerts_name_metrics_that_exist() {
    let rules = include_str!("../../../contrib/alerts.yml");
    let expressions: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(expressions.len(), rules.matches("- alert: ").count());
    assert!(expressions.len() > 10, "{expressions:?}");
    let exposed = exposed();
    expressions.iter().for_each(|expression| check(expression, &exposed));
}

#[test]
fn the_dashboard_names_metrics_that_exist() {
    let board: serde_json::Value =
        serde_json::from_str(include_str!("../../../contrib/grafana.json")).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let exposed = exposed();
    let mut shown = BTreeSet::new();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().expect("an expression");
        // Every query is of the instances that were chosen.
        let (metrics, _) = named(expression);
        let chosen = metrics.iter().all(|(_, labels)| labels.iter().any(|one| one == "instance"));
        assert!(chosen, "{expression}");
        shown.extend(metrics.into_iter().map(|(name, _)| name));
        check(expression, &exposed);
    }
    assert!(shown.len() > 30, "{shown:?}");
    for variable in board["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            let definition = variable["definition"].as_str().expect("a query");
            let metric = definition.strip_prefix("label_values(").and_then(|of| of.split_once(','));
            assert!(exposed.contains_key(metric.expect("a metric").0), "{definition}");
        }
    }
}

/// The two tests above find a name that doesn't exist, wherever it stands.
#[test]
fn names_that_do_not_exist_are_found() {
    let exposed = exposed();
    for fine in [
        "up{job=\"collabd\"} == 0 or absent(up{job=\"collabd\"})",
        "sum by (job, reason) (rate(collabd_requests_refused_total{reason=~\"a|b\"}[5m])) > 0",
        "histogram_quantile(0.9, sum by (le) (rate(collabd_store_commit_seconds_bucket[5m])))",
    ] {
        check(fine, &exposed);
    }
    for wrong in [
        "1 > 0",
        "collabd_nothing > 1",
        "collabd_store_commit_seconds > 1",
        "collabd_members{kind=\"x\"} > 1",
        "collabd_members > 1 and collabd_nothing{a=\"b\"}",
        "collabd_requests_refused_total{reason!~\"a\",route=\"b\"}",
        "sum by (le) (collabd_members)",
    ] {
        let found = std::panic::catch_unwind(|| check(wrong, &exposed));
        assert!(found.is_err(), "{wrong}");
    }
}

/// The names of routes and reasons stand in labels as they are.
#[test]
fn no_label_needs_an_escape() {
    let text = written(&Counters::new(), None);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let quotes = line.matches('"').count();
        assert!(!line.contains('\\') && quotes == 2 * line.matches("=\"").count(), "{line}");
    }
    assert!(STATUSES.iter().all(|(status, _)| (100..600).contains(status)));
}
