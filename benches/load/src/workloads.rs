//! The workloads. Every one needs `addr=` and `pid=` of the server and takes `protocol=session` for
//! collabd; the others' parameters stand at their functions.

use std::io;
use std::net::SocketAddrV4;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::attack::Attack;
use crate::client::Stage;
use crate::confirm::confirm;
use crate::histogram::Histogram;
use crate::message::{ITEMS, Kind, Mark, Script, item};
use crate::open::open;
use crate::process::{processor_time, status};
use crate::swarm::{Protocol, Swarm, now};
use crate::waiting::waiting;

/// How many handshakes are under way at a time.
const AT_ONCE: usize = 64;
/// How long what was sent may take to arrive once nothing more is sent.
pub const DRAIN: Duration = Duration::from_secs(4);
/// collabd looks again at everyone who has come 10 s ago.
const ARRIVAL: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_millis(200);
const SECOND: u64 = 1_000_000_000;

/// Runs one workload and returns what it measured, as a JSON object.
pub fn run(workload: &str, arguments: &Arguments) -> io::Result<String> {
    // The kernel may otherwise wake this thread 50 µs late.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    match workload {
        "relay" => relay(arguments),
        "window" => window(arguments),
        "idle" => idle(arguments),
        "storm" => storm(arguments),
        "joins" => joins(arguments),
        "confirm" => confirm(arguments),
        "open" => open(arguments),
        "waiting" => waiting(arguments),
        _ => Err(io::Error::other(
            "there are relay, window, idle, storm, joins, confirm, open and waiting",
        )),
    }
}

/// One client that sends.
pub struct Sender {
    client: usize,
    session: u32,
    place: u32,
    script: Script,
    next: u32,
}

impl Sender {
    /// Whether this is the mark of a message of its own that was sent.
    pub fn has_said(&self, mark: Mark) -> bool {
        (mark.session, mark.sender) == (self.session, self.place) && mark.number < self.next
    }

    /// Sends its next message, which was `due` at this time.
    pub fn say(&mut self, swarm: &mut Swarm, due: u64) -> io::Result<()> {
        let mark = Mark { session: self.session, sender: self.place, number: self.next, due };
        self.next += 1;
        swarm.send(self.client, self.script.frame(mark))
    }
}

/// Clients in sessions, some of which will speak.
pub struct Scene {
    pub swarm: Swarm,
    pub senders: Vec<Sender>,
    pub pid: i32,
    /// How many clients of a session read.
    pub readers: u64,
}

/// `sessions=`, `clients=` in each, `senders=` among those, `kind=cursor|command|confirmed`, `size=`
/// of a message in bytes, `items=` that each sender has; the last `silent=` clients of each session
/// don't read. With `viewing=1` those who send nothing are viewers. `kind=component` is said by editors to
/// editors, and how it arrives isn't looked at.
pub fn set_up(arguments: &Arguments) -> io::Result<Scene> {
    let (sessions, clients): (u32, u32) = (arguments.get("sessions")?, arguments.get("clients")?);
    let (speaking, silent): (u32, u32) =
        (arguments.get("senders")?, arguments.get_or("silent", 0)?);
    let (kind, size): (Kind, usize) = (arguments.get("kind")?, arguments.get("size")?);
    let items = arguments.get_or("items", ITEMS)?;
    let mut swarm = swarm(arguments, size)?;
    swarm.viewing = arguments.get_or("viewing", 0_u8)? > 0;
    swarm.are_editors = kind == Kind::Component;
    swarm.join(sessions, clients, speaking as usize, AT_ONCE)?;
    let mut senders = Vec::new();
    for (client, it) in swarm.clients.iter().enumerate() {
        if it.place < speaking {
            let script = Script::new(kind, it.session, it.place, size, items);
            let (session, place) = (it.session, it.place);
            senders.push(Sender { client, session, place, script, next: 0 });
        }
    }
    for sender in &senders {
        swarm.send(sender.client, &sender.script.prologue)?;
    }
    quiet(&mut swarm)?;
    for nth in 0..swarm.clients.len() {
        if swarm.clients[nth].place >= clients - silent {
            swarm.set_reading(nth, false)?;
        }
    }
    let readers = u64::from(clients - silent);
    Ok(Scene { swarm, senders, pid: arguments.get("pid")?, readers })
}

