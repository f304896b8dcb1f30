//! Launches of the attention kernels on heads in memory.

use candle_core::{DType, Device, Result, Tensor};

use super::launch::Launch;
use super::memory::{Buffer, Span, span};
use super::source::{ATTENTION_BACKWARD, ATTENTION_FORWARD};
use crate::{Precision, Segments};

/// Rows of a block, and threads of one.
const ROWS: usize = 64;
const THREADS: usize = 128;

/// Returns true if there are kernels for heads of this dimension at this precision.
pub(crate) fn attends(head_dim: usize, precision: Precision) -> bool {
    precision == Precision::Bf16 && head_dim > 0 && head_dim <= 128 && head_dim.is_multiple_of(8)
}

/// Dimensions of a call, and the distances of its rows in elements.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub batch: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub query_stride: usize,
    pub key_stride: usize,
}

/// Operands of the backward pass.
pub(super) struct Saved<'a> {
    /// Queries, keys and values.
    pub factors: [Span; 3],
    /// Rounded gradient of the output.
    pub gradient: &'a Tensor,
    pub log_sums: &'a Tensor,
    pub shares: &'a Tensor,
    pub segments: &'a Segments,
}

impl Heads {
    /// Computes the output, (batch, queries, heads, d) in bf16, and the log-sums, (batch, heads, queries).
    pub fn attend(
        &self,
        [q, k, v]: [Span; 3],
        segments: &Segments,
        device: &Device,
    ) -> Result<[Tensor; 2]> {
        let shape = (self.batch, self.queries, self.heads, self.head_dim);
        let y = Buffer::new(shape, DType::BF16, device)?;
        let log_sums = Buffer::new((self.batch, self.heads, self.queries), DType::F32, device)?;
        let kernel = ATTENTION_FORWARD.kernel_of_heads("attention_forward", self.head_dim);
        let grid = [self.queries.div_ceil(ROWS), self.heads, self.batch];
        let launch = Launch::new(kernel, grid)
            .threads(THREADS)
            .shared(self.shared(1, 4))
            .span(q)
            .span(k)
            .span(v)
            .tensor(&segments.starts_on(device)?)?
            .buffer(&y)?
            .buffer(&log_sums)?;
        // SAFETY: the factors have the dimensions of `self`, and every query sees a key.
        unsafe { self.arguments(launch)?.run(device)? };
        Ok([y.into_tensor(), log_sums.into_tensor()])
    }

    /// Returns Σ dy∘y of each query and head: (batch, heads, queries).
    pub fn shares(&self, y: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let shape = (self.batch, self.heads, self.queries);
        let shares = Buffer::new(shape, DType::F32, y.device())?;
        let kernel = ATTENTION_BACKWARD.kernel_of_heads("attention_shares", self.head_dim);
        let rows = self.batch * self.queries * self.heads;
        let launch = Launch::new(kernel, [rows.div_ceil(THREADS / 32), 1, 1])
            .threads(THREADS)
            .tensor(y)?
            .tensor(gradient)?
            .buffer(&shares)?
            .int(self.batch)?
            .int(self.queries)?
            .int(self.heads)?;
        // SAFETY: y and its gradient have the dimensions of `self`.
        unsafe { launch.run(y.device())? };
        Ok(shares.into_tensor())
    }

    /// Writes the gradient of the queries, whose rows are as far apart as those of the queries.
    pub fn query_gradient(&self, saved: &Saved, of_queries: Span) -> Result<()> {
        let device = saved.gradient.device();
        let kernel = ATTENTION_BACKWARD.kernel_of_heads("attention_dq", self.head_dim);
        let grid = [self.queries.div_ceil(ROWS), self.heads, self.batch];
        let launch = saved
            .launch(Launch::new(kernel, grid).shared(self.shared(2, 4)))?
            .tensor(&saved.segments.starts_on(device)?)?
            .tensor(saved.log_sums)?
            .tensor(saved.shares)?
            .span(of_queries);
        // SAFETY: all have the dimensions of `self`.
        unsafe { self.arguments(launch)?.run(device) }
    }

    /// Writes the gradients of keys and values, whose rows are as far apart as those of the keys.
    pub fn key_gradients(&self, saved: &Saved, [of_keys, of_values]: [Span; 2]) -> Result<()> {
        let device = saved.gradient.device();
        let kernel = ATTENTION_BACKWARD.kernel_of_heads("attention_dkdv", self.head_dim);
        let grid = [self.keys.div_ceil(ROWS), self.kv_heads, self.batch];
        let numbers = 4 * self.tile() * 4;
        let launch = saved
            .launch(Launch::new(kernel, grid).shared(self.shared(2, 4) + numbers))?
            .tensor(&saved.segments.starts_on(device)?)?
            .tensor(&saved.segments.ends_on(device)?)?
            .tensor(saved.log_sums)?
            .tensor(saved.shares)?
            .span(of_keys)
            .span(of_values);
        // SAFETY: all have the dimensions of `self`.
        unsafe { self.arguments(launch)?.run(device) }
    }

    /// Returns the bytes of `blocks` tiles of a block's rows and `tiles` of those that it goes through.
    fn shared(&self, blocks: usize, tiles: usize) -> usize {
        let padded = self.head_dim.next_multiple_of(16);
        (blocks * ROWS + tiles * self.tile()) * (padded + 8) * 2
    }

    /// Returns the rows of the tiles that a block goes through.
    fn tile(&self) -> usize {
        match self.head_dim > 64 {
            true => 32,
            false => 64,
        }
    }

    /// Adds the numbers that all kernels take.
    fn arguments(&self, launch: Launch) -> Result<Launch> {
        Ok(launch
            .int(self.queries)?
            .int(self.keys)?
            .int(self.heads)?
            .int(self.heads / self.kv_heads)?
            .int(self.query_stride)?
            .int(self.key_stride)?
            .float(1.0 / (self.head_dim as f64).sqrt()))
    }
}

impl Saved<'_> {
    /// Adds the operands that both kernels of the backward pass begin with.
    fn launch(&self, launch: Launch) -> Result<Launch> {
        let [q, k, v] = self.factors;
        Ok(launch
            .threads(THREADS)
            .span(q)
            .span(k)
            .span(v)
            .span(span(self.gradient)?))
    }
}
