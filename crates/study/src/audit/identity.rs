//! Checks of whether each tuned model can be compared with the base: weights, tokenizer, chat template and adapters.

use std::cell::OnceCell;
use std::path::Path;

use polymath_model::{
    Adapter, ModelConfig, ModelSource, is_adapter, read_adapter, sha256_of_weights,
};
use polymath_report::audit::{Finding, FindingKind};
use polymath_train::Resolved;

use super::distance::{Distance, FAR, UNRELATED, Weights};
use super::recorded::{Original, Recorded};
use super::tokens::Pair;
use super::{carried, sources::Opened};
use crate::{StudyError, StudyProgress};

/// Advice that ends every finding on a wrong base.
const GIVE_THE_BASE: &str = "give the model that the fine-tuning started from as the base";

/// Result of examining the models: all findings, and the tuned models that can be scored.
pub(super) struct Examined {
    pub findings: Vec<Finding>,
    pub valid: Vec<Resolved>,
}

/// Examines the base and every tuned model for reasons why they can't be compared.
///
/// # Errors
/// Fails if a model can't be read.
pub(super) fn examine(
    base: &Opened,
    tuned: &[Opened],
    progress: &dyn StudyProgress,
) -> Result<Examined, StudyError> {
    let mut examined = Examined {
        findings: Vec::new(),
        valid: Vec::new(),
    };
    if is_adapter(&base.run.folder) {
        examined.findings.push(adapter_on_base(base)?);
        return Ok(examined);
    }
    let base = Base {
        config: ModelSource::of(&base.run.folder).config()?,
        sha256: sha256_of_weights(&base.run.folder)?,
        opened: base,
        weights: OnceCell::new(),
    };
    for model in tuned {
        let mut findings = base.weights_of(model)?;
        if !findings.iter().any(Finding::is_error) {
            findings.extend(base.tokens_of(model)?);
            examined.valid.push(model.run.clone());
        }
        for finding in &findings {
            progress.say(&format!("{}: {}", finding.severity.word(), finding.what));
        }
        examined.findings.extend(findings);
    }
    Ok(examined)
}

/// Makes the finding on a base whose folder also holds an adapter.
fn adapter_on_base(base: &Opened) -> Result<Finding, StudyError> {
    let adapter = read_adapter(&base.run.folder)?;
    let has_weights = sha256_of_weights(&base.run.folder).is_ok();
    let folder = base.run.folder.display();
    let named = adapter.base.folder.display();
    let what = match has_weights {
        true => format!(
            "the base's folder `{folder}` holds an `adapter_config.json` beside its weights: programs that open it load the adapter too, \
             so that the base would be scored with an adapter on it"
        ),
        false => format!(
            "the base `{folder}` is an adapter for `{named}`: it would be scored with the adapter on it"
        ),
    };
    let advice = match has_weights {
        true => "move the adapter's files to a folder of their own".to_owned(),
        false => format!(
            "give `{named}` as the base; to measure from the tuned model on, merge it first (`polymath merge`)"
        ),
    };
    Ok(Finding::new(
        FindingKind::AdapterOnBase,
        &base.named,
        what,
        advice,
    ))
}

/// Base that the tuned models are examined against.
struct Base<'a> {
    opened: &'a Opened,
    sha256: String,
    config: ModelConfig,
    weights: OnceCell<Weights>,
}

