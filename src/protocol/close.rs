//! Close codes (RFC 6455 §7.4) and what each means in words, for the log.

/// The connection was ended on purpose.
pub const NORMAL: u16 = 1000;
pub const GOING_AWAY: u16 = 1001;
/// The framing is broken.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A binary message came where the protocol has only text.
pub const UNSUPPORTED: u16 = 1003;
/// A text message is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// The connection was replaced by a newer one, or its client reads too slowly.
pub const POLICY: u16 = 1008;
/// A message is larger than the limit.
pub const TOO_BIG: u16 = 1009;
pub const INTERNAL_ERROR: u16 = 1011;
/// Client protocol: the key is wrong, missing, expired or revoked, or did not come in time.
pub const AUTHENTICATION: u16 = 4000;
/// Client protocol: the client was over its rate for too long.
pub const RATE_LIMIT: u16 = 4001;
/// Client protocol: too many unreadable messages came in a row.
pub const INVALID_FORMAT: u16 = 4002;
/// Client protocol: a binary message came, or a message before `connect`.
pub const VIOLATION: u16 = 4003;

/// What a close code means, for the log. Codes that RFC 6455 and this server don't use get a
/// general text.
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
