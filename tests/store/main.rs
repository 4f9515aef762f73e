//! The store by itself, on real disks and against real failures: what was committed is there again,
//! whatever happens in between, and what is not as it was written is refused.

#![cfg(feature = "durable")]

mod damage;
mod disks;
mod figures;
mod kills;
mod looking;
mod model;
mod numbers;
#[cfg(target_os = "linux")]
mod power;
mod properties;
mod refusals;
mod scratch;
mod waiting;
