//! Estimate of a fine-tuning's duration before it starts, from timing a few steps. Writes only to a temporary folder.

use std::time::Instant;

use polymath_base::counted;
use polymath_data::{HeldoutSplit, MixturePart, MixtureStream, NamedShard, ReplayStream};
use polymath_eval::{Endpoints, HeldoutEvaluator, Interpolation, WindowOptions, scored_tokens};
use polymath_model::{DocumentSampler, LoadOptions, Ops, Precision, Transformer};
use polymath_train::{
    BatchSource, Check, Cost, EvaluationCounts, Inspection, LanguageModel, Launch, Penalty,
    TrainingTask, time_evaluation, time_steps,
};

use super::limits::{DevPart, UsualScorings};
use super::{
    Base, Distillation, Ewc, L2sp, ReplaySource, RetentionObjective, Sample, Squares, TeacherPool,
    limits,
};
use crate::evaluator::NicheEvaluator;
use crate::{FinetuneError, Finetuning};

/// Number of rows on which the measurement of Fisher information is timed.
const FISHER_ROWS: u64 = 2;
/// Number of documents, and of tokens in each, on which the generation of text is timed.
const DOCUMENTS: (usize, usize) = (32, 16);

/// Batch source for the few steps that are timed.
enum Batches {
    Plain(MixtureStream),
    Replayed(ReplayStream),
}

impl Batches {
    fn source(&self) -> &dyn BatchSource {
        match self {
            Self::Plain(stream) => stream,
            Self::Replayed(stream) => stream,
        }
    }
}

impl Finetuning {
    /// Times a few steps, an evaluation and a checkpoint, and returns the estimated duration of the run from its newest
    /// checkpoint to its end. The estimate includes the preparation of retention before training, and the search and
    /// the verdict of forgetting limits after it. It assumes that files cached by earlier runs are computed again.
    ///
    /// # Errors
    /// Fails if the model or the data can't be used, or if the temporary folder can't be written.
    pub fn cost(&self, launch: &Launch) -> Result<Cost, FinetuneError> {
        let scratch = self._scratch.path().join("checkpoint");
        std::fs::create_dir_all(&scratch).map_err(|source| FinetuneError::File {
            path: scratch.clone(),
            source,
        })?;
        if let Some(extension) = &self.extension {
            extension.write()?;
        }
        let ops = launch.ops(self.config.training.precision);
        let mut cost = Cost::default();
        self.time_text(&mut cost, launch, ops)?;
        let batches = self.timed_batches()?;
        let plan = launch.fit_memory(self.training_plan())?;
        let transformer = self
            .transformer(None, launch, ops)?
            .with_recompute(plan.recomputes());
        let task = RetentionObjective {
            model: LanguageModel {
                transformer: &transformer,
                tokenizer: self.tokenizer().clone(),
            },
            penalties: self.timed_penalties(&mut cost, launch, ops)?,
            replay_weight: self.config.retention.replay_weight(),
            distillation: self.timed_distillation(&mut cost, &batches, launch, ops)?,
            lineage: None,
        };
        let timed = TrainingTask {
            objective: &task,
            batches: batches.source(),
        };
        let time = time_steps(&self.config.training, timed, ops, &scratch)?;
        let mut evaluation = time_evaluation(&mut self.timed_evaluator(&transformer))?;
        let sampled = self.sampled_share()?;
        if self.is_limited() {
            evaluation *= sampled;
        }
        let (total, done) = (self.total_steps(), self.steps_done());
        let kept = (&self.config.evaluation, &self.config.checkpoint);
        let all = EvaluationCounts::of(total, kept, true);
        let left = |of_all: u64| (of_all * (total - done)).div_ceil(total.max(1));
        let mut evaluations = left(all.evaluations);
        if self.is_limited() {
            // The base is scored before the first step.
            evaluations += 1;
        }
        cost.add(counted(total - done, "step"), total - done, time.step);
        cost.add(counted(evaluations, "evaluation"), evaluations, evaluation);
        let checkpoints = left(all.checkpoints);
        cost.add(
            counted(checkpoints, "checkpoint"),
            checkpoints,
            time.checkpoint,
        );
        if self.is_limited() {
            let UsualScorings {
                sampled: on_sample,
                whole,
            } = limits::usual_scorings(self.model.num_hidden_layers);
            drop(task);
            drop(transformer);
            let look = self.time_look(launch)?;
            cost.add(
                format!(
                    "the search of the limits, about {on_sample} models scored on a sample of the dev split"
                ),
                on_sample,
                look * sampled,
            );
            cost.add(
                format!("the result and the verdict of the limits, about {whole} models scored"),
                whole,
                look,
            );
        }
        Ok(cost)
    }

