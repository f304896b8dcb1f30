//! Output projection and loss in one operation, for a few rows of logits at a time.
//!
//! Read `rows` first (logits of some rows and their gradients), then `cross_entropy` and `distillation`. `gradients`
//! holds the gradients that the forward pass computes.

mod cross_entropy;
mod distillation;
mod gradients;
mod rows;

pub(crate) use self::cross_entropy::{cross_entropy, cross_entropy_distilled, score};
pub(crate) use self::distillation::distillation;
pub(crate) use self::rows::LOGIT_ROWS;
