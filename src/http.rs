//! The HTTP that a client speaks before its connection is a WebSocket: requests and responses.

mod body;
mod date;
mod gzip;
mod head;
mod reason;
mod request;
mod response;
mod upgrade;

pub use body::{CONTINUE, body_length, expects_continue, read_body};
pub use head::{Head, HeadError, MAX_HEAD_BYTES, is_timeout, parse_head, path_of, read_head};
pub use reason::{REASON_COUNT, Reason};
pub use request::{Request, percent_decoded};
pub use response::{Preferences, Response, STATUSES};
pub use upgrade::accept;
