//! The report's sentences, the same in every form of it.

use super::{ForgettingReport, RunReport};
use crate::wording::{signed, signed_or_dash};
use polymath_eval::statistics::Verdict;

/// The whole in a sentence or a few. Runs are ranked only where the documents tell one apart from every other.
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
            "The documents tell none of the {number} runs apart from all others, neither in gain nor in forgetting. {}",
            sentences()
        ),
        (Some(least), Some(most)) if least.name == most.name => format!(
            "Of {number} runs, {} both gained most on its niche ({} bits per byte) and forgot least ({} on average over the old \
             domains), told apart from every other.",
            least.name,
            gain(least),
            forgetting(least)
        ),
        (least, most) => {
            let most = most.map_or("Which run gained most is not told apart.".into(), |run| {
                format!(
                    "{} gained most on its niche: {} bits per byte, at {} of forgetting on average over the old domains.",
                    run.name,
                    gain(run),
                    forgetting(run)
                )
            });
            let least = least.map_or("Which run forgot least is not told apart.".into(), |run| {
                format!(
                    "{} forgot least: {} on average, for a gain of {}.",
                    run.name,
                    forgetting(run),
                    gain(run)
                )
            });
            format!("{most} {least}")
        }
    }
}

fn gain(run: &RunReport) -> String {
    signed_or_dash(run.summary.niche_gain.map(|figure| figure.value))
}

fn forgetting(run: &RunReport) -> String {
    signed_or_dash(run.summary.mean_forgetting.map(|figure| figure.value))
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
