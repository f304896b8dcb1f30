//! Results of a frontier: its methods, the significant differences, and the recommendation.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::area::pareto;
use super::comparisons::{Comparisons, ReferencePoint, Resampled};
use super::complete::Complete;
use super::method::{Difference, Method};
use super::recommendation::{
    Confirmation, ConfirmedDomain, Recommendation, WithinLimit, inside, recommend,
};
use super::reference::reference;
use super::runs::RunFigures;
use super::scored::{Candidate, ScoredRun, SplitOfAll, Splits};
use crate::ReportError;
use crate::diverged::Diverged;
use polymath_eval::SplitScores;
use polymath_eval::statistics::{
    Contrast, DomainSums, FEWEST_GROUPS, Figure, FigureOfAll, LEVEL, LimitVerdict, PairedBootstrap,
    WeightedDomain,
};

/// Schema version of `frontier.json`. Version 3 had `development_gain` and `development_worst` instead of `dev_gain`
/// and `dev_worst`.
const SCHEMA: u32 = 4;
/// Number of bootstrap resamples for a confirmation.
const RESAMPLES: usize = 4000;
/// Number of groups below which a domain is marked, since its intervals are unreliable.
const FEW_GROUPS: usize = 20;

/// Settings of a frontier.
#[derive(Debug, Clone)]
pub struct FrontierSettings {
    /// Niche of all runs.
    pub niche: String,
    /// Maximum increase of every retained domain, in bits per byte, with which a method is still recommended.
    pub limit: f64,
    /// Method that the others are compared with. Default: `full`, or else the first by name.
    pub reference: Option<String>,
    /// Runs that diverged. A method with such a run is neither compared nor recommended.
    pub diverged: Vec<Diverged>,
}

/// Number of document groups of one domain in one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitGroups {
    /// Name of the domain.
    pub domain: String,
    /// Name of the split, `dev` or `test`.
    pub split: &'static str,
    /// Number of document groups of the domain in this split.
    pub groups: usize,
}

/// Hypervolume: area of gain × avoided forgetting that the methods cover. It is measured from the corner without gain
/// and with the largest mean forgetting of any method.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hypervolume {
    /// Hypervolume of the trained methods.
    pub trained: Figure,
    /// Hypervolume of all methods, including the mixtures.
    pub mixed: Figure,
}

