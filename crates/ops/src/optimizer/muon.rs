//! Muon update.

use candle_core::{Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::newton_schulz::{ITERATIONS, QUINTIC};
use crate::fused::{self, MuonFactors};
use crate::{Ops, Precision, UpdateAt, gpu, reference};

/// Number of elements from which the products of one matrix keep all threads busy. Smaller matrices are updated in
/// parallel, one thread each.
const LARGE: usize = 1 << 22;
/// Approximate root mean square of an AdamW update, in units of its learning rate (Liu 2025).
const ADAMW_ROOT_MEAN_SQUARE: f64 = 0.2;

/// Muon (Jordan 2024): momentum updates whose direction is made orthogonal.
///
/// ```text
/// m ← μ·m + (1 − μ)·g        u ← μ·m + (1 − μ)·g        (Nesterov)
/// p ← p − η·λ·p − η·0.2·√max(rows, columns)·orthogonal(u)
/// ```
///
/// The factor 0.2·√max(rows, columns) gives an update the root mean square of an AdamW update, so that both
/// optimizers can use the same learning rate and weight decay (Liu 2025).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Learning rate η.
    pub learning_rate: f64,
    /// μ, decay rate of the running mean of the gradient.
    pub momentum: f64,
    /// Weight decay λ, decoupled from the gradient.
    pub weight_decay: f64,
}

/// Matrix to update, with its gradient and momentum.
///
/// # Shapes
/// (rows, columns) for all three
pub struct MuonUpdate<'a> {
    /// Parameter p.
    pub parameter: &'a Var,
    /// Gradient g, before scaling.
    pub gradient: &'a Tensor,
    /// Momentum m.
    pub momentum: &'a mut Tensor,
}

impl MuonUpdate<'_> {
    fn check(&self) -> Result<()> {
        let (rows, columns) = self.parameter.dims2()?;
        if self.gradient.dims() != [rows, columns] || self.momentum.dims() != [rows, columns] {
            bail!(
                "the gradient is `{:?}`, its momentum `{:?}` and their parameter `{:?}`: they must be equal",
                self.gradient.dims(),
                self.momentum.dims(),
                self.parameter.dims()
            )
        }
        Ok(())
    }
}

impl Muon {
    /// Updates matrices in place. Computes in f32, also if the model's products use bf16.
    ///
    /// # Errors
    /// Fails if a parameter is not a matrix, or if a gradient or momentum has another shape than its parameter.
    pub fn step(&self, ops: Ops, at: UpdateAt, mut updates: Vec<MuonUpdate>) -> Result<()> {
        for update in &updates {
            update.check()?;
        }
        let fuses =
            |update: &MuonUpdate| ops.fuses(&[update.parameter, update.gradient, update.momentum]);
        let runs_kernels = |update: &MuonUpdate| {
            ops.runs_kernels(&[update.parameter, update.gradient, update.momentum])
        };
        if updates.iter().all(runs_kernels) {
            let mut updates = updates.iter_mut();
            return updates.try_for_each(|update| self.by_kernels(update, at));
        }
        if !updates.iter().all(fuses) {
            let mut updates = updates.iter_mut();
            return updates.try_for_each(|update| self.reference(update, at));
        }
        let fused = |update: &mut MuonUpdate| {
            let factors = self.factors(update.parameter, at)?;
            fused::muon(update.parameter, update.gradient, update.momentum, factors)
        };
        let is_large = |update: &MuonUpdate| update.parameter.elem_count() >= LARGE;
        if updates.iter().any(is_large) {
            return updates.iter_mut().try_for_each(fused);
        }
        updates.par_iter_mut().with_max_len(1).try_for_each(fused)
    }

    /// Updates with kernels between the products; the momentum is updated in place.
    fn by_kernels(&self, update: &mut MuonUpdate, at: UpdateAt) -> Result<()> {
        let scale = at.gradient_scale;
        let direction = gpu::momentum(update.gradient, update.momentum, self.momentum, scale)?;
        let factor = |square: &Tensor, fourth: Tensor, weights: [f64; 2]| {
            gpu::polynomial(square, &fourth, weights)?;
            Ok(fourth)
        };
        let step = orthogonal(&direction, factor)?;
        let parameter = update.parameter.as_detached_tensor();
        let numbers = [self.kept(), self.step_size(update.parameter)?];
        gpu::apply(&parameter, &step, numbers)
    }

    fn reference(&self, update: &mut MuonUpdate, at: UpdateAt) -> Result<()> {
        let new = (update.gradient.detach() * ((1.0 - self.momentum) * at.gradient_scale))?;
        *update.momentum = ((&*update.momentum * self.momentum)? + &new)?;
        let direction = ((&*update.momentum * self.momentum)? + &new)?;
        let kept = (update.parameter.as_detached_tensor() * self.kept())?;
        let factor =
            |square: &Tensor, fourth: Tensor, [b, c]: [f64; 2]| (square * b)? + (fourth * c)?;
        let step = (orthogonal(&direction, factor)? * self.step_size(update.parameter)?)?;
        update.parameter.set(&(kept - step)?)
    }

