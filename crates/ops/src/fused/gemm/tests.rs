use super::driver::{Store, gemm, gemm_in, symmetric_gemm, with_packed};
use super::format::Format;
use crate::Precision;
use crate::fused::simd::buffer::Shared;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::Threads;

/// Returns pseudo-random numbers between −1 and 1.
pub(in crate::fused) fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Returns C = A·B in f64, and Σ|a·b| of each element, which its rounding error is measured by.
pub(super) fn exact(a: &Matrix, b: &Matrix) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; a.rows * b.columns];
    let mut sizes = vec![0.0; a.rows * b.columns];
    for row in 0..a.rows {
        for column in 0..b.columns {
            for p in 0..a.columns {
                let left = f64::from(a.data[row * a.row_stride + p * a.column_stride]);
                let right = f64::from(b.data[p * b.row_stride + column * b.column_stride]);
                sums[row * b.columns + column] += left * right;
                sizes[row * b.columns + column] += (left * right).abs();
            }
        }
    }
    (sums, sizes)
}

const SIZES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 37, 19),
    (3, 256, 70),
    (7, 5, 33),
    (13, 300, 17),
    (64, 64, 64),
    (130, 31, 40),
    (97, 513, 65),
    (5, 700, 3),
    (300, 3, 9),
    (0, 4, 4),
    (4, 0, 4),
];

/// Checks that the product is A·B for odd sizes and all four layouts, for replacing and adding.
#[test]
fn equals_the_definition() {
    for (m, k, n) in SIZES {
        let (a_data, b_data) = (numbers(m * k, 1), numbers(k * n, 2));
        for layout in 0..8 {
            let a = match layout & 1 {
                0 => Matrix::new(&a_data, m, k),
                _ => Matrix::new(&a_data, k, m).transposed(),
            };
            let b = match layout & 2 {
                0 => Matrix::new(&b_data, k, n),
                _ => Matrix::new(&b_data, n, k).transposed(),
            };
            let (store, before) = match layout & 4 {
                0 => (Store::Replace, f32::NAN),
                _ => (Store::Add, 0.5),
            };
            let mut c = vec![before; m * n];
            gemm(a, b, &mut c, store, Precision::F32);
            let (sums, sizes) = exact(&a, &b);
            let offset = if store == Store::Add { 0.5 } else { 0.0 };
            for ((c, sum), size) in c.iter().zip(sums).zip(sizes) {
                let error = (f64::from(*c) - sum - offset).abs();
                assert!(
                    error <= 1e-6 * (size + 1.0),
                    "{m}×{k}×{n}, layout {layout}: {error}"
                );
            }
        }
    }
}

/// Checks that A·Aᵀ and a product of commuting matrices equal the exact ones and are symmetric to the last bit, for A
/// in rows and in columns.
#[test]
fn symmetric_products_equal_the_definition() {
    for (m, k) in [
        (0, 3),
        (3, 0),
        (1, 1),
        (2, 7),
        (5, 300),
        (40, 9),
        (37, 64),
        (300, 31),
    ] {
        let numbers = numbers(m * k, 3);
        let rows = Matrix::new(&numbers, m, k);
        for a in [rows, Matrix::new(&numbers, k, m).transposed()] {
            let mut square = vec![f32::NAN; m * m];
            symmetric_gemm(a, a.transposed(), &mut square);
            is_symmetric_product((a, a.transposed()), &square);
            let square = Matrix::new(&square, m, m);
            let mut power = square.data.to_vec();
            for _ in 0..2 {
                let mut product = vec![f32::NAN; m * m];
                let power_so_far = Matrix::new(&power, m, m);
                symmetric_gemm(power_so_far, square, &mut product);
                is_symmetric_product((power_so_far, square), &product);
                power = product;
            }
        }
    }
}

fn is_symmetric_product((a, b): (Matrix, Matrix), c: &[f32]) {
    let m = a.rows;
    let (sums, sizes) = exact(&a, &b);
    for (at, ((value, sum), size)) in c.iter().zip(sums).zip(sizes).enumerate() {
        assert!(
            (f64::from(*value) - sum).abs() <= 1e-6 * (size + 1.0),
            "{m}×{}, {at}",
            a.columns
        );
        assert_eq!(value.to_bits(), c[at % m * m + at / m].to_bits());
    }
}

/// Checks that bf16 rounds the operands and nothing else, in the format that this machine chooses and in both
/// portable ones.
#[test]
fn bf16_rounds_the_factors() {
    let round = |values: &[f32]| -> Vec<f32> {
        let round = |x: &f32| half::bf16::from_f32(*x).to_f32();
        values.iter().map(round).collect()
    };
    for (m, k, n) in SIZES {
        for layout in 0..4 {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let (rounded_a, rounded_b) = (round(&a), round(&b));
            let matrices = |a, b| {
                let a = match layout & 1 {
                    0 => Matrix::new(a, m, k),
                    _ => Matrix::new(a, k, m).transposed(),
                };
                let b = match layout & 2 {
                    0 => Matrix::new(b, k, n),
                    _ => Matrix::new(b, n, k).transposed(),
                };
                (a, b)
            };
            let (plain_a, plain_b) = matrices(&rounded_a, &rounded_b);
            let (sums, sizes) = exact(&plain_a, &plain_b);
            let (a, b) = matrices(&a, &b);
            let mut chosen = vec![0.0; m * n];
            gemm(a, b, &mut chosen, Store::Replace, Precision::Bf16);
            let in_format = |format| {
                let mut c = vec![0.0; m * n];
                gemm_in(format, a, b, &mut c, Store::Replace);
                c
            };
            let (rounded, paired) = (in_format(Format::Rounded), in_format(Format::Bf16Pairs));
            for c in [chosen, rounded, paired] {
                for ((c, sum), size) in c.iter().zip(&sums).zip(&sizes) {
                    let error = (f64::from(*c) - sum).abs();
                    assert!(
                        error <= 1e-6 * (size + 1.0),
                        "{m}×{k}×{n}, layout {layout}: {error}"
                    );
                }
            }
        }
    }
}

