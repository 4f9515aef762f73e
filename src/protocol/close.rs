//! Close codes (RFC 6455 §7.4) and what each means in words, for the log.

/// Somebody ended the connection on purpose.
pub const NORMAL: u16 = 1000;
/// The server is stopping.
pub const GOING_AWAY: u16 = 1001;
/// Broken framing.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A binary message where only text is spoken.
pub const UNSUPPORTED: u16 = 1003;
/// A text message that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// Replaced by a newer connection, or too slow.
pub const POLICY: u16 = 1008;
/// A message over the limit.
pub const TOO_BIG: u16 = 1009;
/// A bug on our side.
pub const INTERNAL_ERROR: u16 = 1011;
/// Client protocol: the key is wrong, missing, over or revoked, or didn't come in time.
pub const AUTHENTICATION: u16 = 4000;
/// Client protocol: faster than permitted for too long.
pub const RATE_LIMIT: u16 = 4001;
/// Client protocol: too many unreadable messages in a row.
pub const INVALID_FORMAT: u16 = 4002;
/// Client protocol: a binary message, or talking before `connect`.
pub const VIOLATION: u16 = 4003;

/// What a close code means, for a person reading the log.
pub fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1005 => "no close code given",
        1006 => "connection lost",
        1007 => "invalid payload",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "missing extension",
        1011 => "internal server error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        3000..=3999 => "registered by a library",
        4000 => "authentication failed",
        4001 => "rate limit exceeded",
        4002 => "invalid message format",
        4003 => "protocol violation",
        4004..=4999 => "private use",
        _ => "unknown code",
    }
}
