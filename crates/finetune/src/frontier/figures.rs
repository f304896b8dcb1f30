//! Gain against forgetting: of each run, of each way over its seeds, and which ways no other beats.

use std::collections::BTreeMap;
use std::fmt::Write;

use polymath_eval::DomainScores;
use polymath_eval::statistics::paired_change;
use serde::Serialize;

use super::{HalfScores, Scored};
use crate::FinetuneError;

const RESAMPLES: usize = 2000;

/// What one run gained and forgot, in bits per byte.
#[derive(Debug, Clone, Serialize)]
pub struct RunFigures {
    /// The way's name.
    pub method: String,
    /// Of the run.
    pub seed: u64,
    /// Tokens that it was trained on.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Fall on the niche, on the test half.
    pub gain: f64,
    /// Its 95 % interval over documents.
    pub gain_interval: [f64; 2],
    /// Rise of each old domain on the test half, with its 95 % interval over documents.
    pub rises: BTreeMap<String, (f64, [f64; 2])>,
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
        (method, seed): (&str, u64),
        (tokens, seconds): (u64, f64),
        niche: &str,
        (base, tuned): (&Scored, &Scored),
    ) -> Result<Self, FinetuneError> {
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
        Ok(Self {
            method: method.to_owned(),
            seed,
            tokens,
            seconds,
            gain,
            gain_interval,
            rises,
            development_gain: -risen(niche, &base.development, &tuned.development),
            development_worst,
        })
    }

    /// Mean rise over the old domains.
    pub fn mean_forgetting(&self) -> f64 {
        self.rises.values().map(|rise| rise.0).sum::<f64>() / self.rises.len().max(1) as f64
    }

    /// The largest rise of an old domain.
    pub fn worst_forgetting(&self) -> f64 {
        self.rises
            .values()
            .map(|rise| rise.0)
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

/// A mean over seeds with its 95 % interval by Student's t; none from one seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverSeeds {
    /// The mean.
    pub mean: f64,
    /// Over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl OverSeeds {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let interval = (values.len() > 1).then(|| {
            let half = student_95(values.len() - 1) * (squares / (count - 1.0) / count).sqrt();
            [mean - half, mean + half]
        });
        Self { mean, interval }
    }
}

/// The end of Student's two-sided 95 % interval for few degrees of freedom; from 30 on that of the normal distribution,
/// within 4 %.
fn student_95(freedom: usize) -> f64 {
    const ENDS: [f64; 29] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045,
    ];
    ENDS.get(freedom - 1).copied().unwrap_or(1.96)
}

/// A way over its seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Method {
    /// Its name.
    pub name: String,
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
    /// Whether no other way gains as much and forgets less, or forgets as little and gains more.
    pub on_the_frontier: bool,
    /// The first way that beats it in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beaten_by: Option<String>,
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
    /// Ways, most gain first.
    pub methods: Vec<Method>,
    /// Every run.
    pub runs: Vec<RunFigures>,
    /// Area of (forgetting avoided) × gain that the frontier covers, from the corner of no gain and the most mean forgetting
    /// of any way.
    pub hypervolume: f64,
    /// The way that gains most on the development half with every old domain inside the limit there, on average over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended: Option<String>,
}

/// Of points (gain, forgetting): for each, the first that is at least as good in both and better in one.
pub fn pareto(points: &[(f64, f64)]) -> Vec<Option<usize>> {
    let beats = |a: &(f64, f64), b: &(f64, f64)| a.0 >= b.0 && a.1 <= b.1 && a != b;
    points
        .iter()
        .map(|point| points.iter().position(|other| beats(other, point)))
        .collect()
}

/// The area between the points (gain, forgetting) and the corner (0, `reference`): how much gain is had at how little
/// forgetting, in one number. Points that gain nothing or forget more than the reference add nothing.
pub fn hypervolume(points: &[(f64, f64)], reference: f64) -> f64 {
    let mut inside: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|(gain, forgetting)| *gain > 0.0 && *forgetting < reference)
        .collect();
    // From the most gain down, each point adds what lies below the least forgetting so far.
    inside.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut area, mut least) = (0.0, reference);
    for (gain, forgetting) in inside {
        if forgetting < least {
            area += gain * (least - forgetting);
            least = forgetting;
        }
    }
    area
}

/// Of ways (gain, worst rise): the one that gains most with its worst rise inside the limit.
pub fn recommend(ways: &[(f64, f64)], limit: f64) -> Option<usize> {
    let inside = (0..ways.len()).filter(|way| ways[*way].1 <= limit && ways[*way].0 > 0.0);
    inside.max_by(|a, b| ways[*a].0.total_cmp(&ways[*b].0))
}

