//! A TCP connection on which nothing waits longer than until its deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a server has to answer, where nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A TCP stream whose reads and writes all end at one deadline, however many of them a caller's
/// loop needs: a server that drips bytes is late like one that sends none. A signal interrupts none.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    deadline: Instant,
    /// A read waits for what is not there yet, a write for room.
    waits: bool,
    is_nonblocking: bool,
}

impl Wire {
    /// Connects to the first of `addresses` that answers, each within [`TIMEOUT`].
    ///
    /// # Errors
    /// The last address's failure, and which address it was.
    pub fn open(addresses: &[SocketAddr]) -> Result<(Wire, SocketAddr), String> {
        let mut failure = "the name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(address, TIMEOUT) {
                Ok(tcp) => {
                    // Small messages that wait for each other would be what is measured. A stream
                    // that cannot do it is only slower.
                    let _ = tcp.set_nodelay(true);
                    let deadline = Instant::now() + TIMEOUT;
                    let wire = Wire { tcp, deadline, waits: true, is_nonblocking: false };
                    return Ok((wire, *address));
                }
                Err(error) => failure = unreachable_words(*address, &error),
            }
        }
        Err(failure)
    }

    /// The socket, on which nothing has a deadline any more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn into_socket(self) -> io::Result<TcpStream> {
        self.tcp.set_nonblocking(false)?;
        self.tcp.set_read_timeout(None)?;
        self.tcp.set_write_timeout(None)?;
        Ok(self.tcp)
    }

    /// Reads and writes from now on wait, until `deadline` at the latest.
    pub fn wait_until(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.waits = true;
    }

    /// Reads from now on give what is there already, and writes send what there is room for, until
    /// `deadline` at the latest: some servers never stop.
    pub fn never_wait(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.waits = false;
    }

    /// Gets the socket ready for a read or a write: the time that is left. A socket's timeout may not be
    /// zero, so none left is a timeout already.
    fn prepare(&mut self) -> io::Result<Duration> {
        if self.is_nonblocking == self.waits {
            // A very short timeout would do on Unix; Windows makes half a second of it.
            self.tcp.set_nonblocking(!self.waits)?;
            self.is_nonblocking = !self.waits;
        }
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.prepare()?;
            if self.waits {
                self.tcp.set_read_timeout(Some(left))?;
            }
            match self.tcp.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let left = self.prepare()?;
            if self.waits {
                self.tcp.set_write_timeout(Some(left))?;
            }
            match self.tcp.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return written,
            }
        }
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
            TIMEOUT.as_secs()
        ),
        _ => format!("{address} cannot be reached: {error}"),
    }
}
