//! Transformer sublayers, each fused into one Candle operation: norm, arithmetic and residual.
//!
//! Read `sublayer` (the operation around the arithmetic) and `weights` (how more than three weights pass through
//! Candle's graph) first, then `feed_forward` and `self_attention`. `branches` (adapters), `row_blocks`, `residual` and
//! `head_norm` are their parts.

mod branch_rows;
mod branches;
mod feed_forward;
mod group;
mod head_norm;
mod residual;
mod row_blocks;
mod self_attention;
mod sublayer;
mod weights;

pub(crate) use self::feed_forward::{FEED_FORWARD_ROWS, feed_forward};
pub(crate) use self::self_attention::self_attention;
