//! Pages that mean no good, keys that are wrong, and what the log has of both (PROTOCOL.md §4).

#[cfg(all(unix, feature = "durable"))]
use std::io::Read;
#[cfg(all(unix, feature = "durable"))]
use std::process::Command;

use crate::support::{Folder, Response, Run, Server, Wire, collabd, handshake, masked};

/// A request with these headers, whole lines.
fn request(method: &str, path: &str, host: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

fn get(server: &Server, path: &str, headers: &str) -> Response {
    Wire::ask(server, &request("GET", path, "localhost", headers))
}

const BEARER: &str = "Authorization: Bearer development\r\n";

fn keyed(options: &[&str]) -> Server {
    Server::start(&[&["--dev-keys", "--require-key"], options].concat())
}

/// `<img src="http://lab-pc:8765/api/sessions?key=x">`, a dozen times, and whatever else a page can have
/// its visitor's browser do.
#[test]
fn no_page_locks_its_visitors_address_out() {
    let server = keyed(&[]);
    let image = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n";
    for path in [
        "/api/sessions?key=x",
        "/metrics?key=x",
        "/key/x/ws/table/alice",
        "/ws/table/alice?key=x",
        "/key/x/view/table",
    ] {
        for headers in ["", image, "Referer: http://evil.example/\r\n"] {
            for _ in 0..4 {
                let status = get(&server, path, headers).status;
                assert!(matches!(status, 401 | 403 | 426), "{path} {headers}: {status}");
            }
        }
    }
    for headers in ["Origin: http://evil.example\r\n", "Origin: null\r\n"] {
        for _ in 0..12 {
            let with_key = format!("{headers}Authorization: Bearer x\r\n");
            assert_eq!(get(&server, "/api/sessions", &with_key).status, 403);
            let page =
                handshake("/ws/table/alice?key=x").replacen("\r\n", &format!("\r\n{headers}"), 1);
            assert_eq!(Wire::ask(&server, &page).status, 403);
        }
    }
    // A page that the browser calls another site's counts for such pages alone.
    let guess = format!("{image}Authorization: Bearer x\r\n");
    let statuses: Vec<u16> =
        (0..12).map(|_| get(&server, "/api/sessions", &guess).status).collect();
    assert_eq!((statuses[9], statuses[10]), (401, 429));
    assert_eq!(get(&server, "/api/sessions", BEARER).status, 200);
    // What no page can make counts.
    for _ in 0..10 {
        assert_eq!(get(&server, "/api/sessions", "Authorization: Bearer x\r\n").status, 401);
    }
    assert_eq!(get(&server, "/api/sessions", BEARER).status, 429);
}

#[test]
fn a_key_in_the_query_counts_on_handshakes_alone() {
    let server = keyed(&[]);
    assert_eq!(get(&server, "/api/sessions?key=development", "").status, 401);
    assert_eq!(get(&server, "/metrics?key=development", "").status, 403);
    let plain = get(&server, "/ws/table/alice?key=development", "");
    assert_eq!(plain.status, 426);
    assert_eq!(Wire::ask_for(&server, &handshake("/ws/table/alice?key=development")), 101);
    assert_eq!(Wire::ask_for(&server, &handshake("/key/development/ws/table/bob")), 101);
}

/// A page whose own name leads here by now is what its browser takes it for: of this server's origin.
#[test]
fn a_name_that_is_made_to_lead_here_opens_nothing() {
    let server = Server::start(&[]);
    let ask = |method: &str, path: &str, host: &str, headers: &str| {
        Wire::ask(&server, &request(method, path, host, headers))
    };
    let same = "Origin: http://evil.example:8765\r\nSec-Fetch-Site: same-origin\r\n";
    for (method, path, headers) in [
        ("GET", "/api/sessions", ""),
        ("GET", "/api/sessions", same),
        ("GET", "/", ""),
        ("GET", "/api/server", same),
        ("GET", "/healthz", same),
        ("GET", "/metrics", same),
        ("DELETE", "/api/sessions/table", same),
        ("DELETE", "/api/sessions/table", ""),
        ("OPTIONS", "/api/sessions/table", same),
    ] {
        let refused = ask(method, path, "evil.example:8765", headers);
        let shown = (refused.status, &*refused.reason);
        assert_eq!(shown, (421, "Misdirected Request"), "{method} {path} {headers}");
        assert!(refused.body.contains("--allow-host"), "{refused:?}");
        assert_eq!(refused.header("access-control-allow-origin"), None);
    }
    let page = handshake("/ws/table/alice")
        .replace("Host: 127.0.0.1\r\n", &format!("Host: evil.example:8765\r\n{same}"));
    assert_eq!(Wire::ask(&server, &page).status, 421);
    // What tells nothing is for whoever watches, by whatever name; editors and scripts send no Origin.
    for path in ["/healthz", "/metrics"] {
        assert_eq!(ask("GET", path, "collabd.monitoring.svc:8765", "").status, 200, "{path}");
    }
    let editor = handshake("/ws/table/alice").replace("127.0.0.1", "any-name:8765");
    assert_eq!(Wire::ask_for(&server, &editor), 101);
    for host in ["127.0.0.1:8765", "192.0.2.7", "[::1]:8765", "localhost", "LOCALHOST:1"] {
        assert_eq!(ask("GET", "/api/sessions", host, "").status, 200, "{host}");
    }
    for host in ["localhost.evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1"] {
        assert_eq!(ask("GET", "/api/sessions", host, "").status, 421, "{host}");
    }
    let log = server.into_log();
    assert!(log.contains("127.0.0.1: a request to another name"), "{log}");
    assert!(!log.contains("evil.example"), "{log}");

    let server = Server::start(&["--allow-host", "lab.example,other.example"]);
    for host in ["lab.example:8765", "OTHER.example"] {
        let status = Wire::ask(&server, &request("GET", "/api/sessions", host, "")).status;
        assert_eq!(status, 200, "{host}");
    }
    assert_eq!(Wire::ask(&server, &request("GET", "/", "evil.example", "")).status, 421);
    // Behind a proxy that is trusted the name is its business.
    let server = Server::start(&["--trust-proxy", "127.0.0.0/8"]);
    let behind = request("GET", "/", "any.example", "X-Forwarded-For: 10.1.2.3\r\n");
    assert_eq!(Wire::ask(&server, &behind).status, 200);
    // A browser beside the proxy says nothing of it.
    assert_eq!(Wire::ask(&server, &request("GET", "/", "any.example", "")).status, 421);
}

#[test]
fn a_missing_or_wrong_key_is_401_under_api_and_403_elsewhere() {
    let server = keyed(&[]);
    for headers in ["", "Authorization: Bearer wrong\r\n", "Authorization: Digest x\r\n"] {
        let refused = get(&server, "/api/sessions", headers);
        assert_eq!((refused.status, &*refused.reason), (401, "Unauthorized"), "{headers}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        let error: serde_json::Value = serde_json::from_str(&refused.body).expect("JSON");
        assert_eq!(
            (&error["error"]["code"], &error["error"]["type"]),
            (&401.into(), &"unauthorized".into())
        );
        assert!(error["error"]["message"].as_str().is_some_and(|line| line.contains("key")));
        let refused = get(&server, "/metrics", headers);
        assert_eq!((refused.status, refused.header("www-authenticate")), (403, None));
        assert!(refused.body.contains("valid key"), "{refused:?}");
    }
}

#[test]
#[cfg(unix)]
fn wrong_keys_lockouts_and_foreign_pages_are_in_the_log_and_no_key_is() {
    let server = keyed(&[]);
    let wrong = "Authorization: Bearer SECRET-KEY\r\n";
    for _ in 0..12 {
        get(&server, "/api/sessions", wrong);
    }
    for n in 0..12 {
        let page = format!("Origin: http://page-{n}.example\r\n{wrong}");
        assert_eq!(get(&server, "/api/sessions", &page).status, 403);
    }
    let log = server.into_log();
    let about = |words: &str| log.lines().filter(|line| line.contains(words)).collect::<Vec<_>>();
    assert_eq!(about("127.0.0.1: a wrong key, ").len(), 10, "{log}");
    assert!(about("a wrong key, ")[2].ends_with("3 within a minute"), "{log}");
    let locked = about("127.0.0.1 is locked out");
    assert!(locked.len() == 1 && locked[0].contains("10 wrong"), "{log}");
    let pages = about("a page of ");
    assert_eq!(pages.len(), 2, "{log}");
    assert!(pages[0].contains("http://page-0.example") && pages[0].contains("(1 from"), "{log}");
    assert!(pages[1].contains("(10 from there"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[test]
fn a_key_that_is_typed_in_a_wrong_place_is_not_repeated() {
    let key = format!("ck_{}", "0123456789abcdef".repeat(4));
    let named = format!("--{key}");
    let with_value = format!("--debug={key}");
    for args in [
        &[&*key][..],
        &["serve", &key],
        &["check", "ws://localhost", &key],
        &["sessions", &key],
        &["key", &key],
        &["key", "list", &key],
        &[&named],
        &[&with_value],
        &["--port", &key],
        &["--trust-proxy", &key],
        &["--linger", &key],
    ] {
        let run = Run::of(collabd(args));
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.err);
        assert!(!run.err.contains("0123456789abcdef") && !run.out.contains("0123"), "{}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
    let run = Run::of(collabd(&["sevre"]));
    assert!(run.err.contains("serve"), "{}", run.err);
    let run = Run::of(collabd(&["--prot", "1"]));
    assert!(run.err.contains("--port"), "{}", run.err);
}

/// All that the program prints and logs until it ends, or serves: then it is stopped.
#[cfg(all(unix, feature = "durable"))]
fn all_it_says(mut command: Command) -> String {
    let mut child = command.spawn().expect("it starts");
    let (mut out, mut err) =
        (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let err = std::thread::spawn(move || {
        let mut said = String::new();
        err.read_to_string(&mut said).map(|_| said)
    });
    let (mut said, mut some) = (Vec::new(), [0; 4096]);
    let mut is_stopped = false;
    loop {
        match out.read(&mut some).expect("a pipe") {
            0 => break,
            read => said.extend_from_slice(&some[..read]),
        }
        if !is_stopped && String::from_utf8_lossy(&said).contains("Ctrl+C stops it") {
            is_stopped = true;
            let kill = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
            assert!(kill.expect("kill runs").success());
        }
    }
    child.wait().expect("it ends");
    String::from_utf8_lossy(&said).into_owned() + &err.join().expect("text").expect("text")
}

/// Whatever option a key is given to by mistake, or word, it is in no terminal and no log. The options are those
/// that `--help` lists.
#[test]
#[cfg(all(unix, feature = "durable"))]
fn a_key_that_is_given_to_a_wrong_option_is_not_repeated() {
    let digits = "0123456789abcdef".repeat(4);
    let folder = Folder::new();
    let data = folder.typed("data");
    assert_eq!(Run::of(collabd(&["sessions", "list", "--data-dir", &data])).code, Some(1));
    let local = ["--host", "127.0.0.1", "--port", "0"];
    let keys = folder.typed("keys.json");
    let there = ["--data-dir", &*data];
    let commands = [
        [&["serve"], &local[..]].concat(),
        [&["config", "check"], &local[..]].concat(),
        [&["echo"], &local[..]].concat(),
        vec!["check", "ws://127.0.0.1:1"],
        vec!["key", "new", "--name", "a", "--file", &keys],
        vec!["key", "list"],
        vec!["key", "revoke", "a"],
        [&["sessions", "list"], &there[..]].concat(),
        vec!["sessions", "list", "--server", "http://127.0.0.1:1"],
        [&["sessions", "show", "s"], &there[..]].concat(),
        [&["sessions", "export", "s"], &there[..]].concat(),
        [&["sessions", "backup", &data], &there[..]].concat(),
        [&["sessions", "import", "s", "f"], &there[..]].concat(),
        [&["sessions", "restore", "s"], &there[..]].concat(),
        [&["sessions", "delete", "s"], &there[..]].concat(),
        [&["sessions", "compact"], &there[..]].concat(),
        [&["record", "s", "--out", &data], &there[..]].concat(),
        vec!["replay", &keys, "ws://127.0.0.1:1"],
    ];
    let mut tried = 0;
    for command in &commands {
        let words = command.iter().take_while(|word| !word.starts_with("--")).copied();
        let page = Run::of(collabd(&[&["help"][..], &words.collect::<Vec<_>>()].concat())).out;
        assert!(page.starts_with("Usage: collabd"), "{command:?}: {page}");
        for name in page.lines().filter_map(|line| line.strip_prefix("  --")) {
            // A switch has no value, which is written in capitals.
            let mut words = name.split_whitespace();
            let name = words.next().expect("a name");
            if !words
                .next()
                .is_some_and(|word| word.chars().all(|c| c.is_uppercase() || "|,".contains(c)))
            {
                continue;
            }
            for form in [
                "ck_KEY",
                "none/ck_KEY/file",
                "http://ck_KEY",
                "http://127.0.0.1:1/?key=ck_KEY",
                "ck_KEY.example:1",
            ] {
                let value = form.replace("KEY", &digits);
                let option = format!("--{name}");
                // What is typed last counts.
                let mut command = collabd(&[&command[..], &[&option, &value]].concat());
                command.current_dir(folder.path());
                let said = all_it_says(command);
                assert!(!said.contains(&digits[..16]), "{option} {form}: {said}");
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
    let key = format!("ck_{digits}");
    for words in [
        &["check", &key][..],
        &["check", &format!("ws://{key}")],
        &["check", &format!("ws://127.0.0.1:1/{key}")],
        &["sessions", "show", &key, "--data-dir", &data],
        &["sessions", "delete", &key, "--data-dir", &data],
        &["sessions", "import", &key, &key, "--data-dir", &data],
        &["sessions", "backup", &key, "--data-dir", &data],
        &["record", &key, "--out", &key, "--data-dir", &data],
        &["replay", &key, "ws://127.0.0.1:1"],
        &["replay", &data, &key],
        &["key", "revoke", &key],
        &[&format!("--log-file={key}/x")],
    ] {
        let mut command = collabd(words);
        command.current_dir(folder.path());
        let said = all_it_says(command);
        assert!(!said.is_empty() && !said.contains(&digits[..16]), "{words:?}: {said}");
    }
}

#[test]
#[cfg(unix)]
fn a_log_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let file = folder.typed("log");
    let mode = || std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
    let server = Server::start(&["--log-file", &file]);
    assert_eq!(mode(), 0o600);
    drop(server);
    // Who made it for others to read keeps it so, and is told where that is everybody.
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("its own");
    let log = Server::start(&["--log-file", &file]).into_log();
    assert!(mode() == 0o640 && !log.contains("chmod"), "{log}");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("its own");
    let log = Server::start(&["--log-file", &file]).into_log();
    assert!(mode() == 0o644 && log.contains("chmod o="), "{log}");
}

#[test]
#[cfg(unix)]
fn a_key_in_a_close_reason_is_not_logged() {
    let server = Server::start(&[]);
    let reason = format!("{} ck_{}", "bye", "0123456789abcdef".repeat(4));
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    wire.write(masked(0x88, &[&1000u16.to_be_bytes(), reason.as_bytes()].concat()));
    assert_eq!(wire.closed().0, 1000);
    let log = server.into_log();
    assert!(!log.contains("0123456789") && log.contains("a reason of 71 bytes"), "{log}");
}
