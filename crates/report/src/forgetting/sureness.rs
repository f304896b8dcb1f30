//! Section "How sure is this?": the quantity that is estimated, the independent groups, the test, and the correction.

use std::collections::BTreeMap;

use polymath_data::HeldoutSplit;

use super::{DomainReport, ForgettingReport, Role};
use crate::wording::{count, counted};
use polymath_eval::statistics::{FEWEST_EFFECTIVE, FEWEST_GROUPS, Verdict};

/// Returns the terms and their explanations, in order.
pub fn entries(report: &ForgettingReport) -> Vec<(&'static str, String)> {
    let mut entries = vec![
        ("What is estimated", estimand(report)),
        ("Independent groups", groups(report)),
        ("Test", test(report)),
        ("Correction", correction(report)),
        ("Not in the intervals", left_out(report)),
    ];
    if let Some(ungrouped) = ungrouped(report) {
        entries.insert(2, ("Without groups", ungrouped));
    }
    entries
}

fn estimand(report: &ForgettingReport) -> String {
    let settings = &report.settings;
    let split = match (settings.split, settings.chosen_on) {
        (Some(split), Some(chosen)) if split != chosen => format!(
            "Scored on the `{}` split; checkpoints were chosen on `{}`, which is not scored here.",
            split.name(),
            chosen.name()
        ),
        (Some(split), Some(_)) => format!(
            "Scored on the `{}` split, on which checkpoints were also chosen: the figures are too favorable.",
            split.name()
        ),
        (Some(split), None) => format!("Scored on the `{}` split.", split.name()),
        (None, Some(chosen)) => format!(
            "Scored on all held-out documents, including the `{}` split that checkpoints were chosen on: the figures are slightly too \
            favorable.",
            chosen.name()
        ),
        (None, None) => "Scored on all held-out documents; the split that checkpoints were chosen on is unknown: the figures may be \
        slightly too favorable."
            .into(),
    };
    let choice = match settings.max_tokens {
        None => String::new(),
        Some(tokens) => format!(
            " Documents of each domain are taken in a seeded order up to the first that does not fit {} tokens; the order does not \
            depend on their length.",
            count(tokens)
        ),
    };
    format!(
        "The expected change in bits per byte on new documents of each domain, with equal weight per byte. {split}{}{}{choice}",
        unknown(report),
        whole(report)
    )
}

/// Returns a sentence about the runs that do not record how their checkpoint was chosen, if others do. Empty if there
/// are none.
fn unknown(report: &ForgettingReport) -> String {
    match &report.settings.chosen_unknown[..] {
        [] => String::new(),
        names => format!(
            " Of {}, nothing says on which documents the checkpoint was chosen: its figures may flatter it.",
            names.join(", ")
        ),
    }
}

/// Returns a sentence about the domains without a document in the requested split. Empty if there are none.
fn whole(report: &ForgettingReport) -> String {
    let first = report.runs.first().into_iter();
    let names: Vec<&str> = first
        .flat_map(|run| &run.domains)
        .filter(|domain| domain.whole)
        .map(|domain| domain.name.as_str())
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(
            " But {} has no document there: all its held-out documents were scored, those that checkpoints were chosen on among them.",
            names.join(", ")
        ),
    }
}

fn groups(report: &ForgettingReport) -> String {
    let mut of_domain: BTreeMap<&str, (&DomainReport, [f64; 2])> = BTreeMap::new();
    for domain in report.runs.iter().flat_map(|run| &run.domains) {
        let effective = domain.effective_groups;
        let (_, ends) = of_domain
            .entry(&domain.name)
            .or_insert((domain, [effective; 2]));
        *ends = [ends[0].min(effective), ends[1].max(effective)];
    }
    let one = |(domain, [least, most]): &(&DomainReport, [f64; 2])| {
        let kind = domain.grouping.as_deref().unwrap_or("documents");
        let effective = match (least.floor(), most.floor()) {
            (least, most) if least == most => format!("{least:.0}"),
            (least, most) => format!("{least:.0} to {most:.0}"),
        };
        let of = match domain.groups == domain.documents {
            true => String::new(),
            false => format!(" of {}", counted(domain.documents, "document")),
        };
        format!(
            "{}: {} {kind}{of}, {effective} effective",
            domain.name,
            count(domain.groups)
        )
    };
    let all: Vec<String> = of_domain.values().map(one).collect();
    format!(
        "Documents of one group count once. {}. The effective number is that of equally large groups with normally distributed \
        changes that would give the same precision.",
        all.join("; ")
    )
}

