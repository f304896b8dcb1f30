//! `metrics.jsonl` of a run: each line is a JSON object with the metrics of a training step or of an evaluation. They
//! are also written for TensorBoard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::tensorboard::EventFile;
use crate::{Score, TrainError};

/// Name of the file in a run folder that holds the metrics.
pub(crate) const METRICS: &str = "metrics.jsonl";
/// Name of the file to which unreadable lines of the metrics file are moved.
const BROKEN: &str = "metrics-broken.jsonl";

/// Metrics of one optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepMetrics {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Number of tokens trained on so far: the positions of all batches without padding.
    pub tokens: u64,
    /// Seconds of training so far, over all resumptions, without evaluations and checkpoints.
    pub seconds: f64,
    /// Loss of this step's batch in nats per scored token.
    pub loss: f64,
    /// Values of the terms added to the loss, by name, in the unit of the loss.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub penalties: BTreeMap<String, f64>,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// L2 norm of the gradient over all parameters, before clipping.
    pub gradient_norm: f64,
    /// Tokens per second of this step.
    pub tokens_per_second: f64,
    /// Peak memory of the tensors on a GPU so far, in bytes; absent for other devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// Estimated seconds of training that remain, at the average pace. For the console only, not in the file.
    #[serde(skip)]
    pub seconds_left: f64,
}

impl StepMetrics {
    /// Returns the floating-point operations per second of this step, from the operations per token of the model.
    pub fn flops_per_second(&self, flops_per_token: f64) -> f64 {
        self.tokens_per_second * flops_per_token
    }
}

/// Metrics of one evaluation on held-out documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvaluationMetrics {
    /// Number of steps done before the evaluation.
    pub step: u64,
    /// Number of tokens trained on before the evaluation.
    pub tokens: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Bits per byte of each domain on held-out documents.
    pub heldout_bits_per_byte: BTreeMap<String, f64>,
    /// Further values of the evaluator and of the controller's plan, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub control: BTreeMap<String, f64>,
    /// Domains whose bits per byte are the lowest so far. For the console only, not in the file.
    #[serde(skip)]
    pub lowest: BTreeSet<String>,
    /// Name of the score that chooses the best checkpoint ([`crate::Evaluator::score_name`]). For the console only,
    /// not in the file.
    #[serde(skip)]
    pub score_name: String,
    /// Score that chooses the best checkpoint. Not in the file.
    #[serde(skip)]
    pub score: Option<Score>,
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Metrics {
    /// Metrics of a training step.
    Step(StepMetrics),
    /// Metrics of an evaluation.
    Evaluation(EvaluationMetrics),
}

/// Reads the metrics that the run in the folder `run` has recorded so far, in order. Skips a line that is still being
/// written, and lines with a value that is not finite.
///
/// # Errors
/// Fails if the file can't be read.
///
/// ```no_run
/// use polymath_train::{Metrics, read_metrics};
///
/// for line in read_metrics("checkpoints/small".as_ref())? {
///     if let Metrics::Evaluation(found) = line {
///         println!("step {}: {:?}", found.step, found.heldout_bits_per_byte);
///     }
/// }
/// # Ok::<(), polymath_train::TrainError>(())
/// ```
pub fn read_metrics(run: &Path) -> Result<Vec<Metrics>, TrainError> {
    let path = run.join(METRICS);
    let bytes = polymath_base::read(&path).map_err(TrainError::file("read", &path))?;
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .map(serde_json::from_slice);
    Ok(lines.filter_map(Result::ok).collect())
}

/// Open `metrics.jsonl` of a run, to which lines are appended.
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
    events: EventFile,
    /// Line numbers, from 1, of the unreadable lines that were moved to another file.
    broken: Vec<usize>,
}

impl MetricsFile {
    /// Opens the `metrics.jsonl` at `path` to continue a run after `step`, and removes the lines of later steps. With
    /// `evaluation_due`, also removes the evaluation after `step`, since it will be repeated. Removes an incomplete
    /// last line, which a killed process left. Moves any other unreadable line to another file.
    pub fn open(path: &Path, step: u64, evaluation_due: bool) -> Result<Self, TrainError> {
        let bytes = match polymath_base::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(TrainError::file("read", path)(error)),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let lines = bytes[..whole.map_or(0, |end| end + 1)].split_inclusive(|byte| *byte == b'\n');
        let (mut kept, mut broken, mut aside) = (String::new(), Vec::new(), Vec::new());
        for (number, bytes) in lines.enumerate() {
            let line = std::str::from_utf8(bytes).ok();
            match line.and_then(|line| Some((line, position(line)?))) {
                Some((line, (at, evaluation))) => {
                    if at < step || at == step && !(evaluation && evaluation_due) {
                        kept += line;
                    }
                }
                None => {
                    broken.push(number + 1);
                    aside.extend_from_slice(bytes);
                }
            }
        }
        if !broken.is_empty() {
            keep_aside(&path.with_file_name(BROKEN), &aside)?;
        }
        polymath_base::write(path, kept.as_bytes()).map_err(TrainError::file("write", path))?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(TrainError::file("open", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            events: EventFile::create(path, &kept)?,
            broken,
        })
    }

