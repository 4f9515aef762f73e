//! What several commands print: names that can't play tricks, and tables.

use std::io::{self, Write as _};

use crate::logging::without_keys;

/// A name in a form that can't move the cursor or turn the line around: anyone may have chosen it.
pub fn printable(name: &str) -> String {
    let quoted = format!("{name:?}");
    quoted[1..quoted.len() - 1].to_owned()
}

/// Columns as wide as their widest cell.
pub fn table<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Prints what was asked for or done, without any key that may be in it.
pub fn tell(text: &str) -> Result<(), String> {
    print(without_keys(text).as_bytes())
}

/// Prints it as it is. A reader that has seen enough, like `head`, is no failure.
pub fn print(text: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("can't print it: {error}"))
        }
        _ => Ok(()),
    }
}
