//! What the steps share: who is connected, to what, and what the server has shown of itself.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Target, WebSocket, Wire};
use crate::routes::TEMPORARY_HEADER;

use super::client::{Client, Pick};
use super::promises;
use super::received::Received;
use super::report::{Outcome, StepError, skip};

/// The two users who are there all the time, and the one who comes late.
pub(super) const ALICE: &str = "check-alice";
pub(super) const BOB: &str = "check-bob";
pub(super) const CAROL: &str = "check-carol";

/// Which of the greeting's two messages this server sends at all; joins wait for those.
pub(super) struct Greeting {
    pub(super) ack: bool,
    pub(super) joined: bool,
}

/// The state of a walk between two steps.
pub(super) struct Walk {
    pub(super) target: Target,
    /// Where the server was found: all its addresses at first, then the one that answered.
    addresses: Vec<SocketAddr>,
    /// A name that only this walk uses, for its sessions.
    pub(super) session: String,
    /// How long to stay connected.
    pub(super) stay: Duration,
    pub(super) alice: Option<Client>,
    pub(super) bob: Option<Client>,
    pub(super) carol: Option<Client>,
    pub(super) greeting: Greeting,
    /// The session's `epoch`, from the first `connection:ack`.
    pub(super) epoch: Option<Value>,
    /// Whether pings are answered; if not, no later step says so again.
    pub(super) pongs: bool,
    /// Whether commands with an `id` are confirmed; likewise.
    pub(super) confirms: bool,
    names: usize,
}

impl Walk {
    /// A walk to `target` that has not begun.
    ///
    /// # Errors
    /// The system gives no random numbers, so no session name can be made that is surely new.
    pub(super) fn new(target: Target, stay: Duration) -> Result<Walk, String> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| format!("no random session name: {e}"))?;
        let mut session = "check-".to_owned();
        for byte in random {
            let _ = write!(session, "{byte:02x}");
        }
        Ok(Walk {
            target,
            addresses: Vec::new(),
            session,
            stay,
            alice: None,
            bob: None,
            carol: None,
            greeting: Greeting { ack: true, joined: true },
            epoch: None,
            pongs: false,
            confirms: false,
            names: 0,
        })
    }

    /// A name that this walk has not used yet, for an item, a message's id or a marker.
    pub(super) fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("check-{kind}-{}", self.names)
    }

    /// Looks the host up.
    pub(super) fn resolve(&mut self) -> Outcome<()> {
        self.addresses = self.target.addresses()?;
        Ok(())
    }

    /// A new TCP connection to the server.
    pub(super) fn dial(&mut self) -> Outcome<Wire> {
        let (wire, address) = Wire::open(&self.addresses)?;
        self.addresses = vec![address];
        Ok(wire)
    }

    /// Ends all its connections.
    pub(super) fn leave(&mut self) {
        (self.alice, self.bob, self.carol) = (None, None, None);
    }

    /// The sessions that it may have made.
    pub(super) fn sessions(&self) -> [String; 3] {
        ["", "-2", "-3"].map(|more| format!("{}{more}", self.session))
    }

    /// Connects `user` to `session`, and reads nothing yet.
    pub(super) fn enter(&mut self, session: &str, user: &str) -> Outcome<Client> {
        let wire = self.dial()?;
        let path = self.target.place(session, user);
        // A collabd doesn't store what a walk leaves behind.
        let headers = [format!("{TEMPORARY_HEADER}: 1")];
        Ok(Client::new(user, WebSocket::open(wire, &self.target, &path, &headers)?))
    }

    /// Connects `user` to `session` and waits for the greeting, as far as this server greets.
    /// Gives the ack, if one came.
    pub(super) fn join(
        &mut self,
        session: &str,
        user: &str,
    ) -> Outcome<(Client, Option<Received>)> {
        let mut client = self.enter(session, user)?;
        let (mut ack, mut joined) = (None, false);
        let (need_ack, need_joined) = (self.greeting.ack, self.greeting.joined);
        if need_ack || need_joined {
            client.wait_for("connection:ack and its own user:joined", |m| {
                if m.is("connection:ack") {
                    ack = Some(m.clone());
                } else if m.is("user:joined") && m.by(user) {
                    joined = true;
                } else {
                    return Ok(Pick::Other);
                }
                let whole = (ack.is_some() || !need_ack) && (joined || !need_joined);
                Ok(if whole { Pick::Take(()) } else { Pick::More })
            })?;
        }
        client.is_host = ack.as_ref().is_some_and(|ack| ack.value["is_host"] == true);
        Ok((client, ack))
    }

    /// Alice, as she is.
    pub(super) fn alice(&mut self) -> Outcome<&mut Client> {
        self.alice.as_mut().ok_or_else(|| StepError::Skip(format!("{ALICE} is not connected")))
    }

    /// Alice and Bob, as they are.
    pub(super) fn both(&mut self) -> Outcome<(&mut Client, &mut Client)> {
        match (&mut self.alice, &mut self.bob) {
            (Some(alice), Some(bob)) => Ok((alice, bob)),
            _ => skip("the two users are not connected"),
        }
    }

    /// Alice, ready for a new step: connected, again if an earlier step has reported her end, and
    /// with nothing to read that an earlier step has left.
    pub(super) fn solo(&mut self) -> Outcome<&mut Client> {
        if self.alice.as_ref().is_none_or(Client::ended) {
            self.alice = Some(self.join_again(ALICE)?);
        }
        let alice = self.alice()?;
        alice.skim()?;
        Ok(alice)
    }

    /// Alice and Bob, ready for a new step.
    pub(super) fn pair(&mut self) -> Outcome<(&mut Client, &mut Client)> {
        self.solo()?;
        if self.bob.as_ref().is_none_or(Client::ended) {
            self.bob = Some(self.join_again(BOB)?);
        }
        let (alice, bob) = self.both()?;
        bob.skim()?;
        Ok((alice, bob))
    }

    fn join_again(&mut self, user: &str) -> Outcome<Client> {
        let session = self.session.clone();
        let joined = self.join(&session, user);
        let (client, _) = joined.map_err(|t| t.into_skip(&format!("{user} is not connected")))?;
        Ok(client)
    }
}

