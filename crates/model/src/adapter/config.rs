//! Adapter configuration: rank, scale and adapted projections.

use serde::{Deserialize, Serialize};

use super::{A, B, MAGNITUDE};
use crate::{Family, ModelConfig, ModelError};

/// The `[lora]` table: settings of low-rank adapters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank r of the matrices A and B.
    pub rank: usize,
    /// α: the adapter's output is scaled by α/r.
    pub alpha: f64,
    /// Share of the adapter's inputs that dropout sets to zero during training.
    pub dropout: f64,
    /// Projections to adapt, given by the end of their names: `q_proj`, `mlp.up_proj`,
    /// `model.layers.0.self_attn.q_proj`.
    pub targets: Vec<String>,
    /// True to scale by α/√r instead of α/r (rsLoRA, Kalajdzievski 2023), so that a high rank does not learn more
    /// slowly.
    pub rank_stabilised: bool,
    /// True if the norm of each row is a separate trainable parameter (DoRA); set by the fine-tuning method.
    #[serde(skip)]
    pub dora: bool,
}

/// Names of the linear projections of a block.
const PROJECTIONS: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// Projections that are adapted by default: those of the MLP. Adapting the attention's projections too adds little to
/// what is learned ([LoRA Without Regret 2025](https://thinkingmachines.ai/blog/lora/)).
const MLP: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            targets: MLP.map(str::to_owned).to_vec(),
            rank_stabilised: false,
            dora: false,
        }
    }
}

impl LoraConfig {
    /// Checks every value, and that every target is a projection of the model.
    ///
    /// # Errors
    /// Fails if a value is not valid or a target matches no projection; the error names the key and the valid
    /// choices.
    pub fn validate(&self, model: &ModelConfig) -> Result<(), ModelError> {
        refuse_gpt2(model)?;
        let refuse = |message: String| Err(ModelError::Architecture(message));
        if self.rank == 0 {
            return refuse("`lora.rank` = 0: expected 1 or more, such as 8".into());
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return refuse(format!(
                "`lora.alpha` = {}: expected a number above 0, such as twice the rank",
                self.alpha
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!(
                "`lora.dropout` = {}: expected a share from 0 to below 1",
                self.dropout
            ));
        }
        if self.targets.is_empty() {
            return refuse(format!(
                "`lora.targets` is empty: expected some of `{}`",
                PROJECTIONS.join("`, `")
            ));
        }
        let modules = modules(model);
        for target in &self.targets {
            if !modules.iter().any(|(name, _)| names(target, name)) {
                return refuse(format!(
                    "`lora.targets` has `{target}`, which matches no projection of the base: expected some of `{}`, or \
                     a longer end of a name, such as `model.layers.0.self_attn.q_proj`",
                    PROJECTIONS.join("`, `")
                ));
            }
        }
        Ok(())
    }

    /// Returns the scale s in y = W·x + s·B·(A·x).
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha
            / if self.rank_stabilised {
                rank.sqrt()
            } else {
                rank
            }
    }

    /// Returns true if the projection named `module` has an adapter.
    pub fn adapts(&self, module: &str) -> bool {
        self.targets.iter().any(|target| names(target, module))
    }

    /// Returns the adapted projections with the shapes `[out, in]` of their weights, in the model's order.
    pub fn modules(&self, model: &ModelConfig) -> Vec<(String, [usize; 2])> {
        let mut modules = modules(model);
        modules.retain(|(name, _)| self.adapts(name));
        modules
    }

    /// Returns the names and shapes of the adapter's parameters.
    pub fn parameter_shapes(&self, model: &ModelConfig) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        for (module, [outputs, inputs]) in self.modules(model) {
            shapes.push((format!("{module}.{A}"), vec![self.rank, inputs]));
            shapes.push((format!("{module}.{B}"), vec![outputs, self.rank]));
            if self.dora {
                shapes.push((format!("{module}.{MAGNITUDE}"), vec![outputs]));
            }
        }
        shapes
    }
}

/// Error message for adapters on GPT-2. PEFT adapts queries, keys and values as one projection with a single A and a
/// single dropout, whereas this program has three projections.
pub(super) const NOT_FOR_GPT2: &str = "a GPT-2 takes no adapter: its queries, keys and values are one projection (`c_attn`) \
     to PEFT, and three here. Fine-tune it with `method` = `full` or `frozen`; merge an adapter that was made elsewhere \
     with PEFT's `merge_and_unload`";

/// Fails if the model is a GPT-2, which adapters do not support.
pub(super) fn refuse_gpt2(model: &ModelConfig) -> Result<(), ModelError> {
    match model.family {
        Family::Llama => Ok(()),
        Family::Gpt2 => Err(ModelError::Architecture(NOT_FOR_GPT2.into())),
    }
}

/// Returns true if `target` equals `module`, or the end of it after a dot.
pub(super) fn names(target: &str, module: &str) -> bool {
    module
        .strip_suffix(target)
        .is_some_and(|before| before.is_empty() || (before.ends_with('.') && !target.is_empty()))
}

/// Returns the projections of all blocks.
fn modules(model: &ModelConfig) -> Vec<(String, [usize; 2])> {
    let shapes = model.parameter_shapes().into_iter();
    shapes
        .filter_map(|(name, shape)| {
            let module = name.strip_suffix(".weight")?;
            let projection = module.rsplit('.').next()?;
            let [outputs, inputs] = shape[..] else {
                return None;
            };
            PROJECTIONS
                .contains(&projection)
                .then(|| (module.to_owned(), [outputs, inputs]))
        })
        .collect()
}
