//! The tests of `send_queue.rs`.

use super::*;
use std::io::Read;
use std::net::TcpListener;

/// A send queue and the client's end of its connection.
fn pair(mode: SendMode, bound: usize) -> (Arc<SendQueue>, TcpStream, Arc<Threads>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    let threads = Arc::new(Threads::default());
    let send_queue = SendQueue::new(ConnId(1), Arc::new(socket), threads.clone(), mode, bound);
    (send_queue, client, threads)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// `count` frames of `size` bytes, each with its number in the order.
fn frames(count: usize, size: usize) -> Vec<Bytes> {
    let frame = |n: usize| Bytes::from(format!("{n:0size$}"));
    (0..count).map(frame).collect()
}

const BOTH: [SendMode; 2] = [SendMode::NonBlocking, SendMode::WriterThread];

#[test]
fn everything_arrives_in_order_though_the_client_reads_late() {
    for mode in BOTH {
        let (send_queue, mut client, threads) = pair(mode, 64 << 20);
        let frames = frames(3000, 10_000);
        for frame in &frames {
            send_queue.push(frame.clone(), None).unwrap();
            send_queue.flush();
        }
        send_queue.close(1000, "");
        send_queue.flush();
        let mut got = vec![0; 3000 * 10_000];
        client.read_exact(&mut got).unwrap();
        assert!(got == frames.concat(), "{mode:?}");
        assert!(send_queue.wait_until_empty(soon()));
        assert!(threads.join_all(soon()).is_empty(), "the writer ends when it has caught up");
    }
}

#[test]
fn a_client_that_does_not_read_is_told_apart_and_does_not_block() {
    for mode in BOTH {
        let (send_queue, _client, threads) = pair(mode, 100_000);
        let frame = Bytes::from(vec![b'x'; 50_000]);
        // The system's buffers are finite, and what they take is not counted.
        let refused = (0..10_000).find(|_| {
            send_queue.flush();
            send_queue.push(frame.clone(), None).is_err()
        });
        assert!(refused.is_some());
        // Twice the bound, and what one event has added.
        assert!(send_queue.lock().queue.bytes() <= 350_000);
        send_queue.abort();
        assert!(threads.join_all(soon()).is_empty(), "a blocked writer is woken by the abort");
    }
}

#[test]
fn what_waits_and_for_how_long_is_published() {
    for mode in BOTH {
        let (send_queue, mut client, _threads) = pair(mode, 64 << 20);
        assert_eq!(
            (send_queue.pushed(), send_queue.queued(), send_queue.waiting_for()),
            (0, 0, None)
        );
        let big = Bytes::from(vec![b'x'; 32 << 20]);
        send_queue.push(big.clone(), None).unwrap();
        send_queue.flush();
        let mut got = vec![0; big.len()];
        client.read_exact(&mut got[..1]).unwrap();
        let mut longest = Duration::ZERO;
        while longest < Duration::from_millis(100) {
            longest = send_queue.waiting_for().expect("most of it waits");
        }
        assert!(send_queue.queued() > 0 && send_queue.queued() <= big.len(), "{mode:?}");
        client.read_exact(&mut got[1..]).unwrap();
        let until = soon();
        while send_queue.waiting_for().is_some() {
            assert!(Instant::now() < until, "{mode:?}: all was taken");
        }
        assert_eq!((send_queue.pushed(), send_queue.queued()), (1, 0), "{mode:?}");
    }
}

#[test]
fn what_one_event_adds_is_taken_whatever_its_size_and_doesnt_count_afterwards() {
    let (send_queue, _client, _threads) = pair(SendMode::NonBlocking, 1000);
    let big = Bytes::from(vec![0; 32 << 20]);
    assert_eq!(send_queue.push(big.clone(), None), Ok(true));
    assert_eq!(send_queue.push(big.clone(), None), Ok(false), "of the same event");
    send_queue.flush();
    // More than the socket has taken of the first frames.
    assert_eq!(send_queue.push(big.clone(), None), Ok(true), "of the next one");
    send_queue.flush();
    assert_eq!(send_queue.push(Bytes::from_static(b"x"), None), Err(TooSlow));
}

#[test]
fn superseded_frames_keep_only_the_newest() {
    for mode in BOTH {
        let (send_queue, mut client, _threads) = pair(mode, 64 << 20);
        let (alice, bob) = (Some(ConnId(2)), Some(ConnId(3)));
        let push = |text: &'static [u8], key| {
            send_queue.push(Bytes::from_static(text), key).unwrap();
        };
        push(b"A1 ", alice);
        push(b"A2 ", alice);
        let big = Bytes::from(vec![b'x'; 32 << 20]);
        send_queue.push(big.clone(), None).unwrap();
        send_queue.flush();
        let mut got = vec![0; 6 + big.len() + 12];
        // What has arrived shows that the large frame is being sent and that what follows
        // waits.
        client.read_exact(&mut got[..7]).unwrap();
        for (text, key) in [
            (b"A3 ".as_slice(), alice),
            (b"chat ", None),
            (b"B1 ", bob),
            (b"A4 ", alice),
            (b"A5 ", alice),
        ] {
            push(text, key);
        }
        send_queue.close_with(Bytes::from_static(b"."));
        send_queue.flush();
        client.read_exact(&mut got[7..]).unwrap();
        assert_eq!(&got[..6], b"A1 A2 ", "while the client keeps up nothing is left out");
        assert_eq!(&got[6 + big.len()..], b"A5 chat B1 .");
    }
}

#[test]
fn nothing_follows_a_close() {
    let (send_queue, mut client, _threads) = pair(SendMode::NonBlocking, 1000);
    send_queue.push(Bytes::from_static(b"one"), None).unwrap();
    send_queue.close(1001, "bye");
    send_queue.push(Bytes::from_static(b"two"), None).unwrap();
    send_queue.close(1008, "late");
    send_queue.flush();
    assert_eq!(send_queue.closed_with(), Some((1001, "bye")));
    let mut got = [0; 10];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"one\x88\x05\x03\xe9bye");
}

#[test]
fn a_frame_that_has_begun_goes_out_whole() {
    let (send_queue, mut client, _threads) = pair(SendMode::NonBlocking, 64 << 20);
    let big = Bytes::from(vec![b'x'; 32 << 20]);
    send_queue.push(big.clone(), None).unwrap();
    send_queue.flush();
    let mut got = vec![0; big.len() + 12];
    // With a writer thread, what has arrived shows that the thread has begun.
    client.read_exact(&mut got[..1]).unwrap();
    send_queue.push(Bytes::from_static(b"dropped"), None).unwrap();
    send_queue.close_instead(1008, "too slow");
    send_queue.flush();
    client.read_exact(&mut got[1..]).unwrap();
    assert!(got[..big.len()] == big);
    assert_eq!(&got[big.len()..], b"\x88\x0a\x03\xf0too slow");
}
