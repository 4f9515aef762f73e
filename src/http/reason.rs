//! Why requests are refused, for whoever counts them.

/// A reason to refuse a request, as it is called where it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It is no request, or could be read in two ways.
    BadRequest,
    /// No key that opens this.
    Key,
    /// Too many wrong keys came from its address.
    TooManyKeys,
    /// A page of this origin may not connect.
    Origin,
    /// It was sent to another name than the server's.
    Host,
    /// There is nothing there.
    NotFound,
    /// Not with this method.
    Method,
    /// It is in the way of something else.
    Conflict,
    /// It took too long to arrive.
    Timeout,
    /// It is too large.
    TooLarge,
    /// It had to be a WebSocket handshake and wasn't.
    NoWebSocket,
    /// There is no room for one more connection.
    Full,
    /// The server is busy, or can't do it now.
    Busy,
    /// The server is stopping.
    Stopping,
    /// A bug of ours.
    Bug,
}

/// How many there are.
pub const REASONS: usize = ALL.len();

/// All of them in their order, each with its name.
const ALL: [(Reason, &str); 15] = [
    (Reason::BadRequest, "bad_request"),
    (Reason::Key, "key"),
    (Reason::TooManyKeys, "too_many_keys"),
    (Reason::Origin, "origin"),
    (Reason::Host, "host"),
    (Reason::NotFound, "not_found"),
    (Reason::Method, "method"),
    (Reason::Conflict, "conflict"),
    (Reason::Timeout, "timeout"),
    (Reason::TooLarge, "too_large"),
    (Reason::NoWebSocket, "no_websocket"),
    (Reason::Full, "full"),
    (Reason::Busy, "busy"),
    (Reason::Stopping, "stopping"),
    (Reason::Bug, "bug"),
];

impl Reason {
    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Reason> {
        ALL.iter().map(|(reason, _)| *reason)
    }

    /// What an answer with this status was refused for, as long as nobody knows better. `None` where
    /// it was no refusal.
    pub fn of(status: u16) -> Option<Reason> {
        Some(match status {
            0..400 => return None,
            401 | 403 => Reason::Key,
            404 => Reason::NotFound,
            405 => Reason::Method,
            408 => Reason::Timeout,
            409 => Reason::Conflict,
            413 | 431 => Reason::TooLarge,
            421 => Reason::Host,
            426 => Reason::NoWebSocket,
            429 => Reason::TooManyKeys,
            400..500 => Reason::BadRequest,
            503 => Reason::Busy,
            _ => Reason::Bug,
        })
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        ALL[self.number()].1
    }

    /// Its number, less than [`REASONS`].
    pub fn number(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_number_it_is_listed_under_and_every_refusal_has_one() {
        for (number, reason) in Reason::all().enumerate() {
            assert_eq!((reason.number(), reason.name()), (number, ALL[number].1));
        }
        assert_eq!(Reason::all().count(), REASONS);
        for status in 100..600 {
            assert_eq!(Reason::of(status).is_some(), status >= 400, "{status}");
        }
    }
}
