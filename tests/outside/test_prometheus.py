"""The alert rules and the dashboard's queries, read by Prometheus itself, with the manual's configuration."""

import json
import re
import subprocess
import urllib.parse
import urllib.request

import story
from binary import REPO
from keyring import KeyRing, address
from plain import plain
from proxies import MANUAL, free_port, replaced
from script import Script, item_data
from server import Server
from story import expect, expect_equal, until

RULES = REPO / "contrib" / "alerts.yml"
DASHBOARD = REPO / "contrib" / "grafana.json"
TARGET = "lab-pc:8765"
INSTANCE = {"job": "collabd", "instance": TARGET}

UP = {"up": "1x20"}
FULL_BUCKET = "0+600x20"

# For each alert what it takes to fire: samples by name and labels, one a minute from the start (Prometheus' way to write
# them), and when it has fired by; and samples with which it doesn't.
CASES = {
    "CollabdDown": ({"up": "1x3 0x20"}, "8m", UP),
    "CollabdStuck": ({"collabd_hub_busy_seconds": "0 0 3 63 123"}, "4m", {"collabd_hub_busy_seconds": "0 4 0 4 0"}),
    "CollabdPanic": ({"collabd_panics_total": "0x5 1x15"}, "8m", {"collabd_panics_total": "3x20"}),
    "CollabdNotDurable": (
        {"collabd_store_lag_seconds": "0x20", "collabd_store_configured": "1x20", "collabd_durable": "1x2 0x20"},
        "6m",
        # Without --data-dir nothing is to be written.
        {"collabd_store_lag_seconds": "0x20", "collabd_store_configured": "0x20", "collabd_durable": "0x20"},
    ),
    "CollabdDatabaseDamaged": (
        {'collabd_store_failing{reason="damaged"}': "0x3 1x20", 'collabd_store_failing{reason="full"}': "0x20"},
        "5m",
        # That is the business of CollabdNotDurable.
        {'collabd_store_failing{reason="damaged"}': "0x20", 'collabd_store_failing{reason="full"}': "1x20"},
    ),
    "CollabdSessionNotLoaded": (
        {"collabd_session_load_failures_total": "0x3 2x20"}, "6m", {"collabd_session_load_failures_total": "2x20"},
    ),
    "CollabdConfirmationsLost": (
        {"collabd_confirmations_lost_total": "0x3 40x20"}, "6m", {"collabd_confirmations_lost_total": "0x20"},
    ),
    "CollabdCommitsSlow": (
        {
            'collabd_store_commit_seconds_bucket{le="0.1"}': "0x20",
            'collabd_store_commit_seconds_bucket{le="0.5"}': "0+300x20",
            'collabd_store_commit_seconds_bucket{le="2.5"}': FULL_BUCKET,
            'collabd_store_commit_seconds_bucket{le="+Inf"}': FULL_BUCKET,
        },
        "15m",
        {
            'collabd_store_commit_seconds_bucket{le="0.1"}': "0+599x20",
            'collabd_store_commit_seconds_bucket{le="+Inf"}': FULL_BUCKET,
        },
    ),
    "CollabdHubBusy": (
        {"collabd_hub_busy_seconds_total": "0+54x20"}, "12m", {"collabd_hub_busy_seconds_total": "0+42x20"},
    ),
    "CollabdSlow": (
        {
            'collabd_fanout_latency_seconds_bucket{le="0.1"}': "0+300x20",
            'collabd_fanout_latency_seconds_bucket{le="0.25"}': FULL_BUCKET,
            'collabd_fanout_latency_seconds_bucket{le="+Inf"}': FULL_BUCKET,
        },
        "12m",
        {
            'collabd_fanout_latency_seconds_bucket{le="0.1"}': FULL_BUCKET,
            'collabd_fanout_latency_seconds_bucket{le="+Inf"}': FULL_BUCKET,
        },
    ),
    "CollabdDescriptors": (
        {"process_open_fds": "900x20", "process_max_fds": "1024x20"},
        "8m",
        {"process_open_fds": "700x20", "process_max_fds": "1024x20"},
    ),
    "CollabdDocumentsMemory": (
        {"collabd_documents_bytes": "95x20", "collabd_documents_limit_bytes": "100x20"},
        "8m",
        # 0 is no limit.
        {"collabd_documents_bytes": "95x20", "collabd_documents_limit_bytes": "0x20"},
    ),
    "CollabdFull": (
        {'collabd_requests_refused_total{reason="full"}': "0x3 1x20"},
        "5m",
        {'collabd_requests_refused_total{reason="full"}': "1x20", 'collabd_requests_refused_total{reason="key"}': "0+1x20"},
    ),
    "CollabdKeysRefused": (
        {
            'collabd_requests_refused_total{reason="key"}': "0+4x20",
            'collabd_requests_refused_total{reason="too_many_keys"}': "0+4x20",
            'collabd_websockets_closed_total{code="4000"}': "0x20",
        },
        "15m",
        {
            'collabd_requests_refused_total{reason="key"}': "0+4x20",
            'collabd_requests_refused_total{reason="too_many_keys"}': "0x20",
            'collabd_websockets_closed_total{code="4000"}': "0x20",
        },
    ),
}


