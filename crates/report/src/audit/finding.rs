//! Findings of an audit: errors, which make a comparison invalid, and warnings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The base's weights already contain the adapter.
    BaseCarriesAdapter,
    /// The tuned model was made from another base.
    WrongBase,
    /// The tuned model has the weights of the base.
    SameWeights,
    /// The base's folder also holds an adapter, which programs would load with the base.
    AdapterOnBase,
    /// The base did not score exactly as before when it was scored again after the tuned models.
    BaseNotExact,
    /// The base can't be verified: its weights can't be compared with those that the adapter was trained on.
    UnverifiedBase,
    /// The tuned weights are unusually far from the base's.
    FarFromBase,
    /// The base that the model was tuned from equals the given base up to rounding, as if saved in another precision.
    OtherPrecision,
    /// The tokenizers differ.
    Tokenizer,
    /// The chat templates differ.
    ChatTemplate,
    /// The tokens that begin or end documents differ.
    EndTokens,
}

/// Severity of a finding. Tables list errors before warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The comparison is invalid: its figures are not shown.
    Error,
    /// The comparison is valid; the reader should know of the difference.
    Warning,
}

impl Severity {
    /// Returns the severity as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Problem or difference that an audit found in a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Kind of the finding.
    pub kind: FindingKind,
    /// Severity of the finding: error or warning.
    pub severity: Severity,
    /// Path of the model that the finding is about.
    pub model: String,
    /// Description of the problem: a sentence without its full stop.
    pub what: String,
    /// Advice on how to fix the problem; empty if there is nothing to do.
    #[serde(alias = "mend")] // earlier name
    pub fix: String,
}

impl FindingKind {
    /// Returns the severity of findings of this kind.
    pub fn severity(self) -> Severity {
        match self {
            Self::BaseCarriesAdapter
            | Self::WrongBase
            | Self::SameWeights
            | Self::AdapterOnBase
            | Self::BaseNotExact => Severity::Error,
            Self::UnverifiedBase
            | Self::FarFromBase
            | Self::OtherPrecision
            | Self::Tokenizer
            | Self::ChatTemplate
            | Self::EndTokens => Severity::Warning,
        }
    }

    /// Returns a short name of the kind, for headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::BaseCarriesAdapter => "the base already carries the adapter",
            Self::WrongBase => "not the base",
            Self::SameWeights => "the same weights",
            Self::AdapterOnBase => "an adapter on the base",
            Self::BaseNotExact => "the base against itself is not 0",
            Self::UnverifiedBase => "the base is not verified",
            Self::FarFromBase => "far from the base",
            Self::OtherPrecision => "another precision",
            Self::Tokenizer => "the tokenizers differ",
            Self::ChatTemplate => "the chat templates differ",
            Self::EndTokens => "the end tokens differ",
        }
    }
}

impl Finding {
    /// Creates a finding with the severity of its kind.
    pub fn new(
        kind: FindingKind,
        model: impl Into<String>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            model: model.into(),
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// Returns true if the finding makes the comparison invalid.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns a finding if the base did not score exactly as before in some domain.
    pub(super) fn of_base_again(base: &str, changes: &BTreeMap<String, f64>) -> Option<Self> {
        let (domain, change) = changes.iter().find(|(_, change)| **change != 0.0)?;
        Some(Self::new(
            FindingKind::BaseNotExact,
            base,
            format!(
                "the base, scored again after the tuned models, changed by {change:+e} bits per byte on `{domain}`, expected exactly \
                 0: it was not the same model both times"
            ),
            "make sure that nothing writes to the base's folder, and that no adapter is loaded on it; then run the audit again",
        ))
    }

    /// Formats the finding as one line.
    pub(super) fn line(&self) -> String {
        let word = match self.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "warning",
        };
        let fix = match self.fix.is_empty() {
            true => String::new(),
            false => format!(". To fix it: {}", self.fix),
        };
        format!("{word} ({}): {}{fix}", self.kind.title(), self.what)
    }
}
