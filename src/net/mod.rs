//! Sockets and threads: connections, requests and frames. Never looks inside a message.
//!
//! `listener` accepts connections and starts a thread for each. That thread answers requests
//! (`handshake`) and reads messages (`connection`). Each message becomes an event for the hub
//! thread (`hub_thread`), whose effects are pushed to send queues. `send_queue` alone writes to
//! clients' sockets.

mod addresses;
mod client;
mod confirmations;
mod connection;
mod connection_stats;
mod connections;
mod counters;
mod event_queue;
mod exposition;
pub mod forwarded;
mod frame_queue;
mod handshake;
mod housekeeping;
mod http_counters;
mod hub_thread;
mod listener;
mod os_limits;
mod rate_limit;
mod semaphore;
mod send_queue;
pub mod service;
mod shutdown;
mod spool;
mod status;
mod threads;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

pub use addresses::reachable;
#[doc(hidden)]
pub use connection::{is_close, web_socket};
pub use connections::ConnectionLimits;
use connections::Connections;
use counters::Counters;
use event_queue::EventQueue;
pub use forwarded::Network;
use http_counters::HttpCounters;
pub use hub_thread::StateMachine;
use hub_thread::{HubThread, Input};
pub use listener::{BindError, bind, bind_loopback, find_dead_peer};
pub use os_limits::half_of_the_memory;
pub use rate_limit::RateLimits;
use semaphore::Semaphore;
pub use send_queue::SendMode;
use service::Service;
use shutdown::Shutdown;
use spool::Spool;
use threads::Threads;

use crate::journal::Journal;

/// How many inputs may wait for the hub thread, each with one message at most. Clients' threads
/// wait at this bound: back-pressure to those senders alone.
const MAX_QUEUED_EVENTS: usize = 256;
/// How many [`Work`](service::Work) requests may run at a time, from reading the body until there
/// is an answer. Each may need several times the memory of a document.
const MAX_WORKING: usize = 8;
/// The default of [`Config::silence`].
pub const SILENCE: Duration = Duration::from_secs(90);
/// How long clients may take to read what is queued for them when the server stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long stopping waits for threads after that.
const JOIN_TIMEOUT: Duration = Duration::from_millis(700);
/// How long stopping waits for the disk: before clients are told, and at the end.
const WRITE_TIMEOUT: Duration = Duration::from_millis(250);

/// The limits and settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many connections there may be. Lowered to what the system permits.
    pub room: ConnectionLimits,
    /// Proxies by address: their `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
    /// How long a client may take to send its request; `None` for no limit. Without one a silent
    /// client keeps its place and its thread until it leaves, TCP keep-alive finds it dead, or the
    /// server stops.
    pub handshake_timeout: Option<Duration>,
    /// The largest message a client may send, in bytes.
    pub max_message_bytes: usize,
    /// The bound of a client's send queue in bytes; `None` for no bound. Without one no client is
    /// closed for being too slow, and one that doesn't read may use up all memory.
    pub queue_bytes: Option<usize>,
    /// How fast a client may send; a faster one is read more slowly.
    pub rate: RateLimits,
    /// How long a client may send nothing at all; `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// A client that acknowledges no byte for so long is closed.
    pub silence: Duration,
    /// How frames are written to the socket.
    pub send_mode: SendMode,
}

/// What the server's threads share.
struct Shared {
    service: Box<dyn Service>,
    config: Config,
    /// The addresses it listens on.
    addrs: Vec<SocketAddr>,
    event_queue: EventQueue<Input>,
    /// Every open connection, so that stopping can end them all.
    connections: Connections,
    /// How many connections were accepted: the last one's number.
    accepted: AtomicU64,
    threads: Arc<Threads>,
    /// Bounds requests that ask the hub once, or list connections.
    questions: Semaphore,
    /// Bounds [`Work`](service::Work) requests.
    work: Semaphore,
    /// Answers that clients have not read yet.
    spool: Spool,
    stopping: Shutdown,
    counters: Arc<Counters>,
    http: HttpCounters,
    /// Where changes are made durable; `None` where they are not.
    journal: Option<Arc<dyn Journal>>,
}

impl Shared {
    /// Sends an input to the hub thread. Waits while the journal or the event queue is full:
    /// back-pressure to this sender alone.
    fn send(&self, input: Input) -> Result<(), event_queue::HubEnded> {
        if let Some(journal) = &self.journal {
            journal.wait_for_room(None);
        }
        self.event_queue.send(input)
    }

