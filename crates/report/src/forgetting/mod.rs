//! Forgetting report: change of every domain, with significance.

mod answer;
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

pub use answer::Answer;
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

/// Schema version of `report.json`.
///
/// Version 4 had `old` for the role `retained`; [`ForgettingReport::read`] reads both.
const SCHEMA: u32 = 5;
/// Minimum number of bootstrap resamples.
const RESAMPLES: usize = 4000;
/// Minimum number of resamples per test: the smallest p-value, 2 / (resamples + 1), must be low enough for Holm's
/// correction over all tests.
const RESAMPLES_A_COMPARISON: usize = 80;
/// Tolerance δ in bits per byte.
const TOLERANCE: f64 = 0.02;
/// Highest share of a domain's held-out documents that may be in training text.
const OVERLAP_LIMIT: f64 = 0.1;

/// Scores of one model for the comparison.
#[derive(Debug, Clone, Default)]
pub struct ModelScores {
    /// Folder of the checkpoint.
    pub path: String,
    /// Checkpoint as the user named it; default: the folder.
    pub named: Option<String>,
    /// SHA-256 of the weights, if known.
    pub sha256: Option<String>,
    /// SHA-256 of the weights that the model was tuned from; `None` for the base, or if unknown.
    pub tuned_from: Option<String>,
    /// Fine-tuning method; `None` for the base.
    pub method: Option<String>,
    /// Niche; `None` for the base.
    pub niche: Option<String>,
    /// Niches of the models between the base and this one, if it was not tuned from the base directly.
    pub earlier_niches: Vec<String>,
    /// Scores on each domain's held-out documents.
    pub domains: BTreeMap<String, DomainScores>,
    /// Correctness of the answers to each domain's questions.
    pub questions: BTreeMap<String, Vec<bool>>,
    /// Group of each question, if the dataset knows groups: questions of one template are not independent.
    pub question_groups: BTreeMap<String, Vec<u64>>,
    /// Scores on multiple-choice tasks, by name.
    pub tasks: BTreeMap<String, TaskScores>,
    /// Evaluations during the run.
    pub curve: Vec<CurvePoint>,
    /// Overlap of held-out documents with training text: for a tuned model its fine-tuning text, for the base the text
    /// of all domains of the datasets.
    pub overlaps: Vec<Overlap>,
    /// Evidence of forgetting in each domain; empty for the base.
    pub evidence: BTreeMap<String, DomainEvidence>,
    /// Set if the model reads held-out text in its own tokens, not in those of the prepared dataset.
    pub own_tokens: bool,
}

/// One evaluation during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Number of completed steps.
    pub step: u64,
    /// Bits per byte of each domain.
    pub heldout_bits_per_byte: BTreeMap<String, f64>,
}

/// Settings of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Tolerance δ: increase in bits per byte below which a domain counts as kept.
    pub tolerance: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Bootstrap resamples; raised for many domains and runs.
    pub resamples: usize,
    /// Number of tests that are corrected together: those that could be made; set by the report.
    pub comparisons: usize,
    /// Context in tokens that the models were scored with.
    pub context: usize,
    /// Maximum number of scored tokens per domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Split that the runs' checkpoints were chosen on, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_on: Option<HeldoutSplit>,
    /// Runs whose choice is not known, if that of others is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen_unknown: Vec<String>,
    /// Split that was scored; all held-out documents if `None`.
    #[serde(default, alias = "half", skip_serializing_if = "Option::is_none")]
    pub split: Option<HeldoutSplit>,
    /// Highest share of a domain's held-out documents that may be in training text; above it, figures are withheld.
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
            chosen_unknown: Vec::new(),
            split: None,
            overlap_limit: OVERLAP_LIMIT,
        }
    }
}

/// Role of a domain in a run, in the order of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Domain that the run was tuned for.
    Niche,
    /// Niche of a model between the base and the run. Its change says nothing about what the base knew.
    Earlier,
    /// Domain whose forgetting is measured.
    #[serde(alias = "old")]
    Retained,
}

impl Role {
    /// Returns the label beside a domain's name.
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Niche => Some("niche"),
            Self::Earlier => Some("earlier niche"),
            Self::Retained => None,
        }
    }
}

/// Figures of one domain in one run. A withheld figure is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainReport {
    /// Name of the domain.
    pub name: String,
    /// Role in the run.
    pub role: Role,
    /// Bits per byte of the base.
    pub base_bits_per_byte: Option<f64>,
    /// Bits per byte of the tuned model.
    pub tuned_bits_per_byte: Option<f64>,
    /// Tuned minus base: positive is forgetting.
    pub change: Option<f64>,
    /// Change as a share of the base's bits per byte.
    pub relative_change: Option<f64>,
    /// 95 % interval of a paired bootstrap over groups of documents; `None` with fewer than five groups.
    pub interval: Option<[f64; 2]>,
    /// p-value of the change against the tolerance (a retained domain) or against 0 (the niche); `None` if not tested.
    pub p_value: Option<f64>,
    /// p-value with Holm's correction over all tests of the report; the verdict rests on it.
    pub adjusted_p_value: Option<f64>,
    /// Verdict on the change.
    pub verdict: Verdict,
    /// Reason for a withheld or undecided figure, or a note on few groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of held-out documents.
    pub documents: u64,
    /// Number of independent groups of documents.
    pub groups: u64,
    /// Kind of group, in the plural; `None` if the dataset stores no groups and each document counts as one.
    pub grouping: Option<String>,
    /// True if all held-out documents were scored because the domain has none in the split of the report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// Number of equally large groups with normally distributed changes that would give the same precision.
    pub effective_groups: f64,
    /// Approximate number of similar groups that would decide an undecided domain with this change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_groups: Option<u64>,
    /// Size of the documents in UTF-8 bytes.
    pub bytes: u64,
}

