//! Measures the coverage of confidence intervals on real works that were cut into documents: how often an interval
//! contains the true value.
//!
//! ```sh
//! works score <dataset> <model> <scores.json>              # scores 600 000 held-out tokens of each domain
//! works cover <draws> <base's scores> <a tuned model's>…   # prints the table of docs/concepts/evidence.md
//! ```
//!
//! `scripts/check/coverage.sh --works` runs both, after it has trained the models.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use candle_core::Device;
use polymath_data::{Dataset, Split};
use polymath_eval::statistics::{LEVEL, LimitVerdict, PairedBootstrap, Random};
use polymath_eval::{DocumentScore, DomainScores, WindowOptions, score_shard};
use polymath_model::{LoadOptions, Ops, Precision};
use serde::{Deserialize, Serialize};

/// Tokens to score per domain; the documents are taken in a seeded order.
const MAX_TOKENS: u64 = 600_000;
/// Resamples per bootstrap. A report uses more; here the table averages over many draws.
const RESAMPLES: usize = 400;
/// Numbers of works that an interval is computed from.
const SIZES: [usize; 4] = [10, 20, 40, 80];

/// Scores of a domain's held-out documents under one model.
#[derive(Serialize, Deserialize)]
struct Scored {
    /// Work of each document.
    groups: Vec<u64>,
    documents: Vec<DocumentScore>,
}

type Model = BTreeMap<String, Scored>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["score", dataset, model, target] => score(dataset.as_ref(), model.as_ref(), target),
        ["cover", draws, base, ref tuned @ ..] if !tuned.is_empty() => {
            let tuned = tuned.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
            cover(draws.parse()?, &read(base)?, &tuned)
        }
        _ => Err("expected `score <dataset> <model> <scores.json>` or `cover <draws> <base's scores> <a tuned model's>…`".into()),
    }
}

fn score(dataset: &Path, model: &Path, target: &str) -> Result<(), Box<dyn Error>> {
    let dataset = Dataset::open(dataset)?;
    let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
    let transformer = polymath_model::load(model, &options)?;
    let windows = WindowOptions {
        max_tokens: Some(MAX_TOKENS),
        ..WindowOptions::default()
    };
    let mut scores = Model::new();
    for name in dataset.domain_names() {
        let shard = dataset.shard(name, Split::Heldout)?;
        let found = score_shard(&transformer, &shard, windows, &mut |_, _| ())?;
        let bits = found.bits_per_byte();
        eprintln!("{}: {name} {bits:.4} bits per byte", model.display());
        let scored = Scored {
            groups: found.groups,
            documents: found.documents,
        };
        scores.insert(name.to_owned(), scored);
    }
    Ok(std::fs::write(target, serde_json::to_string(&scores)?)?)
}

fn read(path: &str) -> Result<Model, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("`{path}`: {error}"))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("`{path}`: {error}"))?)
}

fn cover(draws: u64, base: &Model, tuned: &[Model]) -> Result<(), Box<dyn Error>> {
    println!(
        "| domain | works | documents a work | correlation | works drawn | all works: by documents, % | by works, % | false kept, % | \
         false forgotten, % | other works: by documents, % | by works, % | median length: by documents | by works |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (name, base) in base {
        let tuned = tuned
            .iter()
            .map(|model| model.get(name).ok_or(format!("no scores of `{name}`")));
        let population = Population::new(base, tuned.collect::<Result<_, _>>()?)?;
        for size in SIZES {
            let mut outcome = population.cover(size, draws, polymath_base::fnv1a(name))?;
            let all = draws * population.tuned.len() as u64;
            let percent = |count: u64| format!("{:.1}", 100.0 * count as f64 / all as f64);
            let others = |count: u64| match population.has_others(size) {
                true => percent(count),
                false => "–".into(),
            };
            println!(
                "| {name} | {} | {:.1} | {:.2} | {size} | {} | {} | {} | {} | {} | {} | {:.3} | {:.3} |",
                population.works.len(),
                base.groups.len() as f64 / population.works.len() as f64,
                population.correlation(),
                percent(outcome.all[0]),
                percent(outcome.all[1]),
                percent(outcome.kept),
                percent(outcome.broken),
                others(outcome.other[0]),
                others(outcome.other[1]),
                median(&mut outcome.lengths[0]),
                median(&mut outcome.lengths[1]),
            );
        }
    }
    Ok(())
}

