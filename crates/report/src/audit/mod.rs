//! Audit of a fine-tuning: a forgetting report on text that needs no dataset of the user's, with findings on whether
//! the comparison is valid.

mod behavior;
mod finding;
mod markdown;
mod page;
mod wording;

pub use behavior::{Behavior, BehaviorReport, JudgedAnswer, LostAnswer};
pub use finding::{Finding, FindingKind, Severity};

use std::collections::BTreeMap;
use std::path::Path;

use polymath_eval::statistics::Verdict;
use serde::{Deserialize, Serialize};

use crate::{ForgettingReport, ReportError};

/// Schema version of `audit.json`.
const SCHEMA: u32 = 1;

/// Result of an audit, as saved in `audit.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Schema version of the file.
    pub schema: u32,
    /// Verdict, which determines the exit code of `polymath audit`.
    pub verdict: AuditVerdict,
    /// Base as the user named it.
    pub base: String,
    /// Tuned models as the user named them.
    pub tuned: Vec<String>,
    /// Settings of the audit.
    pub settings: AuditSettings,
    /// Findings on the models, errors first.
    pub findings: Vec<Finding>,
    /// Change of the base's bits per byte when it is scored again after the tuned models, by domain. Every value must
    /// be exactly 0.
    pub base_again: BTreeMap<String, f64>,
    /// Comparison of the answers to instructions and requests, by tuned model and behavior.
    pub behavior: Vec<BehaviorReport>,
    /// Reason why no answers were compared; `None` if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior_left_out: Option<String>,
    /// Forgetting report of the models whose comparison is valid; `None` if there is none.
    pub report: Option<ForgettingReport>,
}

/// Settings of an audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditSettings {
    /// Increase in bits per byte above which a domain counts as forgotten.
    pub limit: f64,
    /// Maximum number of scored tokens per domain.
    pub tokens: u64,
    /// Numerical precision of scoring.
    pub precision: String,
    /// Version and digest of the bundled text that was scored.
    pub text: BundledText,
}

/// Version and digest of the text that the program brings along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundledText {
    /// Version of the text.
    pub version: u32,
    /// SHA-256 of the text.
    pub sha256: String,
}

/// Verdict of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditVerdict {
    /// Every domain is shown to be kept within the limit by every tuned model.
    Kept,
    /// A domain is shown to be forgotten beyond the limit, or a behavior to be lost.
    Broken,
    /// No domain is shown to be forgotten, but not every domain is shown to be kept.
    Undecided,
    /// A comparison is invalid, so the audit gives no verdict.
    Invalid,
}

/// Results of an audit before its verdict is decided.
#[derive(Debug, Clone)]
pub struct AuditParts {
    /// Base as the user named it.
    pub base: String,
    /// Tuned models, as the user named them.
    pub tuned: Vec<String>,
    /// Settings of the audit.
    pub settings: AuditSettings,
    /// Findings on the models.
    pub findings: Vec<Finding>,
    /// Change of the base's bits per byte when it is scored again, by domain.
    pub base_again: BTreeMap<String, f64>,
    /// Comparison of the answers to instructions and requests, by tuned model and behavior.
    pub behavior: Vec<BehaviorReport>,
    /// Reason why no answers were compared; `None` if they were.
    pub behavior_left_out: Option<String>,
    /// Forgetting report of the models without an error; `None` if there is none.
    pub report: Option<ForgettingReport>,
}

impl Audit {
    /// Makes the audit and decides its verdict. If the base did not score exactly as before, drops the report.
    pub fn new(parts: AuditParts) -> Self {
        let AuditParts {
            base,
            tuned,
            settings,
            mut findings,
            base_again,
            mut behavior,
            behavior_left_out,
            mut report,
        } = parts;
        behavior::correct(&mut behavior);
        if let Some(finding) = Finding::of_base_again(&base, &base_again) {
            findings.push(finding);
            report = None;
            behavior.clear();
        }
        findings.sort_by_key(|finding| finding.severity);
        let is_invalid = findings.iter().any(Finding::is_error);
        let verdict = match &report {
            Some(report) if !is_invalid => AuditVerdict::of(report, &behavior),
            _ => AuditVerdict::Invalid,
        };
        Self {
            schema: SCHEMA,
            verdict,
            base,
            tuned,
            settings,
            findings,
            base_again,
            behavior,
            behavior_left_out,
            report,
        }
    }

    /// Returns the main result in a sentence or two.
    pub fn sentence(&self) -> String {
        wording::sentence(self)
    }

    /// Renders the findings, the report's table and the verdict for the terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            text += &format!("{}\n", finding.line());
        }
        if let Some(report) = &self.report {
            if !text.is_empty() {
                text += "\n";
            }
            text += &report.table();
        }
        for report in &self.behavior {
            text += &format!("{}, {}\n", report.model, report.sentence());
        }
        if let Some(reason) = &self.behavior_left_out {
            text += &format!("no instructions and requests: {reason}\n");
        }
        text + "\n" + &self.sentence() + "\n"
    }
}

impl AuditVerdict {
    fn of(report: &ForgettingReport, behavior: &[BehaviorReport]) -> Self {
        let runs = report.runs.iter();
        let verdicts: Vec<Verdict> = runs
            .flat_map(|run| run.retained().map(|domain| domain.verdict))
            .collect();
        let is_lost = behavior.iter().any(|report| report.is_lost);
        if is_lost || verdicts.contains(&Verdict::Forgotten) {
            Self::Broken
        } else if !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.is_kept()) {
            Self::Kept
        } else {
            Self::Undecided
        }
    }
}

/// Writes `audit.html`, `audit.md` and `audit.json` into `folder`, each atomically.
///
/// # Errors
/// Fails if the folder or a file can't be written.
pub fn write(audit: &Audit, folder: &Path) -> Result<(), ReportError> {
    crate::page::write_forms(
        folder,
        "audit",
        audit,
        crate::page::ReadableForms {
            html: page::render(audit)?,
            markdown: markdown::render(audit),
        },
    )
}

#[cfg(test)]
mod tests;
