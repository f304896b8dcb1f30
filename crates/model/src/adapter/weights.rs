//! Adapter parameters: creation, checks and merging into the base.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use candle_core::{Device, Tensor};
use polymath_ops::{LowRank, merged_weight, row_norms};

use super::config::refuse_gpt2;
use super::{A, B, LoraConfig, MAGNITUDE};
use crate::initialize::uniform;
use crate::{ModelConfig, ModelError};

/// Base model that an adapter was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterBase {
    /// Folder of the base model.
    pub folder: PathBuf,
    /// Name of the base on the hub, if it is published there, so that others can find it.
    pub published: Option<NamedBase>,
    /// SHA-256 of the base's weights ([`crate::sha256_of_weights`]); unknown for adapters made by other programs.
    pub sha256: Option<String>,
}

impl AdapterBase {
    /// Returns the name of the base to write into an adapter's folder. The path of a folder starts with `./`, to
    /// distinguish it from a name on the hub.
    pub(super) fn named(&self) -> NamedBase {
        self.published.clone().unwrap_or_else(|| {
            let folder = match self.folder.components().next() {
                Some(Component::Normal(_)) => Path::new(".").join(&self.folder),
                _ => self.folder.clone(),
            };
            NamedBase {
                name: folder.display().to_string(),
                revision: None,
            }
        })
    }
}

/// Name of an adapter's base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBase {
    /// `owner/name` on the hub, or a folder.
    pub name: String,
    /// Branch, tag or commit of the hub's repository; `None` for the latest.
    pub revision: Option<String>,
}

/// Parameters of an adapter, and its base model.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Adapter configuration.
    pub config: LoraConfig,
    /// Parameters by name, such as `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub weights: BTreeMap<String, Tensor>,
    /// Base model of the adapter.
    pub base: AdapterBase,
}

impl Adapter {
    /// Creates an adapter that does not change the model yet. A is uniform in ±1/√in (Kaiming's bound with a = √5, as
    /// in PEFT), B is zero, and each DoRA magnitude is the norm of its row. The values of A depend only on the seed
    /// and the parameter's name.
    ///
    /// # Errors
    /// Fails if the config does not fit the model, or if the base lacks one of the projections.
    pub fn initialize(
        config: LoraConfig,
        model: &ModelConfig,
        weights: &BTreeMap<String, Tensor>,
        seed: u64,
        base: AdapterBase,
    ) -> Result<Self, ModelError> {
        config.validate(model)?;
        let mut own = BTreeMap::new();
        for (module, [outputs, inputs]) in config.modules(model) {
            let name = format!("{module}.{A}");
            let bound = 1.0 / (inputs as f64).sqrt();
            let values = uniform(seed, &name, config.rank * inputs, bound);
            let a = Tensor::from_vec(values, (config.rank, inputs), &Device::Cpu)?;
            let b = a.zeros_like()?.flatten_all()?.narrow(0, 0, 1)?;
            let b = b.broadcast_as((outputs, config.rank))?.contiguous()?;
            if config.dora {
                let weight = projection(weights, &module)?.to_device(&Device::Cpu)?;
                let norms = row_norms(&merged_weight(&weight, &branch(&config, [&a, &b]))?)?;
                own.insert(format!("{module}.{MAGNITUDE}"), norms);
            }
            own.insert(name, a);
            own.insert(format!("{module}.{B}"), b);
        }
        Ok(Self {
            config,
            weights: own,
            base,
        })
    }

    /// Checks that the parameters have exactly the names and shapes that the model requires.
    ///
    /// # Errors
    /// Fails if a parameter is missing, extra or of another shape; the error names the first one.
    pub fn check(&self, model: &ModelConfig) -> Result<(), ModelError> {
        refuse_gpt2(model)?;
        let shapes = self.config.parameter_shapes(model);
        for (name, shape) in &shapes {
            let found = self.weights.get(name).map(Tensor::dims);
            if found != Some(&shape[..]) {
                let found =
                    found.map_or("missing".into(), |found| format!("of the shape {found:?}"));
                return Err(ModelError::Architecture(format!(
                    "the adapter's parameter `{name}` is {found}: the base and its rank require {shape:?}"
                )));
            }
        }
        let stranger = self
            .weights
            .keys()
            .find(|name| !shapes.iter().any(|(known, _)| known == *name));
        match stranger {
            Some(name) => Err(ModelError::Architecture(format!(
                "the adapter has a parameter `{name}`, {}",
                self.reason_against(name)
            ))),
            None => Ok(()),
        }
    }

    /// Returns why a parameter is not one of the adapter, and what to do.
    fn reason_against(&self, name: &str) -> String {
        let has = |module: &str, of: &str| self.weights.contains_key(&format!("{module}.{of}"));
        if let Some(module) = name.strip_suffix(&format!(".{B}"))
            && !has(module, A)
        {
            return format!("and no `{module}.{A}`: the file is incomplete, fetch it again");
        }
        let module = [A, B, MAGNITUDE]
            .iter()
            .find_map(|of| name.strip_suffix(&format!(".{of}")));
        match module {
            None => "which is no low-rank matrix of a projection: others are not read; merge the adapter where it was made, \
                     with PEFT's `merge_and_unload`"
                .into(),
            Some(module) if has(module, A) && name.ends_with(MAGNITUDE) => {
                "which DoRA trains, and `use_dora` in its `adapter_config.json` is not true: expected config and weights of \
                 one adapter"
                    .into()
            }
            Some(_) => "whose projection the base does not have".into(),
        }
    }

    /// Merges the adapter into the base's weights: W + s·B·A, or with DoRA m·(W + s·B·A)/‖W + s·B·A‖, row by row.
    ///
    /// # Errors
    /// Fails if the adapter does not fit these weights.
    pub fn merge(
        &self,
        model: &ModelConfig,
        weights: &mut BTreeMap<String, Tensor>,
    ) -> Result<(), ModelError> {
        self.check(model)?;
        for (module, _) in self.config.modules(model) {
            let own = |part: &str| &self.weights[&format!("{module}.{part}")];
            let weight = projection(weights, &module)?;
            let mut merged = merged_weight(weight, &branch(&self.config, [own(A), own(B)]))?;
            if self.config.dora {
                let stretch = (own(MAGNITUDE) / row_norms(&merged)?)?; // (out)
                merged = merged.broadcast_mul(&stretch.unsqueeze(1)?)?;
            }
            weights.insert(format!("{module}.weight"), merged);
        }
        Ok(())
    }
}

/// Returns an adapter's branch s·B·A of one projection, without DoRA's magnitudes and without dropout.
fn branch<'a>(config: &LoraConfig, [a, b]: [&'a Tensor; 2]) -> LowRank<'a> {
    LowRank {
        a,
        b,
        scale: config.scale(),
        magnitude: None,
        dropout: None,
    }
}

fn projection<'a>(
    weights: &'a BTreeMap<String, Tensor>,
    module: &str,
) -> Result<&'a Tensor, ModelError> {
    weights.get(&format!("{module}.weight")).ok_or_else(|| {
        ModelError::Architecture(format!("the parameter `{module}.weight` is missing"))
    })
}
