//! Strided views of the heads of queries, keys and values.

use candle_core::{Layout, Result, Storage, bail};

use crate::Segments;
use crate::fused::gemm::format::Format;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::storage::strided;

/// View of a tensor (batch, positions, heads, d) whose last stride is 1.
#[derive(Clone, Copy)]
pub(in crate::fused) struct Heads<'a> {
    pub data: &'a [f32],
    pub dims: [usize; 4],
    pub strides: [usize; 3],
}

impl<'a> Heads<'a> {
    pub fn new(data: &'a [f32], layout: &Layout) -> Result<Self> {
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

    pub fn of(storage: &'a Storage, layout: &Layout) -> Result<Self> {
        match storage {
            Storage::Cpu(storage) => Self::new(strided(storage, layout)?, layout),
            _ => bail!("attention: a tensor on a device: expected one on the CPU"),
        }
    }

    /// Views a contiguous tensor.
    pub fn contiguous(data: &'a [f32], dims: [usize; 4]) -> Self {
        let [_, positions, heads, head_dim] = dims;
        let position = heads * head_dim;
        Self {
            data,
            dims,
            strides: [positions * position, position, head_dim],
        }
    }

    /// Returns one head of one row.
    pub fn head(&self, row: usize, head: usize) -> Head<'a> {
        let start = row * self.strides[0] + head * self.strides[2];
        Head {
            data: &self.data[start.min(self.data.len())..],
            stride: self.strides[1],
            width: self.dims[3],
        }
    }
}

/// View of one head in one row: (positions, d).
#[derive(Clone, Copy)]
pub(in crate::fused) struct Head<'a> {
    data: &'a [f32],
    stride: usize,
    pub width: usize,
}

impl<'a> Head<'a> {
    #[inline]
    pub fn at(&self, position: usize) -> &'a [f32] {
        &self.data[position * self.stride..][..self.width]
    }

    /// Returns `count` positions from `start` on, as a matrix (count, d).
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

/// Queries, keys, values and mask, which the forward and the backward pass both read.
pub(in crate::fused) struct Shapes<'a> {
    pub q: Heads<'a>,
    pub k: Heads<'a>,
    pub v: Heads<'a>,
    pub segments: &'a Segments,
    /// Packed format of the operands of the products.
    pub format: Format,
}

impl Shapes<'_> {
    /// Returns the factor of the scores, 1/√d.
    pub fn scale(&self) -> f32 {
        1.0 / (self.q.dims[3] as f32).sqrt()
    }

    /// Returns the number of query heads that share a key/value head.
    pub fn group(&self) -> usize {
        self.q.dims[2] / self.k.dims[2]
    }
}
