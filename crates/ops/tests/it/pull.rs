//! Tests of the quadratic penalty's gradient.

use candle_core::{Result, Tensor};
use polymath_ops::Pull;

use crate::support::{FUSED, REFERENCE, assert_close, tensor, values};

/// Checks that both implementations return gradient + factor·weight·(parameter − anchor) and Σ weight·(parameter −
/// anchor)², for sizes that fill no vector and for several tasks, and that the added term is the derivative of half
/// the factor times the sum.
#[test]
fn pull_is_its_formula() -> Result<()> {
    const FACTOR: f64 = 0.3;
    for shape in [&[1][..], &[7, 5], &[130, 151]] {
        let (gradient, parameter, anchor) = (tensor(shape, 1), tensor(shape, 2), tensor(shape, 3));
        let firmness = tensor(shape, 4).abs()?;
        for weight in [None, Some(&firmness)] {
            let weights = weight.map(values);
            let (mut expected, mut sum) = (Vec::new(), 0.0);
            let places = values(&parameter).into_iter().zip(values(&anchor));
            for (at, ((parameter, anchor), gradient)) in places.zip(values(&gradient)).enumerate() {
                let weight = weights.as_ref().map_or(1.0, |weights| weights[at]);
                expected.push(gradient + FACTOR * weight * (parameter - anchor));
                sum += weight * (parameter - anchor).powi(2);
            }
            let expected = Tensor::from_vec(expected, shape, gradient.device())?;
            let pull = Pull {
                parameter: &parameter,
                anchor: &anchor,
                weight,
            };
            for ops in [FUSED, REFERENCE] {
                let (moved, found) = ops.pull(&gradient, &pull, FACTOR)?;
                assert_close(&moved, &expected, 1e-6, "gradient");
                let found = found.to_scalar::<f64>()?;
                assert!((found - sum).abs() < 1e-5 * sum, "{found} {sum}");
            }
        }
        // A parameter at its anchor leaves the gradient unchanged to the last bit, and the sum is 0.
        let still = Pull {
            parameter: &anchor,
            anchor: &anchor,
            weight: None,
        };
        let (moved, sum) = FUSED.pull(&gradient, &still, FACTOR)?;
        assert_eq!(values(&moved), values(&gradient));
        assert_eq!(sum.to_scalar::<f64>()?, 0.0);
    }
    Ok(())
}

/// Checks that different shapes are refused and that a transposed gradient gives the right result.
#[test]
fn different_shapes_are_refused() -> Result<()> {
    let (a, b) = (tensor(&[3, 4], 1), tensor(&[4, 3], 2));
    let pull = Pull {
        parameter: &a,
        anchor: &a,
        weight: None,
    };
    assert!(FUSED.pull(&b, &pull, 1.0).is_err());
    let away = (&a + 1.0)?;
    let pull = Pull {
        parameter: &away,
        anchor: &a,
        weight: None,
    };
    let (moved, _) = FUSED.pull(&b.t()?, &pull, 2.0)?;
    assert_close(&moved, &(b.t()? + 2.0)?, 1e-6, "transposed");
    Ok(())
}
