//! The old domains' development halves, and where a model stands to their limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::frontier::HalfScores;
use polymath_eval::statistics::{Change, paired_change};
use polymath_eval::{DomainScores, WindowOptions, score_shard};
use polymath_model::Transformer;

use super::{LimitsConfig, limit_of};
use crate::FinetuneError;

/// Resamples of an interval on the way.
const RESAMPLES: usize = 1000;
/// Widens the interval of a mean to that of the mean of as many other documents, whose chance adds to that of these: what is
/// looked for here is what will be inside on the test half.
const OF_OTHER_DOCUMENTS: f64 = std::f64::consts::SQRT_2;
/// Fewer documents say too little of how much documents differ.
const FEWEST_DOCUMENTS: usize = 5;

/// An old domain, and what the base makes of its development half.
struct Domain {
    name: String,
    shard: Arc<TokenShard>,
    limit: Option<f64>,
    base: DomainScores,
}

/// The old domains.
pub(crate) struct Held(Vec<Domain>);

/// What the worst domain is.
#[derive(Debug, Clone)]
pub(crate) struct Worst {
    pub domain: String,
    pub change: Change,
    pub limit: f64,
    /// What its rise may be on other documents, as a share of its limit.
    pub share: f64,
}

/// Where a model stands to the limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// None where nothing has a limit.
    pub worst: Option<Worst>,
    /// Of every domain that has a limit, what its rise may be on other documents as a share of that.
    pub shares: BTreeMap<String, f64>,
    /// The mean over the domains of their rises, as shares of their limits.
    pub mean: f64,
}

impl Standing {
    /// Of the worst domain, what its rise may be on other documents, as a share of its limit.
    pub fn share(&self) -> f64 {
        self.worst.as_ref().map_or(0.0, |worst| worst.share)
    }
}

impl Held {
    /// Scores the base on what it reads of the domains that are `watched`. A limit can only be kept where enough documents show
    /// how much they differ.
    pub fn score(
        (base, read): (&Transformer, &[(String, Arc<TokenShard>)]),
        watched: &[(String, Arc<TokenShard>)],
        limits: &LimitsConfig,
        windows: WindowOptions,
    ) -> Result<Self, FinetuneError> {
        type Named = (String, Arc<TokenShard>);
        let domain = |((name, shard), (_, read)): (&Named, &Named)| {
            let limit = limit_of(limits, name);
            if limit.is_some() {
                refuse_few(name, shard)?;
            }
            let scores = score_shard(base, read, windows, &mut |_, _| ())?;
            if limit.is_some() && scores.documents.len() < FEWEST_DOCUMENTS {
                return Err(FinetuneError::Config(format!(
                    "`retention.limits`: only {} of `{name}`'s held-out documents are looked at during the run, expected \
                     at least {FEWEST_DOCUMENTS}: raise `evaluation.max_tokens`, or hold out more",
                    scores.documents.len()
                )));
            }
            Ok(Domain {
                name: name.clone(),
                shard: Arc::clone(shard),
                limit,
                base: scores,
            })
        };
        watched
            .iter()
            .zip(read)
            .map(domain)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Their names and documents.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = (&str, &TokenShard)> {
        let domains = self.0.iter();
        domains.map(|domain| (domain.name.as_str(), &*domain.shard))
    }

    /// Of a model's scores of the same documents.
    pub fn stand(&self, scores: &HalfScores) -> Result<Standing, FinetuneError> {
        let mut standing = Standing::default();
        let limited = self.0.iter().filter(|domain| domain.limit.is_some());
        let count = limited.count().max(1) as f64;
        for domain in &self.0 {
            let Some(limit) = domain.limit else {
                continue;
            };
            let change = paired_change(&domain.base, &scores[&domain.name], RESAMPLES, 0)?;
            let share = elsewhere(change).max(0.0) / limit;
            standing.mean += change.value / limit / count;
            standing.shares.insert(domain.name.clone(), share);
            if standing.worst.is_none() || share > standing.share() {
                standing.worst = Some(Worst {
                    domain: domain.name.clone(),
                    change,
                    limit,
                    share,
                });
            }
        }
        Ok(standing)
    }
}

/// Refuses a limit on a domain whose documents can't show how much they differ, whatever is looked at.
fn refuse_few(name: &str, shard: &TokenShard) -> Result<(), FinetuneError> {
    let documents = shard.documents();
    let development = (0..documents)
        .filter(|index| shard.split_of(*index) == HeldoutSplit::Dev)
        .count();
    if development >= FEWEST_DOCUMENTS {
        return Ok(());
    }
    Err(FinetuneError::Config(format!(
        "`retention.limits`: `{name}` has {documents} held-out documents, {development} of them in `dev`, where a \
         limit needs {FEWEST_DOCUMENTS} to know how much they differ: prepare `{name}` again with more text, a greater \
         `heldout_fraction`, `heldout_paths`, or a `separator` that parts its files into documents; or give it no limit"
    )))
}

/// What a change may be, with 97.5 %, on as many other documents of the domain.
fn elsewhere(change: Change) -> f64 {
    let high = change.interval.map_or(f64::INFINITY, |[_, high]| high);
    change.value + OF_OTHER_DOCUMENTS * (high - change.value)
}

#[cfg(test)]
mod tests {
    use polymath_data::ShardWriter;
    use polymath_eval::DocumentScore;

