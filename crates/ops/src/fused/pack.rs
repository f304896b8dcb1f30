//! Copies of matrix blocks in the order in which a tile reads them.

use super::lanes::round_in_place;
use crate::Precision;

/// A matrix somewhere in a slice: element (row, column) stands at `row·row_stride + column·column_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after another.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns);
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The same elements, rows taken for columns.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `row..row + rows` of columns `column..column + columns`.
    pub fn block(self, (row, rows): (usize, usize), (column, columns): (usize, usize)) -> Self {
        assert!(row + rows <= self.rows && column + columns <= self.columns);
        let start = row * self.row_stride + column * self.column_stride;
        Self {
            data: &self.data[start.min(self.data.len())..],
            rows,
            columns,
            ..self
        }
    }

    /// Whether every element lies within the slice.
    pub fn is_within(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.data.len()
    }
}

/// Steps that are packed into all panels before the next ones: few enough to stay in the first cache, and so that the
/// matrix is read along its rows.
const STEPS: usize = 16;

/// Packs B (k × n) into panels of `width` columns: panel j, step p, column. `packed` is ⌈n / width⌉·k·width long.
pub(crate) fn pack_panels(b: Matrix, width: usize, precision: Precision, packed: &mut [f32]) {
    if b.column_stride == 1 {
        for_each_piece(b, width, 1, packed, |block, packed| match block.columns {
            4 => copy_steps::<4>(block, width, packed),
            6 => copy_steps::<6>(block, width, packed),
            8 => copy_steps::<8>(block, width, packed),
            12 => copy_steps::<12>(block, width, packed),
            16 => copy_steps::<16>(block, width, packed),
            32 => copy_steps::<32>(block, width, packed),
            columns => {
                for (p, packed) in packed.chunks_exact_mut(width).enumerate() {
                    let row = &block.data[p * block.row_stride..][..columns];
                    packed[..columns].copy_from_slice(row);
                }
            }
        });
    } else {
        for (panel, packed) in packed.chunks_exact_mut((b.rows * width).max(1)).enumerate() {
            let columns = width.min(b.columns - panel * width);
            let block = b.block((0, b.rows), (panel * width, columns));
            interleave(block, width, packed);
        }
    }
    if precision == Precision::Bf16 {
        round_in_place(packed);
    }
}

/// Calls `piece(block of B, its part of the packed panel)` for a few steps of all panels, and then for the next ones;
/// `in_place` steps share a place. What no column belongs to is 0.
pub(super) fn for_each_piece(
    b: Matrix,
    width: usize,
    in_place: usize,
    packed: &mut [f32],
    mut piece: impl FnMut(Matrix, &mut [f32]),
) {
    for start in (0..b.rows).step_by(STEPS) {
        let steps = STEPS.min(b.rows - start);
        let (first, last) = (start / in_place, (start + steps).div_ceil(in_place));
        let panel_length = b.rows.div_ceil(in_place) * width;
        for (panel, packed) in packed.chunks_exact_mut(panel_length).enumerate() {
            let columns = width.min(b.columns - panel * width);
            let packed = &mut packed[first * width..last * width];
            if columns < width {
                packed.fill(0.0);
            }
            piece(b.block((start, steps), (panel * width, columns)), packed);
        }
    }
}

/// Copies `W` columns of each step to a panel of that width, or to the front of a wider one.
fn copy_steps<const W: usize>(block: Matrix, width: usize, packed: &mut [f32]) {
    for (p, packed) in packed.chunks_exact_mut(width).enumerate() {
        let from = block.data[p * block.row_stride..].first_chunk::<W>();
        let to = packed.first_chunk_mut::<W>();
        if let (Some(to), Some(from)) = (to, from) {
            *to = *from;
        }
    }
}

/// Columns of any stride, side by side: a transposition in blocks that stay in the first cache. What no column belongs
/// to is 0.
pub(super) fn interleave(block: Matrix, width: usize, packed: &mut [f32]) {
    const LENGTH: usize = 16;
    if block.columns < width {
        packed.fill(0.0);
    }
    for start in (0..block.rows).step_by(LENGTH) {
        let steps = LENGTH.min(block.rows - start);
        for column in 0..block.columns {
            let from = &block.data[column * block.column_stride + start * block.row_stride..];
            let to = &mut packed[start * width + column..];
            if block.row_stride == 1 && steps == LENGTH {
                let from: &[f32; LENGTH] =
                    from.first_chunk().expect("the block is within the data");
                let to = &mut to[..(LENGTH - 1) * width + 1];
                for (p, value) in from.iter().enumerate() {
                    to[p * width] = *value;
                }
            } else {
                for p in 0..steps {
                    to[p * width] = from[p * block.row_stride];
                }
            }
        }
    }
}
