//! What a client's thread has of its connection.

use std::io::{ErrorKind, Read as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::connection_stats::ConnectionStats;
use super::send_queue::SendQueue;
use crate::hub::ConnId;

/// How long an ending connection may take to send what is queued, and the client to close it.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much a client may still send while its connection ends. It is discarded.
const MAX_IGNORED_BYTES: usize = 16 << 20;

/// A client's connection. Its own thread alone has it; the send queue and the stats are shared.
pub(super) struct Client<'a> {
    pub(super) conn: ConnId,
    pub(super) socket: Arc<TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) send_queue: Arc<SendQueue>,
    pub(super) stats: Arc<ConnectionStats>,
    pub(super) shared: &'a Shared,
}

impl Client<'_> {
    /// Sends what is queued, then reads until the client closes the connection or until `until`. A
    /// socket that is closed with unread bytes resets the connection, and the client would lose the
    /// last frames.
    #[inline(never)] // a name in thread dumps
    pub(super) fn drain_and_close(&self, until: Instant) {
        self.send_queue.flush();
        if !self.send_queue.wait_until_empty(until)
            || self.socket.shutdown(Shutdown::Write).is_err()
        {
            return;
        }
        let mut ignored = 0;
        let mut buffer = [0; 4096];
        while ignored < MAX_IGNORED_BYTES {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match { &*self.socket }.read(&mut buffer) {
                Ok(0) => return,
                Ok(size) => ignored += size,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}
