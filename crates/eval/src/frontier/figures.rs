//! Of each run and of each way over its seeds: what it gained and forgot, and which ways no other beats.

use std::collections::BTreeMap;

use serde::Serialize;

use super::area::{hypervolume, pareto, recommend};
use crate::diverged::Diverged;
use crate::report::Figure;
use crate::statistics::{OverSeeds, mean_figure, paired_change};
use crate::{DomainScores, EvalError};

const RESAMPLES: usize = 2000;
/// Of `frontier.json`.
const SCHEMA: u32 = 2;

/// Scores of every domain on one half of the held-out documents.
pub type HalfScores = BTreeMap<String, DomainScores>;

/// Both halves of a checkpoint.
#[derive(Debug, Clone)]
pub struct Scored {
    /// To choose by.
    pub development: HalfScores,
    /// To report on.
    pub test: HalfScores,
}

/// Which model a set of figures is of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The way's name.
    pub method: String,
    /// Share of the tuned weights, the rest being the base's; none where they are taken as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Of the run.
    pub seed: u64,
    /// Tokens that it was trained on.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
}

impl Candidate {
    /// The way with its share.
    pub fn name(&self) -> String {
        match self.share {
            Some(share) => format!("{} × {share}", self.method),
            None => self.method.clone(),
        }
    }
}

/// What one run gained and forgot, in bits per byte.
#[derive(Debug, Clone, Serialize)]
pub struct RunFigures {
    /// What it is of.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Fall on the niche, on the test half.
    pub gain: f64,
    /// Its 95 % interval over documents.
    pub gain_interval: [f64; 2],
    /// Rise of each old domain on the test half, with its 95 % interval over documents.
    pub rises: BTreeMap<String, (f64, [f64; 2])>,
    /// Mean rise over the old domains on the test half, with its 95 % interval over documents.
    pub mean_rise: (f64, [f64; 2]),
    /// Fall on the niche, on the development half.
    pub development_gain: f64,
    /// The largest rise of an old domain, on the development half.
    pub development_worst: f64,
}

impl RunFigures {
    /// Compares a run's scores with the base's.
    ///
    /// # Errors
    /// Scores of other documents.
    pub fn new(
        candidate: Candidate,
        niche: &str,
        (base, tuned): (&Scored, &Scored),
    ) -> Result<Self, EvalError> {
        let bits = |scores: &DomainScores| scores.bits_per_byte();
        let risen = |name: &str, base: &HalfScores, tuned: &HalfScores| {
            bits(&tuned[name]) - bits(&base[name])
        };
        let mut rises = BTreeMap::new();
        let (mut gain, mut gain_interval) = (0.0, [0.0; 2]);
        for (name, before) in &base.test {
            let change = paired_change(before, &tuned.test[name], RESAMPLES, 0)?;
            if name == niche {
                (gain, gain_interval) = (-change.value, [-change.high, -change.low]);
            } else {
                rises.insert(name.clone(), (change.value, [change.low, change.high]));
            }
        }
        let development_worst = rises
            .keys()
            .map(|name| risen(name, &base.development, &tuned.development))
            .fold(f64::NEG_INFINITY, f64::max);
        let old: Vec<Figure> = rises
            .values()
            .map(|(value, interval)| Figure {
                value: *value,
                interval: *interval,
            })
            .collect();
        let mean = mean_figure(&old).ok_or_else(|| {
            EvalError::Report(
                "there is no old domain beside the niche: nothing can be forgotten".into(),
            )
        })?;
        Ok(Self {
            candidate,
            gain,
            gain_interval,
            mean_rise: (mean.value, mean.interval),
            rises,
            development_gain: -risen(niche, &base.development, &tuned.development),
            development_worst,
        })
    }

