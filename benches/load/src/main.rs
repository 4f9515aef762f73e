//! The load generator: plays the clients of one server, one workload a run, and prints what it saw
//! as one line of JSON. One thread, non-blocking sockets, no WebSocket library: the server is to be
//! the slower of the two.
//!
//! `load WORKLOAD addr=127.0.0.1:PORT pid=PID [name=value …]`; the workloads and their parameters are
//! in `workloads.rs`, `confirm.rs`, `open.rs` and `waiting.rs`.

mod arguments;
mod attack;
mod client;
mod confirm;
mod histogram;
mod message;
mod open;
mod pair;
mod process;
mod scripted;
mod swarm;
mod tally;
mod waiting;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let workload = arguments.next().unwrap_or_default();
    let result = arguments::Arguments::read(arguments)
        .and_then(|arguments| workloads::run(&workload, &arguments));
    match result {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load {workload}: {error}");
            ExitCode::FAILURE
        }
    }
}
