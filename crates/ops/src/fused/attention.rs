//! Causal attention over packed documents, as a Candle operation.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};

use super::attention_backward::{BackwardHead, Gradients, Place};
use super::attention_forward::ForwardHead;
use super::buffer::{Shared, filled};
use super::format::Format;
use super::pack::Matrix;
use super::product::for_each;
use super::storage::{Floats, strided, tensor};
use crate::{Precision, Segments};

/// The heads of one tensor (batch, positions, heads, d), whose last stride is 1.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    pub data: &'a [f32],
    pub dims: [usize; 4],
    pub strides: [usize; 3],
}

impl<'a> Heads<'a> {
    fn new(data: &'a [f32], layout: &Layout) -> Result<Self> {
        let (batch, positions, heads, head_dim) = layout.shape().dims4()?;
        let dims = [batch, positions, heads, head_dim];
        let [first, second, third, last] = layout.stride() else {
            bail!("attention: four strides are needed")
        };
        let lengths = dims.iter().zip(layout.stride());
        let end: usize = lengths
            .map(|(n, stride)| n.saturating_sub(1) * stride)
            .sum();
        if (*last != 1 && head_dim > 1) || (layout.shape().elem_count() > 0 && end >= data.len()) {
            bail!(
                "attention: the strides `{:?}` of a head are not contiguous",
                layout.stride()
            )
        }
        Ok(Self {
            data,
            dims,
            strides: [*first, *second, *third],
        })
    }

    fn of(storage: &'a Storage, layout: &Layout) -> Result<Self> {
        match storage {
            Storage::Cpu(storage) => Self::new(strided(storage, layout)?, layout),
            _ => bail!("attention: a tensor on a device: expected one on the CPU"),
        }
    }

    /// A contiguous tensor.
    pub fn contiguous(data: &'a [f32], dims: [usize; 4]) -> Self {
        let [_, positions, heads, head_dim] = dims;
        let position = heads * head_dim;
        Self {
            data,
            dims,
            strides: [positions * position, position, head_dim],
        }
    }

    /// One head: its first element on, and the stride between positions.
    pub fn head(&self, row: usize, head: usize) -> Head<'a> {
        let start = row * self.strides[0] + head * self.strides[2];
        Head {
            data: &self.data[start.min(self.data.len())..],
            stride: self.strides[1],
            width: self.dims[3],
        }
    }
}

/// The positions of one head of one row.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    data: &'a [f32],
    stride: usize,
    pub width: usize,
}

impl<'a> Head<'a> {
    #[inline]
    pub fn at(&self, position: usize) -> &'a [f32] {
        &self.data[position * self.stride..][..self.width]
    }

    /// `count` positions from `start` on: (count, d).
    pub fn positions(&self, (start, count): (usize, usize)) -> Matrix<'a> {
        Matrix {
            data: &self.data[start * self.stride..],
            rows: count,
            columns: self.width,
            row_stride: self.stride,
            column_stride: 1,
        }
    }
}

/// What forward and backward pass share.
pub(super) struct Shapes<'a> {
    pub q: Heads<'a>,
    pub k: Heads<'a>,
    pub v: Heads<'a>,
    pub segments: &'a Segments,
    /// How the factors of products are packed.
    pub format: Format,
}

