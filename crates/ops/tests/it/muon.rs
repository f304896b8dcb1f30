//! Tests of Muon against a computation in plain f64: momentum over different gradients, the exact scale for tall and
//! wide matrices, and the closed form of its polynomial.

use candle_core::{Device, Result, Tensor, Var};
use polymath_ops::{Muon, MuonUpdate, Ops, UpdateAt};

use crate::support::muon_by_hand;
use crate::support::{FUSED, REFERENCE, tensor, values};

const MUON: Muon = Muon {
    learning_rate: 0.05,
    momentum: 0.8,
    weight_decay: 0.3,
};
const SCALE: f64 = 0.25;

fn update(ops: Ops, parameter: &Var, gradient: &Tensor, momentum: &mut Tensor) -> Result<()> {
    let at = UpdateAt {
        step: 1,
        gradient_scale: SCALE,
    };
    let update = MuonUpdate {
        parameter,
        gradient,
        momentum,
    };
    MUON.step(ops, at, vec![update])
}

/// Updates a parameter and its momentum in plain f64, with `orthogonal` as the orthogonalization.
fn by_hand(
    (parameter, momentum): (&mut [f64], &mut [f64]),
    gradient: &[f64],
    longest: usize,
    orthogonal: &dyn Fn(&[f64]) -> Vec<f64>,
) {
    let direction: Vec<f64> = gradient
        .iter()
        .zip(momentum)
        .map(|(g, m)| {
            *m = 0.8 * *m + 0.2 * SCALE * g;
            0.8 * *m + 0.2 * SCALE * g
        })
        .collect();
    let size = 0.2 * (longest as f64).sqrt();
    for (p, u) in parameter.iter_mut().zip(orthogonal(&direction)) {
        *p -= 0.05 * (0.3 * *p + size * u);
    }
}

fn assert_near(found: &[f64], expected: &[f64], share: f64, what: &str) {
    let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= share * largest,
            "{what}, {at}: {a} and not {b}"
        );
    }
}

/// Checks three updates with three different gradients against the plain computation, for matrices of 4:1, 1:4 and
/// 1:1. This covers the momentum of earlier gradients, Nesterov's look-ahead and the scale 0.2·√max(rows, columns).
#[test]
fn updates_by_different_gradients_are_those_by_hand() -> Result<()> {
    for (rows, columns) in [(32, 8), (8, 32), (12, 12), (4, 1)] {
        for ops in [FUSED, REFERENCE] {
            let parameter = Var::from_tensor(&tensor(&[rows, columns], 1))?;
            let mut momentum = parameter.as_detached_tensor().zeros_like()?;
            let mut expected = values(&parameter);
            let mut remembered = vec![0.0; rows * columns];
            for step in 0..3 {
                let gradient = tensor(&[rows, columns], 50 + step);
                let before = values(&parameter);
                let expected_before = expected.clone();
                by_hand(
                    (&mut expected, &mut remembered),
                    &values(&gradient),
                    rows.max(columns),
                    &|direction| muon_by_hand::orthogonal(direction, (rows, columns)),
                );
                update(ops, &parameter, &gradient, &mut momentum)?;
                let way = |to: &[f64], from: &[f64]| -> Vec<f64> {
                    to.iter().zip(from).map(|(to, from)| to - from).collect()
                };
                let what = format!("{ops:?}, {rows}×{columns}, update {step}");
                let (found, by_hand) = (
                    way(&values(&parameter), &before),
                    way(&expected, &expected_before),
                );
                assert_near(&found, &by_hand, 2e-3, &what);
                assert_near(&values(&momentum), &remembered, 1e-5, &what);
            }
        }
    }
    Ok(())
}

/// Checks the singular values of an update of an 8 × 2 matrix, momentum included: each is moved by the polynomial,
/// and the directions stay. The matrix has known singular vectors: U has two columns of a Hadamard matrix over √8,
/// and V is a rotation.
#[test]
fn singular_values_move_by_the_polynomial() -> Result<()> {
    let root = 8f64.sqrt();
    let sign = |bit: usize, at: usize| if at >> bit & 1 == 0 { 1.0 } else { -1.0 };
    let (cosine, sine) = (0.6, 0.8);
    // Returns Σ left·s·rightᵀ over both directions: (8, 2).
    let matrix = |s: [f64; 2]| -> Vec<f64> {
        let row = |at: usize| {
            let (a, b) = (sign(0, at) / root * s[0], sign(1, at) / root * s[1]);
            [a * cosine - b * sine, a * sine + b * cosine]
        };
        (0..8).flat_map(row).collect()
    };
    for ops in [FUSED, REFERENCE] {
        let parameter = Var::zeros((8, 2), candle_core::DType::F32, &Device::Cpu)?;
        let mut momentum = parameter.as_detached_tensor().zeros_like()?;
        let mut expected = vec![0.0; 16];
        let mut remembered = [0.0; 2];
        for gradient in [[3.0, 0.4], [-1.0, 2.0], [0.1, 0.2]] {
            let mut direction = [0.0; 2];
            for ((m, u), g) in remembered.iter_mut().zip(&mut direction).zip(gradient) {
                *m = 0.8 * *m + 0.2 * SCALE * g;
                *u = 0.8 * *m + 0.2 * SCALE * g;
            }
            let eighth = direction.iter().map(|s| s.powi(8)).sum::<f64>();
            let eighth = eighth.powf(1.0 / 8.0);
            let moved = direction.map(|s| 0.05 * 0.2 * root * muon_by_hand::moved(s, eighth));
            for (p, u) in expected.iter_mut().zip(matrix(moved)) {
                *p -= 0.05 * 0.3 * *p + u;
            }
            let gradient: Vec<f32> = matrix(gradient).iter().map(|x| *x as f32).collect();
            let gradient = Tensor::from_vec(gradient, (8, 2), &Device::Cpu)?;
            update(ops, &parameter, &gradient, &mut momentum)?;
            assert_near(&values(&parameter), &expected, 1e-3, &format!("{ops:?}"));
        }
    }
    Ok(())
}
