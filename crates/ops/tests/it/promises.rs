//! Tests of invariants of every operation: NaN is never lost, results do not depend on the number of threads, and
//! hardly on the machine.

use std::process::Command;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use polymath_ops::{Ops, Precision, RotaryTable, Segments};

use crate::support;
use crate::support::{FUSED, REFERENCE, run, tensor, values, variables};

type Function = Box<dyn Fn(Ops, &[Tensor]) -> Result<Tensor> + Send + Sync>;

/// Returns every operation with its name and inputs.
fn operations() -> Vec<(&'static str, Vec<Var>, Function)> {
    let table = RotaryTable::new(&[1.0, 0.5, 0.2, 0.1], 64, &Device::Cpu).expect("a table");
    let positions: Arc<[u32]> = (0..180).map(|i| i % 64).collect();
    let starts = (0..180).map(|i| i % 90 / 40 * 40).collect();
    let segments = Segments::new(2, 90, starts).expect("segments");
    let windowed = segments.windowed(23);
    let targets: Arc<[u32]> = (0..1100).map(|i| i * 7 % 130).collect();
    let ids = Tensor::from_vec(
        (0..180u32).map(|i| i * i % 50).collect(),
        (2, 90),
        &Device::Cpu,
    );
    let ids = ids.expect("ids");
    vec![
        (
            "linear",
            variables(&[&[700, 65], &[70, 65]]),
            Box::new(|ops, x| ops.linear(&x[0], &x[1], None)),
        ),
        (
            "linear with a bias",
            variables(&[&[700, 65], &[70, 65], &[70]]),
            Box::new(|ops, x| ops.linear(&x[0], &x[1], Some(&x[2]))),
        ),
        (
            "rms_norm",
            variables(&[&[700, 65], &[65]]),
            Box::new(|ops, x| ops.rms_norm(&x[0], &x[1], 1e-5)),
        ),
        (
            "layer_norm",
            variables(&[&[700, 65], &[65], &[65]]),
            Box::new(|ops, x| ops.layer_norm(&x[0], &x[1], &x[2], 1e-5)),
        ),
        (
            "gelu",
            variables(&[&[300, 130]]),
            Box::new(|ops, x| ops.gelu(&(&x[0] * 9.0)?)),
        ),
        (
            "swiglu",
            variables(&[&[300, 130], &[300, 130]]),
            Box::new(|ops, x| ops.swiglu(&(&x[0] * 9.0)?, &x[1])),
        ),
        (
            "rope",
            variables(&[&[2, 90, 6, 8]]),
            Box::new(move |ops, x| ops.rope(&x[0], &table, &positions)),
        ),
        (
            "attention",
            variables(&[&[2, 90, 4, 16], &[2, 90, 2, 16], &[2, 90, 2, 16]]),
            Box::new(move |ops, x| ops.attention(&x[0], &x[1], &x[2], &segments)),
        ),
        (
            "attention with a window",
            variables(&[&[2, 90, 4, 16], &[2, 90, 2, 16], &[2, 90, 2, 16]]),
            Box::new(move |ops, x| ops.attention(&x[0], &x[1], &x[2], &windowed)),
        ),
        (
            "embedding",
            variables(&[&[50, 33]]),
            Box::new(move |ops, x| ops.embedding(&x[0], &ids)),
        ),
        (
            "cross-entropy",
            variables(&[&[1100, 40], &[130, 40]]),
            Box::new(move |ops, x| ops.cross_entropy(&x[0], &x[1], &targets, 1e-3)),
        ),
    ]
}