/// Returns the median; for an even number of values, the upper of the middle two.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Units that an interval treats as independent.
const KINDS: [Independent; 2] = [Independent::Documents, Independent::Works];

#[derive(Clone, Copy, PartialEq)]
enum Independent {
    Documents,
    Works,
}

/// The scores of a domain's documents, and the documents of each work.
struct Population<'a> {
    base: &'a [DocumentScore],
    tuned: Vec<&'a [DocumentScore]>,
    /// Indices of the documents of each work.
    works: Vec<Vec<usize>>,
}

/// Counts over all draws and models. Arrays have one element per kind in [`KINDS`].
#[derive(Default)]
struct Outcome {
    /// Number of intervals, from works drawn with replacement, that contain the change over all works, which is the
    /// true value for such draws.
    all: [u64; 2],
    /// Number of intervals, from works drawn without replacement, that contain the change over the works that were
    /// not drawn.
    other: [u64; 2],
    /// Number of “kept” and of “broken” verdicts, both wrong, for a limit equal to the true value and works drawn
    /// with replacement.
    kept: u64,
    broken: u64,
    /// Lengths of the intervals from works drawn with replacement.
    lengths: [Vec<f64>; 2],
}

impl<'a> Population<'a> {
    fn new(base: &'a Scored, tuned: Vec<&'a Scored>) -> Result<Self, Box<dyn Error>> {
        if tuned.iter().any(|tuned| tuned.groups != base.groups) {
            return Err("base and tuned model were scored on other works: score them again".into());
        }
        let mut works: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (document, group) in base.groups.iter().enumerate() {
            works.entry(*group).or_default().push(document);
        }
        Ok(Self {
            base: &base.documents,
            tuned: tuned.iter().map(|tuned| &tuned.documents[..]).collect(),
            works: works.into_values().collect(),
        })
    }

    fn cover(&self, size: usize, draws: u64, seed: u64) -> Result<Outcome, Box<dyn Error>> {
        let mut random = Random(seed);
        let mut outcome = Outcome::default();
        let count = self.works.len();
        for seed in 0..draws {
            let repeated: Vec<usize> = (0..size).map(|_| random.below(count)).collect();
            let order = shuffled(count, &mut random);
            for tuned in &self.tuned {
                let model = TunedModel {
                    population: self,
                    tuned,
                };
                model.against_all(&repeated, seed, &mut outcome)?;
                if self.has_others(size) {
                    model.against_others(order.split_at(size), seed, &mut outcome)?;
                }
            }
        }
        Ok(outcome)
    }

    /// Returns true if at least as many works remain as are drawn.
    fn has_others(&self, size: usize) -> bool {
        2 * size <= self.works.len()
    }

    /// Returns the intra-class correlation within works of a document's change in nats per byte, by one-way analysis
    /// of variance, averaged over the models.
    fn correlation(&self) -> f64 {
        let of = |tuned: &&[DocumentScore]| {
            let rate =
                |at: &usize| (tuned[*at].nats - self.base[*at].nats) / tuned[*at].bytes as f64;
            let works = self
                .works
                .iter()
                .map(|work| work.iter().map(rate).collect());
            correlation(&works.collect::<Vec<Vec<f64>>>())
        };
        self.tuned.iter().map(of).sum::<f64>() / self.tuned.len() as f64
    }
}

/// A tuned model, and the domain that it is compared on.
#[derive(Clone, Copy)]
struct TunedModel<'a> {
    population: &'a Population<'a>,
    tuned: &'a [DocumentScore],
}

