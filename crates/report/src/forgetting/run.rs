//! Comparison of one tuned model with the base: its domains and its summary.

use std::collections::BTreeMap;

use polymath_data::Overlap;
use serde::{Deserialize, Serialize};

use super::overview::{as_gain, gain_interval};
use super::{CurvePoint, Provenance, QuestionReport, Setback, TaskReport, markdown, wording};
use crate::evidence::DomainEvidence;
use crate::wording::{interval, relative, signed_or_dash};
use polymath_eval::statistics::{Figure, Verdict};

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
    /// Returns the role as a label beside a domain's name.
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
    /// Role of the domain in the run.
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
    /// p-value of a retained domain's change against 0, which decides whether it improved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub improvement_p_value: Option<f64>,
    /// Step of the base's own training at which the domain was as bad as it is now; `None` if it did not get worse,
    /// or if that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<Setback>,
    /// Verdict on the domain's change, such as kept or forgotten.
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

/// Plural that [`polymath_data::Grouping`] uses for documents that a model generated.
const GENERATED: &str = "generated documents";

impl DomainReport {
    /// Returns true if the domain is text that the base generated.
    pub fn is_generated(&self) -> bool {
        self.grouping.as_deref() == Some(GENERATED)
    }

    /// Formats the change for a table. That of a niche is shown as a gain, so that a gain has one sign everywhere.
    pub(crate) fn shown_change(&self) -> String {
        match (self.role, self.change) {
            (Role::Niche, Some(_)) => format!("gain {}", as_gain(self.change)),
            _ => signed_or_dash(self.change),
        }
    }

    /// Formats the relative change with the sign of [`Self::shown_change`].
    pub(crate) fn shown_relative(&self) -> String {
        let sign = if self.role == Role::Niche { -1.0 } else { 1.0 };
        relative(self.relative_change.map(|share| sign * share))
    }

    /// Formats the interval of [`Self::shown_change`].
    pub(crate) fn shown_interval(&self) -> String {
        match self.role {
            Role::Niche => gain_interval(self.interval),
            _ => interval(self.interval),
        }
    }
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
    /// Name of the fine-tuning method, such as `lora`.
    pub method: String,
    /// Domains: the niche, then earlier niches, then retained domains, each by name.
    pub domains: Vec<DomainReport>,
    /// Results on the domains that have questions.
    pub questions: Vec<QuestionReport>,
    /// Results on the tasks, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskReport>,
    /// Evaluations on held-out documents during the run's training.
    pub curve: Vec<CurvePoint>,
    /// Overlap of held-out documents with the text that the run was tuned on.
    pub overlaps: Vec<Overlap>,
    /// True if the run tokenizes the held-out text differently than the base: the same context in tokens then covers
    /// another length of text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_context: bool,
    /// Settings and circumstances of the run.
    #[serde(default, skip_serializing_if = "Provenance::is_empty")]
    pub provenance: Provenance,
    /// Notes for the reader, as on a model that was tuned from another base.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
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
        let kept = self.judged().filter(|domain| domain.verdict.is_kept());
        (kept.count(), self.judged().count())
    }

    /// Returns true if retained domains are judged, and all of them are kept.
    pub(crate) fn keeps_all(&self) -> bool {
        let (kept, judged) = self.kept();
        judged > 0 && kept == judged
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

    /// Renders the run's figures as tables in GitHub-flavored Markdown.
    pub fn markdown(&self) -> String {
        markdown::figures(self)
    }
}