/// Checks that a NaN in any input makes the output, and the gradient of the first input, contain NaN, in both
/// implementations.
#[test]
fn nan_comes_out() -> Result<()> {
    for ops in [FUSED, REFERENCE] {
        for precision in [Precision::F32, Precision::Bf16] {
            let ops = Ops { precision, ..ops };
            for (name, inputs, function) in operations() {
                for which in 0..inputs.len() {
                    let mut poisoned: Vec<Var> = inputs.clone();
                    let mut numbers: Vec<f64> = values(&inputs[which]);
                    numbers[0] = f64::NAN;
                    let numbers: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
                    let shape = inputs[which].shape().clone();
                    poisoned[which] =
                        Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu)?)?;
                    let results = run(&poisoned, &|x| function(ops, x))?;
                    let output = values(&results[0]);
                    assert!(
                        output.iter().any(|x| x.is_nan()),
                        "{name} {ops:?}, input {which}"
                    );
                    let finite = output.iter().filter(|x| x.is_finite()).count();
                    assert!(
                        output.len() == 1 || finite > 0,
                        "{name}: one NaN spoils all"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Checks that the score of a token with a NaN is NaN and not correct.
#[test]
fn nan_is_scored_as_nan() -> Result<()> {
    let hidden = Tensor::new(&[[f32::NAN, 1.0], [1.0, 0.0]], &Device::Cpu)?;
    let weight = tensor(&[3, 2], 1);
    for ops in [FUSED, REFERENCE] {
        let scores = ops.score(&hidden, &weight, &vec![0, 0].into())?;
        assert!(scores.nats[0].is_nan() && !scores.correct[0]);
        assert!(scores.nats[1].is_finite());
    }
    Ok(())
}

fn bits(results: &[Tensor]) -> Vec<u64> {
    results.iter().flat_map(values).map(f64::to_bits).collect()
}

/// Checks that outputs and gradients have the same bits on 1, 2 and 3 threads, in f32 and in bf16.
#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    for precision in [Precision::F32, Precision::Bf16] {
        let ops = Ops { precision, ..FUSED };
        for (name, inputs, function) in operations() {
            let on = |threads| -> Result<Vec<u64>> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.expect("threads start");
                Ok(bits(&pool.install(|| run(&inputs, &|x| function(ops, x)))?))
            };
            let one = on(1)?;
            assert!(one == on(2)?, "{name} on 2 threads");
            assert!(one == on(3)?, "{name} on 3 threads");
        }
    }
    Ok(())
}

/// Returns one number for each operation and precision, which differs if the results do.
fn digests() -> Result<Vec<(String, f64)>> {
    let mut digests = Vec::new();
    for precision in [Precision::F32, Precision::Bf16] {
        let ops = Ops { precision, ..FUSED };
        for (name, inputs, function) in operations() {
            for (i, result) in run(&inputs, &|x| function(ops, x))?.iter().enumerate() {
                let values = values(result);
                let weights = support::numbers(values.len(), 7);
                let pairs = values.iter().zip(weights);
                let sum: f64 = pairs.map(|(x, w)| x * f64::from(w)).sum();
                let size: f64 = values.iter().map(|x| x.abs()).sum();
                digests.push((format!("{name} {i} {precision:?}"), sum / size));
            }
        }
    }
    Ok(digests)
}

const CHILD: &str = "POLYMATH_TEST_PRINTS_DIGESTS";

/// Checks that kernels without wide vectors, and those without AMX tiles, compute the same. An environment variable
/// forces them in a second process.
#[test]
fn lesser_machines_agree() -> Result<()> {
    let digests = digests()?;
    if std::env::var_os(CHILD).is_some() {
        for (name, digest) in digests {
            println!("digest:{name}:{digest:e}");
        }
        return Ok(());
    }
    for (variable, value) in [("POLYMATH_PORTABLE", "1"), ("POLYMATH_AMX", "0")] {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "promises::lesser_machines_agree", "--nocapture"])
            .env(CHILD, "1")
            .env(variable, value)
            .output()
            .expect("this test starts again");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut seen = 0;
        for line in output.lines().filter_map(|line| line.split_once("digest:")) {
            let (name, there) = line.1.rsplit_once(':').expect("a name and a number");
            let there: f64 = there.parse().expect("a number");
            let (_, here) = digests
                .iter()
                .find(|(known, _)| known == name)
                .expect("the same names");
            // A number between two bf16 values may be rounded to the other one if sums have another order.
            let tolerance = match name.ends_with("Bf16") {
                true => 1e-4,
                false => 1e-6,
            };
            assert!(
                (here - there).abs() < tolerance,
                "{variable}, {name}: {here} and {there}"
            );
            seen += 1;
        }
        assert_eq!(seen, digests.len(), "{output}");
    }
    Ok(())
}
