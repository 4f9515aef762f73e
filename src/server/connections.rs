//! Which connections are open, and whether there is room for one more.

use std::collections::HashMap;
use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hub::ConnId;
use crate::os::sever;

/// How many connections there may be; 0 for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub connections: usize,
    /// From one address.
    pub per_address: usize,
}

/// Every open connection, those in their handshake included.
#[derive(Debug)]
pub struct Connections {
    room: Room,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<ConnId, Open>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Open {
    socket: Arc<TcpStream>,
    address: IpAddr,
    /// Its handshake is over: it has a farewell coming.
    is_admitted: bool,
}

/// There is no room, in words for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Full(pub String);

impl Connections {
    /// None open yet.
    pub fn new(room: Room) -> Self {
        Connections { room, state: Mutex::default() }
    }

    /// Counts a connection in.
    ///
    /// # Errors
    /// [`Full`], and then it isn't counted.
    pub fn add(&self, conn: ConnId, socket: &Arc<TcpStream>, address: IpAddr) -> Result<(), Full> {
        let mut state = self.lock();
        let Room { connections, per_address } = self.room;
        if connections > 0 && state.open.len() >= connections {
            return Err(Full(format!("{connections} connections are open, which is the limit")));
        }
        let from_here = state.by_address.entry(address).or_default();
        if per_address > 0 && *from_here >= per_address {
            return Err(Full(format!("{per_address} connections come from there, the limit")));
        }
        *from_here += 1;
        let open = Open { socket: socket.clone(), address, is_admitted: false };
        state.open.insert(conn, open);
        Ok(())
    }

    /// Notes that a connection's handshake is over.
    pub fn admit(&self, conn: ConnId) {
        if let Some(open) = self.lock().open.get_mut(&conn) {
            open.is_admitted = true;
        }
    }

    /// Counts a connection out.
    pub fn remove(&self, conn: ConnId) {
        let mut state = self.lock();
        let Some(open) = state.open.remove(&conn) else { return };
        if let Some(from_there) = state.by_address.get_mut(&open.address) {
            *from_there -= 1;
            if *from_there == 0 {
                state.by_address.remove(&open.address);
            }
        }
    }

    /// Ends connections: all of them, or those whose handshake isn't over. Whoever reads from or
    /// writes to them is woken.
    pub fn cut(&self, even_admitted: bool) {
        for open in self.lock().open.values().filter(|open| even_admitted || !open.is_admitted) {
            sever(&open.socket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_in_all_and_for_each_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let connections = Connections::new(Room { connections: 3, per_address: 2 });
        let (here, there) = ([127, 0, 0, 1].into(), [10, 0, 0, 1].into());
        let add = |conn, address| connections.add(ConnId(conn), &socket, address).is_ok();
        assert!(add(1, here) && add(2, here));
        assert!(!add(3, here), "two from one address");
        assert!(add(4, there));
        assert!(!add(5, there), "three in all");
        connections.remove(ConnId(1));
        connections.remove(ConnId(1));
        assert!(add(6, here));
    }
}