/// Checks that a few dozen rows, for which B is not packed, have the bits that they have among more rows: replaced and
/// added, in contiguous rows and in rows apart, on all threads and on one, with A in rows and in columns.
#[test]
fn a_few_dozen_rows_have_the_bits_of_many() {
    const MANY: usize = 70;
    for (m, k, n) in [(5, 700, 250), (33, 300, 65), (64, 40, 300), (64, 9, 121)] {
        let (a_data, b_data) = (numbers(MANY * k, 1), numbers(n * k, 2));
        let b = Matrix::new(&b_data, n, k).transposed();
        for a in [
            Matrix::new(&a_data, MANY, k),
            Matrix::new(&a_data, k, MANY).transposed(),
        ] {
            for format in [Format::Plain, Format::Rounded, Format::Bf16Pairs] {
                for (store, before) in [(Store::Replace, f32::NAN), (Store::Add, 0.5)] {
                    let mut many = vec![before; MANY * n];
                    gemm_in(format, a, b, &mut many, store);
                    let few = a.block((0, m), (0, k));
                    let mut c = vec![before; m * n];
                    gemm_in(format, few, b, &mut c, store);
                    let bits = |c: &[f32]| -> Vec<u32> { c.iter().map(|c| c.to_bits()).collect() };
                    assert_eq!(bits(&c), bits(&many[..m * n]), "{m}×{k}×{n}, {format:?}");
                    let stride = n + 3;
                    let mut apart = vec![before; m * stride];
                    with_packed(b, m, format, |b| {
                        let c = Shared::new(&mut apart);
                        b.multiply_strided(few, (c, stride), store, Threads::One);
                    });
                    for (row, c) in apart.chunks(stride).enumerate() {
                        assert_eq!(bits(&c[..n]), bits(&many[row * n..][..n]));
                        assert_eq!(bits(&c[n..]), bits(&[before; 3]));
                    }
                }
            }
        }
    }
}

/// Checks that a NaN in an operand comes out, also as one of a pair.
#[test]
fn pairs_keep_nan() {
    for at in [0, 1, 6] {
        let (mut a, b) = (numbers(20 * 7, 1), numbers(7 * 9, 2));
        a[3 * 7 + at] = f32::NAN;
        let (a, b) = (Matrix::new(&a, 20, 7), Matrix::new(&b, 7, 9));
        for format in [Format::Bf16Pairs, Format::of(Precision::Bf16)] {
            let mut c = vec![0.0; 20 * 9];
            gemm_in(format, a, b, &mut c, Store::Replace);
            let row = |row: usize| &c[row * 9..][..9];
            assert!(row(3).iter().all(|c| c.is_nan()));
            assert!(row(2).iter().all(|c| c.is_finite()));
        }
    }
}

/// Checks that the result has the same bits on any number of threads.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for size in [(200, 300, 170), (70, 1000, 90), (16, 64, 700)] {
        for precision in [Precision::F32, Precision::Bf16] {
            has_the_same_bits_on_any_threads(size, Format::of(precision));
        }
    }
}

pub(super) fn has_the_same_bits_on_any_threads((m, k, n): (usize, usize, usize), format: Format) {
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads start").install(|| {
            let mut c = vec![0.0; m * n];
            let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            gemm_in(format, a, b, &mut c, Store::Replace);
            c
        })
    };
    assert_eq!(run(1), run(2), "{format:?}");
    assert_eq!(run(1), run(3), "{format:?}");
}

/// Prints the GFLOP/s of the reference model's products: `cargo test --release -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    for (m, k, n, layout) in [
        (4096, 256, 256, 2),
        (4096, 256, 1376, 2),
        (4096, 688, 256, 2),
        (4096, 256, 4096, 2),
        (4096, 256, 256, 0),
        (4096, 1376, 256, 0),
        (256, 4096, 256, 1),
        (1376, 4096, 256, 1),
        (256, 4096, 688, 1),
    ] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let a = match layout & 1 {
            0 => Matrix::new(&a, m, k),
            _ => Matrix::new(&a, k, m).transposed(),
        };
        let b = match layout & 2 {
            0 => Matrix::new(&b, k, n),
            _ => Matrix::new(&b, n, k).transposed(),
        };
        let mut c = vec![0.0; m * n];
        let mut ours = f64::INFINITY;
        let mut theirs = f64::INFINITY;
        for _ in 0..40 {
            let start = std::time::Instant::now();
            gemm(a, b, &mut c, Store::Replace, Precision::F32);
            ours = ours.min(start.elapsed().as_secs_f64());
            let start = std::time::Instant::now();
            // SAFETY: the strides are those of the slices.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    c.as_mut_ptr(),
                    1,
                    n as isize,
                    false,
                    a.data.as_ptr(),
                    a.column_stride as isize,
                    a.row_stride as isize,
                    b.data.as_ptr(),
                    b.column_stride as isize,
                    b.row_stride as isize,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(0),
                );
            }
            theirs = theirs.min(start.elapsed().as_secs_f64());
        }
        let work = 2e-9 * (m * k * n) as f64;
        println!(
            "{m}×{k}×{n} {layout}: {:.1} and gemm {:.1} GFLOP/s",
            work / ours,
            work / theirs
        );
    }
}
