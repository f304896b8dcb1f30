//! Markdown of a transfer matrix.

use super::Transfer;
use crate::diverged;
use crate::untrusted::{code, inline};
use crate::wording::{count, interval, percent, probability, signed};

/// Renders the matrix and its forecasts.
pub fn render(transfer: &Transfer) -> String {
    let mut text = format!(
        "# Transfer\n\nChange in bits per byte of each domain (across) after tuning {} on each domain (down) for {} tokens, \
         with 95 % intervals. Positive values are forgetting.\n\n| tuned on |",
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
            let ends = change
                .interval
                .map(|ends| format!(" {}", interval(Some(ends))));
            text += &format!(" {}{} |", signed(change.value), ends.unwrap_or_default());
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