fn swarm(arguments: &Arguments, size: usize) -> io::Result<Swarm> {
    let protocol = match arguments.get_or("protocol", String::new())?.as_str() {
        "session" => Protocol::Session,
        _ => Protocol::Relay,
    };
    let addr: SocketAddrV4 = arguments.get("addr")?;
    Swarm::new(addr, protocol, size)
}

/// Waits until the joining is over: collabd settles items 300 ms after their last change.
fn quiet(swarm: &mut Swarm) -> io::Result<()> {
    let span = if swarm.protocol == Protocol::Session { 350 } else { 60 };
    swarm.wait_for_quiet(Duration::from_millis(span))
}

/// `rate=` messages a second in all, for `seconds=` after a warm-up of `warm_up=` seconds. They are
/// due at fixed times, and latency counts from then: a server that stalls can't hide what would
/// have been sent meanwhile.
fn relay(arguments: &Arguments) -> io::Result<String> {
    let rate: f64 = arguments.get("rate")?;
    let (warm_up, seconds): (f64, f64) =
        (arguments.get_or("warm_up", 0.3)?, arguments.get("seconds")?);
    let mut scene = set_up(arguments)?;
    scene.play(rate, (rate * warm_up) as u64)?;
    let is_warm = scene.swarm.tally.delivered;
    scene.swarm.tally.start_over();
    let used = processor_time(scene.pid)?;
    let started = now();
    let (sent, expected) = scene.play(rate, (rate * seconds) as u64)?;
    let elapsed = now() - started;
    let used = processor_time(scene.pid)? - used;
    let tally = &scene.swarm.tally;
    let delivered = match scene.swarm.are_editors {
        true => sent * (scene.readers - 1),
        false => tally.delivered.max(1),
    };
    let process = status(scene.pid)?;
    let mut report = format!(
        "{{\"warmed_up\":{is_warm},\"sent\":{sent},\"expected\":{expected},\"seconds\":{:.3},\
         \"cpu_us\":{:.3},\"rss_kib\":{},\"peak_kib\":{},\"threads\":{},{}",
        elapsed as f64 / 1e9,
        used.as_secs_f64() * 1e6 / delivered as f64,
        process.rss_kib,
        process.peak_kib,
        process.threads,
        tally.fields()
    );
    // What those who didn't read were told in the end.
    if arguments.get_or("silent", 0)? > 0 {
        for nth in 0..scene.swarm.clients.len() {
            if scene.swarm.clients[nth].stage == Stage::Ready {
                scene.swarm.set_reading(nth, true)?;
            }
        }
        scene.swarm.wait_for_quiet(Duration::from_millis(300))?;
        report += &format!(",\"told_too_slow\":{}", scene.swarm.tally.too_slow);
    }
    Ok(report + "}")
}

impl Scene {
    /// Sends `count` messages and waits until they have arrived. How many were sent, and how many
    /// deliveries should have come of them.
    fn play(&mut self, rate: f64, count: u64) -> io::Result<(u64, u64)> {
        let Scene { swarm, senders, readers, .. } = self;
        let started = now() + SECOND / 1000;
        let due = |nth: u64| started + (nth as f64 * 1e9 / rate) as u64;
        // A generator that is itself far behind gives up.
        let end = due(count) + DRAIN.as_nanos() as u64;
        let before = swarm.tally.delivered;
        let mut sent = 0;
        while sent < count && now() < end {
            let mut burst = 0;
            while sent < count && burst < 64 && due(sent) <= now() {
                let turn = sent as usize % senders.len();
                senders[turn].say(swarm, due(sent))?;
                sent += 1;
                burst += 1;
            }
            swarm.wait(Duration::from_nanos(due(sent).saturating_sub(now())))?;
        }
        if swarm.are_editors {
            quiet(swarm)?;
            return Ok((sent, 0));
        }
        let expected = sent * (*readers - 1);
        let end = now() + DRAIN.as_nanos() as u64;
        while swarm.tally.delivered - before < expected && now() < end {
            swarm.wait(Duration::from_millis(20))?;
        }
        Ok((sent, expected))
    }
}

