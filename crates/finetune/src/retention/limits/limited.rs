//! Evaluator of a run with limits. Measures on a sample of the dev split how much of its limit each domain uses, which
//! decides on the best checkpoint.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use polymath_base::counted;
use polymath_data::HeldoutSplit;
use polymath_eval::EvalError;
use polymath_model::Transformer;
use polymath_train::{Evaluator, Score, TrainError};

use super::dev_set::DevSet;
use super::retained::{LimitUse, WorstDomain};
use crate::FinetuneError;

/// Evaluator of a run with limits. A model within the limits is scored by its bits per byte on the niche; a model
/// beyond them, by its largest share of a limit.
pub(crate) struct Limited<'a> {
    transformer: &'a Transformer,
    documents: DevSet,
    limit_use: LimitUse,
    /// True if the last evaluation differs from the one before in the worst domain, or in whether that domain is within
    /// its limit.
    is_new: bool,
}

impl<'a> Limited<'a> {
    /// Makes the evaluator of a run that has not been evaluated yet.
    pub fn new(transformer: &'a Transformer, documents: DevSet) -> Self {
        Self {
            transformer,
            documents,
            limit_use: LimitUse::default(),
            is_new: false,
        }
    }

    fn measure(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, FinetuneError> {
        let scores = self.documents.score(self.transformer, progress)?;
        let found = self.documents.retained.limit_use(&scores)?;
        self.is_new = place(&found) != place(&self.limit_use);
        self.limit_use = found;
        let bits = scores.into_iter();
        Ok(bits
            .map(|(name, scores)| (name, scores.bits_per_byte()))
            .collect())
    }
}

impl Evaluator for Limited<'_> {
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        self.measure(progress).map_err(|error| match error {
            FinetuneError::Evaluation(EvalError::Stopped) => TrainError::Stopped,
            other => TrainError::Hook(Box::new(other)),
        })
    }

    fn chosen_on(&self) -> Option<HeldoutSplit> {
        Some(HeldoutSplit::Dev)
    }

    fn warning(&self) -> Option<String> {
        self.documents.retained.warning()
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> Score {
        match self.limit_use.share() {
            share_of_limit if share_of_limit > 1.0 => Score::Outside { share_of_limit },
            _ => Score::within(bits_per_byte[&self.documents.niche.name]),
        }
    }

    fn score_name(&self) -> String {
        match self.limit_use.share() > 1.0 {
            true => "nearness to the limits".into(),
            false => self.documents.niche.name.clone(),
        }
    }

    fn limit_shares(&self) -> BTreeMap<String, f64> {
        self.limit_use.pressing.clone()
    }

    fn control(&self) -> BTreeMap<String, f64> {
        let worst = self.limit_use.worst.iter();
        worst
            .map(|worst| ("worst_share_of_limit".to_owned(), worst.share))
            .collect()
    }

    fn note(&self) -> Option<String> {
        let worst = self.limit_use.worst.as_ref()?;
        self.is_new.then(|| describe(worst))
    }
}

/// Returns the domain that uses the largest share of its limit, and true if it is beyond the limit.
fn place(limit_use: &LimitUse) -> Option<(&str, bool)> {
    let worst = limit_use.worst.as_ref()?;
    Some((&worst.domain, worst.share > 1.0))
}

/// Describes for the console the domain that uses the largest share of its limit, with the confidence bound that is
/// compared with the limit.
fn describe(worst: &WorstDomain) -> String {
    let WorstDomain {
        domain,
        change,
        bound,
        limit,
        groups,
        ..
    } = worst;
    let place = if worst.share > 1.0 {
        "outside"
    } else {
        "inside"
    };
    let of_documents = format!("{} of documents", counted(*groups as u64, "group"));
    let bounded = match bound.is_finite() {
        true => format!("upper bound {bound:+.4} of {limit} allowed: {place}"),
        false => format!("no upper bound on {of_documents}: {place}"),
    };
    match worst.has_too_few() {
        true => format!(
            "limits: {domain} {bounded}, though it did not get worse ({change:+.4}): {of_documents} can't show more, and the \
             run is not restrained for it"
        ),
        false => format!("limits: {domain} {bounded} (change {change:+.4} bits per byte)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(change: f64, bound: f64) -> WorstDomain {
        WorstDomain {
            domain: "law".into(),
            change,
            bound,
            limit: 0.02,
            share: bound.max(0.0) / 0.02,
            groups: 6,
        }
    }

    /// Checks that the console line gives the confidence bound that is compared with the limit, so that "within" or
    /// "beyond" follows from the printed numbers.
    #[test]
    fn the_printed_bound_decides() {
        let inside = describe(&worst(0.01, 0.0187));
        assert_eq!(
            inside,
            "limits: law upper bound +0.0187 of 0.02 allowed: inside (change +0.0100 bits per byte)"
        );
        assert!(describe(&worst(0.01, 0.031)).contains("+0.0310 of 0.02 allowed: outside"));
    }

    /// Checks that the console line says "too few documents" for a domain that did not get worse but is not shown to be
    /// within its limit.
    #[test]
    fn too_few_documents_are_said() {
        let few = describe(&worst(-0.06, 0.031));
        assert!(
            few.contains("did not get worse (-0.0600): 6 groups of documents can't show more"),
            "{few}"
        );
        assert!(describe(&worst(-0.06, f64::INFINITY)).contains("no upper bound on 6 groups"));
    }
}
