//! The Muon update.

use candle_core::{D, Result, Tensor, Var, bail};

use crate::Ops;

/// Newton–Schulz iterations.
const ITERATIONS: usize = 5;
/// Coefficients of the quintic that takes singular values between 0 and 1 towards 1, fast rather than exactly (Jordan
/// 2024): they end between about 0.7 and 1.2.
const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// The root mean square of an AdamW update, about, in units of its learning rate (Liu 2025).
const ADAMW_ROOT_MEAN_SQUARE: f64 = 0.2;

/// Muon (Jordan 2024): momentum, made orthogonal.
///
/// ```text
/// m ← μ·m + (1 − μ)·g        u ← μ·m + (1 − μ)·g        (Nesterov)
/// p ← p − η·λ·p − η·0.2·√max(rows, columns)·orthogonal(u)
/// ```
///
/// The scale gives an update the root mean square of AdamW's, so that both take the same learning rate and weight decay
/// (Liu 2025).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// η.
    pub learning_rate: f64,
    /// μ, the memory of the mean gradient.
    pub momentum: f64,
    /// λ, decoupled from the gradient.
    pub weight_decay: f64,
}

impl Muon {
    /// Moves a matrix and its `momentum` by one update.
    ///
    /// # Shapes
    /// (rows, columns), all three
    ///
    /// # Errors
    /// A parameter that is no matrix; a gradient or momentum of another shape.
    pub fn step(
        &self,
        ops: Ops,
        parameter: &Var,
        gradient: &Tensor,
        momentum: &mut Tensor,
    ) -> Result<()> {
        let (rows, columns) = parameter.dims2()?;
        if gradient.dims() != [rows, columns] || momentum.dims() != [rows, columns] {
            bail!(
                "the gradient is `{:?}`, its momentum `{:?}` and their parameter `{:?}`: they must be equal",
                gradient.dims(),
                momentum.dims(),
                parameter.dims()
            )
        }
        let new = (gradient.detach() * (1.0 - self.momentum))?;
        *momentum = ((&*momentum * self.momentum)? + &new)?;
        let update = ((&*momentum * self.momentum)? + &new)?;
        let scale = ADAMW_ROOT_MEAN_SQUARE * (rows.max(columns) as f64).sqrt();
        let update = (orthogonal(ops, &update)? * (self.learning_rate * scale))?;
        let kept =
            (parameter.as_detached_tensor() * (1.0 - self.learning_rate * self.weight_decay))?;
        parameter.set(&(kept - update)?)
    }
}

/// U·Vᵀ of the singular value decomposition U·Σ·Vᵀ, about: (rows, columns) → (rows, columns).
fn orthogonal(ops: Ops, x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    // The products are of the shorter side's square.
    let tall = rows > columns;
    let x = if tall {
        x.t()?.contiguous()?
    } else {
        x.clone()
    };
    let norm = x.sqr()?.sum_all()?.sqrt()?;
    // With all singular values at most 1; a gradient of zeros stays one.
    let mut x = x.broadcast_div(&(norm + 1e-20)?)?;
    let [a, b, c] = QUINTIC;
    for _ in 0..ITERATIONS {
        let square = ops.linear(&x, &x, None)?; // x·xᵀ
        let factor = ((&square * b)? + (ops.linear(&square, &square, None)? * c)?)?; // it is symmetric
        let turned = x.transpose(D::Minus2, D::Minus1)?;
        x = ((&x * a)? + ops.linear(&factor, &turned, None)?)?;
    }
    if tall { x.t()?.contiguous() } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Implementation, Precision};
    use candle_core::{DType, Device};

    fn ops(implementation: Implementation) -> Ops {
        Ops {
            implementation,
            precision: Precision::F32,
        }
    }

    fn pattern(rows: usize, columns: usize) -> Tensor {
        let value = |at: usize| ((at * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        let values: Vec<f32> = (0..rows * columns).map(value).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    /// An update is about as long in every direction, however unequal the gradient is there, for wide and tall matrices.
    #[test]
    fn updates_are_orthogonal() {
        let length = |x: &Tensor| {
            x.sqr()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        for (rows, columns) in [(8, 24), (24, 8)] {
            // The first direction of the shorter side has twenty times the others' gradient.
            let short = rows.min(columns);
            let mut stretch = vec![1f32; short];
            stretch[0] = 20.0;
            let stretch = Tensor::from_vec(stretch, short, &Device::Cpu).unwrap();
            let x = pattern(columns.max(rows), short)
                .broadcast_mul(&stretch)
                .unwrap();
            let x = if rows == short {
                x.t().unwrap().contiguous().unwrap()
            } else {
                x
            };
            for implementation in [Implementation::Fused, Implementation::Composed] {
                let u = orthogonal(ops(implementation), &x).unwrap();
                let u = if rows == short { u } else { u.t().unwrap() };
                for direction in 0..short {
                    let size = length(&u.get(direction).unwrap()).sqrt();
                    assert!(
                        (0.3..1.4).contains(&size),
                        "{rows}×{columns}, {direction}: {size}"
                    );
                }
            }
        }
    }

    /// The first update of a matrix whose gradient is orthogonal already goes straight down it, by the scaled learning
    /// rate, after decay.
    #[test]
    fn the_first_update_is_the_closed_form() {
        let identity = Tensor::eye(4, DType::F32, &Device::Cpu).unwrap();
        let parameter = Var::from_tensor(&identity.ones_like().unwrap()).unwrap();
        let muon = Muon {
            learning_rate: 0.1,
            momentum: 0.95,
            weight_decay: 0.5,
        };
        let mut momentum = identity.zeros_like().unwrap();
        muon.step(
            ops(Implementation::Fused),
            &parameter,
            &identity,
            &mut momentum,
        )
        .unwrap();
        // Newton–Schulz on one singular value of 1/2, the norm of the identity being 2.
        let [a, b, c] = QUINTIC;
        let mut s: f64 = 0.5;
        for _ in 0..ITERATIONS {
            s = a * s + b * s.powi(3) + c * s.powi(5);
        }
        let values = parameter.to_vec2::<f32>().unwrap();
        let expected = 0.95 - 0.1 * 0.2 * 2.0 * s;
        assert!((f64::from(values[0][0]) - expected).abs() < 1e-5);
        assert!((f64::from(values[0][1]) - 0.95).abs() < 1e-5);
        assert!((f64::from(momentum.to_vec2::<f32>().unwrap()[1][1]) - 0.05).abs() < 1e-7);
    }

    /// Nothing moves a matrix whose gradient is zero, but its decay.
    #[test]
    fn a_zero_gradient_moves_nothing() {
        let parameter = Var::from_tensor(&pattern(3, 5)).unwrap();
        let zeros = parameter.as_detached_tensor().zeros_like().unwrap();
        let muon = Muon {
            learning_rate: 0.1,
            momentum: 0.95,
            weight_decay: 0.0,
        };
        muon.step(
            ops(Implementation::Fused),
            &parameter,
            &zeros,
            &mut zeros.clone(),
        )
        .unwrap();
        let same = parameter.as_detached_tensor().to_vec2::<f32>().unwrap();
        assert_eq!(same, pattern(3, 5).to_vec2::<f32>().unwrap());
    }
}
