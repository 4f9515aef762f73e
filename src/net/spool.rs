//! The bound of the memory of all responses that clients haven't read yet. When it is reached,
//! clients that read slowly are cut off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::send_queue::SendQueue;

/// How many bytes of responses may be unread by all clients together. A larger response is sent
/// where it is the only one.
pub const MAX_UNREAD_BYTES: usize = 64 << 20;
/// Responses of at most this many bytes are not counted.
const MAX_UNCOUNTED_BYTES: usize = 64 << 10;
/// A response younger than this is not cut off, however slowly it is read.
const GRACE_TIME: Duration = Duration::from_secs(1);

/// The responses that are being sent. Any thread may add one; none waits.
#[derive(Debug)]
pub struct Spool {
    answers: Mutex<Vec<UnreadResponse>>,
    next: AtomicU64,
    most: usize,
    small: usize,
    grace: Duration,
}

#[derive(Debug)]
struct UnreadResponse {
    number: u64,
    size: usize,
    since: Instant,
    send_queue: Arc<SendQueue>,
}

/// A counted response. Dropping it ends the count.
#[derive(Debug)]
pub struct SpooledResponse<'a> {
    spool: &'a Spool,
    number: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Spool::with(MAX_UNREAD_BYTES, MAX_UNCOUNTED_BYTES, GRACE_TIME)
    }
}

impl Spool {
    fn with(most: usize, small: usize, grace: Duration) -> Self {
        Spool { answers: Mutex::default(), next: AtomicU64::default(), most, small, grace }
    }

    /// Counts a response of `size` bytes that is sent through `send_queue`. Where there is no room,
    /// the connections with the oldest responses are aborted. Returns `None`, and counts nothing,
    /// where the oldest response is younger than the grace time.
    pub fn add(&self, size: usize, send_queue: &Arc<SendQueue>) -> Option<SpooledResponse<'_>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if size <= self.small {
            return Some(SpooledResponse { spool: self, number });
        }
        let now = Instant::now();
        let mut answers = self.lock();
        let mut taken: usize = answers.iter().map(|answer| answer.size).sum();
        while taken > 0 && taken.saturating_add(size) > self.most {
            // The oldest one is the first.
            let oldest = answers.first()?;
            if now.saturating_duration_since(oldest.since) < self.grace {
                return None;
            }
            let cut = answers.remove(0);
            taken -= cut.size;
            cut.send_queue.abort();
        }
        answers.push(UnreadResponse { number, size, since: now, send_queue: send_queue.clone() });
        Some(SpooledResponse { spool: self, number })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UnreadResponse>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SpooledResponse<'_> {
    fn drop(&mut self) {
        self.spool.lock().retain(|answer| answer.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::send_queue::SendMode;
    use super::super::threads::Threads;
    use super::*;
    use crate::hub::ConnId;

    /// A send queue and the client's end of its connection.
    fn send_queue() -> (Arc<SendQueue>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a client");
        let (socket, _) = listener.accept().expect("it has connected");
        let threads = Arc::new(Threads::default());
        (SendQueue::new(ConnId(1), socket.into(), threads, SendMode::NonBlocking, 1000), client)
    }

    fn has_ended(client: &TcpStream) -> bool {
        use std::io::Read;
        client.set_nonblocking(true).expect("a socket");
        matches!({ client }.read(&mut [0]), Ok(0))
    }

    #[test]
    fn the_oldest_makes_way_and_no_other() {
        let spool = Spool::with(100, 10, Duration::ZERO);
        let all = [send_queue(), send_queue(), send_queue()];
        let [first, second, third] = &all;
        let _first = spool.add(60, &first.0).expect("room");
        let _second = spool.add(40, &second.0).expect("room");
        let _third = spool.add(60, &third.0).expect("room is made");
        assert!(has_ended(&first.1) && !has_ended(&second.1) && !has_ended(&third.1));
    }

    #[test]
    fn what_has_just_begun_is_left_alone() {
        let spool = Spool::with(100, 10, Duration::from_secs(3600));
        let (send_queue, client) = send_queue();
        let first = spool.add(60, &send_queue).expect("room");
        assert!(spool.add(60, &send_queue).is_none() && !has_ended(&client));
        drop(first);
        let alone = spool.add(1000, &send_queue).expect("it is the only one");
        assert!(spool.add(11, &send_queue).is_none());
        assert!(spool.add(10, &send_queue).is_some(), "small ones are not counted");
        drop(alone);
        assert!(spool.add(100, &send_queue).is_some() && spool.lock().is_empty());
    }
}
