//! What a run under limits does beside training: it looks at the old domains on the way, and is judged at the end.

use std::sync::Arc;

use polymath_data::HeldoutSplit;
use polymath_eval::WindowOptions;
use polymath_model::{LoadOptions, Ops, Transformer};
use polymath_train::{Evaluator, Launch, Observer, RunFolder, resolve_checkpoint, step_name};

use super::held::Held;
use super::limited::Limited;
use super::mix::{FOLDER, Mixing};
use super::verdict::{FILE, Judged};
use super::{LimitsConfig, LimitsVerdict, Pressure, is_outside};
use crate::{FinetuneError, Finetuning};

impl Finetuning {
    /// What measures the run inside its limits, and moves `pressure` from where the run folder stands.
    pub(crate) fn limited<'a>(
        &'a self,
        transformer: &'a Transformer,
        pressure: Arc<Pressure>,
        (run, launch, ops): (&RunFolder, &Launch, Ops),
    ) -> Result<Box<dyn Evaluator + 'a>, FinetuneError> {
        if let Some(from) = run.resumed() {
            pressure.resume(&from.path, from.state.step)?;
        }
        let windows = self.limited_windows();
        let base = self.load_base(&LoadOptions::frozen(&launch.device, ops))?;
        let limits = self.config.retention.limits.clone().unwrap_or_default();
        // The niche comes first.
        let (niche, old) = (self.data.watched[0].clone(), &self.data.watched[1..]);
        for split in [HeldoutSplit::Dev, HeldoutSplit::Test] {
            split.check(&niche.0, &niche.1)?;
        }
        let read = &self.data.watched_by_base;
        let held = Held::score((&base, &read[1..]), old, &limits, windows)?;
        Ok(Box::new(Limited::new(
            (transformer, windows),
            niche,
            held,
            pressure,
        )))
    }

    /// How documents are cut and chosen under limits, on the dev split; on the test split by the same rule.
    pub(super) fn limited_windows(&self) -> WindowOptions {
        WindowOptions {
            context: Some(self.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens()),
            split: Some(HeldoutSplit::Dev),
        }
    }

    /// Whether it has limits, which are judged when it has run.
    pub fn is_limited(&self) -> bool {
        self.config.retention.limits.is_some()
    }

    /// Whether the last word on its limits, if it has any, is said.
    pub(crate) fn is_judged(&self) -> bool {
        !self.is_limited() || self.config.run.join(FILE).is_file()
    }

    /// Refuses to begin where the run has done its steps and was stopped before the last word on its limits.
    pub(crate) fn refuse_unjudged(&self) -> Result<(), FinetuneError> {
        if self.is_judged() || !polymath_train::is_finished(&self.config.run) {
            return Ok(());
        }
        Err(FinetuneError::Config(format!(
            "the run `{}` has done its steps and was stopped before the last word on its limits: go on with \
             `--resume`, or choose another `run`",
            self.config.run.display()
        )))
    }

    /// Judges the limits of a run that has done its steps, on the test split of the held-out documents; `None` where
    /// it was stopped meanwhile, and can be asked again. If nothing was inside on the way, there is a `closest` instead of a
    /// `best`. Where a model on the line through base and end is inside and serves the niche better, that is `best`.
    pub(crate) fn verdict(
        &self,
        limits: &LimitsConfig,
        run: &RunFolder,
        (launch, observer): (&Launch, &mut dyn Observer),
    ) -> Result<Option<LimitsVerdict>, FinetuneError> {
        let path = run.path();
        let state = polymath_train::finished(path);
        let Some((last, best)) = state.and_then(|state| Some((state.step, state.best?))) else {
            return Err(FinetuneError::Config(format!(
                "`{}` is no finished run with an evaluation: there is nothing to judge",
                path.display()
            )));
        };
        let mut judged = Judged {
            checkpoint: path.to_path_buf(),
            inside_on_the_way: !is_outside(best.score),
            mixed: None,
        };
        // As training left it: an earlier call may have been killed after it moved a link.
        point(run, &judged, best.step)?;
        let on_the_way = path.join(step_name(best.step));
        let inside = judged.inside_on_the_way.then_some(&*on_the_way);
        let ends = (inside, &*path.join(step_name(last)));
        judged.mixed = match self.mix_inside(launch, ends, run, observer)? {
            Mixing::Stopped => return Ok(None),
            Mixing::Nothing => None,
            Mixing::Mixed(shares) => Some(shares),
        };
        let name = point(run, &judged, best.step)?;
        judged.checkpoint = path.join(name);
        let folder = resolve_checkpoint(&match &judged.mixed {
            Some(_) => path.join(FOLDER),
            None => on_the_way,
        })?;
        let base = self.load_tuned(launch, false)?;
        let tuned = self.load_checkpoint(launch, &folder)?;
        let verdict = LimitsVerdict::measure(
            (&base, &self.data.watched_by_base),
            (&tuned, &self.data.watched),
            limits,
            judged,
            self.limited_windows(),
        )?;
        verdict.write(path)?;
        Ok(Some(verdict))
    }

    /// Sets the links of a judged run by its verdict.
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

/// Points `best` to what is inside the limits, and `closest` to the best checkpoint on the way where that was outside; there is
/// no `best` where nothing is inside. Returns the name of the link to what counts.
fn point(run: &RunFolder, judged: &Judged, step: u64) -> Result<&'static str, FinetuneError> {
    let on_the_way = step_name(step);
    match judged.inside_on_the_way {
        true => run.unlink("closest")?,
        false => run.point("closest", &on_the_way)?,
    }
    match (&judged.mixed, judged.inside_on_the_way) {
        (Some(_), _) => run.point("best", FOLDER)?,
        (None, true) => run.point("best", &on_the_way)?,
        (None, false) => {
            run.unlink("best")?;
            return Ok("closest");
        }
    }
    Ok("best")
}
