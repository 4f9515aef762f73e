//! Steps: frames after which the server must close, each with its own code.

use std::time::Instant;

use serde_json::json;
use tungstenite::Message;

use super::client::{Client, Event};
use super::report::{Outcome, StepError, Verdict, fault};
use super::walk::Walk;
use crate::client::TIMEOUT;

/// One more byte than the promised limit.
const TOO_BIG: usize = (1 << 20) + 1;

/// The bytes of a frame that begins with `first`. The mask is all zeros: masked as the RFC wants
/// it, and the payload stands there as it is.
pub(super) fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mask_bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        // The casts fit: each arm is the range of its type.
        length @ 0..=125 => bytes.push(mask_bit | length as u8),
        length @ 126..=0xFFFF => {
            bytes.push(mask_bit | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(mask_bit | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

/// A user of its own, in a session of its own: what happens to it disturbs no other step.
fn mallory(walk: &mut Walk) -> Outcome<Client> {
    let name = walk.name("frames");
    let session = format!("{}-{name}", walk.session);
    Ok(walk.join(&session, "check-mallory")?.0)
}

/// Waits until `client` is closed, with `code`, after it sent `what`.
fn closed_with(client: &mut Client, code: u16, what: &str) -> Verdict {
    let closed = client.wait_close().map_err(|trouble| match trouble {
        StepError::Fault(words) => {
            StepError::Fault(format!("{what} must be answered with close code {code}; {words}"))
        }
        skip => skip,
    })?;
    if closed.code != Some(code) {
        let words =
            format!("{what} must be answered with close code {code}; came {}", closed.words());
        return fault(words);
    }
    client.wait_tcp_end()?;
    Ok(None)
}

/// A whole frame, sent as it is, and the close that must follow.
fn raw_closed_with(walk: &mut Walk, bytes: &[u8], code: u16, what: &str) -> Verdict {
    let mut client = mallory(walk)?;
    client.send_raw(bytes).map_err(|e| format!("{what} could not be sent: {e}"))?;
    closed_with(&mut client, code, what)
}

/// Binary has no meaning here.
pub(super) fn binary(walk: &mut Walk) -> Verdict {
    let mut client = mallory(walk)?;
    client.transmit(Message::binary(&b"{\"type\":\"ping\"}"[..]))?;
    closed_with(&mut client, 1003, "a binary frame")
}

/// Text has to be UTF-8.
pub(super) fn bad_utf8(walk: &mut Walk) -> Verdict {
    let bytes = frame(0x81, true, b"{\"type\":\"check:chat\",\"text\":\"\xC3\x28\"}");
    raw_closed_with(walk, &bytes, 1007, "text that is not UTF-8")
}

/// A client's frames have to be masked.
pub(super) fn unmasked(walk: &mut Walk) -> Verdict {
    let bytes = frame(0x81, false, b"{\"type\":\"ping\"}");
    raw_closed_with(walk, &bytes, 1002, "an unmasked frame")
}

/// No extension was agreed on that would give the reserved bits a meaning.
pub(super) fn reserved_bits(walk: &mut Walk) -> Verdict {
    let bytes = frame(0xC1, true, b"{\"type\":\"ping\"}");
    raw_closed_with(walk, &bytes, 1002, "a frame with a reserved bit")
}

/// A message over the limit. An operator may have raised it, and then the ping that the message is
/// gets its pong: that passes, with a note. Anything else than this and 1009 does not.
pub(super) fn too_big(walk: &mut Walk) -> Verdict {
    let mut client = mallory(walk)?;
    let mut text = json!({"type": "ping", "id": "check-big", "filling": ""}).to_string();
    let filling = "x".repeat(TOO_BIG - text.len());
    text = text.replace("\"filling\":\"\"", &format!("\"filling\":\"{filling}\""));
    // A server may close while the rest is still on its way; its close frame can be read all the
    // same.
    let _ = client.send_raw(&frame(0x81, true, text.as_bytes()));
    let what = format!("a message of {TOO_BIG} bytes");
    let deadline = Instant::now() + TIMEOUT;
    let came = loop {
        match client.event(deadline) {
            Ok(Event::Message(m)) if m.is("pong") && m.value["id"] == "check-big" => {
                return Ok(Some(format!("{what} was taken: this server's limit is higher")));
            }
            Ok(Event::Message(m)) if m.is("error") => break format!("came {}", m.shown()),
            Ok(Event::Message(_) | Event::Pong(_)) => {}
            Ok(Event::Closed(closed)) if closed.code == Some(1009) => {
                client.wait_tcp_end()?;
                return Ok(Some("closed with 1009".to_owned()));
            }
            Ok(Event::Closed(closed)) => break format!("came {}", closed.words()),
            Ok(Event::Silence) => break format!("nothing came within {} s", TIMEOUT.as_secs()),
            Err(StepError::Fault(words) | StepError::Skip(words)) => break words,
        }
    };
    fault(format!("{what} must be answered with close code 1009; {came}"))
}
