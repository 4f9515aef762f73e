//! The accept thread: takes connections and gives each a thread of its own.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::Shared;
use super::connection;
use super::connection_stats::ConnectionStats;
use super::connections::{self, Full};
use super::counters::Counters;
use super::forwarded;
use crate::http::Reason;
use crate::hub::ConnId;
use crate::os::give_up_after;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How many refused connections are kept until they have read why.
const MOST_REFUSED: usize = 32;
/// How often a free port is looked for that is free on all addresses.
const PORTS_TRIED: u32 = 20;
/// The stack of a client's thread: parsing is not recursive.
const CLIENT_STACK: usize = 256 * 1024;

/// Why there is no listener, in a line that says what to do.
#[derive(Debug)]
pub struct BindError(pub String);

/// Listens on every address that a host has on this machine, on one port; port 0 picks a free one.
///
/// # Errors
/// A line for the person who typed the address.
pub fn bind(host: &str, port: u16) -> Result<Vec<TcpListener>, BindError> {
    let unknown = || {
        BindError(format!(
            "{host:?} is not an address of this machine: use --host 0.0.0.0 for all of them"
        ))
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, port).to_socket_addrs().map_err(|_| unknown())?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut tries_left = PORTS_TRIED;
    loop {
        tries_left -= 1;
        let listening = listen_on(&addresses).map_err(|error| (error.kind(), error));
        match listening {
            Ok(listeners) if listeners.is_empty() => return Err(unknown()),
            Ok(listeners) => return Ok(listeners),
            // The port that was picked for the first address is somebody else's on the second.
            Err((ErrorKind::AddrInUse, _)) if port == 0 && tries_left > 0 => {}
            Err((_, error)) => return Err(explain(&error, host, port, unknown)),
        }
    }
}

/// Listens on all of these that there are, on the port of the first one.
fn listen_on(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut failure = None;
    for address in addresses {
        let mut address = *address;
        if let Some(first) = listeners.first() {
            address.set_port(first.local_addr()?.port());
        }
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            Err(error)
                if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) =>
            {
                return Err(error);
            }
            // A name may have one of the other family, which this machine doesn't speak.
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server gets its port back at once. On Windows this is so without being asked for,
    // and the option would let two servers share the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // "::" means every address, IPv4's too.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explain(error: &io::Error, host: &str, port: u16, unknown: impl Fn() -> BindError) -> BindError {
    match error.kind() {
        ErrorKind::AddrInUse => BindError(format!(
            "port {port} is in use, probably by another server: stop that one, or choose another \
             port with --port"
        )),
        ErrorKind::AddrNotAvailable => unknown(),
        ErrorKind::PermissionDenied => BindError(format!(
            "this user may not listen on port {port}, or the system has reserved it: choose another \
             one from 1024 on with --port"
        )),
        _ => BindError(format!("can't listen on {host:?} port {port}: {error}")),
    }
}

/// An accept thread, of which there is one for each address; ends when the server is stopping. The
/// listener is closed when it returns.
#[inline(never)] // a name in thread dumps
pub fn run(listener: TcpListener, shared: &Arc<Shared>) {
    let mut refused = VecDeque::new();
    loop {
        let accepted = listener.accept();
        if shared.stopping.has_begun() {
            return;
        }
        match accepted {
            Ok((socket, peer)) => {
                let conn = ConnId(shared.accepted.fetch_add(1, Ordering::Relaxed) + 1);
                Counters::note(&shared.counters.accepted);
                let peer = plain(peer);
                if let Err(socket) = welcome(conn, socket, peer, shared) {
                    refuse(socket, &mut refused);
                }
            }
            // The client was gone before it was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                // Out of descriptors or memory: it passes when somebody leaves. Not at once again,
                // or this thread would spin.
                log::error!("can't accept a connection: {error}");
                refused.clear();
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Gives a connection its thread, or gives it back where there is none.
fn welcome(
    conn: ConnId,
    socket: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
) -> Result<(), Arc<TcpStream>> {
    // The system may refuse options for a socket whose client has gone; reading finds that out.
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(Duration::from_secs(10)).with_retries(3);
    let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
    give_up_after(&socket, shared.config.silence);

    let (socket, stats) = (Arc::new(socket), ConnectionStats::new());
    // For whom a proxy speaks stands in the request.
    let is_proxy = forwarded::is_trusted(peer.ip(), &shared.config.trusted_proxies);
    let address = (!is_proxy).then_some(peer.ip());
    if let Err(Full(why)) = shared.connections.add(conn, &socket, &stats, address) {
        log::warn!("refused {peer}: {why}");
        shared.counters.refused(Reason::Full);
        return Err(socket);
    }
    let (served, serving) = (socket.clone(), shared.clone());
    let body = move || connection::run(conn, served, peer, stats, &serving);
    if let Err(error) = shared.threads.spawn(format!("c{}", conn.0), Some(CLIENT_STACK), body) {
        log::error!("refused {peer}: the system has no thread for it: {error}");
        shared.counters.refused(Reason::Full);
        shared.connections.remove(conn);
        return Err(socket);
    }
    Ok(())
}

/// Tells a client that the server is full, without a thread and without waiting. The socket is kept
/// a while: closed at once, it could take the answer with it.
fn refuse(socket: Arc<TcpStream>, refused: &mut VecDeque<Arc<TcpStream>>) {
    let full = connections::full().parts("GET").concat();
    if socket.set_nonblocking(true).is_ok() {
        // What a new connection's buffer doesn't take is not worth waiting for.
        let _ = { &*socket }.write(&full);
        let _ = socket.shutdown(Shutdown::Write);
    }
    if refused.len() >= MOST_REFUSED {
        refused.pop_front();
    }
    refused.push_back(socket);
}

/// IPv4 as IPv4: a listener on `::` calls it IPv6.
fn plain(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
        IpAddr::V6(_) => peer,
    }
}

/// Wakes the accept thread, so that it sees that the server is stopping.
pub fn wake(addr: SocketAddr) {
    let reachable = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let _ = TcpStream::connect_timeout(
        &SocketAddr::new(reachable, addr.port()),
        Duration::from_millis(500),
    );
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().expect("an address")).collect()
    }

    /// The whole of 127.0.0.0/8 is this machine on Linux; elsewhere it takes a second address.
    #[test]
    fn all_addresses_of_a_host_are_listened_on_at_one_port() {
        let listeners = listen_on(&addresses(&["127.0.0.1:0", "127.0.0.2:0"])).expect("both");
        let [first, second] = &listeners[..] else { panic!("{listeners:?}") };
        let port = first.local_addr().expect("bound").port();
        assert_eq!(second.local_addr().expect("bound"), SocketAddr::from(([127, 0, 0, 2], port)));
        // TEST-NET-3 is nobody's: a name may have an address that this machine hasn't.
        let some = listen_on(&addresses(&["203.0.113.7:0", "127.0.0.1:0"])).expect("one of them");
        assert_eq!(some.len(), 1);
        let none = listen_on(&addresses(&["203.0.113.7:0"])).expect_err("nothing is left");
        assert_eq!(none.kind(), ErrorKind::AddrNotAvailable);
        // Half of a host is not enough where the other half is somebody else's server.
        let taken = listen_on(&addresses(&["127.0.0.3:0", &format!("127.0.0.2:{port}")]));
        assert!(taken.is_ok(), "on another port there is room");
        let both = [format!("127.0.0.3:{port}"), format!("127.0.0.2:{port}")];
        let taken = listen_on(&addresses(&both.each_ref().map(String::as_str)));
        assert_eq!(taken.expect_err("it is in use").kind(), ErrorKind::AddrInUse);
    }
}