    use super::*;

    /// Of two halves of one domain, the second is above what the first allows in about one case of forty: above the end of
    /// the first's interval it is in one of twelve.
    #[test]
    fn the_other_half_is_inside() {
        let mut state = 1u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let trials = 20_000;
        let (mut above, mut above_interval) = (0, 0);
        for _ in 0..trials {
            // The mean of twelve is nearly normal; its deviation is known.
            let mut half = || (0..12).map(|_| uniform() - 0.5).sum::<f64>() / 12.0;
            let (first, second) = (half(), half());
            let deviation = (1.0 / 144.0f64).sqrt();
            let change = Change {
                value: first,
                interval: Some([first - 1.96 * deviation, first + 1.96 * deviation]),
                documents: 12,
                groups: 12,
                effective_groups: 12.0,
            };
            above += usize::from(second > elsewhere(change));
            above_interval += usize::from(second > first + 1.96 * deviation);
        }
        let share = |count: usize| count as f64 / f64::from(trials);
        assert!((share(above) - 0.025).abs() < 0.005, "{}", share(above));
        assert!((share(above_interval) - 0.083).abs() < 0.01);
    }

    /// Documents that all change by `change` bits per byte from 2, so that the interval is the change.
    fn scored(change: f64) -> DomainScores {
        let document = |bytes: u64| DocumentScore {
            nats: (2.0 + change) * bytes as f64 * std::f64::consts::LN_2,
            tokens: bytes,
            bytes,
        };
        DomainScores {
            documents: (10..30).map(document).collect(),
            ..DomainScores::default()
        }
    }

    /// The worst domain is the one that uses most of its own limit, not the one that rose most, nor the first or last; one
    /// that gains uses nothing, and one without a limit does not count.
    #[test]
    fn the_worst_uses_most_of_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heldout.safetensors");
        let mut writer = ShardWriter::create(&path, 5).unwrap();
        writer.push(&[1, 0], &[], 1).unwrap();
        writer.finish().unwrap();
        let shard = Arc::new(TokenShard::open(&path).unwrap());
        let domains = [
            ("atoms", 0.10, Some(0.5)),
            ("birds", 0.05, Some(0.04)),
            ("codes", 0.90, None),
            ("deeds", -0.20, Some(0.1)),
            ("earth", 0.12, Some(0.3)),
        ];
        let held = domains.map(|(name, _, limit)| Domain {
            name: name.to_owned(),
            shard: Arc::clone(&shard),
            limit,
            base: scored(0.0),
        });
        let now = domains.map(|(name, change, _)| (name.to_owned(), scored(change)));
        let standing = Held(held.into()).stand(&now.into()).unwrap();
        let worst = standing.worst.as_ref().unwrap();
        assert_eq!((worst.domain.as_str(), worst.limit), ("birds", 0.04));
        assert!((standing.share() - 1.25).abs() < 1e-6, "{standing:?}");
        let expected = [
            ("atoms", 0.2),
            ("birds", 1.25),
            ("deeds", 0.0),
            ("earth", 0.4),
        ];
        assert_eq!(standing.shares.len(), expected.len());
        for (name, share) in expected {
            assert!((standing.shares[name] - share).abs() < 1e-6, "{name}");
        }
        let mean = (0.2 + 1.25 - 2.0 + 0.4) / 4.0;
        assert!((standing.mean - mean).abs() < 1e-6, "{standing:?}");
    }
}
