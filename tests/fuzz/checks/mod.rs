//! What has to hold for any bytes at all, as plain functions: each panics where it doesn't.
//!
//! `cargo fuzz` calls them with what libFuzzer makes up (`tests/fuzz/targets/`); `make test` with the
//! corpus and with a few thousand variations of it (`tests/fuzz_corpus/`).

pub mod frames;
mod growth;
mod json;
pub mod keyfile;
mod marks;
pub mod message;
pub mod request;
pub mod rig;
mod script;
pub mod session;
mod shape;
pub mod witness;