/// Frontier: comparison of several methods by gain and forgetting.
#[derive(Debug, Serialize)]
pub struct Frontier {
    /// Schema version of the file.
    pub schema: u32,
    /// Niche of all runs.
    pub niche: String,
    /// Maximum increase of every retained domain, in bits per byte, with which a method is still recommended.
    pub limit: f64,
    /// Method that the others are compared with.
    pub reference: String,
    /// Methods, as trained and as mixtures with the base, by descending gain.
    pub methods: Vec<Method>,
    /// All runs, as trained and as mixtures with the base.
    pub runs: Vec<RunFigures>,
    /// Number of standard errors that a significant difference must exceed; `None` if nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<f64>,
    /// Hypervolume of the methods.
    pub hypervolume: Hypervolume,
    /// Method with the largest gain among those whose upper bounds are within the limit in every retained domain, on
    /// the dev split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended: Option<Recommendation>,
    /// Number of document groups of every domain in both splits.
    pub groups: Vec<SplitGroups>,
    /// Runs that diverged and are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Diverged>,
    /// Further notes for the reader.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Frontier {
    /// Compares all runs with the base and with each other.
    ///
    /// # Errors
    /// Fails if there is no run, if the runs were scored on different documents or domains, or if scores are not
    /// finite.
    pub fn new(
        settings: FrontierSettings,
        base: &SplitScores,
        scored: &[ScoredRun],
    ) -> Result<Self, ReportError> {
        let test = SplitOfAll::new(base, scored, |scored| &scored.test);
        let dev = SplitOfAll::new(base, scored, |scored| &scored.dev);
        let splits = Splits {
            test: &test,
            dev: &dev,
        };
        test.check(scored)?;
        dev.check(scored)?;
        let niche = settings.niche.as_str();
        let mut runs = Vec::new();
        for (number, run) in scored.iter().enumerate() {
            runs.push(RunFigures::of(splits, run, number, niche)?);
        }
        let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, run) in scored.iter().enumerate() {
            numbers
                .entry(run.candidate.name())
                .or_default()
                .push(number);
        }
        let mut methods = Vec::new();
        for numbers in numbers.values_mut() {
            numbers.sort_by_key(|number| scored[*number].candidate.seed);
            methods.push(Method::of(splits, &runs, numbers, niche)?);
        }
        methods.sort_by(|a, b| b.gain.value.total_cmp(&a.gain.value));
        let complete = Complete::of(&methods, &numbers, scored, &settings.diverged);
        let (reference, notes) = reference(settings.reference.as_deref(), &methods, &complete)?;
        let inside = inside(&dev, &complete.runs, niche, settings.limit)?;
        let mut frontier = Self {
            schema: SCHEMA,
            limit: settings.limit,
            reference,
            hypervolume: Hypervolume::of(&methods),
            methods,
            runs,
            critical: None,
            recommended: recommend(&complete.names, &inside, &|_, _| false),
            groups: [groups(&test, "test")?, groups(&dev, "dev")?].concat(),
            diverged: settings.diverged,
            notes: notes.into_iter().collect(),
            niche: settings.niche.clone(),
        };
        frontier.compare(&test, &complete, &inside)?;
        Ok(frontier)
    }

    /// Compares the complete methods with each other on the test split, and recommends one of those `inside` the limit.
    /// Does nothing with a single seed or with too few groups, which tell nothing about variation.
    fn compare(
        &mut self,
        test: &SplitOfAll,
        complete: &Complete,
        inside: &[WithinLimit],
    ) -> Result<(), ReportError> {
        let seeds = complete.runs.first().map_or(0, Vec::len);
        let mut domains: Vec<(&String, DomainSums)> = Vec::new();
        for name in test.names() {
            domains.push((name, test.sums(name, &complete.runs)?));
        }
        let few = domains
            .iter()
            .any(|(_, sums)| sums.groups() < FEWEST_GROUPS);
        if complete.runs.len() < 2 || seeds < 2 || few {
            return Ok(());
        }
        let comparisons = comparisons(&domains, &self.niche, &self.runs, &complete.runs);
        let trained: Vec<bool> = complete
            .places
            .iter()
            .map(|at| self.methods[*at].share.is_none())
            .collect();
        let found = comparisons.resample(&ReferencePoint {
            forgetting: corner(&self.methods),
            trained: &trained,
        });
        self.take(&comparisons, &found, complete);
        self.recommended = recommend(&complete.names, inside, &|other, one| {
            comparisons.beats(other, one, found.critical)
        });
        Ok(())
    }

    /// Stores the results of the resamples: intervals, critical value, differences and domination.
    fn take(&mut self, comparisons: &Comparisons, found: &Resampled, complete: &Complete) {
        let [trained, mixed] = found.hypervolumes;
        self.hypervolume.trained.interval = Some(trained);
        self.hypervolume.mixed.interval = Some(mixed);
        self.critical = Some(found.critical);
        let better = pareto(&comparisons.points(complete.names.len()));
        let reference = complete
            .names
            .iter()
            .position(|name| *name == self.reference);
        for (number, at) in complete.places.iter().enumerate() {
            // The methods are ordered by gain, so the first one that dominates has the largest gain.
            let mut others = 0..complete.places.len();
            let beaten = others.find(|other| comparisons.beats(*other, number, found.critical));
            let method = &mut self.methods[*at];
            method.frontier_share = Some(found.frontier_shares[number]);
            let named = |other: usize| complete.names[other].clone();
            method.beaten_by = beaten.map(named);
            method.on_the_frontier = beaten.is_none();
            method.not_told_apart_from = match beaten {
                Some(_) => None,
                None => better[number].map(named),
            };
            let apart = reference.filter(|reference| *reference != number);
            method.against_reference = apart.map(|reference| {
                let difference = |figure: &FigureOfAll| {
                    let contrast = Contrast::between(number, reference);
                    let value = figure.value(contrast);
                    let half = found.critical * figure.error(contrast);
                    Figure {
                        value,
                        interval: Some([value - half, value + half]),
                    }
                };
                Difference {
                    gain: difference(&comparisons.gain),
                    mean_forgetting: difference(&comparisons.forgetting),
                }
            });
        }
    }

    /// Adds the result of a run of the recommended method with a new seed.
    ///
    /// # Errors
    /// Fails if the run was scored on other documents.
    pub fn confirm(mut self, base: &SplitScores, fresh: &ScoredRun) -> Result<Self, ReportError> {
        let figures = RunFigures::new(fresh, &self.niche, base)?;
        let mut judged = BTreeMap::new();
        for name in figures.rises.keys() {
            let (before, after) = (&base.test[name], &fresh.scored.test[name]);
            let bootstrap = PairedBootstrap::new(before, after, RESAMPLES, 0)?;
            // Each test is one-sided at the significance level. Since all domains must be kept, the tests need no
            // correction.
            let against = bootstrap.against(self.limit);
            let verdict = against.map_or(LimitVerdict::Undecided, |against| {
                against.verdict(2.0 * LEVEL)
            });
            let effective_groups = bootstrap.change().effective_groups;
            judged.insert(
                name.clone(),
                ConfirmedDomain {
                    verdict,
                    effective_groups,
                },
            );
        }
        let found = Confirmation::new(&figures, &judged);
        if let Some(recommended) = &mut self.recommended {
            recommended.confirmation = Some(found);
        }
        Ok(self)
    }

    /// Returns the trained methods by descending gain.
    pub fn trained(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(|method| method.share.is_none())
    }

    /// Returns the trained methods that a mixture significantly dominates, each with that mixture.
    pub fn beaten_by_mixing(&self) -> Vec<(&Method, &Method)> {
        let mixed = |name: &String| {
            let mut mixed = self.methods.iter().filter(|method| method.share.is_some());
            mixed.find(|method| method.name == *name)
        };
        self.trained()
            .filter_map(|method| Some((method, mixed(method.beaten_by.as_ref()?)?)))
            .collect()
    }

    /// Returns the methods that the tables show: all trained ones, and those mixtures that are recommended or
    /// significantly dominate a trained method.
    pub fn shown(&self) -> impl Iterator<Item = &Method> {
        let beating: BTreeSet<&String> = self
            .trained()
            .filter_map(|method| method.beaten_by.as_ref())
            .collect();
        self.methods.iter().filter(move |method| {
            method.share.is_none() || self.is_recommended(method) || beating.contains(&method.name)
        })
    }

    /// Returns the domains with fewer than 20 groups.
    pub fn few_groups(&self) -> impl Iterator<Item = &SplitGroups> {
        self.groups.iter().filter(|found| found.groups < FEW_GROUPS)
    }

    /// Returns a run of the recommended method.
    pub fn recommended_candidate(&self) -> Option<&Candidate> {
        let recommended = self.recommended.as_ref()?;
        let mut candidates = self.runs.iter().map(|run| &run.candidate);
        candidates.find(|candidate| candidate.name() == recommended.name)
    }

    /// Returns true if the method is the recommended one.
    pub fn is_recommended(&self, method: &Method) -> bool {
        let recommended = self.recommended.as_ref();
        recommended.is_some_and(|recommended| recommended.name == method.name)
    }
}

