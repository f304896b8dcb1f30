//! `polymath bench --count`: work of a training step on a GPU, counted on the CPU, and the roofline's forecast.

use anyhow::anyhow;
use candle_core::Device;
use polymath_model::{
    Implementation, KernelCount, LoadOptions, ModelConfig, Ops, Precision, Sampling, Unit,
};
use polymath_pretrain::ResolvedPretrain;
use polymath_study::Pace;
use polymath_study::roofline::{GPUS, Gpu, LeastWork, StepShape, least_work};
use polymath_train::OptimizerChoice;

use crate::failure::Failure;
use crate::results;

/// Says on each output how far its numbers go.
const FORECAST: &str = "forecast: nothing ran on a GPU";

/// Ends the table.
const NOTES: &str = "\
Moved: each byte of an operand once for a launch, as if caches held it; accessed: without caches.
Of Candle's work, sums of gradients, copies and uploads are counted; its reshapes, biases and residual sums in sublayers
that run operation by operation (f32, tf32, GPT-2, norms of queries and keys) are not.
Each kernel takes the longer of its bytes at the GPU's published bandwidth and its FLOPs at the published peak, one after
the other; no GPU reaches both, and launches cost nothing here.
";

/// Counts a step and prints the counts, the least that its shape needs, and the forecast.
pub(super) fn run(config: &ResolvedPretrain, json: bool) -> Result<(), Failure> {
    if config.training.optimizer == OptimizerChoice::Muon {
        return Err(Failure::usage(anyhow!(
            "`--count`: steps of Muon are not counted, since its products are Candle's: add \
             `training.optimizer=\"adamw\"`"
        )));
    }
    install()?;
    let ops = Ops {
        implementation: Implementation::Emulated,
        precision: config.training.precision,
    };
    let options = LoadOptions::trained(&Device::Cpu, ops);
    let architecture = config.architecture().clone();
    let shape = StepShape {
        rows: config.training.batch_size,
        sequence: config.training.sequence_length,
        precision: ops.precision,
    };
    let mut pace = Pace::new(
        architecture.clone(),
        &config.training,
        &options,
        config.seed,
    )?;
    let step = Step {
        counts: pace.count(Sampling::Classes)?,
        least: least_work(&architecture, shape),
        unit: unit(ops.precision),
        tokens: pace.tokens() as f64,
    };
    if json {
        results::line(&format!("{:#}", step.json()))
    } else {
        results::print(&step.table(&architecture))
    }
}

/// Returns the unit of a GPU that computes products in a precision.
fn unit(precision: Precision) -> Unit {
    match precision {
        Precision::F32 => Unit::F32,
        Precision::Tf32 => Unit::Tf32,
        Precision::Bf16 => Unit::Bf16,
    }
}

/// Makes the emulator run the kernels.
#[cfg(all(unix, feature = "emulator"))]
fn install() -> Result<(), Failure> {
    polymath_model::install_emulator(polymath_emulator::emulate);
    Ok(())
}

#[cfg(not(all(unix, feature = "emulator")))]
fn install() -> Result<(), Failure> {
    Err(Failure::usage(anyhow!(
        "`--count`: this program was built without the emulator of the kernels: build it with `--features emulator` on \
         Linux or macOS, which needs a C++17 compiler"
    )))
}

/// Counted step, with the least that its shape needs.
struct Step {
    counts: Vec<KernelCount>,
    least: Vec<LeastWork>,
    unit: Unit,
    tokens: f64,
}

/// Sums over a step.
struct Totals {
    launches: u64,
    accessed: f64,
    moved: f64,
    flops: f64,
}

impl Step {
    fn totals(&self) -> Totals {
        let sum = |of: &dyn Fn(&KernelCount) -> f64| self.counts.iter().map(of).sum();
        Totals {
            launches: self.counts.iter().map(|count| count.launches).sum(),
            accessed: sum(&|count| count.accessed as f64),
            moved: sum(&|count| count.moved as f64),
            flops: sum(&KernelCount::flops),
        }
    }

