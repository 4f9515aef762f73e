//! The tiny step by which a copy is moved aside when it is settled: an editor draws its rays only where
//! something moves.

use serde_json::value::RawValue;

use crate::protocol::json;

/// In millimetres.
pub const NUDGE_MM: f64 = 1e-6;

/// The `x_mm` that moves a copy aside; `None` if `x_mm` is no number.
pub fn nudged(x_mm: &RawValue) -> Option<Box<RawValue>> {
    let x_mm = json::as_number(x_mm)? + NUDGE_MM;
    RawValue::from_string(x_mm.to_string()).ok()
}
