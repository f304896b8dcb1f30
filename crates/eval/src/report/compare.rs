//! From scores to verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polymath_data::Overlap;

use super::{
    DomainReport, Figure, ModelScores, QuestionReport, Role, RunReport, Settings, Summary, Worst,
    tasks,
};
use crate::evidence::DomainEvidence;
use crate::statistics::{Against, LEVEL, PairedBootstrap, Verdict, holm, mcnemar, mean_figure};
use crate::{DomainScores, EvalError};

/// Refuses settings without sense.
pub fn validate(settings: &Settings) -> Result<(), EvalError> {
    if !(settings.tolerance.is_finite() && settings.tolerance >= 0.0) {
        return Err(EvalError::Report(format!(
            "the tolerance must be a number of bits per byte from 0 up: `{}`",
            settings.tolerance
        )));
    }
    if !(0.0..=1.0).contains(&settings.overlap_limit) {
        return Err(EvalError::Report(format!(
            "the limit of the overlap must be a share from 0 to 1: `{}`",
            settings.overlap_limit
        )));
    }
    Ok(())
}

/// One run against the base.
pub fn compare(
    base: &ModelScores,
    run: &ModelScores,
    settings: &Settings,
) -> Result<RunReport, EvalError> {
    check_domains(base, run)?;
    let mut domains = Vec::new();
    for (name, tuned) in &run.domains {
        let before = &base.domains[name];
        let seed = settings.seed.wrapping_add(number_of(name));
        let bootstrap = PairedBootstrap::new(before, tuned, settings.resamples, seed)
            .map_err(|error| EvalError::Report(format!("`{}` on `{name}`: {error}", run.path)))?;
        let role = if *name == run.niche {
            Role::Niche
        } else if run.earlier_niches.contains(name) {
            Role::Earlier
        } else {
            Role::Old
        };
        let leak = leak(name, base, run, settings);
        domains.push(domain(
            (name, role),
            (before, tuned),
            (&bootstrap, leak),
            settings,
        ));
    }
    domains.sort_by_key(|domain| (domain.role, domain.name.clone()));
    Ok(RunReport {
        name: name(match run.named.is_empty() {
            true => &run.path,
            false => &run.named,
        }),
        path: run.path.clone(),
        method: run.method.clone(),
        questions: questions(base, run)?,
        tasks: tasks::compare(base, run)?,
        curve: run.curve.clone(),
        overlaps: run.overlaps.clone(),
        evidence: shown(&run.evidence, &domains),
        summary: summary(&domains),
        domains,
    })
}

/// Both must have been scored on the same domains, the niche among them.
fn check_domains(base: &ModelScores, run: &ModelScores) -> Result<(), EvalError> {
    let of_base: BTreeSet<&String> = base.domains.keys().collect();
    let of_run: BTreeSet<&String> = run.domains.keys().collect();
    if let Some(domain) = of_base.symmetric_difference(&of_run).next() {
        let (scored, unscored) = if of_base.contains(domain) {
            (&base.path, &run.path)
        } else {
            (&run.path, &base.path)
        };
        return Err(EvalError::Report(format!(
            "`{scored}` was scored on the domain `{domain}`, `{unscored}` was not: score both on the same"
        )));
    }
    if !run.niche.is_empty() && !run.domains.contains_key(&run.niche) {
        let known: Vec<&str> = run.domains.keys().map(String::as_str).collect();
        return Err(EvalError::Report(format!(
            "the niche `{}` of `{}` is not among the scored domains `{}`: give the data set that holds it too",
            run.niche,
            run.path,
            known.join("`, `")
        )));
    }
    Ok(())
}

/// A number of the domain's name (FNV-1a): every run draws the same documents of a domain, whatever else is scored.
fn number_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The evidence of the domains that are not withheld.
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

/// The largest overlap of a domain's held-out documents with what base or run may have learnt from, where it is above the
/// limit.
fn leak<'a>(
    name: &str,
    base: &'a ModelScores,
    run: &'a ModelScores,
    settings: &Settings,
) -> Option<&'a Overlap> {
    let found = base.overlaps.iter().chain(&run.overlaps);
    found
        .filter(|overlap| overlap.heldout == name)
        .filter(|overlap| overlap.exact_share > settings.overlap_limit)
        .max_by(|a, b| a.exact_share.total_cmp(&b.exact_share))
}

/// Below so many documents a word says how little their interval says; the coverage of intervals is simulated from here on.
const FEW_DOCUMENTS: usize = 30;

