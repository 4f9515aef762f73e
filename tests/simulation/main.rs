//! Seeded simulation of whole sessions: editors with the real one's habits and bugs, links that
//! delay, cables that are pulled. In the end every canvas has to equal the document.

#![allow(dead_code, reason = "the world follows")]

mod editor;
mod python;
mod random;
