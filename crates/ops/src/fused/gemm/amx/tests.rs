//! Tests of the AMX microkernel, on the processor's tiles or on [emulated](super::emulated) ones.

use super::tiles::can_pack;
use crate::fused::gemm::driver::{Store, gemm_in};
use crate::fused::gemm::format::Format;
use crate::fused::gemm::tests::{exact, has_the_same_bits_on_any_threads, numbers};
use crate::fused::gemm::tile::{Rows, Target};
use crate::fused::simd::matrix::Matrix;
use crate::skipped::skipped;

/// Sizes (rows, steps, columns): whole tiles, edges in one and in all dimensions, and less than a tile.
const SIZES: [(usize, usize, usize); 10] = [
    (32, 64, 32),
    (64, 512, 96),
    (1, 2, 1),
    (5, 7, 9),
    (16, 32, 16),
    (17, 34, 17),
    (33, 31, 47),
    (48, 64, 64),
    (120, 344, 65),
    (31, 66, 200),
];

/// Columns by which the matrix around C is wider. They must stay unchanged.
const MARGIN: usize = 3;
const UNTOUCHED: f32 = 7.25;

/// Returns true, and reports the test as skipped, if this machine can't run the packing for tiles, which has no
/// portable form. Where a machine has no tiles, they are emulated.
fn is_skipped() -> bool {
    if !can_pack() {
        skipped("AVX-512 with BW and BF16, to pack for tiles");
    }
    !can_pack()
}

/// Checks that the tiles give the same result as the vector kernel on bf16 pairs, for every layout of A, and write
/// nothing beyond C.
#[test]
fn tiles_agree_with_vectors() {
    if is_skipped() {
        return;
    }
    for size @ (m, k, n) in SIZES {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let a = Layouts::of(&a, (m, k));
        let packed = packed_columns(Format::Tiled, Matrix::new(&b, k, n));
        let places = Format::Tiled.places(k);
        for accumulate in [false, true] {
            let run =
                |format: Format, rows: Rows| multiplied(format, rows, &packed, size, accumulate);
            let vectors =
                Format::Bf16Pairs.with_rows(a.rows(), |rows| run(Format::Bf16Pairs, rows));
            let tiles = Format::Bf16Pairs.with_rows(a.rows(), |rows| run(Format::Tiled, rows));
            for layout in a.all() {
                let blocks = Format::Tiled.with_rows(layout, |rows| run(Format::Tiled, rows));
                assert_eq!(tiles, blocks, "{size:?}, {layout:?}");
            }
            let mut steps = vec![0.0; m * places];
            Format::Tiled.pack_panels(a.rows().transposed(), m, &mut steps);
            let from_steps = run(Format::Tiled, Rows::steps(steps.as_ptr(), m));
            assert_eq!(tiles, from_steps, "{size:?}");
            is_untouched_beside(&tiles, size);
            for (at, (tiles, vectors)) in tiles.iter().zip(&vectors).enumerate() {
                let close = (tiles - vectors).abs() <= 2e-6 * (k as f32).sqrt();
                assert!(close, "{size:?}, {at}: {tiles} and {vectors}");
            }
        }
    }
}

/// Checks that a product of split numbers is about as close to the exact one as f32 multiply-adds are, for every
/// layout of both operands, and writes nothing beyond C.
#[test]
fn parts_are_as_exact_as_f32() {
    if is_skipped() {
        return;
    }
    for size @ (m, k, n) in SIZES {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (sums, sizes) = exact(&Matrix::new(&a, m, k), &Matrix::new(&b, k, n));
        let (a, b) = (Layouts::of(&a, (m, k)), Layouts::of(&b, (k, n)));
        for accumulate in [false, true] {
            let before = if accumulate { UNTOUCHED } else { 0.0 };
            let error = |c: &[f32]| {
                is_untouched_beside(c, size);
                let rows = c.chunks_exact(n + MARGIN).flat_map(|row| &row[..n]);
                let errors = rows.zip(&sums).zip(&sizes).map(|((c, sum), size)| {
                    let error = f64::from(*c) - f64::from(before) - sum;
                    (error / (size + f64::from(before))).powi(2)
                });
                (errors.sum::<f64>() / (m * n) as f64).sqrt()
            };
            let run = |format: Format, a: Matrix, b: Matrix| {
                let packed = packed_columns(format, b);
                format.with_rows(a, |rows| {
                    multiplied(format, rows, &packed, size, accumulate)
                })
            };
            let plain = error(&run(Format::Plain, a.rows(), b.rows()));
            let split = run(Format::Split, a.rows(), b.rows());
            // The tiles add to C six times for each run; multiply-adds do so once.
            let bound = match accumulate {
                true => f64::from(f32::EPSILON) / 2.0,
                false => 2.0 * plain,
            };
            assert!(error(&split) <= bound, "{size:?}");
            for layout in a.all() {
                assert_eq!(
                    split,
                    run(Format::Split, layout, b.rows()),
                    "{size:?}, {layout:?}"
                );
            }
            for layout in b.all() {
                assert_eq!(
                    split,
                    run(Format::Split, a.rows(), layout),
                    "{size:?}, {layout:?}"
                );
            }
        }
    }
}

