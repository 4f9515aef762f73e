//! A TCP connection on which nothing waits longer than until its deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a step waits for one thing the server owes it.
pub(in crate::commands) const PATIENCE: Duration = Duration::from_secs(5);

/// A TCP stream whose reads and writes all end at one deadline, however many of them a caller's
/// loop needs: a server that drips bytes is late like one that sends none.
#[derive(Debug)]
pub(in crate::commands) struct Wire {
    tcp: TcpStream,
    deadline: Instant,
    /// Whether a read waits for what is not there yet.
    waits: bool,
}

impl Wire {
    /// Connects to the first of `addresses` that answers, each within [`PATIENCE`].
    ///
    /// # Errors
    /// The last address's failure, and which address it was.
    pub(in crate::commands) fn open(
        addresses: &[SocketAddr],
    ) -> Result<(Wire, SocketAddr), String> {
        let mut failure = "the name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(address, PATIENCE) {
                Ok(tcp) => {
                    // Small messages that wait for each other would be what is measured. A stream
                    // that cannot do it is only slower.
                    let _ = tcp.set_nodelay(true);
                    return Ok((
                        Wire { tcp, deadline: Instant::now() + PATIENCE, waits: true },
                        *address,
                    ));
                }
                Err(e) => failure = unreachable_words(*address, &e),
            }
        }
        Err(failure)
    }

    /// Everything from now on ends at `deadline`.
    pub(in crate::commands) fn until(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.waits = true;
    }

    /// Reads from now on give what is there already, until `deadline` at the latest: some servers
    /// never stop.
    pub(super) fn without_waiting(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.waits = false;
    }

    /// The time left; a stream's timeout may not be zero, so none left is a timeout already.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        if self.waits {
            self.tcp.set_read_timeout(left)?;
            return self.tcp.read(buffer);
        }
        // A very short timeout would do on Unix; Windows makes half a second of it.
        self.tcp.set_nonblocking(true)?;
        let read = self.tcp.read(buffer);
        self.tcp.set_nonblocking(false)?;
        read
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(self.left()?)?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Whether `error` means that the time is over: Unix says `WouldBlock`, Windows `TimedOut`.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn unreachable_words(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => format!(
            "nothing listens at {address} (connection refused): \
             is the server running, and is this its port?"
        ),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!(
            "{address} does not answer within {} s: is a firewall in between?",
            PATIENCE.as_secs()
        ),
        _ => format!("{address} cannot be reached: {error}"),
    }
}
