//! One member never reads while another says a lot: the third gets everything, whichever way the
//! server sends.

use serde_json::{Value, json};

use crate::support::{Client, Server, add, nothing_more, reading_slowly, with_id};

/// The two ways of sending; the second one is what runs on Windows.
const MODES: [&[&str]; 2] = [&[], &["--writer-threads"]];

/// A table at which one member reads nothing from now on.
fn table_with_a_sloth(server: &Server) -> (Client, Client, Client) {
    let [mut alice, mut bob] = Client::join_all(server, "table", ["alice", "bob"]);
    let sloth = Client::join_on(reading_slowly(server), server, "table", "sloth");
    alice.expect("user:joined");
    bob.expect("user:joined");
    (alice, bob, sloth)
}

fn chat(n: usize, bytes: usize) -> Value {
    json!({"type": "chat", "n": n, "text": "x".repeat(bytes)})
}

#[test]
fn the_third_gets_everything_while_the_stalled_one_is_given_up() {
    for mode in MODES {
        let options = [mode, &["--queue-bytes", "1MiB", "--max-document-bytes", "64KiB"]].concat();
        let server = Server::start(&options);
        let (mut alice, mut bob, mut sloth) = table_with_a_sloth(&server);
        let mut sent = 0;
        let mut has_left = false;
        // It goes on for a while when it has been given up.
        for _ in 0..20_000 {
            alice.send(chat(sent, 16_000));
            let mut next = bob.next();
            if next["type"] == "user:left" {
                assert_eq!(next["user_id"], "sloth");
                has_left = true;
                next = bob.next();
            }
            assert_eq!(next["n"], sent);
            sent += 1;
            if has_left {
                break;
            }
        }
        assert!(has_left, "{mode:?}: {sent} messages are waiting for the stalled one");
        for n in 0..50 {
            alice.send(chat(n, 16_000));
            assert_eq!(bob.expect("chat")["n"], n);
        }
        assert_eq!(sloth.closed_after_all(), (1008, "too slow".into()), "{mode:?}");
    }
}

#[test]
fn one_who_reads_late_but_in_time_has_lost_nothing() {
    const CHATS: usize = 250;
    for mode in MODES {
        let options = [mode, &["--queue-bytes", "64MiB"]].concat();
        let server = Server::start(&options);
        let (mut alice, mut bob, mut sloth) = table_with_a_sloth(&server);
        for n in 0..CHATS {
            alice.send(chat(n, 40_000));
            assert_eq!(bob.expect("chat")["n"], n);
        }
        for n in 0..CHATS {
            assert_eq!(sloth.expect("chat")["n"], n, "{mode:?}");
        }
        nothing_more([&mut alice, &mut bob, &mut sloth]);
    }
}

#[test]
fn for_the_stalled_one_only_the_newest_cursor_of_each_user_survives() {
    const CURSORS: usize = 2000;
    // More than all buffers on the way hold.
    const CHATS: usize = 250;
    for mode in MODES {
        let options = [mode, &["--queue-bytes", "64MiB"]].concat();
        let server = Server::start(&options);
        let (mut alice, mut bob, mut sloth) = table_with_a_sloth(&server);
        for n in 0..CHATS {
            alice.send(chat(n, 40_000));
            bob.expect("chat");
        }
        for n in 0..CURSORS {
            alice.send(json!({"type": "cursor", "n": n}));
            bob.send(json!({"type": "cursor", "n": n}));
        }
        for person in [&mut alice, &mut bob] {
            person.send(with_id(json!({"type": "command", "command": {"action": "done"}}), "done"));
        }
        let cursors_to_bob = until_done(&mut bob, 2);
        assert_eq!(cursors_to_bob.last(), Some(&(String::from("alice"), CURSORS - 1)));
        until_done(&mut alice, 2);
        for n in 0..CHATS {
            assert_eq!(sloth.expect("chat")["n"], n, "{mode:?}");
        }
        let cursors = until_done(&mut sloth, 2);
        for user in ["alice", "bob"] {
            let of_user: Vec<usize> =
                cursors.iter().filter(|(name, _)| name == user).map(|(_, n)| *n).collect();
            assert_eq!(of_user.last(), Some(&(CURSORS - 1)), "{mode:?}: the newest arrives");
            assert!(of_user.is_sorted(), "{mode:?}: none is older than one before it");
            assert!(of_user.len() < CURSORS / 2, "{mode:?}: {} of {CURSORS}", of_user.len());
        }
    }
}

/// The cursors up to where so many people are done: whose, and which.
fn until_done(client: &mut Client, mut people: usize) -> Vec<(String, usize)> {
    let mut cursors = Vec::new();
    while people > 0 {
        let message = client.next();
        match message["type"].as_str() {
            Some("cursor") => {
                let n = message["n"].as_u64().expect("a number") as usize;
                cursors.push((message["user_id"].as_str().expect("a name").to_owned(), n));
            }
            // One's own are confirmed, the others' are relayed.
            _ => {
                assert_eq!(message["id"], "done");
                people -= 1;
            }
        }
    }
    cursors
}

#[test]
fn chats_and_commands_between_cursors_keep_their_order_for_the_stalled_one() {
    const ROUNDS: usize = 300;
    for mode in MODES {
        let options = [mode, &["--queue-bytes", "64MiB", "--no-settle"]].concat();
        let server = Server::start(&options);
        let (mut alice, mut bob, mut sloth) = table_with_a_sloth(&server);
        for n in 0..ROUNDS {
            alice.send(json!({"type": "cursor", "n": n}));
            alice.send(chat(n, 30_000));
            alice.send(add(&format!("lens-{n}"), json!({})));
            while bob.next()["type"] != "command" {}
        }
        let (mut chats, mut adds, mut newest) = (0, 0, None);
        while adds < ROUNDS {
            let message = sloth.next();
            match message["type"].as_str() {
                Some("cursor") => {
                    let n = message["n"].as_u64();
                    assert!(n > newest, "{mode:?}: a cursor goes back");
                    newest = n;
                }
                Some("chat") => {
                    assert_eq!((&message["n"], chats), (&json!(chats), adds), "{mode:?}");
                    chats += 1;
                }
                _ => {
                    assert_eq!(message["seq"], adds + 1, "{mode:?}");
                    adds += 1;
                }
            }
        }
        assert_eq!(newest, Some(ROUNDS as u64 - 1), "{mode:?}: the newest cursor arrives");
    }
}
