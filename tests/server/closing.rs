//! How a connection ends: every close code, and nobody else is hurt (PROTOCOL.md §2.2, §1.4).

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Server, Wire, masked, nothing_more, reading_slowly};

const TEXT: u8 = 0x81;
const TEXT_BEGINS: u8 = 0x01;
const CONTINUES: u8 = 0x00;
const ENDS: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
/// The default limit.
const LIMIT: usize = 1 << 20;

/// Sends frames that end the connection, with a sound message behind them that may not be heard any
/// more. Returns the close code; somebody else sees no more of it than that the member left.
fn close_after(server: &Server, frames: &[Vec<u8>]) -> u16 {
    let mut witness = Client::join(server, "table", "witness");
    let (mut wire, _) = Wire::arrive(server, "/ws/table/mallory");
    witness.expect("user:joined");
    let mut bytes = frames.concat();
    bytes.extend(masked(TEXT, br#"{"type":"chat","text":"still here"}"#));
    wire.write(bytes);
    let (code, _) = wire.closed();
    wire.hang_up();
    wire.ended();
    assert_eq!(witness.expect("user:left")["user_id"], "mallory");
    nothing_more([&mut witness]);
    witness.leave();
    code
}

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A chat message of exactly so many bytes.
fn chat_of(bytes: usize) -> String {
    let frame = r#"{"type":"chat","text":""}"#;
    format!(r#"{{"type":"chat","text":"{}"}}"#, "x".repeat(bytes - frame.len()))
}

#[test]
fn a_close_is_answered_with_its_own_code() {
    let server = Server::start(&[]);
    for code in [1000, 1001, 1003, 1008, 1011, 3000, 4999] {
        let mut alice = Client::join(&server, "table", "alice");
        assert_eq!(alice.close(code, "good bye").0, code);
    }
}

#[test]
fn a_close_without_a_code_is_answered() {
    let server = Server::start(&[]);
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    wire.write(masked(CLOSE, b""));
    assert_eq!(wire.frame().0, CLOSE);
    wire.ended();
}

#[test]
fn no_answer_has_a_code_that_the_editor_does_not_know() {
    let server = Server::start(&[]);
    for code in [1012, 1013, 1014] {
        let answer = close_after(&server, &[close_frame(code, b"")]);
        let is_known = matches!(answer, 1000..=1003 | 1007..=1011 | 3000..=4999);
        assert!(is_known, "{code} is answered with {answer}");
    }
}

#[test]
fn what_was_said_before_a_close_is_heard() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for n in 0..100 {
        alice.send(json!({"type": "chat", "n": n}));
    }
    alice.close(1000, "");
    for n in 0..100 {
        assert_eq!(bob.expect("chat")["n"], n);
    }
    bob.expect("user:left");
}

#[test]
fn a_malformed_close_is_1002() {
    let server = Server::start(&[]);
    let one_byte = masked(CLOSE, b"\x03");
    assert_eq!(close_after(&server, &[one_byte]), 1002);
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(close_after(&server, &[close_frame(code, b"")]), 1002, "{code}");
    }
}

#[test]
fn broken_framing_is_1002() {
    let server = Server::start(&[]);
    let chat = br#"{"type":"chat"}"#;
    let unmasked = [&[TEXT, chat.len() as u8], chat.as_slice()].concat();
    let broken: [(&str, Vec<Vec<u8>>); 9] = [
        ("an unmasked frame", vec![unmasked]),
        ("a reserved bit", vec![masked(0xc1, chat)]),
        ("a reserved opcode", vec![masked(0x83, chat)]),
        ("a reserved control opcode", vec![masked(0x8b, b"")]),
        ("a fragmented ping", vec![masked(0x09, b"")]),
        ("a ping of over 125 bytes", vec![masked(PING, &[0; 126])]),
        ("a continuation of nothing", vec![masked(ENDS, chat)]),
        ("a text inside a text", vec![masked(TEXT_BEGINS, chat), masked(TEXT, chat)]),
        ("a length that is no length", vec![[&[TEXT, 0xff], [0xff; 12].as_slice()].concat()]),
    ];
    for (what, frames) in broken {
        let code = close_after(&server, &frames);
        // A length with the highest bit set is over every limit, too.
        assert!(code == 1002 || (code == 1009 && what.contains("length")), "{what}: {code}");
    }
}

#[test]
fn a_binary_message_is_1003() {
    let server = Server::start(&[]);
    assert_eq!(close_after(&server, &[masked(0x82, b"\x00\x01")]), 1003);
    assert_eq!(close_after(&server, &[masked(0x82, br#"{"type":"chat"}"#)]), 1003);
    assert_eq!(close_after(&server, &[masked(0x82, b"")]), 1003);
    assert_eq!(close_after(&server, &[masked(0x02, b"\x00"), masked(ENDS, b"\x01")]), 1003);
}

#[test]
fn a_text_that_is_not_utf_8_is_1007() {
    let server = Server::start(&[]);
    for bad in [b"\xff".as_slice(), b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        let text = [br#"{"type":"chat","text":""#, bad, br#""}"#].concat();
        assert_eq!(close_after(&server, &[masked(TEXT, &text)]), 1007, "{bad:?}");
        let (first, second) = text.split_at(23);
        let fragments = [masked(TEXT_BEGINS, first), masked(ENDS, second)];
        assert_eq!(close_after(&server, &fragments), 1007, "{bad:?} in fragments");
    }
    assert_eq!(close_after(&server, &[masked(TEXT_BEGINS, b"ab\xc3"), masked(ENDS, b"")]), 1007);
}

#[test]
fn a_close_whose_reason_is_not_utf_8_is_1007() {
    let server = Server::start(&[]);
    assert_eq!(close_after(&server, &[close_frame(1000, b"\xff\xfe")]), 1007);
}

#[test]
fn a_message_of_exactly_the_limit_is_accepted() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send_text(&chat_of(LIMIT));
    let chat = bob.expect("chat");
    assert_eq!(chat["text"].as_str().map(str::len), Some(LIMIT - 25));
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_message_of_one_byte_more_is_1009() {
    let server = Server::start(&[]);
    let text = chat_of(LIMIT + 1);
    assert_eq!(close_after(&server, &[masked(TEXT, text.as_bytes())]), 1009);
    let (first, second) = text.as_bytes().split_at(LIMIT / 2);
    let fragments = [masked(TEXT_BEGINS, first), masked(ENDS, second)];
    assert_eq!(close_after(&server, &fragments), 1009, "in fragments");
}

/// A host's canvas may be as large as a document, whatever else a message may hold.
#[test]
fn only_a_message_with_a_canvas_may_be_larger() {
    let server = Server::start(&["--max-message-bytes", "2KiB", "--no-settle"]);
    let items: Vec<Value> =
        (0..3000).map(|n| json!({"uuid": format!("i{n}"), "x_mm": n})).collect();
    let state = json!({"items": items, "version": 1, "timestamp": null});
    for (kind, is_taken) in [
        ("sync:full_state", true),
        ("sync:update", true),
        ("sync:state", false),
        ("chat", false),
        ("command", false),
    ] {
        let (mut wire, _) = Wire::arrive(&server, &format!("/ws/{kind}/alice"));
        let text = json!({"state": state, "target_user": "alice", "type": kind}).to_string();
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        wire.write([masked(TEXT_BEGINS, first), masked(ENDS, second)].concat());
        if is_taken {
            wire.send(r#"{"type":"ping"}"#);
            while wire.next()["type"] != "pong" {}
            let mut bob = Client::join(&server, kind, "bob");
            assert_eq!(bob.items().len(), 3000, "{kind}");
        } else {
            assert_eq!(wire.closed().0, 1009, "{kind}");
        }
    }
    let close_after = |frame| {
        let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
        wire.write(frame);
        wire.closed().0
    };
    assert_eq!(close_after(masked(TEXT, &[b'{'; 3000])), 1009);
    assert_eq!(close_after(masked(0x82, &[0; 3000])), 1009);
    let twice = r#"{"type":"sync:update","state":{"items":[]},"type":"chat","text":""#;
    let twice = format!("{twice}{}\"}}", "x".repeat(3000));
    assert_eq!(close_after(masked(TEXT, twice.as_bytes())), 1009);
}

#[test]
fn a_frame_that_announces_more_than_the_limit_is_not_waited_for() {
    let server = Server::start(&[]);
    let mut header = vec![TEXT, 0xff];
    header.extend_from_slice(&(1u64 << 40).to_be_bytes());
    header.extend_from_slice(&[1, 2, 3, 4]);
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    wire.write(header);
    assert_eq!(wire.closed().0, 1009);
}

#[test]
fn the_limit_can_be_set() {
    let server = Server::start(&["--max-message-bytes", "2KiB"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send_text(&chat_of(2048));
    bob.expect("chat");
    alice.send_text(&chat_of(2049));
    assert_eq!(alice.closed_after_all().0, 1009);
    bob.expect("user:left");
}

#[test]
fn a_message_may_come_in_fragments_with_pings_between() {
    let server = Server::start(&[]);
    let mut bob = Client::join(&server, "table", "bob");
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    bob.expect("user:joined");
    let text = r#"{"type":"chat","text":"Müller ☀"}"#;
    // A cut inside a character, too.
    let cut = text.find('ü').expect("ü") + 1;
    wire.write(masked(TEXT_BEGINS, &text.as_bytes()[..cut]));
    wire.write(masked(PING, b"between"));
    for byte in &text.as_bytes()[cut..] {
        wire.write(masked(CONTINUES, &[*byte]));
    }
    wire.write(masked(ENDS, b""));
    assert_eq!(bob.expect("chat")["text"], "Müller ☀");
    assert_eq!(wire.frame(), (0x8a, b"between".to_vec()));
}

#[test]
fn protocol_pings_are_answered_in_order_with_their_payload() {
    let server = Server::start(&[]);
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    for n in 0..10u8 {
        wire.write(masked(PING, &[n; 125]));
        assert_eq!(wire.frame(), (0x8a, vec![n; 125]));
    }
}

#[test]
fn a_member_that_does_not_read_is_1008_in_the_end_and_nobody_waits_for_it() {
    let server = Server::start(&["--queue-bytes", "64KiB", "--max-document-bytes", "32KiB"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut sloth = Client::knock_on(reading_slowly(&server), &server, "table", "sloth");
    alice.expect("user:joined");
    bob.expect("user:joined");
    let chat = chat_of(32 * 1024);
    let mut received = 0;
    let left: Value = loop {
        alice.send_text(&chat);
        let next = bob.next();
        if next["type"] != "chat" {
            bob.expect("chat");
            break next;
        }
        received += 1;
        assert!(received < 10_000, "over 300 MB are waiting for one who doesn't read");
    };
    assert_eq!((&left["type"], &left["user_id"]), (&json!("user:left"), &json!("sloth")));
    assert_eq!(sloth.closed_after_all(), (1008, "too slow".into()));
    alice.expect("user:left");
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn whoever_is_closed_can_come_back() {
    let server = Server::start(&[]);
    let mut bob = Client::join(&server, "table", "bob");
    for _ in 0..3 {
        let mut alice = Client::join(&server, "table", "alice");
        bob.expect("user:joined");
        alice.send_frame(Message::binary(vec![1, 2, 3]));
        assert_eq!(alice.closed().0, 1003);
        bob.expect("user:left");
    }
}
