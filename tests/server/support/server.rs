//! The built program: a server on a free port, or a run that ends by itself.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::SAFETY_NET;

/// Set to 1, every story is told with a thread that writes for each client, as it is on Windows.
const WITH_WRITER_THREADS: &str = "STORIES_WITH_WRITER_THREADS";

/// The program with these arguments and none of the variables that are set where the tests run. A server
/// stores nothing where it is not told to.
pub fn collabd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_collabd"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COLLABD_") {
            command.env_remove(name);
        }
    }
    command.env("COLLABD_IN_MEMORY", "1");
    if std::env::var(WITH_WRITER_THREADS).is_ok_and(|set| set == "1") {
        command.env("COLLABD_WRITER_THREADS", "1");
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A port nobody has, and nobody is given by chance: those that systems give out begin above 32,000.
pub fn free_port() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 1000 * 10) as u16;
    let mut ports =
        std::iter::repeat_with(|| 20_000 + first + NEXT.fetch_add(1, Ordering::Relaxed));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("a port").to_string()
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    addr: SocketAddr,
    /// What it printed up to the line that says where it listens.
    pub printed: String,
    stdout: BufReader<ChildStdout>,
    log: Log,
}

/// How a server ended, and all it ever logged.
pub struct Ended {
    pub status: ExitStatus,
    pub log: String,
}

impl Server {
    /// Starts one on this machine alone, on a port that is free.
    pub fn start(args: &[&str]) -> Self {
        let args: Vec<&str> =
            ["--host", "127.0.0.1", "--port", "0"].iter().chain(args).copied().collect();
        Self::spawn(collabd(&args))
    }

    /// The resident memory that is its own, in MiB; what it has mapped of its binary depends on the
    /// system.
    #[cfg(target_os = "linux")]
    pub fn heap_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let rss = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = rss.and_then(|rss| rss.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("a number") / 1024
    }

    /// Starts a command that listens and waits until it says where.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("collabd starts");
        let log = Log::of(child.stderr.take().expect("a piped stderr"));
        Self::listening(child, log)
    }

    /// The same with a log that is left to the test, to read or not to read.
    pub fn spawn_unread(mut command: Command) -> (Self, ChildStderr) {
        let mut child = command.spawn().expect("collabd starts");
        let stderr = child.stderr.take().expect("a piped stderr");
        (Self::listening(child, Log::of(std::io::empty())), stderr)
    }

    fn listening(mut child: Child, log: Log) -> Self {
        let mut stdout = BufReader::new(child.stdout.take().expect("a piped stdout"));
        let mut printed = String::new();
        let addr = loop {
            let start = printed.len();
            let size = stdout.read_line(&mut printed).expect("UTF-8");
            assert!(size > 0, "it ended before it listened: {printed}{}", log.text());
            if let Some(addr) = printed[start..].trim_end().strip_prefix("listening on ") {
                break addr.parse().expect("an address");
            }
        };
        Server { child, addr, printed, stdout, log }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next line it prints.
    pub fn prints(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("UTF-8");
        line
    }

    /// Waits until it has logged a line with this text.
    pub fn wait_for_log(&self, text: &str) {
        self.log.wait_until(text, |log| log.text.contains(text));
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Sends it a signal: `TERM`, `INT`.
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success(), "kill -s {name}: {sent}");
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> Ended {
        self.log.wait_until("the end", |log| log.has_ended);
        let status = self.child.wait().expect("an exit status");
        Ended { status, log: self.log.text() }
    }

    /// Waits until it has ended by itself, where nobody reads its log: its stdout ends with it.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.stdout.read_to_string(&mut String::new()).expect("UTF-8");
        self.child.wait().expect("an exit status").code()
    }

    /// Tells it to stop and waits until it has.
    #[cfg(unix)]
    pub fn stop(&mut self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// Its whole log, after it was told to stop; empty where there is no signal for that.
    pub fn into_log(mut self) -> String {
        #[cfg(unix)]
        return self.stop().log;
        #[cfg(not(unix))]
        return String::new();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log.text());
        }
    }
}

/// What a server logs, read as it comes: nobody may have to wait for a test that doesn't look.
struct Log(Arc<(Mutex<Logged>, Condvar)>);

#[derive(Default)]
struct Logged {
    text: String,
    /// The server has closed its stderr, which it does by ending.
    has_ended: bool,
}

impl Log {
    fn of(stderr: impl Read + Send + 'static) -> Self {
        let log = Log(Arc::default());
        let shared = log.0.clone();
        thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            loop {
                let mut line = String::new();
                let size = lines.read_line(&mut line).expect("UTF-8");
                let mut logged = shared.0.lock().expect("the log");
                logged.text.push_str(&line);
                logged.has_ended = size == 0;
                shared.1.notify_all();
                if size == 0 {
                    return;
                }
            }
        });
        log
    }

    fn text(&self) -> String {
        self.0.0.lock().expect("the log").text.clone()
    }

    fn wait_until(&self, wanted: &str, holds: impl Fn(&Logged) -> bool) {
        let (logged, changed) = &*self.0;
        let logged = logged.lock().expect("the log");
        let (logged, waited) =
            changed.wait_timeout_while(logged, SAFETY_NET, |log| !holds(log)).expect("the log");
        let timed_out = waited.timed_out();
        drop(logged);
        assert!(!timed_out, "{wanted} is not logged");
    }
}

/// A run that ends by itself, and what it gave.
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("collabd starts");
        let (mut stdout, mut stderr) =
            (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
        let (done, finished) = mpsc::channel();
        thread::spawn(move || {
            let (mut out, mut err) = (String::new(), String::new());
            stdout.read_to_string(&mut out).expect("UTF-8");
            stderr.read_to_string(&mut err).expect("UTF-8");
            let _ = done.send((out, err));
        });
        let Ok((out, err)) = finished.recv_timeout(SAFETY_NET) else {
            let _ = child.kill();
            panic!("{command:?} does not end");
        };
        Run { code: child.wait().expect("an exit status").code(), out, err }
    }

    /// What it printed, where it did what it should and had nothing to remark.
    pub fn succeeded(self) -> String {
        assert_eq!((self.code, &*self.err), (Some(0), ""));
        self.out
    }

    /// The one line that it failed with.
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, &*self.out), (Some(code), ""), "{}", self.err);
        let line = self.err.strip_prefix("collabd: ").expect("who says it").trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "{line}");
        line.to_owned()
    }
}
