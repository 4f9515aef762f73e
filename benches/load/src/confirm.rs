//! Clients that wait for the confirmation of each command, and what has to be true of confirmations.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::histogram::Histogram;
use crate::process::processor_time;
use crate::swarm::{Confirmation, now};
use crate::workloads::{DRAIN, Scene, set_up};

/// How long the whole may take.
const PATIENCE: f64 = 50.0;

/// All clients of a scene (`kind=confirmed`, `senders=` as many as `clients=`) send: for `seconds=`
/// after a warm-up of `warm_up=` seconds, or until there were `changes=` in all. Each keeps
/// `under_way=` commands on their way until they are confirmed and sends the next when one is; or,
/// with `rate=` a second in all, they are due at fixed times.
///
/// Latency is that of the confirmations. They count as deliveries, beside the relayed commands.
pub fn confirm(arguments: &Arguments) -> io::Result<String> {
    let rate: f64 = arguments.get_or("rate", 0.0)?;
    let under_way: u64 = arguments.get_or("under_way", 1)?;
    let most: u64 = arguments.get_or("changes", u64::MAX)?;
    let (warm_up, seconds): (f64, f64) =
        (arguments.get_or("warm_up", 0.2)?, arguments.get_or("seconds", PATIENCE)?);
    let mut scene = set_up(arguments)?;
    if scene.senders.len() != scene.swarm.clients.len() {
        return Err(io::Error::other("everyone sends: senders= has to be clients="));
    }
    let senders = scene.senders.len();
    let mut book = Book::new(senders);
    let begun = now();
    let warm = begun + (warm_up * 1e9) as u64;
    let end = warm + (seconds * 1e9) as u64;
    let due = |nth: u64| begun + (nth as f64 * 1e9 / rate) as u64;
    let mut measured = None;
    let mut sent = 0;
    while now() < end && sent < most {
        if measured.is_none() && now() >= warm {
            book.latency = Histogram::new();
            measured = Some((now(), processor_time(scene.pid)?));
        }
        let mut pause = Duration::from_millis(20);
        if rate > 0.0 {
            while sent < most && due(sent) <= now() {
                scene.senders[sent as usize % senders].say(&mut scene.swarm, due(sent))?;
                sent += 1;
            }
            pause = pause.min(Duration::from_nanos(due(sent).saturating_sub(now())));
        } else if sent == 0 {
            for nth in 0..under_way * senders as u64 {
                scene.senders[nth as usize % senders].say(&mut scene.swarm, now())?;
                sent += 1;
            }
        }
        scene.swarm.wait(pause)?;
        for client in book.enter_all(&mut scene) {
            if rate == 0.0 && sent < most {
                scene.senders[client].say(&mut scene.swarm, now())?;
                sent += 1;
            }
        }
    }
    let (from, used) = measured.unwrap_or((begun, Duration::ZERO));
    let (used, elapsed) = (processor_time(scene.pid)? - used, (now() - from) as f64 / 1e9);
    let measured = book.latency.count();
    let relayed = sent * (scene.readers - 1);
    let late = now() + DRAIN.as_nanos() as u64;
    while (book.confirmed < sent || scene.swarm.tally.delivered < relayed) && now() < late {
        scene.swarm.wait(Duration::from_millis(20))?;
        book.enter_all(&mut scene);
    }
    let all = (now() - begun) as f64 / 1e9;
    let tally = &mut scene.swarm.tally;
    tally.delivered += book.confirmed;
    tally.skipped += book.skipped;
    tally.repeated += book.repeated;
    tally.leaked += book.leaked;
    Ok(format!(
        "{{\"sent\":{sent},\"confirmed\":{},\"expected\":{},\"seconds\":{all:.3},\"rate\":{:.1},\
         \"cpu_us\":{:.3},\"seq\":{},{},{}}}",
        book.confirmed,
        relayed + sent,
        measured as f64 / elapsed,
        used.as_secs_f64() * 1e6 / measured.max(1) as f64,
        book.newest,
        tally.counts(),
        book.latency.fields()
    ))
}

/// What was confirmed so far: to each client each of its commands once, in the order in which it sent
/// them, and as a change of its own.
struct Book {
    latency: Histogram,
    confirmed: u64,
    /// Commands that were passed over when a later one was confirmed.
    skipped: u64,
    /// Commands that were confirmed again, or after a later one, or as a change that another one is.
    repeated: u64,
    /// Confirmations of what this client never sent.
    leaked: u64,
    /// The last change of all.
    newest: u64,
    /// The number that each client is to be told of next, and the last change it was told of.
    next: Vec<(u32, u64)>,
    /// Changes by session.
    changes: HashSet<(u32, u64)>,
}

impl Book {
    fn new(clients: usize) -> Self {
        Book {
            latency: Histogram::new(),
            confirmed: 0,
            skipped: 0,
            repeated: 0,
            leaked: 0,
            newest: 0,
            next: vec![(0, 0); clients],
            changes: HashSet::new(),
        }
    }

    /// Checks and counts what was confirmed since it was last asked. Whose that was.
    fn enter_all(&mut self, scene: &mut Scene) -> Vec<usize> {
        let confirmed = std::mem::take(&mut scene.swarm.confirmed);
        let enter = |confirmation: &Confirmation| {
            let was_said = scene.senders[confirmation.client].has_said(confirmation.mark);
            self.enter(confirmation, was_said);
            confirmation.client
        };
        confirmed.iter().map(enter).collect()
    }

    /// Checks and counts a confirmation; whether its client has said that.
    fn enter(&mut self, confirmation: &Confirmation, was_said: bool) {
        let &Confirmation { client, mark, seq, at } = confirmation;
        let (next, last) = &mut self.next[client];
        if !was_said {
            self.leaked += 1;
            return;
        }
        let is_new = self.changes.insert((mark.session, seq)) && seq > *last;
        if mark.number < *next || !is_new {
            self.repeated += 1;
            return;
        }
        self.skipped += u64::from(mark.number - *next);
        (*next, *last) = (mark.number + 1, seq);
        self.newest = self.newest.max(seq);
        self.confirmed += 1;
        self.latency.add(at.saturating_sub(mark.due));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Mark;

    #[test]
    fn everything_that_can_be_wrong_with_a_confirmation_is_told_apart() {
        let mut book = Book::new(2);
        for (client, number, seq) in [
            (0, 0, 1),
            (1, 0, 2),
            (0, 1, 4),
            (0, 1, 5), // again
            (1, 1, 3),
            (1, 2, 4), // another client's change
            (0, 4, 6), // two passed over
            (0, 2, 7), // one of them, late
            (0, 5, 2), // an earlier change
            (1, 9, 8), // never sent
        ] {
            let mark = Mark { session: 1, sender: client as u32, number, due: 0 };
            book.enter(&Confirmation { client, mark, seq, at: 0 }, number < 9);
        }
        assert_eq!((book.confirmed, book.skipped, book.repeated, book.leaked), (5, 2, 4, 1));
        assert_eq!(book.newest, 6);
    }
}
