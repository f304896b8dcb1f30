//! Forgetting of the retained domains on the dev split: how much of its limit each domain uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_data::{HeldoutSplit, NamedShard, TokenShard};
use polymath_eval::ScoresByDomain;
use polymath_eval::statistics::{
    Compared, FEWEST_EFFECTIVE, FEWEST_GROUPS, Family, LEVEL, PairedBootstrap, Side,
};
use polymath_eval::{DomainScores, ScoredGroups, WindowOptions, score_shard, scored_groups};
use polymath_model::ModelConfig;

use super::verdict::TWO_SIDED;
use super::{LimitsConfig, ModelOnDomains, limit_of};
use crate::FinetuneError;

/// Number of bootstrap resamples for a confidence bound during training.
const RESAMPLES: usize = 1000;

/// Retained domain with its limit, its documents of the dev split and the base's scores on them.
pub(super) struct RetainedDomain {
    pub name: String,
    pub shard: Arc<TokenShard>,
    pub limit: Option<f64>,
    pub base: DomainScores,
    /// Factor ≥ 1 by which the distance between the measured change and its upper confidence bound is multiplied.
    pub widening: f64,
    /// Groups of documents in the test split, on which the limits are judged after training.
    pub test: ScoredGroups,
}

/// Retained domains of a run, with the base's scores and the limits.
pub(crate) struct RetainedDomains(pub(super) Vec<RetainedDomain>);

/// Domain that uses the largest share of its limit, with its measurements.
#[derive(Debug, Clone)]
pub(crate) struct WorstDomain {
    pub domain: String,
    /// Increase of the domain's bits per byte on the dev split, relative to the base.
    pub change: f64,
    /// Upper confidence bound of the increase, in bits per byte.
    pub bound: f64,
    pub limit: f64,
    /// Upper bound of the increase divided by the limit.
    pub share: f64,
    /// Number of groups of documents that were scored; a group counts as one observation.
    pub groups: usize,
}

impl WorstDomain {
    /// Returns true if the domain did not get worse, but has too few documents to show that it is within its limit.
    pub fn has_too_few(&self) -> bool {
        self.change <= 0.0 && self.share > 1.0
    }
}

/// Shares of their limits that the retained domains use under one model.
#[derive(Debug, Clone, Default)]
pub(crate) struct LimitUse {
    /// Domain that uses the largest share of its limit; `None` if no domain has a limit.
    pub worst: Option<WorstDomain>,
    /// For every domain with a limit: the upper bound of its increase divided by the limit.
    pub shares: BTreeMap<String, f64>,
    /// Like `shares`, but at most 1 for a domain that did not get worse, for the controller: such a domain exceeds its
    /// limit only because few documents give a wide bound, which stronger retention does not change.
    pub pressing: BTreeMap<String, f64>,
    /// Mean over the domains of their measured increase divided by their limit.
    pub mean: f64,
}

impl LimitUse {
    /// Returns the largest share of a limit in use: the worst domain's upper bound of the increase divided by its
    /// limit.
    pub fn share(&self) -> f64 {
        self.worst.as_ref().map_or(0.0, |worst| worst.share)
    }
}

