//! Verdicts of a report, corrected for all its tests.

use super::compare::limit;
use super::{DomainReport, ReportSettings, Role, RunReport, TaskReport};
use crate::wording::count;
use polymath_eval::statistics::{Against, FEWEST_EFFECTIVE, LEVEL, Verdict, holm};

/// Number of groups above which a domain counts as undecidable.
const MOST_GROUPS: usize = 100_000;

/// Gives every domain its verdict. The p-values are corrected by Holm's method over all tests of the report (domains,
/// questions and tasks of every run), since with many tests some intervals exclude the tolerance by chance. Returns the
/// number of tests.
pub fn judge(runs: &mut [RunReport], settings: &ReportSettings) -> usize {
    let p_values: Vec<f64> = runs
        .iter_mut()
        .flat_map(tested)
        .map(|(p_value, _)| p_value)
        .collect();
    let targets = runs
        .iter_mut()
        .flat_map(tested)
        .map(|(_, adjusted)| adjusted);
    for (target, adjusted) in targets.zip(holm(&p_values)) {
        *target = adjusted;
    }
    let tests = p_values.len();
    for domain in runs.iter_mut().flat_map(|run| &mut run.domains) {
        let Some(against) = against(domain, settings) else {
            continue;
        };
        let corrected = against.corrected(domain.adjusted_p_value.unwrap_or(1.0));
        domain.verdict = match is_improved(domain, tests) {
            true => Verdict::Improved,
            false => verdict(domain.role, &corrected),
        };
        if domain.verdict == Verdict::Undecided {
            domain.reason = Some(open(domain, &against, &corrected, settings));
        } else {
            domain.deciding_groups = None;
        }
    }
    tests
}

/// Returns whether a retained domain is significantly better than in the base. Its test against no change is corrected
/// by the number of domains and other figures (Bonferroni). Together with Holm's correction of the tests against the
/// tolerance, that keeps the probability of even one wrong verdict: a change of 0 or more is tested by the larger of
/// the two p-values of a domain, so each intersection of the closed test has one p-value per domain.
fn is_improved(domain: &DomainReport, tests: usize) -> bool {
    let p_value = domain
        .improvement_p_value
        .filter(|_| domain.change < Some(0.0));
    domain.role == Role::Retained && p_value.is_some_and(|p_value| p_value * tests as f64 <= LEVEL)
}

/// Iterates over the tests of a run: each p-value, and a mutable reference to the corrected p-value.
fn tested(run: &mut RunReport) -> impl Iterator<Item = (f64, &mut f64)> {
    let domains = run.domains.iter_mut().filter_map(|domain| {
        let p_value = domain.p_value?;
        Some((p_value, domain.adjusted_p_value.get_or_insert(p_value)))
    });
    let questions = run.questions.iter_mut().map(|report| &mut report.accuracy);
    let tasks = run.tasks.iter_mut().flat_map(TaskReport::accuracies);
    let answers = questions.chain(tasks);
    domains.chain(answers.map(|accuracy| (accuracy.p_value, &mut accuracy.adjusted_p_value)))
}

/// Returns a domain's test against its limit, from its figures; `None` if the domain was not tested.
fn against(domain: &DomainReport, settings: &ReportSettings) -> Option<Against> {
    Some(Against {
        p_value: domain.p_value?,
        above: domain.change > Some(limit(domain.role, settings)),
        groups: domain.groups as usize,
        effective_groups: domain.effective_groups,
        deciding_groups: domain.deciding_groups.map(|groups| groups as usize),
    })
}

fn verdict(role: Role, against: &Against) -> Verdict {
    match role {
        Role::Niche | Role::Earlier => Verdict::of_niche(against, LEVEL),
        Role::Retained => Verdict::of_retained(against, LEVEL),
    }
}

/// Explains why a domain is undecided, and how many groups of documents would decide.
fn open(
    domain: &DomainReport,
    against: &Against,
    corrected: &Against,
    settings: &ReportSettings,
) -> String {
    let few = domain.role == Role::Retained && !against.above && !against.has_enough_groups();
    let why = if few && corrected.p_value < LEVEL {
        format!(
            "{:.0} effective groups are fewer than the {FEWEST_EFFECTIVE:.0} that “kept” requires",
            against.effective_groups.floor()
        )
    } else if against.p_value < LEVEL && corrected.p_value >= LEVEL && !few {
        let word = verdict(domain.role, against).word();
        format!("{word} by its own test, but not after correction for all tests of this report")
    } else {
        let limit = limit(domain.role, settings);
        let what = match domain.role {
            Role::Niche | Role::Earlier => "0",
            Role::Retained => "the tolerance",
        };
        let is_outside = |[low, high]: [f64; 2]| low > limit || high < limit;
        let farther = match domain.interval.is_some_and(is_outside) {
            true => ", which are wider than the interval,",
            false => "",
        };
        format!("the bounds of the test{farther} include {what}")
    };
    match against.deciding_groups {
        Some(groups) if groups < MOST_GROUPS => {
            format!(
                "{why}; about {} groups of documents would decide",
                count(groups as u64)
            )
        }
        _ => format!("{why}; the change is too close to the limit to be decided by more documents"),
    }
}
