//! Pretraining in forty lines: `cargo run --release --example pretrain [folder]`.

use std::path::Path;

use candle_core::Device;
use polymath_data::synthetic::{self, SyntheticConfig};
use polymath_data::{NoProgress, prepare};
use polymath_pretrain::Pretraining;
use polymath_train::{EvaluationMetrics, Launch, Observer, Outcome};

/// Observer that prints the measurements during training.
struct Lines;

impl Observer for Lines {
    fn after_evaluation(&mut self, found: &EvaluationMetrics, _best: bool) {
        println!("step {}: {:.2?}", found.step, found.heldout_bits_per_byte);
    }
}

/// Writes a small synthetic corpus into `folder`, prepares it, and pretrains on two of its domains.
pub fn pretrain(folder: &Path) -> anyhow::Result<Outcome> {
    let [raw, data, run] = ["raw", "data", "run"].map(|name| folder.join(name));
    let size = SyntheticConfig {
        seed: 1,
        bytes_per_domain: 200_000,
    };
    synthetic::write(&size, &raw)?;
    prepare(&synthetic::prepare_config(&raw, &data), true, &NoProgress)?;
    let config = format!(
        "dataset = {data:?}
        run = {run:?}
        mixture = {{ domains = [\"mathematics\", \"chemistry\"] }}
        model = {{ hidden_size = 64, num_hidden_layers = 2, num_attention_heads = 4 }}
        training = {{ steps = 60, batch_size = 8, sequence_length = 128, learning_rate = 3e-3 }}
        evaluation = {{ every = 20, max_tokens = 2000 }}"
    );
    let pretraining = Pretraining::open(toml::from_str(&config)?)?;
    println!("{} parameters", pretraining.plan().parameters);
    Ok(pretraining.run(&Launch::on(Device::Cpu), &mut Lines)?)
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1);
    let folder = folder.unwrap_or("demo/pretrain".into());
    println!("{:?}: see {folder}/run/best", pretrain(folder.as_ref())?);
    Ok(())
}
