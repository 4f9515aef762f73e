//! One WebSocket frame as the server sends it: final, unmasked, encoded once for all receivers.

use std::fmt;

use bytes::Bytes;

use super::kind::Kind;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
/// Final fragment, no reserved bits.
const FIN: u8 = 0x80;
/// The longest unmasked header: 2 bytes and a 64-bit length.
const LONGEST_HEADER: usize = 10;
/// The longest payload of a control frame.
const CONTROL_PAYLOAD: usize = 125;

/// An encoded server frame. Cloning it shares the bytes, so a message to a thousand members exists once.
/// `Debug` shows no more than its size.
#[derive(Clone)]
pub struct Frame {
    bytes: Bytes,
    header: u8,
    /// None where it carries no message.
    kind: Option<Kind>,
}

impl PartialEq for Frame {
    /// What is on the wire is what counts.
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
    /// A text message.
    pub fn text(payload: &str) -> Self {
        let mut buffer = FrameBuffer::with_capacity(payload.len());
        buffer.0.extend_from_slice(payload.as_bytes());
        buffer.into_text()
    }

    /// A binary message.
    pub fn binary(payload: &[u8]) -> Self {
        let mut buffer = FrameBuffer::with_capacity(payload.len());
        buffer.0.extend_from_slice(payload);
        buffer.finish(BINARY)
    }

    /// A ping; a payload over 125 bytes is cut.
    pub fn ping(payload: &[u8]) -> Self {
        let mut buffer = FrameBuffer::with_capacity(CONTROL_PAYLOAD);
        buffer.0.extend_from_slice(&payload[..payload.len().min(CONTROL_PAYLOAD)]);
        buffer.finish(PING)
    }

    /// A close with its code and reason; a reason over 123 bytes is cut at a character.
    pub fn close(code: u16, reason: &str) -> Self {
        let mut end = reason.len().min(CONTROL_PAYLOAD - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut buffer = FrameBuffer::with_capacity(CONTROL_PAYLOAD);
        buffer.0.extend_from_slice(&code.to_be_bytes());
        buffer.0.extend_from_slice(&reason.as_bytes()[..end]);
        buffer.finish(CLOSE)
    }

    /// The same, known to be a message of this type.
    pub fn of(self, kind: Kind) -> Self {
        Frame { kind: Some(kind), ..self }
    }

    /// The type of the message it carries, as far as whoever made it has said; `None` for a ping or a
    /// close, which is no message.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The whole frame, header and payload, as it goes to the socket.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same, given away.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What the frame carries.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.header)..]
    }
}

/// A payload being written, with room left in front for the header it will get: the payload is
/// never copied to put a header before it.
#[derive(Debug)]
pub struct FrameBuffer(pub(super) Vec<u8>);

impl FrameBuffer {
    /// An empty payload that can grow to `payload` bytes without moving.
    pub fn with_capacity(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(LONGEST_HEADER + payload);
        buffer.resize(LONGEST_HEADER, 0);
        FrameBuffer(buffer)
    }

    /// Encodes what was written as one text frame.
    pub fn into_text(self) -> Frame {
        self.finish(TEXT)
    }

    fn finish(self, opcode: u8) -> Frame {
        let FrameBuffer(mut buffer) = self;
        let length = buffer.len() - LONGEST_HEADER;
        let (header, marker) = match length {
            0..=125 => (2, length as u8),
            126..=0xffff => (4, 126),
            _ => (10, 127),
        };
        let start = LONGEST_HEADER - header;
        // The low bytes of the 64-bit length are the 16-bit one, too.
        let big_endian = (length as u64).to_be_bytes();
        buffer[start + 2..LONGEST_HEADER].copy_from_slice(&big_endian[8 - (header - 2)..]);
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

    /// A decoder that is not ours has to find the frame it was given.
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