/// One sender that sends its next message when all others have the last one, for `seconds=`.
fn window(arguments: &Arguments) -> io::Result<String> {
    let seconds: f64 = arguments.get("seconds")?;
    let mut scene = set_up(arguments)?;
    scene.play(500.0, 100)?;
    scene.swarm.tally.start_over();
    let Scene { swarm, senders, pid, readers } = &mut scene;
    let used = processor_time(*pid)?;
    let started = now();
    let end = started + (seconds * 1e9) as u64;
    let mut rounds = 0;
    while now() < end {
        senders[0].say(swarm, now())?;
        rounds += 1;
        let late = now() + DRAIN.as_nanos() as u64;
        while swarm.tally.delivered < rounds * (*readers - 1) && now() < late {
            swarm.wait(Duration::from_millis(20))?;
        }
    }
    let elapsed = (now() - started) as f64 / 1e9;
    let used = processor_time(*pid)? - used;
    Ok(format!(
        "{{\"rounds\":{:.1},\"sent\":{rounds},\"expected\":{},\"cpu_us\":{:.3},{}}}",
        rounds as f64 / elapsed,
        rounds * (*readers - 1),
        used.as_secs_f64() * 1e6 / swarm.tally.delivered.max(1) as f64,
        swarm.tally.fields()
    ))
}

/// `sessions=` × `clients=` connections that say nothing for `seconds=`, then `rate=` pings a second
/// for `pinging=` seconds, each on another connection. With `over=1` one more client, which is
/// expected to be refused.
fn idle(arguments: &Arguments) -> io::Result<String> {
    let (sessions, clients): (u32, u32) = (arguments.get("sessions")?, arguments.get("clients")?);
    let (seconds, pinging): (f64, f64) = (arguments.get("seconds")?, arguments.get("pinging")?);
    let rate: f64 = arguments.get_or("rate", 1000.0)?;
    let pid = arguments.get("pid")?;
    let before = status(pid)?;
    let mut swarm = swarm(arguments, 0)?;
    let started = now();
    swarm.join(sessions, clients, 0, AT_ONCE)?;
    let joined = now() - started;
    quiet(&mut swarm)?;
    // Nothing of what is measured may fall into the time when it looks at those who came here.
    let so_far = Duration::from_nanos(now() - started);
    let needed = Duration::from_secs_f64(seconds + pinging) + MARGIN;
    if swarm.protocol == Protocol::Session && so_far + needed > ARRIVAL {
        swarm.wait_for(ARRIVAL + MARGIN)?;
    }
    let connections = swarm.clients.len();
    let process = status(pid)?;
    let used = processor_time(pid)?;
    let started = now();
    swarm.wait_for(Duration::from_secs_f64(seconds))?;
    let used = processor_time(pid)? - used;
    let share = used.as_secs_f64() / ((now() - started) as f64 / 1e9);
    let started = now();
    let due = |nth: u64| started + (nth as f64 * 1e9 / rate) as u64;
    let count = (rate * pinging) as u64;
    let mut pinged = 0;
    while pinged < count {
        if due(pinged) <= now() {
            // A step that has no factor in common with the number of connections visits them all.
            let nth = (pinged * 7919) as usize % connections;
            swarm.ping(nth)?;
            pinged += 1;
        }
        swarm.wait(Duration::from_nanos(due(pinged).saturating_sub(now())))?;
    }
    let end = now() + DRAIN.as_nanos() as u64;
    while swarm.clients.iter().any(|client| client.pinged.is_some()) && now() < end {
        swarm.wait(Duration::from_millis(20))?;
    }
    let unanswered = swarm.clients.iter().filter(|client| client.pinged.is_some()).count();
    let mut over = 0;
    if arguments.get_or("over", 0)? > 0 {
        let nth = swarm.connect(0, clients, 0)?;
        let end = now() + DRAIN.as_nanos() as u64;
        while swarm.clients[nth].stage == Stage::Handshake && now() < end {
            swarm.wait(Duration::from_millis(20))?;
        }
        if let Stage::Refused(status) = swarm.clients[nth].stage {
            over = status;
        }
    }
    Ok(format!(
        "{{\"connections\":{connections},\"join_seconds\":{:.3},\"rss_each_kib\":{:.2},\
         \"threads_each\":{:.3},\"idle_cpu\":{share:.5},\"over\":{over},\"unanswered\":{unanswered},\
         \"closed\":{},\"pongs\":{},{}}}",
        joined as f64 / 1e9,
        (process.rss_kib as f64 - before.rss_kib as f64) / connections as f64,
        (process.threads as f64 - before.threads as f64) / connections as f64,
        swarm.tally.closed,
        swarm.pings.count(),
        swarm.pings.fields()
    ))
}

