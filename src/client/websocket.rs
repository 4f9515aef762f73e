//! A WebSocket over a [`Wire`].

use std::time::Instant;

use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};

use super::http::upgrade;
use super::wire::is_timeout;
use super::{Target, Wire};

/// A client's end of a WebSocket. Its wire says how long a call waits.
pub struct WebSocket(tungstenite::WebSocket<Wire>);

impl WebSocket {
    /// Asks for a WebSocket at `path`; `headers` are whole lines beside the editor's.
    pub fn open(
        mut wire: Wire,
        target: &Target,
        path: &str,
        headers: &[String],
    ) -> Result<Self, String> {
        let rest = upgrade(&mut wire, target, path, headers)?;
        // Every frame leaves at once, so that raw bytes in between keep their place.
        let config = WebSocketConfig::default().write_buffer_size(0);
        let socket =
            tungstenite::WebSocket::from_partially_read(wire, rest, Role::Client, Some(config));
        Ok(WebSocket(socket))
    }

    pub fn wire(&mut self) -> &mut Wire {
        self.0.get_mut()
    }

    /// Sends a message. Where the wire doesn't wait, what there is no room for goes with the next call.
    ///
    /// # Errors
    /// The connection has ended, or the time is over.
    pub fn send(&mut self, message: Message) -> Result<(), Error> {
        self.0.send(message)
    }

    /// Sends what an earlier call had no room for; as [`send`](Self::send).
    pub fn flush(&mut self) -> Result<(), Error> {
        self.0.flush()
    }

    /// The next message, `Pong` or `Close`; `None` where nothing came in time. Pings are answered on
    /// the way.
    ///
    /// # Errors
    /// The connection has ended without a close frame, or what came breaks RFC 6455.
    pub fn read(&mut self) -> Result<Option<Message>, Error> {
        loop {
            match self.0.read() {
                // The answer waits in tungstenite for the next write or read; it should not wait.
                Ok(Message::Ping(_)) => {
                    let _ = self.0.flush();
                }
                Ok(Message::Frame(_)) => {}
                Ok(message) => return Ok(Some(message)),
                Err(error) if is_not_ready(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins the close handshake with code 1000.
    pub fn close(&mut self, reason: &'static str) -> Result<(), Error> {
        self.0.send(Message::Close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: reason.into(),
        })))
    }

    /// Reads until the server has ended the connection, or until `deadline`.
    pub fn drain(&mut self, deadline: Instant) {
        self.wire().wait_until(deadline);
        while let Ok(Some(_)) = self.read() {}
    }
}

/// True for the error of a call that had nothing to read, or no room to write. The connection goes on.
pub fn is_not_ready(error: &Error) -> bool {
    matches!(error, Error::Io(error) if is_timeout(error))
}
