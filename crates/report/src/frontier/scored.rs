//! Scores of all runs of a frontier, and their averages over seeds.

use std::f64::consts::LN_2;

use serde::Serialize;

use crate::ReportError;
use polymath_eval::statistics::{DomainSums, group_sums, mean};
use polymath_eval::{DocumentScore, DomainScores, ScoresByDomain, SplitScores};

/// Model that a frontier compares: a run, or a mixture of a run and its base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Name of the method.
    pub method: String,
    /// Share of the tuned weights in a mixture with the base; `None` for the tuned model itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Seed of the run.
    pub seed: u64,
    /// Number of training tokens.
    pub tokens: u64,
    /// Training time in seconds.
    pub seconds: f64,
}

impl Candidate {
    /// Returns the name of the method, including the share for a mixture.
    pub fn name(&self) -> String {
        match self.share {
            Some(share) => format!("{} × {share}", self.method),
            None => self.method.clone(),
        }
    }
}

/// Model of a frontier together with its scores.
#[derive(Debug, Clone)]
pub struct ScoredRun {
    /// Model that was scored.
    pub candidate: Candidate,
    /// Scores on both splits.
    pub scored: SplitScores,
}

/// Scores of the base and of every run on one split of the held-out documents.
pub struct SplitOfAll<'a> {
    base: &'a ScoresByDomain,
    runs: Vec<&'a ScoresByDomain>,
}

/// Scores of the base and of every run on the splits that a frontier uses.
#[derive(Clone, Copy)]
pub struct Splits<'a> {
    /// Scores on the test split, on which results are reported.
    pub test: &'a SplitOfAll<'a>,
    /// Scores on the dev split, on which choices are made.
    pub dev: &'a SplitOfAll<'a>,
}

impl<'a> SplitOfAll<'a> {
    /// Takes the scores of one split: `of` returns that split of a model's scores.
    pub fn new(
        base: &'a SplitScores,
        runs: &'a [ScoredRun],
        of: fn(&SplitScores) -> &ScoresByDomain,
    ) -> Self {
        Self {
            base: of(base),
            runs: runs.iter().map(|run| of(&run.scored)).collect(),
        }
    }

    /// Checks that the base and all runs were scored on the same documents of the same domains.
    ///
    /// # Errors
    /// Fails with the run and the domain that differ.
    pub fn check(&self, runs: &[ScoredRun]) -> Result<(), ReportError> {
        for (run, scores) in runs.iter().zip(&self.runs) {
            let described = || format!("{} (seed {})", run.candidate.name(), run.candidate.seed);
            let names = |scores: &ScoresByDomain| {
                let names: Vec<&str> = scores.keys().map(String::as_str).collect();
                names.join("`, `")
            };
            if !scores.keys().eq(self.base.keys()) {
                return Err(ReportError::Report(format!(
                    "{} is scored on `{}`, and others on `{}`: means over different domains are not ranked. Give all runs the \
                     same `dataset`, `domain` and `retain`",
                    described(),
                    names(scores),
                    names(self.base)
                )));
            }
            for (name, base) in self.base {
                let sizes = |scores: &DomainScores| -> Vec<u64> {
                    scores
                        .documents
                        .iter()
                        .map(|document| document.bytes)
                        .collect()
                };
                if sizes(base) != sizes(&scores[name]) {
                    return Err(ReportError::Report(format!(
                        "{} and the base are scored on different documents of `{name}`: score both on the same dataset with the \
                         same `max_tokens`",
                        described()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Returns the domain names.
    pub fn names(&self) -> impl Iterator<Item = &'a String> {
        self.base.keys()
    }

    /// Returns the change of a run in a domain relative to the base, in bits per byte.
    pub fn rise(&self, domain: &str, run: usize) -> f64 {
        self.runs[run][domain].bits_per_byte() - self.base[domain].bits_per_byte()
    }

    /// Returns the scores of the base in a domain, and the scores averaged over `runs`.
    pub fn base_and_mean(&self, domain: &str, runs: &[usize]) -> (&'a DomainScores, DomainScores) {
        let base = &self.base[domain];
        let runs: Vec<&DomainScores> = runs.iter().map(|run| &self.runs[*run][domain]).collect();
        (base, averaged(base, &runs))
    }

    /// Returns the changes of a domain relative to the base, summed over each document group and averaged over the runs
    /// of each method.
    ///
    /// # Errors
    /// Fails if scores are not finite.
    pub fn sums(&self, domain: &str, methods: &[Vec<usize>]) -> Result<DomainSums, ReportError> {
        let base = &self.base[domain];
        let of_method = |runs: &Vec<usize>| {
            let (_, averaged) = self.base_and_mean(domain, runs);
            let sums = group_sums(base, &averaged)?.into_iter();
            Ok(sums.map(|group| group.nats / LN_2).collect())
        };
        let groups = group_sums(base, base)?.into_iter();
        Ok(DomainSums {
            bytes: groups.map(|group| group.bytes).collect(),
            bits: methods
                .iter()
                .map(of_method)
                .collect::<Result<_, ReportError>>()?,
        })
    }
}

/// Averages the score of each document over the runs. Keeps the documents and groups of the base.
pub fn averaged(base: &DomainScores, runs: &[&DomainScores]) -> DomainScores {
    let nats = |document: usize| {
        let of = |run: &&DomainScores| run.documents[document].nats;
        mean(&runs.iter().map(of).collect::<Vec<_>>())
    };
    let documents = base.documents.iter().enumerate();
    let documents = documents.map(|(at, document)| DocumentScore {
        nats: nats(at),
        ..*document
    });
    DomainScores {
        documents: documents.collect(),
        ..base.clone()
    }
}
