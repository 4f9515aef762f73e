//! After a burst its memory goes back to the system.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, SAFETY_NET, Server, reading_slowly};

const SESSIONS: usize = 8;
/// For each client that doesn't read, just below what may wait for it.
const CHATS: usize = 3500;

#[test]
fn what_waited_for_clients_that_did_not_read_is_given_back() {
    let server = Server::start(&["--rate-messages", "0", "--rate-bytes", "0"]);
    let idle = server.heap_mib();
    let clients = (0..SESSIONS).map(|session| {
        let table = format!("table-{session}");
        let mut alice = Client::join(&server, &table, "alice");
        let sloth = Client::knock_on(reading_slowly(&server), &server, &table, "sloth");
        alice.expect("user:joined");
        for n in 0..CHATS {
            alice.send(json!({"type": "chat", "n": n, "text": "x".repeat(2000)}));
        }
        alice.send(json!({"type": "ping"}));
        alice.expect("pong");
        (alice, sloth)
    });
    let clients: Vec<_> = clients.collect();
    let most = server.heap_mib();
    assert!(most > idle + 20, "{most} MiB after {idle} are no burst");
    drop(clients);
    let until = Instant::now() + SAFETY_NET;
    while server.heap_mib() > idle + (most - idle) / 3 {
        let now = server.heap_mib();
        assert!(Instant::now() < until, "{now} of {most} MiB are still there, {idle} when idle");
        std::thread::sleep(Duration::from_millis(50));
    }
}
