//! What lies between a person and the server: connections, and what travels on them in order.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::editor::Told;

/// What travels on a link.
#[derive(Debug, Clone)]
pub enum Parcel {
    /// To the server: the text as it was written, and what its sender chose that it tells.
    Up {
        text: String,
        message: Rc<Value>,
        told: Vec<Told>,
    },
    Down(Rc<Value>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The end of the connection.
    End,
}

/// One direction of a connection: nothing overtakes.
#[derive(Debug, Default)]
pub struct Link {
    pub parcels: VecDeque<(Duration, Parcel)>,
}

impl Link {
    pub fn send(&mut self, at: Duration, parcel: Parcel) {
        let last = self.parcels.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.parcels.push_back((at.max(last), parcel));
    }

    pub fn next(&self) -> Option<Duration> {
        self.parcels.front().map(|(at, _)| *at)
    }
}

/// A connection, until both ends know that it is over.
#[derive(Debug)]
pub struct Connection {
    pub person: usize,
    pub up: Link,
    pub down: Link,
    /// The person still listens.
    pub is_current: bool,
    /// The server has let it in.
    pub is_admitted: bool,
    /// Nobody else who may write was there when it came.
    pub came_alone: bool,
    /// The server it led to is no more.
    pub is_dead: bool,
    /// Its first canvas, shown to itself, has arrived.
    pub has_shown: bool,
    /// Nothing arrives before, in either direction: the network is away.
    pub frozen: Duration,
}

impl Connection {
    pub fn new(person: usize) -> Self {
        Connection {
            person,
            up: Link::default(),
            down: Link::default(),
            is_current: true,
            is_admitted: false,
            came_alone: false,
            is_dead: false,
            has_shown: false,
            frozen: Duration::ZERO,
        }
    }

    pub fn next_up(&self) -> Option<Duration> {
        self.up.next().map(|at| at.max(self.frozen))
    }

    pub fn next_down(&self) -> Option<Duration> {
        self.down.next().map(|at| at.max(self.frozen))
    }
}
