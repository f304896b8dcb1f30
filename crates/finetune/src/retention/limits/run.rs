//! Limits in a run: evaluation of the retained domains during training, and the verdict at the end.

use polymath_data::HeldoutSplit;
use polymath_eval::WindowOptions;
use polymath_model::{LoadOptions, ModelConfig, Ops, Transformer};
use polymath_train::{Evaluator, Launch, Observer, RunFolder, resolve_checkpoint, step_name};

use super::limited::Limited;
use super::mix::{FOLDER, RunCheckpoints};
use super::retained::{RetainedDomains, refuse_few};
use super::verdict::{FILE, Judged};
use super::{LimitsConfig, LimitsVerdict, ModelOnDomains};
use crate::{FinetuneError, Finetuning};

impl Finetuning {
    /// Returns the evaluator of a run with limits.
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
        let (niche, watched) = (self.data.watched[0].clone(), &self.data.watched[1..]);
        for split in [HeldoutSplit::Dev, HeldoutSplit::Test] {
            split.check(&niche.name, &niche.shard)?;
        }
        let read = ModelOnDomains {
            model: &base,
            domains: &self.data.watched_by_base[1..],
        };
        // Text that the base generates is known only now.
        refuse_few(base.config(), read.domains, limits, windows)?;
        let retained = RetainedDomains::score(read, watched, limits, windows)?;
        Ok(Box::new(Limited::new(
            transformer,
            windows,
            niche,
            retained,
        )))
    }

    /// Returns the windows in which the dev split is scored in a run with limits. The test split is scored by the
    /// same rule.
    pub(crate) fn limited_windows(&self) -> WindowOptions {
        WindowOptions {
            context: Some(self.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens),
            split: Some(HeldoutSplit::Dev),
        }
    }

    /// Refuses limits on domains with too few held-out documents, before the run starts.
    pub(crate) fn check_limited_groups(&self, base: &ModelConfig) -> Result<(), FinetuneError> {
        let Some(limits) = &self.config.retention.limits else {
            return Ok(());
        };
        // The niche is first.
        let retained = &self.data.watched_by_base[1..];
        refuse_few(base, retained, limits, self.limited_windows())
    }

    /// Returns true if the run has limits, which are judged after training.
    pub fn is_limited(&self) -> bool {
        self.config.retention.limits.is_some()
    }

    /// Returns true if the run has no limits or its verdict is written.
    pub(crate) fn is_judged(&self) -> bool {
        !self.is_limited() || self.config.run.join(FILE).is_file()
    }

    /// Renames the verdict on a run that is extended: a new one is made at its new end.
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
            "the run `{}` has done its steps and was stopped before the verdict on its limits: go on with \
             `--resume`, or choose another `run`",
            self.config.run.display()
        )))
    }

    /// Judges the limits of a run that has done its steps, on the test split of the held-out documents. After
    /// a stop it can be called again. If no checkpoint was within the limits, `closest` replaces `best`. If a model on
    /// the line through base and last checkpoint is within the limits and better for the niche, `best` is that model.
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
        let inside = judged.inside_on_the_way.then_some(&*in_training);
        let ends = RunCheckpoints {
            best_inside: inside,
            last: &path.join(step_name(last)),
        };
        judged.mixed = self.mix_inside(launch, ends, run, observer)?;
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

    /// Sets the links of a judged run according to its verdict.
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

/// Makes `best` point to the model within the limits, and `closest` to the best checkpoint of training if that is
/// beyond them. Removes `best` if no model is within the limits. Returns the name of the link to the result.
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