impl TunedModel<'_> {
    fn against_all(
        self,
        works: &[usize],
        seed: u64,
        outcome: &mut Outcome,
    ) -> Result<(), Box<dyn Error>> {
        let truth = self.change(&shuffled(self.population.works.len(), &mut Random(0)));
        for (place, kind) in KINDS.into_iter().enumerate() {
            let bootstrap = self.bootstrap(works, kind, seed)?;
            let [low, high] = bootstrap.change().interval.ok_or("too few works")?;
            outcome.all[place] += u64::from(low <= truth && truth <= high);
            outcome.lengths[place].push(high - low);
            if kind == Independent::Works {
                let verdict = bootstrap
                    .against(truth)
                    .ok_or("too few works")?
                    .verdict(LEVEL);
                outcome.kept += u64::from(verdict == LimitVerdict::Kept);
                outcome.broken += u64::from(verdict == LimitVerdict::Broken);
            }
        }
        Ok(())
    }

    /// Counts intervals that contain the change over the works that were not drawn. These are a sample too: with n
    /// works drawn and m others, the standard error of the difference is √(1 + n/m) times that of the drawn works, so
    /// the interval is lengthened by this factor.
    fn against_others(
        self,
        (drawn, others): (&[usize], &[usize]),
        seed: u64,
        outcome: &mut Outcome,
    ) -> Result<(), Box<dyn Error>> {
        let truth = self.change(others);
        let longer = (1.0 + drawn.len() as f64 / others.len() as f64).sqrt();
        for (place, kind) in KINDS.into_iter().enumerate() {
            let change = self.bootstrap(drawn, kind, seed)?.change();
            let interval = change.interval.ok_or("too few works")?;
            let [low, high] = interval.map(|end| change.value + longer * (end - change.value));
            outcome.other[place] += u64::from(low <= truth && truth <= high);
        }
        Ok(())
    }

    fn bootstrap(
        self,
        works: &[usize],
        kind: Independent,
        seed: u64,
    ) -> Result<PairedBootstrap, Box<dyn Error>> {
        let (mut base, after) = self.scores(works);
        if kind == Independent::Documents {
            base.groups.clear();
        }
        Ok(PairedBootstrap::new(&base, &after, RESAMPLES, seed)?)
    }

    fn change(self, works: &[usize]) -> f64 {
        let (base, after) = self.scores(works);
        after.bits_per_byte() - base.bits_per_byte()
    }

    /// Returns the scores of the base and of the tuned model on some of the works; a work that was drawn twice counts
    /// as two.
    fn scores(self, works: &[usize]) -> (DomainScores, DomainScores) {
        let (mut base, mut after) = (DomainScores::default(), DomainScores::default());
        for (place, work) in works.iter().enumerate() {
            for document in &self.population.works[*work] {
                base.groups.push(place as u64);
                base.documents.push(self.population.base[*document]);
                after.documents.push(self.tuned[*document]);
            }
        }
        (base, after)
    }
}

/// Returns 0 to `count` − 1 in random order (Fisher–Yates).
fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for place in (1..count).rev() {
        order.swap(place, random.below(place + 1));
    }
    order
}

/// Returns the intra-class correlation of values in groups of unequal size (Donner 1986): (B − W) / (B + (k − 1) W),
/// where B and W are the mean squares between and within groups, and k is the mean group size, corrected for its
/// variation.
fn correlation(groups: &[Vec<f64>]) -> f64 {
    let count: f64 = groups.iter().map(|group| group.len() as f64).sum();
    let mean = groups.iter().flatten().sum::<f64>() / count;
    let (mut between, mut within, mut squares) = (0.0, 0.0, 0.0);
    for group in groups {
        let size = group.len() as f64;
        let own = group.iter().sum::<f64>() / size;
        between += size * (own - mean).powi(2);
        within += group.iter().map(|value| (value - own).powi(2)).sum::<f64>();
        squares += size * size;
    }
    let freedom = groups.len() as f64 - 1.0;
    let size = (count - squares / count) / freedom;
    let (between, within) = (between / freedom, within / (count - groups.len() as f64));
    (between - within) / (between + (size - 1.0) * within)
}
