//! Peak rate of the processor: multiply-adds that never leave the registers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::format::Format;
use crate::Precision;
#[cfg(target_arch = "x86_64")]
use crate::fused::gemm::amx;
use crate::fused::simd::level::{Level, level};

/// Rounds of multiply-adds in one timing: about half a millisecond.
const ROUNDS: usize = 1 << 17;

/// Loop of multiply-adds on independent sums.
struct PeakLoop {
    run: fn(rounds: usize, factor: f32, addend: f32) -> f32,
    /// Floating-point operations of a round.
    flops: usize,
}

impl PeakLoop {
    /// Returns the fastest loop that a product in this precision uses on this machine.
    fn of(precision: Precision) -> Self {
        let (run, sums, lanes): (fn(usize, f32, f32) -> f32, _, _) =
            match (level(), Format::of(precision)) {
                #[cfg(target_arch = "x86_64")]
                (_, Format::Tiled) => (spin_tiles, 1, amx::SPIN),
                #[cfg(target_arch = "x86_64")]
                (_, Format::Split) => (spin_tiles, 1, amx::SPIN / amx::PRODUCTS_OF_SPLIT),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512, Format::Bf16Pairs) => (
                    // SAFETY: the instructions were found on this machine.
                    |rounds, factor, addend| unsafe { x86::dot_bf16(rounds, factor, addend) },
                    x86::SUMS,
                    2 * 16,
                ),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512, _) => (
                    // SAFETY: the instructions were found on this machine.
                    |rounds, factor, addend| unsafe { x86::avx512(rounds, factor, addend) },
                    x86::SUMS,
                    16,
                ),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx2, _) => (
                    // SAFETY: the instructions were found on this machine.
                    |rounds, factor, addend| unsafe { x86::avx2(rounds, factor, addend) },
                    x86::SUMS,
                    8,
                ),
                (Level::Portable, _) => (portable, PORTABLE_SUMS, PORTABLE_LANES),
            };
        let flops = 2 * sums * lanes;
        Self { run, flops }
    }
}

#[cfg(target_arch = "x86_64")]
fn spin_tiles(rounds: usize, _factor: f32, _addend: f32) -> f32 {
    // SAFETY: a format for the tiles is chosen only on machines that have them.
    unsafe { amx::spin(rounds) };
    0.0
}

const PORTABLE_SUMS: usize = 7;
const PORTABLE_LANES: usize = 16;

fn portable(rounds: usize, factor: f32, addend: f32) -> f32 {
    let mut sums = [[0f32; PORTABLE_LANES]; PORTABLE_SUMS];
    for _ in 0..rounds {
        for sum in sums.iter_mut().flatten() {
            *sum = *sum * factor + addend;
        }
    }
    sums.iter().flatten().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Number of independent sums: enough to hide the latency of a multiply-add, few enough for the registers of
    /// AVX2.
    pub const SUMS: usize = 12;

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(rounds: usize, factor: f32, addend: f32) -> f32 {
        let (factor, addend) = (_mm256_set1_ps(factor), _mm256_set1_ps(addend));
        let mut sums = [_mm256_setzero_ps(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, addend);
            }
        }
        sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
    }

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub fn avx512(rounds: usize, factor: f32, addend: f32) -> f32 {
        let (factor, addend) = (_mm512_set1_ps(factor), _mm512_set1_ps(addend));
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, addend);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
    pub fn dot_bf16(rounds: usize, factor: f32, addend: f32) -> f32 {
        let factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(factor), _mm512_set1_ps(factor));
        let addend = _mm512_cvtne2ps_pbh(_mm512_set1_ps(addend), _mm512_set1_ps(addend));
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, addend);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }
}

/// Measures the best rate of multiply-adds in this precision within `time`: FLOP/s of all threads together.
pub(crate) fn peak_flops(precision: Precision, time: Duration) -> f64 {
    let spin = PeakLoop::of(precision);
    let threads = rayon::current_num_threads();
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    // The first timings also wake the cores; the best one counts.
    while begin.elapsed() < time {
        let start = Instant::now();
        rayon::broadcast(|_| black_box((spin.run)(ROUNDS, black_box(0.5), black_box(1.0))));
        best = best.min(start.elapsed().as_secs_f64());
    }
    (ROUNDS * spin.flops * threads) as f64 / best
}
