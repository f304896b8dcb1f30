//! What a run needs of its retention, made before the first step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use polymath_data::{
    BatchShape, DomainSize, MixtureConfig, MixturePart, MixtureStream, Replay, ReplayStream, Split,
};
use polymath_model::{DocumentSampler, LoadOptions, Ops, Precision, Transformer};
use polymath_train::{BatchSource, Launch, Observer, Penalty};

use super::itself::DOMAIN;
use super::{
    Allowance, Base, DistillConfig, Distillation, Ewc, Itself, L2sp, Lesson, Pressed, Pressure,
    ReplayConfig, ReplaySource, Sample, cached, combine,
};
use crate::{FinetuneError, Finetuning};

/// Sets the replayed rows' order apart from the niche's.
const REPLAY_SEED: u64 = 0x5eed_0000_0000_0001;

/// What is retained, ready to train.
pub(crate) struct Retention {
    pub penalties: Vec<Box<dyn Penalty>>,
    pub distillation: Option<Distillation>,
    pub batches: Box<dyn BatchSource>,
    /// How hard it is held, where there are limits.
    pub pressure: Option<Arc<Pressure>>,
    /// Of all data that decide the run.
    pub fingerprint: String,
}

/// What making it takes.
pub(crate) struct Making<'a> {
    pub launch: &'a Launch,
    pub ops: Ops,
    pub observer: &'a mut dyn Observer,
}

