//! What is around the server: signals, the environment, the system's limits, load balancers that speak
//! HTTP/1.0.

use std::net::{TcpStream, ToSocketAddrs};
use std::process::Command;

use crate::support::{
    Client, Folder, Response, Run, SAFETY_NET, Server, Wire, add, collabd, handshake, with_id,
};

fn serving(more: &[&str], variables: &[(&str, &str)]) -> Server {
    let mut command = collabd(&[&["--host", "127.0.0.1"], more].concat());
    command.envs(variables.iter().copied());
    Server::spawn(command)
}

/// Runs collabd from a shell that ignores these signals, as `nohup` and background jobs have it.
#[cfg(unix)]
fn ignoring(signals: &str) -> Server {
    let mut command = Command::new("sh");
    let script = format!("trap '' {signals}; exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_collabd");
    command.args(["-c", &script, program, "--in-memory", "--host", "127.0.0.1", "--port", "0"]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Server::spawn(command)
}

#[test]
#[cfg(unix)]
fn what_was_ignored_at_the_start_stays_ignored() {
    let mut server = ignoring("HUP INT");
    server.signal("HUP");
    server.signal("INT");
    // A signal that is taken is taken before what comes after it.
    Client::join(&server, "table", "alice").leave();
    assert!(server.is_running(), "it goes on");
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(!ended.log.contains("SIGHUP"), "{}", ended.log);
    assert_eq!(ended.log.matches("SHUTTING DOWN").count(), 1);
}

/// A server that was sent signals while it started: it waits for a reader of its log file, a pipe, until
/// they are sent. `ignored` is what it is started to ignore.
#[cfg(target_os = "linux")]
fn told_while_starting(ignored: &str, signals: &[&str]) -> (Server, std::fs::File, Folder) {
    let folder = Folder::new();
    let (log, pid) = (folder.typed("log"), folder.typed("pid"));
    assert!(Command::new("mkfifo").arg(&log).status().expect("mkfifo runs").success());
    let script = format!("trap '' {ignored}; echo $$ > \"$PID\"; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.env("PID", &pid).args(["-c", &script, env!("CARGO_BIN_EXE_collabd")]);
    command.args(["--in-memory", "--host", "127.0.0.1", "--port", "0", "--log-file", &log]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let starting = std::thread::spawn(|| Server::spawn(command));
    let began = std::time::Instant::now();
    let pid = loop {
        let pid = std::fs::read_to_string(&pid).unwrap_or_default();
        let pid = pid.trim_end().to_owned();
        if began.elapsed() > SAFETY_NET {
            let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
            panic!("no signal is held back");
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let held = held.and_then(|held| u64::from_str_radix(held.trim(), 16).ok());
        // The shell blocks nothing, or all while it makes a process.
        if held.is_some_and(|held| held & 1 == 1 && held < 1 << 15) {
            break pid;
        }
        std::thread::yield_now();
    };
    for signal in signals {
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(sent.success(), "kill -s {signal}: {sent}");
    }
    let reader = std::fs::File::open(&log).expect("a pipe");
    (starting.join().expect("it starts"), reader, folder)
}

/// logrotate may ask for its log while it starts.
#[test]
#[cfg(target_os = "linux")]
fn a_sighup_while_it_starts_is_one_for_later() {
    let (mut server, _reader, _folder) = told_while_starting("QUIT", &["HUP"]);
    server.wait_for_log("SIGHUP");
    Client::join(&server, "table", "alice").leave();
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(ended.log.matches("SIGHUP").count(), 1, "{}", ended.log);
}

/// At no moment is a signal taken that was ignored.
#[test]
#[cfg(target_os = "linux")]
fn what_is_ignored_is_so_while_it_starts() {
    for ignored in [&["HUP", "INT"][..], &["HUP", "INT", "TERM"]] {
        let (mut server, _reader, _folder) = told_while_starting(&ignored.join(" "), ignored);
        Client::join(&server, "table", "alice").leave();
        assert!(server.is_running(), "it goes on");
        if ignored.contains(&"TERM") {
            server.signal("KILL");
            let log = server.wait().log;
            assert!(!log.contains("SIGHUP") && !log.contains("SHUTTING DOWN"), "{log}");
            continue;
        }
        let ended = server.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(!ended.log.contains("SIGHUP"), "{}", ended.log);
        assert_eq!(ended.log.matches("SHUTTING DOWN").count(), 1, "{}", ended.log);
    }
}

#[test]
#[cfg(unix)]
fn sighup_opens_the_log_again_and_reads_the_keys_again_and_stops_nothing() {
    let folder = Folder::new();
    let (log, keys) = (folder.typed("log"), folder.typed("keys.json"));
    let key = |name: &str| {
        let made = Run::of(collabd(&["key", "new", "--name", name, "--file", &keys]));
        made.out.trim_end().to_owned()
    };
    key("first");
    let mut server = Server::start(&["--log-file", &log, "--keys", &keys, "--require-key"]);
    let read = |name: &str| std::fs::read_to_string(folder.typed(name)).expect("a log");
    std::fs::rename(&log, folder.typed("log.1")).expect("rotated");
    let second = key("second");
    server.signal("HUP");
    server.wait_for_log("SIGHUP");
    let path = format!("/key/{second}/ws/table/alice");
    let began = std::time::Instant::now();
    while Wire::ask_for(&server, &handshake(&path)) != 101 {
        assert!(began.elapsed() < SAFETY_NET, "the key is in force");
    }
    let all = server.stop().log;
    let (old, new) = (read("log.1"), read("log"));
    assert!(old.contains("serving sessions") && !old.contains("alice"), "{old}");
    assert!(new.contains("\"alice\" joined") && !new.contains("serving sessions"), "{new}");
    assert!(new.contains("the log file has been opened again"), "{new}");
    let read = new.find("has been read again").expect("it says so");
    assert!(new.find("2 keys of").is_some_and(|keys| keys > read), "{new}");
    assert_eq!(format!("{old}{new}"), all, "and nothing is lost between them");
}

/// The log says what a SIGHUP has done, and nothing that it hasn't.
#[test]
#[cfg(unix)]
fn sighup_says_what_was_done() {
    let folder = Folder::new();
    let (log, keys) = (folder.typed("log"), folder.typed("keys.json"));
    assert_eq!(Run::of(collabd(&["key", "new", "--name", "a", "--file", &keys])).code, Some(0));
    const OPENED: &str = "the log file has been opened again";
    const READ: &str = "has been read again";
    const SAME: &str = "the same keys as before";
    const NEITHER: &str = "neither a log file to open again nor a key file";
    const NO_KEYS: &str = "the keys that were read before stay in force";
    let all = [OPENED, READ, SAME, NEITHER, NO_KEYS];
    for (options, is_broken, said) in [
        (&[][..], false, &[NEITHER][..]),
        (&["--log-file", &log], false, &[OPENED]),
        (&["--keys", &keys], false, &[READ, SAME]),
        (&["--log-file", &log, "--keys", &keys], false, &[OPENED, READ, SAME]),
        (&["--log-file", &log, "--keys", &keys], true, &[OPENED, NO_KEYS]),
    ] {
        let mut server = Server::start(options);
        if is_broken {
            std::fs::write(&keys, "{").expect("written");
            server.wait_for_log(NO_KEYS);
        }
        let before = server.log();
        server.signal("HUP");
        let mut log = String::new();
        let began = std::time::Instant::now();
        while !said.iter().all(|text| log.contains(text)) {
            assert!(began.elapsed() < SAFETY_NET, "{options:?}: {log}");
            log = server.log()[before.len()..].to_owned();
        }
        // All that came of it was said before the end.
        log = server.stop().log[before.len()..].to_owned();
        for text in all {
            assert_eq!(log.contains(text), said.contains(&text), "{options:?} {text}: {log}");
        }
    }
}

#[test]
#[cfg(unix)]
fn a_log_that_cannot_be_opened_again_is_gone_on_with() {
    let folder = Folder::new();
    let inner = folder.typed("inner");
    std::fs::create_dir(&inner).expect("a directory");
    let mut server = Server::start(&["--log-file", &format!("{inner}/log")]);
    std::fs::rename(&inner, folder.typed("moved")).expect("moved");
    server.signal("HUP");
    server.wait_for_log("can't be opened again");
    Client::join(&server, "table", "alice").leave();
    server.stop();
    let log = std::fs::read_to_string(folder.typed("moved/log")).expect("it");
    assert!(log.contains("\"alice\" joined"), "{log}");
}

#[test]
fn kubernetes_variables_are_no_options() {
    let server = serving(
        &["--port", "0"],
        &[
            ("COLLABD_PORT", "tcp://10.96.0.17:8765"),
            ("COLLABD_SERVICE_HOST", "10.96.0.17"),
            ("COLLABD_SERVICE_PORT", "8765"),
            ("COLLABD_PORT_8765_TCP", "tcp://10.96.0.17:8765"),
            ("COLLABD_PORT_8765_TCP_ADDR", "10.96.0.17"),
        ],
    );
    server.wait_for_log("COLLABD_PORT is Kubernetes'");
    Client::join(&server, "table", "alice").leave();
    let log = server.into_log();
    assert!(!log.contains("says nothing"), "{log}");
    // Without --port it is the default one, which may be taken here.
    let mut command = collabd(&["--host", "203.0.113.7"]);
    command.env("COLLABD_PORT", "tcp://10.96.0.17:8765");
    let run = Run::of(command);
    assert!(run.code == Some(1) && run.err.contains("203.0.113.7"), "{}", run.err);
}

#[test]
fn an_unknown_variable_is_named_with_what_was_meant() {
    let server = serving(&["--port", "0"], &[("COLLABD_DATADIR", "/SECRET"), ("COLLABD_X", "y")]);
    server.wait_for_log("COLLABD_DATADIR");
    server.wait_for_log("perhaps COLLABD_DATA_DIR was meant");
    server.wait_for_log("COLLABD_X");
    assert!(!server.into_log().contains("SECRET"));
    let mut command = collabd(&["key", "list", "--file", "/no/such/file"]);
    command.env("COLLABD_KEYZ", "x");
    let run = Run::of(command);
    assert!(run.err.contains("COLLABD_KEYS"), "{}", run.err);
}

#[test]
fn localhost_is_every_address_it_has() {
    let server = Server::spawn(collabd(&["--host", "localhost", "--port", "0"]));
    let port = server.addr().port();
    let found: Vec<_> = ("localhost", port).to_socket_addrs().expect("addresses").collect();
    assert!(!found.is_empty());
    for address in found {
        TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
}

/// Where a name has two addresses whatever this machine's own names have: only root can arrange that.
#[test]
#[cfg(target_os = "linux")]
fn a_name_with_two_addresses_is_listened_on_at_both() {
    let folder = Folder::new();
    let hosts = folder.typed("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.2 localhost\n").expect("written");
    let script = format!("mount --bind '{hosts}' /etc/hosts || exit 77; exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    let probe = Command::new("unshare").args(["-m", "sh", "-c", &script, "true"]).output();
    if !probe.is_ok_and(|done| done.status.success()) {
        println!("not run: only root can give a process names of its own");
        assert!(std::env::var_os("CI").is_none(), "continuous integration runs as root");
        return;
    }
    let program = env!("CARGO_BIN_EXE_collabd");
    command.args([program, "--in-memory", "--host", "localhost", "--port", "0"]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let server = Server::spawn(command);
    let port = server.addr().port();
    for address in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let connected = TcpStream::connect((std::net::IpAddr::from(address), port));
        assert!(connected.is_ok(), "{address:?}: {connected:?}");
    }
    let log = server.into_log();
    assert!(log.contains("on 127.0.0.1:") && log.contains("on 127.0.0.2:"), "{log}");
}

#[test]
fn a_network_of_proxies_is_trusted() {
    let server = serving(&["--port", "0", "--trust-proxy", "10.0.0.0/8,127.0.0.0/8"], &[]);
    let mut wire = Wire::open(&server);
    wire.write(handshake("/ws/table/alice").replacen(
        "\r\n",
        "\r\nX-Forwarded-For: 203.0.113.9, 10.1.2.3\r\n",
        1,
    ));
    wire.upgraded();
    server.wait_for_log("from 203.0.113.9");
    let run = Run::of(collabd(&["--trust-proxy", "10.0.0.0/99"]));
    assert!(run.code == Some(2) && run.err.contains("172.16.0.0/12"), "{}", run.err);
}

#[test]
fn sessions_in_memory_are_said_to_be() {
    let server = Server::start(&[]);
    server.wait_for_log("kept in memory only");
    #[cfg(feature = "durable")]
    {
        let folder = Folder::new();
        let log = Server::start(&["--data-dir", &folder.typed("data")]).into_log();
        assert!(!log.contains("memory only"), "{log}");
    }
}

#[test]
#[cfg(unix)]
fn too_few_open_files_are_a_reason_not_to_start() {
    let run = |files: u32| {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        let program = env!("CARGO_BIN_EXE_collabd");
        command.args(["-c", &script, program, "--in-memory", "--host", "127.0.0.1", "--port", "0"]);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    let refused = Run::of(run(64));
    assert_eq!((refused.code, &*refused.out), (Some(1), ""), "{}", refused.err);
    assert!(refused.err.contains("64 open files") && refused.err.contains("ulimit -n"));
    let server = Server::spawn(run(200));
    Client::join(&server, "table", "alice").leave();
}

/// As HAProxy's and nginx' health checks ask.
#[test]
fn load_balancers_find_it_well() {
    let server = Server::start(&[]);
    for (request, status) in [
        ("OPTIONS / HTTP/1.0\r\n\r\n", 204),
        ("OPTIONS * HTTP/1.0\r\n\r\n", 204),
        ("OPTIONS * HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n", 204),
        ("OPTIONS /healthz HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n", 204),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("GET /healthz HTTP/1.0\r\nHost: backend\r\n\r\n", 200),
        ("HEAD /healthz HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
        ("GET /api/sessions/ HTTP/1.0\r\n\r\n", 200),
        ("GET /metrics HTTP/1.0\r\nHost: backend:80\r\nConnection: close\r\n\r\n", 200),
        ("GET /nothing HTTP/1.0\r\n\r\n", 404),
        ("GET /ws/table/alice HTTP/1.0\r\n\r\n", 426),
    ] {
        let mut wire = Wire::open(&server);
        // More than one has to be none: the first answer ends the connection.
        wire.write([request, "GET /healthz HTTP/1.0\r\n\r\n"].concat());
        let answer = wire.refusal();
        assert_eq!(answer.status, status, "{request:?}");
        assert!(answer.header("connection").is_some_and(|token| token.ends_with("close")));
        assert_eq!(
            answer.body.matches("ok\n").count(),
            usize::from(request.starts_with("GET /healthz"))
        );
    }
    let upgrade = handshake("/ws/table/alice").replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(Wire::ask_for(&server, &upgrade), 426);
}

#[test]
fn every_answer_has_a_date() {
    let server = Server::start(&["--max-connections", "100"]);
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        handshake("/ws/table/alice"),
    ] {
        let mut wire = Wire::open(&server);
        wire.write(&request);
        let head = wire.head();
        let date = head.header("date").unwrap_or_else(|| panic!("{request}: {head:?}"));
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    }
}

/// What a program that asks again and again saves.
#[test]
fn a_state_has_a_tag_and_is_packed_where_that_pays() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    let state = |headers: &str| {
        let mut wire = Wire::open(&server);
        wire.write(format!(
            "GET /api/sessions/table/state HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
        ));
        wire
    };
    let tag_of = || state("").answer().header("etag").expect("a tag").to_owned();
    let tag = tag_of();
    let epoch = alice.ack()["epoch"].as_str().expect("text").to_owned();
    assert!(tag.starts_with(&format!("\"{epoch}-0-")), "{tag}");
    let same = state(&format!("If-None-Match: {tag}\r\n")).answer();
    assert_eq!((same.status, &*same.body), (304, ""));
    for n in 0..50 {
        let name = format!("lens-{n}");
        alice.send(with_id(add(&name, serde_json::json!({"x_mm": n, "y_mm": 0, "name": "x"})), n));
        alice.expect("message_delivered");
    }
    let changed = state(&format!("If-None-Match: {tag}\r\n")).answer();
    let tag = changed.header("etag").expect("a tag");
    assert!(changed.status == 200 && tag.starts_with(&format!("\"{epoch}-50-")), "{tag}");
    assert_eq!(changed.header("content-encoding"), None);
    let packed = state("Accept-Encoding: gzip, deflate\r\n").head();
    let length = |answer: &Response| {
        answer.header("content-length").and_then(|n| n.parse::<usize>().ok()).expect("a length")
    };
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(length(&packed) * 4 < length(&changed), "{packed:?} {changed:?}");
    let weak = packed.header("etag").expect("a tag").to_owned();
    assert_eq!(state(&format!("If-None-Match: {weak}\r\n")).answer().status, 304);
    for headers in ["Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: br\r\n"] {
        assert_eq!(state(headers).head().header("content-encoding"), None, "{headers}");
    }
}

/// The description tells of this server: what it lists is there, with these methods and no others.
#[test]
fn the_openapi_description_is_of_this_server() {
    let server = Server::start(&[]);
    let ask = |method: &str, path: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: 0\r\n\r\n"
        );
        Wire::ask(&server, &request)
    };
    let text = ask("GET", "/api/openapi.json").body;
    let description: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(description["openapi"], "3.1.0");
    assert!(description["info"]["title"].is_string() && description["info"]["version"].is_string());
    let paths = description["paths"].as_object().expect("paths");
    let mut ids = std::collections::HashSet::new();
    for (path, item) in paths {
        let item = item.as_object().expect("a path");
        let named: Vec<&str> =
            path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let declared: Vec<&str> =
            item.get("parameters").and_then(|list| list.as_array()).map_or(Vec::new(), |list| {
                list.iter().filter_map(|one| one["name"].as_str()).collect()
            });
        assert_eq!(declared, named, "{path}");
        let asked = path.replace("{id}", "none");
        let allow = ask("OPTIONS", &asked);
        assert_eq!(allow.status, 204, "{path}");
        let mut allowed: Vec<String> = allow
            .header("allow")
            .expect("methods")
            .split(", ")
            .filter(|method| *method != "HEAD")
            .map(str::to_ascii_lowercase)
            .collect();
        let mut described: Vec<String> =
            item.keys().filter(|key| *key != "parameters").cloned().collect();
        allowed.sort();
        described.sort();
        assert_eq!(allowed, described, "{path}");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let answer = ask(method, &asked);
            let is_described = described.iter().any(|known| known.eq_ignore_ascii_case(method));
            assert_eq!(answer.status != 405, is_described, "{method} {path}");
            if !is_described {
                continue;
            }
            let operation = &item[&method.to_ascii_lowercase()];
            assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()));
            let responses = operation["responses"].as_object().expect("responses");
            let status = answer.status.to_string();
            assert!(responses.contains_key(&status), "{method} {path}: {status} is not described");
            let kind = answer.header("content-type").map(|kind| kind.split(';').next());
            let content = responses[&status]["content"].as_object();
            if let (Some(Some(kind)), Some(content)) = (kind, content) {
                assert!(content.contains_key(kind), "{method} {path}: {kind}");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["name"].is_string() && parameter["schema"]["type"].is_string());
                assert_eq!(parameter["in"], "query");
            }
        }
    }
    // So is every refusal that a request may meet, whatever it asks for.
    let keyed = Server::start(&["--dev-keys", "--require-key"]);
    let long = format!("X: {}\r\n", "x".repeat(17_000));
    let refused = [
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", ""),
        ("Host: evil.example\r\nOrigin: http://evil.example\r\n", ""),
        ("Host: localhost\r\nHost: localhost\r\n", ""),
        ("Host: localhost\r\nContent-Length: 2\r\n", "{}"),
        ("Host: localhost\r\nContent-Length: 99999999999\r\n", ""),
        ("Host: localhost\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        (&format!("Host: localhost\r\n{long}"), ""),
        ("Host: localhost\r\n", ""),
        ("Host: localhost\r\nAuthorization: Bearer wrong\r\n", ""),
        ("Host: localhost\r\nAuthorization: Bearer development\r\n", ""),
    ];
    let mut met = std::collections::BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("a path") {
            let Some(responses) = operation["responses"].as_object() else { continue };
            let (method, path) = (method.to_ascii_uppercase(), path.replace("{id}", "none"));
            for (headers, body) in refused {
                let request =
                    format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n{body}");
                for server in [&server, &keyed] {
                    let status = Wire::ask_for(server, &request).to_string();
                    assert!(responses.contains_key(&status), "{method} {path} {headers}: {status}");
                    met.insert(status);
                }
            }
        }
    }
    for status in ["400", "401", "403", "421", "429", "431"] {
        assert!(met.contains(status), "{status} was not among {met:?}");
    }
    // Everything that is pointed at is there.
    for pointed in text.split("\"$ref\":\"#").skip(1) {
        let pointer = pointed.split('"').next().expect("a pointer");
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
    for path in ["/api/sessions/{id}/state", "/healthz", "/api/compact", "/api/openapi.json"] {
        assert!(paths.contains_key(path), "{path}");
    }
}

#[test]
fn errors_of_the_api_are_json() {
    let server = Server::start(&[]);
    for (request, code, kind) in [
        ("GET /api/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found"),
        ("GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found"),
        ("PUT /api/server HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method_not_allowed"),
        ("GET /api/server HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "misdirected_request"),
        ("GET /api/server HTTP/1.1\r\n\r\n", 400, "bad_request"),
        ("GET /api/server HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, "bad_request"),
        ("GET /api/sessions/none HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found"),
    ] {
        let answer = Wire::ask(&server, request);
        assert_eq!(answer.status, code, "{request}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{request}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let error = &body["error"];
        assert_eq!((&error["code"], &error["type"]), (&code.into(), &kind.into()), "{request}");
        assert!(error["message"].as_str().is_some_and(|line| !line.is_empty()), "{request}");
    }
}

/// Whose a file is that can't be used is said. Only root can make files that are another user's.
#[test]
#[cfg(unix)]
fn a_file_of_another_user_is_called_one() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let folder = Folder::new();
    let (log, keys) = (folder.typed("log"), folder.typed("keys.json"));
    for file in [&log, &keys] {
        std::fs::write(file, "{\"keys\":[]}").expect("written");
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).expect("its own");
    }
    let owner = std::fs::metadata(&log).expect("a file").uid();
    if owner != 0 {
        println!("not run: only root can run it as somebody else");
        assert!(std::env::var_os("CI").is_none(), "continuous integration runs as root");
        return;
    }
    for (option, file) in [("--log-file", &log), ("--keys", &keys)] {
        let mut command = collabd(&["--host", "127.0.0.1", "--port", "0", option, file]);
        command.uid(NOBODY).gid(NOBODY);
        let line = Run::of(command).failed(1);
        assert!(line.contains("belongs to the user number 0"), "{line}");
        assert!(line.contains("runs as the user number 65534"), "{line}");
    }
}

/// As systemd starts a service of `Type=notify` with a watchdog: it is told when the server is ready, that it
/// lives, and when it stops.
#[test]
#[cfg(unix)]
fn a_service_manager_is_told() {
    let folder = Folder::new();
    let path = folder.typed("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let next = || {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let watchdog = [("NOTIFY_SOCKET", &*path), ("WATCHDOG_USEC", "20000")];
    let mut server = serving(&["--port", "0"], &watchdog);
    assert_eq!(next(), "READY=1");
    assert_eq!([next(), next()], ["WATCHDOG=1", "WATCHDOG=1"]);
    server.signal("TERM");
    while next() != "STOPPING=1" {}
    assert_eq!(server.wait().status.code(), Some(0));
    // A manager that is gone is no reason not to serve.
    drop(socket);
    let server = serving(&["--port", "0"], &watchdog);
    Client::join(&server, "table", "alice").leave();
}
