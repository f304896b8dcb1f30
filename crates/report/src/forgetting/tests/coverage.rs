//! How often intervals hold the truth and verdicts are wrong, in simulated domains: a few rows in every test run, the whole table
//! by `scripts/check/coverage.sh`.

use std::f64::consts::LN_2;

// Of `libm`, so that the simulated domains are the same on every machine.
use libm::{exp, pow};

use crate::forgetting::{ForgettingReport, ModelScores, Settings};
use polymath_eval::statistics::Verdict;
use polymath_eval::statistics::{LEVEL, LimitVerdict, PairedBootstrap, Random};
use polymath_eval::{DocumentScore, DomainScores};

/// Of the bootstrap: fewer than a report draws, since a simulation averages over many.
const RESAMPLES: usize = 400;
/// The rise that is the truth, in nats a byte.
const TRUTH: f64 = 0.1;
/// How far the changes of two groups lie apart.
const SPREAD: f64 = 0.05;
/// The share of a change's variance that documents of one group have in common.
const COMMON: f64 = 0.8;
/// The most documents of a group, where groups have several.
const MOST_DOCUMENTS: usize = 10;
/// Of a document, in bytes.
const MIDDLE_SIZE: f64 = 2000.0;

/// How the change of a byte differs between documents, around the same mean.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Changes {
    Normal,
    /// Student's t of 3 degrees of freedom: some lie far out on either side.
    Heavy,
    /// A very few lose far more than the rest: skewness 6.
    LogNormal,
    /// As this power of the document's size, and normal around it.
    Growing(f64),
    /// The same, and log-normal around it.
    GrowingLogNormal(f64),
}

/// A kind of domain.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// σ of the log-normal sizes of documents.
    sizes: f64,
    changes: Changes,
    groups: usize,
    /// Whether a group has 1 to 10 documents that hang together, else one.
    clustered: bool,
}

impl Row {
    /// Whether it is told how documents would do that are taken for independent.
    fn is_counted_by_documents(&self) -> bool {
        self.clustered && self.groups <= 64
    }
}

/// What came of a row, as shares of the trials.
#[derive(Debug, Default)]
struct Outcome {
    covered: f64,
    /// Covered by an interval that takes documents for independent.
    covered_by_documents: f64,
    /// Kept, at a limit that is the truth.
    kept: f64,
    /// Broken, at a limit that is the truth.
    broken: f64,
    /// Kept, at a limit that lies [`Trials::room`] above the truth.
    power: f64,
}

struct Trials {
    number: u64,
    /// How far above the truth a limit lies of which `power` is told, in nats a byte.
    room: f64,
}

struct Domain {
    random: Random,
}

impl Domain {
    /// Of mean 0.
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

    /// A document's bytes and change, of which Σ change / Σ bytes has the expectation [`TRUTH`].
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

    /// Base and tuned model on a domain.
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
    fn of(&self, row: &Row) -> Outcome {
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
            if row.is_counted_by_documents() {
                base.groups.clear();
                outcome.covered_by_documents += share * holds(&draw(&base));
            }
        }
        outcome
    }
}

/// The share of reports with any wrong verdict, where every old domain changes by exactly the tolerance.
fn family_wise(row: &Row, (domains, runs): (usize, usize), reports: u64) -> f64 {
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
                // Runs share the documents, and most of what happens to them.
                let own = domain.scores_like(&before, &after);
                scores.domains.insert(name.clone(), own);
            }
            base.domains.insert(name, before);
        }
        let settings = Settings {
            tolerance: TRUTH / LN_2,
            seed,
            resamples: 1,
            ..Settings::default()
        };
        let report = ForgettingReport::new(&base, &tuned, settings).unwrap();
        let judged = report.runs.iter().flat_map(|run| &run.domains);
        let mut decided = judged.map(|domain| domain.verdict);
        wrong += u64::from(decided.any(|verdict| verdict != Verdict::Undecided));
    }
    wrong as f64 / reports as f64
}

impl Domain {
    /// Another run on the same documents: a third of the spread of its changes is its own.
    fn scores_like(&mut self, before: &DomainScores, after: &DomainScores) -> DomainScores {
        let mut own = after.clone();
        for (document, base) in own.documents.iter_mut().zip(&before.documents) {
            let bytes = base.bytes as f64;
            document.nats += SPREAD / 3.0 * self.random.normal() * bytes;
        }
        own
    }
}

fn quick() -> Trials {
    Trials {
        number: 600,
        room: 0.0,
    }
}

fn row(sizes: f64, changes: Changes, groups: usize, clustered: bool) -> Row {
    Row {
        sizes,
        changes,
        groups,
        clustered,
    }
}

