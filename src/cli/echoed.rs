//! What was typed, as far as it may be repeated: a key that was typed in the wrong place stays out of
//! terminals, logs and reports of faults.

/// A longer word is not repeated.
const MAX_SHOWN_BYTES: usize = 40;
/// A run of so many letters and digits may be a key.
const MIN_KEY_CHARS: usize = 16;

/// A word, quoted and escaped; where it may be a key, words that say so.
pub fn shown(word: &str) -> String {
    match may_be_key(word) {
        true => "what was typed, which may be a key and so isn't repeated here".to_owned(),
        false => format!("{word:?}"),
    }
}

/// True if a word looks random, so that it may be a key.
pub fn may_be_key(word: &str) -> bool {
    let runs = word.split(|c: char| !c.is_ascii_alphanumeric());
    let is_random =
        |run: &str| run.len() >= MIN_KEY_CHARS && run.bytes().any(|byte| byte.is_ascii_digit());
    let has_mark = word.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("ck_"));
    word.len() > MAX_SHOWN_BYTES || has_mark || runs.into_iter().any(is_random)
}

/// The one of these names that was probably meant: one letter in three is wrong at most, or the name and
/// one more word were typed.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = |name: &str| match is_part_of(name, word) {
        true => 1,
        false => distance(word, name),
    };
    let nearest = names.map(|name| (far(name), name)).min_by_key(|(far, _)| *far);
    nearest.filter(|(far, name)| *far <= name.len().div_ceil(3)).map(|(_, name)| name)
}

/// Whether a word begins or ends with a name, and has another word beside it.
fn is_part_of(name: &str, word: &str) -> bool {
    let is_between = |c: char| c == '_' || c == '-';
    let before = word.strip_suffix(name).is_some_and(|rest| rest.ends_with(is_between));
    before || word.strip_prefix(name).is_some_and(|rest| rest.starts_with(is_between))
}

/// How many letters have to be added, removed, changed, or swapped with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(100).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, own) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let above = &rows[i];
            let mut least = (above[j + 1] + 1).min(row[j] + 1);
            least = least.min(above[j] + usize::from(own != other));
            if i > 0 && j > 0 && *own == b[j - 1] && a[i - 1] == *other {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_key_is_not_repeated() {
        for key in [
            "ck_short",
            "CK_short",
            "ck_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "9f86d081884c7d659a2feaa0c55ad015",
            "hunter2hunter2hunter2",
            "ws://lab/key/9f86d081884c7d65/",
            "a word that is longer than anybody would type it by heart",
        ] {
            assert!(!shown(key).contains(key), "{key}");
        }
        for word in ["bake", "70000", "10.0.0.0/99", "http://lab.example:8443/", "1\n2"] {
            assert_eq!(shown(word), format!("{word:?}"));
        }
    }

    #[test]
    fn a_slip_is_known_for_what_it_was_to_be() {
        let names = ["serve", "echo", "check", "sessions", "COLLABD_PORT", "COLLABD_HOST"];
        for (word, meant) in [
            ("sevre", Some("serve")),
            ("session", Some("sessions")),
            ("chekc", Some("check")),
            ("COLLABD_PROT", Some("COLLABD_PORT")),
            ("bake", None),
            ("", None),
            ("9f86d081884c7d659a2feaa0c55ad015", None),
        ] {
            assert_eq!(nearest(word, names.into_iter()), meant, "{word}");
        }
    }
}
