//! One client, as its own thread has it.

use std::io::{ErrorKind, Read as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::connection_stats::ConnectionStats;
use super::send_queue::SendQueue;
use crate::hub::ConnId;

/// How long an ending connection may take to flush, and then to be closed by the client.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of what a client still sends is thrown away before its connection is cut.
const MAX_IGNORED_BYTES: usize = 16 << 20;

/// One client, on its own thread.
pub(super) struct Client<'a> {
    pub(super) conn: ConnId,
    pub(super) socket: Arc<TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) send_queue: Arc<SendQueue>,
    pub(super) stats: Arc<ConnectionStats>,
    pub(super) shared: &'a Shared,
}

impl Client<'_> {
    /// Lets what is queued go out, then waits for the client to hang up: a socket closed with
    /// something unread would take the last frames with it.
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
