//! The charts of this report alone.

mod curves;
mod forest;

pub use curves::curve;
pub use forest::{Width, forest};
