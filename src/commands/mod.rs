//! What collabd can be told to do, one file a command.

pub mod check;
pub mod echo;
mod listening;
pub mod serve;
