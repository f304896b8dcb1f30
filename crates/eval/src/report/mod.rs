//! The forgetting report: what every domain gained or lost, and how surely.

mod charts;
mod html;
mod markdown;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::statistics::{Change, Verdict, mcnemar, paired_change};
use crate::{DomainScores, EvalError};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2000;

/// One model's scores, as the report compares them.
#[derive(Debug, Clone, Default)]
pub struct ModelScores {
    /// The checkpoint.
    pub path: String,
    /// How it was tuned; empty for the base.
    pub method: String,
    /// The domain it was tuned for; empty for the base.
    pub niche: String,
    /// What it scores on each domain's held-out documents.
    pub domains: BTreeMap<String, DomainScores>,
    /// Which of each domain's questions it answers.
    pub questions: BTreeMap<String, Vec<bool>>,
    /// Held-out bits per byte of each domain after so many steps of its run.
    pub curve: Vec<CurvePoint>,
}

/// One evaluation during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// After so many steps.
    pub step: u64,
    /// Of each domain.
    pub heldout_bits_per_byte: BTreeMap<String, f64>,
}

/// How the comparison is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// δ: a rise in bits per byte below which a domain counts as kept.
    pub tolerance: f64,
    /// Of the bootstrap.
    pub seed: u64,
    /// Of the bootstrap.
    pub resamples: usize,
    /// Tokens of context.
    pub context: usize,
    /// Share of a domain's held-out text that may stand in training text; above, its figure is withheld.
    pub overlap_limit: f64,
    /// The share that was found, by held-out domain.
    #[serde(default)]
    pub overlaps: BTreeMap<String, f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tolerance: 0.02,
            seed: 1,
            resamples: RESAMPLES,
            context: 0,
            overlap_limit: 0.1,
            overlaps: BTreeMap::new(),
        }
    }
}

/// Whether a domain is what a run was tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is.
    Niche,
    /// It is watched for forgetting.
    Old,
}

/// What became of one domain in one run. A withheld figure is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainReport {
    /// Its name.
    pub name: String,
    /// Its part in the run.
    pub role: Role,
    /// Of the base.
    pub base_bits_per_byte: Option<f64>,
    /// Of the tuned model.
    pub tuned_bits_per_byte: Option<f64>,
    /// tuned − base: forgetting where it is positive.
    pub change: Option<f64>,
    /// The change as a share of the base's figure.
    pub relative_change: Option<f64>,
    /// 95 %, paired bootstrap over documents.
    pub interval: Option<[f64; 2]>,
    /// What the interval says.
    pub verdict: Verdict,
    /// Held-out documents.
    pub documents: u64,
    /// Their UTF-8 bytes.
    pub bytes: u64,
}

/// Questions with exact answers, base against tuned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionReport {
    /// The domain that they are of.
    pub domain: String,
    /// How many.
    pub count: usize,
    /// Share that the base answers.
    pub base_accuracy: f64,
    /// Share that the tuned model answers.
    pub tuned_accuracy: f64,
    /// Of McNemar's exact test.
    pub p_value: f64,
}

/// One tuned model against the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The checkpoint.
    pub path: String,
    /// How it was tuned.
    pub method: String,
    /// The niche first, then the old domains by name.
    pub domains: Vec<DomainReport>,
    /// Of every domain that has questions.
    pub questions: Vec<QuestionReport>,
    /// Mean change over the old domains.
    pub mean_forgetting: Option<f64>,
    /// The niche's change with the sign turned.
    pub niche_gain: Option<f64>,
    /// Held-out bits per byte over the run.
    pub curve: Vec<CurvePoint>,
}

/// The whole report; `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForgettingReport {
    /// Of this file.
    pub schema: u32,
    /// The base's checkpoint.
    pub base: String,
    /// One a tuned model.
    pub runs: Vec<RunReport>,
    /// How it was made.
    pub settings: Settings,
    /// What the words mean.
    pub definitions: BTreeMap<String, String>,
}

impl ForgettingReport {
    /// Compares every run with the base.
    ///
    /// # Errors
    /// A run that was not scored on the base's documents.
    pub fn new(
        base: &ModelScores,
        runs: &[ModelScores],
        settings: Settings,
    ) -> Result<Self, EvalError> {
        let runs = runs
            .iter()
            .map(|run| compare(base, run, &settings))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            schema: 1,
            base: base.path.clone(),
            runs,
            definitions: definitions(&settings),
            settings,
        })
    }

    /// A table for the terminal.
    pub fn table(&self) -> String {
        table::render(self)
    }

    /// The headline: what each run gained and forgot, a sentence a run.
    pub fn headlines(&self) -> Vec<String> {
        self.runs.iter().map(RunReport::headline).collect()
    }
}

impl RunReport {
    /// What a person calls the run: its folder, without what all have.
    pub fn name(&self) -> String {
        let path = Path::new(&self.path);
        let last = path.file_name().unwrap_or_default().to_string_lossy();
        let run = if ["best", "latest"].contains(&last.as_ref()) {
            path.parent()
                .and_then(Path::file_name)
                .unwrap_or_default()
                .to_string_lossy()
        } else {
            last
        };
        run.into_owned()
    }

