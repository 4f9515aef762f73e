//! A file with a key in it, for commands that are given one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The largest file that is read, in bytes. A key has 35.
const MAX_FILE_BYTES: u64 = 4096;

/// Reads the key in the first line of a file that says something.
///
/// # Errors
/// One line, which repeats nothing of the file.
pub fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let file =
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    file.map_err(|error| {
        format!(
            "can't read the key in {shown}: {error}: put what collabd key new prints into a file"
        )
    })?;
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        None => Err(format!("there is no key in {shown}: put what collabd key new prints there")),
        Some(line) if line.starts_with('{') => Err(format!(
            "{shown} looks like a server's key file, which has no keys but their hashes: put what \
             collabd key new prints into a file of its own"
        )),
        Some(line) => Ok(line.to_owned()),
    }
}
