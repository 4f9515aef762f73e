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
pub use head::{Head, HeadError, LARGEST_HEAD, is_timeout, parse_head, path_of, read_head};
pub use reason::{REASONS, Reason};
pub use request::{Request, percent_decoded};
pub use response::{Preferences, Response};
pub use upgrade::accept;
