//! The report's sentences, the same in every form of it.

use super::{Figure, ForgettingReport, RunReport};
use crate::statistics::Verdict;
use crate::wording::signed;

/// The whole in one sentence or two.
pub fn headline(report: &ForgettingReport) -> String {
    let judged: Vec<(&RunReport, Figure, Figure)> = report
        .runs
        .iter()
        .filter_map(|run| {
            let summary = &run.summary;
            Some((run, summary.mean_forgetting?, summary.niche_gain?))
        })
        .collect();
    let least = judged.iter().min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let most = judged.iter().max_by(|a, b| a.2.value.total_cmp(&b.2.value));
    let (Some(least), Some(most), true) = (least, most, judged.len() > 1) else {
        return report.runs.iter().map(of_run).collect::<Vec<_>>().join(" ");
    };
    let (forgotten, gained) = (signed(least.1.value), signed(most.2.value));
    if least.0.path == most.0.path {
        return format!(
            "Of {} runs, {} both gained most on its niche ({gained} bits per byte) and forgot least (on average \
             {forgotten} over the old domains).",
            report.runs.len(),
            least.0.name
        );
    }
    format!(
        "{} gained most on its niche: {gained} bits per byte, at {} of forgetting on average over the old domains. {} \
         forgot least: {forgotten} on average, for a gain of {}.",
        most.0.name,
        signed(most.1.value),
        least.0.name,
        signed(least.2.value),
    )
}

/// What one run gained and forgot.
pub fn of_run(run: &RunReport) -> String {
    let unchanged = run.domains.iter().all(|domain| domain.change == Some(0.0));
    if unchanged {
        return format!("{} does not differ from its base in any domain.", run.name);
    }
    let clauses: Vec<String> = [niche(run), old(run)].into_iter().flatten().collect();
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
        Verdict::Withheld => format!("can't be judged on {name}"),
        _ => format!(
            "shows no sure change on {name} ({} bits per byte)",
            signed(change)
        ),
    })
}

fn old(run: &RunReport) -> Option<String> {
    let count = |verdict| run.old().filter(|domain| domain.verdict == verdict).count();
    let all = run.old().count();
    let forgotten: Vec<String> = run
        .old()
        .filter(|domain| domain.verdict == Verdict::Forgotten)
        .filter_map(|domain| Some(format!("{} ({})", domain.name, signed(domain.change?))))
        .collect();
    let domains = if all == 1 {
        "old domain"
    } else {
        "old domains"
    };
    let kept = count(Verdict::Kept);
    let mut clauses = match (forgotten.len(), &run.summary.worst_forgetting) {
        (0, _) if kept == all && all == 1 => vec!["kept its old domain".to_owned()],
        (0, _) if kept == all => vec![format!("kept all {all} {domains}")],
        (0, _) => vec![format!("forgot none of {all} {domains} for sure")],
        (3.., Some(worst)) => vec![format!(
            "forgot {} of {all} {domains}, {} most ({})",
            forgotten.len(),
            worst.domain,
            signed(worst.change)
        )],
        _ => vec![format!("forgot {}", list(&forgotten))],
    };
    for (number, word) in [
        (if kept == all { 0 } else { kept }, "kept"),
        (count(Verdict::Undecided), "undecided"),
        (count(Verdict::Withheld), "withheld"),
    ] {
        if number > 0 {
            clauses.push(format!("{number} {word}"));
        }
    }
    (all > 0).then(|| clauses.join(", "))
}

/// `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
