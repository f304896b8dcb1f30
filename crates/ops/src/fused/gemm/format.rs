//! Packed formats of the operands of a product: f32 as it is, rounded to bf16 (one or two numbers in 32 bits), or
//! split into three bf16 parts.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::bf16_dot::{multiply_bf16_pairs, pack_bf16_panels, pack_bf16_row};
use super::kernel::multiply_packed;
use super::pack::pack_panels;
#[cfg(target_arch = "x86_64")]
use super::tile::{BLOCK_ROWS, RUN};
use super::tile::{Rows, Target, tile_shape};
use crate::Precision;
use crate::fused::simd::buffer::with_buffer;
use crate::fused::simd::level::has_fast_bf16_dot;
use crate::fused::simd::math::{copy_rounded, round_in_place};
use crate::fused::simd::matrix::Matrix;

/// Packed format of the operands of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each number as an f32.
    Plain,
    /// Each number rounded to bf16 and stored as an f32.
    Rounded,
    /// Two steps of k, rounded to bf16, in the 32 bits of one f32, for the bf16 dot product.
    Bf16Pairs,
    /// [`Bf16Pairs`](Self::Bf16Pairs) with A in blocks, for AMX tiles.
    #[cfg(target_arch = "x86_64")]
    Tiled,
    /// Each number as three bf16 parts whose sum is the number, with A in blocks, for AMX tiles.
    #[cfg(target_arch = "x86_64")]
    Split,
}

/// Returns true if products in bf16 are faster than in f32 on this machine.
pub(crate) fn has_fast_bf16() -> bool {
    Format::of(Precision::Bf16) != Format::Rounded
}

/// Returns the bytes of a number in the packed operands of a product.
pub(crate) fn packed_bytes(precision: Precision) -> usize {
    let format = Format::of(precision);
    size_of::<f32>() * format.parts() / format.steps_in_place()
}

impl Format {
    /// Returns the fastest format of a precision on this machine, for operands that are used more than once.
    pub fn of(precision: Precision) -> Self {
        match precision {
            #[cfg(target_arch = "x86_64")]
            Precision::F32 | Precision::Tf32 if amx::is_there() => Self::Split,
            _ => Self::of_small(precision),
        }
    }

    /// Returns the fastest format for products as small as those of an attention head, whose packed operands are used
    /// only once.
    pub fn of_small(precision: Precision) -> Self {
        match precision {
            Precision::F32 | Precision::Tf32 => Self::Plain,
            #[cfg(target_arch = "x86_64")]
            Precision::Bf16 if amx::is_there() => Self::Tiled,
            Precision::Bf16 if has_fast_bf16_dot() => Self::Bf16Pairs,
            Precision::Bf16 => Self::Rounded,
        }
    }

    /// Returns the number of steps of k in 32 bits of packed memory.
    pub fn steps_in_place(self) -> usize {
        match self {
            Self::Plain | Self::Rounded => 1,
            _ => 2,
        }
    }

