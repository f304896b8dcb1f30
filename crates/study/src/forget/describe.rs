//! Method, niche, curve and provenance of a tuned checkpoint from its folder, and its relation to the base.

use std::path::{Path, PathBuf};

use polymath_finetune::Lineage;
use polymath_report::ModelScores;

use super::provenance;
use crate::StudyError;

/// Base of a report, used to check that the tuned models descend from it.
pub struct Direction<'a> {
    /// Folder of the base, resolved.
    pub base: &'a Path,
    /// SHA-256 of the base's weights.
    pub base_sha256: String,
}

impl<'a> Direction<'a> {
    /// Opens the base of a report, and checks that it was not itself tuned from one of the `tuned` models.
    ///
    /// # Errors
    /// Fails for an adapter, and for a base that was tuned from one of the `tuned` models: they are swapped.
    pub fn of(base: &'a Path, tuned: &[PathBuf]) -> Result<Self, StudyError> {
        if polymath_model::is_adapter(base) {
            return Err(StudyError::refused(format!(
                "the base `{0}` is an adapter: merge it with `polymath merge {0} -o <folder>`, and give that folder",
                base.display()
            )));
        }
        if let Some(lineage) = Lineage::of(base)? {
            let stages = lineage.stages();
            for folder in tuned {
                if polymath_model::is_adapter(folder) {
                    continue;
                }
                let sha256 = polymath_model::sha256_of_weights(folder)?;
                if stages.iter().any(|stage| stage.base_sha256 == sha256) {
                    return Err(StudyError::refused(format!(
                        "the base `{0}` was tuned from `{1}`: the two are swapped. Give `{1}` as the base, and `{0}` as the tuned \
                         model",
                        base.display(),
                        folder.display()
                    )));
                }
            }
        }
        Ok(Self {
            base,
            base_sha256: polymath_model::sha256_of_weights(base)?,
        })
    }

    /// Checks that a tuned model does not have the weights of the base, so that there is a change to study.
    ///
    /// # Errors
    /// Fails if the weights are the same, or can't be read.
    pub fn check_differs(&self, tuned: &Path) -> Result<(), StudyError> {
        let is_same = !polymath_model::is_adapter(tuned)
            && polymath_model::sha256_of_weights(tuned)? == self.base_sha256;
        match is_same {
            false => Ok(()),
            true => Err(StudyError::refused(format!(
                "the tuned model `{}` has the weights of the base `{}`: give the base, and a model that was tuned from it",
                tuned.display(),
                self.base.display()
            ))),
        }
    }

    /// Returns a note for a model that was tuned from another base; `None` for any other model.
    pub fn note(&self, folder: &Path, lineage: &Lineage) -> Option<String> {
        let stages = lineage.stages();
        let is_from = stages
            .iter()
            .any(|stage| stage.base_sha256 == self.base_sha256);
        (!is_from).then(|| {
            format!(
                "`{}` was tuned from `{}`, and not from the base `{}`: its change is not that of its fine-tuning \
                 alone",
                folder.display(),
                lineage.base.display(),
                self.base.display()
            )
        })
    }
}

/// Fills in the method, the niche, the learning curve and the provenance of a tuned model from its run folder. Returns
/// its lineage.
pub fn describe(
    scores: &mut ModelScores,
    folder: &Path,
    direction: &Direction,
    niche: Option<&str>,
) -> Result<Option<Lineage>, StudyError> {
    let lineage = Lineage::of(folder)?;
    if !polymath_model::is_adapter(folder) {
        scores.sha256 = Some(polymath_model::sha256_of_weights(folder)?);
    }
    let recorded = lineage.as_ref();
    scores.tuned_from = recorded.map(|lineage| lineage.base_sha256.clone());
    let mut method = recorded.map_or("tuned".into(), |lineage| lineage.method.clone());
    // A run that was made longer had another learning rate than one of that length from the start.
    for extension in polymath_train::extensions_of(folder) {
        method += &format!(", extended after step {}", extension.after);
    }
    scores.method = Some(method);
    scores.niche = niche
        .map(str::to_owned)
        .or(recorded.map(|lineage| lineage.niche.clone()));
    scores.earlier_niches = recorded
        .map(|lineage| lineage.niches_since(&direction.base_sha256))
        .unwrap_or_default();
    let other_base = recorded.and_then(|lineage| direction.note(folder, lineage));
    let unfinished = provenance::unfinished(folder)?;
    scores.notes = other_base.into_iter().chain(unfinished).collect();
    scores.curve = provenance::curve(folder)?;
    scores.provenance = provenance::read(folder)?;
    Ok(lineage)
}
