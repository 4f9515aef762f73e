//! The fuzz targets' checks without a fuzzer: every input of the corpus, and a few thousand seeded
//! variations of them, so that a break is noticed where libFuzzer doesn't run.
//!
//! `FUZZ_SEED=17 FUZZ_RUNS=100000 cargo test --release --test fuzz_corpus` runs others, and more of
//! them; what fails is printed.

#[path = "../fuzz/checks/mod.rs"]
mod checks;
mod vary;
mod witness;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use vary::Variations;

/// How many variations of each target's inputs are tried where nothing else is asked for.
const RUNS: u64 = 2000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a whole number"))
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name)
}

/// A target's inputs by their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder("corpus").join(target)).expect("a corpus");
    let mut inputs: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("an input"))
        })
        .collect();
    inputs.sort();
    inputs
}

fn holds_for_all(target: &str, check: fn(&[u8])) {
    let inputs = corpus(target);
    assert!(inputs.len() > 10, "hardly a corpus");
    for (name, input) in &inputs {
        assert!(catch_unwind(|| check(input)).is_ok(), "{target}: {name}");
    }
    let dictionary = fs::read(folder("dictionaries").join(format!("{target}.dict")));
    let words = vary::words(&dictionary.expect("a dictionary"));
    assert!(words.len() > 10);
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let inputs = inputs.into_iter().map(|(_, input)| input).collect();
    let variations = Variations::new(inputs, words, seed);
    for (run, input) in (0..number("FUZZ_RUNS").unwrap_or(RUNS)).zip(variations) {
        if catch_unwind(|| check(&input)).is_err() {
            let file = std::env::temp_dir().join(format!("collabd-{target}-{seed}-{run}"));
            fs::write(&file, &input).expect("it can be written");
            let shown = input.escape_ascii();
            panic!("{target}, seed {seed}, run {run}: {} is {shown}", file.display());
        }
    }
}

#[test]
fn requests() {
    holds_for_all("request", checks::request::check);
}

#[test]
fn messages_of_the_session_protocol() {
    holds_for_all("member", checks::message::check_member);
}

#[test]
fn messages_of_the_client_protocol() {
    holds_for_all("client", checks::message::check_client);
}

#[test]
fn sessions_and_channels_side_by_side() {
    holds_for_all("session", checks::session::check);
}

#[test]
fn key_files() {
    holds_for_all("keyfile", checks::keyfile::check);
}

#[test]
fn frames() {
    holds_for_all("frames", checks::frames::check);
}
