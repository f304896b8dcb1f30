//! `polymath bench`: the pace of a training step, on synthetic tokens.

use std::time::Instant;

use polymath_model::{LoadOptions, TokenBatch, Transformer};
use polymath_pretrain::PretrainConfig;
use polymath_train::Optimizer;

use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::peak;

/// Vocabulary and row length, where the config leaves them to a data set.
const VOCABULARY: usize = 4096;
const SEQUENCE_LENGTH: usize = 256;

/// Times whole steps: forward, backward, optimizer.
pub fn run(arguments: &arguments::Bench, environment: &Environment) -> Result<(), Failure> {
    let config: PretrainConfig =
        polymath_config::load(&arguments.config, &arguments.overrides).map_err(Failure::usage)?;
    config.training.validate().map_err(Failure::usage)?;
    let sequence = config.training.sequence_length.unwrap_or(SEQUENCE_LENGTH);
    let shape = config
        .model
        .resolve(VOCABULARY, sequence, (0, 0))
        .map_err(Failure::usage)?;
    let flops_per_token = shape.training_flops_per_token(sequence, &|_| true);
    let ops = environment.ops(config.training.precision().map_err(Failure::usage)?);
    let options = LoadOptions::trained(&environment.device, ops);
    let model = Transformer::initialise(shape, config.seed, &options)?;
    let mut optimizer = Optimizer::new(&config.training, model.trainable(), ops)?;
    let batch = synthetic(config.training.batch_size, sequence);

    let mut phases = [0.0; 3];
    for step in 1..=arguments.steps + 2 {
        let times = time_step(&model, &mut optimizer, &batch, step)?;
        // The first two steps fill caches and memory pools.
        if step > 2 {
            for (phase, time) in phases.iter_mut().zip(times) {
                *phase += time / arguments.steps.max(1) as f64;
            }
        }
    }
    let seconds: f64 = phases.iter().sum();
    let tokens_per_second = (config.training.batch_size * sequence) as f64 / seconds;
    let (flops, peak) = (
        tokens_per_second * flops_per_token,
        peak::measure(&environment.device)?,
    );
    let memory = peak_memory();
    if arguments.json {
        let value = serde_json::json!({
            "tokens_per_second": tokens_per_second,
            "gflops": flops / 1e9,
            "peak_gflops": peak / 1e9,
            "peak_share": flops / peak,
            "peak_rss_bytes": memory,
            "forward_seconds": phases[0], "backward_seconds": phases[1], "optimizer_seconds": phases[2],
        });
        println!("{value:#}");
        return Ok(());
    }
    for (name, time) in ["forward", "backward", "optimizer"].iter().zip(phases) {
        println!(
            "{name:12} {:8.1} ms {:5.1} %",
            time * 1e3,
            time / seconds * 100.0
        );
    }
    println!(
        "{tokens_per_second:.0} tokens/s, {:.1} of {:.1} GFLOP/s ({:.0} %)",
        flops / 1e9,
        peak / 1e9,
        flops / peak * 100.0
    );
    if let Some(memory) = memory {
        println!("{} MB at most", memory / 1_000_000);
    }
    Ok(())
}

fn time_step(
    model: &Transformer,
    optimizer: &mut Optimizer,
    batch: &TokenBatch,
    step: u64,
) -> Result<[f64; 3], Failure> {
    let begin = Instant::now();
    let loss = model.loss(batch)?;
    // Reading the loss waits for a GPU.
    loss.to_scalar::<f32>()?;
    let forward = begin.elapsed().as_secs_f64();
    let gradients = loss.backward()?;
    let backward = begin.elapsed().as_secs_f64();
    let at = polymath_train::UpdateAt {
        step,
        gradient_scale: 1.0 / batch.scored_tokens() as f64,
    };
    for (name, parameter) in model.trainable() {
        if let Some(gradient) = gradients.get(parameter) {
            optimizer.step(name, parameter, gradient, (at, 1e-4))?;
        }
    }
    let all = begin.elapsed().as_secs_f64();
    Ok([forward, backward - forward, all - backward])
}

/// Rows of one document each, of tokens without a pattern.
fn synthetic(rows: usize, sequence: usize) -> TokenBatch {
    let token = |at: usize| (at.wrapping_mul(2_654_435_761) >> 7) as u32 % VOCABULARY as u32;
    TokenBatch {
        input_ids: (0..rows * sequence).map(token).collect(),
        targets: (1..=rows * sequence).map(token).collect(),
        document_starts: vec![0; rows * sequence],
        rows,
    }
}

/// The most memory that this process has held, where the system says (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
