//! Start of a run's retention: makes the batch source, penalties and distillation before the first step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use polymath_data::ReplayStream;
use polymath_model::{LoadOptions, Ops, Precision, Transformer};
use polymath_train::{BatchSource, Launch, Observer, Penalty, Training};

use super::{
    Allowance, Base, ControlledReplay, DistillConfig, Distillation, Ewc, L2sp, LimitController,
    Sample, TeacherPool, cached, combine,
};
use crate::{FinetuneError, Finetuning};

/// Batch source, penalties, distillation and controller of a run, ready to train.
pub(crate) struct Retention {
    pub penalties: Vec<Box<dyn Penalty>>,
    pub distillation: Option<Distillation>,
    pub batches: Box<dyn BatchSource>,
    /// Controller of the forgetting limits, if there are any.
    pub controller: Option<LimitController>,
    /// Fingerprint of all data that affect the run.
    pub fingerprint: String,
}

/// Launch settings, tensor operations and observer of a run whose retention is being prepared.
pub(crate) struct StartContext<'a> {
    pub launch: &'a Launch,
    /// Resolved `[training]` table, with the extensions of the run.
    pub training: &'a Training,
    pub ops: Ops,
    pub observer: &'a mut dyn Observer,
}

impl Finetuning {
    /// Makes the batch source, penalties, distillation and controller of the run.
    pub(crate) fn start_retention(
        &self,
        context: &mut StartContext,
    ) -> Result<Retention, FinetuneError> {
        let retention = &self.config.retention;
        let mut fingerprint = self.data.fingerprint.clone();
        let niche = self.niche_stream()?;
        if self.config.control {
            return self.start_control(fingerprint);
        }
        if retention.is_empty() {
            return Ok(Retention {
                penalties: Vec::new(),
                distillation: None,
                batches: Box::new(niche),
                controller: None,
                fingerprint,
            });
        }
        let mut base_sha256 = String::new();
        if retention.needs_base() {
            base_sha256 = polymath_model::sha256_of_weights(self.start())?;
            fingerprint = format!("{fingerprint}+{base_sha256}");
        }
        for retained in &self.retained_texts {
            fingerprint = format!("{fingerprint}+{}", retained.sha256);
        }
        let penalties = self.penalties(&base_sha256, context)?;
        let Some(replay) = &retention.replay else {
            let controller = self.controller(None, context.training);
            return Ok(Retention {
                penalties,
                distillation: None,
                batches: Box::new(niche),
                controller,
                fingerprint,
            });
        };
        let parts = self.replayed_parts(replay, &mut fingerprint, context)?;
        let stream = self.replayed(niche, parts, replay)?;
        let controlled = ControlledReplay::of(&stream, replay.share);
        let controller = self.controller(Some(controlled), context.training);
        let mut distillation = None;
        if let Some(distill) = &retention.distill {
            distillation = Some(self.distillation(distill, &stream, &fingerprint, context)?);
        }
        Ok(Retention {
            penalties,
            distillation,
            batches: Box::new(stream),
            controller,
            fingerprint,
        })
    }

    /// Makes the batches of a control run, which trains on the retained domains.
    fn start_control(&self, mut fingerprint: String) -> Result<Retention, FinetuneError> {
        for retained in &self.retained_texts {
            fingerprint = format!("{fingerprint}+{}", retained.sha256);
        }
        let parts = self.retained_parts(1.0)?;
        let rows = self.config.training.batch_size;
        Ok(Retention {
            penalties: Vec::new(),
            distillation: None,
            batches: Box::new(self.stream(parts, rows, self.config.seed)?),
            controller: None,
            fingerprint,
        })
    }

    /// Returns the controller of a run with limits, or `None`.
    fn controller(
        &self,
        replay: Option<ControlledReplay>,
        training: &Training,
    ) -> Option<LimitController> {
        self.config.retention.limits.as_ref()?;
        let allowance = Allowance::new(training, self.total_steps());
        Some(LimitController::new(replay, allowance))
    }

