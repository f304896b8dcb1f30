//! Detection of an adapter that was already merged into the weights of the base.

use candle_core::Tensor;
use polymath_model::{Adapter, ModelConfig};

use super::distance::{Weights, values};
use crate::StudyError;

/// Smallest multiple c of the adapter's change with which a base counts as containing the adapter.
const LEAST: f64 = 0.5;
/// Number of standard errors by which the estimate of c must exceed [`LEAST`].
const ERRORS: f64 = 5.0;
/// Maximum share of the adapter's change that may remain unexplained by c.
const REMAINDER: f64 = 0.5;
/// Size of rounding errors of bf16, relative to the norm of the weights.
const ROUNDING: f64 = 1.0 / 256.0;

/// Tests whether `given` is `original` + c · (the adapter's change). Returns c if that holds with c at least a half.
///
/// # Errors
/// Fails if the adapter does not fit the weights.
pub(super) fn against_original(
    adapter: &Adapter,
    config: &ModelConfig,
    [original, given]: [&Weights; 2],
) -> Result<Option<f64>, StudyError> {
    let mut merged = original.clone();
    adapter.merge(config, &mut merged)?;
    let (mut along, mut square, mut norm) = (0.0, 0.0, 0.0);
    let mut pairs = Vec::new();
    for (module, _) in adapter.config.modules(config) {
        let name = format!("{module}.weight");
        let (Some(before), Some(found)) = (original.get(&name), given.get(&name)) else {
            return Ok(None);
        };
        let delta = values(&(&merged[&name] - before)?)?;
        let change = values(&(found - before)?)?;
        along += dot(&delta, &change);
        square += dot(&delta, &delta);
        norm += values(before)?
            .iter()
            .map(|x| f64::from(x * x))
            .sum::<f64>();
        pairs.push((delta, change));
    }
    if square == 0.0 {
        return Ok(None);
    }
    let multiple = along / square;
    let remainder: f64 = pairs
        .iter()
        .flat_map(|(delta, change)| delta.iter().zip(change))
        .map(|(delta, change)| (f64::from(*change) - multiple * f64::from(*delta)).powi(2))
        .sum();
    let allowed = (REMAINDER * multiple).powi(2) * square + ROUNDING.powi(2) * norm;
    Ok((multiple >= LEAST && remainder <= allowed).then_some(multiple))
}

/// Estimates from the given weights alone how many times they contain the adapter, for the case that the original base
/// is not known. Returns the multiple if it is significantly above a half.
///
/// For a base W = W₀ + c·s·B·A, B⁺·W·A⁺ = B⁺·W₀·A⁺ + c·s·I. Only the diagonal holds the adapter; W₀ is no more likely
/// to lie there than beside it, so the elements beside the diagonal show the size of the noise.
///
/// # Errors
/// Fails if a tensor operation fails.
pub(super) fn from_weights(
    adapter: &Adapter,
    config: &ModelConfig,
    given: &Weights,
) -> Result<Option<f64>, StudyError> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for (module, _) in adapter.config.modules(config) {
        let own = |part: &str| adapter.weights.get(&format!("{module}.{part}.weight"));
        let (Some(a), Some(b)) = (own("lora_A"), own("lora_B")) else {
            continue;
        };
        let Some(base) = given.get(&format!("{module}.weight")) else {
            continue;
        };
        if let Some(found) = projected(base, [a, b], adapter.config.scale())? {
            sum += found.multiple / found.variance;
            weight += 1.0 / found.variance;
        }
    }
    if weight == 0.0 {
        return Ok(None);
    }
    let multiple = sum / weight;
    let least = LEAST + ERRORS / weight.sqrt();
    Ok((multiple > least).then_some(multiple))
}

/// Estimate of the multiple from the weights of one module, with its variance.
struct Projected {
    multiple: f64,
    variance: f64,
}

