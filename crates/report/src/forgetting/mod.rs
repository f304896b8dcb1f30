//! Forgetting report: the change of every domain, with its significance.

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
/// Version 4 wrote `old` for the role `retained`. [`ForgettingReport::read`] reads versions 4 and 5.
const SCHEMA: u32 = 5;
/// Minimum number of bootstrap resamples.
const RESAMPLES: usize = 4000;
/// Minimum number of resamples for each test: the smallest p-value, 2 / (resamples + 1), must be small enough for
/// Holm's correction over all tests.
const RESAMPLES_A_COMPARISON: usize = 80;
/// Default tolerance δ in bits per byte.
const TOLERANCE: f64 = 0.02;
/// Default maximum share of a domain's held-out documents that may occur in training text.
const OVERLAP_LIMIT: f64 = 0.1;

/// Scores of one model, to be compared.
#[derive(Debug, Clone, Default)]
pub struct ModelScores {
    /// Folder of the checkpoint.
    pub path: String,
    /// Path of the checkpoint as the user gave it; `None` means the folder.
    pub named: Option<String>,
    /// SHA-256 of the weights; `None` if unknown.
    pub sha256: Option<String>,
    /// SHA-256 of the weights that the model was tuned from; `None` for the base, or if unknown.
    pub tuned_from: Option<String>,
    /// Fine-tuning method; `None` for the base.
    pub method: Option<String>,
    /// Niche; `None` for the base.
    pub niche: Option<String>,
    /// Niches of the models between the base and this one, if this one was not tuned from the base directly.
    pub earlier_niches: Vec<String>,
    /// Scores on the held-out documents of each domain.
    pub domains: BTreeMap<String, DomainScores>,
    /// For each question of a domain, whether the answer is correct.
    pub questions: BTreeMap<String, Vec<bool>>,
    /// Group of each question, if the dataset stores groups: questions made from one template are not independent.
    pub question_groups: BTreeMap<String, Vec<u64>>,
    /// Scores on multiple-choice tasks, by name.
    pub tasks: BTreeMap<String, TaskScores>,
    /// Evaluations during the run.
    pub curve: Vec<CurvePoint>,
    /// Overlap of held-out documents with training text: for a tuned model with its fine-tuning text, for the base
    /// with the text of all domains of the datasets.
    pub overlaps: Vec<Overlap>,
    /// Evidence of forgetting in each domain; empty for the base.
    pub evidence: BTreeMap<String, DomainEvidence>,
    /// True if the held-out text was tokenized with the model's own tokenizer instead of the dataset's.
    pub own_tokens: bool,
}

/// Evaluation during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Number of finished steps.
    pub step: u64,
    /// Bits per byte of each domain.
    pub heldout_bits_per_byte: BTreeMap<String, f64>,
}

/// Settings of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Tolerance δ: increase in bits per byte up to which a domain counts as kept.
    pub tolerance: f64,
    /// Random seed of the bootstrap.
    pub seed: u64,
    /// Number of bootstrap resamples. The report increases it for many domains and runs.
    pub resamples: usize,
    /// Number of tests that are corrected together. The report sets it.
    pub comparisons: usize,
    /// Context in tokens with which the models were scored.
    pub context: usize,
    /// Maximum number of scored tokens of each domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Split on which the runs' checkpoints were chosen, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_on: Option<HeldoutSplit>,
    /// Names of the runs that do not record on which split they were chosen, if others do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen_unknown: Vec<String>,
    /// Split that was scored; `None` means all held-out documents.
    #[serde(default, alias = "half", skip_serializing_if = "Option::is_none")]
    pub split: Option<HeldoutSplit>,
    /// Maximum share of a domain's held-out documents that may occur in training text. Above it, results are
    /// withheld.
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

/// Role of a domain in a run. The order is that of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Domain that the run was tuned on.
    Niche,
    /// Niche of a model between the base and the run. Its change does not tell what the base has forgotten.
    Earlier,
    /// Domain whose forgetting is measured.
    #[serde(alias = "old")]
    Retained,
}

impl Role {
    /// Returns the label beside a domain's name, or `None` for a retained domain.
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Niche => Some("niche"),
            Self::Earlier => Some("earlier niche"),
            Self::Retained => None,
        }
    }
}

