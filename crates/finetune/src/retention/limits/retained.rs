//! Forgetting of the retained domains on the dev split: how much of its limit each domain uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_base::counted;
use polymath_data::{HeldoutSplit, NamedShard, TokenShard};
use polymath_eval::ScoresByDomain;
use polymath_eval::statistics::{
    Compared, FEWEST_EFFECTIVE, FEWEST_GROUPS, Family, LEVEL, PairedBootstrap, Side,
};
use polymath_eval::{DomainScores, ScoredGroups, WindowOptions, score_shard, scored_groups};
use polymath_model::ModelConfig;

use super::dev_set::DevPart;
use super::verdict::TWO_SIDED;
use super::{LimitsConfig, ModelOnDomains, limit_of};
use crate::FinetuneError;

/// Number of bootstrap resamples for a confidence bound during training.
const RESAMPLES: usize = 1000;

/// Retained domain with its limit, its documents of the dev split and the base's scores on them.
pub(super) struct RetainedDomain {
    pub name: String,
    pub shard: Arc<TokenShard>,
    /// Windows that choose the scored documents of the dev split.
    pub windows: WindowOptions,
    pub limit: Option<f64>,
    pub base: DomainScores,
    /// Factor by which the distance between the measured change and its upper confidence bound is multiplied. At least
    /// 1 for the whole dev split. Below 1 for a sample of it, whose bound predicts that of the whole split.
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
    /// Scores the base on `part` of the dev split of the retained domains, in the base's tokens. `watched` holds the
    /// same domains in the run's tokens. [`refuse_few`] has checked that they have enough groups.
    pub fn score(
        base: ModelOnDomains,
        watched: &[NamedShard],
        limits: &LimitsConfig,
        windows: WindowOptions,
        part: DevPart,
    ) -> Result<Self, FinetuneError> {
        let ModelOnDomains {
            model: base,
            domains,
        } = base;
        let domain = |(watched, read): (&NamedShard, &NamedShard)| {
            let limit = limit_of(limits, &watched.name);
            let read = &read.shard;
            let groups = |split, windows| {
                let windows = WindowOptions {
                    split: Some(split),
                    ..windows
                };
                scored_groups(base.config(), read, windows)
            };
            let (dev, test) = (
                groups(HeldoutSplit::Dev, windows)?,
                groups(HeldoutSplit::Test, windows)?,
            );
            let windows = part.windows(base.config(), read, windows)?;
            let scored = groups(HeldoutSplit::Dev, windows)?;
            Ok(RetainedDomain {
                name: watched.name.clone(),
                shard: Arc::clone(&watched.shard),
                windows,
                limit,
                base: score_shard(base, read, windows, &mut |_, _| ())?,
                widening: widening_for(dev.count, test.count) * narrowing_for(scored, dev),
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

    /// Returns for each domain with a limit the factor ≥ 1 by which its confidence bound must be widened to hold
    /// jointly for several candidate models, since the candidate with the best bound may seem to be within the limits
    /// by chance. Uses the maximum statistic over joint resamples (max-T), which accounts for the correlation of models
    /// on the same documents: candidates that hardly differ hardly widen the bounds.
    pub fn choice_factors(
        &self,
        candidates: &[&ScoresByDomain],
    ) -> Result<BTreeMap<String, f64>, FinetuneError> {
        let mut factors = BTreeMap::new();
        for domain in self.0.iter().filter(|domain| domain.limit.is_some()) {
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
            let mut factor = 1.0f64;
            let bounds = together.upper_bounds(LEVEL);
            for (found, bound) in together.comparisons().iter().zip(bounds) {
                let alone = Family::new(vec![found.clone()])?.upper_bounds(LEVEL);
                let (reach, alone) = (bound - found.value, alone[0] - found.value);
                if alone > 0.0 {
                    factor = factor.max(reach / alone);
                }
            }
            factors.insert(domain.name.clone(), factor);
        }
        Ok(factors)
    }

    /// Widens the confidence bound of each domain by its factor.
    pub fn widen(&mut self, factors: &BTreeMap<String, f64>) {
        for domain in &mut self.0 {
            domain.widening *= factors.get(&domain.name).unwrap_or(&1.0);
        }
    }
}

/// Returns the factor ≤ 1 that turns the confidence bound of a sample into a prediction of the bound of the `whole`
/// split: the distance of a bound from the mean decreases with the root of the effective number of groups.
fn narrowing_for(sample: ScoredGroups, whole: ScoredGroups) -> f64 {
    (sample.by_size / whole.by_size).sqrt().min(1.0)
}

/// Returns the factor ≥ 1 that widens a confidence bound measured on `dev` groups, so that it also predicts the result
/// on `test` groups: √((1 + V_test/V_dev) / 2), with variances V inversely proportional to the number of groups.
fn widening_for(dev: usize, test: usize) -> f64 {
    let variances = dev as f64 / test.max(1) as f64;
    (f64::midpoint(1.0, variances)).sqrt().max(1.0)
}

/// Fails if a domain with a limit has too few groups of documents (each is one observation) to estimate the variance of
/// its change. Needs no weights, so that it can be checked before any run starts. `is_generated` says that the base
/// generated the domain's text.
pub(super) fn refuse_few(
    model: &ModelConfig,
    domains: &[NamedShard],
    limits: &LimitsConfig,
    windows: WindowOptions,
    is_generated: bool,
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
            return Err(too_few(domain, (dev, test), is_generated));
        }
    }
    Ok(())
}

/// Makes the error for a domain that has a limit but too few groups of documents in the dev and the test split.
fn too_few(domain: &NamedShard, groups: (usize, usize), is_generated: bool) -> FinetuneError {
    let NamedShard { name, shard } = domain;
    let (dev, test) = groups;
    if is_generated {
        return FinetuneError::Config(format!(
            "`retention.limits`: of the text that the base generated, {} of documents in the dev split and {test} in the test split \
             can be scored, where a limit needs {FEWEST_GROUPS} of each: documents that repeat each other count as \
             one. Generate more by `retention.replay.tokens`, with another `seed`, or name text to keep by `retain`",
            counted(dev as u64, "independent group")
        ));
    }
    FinetuneError::Config(format!(
        "`retention.limits`: of `{name}`'s {} held-out documents, {} in the dev split and {test} in the test split can be \
         scored, where a limit needs {FEWEST_GROUPS} of each to know how much they differ (and 15 to be shown to be \
         kept): prepare `{name}` again with `heldout_groups = 40` (at most half of its groups can be held out), more text, \
         `heldout_paths`, or a `separator` that splits its files into documents; raise `evaluation.max_tokens` if more \
         groups are held out than are scored; or give it no limit",
        shard.documents(),
        counted(dev as u64, "independent group"),
    ))
}

#[cfg(test)]
mod tests;