    /// Returns the bytes and the operations that the shape needs at least.
    fn least(&self) -> [f64; 2] {
        let bytes = self.least.iter().map(|work| work.bytes).sum();
        [bytes, self.least.iter().map(|work| work.flops).sum()]
    }

    /// Returns the seconds of the least work on a GPU.
    fn least_seconds(&self, gpu: &Gpu) -> f64 {
        let works = self.least.iter();
        works
            .map(|work| gpu.seconds(work.bytes, work.flops, self.unit))
            .sum()
    }

    fn json(&self) -> serde_json::Value {
        let totals = self.totals();
        let [bytes, flops] = self.least();
        let kernels = self.counts.iter().map(|count| {
            serde_json::json!({
                "name": count.name,
                "launches": count.launches,
                "accessed_bytes": count.accessed,
                "moved_bytes": count.moved,
                "flops": count.flops(),
            })
        });
        let gpus = GPUS.iter().map(|gpu| {
            let seconds = gpu.forecast(&self.counts);
            serde_json::json!({
                "gpu": gpu.name,
                "step_seconds": seconds,
                "tokens_per_second": self.tokens / seconds,
                "roofline_step_seconds": self.least_seconds(gpu),
                "source": gpu.source,
            })
        });
        serde_json::json!({
            "note": FORECAST,
            "launches": totals.launches,
            "accessed_bytes": totals.accessed,
            "moved_bytes": totals.moved,
            "flops": totals.flops,
            "roofline_bytes": bytes,
            "roofline_flops": flops,
            "bytes_of_roofline": totals.moved / bytes,
            "kernels": kernels.collect::<Vec<_>>(),
            "forecast": gpus.collect::<Vec<_>>(),
        })
    }

