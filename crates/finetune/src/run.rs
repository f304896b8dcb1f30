//! Running of an opened fine-tuning: from its start, or from its newest checkpoint, to its end.

use std::path::Path;

use polymath_train::{
    Fit, LanguageModel, Launch, Monitor, Observer, Outcome, RunFolder, TrainingTask,
    fit_controlled, step_name,
};

use crate::base::has_checkpoints;
use crate::retention::{LimitsVerdict, RetentionObjective, StartContext};
use crate::{Divergence, Ending, FinetuneConfig, FinetuneError, Finetuning, Lineage};

/// Config key that lists a run's extensions.
const EXTENSIONS: &str = "training.extensions";

impl Finetuning {
    /// Trains from the base or from the current position of the run folder, and judges the limits, if any. For a
    /// finished run that is resumed, only completes the work after the last checkpoint that a killed process left
    /// undone.
    ///
    /// # Errors
    /// Fails if the run folder can't be used or training fails. A run that diverges leaves a record
    /// ([`Self::divergence`]).
    pub fn run(
        &self,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Ending, FinetuneError> {
        if self.only_inspected {
            return Err(FinetuneError::Config(
                "this run was opened for inspection only: open it again to train".into(),
            ));
        }
        if !launch.resume {
            self.refuse_unjudged()?;
        }
        launch.fit_memory(self.training_plan())?;
        let mut config = self.config.clone();
        let mut run =
            RunFolder::open_resolving(&config.run, &config.to_toml(), launch.resume, &|saved| {
                self.complete(saved)
            })?;
        let continued = run.lengthen(&config.training, self.padding)?;
        config.training = continued.training;
        run.keep_config(config.to_toml());
        let lineage = match run.resumed() {
            Some(from) => self.check_origin(&from.path)?,
            None => self.lineage()?,
        };
        self.base.check()?;
        if let Some(said) = &continued.said {
            observer.message(said);
            self.set_verdict_aside(&run)?;
        }
        let has_verdict = LimitsVerdict::read(run.path()).is_some();
        if self.is_limited_on_generated_text() && self.generated.is_none() && !has_verdict {
            let training = &config.training;
            let mut context = StartContext {
                launch,
                training,
                ops: launch.ops(training.precision),
                observer,
            };
            return match self.with_generated_text(&mut context) {
                Ok(tuning) => tuning.run_in(&run, lineage, launch, observer),
                Err(FinetuneError::Stopped) => Ok(Ending {
                    outcome: Outcome::Interrupted {
                        step: run.resumed().map_or(0, |from| from.state.step),
                    },
                    verdict: None,
                }),
                Err(error) => Err(error),
            };
        }
        self.run_in(&run, lineage, launch, observer)
    }

    /// Trains in an open run folder unless the run is already finished, then makes the verdict on its limits, if any.
    fn run_in(
        &self,
        run: &RunFolder,
        lineage: Lineage,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Ending, FinetuneError> {
        let outcome = match run.finished_outcome(&self.config.checkpoint)? {
            Some(outcome) => {
                let shown = run.path().display();
                observer.message(&format!("`{shown}` is finished: nothing left to do"));
                outcome
            }
            None => {
                Divergence::clear(run.path())?;
                self.disk().check()?;
                self.train(run, lineage, launch, observer)
                    .inspect_err(|error| Divergence::note(run.path(), error))?
            }
        };
        self.conclude(outcome, run, launch, observer)
    }

    /// Trains in an open run folder, from its newest checkpoint if there is one.
    fn train(
        &self,
        run: &RunFolder,
        lineage: Lineage,
        launch: &Launch,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, FinetuneError> {
        if run.resumed().is_none() {
            lineage.write(run.path())?;
        }
        run.note_environment(&launch.device)?;
        if let Some(extension) = &self.extension {
            extension.write()?;
        }
        for packing in self.packings() {
            observer.message(&packing);
        }
        let training = run.training().unwrap_or(&self.config.training);
        let ops = launch.ops(training.precision);
        let resumed = run.resumed().map(|from| from.path.as_path());
        let plan = launch.fit_memory(self.training_plan())?;
        if let Some(chosen) = plan.memory_choice() {
            observer.message(&chosen);
        }
        let transformer = self
            .transformer(resumed, launch, ops)?
            .with_recompute(plan.recomputes());
        let retention = match self.start_retention(&mut StartContext {
            launch,
            training,
            ops,
            observer,
        }) {
            Err(FinetuneError::Stopped) => {
                let step = run.resumed().map_or(0, |from| from.state.step);
                return Ok(Outcome::Interrupted { step });
            }
            started => started?,
        };
        let task = RetentionObjective {
            model: LanguageModel {
                transformer: &transformer,
                tokenizer: self.tokenizer().clone(),
            },
            penalties: retention.penalties,
            replay_weight: self.config.retention.replay_weight(),
            distillation: retention.distillation,
            lineage: Some(lineage),
        };
        let mut controller = retention.controller;
        if let (Some(controller), Some(from)) = (&mut controller, run.resumed()) {
            controller.resume(&from.path)?;
        }
        let mut evaluator = self.evaluator(&transformer, launch, ops)?;
        let settings = Fit {
            training,
            ..self.settings(launch, retention.fingerprint)
        };
        let monitor = Monitor {
            evaluator: &mut *evaluator,
            controller: controller.as_mut().map(|controller| controller as _),
        };
        Ok(fit_controlled(
            &settings,
            run,
            TrainingTask {
                objective: &task,
                batches: &*retention.batches,
            },
            monitor,
            observer,
        )?)
    }

    /// Returns the settings for the training loop. `fingerprint` identifies the data that the run trains on.
    fn settings<'a>(&'a self, launch: &'a Launch, fingerprint: String) -> Fit<'a> {
        Fit {
            training: &self.config.training,
            evaluation: &self.config.evaluation,
            evaluate_first: true,
            checkpoint: &self.config.checkpoint,
            seed: self.config.seed,
            data_fingerprint: fingerprint,
            ops: launch.ops(self.config.training.precision),
            stop: &launch.stop,
        }
    }

    /// Returns true if the run is finished with the current settings, base and data, and has its verdict on the limits.
    /// A comparison of runs then uses it instead of training again.
    ///
    /// # Errors
    /// Fails if the run is finished with other settings, or if it was or would be extended.
    pub fn is_done(&self) -> Result<bool, FinetuneError> {
        let Some(state) = polymath_train::finished(&self.config.run) else {
            self.refuse_other_length()?;
            return Ok(false);
        };
        if let Some(changed) = self.changed_key()? {
            return Err(self.finished_otherwise(&changed));
        }
        self.check_origin(&self.config.run.join(step_name(state.step)))?;
        Ok(self.is_judged())
    }

    /// Checks that a checkpoint of the run was trained from the current base, tokenizer and data. Returns the
    /// checkpoint's lineage.
    ///
    /// # Errors
    /// Fails if the checkpoint was trained from others.
    pub(crate) fn check_origin(&self, checkpoint: &Path) -> Result<Lineage, FinetuneError> {
        let now = self.lineage()?;
        let saved = checkpoint.join("tokenizer.json");
        // Adapters of earlier versions have no tokenizer file.
        if polymath_input::is_file(&saved)?
            && polymath_train::sha256_of(&saved)? != self.tokenizer().sha256()?
        {
            return Err(FinetuneError::Config(format!(
                "the run `{}` was started with another tokenizer than that of `base` with the new tokens of `tokenizer`: \
                 `{}` differs from it. Restore the base and the tokens, choose another `run`, or remove the run's folder to \
                 start again",
                self.config.run.display(),
                saved.display()
            )));
        }
        match Lineage::recorded(checkpoint)? {
            Some(before) => {
                before.check_same(&now, &self.config.run)?;
                Ok(before)
            }
            None => Ok(now),
        }
    }

    /// Returns true if the run in this run's folder was saved with the same settings.
    pub(crate) fn is_same(&self) -> Result<bool, FinetuneError> {
        Ok(self.changed_key()?.is_none())
    }

    /// Returns the first key whose value in the folder's `run.toml` differs from the current settings, or `None`.
    fn changed_key(&self) -> Result<Option<String>, FinetuneError> {
        let path = self.config.run.join("run.toml");
        match polymath_base::read_to_string(&path) {
            Ok(saved) => {
                let before = self.complete(&saved).unwrap_or(saved);
                let (now, free) = (self.config.to_toml(), &self.config.free);
                Ok(polymath_train::changed_key(&before, &now, free))
            }
            Err(source) => Err(FinetuneError::File { path, source }),
        }
    }

    fn finished_otherwise(&self, changed: &str) -> FinetuneError {
        let why = match changed {
            "evaluation.every" | "evaluation.max_tokens" if self.is_limited() => {
                "; under limits the evaluations steer the run, so that it has to run again"
            }
            "evaluation.every" | "evaluation.max_tokens" => {
                "; the evaluations chose its best checkpoint, so that it has to run again (the `max_tokens` of the comparison \
                 itself can be raised at any time)"
            }
            EXTENSIONS => "; it was extended, and had another learning rate than a run of one part",
            _ => "",
        };
        FinetuneError::Config(format!(
            "`{}` is finished with other settings: `{changed}` differs{why}. Remove it, or choose another folder",
            self.config.run.display()
        ))
    }

    /// Fails if the run in the folder was started with another length, or was extended. Resuming it would extend it,
    /// which is not allowed in a comparison of runs.
    fn refuse_other_length(&self) -> Result<(), FinetuneError> {
        if !has_checkpoints(&self.config.run) {
            return Ok(());
        }
        let lengths = ["training.tokens", "training.steps", EXTENSIONS];
        match self.changed_key()? {
            Some(changed) if lengths.contains(&&*changed) => Err(FinetuneError::Config(format!(
                "`{}` was started with another length: `{changed}` differs, and the runs of a comparison are not extended, since \
                 that would change their learning rates. Remove it, or choose another folder",
                self.config.run.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Returns a saved config with the defaults that earlier versions did not save, or `None` if the text is not a
    /// valid config.
    fn complete(&self, saved: &str) -> Option<String> {
        let mut saved: FinetuneConfig = toml::from_str(saved).ok()?;
        saved.keep_earlier_defaults();
        Some(saved.resolve(&self.facts).ok()?.to_toml())
    }
}
