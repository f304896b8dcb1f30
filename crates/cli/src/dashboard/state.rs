//! What the dashboard shows: where the run stands, apart from how that looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_train::{EvaluationMetrics, Metrics, StepMetrics};

use super::curve::{Curve, Mean};

/// Steps over which throughput is averaged.
const PACE_STEPS: f64 = 10.0;

/// What is known of a run before it begins.
#[derive(Debug, Clone)]
pub struct About {
    /// What is done: `pretraining`, `fine-tuning`.
    pub title: String,
    /// The folder of the run.
    pub run: PathBuf,
    /// The domains that are scored on the way, in the order in which they are shown.
    pub groups: Vec<Group>,
}

/// Domains that belong together.
#[derive(Debug, Clone)]
pub struct Group {
    /// What they are to the run: `niche`, `old`.
    pub title: String,
    /// Their names.
    pub domains: Vec<String>,
}

impl Group {
    pub fn new<T: Into<String>>(title: &str, domains: impl IntoIterator<Item = T>) -> Self {
        Self {
            title: title.to_owned(),
            domains: domains.into_iter().map(Into::into).collect(),
        }
    }
}

/// What the run does at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Doing {
    /// It loads, and measures what it needs before the first step.
    Starting,
    Training,
    /// So many held-out tokens are scored, of so many.
    Scoring(u64, u64),
}

/// Where the run stands.
pub struct State {
    pub about: About,
    flops_per_token: f64,
    peak: f64,
    pub doing: Doing,
    pub step: u64,
    pub total: u64,
    pub last: Option<StepMetrics>,
    pub losses: Curve,
    pace: Mean,
    /// Of the first evaluation.
    first: BTreeMap<String, f64>,
    pub latest: Option<EvaluationMetrics>,
    /// The step of the best evaluation, where it was seen.
    pub best: Option<u64>,
    /// What decided it.
    pub best_by: String,
    /// The newest checkpoint.
    pub saved: Option<String>,
    /// Counts what has happened: the same number, the same picture.
    pub changes: u64,
}

impl State {
    /// A run of `flops_per_token` on a machine whose peak is `peak` FLOP/s, not begun.
    pub fn new(about: About, flops_per_token: f64, peak: f64) -> Self {
        Self {
            about,
            flops_per_token,
            peak,
            doing: Doing::Starting,
            step: 0,
            total: 0,
            last: None,
            losses: Curve::over(1),
            pace: Mean::over(PACE_STEPS),
            first: BTreeMap::new(),
            latest: None,
            best: None,
            best_by: String::new(),
            saved: None,
            changes: 0,
        }
    }

    /// The run begins or goes on after `step` of `total`; `earlier` is what it has recorded until then.
    pub fn begin(&mut self, step: u64, total: u64, earlier: Vec<Metrics>) {
        // A fiftieth of the run hides a batch's noise and no bend.
        self.losses = Curve::over((total / 50).clamp(5, 500));
        (self.step, self.total) = (step, total);
        for metrics in earlier {
            match metrics {
                Metrics::Step(found) => self.losses.push(found.step, found.loss),
                Metrics::Evaluation(found) => self.evaluated(found),
                _ => {}
            }
        }
        self.doing = Doing::Training;
        self.changes += 1;
    }

    pub fn after_step(&mut self, metrics: &StepMetrics) {
        self.doing = Doing::Training;
        self.step = metrics.step;
        self.losses.push(metrics.step, metrics.loss);
        self.pace.push(metrics.tokens_per_second);
        self.last = Some(metrics.clone());
        self.changes += 1;
    }

    pub fn evaluating(&mut self, done: u64, total: u64) {
        self.doing = Doing::Scoring(done, total);
        self.changes += 1;
    }

    pub fn after_evaluation(&mut self, metrics: &EvaluationMetrics, best: bool) {
        self.doing = Doing::Training;
        if best {
            self.best = Some(metrics.step);
            self.best_by.clone_from(&metrics.decided_by);
        }
        self.evaluated(metrics.clone());
        self.changes += 1;
    }

    fn evaluated(&mut self, metrics: EvaluationMetrics) {
        if self.latest.is_none() {
            self.first.clone_from(&metrics.heldout_bits_per_byte);
        }
        self.latest = Some(metrics);
    }

    pub fn after_checkpoint(&mut self, path: &Path) {
        self.saved = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        self.changes += 1;
    }

    /// Tokens a second, over the last steps of this process.
    pub fn tokens_per_second(&self) -> Option<f64> {
        self.pace.value()
    }

    /// The same as a share of what the machine can do at best.
    pub fn share_of_peak(&self) -> Option<f64> {
        let share = self.tokens_per_second()? * self.flops_per_token / self.peak;
        share.is_finite().then_some(share)
    }

    /// A domain's bits per byte at the first evaluation and at the last.
    pub fn bits_per_byte(&self, domain: &str) -> Option<(f64, f64)> {
        let now = self.latest.as_ref()?.heldout_bits_per_byte.get(domain)?;
        Some((*self.first.get(domain).unwrap_or(now), *now))
    }
}
