//! The last step of a run under limits: as much of what it learnt as stays inside.
//!
//! A niche can be learnt faster than anything holds the old domains: then no checkpoint of the run is inside. But between the
//! base, which is, and the run's end lies a model that is, and forgetting falls faster than the gain on the way back to the
//! base (WiSE-FT; Wortsman 2022). It is looked for on the development half, as the run's best checkpoint was.

use polymath_data::Half;
use polymath_eval::WindowOptions;
use polymath_model::{LoadOptions, Precision};
use polymath_train::{Launch, point, resolve_checkpoint};

use super::held::Held;
use crate::retention::Interpolation;
use crate::{FinetuneError, Finetuning};

/// Halvings of the share's range.
const HALVINGS: usize = 6;
/// The folder in the run's.
const FOLDER: &str = "mixed";

impl Finetuning {
    /// Looks for the largest share of the run's last weights, the rest being the base's, with every old domain inside its
    /// limit. Where it serves the niche better than `best`, the score of the run's best checkpoint inside, it becomes
    /// `best`, and its share is given.
    pub(super) fn mix_inside(
        &self,
        launch: &Launch,
        best: f64,
    ) -> Result<Option<f64>, FinetuneError> {
        let limits = self.config.retention.limits.clone().unwrap_or_default();
        let windows = WindowOptions {
            context: Some(self.sequence_length),
            max_tokens: Some(self.config.evaluation.max_tokens),
            half: Some(Half::Development),
            stride: None,
        };
        let base = self.load_tuned(launch, false)?;
        let read = self.watched_by_base()?;
        let old = Held::score((&base, &read[1..]), &self.watched[1..], &limits, windows)?;
        let last = resolve_checkpoint(&self.config.run.join("latest"))?;
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        let between = Interpolation::open((self.start(), &last), &self.watched, windows, options)?;
        // The niche's score at a share whose domains are all inside.
        let inside = |share: f64| -> Result<Option<f64>, FinetuneError> {
            let scores = between.scores(&between.alike(share), Half::Development)?;
            for held in &old {
                if !held.is_inside(&scores)? {
                    return Ok(None);
                }
            }
            Ok(Some(scores[&self.niche].bits_per_byte()))
        };
        let mut found = inside(1.0)?.map(|niche| (1.0, niche));
        if found.is_none() {
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..HALVINGS {
                let share = (low + high) / 2.0;
                match inside(share)? {
                    Some(niche) => {
                        low = share;
                        found = Some((share, niche));
                    }
                    None => high = share,
                }
            }
        }
        let Some((share, niche)) = found.filter(|(share, niche)| *share < 1.0 && *niche < best)
        else {
            return Ok(None);
        };
        let before = between.scores(&between.alike(0.0), Half::Development)?;
        if niche >= before[&self.niche].bits_per_byte() {
            return Ok(None);
        }
        let run = &self.config.run;
        let tokenizer = self.tokenizer()?;
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|source| FinetuneError::File {
            path: folder.clone(),
            source,
        })?;
        polymath_model::save(&folder, &between.model(&between.alike(share))?, &tokenizer)?;
        point(run, "best", FOLDER)?;
        Ok(Some(share))
    }
}