    /// Returns the distillation on replayed rows. If the config says so, computes the base's predictions once and
    /// caches them.
    fn distillation(
        &self,
        distill: &DistillConfig,
        stream: &ReplayStream,
        fingerprint: &str,
        context: &mut StartContext,
    ) -> Result<Distillation, FinetuneError> {
        let transformer = self.base_transformer(context)?;
        let base = match distill.pool_rows(self.sequence_length) {
            None => Base::Live(Box::new(transformer)),
            Some(rows) => {
                let training = &self.config.training;
                let all = self.total_steps() * training.batch_size as u64;
                let lesson = TeacherPool {
                    stream,
                    // Rows that the run never reaches need no predictions. With limits, it may reach any row.
                    rows: match self.config.retention.limits {
                        Some(_) => rows,
                        None => rows.min(stream.replayed_before(all)).max(1),
                    },
                    top_k: distill.top_k(),
                    temperature: distill.temperature,
                    fingerprint: format!(
                        "{fingerprint} {} {} {:?}",
                        self.config.seed, self.sequence_length, self.config.retention.replay
                    ),
                };
                let observer = &mut *context.observer;
                let say = &mut |text: &str| observer.message(text);
                let run = &self.config.run;
                Base::Pool(lesson.pool(&transformer, run, &context.launch.stop, say)?)
            }
        };
        Ok(Distillation {
            strength: distill.strength,
            temperature: distill.temperature,
            base,
        })
    }

    fn penalties(
        &self,
        base_sha256: &str,
        context: &mut StartContext,
    ) -> Result<Vec<Box<dyn Penalty>>, FinetuneError> {
        let mut penalties: Vec<Box<dyn Penalty>> = Vec::new();
        let retention = &self.config.retention;
        if retention.l2sp.is_none() && retention.ewc.is_none() {
            return Ok(penalties);
        }
        let base = self.base_transformer(context)?.frozen().clone();
        if let Some(strength) = retention.l2sp {
            penalties.push(Box::new(L2sp {
                strength,
                base: base.clone(),
                ops: context.ops,
            }));
        }
        if let Some(ewc) = &retention.ewc {
            let fisher = self.fisher(base_sha256, context)?;
            penalties.push(Box::new(Ewc {
                strength: ewc.strength,
                base,
                fisher,
                ops: context.ops,
            }));
        }
        Ok(penalties)
    }

    /// Loads the base that training starts from, with the new tokens if any are added. Its parameters are frozen.
    pub(super) fn base_transformer(
        &self,
        context: &StartContext,
    ) -> Result<Transformer, FinetuneError> {
        self.load(
            self.start(),
            &LoadOptions::frozen(&context.launch.device, context.ops),
        )
    }

    /// Measures the Fisher information of the base on each retained domain in f32, or reads it from its cache files.
    fn fisher(
        &self,
        base_sha256: &str,
        context: &mut StartContext,
    ) -> Result<BTreeMap<String, Tensor>, FinetuneError> {
        let Some(ewc) = &self.config.retention.ewc else {
            return Ok(BTreeMap::new());
        };
        let ops = context.launch.ops(Precision::F32);
        let options = LoadOptions::trained(&context.launch.device, ops);
        let model = self.load(self.start(), &options)?;
        let mut domains = Vec::new();
        for retained in &self.retained_texts {
            let weight = ewc.weight(&retained.name);
            if weight == 0.0 {
                continue;
            }
            let sample = Sample {
                domain: retained.name.clone(),
                shard: retained.shard.clone(),
                data_sha256: retained.sha256.clone(),
                base_sha256: base_sha256.to_owned(),
                tokens: ewc.tokens,
                sequence_length: self.sequence_length,
            };
            let observer = &mut *context.observer;
            let squares = cached(
                &model,
                &sample,
                &beside(&self.base.folder),
                &context.launch.stop,
                &mut |text| observer.message(text),
            )?;
            domains.push((weight, squares.mean()?));
        }
        Ok(combine(domains)?)
    }
}

/// Returns the folder of cache files beside a base: `checkpoints/small/fisher` for `checkpoints/small/step-000500`.
fn beside(base: &Path) -> PathBuf {
    base.parent().unwrap_or(Path::new(".")).join("fisher")
}

#[cfg(test)]
mod tests;