    /// Returns the share of the scored tokens of the dev split that is in the sample of a run with limits.
    fn sampled_share(&self) -> Result<f64, FinetuneError> {
        let tokens = |part: DevPart| {
            let of = |domain: &NamedShard| {
                let windows = part.windows(&self.model, &domain.shard, self.limited_windows())?;
                scored_tokens(&self.model, &domain.shard, windows)
            };
            let all: Result<u64, _> = self.data.watched.iter().map(of).sum();
            all
        };
        let whole = tokens(DevPart::Whole)?.max(1);
        Ok(tokens(DevPart::Sample)? as f64 / whole as f64)
    }

    /// Returns the duration in seconds of scoring one candidate in the search of forgetting limits: interpolates a
    /// model and scores it on the dev split, in f32 even if the run computes in bf16.
    fn time_look(&self, launch: &Launch) -> Result<f64, FinetuneError> {
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        let between = Interpolation::open(
            Endpoints {
                base: self.start(),
                tuned: self.start(),
            },
            &self.data.watched,
            self.limited_windows(),
            options,
        )?;
        let begin = Instant::now();
        let mixed = between.model(&between.alike(0.5))?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok(seconds + time_evaluation(&mut self.timed_evaluator(&mixed))?)
    }

    /// Returns the duration in seconds of loading the base and scoring it on the dev and test splits of the domains
    /// `shards`.
    ///
    /// # Errors
    /// Fails if the base can't be loaded or scored.
    pub fn time_scoring(
        &self,
        launch: &Launch,
        shards: &[NamedShard],
        max_tokens: Option<u64>,
    ) -> Result<f64, FinetuneError> {
        let begin = Instant::now();
        let base = self.load_tuned(launch, false)?;
        let mut seconds = begin.elapsed().as_secs_f64();
        for split in [HeldoutSplit::Dev, HeldoutSplit::Test] {
            let windows = WindowOptions {
                context: Some(self.sequence_length),
                max_tokens,
                split: Some(split),
                ..WindowOptions::default()
            };
            seconds += time_evaluation(&mut NicheEvaluator {
                evaluator: HeldoutEvaluator::new(shards.to_vec(), windows),
                transformer: &base,
                niche: &self.niche,
            })?;
        }
        Ok(seconds)
    }

    /// Returns the number of steps at the run's newest checkpoint; 0 without a checkpoint.
    pub fn steps_done(&self) -> u64 {
        let found = Inspection::of(&self.config.run, Check::Lengths).ok();
        let newest = found.as_ref().and_then(Inspection::newest);
        newest
            .map_or(0, |newest| newest.step)
            .min(self.total_steps())
    }

    /// Returns batches like those of the run, to be timed. Rows of the niche stand in for text that the base would
    /// generate.
    fn timed_batches(&self) -> Result<Batches, FinetuneError> {
        if self.config.control {
            let (rows, seed) = (self.config.training.batch_size, self.config.seed);
            let parts = self.retained_parts(1.0)?;
            return Ok(Batches::Plain(self.stream(parts, rows, seed)?));
        }
        let niche = self.niche_stream()?;
        let Some(replay) = &self.config.retention.replay else {
            return Ok(Batches::Plain(niche));
        };
        let parts = match replay.source {
            ReplaySource::Data => self.retained_parts(replay.temperature)?,
            ReplaySource::Generated => vec![MixturePart {
                name: "generated".into(),
                shard: self.data.train.clone(),
                weight: 1.0,
            }],
        };
        Ok(Batches::Replayed(self.replayed(niche, parts, replay)?))
    }

    fn timed_evaluator<'a>(&'a self, transformer: &'a Transformer) -> NicheEvaluator<'a> {
        let windows = WindowOptions {
            context: Some(self.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens),
            split: Some(HeldoutSplit::Dev),
        };
        NicheEvaluator {
            evaluator: HeldoutEvaluator::new(self.data.watched.clone(), windows),
            transformer,
            niche: &self.niche,
        }
    }

