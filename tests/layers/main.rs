//! The layers of the source: what each module may use, held against the `use` lines and paths that stand in it.
//! A module uses what stands below it and never what stands above, so no two use each other.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, the lowest first: each may use those before it.
const LAYERS: &[&str] = &[
    "os",
    "histogram",
    "files",
    "client",
    "protocol",
    "http",
    "logging",
    "auth",
    "journal",
    "hub",
    "store",
    "archive",
    "net",
    "persistence",
    "routes",
    "commands",
    "cli",
];

/// What the state machine must not know, and why: it is driven by events alone.
const NOT_IN_HUB: &[(&str, &str)] = &[
    ("std::net", "no socket"),
    ("std::fs", "no file"),
    ("std::thread", "no thread"),
    ("Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file below a directory with its code: without comments, and without the tests at its end.
fn files(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the source is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file");
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code: Vec<&str> =
                text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            found.push((path, code.join("\n")));
        }
    }
    found
}

/// The module of the top level that a file belongs to.
fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(source()).expect("below src");
    let first = relative.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that stand after `crate::` in a file, alone or in braces.
fn used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            None => drop(found.insert(name(part))),
            Some(list) => {
                let mut depth = 0;
                let mut begins = true;
                for (at, c) in list.char_indices() {
                    if depth == 0 && begins && !c.is_whitespace() {
                        found.insert(name(&list[at..]));
                        begins = false;
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' => begins = true,
                        _ => {}
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn every_module_uses_only_what_stands_below_it() {
    let height: BTreeMap<&str, usize> = LAYERS.iter().copied().zip(0..).collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, code) in files(&source()) {
        let module = module_of(&path);
        if ["lib", "main"].contains(&&*module) {
            continue;
        }
        let own = *height.get(&*module).unwrap_or_else(|| panic!("{module} has no layer"));
        seen.insert(module.clone());
        for other in used(&code).into_iter().filter(|other| *other != module) {
            if height.get(&*other).is_none_or(|height| *height >= own) {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let missing: Vec<_> = LAYERS.iter().filter(|layer| !seen.contains(**layer)).collect();
    assert!(missing.is_empty(), "there is no module {missing:?}");
}

/// Files are read one by one: two that use each other can only be understood together.
#[test]
fn no_files_use_each_other() {
    let files: Vec<_> = files(&source())
        .into_iter()
        .filter(|(path, _)| !path.ends_with("src/main.rs") && !is_of_tests(path))
        .map(|(path, code)| (imports::module_of(&source(), &path), code))
        .collect();
    let circles = imports::circles(&imports::imports(&files));
    assert!(circles.is_empty(), "{circles:#?}");
}

fn is_of_tests(path: &Path) -> bool {
    path.file_stem()
        .is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"))
}

/// The reader of paths finds circles through braces, `super` and what a module passes on.
#[test]
fn circles_are_found() {
    let files = |texts: [(&str, &str); 4]| {
        let split = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
        texts.map(|(module, code)| (split(module), code.to_owned()))
    };
    let circle = files([
        ("a", "pub use b::{B, C};"),
        ("a::b", "use super::c::{self, D};"),
        ("a::c", "use crate::{e, a::{B as Other}};"),
        ("e", "fn f() {}"),
    ]);
    assert_eq!(imports::circles(&imports::imports(&circle)), [["a::b", "a::c"]]);
    let none = files([
        ("a", "pub use b::B;"),
        ("a::b", "use super::super::e::E;"),
        ("a::c", "fn f() -> crate::a::B { self::g() }"),
        ("e", "const X: &str = stringify!(whatever::a);"),
    ]);
    assert!(imports::circles(&imports::imports(&none)).is_empty());
}

#[test]
fn the_hub_knows_no_socket_file_thread_or_clock() {
    let mut wrong = Vec::new();
    for (path, code) in files(&source().join("hub")) {
        for (word, why) in NOT_IN_HUB {
            if code.contains(word) {
                wrong.push(format!("{}: {word} ({why})", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_types_on_the_wire_know_nothing_of_ours() {
    for (path, code) in files(&source().join("protocol")) {
        let others: Vec<_> =
            used(&code).into_iter().filter(|module| module != "protocol").collect();
        assert!(others.is_empty(), "{} uses {others:?}", path.display());
    }
}

/// The lists above are held against lists in braces, too.
#[test]
fn names_in_braces_are_found() {
    let names: Vec<_> =
        used("use crate::{auth::{A, b}, http, net::service};\ncrate::hub::X").into_iter().collect();
    assert_eq!(names, ["auth", "http", "hub", "net"]);
}