    fn table(&self, architecture: &ModelConfig) -> String {
        let mut text = format!(
            "{} layers of {}, {} tokens a step; {FORECAST}\n\n",
            architecture.num_hidden_layers, architecture.hidden_size, self.tokens
        );
        text += &format!(
            "{:42}{:>9}{:>13}{:>13}{:>11}\n",
            "", "launches", "accessed GB", "moved GB", "TFLOP"
        );
        let row = |name: &str, launches: u64, [accessed, moved, flops]: [f64; 3]| {
            let (accessed, moved, flops) = (accessed / 1e9, moved / 1e9, flops / 1e12);
            format!("{name:42}{launches:>9}{accessed:>13.3}{moved:>13.3}{flops:>11.3}\n")
        };
        let mut counts: Vec<&KernelCount> = self.counts.iter().collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.moved));
        for count in counts {
            let numbers = [count.accessed as f64, count.moved as f64, count.flops()];
            text += &row(&count.name, count.launches, numbers);
        }
        let totals = self.totals();
        let [bytes, flops] = self.least();
        let all = [totals.accessed, totals.moved, totals.flops];
        text += &row("whole step", totals.launches, all);
        text += &format!(
            "{:42}{:>9}{:>13}{:>13.3}{:>11.3}\n\n",
            "roofline: each operand once",
            "",
            "",
            bytes / 1e9,
            flops / 1e12
        );
        text += &format!(
            "bytes moved: {:.2} of the roofline's\n\n",
            totals.moved / bytes
        );
        text += &format!(
            "{:20}{:>14}{:>14}{:>18}\n",
            "forecast", "ms a step", "tokens/s", "roofline, ms"
        );
        for gpu in &GPUS {
            let seconds = gpu.forecast(&self.counts);
            text += &format!(
                "{:20}{:>14.2}{:>14.0}{:>18.2}\n",
                gpu.name,
                seconds * 1e3,
                self.tokens / seconds,
                self.least_seconds(gpu) * 1e3
            );
        }
        text + "\n" + NOTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that products are timed at the rate of their precision.
    #[test]
    fn precisions_have_their_units() {
        let units = [Precision::F32, Precision::Tf32, Precision::Bf16].map(unit);
        assert_eq!(units, [Unit::F32, Unit::Tf32, Unit::Bf16]);
    }

    /// Returns a step of 1000 tokens: a copy of 4.078 GB and products of 3.12 TFLOP that access and move fewer bytes.
    fn step() -> Step {
        let count =
            |name: &str, launches, [accessed, moved, multiply_adds]: [u64; 3]| KernelCount {
                name: name.to_owned(),
                launches,
                accessed,
                moved,
                multiply_adds,
                unit: Unit::Bf16,
            };
        let least = |bytes, flops| LeastWork {
            name: "work",
            bytes,
            flops,
        };
        Step {
            counts: vec![
                count("products", 3, [7_000_000, 5_000_000, 1_560_000_000_000]),
                count("copy", 2, [6_000_000_000, 4_078_000_000, 0]),
            ],
            least: vec![least(1e9, 3.12e11), least(1.039e9, 0.0)],
            unit: Unit::Bf16,
            tokens: 1000.0,
        }
    }

    /// Checks the figures of the JSON by hand, for an A100 of 2.039 TB/s and 312 TFLOP/s: 10 ms and 2 ms of kernels,
    /// and at least 1 ms and 0.51 ms.
    #[test]
    fn the_json_adds_up_the_kernels() {
        let found = step().json();
        let near = |value: &serde_json::Value, expected: f64| {
            let found = value.as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        };
        for (key, expected) in [
            ("launches", 5.0),
            ("accessed_bytes", 6.007e9),
            ("moved_bytes", 4.083e9),
            ("flops", 3.12e12),
            ("roofline_bytes", 2.039e9),
            ("roofline_flops", 3.12e11),
            ("bytes_of_roofline", 4.083 / 2.039),
        ] {
            near(&found[key], expected);
        }
        let kernel = serde_json::json!({
            "name": "products", "launches": 3, "accessed_bytes": 7_000_000, "moved_bytes": 5_000_000, "flops": 3.12e12
        });
        assert_eq!(found["kernels"][0], kernel);
        let gpu = &found["forecast"][0];
        assert_eq!(gpu["gpu"], "A100 80 GB SXM");
        near(&gpu["step_seconds"], 0.012);
        near(&gpu["tokens_per_second"], 1000.0 / 0.012);
        near(&gpu["roofline_step_seconds"], 1e-3 + 1.039 / 2039.0);
    }

    /// Checks every row of the table by hand: the kernels by the bytes that they move, their sum, and the GPUs.
    #[test]
    fn the_table_lists_the_kernels_by_their_bytes() {
        let config: polymath_pretrain::PretrainConfig = toml::from_str(
            "dataset = \"d\"\nrun = \"r\"\n[model]\nhidden_size = 8\nnum_hidden_layers = 3\nnum_attention_heads = 1",
        )
        .unwrap();
        let facts = polymath_pretrain::DatasetFacts {
            vocab_size: 50,
            ends: polymath_model::EndTokens { begin: 0, end: 0 },
            epoch_tokens: 100,
            padding: 0.0,
        };
        let resolved = config.resolve(&facts).unwrap();
        let table = step().table(resolved.architecture());
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table
            .lines()
            .map(words)
            .filter(|line| !line.is_empty())
            .collect();
        let head = "3 layers of 8, 1000 tokens a step; forecast: nothing ran on a GPU";
        assert_eq!(
            lines[..9],
            [
                head,
                "launches accessed GB moved GB TFLOP",
                "copy 2 6.000 4.078 0.000",
                "products 3 0.007 0.005 3.120",
                "whole step 5 6.007 4.083 3.120",
                "roofline: each operand once 2.039 0.312",
                "bytes moved: 2.00 of the roofline's",
                "forecast ms a step tokens/s roofline, ms",
                "A100 80 GB SXM 12.00 83333 1.51",
            ]
        );
        // H100: 4.078 / 3.35 ms and 3.12 / 989.4 s; at least 0.315 and 0.310 ms.
        assert_eq!(lines[9], "H100 SXM 4.37 228794 0.63");
    }
}
