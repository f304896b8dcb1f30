//! Markdown and terminal form of a transfer matrix, and its sentences.

use super::Transfer;
use crate::aligned;
use crate::diverged;
use crate::untrusted::{code, inline};
use crate::wording::{count, figure, interval, percent, probability, signed};
use polymath_eval::statistics::Figure;

/// Renders a transfer matrix and its forecasts in Markdown.
pub fn render(transfer: &Transfer) -> String {
    let mut text = format!(
        "# Transfer\n\n{}\n\nChange in bits per byte of each domain (across) after tuning {} on each domain (down) for {} tokens, \
         with 95 % intervals. Positive values are forgetting.\n\n| tuned on |",
        inline(&advice(transfer)),
        code(&transfer.base),
        count(transfer.tokens)
    );
    for name in &transfer.scored {
        text += &format!(" {} |", inline(name));
    }
    text += &format!("\n|---|{}\n", "--:|".repeat(transfer.scored.len()));
    for row in &transfer.rows {
        text += &format!("| {} |", inline(&row.domain));
        for change in &row.changes {
            text += &format!(" {} |", figure(change));
        }
        text += "\n";
    }
    text += &format!(
        "\n| tuned on | KL to the base after {} |{} \n|---|--:|{}\n",
        percent(transfer.early_share),
        transfer
            .scored
            .iter()
            .map(|name| format!(" cosine with {} |", inline(name)))
            .collect::<String>(),
        "--:|".repeat(transfer.scored.len())
    );
    for row in &transfer.rows {
        text += &format!("| {} | {:.4} |", inline(&row.domain), row.early_divergence);
        for cosine in &row.gradient_cosines {
            text += &format!(" {} |", signed(*cosine));
        }
        text += "\n";
    }
    text.push('\n');
    for sentence in sentences(transfer, &inline) {
        text += &format!("- {sentence}\n");
    }
    text
}

/// Renders a transfer matrix for a terminal, with sentences.
pub fn table(transfer: &Transfer) -> String {
    let mut rows = vec![vec!["tuned on".to_owned()]];
    rows[0].extend(transfer.scored.iter().cloned());
    for row in &transfer.rows {
        let changes = row.changes.iter().map(|change| signed(change.value));
        rows.push(std::iter::once(row.domain.clone()).chain(changes).collect());
    }
    let mut text = format!(
        "Change in bits per byte of each domain (across) after tuning on each domain (down)\n\n{}\n{}\n",
        aligned(&rows),
        advice(transfer)
    );
    for sentence in sentences(transfer, &str::to_owned) {
        text += &format!("{sentence}\n");
    }
    text
}

/// Change of one domain by a fine-tuning on another.
struct Crossed<'a> {
    tuned: &'a str,
    scored: &'a str,
    change: Figure,
}

/// Returns a sentence that says which domains to retain in which runs.
pub fn advice(transfer: &Transfer) -> String {
    let mut crossed: Vec<Crossed> = Vec::new();
    for row in &transfer.rows {
        for (scored, change) in transfer.scored.iter().zip(&row.changes) {
            if *scored != row.domain {
                crossed.push(Crossed {
                    tuned: &row.domain,
                    scored,
                    change: *change,
                });
            }
        }
    }
    if crossed.is_empty() {
        return "There is no other domain that tuning could change.".into();
    }
    let is_lost = |found: &&Crossed| found.change.interval.is_some_and(|[low, _]| low > 0.0);
    let lost = crossed.iter().filter(is_lost);
    let worst = lost
        .clone()
        .max_by(|a, b| a.change.value.total_cmp(&b.change.value));
    let Some(worst) = worst else {
        return format!(
            "No domain is shown to lose by tuning on another, in runs of {} tokens. That is no proof that none does: a report tests it.",
            count(transfer.tokens)
        );
    };
    let mean = |name: &str| {
        let of = crossed.iter().filter(|found| found.tuned == name);
        let changes: Vec<f64> = of.map(|found| found.change.value).collect();
        changes.iter().sum::<f64>() / changes.len().max(1) as f64
    };
    let tuned = || transfer.rows.iter().map(|row| row.domain.as_str());
    let mildest = tuned().min_by(|a, b| mean(a).total_cmp(&mean(b)));
    let mildest = mildest
        .filter(|_| transfer.rows.len() > 1)
        .map_or(String::new(), |name| {
            format!(
                " Tuning on {name} costs the others least ({} on average).",
                signed(mean(name))
            )
        });
    format!(
        "Retain {} when you tune on {}: it loses most there ({}). In {} of {} pairs of domains, the \
         interval, which is not corrected for their number, is above 0.{mildest}",
        worst.scored,
        worst.tuned,
        signed(worst.change.value),
        lost.count(),
        crossed.len()
    )
}

/// Returns sentences about the diverged runs and about the rank correlation of each forecast. `shown` formats names.
pub fn sentences(transfer: &Transfer, shown: &dyn Fn(&str) -> String) -> Vec<String> {
    let forecasts = transfer
        .forecasts
        .iter()
        .map(|forecast| match &forecast.correlation {
            Some(found) => format!(
                "Forecast by {}, of {}: Spearman {}{}, p {}, over {} pairs of {} domains.",
                forecast.name,
                forecast.of,
                signed(found.value),
                match found.interval {
                    Some(ends) => format!(" {}", interval(Some(ends))),
                    None => " (too few pairs for an interval)".into(),
                },
                probability(found.p_value),
                found.pairs,
                found.domains
            ),
            None => format!(
                "Forecast by {}, of {}: too few pairs to rank.",
                forecast.name, forecast.of
            ),
        });
    diverged::sentence(&transfer.diverged, shown)
        .into_iter()
        .chain(forecasts)
        .collect()
}