def rules():
    """Name, severity and annotations of each rule, as the file has them."""
    found = {}
    for text in re.split(r"^ +- alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]:
        name = text.split("\n", 1)[0]
        severity = re.search(r"severity: (\w+)", text)[1]
        annotations = re.findall(r'^ +(summary|description): (".*")$', text, flags=re.MULTILINE)
        found[name] = severity, {key: json.loads(value) for key, value in annotations}
    return found


def series(samples, **extra):
    """Input of a unit test: these samples of the one server, with the labels that Prometheus adds."""
    for name, values in samples.items():
        name, _, own = name.partition("{")
        own = own.rstrip("}").split(",") if own else []
        labels = [*own, *(f'{label}="{value}"' for label, value in {**INSTANCE, **extra}.items())]
        yield {"series": f"{name}{{{','.join(labels)}}}", "values": values}


def expected(alert, samples):
    """The alert as it fires, with the labels that its expression leaves."""
    severity, annotations = rules()[alert]
    labels = {"severity": severity, **INSTANCE}
    # Of a sum or a quotient only what it groups by is left; these two are single samples.
    if alert in ("CollabdDatabaseDamaged", "CollabdFull"):
        name, value = re.search(r'{(\w+)="(\w+)"}', next(iter(samples))).groups()
        labels[name] = value
    return {"exp_labels": labels, "exp_annotations": annotations}


def promtool(*words):
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)
    expect_equal(done.returncode, 0, f"the status of promtool {words[:2]}, which says {done.stdout + done.stderr}")
    return done.stdout


@story.story("each alert fires when it should, and not when it shouldn't, says promtool")
def alerts(stage):
    expect(re.search(rf"{len(CASES)} rules found", promtool("check", "rules", RULES)), "as many rules as are tried here")
    expect_equal(set(CASES), set(rules()), "the alerts that are tried")
    for alert, (_, annotations) in rules().items():
        expect_equal(set(annotations), {"summary", "description"}, f"what {alert} says")
        expect("http" not in str(annotations), f"no address in what {alert} says")
    rows = re.findall(r"^\| (\w+) \|", MANUAL.read_text().split("**Alerts.**")[1].split("**Dashboard.**")[0], flags=re.MULTILINE)
    expect_equal([f"Collabd{row}" for row in rows if row != "alert"], list(rules()), "the alerts in the manual")
    folder = stage.folder()
    for alert, (firing, by, fine) in CASES.items():
        tests = []
        for samples, alerts in ((firing, [expected(alert, firing)]), (fine, [])):
            # What the server is like otherwise: it is there.
            inputs = list(series({**({} if "up" in samples else UP), **samples}))
            at = [{"eval_time": by, "alertname": alert, "exp_alerts": alerts}]
            tests.append({"interval": "1m", "input_series": inputs, "alert_rule_test": at})
        file = folder / f"{alert}.yml"  # JSON is YAML, too
        file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))
        promtool("test", "rules", file)


