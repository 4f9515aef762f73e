//! The open connections, and their limits.

use std::collections::HashMap;
use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection_stats::ConnectionStats;
use crate::http::{Reason, Response};
use crate::hub::ConnId;
use crate::os::sever;

/// How many connections may be open; 0 means any number. Those through a trusted proxy count under
/// their clients' addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub connections: usize,
    pub per_address: usize,
}

/// All open connections, including those in their handshake. Any thread may use it.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    state: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    open: HashMap<ConnId, Connection>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    socket: Arc<TcpStream>,
    stats: Arc<ConnectionStats>,
    /// The address under which it is counted; `None` while only a proxy's address is known.
    address: Option<IpAddr>,
    /// True where the hub was asked to admit it. The hub then closes it when the server stops.
    is_known: bool,
}

/// A limit is reached; the text is for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitReached(pub String);

impl Connections {
    pub fn new(limits: ConnectionLimits) -> Self {
        Connections { limits, state: Mutex::default() }
    }

    pub fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// Counts a new connection, under its address where that is known already.
    ///
    /// # Errors
    /// [`LimitReached`] when a limit is reached. The connection is not counted then.
    pub fn add(
        &self,
        conn: ConnId,
        socket: &Arc<TcpStream>,
        stats: &Arc<ConnectionStats>,
        address: Option<IpAddr>,
    ) -> Result<(), LimitReached> {
        let mut state = self.lock();
        let ConnectionLimits { connections, per_address } = self.limits;
        if connections > 0 && state.open.len() >= connections {
            return Err(LimitReached(format!(
                "{connections} connections are open, which is the limit"
            )));
        }
        if let Some(address) = address {
            state.count(address, per_address)?;
        }
        let (socket, stats) = (socket.clone(), stats.clone());
        let open = Connection { socket, stats, address, is_known: false };
        state.open.insert(conn, open);
        Ok(())
    }

    /// Counts a connection under the client's address that a proxy has sent, and under no other: a
    /// proxy may send requests of several clients, one after the other, on one connection.
    ///
    /// # Errors
    /// [`LimitReached`] when a limit is reached. The connection is counted as before then.
    pub fn set_client_address(&self, conn: ConnId, address: IpAddr) -> Result<(), LimitReached> {
        let mut state = self.lock();
        let Some(before) = state.open.get(&conn).map(|open| open.address) else { return Ok(()) };
        if before == Some(address) {
            return Ok(());
        }
        state.count(address, self.limits.per_address)?;
        if let Some(open) = state.open.get_mut(&conn) {
            open.address = Some(address);
        }
        if let Some(before) = before {
            state.count_out(before);
        }
        Ok(())
    }

    /// Records whether the hub closes this connection when the server stops.
    pub fn set_known_to_hub(&self, conn: ConnId, is_known: bool) {
        if let Some(open) = self.lock().open.get_mut(&conn) {
            open.is_known = is_known;
        }
    }

    pub fn remove(&self, conn: ConnId) {
        let mut state = self.lock();
        if let Some(address) = state.open.remove(&conn).and_then(|open| open.address) {
            state.count_out(address);
        }
    }

    /// Calls `of` for each connection, in no order. Opening and closing connections waits for it;
    /// nothing else does.
    pub fn stats<T>(&self, mut of: impl FnMut(ConnId, &ConnectionStats) -> T) -> Vec<T> {
        let state = self.lock();
        state.open.iter().map(|(conn, open)| of(*conn, &open.stats)).collect()
    }

    /// Shuts the sockets down: of all connections, or of those that the hub doesn't know. Threads
    /// that read from or write to them are woken.
    pub fn shutdown(&self, even_known: bool) {
        for open in self.lock().open.values().filter(|open| even_known || !open.is_known) {
            sever(&open.socket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    fn count(&mut self, address: IpAddr, most: usize) -> Result<(), LimitReached> {
        let from_there = self.by_address.entry(address).or_default();
        if most > 0 && *from_there >= most {
            return Err(LimitReached(format!("{most} connections come from there, the limit")));
        }
        *from_there += 1;
        Ok(())
    }

    fn count_out(&mut self, address: IpAddr) {
        if let Some(from_there) = self.by_address.get_mut(&address) {
            *from_there -= 1;
            if *from_there == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// The response to a client for which there is no room.
pub fn full() -> Response {
    Response::text(503, "the server is full: try again later").with_reason(Reason::Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_proxy_speaks_for_is_counted_once_that_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let connections = Connections::new(ConnectionLimits { connections: 4, per_address: 1 });
        let (alice, bob) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let add = |conn| connections.add(ConnId(conn), &socket, &ConnectionStats::new(), None);
        (1..=4).for_each(|conn| add(conn).unwrap());
        assert!(add(5).is_err(), "four in all");
        let locate = |conn, address| connections.set_client_address(ConnId(conn), address).is_ok();
        assert!(locate(1, alice) && locate(2, bob));
        assert!(locate(1, alice), "it is there already");
        assert!(!locate(3, alice));
        connections.remove(ConnId(3));
        // Two clients, one after the other, on one connection of the proxy.
        let carol = [10, 0, 0, 3].into();
        assert!(locate(1, carol) && locate(4, alice) && !locate(1, alice) && !locate(2, carol));
        connections.remove(ConnId(1));
        assert!(locate(2, carol) && locate(4, bob) && locate(4, alice));
        connections.remove(ConnId(2));
        assert_eq!(connections.lock().by_address.len(), 1, "only where somebody is");
        assert!(locate(9, bob), "one that has ended needs no room");
    }

    #[test]
    fn there_is_room_in_all_and_for_each_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let connections = Connections::new(ConnectionLimits { connections: 3, per_address: 2 });
        let (here, there) = ([127, 0, 0, 1].into(), [10, 0, 0, 1].into());
        let add = |conn, address| {
            connections.add(ConnId(conn), &socket, &ConnectionStats::new(), Some(address)).is_ok()
        };
        assert!(add(1, here) && add(2, here));
        assert!(!add(3, here), "two from one address");
        assert!(add(4, there));
        assert!(!add(5, there), "three in all");
        connections.remove(ConnId(1));
        connections.remove(ConnId(1));
        assert!(add(6, here));
    }
}
