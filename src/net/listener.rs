//! The accept threads: each accepts connections on one address and starts a thread for each.

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
use super::connections::{self, LimitReached};
use super::counters::Counters;
use super::forwarded;
use crate::http::Reason;
use crate::hub::ConnId;
use crate::os::give_up_after;

const LISTEN_BACKLOG: i32 = 1024;
/// How many refused connections are kept open, so that their clients can read the refusal.
const MAX_REFUSED_SOCKETS: usize = 32;
/// How many free ports are tried until one is free on all addresses.
const MAX_PORT_TRIES: u32 = 20;
/// The stack of a client's thread, in bytes. Parsing doesn't recurse.
const CLIENT_STACK_BYTES: usize = 256 * 1024;

/// Why there is no listener: a line that says what to do.
#[derive(Debug)]
pub struct BindError(pub String);

/// Listens on every address that a host has on this machine, on one port. Port 0 picks a free one.
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
    listen_on_one_port(&addresses, port).map_err(|error| match error {
        None => unknown(),
        Some(error) => explain(&error, host, port, unknown),
    })
}

/// Listens on this machine's loopback addresses alone, `127.0.0.1` and, where there is one, `::1`, on one port.
/// Port 0 picks a free one.
///
/// # Errors
/// A line for the person who typed the port.
pub fn bind_loopback(port: u16) -> Result<Vec<TcpListener>, BindError> {
    let addresses = [
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
    ];
    let unknown = || BindError("this machine has no loopback address".into());
    listen_on_one_port(&addresses, port).map_err(|error| match error {
        None => unknown(),
        Some(error) => explain(&error, "localhost", port, unknown),
    })
}

/// Listens on those of the addresses that this machine has. The error is `None` where it has none of them.
fn listen_on_one_port(
    addresses: &[SocketAddr],
    port: u16,
) -> Result<Vec<TcpListener>, Option<io::Error>> {
    let mut tries_left = MAX_PORT_TRIES;
    loop {
        tries_left -= 1;
        let listening = listen_on(addresses).map_err(|error| (error.kind(), error));
        match listening {
            Ok(listeners) if listeners.is_empty() => return Err(None),
            Ok(listeners) => return Ok(listeners),
            // The port that was free on the first address is in use on the second: try another one.
            Err((ErrorKind::AddrInUse, _)) if port == 0 && tries_left > 0 => {}
            Err((_, error)) => return Err(Some(error)),
        }
    }
}

/// Listens on those of the addresses that this machine has, on the port of the first one.
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
            // The name may have an address of a family that this machine doesn't have.
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
    // Lets a restarted server have its port back at once. Windows does so anyway, and there this
    // option would let two servers share the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // "::" stands for all addresses, including IPv4's.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
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

/// The loop of an accept thread. Returns when the server is stopping, and then closes the listener.
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
                let peer = canonical(peer);
                if let Err(socket) = start_client(conn, socket, peer, shared) {
                    refuse(socket, &mut refused);
                }
            }
            // The client left before its connection was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                // The process is out of descriptors or memory until a client leaves. The pause
                // keeps this thread from spinning.
                log::error!("can't accept a connection: {error}");
                refused.clear();
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Has small messages sent at once, and the system find out within about `silence` that the other machine has
/// gone.
pub fn find_dead_peer(socket: &TcpStream, silence: Duration) {
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(Duration::from_secs(10)).with_retries(3);
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
    give_up_after(socket, silence);
}

/// Starts the connection's thread. Returns the socket where there is no room or no thread.
fn start_client(
    conn: ConnId,
    socket: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
) -> Result<(), Arc<TcpStream>> {
    // Options fail for a socket whose client has left. The first read will tell.
    find_dead_peer(&socket, shared.config.silence);

    let (socket, stats) = (Arc::new(socket), ConnectionStats::new());
    // The address of a proxy's client is known only when its request has been read.
    let is_proxy = forwarded::is_trusted(peer.ip(), &shared.config.trusted_proxies);
    let address = (!is_proxy).then_some(peer.ip());
    if let Err(LimitReached(why)) = shared.connections.add(conn, &socket, &stats, address) {
        log::warn!("refused {peer}: {why}");
        shared.counters.refused(Reason::Full);
        return Err(socket);
    }
    let (served, serving) = (socket.clone(), shared.clone());
    let body = move || connection::run(conn, served, peer, stats, &serving);
    if let Err(error) = shared.threads.spawn(format!("c{}", conn.0), Some(CLIENT_STACK_BYTES), body)
    {
        log::error!("refused {peer}: the system has no thread for it: {error}");
        shared.counters.refused(Reason::Full);
        shared.connections.remove(conn);
        return Err(socket);
    }
    Ok(())
}

/// Sends the refusal without a thread and without blocking. The socket stays open for a while:
/// closing it at once could discard the refusal.
fn refuse(socket: Arc<TcpStream>, refused: &mut VecDeque<Arc<TcpStream>>) {
    let full = connections::full().parts("GET").concat();
    if socket.set_nonblocking(true).is_ok() {
        // A new connection's buffer takes the whole refusal.
        let _ = { &*socket }.write(&full);
        let _ = socket.shutdown(Shutdown::Write);
    }
    if refused.len() >= MAX_REFUSED_SOCKETS {
        refused.pop_front();
    }
    refused.push_back(socket);
}

/// Converts an IPv4 address mapped into IPv6, as a listener on `::` reports it, to IPv4.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
        IpAddr::V6(_) => peer,
    }
}

/// Wakes the accept thread by a connection, so that it sees that the server is stopping.
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

    /// On Linux all of 127.0.0.0/8 is this machine; other systems need a second address for this.
    #[test]
    fn all_addresses_of_a_host_are_listened_on_at_one_port() {
        let listeners = listen_on(&addresses(&["127.0.0.1:0", "127.0.0.2:0"])).expect("both");
        let [first, second] = &listeners[..] else { panic!("{listeners:?}") };
        let port = first.local_addr().expect("bound").port();
        assert_eq!(second.local_addr().expect("bound"), SocketAddr::from(([127, 0, 0, 2], port)));
        // No machine has an address of TEST-NET-3: a name may have an address that this machine
        // lacks.
        let some = listen_on(&addresses(&["203.0.113.7:0", "127.0.0.1:0"])).expect("one of them");
        assert_eq!(some.len(), 1);
        let none = listen_on(&addresses(&["203.0.113.7:0"])).expect_err("nothing is left");
        assert_eq!(none.kind(), ErrorKind::AddrNotAvailable);
        // Listening on half of the addresses is an error where another server has the other half.
        let taken = listen_on(&addresses(&["127.0.0.3:0", &format!("127.0.0.2:{port}")]));
        assert!(taken.is_ok(), "on another port there is room");
        let both = [format!("127.0.0.3:{port}"), format!("127.0.0.2:{port}")];
        let taken = listen_on(&addresses(&both.each_ref().map(String::as_str)));
        assert_eq!(taken.expect_err("it is in use").kind(), ErrorKind::AddrInUse);
    }
}
