//! All refusals of the client protocol.

/// The content of an `error`. It quotes nothing of what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientError {
    /// A name for programs, in `snake_case`.
    pub error_type: &'static str,
    /// A sentence for people.
    pub message: &'static str,
    /// A status code as in HTTP: 4xx or 5xx.
    pub code: u16,
}

const fn refusal(error_type: &'static str, code: u16, message: &'static str) -> ClientError {
    ClientError { error_type, message, code }
}

/// The key doesn't exist, or none was given.
pub const INVALID_KEY: ClientError = refusal("invalid_key", 403, "Invalid API key");
pub const TOKEN_EXPIRED: ClientError = refusal("token_expired", 403, "Token expired");
/// Too many refused keys came from the client's address.
pub const TOO_MANY_ATTEMPTS: ClientError =
    refusal("too_many_attempts", 429, "Too many refused keys: try again in a minute");
/// The client sent another message before `connect`.
pub const NOT_AUTHENTICATED: ClientError =
    refusal("not_authenticated", 403, "Not authenticated: the first message has to be `connect`");
/// No `connect` came in time.
pub const AUTH_TIMEOUT: ClientError =
    refusal("auth_timeout", 403, "Not authenticated within 10 seconds");
/// The key permits only to watch and to show a cursor.
pub const READ_ONLY: ClientError =
    refusal("read_only", 403, "The key permits to watch, not to change");

/// The channel's name is not a string, is empty or too long, or has control characters.
pub const BAD_CHANNEL: ClientError = refusal(
    "channel_error",
    400,
    "A channel is a string of 1 to 128 characters without control characters",
);
/// The client wants to leave a channel that it has not joined.
pub const NOT_JOINED: ClientError =
    refusal("channel_error", 400, "The channel has not been joined");
/// The client sends to a channel that it has not joined.
pub const NO_MEMBER: ClientError =
    refusal("channel_error", 403, "Join the channel before talking to it");
/// The key doesn't open this channel.
pub const NOT_OPENED: ClientError =
    refusal("channel_error", 403, "The key does not open this channel");
/// The connection has joined as many channels as it may.
pub const TOO_MANY_JOINED: ClientError =
    refusal("channel_error", 409, "Too many channels joined: leave one first");
/// The server has as many channels as it may.
pub const CHANNELS_FULL: ClientError =
    refusal("channel_error", 503, "There are too many channels: try again later");

/// A chat or channel message has no content.
pub const NO_CONTENT: ClientError =
    refusal("message_error", 400, "The message needs `data.content`, a string");
/// The `id` is too long to be repeated.
pub const LONG_ID: ClientError =
    refusal("message_error", 400, "`id` has to be JSON of at most 256 bytes");
/// Only the server sends messages of this type.
pub const RESERVED_TYPE: ClientError =
    refusal("reserved_type", 400, "Only the server sends messages of this type");
/// The text is no message.
pub const INVALID_FORMAT: ClientError = refusal(
    "invalid_format",
    400,
    "A message is one JSON object with a string `type`, nested at most 100 deep",
);
pub const SERVER_ERROR: ClientError = refusal("server_error", 500, "Internal server error");
