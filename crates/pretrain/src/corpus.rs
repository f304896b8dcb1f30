//! Training documents of the dataset, and the batches that mix its domains.

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_data::{
    BatchShape, Dataset, DomainSize, MixtureConfig, MixturePart, MixtureShare, MixtureStream,
    Packing, Split, TokenShard,
};
use polymath_train::Plan;

use crate::{PretrainError, ResolvedPretrain};

/// Training documents of all domains of the dataset.
pub(crate) struct Corpus {
    shards: BTreeMap<String, Arc<TokenShard>>,
    /// Number of training tokens of each domain in one epoch.
    sizes: Vec<DomainSize>,
    sequence_length: usize,
}

impl Corpus {
    /// Opens the training documents of all domains. Rows have `sequence_length` tokens.
    pub fn open(dataset: &Dataset, sequence_length: usize) -> Result<Self, PretrainError> {
        let names = dataset.domain_names().into_iter();
        let shards = names
            .map(|name| Ok((name.to_owned(), dataset.shard(name, Split::Train)?)))
            .collect::<Result<BTreeMap<_, _>, PretrainError>>()?;
        let size = |(name, shard): (&String, &Arc<TokenShard>)| {
            let packing = Packing::of(shard, sequence_length);
            // A domain of the mixture without a token to learn is refused later, with the reason.
            let trained = packing
                .map(|packing| packing.tokens)
                .filter(|tokens| *tokens > 0);
            DomainSize {
                name: name.clone(),
                tokens: trained.unwrap_or(shard.tokens()),
            }
        };
        Ok(Self {
            sizes: shards.iter().map(size).collect(),
            shards,
            sequence_length,
        })
    }

    /// Returns the number of training tokens of the mixture's domains.
    pub fn tokens_of(&self, mixture: &MixtureConfig) -> u64 {
        let sizes = self.sizes.iter();
        let included = sizes.filter(|size| mixture.includes(&size.name));
        included.map(|size| size.tokens).sum()
    }

    /// Returns the share of each domain in the training batches. `padding` is the share of padding among the positions
    /// of a batch.
    pub fn mixture(
        &self,
        config: &ResolvedPretrain,
        padding: f64,
    ) -> Result<Vec<MixtureShare>, PretrainError> {
        let plan = Plan::new(&config.architecture, &config.training, padding, &|_| true);
        Ok(config.mixture.resolve(&self.sizes, plan.tokens)?)
    }

    /// Returns the batch source that mixes the domains in the given shares.
    pub fn stream(
        &self,
        mixture: &[MixtureShare],
        config: &ResolvedPretrain,
    ) -> Result<MixtureStream, PretrainError> {
        let parts = mixture.iter().map(|share| MixturePart {
            name: share.name.clone(),
            shard: self.shards[&share.name].clone(),
            weight: share.weight,
        });
        let shape = BatchShape {
            rows: config.training.batch_size,
            sequence_length: self.sequence_length,
        };
        let parts = parts.collect();
        let bos = config.architecture.bos_token_id;
        Ok(MixtureStream::new(parts, shape, bos, config.seed)?)
    }
}