/// Checks that a power of two as a factor only scales the result, until numbers below the smallest normal one count
/// as 0.
#[test]
fn parts_of_huge_and_tiny_numbers() {
    if is_skipped() {
        return;
    }
    let (m, k, n) = (33, 50, 17);
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let b = Matrix::new(&b, k, n);
    let scaled_product = |scale: f32| {
        let a: Vec<f32> = a.iter().map(|a| a * scale).collect();
        let mut c = vec![0.0; m * n];
        gemm_in(
            Format::Split,
            Matrix::new(&a, m, k),
            b,
            &mut c,
            Store::Replace,
        );
        c
    };
    let plain = scaled_product(1.0);
    for scale in [2f32.powi(-70), 2f32.powi(110)] {
        let expected: Vec<f32> = plain.iter().map(|c| c * scale).collect();
        assert_eq!(scaled_product(scale), expected);
    }
    let tiny = 2f32.powi(-120);
    for (c, plain) in scaled_product(tiny).into_iter().zip(plain) {
        assert!((c - plain * tiny).abs() <= k as f32 * f32::MIN_POSITIVE);
    }
}

/// Checks that NaN and infinities come out as NaN in their row or column, and nowhere else.
#[test]
fn parts_keep_nan() {
    if is_skipped() {
        return;
    }
    let (m, k, n) = (20, 37, 9);
    for at in [0, 1, 6, 36] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (good_a, good_b) = (numbers(m * k, 1), numbers(k * n, 2));
            let (mut bad_a, mut bad_b) = (good_a.clone(), good_b.clone());
            bad_a[3 * k + at] = bad;
            bad_b[at * n + 4] = bad;
            let run = |a: &[f32], b: &[f32]| {
                let mut c = vec![0.0; m * n];
                let (a, b) = (Matrix::new(a, m, k), Matrix::new(b, k, n));
                gemm_in(Format::Split, a, b, &mut c, Store::Replace);
                c
            };
            for (i, c) in run(&bad_a, &good_b).into_iter().enumerate() {
                assert_eq!(c.is_nan(), i / n == 3);
                assert!(c.is_nan() || c.is_finite());
            }
            for (i, c) in run(&good_a, &bad_b).into_iter().enumerate() {
                assert_eq!(c.is_nan(), i % n == 4);
                assert!(c.is_nan() || c.is_finite());
            }
        }
    }
}

/// Checks that a row of C has the same bits within a whole tile and at the edge.
#[test]
fn a_row_alone_has_the_same_bits() {
    if is_skipped() {
        return;
    }
    let (m, k, n) = (77, 150, 70);
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    for format in [Format::Tiled, Format::Split] {
        let packed = packed_columns(format, Matrix::new(&b, k, n));
        let run = |a: &[f32], c: &mut [f32]| {
            let target = Target {
                pointer: c.as_mut_ptr(),
                stride: n,
                accumulate: true,
            };
            let count = c.len() / n;
            format.with_rows(Matrix::new(a, count, k), |rows| {
                // SAFETY: the factors are packed for these sizes.
                unsafe { format.multiply(rows, &packed, target, (count, format.places(k), n)) };
            });
        };
        let mut together = numbers(m * n, 3);
        let mut alone = together.clone();
        run(&a, &mut together);
        for (row, c) in alone.chunks_exact_mut(n).enumerate() {
            run(&a[row * k..], c);
        }
        assert_eq!(together, alone, "{format:?}");
    }
}

/// Checks that the result has the same bits on any number of threads, also where k is cut into blocks.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    if is_skipped() {
        return;
    }
    for size in [(130, 40, 70), (40, 600, 70)] {
        for format in [Format::Tiled, Format::Split] {
            has_the_same_bits_on_any_threads(size, format);
        }
    }
}

/// Matrix stored three times: in contiguous rows, in contiguous columns, and with gaps between its numbers.
struct Layouts {
    size: (usize, usize),
    rows: Vec<f32>,
    columns: Vec<f32>,
    spread: Vec<f32>,
}

impl Layouts {
    fn of(values: &[f32], size: (usize, usize)) -> Self {
        let (rows, columns) = size;
        let turned = |at: usize| values[at % rows * columns + at / rows];
        Self {
            size,
            rows: values.to_vec(),
            columns: (0..values.len()).map(turned).collect(),
            spread: values.iter().flat_map(|x| [*x, f32::NAN]).collect(),
        }
    }

    fn rows(&self) -> Matrix<'_> {
        Matrix::new(&self.rows, self.size.0, self.size.1)
    }

    fn all(&self) -> [Matrix<'_>; 3] {
        let (rows, columns) = self.size;
        let spread = Matrix {
            data: &self.spread,
            row_stride: 2 * columns,
            column_stride: 2,
            ..self.rows()
        };
        let turned = Matrix::new(&self.columns, columns, rows).transposed();
        [self.rows(), turned, spread]
    }
}

/// Returns A·B, or A·B added to old content, within a matrix that has a margin on the right.
fn multiplied(
    format: Format,
    rows: Rows,
    packed: &[f32],
    (m, k, n): (usize, usize, usize),
    accumulate: bool,
) -> Vec<f32> {
    let stride = n + MARGIN;
    let mut c = vec![UNTOUCHED; m * stride + MARGIN];
    let target = Target {
        pointer: c.as_mut_ptr(),
        stride,
        accumulate,
    };
    // SAFETY: the factors are packed for these sizes, and C is wide enough.
    unsafe { format.multiply(rows, packed, target, (m, format.places(k), n)) };
    c
}

fn is_untouched_beside(c: &[f32], (m, _, n): (usize, usize, usize)) {
    for (at, value) in c.iter().enumerate() {
        if at % (n + MARGIN) >= n || at >= m * (n + MARGIN) {
            assert_eq!(*value, UNTOUCHED, "{at} is not C's");
        }
    }
}

fn packed_columns(format: Format, b: Matrix) -> Vec<f32> {
    let mut packed = vec![0.0; format.places(b.rows) * b.columns.next_multiple_of(32)];
    format.pack_panels(b, 32, &mut packed);
    packed
}
