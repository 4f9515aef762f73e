//! How much the hub holds, in numbers: what a test counts to see that nothing grows.

use std::sync::Arc;

use super::Hub;

/// What a hub holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// Timers that are set, those included that have nothing to do any more.
    pub timers: usize,
    /// Connections that are known to be in a session.
    pub members: usize,
    /// Connections that are known to view one.
    pub viewers: usize,
    /// Open connections of the client protocol.
    pub clients: usize,
    /// How many channels each of them is in, summed up.
    pub joined: usize,
    pub sessions: Vec<SessionFootprint>,
    /// What all documents and versions take of memory, as counted over all sessions.
    pub documents_memory: usize,
    /// As the channels themselves count.
    pub channels: ChannelsFootprint,
    /// As counted over all of them: has to be the same.
    pub overall: ChannelsFootprint,
}

/// What one session holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFootprint {
    pub name: Arc<str>,
    pub members: usize,
    pub viewers: usize,
    /// The document, in bytes of JSON, and how many removed items it remembers.
    pub document_bytes: usize,
    /// What the document takes of memory, as it counts, and reckoned anew: has to be the same.
    pub document_memory: [usize; 2],
    pub removed: usize,
    /// The history: changes and taken ids together, their bytes, and the ids alone.
    pub history: usize,
    pub history_bytes: usize,
    pub confirmed: usize,
    /// Items that were changed a short while ago.
    pub settling: usize,
    /// The versions in memory, and their bytes.
    pub versions: usize,
    pub version_bytes: usize,
}

/// What the channels hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelsFootprint {
    pub channels: usize,
    /// Those that nobody is in.
    pub deserted: usize,
    pub threads: usize,
    pub thread_bytes: usize,
    /// Memberships.
    pub members: usize,
}

impl Hub {
    /// Counts what is held. Takes a time in proportion to the sessions and channels there are.
    #[doc(hidden)]
    pub fn footprint(&self) -> Footprint {
        let joined = self.clients.joined();
        let (channels, overall) = self.clients.channels().footprints();
        Footprint {
            timers: self.timers.len(),
            members: self.sessions.members(),
            viewers: self.sessions.viewers(),
            clients: self.clients.len(),
            joined,
            sessions: self.sessions.iter().map(|session| session.footprint()).collect(),
            documents_memory: self.sessions.memory(),
            channels,
            overall: ChannelsFootprint { members: joined, ..overall },
        }
    }
}

/// How many of each a hub holds, for whoever looks at the server from outside.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Sessions in memory.
    pub sessions: usize,
    /// Members of all of them.
    pub members: usize,
    /// Channels of the client protocol.
    pub channels: usize,
    /// What all documents and their versions take of memory together, in bytes, and may take at most; 0 for
    /// any number.
    pub documents_memory: usize,
    pub most_documents_memory: usize,
}
