//! Forgetting report: the change of every domain, with its significance.

mod answer;
mod chain;
mod compare;
mod definitions;
mod forgotten;
mod html;
mod judge;
mod knowledge;
mod ledger;
mod markdown;
mod overview;
mod provenance;
mod questions;
mod ranking;
mod run;
mod setback;
mod sureness;
mod table;
mod tasks;
mod wording;

pub(crate) use html::render_audited;
pub(crate) use markdown::render as markdown_of;

pub use answer::Answer;
pub use chain::{Chain, Measure, Stage};
pub use provenance::Provenance;
pub use questions::QuestionReport;
pub use ranking::{PairReport, Ranking};
pub use run::{DomainReport, Role, RunReport, Summary, Worst};
pub use setback::Setback;
pub use sureness::split_to_judge;
pub use tasks::{AccuracyReport, LostItem, TaskReport};

use std::collections::BTreeMap;
use std::path::Path;

use polymath_data::{HeldoutSplit, Overlap};
use serde::{Deserialize, Serialize};

use crate::ReportError;
use crate::evidence::DomainEvidence;
use polymath_eval::{DomainScores, TaskScores};

/// Schema version of `report.json`.
///
/// Version 5 had no `provenance` and no verdict `improved`, version 4 had `old` for the role `retained`;
/// [`ForgettingReport::read`] reads all three.
const SCHEMA: u32 = 6;
/// Oldest schema version that is read.
const OLDEST: u32 = 4;
/// Minimum number of bootstrap resamples.
const RESAMPLES: usize = 4000;
/// Minimum number of resamples for each test: the smallest p-value, 2 / (resamples + 1), must be small enough for
/// Holm's correction over all tests.
const RESAMPLES_A_COMPARISON: usize = 80;
/// Default tolerance δ in bits per byte.
const TOLERANCE: f64 = 0.02;
/// Default limit of leaks: the maximum share of a domain's held-out documents that may occur in training text.
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
    /// Generated answers to a few questions of a domain that only the base answers, by the question's index; empty for
    /// the base.
    pub lost_answers: BTreeMap<String, BTreeMap<usize, String>>,
    /// Group of each question, if the dataset stores groups: questions made from one template are not independent.
    pub question_groups: BTreeMap<String, Vec<u64>>,
    /// Scores on multiple-choice tasks, by name.
    pub tasks: BTreeMap<String, TaskScores>,
    /// Evaluations during the run; for the base, those of its own training.
    pub curve: Vec<CurvePoint>,
    /// Settings and circumstances of the run.
    pub provenance: Provenance,
    /// Notes for the reader, as on a model that was tuned from another base.
    pub notes: Vec<String>,
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
    /// Number of training steps before the evaluation.
    pub step: u64,
    /// Bits per byte of each domain's held-out documents, by domain.
    pub heldout_bits_per_byte: BTreeMap<String, f64>,
}

/// Settings of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportSettings {
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

impl Default for ReportSettings {
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

/// Forgetting report, as saved in `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForgettingReport {
    /// Schema version of the file.
    pub schema: u32,
    /// Folder of the base.
    pub base: String,
    /// Settings and circumstances of the base's training.
    #[serde(default, skip_serializing_if = "Provenance::is_empty")]
    pub base_provenance: Provenance,
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
    pub settings: ReportSettings,
    /// Definitions of the report's terms.
    pub definitions: BTreeMap<String, String>,
}

impl ForgettingReport {
    /// Reads a `report.json` of this version or of schema versions 4 and 5.
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
        if !(OLDEST..=SCHEMA).contains(&report.schema) {
            let found = report.schema;
            return Err(refused(format!(
                "its `schema` is {found}, expected {OLDEST} to {SCHEMA}"
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
        settings: ReportSettings,
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
        settings.comparisons = judge::judge(&mut reports, &settings);
        compare::name_apart(&mut reports);
        Ok(Self {
            schema: SCHEMA,
            base: base.path.clone(),
            base_provenance: base.provenance.clone(),
            chain: Chain::of(base, runs, &reports)?,
            ranking: Ranking::of(runs, &reports, &settings)?,
            runs: reports,
            overlaps: base.overlaps.clone(),
            definitions: definitions::definitions(&settings),
            settings,
        })
    }

    /// Renders the report as a plain-text table for the terminal.
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
