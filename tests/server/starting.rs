//! Starting the program: what it prints, what it can be told, and what it says when it can't.

use crate::support::{Client, Run, Server, Wire, collabd, free_port, handshake, nothing_more};
/// A start that fails with one line for a person.
fn fails(args: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = collabd(args);
    command.envs(variables.iter().copied());
    let run = Run::of(command);
    assert_eq!(run.out, "", "{args:?}");
    let line = run.err.strip_prefix("collabd: ").expect("who says it");
    assert_eq!(line.lines().count(), 1, "{line}");
    (run.code.expect("an exit code"), line.trim_end().to_owned())
}

#[test]
fn it_says_where_it_is() {
    let mut server = Server::start(&[]);
    let port = server.addr().port();
    assert_ne!(port, 0);
    let first = format!("collabd {} serves sessions", env!("CARGO_PKG_VERSION"));
    assert_eq!(server.printed, format!("{first}\nlistening on 127.0.0.1:{port}\n"));
    let join = server.prints();
    assert!(join.contains("Collaboration → Connect/Host Session…") && join.contains("Server URL"));
    assert_eq!(server.prints(), format!("  ws://127.0.0.1:{port}\n"));
    assert_eq!(server.prints(), format!("to watch, in a browser: http://127.0.0.1:{port}/\n"));
    assert_eq!(server.prints(), "tables are in memory only, and forgotten when it stops\n");
    assert_eq!(server.prints(), "Ctrl+C stops it\n");
}