fn projected(
    base: &Tensor,
    [a, b]: [&Tensor; 2],
    scale: f64,
) -> Result<Option<Projected>, StudyError> {
    let rank = a.dims()[0];
    let (outputs, inputs) = base.dims2()?;
    if a.dims() != [rank, inputs] || b.dims() != [outputs, rank] || scale == 0.0 {
        return Ok(None);
    }
    let inner = b
        .t()?
        .contiguous()?
        .matmul(&base.matmul(&a.t()?.contiguous()?)?)?; // (rank, rank)
    let of_b = inverse(&square(&b.t()?.contiguous()?.matmul(b)?)?);
    let of_a = inverse(&square(&a.matmul(&a.t()?.contiguous()?)?)?);
    let (Some(of_b), Some(of_a)) = (of_b, of_a) else {
        return Ok(None);
    };
    let found = product(&product(&of_b, &square(&inner)?), &of_a);
    let diagonal: f64 = (0..rank).map(|at| found[at][at]).sum::<f64>() / rank as f64;
    let beside: f64 = (0..rank)
        .flat_map(|row| (0..rank).map(move |column| (row, column)))
        .filter(|(row, column)| row != column)
        .map(|(row, column)| found[row][column].powi(2))
        .sum();
    let beside = beside / (rank * rank - rank).max(1) as f64;
    // Variance of an element for weights that are independent and equally large; the only estimate for rank 1.
    let element =
        values(base)?.iter().map(|x| f64::from(x * x)).sum::<f64>() / (outputs * inputs) as f64;
    let trace = |matrix: &[Vec<f64>]| (0..rank).map(|at| matrix[at][at]).sum::<f64>() / rank as f64;
    let expected = element * trace(&of_b) * trace(&of_a);
    let variance = beside.max(expected) / (scale * scale * rank as f64);
    Ok(
        (variance > 0.0 && variance.is_finite()).then_some(Projected {
            multiple: diagonal / scale,
            variance,
        }),
    )
}

fn dot(first: &[f32], second: &[f32]) -> f64 {
    let pairs = first.iter().zip(second);
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn square(matrix: &Tensor) -> Result<Vec<Vec<f64>>, StudyError> {
    let rows = matrix.to_vec2::<f32>()?;
    let wide = |row: Vec<f32>| row.into_iter().map(f64::from).collect();
    Ok(rows.into_iter().map(wide).collect())
}

fn product(left: &[Vec<f64>], right: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = right.len();
    let element = |row: &[f64], column: usize| {
        let terms = (0..size).map(|at| row[at] * right[at][column]);
        terms.sum::<f64>()
    };
    left.iter()
        .map(|row| (0..size).map(|column| element(row, column)).collect())
        .collect()
}

/// Inverts a symmetric positive definite matrix by Gauss-Jordan elimination; `None` if it is singular.
fn inverse(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let size = matrix.len();
    let largest = (0..size).map(|at| matrix[at][at]).fold(0.0, f64::max);
    let mut rows: Vec<Vec<f64>> = matrix.to_vec();
    for (at, row) in rows.iter_mut().enumerate() {
        row.extend((0..size).map(|column| f64::from(u8::from(column == at))));
    }
    for at in 0..size {
        let best = (at..size).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, best);
        let pivot = rows[at][at];
        if pivot.abs() <= 1e-9 * largest || !pivot.is_finite() {
            return None;
        }
        rows[at].iter_mut().for_each(|value| *value /= pivot);
        let own = rows[at].clone();
        for (_, row) in rows
            .iter_mut()
            .enumerate()
            .filter(|(number, _)| *number != at)
        {
            let factor = row[at];
            row.iter_mut()
                .zip(&own)
                .for_each(|(value, own)| *value -= factor * own);
        }
    }
    Some(rows.into_iter().map(|row| row[size..].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let matrix = vec![
            vec![4.0, 1.0, 0.5],
            vec![1.0, 3.0, 0.25],
            vec![0.5, 0.25, 2.0],
        ];
        let one = product(&matrix, &inverse(&matrix).unwrap());
        for (row, values) in one.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let expected = f64::from(u8::from(row == column));
                assert!((value - expected).abs() < 1e-12, "{one:?}");
            }
        }
        assert!(inverse(&[vec![1.0, 1.0], vec![1.0, 1.0]]).is_none());
    }
}
