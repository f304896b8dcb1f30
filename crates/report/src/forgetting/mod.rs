//! The forgetting report: what every domain gained or lost, and how surely.

mod chain;
mod compare;
mod definitions;
mod forgotten;
mod html;
mod ledger;
mod markdown;
mod questions;
mod ranking;
mod sureness;
mod table;
mod tasks;
mod wording;

pub use chain::{Chain, Measure, Stage};
pub use questions::QuestionReport;
pub use ranking::{PairReport, Ranking};
pub use sureness::split_to_judge;
pub use tasks::{AccuracyReport, LostItem, TaskReport};

use std::collections::BTreeMap;
use std::path::Path;

use polymath_data::{HeldoutSplit, Overlap};
use serde::{Deserialize, Serialize};

use crate::ReportError;
use crate::evidence::DomainEvidence;
use polymath_eval::statistics::{Figure, Verdict};
use polymath_eval::{DomainScores, TaskScores};

/// Of `report.json`.
const SCHEMA: u32 = 4;
/// Resamples of the bootstrap, at least.
const RESAMPLES: usize = 4000;
/// Resamples for each comparison: a p-value of at least 2 / (resamples + 1) must be small enough for Holm's correction
/// over all of them.
const RESAMPLES_A_COMPARISON: usize = 80;
/// δ in bits per byte.
const TOLERANCE: f64 = 0.02;
/// Share of a domain's held-out documents that may stand whole in training text.
const OVERLAP_LIMIT: f64 = 0.1;

/// One model's scores, as the report compares them.
#[derive(Debug, Clone, Default)]
pub struct ModelScores {
    /// The checkpoint's folder.
    pub path: String,
    /// The checkpoint as a person calls it; empty where that is the folder.
    pub named: String,
    /// SHA-256 of its weights; empty where it is not known.
    pub sha256: String,
    /// SHA-256 of the weights that it was tuned from; empty for the base, or where it is not known.
    pub tuned_from: String,
    /// How it was tuned; empty for the base.
    pub method: String,
    /// The domain it was tuned for; empty for the base.
    pub niche: String,
    /// What the models between the base and it were tuned for, where it was tuned from another than the base.
    pub earlier_niches: Vec<String>,
    /// What it scores on each domain's held-out documents.
    pub domains: BTreeMap<String, DomainScores>,
    /// Which of each domain's questions it answers.
    pub questions: BTreeMap<String, Vec<bool>>,
    /// The group of each question, where the data set knows any: those of one template are not independent of each other.
    pub question_groups: BTreeMap<String, Vec<u64>>,
    /// What it makes of tasks with choices, by name.
    pub tasks: BTreeMap<String, TaskScores>,
    /// Held-out bits per byte of each domain after so many steps of its run.
    pub curve: Vec<CurvePoint>,
    /// How much of each held-out set stands in what it was trained on: of a tuned model, in its niche's training text; of
    /// the base, in that of every domain of the data sets.
    pub overlaps: Vec<Overlap>,
    /// What it lost in each domain; empty for the base.
    pub evidence: BTreeMap<String, DomainEvidence>,
    /// Whether it reads held-out text in tokens of its own, not those that the data set was prepared with.
    pub own_tokens: bool,
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
    /// Of the bootstrap; raised where many domains and runs are compared.
    pub resamples: usize,
    /// Tests that are corrected for one another: counted by the report itself.
    pub comparisons: usize,
    /// Tokens of context that the models were scored with.
    pub context: usize,
    /// Of each domain, how many tokens were scored at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The split by which the runs' checkpoints were chosen, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_on: Option<HeldoutSplit>,
    /// The part of the held-out documents that was scored, unless all were.
    #[serde(default, alias = "half", skip_serializing_if = "Option::is_none")]
    pub split: Option<HeldoutSplit>,
    /// Share of a domain's held-out documents that may stand whole in training text; above, its figure is withheld.
    pub overlap_limit: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tolerance: TOLERANCE,
            seed: 1,
            resamples: RESAMPLES,
            comparisons: 0,
            context: 0,
            max_tokens: None,
            chosen_on: None,
            split: None,
            overlap_limit: OVERLAP_LIMIT,
        }
    }
}

/// Whether a domain is what a run was tuned for; in the order of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is.
    Niche,
    /// A model between the base and the run was: what is left of that gain says nothing of what the base knew.
    Earlier,
    /// It is watched for forgetting.
    Old,
}

impl Role {
    /// What stands beside a domain's name.
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Niche => Some("niche"),
            Self::Earlier => Some("earlier niche"),
            Self::Old => None,
        }
    }
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
    /// 95 %, paired bootstrap over groups of documents; null below five groups.
    pub interval: Option<[f64; 2]>,
    /// Of the change against the tolerance (an old domain) or against none (the niche); null where it is not tested.
    pub p_value: Option<f64>,
    /// The same with Holm's correction over all tests of the report: the verdict rests on it.
    pub adjusted_p_value: Option<f64>,
    /// What can be said for sure.
    pub verdict: Verdict,
    /// Why the figure is withheld, why nothing can be decided, or how little few documents say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Held-out documents.
    pub documents: u64,
    /// Independent groups that they make.
    pub groups: u64,
    /// What a group is, in the plural; null where the data set stores no groups, and each document counts as one.
    pub grouping: Option<String>,
    /// How many groups of one size and with normally scattered changes would tell as much.
    pub effective_groups: f64,
    /// Of an undecided domain: about how many groups of the same kind would decide, were the change what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_groups: Option<u64>,
    /// Their UTF-8 bytes.
    pub bytes: u64,
}

