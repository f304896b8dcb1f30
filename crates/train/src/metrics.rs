//! `metrics.jsonl`: one object a line, a training step or an evaluation; and the same for TensorBoard.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::tensorboard::EventFile;

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Counted from 1.
    pub step: u64,
    /// Tokens trained on so far, the positions of all batches.
    pub tokens: u64,
    /// Seconds of training so far, over all resumptions; evaluations and checkpoints apart.
    pub seconds: f64,
    /// Nats per scored token of this step's batch.
    pub loss: f64,
    /// What is minimised beside the loss, each by its name, in the loss's unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub penalties: BTreeMap<String, f64>,
    /// This step's.
    pub learning_rate: f64,
    /// L2 norm over all parameters, before clipping.
    pub gradient_norm: f64,
    /// Of this step.
    pub tokens_per_second: f64,
    /// Training time to the last step, at the pace so far; for the console, not in the file.
    #[serde(skip)]
    pub seconds_left: f64,
}

impl StepMetrics {
    /// Floating-point operations a second, for a model that takes `flops_per_token`.
    pub fn flops_per_second(&self, flops_per_token: f64) -> f64 {
        self.tokens_per_second * flops_per_token
    }
}

/// One evaluation on held-out documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationMetrics {
    /// After so many steps.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Bits per byte of each domain.
    pub heldout_bits_per_byte: BTreeMap<String, f64>,
    /// What the evaluator decided by it, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub control: BTreeMap<String, f64>,
}

/// The open file.
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl MetricsFile {
    /// Opens the file at `path` to go on after `step`: what a stopped run wrote beyond that is dropped. With
    /// `evaluation_due`, so is an evaluation after `step`, which is done again.
    pub fn open(path: &Path, step: u64, evaluation_due: bool) -> Result<Self, TrainError> {
        let kept: String = match std::fs::read_to_string(path) {
            Ok(text) => text
                .lines()
                .filter(|line| match position(line) {
                    Some((at, evaluation)) => {
                        at < step || at == step && !(evaluation && evaluation_due)
                    }
                    None => false,
                })
                .map(|line| format!("{line}\n"))
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(TrainError::file("read", path)(error)),
        };
        crate::checkpoint::write_atomically(path, kept.as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(TrainError::file("open", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            events: EventFile::create(path, &kept)?,
        })
    }

    /// Appends one line.
    pub fn write(&mut self, metrics: &impl Serialize) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(metrics).expect("metrics are numbers and names");
        line.push('\n');
        // One write a line, so that a reader never sees half of it.
        self.file
            .write_all(line.as_bytes())
            .map_err(TrainError::file("write", &self.path))?;
        self.events.write(&line)
    }
}

/// The step of a line, and whether it is an evaluation.
fn position(line: &str) -> Option<(u64, bool)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let step = line.get("step")?.as_u64()?;
    Some((step, line.get("heldout_bits_per_byte").is_some()))
}