    /// Returns a sentence for the user about unreadable lines that were moved, or `None` if there were none.
    pub fn note(&self) -> Option<String> {
        let numbers: Vec<String> = self.broken.iter().take(10).map(usize::to_string).collect();
        let more = match self.broken.len() > numbers.len() {
            true => ", …",
            false => "",
        };
        (!numbers.is_empty()).then(|| {
            format!(
                "`{}`: {} lines could not be read ({}{more}) and are kept in `{BROKEN}` beside it",
                self.path.display(),
                self.broken.len(),
                numbers.join(", ")
            )
        })
    }

    /// Appends one line to `metrics.jsonl`.
    pub fn write(&mut self, metrics: &impl Serialize) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(metrics).expect("metrics are numbers and names");
        line.push('\n');
        // One write for each line, so that a reader never sees a partial line.
        self.file
            .write_all(line.as_bytes())
            .map_err(TrainError::file("write", &self.path))?;
        self.events.write(&line)
    }

    /// Waits until all lines are on disk. A checkpoint must not be saved without the metrics of the steps before it.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.file
            .sync_data()
            .map_err(TrainError::file("sync", &self.path))
    }
}

/// Appends unreadable lines to the file that collects them.
fn keep_aside(path: &Path, lines: &[u8]) -> Result<(), TrainError> {
    let mut all = match polymath_base::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(TrainError::file("read", path)(error)),
    };
    all.extend_from_slice(lines);
    polymath_base::write(path, &all).map_err(TrainError::file("write", path))
}

/// Returns the step of a metrics line, and true if the line is an evaluation.
fn position(line: &str) -> Option<(u64, bool)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let step = line.get("step")?.as_u64()?;
    Some((step, line.get("heldout_bits_per_byte").is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the sentence about unreadable lines counts all of them and names the first ten by their numbers.
    #[test]
    fn ten_unreadable_lines_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let note = |lines: usize| {
            std::fs::write(&path, "?\n".repeat(lines)).unwrap();
            MetricsFile::open(&path, 0, false).unwrap().note()
        };
        assert_eq!(note(0), None);
        let said = note(3).unwrap();
        assert!(
            said.contains("3 lines could not be read (1, 2, 3)"),
            "{said}"
        );
        let said = note(10).unwrap();
        assert!(said.contains("(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"), "{said}");
        let said = note(11).unwrap();
        assert!(
            said.contains("11 lines could not be read (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)"),
            "{said}"
        );
    }

    /// Checks that written lines are read back as steps and evaluations, and that an incomplete line is skipped.
    #[test]
    fn written_metrics_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let step = StepMetrics {
            step: 1,
            tokens: 8,
            seconds: 0.5,
            loss: 3.5,
            penalties: BTreeMap::from([("ewc".into(), 0.25)]),
            learning_rate: 1e-3,
            gradient_norm: 0.5,
            tokens_per_second: 16.0,
            gpu_memory_bytes: None,
            seconds_left: 0.0,
        };
        assert_eq!(step.flops_per_second(3.0), 48.0);
        let evaluation = EvaluationMetrics {
            step: 1,
            tokens: 8,
            seconds: 0.5,
            heldout_bits_per_byte: BTreeMap::from([("law".into(), 1.5)]),
            control: BTreeMap::new(),
            lowest: BTreeSet::new(),
            score_name: String::new(),
            score: None,
        };
        let mut file = MetricsFile::open(&path, 0, false).unwrap();
        file.write(&step).unwrap();
        file.write(&evaluation).unwrap();
        file.file.write_all(b"{\"step\":2,\"tok").unwrap();
        let found = read_metrics(folder.path()).unwrap();
        assert_eq!(
            found,
            [Metrics::Step(step), Metrics::Evaluation(evaluation)]
        );
    }

    /// Checks that the evaluation after the last step is removed if it will be repeated, and kept otherwise, and that
    /// the line of that step stays.
    #[test]
    fn an_evaluation_that_is_due_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let step = "{\"step\":3,\"loss\":1.0}\n";
        let lines = format!("{step}{{\"step\":3,\"heldout_bits_per_byte\":{{}}}}\n");
        let kept = |due: bool| {
            std::fs::write(&path, &lines).unwrap();
            MetricsFile::open(&path, 3, due).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        assert_eq!(kept(false), lines);
        assert_eq!(kept(true), step);
    }

    /// Checks that resuming removes the lines after the checkpoint and an incomplete line, moves an unreadable line
    /// to another file and reports it, and continues.
    #[test]
    fn unreadable_lines_are_moved_to_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let line = |step: u64| format!("{{\"step\":{step},\"seconds\":1.0}}\n").into_bytes();
        let mut bytes = line(1);
        bytes.extend(b"{\"step\":2,\"loss\":\xff}\n");
        bytes.extend(line(3));
        bytes.extend(line(4));
        bytes.extend(b"{\"step\":5,\xfe");
        std::fs::write(&path, &bytes).unwrap();
        let file = MetricsFile::open(&path, 3, false).unwrap();
        let note = file.note().unwrap();
        assert!(note.contains("1 lines could not be read (2)"), "{note}");
        assert_eq!(std::fs::read(&path).unwrap(), [line(1), line(3)].concat());
        let aside = std::fs::read(folder.path().join(BROKEN)).unwrap();
        assert_eq!(aside, b"{\"step\":2,\"loss\":\xff}\n");
        let file = MetricsFile::open(&path, 3, false).unwrap();
        assert_eq!(file.note(), None);
    }
}
