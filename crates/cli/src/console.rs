//! Progress on the console: a bar on a terminal, an occasional line elsewhere.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use polymath_data::PreparationProgress;
use polymath_hub::Direction;
use polymath_report::duration;
use polymath_report::untrusted::printable;
use polymath_study::Scored;
use polymath_train::{EvaluationMetrics, Observer, Score, StepMetrics};

use crate::environment::Environment;
use crate::{lines, signals};

/// Time between two progress lines where no progress bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress display of stages that are measured in bytes.
pub struct Stages {
    visible: bool,
    draws: bool,
    current: Mutex<Option<ProgressBar>>,
}

impl Stages {
    /// Creates the progress display. `environment` decides whether it is shown, and as a bar or as lines.
    pub fn new(environment: &Environment) -> Self {
        Self {
            visible: !environment.quiet,
            draws: environment.draws_bars(),
            current: Mutex::new(None),
        }
    }
}

impl PreparationProgress for Stages {
    fn begin(&self, stage: &str, total_bytes: Option<u64>) {
        let bar = match total_bytes {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{msg:22} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
            )),
            None => ProgressBar::new_spinner().with_style(style("{msg:22} {spinner} {elapsed}")),
        };
        if self.draws {
            bar.enable_steady_tick(Duration::from_millis(200));
            lines::print_above(&bar);
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_message(printable(stage).into_owned());
        *self.current.lock().expect("no reporter panicked") = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.current.lock().expect("no reporter panicked") {
            bar.inc(bytes);
        }
    }

    fn finish(&self, summary: &str) {
        if let Some(bar) = self.current.lock().expect("no reporter panicked").take() {
            bar.finish_and_clear();
            lines::print_directly();
            if self.visible {
                let seconds = bar.elapsed().as_secs_f64();
                lines::say(&format!("{}: {summary} ({seconds:.1} s)", bar.message()));
            }
        }
    }
}

/// Progress display of a study: lines, and a bar while scoring.
pub struct StudyConsole<'a> {
    environment: &'a Environment,
    bar: Mutex<ProgressBar>,
}

impl<'a> StudyConsole<'a> {
    /// Creates the progress display of a study for this environment.
    pub fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            bar: Mutex::new(ProgressBar::hidden()),
        }
    }

    fn bar(&self) -> std::sync::MutexGuard<'_, ProgressBar> {
        self.bar.lock().expect("no reporter panicked")
    }
}

impl polymath_study::StudyProgress for StudyConsole<'_> {
    fn say(&self, text: &str) {
        self.environment.say(text);
    }

    fn begin(&self, scored: Scored) {
        if !self.environment.draws_bars() {
            return;
        }
        let (work, name, unit) = match scored {
            Scored::Domain(name) => ("scoring ", name, "tokens"),
            Scored::Task(name) => ("scoring ", name, "choices"),
            Scored::Generated(work) => ("", work, "tokens"),
        };
        let template = format!(
            "{work}{{msg:22}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}}, {{eta}} left"
        );
        *self.bar() = ProgressBar::new(0)
            .with_style(style(&template))
            .with_message(printable(name).into_owned());
    }

    fn advance(&self, done: u64, all: u64) {
        let bar = self.bar();
        bar.set_length(all);
        bar.set_position(done);
    }

    fn finish(&self) {
        self.bar().finish_and_clear();
    }
}

/// Progress display of a training run: loss, throughput, time left, share of the machine's peak rate.
pub struct TrainingConsole {
    visible: bool,
    bar: ProgressBar,
    draws: bool,
    flops_per_token: f64,
    peak: f64,
    last_line: Instant,
}

impl TrainingConsole {
    /// Creates the progress display for training a model of `flops_per_token` on a machine with a peak rate of `peak`
    /// FLOP/s.
    pub fn new(environment: &Environment, flops_per_token: f64, peak: f64) -> Self {
        Self {
            visible: !environment.quiet,
            bar: ProgressBar::hidden(),
            draws: environment.draws_bars(),
            flops_per_token,
            peak,
            last_line: Instant::now(),
        }
    }

    fn say(&self, line: &str) {
        if self.visible {
            lines::say(line);
        }
    }
}

impl Drop for TrainingConsole {
    fn drop(&mut self) {
        signals::training_ends();
        self.bar.finish_and_clear();
        lines::print_directly();
    }
}

impl Observer for TrainingConsole {
    fn begin(&mut self, step: u64, total: u64) {
        signals::training_begins();
        if self.draws {
            self.bar =
                ProgressBar::new(total).with_style(style("step {pos}/{len} {wide_bar} {msg}"));
            self.bar.set_position(step);
            lines::print_above(&self.bar);
        }
        if step > 0 {
            self.say(&resumed(step, total));
        }
    }

    fn preparing(&mut self, work: &str, done: u64, total: u64) {
        if self.draws {
            if self.bar.is_hidden() {
                self.bar = ProgressBar::new(total).with_style(style(
                    "{msg} {wide_bar} {human_pos}/{human_len}, {eta} left",
                ));
                self.bar.set_message(work.to_owned());
                lines::print_above(&self.bar);
            }
            self.bar.set_position(done);
            if done >= total {
                self.bar.finish_and_clear();
                self.bar = ProgressBar::hidden();
                lines::print_directly();
            }
        } else if self.visible && self.last_line.elapsed() > LINE_EVERY {
            self.last_line = Instant::now();
            self.say(&format!("{work}: {done} of {total} tokens"));
        }
    }

