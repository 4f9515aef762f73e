//! A room: a name, and members in the order they joined. A session and a channel are both rooms;
//! what they share is here, and nothing else.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use super::conn::{ConnId, ConnMap, HasConnection};
use super::context::Turn;
use super::event::Effect;
use crate::protocol::Frame;

pub use super::conn::Occupant;

/// See the module's text. Members are indexed by their place in the order.
#[derive(Debug)]
pub struct Room<M> {
    name: Arc<str>,
    members: Vec<M>,
    index: Option<ConnIndex>,
}

/// Finds a connection's member in the logarithm of their number. A session has one: each message asks
/// for its sender. A channel has none: whoever leaves is looked for, and of members there are millions.
#[derive(Debug, Default)]
struct ConnIndex {
    /// Each member's number, in the order of the members; numbers grow.
    numbers: Vec<u64>,
    by_conn: ConnMap<u64>,
    next: u64,
}

impl<M: HasConnection> Room<M> {
    /// A room that nobody is in.
    pub fn new(name: Arc<str>) -> Self {
        Room { name, members: Vec::new(), index: None }
    }

    /// The same; its members are found fast.
    pub fn indexed(name: Arc<str>) -> Self {
        Room { index: Some(ConnIndex::default()), ..Room::new(name) }
    }

    /// What the room is called.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members in the order they joined.
    pub fn iter(&self) -> std::slice::Iter<'_, M> {
        self.members.iter()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, M> {
        self.members.iter_mut()
    }

    /// Where a connection's member stands. Without an index it takes as long as there are members.
    pub fn place(&self, conn: ConnId) -> Option<usize> {
        match &self.index {
            Some(index) => index.numbers.binary_search(index.by_conn.get(&conn)?).ok(),
            None => self.members.iter().position(|member| member.conn() == conn),
        }
    }

    /// Adds a member as the last one, and returns its place.
    pub fn add(&mut self, member: M) -> usize {
        if let Some(index) = &mut self.index {
            index.next += 1;
            index.numbers.push(index.next);
            index.by_conn.insert(member.conn(), index.next);
        }
        self.members.push(member);
        debug_assert!(self.is_index_right());
        self.members.len() - 1
    }

    /// Puts a member in another's place, and returns that one.
    pub fn replace(&mut self, place: usize, member: M) -> M {
        let conn = member.conn();
        let replaced = std::mem::replace(&mut self.members[place], member);
        if let Some(index) = &mut self.index {
            index.by_conn.remove(&replaced.conn());
            index.by_conn.insert(conn, index.numbers[place]);
        }
        replaced
    }

    /// Removes a connection's member; the others keep their order.
    pub fn remove(&mut self, conn: ConnId) -> Option<M> {
        let place = self.place(conn)?;
        if let Some(index) = &mut self.index {
            index.numbers.remove(place);
            index.by_conn.remove(&conn);
        }
        let removed = self.members.remove(place);
        debug_assert!(self.is_index_right());
        Some(removed)
    }

    fn is_index_right(&self) -> bool {
        let is_right = |index: &ConnIndex| {
            [index.numbers.len(), index.by_conn.len()] == [self.members.len(); 2]
        };
        self.index.as_ref().is_none_or(is_right)
    }

    /// Sends one frame to every member.
    pub fn send(&self, frame: &Frame, turn: &mut Turn<'_>) {
        turn.effects.extend(self.members.iter().map(|member| {
            let frame = frame.clone();
            Effect::Send { conn: member.conn(), frame, supersedes: None }
        }));
    }

    /// Sends one frame to every member but one connection.
    pub fn send_to_others(&self, conn: ConnId, frame: &Frame, turn: &mut Turn<'_>) {
        self.send_to_all_but(conn, frame, None, turn);
    }

    /// The same, for a frame that makes the sender's earlier ones of this kind pointless where they
    /// are still queued.
    pub fn send_latest_to_others(&self, sender: ConnId, frame: &Frame, turn: &mut Turn<'_>) {
        self.send_to_all_but(sender, frame, Some(sender), turn);
    }

    fn send_to_all_but(
        &self,
        conn: ConnId,
        frame: &Frame,
        supersedes: Option<ConnId>,
        turn: &mut Turn<'_>,
    ) {
        let others = self.members.iter().filter(|member| member.conn() != conn);
        turn.effects.extend(others.map(|member| {
            let frame = frame.clone();
            Effect::Send { conn: member.conn(), frame, supersedes }
        }));
    }
}

impl<M> Index<usize> for Room<M> {
    type Output = M;

    fn index(&self, place: usize) -> &M {
        &self.members[place]
    }
}

impl<M> IndexMut<usize> for Room<M> {
    fn index_mut(&mut self, place: usize) -> &mut M {
        &mut self.members[place]
    }
}
