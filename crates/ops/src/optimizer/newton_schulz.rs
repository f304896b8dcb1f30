//! Constants of the Newton–Schulz iteration of Muon.

/// Newton–Schulz iterations. X is divided by the eighth root of the sum of its singular values' eighth powers, which
/// comes with the first one. Where many of them are alike, that leaves them so much closer to 1 than the usual root of
/// the sum of squares that four do for five; where one is far above the others it is the same.
pub(crate) const ITERATIONS: usize = 4;
/// Coefficients of the quintic that takes singular values between 0 and 1 towards 1, fast rather than exactly (Jordan
/// 2024): they end between about 0.7 and 1.2.
pub(crate) const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];
