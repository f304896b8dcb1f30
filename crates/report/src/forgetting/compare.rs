//! Comparison of a run with the base: from scores to verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polymath_data::{Grouping, Overlap};

use super::{
    DomainReport, ModelScores, ReportSettings, Role, RunReport, Setback, Summary, Worst, questions,
    tasks,
};
use crate::ReportError;
use crate::evidence::DomainEvidence;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{
    FEWEST_GROUPS, LEVEL, PairedBootstrap, Side, Verdict, mean_figure,
};
use polymath_eval::{DomainScores, TaskScores};

/// Fails if the settings are invalid.
pub fn validate(settings: &ReportSettings) -> Result<(), ReportError> {
    if !(settings.tolerance.is_finite() && settings.tolerance >= 0.0) {
        return Err(ReportError::Report(format!(
            "the tolerance must be a number of bits per byte, 0 or more: `{}`",
            settings.tolerance
        )));
    }
    if !(0.0..=1.0).contains(&settings.overlap_limit) {
        return Err(ReportError::Report(format!(
            "the limit of the overlap must be a share from 0 to 1: `{}`",
            settings.overlap_limit
        )));
    }
    Ok(())
}

/// Returns the maximum number of tests of a run: its domains, its questions, and one or two accuracies for each task.
pub fn tests(run: &ModelScores) -> usize {
    let asked = run.questions.values().filter(|right| !right.is_empty());
    let of_task = |task: &TaskScores| if task.task.is_cloze() { 1 } else { 2 };
    run.domains.len() + asked.count() + run.tasks.values().map(of_task).sum::<usize>()
}

/// Compares one run with the base; the verdicts follow in [`super::judge::judge`].
pub fn compare(
    base: &ModelScores,
    run: &ModelScores,
    settings: &ReportSettings,
) -> Result<RunReport, ReportError> {
    check_domains(base, run)?;
    let mut domains = Vec::new();
    let mut judged_retained = Vec::new();
    for (name, tuned) in &run.domains {
        let before = &base.domains[name];
        let seed = settings.seed.wrapping_add(polymath_base::fnv1a(name));
        let bootstrap = PairedBootstrap::new(before, tuned, settings.resamples, seed)
            .map_err(|error| ReportError::Report(format!("`{}` on `{name}`: {error}", run.path)))?;
        let role = if run.niche.as_ref() == Some(name) {
            Role::Niche
        } else if run.earlier_niches.contains(name) {
            Role::Earlier
        } else {
            Role::Retained
        };
        let leak = leak(name, base, run, settings);
        if role == Role::Retained && leak.is_none() {
            judged_retained.push(bootstrap.clone());
        }
        let mut found = domain(
            Measured {
                name,
                role,
                before,
                after: tuned,
                bootstrap: &bootstrap,
                leak,
            },
            settings,
        );
        found.setback = Setback::of(base, &found);
        domains.push(found);
    }
    domains.sort_by_key(|domain| (domain.role, domain.name.clone()));
    Ok(RunReport {
        name: name(run.named.as_ref().unwrap_or(&run.path)),
        path: run.path.clone(),
        method: run.method.clone().unwrap_or_default(),
        questions: questions::compare(base, run)?,
        tasks: tasks::compare(base, run)?,
        curve: run.curve.clone(),
        overlaps: run.overlaps.clone(),
        other_context: base.own_tokens != run.own_tokens,
        provenance: run.provenance.clone(),
        notes: run.notes.clone(),
        evidence: shown(&run.evidence, &domains),
        summary: summary(&domains, &judged_retained),
        domains,
    })
}

/// Fails unless both were scored on the same domains and these include the niche.
fn check_domains(base: &ModelScores, run: &ModelScores) -> Result<(), ReportError> {
    let of_base: BTreeSet<&String> = base.domains.keys().collect();
    let of_run: BTreeSet<&String> = run.domains.keys().collect();
    if let Some(domain) = of_base.symmetric_difference(&of_run).next() {
        let (scored, unscored) = if of_base.contains(domain) {
            (&base.path, &run.path)
        } else {
            (&run.path, &base.path)
        };
        return Err(ReportError::Report(format!(
            "`{scored}` was scored on the domain `{domain}`, `{unscored}` was not: score both on the same domains"
        )));
    }
    if let Some(niche) = &run.niche
        && !run.domains.contains_key(niche)
    {
        let known: Vec<&str> = run.domains.keys().map(String::as_str).collect();
        return Err(ReportError::Report(format!(
            "the niche `{niche}` of `{}` is not among the scored domains `{}`: also give the dataset that contains it",
            run.path,
            known.join("`, `")
        )));
    }
    Ok(())
}

/// Selects the evidence of the domains whose results are not withheld.
fn shown(
    evidence: &BTreeMap<String, DomainEvidence>,
    domains: &[DomainReport],
) -> BTreeMap<String, DomainEvidence> {
    let judged = domains
        .iter()
        .filter(|domain| domain.verdict != Verdict::Withheld);
    judged
        .filter_map(|domain| Some((domain.name.clone(), evidence.get(&domain.name)?.clone())))
        .collect()
}

/// Returns the largest overlap of a domain's held-out documents with training text of the base or the run, if it
/// exceeds the limit.
fn leak<'a>(
    name: &str,
    base: &'a ModelScores,
    run: &'a ModelScores,
    settings: &ReportSettings,
) -> Option<&'a Overlap> {
    let found = base.overlaps.iter().chain(&run.overlaps);
    found
        .filter(|overlap| overlap.heldout == name)
        .filter(|overlap| overlap.exact_share > settings.overlap_limit)
        .max_by(|a, b| a.exact_share.total_cmp(&b.exact_share))
}

