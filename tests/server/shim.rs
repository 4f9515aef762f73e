//! `collabd install-shim`: the editor's *Start Server* starts collabd.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Client, Folder, Run, Server, collabd, free_port};

/// A checkout of the editor, so far as it matters here.
struct Checkout(Folder);

const ORIGINAL: &str = "#!/usr/bin/env python3\nprint('the original')\n";

impl Checkout {
    fn new() -> Self {
        let checkout = Checkout(Folder::new());
        fs::create_dir(checkout.path().join("tools")).expect("a folder");
        fs::write(checkout.server(), ORIGINAL).expect("written");
        fs::set_permissions(checkout.server(), fs::Permissions::from_mode(0o755)).expect("its own");
        checkout
    }

    fn path(&self) -> PathBuf {
        self.0.typed("").into()
    }

    fn server(&self) -> PathBuf {
        self.path().join("tools/collaboration_server.py")
    }

    fn kept(&self) -> PathBuf {
        self.path().join("tools/collaboration_server.py.original")
    }

    fn run(&self, more: &[&str]) -> Run {
        let path = self.0.typed("");
        Run::of(collabd(&[&["install-shim", &path], more].concat()))
    }

    /// The names in `tools`.
    fn names(&self) -> Vec<String> {
        let found = fs::read_dir(self.path().join("tools")).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            found.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}

fn python() -> Command {
    Command::new("python3")
}

#[test]
fn it_starts_collabd_with_the_same_arguments_and_goes_away_again() {
    let checkout = Checkout::new();
    let said = checkout.run(&[]).succeeded();
    assert!(said.contains("--remove puts it back"), "{said}");
    assert_eq!(text(&checkout.kept()), ORIGINAL);
    let mode = |path: PathBuf| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(checkout.server()), mode(checkout.kept())), (0o755, 0o755));
    assert!(text(&checkout.server()).lines().count() < 60);
    // A second time changes nothing.
    let shim = text(&checkout.server());
    checkout.run(&[]).succeeded();
    assert_eq!((text(&checkout.server()), text(&checkout.kept())), (shim, ORIGINAL.to_owned()));
    assert_eq!(checkout.names(), ["collaboration_server.py", "collaboration_server.py.original"]);

    let port = free_port();
    let mut command = python();
    command.arg(checkout.server()).args(["--host", "127.0.0.1", "--port", &port]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COLLABD_") {
            command.env_remove(name);
        }
    }
    command.env("COLLABD_IN_MEMORY", "1");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut server = Server::spawn(command);
    assert_eq!(server.addr().port().to_string(), port);
    Client::join(&server, "default", "alice");
    // The process that the editor ends is collabd itself.
    assert_eq!(server.stop().status.code(), Some(0));

    checkout.run(&["--remove"]).succeeded();
    assert_eq!(text(&checkout.server()), ORIGINAL);
    assert_eq!(
        (checkout.names(), mode(checkout.server())),
        (vec!["collaboration_server.py".into()], 0o755)
    );
    let line = checkout.run(&["--remove"]).failed(1);
    assert!(line.contains("nothing is to be removed"), "{line}");
}

#[test]
fn an_editor_that_was_updated_is_kept_as_it_is_now() {
    let checkout = Checkout::new();
    checkout.run(&[]).succeeded();
    fs::write(checkout.server(), "# newer\n").expect("written");
    checkout.run(&[]).succeeded();
    assert_eq!(text(&checkout.kept()), "# newer\n");
    assert!(text(&checkout.server()).contains("# collabd-shim"));
}

#[test]
fn a_shim_is_never_kept_as_the_original() {
    let checkout = Checkout::new();
    checkout.run(&[]).succeeded();
    fs::remove_file(checkout.kept()).expect("removed");
    for more in [&[][..], &["--remove"]] {
        let line = checkout.run(more).failed(1);
        assert!(line.contains("git checkout tools/collaboration_server.py"), "{line}");
    }
    // A copy of it beside it is none either.
    fs::copy(checkout.server(), checkout.kept()).expect("copied");
    checkout.run(&["--remove"]).failed(1);
    assert!(text(&checkout.server()).contains("# collabd-shim"));
    // The server's own file is put back from what is kept, also where the shim is gone.
    fs::write(checkout.kept(), ORIGINAL).expect("written");
    fs::remove_file(checkout.server()).expect("removed");
    checkout.run(&["--remove"]).succeeded();
    assert_eq!(text(&checkout.server()), ORIGINAL);
}

#[test]
fn links_are_not_followed_and_other_folders_are_named() {
    let elsewhere = Checkout::new();
    for name in ["collaboration_server.py", "collaboration_server.py.original"] {
        let checkout = Checkout::new();
        let place = checkout.path().join("tools").join(name);
        let _ = fs::remove_file(&place);
        symlink(elsewhere.server(), &place).expect("a link");
        let line = checkout.run(&[]).failed(1);
        assert!(line.contains("is a link"), "{line}");
    }
    let checkout = Checkout::new();
    fs::rename(checkout.path().join("tools"), checkout.path().join("other")).expect("moved");
    symlink(checkout.path().join("other"), checkout.path().join("tools")).expect("a link");
    let line = checkout.run(&[]).failed(1);
    assert!(line.contains("is a link"), "{line}");
    assert_eq!(text(&elsewhere.server()), ORIGINAL);

    let folder = Folder::new();
    let line = Run::of(collabd(&["install-shim", &folder.typed("")])).failed(1);
    assert!(line.contains("checkout of Optiverse"), "{line}");
    fs::create_dir(folder.typed("tools")).expect("a folder");
    let line = Run::of(collabd(&["install-shim", &folder.typed("")])).failed(1);
    assert!(line.contains("there is no") && line.contains("checkout of Optiverse"), "{line}");
    Run::of(collabd(&["install-shim"])).failed(2);
}

#[test]
fn a_shim_whose_collabd_has_gone_says_so() {
    let checkout = Checkout::new();
    let copy = checkout.0.typed("collabd ü\" copy");
    fs::copy(env!("CARGO_BIN_EXE_collabd"), &copy).expect("copied");
    let mut command = Command::new(&copy);
    command.args(["install-shim", &checkout.0.typed("")]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Run::of(command).succeeded();
    let ask = || {
        let ran = python().arg(checkout.server()).arg("--version").output().expect("python runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    assert!(ask().1.starts_with("collabd "), "{:?}", ask());
    fs::remove_file(&copy).expect("removed");
    let (code, _, line) = ask();
    assert_eq!(code, Some(1));
    assert!(line.contains("there is no collabd at") && line.contains("--remove"), "{line}");
    fs::remove_file(checkout.kept()).expect("removed");
    let (_, _, line) = ask();
    assert!(line.contains("install it again") && !line.contains("--remove"), "{line}");
}
