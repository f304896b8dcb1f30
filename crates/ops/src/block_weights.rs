//! Weights of a transformer block's two sublayers, and the positions and visible keys of its tokens.

use std::sync::Arc;

use candle_core::Tensor;

use crate::{Projection, RotaryTable, Segments};

/// Weights of the attention sublayer, x + output·attention(rope(query·n), rope(key·n), value·n) with n = norm(x). If
/// there are query and key norms, they are applied to each head before RoPE.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// Weight of the norm: (hidden).
    pub norm: &'a Tensor,
    /// ε of the norm.
    pub epsilon: f64,
    /// Query projection: (heads·d, hidden).
    pub query: Projection<'a>,
    /// Key projection: (kv_heads·d, hidden).
    pub key: Projection<'a>,
    /// Value projection: (kv_heads·d, hidden).
    pub value: Projection<'a>,
    /// Output projection: (hidden, heads·d).
    pub output: Projection<'a>,
    /// Weights of the norm of each query head and of the norm of each key head, (d) each. Both norms use `epsilon`.
    pub query_key_norm: Option<(&'a Tensor, &'a Tensor)>,
}

/// Positions of the tokens, and the keys that each token attends to.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// RoPE angles. The table's number of frequencies is half the head dimension.
    pub rotary: &'a RotaryTable,
    /// Position of each token, row after row: batch × sequence.
    pub positions: &'a Arc<[u32]>,
    /// Keys that each token attends to.
    pub segments: &'a Segments,
}

/// Weights of the feed-forward sublayer, x + down·(silu(gate·n)·(up·n)) with n = norm(x).
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a> {
    /// Weight of the norm: (hidden).
    pub norm: &'a Tensor,
    /// ε of the norm.
    pub epsilon: f64,
    /// Gate projection: (intermediate, hidden).
    pub gate: Projection<'a>,
    /// Up projection: (intermediate, hidden).
    pub up: Projection<'a>,
    /// Down projection: (hidden, intermediate).
    pub down: Projection<'a>,
}