/// Inputs of a domain's figures: scores of the base and of the run, and their bootstrap.
struct Measured<'a> {
    name: &'a str,
    role: Role,
    before: &'a DomainScores,
    after: &'a DomainScores,
    bootstrap: &'a PairedBootstrap,
    /// Overlap with training text that exceeds the limit.
    leak: Option<&'a Overlap>,
}

/// Returns the figures of a domain; [`super::judge::judge`] adds the verdict once all tests are known.
fn domain(measured: Measured, settings: &ReportSettings) -> DomainReport {
    let Measured {
        name,
        role,
        before,
        after,
        bootstrap,
        leak,
    } = measured;
    let change = bootstrap.change();
    let withheld = leak.is_some();
    let shown = |value: f64| (!withheld).then_some(value);
    let base = before.bits_per_byte();
    let relative = (base > 0.0).then(|| change.value / base);
    let reason = if let Some(leak) = leak {
        Some(format!(
            "{:.0} % of its held-out documents are in the training text of “{}”; the limit is {:.0} %",
            leak.exact_share * 100.0,
            leak.train,
            settings.overlap_limit * 100.0
        ))
    } else if change.groups < FEWEST_GROUPS {
        let plural = if change.groups == 1 { "" } else { "s" };
        Some(format!(
            "only {} independent group{plural} of held-out documents, an interval needs {FEWEST_GROUPS}",
            change.groups
        ))
    } else {
        None
    };
    let limit = limit(role, settings);
    let against = match role {
        Role::Niche | Role::Earlier => bootstrap.against_none(),
        Role::Retained => bootstrap.against(limit),
    };
    let against = against.filter(|_| !withheld);
    let improvement = bootstrap.against_none();
    let improvement = improvement.filter(|_| role == Role::Retained && !withheld);
    let deciding = bootstrap.deciding_groups(limit, LEVEL / settings.comparisons.max(1) as f64);
    DomainReport {
        name: name.to_owned(),
        role,
        base_bits_per_byte: shown(base),
        tuned_bits_per_byte: shown(after.bits_per_byte()),
        change: shown(change.value),
        relative_change: relative.and_then(shown),
        interval: change.interval.filter(|_| !withheld),
        p_value: against.map(|against| against.p_value),
        adjusted_p_value: None,
        improvement_p_value: improvement.map(|improvement| improvement.p_value),
        setback: None,
        verdict: if withheld {
            Verdict::Withheld
        } else {
            Verdict::Undecided
        },
        reason,
        documents: before.documents.len() as u64,
        groups: change.groups as u64,
        grouping: before.grouping.as_ref().map(Grouping::plural),
        whole: before.whole || after.whole,
        effective_groups: change.effective_groups,
        deciding_groups: deciding.map(|groups| groups as u64),
        bytes: before.bytes(),
    }
}

/// Returns the value that a change is tested against, in bits per byte.
pub fn limit(role: Role, settings: &ReportSettings) -> f64 {
    match role {
        Role::Niche | Role::Earlier => 0.0,
        Role::Retained => settings.tolerance,
    }
}

/// Returns the one-sided 95 % bound that holds for all retained domains together (their documents are independent): no
/// domain's change lies above it. `None` if a domain has too few groups.
fn worst_bound(domains: &[PairedBootstrap]) -> Option<f64> {
    // Šidák-corrected level of each domain, two-sided.
    let level = 2.0 * (1.0 - (1.0 - LEVEL).powf(1.0 / domains.len().max(1) as f64));
    let bounds = domains
        .iter()
        .map(|domain| domain.bound(Side::Upper, level));
    let bounds: Vec<f64> = bounds.collect::<Option<_>>()?;
    bounds.into_iter().reduce(f64::max)
}

fn summary(domains: &[DomainReport], judged_retained: &[PairedBootstrap]) -> Summary {
    let figures = |role: Role| -> Vec<Figure> {
        let of_role = domains.iter().filter(|domain| domain.role == role);
        of_role
            .filter_map(|domain| {
                Some(Figure {
                    value: domain.change?,
                    interval: domain.interval,
                })
            })
            .collect()
    };
    let worst = domains
        .iter()
        .filter(|domain| domain.role == Role::Retained)
        .filter_map(|domain| Some((domain, domain.change?)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    Summary {
        mean_forgetting: mean_figure(&figures(Role::Retained)),
        worst_forgetting: worst.map(|(domain, change)| Worst {
            domain: domain.name.clone(),
            change,
            bound: worst_bound(judged_retained),
        }),
        niche_gain: figures(Role::Niche).first().map(|change| Figure {
            // 0 − x, since −x would turn 0 into −0.
            value: 0.0 - change.value,
            interval: change.interval.map(|[low, high]| [0.0 - high, 0.0 - low]),
        }),
    }
}

/// Returns the display name of a run: the name of its folder, and the step unless it is the best or latest
/// checkpoint.
fn name(path: &str) -> String {
    let part = |path: &Path| {
        path.file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned()
    };
    let path = Path::new(path);
    let last = part(path);
    match path.parent() {
        Some(run) if ["best", "latest"].contains(&last.as_str()) => part(run),
        Some(run) if last.starts_with("step-") => format!("{}/{last}", part(run)),
        _ => last,
    }
}

/// Replaces the names of runs with the same name by their paths.
pub fn name_apart(runs: &mut [RunReport]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for run in runs {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name.clone_from(&run.path);
        }
    }
}
