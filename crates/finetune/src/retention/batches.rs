//! Batches of a fine-tuning: rows of the niche together with replayed rows.

use polymath_data::{
    BatchShape, DomainSize, MixtureConfig, MixturePart, MixtureStream, Replay, ReplayStream, Split,
};

use super::self_replay::DOMAIN;
use super::{ReplayConfig, ReplaySource, StartContext};
use crate::{FinetuneError, Finetuning};

/// Constant that is combined with the seed of the run, so that the order of replayed rows is independent of the order
/// of the niche's rows.
const REPLAY_SEED: u64 = 0x5eed_0000_0000_0001;

impl Finetuning {
    /// Returns the batch source of the niche's rows, without replayed rows.
    pub(super) fn niche_stream(&self) -> Result<MixtureStream, FinetuneError> {
        let part = MixturePart {
            name: self.niche.clone(),
            shard: self.data.train.clone(),
            weight: 1.0,
        };
        let rows = self.config.training.batch_size;
        Ok(self.stream(vec![part], rows, self.config.seed)?)
    }

    pub(super) fn stream(
        &self,
        parts: Vec<MixturePart>,
        rows: usize,
        seed: u64,
    ) -> Result<MixtureStream, polymath_data::DataError> {
        let shape = BatchShape {
            rows,
            sequence_length: self.sequence_length,
        };
        MixtureStream::new(parts, shape, self.model.bos_token_id, seed)
    }

    /// Measures which share of the batches' positions is padding, and how well examples with prompts fill rows. Stores
    /// both in the run.
    pub(crate) fn measure_rows(&mut self) -> Result<(), FinetuneError> {
        let niche = match self.config.control {
            true => self.stream(self.retained_parts(1.0)?, 1, 0)?,
            false => self.niche_stream()?,
        };
        self.padding = niche.padding();
        let replay = self.config.retention.replay.clone();
        let replay = replay.filter(|replay| replay.source == ReplaySource::Data);
        let retained = match &replay {
            Some(replay) => Some(self.stream(self.retained_parts(replay.temperature)?, 1, 0)?),
            None => None,
        };
        let streams = std::iter::once(&niche).chain(&retained);
        self.packings = streams
            .flat_map(|stream| stream.packings())
            .map(|(name, packing)| format!("{name}: {packing}"))
            .collect();
        if let (Some(replay), Some(retained)) = (replay, retained) {
            self.padding = self.replayed_stream(niche, retained, &replay)?.padding();
        } else if let Some(replay) = &self.config.retention.replay
            && !replay.beside
        {
            // Text that the base generates has no padding.
            self.padding *= 1.0 - replay.share;
        }
        Ok(())
    }

    /// Returns a batch source that adds replayed rows from the domains `parts` to the niche's batches.
    pub(super) fn replayed(
        &self,
        niche: MixtureStream,
        parts: Vec<MixturePart>,
        replay: &ReplayConfig,
    ) -> Result<ReplayStream, FinetuneError> {
        let retained = self.stream(parts, 1, self.config.seed ^ REPLAY_SEED)?;
        self.replayed_stream(niche, retained, replay)
    }

    fn replayed_stream(
        &self,
        niche: MixtureStream,
        retained: MixtureStream,
        replay: &ReplayConfig,
    ) -> Result<ReplayStream, FinetuneError> {
        let distill = self.config.retention.distill.as_ref();
        let replay = Replay {
            share: replay.share,
            pool: distill.and_then(|distill| distill.pool_rows(self.sequence_length)),
            beside: replay.beside,
        };
        Ok(ReplayStream::new(
            niche,
            retained,
            replay,
            self.config.seed,
        )?)
    }

    /// Returns the domains from which rows are replayed: the retained domains, or the text that the base generates.
    pub(super) fn replayed_parts(
        &self,
        replay: &ReplayConfig,
        fingerprint: &mut String,
        context: &mut StartContext,
    ) -> Result<Vec<MixturePart>, FinetuneError> {
        if replay.source == ReplaySource::Data {
            return self.retained_parts(replay.temperature);
        }
        let dataset = self.generated_text(context)?;
        *fingerprint = format!("{fingerprint}+{}", dataset.fingerprint());
        Ok(vec![MixturePart {
            name: DOMAIN.to_owned(),
            shard: dataset.shard(DOMAIN, Split::Train)?,
            weight: 1.0,
        }])
    }

    /// Returns the training documents of each retained domain, with the domain's share of the replayed rows.
    pub(super) fn retained_parts(
        &self,
        temperature: f64,
    ) -> Result<Vec<MixturePart>, FinetuneError> {
        let sizes: Vec<DomainSize> = self
            .retained_texts
            .iter()
            .map(|retained| DomainSize {
                name: retained.name.clone(),
                tokens: retained.shard.tokens(),
            })
            .collect();
        let mixture = MixtureConfig {
            temperature: Some(temperature),
            ..MixtureConfig::default()
        };
        let shares = mixture.resolve(&sizes, 1)?;
        Ok(shares
            .into_iter()
            .zip(&self.retained_texts)
            .map(|(share, retained)| MixturePart {
                name: share.name,
                shard: retained.shard.clone(),
                weight: share.weight,
            })
            .collect())
    }
}
