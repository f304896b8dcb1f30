//! State of a run that the dashboard shows, without the layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polymath_train::{EvaluationMetrics, Metrics, StepMetrics};

use super::curve::{DecayingMean, LossCurve};

/// Number of steps over which throughput is averaged.
const PACE_STEPS: f64 = 10.0;

/// Facts about a run that are known before it begins.
#[derive(Debug, Clone)]
pub struct About {
    /// Title: `pretraining`, `fine-tuning`.
    pub title: String,
    /// Folder of the run.
    pub run: PathBuf,
    /// Groups of the domains that are scored during training, in the order of display.
    pub groups: Vec<Group>,
}

/// Domains with the same role.
#[derive(Debug, Clone)]
pub struct Group {
    /// Name of the role: `niche`, `retained`.
    pub title: String,
    /// Names of the domains.
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

/// Current activity of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activity {
    /// Loading the model, and measuring before the first step.
    Starting,
    /// Work before the first step that can be counted, such as generating text: amount done, and the whole amount.
    Preparing(u64, u64),
    Training,
    /// Scoring held-out text: number of scored tokens, and their total.
    Scoring(u64, u64),
}

/// State of the run, as shown on the dashboard.
pub struct DashboardState {
    pub about: About,
    flops_per_token: f64,
    peak: f64,
    pub activity: Activity,
    pub step: u64,
    pub total: u64,
    pub last: Option<StepMetrics>,
    pub losses: LossCurve,
    pace: DecayingMean,
    /// Bits per byte of each domain at the run's first evaluation, which changes are relative to.
    first: BTreeMap<String, f64>,
    pub latest: Option<EvaluationMetrics>,
    /// Step of the best evaluation; `None` before the first.
    pub best: Option<u64>,
    /// Name of the score that chose the best evaluation; `None` if it is unknown.
    pub best_by: Option<String>,
    /// Path of the latest checkpoint.
    pub saved: Option<String>,
    /// Number of changes so far. A frame is drawn again only if this number has changed.
    pub changes: u64,
}

impl DashboardState {
    /// Creates the state of a dashboard before the run begins. The model has `flops_per_token`, and the machine a peak
    /// rate of `peak` FLOP/s.
    pub fn new(about: About, flops_per_token: f64, peak: f64) -> Self {
        Self {
            about,
            flops_per_token,
            peak,
            activity: Activity::Starting,
            step: 0,
            total: 0,
            last: None,
            losses: LossCurve::over(1),
            pace: DecayingMean::over(PACE_STEPS),
            first: BTreeMap::new(),
            latest: None,
            best: None,
            best_by: None,
            saved: None,
            changes: 0,
        }
    }

    /// Begins the run, or resumes it after `step` of `total` steps. `earlier` are the metrics recorded before.
    pub fn begin(&mut self, step: u64, total: u64, earlier: Vec<Metrics>) {
        // Smoothing over a fiftieth of the run removes the noise of batches but keeps trends.
        self.losses = LossCurve::over((total / 50).clamp(5, 500));
        (self.step, self.total) = (step, total);
        for metrics in earlier {
            match metrics {
                Metrics::Step(found) => self.losses.push(found.step, found.loss),
                Metrics::Evaluation(found) => self.evaluated(found),
                _ => {}
            }
        }
        self.activity = Activity::Training;
        self.changes += 1;
    }

    pub fn after_step(&mut self, metrics: &StepMetrics) {
        self.activity = Activity::Training;
        self.step = metrics.step;
        self.losses.push(metrics.step, metrics.loss);
        self.pace.push(metrics.tokens_per_second);
        self.last = Some(metrics.clone());
        self.changes += 1;
    }

    pub fn preparing(&mut self, done: u64, total: u64) {
        self.activity = match done < total {
            true => Activity::Preparing(done, total),
            false => Activity::Starting,
        };
        self.changes += 1;
    }

    pub fn evaluating(&mut self, done: u64, total: u64) {
        self.activity = Activity::Scoring(done, total);
        self.changes += 1;
    }

    pub fn after_evaluation(&mut self, metrics: &EvaluationMetrics, best: bool) {
        self.activity = Activity::Training;
        if best {
            self.best = Some(metrics.step);
            self.best_by = Some(metrics.score_name.clone()).filter(|name| !name.is_empty());
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

    /// Returns the tokens per second over the last steps of this process.
    pub fn tokens_per_second(&self) -> Option<f64> {
        self.pace.value()
    }

    /// Returns the throughput as a share of the machine's peak rate.
    pub fn share_of_peak(&self) -> Option<f64> {
        let share = self.tokens_per_second()? * self.flops_per_token / self.peak;
        share.is_finite().then_some(share)
    }

    /// Returns a domain's bits per byte at the first and at the latest evaluation.
    pub fn bits_per_byte(&self, domain: &str) -> Option<(f64, f64)> {
        let now = self.latest.as_ref()?.heldout_bits_per_byte.get(domain)?;
        Some((*self.first.get(domain).unwrap_or(now), *now))
    }
}
