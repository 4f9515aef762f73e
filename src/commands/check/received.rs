//! One message from the server, and what can be asked of any of them.

use serde_json::Value;

use crate::client::shown;

/// A message the server sent: one JSON object with a string `type`.
#[derive(Debug, Clone)]
pub(super) struct Received {
    /// As it came, for what parsing loses: `12.50` is not `12.5`.
    pub(super) text: String,
    /// What it says.
    pub(super) value: Value,
}

impl Received {
    /// Reads `text`.
    ///
    /// # Errors
    /// Says which rule of the protocol the message breaks.
    pub(super) fn parse(text: &str) -> Result<Received, String> {
        let broken = |rule: &str| format!("the server sent a message that {rule}: {}", shown(text));
        let value: Value = serde_json::from_str(text).map_err(|_| broken("is not JSON"))?;
        if !value.is_object() {
            return Err(broken("is not a JSON object"));
        }
        if !value["type"].is_string() {
            return Err(broken("has no string \"type\""));
        }
        Ok(Received { text: text.to_owned(), value })
    }

    /// Whether its `type` is `kind`.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.value["type"] == kind
    }

    /// Whether its `user_id` is `user`.
    pub(super) fn by(&self, user: &str) -> bool {
        self.value["user_id"] == user
    }

    /// Whether it is a command about `item` that a user sent, not one the server settles items with.
    pub(super) fn changes(&self, item: &str) -> bool {
        self.is("command") && self.value["command"]["item_id"] == item && !self.settles()
    }

    /// Whether the server sent it by itself to give everyone the same canvas.
    pub(super) fn settles(&self) -> bool {
        self.value["settled"] == true
    }

    /// Whether it is a message of `user` of this kind that the server has sent back to its sender.
    pub(super) fn echoes(&self, user: &str, kind: &str) -> bool {
        self.is(kind) && self.by(user) && !self.settles()
    }

    /// A field of the command's data.
    pub(super) fn data(&self, field: &str) -> &Value {
        &self.value["command"]["data"][field]
    }

    /// The message, short and escaped enough for one line of a terminal.
    pub(super) fn shown(&self) -> String {
        shown(&self.text)
    }
}
