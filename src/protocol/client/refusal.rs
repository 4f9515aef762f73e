//! Every reason the client protocol has for an `error`.

/// What an `error` says. The texts are the server's own: nothing of what a client sent is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// In `snake_case`, for programs.
    pub error_type: &'static str,
    /// For a person.
    pub message: &'static str,
    /// In the manner of HTTP: 4xx or 5xx.
    pub code: u16,
}

const fn refusal(error_type: &'static str, code: u16, message: &'static str) -> Refusal {
    Refusal { error_type, message, code }
}

/// There is no such key, or none was given.
pub const INVALID_KEY: Refusal = refusal("invalid_key", 403, "Invalid API key");
/// The key's time is over.
pub const TOKEN_EXPIRED: Refusal = refusal("token_expired", 403, "Token expired");
/// Too many refused keys came from the client's address.
pub const TOO_MANY_ATTEMPTS: Refusal =
    refusal("too_many_attempts", 429, "Too many refused keys: try again in a minute");
/// Something else was said before `connect`.
pub const NOT_AUTHENTICATED: Refusal =
    refusal("not_authenticated", 403, "Not authenticated: the first message has to be `connect`");
/// No `connect` came in time.
pub const AUTH_TIMEOUT: Refusal =
    refusal("auth_timeout", 403, "Not authenticated within 10 seconds");
/// The key only permits to watch and to point.
pub const READ_ONLY: Refusal = refusal("read_only", 403, "The key permits to watch, not to change");

/// A channel's name is no string, too long, empty or has control characters.
pub const BAD_CHANNEL: Refusal = refusal(
    "channel_error",
    400,
    "A channel is a string of 1 to 128 characters without control characters",
);
/// The channel to be left was not joined.
pub const NOT_JOINED: Refusal = refusal("channel_error", 400, "The channel has not been joined");
/// Talking to a channel needs membership.
pub const NO_MEMBER: Refusal =
    refusal("channel_error", 403, "Join the channel before talking to it");
/// The key's list of channels doesn't have this one.
pub const NOT_OPENED: Refusal = refusal("channel_error", 403, "The key does not open this channel");
/// The connection is a member of as many channels as it may be.
pub const TOO_MANY_JOINED: Refusal =
    refusal("channel_error", 409, "Too many channels joined: leave one first");
/// There are as many channels as there may be.
pub const CHANNELS_FULL: Refusal =
    refusal("channel_error", 503, "There are too many channels: try again later");

/// A chat or channel message without words.
pub const NO_CONTENT: Refusal =
    refusal("message_error", 400, "The message needs `data.content`, a string");
/// An `id` that is too long to be repeated.
pub const LONG_ID: Refusal =
    refusal("message_error", 400, "`id` has to be JSON of at most 256 bytes");
/// A type only the server sends.
pub const RESERVED_TYPE: Refusal =
    refusal("reserved_type", 400, "Only the server sends messages of this type");
/// No message at all.
pub const INVALID_FORMAT: Refusal = refusal(
    "invalid_format",
    400,
    "A message is one JSON object with a string `type`, nested at most 100 deep",
);
/// A bug on our side.
pub const SERVER_ERROR: Refusal = refusal("server_error", 500, "Internal server error");
