//! How often intervals hold the truth, in simulated domains.

use std::f64::consts::{LN_2, TAU};

// Of `libm`, so that the simulated domains are the same on every machine.
use libm::{cos, exp, log, pow};

use super::random::Random;
use super::paired_change;
use crate::{DocumentScore, DomainScores};

/// Of the bootstrap: fewer than a report draws, since a simulation averages over many.
const RESAMPLES: usize = 500;
/// Simulated domains for each share: it is then known to about half a percentage point.
const TRIALS: u64 = 2000;
/// The rise that is the truth, in nats a byte.
const TRUTH: f64 = 0.1;

/// How a simulated domain's documents differ in size.
#[derive(Debug, Clone, Copy)]
enum Sizes {
    Equal,
    /// Log-normal, σ = 1: the largest of 500 holds some 20 times the middle one.
    Spread,
    /// Pareto, α = 1.6: of infinite variance; the largest holds as much as most of the rest.
    Wild,
}

/// How the change of a byte differs between documents, around the same mean.
#[derive(Debug, Clone, Copy)]
enum Changes {
    Normal,
    /// A few change far more than the rest: skewness 2.
    Exponential,
    /// A very few do: skewness 6.
    LogNormal,
    /// As the square root of the document's size, and normal around it.
    Growing,
}

struct Domain {
    random: Random,
}

impl Domain {
    fn unit(&mut self) -> f64 {
        ((self.random.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * log(self.unit())).sqrt() * cos(TAU * self.unit())
    }

    /// A document's bytes.
    fn size(&mut self, sizes: Sizes) -> f64 {
        match sizes {
            Sizes::Equal => 2000.0,
            Sizes::Spread => (2000.0 * exp(self.normal())).round(),
            Sizes::Wild => (500.0 * pow(self.unit(), -1.0 / 1.6)).round(),
        }
    }

    /// Its change, of which Σ change / Σ bytes has the expectation [`TRUTH`].
    fn change(&mut self, changes: Changes, bytes: f64) -> f64 {
        let factor = match changes {
            Changes::Normal => 1.0 + self.normal(),
            Changes::Exponential => -log(self.unit()),
            Changes::LogNormal => exp(self.normal() - 0.5),
            // For log-normal sizes with σ = 1: E size^1.5 / E size = 2000^0.5 · exp((1.5² − 1) / 2).
            Changes::Growing => (bytes / 2000.0).sqrt() * (1.0 + 0.5 * self.normal()) / exp(0.625),
        };
        TRUTH * factor * bytes
    }
}

/// The share of simulated domains whose interval holds the truth.
fn coverage(sizes: Sizes, changes: Changes, documents: usize) -> f64 {
    let mut domain = Domain { random: Random(99) };
    let covered = (0..TRIALS).filter(|trial| {
        let (mut base, mut tuned) = (DomainScores::default(), DomainScores::default());
        for _ in 0..documents {
            let bytes = domain.size(sizes);
            let before = DocumentScore {
                nats: bytes,
                tokens: 1,
                bytes: bytes as u64,
            };
            base.documents.push(before);
            tuned.documents.push(DocumentScore {
                nats: bytes + domain.change(changes, bytes),
                ..before
            });
        }
        let change = paired_change(&base, &tuned, RESAMPLES, *trial).unwrap();
        let truth = TRUTH / LN_2;
        let [low, high] = change.interval.unwrap();
        low <= truth && truth <= high
    });
    let share = covered.count() as f64 / TRIALS as f64;
    println!("{documents} documents, {sizes:?} sizes, {changes:?} changes: {share}");
    share
}

fn check(sizes: Sizes, changes: Changes, range: std::ops::RangeInclusive<f64>) {
    for documents in [30, 100, 500] {
        let share = coverage(sizes, changes, documents);
        assert!(
            range.contains(&share),
            "{documents} documents, {sizes:?}, {changes:?}: {share}"
        );
    }
}

/// 93–97 % where changes scatter evenly, whatever the sizes.
#[test]
fn even_changes_are_covered() {
    for sizes in [Sizes::Equal, Sizes::Spread, Sizes::Wild] {
        check(sizes, Changes::Normal, 0.93..=0.97);
    }
}

/// 93–97 % where they are as skewed as waiting times.
#[test]
fn skewed_changes_are_covered() {
    for sizes in [Sizes::Equal, Sizes::Spread, Sizes::Wild] {
        check(sizes, Changes::Exponential, 0.93..=0.97);
    }
}

/// Where a very few documents hold most of the change, or large ones lose more of each byte, as little as the report's definitions say.
#[test]
fn heavy_tails_are_covered_as_the_report_says() {
    check(Sizes::Equal, Changes::LogNormal, 0.92..=0.97);
    check(Sizes::Spread, Changes::LogNormal, 0.89..=0.97);
    check(Sizes::Spread, Changes::Growing, 0.85..=0.94);
}
