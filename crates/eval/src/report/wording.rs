//! The report's sentences and numbers, the same in every form of it.

use super::{Figure, ForgettingReport, RunReport};
use crate::statistics::Verdict;

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

/// A number with its sign; none where it rounds to zero.
pub fn signed(value: f64) -> String {
    let text = format!("{value:+.3}");
    if text.trim_start_matches(['+', '-']) == "0.000" {
        "0.000".into()
    } else {
        text.replace('-', "−")
    }
}

/// A number with its sign, or a dash where it is withheld.
pub fn signed_or_dash(value: Option<f64>) -> String {
    value.map_or("–".into(), signed)
}

/// An interval, or a dash.
pub fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or("–".into(), |[low, high]| {
        format!("[{}, {}]", signed(low), signed(high))
    })
}

/// A plain number, or a dash.
pub fn plain(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

/// A share in percent with its sign, or a dash.
pub fn relative(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| {
        format!("{:+.1} %", share * 100.0).replace('-', "−")
    })
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A probability.
pub fn probability(value: f64) -> String {
    if value < 0.001 {
        "< 0.001".into()
    } else {
        format!("{value:.3}")
    }
}

/// A probability, or a dash where nothing was tested.
pub fn probability_or_dash(value: Option<f64>) -> String {
    value.map_or("–".into(), probability)
}

/// A count with thin spaces between thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes in a unit that a person reads.
pub fn bytes(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} B"),
        1_000..1_000_000 => format!("{:.0} kB", value as f64 / 1e3),
        _ => format!("{:.1} MB", value as f64 / 1e6),
    }
}

/// A sign for each verdict, so that colour is not the only one.
pub fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Kept => "●",
        Verdict::Forgotten | Verdict::Lost => "▲",
        Verdict::Gained => "▼",
        Verdict::Undecided => "◇",
        Verdict::Withheld => "–",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are written the way a person reads them.
    #[test]
    fn numbers_are_readable() {
        assert_eq!(signed(0.1234), "+0.123");
        assert_eq!(signed(-0.1236), "−0.124");
        assert_eq!(signed(-0.0001), "0.000");
        assert_eq!(interval(Some([-0.1, 0.2])), "[−0.100, +0.200]");
        assert_eq!(plain(None), "–");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(123), "123");
        assert_eq!(bytes(12_345), "12 kB");
        assert_eq!(probability(1e-9), "< 0.001");
    }
}
