//! Times single matrix products on request. `scripts/bench/compare_products.py` starts this program to compare it
//! with other libraries.
//!
//! Each line on standard input is `precision rows inputs outputs`. The answer is one line with the GFLOP/s of the
//! three products of a linear layer: the forward pass, the gradient of its input and the gradient of its weight. Each
//! rate is the median over the repetitions. The operands are f32 tensors; rounding them to the precision is part of
//! the measured time.

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::{Device, Tensor};
use polymath_ops::{Implementation, Ops, Precision};

/// Global allocator. It keeps freed memory for the next product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REPETITIONS: usize = 15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    polymath_ops::keep_freed_memory();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let precision: Precision = words.next().ok_or("a precision is missing")?.parse()?;
        let sizes = words.map(str::parse).collect::<Result<Vec<usize>, _>>()?;
        let [rows, inputs, outputs] = sizes[..] else {
            return Err("expected `precision rows inputs outputs`".into());
        };
        let ops = Ops {
            implementation: Implementation::Fused,
            precision,
        };
        // Runs on a thread of the pool, as in training.
        let rates = rayon::scope(|_| rates(ops, [rows, inputs, outputs]))?;
        println!("{}", rates.map(|rate| format!("{rate:.1}")).join(" "));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Returns the GFLOP/s of x·wᵀ, dy·w and dyᵀ·x.
fn rates(ops: Ops, [rows, inputs, outputs]: [usize; 3]) -> candle_core::Result<[f64; 3]> {
    let normal = |shape: (usize, usize)| Tensor::randn(0f32, 1.0, shape, &Device::Cpu);
    let x = normal((rows, inputs))?;
    let weight = normal((outputs, inputs))?;
    let gradient = normal((rows, outputs))?;
    let products = [
        (x.clone(), weight.clone()),
        (gradient.clone(), weight.t()?),
        (gradient.t()?, x.t()?),
    ];
    let mut rates = [0.0; 3];
    for ((left, right), rate) in products.iter().zip(&mut rates) {
        let mut seconds = Vec::new();
        for _ in 0..REPETITIONS {
            let begin = Instant::now();
            ops.linear(left, right, None)?;
            seconds.push(begin.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        *rate = 2e-9 * (rows * inputs * outputs) as f64 / seconds[REPETITIONS / 2];
    }
    Ok(rates)
}