    fn after_step(&mut self, metrics: &StepMetrics) {
        let line = pace(metrics, self.flops_per_token, self.peak);
        if self.draws {
            self.bar.set_position(metrics.step);
            self.bar.set_message(line);
        } else if self.visible && self.last_line.elapsed() > LINE_EVERY {
            self.last_line = Instant::now();
            self.say(&format!("step {}  {line}", metrics.step));
        }
    }

    fn evaluating(&mut self, done: u64, total: u64) {
        if self.draws {
            self.bar.set_message(format!(
                "scoring held-out text {:.0} %",
                done as f64 * 100.0 / total.max(1) as f64
            ));
        }
    }

    fn after_evaluation(&mut self, metrics: &EvaluationMetrics, best: bool) {
        self.say(&evaluation(metrics, best));
    }

    fn end(&mut self) {
        signals::training_ends();
    }

    fn message(&mut self, text: &str) {
        self.say(text);
    }
}

/// Returns the line about a step: its loss and throughput, and the time left. The model has `flops_per_token`, and the
/// machine a peak rate of `peak` FLOP/s.
fn pace(metrics: &StepMetrics, flops_per_token: f64, peak: f64) -> String {
    let share = metrics.flops_per_second(flops_per_token) / peak;
    format!(
        "loss {:.3}  {:.0} tokens/s  {:.0} % of peak  {} left",
        metrics.loss,
        metrics.tokens_per_second,
        share * 100.0,
        duration(metrics.seconds_left)
    )
}

/// Returns the line that says from which step a run was resumed.
pub fn resumed(step: u64, total: u64) -> String {
    format!("resumed after step {step} of {total}")
}

/// Returns an evaluation as a line. Each domain with its lowest value so far is marked "(best)", and so is the mean
/// if it chooses the best checkpoint. If this checkpoint is the best, the line ends with the name of the score.
pub fn evaluation(metrics: &EvaluationMetrics, best: bool) -> String {
    let (decides, score) = (&metrics.score_name, metrics.score);
    let mut values: Vec<String> = metrics
        .heldout_bits_per_byte
        .iter()
        .map(|(name, bits)| match metrics.lowest.contains(name) {
            true => format!("{name} {bits:.3} (best)"),
            false => format!("{name} {bits:.3}"),
        })
        .collect();
    if let ("mean", Some(score)) = (&**decides, score.and_then(Score::bits_per_byte)) {
        let mark = if best { " (best)" } else { "" };
        values.push(format!("mean {score:.3}{mark}"));
    }
    let mut line = format!(
        "step {}  held-out bits per byte: {}",
        metrics.step,
        values.join("  ")
    );
    if best {
        line += &format!("; best checkpoint, by {decides}");
    }
    line
}

/// Shows transfers from and to the hub from now on: a bar on a terminal, a line for each transfer elsewhere.
pub fn show_transfers(quiet: bool) {
    if quiet {
        return;
    }
    let shown: Mutex<Option<ProgressBar>> = Mutex::default();
    polymath_hub::watch_transfers(move |transfer| {
        if transfer.total_bytes == 0 {
            return;
        }
        let (doing, place) = match transfer.direction {
            Direction::Download => ("downloading", "from"),
            Direction::Upload => ("uploading", "to"),
        };
        let mut shown = shown.lock().expect("no reporter panicked");
        let bar = shown.get_or_insert_with(|| {
            let bar = ProgressBar::new(transfer.total_bytes).with_style(style(
                "{msg} the hub {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
            ));
            if bar.is_hidden() {
                let megabytes = transfer.total_bytes as f64 / 1e6;
                lines::say(&format!("{doing} {megabytes:.1} MB {place} the hub"));
            }
            bar.with_message(format!("{doing} {place}"))
        });
        bar.set_position(transfer.bytes);
        if transfer.bytes >= transfer.total_bytes {
            bar.finish_and_clear();
            *shown = None;
        }
    });
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Checks every figure of the line about a step.
    #[test]
    fn a_step_is_told() {
        let mut metrics: StepMetrics = serde_json::from_value(json!({
            "step": 7, "tokens": 900, "seconds": 11.0, "loss": 2.3456, "learning_rate": 0.5, "gradient_norm": 3.0,
            "tokens_per_second": 450.0
        }))
        .unwrap();
        metrics.seconds_left = 75.0;
        assert_eq!(
            pace(&metrics, 2e6, 3e9),
            "loss 2.346  450 tokens/s  30 % of peak  1 min 15 s left"
        );
        assert_eq!(resumed(7, 30), "resumed after step 7 of 30");
    }

    /// Checks that an evaluation marks each lowest domain, and names the score that chose the best checkpoint.
    #[test]
    fn an_evaluation_is_told() {
        let mut metrics: EvaluationMetrics = serde_json::from_value(json!({
            "step": 7, "tokens": 900, "seconds": 11.0, "heldout_bits_per_byte": {"code": 1.25, "law": 2.5}
        }))
        .unwrap();
        metrics.lowest = ["law".to_owned()].into();
        (metrics.score_name, metrics.score) = ("code".into(), Some(Score::within(1.25)));
        let bits = "step 7  held-out bits per byte: code 1.250  law 2.500 (best)";
        assert_eq!(evaluation(&metrics, false), bits);
        assert_eq!(
            evaluation(&metrics, true),
            format!("{bits}; best checkpoint, by code")
        );
        (metrics.score_name, metrics.score) = ("mean".into(), Some(Score::within(1.875)));
        assert_eq!(evaluation(&metrics, false), format!("{bits}  mean 1.875"));
        assert_eq!(
            evaluation(&metrics, true),
            format!("{bits}  mean 1.875 (best); best checkpoint, by mean")
        );
    }
}