impl RetainedDomains {
    /// Scores the base on the dev split of the retained domains, in the base's tokens. `watched` holds the same domains
    /// in the run's tokens. [`refuse_few`] has checked that they have enough groups.
    pub fn score(
        base: ModelOnDomains,
        watched: &[NamedShard],
        limits: &LimitsConfig,
        windows: WindowOptions,
    ) -> Result<Self, FinetuneError> {
        let ModelOnDomains {
            model: base,
            domains,
        } = base;
        let domain = |(watched, read): (&NamedShard, &NamedShard)| {
            let limit = limit_of(limits, &watched.name);
            let read = &read.shard;
            let groups = |split| {
                let windows = WindowOptions {
                    split: Some(split),
                    ..windows
                };
                scored_groups(base.config(), read, windows)
            };
            let (dev, test) = (groups(HeldoutSplit::Dev)?, groups(HeldoutSplit::Test)?);
            Ok(RetainedDomain {
                name: watched.name.clone(),
                shard: Arc::clone(&watched.shard),
                limit,
                base: score_shard(base, read, windows, &mut |_, _| ())?,
                widening: widening_for(dev.count, test.count),
                test,
            })
        };
        watched
            .iter()
            .zip(domains)
            .map(domain)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns the names and held-out documents of the retained domains.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = (&str, &TokenShard)> {
        let domains = self.0.iter();
        domains.map(|domain| (domain.name.as_str(), &*domain.shard))
    }

    /// Returns a warning that names the domains whose test split is too small to show that their limits are kept, for
    /// any result of the run. It is shown before the run starts, so that the user can hold out more text first.
    pub fn warning(&self) -> Option<String> {
        let few = |domain: &&RetainedDomain| {
            domain.limit.is_some() && domain.test.by_size < FEWEST_EFFECTIVE
        };
        let named = |domain: &RetainedDomain| {
            let ScoredGroups { count, by_size } = domain.test;
            format!("`{}` ({count}, as good as {by_size:.0})", domain.name)
        };
        let names: Vec<String> = self.0.iter().filter(few).map(named).collect();
        (!names.is_empty()).then(|| {
            format!(
                "at best the verdict will be `undecided`: to show that a limit is kept takes {FEWEST_EFFECTIVE:.0} scored groups of \
                 like size in the test split, and there are fewer of {}. Prepare with a greater `heldout_groups`, raise \
                 `evaluation.max_tokens`, or give these domains no limit",
                names.join(", ")
            )
        })
    }

    /// Returns how much of each limit a model uses, given its scores on the dev split.
    pub fn limit_use(&self, scores: &ScoresByDomain) -> Result<LimitUse, FinetuneError> {
        let mut limit_use = LimitUse::default();
        let limited = self.0.iter().filter(|domain| domain.limit.is_some());
        let count = limited.count().max(1) as f64;
        for domain in &self.0 {
            let Some(limit) = domain.limit else {
                continue;
            };
            let bootstrap =
                PairedBootstrap::new(&domain.base, &scores[&domain.name], RESAMPLES, 0)?;
            let found = bootstrap.change();
            let change = found.value;
            let bound = bootstrap
                .bound(Side::Upper, TWO_SIDED)
                .unwrap_or(f64::INFINITY);
            let bound = change + domain.widening * (bound - change);
            let share = bound.max(0.0) / limit;
            limit_use.mean += change / limit / count;
            limit_use.shares.insert(domain.name.clone(), share);
            let pressing = if change <= 0.0 { share.min(1.0) } else { share };
            limit_use.pressing.insert(domain.name.clone(), pressing);
            if limit_use.worst.is_none() || share > limit_use.share() {
                limit_use.worst = Some(WorstDomain {
                    domain: domain.name.clone(),
                    change,
                    bound,
                    limit,
                    share,
                    groups: found.groups,
                });
            }
        }
        Ok(limit_use)
    }

    /// Widens the domains' confidence bounds so that they hold jointly for several candidate models, since the
    /// candidate with the best bound may seem to be within the limits by chance. Uses the maximum statistic over joint
    /// resamples (max-T), which accounts for the correlation of models on the same documents: candidates that hardly
    /// differ hardly widen the bounds.
    pub fn correct_for_choice(
        &mut self,
        candidates: &[ScoresByDomain],
    ) -> Result<(), FinetuneError> {
        for domain in self.0.iter_mut().filter(|domain| domain.limit.is_some()) {
            let compared = |scores| {
                vec![Compared {
                    domain: &domain.name,
                    before: &domain.base,
                    after: scores,
                }]
            };
            let all: Vec<Vec<Compared>> = candidates
                .iter()
                .map(|scores| compared(&scores[&domain.name]))
                .collect();
            let together = Family::of_means(&all, RESAMPLES, 0)?;
            let mut price = 1.0f64;
            let bounds = together.upper_bounds(LEVEL);
            for (found, bound) in together.comparisons().iter().zip(bounds) {
                let alone = Family::new(vec![found.clone()])?.upper_bounds(LEVEL);
                let (reach, alone) = (bound - found.value, alone[0] - found.value);
                if alone > 0.0 {
                    price = price.max(reach / alone);
                }
            }
            domain.widening *= price;
        }
        Ok(())
    }
}

/// Returns the factor ≥ 1 that widens a confidence bound measured on `dev` groups, so that it also predicts the result
/// on `test` groups: √((1 + V_test/V_dev) / 2), with variances V inversely proportional to the number of groups.
fn widening_for(dev: usize, test: usize) -> f64 {
    let variances = dev as f64 / test.max(1) as f64;
    (f64::midpoint(1.0, variances)).sqrt().max(1.0)
}

/// Fails if a domain with a limit has too few groups of documents (each is one observation) to estimate the variance of
/// its change. Needs no weights, so that it can be checked before any run starts.
pub(super) fn refuse_few(
    model: &ModelConfig,
    domains: &[NamedShard],
    limits: &LimitsConfig,
    windows: WindowOptions,
) -> Result<(), FinetuneError> {
    for domain in domains {
        if limit_of(limits, &domain.name).is_none() {
            continue;
        }
        let groups = |split| {
            let windows = WindowOptions {
                split: Some(split),
                ..windows
            };
            scored_groups(model, &domain.shard, windows).map(|found| found.count)
        };
        let (dev, test) = (groups(HeldoutSplit::Dev)?, groups(HeldoutSplit::Test)?);
        if dev.min(test) < FEWEST_GROUPS {
            return Err(too_few(domain, dev, test));
        }
    }
    Ok(())
}

/// Makes the error for a domain that has a limit but too few groups of documents.
fn too_few(domain: &NamedShard, dev: usize, test: usize) -> FinetuneError {
    let NamedShard { name, shard } = domain;
    FinetuneError::Config(format!(
        "`retention.limits`: of `{name}`'s {} held-out documents, {dev} independent groups of the dev split and {test} of the test \
         split are scored, where a limit needs {FEWEST_GROUPS} of each to know how much they differ (and 15 to be shown to be \
         kept): prepare `{name}` again with `heldout_groups = 40` (at most half of its groups can be held out), more text, \
         `heldout_paths`, or a `separator` that splits its files into documents; raise `evaluation.max_tokens` if more \
         groups are held out than are scored; or give it no limit",
        shard.documents(),
    ))
}

#[cfg(test)]
mod tests {
    use polymath_data::ShardWriter;
    use polymath_eval::DocumentScore;

