//! How much the hub holds: for the metrics, and for tests that check that nothing grows without bound.

use std::sync::Arc;

use super::Hub;

/// What a hub holds at one moment, for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugStats {
    /// Timers that are set, outdated ones included.
    pub timers: usize,
    /// Connections that are members of a session.
    pub members: usize,
    /// Connections that view a session.
    pub viewers: usize,
    /// Open connections of the client protocol.
    pub clients: usize,
    /// Memberships in channels, by the counts of the connections.
    pub joined: usize,
    pub sessions: Vec<SessionFootprint>,
    /// The memory of all documents and versions, in bytes.
    pub documents_memory: usize,
    /// The counts of the channels summed up.
    pub channels: ChannelsFootprint,
    /// The counts kept over all channels. They have to be equal to `channels`.
    pub overall: ChannelsFootprint,
}

/// What one session holds, for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFootprint {
    pub name: Arc<str>,
    pub members: usize,
    pub viewers: usize,
    /// The document, in bytes of JSON.
    pub document_bytes: usize,
    /// The memory of the document as it is counted, and computed anew. They have to be equal.
    pub document_memory: [usize; 2],
    /// The tombstones of the document.
    pub removed: usize,
    /// The entries of the history, their bytes, and how many of them have an id.
    pub history: usize,
    pub history_bytes: usize,
    pub confirmed: usize,
    /// Items that wait to be settled.
    pub settling: usize,
    /// The versions in memory, and their bytes in stored form.
    pub versions: usize,
    pub version_bytes: usize,
    /// The bytes of the removed items that are kept.
    pub removed_bytes: usize,
}

/// What the channels hold, for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelsFootprint {
    pub channels: usize,
    /// Channels without members.
    pub deserted: usize,
    pub threads: usize,
    pub thread_bytes: usize,
    /// Memberships.
    pub members: usize,
}

impl Hub {
    /// Counts what the hub holds, in time linear in sessions and channels.
    #[doc(hidden)]
    pub fn footprint(&self) -> DebugStats {
        let joined = self.clients.joined();
        let (channels, overall) = self.clients.channels().footprints();
        DebugStats {
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

/// How much a hub holds, for the metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HubStats {
    /// Sessions in memory.
    pub sessions: usize,
    /// Members of all of them.
    pub members: usize,
    /// Channels of the client protocol.
    pub channels: usize,
    /// The memory of all documents and versions, in bytes, and its bound; 0 for none.
    pub documents_memory: usize,
    pub most_documents_memory: usize,
    /// How many sessions may be in memory; 0 for any number.
    pub most_sessions: usize,
}