/// Returns a note on the domains whose dataset stores no groups, or `None` if all datasets do.
fn ungrouped(report: &ForgettingReport) -> Option<String> {
    let first = report.runs.first()?;
    let names: Vec<&str> = first
        .domains
        .iter()
        .filter(|domain| domain.grouping.is_none())
        .map(|domain| domain.name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: the dataset stores no groups, so each document counts as independent. If documents are parts of one work, the \
            intervals are too narrow: prepare the data again.",
            names.join(", ")
        )
    })
}

fn test(report: &ForgettingReport) -> String {
    format!(
        "Kept is a non-inferiority test (one side of TOST) against the tolerance of {}: the upper bound is within it, one-sided \
        2.5 %. Forgotten: the lower bound is above it. Bounds come from a paired bootstrap over groups ({} resamples, seed {}) \
        and are wider if a few groups changed far more than the rest. Kept requires {FEWEST_EFFECTIVE:.0} effective groups; with \
        fewer than {FEWEST_GROUPS} groups there is no decision and no interval.",
        report.settings.tolerance, report.settings.resamples, report.settings.seed
    )
}

fn correction(report: &ForgettingReport) -> String {
    let all = report.settings.comparisons;
    let plural = if all == 1 { "test" } else { "tests" };
    format!(
        "Verdicts use p after Holm's correction over the {all} {plural} of this report: domains, questions and tasks of every \
        run. The intervals are not corrected."
    )
}

fn left_out(report: &ForgettingReport) -> String {
    let sections: Vec<&str> = report
        .runs
        .first()
        .into_iter()
        .flat_map(|run| &run.domains)
        .filter(|domain| domain.grouping.as_deref() == Some(SECTIONS))
        .map(|domain| domain.name.as_str())
        .collect();
    let mut text = String::from(
        "Variation between training runs: each run is one seed, and another seed may differ by more than the interval.",
    );
    if !sections.is_empty() {
        text += &format!(
            " Variation between works: the groups of {} are passages of the same work.",
            sections.join(", ")
        );
    }
    let few = |domain: &DomainReport| {
        domain.role == Role::Retained
            && domain.verdict != Verdict::Withheld
            && domain.effective_groups < FEWEST_EFFECTIVE
    };
    if report.runs.iter().flat_map(|run| &run.domains).any(few) {
        text += " Losses that no held-out document shows: with few groups, they are easily missed.";
    }
    text
}

/// Plural that [`polymath_data::Grouping`] uses for passages of one work.
const SECTIONS: &str = "passages of the same work";

/// Returns the default split of a report: `test` if a checkpoint was chosen on `dev`, and otherwise `None`, all
/// held-out documents.
pub fn split_to_judge(chosen_on: Option<HeldoutSplit>) -> Option<HeldoutSplit> {
    (chosen_on == Some(HeldoutSplit::Dev)).then_some(HeldoutSplit::Test)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a checkpoint chosen on `dev` is judged on `test`, and that one chosen on `test` or without a
    /// record is judged on all held-out documents.
    #[test]
    fn a_choice_on_dev_is_judged_on_test() {
        use HeldoutSplit::{Dev, Test};
        let judged = [Some(Dev), Some(Test), None].map(split_to_judge);
        assert_eq!(judged, [Some(Test), None, None]);
    }
}
