//! Of commands and flags as they are typed.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::commands::serve;

fn parse_with(words: &str, environment: &[(&str, &str)]) -> Result<Command, Usage> {
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    parse(words.split_whitespace().map(OsString::from), |name| {
        environment.get(name).map(OsString::from)
    })
}

fn serve(words: &str, environment: &[(&str, &str)]) -> serve::Options {
    match parse_with(words, environment) {
        Ok(Command::Serve(options)) => *options,
        other => panic!("{words}: {other:?}"),
    }
}

#[test]
fn bare_it_serves_as_the_earlier_servers_did() {
    let options = serve("", &[]);
    assert_eq!((options.listen.host.as_str(), options.listen.port), ("0.0.0.0", 8765));
    assert_eq!(options.limits.linger, Duration::from_secs(600));
    assert_eq!(options.config.max_message_bytes, 1 << 20);
    assert!(options.limits.settle && !options.listen.debug);
    let options = serve("--host localhost --port 9000 --debug", &[]);
    assert_eq!((options.listen.host.as_str(), options.listen.port), ("localhost", 9000));
    assert!(options.listen.debug);
}

#[test]
fn what_is_typed_stands_above_the_environment() {
    let environment = [("COLLABD_PORT", "1"), ("COLLABD_NO_SETTLE", "1"), ("COLLABD_DEBUG", "0")];
    let options = serve("serve --port=2 --linger 1.5", &environment);
    assert_eq!(options.listen.port, 2);
    assert_eq!(options.limits.linger, Duration::from_millis(1500));
    assert!(!options.limits.settle && !options.listen.debug);
    assert_eq!(serve("", &environment).listen.port, 1);
}

#[cfg(feature = "durable")]
#[test]
fn where_sessions_are_stored() {
    use serve::Storage;
    let place = |words: &str, environment: &[(&str, &str)]| serve(words, environment).storage.place;
    let chosen = |path: &str| Storage::Chosen(path.into());
    let (data, memory) = (("COLLABD_DATA_DIR", "there"), ("COLLABD_IN_MEMORY", "1"));
    assert_eq!(place("--data-dir here", &[data, memory]), chosen("here"));
    assert_eq!(place("--in-memory", &[data]), Storage::InMemory);
    assert_eq!(place("", &[data]), chosen("there"));
    assert_eq!(place("", &[memory]), Storage::InMemory);
    let state = [("STATE_DIRECTORY", "/var/lib/collabd")];
    assert_eq!(place("", &state), Storage::Default(Some("/var/lib/collabd".into())));
    assert_eq!(place("", &[]), Storage::Default(None));
    for (words, environment) in [("--data-dir a --in-memory", &[][..]), ("", &[data, memory])] {
        assert!(parse_with(words, environment).is_err(), "{words}");
    }
}

#[cfg(feature = "durable")]
#[test]
fn where_sessions_are_stored_is_said_by_the_environment_before_the_file() {
    use serve::Storage;
    let file = std::env::temp_dir().join(format!("collabd-cli-{}.toml", std::process::id()));
    let config = format!("--config {}", file.display());
    let place = |words: &str, environment: &[(&str, &str)]| {
        serve(&format!("{config} {words}"), environment).storage.place
    };
    let chosen = |path: &str| Storage::Chosen(path.into());
    let (data, memory) = (("COLLABD_DATA_DIR", "there"), ("COLLABD_IN_MEMORY", "1"));
    std::fs::write(&file, "data-dir = \"filed\"").expect("written");
    assert_eq!(place("", &[]), chosen("filed"));
    assert_eq!(place("", &[memory]), Storage::InMemory);
    assert_eq!(place("--in-memory", &[]), Storage::InMemory);
    std::fs::write(&file, "in-memory = true").expect("written");
    assert_eq!(place("", &[data]), chosen("there"));
    assert_eq!(place("--data-dir here", &[]), chosen("here"));
    std::fs::write(&file, "in-memory = true\ndata-dir = \"filed\"").expect("written");
    let Usage(line) = parse_with(&config, &[]).expect_err("both");
    assert!(line.contains("in the configuration file"), "{line}");
    // No part of a file is taken for all of it.
    let large = format!("{}\nin-memory = true", "#".repeat(1 << 20));
    std::fs::write(&file, large).expect("written");
    let Usage(line) = parse_with(&config, &[]).expect_err("too large");
    assert!(line.contains("too large"), "{line}");
    std::fs::remove_file(&file).expect("removed");
}

#[test]
fn times_and_sizes_have_units() {
    let options = serve("--linger 2h --max-message-bytes 64KiB --history-bytes 4096", &[]);
    assert_eq!(options.limits.linger, Duration::from_secs(7200));
    assert_eq!(options.config.max_message_bytes, 65_536);
    assert_eq!(options.limits.history.bytes, 4096);
}