    /// Returns penalties that take as long to compute as those of the run. Adds the estimated duration of measuring the
    /// Fisher information to `cost`.
    fn timed_penalties(
        &self,
        cost: &mut Cost,
        launch: &Launch,
        ops: Ops,
    ) -> Result<Vec<Box<dyn Penalty>>, FinetuneError> {
        let mut penalties: Vec<Box<dyn Penalty>> = Vec::new();
        let retention = &self.config.retention;
        if retention.l2sp.is_none() && retention.ewc.is_none() {
            return Ok(penalties);
        }
        let options = LoadOptions::frozen(&launch.device, ops);
        let base = self.load(self.start(), &options)?.frozen().clone();
        if let Some(strength) = retention.l2sp {
            let base = base.clone();
            penalties.push(Box::new(L2sp {
                strength,
                base,
                ops,
            }));
        }
        if let Some(ewc) = &retention.ewc {
            let domains = self.retained_texts.iter();
            let domains = domains.filter(|text| ewc.weight(&text.name) > 0.0).count() as u64;
            let each = self.time_fisher(launch)?;
            cost.add(
                format!(
                    "Fisher information of {domains} domains on {} tokens each",
                    ewc.tokens
                ),
                domains * ewc.tokens,
                each,
            );
            penalties.push(Box::new(Ewc {
                strength: ewc.strength,
                // Any numbers of the right shapes take as long.
                fisher: base.clone(),
                base,
                ops,
            }));
        }
        Ok(penalties)
    }

    /// Returns the duration of measuring Fisher information, in seconds per token.
    fn time_fisher(&self, launch: &Launch) -> Result<f64, FinetuneError> {
        let options = LoadOptions::trained(&launch.device, launch.ops(Precision::F32));
        let model = self.load(self.start(), &options)?;
        let Some(text) = self.retained_texts.first() else {
            return Ok(0.0);
        };
        let tokens = FISHER_ROWS * self.sequence_length as u64;
        let sample = Sample {
            domain: text.name.clone(),
            shard: text.shard.clone(),
            data_sha256: text.sha256.clone(),
            base_sha256: String::new(),
            tokens,
            sequence_length: self.sequence_length,
        };
        let begin = Instant::now();
        Squares::measure(&model, &sample, &launch.stop)?;
        Ok(begin.elapsed().as_secs_f64() / tokens as f64)
    }

    /// Returns the run's distillation for the steps that are timed. Adds the estimated duration of
    /// computing the base's predictions in advance to `cost`.
    fn timed_distillation(
        &self,
        cost: &mut Cost,
        batches: &Batches,
        launch: &Launch,
        ops: Ops,
    ) -> Result<Option<Distillation>, FinetuneError> {
        let retention = &self.config.retention;
        let Batches::Replayed(stream) = batches else {
            return Ok(None);
        };
        let Some(distill) = &retention.distill else {
            return Ok(None);
        };
        let options = LoadOptions::frozen(&launch.device, ops);
        let base = self.load(self.start(), &options)?;
        let base = match distill.pool_rows(self.sequence_length) {
            None => Base::Live(Box::new(base)),
            Some(rows) => {
                let batch = self.config.training.batch_size as u64;
                let reached = |steps: u64| rows.min(stream.replayed_before(steps * batch)).max(1);
                let pool = TeacherPool {
                    stream,
                    rows: reached(8),
                    top_k: distill.top_k(),
                    temperature: distill.temperature,
                    fingerprint: "timed".into(),
                };
                let begin = Instant::now();
                let run = self._scratch.path();
                let found = pool.pool(&base, run, &launch.stop, &mut |_| ())?;
                let each = begin.elapsed().as_secs_f64() / reached(8) as f64;
                let all = match retention.limits {
                    Some(_) => rows,
                    None => reached(self.total_steps()),
                };
                cost.add(format!("the base's predictions for {all} rows"), all, each);
                Base::Pool(found)
            }
        };
        Ok(Some(Distillation {
            strength: distill.strength,
            temperature: distill.temperature,
            base,
        }))
    }

    /// Adds the estimated duration of generating the text that the run needs and does not find.
    fn time_text(&self, cost: &mut Cost, launch: &Launch, ops: Ops) -> Result<(), FinetuneError> {
        let tokens = self.tokens_to_generate();
        if tokens == 0 {
            return Ok(());
        }
        let base = self.load_base(&LoadOptions::frozen(&launch.device, ops))?;
        let (documents, longest) = DOCUMENTS;
        let whole = self.self_replay()?.composition;
        let sampler = DocumentSampler {
            max_tokens: longest.min(whole.max_tokens),
            ..whole
        };
        let begin = Instant::now();
        let found = sampler.documents(&base, 0, documents)?;
        let sampled: usize = found.iter().map(Vec::len).sum();
        let each = begin.elapsed().as_secs_f64() / sampled.max(1) as f64;
        cost.add(
            format!("{tokens} tokens of text from the base"),
            tokens,
            each,
        );
        Ok(())
    }
}