/// 93–98 % where changes scatter evenly, whatever the sizes; works of several documents by groups, which by documents are not.
#[test]
fn intervals_hold_the_truth() {
    for sizes in [0.0, 1.0, 1.5] {
        for changes in [Changes::Normal, Changes::Heavy] {
            let outcome = quick().of(&row(sizes, changes, 30, false));
            let covered = outcome.covered;
            assert!(
                (0.94..=0.99).contains(&covered),
                "{sizes} {changes:?}: {covered}"
            );
        }
    }
    let outcome = quick().of(&row(1.0, Changes::Normal, 30, true));
    assert!((0.93..=0.985).contains(&outcome.covered), "{outcome:?}");
    assert!(outcome.covered_by_documents < 0.88, "{outcome:?}");
}

/// At a limit that is the truth, kept comes in no more than 3.5 % (with the simulation's own chance, 5 %), also where a few
/// documents lose far more than the rest and where the larger lose more of each byte; so does forgotten.
#[test]
fn wrong_verdicts_are_few() {
    let rows = [
        row(0.0, Changes::LogNormal, 16, false),
        row(1.0, Changes::LogNormal, 64, false),
        row(1.0, Changes::GrowingLogNormal(0.25), 32, true),
        row(1.5, Changes::Growing(0.25), 64, true),
        row(1.5, Changes::GrowingLogNormal(0.25), 128, false),
        row(1.5, Changes::Growing(0.5), 64, false),
        row(1.0, Changes::Normal, 6, true),
    ];
    for row in rows {
        let outcome = quick().of(&row);
        assert!(
            outcome.kept <= 0.05 && outcome.broken <= 0.05,
            "{row:?}: {outcome:?}"
        );
    }
}

/// Kept at a true change of 0, a tolerance of half the standard deviation and 32 groups: in 70 %, less the simulation's chance.
#[test]
fn what_is_kept_is_found() {
    let trials = Trials {
        number: 1500,
        room: SPREAD / 2.0,
    };
    let outcome = trials.of(&row(0.0, Changes::Normal, 32, false));
    assert!(outcome.power > 0.675, "{outcome:?}");
}

/// A report of six comparisons with skewed changes in groups of several documents: any wrong verdict in no more than 6 %, with
/// the simulation's chance 8 %.
#[test]
fn reports_are_seldom_wrong() {
    let wrong = family_wise(&row(1.0, Changes::LogNormal, 24, true), (3, 2), 150);
    assert!(wrong <= 0.08, "{wrong}");
}

/// The whole table; see `scripts/check/coverage.sh`.
#[test]
#[ignore = "takes minutes: scripts/check/coverage.sh runs it"]
fn coverage_table() {
    let number = std::env::var("TRIALS").map_or(1000, |number| number.parse().expect("a number"));
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    println!(
        "| σ of lengths | changes | documents a group | groups | covered, % | by documents, % | false kept, % | false forgotten, % |"
    );
    println!("|--:|---|---|--:|--:|--:|--:|--:|");
    let kinds = [
        Changes::Normal,
        Changes::Heavy,
        Changes::LogNormal,
        Changes::Growing(0.25),
        Changes::GrowingLogNormal(0.25),
        Changes::Growing(0.5),
    ];
    let trials = Trials { number, room: 0.0 };
    let mut worst = 0.0f64;
    for changes in kinds {
        for sizes in [1.0, 1.5, 2.0] {
            for clustered in [false, true] {
                for groups in [5, 10, 16, 32, 64, 128, 400] {
                    let row = row(sizes, changes, groups, clustered);
                    let outcome = trials.of(&row);
                    worst = worst.max(outcome.kept);
                    let by_documents = match row.is_counted_by_documents() {
                        true => percent(outcome.covered_by_documents),
                        false => "–".into(),
                    };
                    println!(
                        "| {sizes} | {changes:?} | {} | {groups} | {} | {by_documents} | {} | {} |",
                        if clustered { "1 to 10" } else { "1" },
                        percent(outcome.covered),
                        percent(outcome.kept),
                        percent(outcome.broken),
                    );
                }
            }
        }
    }
    println!("\nmost false kept of any row: {} %", percent(worst));
    let trials = Trials {
        number,
        room: SPREAD / 2.0,
    };
    println!(
        "\n| groups | kept at a true change of 0, a tolerance of half the standard deviation, % |\n|--:|--:|"
    );
    for groups in [16, 24, 32, 64] {
        let outcome = trials.of(&row(0.0, Changes::Normal, groups, false));
        println!("| {groups} | {} |", percent(outcome.power));
    }
    println!("\n| domains × runs | changes | reports with any wrong verdict, % |\n|---|---|--:|");
    for family in [(1, 1), (3, 1), (8, 1), (3, 4), (8, 8)] {
        for changes in [Changes::Normal, Changes::LogNormal] {
            let row = row(1.0, changes, 24, true);
            let wrong = family_wise(&row, family, number / 5);
            println!(
                "| {} × {} | {changes:?} | {} |",
                family.0,
                family.1,
                percent(wrong)
            );
        }
    }
}