impl Base<'_> {
    fn folder(&self) -> &Path {
        &self.opened.run.folder
    }

    /// Returns the base's weights, read when they are first needed.
    fn weights(&self) -> Result<&Weights, StudyError> {
        if let Some(weights) = self.weights.get() {
            return Ok(weights);
        }
        let weights = ModelSource::of(self.folder()).weights()?;
        Ok(self.weights.get_or_init(|| weights))
    }

    fn tokens_of(&self, model: &Opened) -> Result<Vec<Finding>, StudyError> {
        let pair = Pair {
            base: ModelSource::of(self.folder()),
            tuned: ModelSource::over(&model.run.folder, self.folder()),
            name: &model.named,
        };
        pair.findings()
    }

    fn weights_of(&self, model: &Opened) -> Result<Vec<Finding>, StudyError> {
        let found = match is_adapter(&model.run.folder) {
            true => self.adapter(model)?,
            false => self.whole(model)?,
        };
        Ok(found.into_iter().collect())
    }

    fn wrong(&self, model: &Opened, why: &str) -> Finding {
        let what = format!(
            "`{}` is not the base of `{}`: {why}",
            self.opened.named, model.named
        );
        Finding::new(FindingKind::WrongBase, &model.named, what, GIVE_THE_BASE)
    }

    fn carries(&self, model: &Opened, multiple: f64) -> Finding {
        let what = format!(
            "the weights of the base `{}` already contain the adapter `{}`, {multiple:.2} times: it would be applied again, and the base \
             would be scored as the tuned model",
            self.opened.named, model.named
        );
        Finding::new(
            FindingKind::BaseCarriesAdapter,
            &model.named,
            what,
            "give the base as it was before the adapter was merged into it (`merge_and_unload` changes the model that it is called on)",
        )
    }

    fn other_precision(&self, model: &Opened, original: &Original) -> Finding {
        let what = format!(
            "`{}` was tuned from `{}`, whose weights are those of the base `{}` up to rounding",
            model.named,
            original.folder.display(),
            self.opened.named
        );
        Finding::new(FindingKind::OtherPrecision, &model.named, what, "")
    }

    /// Examines whether an adapter was trained on the given base. Returns a finding if not, or if that is unknown.
    fn adapter(&self, model: &Opened) -> Result<Option<Finding>, StudyError> {
        let adapter = read_adapter(&model.run.folder)?;
        if let Err(error) = adapter.check(&self.config) {
            return Ok(Some(self.wrong(model, &error.to_string())));
        }
        let recorded = Recorded::of(&model.run.folder, Some(&adapter))?;
        if recorded.digests.contains(&self.sha256) {
            return Ok(None);
        }
        if let Some(original) = recorded.original(self.folder())? {
            return self.against_original(model, &adapter, &original);
        }
        if let Some(multiple) = carried::from_weights(&adapter, &self.config, self.weights()?)? {
            return Ok(Some(self.carries(model, multiple)));
        }
        if let Some(digest) = recorded.digest() {
            return Ok(Some(self.wrong(model, &self.digests(digest))));
        }
        let published = self.opened.published.as_deref();
        if recorded.names(self.folder(), published)? {
            return Ok(None);
        }
        let named = recorded.name.as_deref().unwrap_or("no base");
        let what = format!(
            "`{}` names `{named}` as its base, which is not on this machine, and no digest of its weights: that `{}` is this base is not \
             verified",
            model.named, self.opened.named
        );
        Ok(Some(Finding::new(
            FindingKind::UnverifiedBase,
            &model.named,
            what,
            format!("make sure that it is; or give `{named}` as the base"),
        )))
    }

    /// Compares the given base with the original one that an adapter was trained on.
    fn against_original(
        &self,
        model: &Opened,
        adapter: &Adapter,
        original: &Original,
    ) -> Result<Option<Finding>, StudyError> {
        if original.sha256 == self.sha256 {
            return Ok(None);
        }
        let weights = ModelSource::of(&original.folder).weights()?;
        let given = self.weights()?;
        let distance = match Distance::of(&weights, given)? {
            Ok(distance) => distance,
            Err(why) => return Ok(Some(self.wrong(model, &why))),
        };
        if distance.is_rounding {
            // An adapter with a digest is loaded only with exactly these weights.
            return Ok(Some(match &adapter.base.sha256 {
                Some(digest) => self.wrong(model, &self.digests(digest)),
                None => self.other_precision(model, original),
            }));
        }
        let multiple = carried::against_original(adapter, &self.config, [&weights, given])?;
        Ok(Some(match multiple {
            Some(multiple) => self.carries(model, multiple),
            None => self.wrong(
                model,
                &format!(
                    "it names `{}`, whose weights are others (their distance is {:.3} of their size)",
                    original.folder.display(),
                    distance.median
                ),
            ),
        }))
    }

    fn digests(&self, recorded: &str) -> String {
        format!(
            "it records a base with the SHA-256 `{recorded}`, and the weights of this one have `{}`",
            self.sha256
        )
    }

    /// Examines a tuned model that is not an adapter: whether it was tuned from the given base.
    fn whole(&self, model: &Opened) -> Result<Option<Finding>, StudyError> {
        ModelSource::of(&model.run.folder).config()?;
        if sha256_of_weights(&model.run.folder)? == self.sha256 {
            return Ok(Some(self.same(model, "")));
        }
        let recorded = Recorded::of(&model.run.folder, None)?;
        if recorded.digests.contains(&self.sha256) {
            return Ok(None);
        }
        let given = self.weights()?;
        let tuned = ModelSource::of(&model.run.folder).weights()?;
        let distance = match Distance::of(given, &tuned)? {
            Ok(distance) => distance,
            Err(why) => return Ok(Some(self.wrong(model, &why))),
        };
        if distance.is_rounding {
            let rounded = if distance.is_same {
                ""
            } else {
                " up to rounding"
            };
            return Ok(Some(self.same(model, rounded)));
        }
        if let Some(digest) = recorded.digest() {
            if let Some(original) = recorded.original(self.folder())? {
                let weights = ModelSource::of(&original.folder).weights()?;
                let to_original = Distance::of(&weights, given)?;
                if to_original.is_ok_and(|distance| distance.is_rounding) {
                    return Ok(Some(self.other_precision(model, &original)));
                }
            }
            return Ok(Some(self.wrong(model, &self.digests(digest))));
        }
        let size = distance.median;
        Ok(if size > UNRELATED {
            let why = format!(
                "the median distance of their matrices is {size:.2} of their size. Models that have nothing in common are 1.41 apart, \
                 fine-tuned ones about 0.1 or less"
            );
            Some(self.wrong(model, &why))
        } else if size > FAR {
            let what = format!(
                "the median distance of the matrices of `{}` from the base's is {size:.2} of their size, which is far for a fine-tuning \
                 (about 0.1 or less)",
                model.named
            );
            let kind = FindingKind::FarFromBase;
            Some(Finding::new(
                kind,
                &model.named,
                what,
                "make sure that the base is the one that it started from",
            ))
        } else {
            None
        })
    }

    fn same(&self, model: &Opened, rounded: &str) -> Finding {
        let what = format!(
            "`{}` has the weights of the base `{}`{rounded}: either the base already carries the tuning (`merge_and_unload` changes the \
             model that it is called on), or the tuned model was never changed. Every change is 0, which says nothing",
            model.named, self.opened.named
        );
        Finding::new(
            FindingKind::SameWeights,
            &model.named,
            what,
            "give the base as it was before the fine-tuning, and the model as it was after",
        )
    }
}
