//! What the processor can do at best: multiply-adds that never leave the registers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::level::vectorised;

/// Independent sums: enough to hide the latency of a multiply-add, few enough for the registers of AVX2.
const SUMS: usize = 7;
const LANES: usize = 16;
/// Multiply-adds of each lane in one try: about half a millisecond.
const STEPS: usize = 1 << 17;

vectorised! {
    fn spin(steps: usize, factor: f32, addend: f32) -> f32 {
        let mut sums = [[0f32; LANES]; SUMS];
        for _ in 0..steps {
            for sums in &mut sums {
                for sum in sums {
                    *sum = super::lanes::multiply_add::<FMA>(*sum, factor, addend);
                }
            }
        }
        sums.iter().flatten().sum()
    }
}

/// The best rate of f32 multiply-adds, in FLOP/s, of all threads together within `time`.
pub(crate) fn peak_flops(time: Duration) -> f64 {
    let threads = rayon::current_num_threads();
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    // The first tries also wake the cores; the best one counts.
    while begin.elapsed() < time {
        let start = Instant::now();
        rayon::broadcast(|_| black_box(spin(STEPS, black_box(0.5), black_box(1.0))));
        best = best.min(start.elapsed().as_secs_f64());
    }
    (2 * STEPS * SUMS * LANES * threads) as f64 / best
}
