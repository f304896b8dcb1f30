//! Constants of Muon's Newton–Schulz iteration.

/// Number of Newton–Schulz iterations. X is first divided by ‖s‖₈, the eighth root of the sum of its singular values'
/// eighth powers, which the first iteration yields anyway. For similar singular values, that brings them closer to 1
/// than the usual division by ‖s‖₂, so that four iterations replace five. If one singular value dominates, both norms
/// are the same.
pub(crate) const ITERATIONS: usize = 4;
/// Coefficients of the quintic that moves singular values between 0 and 1 towards 1, quickly rather than exactly
/// (Jordan 2024). They end between about 0.7 and 1.2.
pub(crate) const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];
