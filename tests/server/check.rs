//! `collabd check` against the real server, against a small correct one, and against the small one
//! with one fault at a time: every fault has to be found, and at the step that is about it.

mod canvas;
mod faulty;
mod session;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use faulty::Fault;

/// What one run of `collabd check` gave.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    /// The names of the steps whose line begins with `mark`.
    fn steps(&self, mark: char) -> Vec<&str> {
        let lines = self.out.lines().filter_map(|line| line.strip_prefix(mark));
        lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect()
    }
}

fn check(url: &str, seconds: u32) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_collabd"))
        .args(["check", url, "--seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("collabd starts");
    let (mut out, mut err) =
        (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let (mut text, mut errors) = (String::new(), String::new());
        let read = out.read_to_string(&mut text).and_then(|_| err.read_to_string(&mut errors));
        let _ = done.send(read.map(|_| (text, errors)));
    });
    // Every wait in `check` has its own deadline; this one only keeps a broken `check` from hanging
    // the tests.
    let Ok(read) = finished.recv_timeout(Duration::from_secs(300)) else {
        let _ = child.kill();
        panic!("check {url} did not end");
    };
    let (out, err) = read.expect("UTF-8");
    Run { code: child.wait().expect("an exit code").code(), out, err }
}

/// Runs `check` against each fault, all at once, and compares the steps that are ✗.
fn each_is_found(faults: &[(Fault, &[&str])]) {
    let wrong: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> =
            faults.iter().map(|(fault, steps)| scope.spawn(move || found(*fault, steps))).collect();
        runs.into_iter().filter_map(|run| run.join().expect("a run")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is wrong with the report on `fault`, if anything is.
fn found(fault: Fault, steps: &[&str]) -> Option<String> {
    let run = check(&format!("ws://{}", faulty::start(fault)), 1);
    let right = run.code == Some(1) && run.steps('✗') == steps;
    (!right).then(|| {
        format!(
            "{fault:?}: expected ✗ at {steps:?}, got exit {:?} and\n{}{}",
            run.code, run.out, run.err
        )
    })
}

/// The server that is built here, and its end.
struct Collabd(Child);

impl Collabd {
    fn start(arguments: &[&str]) -> (Collabd, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_collabd"))
            .args(["--host", "127.0.0.1", "--port", "0"])
            .env("COLLABD_IN_MEMORY", "1")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("collabd starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let server = Collabd(child);
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listening on ").map(|(_, rest)| rest.to_owned()))
            .expect("a line that says where it listens");
        // It may go on writing; nobody has to read it, but it must not get stuck.
        thread::spawn(move || lines.for_each(drop));
        let address = address.split_whitespace().next().expect("an address").to_owned();
        (server, address)
    }
}

impl Drop for Collabd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_real_server_passes() {
    for arguments in [&[][..], &["--no-settle"]] {
        let (_server, address) = Collabd::start(arguments);
        let run = check(&format!("ws://{address}"), 2);
        assert_eq!(run.code, Some(0), "{arguments:?}\n{}{}", run.out, run.err);
    }
}

#[test]
#[cfg(feature = "durable")]
fn nothing_is_left_on_a_server_that_keeps_sessions() {
    let data = std::env::temp_dir().join(format!("collabd-check-{}", std::process::id()));
    let (server, address) = Collabd::start(&[
        "--data-dir",
        data.to_str().expect("a name"),
        "--max-message-bytes",
        "1MiB",
    ]);
    let run = check(&format!("ws://{address}"), 1);
    assert_eq!(run.code, Some(0), "{}", run.out);
    assert!(!run.out.contains("doesn't let"), "{}", run.out);
    drop(server);
    let list = Command::new(env!("CARGO_BIN_EXE_collabd"))
        .args(["sessions", "list", "--json", "--data-dir"])
        .arg(&data)
        .output()
        .expect("runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    std::fs::remove_dir_all(&data).expect("removed");
    assert!(list.contains("\"total\":0"), "{list}");
}

/// It is killed while it is at it, and removes nothing; nor does it with Ctrl+C.
#[test]
#[cfg(all(unix, feature = "durable"))]
fn nothing_is_left_on_a_server_that_keeps_sessions_when_it_is_killed() {
    let data = std::env::temp_dir().join(format!("collabd-check-killed-{}", std::process::id()));
    let (server, address) = Collabd::start(&["--data-dir", data.to_str().expect("a name")]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_collabd"))
        .args(["check", &format!("ws://{address}"), "--seconds", "60"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("collabd starts");
    // Once it says that changes were applied, there is something to be kept.
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    assert!(lines.any(|line| line.expect("UTF-8").contains("confirm")), "it confirms a change");
    child.kill().expect("killed");
    child.wait().expect("an end");
    drop(server);
    let list = Command::new(env!("CARGO_BIN_EXE_collabd"))
        .args(["sessions", "list", "--json", "--data-dir"])
        .arg(&data)
        .output()
        .expect("runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    std::fs::remove_dir_all(&data).expect("removed");
    assert!(list.contains("\"total\":0"), "{list}");
}

#[test]
fn a_correct_small_server_passes() {
    for fault in [Fault::None, Fault::RaisedLimit] {
        let run = check(&format!("{}/key/pssst", faulty::start(fault)), 1);
        assert_eq!(
            (run.code, run.steps('✗'), run.steps('–')),
            (Some(0), vec![], vec![]),
            "{}{}",
            run.out,
            run.err
        );
        let steps = run.steps('✓').len();
        assert!(run.out.ends_with(&format!("{steps} of {steps} steps passed\n")), "{}", run.out);
        assert_eq!(run.out.contains("limit is higher"), fault == Fault::RaisedLimit, "{}", run.out);
        assert!(run.out.contains("/key/…") && !run.out.contains("pssst"), "{}", run.out);
    }
}

#[test]
fn faults_of_the_greeting() {
    each_is_found(&[
        (Fault::NoAck, &["ack"]),
        (Fault::AckAfterJoined, &["ack"]),
        (Fault::UsersAsStrings, &["ack", "second user", "isolation"]),
        (Fault::NoOwnJoined, &["joined"]),
        (Fault::OthersNotTold, &["second user"]),
        (Fault::NullForEmpty, &["empty canvas", "second user"]),
    ]);
}

#[test]
fn faults_of_the_heartbeat_and_of_staying() {
    each_is_found(&[
        (Fault::NoPong, &["heartbeat"]),
        (Fault::PongWithoutId, &["heartbeat"]),
        (Fault::BinaryPong, &["heartbeat"]),
        (
            Fault::LocalTime,
            &[
                "ack",
                "joined",
                "heartbeat",
                "second user",
                "command",
                "changes",
                "cursor",
                "unknown type",
                "fragments",
                "lost connection",
                "isolation",
                "leave",
            ],
        ),
        (Fault::CloseUnanswered, &["close"]),
        (Fault::KeepsTcpOpen, &["close"]),
    ]);
}

/// The time until the stay is no part of the fault, so a slow machine may show it earlier as well.
#[test]
fn a_server_that_drops_the_silent() {
    let run = check(&format!("ws://{}", faulty::start(Fault::DropsTheSilent)), 5);
    assert_eq!(run.code, Some(1), "{}", run.out);
    assert!(run.steps('✗').contains(&"stay"), "{}", run.out);
}

#[test]
fn faults_of_passing_on() {
    each_is_found(&[
        (Fault::Echoes, &["no echo", "unknown type", "new canvas"]),
        (Fault::TrustsUserId, &["command", "cursor", "unknown type"]),
        (Fault::NoSeq, &["command", "changes", "confirmation"]),
        (Fault::DropsSome, &["order", "both at once"]),
        (Fault::Reorders, &["order", "both at once"]),
        (Fault::FloatsEverything, &["command"]),
        (Fault::GuestsUnnumbered, &["both at once"]),
        (Fault::RelaysParts, &["changes"]),
        (Fault::DropsCursors, &["cursor"]),
        (Fault::DropsUnknown, &["unknown type", "fragments"]),
        (Fault::LowLimit, &["fragments"]),
    ]);
}

#[test]
fn faults_of_the_document() {
    each_is_found(&[
        (Fault::NoConfirmation, &["confirmation"]),
        (Fault::AppliesRepeats, &["repeated id"]),
        (Fault::RepeatsUnsaid, &["repeated id"]),
        (Fault::TakesOtherWithSameId, &["repeated id"]),
        (Fault::NoLateState, &["late join"]),
        (Fault::ItemsLackUuid, &["late join", "new canvas", "host's canvas"]),
        (Fault::MoveTakesAll, &["late join"]),
        (Fault::RemovedComesBack, &["late join"]),
        (Fault::ForgetsHistory, &["catch-up"]),
        (Fault::KeepsOldCanvas, &["new canvas"]),
        (Fault::SendsNewCanvas, &["new canvas"]),
    ]);
}

#[test]
fn faults_of_membership() {
    each_is_found(&[
        (Fault::NoLeft, &["lost connection", "leave"]),
        (Fault::NoNewHost, &["new host"]),
        (Fault::TakeoverWrongCode, &["takeover"]),
        (Fault::TakeoverKeepsOld, &["takeover"]),
        (Fault::TakeoverTold, &["takeover"]),
        (Fault::OldEndRemovesNew, &["takeover"]),
        (Fault::CrossSession, &["isolation"]),
        (Fault::NamesEncoded, &["names"]),
        (Fault::WipesHost, &["host's canvas"]),
        (Fault::TakesAnySnapshot, &["guest's snapshot"]),
    ]);
}

#[test]
fn faults_of_refusing() {
    each_is_found(&[
        (Fault::ClosesOnBadJson, &["bad JSON"]),
        (Fault::IgnoresBadJson, &["bad JSON"]),
        (Fault::RelaysMalformed, &["malformed"]),
        (Fault::AppliesHalf, &["malformed"]),
        (Fault::RelaysReserved, &["reserved types"]),
        (Fault::AcceptsBinary, &["binary"]),
        (Fault::WrongCloseCode, &["binary"]),
        (Fault::AcceptsUnmasked, &["unmasked"]),
        (Fault::SwallowsTooBig, &["too big"]),
        (Fault::UpgradesAnything, &["unknown path"]),
        (Fault::BadRequestWithoutUpgrade, &["no upgrade"]),
    ]);
}

/// Nothing more can be said of it than at the first step, so there is one line for it.
fn only_connect_fails(run: &Run, words: &str) {
    assert_eq!((run.code, run.steps('✗')), (Some(1), vec!["connect"]), "{}{}", run.out, run.err);
    let line = run.out.lines().find(|line| line.starts_with('✗')).expect("a line for it");
    assert!(line.contains(words), "{line}");
    assert_eq!((run.steps('✓').len(), run.steps('–').len()), (0, 0), "{}", run.out);
}

#[test]
fn nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    only_connect_fails(&check(&format!("ws://{address}"), 1), "nothing listens at");
}

/// Gives the first connection to `serve`, once it has asked something.
fn serving(serve: impl FnOnce(&mut TcpStream) -> io::Result<()> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 16])?;
        serve(&mut stream)?;
        io::copy(&mut stream, &mut io::sink())
    });
    address.to_string()
}

/// A server that answers with `answer`, whatever was asked.
fn answering(answer: &'static str) -> String {
    serving(move |stream| stream.write_all(answer.as_bytes()))
}

#[test]
fn a_server_that_says_nothing() {
    // Nobody accepts: the connection waits in the listener, which the system has opened all the
    // same.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    only_connect_fails(&check(&format!("ws://{address}"), 1), "did not answer");
}

/// Each byte comes in time; the answer never does.
#[test]
fn a_server_that_drips() {
    let dripping = serving(|stream| {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nX-Slow: ")?;
        loop {
            stream.write_all(b"x")?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    only_connect_fails(&check(&dripping, 1), "did not answer");
}

#[test]
fn servers_of_another_kind() {
    let page =
        answering("HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\nno such page\n\nsorry!!\n");
    only_connect_fails(&check(&page, 1), "404 Not Found: \"no such page\"");
    let shell = answering("SSH-2.0-OpenSSH_9.9\r\n");
    only_connect_fails(&check(&shell, 1), "does not speak HTTP: \"SSH-2.0");
    let wrong_key = answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: x\r\n\r\n",
    );
    only_connect_fails(&check(&wrong_key, 1), "Sec-WebSocket-Accept");
}

#[test]
fn addresses_that_are_none() {
    for (url, words) in [
        ("wss://lab-pc/key/pssst", "TLS"),
        ("http://lab-pc/key/pssst", "ws://"),
        ("ws://lab-pc:99999/key/pssst", "port"),
        ("ws:///key/pssst", "host"),
        ("ws://lab-pc/?key=pssst", "?"),
    ] {
        let run = check(url, 1);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{url}");
        assert!(run.err.contains(words) && !run.err.contains("pssst"), "{url}: {}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
}