/// One domain's figures; [`judge`] gives the verdict when all are known.
fn domain(
    (name, role): (&str, Role),
    (before, after): (&DomainScores, &DomainScores),
    (bootstrap, leak): (&PairedBootstrap, Option<&Overlap>),
    settings: &Settings,
) -> DomainReport {
    let change = bootstrap.change();
    let withheld = leak.is_some();
    let shown = |value: f64| (!withheld).then_some(value);
    let base = before.bits_per_byte();
    let relative = (base > 0.0).then(|| change.value / base);
    let reason = if let Some(leak) = leak {
        Some(format!(
            "{:.0} % of its held-out documents stand in the training text of “{}”; the limit is {:.0} %",
            leak.exact_share * 100.0,
            leak.train,
            settings.overlap_limit * 100.0
        ))
    } else if !change.has_spread() {
        let plural = if change.documents == 1 { "" } else { "s" };
        Some(format!(
            "only {} held-out document{plural}",
            change.documents
        ))
    } else if change.documents < FEW_DOCUMENTS {
        Some(format!(
            "only {} held-out documents: the interval is wide, and where they are pieces of one document it says nothing of \
             others",
            change.documents
        ))
    } else {
        None
    };
    let against = bootstrap.against(limit(role, settings));
    let tested = !withheld && change.has_spread();
    DomainReport {
        name: name.to_owned(),
        role,
        base_bits_per_byte: shown(base),
        tuned_bits_per_byte: shown(after.bits_per_byte()),
        change: shown(change.value),
        relative_change: relative.and_then(shown),
        interval: (!withheld).then_some([change.low, change.high]),
        p_value: tested.then_some(against.p_value),
        adjusted_p_value: None,
        verdict: if withheld {
            Verdict::Withheld
        } else {
            Verdict::Undecided
        },
        reason,
        documents: before.documents.len() as u64,
        bytes: before.bytes(),
    }
}

/// What a change is tested against, in bits per byte.
fn limit(role: Role, settings: &Settings) -> f64 {
    match role {
        Role::Niche | Role::Earlier => 0.0,
        Role::Old => settings.tolerance,
    }
}

/// The verdicts, with Holm's correction over every domain of every run that is tested: with many of them, some intervals
/// leave the tolerance out by chance alone.
pub fn judge(runs: &mut [RunReport], settings: &Settings) {
    let mut tested: Vec<(&mut DomainReport, f64)> = runs
        .iter_mut()
        .flat_map(|run| &mut run.domains)
        .filter_map(|domain| domain.p_value.map(|p_value| (domain, p_value)))
        .collect();
    let p_values: Vec<f64> = tested.iter().map(|(_, p_value)| *p_value).collect();
    let comparisons = p_values.len();
    for ((domain, p_value), adjusted) in tested.iter_mut().zip(holm(&p_values)) {
        let above = domain.change > Some(limit(domain.role, settings));
        let verdict = |p_value| {
            let against = Against { p_value, above };
            match domain.role {
                Role::Niche | Role::Earlier => Verdict::of_niche(against, LEVEL),
                Role::Old => Verdict::of_old(against, LEVEL),
            }
        };
        let (alone, corrected) = (verdict(*p_value), verdict(adjusted));
        if alone != corrected {
            domain.reason = Some(format!(
                "{} by its interval alone, but not among {comparisons} comparisons",
                alone.word()
            ));
        }
        domain.adjusted_p_value = Some(adjusted);
        domain.verdict = corrected;
    }
}

fn questions(base: &ModelScores, run: &ModelScores) -> Result<Vec<QuestionReport>, EvalError> {
    let share = |right: &[bool]| {
        right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
    };
    let mut reports = run
        .questions
        .iter()
        .filter(|(_, after)| !after.is_empty())
        .map(|(domain, after)| {
            let before = base.questions.get(domain).map_or(&[][..], Vec::as_slice);
            if before.len() != after.len() {
                return Err(EvalError::Report(format!(
                    "base and `{}` were asked `{}` and `{}` questions of the domain `{domain}`: ask both the same",
                    run.path,
                    before.len(),
                    after.len()
                )));
            }
            let p_value = mcnemar(before, after);
            Ok(QuestionReport {
                domain: domain.clone(),
                count: after.len(),
                base_accuracy: share(before),
                tuned_accuracy: share(after),
                p_value,
                adjusted_p_value: p_value,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let p_values: Vec<f64> = reports.iter().map(|report| report.p_value).collect();
    for (report, adjusted) in reports.iter_mut().zip(holm(&p_values)) {
        report.adjusted_p_value = adjusted;
    }
    Ok(reports)
}

fn summary(domains: &[DomainReport]) -> Summary {
    let figures = |role: Role| -> Vec<Figure> {
        let of_role = domains.iter().filter(|domain| domain.role == role);
        of_role
            .filter_map(|domain| {
                Some(Figure {
                    value: domain.change?,
                    interval: domain.interval?,
                })
            })
            .collect()
    };
    let worst = domains
        .iter()
        .filter(|domain| domain.role == Role::Old)
        .filter_map(|domain| Some((domain, domain.change?)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    Summary {
        mean_forgetting: mean_figure(&figures(Role::Old)),
        worst_forgetting: worst.map(|(domain, change)| Worst {
            domain: domain.name.clone(),
            change,
        }),
        niche_gain: figures(Role::Niche).first().map(|change| Figure {
            // 0 − x, since −x would turn no change into −0.
            value: 0.0 - change.value,
            interval: [0.0 - change.interval[1], 0.0 - change.interval[0]],
        }),
    }
}

/// What a person calls a run: its folder, with the step where it is not its best or latest.
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

/// Two runs of one name are called by their paths.
pub fn name_apart(runs: &mut [RunReport]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for run in runs {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name.clone_from(&run.path);
        }
    }
}