/// Results of one domain in one run. A withheld result is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainReport {
    /// Name of the domain.
    pub name: String,
    /// Role of the domain in the run.
    pub role: Role,
    /// Bits per byte of the base.
    pub base_bits_per_byte: Option<f64>,
    /// Bits per byte of the tuned model.
    pub tuned_bits_per_byte: Option<f64>,
    /// Change in bits per byte, tuned minus base. Positive is forgetting.
    pub change: Option<f64>,
    /// Change as a share of the base's bits per byte.
    pub relative_change: Option<f64>,
    /// 95 % confidence interval of a paired bootstrap over groups of documents; `None` with fewer than five groups.
    pub interval: Option<[f64; 2]>,
    /// p-value of the change, tested against the tolerance (retained domains) or against 0 (the niche); `None` if not
    /// tested.
    pub p_value: Option<f64>,
    /// p-value with Holm's correction over all tests of the report. The verdict uses it.
    pub adjusted_p_value: Option<f64>,
    /// Verdict on the change.
    pub verdict: Verdict,
    /// Reason why a result is withheld or undecided, or a note on few groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of held-out documents.
    pub documents: u64,
    /// Number of independent groups of documents.
    pub groups: u64,
    /// Kind of group, in the plural; `None` if the dataset stores no groups and each document counts as one.
    pub grouping: Option<String>,
    /// True if all held-out documents were scored, because the domain has none in the split of the report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// Effective number of groups: that many equally large groups with normally distributed changes would give the
    /// same precision.
    pub effective_groups: f64,
    /// For an undecided domain: approximate number of similar groups that would decide it with this change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_groups: Option<u64>,
    /// Size of the held-out documents in UTF-8 bytes.
    pub bytes: u64,
}

/// Retained domain with the largest loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// Name of the domain.
    pub domain: String,
    /// Change in bits per byte.
    pub change: f64,
    /// 95 % upper bound on the changes of all retained domains together. (The largest of several estimates is on
    /// average too high.) `None` if a domain has fewer than five groups of documents.
    pub bound: Option<f64>,
}

/// Summary of a run. A value that depends only on withheld domains is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean change over the retained domains, each with the same weight.
    pub mean_forgetting: Option<Figure>,
    /// Retained domain with the largest change.
    pub worst_forgetting: Option<Worst>,
    /// Gain on the niche: its negated change.
    pub niche_gain: Option<Figure>,
}

/// Comparison of one tuned model with the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Display name: the name of the run's folder.
    pub name: String,
    /// Folder of the checkpoint.
    pub path: String,
    /// Fine-tuning method.
    pub method: String,
    /// Results of the domains: the niche, then earlier niches, then retained domains, each group by name.
    pub domains: Vec<DomainReport>,
    /// Results on questions, for the domains that have some.
    pub questions: Vec<QuestionReport>,
    /// Results on multiple-choice tasks, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskReport>,
    /// Evaluations during the run.
    pub curve: Vec<CurvePoint>,
    /// Overlap of held-out documents with the text that the run was tuned on.
    pub overlaps: Vec<Overlap>,
    /// True if the run tokenizes the held-out text differently than the base. Then an equal context in tokens covers
    /// another length of text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_context: bool,
    /// Evidence of forgetting in each domain whose results are not withheld.
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

    /// Returns the number of retained domains that are kept, and the number of those that are judged.
    pub fn kept(&self) -> (usize, usize) {
        let kept = self
            .judged()
            .filter(|domain| domain.verdict == Verdict::Kept);
        (kept.count(), self.judged().count())
    }

    /// Returns the retained domains whose results are not withheld.
    pub(crate) fn judged(&self) -> impl Iterator<Item = &DomainReport> {
        self.retained()
            .filter(|domain| domain.verdict != Verdict::Withheld)
    }

    /// Returns a sentence about gain and forgetting.
    pub fn headline(&self) -> String {
        wording::of_run(self)
    }

    /// Renders the results as tables in GitHub-flavored Markdown.
    pub fn markdown(&self) -> String {
        markdown::figures(self)
    }
}

/// Forgetting report, as stored in `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForgettingReport {
    /// Schema version of the file.
    pub schema: u32,
    /// Folder of the base.
    pub base: String,
    /// Comparisons with the base, one for each tuned model.
    pub runs: Vec<RunReport>,
    /// Chain of the runs, if each was tuned from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// Comparison of the runs with each other, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
    /// Overlap of held-out documents with the training text of the datasets' own domains.
    pub overlaps: Vec<Overlap>,
    /// Settings of the comparison.
    pub settings: Settings,
    /// Definitions of the report's terms.
    pub definitions: BTreeMap<String, String>,
}

impl ForgettingReport {
    /// Reads a `report.json` of this version or of schema version 4.
    ///
    /// # Errors
    /// Fails if the file can't be read or has another format.
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
    /// Fails if a run was not scored on the same domains, documents, questions and tasks as the base, if scores are
    /// not finite, if a niche is not among the domains, or if the settings are invalid.
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

    /// Returns the run to use, or the reason why there is none.
    pub fn answer(&self) -> Answer {
        Answer::of(self)
    }

    /// Returns a sentence about gain and forgetting for each run.
    pub fn headlines(&self) -> Vec<String> {
        self.runs.iter().map(RunReport::headline).collect()
    }
}

/// Writes `report.html`, `report.md` and `report.json` into `folder`, each atomically.
///
/// # Errors
/// Fails if the folder or a file can't be written.
pub fn write(report: &ForgettingReport, folder: &Path) -> Result<(), ReportError> {
    crate::page::write_forms(
        folder,
        "report",
        report,
        crate::page::ReadableForms {
            html: html::render(report)?,
            markdown: markdown::render(report),
        },
    )
}

#[cfg(test)]
mod tests;
