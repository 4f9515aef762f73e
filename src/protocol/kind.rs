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

/// All types in the order of their numbers, each with its name on the wire.
const ALL: [(Kind, &str); 31] = [
    (Kind::Ping, "ping"),
    (Kind::Pong, "pong"),
    (Kind::Command, "command"),
    (Kind::Cursor, "cursor"),
    (Kind::SyncRequest, "sync:request"),
    (Kind::SyncUpdate, "sync:update"),
    (Kind::SyncFullState, "sync:full_state"),
    (Kind::SyncState, "sync:state"),
    (Kind::SyncDone, "sync:done"),
    (Kind::ConnectionAck, "connection:ack"),
    (Kind::UserJoined, "user:joined"),
    (Kind::UserLeft, "user:left"),
    (Kind::HostChanged, "host:changed"),
    (Kind::MessageDelivered, "message_delivered"),
    (Kind::Error, "error"),
    (Kind::Connect, "connect"),
    (Kind::ConnectionEstablished, "connection_established"),
    (Kind::ConnectionSuccess, "connection_success"),
    (Kind::Disconnect, "disconnect"),
    (Kind::JoinChannel, "join_channel"),
    (Kind::LeaveChannel, "leave_channel"),
    (Kind::Subscribe, "subscribe"),
    (Kind::Unsubscribe, "unsubscribe"),
    (Kind::SubscriptionSuccess, "subscription_success"),
    (Kind::UnsubscriptionSuccess, "unsubscription_success"),
    (Kind::ChatMessage, "chat_message"),
    (Kind::ChannelMessage, "channel_message"),
    (Kind::AgentStatus, "agent_status"),
    (Kind::TaskUpdate, "task_update"),
    (Kind::GraphUpdate, "graph_update"),
    (Kind::Other, "other"),
];

impl Kind {
    /// All types, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Kind> {
        ALL.iter().map(|(kind, _)| *kind)
    }

    /// The type with this name on the wire; [`Kind::Other`] for an unknown name.
    pub fn from_name(name: &str) -> Kind {
        ALL.iter().find(|(_, known)| *known == name).map_or(Kind::Other, |(kind, _)| *kind)
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
