//! Muon's Newton–Schulz iteration in plain f64.

/// Coefficients of the quintic (Jordan 2024).
const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// Returns the matrix with each singular value s replaced by f(f(f(f(s / ‖s‖₈)))), where f is the quintic. Its
/// singular vectors stay.
pub fn orthogonal(x: &[f64], (rows, columns): (usize, usize)) -> Vec<f64> {
    if rows > columns {
        let turned = orthogonal(&transposed(x, (rows, columns)), (columns, rows));
        return transposed(&turned, (columns, rows));
    }
    // ‖s‖₈⁸ is the trace of (X·Xᵀ)⁴. The division by ‖s‖₂ first keeps every power in range.
    let frobenius = x.iter().map(|x| x * x).sum::<f64>().sqrt() + 1e-300;
    let x: Vec<f64> = x.iter().map(|x| x / frobenius).collect();
    let square = product(&x, &transposed(&x, (rows, columns)), (rows, columns, rows));
    let fourth = product(&square, &square, (rows, rows, rows));
    let eighth = fourth.iter().map(|x| x * x).sum::<f64>().powf(1.0 / 8.0) + 1e-300;
    let mut x: Vec<f64> = x.iter().map(|x| x / eighth).collect();
    for _ in 0..4 {
        let square = product(&x, &transposed(&x, (rows, columns)), (rows, columns, rows));
        let cube = product(&square, &x, (rows, rows, columns));
        let fifth = product(&square, &cube, (rows, rows, columns));
        let [a, b, c] = QUINTIC;
        x = (0..x.len())
            .map(|at| a * x[at] + b * cube[at] + c * fifth[at])
            .collect();
    }
    x
}

/// Applies the four iterations to one singular value.
#[allow(dead_code, reason = "each test file uses a part")]
pub fn moved(singular: f64, eighth_norm: f64) -> f64 {
    let [a, b, c] = QUINTIC;
    (0..4).fold(singular / eighth_norm, |s, _| {
        a * s + b * s.powi(3) + c * s.powi(5)
    })
}

fn transposed(x: &[f64], (rows, columns): (usize, usize)) -> Vec<f64> {
    let at = |place: usize| x[place % rows * columns + place / rows];
    (0..rows * columns).map(at).collect()
}

fn product(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    let element = |at: usize| (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum();
    (0..m * n).map(element).collect()
}