impl Finetuning {
    /// Makes what the run needs of its retention; `None` where it was stopped meanwhile.
    pub(crate) fn start_retention(
        &self,
        making: &mut Making,
    ) -> Result<Option<Retention>, FinetuneError> {
        let retention = &self.config.retention;
        let mut fingerprint = self.data.fingerprint.clone();
        let niche = self.niche_stream()?;
        if self.config.control {
            for old in &self.old {
                fingerprint = format!("{fingerprint}+{}", old.sha256);
            }
            let rows = (self.config.training.batch_size, self.config.seed);
            return Ok(Some(Retention {
                penalties: Vec::new(),
                distillation: None,
                batches: Box::new(self.stream(self.old_parts(1.0)?, rows)?),
                pressure: None,
                fingerprint,
            }));
        }
        if retention.is_empty() {
            return Ok(Some(Retention {
                penalties: Vec::new(),
                distillation: None,
                batches: Box::new(niche),
                pressure: None,
                fingerprint,
            }));
        }
        let mut base_sha256 = String::new();
        if retention.needs_base() {
            base_sha256 = polymath_model::sha256_of_weights(self.start())?;
            fingerprint = format!("{fingerprint}+{base_sha256}");
        }
        for old in &self.old {
            fingerprint = format!("{fingerprint}+{}", old.sha256);
        }
        let Some(penalties) = self.penalties(&base_sha256, making)? else {
            return Ok(None);
        };
        let Some(replay) = &retention.replay else {
            let pressure = self.pressure(None);
            return Ok(Some(Retention {
                penalties: pressed(penalties, pressure.as_ref()),
                distillation: None,
                batches: Box::new(niche),
                pressure,
                fingerprint,
            }));
        };
        let Some(parts) = self.replayed_parts(replay, (&base_sha256, &mut fingerprint), making)?
        else {
            return Ok(None);
        };
        let stream = Arc::new(self.replayed(niche, parts, replay)?);
        let pressure = self.pressure(Some((Arc::clone(&stream), replay.share)));
        let mut distillation = None;
        if let Some(distill) = &retention.distill {
            distillation = self.distillation(distill, (&stream, &fingerprint), making)?;
            if distillation.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Retention {
            penalties: pressed(penalties, pressure.as_ref()),
            distillation,
            batches: Box::new(stream),
            pressure,
            fingerprint,
        }))
    }

    /// The controller of a run under limits.
    fn pressure(&self, replay: Option<(Arc<ReplayStream>, f64)>) -> Option<Arc<Pressure>> {
        self.config.retention.limits.as_ref()?;
        let training = &self.config.training;
        let allowance = Allowance::new(training, self.total_steps());
        Some(Arc::new(Pressure::new(replay, allowance)))
    }

    /// The niche's own batches.
    fn niche_stream(&self) -> Result<MixtureStream, FinetuneError> {
        let part = MixturePart {
            name: self.niche.clone(),
            shard: self.data.train.clone(),
            weight: 1.0,
        };
        let rows = self.config.training.batch_size;
        Ok(self.stream(vec![part], (rows, self.config.seed))?)
    }

    fn stream(
        &self,
        parts: Vec<MixturePart>,
        (rows, seed): (usize, u64),
    ) -> Result<MixtureStream, polymath_data::DataError> {
        let shape = BatchShape {
            rows,
            sequence_length: self.sequence_length,
        };
        MixtureStream::new(parts, shape, self.model.bos_token_id, seed)
    }

    /// Measures what becomes of the examples that have prompts, and how much of the rows is padding.
    pub(crate) fn measure_rows(&mut self) -> Result<(), FinetuneError> {
        let one = (1, 0);
        let niche = match self.config.control {
            true => self.stream(self.old_parts(1.0)?, one)?,
            false => self.niche_stream()?,
        };
        self.padding = niche.padding();
        let replay = self.config.retention.replay.clone();
        let replay = replay.filter(|replay| replay.source == ReplaySource::Data);
        let old = match &replay {
            Some(replay) => Some(self.stream(self.old_parts(replay.temperature)?, one)?),
            None => None,
        };
        let streams = std::iter::once(&niche).chain(&old);
        self.packings = streams
            .flat_map(|stream| stream.packings())
            .map(|(name, packing)| format!("{name}: {packing}"))
            .collect();
        if let (Some(replay), Some(old)) = (replay, old) {
            self.padding = self.replayed_stream(niche, old, &replay)?.padding();
        } else if let Some(replay) = &self.config.retention.replay
            && !replay.beside
        {
            // What the base generates has no padding.
            self.padding *= 1.0 - replay.share;
        }
        Ok(())
    }

    /// The niche's batches with a share of rows from `parts`.
    fn replayed(
        &self,
        niche: MixtureStream,
        parts: Vec<MixturePart>,
        replay: &ReplayConfig,
    ) -> Result<ReplayStream, FinetuneError> {
        let old = self.stream(parts, (1, self.config.seed ^ REPLAY_SEED))?;
        self.replayed_stream(niche, old, replay)
    }

    fn replayed_stream(
        &self,
        niche: MixtureStream,
        old: MixtureStream,
        replay: &ReplayConfig,
    ) -> Result<ReplayStream, FinetuneError> {
        let distill = self.config.retention.distill.as_ref();
        let replay = Replay {
            share: replay.share,
            pool: distill.and_then(|distill| distill.pool_rows(self.sequence_length)),
            beside: replay.beside,
        };
        Ok(ReplayStream::new(niche, old, replay, self.config.seed)?)
    }

    /// Where replayed rows come from; `None` where it was stopped meanwhile.
    fn replayed_parts(
        &self,
        replay: &ReplayConfig,
        (base_sha256, fingerprint): (&str, &mut String),
        making: &mut Making,
    ) -> Result<Option<Vec<MixturePart>>, FinetuneError> {
        if replay.source == ReplaySource::Data {
            return self.old_parts(replay.temperature).map(Some);
        }
        let mut output = self.config.run.clone().into_os_string();
        output.push(".replay");
        let itself = Itself {
            output: output.into(),
            tokenizer: self
                .base
                .tokenizer
                .get("tokenizer.json")
                .unwrap_or_default()
                .to_vec(),
            base_sha256: base_sha256.to_owned(),
            tokens: replay.tokens(),
            composition: DocumentSampler {
                temperature: replay.temperature,
                max_tokens: self.sequence_length,
                seed: self.config.seed,
            },
        };
        let options = LoadOptions::frozen(&making.launch.device, making.ops);
        let base = self.load_base(&options)?;
        let observer = &mut *making.observer;
        let say = &mut |text: &str| observer.message(text);
        let Some(dataset) = itself.prepare(&base, &making.launch.stop, say)? else {
            return Ok(None);
        };
        *fingerprint = format!("{fingerprint}+{}", dataset.fingerprint());
        Ok(Some(vec![MixturePart {
            name: DOMAIN.to_owned(),
            shard: dataset.shard(DOMAIN, Split::Train)?,
            weight: 1.0,
        }]))
    }

    /// What holds the predictions on replayed rows; `None` where it was stopped meanwhile.
    fn distillation(
        &self,
        distill: &DistillConfig,
        (stream, fingerprint): (&ReplayStream, &str),
        making: &mut Making,
    ) -> Result<Option<Distillation>, FinetuneError> {
        let transformer = self.base_transformer(making)?;
        let base = match distill.pool_rows(self.sequence_length) {
            None => Base::Live(Box::new(transformer)),
            Some(rows) => {
                let training = &self.config.training;
                let all = self.total_steps() * training.batch_size as u64;
                let lesson = Lesson {
                    stream,
                    // Rows that the run never comes to need no predictions; under limits it may come to any.
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
                let observer = &mut *making.observer;
                let say = &mut |text: &str| observer.message(text);
                let run = &self.config.run;
                match lesson.pool(&transformer, run, &making.launch.stop, say)? {
                    Some(pool) => Base::Pool(pool),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(Distillation {
            strength: distill.strength,
            temperature: distill.temperature,
            base,
        }))
    }

    /// The old domains, each with its share of what is replayed.
    fn old_parts(&self, temperature: f64) -> Result<Vec<MixturePart>, FinetuneError> {
        let sizes: Vec<DomainSize> = self
            .old
            .iter()
            .map(|old| DomainSize {
                name: old.name.clone(),
                tokens: old.shard.tokens(),
            })
            .collect();
        let mixture = MixtureConfig {
            temperature: Some(temperature),
            ..MixtureConfig::default()
        };
        let shares = mixture.resolve(&sizes, 1)?;
        Ok(shares
            .into_iter()
            .zip(&self.old)
            .map(|(share, old)| MixturePart {
                name: share.name,
                shard: old.shard.clone(),
                weight: share.weight,
            })
            .collect())
    }

    fn penalties(
        &self,
        base_sha256: &str,
        making: &mut Making,
    ) -> Result<Option<Vec<Box<dyn Penalty>>>, FinetuneError> {
        let mut penalties: Vec<Box<dyn Penalty>> = Vec::new();
        let retention = &self.config.retention;
        if retention.l2sp.is_none() && retention.ewc.is_none() {
            return Ok(Some(penalties));
        }
        let base = self.base_transformer(making)?.frozen().clone();
        if let Some(strength) = retention.l2sp {
            penalties.push(Box::new(L2sp {
                strength,
                base: base.clone(),
                ops: making.ops,
            }));
        }
        if let Some(ewc) = &retention.ewc {
            let Some(fisher) = self.fisher(base_sha256, making)? else {
                return Ok(None);
            };
            penalties.push(Box::new(Ewc {
                strength: ewc.strength,
                base,
                fisher,
                ops: making.ops,
            }));
        }
        Ok(Some(penalties))
    }

    /// The base as training starts from it, with new tokens where any are added, nothing of it moving.
    pub(super) fn base_transformer(&self, making: &Making) -> Result<Transformer, FinetuneError> {
        self.load(
            self.start(),
            &LoadOptions::frozen(&making.launch.device, making.ops),
        )
    }

    /// F over the old domains, measured in full precision; `None` where it was stopped meanwhile.
    fn fisher(
        &self,
        base_sha256: &str,
        making: &mut Making,
    ) -> Result<Option<BTreeMap<String, Tensor>>, FinetuneError> {
        let Some(ewc) = &self.config.retention.ewc else {
            return Ok(Some(BTreeMap::new()));
        };
        let ops = making.launch.ops(Precision::F32);
        let options = LoadOptions::trained(&making.launch.device, ops);
        let model = self.load(self.start(), &options)?;
        let mut domains = Vec::new();
        for old in &self.old {
            let weight = ewc.weight(&old.name);
            if weight == 0.0 {
                continue;
            }
            let sample = Sample {
                domain: old.name.clone(),
                shard: old.shard.clone(),
                data_sha256: old.sha256.clone(),
                base_sha256: base_sha256.to_owned(),
                tokens: ewc.tokens,
                sequence_length: self.sequence_length,
            };
            let observer = &mut *making.observer;
            let squares = cached(
                &model,
                &sample,
                &beside(&self.base.folder),
                &making.launch.stop,
                &mut |text| observer.message(text),
            )?;
            match squares {
                Some(squares) => domains.push((weight, squares.mean()?)),
                None => return Ok(None),
            }
        }
        Ok(Some(combine(domains)?))
    }
}

/// The penalties, under a controller where there is one.
fn pressed(
    penalties: Vec<Box<dyn Penalty>>,
    pressure: Option<&Arc<Pressure>>,
) -> Vec<Box<dyn Penalty>> {
    let Some(pressure) = pressure else {
        return penalties;
    };
    let press = |penalty| -> Box<dyn Penalty> {
        Box::new(Pressed {
            penalty,
            pressure: Arc::clone(pressure),
        })
    };
    penalties.into_iter().map(press).collect()
}

/// The folder of caches beside a base: `checkpoints/small/fisher` for `checkpoints/small/step-000500`.
fn beside(base: &Path) -> PathBuf {
    base.parent().unwrap_or(Path::new(".")).join("fisher")
}

#[cfg(test)]
mod tests;