impl Shapes<'_> {
    /// 1/√d.
    pub fn scale(&self) -> f32 {
        1.0 / (self.q.dims[3] as f32).sqrt()
    }

    /// Query heads that share a key/value head.
    pub fn group(&self) -> usize {
        self.q.dims[2] / self.k.dims[2]
    }

    /// Multiplications of one product, for the choice of threads.
    fn work(&self) -> usize {
        let [batch, query, heads, head_dim] = self.q.dims;
        batch * heads * query * self.k.dims[1] * head_dim
    }

    /// Writes the output, contiguous, over what may be nothing yet, and the log-sum-exp of each query: (batch, heads, query).
    pub fn forward(&self, y: Shared, log_sums: &mut [f32]) {
        let [batch, query, heads, head_dim] = self.q.dims;
        let log_sums = Shared::new(log_sums);
        for_each(batch * heads, self.work(), |task| {
            let (row, head) = (task / heads, task % heads);
            // SAFETY: each task has its own queries.
            let log_sums = unsafe { log_sums.slice(task * query, query) };
            let out = (row * query * heads + head) * head_dim;
            ForwardHead::new(self, row, head).run(y, (out, heads * head_dim), log_sums);
        });
    }

    /// Adds the gradients of q, k and v, given the output and its gradient.
    pub fn backward(&self, sides: [Heads; 2], log_sums: &[f32], gradients: Gradients) {
        let [batch, _, kv_heads, _] = self.k.dims;
        for_each(batch * kv_heads, self.work(), |task| {
            let (row, kv_head) = (task / kv_heads, task % kv_heads);
            BackwardHead::new(self, row, kv_head).run(sides, log_sums, gradients);
        });
    }
}

struct Attention {
    segments: Segments,
    precision: Precision,
    tracked: bool,
    /// ln Σ eˢ of each query's scores, from which the backward pass has the weights again: (batch, heads, query).
    log_sums: OnceLock<Vec<f32>>,
}

/// softmax(q·kᵀ/√d)·v over the visible keys: (batch, query, heads, d), (batch, key, kv_heads, d) twice →
/// (batch, query, heads, d).
pub(crate) fn attention(
    [q, k, v]: [&Tensor; 3],
    segments: &Segments,
    precision: Precision,
) -> Result<Tensor> {
    let whole_heads = |x: &Tensor| match x.stride() {
        [.., 1] => Ok(x.clone()),
        _ => x.contiguous(),
    };
    let operation = Attention {
        segments: segments.clone(),
        precision,
        tracked: q.track_op() || k.track_op() || v.track_op(),
        log_sums: OnceLock::new(),
    };
    whole_heads(q)?.apply_op3(&whole_heads(k)?, &whole_heads(v)?, operation)
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shapes = Shapes {
            q: Heads::new(strided(q, q_layout)?, q_layout)?,
            k: Heads::new(strided(k, k_layout)?, k_layout)?,
            v: Heads::new(strided(v, v_layout)?, v_layout)?,
            segments: &self.segments,
            format: Format::of_small(self.precision),
        };
        let [batch, query, heads, head_dim] = shapes.q.dims;
        let mut log_sums = vec![0.0; batch * heads * query];
        let fill = |y: Shared| shapes.forward(y, &mut log_sums);
        // SAFETY: every head of every query is written.
        let y = unsafe { filled(batch * query * heads * head_dim, fill) };
        if self.tracked {
            let _ = self.log_sums.set(log_sums);
        }
        Ok((CpuStorage::F32(y), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (gradient, y) = (Floats::of(&gradient)?, Floats::of(y)?);
        let [q_storage, k_storage, v_storage] = [q, k, v].map(Tensor::storage_and_layout);
        let shapes = Shapes {
            q: Heads::of(&q_storage.0, q_storage.1)?,
            k: Heads::of(&k_storage.0, k_storage.1)?,
            v: Heads::of(&v_storage.0, v_storage.1)?,
            segments: &self.segments,
            format: Format::of_small(self.precision),
        };
        let Some(log_sums) = self.log_sums.get() else {
            bail!("attention: the backward pass of a forward pass that was not tracked")
        };
        let dims = shapes.q.dims;
        let mut dq = vec![0.0; q.elem_count()];
        let mut dk = vec![0.0; k.elem_count()];
        let mut dv = vec![0.0; v.elem_count()];
        let gradients = Gradients {
            q: Place::contiguous(&mut dq, dims),
            k: Place::contiguous(&mut dk, shapes.k.dims),
            v: Place::contiguous(&mut dv, shapes.v.dims),
        };
        let (y, gradient) = (
            Heads::contiguous(&y, dims),
            Heads::contiguous(&gradient, dims),
        );
        shapes.backward([y, gradient], log_sums, gradients);
        Ok((
            Some(tensor(dq, q.shape())?),
            Some(tensor(dk, k.shape())?),
            Some(tensor(dv, v.shape())?),
        ))
    }
}
