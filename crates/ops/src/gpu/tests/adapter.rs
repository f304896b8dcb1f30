use std::sync::Arc;

use candle_core::Tensor;

use super::{F32, assert_kernels, device, in_all_schedules, kernels, numbers};
use crate::{Dropout, LowRank, Precision, Projection};

/// Checks that each element is dropped or kept as on the CPU, to the last bit, forward and backward, for rows of odd
/// lengths and more elements than a block has threads.
#[test]
fn dropout_draws_the_same_bits() {
    let seeds: Arc<[u64]> = [7, u64::MAX, 1 << 40].into();
    let x = numbers(&[3, 5, 67], 1);
    let dropout = Dropout {
        share: 0.3,
        stream: 11,
        seeds: &seeds,
    };
    let mask = dropout.mask();
    let factors: Vec<f32> = (0..x.elem_count())
        .map(|at| mask.factor(at / (5 * 67), at % (5 * 67)))
        .collect();
    let factors = Tensor::from_vec(factors, x.dims(), &device()).unwrap();
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let expected = values(&(&x * &factors).unwrap());
    in_all_schedules(|schedule| {
        let x = candle_core::Var::from_tensor(&x).unwrap();
        kernels(Precision::F32);
        let y = crate::gpu::dropout(&x, dropout.mask()).unwrap();
        assert_eq!(values(&y), expected, "{schedule}");
        let gradients = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(
            values(gradients.get(&x).unwrap()),
            values(&factors),
            "{schedule}"
        );
    });
}

/// Checks projections with LoRA, dropout and DoRA's magnitudes, output and gradients.
#[test]
fn adapters_match_f64() {
    let seeds: Arc<[u64]> = [3, 4].into();
    let inputs = [
        numbers(&[2, 3, 19], 1),
        numbers(&[4, 19], 2),
        numbers(&[13, 4], 3),
        (numbers(&[13], 4) + 2.0).unwrap(),
    ];
    let weight = numbers(&[13, 19], 5);
    for share in [0.0, 0.4] {
        let name = format!("adapter with dropout {share}");
        assert_kernels(&name, &inputs, (Precision::F32, F32), |ops, x| {
            let weight = weight.to_dtype(x[0].dtype())?;
            let dropout = Dropout {
                share,
                stream: 5,
                seeds: &seeds,
            };
            let adapter = LowRank {
                a: x[1],
                b: x[2],
                scale: 0.7,
                magnitude: Some(x[3]),
                dropout: (share > 0.0).then_some(dropout),
            };
            let projection = Projection {
                weight: &weight,
                bias: None,
                adapter: Some(adapter),
            };
            ops.project(x[0], &projection)
        });
    }
}

/// Checks that the norm of a row of zeros is not zero.
#[test]
fn norms_of_zeros_are_not_zero() {
    let zeros = numbers(&[3, 8], 1).zeros_like().unwrap();
    let (a, b) = (numbers(&[2, 8], 2), zeros.narrow(1, 0, 2).unwrap());
    let adapter = LowRank {
        a: &a,
        b: &b,
        scale: 1.0,
        magnitude: None,
        dropout: None,
    };
    kernels(Precision::F32);
    let found = crate::gpu::merged_norms(&zeros, &adapter).unwrap();
    let merged = crate::merged_weight(&zeros, &adapter).unwrap();
    let expected = crate::row_norms(&merged).unwrap();
    assert_eq!(
        found.to_vec1::<f32>().unwrap(),
        expected.to_vec1::<f32>().unwrap()
    );
}