#[test]
#[cfg(unix)]
fn it_opens_its_page_in_the_browser() {
    use std::os::unix::fs::PermissionsExt;
    let folder = crate::support::Folder::new();
    let (program, opened) = (folder.path().join("xdg-open"), folder.path().join("opened"));
    std::fs::write(&program, "#!/bin/sh\necho \"$1\" > \"$OPENED\"\n").expect("written");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its own");
    std::fs::copy(&program, folder.path().join("open")).expect("written");
    let mut command = collabd(&["--host", "0.0.0.0", "--port", "0", "--open"]);
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("OPENED", &opened);
    let server = Server::spawn(command);
    let page = format!("http://127.0.0.1:{}/\n", server.addr().port());
    while !std::fs::read_to_string(&opened).is_ok_and(|text| text == page) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn it_can_be_joined_as_soon_as_it_says_so() {
    for _ in 0..10 {
        let server = Server::start(&[]);
        Client::join(&server, "table", "alice").leave();
    }
}

#[test]
fn listening_on_all_addresses_it_names_those_that_others_can_type() {
    let mut server = Server::spawn(collabd(&["--host", "0.0.0.0", "--port", "0"]));
    let port = server.addr().port();
    assert!(server.prints().starts_with("to join, in Optiverse: "));
    let mut named = Vec::new();
    loop {
        let line = server.prints();
        let Some(address) = line.trim_end().strip_prefix("  ws://") else { break };
        named.push(address.to_owned());
    }
    assert!(!named.is_empty());
    for address in &named {
        assert!(
            address.ends_with(&format!(":{port}")) && !address.starts_with("0.0.0.0"),
            "{named:?}"
        );
    }
}

#[test]
fn the_editors_way_of_starting_it_works() {
    let port = free_port();
    let server = Server::spawn(collabd(&["--host", "127.0.0.1", "--port", &port]));
    assert_eq!(server.addr().to_string(), format!("127.0.0.1:{port}"));
    Client::join(&server, "table", "alice").leave();
}

#[test]
fn localhost_is_an_address() {
    let server = Server::spawn(collabd(&["--host", "localhost", "--port", "0"]));
    assert!(server.addr().ip().is_loopback());
    Client::join(&server, "table", "alice").leave();
}

#[test]
fn a_port_in_use_is_one_line_and_exit_1() {
    let server = Server::start(&[]);
    let port = server.addr().port().to_string();
    let (code, line) = fails(&["--host", "127.0.0.1", "--port", &port], &[]);
    assert_eq!(code, 1);
    assert!(line.contains(&port) && line.contains("in use") && line.contains("--port"), "{line}");
    let mut alice = Client::join(&server, "table", "alice");
    nothing_more([&mut alice]);
}

#[test]
fn an_address_of_another_machine_is_one_line_and_exit_1() {
    // TEST-NET-3 is nobody's.
    let (code, line) = fails(&["--host", "203.0.113.7", "--port", "0"], &[]);
    assert_eq!(code, 1);
    assert!(line.contains("203.0.113.7") && line.contains("0.0.0.0"), "{line}");
}

#[test]
fn a_log_file_that_cannot_be_written_is_one_line_and_exit_1() {
    let (code, line) = fails(&["--port", "0", "--log-file", "/no/such/directory/log"], &[]);
    assert_eq!(code, 1);
    assert!(line.contains("/no/such/directory/log"), "{line}");
}

#[test]
fn what_was_typed_wrong_is_one_line_and_exit_2() {
    for args in [
        &["--prot", "1"][..],
        &["--port"],
        &["--port", "x"],
        &["--port", "70000"],
        &["--port", "-1"],
        &["--linger", "soon"],
        &["--no-settle=yes"],
        &["-x"],
        &["bake"],
        &["serve", "twice"],
        &["check"],
        &["echo", "--linger", "1"],
        &["--max-connections", "many"],
        &["--max-message-bytes", "1TB"],
        &["--handshake-timeout", "-1"],
        &["--queue-bytes", "1"],
        &["--port", "1\n2"],
    ] {
        let (code, line) = fails(args, &[]);
        assert_eq!(code, 2, "{args:?}: {line}");
    }
    for variable in [("COLLABD_PORT", "x"), ("COLLABD_DEBUG", "perhaps"), ("COLLABD_LINGER", "-1")]
    {
        let (code, line) = fails(&[], &[variable]);
        assert_eq!(code, 2, "{variable:?}: {line}");
        assert!(line.contains(variable.0), "{line}");
    }
}

#[test]
fn help_of_a_command_lists_its_options_and_exits_with_0() {
    for help in [&["serve", "--help"][..], &["serve", "-h"], &["help", "serve"]] {
        let run = Run::of(collabd(help));
        assert_eq!((run.code, &*run.err), (Some(0), ""));
        for option in [
            "--host",
            "--port",
            "--debug",
            "--log-file",
            "--max-connections",
            "--handshake-timeout",
            "--writer-threads",
            "--linger",
            "--max-sessions",
            "--max-message-bytes",
            "--max-document-bytes",
            "--history-changes",
            "--history-bytes",
            "--queue-bytes",
            "--no-settle",
        ] {
            assert!(run.out.contains(option), "{option} is missing in:\n{}", run.out);
        }
        for default in ["8765", "0.0.0.0", "1MiB", "600"] {
            assert!(run.out.contains(default), "{default} is missing in:\n{}", run.out);
        }
    }
}

#[test]
fn version_begins_with_one_line() {
    for version in ["--version", "-V"] {
        let run = Run::of(collabd(&[version]));
        let line = format!("collabd {}", env!("CARGO_PKG_VERSION"));
        assert_eq!((run.code, run.out.lines().next()), (Some(0), Some(&*line)));
    }
}

#[test]
fn every_option_is_an_environment_variable_too() {
    let mut command = collabd(&[]);
    command.envs([
        ("COLLABD_HOST", "127.0.0.1"),
        ("COLLABD_PORT", "0"),
        ("COLLABD_MAX_CONNECTIONS", "1"),
    ]);
    let server = Server::spawn(command);
    assert!(server.addr().ip().is_loopback());
    let _alice = Client::join(&server, "table", "alice");
    assert_eq!(Wire::ask(&server, &handshake("/ws/table/bob")).status, 503);
}

#[test]
fn what_is_typed_stands_above_the_environment() {
    let mut command = collabd(&["--host", "127.0.0.1", "--port", "0"]);
    command.envs([("COLLABD_HOST", "203.0.113.7"), ("COLLABD_PORT", "1"), ("COLLABD_LINGER", "")]);
    let server = Server::spawn(command);
    Client::join(&server, "table", "alice").leave();
}

#[test]
fn nobody_has_to_read_what_it_prints() {
    let mut command = collabd(&["--host", "127.0.0.1", "--port", "0"]);
    command.stdout(std::process::Stdio::null());
    // Where it listens is only known from the log then.
    let mut child = command.spawn().expect("collabd starts");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("a piped stderr"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut log, &mut line).expect("UTF-8");
    let addr = line.trim_end().rsplit(' ').next().expect("an address").to_owned();
    let connected = std::net::TcpStream::connect(&addr);
    child.kill().expect("it still runs");
    child.wait().expect("an exit status");
    assert!(connected.is_ok(), "{line}");
}

#[test]
#[cfg(unix)]
fn bash_completes_commands_and_options() {
    let offers = |typed: &[&str]| {
        let words = typed.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let script = format!(
            "source <(\"$0\" completions bash)\nCOMP_WORDS=(collabd {words})\nCOMP_CWORD={}\n\
             _collabd collabd '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            typed.len(),
            typed.last().unwrap_or(&"")
        );
        let done = std::process::Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_collabd")])
            .current_dir(std::env::temp_dir())
            .output()
            .expect("bash runs");
        assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    assert!(offers(&["se"]).contains("serve\nsessions\n"), "{}", offers(&["se"]));
    assert_eq!(offers(&["sessions", "im"]), "import\n");
    assert!(offers(&["sessions", "import", "a", "--rep"]).starts_with("--replace\n"));
    assert!(offers(&["--data-d"]).contains("--data-dir\n"));
}
