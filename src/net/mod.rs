//! Sockets and threads. Knows connections, requests and frames, not what is in them.
//!
//! `accept` takes connections and gives each a thread (`connection`); what a client says becomes an
//! event for the hub thread (`dispatch`), whose effects are put into send queues (`send_queue`), the only
//! place that writes to a client's socket.

mod client;
mod confirmations;
mod connection;
mod connection_stats;
mod connections;
mod counters;
mod event_queue;
mod exposition;
pub mod forwarded;
mod handshake;
mod housekeeping;
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

#[doc(hidden)]
pub use connection::{is_close, web_socket};
pub use connections::ConnectionLimits;
use connections::Connections;
use counters::Counters;
use event_queue::EventQueue;
pub use forwarded::Network;
pub use hub_thread::StateMachine;
use hub_thread::{HubThread, Input};
pub use listener::{BindError, bind};
pub use os_limits::half_of_the_memory;
pub use rate_limit::RateLimits;
use semaphore::Semaphore;
pub use send_queue::SendMode;
use service::Service;
use shutdown::Shutdown;
use spool::Spool;
use threads::Threads;

use crate::kept::Journal;

/// How many events may wait for the hub. At it, readers block: back-pressure to those senders
/// alone. Each holds at most one message.
const MAX_QUEUED_EVENTS: usize = 256;
/// How many requests may be worked on at a time, from when their bodies are read until there is an
/// answer: each may take several times what a document does.
const MAX_WORKING: usize = 8;
/// How long [`Config::silence`] is by default.
pub const SILENCE: Duration = Duration::from_secs(90);
/// How long clients are given to take what is queued for them when the server stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long threads are waited for after that.
const JOIN_TIMEOUT: Duration = Duration::from_millis(700);
/// How long what waits for the disk is waited for: before the clients are told, and at the very end.
const WRITE_TIMEOUT: Duration = Duration::from_millis(250);

/// What a server keeps to.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many connections there may be. Lowered to what the system permits.
    pub room: ConnectionLimits,
    /// Whose word is taken for where a client is: proxies, by address.
    pub trusted_proxies: Vec<Network>,
    /// How long a client may take to send its request, if there is a limit. Without one a client
    /// that says nothing keeps its place and its thread until it leaves, TCP keep-alive finds it
    /// dead, or the server stops.
    pub handshake_timeout: Option<Duration>,
    /// The largest message a client may send, in bytes.
    pub max_message_bytes: usize,
    /// How much may wait in a client's send queue, in bytes, if there is a bound. Without one nobody is
    /// too slow, and a client that doesn't read takes memory until it leaves or there is none.
    pub queue_bytes: Option<usize>,
    /// How fast a client may send; a faster one is read more slowly.
    pub rate: RateLimits,
    /// How long a client may say nothing at all, if there is a limit.
    pub idle_timeout: Option<Duration>,
    /// A client that acknowledges nothing for so long is gone, whatever is on its way to it.
    pub silence: Duration,
    /// How frames get to the socket.
    pub send_mode: SendMode,
}

/// What the server's threads share.
struct Shared {
    service: Box<dyn Service>,
    config: Config,
    event_queue: EventQueue<Input>,
    /// Every open connection, so that stopping can end them all.
    connections: Connections,
    /// How many connections were accepted: each has its number.
    accepted: AtomicU64,
    threads: Arc<Threads>,
    questions: Semaphore,
    /// Requests that are worked on.
    work: Semaphore,
    /// Answers that clients have not read yet.
    spool: Spool,
    stopping: Shutdown,
    counters: Arc<Counters>,
    /// Where what has to survive goes.
    journal: Option<Arc<dyn Journal>>,
}

impl Shared {
    /// Says something to the hub; waits while that, or what makes changes durable, has too much to
    /// do: back-pressure to this sender alone.
    fn say(&self, input: Input) -> Result<(), event_queue::Gone> {
        if let Some(journal) = &self.journal {
            journal.wait_for_room(None);
        }
        self.event_queue.send(input)
    }

