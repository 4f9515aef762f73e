//! Frames as they come from the network: nothing a client sends makes the reader panic, and what it
//! answers by itself goes to the send queue as whole frames, a close alone and as the last one.
//!
//! An input's first byte says how many bytes arrive at once; the others are what arrives.

use std::io::{self, Read, Write};

use collabd::net::{is_close, web_socket};
use collabd::protocol::{client, inbound};
use tungstenite::Message;

/// The largest message, in bytes: small, so that it is met.
const LIMIT: usize = 1000;

pub fn check(input: &[u8]) {
    let Some((&at_once, arriving)) = input.split_first() else { return };
    // Some of it may have come together with the request.
    let (rest, arriving) = arriving.split_at(arriving.len().min(usize::from(at_once) % 3));
    let wire = Wire { arriving, at_once: usize::from(at_once).max(1), written: Vec::new() };
    let mut socket = web_socket(wire, rest.to_vec(), LIMIT);
    let (mut pings, mut bytes) = (0, 0);
    // Ends with the first error, as a client's thread does.
    while let Ok(message) = socket.read() {
        assert!(message.len() <= LIMIT, "a message of {} bytes", message.len());
        match message {
            Message::Binary(binary) => bytes += binary.len(),
            Message::Text(text) => {
                bytes += text.len();
                let _ = (inbound::parse(&text), inbound::type_of(&text), client::parse(&text));
            }
            Message::Ping(_) => pings += 1,
            _ => {}
        }
    }
    assert!(bytes <= input.len(), "more was read than was sent");
    check_written(&socket.get_ref().written, pings);
}

/// Each write is whole frames of the server's own, and a close is nothing but that.
fn check_written(written: &[Vec<u8>], pings: usize) {
    let (mut pongs, mut closed) = (0, false);
    for frames in written {
        assert!(!closed, "something was written after a close");
        let mut left = &frames[..];
        while !left.is_empty() {
            assert!(left.len() >= 2 && left[1] <= 125, "no whole unmasked control frame: {left:?}");
            let (frame, others) = left
                .split_at_checked(2 + usize::from(left[1]))
                .unwrap_or_else(|| panic!("half a frame: {left:?}"));
            match frame[0] {
                0x8a => pongs += 1,
                0x88 => {
                    assert!(is_close(frames) && others.is_empty() && frame.len() == frames.len());
                    closed = true;
                }
                other => panic!("nobody asked for a frame like {other:#x}"),
            }
            left = others;
        }
        assert_eq!(is_close(frames), closed);
    }
    assert!(pongs <= pings, "{pongs} answers to {pings} pings");
}

/// The connection's other end.
struct Wire<'a> {
    arriving: &'a [u8],
    at_once: usize,
    written: Vec<Vec<u8>>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.at_once.min(buffer.len()).min(self.arriving.len());
        let (arrived, left) = self.arriving.split_at(size);
        buffer[..size].copy_from_slice(arrived);
        self.arriving = left;
        Ok(size)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        self.written.push(frames.to_vec());
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
