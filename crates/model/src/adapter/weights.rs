//! An adapter's parameters: made, and merged into those of its base.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use candle_core::{Device, Tensor};

use super::config::refuse_gpt2;
use super::low_rank::{row_norms, shifted};
use super::{A, B, LoraConfig, MAGNITUDE};
use crate::initialise::uniform;
use crate::{ModelConfig, ModelError};

/// What an adapter was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterBase {
    /// Its model folder.
    pub folder: PathBuf,
    /// What it is called on the hub, where it comes from there: whoever gets the adapter finds it by that.
    pub published: Option<NamedBase>,
    /// SHA-256 of its weights ([`crate::sha256_of_weights`]); not known of adapters that were made elsewhere.
    pub sha256: Option<String>,
}

impl AdapterBase {
    /// What an adapter's folder says of it. A folder is told from a name on the hub by its `./`.
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

/// What an adapter's base is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBase {
    /// `owner/name` of the hub, or a folder.
    pub name: String,
    /// A branch, tag or commit of the hub's repository; `None` means its newest.
    pub revision: Option<String>,
}

/// Parameters that turn a base into something else.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// What they are.
    pub config: LoraConfig,
    /// By name, such as `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub weights: BTreeMap<String, Tensor>,
    /// What they belong to.
    pub base: AdapterBase,
}

impl Adapter {
    /// An adapter that changes nothing yet: A uniform within ±1/√in (Kaiming's bound with a = √5, as PEFT's), B zero, each
    /// magnitude its row's length. A's values depend on the seed and its name only.
    ///
    /// # Errors
    /// A config that does not fit the model; a base without one of its projections.
    pub fn initialise(
        config: LoraConfig,
        (model, weights): (&ModelConfig, &BTreeMap<String, Tensor>),
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
                let norms = row_norms(&shifted(&weight, (&a, &b), config.scale())?)?;
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

    /// The first parameter that is missing, left over or of another shape than the model asks for.
    ///
    /// # Errors
    /// Its name.
    pub fn check(&self, model: &ModelConfig) -> Result<(), ModelError> {
        refuse_gpt2(model)?;
        let shapes = self.config.parameter_shapes(model);
        for (name, shape) in &shapes {
            let found = self.weights.get(name).map(Tensor::dims);
            if found != Some(&shape[..]) {
                let found =
                    found.map_or("missing".into(), |found| format!("of the shape {found:?}"));
                return Err(ModelError::Architecture(format!(
                    "the adapter's parameter `{name}` is {found}: the base and its rank ask for {shape:?}"
                )));
            }
        }
        let stranger = self
            .weights
            .keys()
            .find(|name| !shapes.iter().any(|(known, _)| known == *name));
        match stranger {
            Some(name) => Err(ModelError::Architecture(format!(
                "the adapter has a parameter `{name}`, whose projection the base does not have"
            ))),
            None => Ok(()),
        }
    }

    /// The base's weights with the adapter in them: W + s·B·A, or with DoRA m·(W + s·B·A)/‖W + s·B·A‖, row by row.
    ///
    /// # Errors
    /// An adapter that does not fit these weights.
    pub fn merge(
        &self,
        model: &ModelConfig,
        weights: &mut BTreeMap<String, Tensor>,
    ) -> Result<(), ModelError> {
        self.check(model)?;
        for (module, _) in self.config.modules(model) {
            let own = |part: &str| &self.weights[&format!("{module}.{part}")];
            let weight = projection(weights, &module)?;
            let mut merged = shifted(weight, (own(A), own(B)), self.config.scale())?;
            if self.config.dora {
                let stretch = (own(MAGNITUDE) / row_norms(&merged)?)?; // (out)
                merged = merged.broadcast_mul(&stretch.unsqueeze(1)?)?;
            }
            weights.insert(format!("{module}.weight"), merged);
        }
        Ok(())
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
