//! Sentences of the report, the same in all its forms.

use super::provenance::other_context;
use super::{ForgettingReport, RunReport};
use crate::wording::{OTHER_CONTEXT, counted, signed, signed_or_dash};
use polymath_eval::statistics::Verdict;

/// Note beside a ranking of runs: its documents tell single runs apart, not the methods that made them.
const OF_RUNS: &str = "With other seeds, the order of the methods may differ.";

/// Returns the main result as sentences. Calls a run best only if it is significantly better than each other run.
pub fn headline(report: &ForgettingReport) -> String {
    let sentences = || {
        let all: Vec<String> = report.runs.iter().map(of_run).collect();
        all.join(" ")
    };
    let Some(ranking) = &report.ranking else {
        return sentences();
    };
    if let Some(reason) = &ranking.reason {
        return format!("{} The runs are not ranked: {reason}.", sentences());
    }
    let find = |name: &Option<String>| {
        let name = name.as_ref()?;
        report.runs.iter().find(|run| run.name == *name)
    };
    let (least, most) = (find(&ranking.least_forgetting), find(&ranking.most_gain));
    let number = report.runs.len();
    match (least, most) {
        (None, None) => format!(
            "None of the {number} runs is significantly better than all others in gain or forgetting. {}",
            sentences()
        ),
        (Some(least), Some(most)) if least.name == most.name => format!(
            "Of {number} runs, {} both gained most on its niche ({} bits per byte) and forgot least ({} on average over the retained \
            domains), significantly against every other run. {OF_RUNS}",
            least.name,
            gain(least),
            forgetting(least)
        ),
        (least, most) => {
            let most = most.map_or("No run gained significantly more than all others.".into(), |run| {
                format!(
                    "{} gained most on its niche: {} bits per byte, at {} of forgetting on average over the retained domains.",
                    run.name,
                    gain(run),
                    forgetting(run)
                )
            });
            let least = least.map_or(
                "No run forgot significantly less than all others.".into(),
                |run| {
                    format!(
                        "{} forgot least: {} on average, for a gain of {}.",
                        run.name,
                        forgetting(run),
                        gain(run)
                    )
                },
            );
            format!("{most} {least} {OF_RUNS}")
        }
    }
}

/// Returns notes on circumstances that make the figures of a run less comparable, such as another tokenizer.
pub fn notes(run: &RunReport, context: usize) -> Vec<String> {
    let tokens = run.other_context.then(|| OTHER_CONTEXT.to_owned());
    let generated = run.domains.iter().filter(|domain| domain.is_generated());
    let generated = generated.map(|domain| {
        format!(
            "`{}` is text that the base generated: it stands for what the base would say, and other text may lose more.",
            domain.name
        )
    });
    let own = run.notes.iter().cloned();
    own.chain(tokens)
        .chain(generated)
        .chain(other_context(run, context))
        .collect()
}

fn gain(run: &RunReport) -> String {
    signed_or_dash(run.summary.niche_gain.map(|figure| figure.value))
}

fn forgetting(run: &RunReport) -> String {
    signed_or_dash(run.summary.mean_forgetting.map(|figure| figure.value))
}

/// Returns a sentence about the gain and forgetting of a run.
pub fn of_run(run: &RunReport) -> String {
    let unchanged = run.domains.iter().all(|domain| domain.change == Some(0.0));
    if unchanged {
        return format!("{} does not differ from its base in any domain.", run.name);
    }
    let clauses: Vec<String> = [niche(run), retained(run)].into_iter().flatten().collect();
    format!("{} {}.", run.name, clauses.join("; it "))
}

fn niche(run: &RunReport) -> Option<String> {
    let niche = run.niche()?;
    let name = &niche.name;
    let change = niche.change.unwrap_or(0.0);
    let size = format!("{:.3} bits per byte", change.abs());
    let share = niche.relative_change.unwrap_or(0.0).abs() * 100.0;
    Some(match niche.verdict {
        Verdict::Gained => format!("gained {size} ({share:.0} %) on {name}"),
        Verdict::Lost => format!("lost {size} ({share:.0} %) on {name}, its own niche"),
        Verdict::Withheld => format!("has a withheld figure on {name}"),
        _ => format!(
            "shows no significant gain on {name} ({} bits per byte, {})",
            signed(0.0 - change),
            counted(niche.groups, "held-out group")
        ),
    })
}

fn retained(run: &RunReport) -> Option<String> {
    let count = |verdict| {
        run.retained()
            .filter(|domain| domain.verdict == verdict)
            .count()
    };
    let all = run.retained().count();
    let forgotten: Vec<String> = run
        .retained()
        .filter(|domain| domain.verdict == Verdict::Forgotten)
        .filter_map(|domain| Some(format!("{} ({})", domain.name, signed(domain.change?))))
        .collect();
    let domains = if all == 1 {
        "retained domain"
    } else {
        "retained domains"
    };
    let improved = count(Verdict::Improved);
    let kept = improved + count(Verdict::Kept);
    let mut clauses = match (forgotten.len(), &run.summary.worst_forgetting) {
        (0, _) if kept == all && all == 1 => vec!["kept its retained domain".to_owned()],
        (0, _) if kept == all => vec![format!("kept all {all} {domains}")],
        (0, _) => vec![format!("forgot none of {all} {domains} significantly")],
        (3.., Some(worst)) => vec![format!(
            "forgot {} of {all} {domains}, {} most ({})",
            forgotten.len(),
            worst.domain,
            signed(worst.change)
        )],
        _ => vec![format!("forgot {}", list(&forgotten))],
    };
    for (number, word) in [
        (if kept == all { 0 } else { kept - improved }, "kept"),
        (improved, "improved"),
        (count(Verdict::Undecided), "undecided"),
        (count(Verdict::Withheld), "withheld"),
    ] {
        if number > 0 {
            clauses.push(format!("{number} {word}"));
        }
    }
    (all > 0).then(|| clauses.join(", "))
}

/// Joins items as `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
