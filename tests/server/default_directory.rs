//! Where sessions are stored when no directory is named.

#![cfg(all(unix, not(target_os = "macos"), feature = "durable"))]

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{Client, Folder, Run, Server, Wire, add, collabd, with_id};

const LOCAL: [&str; 4] = ["--host", "127.0.0.1", "--port", "0"];

/// collabd as a user runs it whose home is this folder.
fn at_home(home: &Folder, args: &[&str]) -> Command {
    let mut command = collabd(args);
    command.env_remove("COLLABD_IN_MEMORY").env_remove("STATE_DIRECTORY");
    command.env_remove("XDG_DATA_HOME").env("HOME", home.path());
    command
}

fn serve(home: &Folder) -> Server {
    Server::spawn(at_home(home, &LOCAL))
}

/// Adds an item, and waits for the confirmation.
fn add_item(server: &Server) {
    let mut alice = Client::join(server, "table", "alice");
    alice.send(with_id(add("a", json!({"x_mm": 1.5})), "first"));
    alice.expect("message_delivered");
}

#[test]
fn sessions_survive_where_nobody_has_named_a_directory() {
    let home = Folder::new();
    let mut server = serve(&home);
    add_item(&server);
    server.stop();
    assert!(home.path().join(".local/share/collabd/collabd.db").is_file());

    let listed = Run::of(at_home(&home, &["sessions", "list"])).succeeded();
    assert!(listed.contains("table"), "{listed}");
    let server = serve(&home);
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.items().len(), 1);
}

#[test]
fn a_service_has_the_directory_that_systemd_gives_it() {
    let (home, state) = (Folder::new(), Folder::new());
    let mut command = at_home(&home, &LOCAL);
    command.env("STATE_DIRECTORY", state.path());
    let mut server = Server::spawn(command);
    add_item(&server);
    server.stop();
    assert!(state.path().join("collabd.db").is_file());
    assert!(!home.path().join(".local").exists());
}

#[test]
fn in_memory_nothing_is_stored() {
    let home = Folder::new();
    let mut server = Server::spawn(at_home(&home, &[&LOCAL[..], &["--in-memory"]].concat()));
    add_item(&server);
    assert_eq!(page(&server, "/healthz"), "ok\n");
    server.stop();
    assert!(!home.path().join(".local").exists());
}

fn page(server: &Server, path: &str) -> String {
    Wire::ask(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).body
}

/// Serves, and says in the log, on the page and to load balancers why nothing is stored.
fn says(server: &Server, why: &str) {
    server.wait_for_log("kept in memory only");
    let health = page(server, "/healthz");
    assert!(health.starts_with("ok, but") && health.contains(why), "{health}");
    let told: serde_json::Value = page(server, "/api/server").parse().expect("JSON");
    assert_eq!(told["durable"], false);
    assert!(told["not_stored"].as_str().is_some_and(|told| told.contains(why)), "{told}");
    add_item(server);
}

#[test]
fn a_second_server_of_a_user_serves_in_memory_and_says_so() {
    let home = Folder::new();
    let first = serve(&home);
    let second = serve(&home);
    // Not long: the editor's Start Server gives up after 1.5 s.
    second.wait_for_log("waiting 0.5 s for it to end");
    says(&second, "another collabd");
    let told: serde_json::Value = page(&first, "/api/server").parse().expect("JSON");
    assert_eq!((&told["durable"], &told["not_stored"]), (&json!(true), &json!(null)));
}

#[test]
fn a_default_directory_that_can_not_be_made_is_no_reason_not_to_serve() {
    let home = Folder::new();
    fs::write(home.path().join(".local"), "a file").expect("written");
    says(&serve(&home), "can't make the data directory");
    // One that was named is.
    let named = home.path().join(".local/share/collabd");
    let args = [&LOCAL[..], &["--data-dir", named.to_str().expect("UTF-8")]].concat();
    let line = Run::of(at_home(&home, &args)).failed(1);
    assert!(line.contains("can't make the data directory"), "{line}");
}

#[test]
fn without_a_home_a_server_says_what_to_name() {
    let mut command = at_home(&Folder::new(), &LOCAL);
    command.env_remove("HOME");
    says(&Server::spawn(command), "--data-dir DIR");
}

#[test]
fn to_store_and_not_to_store_is_refused() {
    let home = Folder::new();
    let line = Run::of(at_home(&home, &["--in-memory", "--data-dir", "x"])).failed(2);
    assert!(line.contains("--data-dir or --in-memory"), "{line}");
    let mut command = at_home(&home, &[]);
    command.env("COLLABD_IN_MEMORY", "1").env("COLLABD_DATA_DIR", "x");
    assert!(Run::of(command).failed(2).contains("COLLABD_DATA_DIR or COLLABD_IN_MEMORY"));
}
