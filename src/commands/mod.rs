//! What collabd can be told to do, one file a command.

pub mod check;
pub mod echo;
pub mod key;
mod listening;
pub mod serve;