    /// Returns the rows and the steps of k of a full tile of A. Tasks and blocks of k whose sizes are multiples of
    /// these have no edge.
    pub fn tile(self) -> (usize, usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Tiled | Self::Split => (BLOCK_ROWS, RUN * self.steps_in_place()),
            _ => (tile_shape().0, self.steps_in_place()),
        }
    }

    /// Returns the number of f32 of packed memory that `steps` steps of k take. In all blocks but the last, `steps`
    /// must be a multiple of a tile's steps.
    pub fn places(self, steps: usize) -> usize {
        steps.div_ceil(self.steps_in_place()) * self.parts()
    }

    /// Returns the number of parts that a number is stored as.
    pub fn parts(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Split => amx::split::PARTS,
            _ => 1,
        }
    }

    pub fn precision(self) -> Precision {
        match self {
            Self::Plain => Precision::F32,
            #[cfg(target_arch = "x86_64")]
            Self::Split => Precision::F32,
            _ => Precision::Bf16,
        }
    }

    /// Packs B (k × n) into panels of `width` columns, in the order panel, step (or bf16 pair), column.
    pub fn pack_panels(self, b: Matrix, width: usize, packed: &mut [f32]) {
        match self {
            Self::Plain | Self::Rounded => pack_panels(b, width, self.precision(), packed),
            #[cfg(target_arch = "x86_64")]
            Self::Split => amx::split::pack_panels(b, packed),
            _ => pack_bf16_panels(b, width, packed),
        }
    }

    /// Calls `work` with A (m × k) in the layout that the microkernel reads.
    pub fn with_rows<R>(self, a: Matrix, work: impl FnOnce(Rows) -> R) -> R {
        let places = self.places(a.columns);
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Tiled => {
                amx::rows::with_blocks(a, |blocks| work(Rows::blocks(blocks, places, 1)))
            }
            #[cfg(target_arch = "x86_64")]
            Self::Split => amx::split::with_blocks(a, |blocks| {
                let parts = self.parts();
                work(Rows::blocks(blocks, places / parts, parts))
            }),
            Self::Plain if a.column_stride == 1 => {
                work(Rows::contiguous(a.data.as_ptr(), a.row_stride))
            }
            _ if a.column_stride == 1 => with_buffer(a.rows * places, |copy| {
                self.copy_rows(a, copy);
                work(Rows::contiguous(copy.as_ptr(), places))
            }),
            _ => {
                let height = tile_shape().0;
                with_buffer(a.rows.next_multiple_of(height) * places, |packed| {
                    self.pack_panels(a.transposed(), height, packed);
                    work(Rows::packed(packed.as_ptr(), places))
                })
            }
        }
    }

    /// Copies the rows of A (m × k), which must be contiguous, in the layout of the microkernel. Not for the split
    /// format, whose rows lie in blocks.
    pub fn copy_rows(self, a: Matrix, copy: &mut [f32]) {
        debug_assert_eq!(self.parts(), 1);
        let places = self.places(a.columns).max(1);
        for (row, copy) in copy.chunks_exact_mut(places).take(a.rows).enumerate() {
            let row = &a.data[row * a.row_stride..][..a.columns];
            match self {
                Self::Plain => copy.copy_from_slice(row),
                Self::Rounded => copy_rounded(row, copy),
                _ => pack_bf16_row(row, copy),
            }
        }
    }

    /// Prepares `values` (rows × columns) as the rows of A, for a product that sums over the columns. `spare` has as
    /// many floats as `values`.
    pub fn as_rows<'v>(
        self,
        values: &'v mut [f32],
        columns: usize,
        spare: &'v mut [f32],
    ) -> &'v [f32] {
        match self {
            Self::Plain => values,
            Self::Rounded => {
                round_in_place(values);
                values
            }
            _ => {
                self.copy_rows(Matrix::new(values, values.len() / columns, columns), spare);
                spare
            }
        }
    }

    /// Prepares `values` (rows × columns) as Aᵀ, for a product that sums over the rows. `spare` has as many floats as
    /// `values`.
    pub fn as_steps<'v>(
        self,
        values: &'v mut [f32],
        columns: usize,
        spare: &'v mut [f32],
    ) -> &'v [f32] {
        match self {
            Self::Plain | Self::Rounded => self.as_rows(values, columns, spare),
            _ => {
                let rows = values.len() / columns;
                let steps = Matrix::new(values, rows, columns);
                self.pack_panels(steps, columns, &mut spare[..self.places(rows) * columns]);
                spare
            }
        }
    }

    /// Computes C = A·B for `m` rows, `n` columns and `places` floats of packed k, laid out as for
    /// [`multiply_packed`].
    ///
    /// # Safety
    /// Same contract as [`multiply_packed`], with `places` for k.
    pub unsafe fn multiply(self, a: Rows, b: &[f32], c: Target, sizes: (usize, usize, usize)) {
        // SAFETY: promised by the caller.
        unsafe {
            match self {
                Self::Plain | Self::Rounded => multiply_packed(a, b, c, sizes),
                Self::Bf16Pairs => multiply_bf16_pairs(a, b, c, sizes),
                #[cfg(target_arch = "x86_64")]
                Self::Tiled => amx::multiply(a, b, c, sizes),
                #[cfg(target_arch = "x86_64")]
                Self::Split => {
                    let (m, places, n) = sizes;
                    amx::multiply_rows::<amx::Split>(a, b, c, (m, places / self.parts(), n))
                }
            }
        }
    }
}
