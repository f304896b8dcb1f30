//! Simulated frontiers: methods, seeds, domains and document groups whose truth is known.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

pub use polymath_eval::statistics::Random;
use polymath_eval::{DocumentScore, DomainScores, ScoresByDomain, SplitScores};
use polymath_report::frontier::{Candidate, Frontier, FrontierSettings, ScoredRun};

const NICHE: &str = "niche";

/// Simulated frontier: each method has a true gain and a true change of every retained domain.
#[derive(Clone)]
pub struct Truth {
    /// True gain and mean forgetting of each method.
    pub methods: Vec<(f64, f64)>,
    pub seeds: u64,
    pub retained: usize,
    pub groups: usize,
    /// Standard deviations of the random changes: of a run, of a group in all runs, and of a group in one run.
    pub spread: [f64; 3],
    /// True if the changes of groups are log-normal.
    pub skewed: bool,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            methods: vec![(0.5, 0.02); 3],
            seeds: 3,
            retained: 2,
            groups: 24,
            spread: [0.003, 0.01, 0.004],
            skewed: false,
        }
    }
}

/// Draws from a distribution with mean 0 and standard deviation 1.
fn spread(random: &mut Random, skewed: bool) -> f64 {
    match skewed {
        false => random.normal(),
        true => ((random.normal() - 0.5).exp() - 1.0) / (1f64.exp() - 1.0).sqrt(),
    }
}

impl Truth {
    fn names(&self) -> Vec<String> {
        let retained = (0..self.retained).map(|number| format!("retained-{number}"));
        retained.chain([NICHE.to_owned()]).collect()
    }

    /// Draws the scores of the base and of every run.
    pub fn draw(&self, random: &mut Random) -> (SplitScores, Vec<ScoredRun>) {
        let splits = [(); 2].map(|()| self.split(random));
        // A run has the same effect on both splits.
        let runs: Vec<Vec<f64>> = (0..self.methods.len() * self.seeds as usize)
            .map(|_| {
                self.names()
                    .iter()
                    .map(|_| random.normal() * self.spread[0])
                    .collect()
            })
            .collect();
        let base = SplitScores {
            dev: splits[0].scores(None),
            test: splits[1].scores(None),
        };
        let mut scored = Vec::new();
        for (number, of_run) in runs.iter().enumerate() {
            let method = number / self.seeds as usize;
            let (gain, rise) = self.methods[method];
            let changes: Vec<f64> = (0..=self.retained)
                .map(|at| if at == self.retained { -gain } else { rise } + of_run[at])
                .collect();
            let [dev, test] = [0, 1].map(|at| {
                let own = self.own(random);
                splits[at].scores(Some((&changes, &own)))
            });
            scored.push(ScoredRun {
                candidate: Candidate {
                    method: format!("m{method:02}"),
                    share: None,
                    seed: 1 + number as u64 % self.seeds,
                    tokens: 1000,
                    seconds: 1.0,
                },
                scored: SplitScores { dev, test },
            });
        }
        (base, scored)
    }

    /// Draws the changes of each group of each domain that are specific to one run.
    fn own(&self, random: &mut Random) -> Vec<Vec<f64>> {
        let groups = |random: &mut Random| {
            let draw = |_| self.spread[2] * spread(random, self.skewed);
            (0..self.groups).map(draw).collect()
        };
        (0..=self.retained).map(|_| groups(random)).collect()
    }

    fn split(&self, random: &mut Random) -> Documents {
        let mut sizes = Vec::new();
        let mut common = Vec::new();
        for _ in 0..=self.retained {
            let bytes = |random: &mut Random| (2000.0 * random.normal().exp()).max(1.0) as u64;
            sizes.push((0..self.groups).map(|_| bytes(random)).collect());
            let draw = |_| self.spread[1] * spread(random, self.skewed);
            common.push((0..self.groups).map(draw).collect());
        }
        Documents {
            names: self.names(),
            sizes,
            common,
        }
    }

    pub fn frontier(&self, random: &mut Random) -> Frontier {
        let (base, runs) = self.draw(random);
        Frontier::new(settings(), &base, &runs).unwrap()
    }
}

/// Documents of one split: their sizes, and the changes that all runs have in common.
struct Documents {
    names: Vec<String>,
    sizes: Vec<Vec<u64>>,
    common: Vec<Vec<f64>>,
}

impl Documents {
    /// Returns the scores of the base, or those of a run with the given changes of each domain and of each of its
    /// groups.
    fn scores(&self, run: Option<(&[f64], &[Vec<f64>])>) -> ScoresByDomain {
        let document = |domain: usize, at: usize| {
            let bytes = self.sizes[domain][at];
            let change = run.map_or(0.0, |(changes, own)| {
                changes[domain] + self.common[domain][at] + own[domain][at]
            });
            DocumentScore {
                nats: (2.0 + change) * LN_2 * bytes as f64,
                tokens: bytes / 4 + 1,
                bytes,
            }
        };
        let domain = |(at, name): (usize, &String)| {
            let scores = DomainScores {
                documents: (0..self.sizes[at].len())
                    .map(|group| document(at, group))
                    .collect(),
                ..DomainScores::default()
            };
            (name.clone(), scores)
        };
        self.names
            .iter()
            .enumerate()
            .map(domain)
            .collect::<BTreeMap<_, _>>()
    }
}

pub fn settings() -> FrontierSettings {
    FrontierSettings {
        niche: NICHE.into(),
        limit: 0.05,
        reference: None,
        diverged: Vec::new(),
    }
}

pub fn share(trials: usize, mut happens: impl FnMut(u64) -> bool) -> f64 {
    let count = (0..trials).filter(|trial| happens(*trial as u64)).count();
    count as f64 / trials as f64
}