    /// Waits until `until` at most for what makes changes durable. Whether there is room for another one.
    fn has_room(&self, until: Instant) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.wait_for_room(Some(until)))
    }
}

/// A running server.
pub struct ServerHandle {
    addrs: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

/// Whether the system permits enough to serve anybody.
///
/// # Errors
/// A line that says which limit is in the way, and what to do.
pub fn check_system() -> Result<(), String> {
    os_limits::check()
}

/// Starts the threads of a server on bound listeners, of which there is one at least.
///
/// # Errors
/// When the system refuses a thread, or a listener has no address.
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
    let threads = Arc::new(Threads::new(os_limits::most_threads()));
    let mut room = config.room;
    if let Some(most) = os_limits::most_connections()
        && (room.connections == 0 || room.connections > most)
    {
        log::info!("room for {most} connections: the system permits no more");
        room.connections = most;
    }
    let telling = event_queue.clone();
    // When the hub has ended, there is nobody to tell.
    let journal =
        service.begin(Box::new(move |event| drop(telling.send(Input::External(event)))))?;
    let counters = Arc::new(Counters::new());
    let dispatcher = HubThread::new(machine, journal.clone(), counters.clone());
    let shared = Arc::new(Shared {
        service,
        config,
        event_queue,
        connections: Connections::new(room),
        accepted: AtomicU64::new(0),
        threads: threads.clone(),
        questions: Semaphore::default(),
        work: Semaphore::at_most(MAX_WORKING),
        spool: Spool::default(),
        stopping: Shutdown::default(),
        counters,
        journal,
    });
    threads.spawn("hub".into(), None, move || dispatcher.run(&events))?;
    for (number, listener) in (1..).zip(listeners) {
        let accepting = shared.clone();
        let name = if number == 1 { "accept".into() } else { format!("accept{number}") };
        threads.spawn(name, None, move || listener::run(listener, &accepting))?;
    }
    let watching = shared.clone();
    threads.spawn("watch".into(), None, move || housekeeping::run(&watching))?;
    Ok(ServerHandle { addrs, shared })
}

impl ServerHandle {
    /// The first address it listens on; the port is the real one where 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// All addresses it listens on, on one port.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Has the service look at once whether anything outside has changed, which the log tells about. Whether
    /// there is anything to look at.
    pub fn look_again(&self) -> bool {
        let can_reload = self.shared.service.can_reload();
        if can_reload {
            self.shared.stopping.wake();
        }
        can_reload
    }

    /// Stops the server: the port is released, what waits for the disk is written and confirmed,
    /// every client gets close 1001, what is queued for them is flushed for up to 2 s, then all
    /// sockets are closed and all threads joined.
    ///
    /// Takes at most 3 s. Returns the names of threads that had not ended by then.
    pub fn stop(self) -> Vec<String> {
        let begun = Instant::now();
        self.shared.stopping.begin();
        self.addrs.iter().for_each(|addr| listener::wake(*addr));
        if let Some(journal) = &self.shared.journal {
            let _ = journal.flushed().recv_timeout(WRITE_TIMEOUT);
        }
        // A full event queue is being emptied by the hub; where it is not, joining below finds out.
        let _ = self.shared.event_queue.send_within(Input::Stop, FLUSH_TIMEOUT);
        self.shared.connections.cut(false);
        let mut left = self.shared.threads.join_all(begun + FLUSH_TIMEOUT + JOIN_TIMEOUT / 4);
        if !left.is_empty() {
            self.shared.connections.cut(true);
            left = self.shared.threads.join_all(begun + FLUSH_TIMEOUT + JOIN_TIMEOUT);
        }
        self.shared.service.end(begun + FLUSH_TIMEOUT + JOIN_TIMEOUT + WRITE_TIMEOUT);
        left
    }
}
