//! Simulated domains with a known true change, and the shares of trials in which intervals and verdicts are right.

use std::f64::consts::LN_2;

// `libm` gives the same simulated domains on every machine.
use libm::{exp, pow};

use crate::forgetting::{ForgettingReport, ModelScores, ReportSettings};
use polymath_eval::statistics::{LEVEL, LimitVerdict, PairedBootstrap, Random, Verdict};
use polymath_eval::{DocumentScore, DomainScores};

/// Number of bootstrap resamples: fewer than in a report, since a simulation averages over many trials.
const RESAMPLES: usize = 400;
/// True increase in nats per byte.
const TRUTH: f64 = 0.1;
/// Standard deviation of the groups' changes.
pub(super) const SPREAD: f64 = 0.05;
/// Share of a change's variance that all documents of a group have in common.
const COMMON: f64 = 0.8;
/// Maximum number of documents in a group, if groups have several.
const MOST_DOCUMENTS: usize = 10;
/// Median size of a document in bytes.
const MIDDLE_SIZE: f64 = 2000.0;

/// Distribution of the change per byte over documents, whose mean is fixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Changes {
    Normal,
    /// Student's t with 3 degrees of freedom: outliers on both sides.
    Heavy,
    /// Log-normal: very few documents lose far more than the rest (skewness 6).
    LogNormal,
    /// Normal around a mean that grows with this power of the document's size.
    Growing(f64),
    /// Log-normal around a mean that grows with this power of the document's size.
    GrowingLogNormal(f64),
}

/// Parameters of a simulated domain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// σ of the log-normal distribution of document sizes.
    pub sizes: f64,
    pub changes: Changes,
    pub groups: usize,
    /// True if each group has 1 to 10 correlated documents; false if each document is its own group.
    pub clustered: bool,
}

impl Row {
    /// Returns true if the coverage with documents treated as independent is computed too.
    pub fn is_counted_by_documents(&self) -> bool {
        self.clustered && self.groups <= 64
    }
}

/// Shares of the trials of one simulated domain in which an event occurs.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub covered: f64,
    /// Share of trials in which an interval that treats documents as independent covers the true change.
    pub covered_by_documents: f64,
    /// Share of trials with the verdict "kept" if the limit equals the true change; every such verdict is wrong.
    pub kept: f64,
    /// Share of trials with the verdict "broken" if the limit equals the true change.
    pub broken: f64,
    /// Share of trials with the verdict "broken" if the limit equals the true change and all changes have the opposite
    /// sign: few groups change far less than the rest.
    pub broken_mirrored: f64,
    /// Share of trials with the verdict "kept" if the limit is [`Trials::room`] above the true change; the verdict is
    /// then right.
    pub power: f64,
}

pub(super) struct Trials {
    pub number: u64,
    /// Distance between limit and true change for `power`, in nats per byte.
    pub room: f64,
}

struct Domain {
    random: Random,
}

impl Domain {
    /// Draws noise with mean 0.
    fn noise(&mut self, changes: Changes) -> f64 {
        match changes {
            Changes::Normal | Changes::Growing(_) => self.random.normal(),
            Changes::Heavy => {
                let squares: f64 = (0..3).map(|_| self.random.normal().powi(2)).sum();
                self.random.normal() / (squares / 3.0).sqrt()
            }
            Changes::LogNormal | Changes::GrowingLogNormal(_) => {
                exp(self.random.normal()) - exp(0.5)
            }
        }
    }

    /// Draws the size in bytes and the change of a document, such that E Σ change / E Σ bytes is [`TRUTH`].
    fn document(&mut self, row: &Row, common: f64) -> (u64, f64) {
        let bytes = (MIDDLE_SIZE * exp(row.sizes * self.random.normal()))
            .round()
            .max(1.0);
        let own = self.noise(row.changes);
        let noise = if row.clustered {
            COMMON.sqrt() * common + (1.0 - COMMON).sqrt() * own
        } else {
            own
        };
        let rate = match row.changes {
            Changes::Growing(power) | Changes::GrowingLogNormal(power) => {
                // E size^(1 + power) / E size.
                let mean = exp(((1.0 + power).powi(2) - 1.0) * row.sizes.powi(2) / 2.0);
                let factor = match row.changes {
                    Changes::Growing(_) => 1.0 + 0.5 * noise,
                    _ => (noise + exp(0.5)) / exp(0.5),
                };
                TRUTH * pow(bytes / MIDDLE_SIZE, power) / mean * factor
            }
            _ => TRUTH + SPREAD * noise,
        };
        (bytes as u64, rate * bytes)
    }