    /// The largest rise of an old domain.
    pub fn worst_forgetting(&self) -> f64 {
        self.rises
            .values()
            .map(|rise| rise.0)
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

/// A way over its seeds, or such a way mixed with the base.
#[derive(Debug, Clone, Serialize)]
pub struct Method {
    /// Its name, with the share where it is mixed.
    pub name: String,
    /// Share of the tuned weights where it is mixed with the base, after training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Runs that it rests on.
    pub seeds: usize,
    /// Fall on the niche.
    pub gain: OverSeeds,
    /// Mean rise over the old domains.
    pub mean_forgetting: OverSeeds,
    /// The largest rise of an old domain.
    pub worst_forgetting: OverSeeds,
    /// Tokens of a run.
    pub tokens: u64,
    /// Mean seconds of training.
    pub seconds: f64,
    /// Whether no other gains as much and forgets less, or forgets as little and gains more.
    pub on_the_frontier: bool,
    /// The first that beats it in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beaten_by: Option<String>,
}

impl Method {
    fn of(name: &str, runs: &[&RunFigures]) -> Self {
        let over = |figure: &dyn Fn(&RunFigures) -> f64| {
            OverSeeds::of(&runs.iter().map(|run| figure(run)).collect::<Vec<_>>())
        };
        let first = &runs[0].candidate;
        Self {
            name: name.to_owned(),
            share: first.share,
            seeds: runs.len(),
            gain: over(&|run| run.gain),
            mean_forgetting: over(&|run| run.mean_rise.0),
            worst_forgetting: over(&RunFigures::worst_forgetting),
            tokens: first.tokens,
            seconds: over(&|run| run.candidate.seconds).mean,
            on_the_frontier: false,
            beaten_by: None,
        }
    }

    fn place(&self) -> (f64, f64) {
        (self.gain.mean, self.mean_forgetting.mean)
    }
}

/// All of a frontier.
#[derive(Debug, Serialize)]
pub struct Frontier {
    /// Of the file.
    pub schema: u32,
    /// The domain that was tuned for.
    pub niche: String,
    /// What an old domain may lose for a way to be recommended.
    pub limit: f64,
    /// Ways, and ways mixed with the base; most gain first.
    pub methods: Vec<Method>,
    /// Every run, and every run mixed with the base.
    pub runs: Vec<RunFigures>,
    /// Area of (forgetting avoided) × gain that the trained ways cover, from the corner of no gain and the most mean
    /// forgetting of any way.
    pub hypervolume: f64,
    /// The same with what was mixed.
    pub hypervolume_mixed: f64,
    /// The way that gains most on the development half with every old domain inside the limit there, on average over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended: Option<String>,
    /// Runs that diverged and are in no figure; a way with such a run is not recommended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Diverged>,
}

impl Frontier {
    /// Of all runs.
    pub fn new(niche: &str, limit: f64, runs: Vec<RunFigures>) -> Self {
        let mut groups: BTreeMap<String, Vec<&RunFigures>> = BTreeMap::new();
        for run in &runs {
            groups.entry(run.candidate.name()).or_default().push(run);
        }
        let mut methods: Vec<Method> = groups
            .iter()
            .map(|(name, runs)| Method::of(name, runs))
            .collect();
        methods.sort_by(|a, b| b.gain.mean.total_cmp(&a.gain.mean));
        let points: Vec<(f64, f64)> = methods.iter().map(Method::place).collect();
        for (at, beaten) in pareto(&points).into_iter().enumerate() {
            methods[at].on_the_frontier = beaten.is_none();
            methods[at].beaten_by = beaten.map(|other| methods[other].name.clone());
        }
        let reference = points.iter().map(|point| point.1).fold(0.0, f64::max);
        let trained = methods.iter().filter(|method| method.share.is_none());
        let trained: Vec<(f64, f64)> = trained.map(Method::place).collect();
        Self {
            schema: SCHEMA,
            niche: niche.to_owned(),
            limit,
            recommended: recommended(&methods, &runs, (limit, &[])),
            diverged: Vec::new(),
            hypervolume: hypervolume(&trained, reference),
            hypervolume_mixed: hypervolume(&points, reference),
            methods,
            runs,
        }
    }

    /// The same, with the runs that diverged.
    #[must_use]
    pub fn with_diverged(mut self, diverged: Vec<Diverged>) -> Self {
        self.recommended = recommended(&self.methods, &self.runs, (self.limit, &diverged));
        self.diverged = diverged;
        self
    }

    /// The ways that were trained, most gain first.
    pub fn trained(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(|method| method.share.is_none())
    }

    /// The trained ways that one mixed with the base beats, each with the first that does.
    pub fn beaten_by_mixing(&self) -> Vec<(&Method, &Method)> {
        let mixed = || self.methods.iter().filter(|method| method.share.is_some());
        self.trained()
            .filter_map(|way| {
                let better =
                    mixed().find(|other| pareto(&[way.place(), other.place()])[0].is_some())?;
                Some((way, better))
            })
            .collect()
    }

    /// What a table shows: every trained way, and of the mixed ones those on the frontier and the recommended.
    pub fn shown(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(|method| {
            method.share.is_none()
                || method.on_the_frontier
                || self.recommended.as_ref() == Some(&method.name)
        })
    }
}

/// The way that gains most on the development half with every old domain inside `limit` there, on average over seeds. A way that
/// diverged with some seed is none: its other seeds say nothing about what the next one does.
fn recommended(
    methods: &[Method],
    runs: &[RunFigures],
    (limit, diverged): (f64, &[Diverged]),
) -> Option<String> {
    let reliable = |method: &&Method| {
        let mut runs = runs
            .iter()
            .filter(|run| run.candidate.name() == method.name);
        runs.all(|run| {
            diverged
                .iter()
                .all(|lost| lost.name != run.candidate.method)
        })
    };
    let methods: Vec<&Method> = methods.iter().filter(reliable).collect();
    let chosen: Vec<(f64, f64)> = methods
        .iter()
        .map(|method| {
            let runs: Vec<&RunFigures> = runs
                .iter()
                .filter(|run| run.candidate.name() == method.name)
                .collect();
            let mean = |figure: &dyn Fn(&RunFigures) -> f64| {
                runs.iter().map(|run| figure(run)).sum::<f64>() / runs.len() as f64
            };
            (
                mean(&|run| run.development_gain),
                mean(&|run| run.development_worst),
            )
        })
        .collect();
    recommend(&chosen, limit).map(|way| methods[way].name.clone())
}
