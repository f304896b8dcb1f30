//! Launches of the attention kernels on heads in memory.

use std::cell::LazyCell;

use candle_core::{DType, Device, Result, Tensor};

use super::counts::Class;
use super::launch::Launch;
use super::memory::{Buffer, Span, span};
use super::source::{ATTENTION_BACKWARD, ATTENTION_F32, ATTENTION_FORWARD, Kernel, Source};
use crate::Segments;

/// Threads of a block.
const THREADS: usize = 128;

/// Returns true if there are kernels for heads of this dimension.
pub(crate) fn attends(head_dim: usize) -> bool {
    head_dim > 0 && head_dim <= 128 && head_dim.is_multiple_of(8)
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
    /// Type of queries, keys, values, output and gradients: bf16 for tensor cores, or f32.
    pub dtype: DType,
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
    /// Computes the output, (batch, queries, heads, d), and the log-sums, (batch, heads, queries).
    pub fn attend(
        &self,
        [q, k, v]: [Span; 3],
        segments: &Segments,
        device: &Device,
    ) -> Result<[Tensor; 2]> {
        let shape = (self.batch, self.queries, self.heads, self.head_dim);
        let y = Buffer::new(shape, self.dtype, device)?;
        let log_sums = Buffer::new((self.batch, self.heads, self.queries), DType::F32, device)?;
        let kernel = self.kernel(
            &ATTENTION_FORWARD,
            ["attention_forward", "attention_forward_f32"],
        );
        let grid = [self.queries.div_ceil(self.rows()), self.heads, self.batch];
        let launch = Launch::new(kernel, grid)
            .classes(self.query_blocks(segments))
            .threads(THREADS)
            .shared(self.shared([1, 2], 1));
        let launch = self
            .factors(launch, [q, k, v])
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
        let kernel = self.kernel(
            &ATTENTION_BACKWARD,
            ["attention_shares", "attention_shares_f32"],
        );
        let rows = self.batch * self.queries * self.heads;
        let launch = Launch::rows_by(THREADS, kernel, rows)
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
        let kernel = self.kernel(&ATTENTION_BACKWARD, ["attention_dq", "attention_dq_f32"]);
        let grid = [self.queries.div_ceil(self.rows()), self.heads, self.batch];
        let launch = Launch::new(kernel, grid)
            .classes(self.query_blocks(saved.segments))
            .shared(self.shared([2, 2], 1));
        let launch = self
            .operands(launch, saved)?
            .tensor(&saved.segments.starts_on(device)?)?
            .tensor(saved.log_sums)?
            .tensor(saved.shares)?
            .strided(of_queries, self.query_bytes());
        // SAFETY: all have the dimensions of `self`.
        unsafe { self.arguments(launch)?.run(device) }
    }

    /// Writes the gradients of keys and values, whose rows are as far apart as those of the keys.
    pub fn key_gradients(&self, saved: &Saved, [of_keys, of_values]: [Span; 2]) -> Result<()> {
        let device = saved.gradient.device();
        let kernel = self.kernel(
            &ATTENTION_BACKWARD,
            ["attention_dkdv", "attention_dkdv_f32"],
        );
        let grid = [self.keys.div_ceil(self.rows()), self.kv_heads, self.batch];
        let launch = Launch::new(kernel, grid)
            .classes(self.key_blocks(saved.segments))
            .shared(self.shared([2, 2], 2));
        let launch = self
            .operands(launch, saved)?
            .tensor(&saved.segments.starts_on(device)?)?
            .tensor(&saved.segments.ends_on(device)?)?
            .tensor(saved.log_sums)?
            .tensor(saved.shares)?
            .strided(of_keys, self.key_bytes())
            .strided(of_values, self.key_bytes());
        // SAFETY: all have the dimensions of `self`.
        unsafe { self.arguments(launch)?.run(device) }
    }

    /// Returns a kernel for these heads: the first name is of a kernel on tensor cores, in `source`, the second of one
    /// in f32.
    fn kernel(&self, source: &'static Source, names: [&'static str; 2]) -> Kernel {
        match self.dtype {
            DType::F32 => ATTENTION_F32.kernel_of_heads(names[1], self.head_dim),
            _ => source.kernel_of_heads(names[0], self.head_dim),
        }
    }

    /// Returns the bytes of shared memory of a kernel: `blocks` tensors with the block's rows, and `tiles` with those
    /// of a tile. On tensor cores a tile is there twice, and so are two numbers for each of its rows, if there are two
    /// kinds of weights; in f32 `weights` kinds of them lie there.
    fn shared(&self, [blocks, tiles]: [usize; 2], weights: usize) -> usize {
        let (rows, tile) = (self.rows(), self.tile());
        if self.dtype == DType::F32 {
            let elements = (blocks * rows + tiles * tile) * (self.head_dim + 1);
            return 4 * (elements + weights * rows * (tile + 1));
        }
        let padded = self.head_dim.next_multiple_of(16);
        let numbers = (weights - 1) * 4 * tile * 4;
        (blocks * rows + 2 * tiles * tile) * (padded + 8) * 2 + numbers
    }

    /// Returns the rows of a block.
    fn rows(&self) -> usize {
        match self.dtype == DType::F32 && self.head_dim > 64 {
            true => 32,
            false => 64,
        }
    }

    /// Returns the rows of the tiles that a block goes through.
    fn tile(&self) -> usize {
        match self.dtype == DType::F32 || self.head_dim > 64 {
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

    /// Adds queries, keys and values.
    fn factors(&self, launch: Launch, [q, k, v]: [Span; 3]) -> Launch {
        launch
            .strided(q, self.query_bytes())
            .strided(k, self.key_bytes())
            .strided(v, self.key_bytes())
    }

    /// Adds the operands that both kernels of the backward pass begin with.
    fn operands(&self, launch: Launch, saved: &Saved) -> Result<Launch> {
        let launch = self.factors(launch.threads(THREADS), saved.factors);
        Ok(launch.span(span(saved.gradient)?))
    }

    /// Returns the bytes of all queries.
    fn query_bytes(&self) -> u64 {
        let elements = self.batch * self.queries * self.heads * self.head_dim;
        (elements * self.dtype.size_in_bytes()) as u64
    }

    /// Returns the bytes of all keys.
    fn key_bytes(&self) -> u64 {
        let elements = self.batch * self.keys * self.kv_heads * self.head_dim;
        (elements * self.dtype.size_in_bytes()) as u64
    }

    /// Names the work of a block of queries: its rows, and those of the tiles of keys that it goes through.
    fn query_blocks(&self, segments: &Segments) -> impl Fn([usize; 3]) -> Class + use<> {
        let (heads, segments, tile) = (*self, segments.clone(), self.tile());
        let blocks = self.queries.div_ceil(self.rows());
        move |[x, _, row]| {
            let first = (blocks - 1 - x) * heads.rows();
            let end = (first + heads.rows()).min(heads.queries);
            let begin = segments.visible(row, first).start / tile * tile;
            let past = (segments.visible(row, end - 1).end).next_multiple_of(tile);
            let keys = past.min(heads.keys) - begin;
            [(end - first) as u64, keys as u64, (past - begin) as u64, 0]
        }
    }

    /// Names the work of a block of keys: its rows, those of the tiles of queries that it goes through, and where these
    /// stand to the keys.
    fn key_blocks(&self, segments: &Segments) -> impl Fn([usize; 3]) -> Class + use<> {
        let (heads, tile) = (*self, self.tile());
        let segments = segments.clone();
        let ends = LazyCell::new(move || segments.last_queries());
        move |[x, _, row]| {
            let first = x * heads.rows();
            let end = (first + heads.rows()).min(heads.keys);
            let offset = heads.keys - heads.queries;
            let begin = first.saturating_sub(offset) / tile * tile;
            let last = ends[row * heads.keys + end - 1] as usize;
            let past = last.next_multiple_of(tile).max(begin);
            let queries = past.min(heads.queries).saturating_sub(begin);
            let apart = begin + offset - first.min(begin + offset);
            let before = first - first.min(begin + offset);
            [
                (end - first) as u64,
                queries as u64,
                (past - begin) as u64,
                (apart + (before << 32)) as u64,
            ]
        }
    }
}
