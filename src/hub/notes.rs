//! What else is kept of a session between its changes: notes about users, in the column of the ids that
//! clients choose, as JSON objects, which no client's id is.

use serde::{Deserialize, Serialize};

/// Something about a user that has to survive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The user's canvas was built anew from the document: none of it is its own work.
    Rebuilt,
    /// The user has removed an item, too, that is gone already.
    RemovedAgain(Box<str>),
    /// The user has come for the first time.
    Joined,
    /// The users whose copies of an item are ones that they built themselves; nobody's note.
    Built(Box<str>, Vec<Box<str>>),
}

impl Note {
    /// As it is stored.
    pub fn to_stored(&self) -> Box<str> {
        serde_json::json!({ "note": self }).to_string().into()
    }

    /// The note that was stored; `None` for anything else.
    pub fn from_stored(stored: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Stored {
            note: Note,
        }
        Some(serde_json::from_str::<Stored>(stored).ok()?.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_nothing_else_is_one() {
        let built = Note::Built("a".into(), vec!["alice".into(), "bob".into()]);
        for note in [Note::Rebuilt, Note::RemovedAgain("a\"b".into()), Note::Joined, built] {
            assert_eq!(Note::from_stored(&note.to_stored()), Some(note));
        }
        for other in ["7", "\"note\"", "[]", "{}", "{\"note\":1}", "7 0123456789abcdef"] {
            assert_eq!(Note::from_stored(other), None, "{other}");
        }
    }
}
