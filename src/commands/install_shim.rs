//! `collabd install-shim`: has the editor's *Start Server* start this collabd.
//!
//! The editor runs `tools/collaboration_server.py` of its checkout. A script of a few lines takes that file's place,
//! the shim, and starts collabd with the same arguments. The file that was there is kept beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the editor runs, and what is kept of it.
const SERVER: &str = "collaboration_server.py";
const ORIGINAL: &str = "collaboration_server.py.original";
/// In the first lines of every shim, of this version and others.
const MARK: &str = "# collabd-shim";
/// The mark is looked for in so many bytes.
const MARK_WITHIN: u64 = 256;
/// The largest server that is kept, in bytes.
const MAX_ORIGINAL_BYTES: u64 = 4 << 20;

/// The shim. `COLLABD` stands for the binary, as a literal of Python.
const SHIM: &str = include_str!("shim.py");

/// What `install-shim` is told.
#[derive(Debug)]
pub struct Options {
    /// The folder of the editor's checkout.
    pub checkout: PathBuf,
    /// The file that was there is put back.
    pub removes: bool,
}

/// Does it.
pub fn run(options: &Options) -> ExitCode {
    super::exit_code(execute(options).map(|line| println!("{line}")))
}

fn execute(options: &Options) -> Result<String, String> {
    let tools = options.checkout.join("tools");
    let found = fs::symlink_metadata(&tools).ok();
    if found.as_ref().is_some_and(fs::Metadata::is_symlink) {
        return Err(format!("{} is a link, which collabd doesn't follow", tools.display()));
    }
    if !found.is_some_and(|found| found.is_dir()) {
        return Err(format!(
            "{} is no folder: name the folder of a checkout of Optiverse, which has {SERVER} in tools",
            tools.display()
        ));
    }
    let (server, original) = (tools.join(SERVER), tools.join(ORIGINAL));
    let (now, kept) = (content_of(&server)?, content_of(&original)?);
    match options.removes {
        true => remove(&server, &original, now, kept),
        false => install(&server, &original, now, kept),
    }
}

/// What stands at a path.
enum Content {
    Nothing,
    Shim,
    /// Anything else: all of it.
    Other(Vec<u8>),
}

fn content_of(path: &Path) -> Result<Content, String> {
    let failed = |error: io::Error| format!("can't read {}: {error}", path.display());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Nothing),
        Err(error) => return Err(failed(error)),
        Ok(found) if found.is_symlink() => {
            return Err(format!("{} is a link, which collabd doesn't follow", path.display()));
        }
        Ok(found) if !found.is_file() => return Err(format!("{} is no file", path.display())),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_ORIGINAL_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_ORIGINAL_BYTES {
        return Err(format!("{} is too large for a script", path.display()));
    }
    let begin = &bytes[..bytes.len().min(MARK_WITHIN as usize)];
    let is_shim = begin.windows(MARK.len()).any(|found| found == MARK.as_bytes());
    Ok(if is_shim { Content::Shim } else { Content::Other(bytes) })
}

fn install(server: &Path, original: &Path, now: Content, kept: Content) -> Result<String, String> {
    let collabd = std::env::current_exe().ok().filter(|binary| binary.is_file());
    let collabd = collabd.ok_or("collabd can't tell where its own binary is")?;
    let literal = collabd.to_str().and_then(|path| serde_json::to_string(path).ok());
    let literal = literal.ok_or("the path of this collabd is not UTF-8: move it elsewhere")?;
    match (now, kept) {
        // The editor may have been updated: this is the newer one.
        (Content::Other(bytes), _) => write(original, &bytes, server)?,
        (_, Content::Other(_)) => {}
        (Content::Shim, _) => {
            return Err(format!(
                "{} is a shim, and what it took the place of is gone: get that back first, with git \
                 checkout tools/{SERVER}",
                server.display()
            ));
        }
        (Content::Nothing, _) => {
            return Err(format!(
                "there is no {}: name the folder of a checkout of Optiverse",
                server.display()
            ));
        }
    }
    // A literal of JSON is one of Python.
    write(server, SHIM.replace("\"COLLABD\"", &literal).as_bytes(), original)?;
    Ok(format!(
        "Start Server in the editor starts {} from now on; what it started before is {}, and \
         --remove puts it back",
        collabd.display(),
        original.display()
    ))
}

fn remove(server: &Path, original: &Path, now: Content, kept: Content) -> Result<String, String> {
    match (now, kept) {
        (Content::Other(_), _) => {
            Err(format!("{} is not collabd's: nothing is to be removed", server.display()))
        }
        (_, Content::Other(_)) => {
            let put = crate::files::replace(server, original);
            put.map_err(|error| format!("can't write {}: {error}", server.display()))?;
            Ok(format!("{} is the editor's own again", server.display()))
        }
        _ => Err(format!(
            "there is no {}: get the editor's own file back with git checkout tools/{SERVER}",
            original.display()
        )),
    }
}

/// Writes a file whole, with the permissions of `like`. It is on disk before it has its name.
fn write(file: &Path, bytes: &[u8], like: &Path) -> Result<(), String> {
    let unfinished = file.with_extension(format!("{}.new", std::process::id()));
    let failed = |error: io::Error| format!("can't write {}: {error}", file.display());
    let mut made =
        OpenOptions::new().write(true).create_new(true).open(&unfinished).map_err(failed)?;
    let written = made
        .write_all(bytes)
        .and_then(|()| fs::metadata(like))
        .and_then(|like| made.set_permissions(like.permissions()))
        .and_then(|()| made.sync_all());
    drop(made);
    let written = written.and_then(|()| crate::files::replace(file, &unfinished));
    if written.is_err() {
        // A part of a file is of no use; the error says why it is one.
        let _ = fs::remove_file(&unfinished);
    }
    written.map_err(failed)
}
