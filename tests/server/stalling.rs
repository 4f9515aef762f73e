//! A disk that doesn't answer: an fsync or a read that doesn't return. Nobody waits for it without end.

#![cfg(all(feature = "durable", target_os = "linux"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Client, Folder, Server, Wire, add, collabd, handshake, with_id};

const SILENT: &str = "the server's disk doesn't answer";

/// A place to store in on a disk that can be made to wait.
struct Disk {
    folder: Folder,
    shim: PathBuf,
}

impl Disk {
    /// `None` where there is no compiler.
    fn new() -> Option<Self> {
        let folder = Folder::new();
        let shim = folder.path().join("stall.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/support/stall.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&shim, &source])
            .arg("-ldl")
            .status();
        match compiled {
            Ok(status) => assert!(status.success(), "the shim can't be compiled: {status}"),
            Err(_) => {
                assert!(std::env::var_os("CI").is_none(), "a disk that waits takes a C compiler");
                eprintln!("not run: a disk that waits takes a C compiler");
                return None;
            }
        }
        Some(Disk { folder, shim })
    }

    fn serve(&self) -> Server {
        let data = self.folder.typed("data");
        let args = ["--host", "127.0.0.1", "--port", "0", "--no-settle", "--data-dir", &*data];
        let mut command = collabd(&args);
        command
            .env("LD_PRELOAD", &self.shim)
            .env("STALL_DIRECTORY", fs::canonicalize(self.folder.path()).expect("a directory"))
            .env("STALL_SYNCS", self.folder.path().join("syncs"))
            .env("STALL_READS", self.folder.path().join("reads"));
        Server::spawn(command)
    }

    /// Has fsyncs wait (`syncs`) or reads (`reads`).
    fn stalls(&self, what: &str) {
        fs::write(self.folder.path().join(what), "").expect("written");
    }

    fn goes_on(&self, what: &str) {
        fs::remove_file(self.folder.path().join(what)).expect("removed");
    }

    /// A server that was just started on what another one has stored: a session that isn't in memory.
    fn with_a_stored_session(&self) -> Server {
        let mut server = self.serve();
        let mut alice = Client::join(&server, "table", "alice");
        alice.send(with_id(add("a", json!({"x_mm": 1.5})), "first"));
        alice.expect("message_delivered");
        // More than is remembered of the file once it was read.
        for n in 0..5 {
            let data = json!({"large": "x".repeat(700_000)});
            alice.send(with_id(add(&format!("large-{n}"), data), format!("{n}")));
            alice.expect("message_delivered");
        }
        server.stop();
        self.serve()
    }
}

fn get(server: &Server, path: &str) -> (u16, String) {
    let answer = Wire::ask(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    (answer.status, answer.body)
}

fn refused(server: &Server, user: &str) {
    let mut wire = Wire::open(server);
    wire.write(handshake(&format!("/ws/table/{user}")));
    let answer = wire.refusal();
    assert!(answer.status == 503 && answer.body.contains(SILENT), "{}", answer.body);
}

#[test]
fn a_join_that_waits_for_a_silent_disk_is_refused() {
    let Some(disk) = Disk::new() else { return };
    for what in ["syncs", "reads"] {
        let server = disk.with_a_stored_session();
        disk.stalls(what);
        std::thread::scope(|scope| {
            for n in 0..3 {
                let server = &server;
                scope.spawn(move || refused(server, &format!("user-{n}")));
            }
        });
        server.wait_for_log("the disk doesn't answer");
        // Others go on meanwhile.
        let [mut alice, mut bob] = Client::join_all(&server, "other", ["alice", "bob"]);
        alice.send(add("b", json!({})));
        bob.expect_command("add_item", "b");
        disk.goes_on(what);
        let mut alice = Client::join(&server, "table", "alice");
        assert_eq!(
            alice.ack()["users"].as_array().expect("a list").len(),
            1,
            "nobody is left over"
        );
        assert_eq!(alice.items().len(), 6);
        drop(server);
        fs::remove_dir_all(disk.folder.path().join("data")).expect("removed");
    }
}

#[test]
fn a_question_about_what_is_stored_is_answered_though_the_disk_is_silent() {
    let Some(disk) = Disk::new() else { return };
    let server = disk.with_a_stored_session();
    disk.stalls("reads");
    let pages = ["/versions", "/changes", "/state", "/state?at=1"];
    std::thread::scope(|scope| {
        for page in pages {
            let path = format!("/api/sessions/table{page}");
            let server = &server;
            scope.spawn(move || {
                let (status, body) = get(server, &path);
                assert!(status == 503 && body.contains(SILENT), "{path}: {status} {body}");
            });
        }
    });
    // As many look as may; they don't come back, and others hear so at once.
    let (status, body) = get(&server, "/api/stored");
    assert!(status == 503 && body.contains("busy"), "{status} {body}");
    assert_eq!(get(&server, "/healthz").0, 200);
    assert_eq!(get(&server, "/api/sessions").0, 200);
    disk.goes_on("reads");
    loop {
        let (status, body) = get(&server, "/api/sessions/table/state");
        if status == 200 {
            let state: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(state["items"][0]["x_mm"], 1.5);
            break;
        }
        assert_eq!(status, 503, "{body}");
    }
}

/// More waits for the disk than may: nobody is let in, and nobody waits for that for ever.
#[test]
fn who_comes_while_too_much_waits_for_a_silent_disk_is_refused() {
    let Some(disk) = Disk::new() else { return };
    let server = disk.serve();
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(with_id(add("a", json!({})), "first"));
    alice.expect("message_delivered");
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    disk.stalls("syncs");
    let large = "x".repeat(900_000);
    std::thread::scope(|scope| {
        let alice = scope.spawn(|| {
            // The last of them wait in her own socket.
            for n in 0..24 {
                alice.send(add("a", json!({"n": n, "large": large})));
            }
            alice.send(with_id(add("last", json!({})), "last"));
            while alice.next()["type"] != "message_delivered" {}
        });
        for _ in 0..19 {
            bob.next();
        }
        let put = "PUT /api/sessions/new/state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n\
                   {\"items\":[]}";
        let put = scope.spawn(|| Wire::ask(&server, put).status);
        refused(&server, "carol");
        assert_eq!(put.join().expect("an answer"), 503);
        let (status, body) = get(&server, "/healthz");
        assert!(status == 503 && body.contains("has not answered"), "{status} {body}");
        disk.goes_on("syncs");
        alice.join().expect("everything is confirmed");
    });
}