    fn headline(&self) -> String {
        let mut sentence = format!("{} ({})", self.name(), self.method);
        for niche in self
            .domains
            .iter()
            .filter(|domain| domain.role == Role::Niche)
        {
            sentence += &match (niche.verdict, niche.change) {
                (Verdict::Gained, Some(change)) => {
                    format!(" gained {:.3} bits per byte on {}", -change, niche.name)
                }
                (_, Some(change)) => {
                    format!(" changed {} by {change:+.3} bits per byte", niche.name)
                }
                (_, None) => format!(" can't be judged on {}", niche.name),
            };
        }
        let forgotten: Vec<String> = self
            .domains
            .iter()
            .filter(|domain| domain.role == Role::Old && domain.verdict == Verdict::Forgotten)
            .filter_map(|domain| {
                let [low, high] = domain.interval?;
                Some(format!(
                    "{} ({:+.3} [{low:.3}, {high:.3}])",
                    domain.name, domain.change?
                ))
            })
            .collect();
        if forgotten.is_empty() {
            format!("{sentence}, and forgot nothing for certain.")
        } else {
            format!("{sentence}, and forgot {}.", forgotten.join(", "))
        }
    }
}

fn compare(
    base: &ModelScores,
    run: &ModelScores,
    settings: &Settings,
) -> Result<RunReport, EvalError> {
    let mut domains = Vec::new();
    for (number, (name, tuned)) in run.domains.iter().enumerate() {
        let before = base.domains.get(name).ok_or_else(|| {
            EvalError::Report(format!("the base was not scored on the domain `{name}`"))
        })?;
        let seed = settings.seed.wrapping_add(number as u64);
        let change = paired_change(before, tuned, settings.resamples, seed)?;
        let role = if *name == run.niche {
            Role::Niche
        } else {
            Role::Old
        };
        domains.push(domain_report(
            (name, role),
            (before, tuned),
            change,
            settings,
        ));
    }
    domains.sort_by_key(|domain| (domain.role == Role::Old, domain.name.clone()));
    let questions = run
        .questions
        .iter()
        .filter_map(|(domain, after)| {
            let before = base.questions.get(domain)?;
            let share = |right: &[bool]| {
                right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
            };
            Some(QuestionReport {
                domain: domain.clone(),
                count: after.len(),
                base_accuracy: share(before),
                tuned_accuracy: share(after),
                p_value: mcnemar(before, after),
            })
        })
        .collect();
    let changes = |role: Role| -> Option<f64> {
        let of_role = domains.iter().filter(|domain| domain.role == role);
        let changes: Vec<f64> = of_role.filter_map(|domain| domain.change).collect();
        (!changes.is_empty()).then(|| changes.iter().sum::<f64>() / changes.len() as f64)
    };
    Ok(RunReport {
        path: run.path.clone(),
        method: run.method.clone(),
        mean_forgetting: changes(Role::Old),
        niche_gain: changes(Role::Niche).map(|change| -change),
        domains,
        questions,
        curve: run.curve.clone(),
    })
}

fn domain_report(
    (name, role): (&str, Role),
    (before, after): (&DomainScores, &DomainScores),
    change: Change,
    settings: &Settings,
) -> DomainReport {
    let overlap = settings.overlaps.get(name).copied().unwrap_or(0.0);
    let shown = |value: f64| (overlap <= settings.overlap_limit).then_some(value);
    let base = before.bits_per_byte();
    DomainReport {
        name: name.to_owned(),
        role,
        base_bits_per_byte: shown(base),
        tuned_bits_per_byte: shown(after.bits_per_byte()),
        change: shown(change.value),
        relative_change: shown(if base > 0.0 { change.value / base } else { 0.0 }),
        interval: (overlap <= settings.overlap_limit).then_some([change.low, change.high]),
        verdict: match role {
            _ if overlap > settings.overlap_limit => Verdict::Withheld,
            Role::Niche => Verdict::of_niche(change, settings.tolerance),
            Role::Old => Verdict::of_old(change, settings.tolerance),
        },
        documents: before.documents.len() as u64,
        bytes: before.bytes(),
    }
}

