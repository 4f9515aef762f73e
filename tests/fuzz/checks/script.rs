//! What happens, as text that people can read and a fuzzer can bend: any bytes are a script.
//!
//! A line is a seat (`0` to `7`), a letter and what it needs; `#` begins a remark. A line that is
//! nothing of that kind is said by whoever spoke last.
//!
//! ```text
//! =k                  on the first line: keys are asked for (k), no settling (s), no linger (l)
//! 0j a alice w        joins session a as alice, with the key w
//! 0v a w              views session a, with the key w
//! 0t {"type":"chat"}  says a text; a $ in it becomes a word nobody can guess, @1 the name of 1
//! 0p !                answers its last Ping (otherwise: with these bytes)
//! 0b 123              says something that is no text
//! 1e ann              comes in by the client protocol, E by the debug endpoint
//! 1c w                connects with the key w
//! 0g                  is gone; f: a bug was met when it spoke
//! -w 2000             so many milliseconds pass; l: and the hub is late with its timers
//! -k wrn              these keys are in force; K: the clients' threads know it first, h: now the hub
//! 1q w a              asks for the threads of channel a, or of all, with the key w
//! 1s w a              asks about session a, or about all, with the key w; S: for its document
//! ```

use super::marks::PLACEHOLDER;

/// How many connections there may be at once.
pub const SEATS: usize = 8;

/// What is switched on.
#[derive(Debug, Default, Clone, Copy)]
pub struct Switches {
    pub require_key: bool,
    pub no_settle: bool,
    pub no_linger: bool,
}

/// One thing that happens, at a seat.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    Join { session: &'a str, user: &'a str, key: Option<char> },
    View { session: &'a str, key: Option<char> },
    Enter { client: &'a str, debug: bool },
    Text(&'a str),
    Binary,
    Pong(&'a str),
    Connect(char),
    Gone,
    Failed,
    Wait { millis: u64, late: bool },
    Keys { names: &'a str, told: Told },
    HubHears,
    Threads { key: char, channel: Option<&'a str> },
    Sessions { key: char, session: Option<&'a str>, state: bool },
}

/// Who is told of new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Everybody,
    /// The clients' threads; the hub later.
    Threads,
}

/// The script of a text: its switches, and what happens at which seat.
pub fn read(text: &str) -> (Switches, impl Iterator<Item = (usize, Act<'_>)>) {
    let first = text.lines().next().and_then(|line| line.strip_prefix('='));
    let has = |switch| first.is_some_and(|first| first.contains(switch));
    let switches = Switches { require_key: has('k'), no_settle: has('s'), no_linger: has('l') };
    let mut last = 0;
    let acts = text.split('\n').skip(usize::from(first.is_some())).filter_map(move |line| {
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (seat, act) = act(line).unwrap_or((last, Act::Text(line)));
        last = seat;
        Some((seat, act))
    });
    (switches, acts)
}

fn act(line: &str) -> Option<(usize, Act<'_>)> {
    let mut chars = line.chars();
    let (seat, letter) = (chars.next()?, chars.next()?);
    let seat = match seat {
        '0'..='7' => seat as usize - '0' as usize,
        '-' => 0,
        _ => return None,
    };
    let rest = chars.as_str();
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let mut words = rest.split(' ');
    let mut word = || words.next().filter(|word| !word.is_empty());
    let letter_of = |word: Option<&str>| word.and_then(|word| word.chars().next());
    let act = match letter {
        'j' => {
            let (session, user) = (word().unwrap_or("a"), word().unwrap_or("u"));
            Act::Join { session, user, key: letter_of(word()) }
        }
        'v' => Act::View { session: word().unwrap_or("a"), key: letter_of(word()) },
        'e' | 'E' => Act::Enter { client: word().unwrap_or("c"), debug: letter == 'E' },
        't' => Act::Text(rest),
        'b' => Act::Binary,
        'p' => Act::Pong(rest),
        'c' => Act::Connect(letter_of(word()).unwrap_or('w')),
        'g' => Act::Gone,
        'f' => Act::Failed,
        'w' | 'l' => {
            let millis = rest.trim().parse().unwrap_or(500).min(700_000);
            Act::Wait { millis, late: letter == 'l' }
        }
        'k' => Act::Keys { names: rest, told: Told::Everybody },
        'K' => Act::Keys { names: rest, told: Told::Threads },
        'h' => Act::HubHears,
        'q' => Act::Threads { key: letter_of(word()).unwrap_or('w'), channel: word() },
        's' | 'S' => {
            let (key, session) = (letter_of(word()).unwrap_or('w'), word());
            Act::Sessions { key, session, state: letter == 'S' && session.is_some() }
        }
        _ => return None,
    };
    Some((seat, act))
}

/// A text as it is said: with its mark, and `@1` for what whoever sits there calls themselves, as far
/// as the speaker can know.
pub fn said<'a>(text: &str, mark: &str, name_of: impl Fn(usize) -> Option<&'a str>) -> String {
    let mut said = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        let seat = chars.peek().and_then(|seat| seat.to_digit(SEATS as u32));
        match (next, seat.and_then(|seat| name_of(seat as usize))) {
            (PLACEHOLDER, _) => said.push_str(mark),
            ('@', Some(name)) => {
                said.push_str(name);
                chars.next();
            }
            _ => said.push(next),
        }
    }
    said
}