    /// Draws the scores of base and tuned model on a domain.
    fn scores(&mut self, row: &Row) -> (DomainScores, DomainScores) {
        let (mut base, mut tuned) = (DomainScores::default(), DomainScores::default());
        for group in 0..row.groups {
            let documents = match row.clustered {
                true => 1 + self.random.below(MOST_DOCUMENTS),
                false => 1,
            };
            let common = self.noise(row.changes);
            for _ in 0..documents {
                let (bytes, change) = self.document(row, common);
                let before = DocumentScore {
                    nats: bytes as f64,
                    tokens: 1,
                    bytes,
                };
                base.documents.push(before);
                base.groups.push(group as u64);
                tuned.documents.push(DocumentScore {
                    nats: before.nats + change,
                    ..before
                });
            }
        }
        (base, tuned)
    }
}

impl Trials {
    pub fn of(&self, row: &Row) -> Outcome {
        let mut domain = Domain { random: Random(99) };
        let mut outcome = Outcome::default();
        let share = 1.0 / self.number as f64;
        let truth = TRUTH / LN_2;
        let holds = |bootstrap: &PairedBootstrap| {
            let [low, high] = bootstrap.change().interval.unwrap();
            f64::from(u8::from(low <= truth && truth <= high))
        };
        for trial in 0..self.number {
            let (mut base, tuned) = domain.scores(row);
            let draw =
                |base: &DomainScores| PairedBootstrap::new(base, &tuned, RESAMPLES, trial).unwrap();
            let bootstrap = draw(&base);
            outcome.covered += share * holds(&bootstrap);
            let verdict = |limit| bootstrap.against(limit).unwrap().verdict(LEVEL);
            let is = |found, wanted| share * f64::from(u8::from(found == wanted));
            outcome.kept += is(verdict(truth), LimitVerdict::Kept);
            outcome.broken += is(verdict(truth), LimitVerdict::Broken);
            outcome.power += is(verdict(truth + self.room / LN_2), LimitVerdict::Kept);
            let mirrored = mirrored(&base, &tuned, trial).against(-truth).unwrap();
            outcome.broken_mirrored += is(mirrored.verdict(LEVEL), LimitVerdict::Broken);
            if row.is_counted_by_documents() {
                base.groups.clear();
                outcome.covered_by_documents += share * holds(&draw(&base));
            }
        }
        outcome
    }
}

/// Compares the models in reverse, so that every change has the opposite sign.
fn mirrored(base: &DomainScores, tuned: &DomainScores, seed: u64) -> PairedBootstrap {
    let base_of_mirror = DomainScores {
        groups: base.groups.clone(),
        ..tuned.clone()
    };
    PairedBootstrap::new(&base_of_mirror, base, RESAMPLES, seed).unwrap()
}

/// Returns the share of reports with at least one wrong verdict, if every retained domain changes by exactly the
/// tolerance.
pub(super) fn family_wise(row: &Row, (domains, runs): (usize, usize), reports: u64) -> f64 {
    let mut domain = Domain { random: Random(7) };
    let mut wrong = 0;
    for seed in 0..reports {
        let mut base = ModelScores::default();
        let mut tuned = vec![ModelScores::default(); runs];
        for number in 0..domains {
            let name = format!("domain-{number}");
            let (before, after) = domain.scores(row);
            for (run, scores) in tuned.iter_mut().enumerate() {
                scores.path = format!("run-{run}");
                // Runs share the documents and most of their changes.
                let own = domain.scores_like(&before, &after);
                scores.domains.insert(name.clone(), own);
            }
            base.domains.insert(name, before);
        }
        let settings = ReportSettings {
            tolerance: TRUTH / LN_2,
            seed,
            resamples: 1,
            ..ReportSettings::default()
        };
        let report = ForgettingReport::new(&base, &tuned, settings).unwrap();
        let judged = report.runs.iter().flat_map(|run| &run.domains);
        let mut decided = judged.map(|domain| domain.verdict);
        wrong += u64::from(decided.any(|verdict| verdict != Verdict::Undecided));
    }
    wrong as f64 / reports as f64
}

impl Domain {
    /// Draws the scores of another run on the same documents; a third of the changes' spread is its own.
    fn scores_like(&mut self, before: &DomainScores, after: &DomainScores) -> DomainScores {
        let mut own = after.clone();
        for (document, base) in own.documents.iter_mut().zip(&before.documents) {
            let bytes = base.bytes as f64;
            document.nats += SPREAD / 3.0 * self.random.normal() * bytes;
        }
        own
    }
}