/// A command about the item `id`; `data` is its data.
pub(super) fn command(action: &str, id: &str, data: Value) -> Value {
    json!({
        "type": "command",
        "command": {"action": action, "item_type": "component", "item_id": id, "data": data},
    })
}

/// What the editor says of a new item `id` at `x_mm`.
pub(super) fn lens(id: &str, x_mm: f64) -> Value {
    json!({
        "item_uuid": id, "_type": "component", "name": "a lens", "category": "lenses",
        "x_mm": x_mm, "y_mm": -3.5, "angle_deg": 90.0, "object_height_mm": 25.4,
        "interfaces": [{
            "x1_mm": 0.0, "y1_mm": 12.7, "x2_mm": 0.0, "y2_mm": -12.7,
            "element_type": "lens", "name": "", "efl_mm": 100,
        }],
    })
}

/// Sends the command `sent` and waits until `other` hears it. Gives it as it came, unjudged.
pub(super) fn pass(sender: &mut Client, other: &mut Client, sent: &Value) -> Outcome<Received> {
    sender.send(sent)?;
    let action = sent["command"]["action"].as_str().unwrap_or_default();
    let item = sent["command"]["item_id"].as_str().unwrap_or_default();
    let what = format!("{}'s {action}", sender.user);
    other.hear(&what, |m| m.changes(item) && m.value["command"]["action"] == action)
}

/// Sends one more command, about the new item `item`, and waits until `other` hears it: whatever
/// was sent before has then been through the server. `judge` refuses what must not come until then.
pub(super) fn pass_last(
    sender: &mut Client,
    other: &mut Client,
    item: &str,
    mut judge: impl FnMut(&Received) -> Result<(), String>,
) -> Outcome<()> {
    sender.send(&command("add_item", item, lens(item, 0.0)))?;
    let what = format!("{}'s add_item", sender.user);
    other.wait_for(&what, |m| {
        if m.changes(item) {
            return Ok(Pick::Take(()));
        }
        judge(m)?;
        Ok(Pick::Other)
    })
}

/// Asks the server for the canvas and waits for it. The request names no user, because only the editor's
/// does, and the server treats an editor as one.
pub(super) fn ask_state(client: &mut Client) -> Outcome<Received> {
    client.send(&json!({"type": "sync:request"}))?;
    client.hear("a sync:state in answer to its sync:request", |m| m.is("sync:state"))
}

/// The items of the server's canvas, none if it has none.
pub(super) fn ask_canvas(client: &mut Client) -> Outcome<Vec<Value>> {
    let state = ask_state(client)?;
    Ok(promises::state(&state, None)?.cloned().unwrap_or_default())
}

/// The item `id` in a canvas, also in one that does not give its items the field a joiner needs.
pub(super) fn find<'a>(items: &'a [Value], id: &str) -> Option<&'a Value> {
    items.iter().find(|item| item["uuid"] == id || item["item_uuid"] == id)
}