/// Retained domain with the largest loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// Name of the domain.
    pub domain: String,
    /// Change in bits per byte.
    pub change: f64,
    /// 95 % upper bound on the changes of all retained domains together; the largest of several estimates alone is too
    /// high on average. `None` if a domain has fewer than five groups of documents.
    pub bound: Option<f64>,
}

/// Summary of a run. Figures that depend only on withheld domains are `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean change over the retained domains, with equal weights.
    pub mean_forgetting: Option<Figure>,
    /// Largest change among the retained domains.
    pub worst_forgetting: Option<Worst>,
    /// Gain on the niche: its change, negated.
    pub niche_gain: Option<Figure>,
}

/// Comparison of one tuned model with the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Display name: the folder of the run.
    pub name: String,
    /// Folder of the checkpoint.
    pub path: String,
    /// Fine-tuning method.
    pub method: String,
    /// Domains: the niche, then earlier niches, then retained domains, each by name.
    pub domains: Vec<DomainReport>,
    /// Results on the domains that have questions.
    pub questions: Vec<QuestionReport>,
    /// Results on the tasks, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskReport>,
    /// Evaluations during the run.
    pub curve: Vec<CurvePoint>,
    /// Overlap of held-out documents with the text that the run was tuned on.
    pub overlaps: Vec<Overlap>,
    /// Set if the run reads the held-out text in other tokens than the base: equal context then covers another length
    /// of text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_context: bool,
    /// Evidence of forgetting in each domain that is not withheld.
    pub evidence: BTreeMap<String, DomainEvidence>,
    /// Summary of the run.
    pub summary: Summary,
}

impl RunReport {
    /// Returns the niche.
    pub fn niche(&self) -> Option<&DomainReport> {
        self.domains
            .iter()
            .find(|domain| domain.role == Role::Niche)
    }

    /// Returns the retained domains.
    pub fn retained(&self) -> impl Iterator<Item = &DomainReport> {
        self.domains
            .iter()
            .filter(|domain| domain.role == Role::Retained)
    }

    /// Returns the number of retained domains that are kept, and of those that are judged.
    pub fn kept(&self) -> (usize, usize) {
        let kept = self
            .judged()
            .filter(|domain| domain.verdict == Verdict::Kept);
        (kept.count(), self.judged().count())
    }

    /// Returns the retained domains that are not withheld.
    pub(crate) fn judged(&self) -> impl Iterator<Item = &DomainReport> {
        self.retained()
            .filter(|domain| domain.verdict != Verdict::Withheld)
    }

    /// Returns a sentence on gain and forgetting.
    pub fn headline(&self) -> String {
        wording::of_run(self)
    }

    /// Renders the figures as tables in GitHub-flavored Markdown.
    pub fn markdown(&self) -> String {
        markdown::figures(self)
    }
}

/// Forgetting report, as saved in `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForgettingReport {
    /// Schema version of the file.
    pub schema: u32,
    /// Folder of the base.
    pub base: String,
    /// Comparisons, one per tuned model.
    pub runs: Vec<RunReport>,
    /// Chain of the runs, if each was tuned from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// Comparison of the runs with each other, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
    /// Overlap of held-out documents with the training text of the datasets' domains.
    pub overlaps: Vec<Overlap>,
    /// Settings of the comparison.
    pub settings: Settings,
    /// Definitions of the terms.
    pub definitions: BTreeMap<String, String>,
}

impl ForgettingReport {
    /// Reads a `report.json` of this version or of schema version 4.
    ///
    /// # Errors
    /// A file that can't be read or has another format.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let refused = |reason: String| {
            let path = path.display();
            ReportError::Report(format!(
                "`{path}` can't be read as a report ({reason}): create it again with `polymath report`"
            ))
        };
        let text =
            polymath_base::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let report: Self =
            serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if ![4, SCHEMA].contains(&report.schema) {
            let found = report.schema;
            return Err(refused(format!(
                "its `schema` is {found}, expected 4 or {SCHEMA}"
            )));
        }
        Ok(report)
    }

    /// Compares every run with the base.
    ///
    /// # Errors
    /// A run that was not scored on the base's domains, documents, questions and tasks; scores that are not finite; a
    /// niche that is not among the domains; invalid settings.
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
        settings.comparisons = compare::judge(&mut reports, &settings);
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

    /// Renders a table for the terminal.
    pub fn table(&self) -> String {
        table::render(self)
    }

    /// Returns the main result in a few sentences.
    pub fn headline(&self) -> String {
        wording::headline(self)
    }

    /// Returns which run to take, or why none.
    pub fn answer(&self) -> Answer {
        Answer::of(self)
    }

    /// Returns a sentence on gain and forgetting per run.
    pub fn headlines(&self) -> Vec<String> {
        self.runs.iter().map(RunReport::headline).collect()
    }
}

/// Writes `report.html`, `report.md` and `report.json` into `folder`, each atomically.
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