fn definitions(settings: &Settings) -> BTreeMap<String, String> {
    let tolerance = settings.tolerance;
    let entries = [
        (
            "bits per byte",
            "the sum of −log₂ p over the tokens of a domain's held-out documents, divided by the sum of their UTF-8 \
             bytes; it does not depend on the tokenizer"
                .to_owned(),
        ),
        (
            "change",
            "bits per byte of the tuned model minus those of the base, on the same documents; positive is forgetting, \
             negative is gain"
                .to_owned(),
        ),
        (
            "interval",
            format!(
                "95 % percentile interval of a paired bootstrap over documents, {} resamples, seed {}",
                settings.resamples, settings.seed
            ),
        ),
        (
            "verdict",
            format!(
                "kept: the whole interval is below {tolerance}; forgotten: the whole interval is above {tolerance}; \
                 undecided: it holds {tolerance}; gained (niche only): the whole interval is below 0; withheld: more \
                 than {:.0} % of the domain's held-out text stands in training text",
                settings.overlap_limit * 100.0
            ),
        ),
        (
            "accuracy",
            "share of held-out questions whose exact answer, and the end of its line, greedy decoding gives; p is of \
             McNemar's exact test over the pairs"
                .to_owned(),
        ),
    ];
    entries.map(|(word, text)| (word.to_owned(), text)).into()
}

/// Writes `report.html`, `report.md` and `report.json` into `folder`.
///
/// # Errors
/// A folder or file that can't be written.
pub fn write(report: &ForgettingReport, folder: &Path) -> Result<(), EvalError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| EvalError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let json = serde_json::to_string_pretty(report).expect("a report is plain values") + "\n";
    let files = [
        ("report.json", json),
        ("report.md", markdown::render(report)),
        ("report.html", html::render(report)?),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        let beside = folder.join(format!(".{name}.tmp"));
        std::fs::write(&beside, text).map_err(failed(&path))?;
        std::fs::rename(&beside, &path).map_err(failed(&path))?;
    }
    Ok(())
}

/// A number with its sign, or a dash where it is withheld.
pub(crate) fn signed(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| {
        format!("{value:+.3}").replace('-', "−")
    })
}

/// An interval, or a dash.
pub(crate) fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or("–".into(), |[low, high]| {
        format!("[{}, {}]", signed(Some(low)), signed(Some(high)))
    })
}

/// A plain number, or a dash.
pub(crate) fn plain(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DocumentScore;

    fn model(path: &str, niche: &str, factors: [f64; 3]) -> ModelScores {
        let scores = |factor: f64| DomainScores {
            documents: (1..40)
                .map(|at| DocumentScore {
                    nats: f64::from(at) * 60.0 * factor * (1.0 + 0.01 * f64::from(at % 5)),
                    tokens: 30 * at as u64,
                    bytes: 100 * at as u64,
                })
                .collect(),
        };
        ModelScores {
            path: path.into(),
            method: if niche.is_empty() {
                String::new()
            } else {
                "full".into()
            },
            niche: niche.into(),
            domains: ["chemistry", "competition", "leaky"]
                .into_iter()
                .zip(factors)
                .map(|(name, factor)| (name.to_owned(), scores(factor)))
                .collect(),
            questions: BTreeMap::from([(
                "chemistry".into(),
                (0..20).map(|at| at % 2 == 0 && niche.is_empty()).collect(),
            )]),
            curve: vec![
                CurvePoint {
                    step: 0,
                    heldout_bits_per_byte: BTreeMap::from([("chemistry".into(), 0.9)]),
                },
                CurvePoint {
                    step: 50,
                    heldout_bits_per_byte: BTreeMap::from([("chemistry".into(), 1.1)]),
                },
            ],
        }
    }

    fn report() -> ForgettingReport {
        let base = model("checkpoints/base/best", "", [1.0, 1.0, 1.0]);
        let tuned = model("checkpoints/tuned/best", "competition", [1.3, 0.7, 1.2]);
        let settings = Settings {
            overlaps: BTreeMap::from([("leaky".into(), 0.4)]),
            ..Settings::default()
        };
        ForgettingReport::new(&base, &[tuned], settings).unwrap()
    }

    /// The niche gains, the old domain is forgotten, and what leaks is not judged.
    #[test]
    fn verdicts_follow_the_scores() {
        let report = report();
        let run = &report.runs[0];
        let verdicts: Vec<(&str, Verdict)> = run
            .domains
            .iter()
            .map(|d| (d.name.as_str(), d.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("competition", Verdict::Gained),
                ("chemistry", Verdict::Forgotten),
                ("leaky", Verdict::Withheld)
            ]
        );
        assert_eq!(run.domains[2].change, None);
        assert!(run.niche_gain.unwrap() > 0.0 && run.mean_forgetting.unwrap() > 0.0);
        assert!(run.questions[0].p_value < 0.01);
        assert!(
            report.headlines()[0].contains("forgot chemistry"),
            "{}",
            report.headlines()[0]
        );
    }

    /// Each form of the report holds the figures, and the HTML needs nothing from outside.
    #[test]
    fn every_form_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let report = report();
        write(&report, folder.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let back: ForgettingReport = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(back.runs[0].domains.len(), 3);
        let change = signed(report.runs[0].domains[1].change);
        for text in [read("report.md"), read("report.html"), report.table()] {
            assert!(
                text.contains(&change) && text.contains("withheld"),
                "{text}"
            );
        }
        let html = read("report.html");
        assert!(html.matches("<svg").count() >= 3);
        for outside in ["http://", "https://", "src=", "@import"] {
            let found = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }
}
