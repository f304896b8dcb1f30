//! Estimate of a pretraining's duration, measured on a few steps before it starts. Writes only to a temporary folder.

use polymath_base::counted;
use polymath_model::{LoadOptions, Transformer};
use polymath_train::{
    Check, Cost, EvaluationCounts, Inspection, LanguageModel, Launch, TrainError, TrainingTask,
    time_evaluation, time_steps,
};

use crate::{MixtureEvaluator, PretrainError, Pretraining};

impl Pretraining {
    /// Measures the duration of a few steps, an evaluation and a checkpoint, and returns the estimated duration of the
    /// run from its newest checkpoint, or its start, to its end.
    ///
    /// # Errors
    /// Fails if the model or the data can't be used, or if the temporary folder can't be written.
    pub fn cost(&self, launch: &Launch) -> Result<Cost, PretrainError> {
        let scratch = tempfile::tempdir()
            .map_err(TrainError::file("make a folder in", &std::env::temp_dir()))?;
        let ops = launch.ops(self.config.training.precision);
        let options = LoadOptions::trained(&launch.device, ops);
        let transformer = Transformer::initialize(self.model.clone(), self.config.seed, &options)?
            .with_z_loss(self.config.training.z_loss)
            .with_recompute(launch.fit_memory(self.plan())?.recomputes());
        let task = LanguageModel {
            transformer: &transformer,
            tokenizer: self.tokenizer.clone(),
        };
        let training = &self.config.training;
        let timed = TrainingTask {
            objective: &task,
            batches: &self.stream,
        };
        let time = time_steps(training, timed, ops, scratch.path())?;
        let mut heldout = MixtureEvaluator {
            evaluator: self.evaluator()?,
            transformer: &transformer,
            trained: Vec::new(),
        };
        let evaluation = time_evaluation(&mut heldout)?;
        let total = self.plan().steps;
        let found = Inspection::of(&self.config.run, Check::Lengths).ok();
        let newest = found.as_ref().and_then(Inspection::newest);
        let left = total - newest.map_or(0, |newest| newest.step).min(total);
        let kept = (&self.config.evaluation, &self.config.checkpoint);
        let all = EvaluationCounts::of(total, kept, false);
        let share = |of_all: u64| (of_all * left).div_ceil(total.max(1));
        let mut cost = Cost::default();
        cost.add(counted(left, "step"), left, time.step);
        let evaluations = share(all.evaluations);
        cost.add(counted(evaluations, "evaluation"), evaluations, evaluation);
        let checkpoints = share(all.checkpoints);
        cost.add(
            counted(checkpoints, "checkpoint"),
            checkpoints,
            time.checkpoint,
        );
        Ok(cost)
    }
}