    use super::*;

    /// Checks that the confidence bound stays the same if the test split has as many groups as the dev split, is
    /// widened by √((1 + 4) / 2) if it has a quarter of them, and is never narrowed.
    #[test]
    fn a_small_test_split_widens_the_bound() {
        assert_eq!(widening_for(40, 40), 1.0);
        assert!((widening_for(40, 10) - 2.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(widening_for(10, 40), 1.0);
    }

    /// Returns scored documents that all change by `change` from 2 bits per byte. Without variance, the confidence
    /// interval shrinks to the change itself.
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

    /// Makes a retained domain for tests that do not read its documents.
    fn domain(
        (name, limit): (&str, Option<f64>),
        (count, by_size): (usize, f64),
    ) -> RetainedDomain {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heldout.safetensors");
        let mut writer = ShardWriter::create(&path, 5).unwrap();
        writer.push(&[1, 0], &[], 1).unwrap();
        writer.finish().unwrap();
        RetainedDomain {
            name: name.to_owned(),
            shard: Arc::new(TokenShard::open(&path).unwrap()),
            limit,
            base: scored(0.0),
            widening: 1.0,
            test: ScoredGroups { count, by_size },
        }
    }

    /// Checks that the warning names the domains with a limit whose test split has too few effective groups, with the
    /// number that they have and need.
    #[test]
    fn limits_that_cannot_be_shown_are_named() {
        let named = domain(("plays", Some(0.02)), (40, 9.4));
        let others = || {
            [
                domain(("law", Some(0.02)), (15, 15.0)),
                domain(("code", None), (5, 5.0)),
            ]
        };
        assert_eq!(RetainedDomains(others().into()).warning(), None);
        let warning = RetainedDomains(others().into_iter().chain([named]).collect())
            .warning()
            .unwrap();
        assert!(warning.contains("`plays` (40, as good as 9)"), "{warning}");
        assert!(
            !warning.contains("law") && !warning.contains("code"),
            "{warning}"
        );
    }

    /// Checks that a domain that did not get worse counts for the controller as using at most its whole limit, even
    /// with few documents; a domain that got worse counts with its upper bound.
    #[test]
    fn few_documents_of_a_better_domain_do_not_press() {
        let spread = |change: f64| {
            let mut scores = scored(0.0);
            for (at, document) in scores.documents.iter_mut().enumerate() {
                let astray = if at % 2 == 0 { 2.0 } else { -2.0 };
                document.nats += (change + astray) * document.bytes as f64 * std::f64::consts::LN_2;
            }
            scores.documents.truncate(6);
            scores
        };
        let use_of = |change: f64| {
            let mut law = domain(("law", Some(0.02)), (6, 6.0));
            law.base.documents.truncate(6);
            let scores = [("law".to_owned(), spread(change))].into();
            RetainedDomains(vec![law]).limit_use(&scores).unwrap()
        };
        let better = use_of(-0.5);
        assert!(better.shares["law"] > 1.0 && better.worst.as_ref().unwrap().has_too_few());
        assert_eq!(better.pressing["law"], 1.0);
        let worse = use_of(0.5);
        assert!(!worse.worst.as_ref().unwrap().has_too_few());
        assert_eq!(worse.pressing["law"], worse.shares["law"]);
    }

    /// Checks that the worst domain is the one that uses the largest share of its own limit, not the one with the
    /// largest increase, nor the first or last one. A domain that improved uses nothing, and a domain without a limit
    /// does not count.
    #[test]
    fn the_worst_domain_uses_most_of_its_limit() {
        let domains = [
            ("atoms", 0.10, Some(0.5)),
            ("birds", 0.05, Some(0.04)),
            ("codes", 0.90, None),
            ("deeds", -0.20, Some(0.1)),
            ("earth", 0.12, Some(0.3)),
        ];
        let retained = domains.map(|(name, _, limit)| domain((name, limit), (20, 16.0)));
        let now = domains.map(|(name, change, _)| (name.to_owned(), scored(change)));
        let limit_use = RetainedDomains(retained.into())
            .limit_use(&now.into())
            .unwrap();
        let worst = limit_use.worst.as_ref().unwrap();
        assert_eq!((worst.domain.as_str(), worst.limit), ("birds", 0.04));
        assert!((limit_use.share() - 1.25).abs() < 1e-6, "{limit_use:?}");
        let expected = [
            ("atoms", 0.2),
            ("birds", 1.25),
            ("deeds", 0.0),
            ("earth", 0.4),
        ];
        assert_eq!(limit_use.shares.len(), expected.len());
        for (name, share) in expected {
            assert!((limit_use.shares[name] - share).abs() < 1e-6, "{name}");
        }
        let mean = (0.2 + 1.25 - 2.0 + 0.4) / 4.0;
        assert!((limit_use.mean - mean).abs() < 1e-6, "{limit_use:?}");
    }
}