def queries():
    """Every query of the dashboard, with the title of its panel."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


class Prometheus:
    """A Prometheus with the manual's configuration, but of this server and in a hurry."""

    def __init__(self, stage, server, key):
        folder = stage.folder()
        (folder / "collabd.key").write_text(key)
        (block,) = re.findall(r"^```yaml\n(.*?)^```$", MANUAL.read_text(), flags=re.MULTILINE | re.DOTALL)
        config = replaced(block, {
            "# authorization": "authorization",
            "/etc/prometheus/collabd.key": str(folder / "collabd.key"),
            "/etc/prometheus/collabd-alerts.yml": str(RULES),
            TARGET: f"127.0.0.1:{server.port}",
        })
        file = folder / "prometheus.yml"
        file.write_text("global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n" + config)
        promtool("check", "config", file)
        self.port = free_port()
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                stdout=log, stderr=log,
            )
        stage.own(self)

    def ask(self, path, **parameters):
        """What its API answers, or None while it doesn't answer."""
        expect(self.process.poll() is None, lambda: f"Prometheus runs; it said {self.log.read_text()[-2000:]}")
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=story.DEADLINE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            expect(error.code == 503, lambda: f"{parameters}: {error.read().decode()}")
        except OSError:
            pass
        return None

    def query(self, expression):
        found = self.ask("query", query=expression)
        return found and found["result"]

    def close(self):
        self.process.kill()
        self.process.wait(story.DEADLINE)


# What is about events that this story doesn't have.
EMPTY = {"Refused requests", "WebSockets that ended badly"}


@story.story("Prometheus reads the server with a key, as the manual has it; every query of the dashboard finds something")
def dashboard(stage):
    ring = KeyRing(stage)
    read, write = ring.new("read"), ring.new("write")
    server = stage.own(Server("--keys", ring.path, "--require-key", "--data-dir", stage.folder()))
    expect_equal(plain(server, "GET", "/metrics", address=address()).status, 403, "/metrics without a key")
    prometheus = Prometheus(stage, server, read)
    ann = stage.own(Script(server, "table", "ann", query=f"?key={write}"))
    number = 0

    def busy():
        """The server has something to do all the time."""
        nonlocal number
        number += 1
        ann.command("add_item", f"lens {number}", item_data(f"lens {number}"), id=number)
        ann.expect("message_delivered", id=number)

    def holds(expression):
        expression = expression.replace("$__rate_interval", "5s").replace("$instance", ".*")
        busy()
        return prometheus.query(expression)

    until(lambda: holds('up{job="collabd"} == 1'), lambda: f"a scrape; Prometheus said {prometheus.log.read_text()[-2000:]}", every=0.1)
    for title, expression in queries():
        if title in EMPTY:
            # Valid all the same.
            expect(holds(expression) is not None, f"an answer to {expression}")
        else:
            until(lambda e=expression: holds(e), f"something in {title}: {expression}", every=0.1)
    scrapes = 'rate(collabd_http_requests_total{route="/metrics",code="200"}[5s])'
    until(lambda: holds(scrapes), "scrapes to be counted", every=0.1)
    groups = prometheus.ask("rules")["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    expect_equal(set(found), set(CASES), "the rules that Prometheus has")
    for name, rule in found.items():
        expect_equal(rule.get("lastError", ""), "", f"evaluating {name}")
    until(lambda: all(rule["health"] == "ok" for group in prometheus.ask("rules")["groups"] for rule in group["rules"]),
          "all rules to have been evaluated", every=0.1)
    firing = [alert["labels"]["alertname"] for alert in prometheus.ask("alerts")["alerts"] if alert["state"] == "firing"]
    expect_equal(firing, [], "alerts of a server that is well")


if __name__ == "__main__":
    story.main()
