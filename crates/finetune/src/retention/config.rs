//! The `[retention]` table of the config, and its requirements on other keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use polymath_data::{Dataset, Split, TokenShard};
use serde::{Deserialize, Serialize};

use super::self_replay::DOMAIN;
use super::{DistillConfig, EwcConfig, LimitsConfig, ReplayConfig, ReplaySource, positive};
use crate::FinetuneError;

/// Retention methods. None is used by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Strength λ of the L2-SP penalty λ/2·‖θ − θ₀‖².
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2sp: Option<f64>,
    /// Replay: a share of each batch comes from text of the retained domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayConfig>,
    /// EWC: the penalty λ/2·ΣF(θ − θ₀)².
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ewc: Option<EwcConfig>,
    /// Distillation: T²·KL(base ‖ tuned) on the replayed rows is added to the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// Forgetting limits: the maximum increase of each retained domain, in bits per byte. The strength of the other
    /// methods is then adjusted during training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsConfig>,
}

/// Training documents of a retained domain.
#[derive(Clone)]
pub(crate) struct RetainedText {
    pub name: String,
    pub shard: Arc<TokenShard>,
    /// SHA-256 of the file with the documents.
    pub sha256: String,
}

/// Properties of base and data against which the `[retention]` table is checked.
#[derive(Clone, Copy)]
pub(crate) struct RetentionFacts<'a> {
    /// Dataset of the retained domains.
    pub retained: Option<&'a Dataset>,
    /// Name of the niche.
    pub niche: &'a str,
    /// Names of the trained parameters.
    pub trainable: &'a BTreeSet<String>,
    /// Names of the base's parameters.
    pub base_names: &'a [String],
    /// Number of tokens of the base's vocabulary.
    pub vocabulary: usize,
}

impl RetentionConfig {
    /// Returns the default retention of a run within `limits` without a dataset of retained domains: the base generates
    /// text, which is replayed in addition to the niche's rows and on which the base's predictions are distilled.
    pub fn without_text(limits: LimitsConfig) -> Self {
        super::limits::without_text(limits)
    }

    /// Returns true if no retention method is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if a retention method needs the base's weights during training.
    pub(crate) fn needs_base(&self) -> bool {
        self.l2sp.is_some()
            || self.ewc.is_some()
            || self.distill.is_some()
            || self.replays(ReplaySource::Generated)
    }

    /// Returns the weight of a replayed token's loss, relative to the loss of a token of the niche.
    pub(crate) fn replay_weight(&self) -> f64 {
        self.replay.as_ref().map_or(1.0, |replay| replay.weight)
    }

    pub(crate) fn replays(&self, source: ReplaySource) -> bool {
        self.replay
            .as_ref()
            .is_some_and(|replay| replay.source == source)
    }

    /// Checks every value of the table, and that the data have what the methods need. Returns the training documents of
    /// the retained domains if a method reads them.
    ///
    /// # Errors
    /// Fails with the invalid key and the possible choices.
    pub(crate) fn check(&self, facts: RetentionFacts) -> Result<Vec<RetainedText>, FinetuneError> {
        let RetentionFacts {
            retained,
            niche,
            trainable,
            base_names,
            vocabulary,
        } = facts;
        if let Some(strength) = self.l2sp {
            positive("retention.l2sp", strength)?;
        }
        if let Some(replay) = &self.replay {
            replay.validate()?;
        }
        if let Some(distill) = &self.distill {
            distill.validate(self.replay.is_some(), vocabulary)?;
        }
        if let Some(limits) = &self.limits {
            if retained.is_none() && niche == DOMAIN {
                return Err(FinetuneError::Config(format!(
                    "the niche is named `{DOMAIN}`, as the text that the base generates for the limits: give it another \
                     name with `domain`"
                )));
            }
            let names = retained.map_or_else(|| vec![DOMAIN], Dataset::domain_names);
            let names: Vec<&str> = names.into_iter().filter(|name| *name != niche).collect();
            super::limits::check(limits, &names)?;
        }
        let reads = [
            ("retention.replay", self.replays(ReplaySource::Data)),
            ("retention.ewc", self.ewc.is_some()),
        ];
        let mut texts = Vec::new();
        if let Some((key, _)) = reads.iter().find(|(_, reads)| *reads) {
            texts = retained_domains(key, retained, niche)?;
        }
        if let Some(ewc) = &self.ewc {
            let names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
            ewc.validate(&names)?;
        }
        let pulls = [
            ("retention.l2sp", self.l2sp.is_some()),
            ("retention.ewc", self.ewc.is_some()),
        ];
        let strange = trainable
            .iter()
            .find(|name| *name != polymath_model::HEAD && !base_names.contains(name));
        if let (Some((key, _)), Some(name)) = (pulls.iter().find(|(_, pulls)| *pulls), strange) {
            return Err(FinetuneError::Config(format!(
                "`{key}` pulls parameters towards the base, which has no `{name}`: use it with `method` = `full` or \
                 `frozen`, or choose `retention.replay`"
            )));
        }
        Ok(texts)
    }
}

/// Returns the training documents of every domain in the dataset `retain` except the niche. Fails if there is none; the
/// error names `key`, the config key that needs retained domains.
pub(crate) fn retained_domains(
    key: &str,
    retained: Option<&Dataset>,
    niche: &str,
) -> Result<Vec<RetainedText>, FinetuneError> {
    let Some(retained) = retained else {
        return Err(FinetuneError::Config(format!(
            "`{key}` reads what the base was trained on, and `retain` is not given: set it to that dataset, or, where \
             the data are gone, choose `retention.replay = \"self\"` or `retention.l2sp`"
        )));
    };
    let names = retained.domain_names();
    let texts = names
        .iter()
        .filter(|name| **name != niche && retained.manifest().domains[**name].train.tokens > 0)
        .map(|name| {
            Ok(RetainedText {
                name: (*name).to_owned(),
                shard: retained.shard(name, Split::Train)?,
                sha256: retained.manifest().domains[*name].train.sha256.clone(),
            })
        })
        .collect::<Result<Vec<RetainedText>, FinetuneError>>()?;
    if texts.is_empty() {
        return Err(FinetuneError::Config(format!(
            "`{key}` reads the retained domains of `retain`, which has none with training text beside the niche `{niche}`: \
             it has `{}`",
            names.join("`, `")
        )));
    }
    Ok(texts)
}
