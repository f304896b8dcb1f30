//! Default optimizer, learning rate and weight decay of a fine-tuning, and the reasons for them.

use std::path::Path;

use polymath_train::{OptimizerChoice, Training};

use crate::{FinetuneConfig, FinetuneError, Lineage, Method, base_facts::BaseFacts};

/// Default weight decay of a fine-tuning: none. Decay pulls parameters towards zero, and so away from the base. An
/// adapter's matrices do not decay either, although they start without an effect on the base.
pub(crate) const WEIGHT_DECAY: f64 = 0.0;
/// Maximum number of bases of bases that are followed to find the optimizer of a base.
const LONGEST_CHAIN: usize = 100;

/// Default learning rates for bases of up to a certain size. `docs/guides/finetuning.md` has the same table.
struct Rates {
    /// Maximum number of parameters of a base with these rates.
    most_parameters: u64,
    /// Learning rate of AdamW for the base's own parameters.
    adamw: f64,
    /// Learning rate of Muon for the base's own parameters.
    muon: f64,
    /// Learning rate of AdamW for an adapter's parameters.
    adapter: f64,
}

/// Default learning rates. Larger bases get smaller rates. Muon gets three times the rate of AdamW, and an adapter ten
/// times the rate of AdamW ([LoRA Without Regret 2025](https://thinkingmachines.ai/blog/lora/)).
const RATES: [Rates; 3] = [
    Rates {
        most_parameters: 10_000_000,
        adamw: 1e-3,
        muon: 3e-3,
        adapter: 1e-2,
    },
    Rates {
        most_parameters: 200_000_000,
        adamw: 1e-4,
        muon: 3e-4,
        adapter: 1e-3,
    },
    Rates {
        most_parameters: u64::MAX,
        adamw: 5e-5,
        muon: 1.5e-4,
        adapter: 5e-4,
    },
];

/// Returns the default peak learning rate of a fine-tuning, by method, optimizer and size of the base.
pub(crate) fn learning_rate(parameters: u64, method: Method, optimizer: OptimizerChoice) -> f64 {
    let [.., last] = &RATES;
    let rates = RATES
        .iter()
        .find(|rates| parameters <= rates.most_parameters)
        .unwrap_or(last);
    match (method.adapts(), optimizer) {
        (true, _) => rates.adapter,
        (false, OptimizerChoice::Adamw) => rates.adamw,
        (false, OptimizerChoice::Muon) => rates.muon,
    }
}

/// Returns the default optimizer: the optimizer that the base was trained with, since another one forgets more ([Liu
/// 2026](https://arxiv.org/abs/2605.06654)). Adapters are trained with AdamW, since their matrices are new.
pub(crate) fn default_optimizer(method: Method, base: Option<OptimizerChoice>) -> OptimizerChoice {
    match method.adapts() {
        true => OptimizerChoice::Adamw,
        false => base.unwrap_or_default(),
    }
}

/// Returns the optimizer with which a base was trained, or `None` if nothing beside the base records it. Looks at the
/// optimizer state in the base's folder, then at the `run.toml` of its run, then at the base's own base.
///
/// # Errors
/// Fails if a lineage exists but can't be read.
pub(crate) fn base_optimizer(base: &Path) -> Result<Option<OptimizerChoice>, FinetuneError> {
    let mut folder = base.to_path_buf();
    for _ in 0..LONGEST_CHAIN {
        let found = polymath_train::optimizer_of_state(&folder).or_else(|| of_run(&folder));
        if found.is_some() {
            return Ok(found);
        }
        let Some(lineage) = Lineage::of(&folder)? else {
            break;
        };
        folder = lineage.checkpoint.unwrap_or(lineage.base);
    }
    Ok(None)
}

/// Returns the optimizer in the `run.toml` beside a checkpoint. Runs of earlier versions lack the key and used AdamW.
fn of_run(checkpoint: &Path) -> Option<OptimizerChoice> {
    let path = checkpoint.parent()?.join("run.toml");
    let table: toml::Table = polymath_base::read_to_string(path).ok()?.parse().ok()?;
    match table.get("training")?.get("optimizer") {
        Some(found) => found.clone().try_into().ok(),
        None => Some(OptimizerChoice::Adamw),
    }
}

fn name(optimizer: OptimizerChoice) -> &'static str {
    match optimizer {
        OptimizerChoice::Adamw => "AdamW",
        OptimizerChoice::Muon => "Muon",
    }
}

impl FinetuneConfig {
    /// Returns sentences for the user about optimizer, learning rate, weight decay and adapter: about defaults that
    /// were chosen, and about values of the config that cause more forgetting than necessary.
    pub(crate) fn optimization_choices(
        &self,
        training: &Training,
        facts: &BaseFacts,
    ) -> Vec<String> {
        let mut said = vec![self.optimizer_choice(training, facts)];
        said.extend(self.training.learning_rate.is_none().then(|| {
            format!(
                "learning rate: {:e}, for `{}` with {} on a base of {:.1} million parameters (`training.learning_rate` \
                 sets another)",
                training.learning_rate,
                self.method.name(),
                name(training.optimizer),
                facts.parameters as f64 / 1e6
            )
        }));
        said.push(match self.training.weight_decay {
            None => "weight decay: none, since it pulls towards zero and not towards the base (`retention.l2sp` pulls \
                     towards the base)"
                .into(),
            Some(decay) if decay > 0.0 && !self.method.adapts() => format!(
                "weight decay: {decay}, as set; it pulls the base's weights towards zero, and so forgets (`training.weight_decay \
                 = 0` turns it off; `retention.l2sp` pulls towards the base)"
            ),
            Some(_) => String::new(),
        });
        if self.method.adapts() && self.lora.is_none() {
            let lora = polymath_model::LoraConfig::default();
            said.push(format!(
                "adapter: rank {} beside {} of every layer (`[lora]` sets others)",
                lora.rank,
                lora.targets.join(", ")
            ));
        }
        said.retain(|said| !said.is_empty());
        said
    }

    fn optimizer_choice(&self, training: &Training, facts: &BaseFacts) -> String {
        let used = name(training.optimizer);
        match (self.training.optimizer, facts.optimizer) {
            (Some(OptimizerChoice::Muon), _) if self.method.adapts() => {
                "optimizer: AdamW; `training.optimizer` = `muon` is for the base's own matrices, and an adapter's are \
                 trained by AdamW"
                    .into()
            }
            (None, _) if self.method.adapts() => {
                "optimizer: AdamW, which trains an adapter's matrices".into()
            }
            (Some(set), Some(base)) if set != base && !self.method.adapts() => format!(
                "optimizer: {used}, as set; the base was trained with {}, and another optimizer forgets more (leave \
                 `training.optimizer` out to take the base's)",
                name(base)
            ),
            (Some(_), _) => String::new(),
            (None, Some(_)) => format!(
                "optimizer: {used}, with which the base was trained (`training.optimizer` sets another)"
            ),
            (None, None) => format!(
                "optimizer: {used}, since nothing beside the base says how it was trained (`training.optimizer` sets \
                 another)"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
