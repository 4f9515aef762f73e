//! `collabd echo`: the server's sockets and threads without sessions. Each connection's thread sends every
//! message back.

use std::process::ExitCode;

use super::announcement::Announcement;
use super::listening::{self, ListenOptions, Made};
use crate::http::Request;
use crate::hub::{ConnId, Effect, Event, Time};
use crate::net::service::{ConnectionHandler, Incoming, Outcome, Reaction, Requester, Service};
use crate::net::{Config, StateMachine};
use crate::protocol::Frame;

/// What `echo` is told.
#[derive(Debug)]
pub struct Options {
    pub listen: ListenOptions,
    pub config: Config,
}

/// Echoes until it is told to stop.
pub fn run(options: Options) -> ExitCode {
    listening::run(&options.listen, options.config, || {
        Ok(Made {
            service: Box::new(EchoService),
            machine: Box::new(NoSessions),
            announcement: Announcement { what: "echo", tables: None },
        })
    })
}

/// Every path is an echo.
struct EchoService;

impl Service for EchoService {
    fn answer(&self, _: &Request<'_>, _: Requester, _: ConnId) -> Outcome {
        Outcome::Upgrade(Box::new(EchoHandler))
    }
}

struct EchoHandler;

impl ConnectionHandler for EchoHandler {
    fn join(&self, _: ConnId) -> Option<Event> {
        None
    }

    fn on_message(&mut self, _: ConnId, heard: Incoming<'_>) -> Reaction {
        match heard {
            Incoming::Text(text) => Reaction::Reply(Frame::text(text)),
            Incoming::Binary(bytes) => Reaction::Reply(Frame::binary(bytes)),
            Incoming::Pong(_) => Reaction::Nothing,
        }
    }

    fn internal_error(&self) -> Option<Frame> {
        None
    }

    fn user(&self) -> &str {
        "echo"
    }

    fn target(&self) -> String {
        "the echo".into()
    }
}

/// No message reaches the hub thread.
struct NoSessions;

impl StateMachine for NoSessions {
    fn handle(&mut self, _: Event, _: Time, _: &mut Vec<Effect>) {}
}