    /// Waits for room in the journal, until `until` at most. Returns false where there is none by
    /// then.
    fn wait_for_room(&self, until: Instant) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.wait_for_room(Some(until)))
    }
}

/// A running server.
pub struct ServerHandle {
    shared: Arc<Shared>,
}

/// Checks that the system's limits allow a server to run.
///
/// # Errors
/// A line that says which limit is too low, and what to do.
pub fn check_system() -> Result<(), String> {
    os_limits::check()
}

/// Starts the threads of a server on bound listeners.
///
/// # Errors
/// When there is no listener, one has no address, or the system refuses a thread.
pub fn start(
    listeners: Vec<TcpListener>,
    config: Config,
    service: Box<dyn Service>,
    machine: Box<dyn StateMachine>,
) -> io::Result<ServerHandle> {
    let addrs = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    if addrs.is_empty() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let (event_queue, events) = event_queue::event_queue(MAX_QUEUED_EVENTS);
    let threads = Arc::new(Threads::new(os_limits::max_threads()));
    let mut room = config.room;
    if let Some(most) = os_limits::max_connections()
        && (room.connections == 0 || room.connections > most)
    {
        log::info!("room for {most} connections: the system permits no more");
        room.connections = most;
    }
    let external = event_queue.clone();
    // It fails when the hub thread has ended, which needs no input then.
    let journal =
        service.begin(Box::new(move |event| drop(external.send(Input::External(event)))))?;
    let counters = Arc::new(Counters::new());
    let hub_thread = HubThread::new(machine, journal.clone(), counters.clone());
    let http = HttpCounters::new(service.routes());
    let shared = Arc::new(Shared {
        service,
        config,
        addrs,
        event_queue,
        connections: Connections::new(room),
        accepted: AtomicU64::new(0),
        threads: threads.clone(),
        questions: Semaphore::default(),
        work: Semaphore::new(MAX_WORKING),
        spool: Spool::default(),
        stopping: Shutdown::default(),
        counters,
        http,
        journal,
    });
    threads.spawn("hub".into(), None, move || hub_thread.run(&events))?;
    for (number, listener) in (1..).zip(listeners) {
        let accepting = shared.clone();
        let name = if number == 1 { "accept".into() } else { format!("accept{number}") };
        threads.spawn(name, None, move || listener::run(listener, &accepting))?;
    }
    let watching = shared.clone();
    threads.spawn("watch".into(), None, move || housekeeping::run(&watching))?;
    Ok(ServerHandle { shared })
}

impl ServerHandle {
    /// The first address it listens on, with the real port where 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addrs()[0]
    }

    /// All addresses it listens on, on one port.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.shared.addrs
    }

    /// True while the hub thread runs and finishes its events in time.
    pub fn hub_works(&self) -> bool {
        self.shared.hub_works()
    }

    /// Has the thread `watch` reload the key file at once; the log tells the result. Returns false
    /// where the service has nothing to reload.
    pub fn reload(&self) -> bool {
        let can_reload = self.shared.service.can_reload();
        if can_reload {
            self.shared.stopping.wake();
        }
        can_reload
    }

    /// Stops the server: releases the port, writes and confirms what waits for the disk, closes
    /// every client with 1001, flushes their send queues for up to 2 s, closes all sockets and
    /// joins all threads.
    ///
    /// Takes at most 3 s. Returns the names of the threads that had not ended by then.
    pub fn stop(self) -> Vec<String> {
        let begun = Instant::now();
        self.shared.stopping.begin();
        self.shared.addrs.iter().for_each(|addr| listener::wake(*addr));
        if let Some(journal) = &self.shared.journal {
            let _ = journal.flushed().recv_timeout(WRITE_TIMEOUT);
        }
        // It fails where the hub thread is stuck; joining it fails then, too.
        let _ = self.shared.event_queue.send_within(Input::Stop, FLUSH_TIMEOUT);
        self.shared.connections.shutdown(false);
        let mut left = self.shared.threads.join_all(begun + FLUSH_TIMEOUT + JOIN_TIMEOUT / 4);
        if !left.is_empty() {
            self.shared.connections.shutdown(true);
            left = self.shared.threads.join_all(begun + FLUSH_TIMEOUT + JOIN_TIMEOUT);
        }
        self.shared.service.end(begun + FLUSH_TIMEOUT + JOIN_TIMEOUT + WRITE_TIMEOUT);
        left
    }
}
