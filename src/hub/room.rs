//! A room: a name, members in the order in which they joined, and sending a frame to all of them. A session and
//! a channel share this and nothing else.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use super::connection::{ConnId, ConnMap, HasConnection};
use super::context::Context;
use super::event::Effect;
use crate::protocol::Frame;

/// A name and members. A member is indexed by its place in the order in which they joined.
#[derive(Debug)]
pub struct Room<M> {
    name: Arc<str>,
    members: Vec<M>,
    index: Option<ConnIndex>,
}

/// Finds the member of a connection in logarithmic time. Sessions have one, as each message needs its sender.
/// Channels have none: only leaving looks for a member, and the index would cost memory for millions of
/// memberships.
#[derive(Debug, Default)]
struct ConnIndex {
    /// A number for each member, in the order of the members. The numbers are increasing.
    numbers: Vec<u64>,
    by_conn: ConnMap<u64>,
    next: u64,
}

impl<M: HasConnection> Room<M> {
    /// A room without members.
    pub fn new(name: Arc<str>) -> Self {
        Room { name, members: Vec::new(), index: None }
    }

    /// A room without members that has an index.
    pub fn indexed(name: Arc<str>) -> Self {
        Room { index: Some(ConnIndex::default()), ..Room::new(name) }
    }

    /// The name of the room.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members, in the order in which they joined.
    pub fn iter(&self) -> std::slice::Iter<'_, M> {
        self.members.iter()
    }

    /// The members, to be changed, in the order in which they joined.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, M> {
        self.members.iter_mut()
    }

    /// The place of a connection's member. Takes time linear in the members without an index.
    pub fn place(&self, conn: ConnId) -> Option<usize> {
        match &self.index {
            Some(index) => index.numbers.binary_search(index.by_conn.get(&conn)?).ok(),
            None => self.members.iter().position(|member| member.conn() == conn),
        }
    }

    /// Appends a member and returns its place.
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

    /// Replaces the member at `place` and returns it.
    pub fn replace(&mut self, place: usize, member: M) -> M {
        let conn = member.conn();
        let replaced = std::mem::replace(&mut self.members[place], member);
        if let Some(index) = &mut self.index {
            index.by_conn.remove(&replaced.conn());
            index.by_conn.insert(conn, index.numbers[place]);
        }
        replaced
    }

    /// Removes the member of a connection. The others keep their order.
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

    /// Sends a frame to all members.
    pub fn send(&self, frame: &Frame, cx: &mut Context<'_>) {
        cx.effects.extend(self.members.iter().map(|member| {
            let frame = frame.clone();
            Effect::Send { conn: member.conn(), frame, supersedes: None }
        }));
    }

    /// Sends a frame to all members but one.
    pub fn send_to_others(&self, conn: ConnId, frame: &Frame, cx: &mut Context<'_>) {
        self.send_to_all_but(conn, frame, None, cx);
    }

    /// Sends a frame to all members but the sender. It may replace the sender's earlier ones that are still queued.
    pub fn send_latest_to_others(&self, sender: ConnId, frame: &Frame, cx: &mut Context<'_>) {
        self.send_to_all_but(sender, frame, Some(sender), cx);
    }

    fn send_to_all_but(
        &self,
        conn: ConnId,
        frame: &Frame,
        supersedes: Option<ConnId>,
        cx: &mut Context<'_>,
    ) {
        let others = self.members.iter().filter(|member| member.conn() != conn);
        cx.effects.extend(others.map(|member| {
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
