use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{BF16, F32, assert_kernels, device, kernels, numbers, relative};
use crate::{Precision, RotaryTable};

const EXACT: (Precision, f64) = (Precision::F32, F32);

/// Sizes with more rows than a block has warps, more than a share of the sums, and widths around that of a warp.
const SIZES: [(usize, usize); 5] = [(1, 5), (9, 31), (13, 100), (300, 33), (5, 257)];

#[test]
fn norms_match_f64() {
    for (rows, width) in SIZES {
        let x = numbers(&[1, rows, width], 1);
        let (weight, bias) = (numbers(&[width], 2), numbers(&[width], 3));
        let inputs = [x, weight, bias];
        let name = format!("rms_norm {rows} × {width}");
        assert_kernels(&name, &inputs[..2], EXACT, |ops, x| {
            ops.rms_norm(x[0], x[1], 1e-3)
        });
        let name = format!("layer_norm {rows} × {width}");
        assert_kernels(&name, &inputs, EXACT, |ops, x| {
            ops.layer_norm(x[0], x[1], x[2], 1e-1)
        });
    }
}

#[test]
fn activations_match_f64() {
    let inputs = [
        (numbers(&[3, 211], 1) * 6.0).unwrap(),
        numbers(&[3, 211], 2),
    ];
    assert_kernels("swiglu", &inputs, EXACT, |ops, x| ops.swiglu(x[0], x[1]));
    assert_kernels("gelu", &inputs[..1], EXACT, |ops, x| ops.gelu(x[0]));
    // For large inputs, the exponential is zero or infinite.
    let far = [
        (numbers(&[2, 40], 3) * 300.0).unwrap(),
        numbers(&[2, 40], 2),
    ];
    assert_kernels("swiglu far", &far, EXACT, |ops, x| ops.swiglu(x[0], x[1]));
    assert_kernels("gelu far", &far[..1], EXACT, |ops, x| ops.gelu(x[0]));
}

#[test]
fn rope_matches_f64() {
    let table = RotaryTable::new(&[1.0, 0.3, 0.01], 3000, &device()).unwrap();
    let positions: Arc<[u32]> = (0..10).map(|at| at * 311 % 2999).collect();
    let x = [numbers(&[2, 5, 3, 6], 1)];
    assert_kernels("rope", &x, EXACT, |ops, x| {
        ops.rope(x[0], &table, &positions)
    });
}

/// Checks tokens that occur once, often and never, and transposed ids.
#[test]
fn embeddings_match_f64() {
    let ids: Vec<u32> = (0..60)
        .map(|at| [3, 0, 3, 7, at % 11][at as usize % 5])
        .collect();
    let ids = Tensor::from_vec(ids, (6, 10), &Device::Cpu).unwrap();
    let weight = [numbers(&[12, 37], 1)];
    assert_kernels("embedding", &weight, EXACT, |ops, x| {
        ops.embedding(x[0], &ids)
    });
    let across = ids.t().unwrap();
    assert_kernels("embedding across", &weight, EXACT, |ops, x| {
        ops.embedding(x[0], &across)
    });
    let outside = Tensor::new(&[[12u32]], &Device::Cpu).unwrap();
    let error = kernels(Precision::F32).embedding(&weight[0], &outside);
    assert!(error.unwrap_err().to_string().contains("`12`"));
}

#[test]
fn products_match_f64() {
    let inputs = [
        numbers(&[2, 7, 19], 1),
        numbers(&[11, 19], 2),
        numbers(&[11], 3),
    ];
    for (precision, tolerance) in [EXACT, (Precision::Bf16, BF16)] {
        assert_kernels("linear", &inputs, (precision, tolerance), |ops, x| {
            ops.linear(x[0], x[1], Some(x[2]))
        });
    }
}

/// Checks that products of rounded factors are not rounded.
#[test]
fn products_keep_f32() {
    let (x, weight) = (numbers(&[64, 96], 1), numbers(&[50, 96], 2));
    let found = kernels(Precision::Bf16).linear(&x, &weight, None).unwrap();
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let expected = wide(&x).matmul(&wide(&weight).t().unwrap()).unwrap();
    assert!(relative(&found, &expected) < F32);
}

/// Checks the bytes of a norm against a count by hand: it reads x twice for the sum and once for the result and the
/// weight once for each row, and writes the result and a scale for each row.
#[test]
fn work_is_counted() {
    if !device().is_cpu() {
        return;
    }
    let (rows, width) = (13u64, 100u64);
    let x = numbers(&[rows as usize, width as usize], 1);
    let ops = kernels(Precision::F32);
    crate::emulated_work();
    ops.rms_norm(&x, &numbers(&[width as usize], 2), 1e-5)
        .unwrap();
    let work = crate::emulated_work();
    assert_eq!(work.launches, 1);
    assert_eq!(work.read, 4 * rows * width * 4);
    assert_eq!(work.written, 4 * rows * (width + 1));
    assert_eq!((work.products, work.multiply_adds), (0, 0));
}