/// The old domain that lost most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// Its name.
    pub domain: String,
    /// In bits per byte.
    pub change: f64,
    /// With 95 %, no old domain's change lies above this: the largest of several estimates is too high on average, and this is
    /// not; null where a domain has fewer than five groups of documents.
    pub bound: Option<f64>,
}

/// A run in a few figures. What rests on withheld domains alone is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean change over the old domains, each counting the same.
    pub mean_forgetting: Option<Figure>,
    /// The largest change among the old domains.
    pub worst_forgetting: Option<Worst>,
    /// The niche's change with the sign turned.
    pub niche_gain: Option<Figure>,
}

/// One tuned model against the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// What a person calls it: the run's folder.
    pub name: String,
    /// The checkpoint.
    pub path: String,
    /// How it was tuned.
    pub method: String,
    /// The niche first, then earlier ones, then the old domains, by name.
    pub domains: Vec<DomainReport>,
    /// Of every domain that has questions.
    pub questions: Vec<QuestionReport>,
    /// Of every task, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskReport>,
    /// The evaluations during the run.
    pub curve: Vec<CurvePoint>,
    /// How much of each held-out set stands in the text that it was tuned on.
    pub overlaps: Vec<Overlap>,
    /// Whether it reads the held-out text in other tokens than the base does: as many tokens of context are another stretch
    /// of text then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_context: bool,
    /// What it lost in each domain that is not withheld.
    pub evidence: BTreeMap<String, DomainEvidence>,
    /// The run in a few figures.
    pub summary: Summary,
}

impl RunReport {
    /// What the run was tuned for.
    pub fn niche(&self) -> Option<&DomainReport> {
        self.domains
            .iter()
            .find(|domain| domain.role == Role::Niche)
    }

    /// What is watched for forgetting.
    pub fn old(&self) -> impl Iterator<Item = &DomainReport> {
        self.domains
            .iter()
            .filter(|domain| domain.role == Role::Old)
    }

    /// What it gained and forgot, in a sentence.
    pub fn headline(&self) -> String {
        wording::of_run(self)
    }

    /// Its figures as tables in GitHub's Markdown.
    pub fn markdown(&self) -> String {
        markdown::figures(self)
    }
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
    /// The runs as stages of one chain, where each was tuned from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// The runs against each other, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
    /// How much of each held-out set stands in the training text of the data sets' domains.
    pub overlaps: Vec<Overlap>,
    /// How it was made.
    pub settings: Settings,
    /// What the words mean.
    pub definitions: BTreeMap<String, String>,
}

impl ForgettingReport {
    /// Reads a `report.json`.
    ///
    /// # Errors
    /// A file that can't be read, or is not what this version of the program writes.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let refused = |reason: String| {
            let path = path.display();
            ReportError::Report(format!(
                "`{path}` is no report that can be read ({reason}): make it anew with `polymath forget`"
            ))
        };
        let text =
            polymath_files::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let report: Self =
            serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if report.schema != SCHEMA {
            let found = report.schema;
            return Err(refused(format!(
                "its `schema` is {found}, expected {SCHEMA}"
            )));
        }
        Ok(report)
    }

    /// Compares every run with the base.
    ///
    /// # Errors
    /// A run that was not scored on the base's domains, documents, questions and tasks; scores that are not finite; a niche
    /// that is not among the domains; settings without sense.
    pub fn new(
        base: &ModelScores,
        runs: &[ModelScores],
        settings: Settings,
    ) -> Result<Self, ReportError> {
        compare::validate(&settings)?;
        let mut settings = settings;
        settings.comparisons = runs.iter().map(compare::tests).sum();
        settings.resamples = settings
            .resamples
            .max(RESAMPLES_A_COMPARISON * settings.comparisons);
        let mut reports = runs
            .iter()
            .map(|run| compare::compare(base, run, &settings))
            .collect::<Result<Vec<_>, _>>()?;
        compare::judge(&mut reports, &settings);
        compare::name_apart(&mut reports);
        Ok(Self {
            schema: SCHEMA,
            base: base.path.clone(),
            chain: Chain::of(base, runs, &reports)?,
            ranking: Ranking::of(runs, &reports, &settings)?,
            runs: reports,
            overlaps: base.overlaps.clone(),
            definitions: definitions::definitions(&settings),
            settings,
        })
    }

    /// A table for the terminal.
    pub fn table(&self) -> String {
        table::render(self)
    }

    /// The whole in one sentence.
    pub fn headline(&self) -> String {
        wording::headline(self)
    }

    /// What each run gained and forgot, a sentence a run.
    pub fn headlines(&self) -> Vec<String> {
        self.runs.iter().map(RunReport::headline).collect()
    }
}

/// Writes `report.html`, `report.md` and `report.json` into `folder`, each beside its place first, so that none is ever
/// half there.
///
/// # Errors
/// A folder or file that can't be written.
pub fn write(report: &ForgettingReport, folder: &Path) -> Result<(), ReportError> {
    crate::page::write_forms(
        folder,
        "report",
        report,
        (html::render(report)?, markdown::render(report)),
    )
}

#[cfg(test)]
mod tests;
