use super::backward::{Gradients, Place};
use super::heads::{Heads, Shapes};
use crate::fused::gemm::format::Format;
use crate::fused::gemm::tests::numbers;
use crate::fused::simd::buffer::Shared;
use crate::{Precision, Segments};

/// Returns y and the gradients of q, k and v, for a fixed gradient of y.
fn run(dims: [usize; 4], (kv_heads, window): (usize, usize), format: Format) -> [Vec<f32>; 4] {
    let [batch, positions, heads, width] = dims;
    let kv_dims = [batch, positions, kv_heads, width];
    let length = |dims: [usize; 4]| dims.iter().product::<usize>();
    let [q, dy] = [1, 2].map(|seed| numbers(length(dims), seed));
    let [k, v] = [3, 4].map(|seed| numbers(length(kv_dims), seed));
    let segments = Segments::causal(batch, positions, positions).windowed(window);
    let shapes = Shapes {
        q: Heads::contiguous(&q, dims),
        k: Heads::contiguous(&k, kv_dims),
        v: Heads::contiguous(&v, kv_dims),
        segments: &segments,
        format,
    };
    let mut y = vec![f32::NAN; length(dims)];
    let mut log_sums = vec![f32::NAN; batch * heads * positions];
    shapes.forward(Shared::new(&mut y), &mut log_sums);
    let mut dq = vec![0.0; length(dims)];
    let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; length(kv_dims)]);
    let gradients = Gradients {
        q: Place::contiguous(&mut dq, dims),
        k: Place::contiguous(&mut dk, kv_dims),
        v: Place::contiguous(&mut dv, kv_dims),
    };
    let sides = [&y[..], &dy].map(|side| Heads::contiguous(side, dims));
    shapes.backward(sides, &log_sums, gradients);
    [y, dq, dk, dv]
}

/// Checks that the bf16 pair format gives the same result as the unpaired bf16 format, up to the order of sums. The
/// odd sizes leave a pair incomplete.
#[test]
fn pairs_match_single_numbers() {
    for dims in [
        [1, 1, 1, 1],
        [2, 5, 2, 7],
        [1, 49, 2, 6],
        [1, 65, 4, 32],
        [2, 131, 2, 33],
    ] {
        for shown in [(1, usize::MAX), (dims[2], usize::MAX), (1, 7)] {
            let rounded = run(dims, shown, Format::Rounded);
            let plain = run(dims, shown, Format::Plain);
            for format in [Format::Bf16Pairs, Format::of(Precision::Bf16)] {
                let paired = run(dims, shown, format);
                for (at, paired) in paired.iter().enumerate() {
                    for (i, x) in paired.iter().enumerate() {
                        let (single, exact) = (rounded[at][i], plain[at][i]);
                        // A weight that lies between two bf16 values may be rounded up in one format and down in the
                        // other.
                        assert!(
                            (x - single).abs() < 4e-3,
                            "{dims:?}, {shown:?}: {x}, {single}"
                        );
                        assert!(
                            (x - exact).abs() < 5e-2,
                            "{dims:?}, {shown:?}: {x}, {exact}"
                        );
                    }
                }
            }
        }
    }
}
