//! `polymath bench`: throughput of a training step, on synthetic tokens.

use std::time::Duration;

use polymath_model::{EndTokens, LoadOptions, device_memory};
use polymath_pretrain::{DatasetFacts, PretrainConfig};
use polymath_study::Pace;

use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::{peak, results};

/// Number of training tokens of the dataset that the config is completed with. It decides defaults that depend on the
/// dataset's size.
const TOKENS: u64 = 20_000_000;
/// Number of warmup steps, which fill caches and memory pools.
const WARM_UP: u64 = 2;
/// Time for which the machine's peak rate is measured after each step.
const PEAK_TIME: Duration = Duration::from_millis(60);
const PHASES: [&str; 4] = ["data", "forward", "backward", "optimizer"];

/// Times whole training steps: forward, backward and optimizer.
pub fn run(arguments: &arguments::Bench, environment: &Environment) -> Result<(), Failure> {
    let config: PretrainConfig = super::load_run(&arguments.config, &arguments.overrides)?;
    let facts = DatasetFacts {
        vocab_size: arguments.vocabulary as usize,
        ends: EndTokens { begin: 0, end: 0 },
        epoch_tokens: TOKENS,
        padding: 0.0,
    };
    let config = config.resolve(&facts).map_err(Failure::usage)?;
    if arguments.count {
        return super::count::run(&config, arguments.json);
    }
    let sequence = config.training.sequence_length;
    let shape = config.architecture().clone();
    let flops_per_token = shape.training_flops_per_token(sequence, &|_| true);
    let ops = environment.ops(config.training.precision);
    let options = LoadOptions::trained(&environment.device, ops);
    let mut pace = Pace::new(shape, &config.training, &options, config.seed)?;

    let mut steps = Vec::new();
    let mut scorings = Vec::new();
    let mut peaks = Vec::new();
    let mut gpu_memory = None;
    for step in 1..=arguments.steps + WARM_UP {
        let time = pace.step()?;
        if step == WARM_UP {
            // Read before the measurement of the peak rate, whose matrices take memory too.
            gpu_memory = device_memory(&environment.device).map(|memory| memory.peak);
        }
        if step > WARM_UP {
            steps.push([time.data, time.forward, time.backward, time.optimizer]);
            // Scoring is timed between the training steps, so that both are measured under the same load of the
            // machine.
            scorings.push(pace.score()?);
            peaks.push(peak::measure(
                &environment.device,
                ops.precision,
                PEAK_TIME,
            )?);
        }
    }
    let phases: [f64; 4] =
        std::array::from_fn(|phase| median(steps.iter().map(|step| step[phase]).collect()));
    let seconds = median(steps.iter().map(|step| step.iter().sum()).collect());
    let tokens = pace.tokens() as f64;
    let tokens_per_second = tokens / seconds;
    let result = Timing {
        phases,
        seconds,
        tokens_per_second,
        scoring_tokens_per_second: tokens / median(scorings),
        flops: tokens_per_second * flops_per_token,
        peak: median(peaks),
        memory: peak_memory(),
        gpu_memory,
    };
    if arguments.json {
        results::line(&format!("{:#}", result.json()))
    } else {
        results::print(&result.table())
    }
}

/// Medians of the measurements of all timed steps.
struct Timing {
    /// Seconds of each phase in [`PHASES`].
    phases: [f64; 4],
    seconds: f64,
    tokens_per_second: f64,
    /// Tokens per second of `evaluate` on the same batch.
    scoring_tokens_per_second: f64,
    flops: f64,
    peak: f64,
    memory: Option<u64>,
    /// Peak memory of the tensors on a GPU.
    gpu_memory: Option<u64>,
}

impl Timing {
    fn json(&self) -> serde_json::Value {
        let mut value = serde_json::json!({
            "tokens_per_second": self.tokens_per_second,
            "scoring_tokens_per_second": self.scoring_tokens_per_second,
            "gflops": self.flops / 1e9,
            "peak_gflops": self.peak / 1e9,
            "peak_share": self.flops / self.peak,
            "peak_rss_bytes": self.memory,
            "step_seconds": self.seconds,
        });
        for (name, time) in PHASES.iter().zip(self.phases) {
            value[format!("{name}_seconds")] = time.into();
        }
        if let Some(memory) = self.gpu_memory {
            value["gpu_memory_bytes"] = memory.into();
        }
        value
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (name, time) in PHASES.iter().zip(self.phases) {
            text += &format!(
                "{name:12} {:8.1} ms {:5.1} %\n",
                time * 1e3,
                time / self.seconds * 100.0
            );
        }
        text += &format!(
            "{:.0} tokens/s, {:.1} of {:.1} GFLOP/s ({:.0} %)\n",
            self.tokens_per_second,
            self.flops / 1e9,
            self.peak / 1e9,
            self.flops / self.peak * 100.0
        );
        text += &format!(
            "scoring: {:.0} tokens/s, {:.1} times as fast\n",
            self.scoring_tokens_per_second,
            self.scoring_tokens_per_second / self.tokens_per_second
        );
        if let Some(memory) = self.memory {
            text += &format!("{} MB peak memory\n", memory / 1_000_000);
        }
        if let Some(memory) = self.gpu_memory {
            text += &format!("{} MB peak memory of the GPU\n", memory / 1_000_000);
        }
        text
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the peak memory of this process in bytes, or `None` if the system does not report it (only Linux does).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the middle of the sorted values is taken, the upper one of two.
    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![5.0, 1.0, 9.0, 2.0, 3.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    /// Checks every figure of the table and of the JSON by hand.
    #[test]
    fn a_timing_is_told_whole() {
        let timing = Timing {
            phases: [0.001, 0.1, 0.2, 0.0988],
            seconds: 0.4,
            tokens_per_second: 1280.0,
            scoring_tokens_per_second: 3200.0,
            flops: 5e9,
            peak: 2e10,
            memory: Some(300_000_000),
            gpu_memory: Some(70_000_000),
        };
        let expected = serde_json::json!({
            "tokens_per_second": 1280.0, "scoring_tokens_per_second": 3200.0, "gflops": 5.0, "peak_gflops": 20.0,
            "peak_share": 0.25, "peak_rss_bytes": 300_000_000, "step_seconds": 0.4, "data_seconds": 0.001,
            "forward_seconds": 0.1, "backward_seconds": 0.2, "optimizer_seconds": 0.0988, "gpu_memory_bytes": 70_000_000
        });
        assert_eq!(timing.json(), expected);
        assert_eq!(
            timing.table(),
            "data              1.0 ms   0.2 %\n\
             forward         100.0 ms  25.0 %\n\
             backward        200.0 ms  50.0 %\n\
             optimizer        98.8 ms  24.7 %\n\
             1280 tokens/s, 5.0 of 20.0 GFLOP/s (25 %)\n\
             scoring: 3200 tokens/s, 2.5 times as fast\n\
             300 MB peak memory\n\
             70 MB peak memory of the GPU\n"
        );
    }
}