impl Frontier {
    /// Of all runs.
    pub fn new(niche: &str, limit: f64, runs: Vec<RunFigures>) -> Self {
        let mut names: Vec<String> = runs.iter().map(|run| run.method.clone()).collect();
        names.sort();
        names.dedup();
        let over = |name: &str, figure: &dyn Fn(&RunFigures) -> f64| {
            let values: Vec<f64> = runs
                .iter()
                .filter(|run| run.method == name)
                .map(figure)
                .collect();
            OverSeeds::of(&values)
        };
        let mut methods: Vec<Method> = names
            .iter()
            .map(|name| Method {
                gain: over(name, &|run| run.gain),
                mean_forgetting: over(name, &RunFigures::mean_forgetting),
                worst_forgetting: over(name, &RunFigures::worst_forgetting),
                tokens: runs
                    .iter()
                    .find(|run| run.method == *name)
                    .map_or(0, |run| run.tokens),
                seconds: over(name, &|run| run.seconds).mean,
                on_the_frontier: false,
                beaten_by: None,
                name: name.clone(),
            })
            .collect();
        methods.sort_by(|a, b| b.gain.mean.total_cmp(&a.gain.mean));
        let points: Vec<(f64, f64)> = methods
            .iter()
            .map(|method| (method.gain.mean, method.mean_forgetting.mean))
            .collect();
        for (at, beaten) in pareto(&points).into_iter().enumerate() {
            methods[at].on_the_frontier = beaten.is_none();
            methods[at].beaten_by = beaten.map(|other| methods[other].name.clone());
        }
        let chosen: Vec<(f64, f64)> = methods
            .iter()
            .map(|method| {
                let gain = over(&method.name, &|run| run.development_gain).mean;
                (gain, over(&method.name, &|run| run.development_worst).mean)
            })
            .collect();
        let reference = points.iter().map(|point| point.1).fold(0.0, f64::max);
        Self {
            schema: 1,
            niche: niche.to_owned(),
            limit,
            recommended: recommend(&chosen, limit).map(|way| methods[way].name.clone()),
            hypervolume: hypervolume(&points, reference),
            methods,
            runs,
        }
    }

    /// As Markdown, which reads well in a terminal too.
    pub fn markdown(&self) -> String {
        let figure = |over: &OverSeeds| match over.interval {
            Some([low, high]) => format!("{:+.4} [{low:+.4}, {high:+.4}]", over.mean),
            None => format!("{:+.4}", over.mean),
        };
        let mut text = format!(
            "# Gain on {} against forgetting\n\nBits per byte on the test half of the held-out documents, against the base; \
             means over seeds, with 95 % intervals over seeds (Student's t) where there are several.\n\n\
             | way | gain | mean forgetting | worst domain | seconds | |\n|---|--:|--:|--:|--:|---|\n",
            self.niche
        );
        for method in &self.methods {
            let place = match &method.beaten_by {
                None => "on the frontier".to_owned(),
                Some(other) => format!("beaten by {other}"),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.0} | {place} |",
                method.name,
                figure(&method.gain),
                figure(&method.mean_forgetting),
                figure(&method.worst_forgetting),
                method.seconds
            );
        }
        let _ = writeln!(
            text,
            "\nHypervolume {:.4}: the area of gain × mean forgetting avoided that the frontier covers, from no gain and the \
             most forgetting of any way.\n",
            self.hypervolume
        );
        let _ = match &self.recommended {
            Some(name) => writeln!(
                text,
                "Recommended for at most {} bits per byte lost in any old domain: **{name}**, which gains most inside it on \
                 the development half.",
                self.limit
            ),
            None => writeln!(
                text,
                "No way stays inside {} bits per byte in every old domain on the development half: hold harder, or tune with \
                 `polymath finetune --limits {}`.",
                self.limit, self.limit
            ),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of hand-made points: what is beaten, by whom, the area, and the choice.
    #[test]
    fn frontiers_of_hand_made_points() {
        let points = [(3.0, 1.0), (2.0, 0.2), (1.9, 0.3), (1.0, 0.0), (3.0, 1.0)];
        assert_eq!(pareto(&points), [None, None, Some(1), None, None]);
        // From the corner (0, 1): the second covers 2 × 0.8, the fourth 1 × 0.2 more; the first touches the reference.
        assert!((hypervolume(&points, 1.0) - 1.8).abs() < 1e-12);
        assert_eq!(hypervolume(&[(-1.0, 0.1), (1.0, 2.0)], 1.0), 0.0);
        assert_eq!(recommend(&points, 0.25), Some(1));
        assert_eq!(recommend(&points, 0.1), Some(3));
        assert_eq!(recommend(&[(1.0, 0.5), (-0.1, 0.0)], 0.1), None);
    }

    /// Three seeds' interval is Student's.
    #[test]
    fn intervals_over_seeds() {
        let over = OverSeeds::of(&[1.0, 2.0, 3.0]);
        // s = 1, s/√3 = 0.57735, t = 4.303.
        let [low, high] = over.interval.unwrap();
        assert!((over.mean - 2.0).abs() < 1e-12);
        assert!((low + 0.484).abs() < 1e-3 && (high - 4.484).abs() < 1e-3);
        assert_eq!(OverSeeds::of(&[1.0]).interval, None);
    }
}
