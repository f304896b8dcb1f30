//! Weights of the sublayers of a transformer block, and the placement of its tokens.

use std::sync::Arc;

use candle_core::Tensor;

use crate::{RotaryTable, Segments};

/// Weights of the attention sublayer x + output·attention(rope(query·n), rope(key·n), value·n), n = norm(x). With query
/// and key norms, RoPE rotates the normed heads.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// The norm's weight: (hidden).
    pub norm: &'a Tensor,
    /// The norm's ε.
    pub epsilon: f64,
    /// (heads·d, hidden).
    pub query: &'a Tensor,
    /// (kv_heads·d, hidden).
    pub key: &'a Tensor,
    /// (kv_heads·d, hidden).
    pub value: &'a Tensor,
    /// (hidden, heads·d).
    pub output: &'a Tensor,
    /// The weights of the norms of each query and each key, with the same ε: (d) twice.
    pub query_key_norm: Option<(&'a Tensor, &'a Tensor)>,
}

/// Positions of tokens and the keys that each may attend to.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// The table of angles; twice its frequencies is the dimension of a head.
    pub rotary: &'a RotaryTable,
    /// The position of each token: batch × sequence.
    pub positions: &'a Arc<[u32]>,
    /// Visible keys of each token.
    pub segments: &'a Segments,
}

/// Weights of the feed-forward sublayer x + down·(silu(gate·n)·(up·n)), n = norm(x).
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a> {
    /// The norm's weight: (hidden).
    pub norm: &'a Tensor,
    /// The norm's ε.
    pub epsilon: f64,
    /// (intermediate, hidden).
    pub gate: &'a Tensor,
    /// (intermediate, hidden).
    pub up: &'a Tensor,
    /// (hidden, intermediate).
    pub down: &'a Tensor,
}
