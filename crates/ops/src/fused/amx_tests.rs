use super::amx;
use super::format::Format;
use super::kernel::{Rows, Target};
use super::pack::Matrix;
use super::product_tests::numbers;

/// Rows, steps and columns: whole tiles, edges on one side and on all, and less than a tile.
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

/// C within a wider matrix whose other elements must stay as they are.
const MARGIN: usize = 3;
const UNTOUCHED: f32 = 7.25;

/// The tiles compute what the dot product of the vectors does, however A lies, and touch nothing beyond C.
#[test]
fn tiles_agree_with_vectors() {
    if !amx::is_there() {
        return;
    }
    for (m, k, n) in SIZES {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let contiguous = Matrix::new(&a, m, k);
        let turned: Vec<f32> = (0..m * k).map(|i| a[i % m * k + i / m]).collect();
        let spread: Vec<f32> = a.iter().flat_map(|x| [*x, f32::NAN]).collect();
        let layouts = [
            contiguous,
            Matrix::new(&turned, k, m).transposed(),
            Matrix {
                data: &spread,
                row_stride: 2 * k,
                column_stride: 2,
                ..contiguous
            },
        ];
        let places = Format::Tiled.places(k);
        let packed = packed_columns(Matrix::new(&b, k, n));
        for accumulate in [false, true] {
            let run = |format: Format, rows: Rows| {
                let stride = n + MARGIN;
                let mut c = vec![UNTOUCHED; m * stride + MARGIN];
                let target = Target {
                    pointer: c.as_mut_ptr(),
                    stride,
                    accumulate,
                };
                // SAFETY: the factors are packed for these sizes, C is wide enough, and both instructions are there.
                unsafe { format.multiply(rows, &packed, target, (m, places, n)) };
                c
            };
            let vectors = Format::Paired.with_rows(contiguous, |rows| run(Format::Paired, rows));
            let tiles = Format::Paired.with_rows(contiguous, |rows| run(Format::Tiled, rows));
            for layout in layouts {
                let blocks = Format::Tiled.with_rows(layout, |rows| run(Format::Tiled, rows));
                assert_eq!(tiles, blocks, "{m}×{k}×{n}, {layout:?}");
            }
            let mut steps = vec![0.0; m * places];
            Format::Tiled.pack_panels(contiguous.transposed(), m, &mut steps);
            let from_steps = run(Format::Tiled, Rows::steps(steps.as_ptr(), m));
            assert_eq!(tiles, from_steps, "{m}×{k}×{n}");
            for (at, (tiles, vectors)) in tiles.iter().zip(&vectors).enumerate() {
                let close = (tiles - vectors).abs() <= 2e-6 * (k as f32).sqrt();
                assert!(close, "{m}×{k}×{n}, {at}: {tiles} and {vectors}");
                if at % (n + MARGIN) >= n || at >= m * (n + MARGIN) {
                    assert_eq!(*tiles, UNTOUCHED, "{m}×{k}×{n}: {at} is not C's");
                }
            }
        }
    }
}

/// A sum has the same bits wherever its row stands: within a whole tile or at the edge.
#[test]
fn a_row_alone_has_the_same_bits() {
    if !amx::is_there() {
        return;
    }
    let (m, k, n) = (77, 150, 70);
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let places = Format::Tiled.places(k);
    let packed = packed_columns(Matrix::new(&b, k, n));
    let run = |a: &[f32], c: &mut [f32]| {
        let target = Target {
            pointer: c.as_mut_ptr(),
            stride: n,
            accumulate: true,
        };
        let count = c.len() / n;
        Format::Tiled.with_rows(Matrix::new(a, count, k), |rows| {
            // SAFETY: the factors are packed for these sizes, and the instructions are there.
            unsafe { Format::Tiled.multiply(rows, &packed, target, (count, places, n)) };
        });
    };
    let mut together = numbers(m * n, 3);
    let mut alone = together.clone();
    run(&a, &mut together);
    for (row, c) in alone.chunks_exact_mut(n).enumerate() {
        run(&a[row * k..], c);
    }
    assert_eq!(together, alone);
}

fn packed_columns(b: Matrix) -> Vec<f32> {
    let mut packed = vec![0.0; Format::Tiled.places(b.rows) * b.columns.next_multiple_of(32)];
    Format::Tiled.pack_panels(b, 32, &mut packed);
    packed
}