/// `clients=` that join one session at once, whose state has `state=` bytes in items of 2,000.
fn storm(arguments: &Arguments) -> io::Result<String> {
    const ITEM: usize = 2000;
    let (clients, state): (u32, usize) = (arguments.get("clients")?, arguments.get("state")?);
    let pid = arguments.get("pid")?;
    let mut swarm = swarm(arguments, 0)?;
    swarm.join(1, 1, 0, 1)?;
    for n in 0..state.div_ceil(ITEM) {
        swarm.send(0, &item(&format!("item-{n}"), ITEM))?;
    }
    quiet(&mut swarm)?;
    let used = processor_time(pid)?;
    let started = now();
    for place in 1..=clients {
        swarm.connect(0, place, 0)?;
    }
    let ready = u64::from(clients) as usize + 1;
    let end = started + 60 * SECOND;
    while swarm.ready < ready && now() < end && swarm.tally.closed == 0 {
        swarm.wait(Duration::from_millis(20))?;
    }
    let joined = now() - started;
    quiet(&mut swarm)?;
    let used = processor_time(pid)? - used;
    let process = status(pid)?;
    Ok(format!(
        "{{\"ready\":{},\"join_seconds\":{:.3},\"cpu_seconds\":{:.3},\"megabytes\":{:.1},\
         \"settled\":{},\"closed\":{},\"rss_kib\":{},\"peak_kib\":{},{}}}",
        swarm.ready - 1,
        joined as f64 / 1e9,
        used.as_secs_f64(),
        swarm.bytes as f64 / 1e6,
        swarm.tally.settled,
        swarm.tally.closed,
        process.rss_kib,
        process.peak_kib,
        swarm.joins.fields()
    ))
}

/// `joins=` clients that join one after the other, while `attackers=` connections never finish their
/// request. Somebody is in each session already: who comes alone waits until it is recognised.
fn joins(arguments: &Arguments) -> io::Result<String> {
    const SESSIONS: u32 = 100;
    let (joins, attackers): (u32, usize) = (arguments.get("joins")?, arguments.get("attackers")?);
    let mut swarm = swarm(arguments, 0)?;
    swarm.join(SESSIONS, 1, 0, AT_ONCE)?;
    swarm.joins = Histogram::new();
    let mut attack = Attack::begin(arguments.get("addr")?, attackers, now())?;
    for nth in 0..joins {
        let nth = swarm.connect(nth % SESSIONS, 1 + nth / SESSIONS, 0)?;
        let end = now() + DRAIN.as_nanos() as u64;
        while swarm.clients[nth].stage != Stage::Ready && now() < end {
            swarm.wait(Duration::from_millis(1))?;
            attack.go_on(now())?;
        }
    }
    Ok(format!(
        "{{\"ready\":{},\"closed\":{},{}}}",
        swarm.ready - SESSIONS as usize,
        swarm.tally.closed,
        swarm.joins.fields()
    ))
}
