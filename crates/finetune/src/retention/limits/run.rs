//! What a run under limits does beside training: it looks at the old domains on the way, and is judged at the end.

use std::path::Path;
use std::sync::Arc;

use polymath_data::Half;
use polymath_eval::WindowOptions;
use polymath_model::{LoadOptions, Ops, Transformer};
use polymath_train::{
    Evaluator, Launch, Observer, Outcome, RunFolder, point, resolve_checkpoint, step_name,
};

use super::held::Held;
use super::limited::Limited;
use super::mix::{FOLDER, Mixing};
use super::verdict::{FILE, Judged};
use super::{LimitsVerdict, Pressure, is_outside};
use crate::{FinetuneError, Finetuning};

impl Finetuning {
    /// What measures the run inside its limits, and moves `pressure` from where the run folder stands.
    pub(crate) fn limited<'a>(
        &'a self,
        transformer: &'a Transformer,
        pressure: Arc<Pressure>,
        windows: WindowOptions,
        (run, launch, ops): (&RunFolder, &Launch, Ops),
    ) -> Result<Box<dyn Evaluator + 'a>, FinetuneError> {
        if let Some(from) = run.resumed() {
            pressure.resume(&from.path, from.state.step)?;
        }
        let windows = WindowOptions {
            half: Some(Half::Development),
            ..windows
        };
        let base = self.load(&self.base, &LoadOptions::frozen(&launch.device, ops))?;
        let limits = self.config.retention.limits.clone().unwrap_or_default();
        // The niche comes first.
        let (niche, old) = (self.watched[0].clone(), &self.watched[1..]);
        let read = self.watched_by_base()?;
        let held = Held::score((&base, &read[1..]), old, &limits, windows)?;
        Ok(Box::new(Limited::new(
            (transformer, windows),
            niche,
            held,
            pressure,
        )))
    }

    /// Whether it has limits, which are judged when it has run.
    pub fn is_limited(&self) -> bool {
        self.config.retention.limits.is_some()
    }

    /// Whether the last word on its limits, if it has any, is said.
    pub(crate) fn is_judged(&self) -> bool {
        !self.is_limited() || self.config.run.join(FILE).is_file()
    }

    /// Where the run has done its steps and was stopped before the last word on its limits: how it ended.
    pub(crate) fn unjudged(&self, resume: bool) -> Result<Option<Outcome>, FinetuneError> {
        let run = &self.config.run;
        let Some(state) = polymath_train::finished(run).filter(|_| !self.is_judged()) else {
            return Ok(None);
        };
        if !self.is_same()? {
            return Err(self.finished_otherwise());
        }
        if !resume {
            return Err(FinetuneError::Config(format!(
                "the run `{}` has done its steps and was stopped before the last word on its limits: go on with \
                 `--resume`, or choose another `run`",
                run.display()
            )));
        }
        let best = state
            .best
            .map_or((state.step, f64::NAN), |best| (best.step, best.score));
        Ok(Some(Outcome::Finished {
            steps: state.step,
            best,
        }))
    }

    /// What became of the limits of a run that has done its steps, on the test half of the held-out documents; `None` where
    /// it was stopped meanwhile, and can be asked again. If nothing was inside on the way, there is a `closest` instead of a
    /// `best`. Where a model on the line through base and end is inside and serves the niche better, that is `best`.
    ///
    /// # Errors
    /// A run that has no limits or is not finished; what scoring and the disk say.
    pub fn verdict(
        &self,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Option<LimitsVerdict>, FinetuneError> {
        let run = &self.config.run;
        let best = polymath_train::finished(run).and_then(|state| state.best);
        let (Some(limits), Some(best)) = (&self.config.retention.limits, best) else {
            return Err(FinetuneError::Config(format!(
                "`{}` is no finished run with `retention.limits`: there is nothing to judge",
                run.display()
            )));
        };
        let inside = !is_outside(best.score);
        // As training left it: an earlier call may have been killed after it moved a link.
        let name = if inside { "best" } else { "closest" };
        point(run, name, &step_name(best.step))?;
        if !inside {
            remove_link(&run.join("best"))?;
        }
        let on_the_way = run.join(step_name(best.step));
        let mixed = match self.mix_inside(launch, inside.then_some(&*on_the_way), observer)? {
            Mixing::Stopped => return Ok(None),
            Mixing::Nothing => None,
            Mixing::Mixed(shares) => Some(shares),
        };
        let (name, folder) = match &mixed {
            Some(_) => ("best", run.join(FOLDER)),
            None => (name, on_the_way),
        };
        let folder = resolve_checkpoint(&folder)?;
        let base = self.load_tuned(launch, false)?;
        let tuned = self.load_checkpoint(launch, &folder)?;
        let judged = Judged {
            checkpoint: run.join(name),
            inside_on_the_way: inside,
            mixed,
        };
        let verdict = LimitsVerdict::measure(
            (&base, &self.watched_by_base()?),
            (&tuned, &self.watched),
            limits,
            judged,
            self.sequence_length,
        )?;
        verdict.write(run)?;
        Ok(Some(verdict))
    }
}

fn remove_link(path: &Path) -> Result<(), FinetuneError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(FinetuneError::File {
            path: path.to_path_buf(),
            source,
        }),
        _ => Ok(()),
    }
}
