//! One client that joins one session and has its whole state: how long that takes from the first
//! packet on, and what the state is.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::arguments::Arguments;
use crate::client::{CLOSE, Client, PING, PONG, frame as frame_of, response};
use crate::message::{frame, masked};
use crate::swarm::now;

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(20);
const BUFFER: usize = 1 << 20;
const STATE: &[u8] = br#"{"type":"sync:state","state":{"items":["#;
const ITEM: &[u8] = br#""uuid":"item-"#;
const SEQ: &[u8] = br#","seq":"#;

/// Joins `s0` and reports the time from connecting until the state is there in milliseconds, and of
/// the state its `seq`, how many items it has and what tells two of them apart.
pub fn open(arguments: &Arguments) -> io::Result<String> {
    let addr: SocketAddrV4 = arguments.get("addr")?;
    let began = now();
    let state = state(addr)?;
    let time = now() - began;
    let broken = || io::Error::other("the state has another form than it should");
    let items = state.strip_prefix(STATE).ok_or_else(broken)?;
    let end = last(items, br#"],"version":"#).ok_or_else(broken)?;
    let (items, rest) = items.split_at(end);
    let seq = last(rest, SEQ).ok_or_else(broken)? + SEQ.len();
    let seq: String = rest[seq..]
        .iter()
        .map_while(|byte| byte.is_ascii_digit().then_some(*byte as char))
        .collect();
    Ok(format!(
        "{{\"p50\":{:.4},\"bytes\":{},\"items\":{},\"seq\":{seq},\"digest\":\"{:016x}\"}}",
        time as f64 / 1e6,
        state.len(),
        items.windows(ITEM.len()).filter(|bytes| *bytes == ITEM).count(),
        digest(items)
    ))
}

/// What the first `sync:state` of a new connection says.
fn state(addr: SocketAddrV4) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Nobody who filled the session.
    socket.write_all(&Client::request(addr, 0, 9999))?;
    let mut received = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut is_accepted = false;
    loop {
        let size = socket.read(&mut buffer)?;
        if size == 0 {
            return Err(io::Error::other("the connection ended before there was a state"));
        }
        received.extend_from_slice(&buffer[..size]);
        if !is_accepted {
            match response(&received) {
                None => continue,
                Some((length, 101)) => drop(received.drain(..length)),
                Some((_, status)) => return Err(io::Error::other(format!("refused: {status}"))),
            }
            is_accepted = true;
        }
        while let Some((opcode, header, length)) = frame_of(&received) {
            let payload = &received[header..header + length];
            match opcode {
                PING => socket.write_all(&frame(PONG, payload))?,
                CLOSE => return Err(io::Error::other("closed before there was a state")),
                _ if payload.starts_with(br#"{"type":"connection:ack""#) => {
                    socket.write_all(&masked(br#"{"type":"sync:request"}"#))?;
                }
                _ if payload.starts_with(br#"{"type":"sync:state""#) => return Ok(payload.to_vec()),
                _ => {}
            }
            received.drain(..header + length);
        }
    }
}

/// Where `wanted` stands last in `bytes`.
fn last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
