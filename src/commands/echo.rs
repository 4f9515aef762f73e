//! `collabd echo`: the same sockets and threads, with the hub replaced by an echo.

use std::process::ExitCode;
use std::time::Duration;

use super::listening::{self, ListenOptions};
use crate::http::Request;
use crate::hub::{ConnId, Effect, Now};
use crate::net::Config;
use crate::net::service::{
    Answer, ConnectionHandler, Incoming, Machine, Reaction, Requester, Service,
};
use crate::protocol::Frame;

/// What `echo` is told.
#[derive(Debug)]
pub struct Options {
    pub listen: ListenOptions,
    pub config: Config,
}

/// Echoes until it is told to stop.
pub fn run(options: Options) -> ExitCode {
    listening::run("echo", &options.listen, options.config, || Ok((EchoService, Echo)))
}

/// Every path is an echo.
struct EchoService;

impl Service for EchoService {
    type Event = EchoEvent;
    type Machine = Echo;

    fn answer(&self, _: &Request<'_>, _: Requester, _: ConnId) -> Answer<EchoEvent> {
        Answer::Upgrade(Box::new(EchoHandler))
    }
}

struct EchoHandler;

/// What happens to the echo.
enum EchoEvent {
    Join(ConnId),
    Incoming(ConnId, Frame),
    Failed(ConnId),
    Nothing,
}

impl ConnectionHandler for EchoHandler {
    type Event = EchoEvent;

    fn join(&self, conn: ConnId) -> EchoEvent {
        EchoEvent::Join(conn)
    }

    fn hear(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction<EchoEvent> {
        match heard {
            Incoming::Text(text) => Reaction::Event(EchoEvent::Incoming(conn, Frame::text(text))),
            Incoming::Binary(bytes) => {
                Reaction::Event(EchoEvent::Incoming(conn, Frame::binary(bytes)))
            }
            Incoming::Pong(_) => Reaction::Nothing,
        }
    }

    fn apology(&self) -> Option<Frame> {
        None
    }

    fn user(&self) -> &str {
        "echo"
    }

    fn place(&self) -> String {
        "the echo".into()
    }
}

/// The machine behind the echo: says what it is told.
struct Echo;

impl Machine for Echo {
    type Event = EchoEvent;

    fn handle(&mut self, event: EchoEvent, _now: Now, effects: &mut Vec<Effect>) {
        match event {
            EchoEvent::Join(conn) => effects.push(Effect::Admit { conn }),
            EchoEvent::Incoming(conn, frame) => {
                effects.push(Effect::Send { conn, frame, supersedes: None });
            }
            EchoEvent::Failed(conn) => {
                effects.push(Effect::Close { conn, code: 1011, reason: "internal server error" });
            }
            EchoEvent::Nothing => {}
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    fn tick() -> EchoEvent {
        EchoEvent::Nothing
    }

    fn gone(_conn: ConnId) -> EchoEvent {
        EchoEvent::Nothing
    }

    fn failed(conn: ConnId) -> EchoEvent {
        EchoEvent::Failed(conn)
    }
}
