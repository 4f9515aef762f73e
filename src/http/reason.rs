//! The reasons for which requests are refused, for counters.

/// Why a request was refused. Its name is a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It is no request, or could be read in two ways.
    BadRequest,
    /// It has no key that opens this.
    Key,
    TooManyKeys,
    /// It came from a page whose origin is not allowed.
    Origin,
    /// It named a host that is not this server.
    Host,
    /// Its path or session doesn't exist.
    NotFound,
    Method,
    /// It conflicts with the server's state.
    Conflict,
    Timeout,
    TooLarge,
    /// Its path needs a WebSocket handshake.
    NoWebSocket,
    Full,
    /// The server is busy or can't do it now.
    Busy,
    Stopping,
    /// The server failed by a bug of its own.
    Bug,
}

pub const REASON_COUNT: usize = ALL.len();

/// All reasons in the order of their numbers, each with its name.
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
    /// All reasons, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Reason> {
        ALL.iter().map(|(reason, _)| *reason)
    }

    /// The reason that a response with this status stands for, unless the response has one of its
    /// own. `None` for a status below 400.
    pub fn from_status(status: u16) -> Option<Reason> {
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

    pub fn name(self) -> &'static str {
        ALL[self.number()].1
    }

    /// The reason's number, from 0 and less than [`REASON_COUNT`].
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
        assert_eq!(Reason::all().count(), REASON_COUNT);
        for status in 100..600 {
            assert_eq!(Reason::from_status(status).is_some(), status >= 400, "{status}");
        }
    }
}
