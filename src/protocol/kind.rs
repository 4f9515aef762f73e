//! The types of messages that the two protocols define, for counters by type.
//!
//! Every type that a client makes up counts as [`Kind::Other`], so the number of counters is fixed.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Ping,
    Pong,
    Command,
    Cursor,
    SyncRequest,
    SyncUpdate,
    SyncFullState,
    SyncState,
    SyncDone,
    ConnectionAck,
    UserJoined,
    UserLeft,
    HostChanged,
    MessageDelivered,
    Error,
    Connect,
    ConnectionEstablished,
    ConnectionSuccess,
    Disconnect,
    JoinChannel,
    LeaveChannel,
    Subscribe,
    Unsubscribe,
    SubscriptionSuccess,
    UnsubscriptionSuccess,
    ChatMessage,
    ChannelMessage,
    AgentStatus,
    TaskUpdate,
    GraphUpdate,
    /// Any other type, and a message without a type.
    Other,
}

pub const KIND_COUNT: usize = ALL.len();

/// Who sends messages of a type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Clients,
    Server,
    Both,
}

use Sender::{Both, Clients, Server};

/// All types in the order of their numbers, each with its name on the wire, and who sends it.
const ALL: [(Kind, &str, Sender); 31] = [
    (Kind::Ping, "ping", Clients),
    (Kind::Pong, "pong", Server),
    (Kind::Command, "command", Both),
    (Kind::Cursor, "cursor", Both),
    (Kind::SyncRequest, "sync:request", Clients),
    (Kind::SyncUpdate, "sync:update", Clients),
    (Kind::SyncFullState, "sync:full_state", Clients),
    (Kind::SyncState, "sync:state", Server),
    (Kind::SyncDone, "sync:done", Server),
    (Kind::ConnectionAck, "connection:ack", Server),
    (Kind::UserJoined, "user:joined", Server),
    (Kind::UserLeft, "user:left", Server),
    (Kind::HostChanged, "host:changed", Server),
    (Kind::MessageDelivered, "message_delivered", Server),
    (Kind::Error, "error", Server),
    (Kind::Connect, "connect", Clients),
    (Kind::ConnectionEstablished, "connection_established", Server),
    (Kind::ConnectionSuccess, "connection_success", Server),
    (Kind::Disconnect, "disconnect", Server),
    (Kind::JoinChannel, "join_channel", Clients),
    (Kind::LeaveChannel, "leave_channel", Clients),
    (Kind::Subscribe, "subscribe", Clients),
    (Kind::Unsubscribe, "unsubscribe", Clients),
    (Kind::SubscriptionSuccess, "subscription_success", Server),
    (Kind::UnsubscriptionSuccess, "unsubscription_success", Server),
    (Kind::ChatMessage, "chat_message", Both),
    (Kind::ChannelMessage, "channel_message", Both),
    (Kind::AgentStatus, "agent_status", Both),
    (Kind::TaskUpdate, "task_update", Both),
    (Kind::GraphUpdate, "graph_update", Both),
    (Kind::Other, "other", Both),
];

impl Kind {
    /// All types, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Kind> {
        ALL.iter().map(|(kind, _, _)| *kind)
    }

    /// The types that clients send, [`Kind::Other`] included.
    pub fn from_clients() -> impl Iterator<Item = Kind> {
        Kind::all().filter(|kind| kind.is_from_clients())
    }

    /// The types that the server sends, relayed ones and [`Kind::Other`] included.
    pub fn to_clients() -> impl Iterator<Item = Kind> {
        Kind::all().filter(|kind| kind.is_to_clients())
    }

    /// Is true for a type that clients send.
    pub fn is_from_clients(self) -> bool {
        ALL[self.number()].2 != Server
    }

    /// Is true for a type that the server sends or relays.
    pub fn is_to_clients(self) -> bool {
        ALL[self.number()].2 != Clients
    }

    /// The type with this name on the wire; [`Kind::Other`] for an unknown name.
    pub fn from_name(name: &str) -> Kind {
        ALL.iter().find(|(_, known, _)| *known == name).map_or(Kind::Other, |(kind, _, _)| *kind)
    }

    /// The type's name on the wire.
    pub fn name(self) -> &'static str {
        ALL[self.number()].1
    }

    /// The type's number, from 0 and less than [`KIND_COUNT`].
    pub fn number(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_number_it_is_listed_under_and_is_found_by_its_name() {
        for (number, kind) in Kind::all().enumerate() {
            assert_eq!((kind.number(), Kind::from_name(kind.name())), (number, kind));
        }
        assert_eq!(Kind::all().count(), KIND_COUNT);
        for unknown in ["", "Ping", "chat", "\u{1f600}"] {
            assert_eq!(Kind::from_name(unknown), Kind::Other, "{unknown:?}");
        }
    }
}
