//! Notes about users, which a session stores between its changes. They are JSON objects in the column of
//! message ids; a client's id is a string or a number.

use serde::{Deserialize, Serialize};

/// What the hub has to know about a user after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The user's canvas was built anew from the document: the user built none of its copies.
    Rebuilt,
    /// The user has removed this item, which was gone already.
    RemovedAgain(Box<str>),
    /// The user has joined for the first time.
    Joined,
    /// The users who built their copies of this item themselves. The note has no user.
    Built(Box<str>, Vec<Box<str>>),
}

impl Note {
    /// The stored form.
    pub fn to_stored(&self) -> Box<str> {
        serde_json::json!({ "note": self }).to_string().into()
    }

    /// Parses the stored form; `None` for anything else, such as a client's id.
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
