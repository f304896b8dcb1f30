//! What a run under limits does beside training: it looks at the old domains on the way, and is judged at the end.

use std::sync::Arc;

use polymath_data::Half;
use polymath_eval::WindowOptions;
use polymath_model::{LoadOptions, Ops, Transformer};
use polymath_train::{Evaluator, Launch, RunFolder, resolve_checkpoint};

use super::held::{Held, Limited};
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
        let old = Held::score((&base, &read[1..]), old, &limits, windows)?;
        Ok(Box::new(Limited::new(
            (transformer, windows),
            niche,
            old,
            pressure,
        )))
    }

    /// What became of the run's limits, on the test half of the held-out documents; `None` where it has none. `best` is
    /// the score of its best checkpoint. If nothing was inside on the way, the folder `best` becomes `closest`. Where a
    /// mixture with the base is inside and serves the niche better, that is `best`.
    ///
    /// # Errors
    /// What scoring and the disk say.
    pub fn verdict(
        &self,
        launch: &Launch,
        best: f64,
    ) -> Result<Option<LimitsVerdict>, FinetuneError> {
        let Some(limits) = &self.config.retention.limits else {
            return Ok(None);
        };
        let inside = !is_outside(best);
        let link = |name: &str| self.config.run.join(name);
        if !inside {
            std::fs::rename(link("best"), link("closest")).map_err(|source| {
                FinetuneError::File {
                    path: link("best"),
                    source,
                }
            })?;
        }
        let mixed = self.mix_inside(launch, best)?;
        let checkpoint = match (inside, mixed) {
            (false, None) => link("closest"),
            _ => link("best"),
        };
        let folder = resolve_checkpoint(&checkpoint)?;
        let base = self.load_tuned(launch, false)?;
        let tuned = self.load_checkpoint(launch, &folder)?;
        let verdict = LimitsVerdict::measure(
            (&base, &self.watched_by_base()?),
            (&tuned, &self.watched),
            limits,
            (&checkpoint, (inside, mixed), self.sequence_length),
        )?;
        verdict.write(&self.config.run)?;
        Ok(Some(verdict))
    }
}