impl Hypervolume {
    fn of(methods: &[Method]) -> Self {
        let trained: Vec<bool> = methods
            .iter()
            .map(|method| method.share.is_none())
            .collect();
        let corner = ReferencePoint {
            forgetting: corner(methods),
            trained: &trained,
        };
        let points: Vec<(f64, f64)> = methods.iter().map(Method::place).collect();
        let [trained, mixed] = corner.hypervolumes(&points).map(|value| Figure {
            value,
            interval: None,
        });
        Self { trained, mixed }
    }
}

/// Returns the largest mean forgetting of any method.
fn corner(methods: &[Method]) -> f64 {
    let forgetting = methods.iter().map(|method| method.mean_forgetting.value);
    forgetting.fold(0.0, f64::max)
}

/// Returns gain and forgetting of every complete method on the test split, ready to be compared.
fn comparisons<'a>(
    domains: &'a [(&String, DomainSums)],
    niche: &str,
    runs: &[RunFigures],
    methods: &[Vec<usize>],
) -> Comparisons<'a> {
    let by_seed = |figure: &dyn Fn(&RunFigures) -> f64| -> Vec<Vec<f64>> {
        let of_method =
            |numbers: &Vec<usize>| numbers.iter().map(|run| figure(&runs[*run])).collect();
        methods.iter().map(of_method).collect()
    };
    let retained = (domains.len() - 1) as f64;
    let weighted = |of_niche: bool, weight: f64| -> Vec<WeightedDomain> {
        let chosen = domains
            .iter()
            .filter(|(name, _)| (*name == niche) == of_niche);
        chosen
            .map(|(_, sums)| WeightedDomain { sums, weight })
            .collect()
    };
    Comparisons {
        gain: FigureOfAll::new(weighted(true, -1.0), by_seed(&|run| run.gain.value), true),
        forgetting: FigureOfAll::new(
            weighted(false, 1.0 / retained),
            by_seed(&|run| run.mean_rise.value),
            true,
        ),
    }
}

fn groups(split: &SplitOfAll, name: &'static str) -> Result<Vec<SplitGroups>, ReportError> {
    let of_domain = |domain: &String| {
        Ok(SplitGroups {
            domain: domain.clone(),
            split: name,
            groups: split.sums(domain, &[])?.groups(),
        })
    };
    split.names().map(of_domain).collect()
}
