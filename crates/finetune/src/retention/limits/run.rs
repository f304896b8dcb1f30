//! Forgetting limits in a run: evaluation of the retained domains during training, and the verdict at the end.

use polymath_data::HeldoutSplit;
use polymath_eval::WindowOptions;
use polymath_model::{LoadOptions, ModelConfig, Ops, Transformer};
use polymath_train::{Evaluator, Launch, Observer, RunFolder, resolve_checkpoint, step_name};

use super::dev_set::{DevPart, DevSet};
use super::limited::Limited;
use super::mix::{FOLDER, RunCheckpoints};
use super::retained::refuse_few;
use super::verdict::{FILE, Judged};
use super::{LimitsConfig, LimitsVerdict, ModelOnDomains};
use crate::{FinetuneError, Finetuning};

impl Finetuning {
    /// Returns the evaluator that scores a run with forgetting limits during training.
    pub(crate) fn limited<'a>(
        &'a self,
        transformer: &'a Transformer,
        limits: &LimitsConfig,
        launch: &Launch,
        ops: Ops,
    ) -> Result<Box<dyn Evaluator + 'a>, FinetuneError> {
        let windows = self.limited_windows();
        let base = self.load_base(&LoadOptions::frozen(&launch.device, ops))?;
        // The niche is the first domain.
        let niche = &self.data.watched[0];
        for split in [HeldoutSplit::Dev, HeldoutSplit::Test] {
            split.check(&niche.name, &niche.shard)?;
        }
        // Text that the base generates is known only now.
        let retained = &self.data.watched_by_base[1..];
        let is_generated = self.is_limited_on_generated_text();
        refuse_few(base.config(), retained, limits, windows, is_generated)?;
        let documents = self.dev_set(&base, limits, DevPart::Sample)?;
        Ok(Box::new(Limited::new(transformer, documents)))
    }

    /// Chooses the documents of a part of the dev split, and scores the base on them.
    pub(super) fn dev_set(
        &self,
        base: &Transformer,
        limits: &LimitsConfig,
        part: DevPart,
    ) -> Result<DevSet, FinetuneError> {
        let base = ModelOnDomains {
            model: base,
            domains: &self.data.watched_by_base,
        };
        DevSet::new(
            base,
            &self.data.watched,
            limits,
            self.limited_windows(),
            part,
        )
    }

    /// Returns the settings of the scoring windows on the dev split, in a run with limits. The test split is scored
    /// with the same settings.
    pub(crate) fn limited_windows(&self) -> WindowOptions {
        WindowOptions {
            context: Some(self.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens),
            split: Some(HeldoutSplit::Dev),
        }
    }

    /// Fails if a domain with a limit has too few held-out documents to judge the limit. Called before the run starts.
    pub(crate) fn check_limited_groups(&self, base: &ModelConfig) -> Result<(), FinetuneError> {
        let Some(limits) = &self.config.retention.limits else {
            return Ok(());
        };
        // The niche is first.
        let retained = &self.data.watched_by_base[1..];
        refuse_few(base, retained, limits, self.limited_windows(), false)
    }

    /// Returns true if the run has forgetting limits, on which there is a verdict after training.
    pub fn is_limited(&self) -> bool {
        self.config.retention.limits.is_some()
    }

    /// Returns true if the run has no forgetting limits, or the verdict on them has been written.
    pub(crate) fn is_judged(&self) -> bool {
        !self.is_limited() || self.config.run.join(FILE).is_file()
    }

    /// Renames the file of the verdict when a run is extended, since the run gets a new verdict at its new end.
    pub(crate) fn set_verdict_aside(&self, run: &RunFolder) -> Result<(), FinetuneError> {
        let path = run.path().join(FILE);
        let Some(from) = run.resumed().filter(|_| path.is_file()) else {
            return Ok(());
        };
        let aside = format!("limits-{}.json", step_name(from.state.step));
        let keep = || {
            let text = polymath_base::read(&path)?;
            polymath_base::write(&run.path().join(aside), &text)?;
            polymath_base::remove(&path)
        };
        keep().map_err(|source| FinetuneError::File {
            path: path.clone(),
            source,
        })
    }

    /// Fails if the run has done its steps but was stopped before the verdict on its limits.
    pub(crate) fn refuse_unjudged(&self) -> Result<(), FinetuneError> {
        if self.is_judged() || !polymath_train::is_finished(&self.config.run) {
            return Ok(());
        }
        Err(FinetuneError::Config(format!(
            "the run `{}` has done its steps and was stopped before the verdict on its limits: continue with \
             `--resume`, or choose another `run`",
            self.config.run.display()
        )))
    }

    /// Makes the verdict on the limits of a run that has done all its steps, on the test split of the held-out
    /// documents. Can be called again after a stop. If the best checkpoint is not within the limits on the whole dev
    /// split, the link `best` is replaced by `closest`. If the search between base and last checkpoint finds a model
    /// within the limits that is better for the niche, `best` is that model.
    pub(crate) fn verdict(
        &self,
        limits: &LimitsConfig,
        run: &RunFolder,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<LimitsVerdict, FinetuneError> {
        let path = run.path();
        let state = polymath_train::finished(path);
        let Some((last, best)) = state.and_then(|state| Some((state.step, state.best?))) else {
            return Err(FinetuneError::Config(format!(
                "`{}` is not a finished run with an evaluation: there is nothing to judge",
                path.display()
            )));
        };
        let mut judged = Judged {
            checkpoint: path.to_path_buf(),
            inside_on_the_way: best.score.is_within(),
            on_generated_text: self.is_limited_on_generated_text(),
            mixed: None,
        };
        // Restores the links as training left them, since an earlier call may have been killed after it moved one.
        point(run, &judged, best.step)?;
        let in_training = path.join(step_name(best.step));
        let best_inside = judged.inside_on_the_way.then_some(&*in_training);
        let ends = RunCheckpoints {
            best_inside,
            last: &path.join(step_name(last)),
        };
        let found = self.mix_inside(launch, ends, run, observer)?;
        judged.inside_on_the_way = found.is_best_inside;
        judged.mixed = found.mixed;
        let name = point(run, &judged, best.step)?;
        judged.checkpoint = path.join(name);
        let folder = resolve_checkpoint(&match &judged.mixed {
            Some(_) => path.join(FOLDER),
            None => in_training,
        })?;
        let base = self.load_tuned(launch, false)?;
        let tuned = self.load_checkpoint(launch, &folder)?;
        let verdict = LimitsVerdict::measure(
            ModelOnDomains {
                model: &base,
                domains: &self.data.watched_by_base,
            },
            ModelOnDomains {
                model: &tuned,
                domains: &self.data.watched,
            },
            limits,
            judged,
            self.limited_windows(),
        )?;
        verdict.write(path)?;
        Ok(verdict)
    }

    /// Points the links of a run (`best`, `closest`) according to the verdict on its limits.
    pub(crate) fn point_by(
        &self,
        verdict: &LimitsVerdict,
        run: &RunFolder,
    ) -> Result<(), FinetuneError> {
        let state = polymath_train::finished(run.path());
        if let Some(best) = state.and_then(|state| state.best) {
            point(run, &verdict.judged, best.step)?;
        }
        Ok(())
    }
}

/// Points `best` to the model within the limits, and `closest` to the best checkpoint of training if that is beyond the
/// limits. Removes `best` if no model is within the limits. Returns the name of the link to the result.
fn point(run: &RunFolder, judged: &Judged, step: u64) -> Result<&'static str, FinetuneError> {
    let in_training = step_name(step);
    match judged.inside_on_the_way {
        true => run.unlink("closest")?,
        false => run.point("closest", &in_training)?,
    }
    match (&judged.mixed, judged.inside_on_the_way) {
        (Some(_), _) => run.point("best", FOLDER)?,
        (None, true) => run.point("best", &in_training)?,
        (None, false) => {
            run.unlink("best")?;
            return Ok("closest");
        }
    }
    Ok("best")
}
