//! Optimizer step: AdamW and Muon, the quadratic penalty that is added to a gradient, and the gradient norm.
//!
//! Read `adamw` with its state in `moments` first, then `muon`.

mod adamw;
mod gradient_norm;
pub(crate) mod moments;
mod muon;
pub(crate) mod newton_schulz;
mod pull;

pub use self::adamw::{AdamW, AdamWUpdate, UpdateAt};
pub use self::gradient_norm::gradient_norm;
pub use self::moments::{MomentValues, Moments};
pub use self::muon::{Muon, MuonUpdate};
pub use self::pull::Pull;
