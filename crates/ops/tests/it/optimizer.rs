//! Tests of the AdamW step and the gradient norm.

use candle_core::{Result, Var};
use polymath_ops::{AdamW, Moments, Ops, Precision, UpdateAt, gradient_norm};

use crate::support::{FUSED, REFERENCE, assert_close, tensor, values};

const ADAMW: AdamW = AdamW {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.1,
};

/// Checks that both implementations compute AdamW's formula, also after the moments were saved and restored.
#[test]
fn adamw_is_the_formula() -> Result<()> {
    for ops in [FUSED, REFERENCE] {
        let parameter = Var::from_tensor(&tensor(&[37, 501], 1))?;
        let mut expected = values(&parameter);
        let (mut first, mut second) = (vec![0.0; 37 * 501], vec![0.0; 37 * 501]);
        let mut moments = Moments::zeros(&parameter)?;
        for step in 1..=4 {
            let gradient = tensor(&[37, 501], 10 + step);
            for (i, g) in values(&gradient).into_iter().enumerate() {
                let g = 0.5 * g;
                first[i] = 0.9 * first[i] + 0.1 * g;
                second[i] = 0.95 * second[i] + 0.05 * g * g;
                let mean = first[i] / (1.0 - 0.9f64.powi(step as i32));
                let spread = (second[i] / (1.0 - 0.95f64.powi(step as i32))).sqrt() + 1e-8;
                expected[i] -= 0.01 * (0.1 * expected[i] + mean / spread);
            }
            let at = UpdateAt {
                step,
                gradient_scale: 0.5,
            };
            ADAMW.step(ops, &parameter, &gradient, &mut moments, at)?;
            let (saved_first, saved_second) = moments.to_tensors()?;
            moments = Moments::from_tensors(&parameter, &saved_first, &saved_second)?;
        }
        for (found, expected) in values(&parameter).iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{ops:?}: {found} {expected}"
            );
        }
        let (saved, _) = moments.to_tensors()?;
        let saved = values(&saved);
        let worst = saved.iter().zip(&first).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f64::max) < 1e-6);
    }
    Ok(())
}

/// Checks that both implementations can alternate on the same moments.
#[test]
fn implementations_can_alternate() -> Result<()> {
    let results = [[FUSED, REFERENCE], [REFERENCE, FUSED]].map(|order| -> Result<_> {
        let parameter = Var::from_tensor(&tensor(&[40], 1))?;
        let mut moments = Moments::zeros(&parameter)?;
        for (ops, step) in order.into_iter().zip(1..) {
            let at = UpdateAt {
                step,
                gradient_scale: 1.0,
            };
            ADAMW.step(ops, &parameter, &tensor(&[40], 20 + step), &mut moments, at)?;
        }
        Ok(parameter.as_detached_tensor())
    });
    let [first, second] = results;
    assert_close(&first?, &second?, 1e-6, "the order of paths");
    Ok(())
}

/// Checks that the gradient norm equals the one in f64, has the same bits on any number of threads, and keeps a NaN.
#[test]
fn norm() -> Result<()> {
    let ops = Ops::fused(Precision::F32);
    let gradients = [tensor(&[300, 201], 1), tensor(&[7], 2), tensor(&[0], 3)];
    let gradients: Vec<_> = gradients.iter().collect();
    let expected: f64 = gradients
        .iter()
        .flat_map(|g| values(g))
        .map(|x| x * x)
        .sum();
    let found = gradient_norm(ops, &gradients)?;
    assert!((found - expected.sqrt()).abs() < 1e-9 * found);
    for threads in 1..=3 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let norm = pool
            .expect("threads start")
            .install(|| gradient_norm(ops, &gradients))?;
        assert_eq!(norm, found);
    }
    assert!(gradient_norm(ops, &[&(tensor(&[5], 1) * f64::NAN)?])?.is_nan());
    Ok(())
}
