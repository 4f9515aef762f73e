//! The hub's event queue: a bounded crossbeam channel whose receiver parks without spinning.
//!
//! The channel's own `recv` spins and yields for a while before it sleeps. With a thousand messages
//! a second on a small machine that took four system calls for each message and a tenth of the
//! server's processor time, while the hub had nothing to do.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

/// The hub has ended and receives nothing any more.
#[derive(Debug, PartialEq, Eq)]
pub struct HubEnded;

/// The sending side of the queue, for all clients' threads.
pub struct EventQueue<T> {
    channel: Sender<T>,
    waker: Arc<Waker>,
}

/// The receiving side of the queue, for the hub's thread alone.
pub struct Inputs<T> {
    channel: Receiver<T>,
    waker: Arc<Waker>,
}

#[derive(Default)]
struct Waker {
    hub: OnceLock<Thread>,
    is_asleep: AtomicBool,
    was_used: AtomicBool,
}

/// An event queue with room for `bound` inputs.
pub fn event_queue<T>(bound: usize) -> (EventQueue<T>, Inputs<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(bound);
    let waker = Arc::new(Waker::default());
    (EventQueue { channel: sender, waker: waker.clone() }, Inputs { channel: receiver, waker })
}

impl<T> Clone for EventQueue<T> {
    fn clone(&self) -> Self {
        EventQueue { channel: self.channel.clone(), waker: self.waker.clone() }
    }
}

impl<T> EventQueue<T> {
    /// Sends an input. Waits while the queue is full.
    ///
    /// # Errors
    /// When the hub has ended.
    pub fn send(&self, input: T) -> Result<(), HubEnded> {
        self.channel.send(input).map_err(|_| HubEnded)?;
        self.waker.wake();
        Ok(())
    }

    /// True where the hub has received an input since the last call.
    pub fn was_used(&self) -> bool {
        self.waker.was_used.swap(false, Ordering::Relaxed)
    }

    /// Sends an input. Waits for at most `longest` while the queue is full; then the input is
    /// dropped.
    ///
    /// # Errors
    /// When the hub has ended, or when the queue stayed full.
    pub fn send_within(&self, input: T, longest: Duration) -> Result<(), HubEnded> {
        self.channel.send_timeout(input, longest).map_err(|_| HubEnded)?;
        self.waker.wake();
        Ok(())
    }
}

impl<T> Inputs<T> {
    /// The inputs that are in the queue now, without waiting for more.
    pub fn waiting(&self) -> impl Iterator<Item = T> {
        self.channel.try_iter()
    }

    /// The next input; `None` when none comes until `deadline`.
    pub fn next(&self, deadline: Option<Instant>) -> Option<T> {
        self.waker.hub.get_or_init(std::thread::current);
        self.waker.was_used.store(true, Ordering::Relaxed);
        loop {
            if let Ok(input) = self.channel.try_recv() {
                return Some(input);
            }
            self.waker.is_asleep.store(true, Ordering::Relaxed);
            // Either the sender sees that the hub sleeps, or the hub sees what was sent.
            fence(Ordering::SeqCst);
            let input = self.channel.try_recv();
            if input.is_err() {
                match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    None => std::thread::park(),
                    Some(Duration::ZERO) => {
                        self.waker.is_asleep.store(false, Ordering::Relaxed);
                        return None;
                    }
                    Some(left) => std::thread::park_timeout(left),
                }
            }
            self.waker.is_asleep.store(false, Ordering::Relaxed);
            if let Ok(input) = input {
                return Some(input);
            }
        }
    }
}

impl Waker {
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed)
            && self.is_asleep.swap(false, Ordering::Relaxed)
            && let Some(hub) = self.hub.get()
        {
            hub.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_sent_is_slept_through() {
        let (event_queue, inputs) = event_queue(4);
        let event_queue = Arc::new(event_queue);
        let hub = std::thread::spawn(move || {
            let mut sum = 0;
            for _ in 0..40_000 {
                sum += inputs.next(None).unwrap();
            }
            sum
        });
        let senders = (0..4).map(|_| {
            let event_queue = event_queue.clone();
            std::thread::spawn(move || {
                for n in 0..10_000u64 {
                    event_queue.send(n).unwrap();
                    // The pause lets the hub fall asleep.
                    if n % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        });
        senders.collect::<Vec<_>>().into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(hub.join().unwrap(), 4 * (0..10_000).sum::<u64>());
    }

    #[test]
    fn one_message_at_a_time_wakes_the_hub_each_time() {
        let (event_queue, inputs) = event_queue(4);
        let (answer, answers) = crossbeam_channel::bounded(1);
        let hub = std::thread::spawn(move || {
            while let Some(n) = inputs.next(None).filter(|n| *n > 0) {
                answer.send(n).unwrap();
            }
        });
        for n in 1..5000u64 {
            event_queue.send(n).unwrap();
            assert_eq!(answers.recv().unwrap(), n);
        }
        event_queue.send(0).unwrap();
        hub.join().unwrap();
        assert_eq!(event_queue.send(1), Err(HubEnded));
    }

    #[test]
    fn a_deadline_passes() {
        let (event_queue, inputs) = event_queue::<u64>(4);
        assert_eq!(inputs.next(Some(Instant::now())), None);
        assert_eq!(inputs.next(Some(Instant::now() + Duration::from_millis(20))), None);
        event_queue.send(7).unwrap();
        assert_eq!(inputs.next(Some(Instant::now())), Some(7));
    }
}
