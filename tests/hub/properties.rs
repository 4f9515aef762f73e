//! Clients that come, go, join, leave and talk at random: a simple model says who is told what, in
//! which order, and how the threads are counted.
//!
//! A failing case is printed, with the seed that brings it back.

use collabd::hub::{ConnId, Limits};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::rig::*;

const CLIENTS: usize = 6;
const CHANNELS: usize = 5;
const THREADS: usize = 3;
/// Fewer than there are names for.
const MOST_CHANNELS: usize = 3;

#[derive(Debug, Clone)]
enum Act {
    /// Connects with a key to write or to read, again if it is in already.
    Connect {
        client: usize,
        writes: bool,
        debug: bool,
    },
    Gone {
        client: usize,
    },
    Join {
        client: usize,
        channel: usize,
    },
    Leave {
        client: usize,
        channel: usize,
    },
    Talk {
        client: usize,
        kind: &'static str,
        channel: Option<usize>,
        thread: Option<usize>,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let (client, channel) = (0..CLIENTS, 0..CHANNELS);
    let both = (client.clone(), channel.clone());
    let kind =
        prop_oneof![4 => Just("chat_message"), 1 => Just("cursor"), 1 => Just("task_update")];
    let to = proptest::option::weighted(0.9, channel);
    let talk = (client.clone(), kind, to, proptest::option::of(0..THREADS));
    prop_oneof![
        2 => (client.clone(), prop::bool::weighted(0.8), prop::bool::weighted(0.2))
            .prop_map(|(client, writes, debug)| Act::Connect { client, writes, debug }),
        1 => client.prop_map(|client| Act::Gone { client }),
        6 => both.clone().prop_map(|(client, channel)| Act::Join { client, channel }),
        3 => both.prop_map(|(client, channel)| Act::Leave { client, channel }),
        8 => talk.prop_map(|(client, kind, channel, thread)| {
            Act::Talk { client, kind, channel, thread }
        }),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Open {
    conn: ConnId,
    writes: bool,
    debug: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Thread {
    channel: usize,
    thread: usize,
    messages: u64,
    participants: Vec<String>,
}

/// What there is to know, kept in the plainest way.
#[derive(Debug, Default)]
struct Model {
    open: Vec<Option<Open>>,
    /// Who is in each channel, in the order they joined.
    members: Vec<Vec<ConnId>>,
    /// The channels that are there, those nobody is in by when they were deserted.
    existing: Vec<usize>,
    deserted: Vec<usize>,
    /// The newest last.
    threads: Vec<Thread>,
}

impl Model {
    fn leave(&mut self, conn: ConnId, channel: usize) {
        self.members[channel].retain(|member| *member != conn);
        if self.members[channel].is_empty() && self.existing.contains(&channel) {
            match self.threads.iter().any(|thread| thread.channel == channel) {
                true => self.deserted.push(channel),
                false => self.existing.retain(|existing| *existing != channel),
            }
        }
    }

    /// Whether there is room for it.
    fn join(&mut self, conn: ConnId, channel: usize) -> bool {
        if !self.existing.contains(&channel) {
            if self.existing.len() == MOST_CHANNELS {
                if self.deserted.is_empty() {
                    return false;
                }
                let oldest = self.deserted.remove(0);
                self.existing.retain(|existing| *existing != oldest);
                self.threads.retain(|thread| thread.channel != oldest);
            }
            self.existing.push(channel);
        }
        self.deserted.retain(|deserted| *deserted != channel);
        self.members[channel].push(conn);
        true
    }

    fn count(&mut self, channel: usize, thread: usize, from: String) {
        let is_it = |known: &Thread| known.channel == channel && known.thread == thread;
        let mut counted = match self.threads.iter().position(is_it) {
            Some(place) => self.threads.remove(place),
            None => Thread { channel, thread, messages: 0, participants: Vec::new() },
        };
        counted.messages += 1;
        if !counted.participants.contains(&from) {
            counted.participants.push(from);
        }
        self.threads.push(counted);
    }
}

/// Two connections have one name.
fn name(client: usize) -> String {
    format!("client {}", client / 2)
}

/// What was done, as far as the model knows it: the type of a message, and its number if it has one.
fn summary(done: Done) -> String {
    match done {
        Done::Told(told) if told["type"] == "error" => {
            format!("{} {}", told["data"]["error_type"], told["data"]["code"])
        }
        Done::Told(told) => match &told["n"] {
            serde_json::Value::Null => told["type"].to_string(),
            n => format!("{} {n} of {}", told["type"], told["client_id"]),
        },
        other => format!("{other:?}"),
    }
}

fn run(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut rig = Rig::with(Limits { max_channels: MOST_CHANNELS, ..limits() });
    let mut model = Model {
        open: vec![None; CLIENTS],
        members: vec![Vec::new(); CHANNELS],
        ..Model::default()
    };
    for (n, act) in acts.into_iter().enumerate() {
        let mut expected: Vec<(ConnId, String)> = Vec::new();
        match act {
            Act::Connect { client, writes, debug } => {
                let open = match model.open[client] {
                    Some(open) => Open { writes, ..open },
                    None => Open { conn: rig.enter_by(&name(client), debug), writes, debug },
                };
                rig.all();
                rig.connect(open.conn, Ok(if writes { writer() } else { reader() }));
                model.open[client] = Some(open);
                expected.push((open.conn, "\"connection_success\"".into()));
                expected.push((open.conn, "\"message_delivered\"".into()));
            }
            Act::Gone { client } => {
                let Some(open) = model.open[client].take() else { continue };
                rig.gone(open.conn);
                // A connection leaves its channels by their names.
                for channel in 0..CHANNELS {
                    if model.members[channel].contains(&open.conn) {
                        model.leave(open.conn, channel);
                    }
                }
            }
            Act::Join { client, channel } => {
                let Some(Open { conn, .. }) = model.open[client] else { continue };
                rig.say(conn, join(&channel.to_string()));
                if model.members[channel].contains(&conn) || model.join(conn, channel) {
                    expected.push((conn, "\"message_delivered\"".into()));
                    expected.push((conn, "\"subscription_success\"".into()));
                } else {
                    expected.push((conn, "\"channel_error\" 503".into()));
                }
            }
            Act::Leave { client, channel } => {
                let Some(Open { conn, .. }) = model.open[client] else { continue };
                rig.say(conn, leave(&channel.to_string()));
                if model.members[channel].contains(&conn) {
                    model.leave(conn, channel);
                    expected.push((conn, "\"message_delivered\"".into()));
                    expected.push((conn, "\"unsubscription_success\"".into()));
                } else {
                    expected.push((conn, "\"channel_error\" 400".into()));
                }
            }
            Act::Talk { client, kind, channel, thread } => {
                let Some(Open { conn, writes, debug }) = model.open[client] else { continue };
                let mut message = json!({"type": kind, "n": n, "data": {"content": "hi"}});
                if let Some(channel) = channel {
                    message["channel"] = json!(channel.to_string());
                }
                if let Some(thread) = thread {
                    message["data"]["thread_id"] = json!(thread.to_string());
                }
                rig.say(conn, message);
                let heard = format!("\"{kind}\" {n} of \"{}\"", name(client));
                let members = channel.map(|channel| model.members[channel].clone());
                let joined = members.as_ref().is_some_and(|members| members.contains(&conn));
                match members {
                    Some(_) if !writes && kind != "cursor" => {
                        expected.push((conn, "\"read_only\" 403".into()));
                    }
                    Some(_) if !joined && !debug => {
                        expected.push((conn, "\"channel_error\" 403".into()));
                    }
                    members => {
                        let receivers = members.filter(|_| joined).unwrap_or_else(|| vec![conn]);
                        expected.extend(receivers.into_iter().map(|conn| (conn, heard.clone())));
                        expected.push((conn, "\"message_delivered\"".into()));
                        if let (Some(channel), Some(thread), true) =
                            (channel, thread, joined && writes)
                        {
                            model.count(channel, thread, name(client));
                        }
                    }
                }
            }
        }
        let done: Vec<_> = rig.all().into_iter().map(|(conn, d)| (conn, summary(d))).collect();
        prop_assert_eq!(done, expected);
        let listed = rig.threads(None, reader());
        let threads: Vec<Thread> = listed["threads"]
            .as_array()
            .expect("a list")
            .iter()
            .rev()
            .map(|thread| Thread {
                channel: thread["channel"].as_str().unwrap().parse().unwrap(),
                thread: thread["thread_id"].as_str().unwrap().parse().unwrap(),
                messages: thread["messages"].as_u64().unwrap(),
                participants: serde_json::from_value(thread["participants"].clone()).unwrap(),
            })
            .collect();
        prop_assert_eq!(&threads, &model.threads);
        prop_assert_eq!(listed["total"].as_u64(), Some(threads.len() as u64));
    }
    Ok(())
}

proptest! {
    #[test]
    fn everybody_is_told_what_the_model_says(acts in vec(act(), 0..80)) {
        run(acts)?;
    }
}
