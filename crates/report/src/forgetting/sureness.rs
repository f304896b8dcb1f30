//! "How sure is this?": what is estimated, from how many independent groups, by which test, with which correction.

use std::collections::BTreeMap;

use polymath_data::HeldoutSplit;

use super::{DomainReport, ForgettingReport, Role};
use crate::wording::count;
use polymath_eval::statistics::{FEWEST_EFFECTIVE, FEWEST_GROUPS, Verdict};

/// A term and what it says, in the order of the fold.
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
            "Scored on the `{}` split, by which checkpoints were chosen too: the figures flatter the runs.",
            split.name()
        ),
        (Some(split), None) => format!("Scored on the `{}` split.", split.name()),
        (None, Some(chosen)) => format!(
            "Scored on all held-out documents; checkpoints were chosen on the `{}` split, which is among them: the figures \
             flatter the runs a little.",
            chosen.name()
        ),
        (None, None) => "Scored on all held-out documents; nothing says on which of them the checkpoints were chosen: the \
                         figures may flatter the runs a little."
            .into(),
    };
    let choice = match settings.max_tokens {
        None => String::new(),
        Some(tokens) => format!(
            " Of each domain, documents in a seeded order up to the first that does not fit {} tokens, which does not depend on \
             their length.",
            count(tokens)
        ),
    };
    format!(
        "The change in bits per byte that new documents of each domain would show, each byte counting the same. {split}{choice}"
    )
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
            false => format!(" of {} documents", count(domain.documents)),
        };
        format!(
            "{}: {} {kind}{of}, worth {effective}",
            domain.name,
            count(domain.groups)
        )
    };
    let all: Vec<String> = of_domain.values().map(one).collect();
    format!(
        "Documents of one group count once. {}. Groups are worth as many of one size, whose changes scatter normally, as tell \
         as much of the change.",
        all.join("; ")
    )
}

/// What is said of domains whose data set stores no groups; none where all do.
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
            "{}: the dataset stores no groups, so each document counts as independent. Where documents are pieces of one work, \
             the intervals are too narrow: prepare the data again.",
            names.join(", ")
        )
    })
}

fn test(report: &ForgettingReport) -> String {
    format!(
        "Kept is shown by a non-inferiority test (one arm of TOST) against the tolerance of {}: the upper bound lies within it, \
         one-sided 2.5 %. Forgotten: the lower bound lies beyond. Bounds come from a paired bootstrap over groups ({} resamples, \
         seed {}), and reach further where a few groups changed far more than the rest. Kept takes {FEWEST_EFFECTIVE:.0} \
         effective groups; below {FEWEST_GROUPS} groups nothing is decided, nor given an interval.",
        report.settings.tolerance, report.settings.resamples, report.settings.seed
    )
}

fn correction(report: &ForgettingReport) -> String {
    let all = report.settings.comparisons;
    let plural = if all == 1 { "test" } else { "tests" };
    format!(
        "Verdicts rest on p after Holm's correction over the {all} {plural} of this report: domains, questions and tasks of every \
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
        "Another training run: each run is one seed, and the next may differ by more than its interval is wide.",
    );
    if !sections.is_empty() {
        text += &format!(
            " Other works: the groups of {} are passages of the same work.",
            sections.join(", ")
        );
    }
    let few = |domain: &DomainReport| {
        domain.role == Role::Old
            && domain.verdict != Verdict::Withheld
            && domain.effective_groups < FEWEST_EFFECTIVE
    };
    if report.runs.iter().flat_map(|run| &run.domains).any(few) {
        text += " Losses of a kind that no held-out document shows: where few groups speak, such are easily missed.";
    }
    text
}

/// How [`polymath_data::Grouping`] names passages of one work.
const SECTIONS: &str = "passages of the same work";

/// The split that is judged on where nothing is asked for: `test`, where a checkpoint was chosen on `dev`.
pub fn split_to_judge(chosen_on: Option<HeldoutSplit>) -> Option<HeldoutSplit> {
    (chosen_on == Some(HeldoutSplit::Dev)).then_some(HeldoutSplit::Test)
}