#[test]
fn nothing_turns_a_limit_off() {
    let options = serve("", &[]);
    assert_eq!(options.config.handshake_timeout, Some(Duration::from_secs(10)));
    assert_eq!(options.config.queue_bytes, Some(8 << 20));
    let options = serve("--handshake-timeout 0 --queue-bytes 0", &[]);
    assert_eq!(options.config.handshake_timeout, None);
    assert_eq!(options.config.queue_bytes, None);
    // However large the document is.
    let options = serve("--queue-bytes 0 --max-document-bytes 1GiB", &[]);
    assert_eq!(options.config.queue_bytes, None);
    let environment = [("COLLABD_QUEUE_BYTES", "0"), ("COLLABD_HANDSHAKE_TIMEOUT", "0s")];
    let options = serve("", &environment);
    assert!(options.config.queue_bytes.is_none() && options.config.handshake_timeout.is_none());
}

#[test]
fn lists_are_typed_once_or_often() {
    let environment = [("COLLABD_TRUST_PROXY", "10.0.0.1,10.0.0.2")];
    let proxies = |words| serve(words, &environment).config.trusted_proxies.len();
    assert_eq!(proxies(""), 2);
    assert_eq!(proxies("--trust-proxy ::1"), 1);
    assert_eq!(proxies("--trust-proxy ::1 --trust-proxy 10.0.0.1,10.0.0.3"), 3);
}

#[test]
fn what_makes_no_sense_is_answered_with_one_line() {
    for words in [
        "--prot 1",
        "-p 1",
        "--port",
        "--port x",
        "--port 70000",
        "--linger -1",
        "--linger soon",
        "--debug=1",
        "bake",
        "serve twice",
        "check",
        "check a b",
        "echo --linger 1",
        "check a --port 1",
        "--queue-bytes 1KiB",
        "--max-message-bytes 3",
        "--handshake-timeout -1",
        "--queue-bytes 1KiB --max-document-bytes 1KiB",
        "--queue-bytes 1023 --max-document-bytes 0",
        "--idle-timeout 30",
        "--history-bytes 99999GiB",
        "--linger nan",
        "--linger 1e300",
        "--require-key",
        "--allow-origin lab",
        "--trust-proxy proxy",
    ] {
        let Usage(line) = parse_with(words, &[]).expect_err(words);
        assert!(!line.contains('\n') && !line.is_empty(), "{words}: {line}");
    }
    assert!(parse_with("", &[("COLLABD_DEBUG", "perhaps")]).is_err());
    assert!(parse_with("", &[("COLLABD_PORT", "perhaps")]).is_err());
}

#[test]
fn a_file_sets_what_neither_the_line_nor_the_environment_sets() {
    let folder = std::env::temp_dir().join(format!("collabd-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory");
    let file = folder.join("collabd.toml");
    let text = "port = 1\nlinger = \"2h\"\ndebug = true\nno-settle = false\n\
                allow-origin = [\"http://a\", \"http://b\"]\n";
    std::fs::write(&file, text).expect("written");
    let path = file.display().to_string();
    let environment = [("COLLABD_CONFIG", &*path), ("COLLABD_PORT", "2")];
    let options = serve("", &environment);
    assert_eq!((options.listen.port, options.listen.debug), (2, true));
    assert_eq!(options.limits.linger, Duration::from_secs(7200));
    assert!(options.limits.settle);
    assert_eq!(serve("--port 3", &environment).listen.port, 3);
    assert!(!serve("", &[("COLLABD_CONFIG", &*path), ("COLLABD_DEBUG", "0")]).listen.debug);

    let checked = |words: &str| match parse_with(words, &environment) {
        Ok(Command::Print(table)) => table,
        other => panic!("{other:?}"),
    };
    let table = checked("config check --host ::1");
    let line = |name: &str| {
        let line = table.lines().find(|line| line.split(' ').next() == Some(name));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>()).expect(name)
    };
    assert_eq!(line("host"), ["host", "::1", "typed"]);
    assert_eq!(line("port"), ["port", "2", "COLLABD_PORT"]);
    assert_eq!(line("linger"), ["linger", "2h", &path]);
    assert_eq!(line("no-settle"), ["no-settle", "off", &path]);
    assert_eq!(line("allow-origin"), ["allow-origin", "http://a,http://b", &path]);
    assert_eq!(line("max-sessions"), ["max-sessions", "1000", "default"]);

    std::fs::write(&file, "port = \"x\"\n").expect("written");
    let Err(Usage(line)) = parse_with("", &[("COLLABD_CONFIG", &*path)]) else { panic!("no port") };
    assert!(line.contains(&path) && line.contains("port has to be"), "{line}");
    std::fs::remove_dir_all(&folder).expect("removed");
    let Err(Usage(line)) = parse_with("", &[("COLLABD_CONFIG", &*path)]) else { panic!("no file") };
    assert!(line.contains("can't read"), "{line}");
}

#[test]
fn help_is_of_the_command_whose_words_are_typed() {
    for (words, begins) in [
        ("--help", "collabd: people"),
        ("help", "collabd: people"),
        ("serve --port 1 -h", "Usage: collabd serve"),
        ("help sessions import", "Usage: collabd sessions import"),
        ("sessions import --help", "Usage: collabd sessions import"),
        ("help nonsense", "collabd: people"),
    ] {
        match parse_with(words, &[]) {
            Ok(Command::Print(page)) => assert!(page.starts_with(begins), "{words}: {page}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}