    fn factors(&self, parameter: &Var, at: UpdateAt) -> Result<MuonFactors> {
        Ok(MuonFactors {
            gradient_scale: at.gradient_scale as f32,
            momentum: self.momentum as f32,
            kept: self.kept() as f32,
            step_size: self.step_size(parameter)? as f32,
        })
    }

    fn kept(&self) -> f64 {
        1.0 - self.learning_rate * self.weight_decay
    }

    fn step_size(&self, parameter: &Var) -> Result<f64> {
        let (rows, columns) = parameter.dims2()?;
        Ok(self.learning_rate * ADAMW_ROOT_MEAN_SQUARE * (rows.max(columns) as f64).sqrt())
    }
}

/// Returns an approximation of U·Vᵀ, where x = U·Σ·Vᵀ is the singular value decomposition: (rows, columns) → (rows,
/// columns). `factor` computes b·square + c·fourth.
fn orthogonal(
    x: &Tensor,
    factor: impl Fn(&Tensor, Tensor, [f64; 2]) -> Result<Tensor>,
) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    // Works on the transposed matrix if that makes the products smaller.
    let tall = rows > columns;
    let x = if tall {
        x.t()?.contiguous()?
    } else {
        x.clone()
    };
    // The small constant keeps a gradient of zeros at zero.
    let norm = x.sqr()?.sum_all()?.sqrt()?;
    let x = x.broadcast_div(&(norm + 1e-20)?)?;
    let square = reference::product(&x, &x.t()?, Precision::F32)?;
    let fourth = reference::product(&square, &square, Precision::F32)?;
    let norm = fourth.sqr()?.sum_all()?.sqrt()?;
    let mut x = x.broadcast_div(&(norm + 1e-20)?.sqrt()?.sqrt()?)?;
    let [a, b, c] = QUINTIC;
    for _ in 0..ITERATIONS {
        let square = reference::product(&x, &x.t()?, Precision::F32)?;
        let fourth = reference::product(&square, &square, Precision::F32)?;
        let factor = factor(&square, fourth, [b, c])?;
        x = ((&x * a)? + reference::product(&factor, &x, Precision::F32)?)?;
    }
    if tall { x.t()?.contiguous() } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Implementation;
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

    fn at(gradient_scale: f64) -> UpdateAt {
        UpdateAt {
            step: 1,
            gradient_scale,
        }
    }

    fn step(
        muon: Muon,
        implementation: Implementation,
        (parameter, gradient, momentum): (&Var, &Tensor, &mut Tensor),
        scale: f64,
    ) {
        let update = MuonUpdate {
            parameter,
            gradient,
            momentum,
        };
        muon.step(ops(implementation), at(scale), vec![update])
            .unwrap();
    }

    /// Returns the direction that an update with this gradient subtracts, scaled to a factor of 1.
    fn step_of(implementation: Implementation, gradient: &Tensor) -> Tensor {
        let (rows, columns) = gradient.dims2().unwrap();
        let muon = Muon {
            learning_rate: 5.0 / (rows.max(columns) as f64).sqrt(),
            momentum: 0.95,
            weight_decay: 0.0,
        };
        let parameter = Var::from_tensor(&gradient.zeros_like().unwrap()).unwrap();
        let mut momentum = gradient.zeros_like().unwrap();
        let tensors = (&parameter, gradient, &mut momentum);
        step(muon, implementation, tensors, 0.5);
        parameter.as_detached_tensor().neg().unwrap()
    }

    /// Checks that fused updates match the reference for wide, tall and square matrices, for sizes that fill no tile,
    /// for large ones, and for directions without gradient.
    #[test]
    fn fused_matches_reference() {
        for (rows, columns) in [(1, 1), (1, 9), (5, 3), (40, 40), (37, 101), (250, 131)] {
            let all = pattern(rows, columns);
            let zeros = all.zeros_like().unwrap();
            let empty = pattern(rows, 1)
                .broadcast_mul(&pattern(1, columns))
                .unwrap();
            let [tiny, huge] = [1e-23, 1e18].map(|scale| (&all * scale).unwrap());
            for gradient in [all, zeros, empty, tiny, huge] {
                let [fused, reference] = [Implementation::Fused, Implementation::Reference]
                    .map(|implementation| step_of(implementation, &gradient));
                let difference = (fused - &reference).unwrap().abs().unwrap();
                let [difference, size] = [difference, reference.abs().unwrap()]
                    .map(|x| x.flatten_all().unwrap().max(0).unwrap())
                    .map(|x| x.to_scalar::<f32>().unwrap());
                // Rounding errors grow a hundredfold in directions without gradient.
                assert!(
                    difference <= 1e-3 * size,
                    "{rows}×{columns}: {difference} of {size}"
                );
            }
        }
    }

    /// Checks that several matrices with weight decay and momentum are updated as in the reference, with the same
    /// bits on any number of threads.
    #[test]
    fn several_matrices_match_the_reference() {
        let muon = Muon {
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 0.5,
        };
        let moved = |implementation: Implementation, threads: usize| -> Vec<f32> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let gradients =
                    [(130, 70), (64, 64), (9, 200), (64, 65)].map(|(r, c)| pattern(r, c));
                let parameters = gradients.each_ref().map(|x| Var::from_tensor(x).unwrap());
                let mut momenta = gradients.each_ref().map(|x| x.zeros_like().unwrap());
                for _ in 0..2 {
                    let tensors = parameters.iter().zip(&gradients).zip(&mut momenta);
                    let updates = tensors.map(|((parameter, gradient), momentum)| MuonUpdate {
                        parameter,
                        gradient,
                        momentum,
                    });
                    muon.step(ops(implementation), at(0.3), updates.collect())
                        .unwrap();
                }
                let values = parameters.iter().map(|x| x.flatten_all().unwrap());
                values.flat_map(|x| x.to_vec1::<f32>().unwrap()).collect()
            })
        };
        let fused = moved(Implementation::Fused, 1);
        assert_eq!(fused, moved(Implementation::Fused, 2));
        assert_eq!(fused, moved(Implementation::Fused, 3));
        for (fused, reference) in fused.iter().zip(moved(Implementation::Reference, 1)) {
            assert!((fused - reference).abs() < 1e-4, "{fused} {reference}");
        }
    }

    /// Checks that a NaN in the gradient makes the parameter NaN.
    #[test]
    fn nan_is_kept() {
        let mut values = vec![1f32; 12];
        values[5] = f32::NAN;
        let gradient = Tensor::from_vec(values, (3, 4), &Device::Cpu).unwrap();
        for implementation in [Implementation::Fused, Implementation::Reference] {
            let step = step_of(implementation, &gradient).to_vec2::<f32>().unwrap();
            assert!(step.iter().flatten().all(|x| x.is_nan()));
        }
    }

    /// Checks that an update has about the same length in every direction, for gradients of very different lengths
    /// and for wide and tall matrices.
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
            // The first direction of the shorter dimension has twenty times the gradient of the others.
            let short = rows.min(columns);
            let mut scales = vec![1f32; short];
            scales[0] = 20.0;
            let scales = Tensor::from_vec(scales, short, &Device::Cpu).unwrap();
            let x = pattern(columns.max(rows), short)
                .broadcast_mul(&scales)
                .unwrap();
            let x = if rows == short {
                x.t().unwrap().contiguous().unwrap()
            } else {
                x
            };
            for implementation in [Implementation::Fused, Implementation::Reference] {
                let u = step_of(implementation, &x);
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

    /// Checks the first update of a matrix whose gradient is already orthogonal: weight decay, then a step along the
    /// gradient by the scaled learning rate.
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
        let tensors = (&parameter, &identity, &mut momentum);
        step(muon, Implementation::Fused, tensors, 1.0);
        // Newton–Schulz on one singular value. The eighth-power norm of the 4 × 4 identity is the eighth root of 4.
        let [a, b, c] = QUINTIC;
        let mut s = 4f64.powf(-1.0 / 8.0);
        for _ in 0..ITERATIONS {
            s = a * s + b * s.powi(3) + c * s.powi(5);
        }
        let values = parameter.to_vec2::<f32>().unwrap();
        let expected = 0.95 - 0.1 * 0.2 * 2.0 * s;
        assert!((f64::from(values[0][0]) - expected).abs() < 1e-5);
        assert!((f64::from(values[0][1]) - 0.95).abs() < 1e-5);
        assert!((f64::from(momentum.to_vec2::<f32>().unwrap()[1][1]) - 0.05).abs() < 1e-7);
    }

    /// Checks that a zero gradient changes a matrix only by its weight decay.
    #[test]
    fn a_zero_gradient_moves_nothing() {
        let parameter = Var::from_tensor(&pattern(3, 5)).unwrap();
        let zeros = parameter.as_detached_tensor().zeros_like().unwrap();
        let muon = Muon {
            learning_rate: 0.1,
            momentum: 0.95,
            weight_decay: 0.0,
        };
        let tensors = (&parameter, &zeros, &mut zeros.clone());
        step(muon, Implementation::Fused, tensors, 1.0);
        let same = parameter.as_detached_tensor().to_vec2::<f32>().unwrap();
        assert_eq!(same, pattern(3, 5).to_vec2::<f32>().unwrap());
    }
}
