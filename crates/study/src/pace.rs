//! Speed of training steps on this machine, measured on made-up tokens.

use std::collections::BTreeMap;
use std::time::Instant;

use polymath_data::BatchShape;
use polymath_model::{
    Batch, KernelCount, LoadOptions, ModelConfig, Sampling, Transformer, counted,
};
use polymath_train::{Optimizer, Training};

use crate::StudyError;

/// Learning rate of the timed steps.
const LEARNING_RATE: f64 = 1e-4;

/// Seconds of the phases of a training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepPhases {
    /// Making of the batch.
    pub data: f64,
    /// Loss.
    pub forward: f64,
    /// Gradients.
    pub backward: f64,
    /// Update.
    pub optimizer: f64,
}

impl StepPhases {
    /// Returns the seconds of the whole step.
    pub fn total(&self) -> f64 {
        self.data + self.forward + self.backward + self.optimizer
    }
}

/// A model and its optimizer, trained on tokens without a pattern to measure the speed of its steps.
pub struct Pace {
    model: Transformer,
    optimizer: Optimizer,
    shape: BatchShape,
    vocabulary: u32,
    step: u64,
}

impl Pace {
    /// Makes a trained model of this architecture, with the rows and the optimizer of `training`.
    ///
    /// # Errors
    /// Fails if the model can't be built or trained.
    pub fn new(
        architecture: ModelConfig,
        training: &Training,
        options: &LoadOptions,
        seed: u64,
    ) -> Result<Self, StudyError> {
        let vocabulary = u32::try_from(architecture.vocab_size).unwrap_or(u32::MAX);
        let model = Transformer::initialize(architecture, seed, options)?
            .with_recompute(training.recompute == Some(polymath_train::Recompute::Block));
        let optimizer = Optimizer::new(training, model.trainable(), options.ops)?;
        Ok(Self {
            model,
            optimizer,
            shape: BatchShape {
                rows: training.batch_size,
                sequence_length: training.sequence_length,
            },
            vocabulary,
            step: 0,
        })
    }

    /// Tokens of a step.
    pub fn tokens(&self) -> u64 {
        (self.shape.rows * self.shape.sequence_length) as u64
    }

    /// Trains one step and times it. A GPU computes asynchronously: a phase of it lasts until its work is queued. Only
    /// the gradient norm waits for all work before it, as in training, and the end of the step for the rest.
    ///
    /// # Errors
    /// Fails if the model can't be built or trained.
    pub fn step(&mut self) -> Result<StepPhases, StudyError> {
        self.step += 1;
        let begin = Instant::now();
        let batch = synthetic(self.shape, self.vocabulary, self.step);
        let data = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let loss = self.model.loss(&batch)?;
        let forward = begin.elapsed().as_secs_f64();
        let gradients = loss.backward()?;
        let backward = begin.elapsed().as_secs_f64();
        let parameters = self.model.trainable();
        let found: BTreeMap<_, _> = parameters
            .iter()
            .filter_map(|(name, parameter)| Some((name.clone(), gradients.get(parameter)?.clone())))
            .collect();
        let norm = self.optimizer.gradient_norm(&found)?;
        let at = polymath_train::UpdateAt {
            step: self.step,
            gradient_scale: 1.0 / norm.max(1.0),
        };
        self.optimizer.step(parameters, &found, at, LEARNING_RATE)?;
        self.model.device().synchronize()?;
        let all = begin.elapsed().as_secs_f64();
        Ok(StepPhases {
            data,
            forward,
            backward: backward - forward,
            optimizer: all - backward,
        })
    }

    /// Counts the work that a step gives to a GPU, by kernel. Needs the operations of
    /// [`Implementation::Emulated`](polymath_model::Implementation::Emulated); the model is of no use afterwards.
    ///
    /// # Errors
    /// Fails if the model can't be built or trained, or if the emulator refuses a launch.
    pub fn count(&mut self, sampling: Sampling) -> Result<Vec<KernelCount>, StudyError> {
        let (time, counts) = counted(sampling, || self.step());
        time?;
        Ok(counts)
    }

    /// Scores the batch of the last step and returns the seconds.
    ///
    /// # Errors
    /// Fails if the model can't be built or trained.
    pub fn score(&self) -> Result<f64, StudyError> {
        let batch = synthetic(self.shape, self.vocabulary, self.step);
        let begin = Instant::now();
        self.model.score(&batch)?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

/// Returns rows of one document each, of pseudo-random tokens.
fn synthetic(shape: BatchShape, vocabulary: u32, step: u64) -> Batch {
    let (rows, sequence) = (shape.rows, shape.sequence_length);
    let first = step as usize * rows * sequence;
    let token = |at: usize| ((first + at).wrapping_mul(2_654_435_761) >> 7) as u32 % vocabulary;
    Batch {
        input_ids: (0..rows * sequence).map(token).collect(),
        targets: (1..=rows * sequence).map(token).collect(),
        document_starts: vec![0; rows * sequence],
        rows,
        domains: vec![0; rows],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each row is one document, that a target is the next token, and that steps have tokens of their own.
    #[test]
    fn rows_of_a_step_are_documents() {
        let shape = BatchShape {
            rows: 2,
            sequence_length: 5,
        };
        let [first, second] = [1, 2].map(|step| synthetic(shape, 50, step));
        for batch in [&first, &second] {
            assert_eq!((batch.rows, &batch.domains[..]), (2, &[0, 0][..]));
            assert_eq!(batch.document_starts, vec![0; 10]);
            assert_eq!(batch.input_ids[1..], batch.targets[..9]);
            assert!(batch.input_ids.iter().all(|token| *token < 50));
        }
        assert_eq!(first.targets[9], second.input_ids[0]);
        assert_ne!(first.input_ids, second.input_ids);
    }
}
