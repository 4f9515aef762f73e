//! One WebSocket frame that the server sends: final, unmasked, and encoded once for all receivers.

use std::fmt;

use bytes::Bytes;

use super::kind::Kind;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
/// The FIN bit: this is the final fragment. The reserved bits are 0.
const FIN: u8 = 0x80;
/// The largest unmasked header, in bytes: 2 bytes and a 64-bit length.
const MAX_HEADER_BYTES: usize = 10;
const MAX_CONTROL_PAYLOAD_BYTES: usize = 125;

/// An encoded server frame. Clones share the bytes, so a message to a thousand members is in memory
/// once. `Debug` shows only its size.
#[derive(Clone)]
pub struct Frame {
    bytes: Bytes,
    header: u8,
    /// The type of the message; `None` for a control frame.
    kind: Option<Kind>,
}

impl PartialEq for Frame {
    /// Compares the bytes on the wire and not the recorded type.
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.bytes.len())
    }
}

impl Frame {
    pub fn text(payload: &str) -> Self {
        let mut buffer = FrameBuffer::with_capacity(payload.len());
        buffer.0.extend_from_slice(payload.as_bytes());
        buffer.into_text()
    }

    pub fn binary(payload: &[u8]) -> Self {
        let mut buffer = FrameBuffer::with_capacity(payload.len());
        buffer.0.extend_from_slice(payload);
        buffer.finish(BINARY)
    }

    /// Encodes a ping. A payload over 125 bytes is cut.
    pub fn ping(payload: &[u8]) -> Self {
        let mut buffer = FrameBuffer::with_capacity(MAX_CONTROL_PAYLOAD_BYTES);
        buffer.0.extend_from_slice(&payload[..payload.len().min(MAX_CONTROL_PAYLOAD_BYTES)]);
        buffer.finish(PING)
    }

    /// Encodes a close with its code and reason. A reason over 123 bytes is cut at a character.
    pub fn close(code: u16, reason: &str) -> Self {
        let mut end = reason.len().min(MAX_CONTROL_PAYLOAD_BYTES - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut buffer = FrameBuffer::with_capacity(MAX_CONTROL_PAYLOAD_BYTES);
        buffer.0.extend_from_slice(&code.to_be_bytes());
        buffer.0.extend_from_slice(&reason.as_bytes()[..end]);
        buffer.finish(CLOSE)
    }

    /// Records the type of the message that this frame carries.
    pub fn with_kind(self, kind: Kind) -> Self {
        Frame { kind: Some(kind), ..self }
    }

    /// The type of the message that this frame carries: `Other` where it was not recorded, `None`
    /// for a ping or a close.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The whole frame as it goes to the socket: header and payload.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The payload, without the header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.header)..]
    }
}

/// A payload that is being written. It leaves room for the header in front, so the payload is never
/// copied.
#[derive(Debug)]
pub struct FrameBuffer(pub(super) Vec<u8>);

impl FrameBuffer {
    /// An empty payload that can grow to `payload` bytes without being moved in memory.
    pub fn with_capacity(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(MAX_HEADER_BYTES + payload);
        buffer.resize(MAX_HEADER_BYTES, 0);
        FrameBuffer(buffer)
    }

    /// Encodes the payload as one text frame.
    pub fn into_text(self) -> Frame {
        self.finish(TEXT)
    }

    fn finish(self, opcode: u8) -> Frame {
        let FrameBuffer(mut buffer) = self;
        let length = buffer.len() - MAX_HEADER_BYTES;
        let (header, marker) = match length {
            0..=125 => (2, length as u8),
            126..=0xffff => (4, 126),
            _ => (10, 127),
        };
        let start = MAX_HEADER_BYTES - header;
        // The low two bytes of the 64-bit length are the 16-bit length.
        let big_endian = (length as u64).to_be_bytes();
        buffer[start + 2..MAX_HEADER_BYTES].copy_from_slice(&big_endian[8 - (header - 2)..]);
        buffer[start] = FIN | opcode;
        buffer[start + 1] = marker;
        let kind = matches!(opcode, TEXT | BINARY).then_some(Kind::Other);
        Frame { bytes: Bytes::from(buffer).slice(start..), header: header as u8, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::FrameSocket;

    /// tungstenite, which doesn't share our encoder's code, has to find the same frame.
    fn decode(frame: &Frame) -> tungstenite::protocol::frame::Frame {
        let mut socket = FrameSocket::new(std::io::Cursor::new(frame.bytes().to_vec()));
        socket.read(None).unwrap().unwrap()
    }

    #[test]
    fn every_length_class_is_read_back() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
            let text = "x".repeat(length);
            let frame = Frame::text(&text);
            let decoded = decode(&frame);
            assert!(decoded.header().is_final && decoded.header().mask.is_none());
            assert_eq!(decoded.payload(), text.as_bytes());
            assert_eq!(frame.payload(), text.as_bytes());
        }
    }

    #[test]
    fn a_long_close_reason_is_cut_at_a_character() {
        let decoded = decode(&Frame::close(1008, &"ü".repeat(100)));
        let (code, reason) = decoded.payload().split_at(2);
        assert_eq!(code, 1008u16.to_be_bytes());
        assert_eq!(reason, "ü".repeat(61).as_bytes());
    }
}
